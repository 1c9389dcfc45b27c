//! What settings may not be, alone and beside one another: the first that is wrong is named, with a remedy.

use super::setting::Visited;
use super::{Config, ConfigError, LossSettings, value};
use crate::space::Spec;

/// The longest name of a run, and of a tag.
const MAX_NAME_BYTES: usize = 64;

impl Config {
    /// Checks every setting on its own and against the others.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_limits()?;
        self.check_names()?;
        let spec = self.spec()?;
        self.simd()?;
        self.backend(&self.network(&spec)?)?;
        self.check_threshold(&spec)?;
        self.check_tasks()?;
        self.check_batch(self.n_slots())?;
        self.check_budget()?;
        self.check_threads()?;
        self.check_batch_threads(&spec)?;
        self.check_distributed()?;
        self.check_deterministic()
    }

    /// Each setting within its own limits.
    fn check_limits(&self) -> Result<(), ConfigError> {
        for Visited { path, setting, value: given } in self.visited() {
            if let Some(given) = given.filter(|given| !given.is_within(&setting.allowed)) {
                let remedy = format!("must be {}", setting.allowed);
                return Err(value(&path, given.to_toml(), remedy));
            }
        }
        Ok(())
    }

    /// A name becomes part of a folder's, and a tag stands among others between commas.
    fn check_names(&self) -> Result<(), ConfigError> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        let is_word = |word: &str| word.chars().all(is_plain) && word.len() <= MAX_NAME_BYTES;
        let remedy = |least: &str, first: &str| {
            let letters = "letters, digits, dots, dashes and underscores";
            format!("must be {least} to {MAX_NAME_BYTES} {letters}{first}")
        };
        if !is_word(&self.name) || self.name.starts_with(['.', '-']) {
            return Err(value("name", &self.name, remedy("0", ", the first no dot and no dash")));
        }
        match self.tags.iter().find(|tag| !is_word(tag) || tag.is_empty()) {
            Some(tag) if tag.is_empty() => Err(value("tags", "\"\"", remedy("1", ""))),
            Some(tag) => Err(value("tags", tag, remedy("1", ""))),
            None => Ok(()),
        }
    }

    /// Around the engine's own environments, which are no Python's, there would be none.
    pub(super) fn check_wrappers(&self) -> Result<(), ConfigError> {
        let is_own = |task: &&str| self.environments.ids().any(|id| id == *task);
        match self.tasks().into_iter().find(is_own) {
            Some(own) if !self.env_wrappers.is_empty() => {
                let remedy = format!(
                    "must be left out for {own}, which runs without Python; wrappers are for environments of Python, \
                     such as gym:CartPole-v1"
                );
                Err(value("env_wrappers", self.env_wrappers.join(", "), remedy))
            }
            _ => Ok(()),
        }
    }

    /// Nothing is solved where nobody has said from which score on.
    fn check_threshold(&self, spec: &Spec) -> Result<(), ConfigError> {
        if !self.stop_when_solved || spec.reward_threshold.is_some() {
            return Ok(());
        }
        let remedy =
            format!("must be false: {} has no score from which it counts as solved", self.env);
        Err(value("stop_when_solved", true, remedy))
    }

    /// Each task needs an actor, and what a run of several does not do is refused by name.
    fn check_tasks(&self) -> Result<(), ConfigError> {
        let (n_tasks, n_actors) = (self.n_tasks(), self.actors.count);
        let n_scales = self.loss.task_reward_scales.len();
        if !n_actors.is_multiple_of(n_tasks) {
            let (less, more) = (n_actors / n_tasks * n_tasks, n_actors.next_multiple_of(n_tasks));
            let which = if less == 0 { more.to_string() } else { format!("{less} or {more}") };
            let remedy = format!("must be a multiple of {n_tasks}, the tasks of env: take {which}");
            return Err(value("actors.count", n_actors, remedy));
        }
        if n_scales > 0 && (n_scales != n_tasks || n_tasks == 1) {
            let remedy = match n_tasks {
                1 => "must be empty where env is one task; set loss.reward_scale".into(),
                _ => format!("must be {n_tasks} numbers, one for each task of env, or none"),
            };
            let scales = format!("{:?}", self.loss.task_reward_scales);
            return Err(value("loss.task_reward_scales", scales, remedy));
        }
        if n_tasks > 1 && self.eval.is_on() {
            let remedy = "must be 0 where env is several tasks: each is evaluated at the end";
            return Err(value("eval.interval_s", self.eval.interval_s, remedy.into()));
        }
        Ok(())
    }

    /// A batch can never hold more slots than all rings have: the learner would wait for ever.
    fn check_batch(&self, n_slots: usize) -> Result<(), ConfigError> {
        let slots = self.loss.batch_slots;
        if slots <= n_slots {
            return Ok(());
        }
        let remedy = format!(
            "must be 1 to {n_slots}, the slots of all rings; \
             raise actors.count or actors.slots_per_actor for larger batches"
        );
        Err(value("loss.batch_slots", slots, remedy))
    }

    /// One update learns from a whole batch: a budget that is smaller would be overdrawn by it.
    fn check_budget(&self) -> Result<(), ConfigError> {
        let (slots, steps) = (self.loss.batch_slots as u64, self.actors.unroll_length as u64);
        let (envs, ranks) = (self.actors.envs_per_actor as u64, self.rank.of as u64);
        let batch_frames = slots * steps * envs * ranks;
        if batch_frames <= self.frames {
            return Ok(());
        }
        let of_ranks = if ranks > 1 { format!(", × {ranks} ranks") } else { String::new() };
        let remedy = format!(
            "must be {batch_frames} or more, the frames of one batch: loss.batch_slots {slots} × \
             actors.envs_per_actor {envs} × actors.unroll_length {steps}{of_ranks}; lower one of these for a smaller \
             budget"
        );
        Err(value("frames", self.frames, remedy))
    }

    /// A thread for which there is never a batch would only wait.
    fn check_threads(&self) -> Result<(), ConfigError> {
        let n_batches = self.ring_batches();
        if self.learner_threads <= n_batches {
            return Ok(());
        }
        let remedy = format!(
            "must be at most {n_batches}: each thread needs a batch of its own, and all rings together hold \
             {n_batches}; raise actors.count or actors.slots_per_actor, or lower loss.batch_slots"
        );
        Err(value("learner_threads", self.learner_threads, remedy))
    }

    /// One lane's batch is shared, and its network is one that can be.
    fn check_batch_threads(&self, spec: &Spec) -> Result<(), ConfigError> {
        let (n_lanes, network) = (self.n_learner_threads(), self.network(spec)?);
        let remedy = if self.batch_threads <= 1 {
            return Ok(());
        } else if !self.can_share(&network) {
            let name = network.name();
            format!("must be 1 for {name}: threads share batches of MinAtar's network of our own")
        } else if n_lanes > 1 {
            format!("must be 1 with learner_threads = {n_lanes}, of which each has its own batch")
        } else {
            return Ok(());
        };
        Err(value("batch_threads", self.batch_threads, remedy))
    }

    /// A log of slots has all of a run, and so have statistics of what was observed.
    fn check_distributed(&self) -> Result<(), ConfigError> {
        if self.rank.is_alone() {
            return Ok(());
        }
        let statistics = "each would have statistics of its own";
        let normalizes = self.network.normalize_observations;
        let LossSettings { reward_norm, popart, epochs, .. } = self.loss;
        let (yes, no) = (|| true.to_string(), "false");
        let unfit = [
            (self.log_slots, "log_slots", yes(), no, "each has a part of the slots"),
            (normalizes, "network.normalize_observations", yes(), no, statistics),
            (reward_norm, "loss.reward_norm", yes(), no, statistics),
            (
                self.n_tasks() > 1,
                "env",
                self.env.clone(),
                "one task",
                "what they exchange is of one",
            ),
            (popart > 0.0, "loss.popart", popart.to_string(), "0", statistics),
            (epochs > 1, "loss.epochs", epochs.to_string(), "1", "a batch has one round"),
        ];
        match unfit.into_iter().find(|(is_unfit, ..)| *is_unfit) {
            None => Ok(()),
            Some((_, field, given, fit, reason)) => {
                let remedy = format!("must be {fit} where several ranks learn: {reason}");
                Err(value(field, given, remedy))
            }
        }
    }

    /// A deterministic run learns from all slots of all rings, in order, before it hands one back.
    fn check_deterministic(&self) -> Result<(), ConfigError> {
        let (n_slots, n_batches) = (self.n_slots(), self.ring_batches());
        let LossSettings { batch_slots, max_policy_lag, .. } = self.loss;
        // Slots are all acted with the weights from before the first batch.
        let lag = n_batches as u64 - 1;
        if !self.deterministic {
            Ok(())
        } else if self.learner_threads > 1 {
            let remedy = "a deterministic run learns with one thread: take 1".into();
            Err(value("learner_threads", self.learner_threads, remedy))
        } else if !n_slots.is_multiple_of(batch_slots) {
            let remedy =
                format!("must divide {n_slots}, the slots of all rings, in a deterministic run");
            Err(value("loss.batch_slots", batch_slots, remedy))
        } else if max_policy_lag < lag {
            let remedy =
                format!("must be {lag} or more: a deterministic run would drop every slot beyond");
            Err(value("loss.max_policy_lag", max_policy_lag, remedy))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_words() {
        let with = |name: &str, tags: &[&str]| {
            let tags = tags.iter().map(|tag| (*tag).into()).collect();
            Config { name: name.into(), tags, ..Config::default() }.check()
        };
        with("pong.lr-3e_4", &["first", "2026"]).unwrap();
        for (name, tags, field) in [
            ("a/b", &[][..], "name"),
            ("..", &[], "name"),
            ("-x", &[], "name"),
            (&"n".repeat(65), &[], "name"),
            ("", &["a,b"], "tags"),
            ("", &["a", ""], "tags"),
        ] {
            let refused = with(name, tags).unwrap_err().to_string();
            assert!(refused.starts_with(field), "{refused}");
        }
    }
}
