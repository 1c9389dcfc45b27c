//! Space Invaders: a cannon shoots at aliens, which come nearer and shoot back.
//!
//! Owns: the rules. Built by the registry alone.

use super::super::Transition;
use super::game::{Game, Move, Plane, SIDE};
use super::legacy_rng::LegacyRng;

/// The cannon's row.
const BOTTOM: usize = SIDE - 1;
/// Steps between two shots of the cannon.
const SHOT_PAUSE: u32 = 5;
/// Steps between two moves of the aliens, at first, where they are as many.
const MOVE_INTERVAL: u32 = 12;
/// The aliens' ramp stops here.
const MIN_MOVE_INTERVAL: u32 = 6;
/// Steps between two shots of the aliens.
const ENEMY_SHOT_INTERVAL: u32 = 10;

/// The cannon, the aliens, and all bullets.
#[derive(Clone, Debug)]
pub struct SpaceInvaders {
    cannon: usize,
    aliens: Plane,
    go_right: bool,
    bullets: Plane,
    enemy_bullets: Plane,
    shot_timer: u32,
    enemy_shot_timer: u32,
    move_interval: u32,
    move_timer: u32,
    difficulty_ramping: bool,
}

impl SpaceInvaders {
    fn line_up(&mut self) {
        for row in &mut self.aliens[..4] {
            row[2..8].fill(1);
        }
    }

    fn n_aliens(&self) -> u32 {
        self.aliens.as_flattened().iter().sum::<u8>().into()
    }

    /// One row up, or down for the aliens' bullets; those that leave the grid are gone.
    fn move_bullets(&mut self) {
        self.bullets.copy_within(1.., 0);
        self.bullets[BOTTOM] = [0; SIDE];
        self.enemy_bullets.copy_within(..BOTTOM, 1);
        self.enemy_bullets[0] = [0; SIDE];
    }

    /// One column on; at the edge one row down instead, and back from there. Whether they have landed.
    fn march(&mut self) -> bool {
        let edge = if self.go_right { SIDE - 1 } else { 0 };
        if self.aliens.iter().all(|row| row[edge] == 0) {
            let by = if self.go_right { 1 } else { SIDE - 1 };
            self.aliens.iter_mut().for_each(|row| row.rotate_right(by));
            return false;
        }
        self.go_right = !self.go_right;
        let has_landed = self.aliens[BOTTOM] != [0; SIDE];
        self.aliens.rotate_right(1);
        has_landed
    }

    /// A bullet from the lowest alien of the column nearest to the cannon; of two as near, the left one.
    fn shoot_back(&mut self) {
        let lowest = |x: usize| Some((x, self.aliens.iter().rposition(|row| row[x] == 1)?));
        let near = (0..SIDE).flat_map(|far| {
            [self.cannon.checked_sub(far), Some(self.cannon + far).filter(|&x| x < SIDE)]
        });
        if let Some((x, y)) = near.flatten().find_map(lowest) {
            self.enemy_bullets[y][x] = 1;
        }
    }

    /// Aliens and bullets that share a cell both go; how many aliens did.
    fn hit(&mut self) -> u8 {
        let aliens = self.aliens.as_flattened_mut().iter_mut();
        let pairs = aliens.zip(self.bullets.as_flattened_mut());
        pairs
            .map(|(alien, bullet)| {
                let hit = *alien & *bullet;
                *alien ^= hit;
                *bullet ^= hit;
                hit
            })
            .sum()
    }
}

impl Game for SpaceInvaders {
    const IDS: [&'static str; 2] = ["MinAtar/SpaceInvaders-v0", "MinAtar/SpaceInvaders-v1"];
    const MOVES: &'static [Move] = &[Move::Stay, Move::Left, Move::Right, Move::Fire];
    /// Cannon, aliens, aliens that go left, aliens that go right, bullets, the aliens' bullets.
    type Planes = [Plane; 6];

    fn new(difficulty_ramping: bool) -> Self {
        let mut game = SpaceInvaders {
            cannon: 5,
            aliens: Plane::default(),
            go_right: false,
            bullets: Plane::default(),
            enemy_bullets: Plane::default(),
            shot_timer: 0,
            enemy_shot_timer: ENEMY_SHOT_INTERVAL,
            move_interval: MOVE_INTERVAL,
            move_timer: MOVE_INTERVAL,
            difficulty_ramping,
        };
        game.line_up();
        game
    }

    fn reset(&mut self, _: &mut LegacyRng) {
        *self = SpaceInvaders::new(self.difficulty_ramping);
    }

    fn step(&mut self, action: Move, _: &mut LegacyRng) -> Transition {
        let mut is_over = false;
        if action == Move::Fire && self.shot_timer == 0 {
            self.bullets[BOTTOM][self.cannon] = 1;
            self.shot_timer = SHOT_PAUSE;
        }
        self.cannon = self.cannon.saturating_add_signed(action.dx()).min(SIDE - 1);
        self.move_bullets();
        is_over |= self.enemy_bullets[BOTTOM][self.cannon] == 1;
        is_over |= self.aliens[BOTTOM][self.cannon] == 1;
        if self.move_timer == 0 {
            self.move_timer = self.n_aliens().min(self.move_interval);
            is_over |= self.march();
            is_over |= self.aliens[BOTTOM][self.cannon] == 1;
        }
        if self.enemy_shot_timer == 0 {
            self.enemy_shot_timer = ENEMY_SHOT_INTERVAL;
            self.shoot_back();
        }
        let n_hit = self.hit();
        self.shot_timer = self.shot_timer.saturating_sub(1);
        self.move_timer -= 1;
        self.enemy_shot_timer -= 1;
        // Only a hit takes the last one.
        if n_hit > 0 && self.n_aliens() == 0 {
            if self.difficulty_ramping && self.move_interval > MIN_MOVE_INTERVAL {
                self.move_interval -= 1;
            }
            self.line_up();
        }
        Transition { reward: n_hit.into(), terminated: is_over, truncated: false }
    }

    fn draw(&self, planes: &mut [Plane; 6]) {
        let [cannon, aliens, go_left, go_right, bullets, enemy_bullets] = planes;
        cannon[BOTTOM][self.cannon] = 1;
        *aliens = self.aliens;
        *(if self.go_right { go_right } else { go_left }) = self.aliens;
        *bullets = self.bullets;
        *enemy_bullets = self.enemy_bullets;
    }
}
