//! Seaquest: a submarine saves divers from fish and enemy submarines, and comes up for air.
//!
//! Owns: the rules. Built by the registry alone.
//!
//! What swims and flies stands in lists in order of appearance, which are passed through from the last place
//! to the first. What goes takes the *first* that equals it out of its list, which may be an older twin. Then
//! what stands behind moves up a place, and the one at hand comes up a second time in the same pass.

use super::super::Transition;
use super::game::{Game, Move, Plane, SIDE, one_on};
use super::legacy_rng::LegacyRng;

/// Steps under water with full tanks.
const OXYGEN: i32 = 200;
/// Divers that fit on board.
const BOARD: i32 = 6;
/// Steps between two enemies, at first.
const ENEMY_SPAWN: u32 = 20;
/// Steps between two divers.
const DIVER_SPAWN: u32 = 30;
/// Steps between two moves of an enemy, at first, less one.
const ENEMY_MOVE: u32 = 5;
/// Steps between two moves of a diver, less one.
const DIVER_MOVE: u32 = 5;
/// Steps between two shots of the player.
const SHOT_PAUSE: u32 = 5;
/// Steps between two shots of an enemy submarine, less one.
const ENEMY_SHOT: u32 = 10;
/// Room of each list, which never grows: an enemy crosses in 60 steps while one appears in 19 or more, and in
/// 30 steps once one appears in each.
const ROOM: usize = 64;

/// Which enemies.
const FISH: usize = 0;
const SUBS: usize = 1;

/// A cell and the way from there; a bullet is nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Body {
    x: usize,
    y: usize,
    /// Cells to the right with each move.
    dx: isize,
}

impl Body {
    fn is_at(&self, other: &Body) -> bool {
        (self.x, self.y) == (other.x, other.y)
    }

    /// One cell on; `None` outside the grid.
    fn advanced(self) -> Option<Body> {
        Some(Body { x: one_on(self.x, self.dx)?, ..self })
    }

    fn draw(&self, plane: &mut Plane) {
        plane[self.y][self.x] = 1;
    }

