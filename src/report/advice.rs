//! What would help a run most: one change, and where that is one of settings, which and how much it promises.
//!
//! Owns the promises: what each change can gain at most, by what the rest of the run leaves room for. A
//! setting at its limit is not named, nor a thread for which there is no core. `bottleneck` asks, having
//! judged what limits the run.

use super::loops::ratio;
use super::shares::Shares;
use super::units::{percent, short};
use crate::telemetry::Summary;

/// What would help.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advice {
    /// As a sentence.
    pub text: String,
    /// The settings that it changes, where it is a change of settings.
    pub change: Option<Change>,
}

/// Settings to start the same run again with.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Flags of `impala train`.
    pub flags: String,
    /// How many more frames a second that can bring at most: 0.5 is half as many more.
    pub gain: f64,
}

impl Change {
    fn new(flags: impl Into<String>, gain: f64) -> Change {
        Change { flags: flags.into(), gain }
    }

    /// In a sentence.
    fn words(&self) -> String {
        format!("`{}`, up to {} more frames a second", self.flags, percent(self.gain))
    }
}

/// Less than this is lost in the noise between two runs, which is about 10 %.
pub const WORTH: f64 = 0.1;

/// The most actors (`actors.count`).
const MAX_ACTORS: usize = 256;

/// The most slots of a ring (`actors.slots_per_actor`).
const MAX_SLOTS: usize = 1_024;

/// Mean policy lag, in batches, from which CartPole-v1 took noticeably more frames to solve in
/// simulation (lag 0: 127k frames, 4: 183k, 8: 230k; at 16 learning broke).
pub const LAG_COSTS_FRAMES: f64 = 5.0;

/// Actors of which a mean one sleeps this share of its time wait for something in their environments.
const SLEEPS: f64 = 0.3;

/// A run to advise on.
pub struct Advisor<'a> {
    /// Its settings and figures.
    pub summary: &'a Summary,
    /// What follows from them.
    pub shares: &'a Shares,
}

