//! The table of who waited for what, and for a core.

use super::loops::{actor_loop_s, learner_loop_s};
use super::units::{DASH, grouped, percent, seconds};
use crate::telemetry::{CoreSummary, Summary};

/// What one process waited for.
#[derive(Default)]
pub struct Wait {
    /// Who.
    pub process: String,
    /// For what.
    pub waited_for: &'static str,
    /// How long, in all.
    pub time: String,
    /// Of its loop's time.
    pub share: String,
    /// How long it wanted a core and had none.
    pub without_core: String,
    /// The same as a share of its time.
    pub without_core_share: String,
    /// Share of its time on a core.
    pub on_core_share: String,
    /// Learned from, or collected.
    pub frames: String,
    /// Collected.
    pub rollouts: String,
    /// Times its process was replaced.
    pub restarts: String,
}

/// Learner first, then each actor.
pub fn waits(summary: Option<&Summary>) -> Vec<Wait> {
    let Some(summary) = summary else {
        return Vec::new();
    };
    let learner = Wait {
        process: "learner".to_owned(),
        waited_for: "published rollouts",
        time: seconds(summary.learner_wait_s),
        share: percent(summary.learner_wait_s / learner_loop_s(summary)),
        frames: grouped(summary.frames_of_this_part()),
        rollouts: DASH.to_owned(),
        restarts: grouped(summary.reliability.learner_restarts),
        ..Wait::of_cores(summary.learner_cores)
    };
    let actors = summary.actors.iter().enumerate().map(|(k, actor)| Wait {
        process: format!("actor {k}"),
        waited_for: "a free slot in its ring",
        time: seconds(actor.blocked_s),
        share: percent(actor.blocked_s / actor_loop_s(actor, summary.train_s)),
        frames: grouped(actor.frames),
        rollouts: grouped(actor.rollouts),
        restarts: grouped(actor.restarts),
        ..Wait::of_cores(actor.cores)
    });
    std::iter::once(learner).chain(actors).collect()
}

impl Wait {
    /// Waiting for a core, and nothing else yet.
    fn of_cores(cores: Option<CoreSummary>) -> Wait {
        let text = |value: fn(&CoreSummary) -> String| {
            cores.as_ref().map_or_else(|| DASH.to_owned(), value)
        };
        Wait {
            without_core: text(|cores| seconds(cores.without_core_s)),
            without_core_share: text(|cores| percent(cores.without_core())),
            on_core_share: text(|cores| percent(cores.on_core())),
            ..Wait::default()
        }
    }
}
