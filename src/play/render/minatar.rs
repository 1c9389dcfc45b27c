//! MinAtar's games: the names of their planes and of their moves. The pictures draw themselves.

use super::Scene;

/// A game as version 0 has it, with all six moves.
const ALL: &[&str] = &["none", "left", "up", "right", "down", "fire"];

const BREAKOUT: &[&str] = &["paddle", "ball", "trail", "brick"];
const SPACE_INVADERS: &[&str] =
    &["cannon", "alien", "alien, left", "alien, right", "shot", "enemy shot"];
const FREEWAY: &[&str] = &["chicken", "car", "speed 1", "speed 2", "speed 3", "speed 4", "speed 5"];
const ASTERIX: &[&str] = &["player", "enemy", "trail", "gold"];
const SEAQUEST: &[&str] = &[
    "front",
    "back",
    "shot",
    "trail",
    "enemy shot",
    "fish",
    "enemy sub",
    "oxygen",
    "on board",
    "diver",
];

/// Of both versions, which differ in their moves alone.
pub const SCENES: [Scene; 10] = [
    game("MinAtar/Breakout-v0", BREAKOUT, ALL),
    game("MinAtar/Breakout-v1", BREAKOUT, &["none", "left", "right"]),
    game("MinAtar/SpaceInvaders-v0", SPACE_INVADERS, ALL),
    game("MinAtar/SpaceInvaders-v1", SPACE_INVADERS, &["none", "left", "right", "fire"]),
    game("MinAtar/Freeway-v0", FREEWAY, ALL),
    game("MinAtar/Freeway-v1", FREEWAY, &["none", "up", "down"]),
    game("MinAtar/Asterix-v0", ASTERIX, ALL),
    game("MinAtar/Asterix-v1", ASTERIX, &["none", "left", "up", "right", "down"]),
    game("MinAtar/Seaquest-v0", SEAQUEST, ALL),
    game("MinAtar/Seaquest-v1", SEAQUEST, ALL),
];

/// A step is shown as long as MinAtar's own window shows one, 50 ms.
const fn game(
    env: &'static str,
    planes: &'static [&'static str],
    actions: &'static [&'static str],
) -> Scene {
    Scene { env, planes, actions, step_cs: 5, ..super::ANY_SCENE }
}
