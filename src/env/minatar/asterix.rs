//! Asterix: gold and enemies cross eight rows; the player takes the one and evades the other.
//!
//! Owns: the rules. Built by the registry alone.

use super::super::Transition;
use super::game::{Game, Move, Plane, SIDE, one_on};
use super::legacy_rng::LegacyRng;

/// Steps between two ramps.
const RAMP_INTERVAL: i32 = 100;
/// Steps between two spawns, at first.
const SPAWN_SPEED: u32 = 10;
/// Steps between two moves of all things, at first.
const MOVE_SPEED: u32 = 5;

/// What crosses a row.
#[derive(Clone, Copy, Debug)]
struct Thing {
    x: usize,
    /// Cells to the right with each move.
    dx: isize,
    is_gold: bool,
}

/// The player, what crosses, and how fast.
#[derive(Clone, Debug)]
pub struct Asterix {
    x: usize,
    y: usize,
    /// Place k is row k + 1.
    places: [Option<Thing>; 8],
    spawn_speed: u32,
    spawn_timer: u32,
    move_speed: u32,
    move_timer: u32,
    difficulty_ramping: bool,
    ramp_timer: i32,
    ramp_idx: u32,
}

impl Asterix {
    /// Draws a thing, then a place for it if any is free.
    fn spawn(&mut self, rng: &mut LegacyRng) {
        let goes_right = rng.rand() < 0.5;
        let is_gold = rng.rand() < 1.0 / 3.0;
        let (x, dx) = if goes_right { (0, 1) } else { (SIDE - 1, -1) };
        let free = self.places.iter().filter(|place| place.is_none()).count() as u32;
        if free == 0 {
            return;
        }
        let nth = rng.randint(0, free) as usize;
        let place = self.places.iter_mut().filter(|place| place.is_none()).nth(nth);
        *place.expect("fewer than the free places precede it") = Some(Thing { x, dx, is_gold });
    }

    /// Gold in the player's cell is taken; an enemy ends the game.
    fn meet(&mut self, place: usize, transition: &mut Transition) {
        let is_met = |thing: &Thing| place + 1 == self.y && thing.x == self.x;
        match self.places[place].filter(is_met) {
            None => {}
            Some(Thing { is_gold: false, .. }) => transition.terminated = true,
            Some(_) => {
                transition.reward += 1.0;
                self.places[place] = None;
            }
        }
    }

    fn move_things(&mut self, transition: &mut Transition) {
        for place in 0..self.places.len() {
            self.places[place] = self.places[place]
                .and_then(|thing| Some(Thing { x: one_on(thing.x, thing.dx)?, ..thing }));
            self.meet(place, transition);
        }
    }

    /// Once in a while things appear sooner, and every second time they also move sooner.
    fn ramp(&mut self) {
        if self.spawn_speed <= 1 && self.move_speed <= 1 {
            return;
        }
        if self.ramp_timer >= 0 {
            self.ramp_timer -= 1;
            return;
        }
        if self.move_speed > 1 && self.ramp_idx % 2 == 1 {
            self.move_speed -= 1;
        }
        self.spawn_speed = (self.spawn_speed - 1).max(1);
        self.ramp_idx += 1;
        self.ramp_timer = RAMP_INTERVAL;
    }
}

impl Game for Asterix {
    const IDS: [&'static str; 2] = ["MinAtar/Asterix-v0", "MinAtar/Asterix-v1"];
    const MOVES: &'static [Move] = &[Move::Stay, Move::Left, Move::Up, Move::Right, Move::Down];
    /// Player, enemies, trail, gold.
    type Planes = [Plane; 4];

    fn new(difficulty_ramping: bool) -> Self {
        Asterix {
            x: 5,
            y: 5,
            places: [None; 8],
            spawn_speed: SPAWN_SPEED,
            spawn_timer: SPAWN_SPEED,
            move_speed: MOVE_SPEED,
            move_timer: MOVE_SPEED,
            difficulty_ramping,
            ramp_timer: RAMP_INTERVAL,
            ramp_idx: 0,
        }
    }

    fn reset(&mut self, _: &mut LegacyRng) {
        *self = Asterix::new(self.difficulty_ramping);
    }

    fn step(&mut self, action: Move, rng: &mut LegacyRng) -> Transition {
        let mut transition = Transition::default();
        if self.spawn_timer == 0 {
            self.spawn(rng);
            self.spawn_timer = self.spawn_speed;
        }
        self.x = self.x.saturating_add_signed(action.dx()).min(SIDE - 1);
        self.y = self.y.saturating_add_signed(action.dy()).clamp(1, SIDE - 2);
        self.meet(self.y - 1, &mut transition);
        if self.move_timer == 0 {
            self.move_timer = self.move_speed;
            self.move_things(&mut transition);
        }
        self.spawn_timer -= 1;
        self.move_timer -= 1;
        if self.difficulty_ramping {
            self.ramp();
        }
        transition
    }

    fn draw(&self, [player, enemies, trail, gold]: &mut [Plane; 4]) {
        player[self.y][self.x] = 1;
        for (place, y) in self.places.iter().zip(1..) {
            let Some(thing) = place else { continue };
            let plane = if thing.is_gold { &mut *gold } else { &mut *enemies };
            plane[y][thing.x] = 1;
            if let Some(behind) = one_on(thing.x, -thing.dx) {
                trail[y][behind] = 1;
            }
        }
    }
}