impl Advisor<'_> {
    /// Where other programs took the cores.
    pub fn on_others(&self) -> Advice {
        let cores = &self.shares.cores;
        let gain = ratio(cores.taken, cores.used)
            .min(1.0 / (1.0 - cores.lost).max(f64::MIN_POSITIVE) - 1.0);
        plain(format!(
            "end the other programs, or keep them off this run's cores (`taskset`): up to {} more frames a \
             second; until then no setting of this run is to blame.",
            percent(gain)
        ))
    }

    /// Where all cores had work.
    pub fn on_cores(&self) -> Advice {
        if let Some(advice) = self.fewer_actors() {
            return advice;
        }
        plain(format!(
            "more cores, or less computing for each frame, first of all in {}; more actors would only share \
             the same cores.",
            self.largest_consumer()
        ))
    }

    /// Where the learner was waited for.
    pub fn on_learner(&self) -> Advice {
        if let Some(advice) = self.fewer_actors() {
            return advice;
        }
        const NO_ACTORS: &str = "more actors would only wait longer.";
        // Asterix loses a third of its score by it (src/config/presets/MinAtar.toml).
        const OLDER: &str = "each gradient is then an update older, so compare scores too";
        match self.one_more_thread() {
            Some(change) => with_change(
                format!("one more learner thread ({}); {OLDER}; {NO_ACTORS}", change.words()),
                change,
            ),
            None => plain(format!("{}; {NO_ACTORS}", self.halve_largest())),
        }
    }

    /// Where the actors were waited for.
    pub fn on_actors(&self) -> Advice {
        let busy = if self.sleeps() {
            "whose environments wait without using a core"
        } else {
            "for which there are cores"
        };
        match self.more_actors() {
            Some(change) => {
                with_change(format!("more actors, {busy} ({}).", change.words()), change)
            }
            None => plain(format!(
                "a cheaper {}, which took {} of the actors' busy time.",
                self.actor_part(),
                percent(ratio(
                    self.shares.act_s.max(self.shares.env_s),
                    self.shares.act_s + self.shares.env_s
                ))
            )),
        }
    }

    /// Where learner and actors took turns.
    pub fn on_turns(&self) -> Advice {
        let Summary { deterministic, ring_batches, .. } = self.summary;
        let gain = self.gain_of_overlap();
        let room = if *ring_batches > 1 { None } else { self.room_for_a_batch() };
        match (deterministic, room) {
            (false, None) => {
                plain("a batch or rings of another size, so that two batches fit.".into())
            }
            (false, Some(room)) => {
                let change = Change::new(room, gain);
                with_change(format!("room for a second batch ({}).", change.words()), change)
            }
            (true, room) => {
                let flags = ["--set deterministic=false".to_owned()].into_iter().chain(room);
                let change = Change::new(flags.collect::<Vec<_>>().join(" "), gain);
                let text = format!(
                    "a run that need not be equal to another one ({}); while it must, only faster cores help.",
                    change.words()
                );
                with_change(text, change)
            }
        }
    }

    /// Where both sides waited most of the time, though neither had to.
    pub fn on_hand_over(&self) -> Advice {
        let Summary { slots_per_actor, .. } = *self.summary;
        let gain =
            (1.0 / (1.0 - self.shares.waiting().min(self.shares.blocked()))).min(self.room());
        let roomier = (2 * slots_per_actor).min(MAX_SLOTS);
        if slots_per_actor == 0 || roomier == slots_per_actor || gain - 1.0 < WORTH {
            return plain("longer rollouts, each of which is handed over once.".into());
        }
        let change = Change::new(format!("--set actors.slots_per_actor={roomier}"), gain - 1.0);
        let text = format!(
            "longer rollouts, or larger rings ({}), so that each waits less often for the \
                     other to wake up.",
            change.words()
        );
        with_change(text, change)
    }

    /// Where neither waited to speak of.
    pub fn on_balance(&self) -> Advice {
        plain(format!("{}, with as much saved in the actors.", self.halve_largest()))
    }

    /// What would make the policy younger that actors play with, in words; of the settings that can still be
    /// changed.
    pub fn against_lag(&self) -> &'static str {
        let Summary { slots_per_actor, actors, .. } = self.summary;
        match (slots_per_actor, actors.len()) {
            (2.., _) => "fewer slots for each actor would lower it",
            (_, 2..) => "fewer actors would lower it",
            _ => "a larger batch would lower it",
        }
    }

    /// More actors than there are cores to run them on, each with one slot, only age the policy: their
    /// rollouts wait while the learner learns from those of all others.
    fn fewer_actors(&self) -> Option<Advice> {
        let Summary { slots_per_actor, batch_slots, learner_threads, .. } = self.summary;
        let n_actors = self.summary.actors.len();
        let lag = self.summary.policy_lag?.mean;
        let lag_batches = self.summary.policy_lag_batches();
        let is_aged = lag_batches >= LAG_COSTS_FRAMES;
        let is_many = self.shares.cores.n_cores.is_some_and(|n| n_actors as f64 > n);
        if !is_aged || !is_many || *slots_per_actor > 1 {
            return None;
        }
        // A rollout is as old as there are others; each thread needs a batch of its own.
        let young = (n_actors as f64 * LAG_COSTS_FRAMES / lag_batches).floor() as usize;
        let n_fewer = young.max(batch_slots * learner_threads).max(1);
        (n_fewer < n_actors).then(|| {
            plain(format!(
                "fewer actors (`--actors {n_fewer}`): {n_actors} of them learn no more frames a second on these \
                 cores, and age the policy to {} updates.",
                short(lag)
            ))
        })
    }

    fn one_more_thread(&self) -> Option<Change> {
        let Summary { learner_threads: n, max_learner_threads, batch_threads, .. } = *self.summary;
        let more = (n + 1) as f64 / n as f64;
        // The actors that waited can produce so many times as much.
        let supply = 1.0 / (1.0 - self.shares.blocked()).max(f64::MIN_POSITIVE);
        let gain = more.min(supply).min(self.room()) - 1.0;
        // Another learner thread would take the place of those that share its batches.
        let is_worth = n < max_learner_threads && batch_threads <= 1 && gain >= WORTH;
        is_worth.then(|| Change::new(format!("--learner-threads {}", n + 1), gain))
    }

    /// As many as learner and cores have room for, twice as many at most: further than that nothing that was
    /// measured reaches.
    fn more_actors(&self) -> Option<Change> {
        let n = self.summary.actors.len();
        let demand = 1.0 / (1.0 - self.shares.waiting()).max(f64::MIN_POSITIVE);
        let room = demand.min(self.room()).min(2.0);
        let n_more = ((n as f64 * room).ceil() as usize).min(MAX_ACTORS);
        let gain = room.min(n_more as f64 / n as f64) - 1.0;
        (n_more > n && gain >= WORTH).then(|| Change::new(format!("--actors {n_more}"), gain))
    }

    /// Settings by which all rings hold two batches, the one that changes less of learning first.
    fn room_for_a_batch(&self) -> Option<String> {
        let Summary { slots_per_actor, batch_slots, .. } = *self.summary;
        if slots_per_actor > 0 && 2 * slots_per_actor <= MAX_SLOTS {
            Some(format!("--set actors.slots_per_actor={}", 2 * slots_per_actor))
        } else if batch_slots > 1 {
            Some(format!("--batch-slots {}", batch_slots / 2))
        } else {
            None
        }
    }

    /// Turns of length C and L, of which the learner waits C / (C + L), become as long as the longer of the
    /// two where they overlap.
    fn gain_of_overlap(&self) -> f64 {
        let turn = self.shares.waiting().max(1.0 - self.shares.waiting());
        (1.0 / turn.max(f64::MIN_POSITIVE)).min(self.room()).max(1.0) - 1.0
    }

    fn room(&self) -> f64 {
        self.shares.cores.room()
    }

    /// Amdahl's law for a learner that never waits.
    fn halve_largest(&self) -> String {
        let Some(largest) = self.shares.largest else {
            return "a cheaper learner".into();
        };
        let share = ratio(largest.total_s, self.shares.learner_s);
        let gain = 1.0 / (1.0 - share / 2.0) - 1.0;
        format!(
            "a cheaper {} (half its cost would let the learner do {} more updates)",
            largest.stage.tag(),
            percent(gain)
        )
    }

    fn largest_consumer(&self) -> String {
        let Shares { largest, act_s, env_s, busy_s, .. } = self.shares;
        let stage = largest.map_or(("the learner", 0.0), |s| (s.stage.tag(), s.total_s));
        let parts = [("the actors' forward passes", *act_s), ("the environments", *env_s)];
        let (name, total_s) =
            parts.into_iter().fold(stage, |best, part| if part.1 > best.1 { part } else { best });
        let name =
            if name == stage.0 { format!("the learner's {name} stage") } else { name.to_owned() };
        format!("{name} ({} of all busy time)", percent(ratio(total_s, *busy_s)))
    }

    fn actor_part(&self) -> &'static str {
        if self.shares.act_s >= self.shares.env_s { "forward pass" } else { "environment" }
    }

    fn sleeps(&self) -> bool {
        self.shares.cores.asleep >= SLEEPS * self.summary.actors.len() as f64
    }
}

fn plain(text: String) -> Advice {
    Advice { text: format!("What would help most: {text}"), change: None }
}

fn with_change(text: String, change: Change) -> Advice {
    Advice { change: Some(change), ..plain(text) }
}
