//! PixelCatch-v0: a ball falls, a paddle at the bottom catches it; seen as a picture.
//!
//! Owns: the rules and the drawing. Knows nothing of vectors or learning. Built by the registry alone.
//!
//! Catch as in `bsuite` (I. Osband et al., "Behaviour Suite for Reinforcement Learning", arXiv 1908.03568), on
//! a square of 10 × 10 cells, drawn as large as one likes: the least task whose observation is a picture.

use serde::Deserialize;

use super::{ArgError, Env, NumpyRng, Transition};
use crate::space::{ActionSpace, ObsSpace, Spec};

/// Columns and rows of cells.
const SIDE: usize = 10;
/// The paddle's row.
const BOTTOM: usize = SIDE - 1;
/// What ball and paddle are drawn with, on black.
const WHITE: u8 = u8::MAX;

/// What a user may set.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PixelCatchArgs {
    /// Pixels of a row, and rows of pixels.
    size: usize,
}

impl Default for PixelCatchArgs {
    fn default() -> Self {
        PixelCatchArgs { size: 24 }
    }
}

/// Ball and paddle.
#[derive(Clone, Debug)]
pub struct PixelCatch {
    /// The ball's column and row.
    ball: [usize; 2],
    /// The paddle's column.
    paddle: usize,
    size: usize,
    np_random: NumpyRng,
}

impl PixelCatch {
    fn observe(&self, obs: &mut [u8]) {
        obs.fill(0);
        for [x, y] in [self.ball, [self.paddle, BOTTOM]] {
            // Cells of unlike sizes fill the picture where ten does not divide it.
            let edge = |cell| cell * self.size / SIDE;
            for row in obs.chunks_exact_mut(self.size).take(edge(y + 1)).skip(edge(y)) {
                row[edge(x)..edge(x + 1)].fill(WHITE);
            }
        }
    }
}

impl Env for PixelCatch {
    type Obs = [u8];
    type Action = usize;
    type Args = PixelCatchArgs;
    const ID: &'static str = "PixelCatch-v0";

    /// The threshold is nineteen balls of twenty; random play catches one of ten.
    fn spec(args: &PixelCatchArgs) -> Result<Spec, ArgError> {
        if !(24..=84).contains(&args.size) {
            return Err(ArgError::of("size", args.size, "must be 24 to 84 pixels"));
        }
        Ok(Spec {
            id: Self::ID.into(),
            obs: ObsSpace::image(1, args.size, args.size),
            actions: ActionSpace::Discrete(3),
            max_episode_steps: None,
            reward_threshold: Some(0.9),
        })
    }

    fn new(args: &PixelCatchArgs, seed: u128) -> Self {
        let np_random = NumpyRng::new(seed);
        PixelCatch { ball: [0; 2], paddle: 0, size: args.size, np_random }
    }

    /// The ball starts in a column of the top row, the paddle in the middle, as in `bsuite`.
    fn reset(&mut self, obs: &mut [u8]) {
        let column = (self.np_random.random() * SIDE as f64) as usize;
        (self.ball, self.paddle) = ([column, 0], SIDE / 2);
        self.observe(obs);
    }

    /// Action 0 moves the paddle to the left, 1 not at all, 2 to the right; the ball falls by a row. In the
    /// paddle's row the episode ends: reward 1 for a ball that is caught, else -1.
    fn step(&mut self, action: usize, obs: &mut [u8]) -> Transition {
        self.paddle = (self.paddle + action).saturating_sub(1).min(SIDE - 1);
        self.ball[1] += 1;
        self.observe(obs);
        let terminated = self.ball[1] == BOTTOM;
        let caught = if self.ball[0] == self.paddle { 1.0 } else { -1.0 };
        let reward = if terminated { caught } else { 0.0 };
        Transition { reward, terminated, truncated: false }
    }
}
