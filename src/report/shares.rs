//! What a run's loops did with their time, and with the cores: the figures that a verdict rests on.
//!
//! Owns how they follow from a summary, also of a run that could not tell what it got of the cores. Judges
//! nothing; `bottleneck` and `advice` do.

use super::loops::{StageTime, actor_loop_s, finite, learner_loop_s, learner_stages, ratio};
use crate::base::stages::Stage;
use crate::telemetry::{ActorSummary, CoreSummary, Summary};

/// The figures.
pub struct Shares {
    /// Time of the learner's loops, waiting included, s.
    pub learner_s: f64,
    /// Of it, waiting for rollouts, s.
    pub learner_wait_s: f64,
    /// Time of all actors' loops, s.
    pub actors_s: f64,
    /// Of it, waiting on full rings, s.
    pub actors_blocked_s: f64,
    /// Of it, in forward passes, s.
    pub act_s: f64,
    /// Of it, in environments, s.
    pub env_s: f64,
    /// Time in which all loops together had work to do, s.
    pub busy_s: f64,
    /// The learner's most expensive stage in which it works.
    pub largest: Option<StageTime>,
    /// Who had the cores.
    pub cores: Cores,
}

/// Who had the cores, in the mean over the run.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// Those that the run may use, if that is known.
    pub n_cores: Option<f64>,
    /// Whether the kernel told who had them. If not, whoever is not known to wait counts as on a core.
    pub is_measured: bool,
    /// Threads of this run on a core.
    pub used: f64,
    /// Threads of this run that had work to do and no core.
    pub without: f64,
    /// Cores that other programs had while threads of this run wanted them.
    pub taken: f64,
    /// The share of its time in which the run stood still for want of a core: the learner's, and that in
    /// which it waited for actors that had none.
    pub lost: f64,
    /// Threads of actors that slept, though not on a full ring: in environments that wait for something.
    pub asleep: f64,
}

impl Shares {
    /// Those of a run that had this many cores.
    pub fn of(summary: &Summary, n_cores: Option<usize>) -> Shares {
        let stages = learner_stages(summary);
        let learner_s = learner_loop_s(summary);
        let sum = |part: fn(&ActorSummary) -> f64| {
            summary.actors.iter().map(|a| finite(part(a))).sum::<f64>()
        };
        let learner_wait_s = finite(summary.learner_wait_s).min(learner_s);
        let of_others = |s: &&StageTime| matches!(s.stage, Stage::Turn | Stage::Exchange);
        let others_s: f64 = stages.iter().filter(of_others).map(|s| s.total_s).sum();
        let (act_s, env_s) = (sum(|a| a.act_s), sum(|a| a.env_s));
        let train_s = finite(summary.train_s);
        let work_s = learner_s - learner_wait_s - others_s;
        let busy_s = work_s + act_s + env_s + sum(|a| a.read_weights_s);
        let shares = Shares {
            learner_s,
            learner_wait_s,
            actors_s: summary.actors.iter().map(|a| actor_loop_s(a, train_s)).sum(),
            actors_blocked_s: sum(|a| a.blocked_s),
            act_s,
            env_s,
            busy_s,
            largest: largest(&stages),
            cores: Cores::of_laps(ratio(busy_s, train_s), n_cores),
        };
        Shares { cores: shares.measured(summary).unwrap_or(shares.cores), ..shares }
    }

    /// How much of its time the learner waited for rollouts.
    pub fn waiting(&self) -> f64 {
        ratio(self.learner_wait_s, self.learner_s)
    }

    /// How much of their time the actors waited on full rings.
    pub fn blocked(&self) -> f64 {
        ratio(self.actors_blocked_s, self.actors_s)
    }

    /// What the kernel said, where it did so of every worker.
    fn measured(&self, summary: &Summary) -> Option<Cores> {
        let actors: Option<Vec<CoreSummary>> = summary.actors.iter().map(|a| a.cores).collect();
        let (actors, learner) =
            (actors.filter(|actors| !actors.is_empty())?, summary.learner_cores?);
        let n_threads = (summary.learner_threads * summary.batch_threads.max(1)) as f64;
        let sum = |share: fn(&CoreSummary) -> f64| {
            n_threads * share(&learner) + actors.iter().map(share).sum::<f64>()
        };
        let (used, without) = (sum(CoreSummary::on_core), sum(CoreSummary::without_core));
        let n_cores = self.cores.n_cores;
        let unused = n_cores.map_or(f64::INFINITY, |n| (n - used).max(0.0));
        let of_others = summary.cores_of_others.filter(|others| others.is_finite());
        // A short run says nothing of others; then what it did not use is what they may have had.
        let taken = without.min(unused).min(of_others.unwrap_or(unused));
        let awake: f64 = actors.iter().map(|a| a.on_core() + a.without_core()).sum();
        let asleep = actors.len() as f64 * (1.0 - self.blocked()) - awake;
        let of_actors = actors.iter().map(CoreSummary::without_core).sum::<f64>();
        let lost = learner.without_core() + self.waiting() * of_actors / actors.len() as f64;
        Some(Cores {
            n_cores,
            is_measured: true,
            used,
            without,
            taken,
            lost: lost.min(1.0),
            asleep: asleep.max(0.0),
        })
    }
}

impl Cores {
    fn of_laps(used: f64, n_cores: Option<usize>) -> Cores {
        let n_cores = n_cores.map(|n| n as f64);
        Cores {
            n_cores,
            is_measured: false,
            used,
            without: 0.0,
            taken: 0.0,
            lost: 0.0,
            asleep: 0.0,
        }
    }

    /// How many times as much processor time this run could have had beside the others; without a bound
    /// where the number of cores is not known.
    pub fn room(&self) -> f64 {
        let free_for_us = self.n_cores.map(|n| (n - self.taken).max(0.0));
        free_for_us.map_or(f64::INFINITY, |n| n / self.used.max(f64::MIN_POSITIVE))
    }
}

/// Waiting is no work, neither for rollouts nor for another thread's turn nor for other ranks.
fn largest(stages: &[StageTime]) -> Option<StageTime> {
    let is_work = |s: &&StageTime| !matches!(s.stage, Stage::Wait | Stage::Turn | Stage::Exchange);
    let busy = stages.iter().filter(is_work).filter(|s| s.total_s > 0.0);
    busy.max_by(|a, b| a.total_s.total_cmp(&b.total_s)).copied()
}
