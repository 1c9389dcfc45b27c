//! Breakout: a paddle keeps a ball in play, which takes bricks away.
//!
//! Owns: the rules. Built by the registry alone.

use super::super::Transition;
use super::game::{Game, Move, Plane, SIDE, one_on};
use super::legacy_rng::LegacyRng;

/// Rows of bricks.
const WALL: std::ops::RangeInclusive<usize> = 1..=3;
/// The row of the paddle.
const BOTTOM: usize = SIDE - 1;

/// Paddle, ball and bricks.
#[derive(Clone, Debug, Default)]
pub struct Breakout {
    paddle: usize,
    x: usize,
    y: usize,
    /// Where the ball goes: a cell to the left or right, and a cell up or down.
    dx: isize,
    dy: isize,
    /// x and y of the step before.
    trail: [usize; 2],
    bricks: Plane,
    /// The ball has taken a brick and touched bricks ever since: it takes no other.
    has_struck: bool,
}

impl Breakout {
    /// What the brick in the ball's new cell does to the ball.
    fn strike(&mut self, x: usize, y: usize) -> (usize, f32) {
        if std::mem::replace(&mut self.has_struck, true) {
            return (y, 0.0);
        }
        self.bricks[y][x] = 0;
        self.dy = -self.dy;
        (self.y, 1.0)
    }

    /// The row that a ball which comes to the paddle's row takes in column x, and whether the game is over.
    fn land(&mut self, x: usize) -> (usize, bool) {
        if self.bricks == Plane::default() {
            self.bricks[WALL].fill([1; SIDE]);
        }
        if self.x == self.paddle {
            self.dy = -self.dy;
        } else if x == self.paddle {
            (self.dx, self.dy) = (-self.dx, -self.dy);
        } else {
            return (BOTTOM, true);
        }
        (self.y, false)
    }
}

impl Game for Breakout {
    const IDS: [&'static str; 2] = ["MinAtar/Breakout-v0", "MinAtar/Breakout-v1"];
    const MOVES: &'static [Move] = &[Move::Stay, Move::Left, Move::Right];
    /// Paddle, ball, trail, bricks.
    type Planes = [Plane; 4];

    /// It never grows harder.
    fn new(_: bool) -> Self {
        Breakout::default()
    }

    fn reset(&mut self, rng: &mut LegacyRng) {
        let (x, dx) = if rng.randint(0, 2) == 0 { (0, 1) } else { (SIDE - 1, -1) };
        *self = Breakout { paddle: 4, x, y: 3, dx, dy: 1, trail: [x, 3], ..Breakout::default() };
        self.bricks[WALL].fill([1; SIDE]);
    }

    fn step(&mut self, action: Move, _: &mut LegacyRng) -> Transition {
        self.paddle = self.paddle.saturating_add_signed(action.dx()).min(SIDE - 1);
        self.trail = [self.x, self.y];
        let x = one_on(self.x, self.dx).unwrap_or_else(|| {
            self.dx = -self.dx;
            self.x
        });
        let mut transition = Transition::default();
        let mut is_touching = false;
        let y = match one_on(self.y, self.dy) {
            None => {
                self.dy = -self.dy;
                0
            }
            Some(y) if self.bricks[y][x] == 1 => {
                is_touching = true;
                let (y, reward) = self.strike(x, y);
                transition.reward = reward;
                y
            }
            Some(BOTTOM) => {
                let (y, is_over) = self.land(x);
                transition.terminated = is_over;
                y
            }
            Some(y) => y,
        };
        self.has_struck &= is_touching;
        (self.x, self.y) = (x, y);
        transition
    }

    fn draw(&self, [paddle, ball, trail, bricks]: &mut [Plane; 4]) {
        paddle[BOTTOM][self.paddle] = 1;
        ball[self.y][self.x] = 1;
        let [x, y] = self.trail;
        trail[y][x] = 1;
        *bricks = self.bricks;
    }
}
