//! What a frame shows and what one can do in it: plain data, known when the program runs.
//!
//! Owns [`Spec`], which an environment states of itself before any is built and which travels whole: into the
//! configuration, the checkpoint, the note of a running run. Knows no environment, no network and no slot;
//! only how numbers of one frame lie beside those of the others ([`Obs`], [`Actions`]).

mod action;
mod number;
mod obs;
mod raw;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use action::{ActionBuffer, ActionSpace, Actions, ActionsMut};
pub use number::{Number, Numbers};
pub use obs::{InputMap, Obs, ObsBuffer, ObsMut, ObsSpace};
pub use raw::ActionMap;

/// What is known of an environment before any is built, in the terms of Gymnasium's registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its id, version included, such as `CartPole-v1`.
    pub id: String,
    /// What it shows.
    pub obs: ObsSpace,
    /// What can be done.
    pub actions: ActionSpace,
    /// Steps after which an episode is truncated; `None` where only the environment ends one.
    pub max_episode_steps: Option<u32>,
    /// Mean undiscounted return from which the task counts as solved; `None` where nobody has said.
    pub reward_threshold: Option<f64>,
}

impl Spec {
    /// What is wrong with it, if anything is.
    pub fn fault(&self) -> Option<String> {
        let limit = self.max_episode_steps == Some(0);
        let limit = limit.then(|| "max_episode_steps = 0: an episode has at least one step".into());
        let threshold = self.reward_threshold.filter(|threshold| !threshold.is_finite());
        let threshold = threshold.map(|threshold| format!("reward_threshold = {threshold}"));
        self.obs.fault().or_else(|| self.actions.fault()).or(limit).or(threshold)
    }

    /// Whether what one network takes and says is what the other's does.
    pub fn has_spaces_of(&self, other: &Spec) -> bool {
        self.obs == other.obs && self.actions == other.actions
    }

    /// Both spaces in words.
    pub fn spaces(&self) -> String {
        format!("observations {}, actions {}", self.obs, self.actions)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.spaces())?;
        match self.max_episode_steps {
            Some(steps) => write!(f, ", at most {steps} steps an episode")?,
            None => write!(f, ", no time limit")?,
        }
        match self.reward_threshold {
            Some(threshold) => write!(f, ", solved at a mean return of {threshold}"),
            None => write!(f, ", no threshold"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            id: "Maze-v0".into(),
            obs: ObsSpace::image(4, 84, 84),
            actions: ActionSpace::MultiDiscrete(vec![3, 2]),
            max_episode_steps: None,
            reward_threshold: Some(9.5),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let vector = Spec {
            obs: ObsSpace::bounded(&[[-1.2, 0.6], [-0.07, 0.07]]),
            actions: ActionSpace::Box { low: vec![-2.0], high: vec![2.0] },
            max_episode_steps: Some(200),
            reward_threshold: None,
            ..spec()
        };
        for spec in [spec(), vector] {
            let text = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec, "{text}");
        }
    }

    #[test]
    fn people_read_it_in_a_line() {
        let line = "Maze-v0: observations u8 [4, 84, 84], actions MultiDiscrete [3, 2], no time limit, solved \
                    at a mean return of 9.5";
        assert_eq!(spec().to_string(), line);
    }

    #[test]
    fn what_cannot_be_is_found() {
        assert_eq!(spec().fault(), None);
        let with = |change: fn(&mut Spec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.fault().unwrap()
        };
        assert!(with(|spec| spec.obs = ObsSpace::vector(0)).contains("no number"));
        assert!(with(|spec| spec.obs = ObsSpace::image(3, 0, 2)).contains("[3, 0, 2]"));
        let black = |spec: &mut Spec| spec.obs = ObsSpace::Image { shape: [1, 2, 2], high: 0 };
        assert!(with(black).contains("largest pixel is 0"));
        assert!(with(|spec| spec.obs = ObsSpace::bounded(&[[1.0, 1.0]])).contains("[1.0, 1.0]"));
        assert!(with(|spec| spec.actions = ActionSpace::Discrete(0)).contains("Discrete(0)"));
        assert!(with(|spec| spec.actions = ActionSpace::MultiDiscrete(vec![])).contains("[]"));
        let uneven = |spec: &mut Spec| {
            spec.actions = ActionSpace::Box { low: vec![0.0], high: vec![] };
        };
        assert!(with(uneven).contains("1 low"));
        assert!(with(|spec| spec.max_episode_steps = Some(0)).contains("max_episode_steps"));
        assert!(with(|spec| spec.reward_threshold = Some(f64::NAN)).contains("NaN"));
    }
}