    /// The cell behind, if it is inside.
    fn draw_trail(&self, plane: &mut Plane) {
        if let Some(x) = one_on(self.x, -self.dx) {
            plane[self.y][x] = 1;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Diver {
    body: Body,
    move_timer: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Enemy {
    body: Body,
    move_timer: u32,
    /// A fish has none.
    shot_timer: Option<u32>,
}

/// The player's submarine, all that is around it, and how fast.
#[derive(Clone, Debug, Default)]
pub struct Seaquest {
    player: Body,
    oxygen: i32,
    /// May fall below 0: each surfacing takes one.
    n_on_board: i32,
    is_at_surface: bool,
    bullets: Vec<Body>,
    divers: Vec<Diver>,
    /// By [`FISH`] and [`SUBS`].
    enemies: [Vec<Enemy>; 2],
    enemy_bullets: Vec<Body>,
    shot_timer: u32,
    diver_timer: u32,
    spawn_speed: u32,
    spawn_timer: u32,
    move_speed: u32,
    difficulty_ramping: bool,
    ramp_idx: u32,
}

/// Takes the first that equals the one at `place` out. Where that one stands now, unless it went itself.
fn remove_equal<T: PartialEq>(list: &mut Vec<T>, place: usize) -> Option<usize> {
    let first = (0..place).find(|&older| list[older] == list[place]);
    list.remove(first.unwrap_or(place));
    first.map(|_| place - 1)
}

/// Takes the first that is so out; whether there was one.
fn remove_first<T>(list: &mut Vec<T>, is_so: impl Fn(&T) -> bool) -> bool {
    let first = list.iter().position(is_so);
    first.map(|first| list.remove(first)).is_some()
}

/// At the left or right edge, in a row that is drawn before anything else is done.
fn at_edge(goes_right: bool, rng: &mut LegacyRng) -> Body {
    let (x, dx) = if goes_right { (0, 1) } else { (SIDE - 1, -1) };
    Body { x, y: rng.randint(1, 9) as usize, dx }
}

impl Seaquest {
    /// Not in a row in which another enemy comes towards it.
    fn spawn_enemy(&mut self, rng: &mut LegacyRng) {
        let goes_right = rng.rand() < 0.5;
        let is_sub = rng.rand() < 1.0 / 3.0;
        let body = at_edge(goes_right, rng);
        let comes = |enemy: &Enemy| enemy.body.y == body.y && enemy.body.dx != body.dx;
        if self.enemies.iter().flatten().any(comes) {
            return;
        }
        let (kind, shot_timer) = if is_sub { (SUBS, Some(ENEMY_SHOT)) } else { (FISH, None) };
        self.enemies[kind].push(Enemy { body, move_timer: self.move_speed, shot_timer });
    }

    fn spawn(&mut self, rng: &mut LegacyRng) {
        if self.spawn_timer == 0 {
            self.spawn_enemy(rng);
            self.spawn_timer = self.spawn_speed;
        }
        if self.diver_timer == 0 {
            let goes_right = rng.rand() < 0.5;
            let body = at_edge(goes_right, rng);
            self.divers.push(Diver { body, move_timer: DIVER_MOVE });
            self.diver_timer = DIVER_SPAWN;
        }
    }

    fn act(&mut self, action: Move) {
        if action == Move::Fire && self.shot_timer == 0 {
            self.bullets.push(self.player);
            self.shot_timer = SHOT_PAUSE;
        }
        let Body { x, y, dx } = self.player;
        self.player = Body {
            x: x.saturating_add_signed(action.dx()).min(SIDE - 1),
            y: y.saturating_add_signed(action.dy()).min(SIDE - 2),
            dx: if action.dx() == 0 { dx } else { action.dx() },
        };
    }

    fn move_bullets(&mut self, transition: &mut Transition) {
        for place in (0..self.bullets.len()).rev() {
            let Some(bullet) = self.bullets[place].advanced() else {
                self.bullets.remove(place);
                continue;
            };
            self.bullets[place] = bullet;
            let is_hit = |enemy: &Enemy| enemy.body.is_at(&bullet);
            if self.enemies.iter_mut().any(|enemies| remove_first(enemies, is_hit)) {
                remove_equal(&mut self.bullets, place);
                transition.reward += 1.0;
            }
        }
    }

    /// Takes the diver on board where it is at the player and there is room.
    fn rescue(&mut self, place: usize) -> bool {
        let is_saved = self.divers[place].body.is_at(&self.player) && self.n_on_board < BOARD;
        if is_saved {
            remove_equal(&mut self.divers, place);
            self.n_on_board += 1;
        }
        is_saved
    }

    fn move_divers(&mut self) {
        for place in (0..self.divers.len()).rev() {
            if self.rescue(place) {
                continue;
            }
            let diver = &mut self.divers[place];
            if diver.move_timer > 0 {
                diver.move_timer -= 1;
                continue;
            }
            diver.move_timer = DIVER_MOVE;
            match diver.body.advanced() {
                None => drop(self.divers.remove(place)),
                Some(body) => {
                    diver.body = body;
                    self.rescue(place);
                }
            }
        }
    }

    /// Moves the fish or the submarines; those that shoot do so wherever they are then, also just hit.
    fn move_enemies(&mut self, kind: usize, transition: &mut Transition) {
        for place in (0..self.enemies[kind].len()).rev() {
            let mut enemy = self.enemies[kind][place];
            let mut place_now = Some(place);
            transition.terminated |= enemy.body.is_at(&self.player);
            if enemy.move_timer > 0 {
                enemy.move_timer -= 1;
            } else {
                enemy.move_timer = self.move_speed;
                let Some(body) = enemy.body.advanced() else {
                    // A bullet that it shot out there would leave the grid in this very step.
                    self.enemies[kind].remove(place);
                    continue;
                };
                enemy.body = body;
                self.enemies[kind][place] = enemy;
                place_now = self.meet(kind, place, transition);
            }
            match &mut enemy.shot_timer {
                None => {}
                Some(timer @ 0) => {
                    *timer = ENEMY_SHOT;
                    self.enemy_bullets.push(enemy.body);
                }
                Some(timer) => *timer -= 1,
            }
            if let Some(place) = place_now {
                self.enemies[kind][place] = enemy;
            }
        }
    }

    /// What comes of an enemy that has moved; where it stands now, unless a bullet has taken it.
    fn meet(&mut self, kind: usize, place: usize, transition: &mut Transition) -> Option<usize> {
        let body = self.enemies[kind][place].body;
        if body.is_at(&self.player) {
            transition.terminated = true;
        } else if remove_first(&mut self.bullets, |bullet| bullet.is_at(&body)) {
            transition.reward += 1.0;
            return remove_equal(&mut self.enemies[kind], place);
        }
        Some(place)
    }

    fn move_enemy_bullets(&mut self, transition: &mut Transition) {
        let player = self.player;
        self.enemy_bullets.retain_mut(|bullet| {
            transition.terminated |= bullet.is_at(&player);
            let Some(advanced) = bullet.advanced() else { return false };
            *bullet = advanced;
            transition.terminated |= bullet.is_at(&player);
            true
        });
    }

    fn breathe(&mut self, transition: &mut Transition) {
        transition.terminated |= self.oxygen <= 0;
        if self.player.y > 0 {
            self.oxygen -= 1;
            self.is_at_surface = false;
        } else if !self.is_at_surface {
            if self.n_on_board == 0 {
                transition.terminated = true;
            } else {
                self.surface(transition);
            }
        }
    }

    /// Fresh air for a diver. A full board is worth what air is left, and leaves at once.
    fn surface(&mut self, transition: &mut Transition) {
        self.is_at_surface = true;
        if self.n_on_board == BOARD {
            self.n_on_board = 0;
            transition.reward += self.oxygen_cells() as f32;
        }
        self.oxygen = OXYGEN;
        self.n_on_board -= 1;
        if self.difficulty_ramping && (self.spawn_speed > 1 || self.move_speed > 2) {
            self.ramp();
        }
    }

    /// Enemies appear sooner, and every second time they also move sooner.
    fn ramp(&mut self) {
        if self.move_speed > 2 && self.ramp_idx % 2 == 1 {
            self.move_speed -= 1;
        }
        self.spawn_speed = (self.spawn_speed - 1).max(1);
        self.ramp_idx += 1;
    }

    /// What is left in the tanks, of ten.
    fn oxygen_cells(&self) -> usize {
        self.oxygen.max(0) as usize * SIDE / OXYGEN as usize
    }
}

impl Game for Seaquest {
    const IDS: [&'static str; 2] = ["MinAtar/Seaquest-v0", "MinAtar/Seaquest-v1"];
    const MOVES: &'static [Move] =
        &[Move::Stay, Move::Left, Move::Up, Move::Right, Move::Down, Move::Fire];
    /// Front, back, bullets, trail, the enemies' bullets, fish, enemy submarines, oxygen gauge, diver gauge,
    /// divers.
    type Planes = [Plane; 10];

    fn new(difficulty_ramping: bool) -> Self {
        Seaquest {
            bullets: Vec::with_capacity(ROOM),
            divers: Vec::with_capacity(ROOM),
            enemies: [Vec::with_capacity(ROOM), Vec::with_capacity(ROOM)],
            enemy_bullets: Vec::with_capacity(ROOM),
            difficulty_ramping,
            ..Seaquest::default()
        }
    }

    fn reset(&mut self, _: &mut LegacyRng) {
        self.player = Body { x: 5, y: 0, dx: -1 };
        (self.oxygen, self.n_on_board, self.is_at_surface) = (OXYGEN, 0, true);
        self.bullets.clear();
        self.divers.clear();
        self.enemies.iter_mut().for_each(Vec::clear);
        self.enemy_bullets.clear();
        (self.shot_timer, self.diver_timer) = (0, DIVER_SPAWN);
        (self.spawn_speed, self.spawn_timer) = (ENEMY_SPAWN, ENEMY_SPAWN);
        (self.move_speed, self.ramp_idx) = (ENEMY_MOVE, 0);
    }

    fn step(&mut self, action: Move, rng: &mut LegacyRng) -> Transition {
        let mut transition = Transition::default();
        self.spawn(rng);
        self.act(action);
        self.move_bullets(&mut transition);
        self.move_divers();
        self.move_enemies(SUBS, &mut transition);
        self.move_enemy_bullets(&mut transition);
        self.move_enemies(FISH, &mut transition);
        for timer in [&mut self.spawn_timer, &mut self.diver_timer, &mut self.shot_timer] {
            *timer = timer.saturating_sub(1);
        }
        self.breathe(&mut transition);
        transition
    }

    fn draw(&self, planes: &mut [Plane; 10]) {
        let [front, back, bullets, trail, enemy_bullets, fish, subs, oxygen, on_board, divers] =
            planes;
        self.player.draw(front);
        self.player.draw_trail(back);
        self.bullets.iter().for_each(|bullet| bullet.draw(bullets));
        self.enemy_bullets.iter().for_each(|bullet| bullet.draw(enemy_bullets));
        oxygen[SIDE - 1][..self.oxygen_cells()].fill(1);
        on_board[SIDE - 1][SIDE - 1 - self.n_on_board.max(0) as usize..SIDE - 1].fill(1);
        let mut draw = |body: &Body, plane: &mut Plane| {
            body.draw(plane);
            body.draw_trail(trail);
        };
        self.divers.iter().for_each(|diver| draw(&diver.body, divers));
        self.enemies[FISH].iter().for_each(|enemy| draw(&enemy.body, fish));
        self.enemies[SUBS].iter().for_each(|enemy| draw(&enemy.body, subs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(x: usize, y: usize) -> Body {
        Body { x, y, dx: 1 }
    }

    fn game() -> Seaquest {
        let mut game = Seaquest::new(true);
        game.reset(&mut LegacyRng::new(1));
        game
    }

    #[test]
    fn a_bullet_that_hits_on_its_older_twin_takes_the_twin_away_and_goes_on() {
        let mut game = game();
        game.bullets.extend([right(5, 4), right(2, 8), right(4, 4)]);
        game.enemies[FISH].push(Enemy { body: right(5, 4), move_timer: 3, shot_timer: None });
        let mut transition = Transition::default();
        game.move_bullets(&mut transition);
        assert_eq!(
            game.bullets,
            [right(3, 8), right(6, 4)],
            "the younger one is left, one further"
        );
        assert_eq!((transition.reward, game.enemies[FISH].len()), (1.0, 0));
    }

    #[test]
    fn a_submarine_that_is_hit_on_its_older_twin_comes_up_a_second_time() {
        let mut game = game();
        let sub = |x, move_timer| Enemy { body: right(x, 4), move_timer, shot_timer: Some(7) };
        game.enemies[SUBS].extend([sub(5, game.move_speed), sub(4, 0)]);
        game.bullets.push(right(5, 4));
        let mut transition = Transition::default();
        game.move_enemies(SUBS, &mut transition);
        let left = Enemy { shot_timer: Some(5), ..sub(5, game.move_speed - 1) };
        assert_eq!(game.enemies[SUBS], [left], "its timers have fallen once more");
        assert_eq!((transition.reward, game.bullets.len()), (1.0, 0));
    }

    #[test]
    fn no_list_outgrows_its_room() {
        let (mut game, mut rng, mut longest) = (game(), LegacyRng::new(1), 0);
        (game.spawn_speed, game.move_speed) = (1, 2);
        for _ in 0..20_000 {
            let action = Seaquest::MOVES[rng.randint(0, 6) as usize];
            game.step(action, &mut rng);
            let [fish, subs] = &game.enemies;
            let lengths = [fish.len(), subs.len(), game.enemy_bullets.len(), game.bullets.len()];
            longest = longest.max(lengths.into_iter().max().unwrap_or(0));
        }
        assert!((10..=ROOM).contains(&longest), "{longest}");
        assert_eq!(game.enemies.each_ref().map(Vec::capacity), [ROOM; 2]);
    }
}
