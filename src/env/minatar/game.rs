//! What MinAtar's games have in common, and the environments that are made of them.
//!
//! Owns: [`Game`], which each game's file implements, and [`MinAtar`], which adds sticky actions and
//! arguments, maps indices to moves and draws. Knows no game.

use bytemuck::{Pod, Zeroable};
use serde::Deserialize;

use super::super::{ArgError, Env, Transition};
use super::legacy_rng::LegacyRng;
use crate::space::{ActionSpace, ObsSpace, Spec};

/// Cells of a row, and rows of the grid.
pub const SIDE: usize = 10;

/// Where one kind of thing is: `[y][x]`, y downwards, each cell 0 or 1.
pub type Plane = [[u8; SIDE]; SIDE];

/// What one can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nothing.
    Stay,
    /// One cell to the left.
    Left,
    /// One row up.
    Up,
    /// One cell to the right.
    Right,
    /// One row down.
    Down,
    /// A shot.
    Fire,
}

impl Move {
    /// All of them, in the order of the ids of version 0.
    const ALL: [Move; 6] = [Move::Stay, Move::Left, Move::Up, Move::Right, Move::Down, Move::Fire];

    /// Cells to the right.
    #[inline]
    pub fn dx(self) -> isize {
        isize::from(self == Move::Right) - isize::from(self == Move::Left)
    }

    /// Rows down.
    #[inline]
    pub fn dy(self) -> isize {
        isize::from(self == Move::Down) - isize::from(self == Move::Up)
    }
}

/// The cell that is `by` cells on in a row or a column; `None` outside the grid.
#[inline]
pub fn one_on(at: usize, by: isize) -> Option<usize> {
    at.checked_add_signed(by).filter(|&at| at < SIDE)
}

/// One game: its rules alone.
pub trait Game: 'static {
    /// Its ids: version 0 takes all six moves, version 1 the game's own.
    const IDS: [&'static str; 2];
    /// The moves of version 1; the other ones do nothing.
    const MOVES: &'static [Move];
    /// What is drawn: an array of [`Plane`]s, one for each kind of thing.
    type Planes: Pod;

    /// A game to be reset; whether it grows harder while it lasts, if it can.
    fn new(difficulty_ramping: bool) -> Self;

    /// Begins an episode.
    fn reset(&mut self, rng: &mut LegacyRng);

    /// One step. The end of the game sets a flag, and the rest of the step still happens.
    fn step(&mut self, action: Move, rng: &mut LegacyRng) -> Transition;

    /// Draws what there is on empty planes.
    fn draw(&self, planes: &mut Self::Planes);
}

/// Arguments of all games, by the names that the package has for them.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinAtarArgs {
    /// How likely a step takes the move of the step before.
    sticky_action_prob: f64,
    /// Whether Asterix, Seaquest and Space Invaders grow harder. The other two never do, and take it all the
    /// same, so that one command line fits all five.
    difficulty_ramping: bool,
}

impl Default for MinAtarArgs {
    fn default() -> Self {
        MinAtarArgs { sticky_action_prob: 0.1, difficulty_ramping: true }
    }
}

/// A game as an environment, by the version of its id.
#[derive(Debug)]
pub struct MinAtar<G, const VERSION: usize> {
    game: G,
    rng: LegacyRng,
    sticky_action_prob: f64,
    /// The move of the step before; a reset keeps it.
    last: Move,
}

impl<G: Game, const VERSION: usize> MinAtar<G, VERSION> {
    const MOVES: &'static [Move] = if VERSION == 0 { &Move::ALL } else { G::MOVES };

    #[inline]
    fn observe(&self, obs: &mut [u8]) {
        let planes: &mut G::Planes = bytemuck::from_bytes_mut(obs);
        *planes = G::Planes::zeroed();
        self.game.draw(planes);
    }
}

impl<G: Game, const VERSION: usize> Env for MinAtar<G, VERSION> {
    type Obs = [u8];
    type Action = usize;
    type Args = MinAtarArgs;
    const ID: &'static str = G::IDS[VERSION];

    fn spec(args: &MinAtarArgs) -> Result<Spec, ArgError> {
        let prob = args.sticky_action_prob;
        if !(0.0..=1.0).contains(&prob) {
            return Err(ArgError::of("sticky_action_prob", prob, "must be 0 to 1"));
        }
        Ok(Spec {
            id: Self::ID.into(),
            obs: ObsSpace::planes(size_of::<G::Planes>() / size_of::<Plane>(), SIDE, SIDE),
            actions: ActionSpace::Discrete(Self::MOVES.len()),
            max_episode_steps: None,
            reward_threshold: None,
        })
    }

    /// Of the seed, the low 32 bits count: the games' generator takes no more.
    fn new(args: &MinAtarArgs, seed: u128) -> Self {
        MinAtar {
            game: G::new(args.difficulty_ramping),
            rng: LegacyRng::new(seed as u32),
            sticky_action_prob: args.sticky_action_prob,
            last: Move::Stay,
        }
    }

    fn reset(&mut self, obs: &mut [u8]) {
        self.game.reset(&mut self.rng);
        self.observe(obs);
    }

    /// Draws whether the action sticks in every step, also where it never does.
    #[inline]
    fn step(&mut self, action: usize, obs: &mut [u8]) -> Transition {
        if self.rng.rand() >= self.sticky_action_prob {
            self.last = Self::MOVES[action];
        }
        let transition = self.game.step(self.last, &mut self.rng);
        self.observe(obs);
        transition
    }
}
