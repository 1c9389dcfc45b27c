//! Freeway: a chicken crosses eight lanes of cars, as often as it can while the clock runs.
//!
//! Owns: the rules. Built by the registry alone.

use super::super::Transition;
use super::game::{Game, Move, Plane, SIDE};
use super::legacy_rng::LegacyRng;

/// The chicken's column.
const COLUMN: usize = 4;
/// The row from which the chicken starts.
const START: usize = SIDE - 1;
/// The chicken moves, then waits so many steps.
const MOVE_PAUSE: u32 = 3;
/// Steps of a game, less one.
const TIME: u32 = 2500;

/// A car; car i drives in row i + 1.
#[derive(Clone, Copy, Debug, Default)]
struct Car {
    x: usize,
    timer: u32,
    /// It moves a cell once in as many steps and one; negative to the left.
    speed: i32,
}

impl Car {
    /// The cell that is one on, or one back with `by` = -1, around the edge.
    fn neighbour(&self, by: isize) -> usize {
        let x = self.x as isize + by * self.speed.signum() as isize;
        x.rem_euclid(SIDE as isize) as usize
    }
}

/// The chicken and the cars.
#[derive(Clone, Debug, Default)]
pub struct Freeway {
    y: usize,
    cars: [Car; 8],
    move_timer: u32,
    clock: u32,
}

impl Freeway {
    /// All sizes are drawn before all signs.
    fn draw_speeds(&mut self, rng: &mut LegacyRng) {
        for car in &mut self.cars {
            car.timer = rng.randint(1, 6);
        }
        for car in &mut self.cars {
            let draw = rng.rand();
            // Exactly a half has neither sign: such a car stands still.
            let sign = i32::from(draw > 0.5) - i32::from(draw < 0.5);
            car.speed = sign * car.timer as i32;
            car.timer = car.speed.unsigned_abs();
        }
    }

    /// Moves the cars in turn; one that is on the chicken before or after its move sends it back.
    fn drive(&mut self) {
        for (car, row) in self.cars.iter_mut().zip(1..) {
            let meets = |car: &Car, y| car.x == COLUMN && row == y;
            if meets(car, self.y) {
                self.y = START;
            }
            if car.timer > 0 {
                car.timer -= 1;
                continue;
            }
            car.timer = car.speed.unsigned_abs();
            car.x = car.neighbour(1);
            if meets(car, self.y) {
                self.y = START;
            }
        }
    }
}

impl Game for Freeway {
    const IDS: [&'static str; 2] = ["MinAtar/Freeway-v0", "MinAtar/Freeway-v1"];
    const MOVES: &'static [Move] = &[Move::Stay, Move::Up, Move::Down];
    /// Chicken, cars, and behind each car its speed, 1 to 5.
    type Planes = [Plane; 7];

    /// It never grows harder.
    fn new(_: bool) -> Self {
        Freeway::default()
    }

    fn reset(&mut self, rng: &mut LegacyRng) {
        let cars = Default::default();
        *self = Freeway { y: START, cars, move_timer: MOVE_PAUSE, clock: TIME };
        self.draw_speeds(rng);
    }

    fn step(&mut self, action: Move, rng: &mut LegacyRng) -> Transition {
        let mut transition = Transition::default();
        if action.dy() != 0 && self.move_timer == 0 {
            self.move_timer = MOVE_PAUSE;
            self.y = self.y.saturating_add_signed(action.dy()).min(SIDE - 1);
        }
        if self.y == 0 {
            transition.reward = 1.0;
            self.draw_speeds(rng);
            self.y = START;
        }
        self.drive();
        self.move_timer = self.move_timer.saturating_sub(1);
        match self.clock.checked_sub(1) {
            Some(clock) => self.clock = clock,
            None => transition.terminated = true,
        }
        transition
    }

    fn draw(&self, [chicken, cars, speeds @ ..]: &mut [Plane; 7]) {
        chicken[self.y][COLUMN] = 1;
        for (car, y) in self.cars.iter().zip(1..) {
            cars[y][car.x] = 1;
            if let Some(speed) = car.speed.unsigned_abs().checked_sub(1) {
                speeds[speed as usize][y][car.neighbour(-1)] = 1;
            }
        }
    }
}
