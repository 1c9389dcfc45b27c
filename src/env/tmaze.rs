//! TMaze-v0: a corridor that ends in a junction; the way to turn there is shown at its start alone.
//!
//! Owns: the rules. Knows nothing of vectors or learning. Built by the registry alone.
//!
//! The T-maze of B. Bakker, "Reinforcement Learning with Long Short-Term Memory" (NeurIPS 2001), section 4.1: the least
//! task that cannot be learned without memory, however long the corridor is made.

use serde::Deserialize;

use super::{ArgError, Env, NumpyRng, Transition};
use crate::space::{ActionSpace, ObsSpace, Spec};

/// For the right turn.
const GOAL: f32 = 4.0;
/// For the wrong turn, and for each step that does not lead on.
const COST: f32 = -0.1;
/// Steps of an episode for each step of the corridor.
const STEPS_A_CELL: u32 = 4;
/// The longest corridor: a thousand rollouts of the default length, over which nobody learns any more.
const MAX_LENGTH: u32 = 20_000;

/// What a user may set.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TMazeArgs {
    /// Steps from the start to the junction.
    length: u32,
}

impl Default for TMazeArgs {
    fn default() -> Self {
        TMazeArgs { length: 10 }
    }
}

/// Who walks the maze.
#[derive(Clone, Debug)]
pub struct TMaze {
    length: u32,
    /// Steps from the start.
    position: u32,
    /// Whether the goal lies to the left.
    is_left: bool,
    np_random: NumpyRng,
}

impl TMaze {
    fn is_at_junction(&self) -> bool {
        self.position == self.length
    }
}

impl Env for TMaze {
    /// 1 for left or -1 for right in the first observation, else 0; 1 at the junction, else 0.
    type Obs = [f32; 2];
    type Action = usize;
    type Args = TMazeArgs;
    const ID: &'static str = "TMaze-v0";

    /// Who walks on and guesses has (4 - 0.1) / 2 = 1.95; who remembers 4.
    fn spec(args: &TMazeArgs) -> Result<Spec, ArgError> {
        if !(1..=MAX_LENGTH).contains(&args.length) {
            let remedy = format!("must be 1 to {MAX_LENGTH} steps");
            return Err(ArgError::of("length", args.length, &remedy));
        }
        Ok(Spec {
            id: Self::ID.into(),
            obs: ObsSpace::vector(2),
            actions: ActionSpace::Discrete(4),
            max_episode_steps: Some(STEPS_A_CELL * args.length),
            reward_threshold: Some(3.9),
        })
    }

    fn new(args: &TMazeArgs, seed: u128) -> Self {
        let np_random = NumpyRng::new(seed);
        TMaze { length: args.length, position: 0, is_left: false, np_random }
    }

    fn reset(&mut self, obs: &mut [f32; 2]) {
        (self.position, self.is_left) = (0, self.np_random.random() < 0.5);
        *obs = [if self.is_left { 1.0 } else { -1.0 }, 0.0];
    }

    /// Action 0 walks on, 1 turns to the left, 2 to the right, 3 walks back. A turn at the junction ends the episode;
    /// elsewhere a turn meets a wall, as does walking on at the junction, and walking back at the start.
    fn step(&mut self, action: usize, obs: &mut [f32; 2]) -> Transition {
        let (was_at_junction, is_turn) = (self.is_at_junction(), matches!(action, 1 | 2));
        let terminated = was_at_junction && is_turn;
        let is_goal = terminated && (action == 1) == self.is_left;
        let leads_on = action == 0 && !was_at_junction;
        match action {
            0 => self.position = (self.position + 1).min(self.length),
            3 => self.position = self.position.saturating_sub(1),
            _ => {}
        }
        *obs = [0.0, if self.is_at_junction() { 1.0 } else { 0.0 }];
        let reward = match (is_goal, leads_on) {
            (true, _) => GOAL,
            (_, true) => 0.0,
            _ => COST,
        };
        Transition { reward, terminated, truncated: false }
    }
}
