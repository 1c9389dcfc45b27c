//! Settings that learn one environment: what differs from the defaults, a TOML file each.
//!
//! A preset has a name, and under each name an environment has one at most. Owns which there are.

use super::error::ConfigError;
use crate::base::suggest::did_you_mean;
use crate::env::task_ids;

/// What a preset is for, by its name. The first is taken where none is named.
pub const PRESETS: [(&str, &str); 2] = [
    ("default", "fewest seconds, where an environment is faster than the learner"),
    ("few-frames", "fewest frames, where it is slower"),
];

/// The ids of the environments that a file is for, or how these begin, before a star; and the file.
type Preset = (&'static [&'static str], &'static str);

/// Those named `default`. CartPole-v1 has none: the defaults learn it.
const DEFAULT: &[Preset] = &[
    (&["MountainCar-v0"], include_str!("presets/MountainCar-v0.toml")),
    (&["Acrobot-v1"], include_str!("presets/Acrobot-v1.toml")),
    (&["Pendulum-v1"], include_str!("presets/Pendulum-v1.toml")),
    (MINATAR, include_str!("presets/MinAtar.toml")),
    (ASTERIX, include_str!("presets/MinAtar.toml")),
    (&["PixelCatch-v0"], include_str!("presets/PixelCatch-v0.toml")),
    (&["TMaze-v0"], include_str!("presets/TMaze-v0.toml")),
    (&["gym:LunarLander-v3"], include_str!("presets/LunarLander-v3.toml")),
    (&["vec:ALE/*"], include_str!("presets/atari.toml")),
    (MUJOCO, include_str!("presets/MuJoCo.toml")),
];

/// Those named `few-frames`.
const FEW_FRAMES: &[Preset] = &[
    (&["CartPole-v1"], include_str!("presets/few-frames/CartPole-v1.toml")),
    (&["MountainCar-v0"], include_str!("presets/few-frames/MountainCar-v0.toml")),
    (&["Acrobot-v1"], include_str!("presets/few-frames/Acrobot-v1.toml")),
    (&["Pendulum-v1"], include_str!("presets/few-frames/Pendulum-v1.toml")),
    (MINATAR, include_str!("presets/few-frames/MinAtar.toml")),
    (ASTERIX, include_str!("presets/few-frames/MinAtar-Asterix.toml")),
    (&["PixelCatch-v0"], include_str!("presets/few-frames/PixelCatch-v0.toml")),
    (LUNAR_LANDER, include_str!("presets/few-frames/LunarLander-v3.toml")),
    (BIPEDAL_WALKER, include_str!("presets/few-frames/BipedalWalker-v3.toml")),
    // They are slower than the learner, and there is one way to learn them.
    (MUJOCO, include_str!("presets/MuJoCo.toml")),
    // It learns from few anyway.
    (&["TMaze-v0"], include_str!("presets/TMaze-v0.toml")),
];

/// Those named `default` of several tasks: of MinAtar's games, and of any others.
const SEVERAL_GAMES: &str = include_str!("presets/several/MinAtar.toml");
const SEVERAL_TASKS: &str = include_str!("presets/several/any.toml");

/// What `few-frames` means for any other environment.
const FEW_FRAMES_OF_ANY: &str = include_str!("presets/few-frames/any.toml");

const MINATAR: &[&str] = &[
    "MinAtar/Breakout-v1",
    "MinAtar/Breakout-v0",
    "MinAtar/SpaceInvaders-v1",
    "MinAtar/SpaceInvaders-v0",
    "MinAtar/Freeway-v1",
    "MinAtar/Freeway-v0",
    "MinAtar/Seaquest-v1",
    "MinAtar/Seaquest-v0",
];

const ASTERIX: &[&str] = &["MinAtar/Asterix-v1", "MinAtar/Asterix-v0"];

/// Through Gymnasium's bridge.
const LUNAR_LANDER: &[&str] = &["gym:LunarLander-v3", "vec:LunarLander-v3"];
const BIPEDAL_WALKER: &[&str] = &["gym:BipedalWalker-v3", "vec:BipedalWalker-v3"];

/// Gymnasium's, of any version.
const MUJOCO: &[&str] = &[
    "gym:Ant-v*",
    "gym:HalfCheetah-v*",
    "gym:Hopper-v*",
    "gym:Humanoid-v*",
    "gym:HumanoidStandup-v*",
    "gym:InvertedDoublePendulum-v*",
    "gym:InvertedPendulum-v*",
    "gym:Pusher-v*",
    "gym:Reacher-v*",
    "gym:Swimmer-v*",
    "gym:Walker2d-v*",
];

/// The preset of this name for an environment, as TOML; empty where it has none. Its first comment says what it
/// reaches.
///
/// # Errors
/// If no preset has this name.
pub fn preset(name: &str, env: &str) -> Result<&'static str, ConfigError> {
    let of = |presets: &[Preset]| {
        let is_of = |id: &&str| match id.strip_suffix('*') {
            Some(start) => env.starts_with(start),
            None => *id == env,
        };
        let found = presets.iter().find(|(ids, _)| ids.iter().any(is_of));
        found.map(|(_, text)| *text)
    };
    let tasks = task_ids(env);
    let are_games = tasks.iter().all(|id| id.starts_with("MinAtar/"));
    match name {
        "default" if tasks.len() > 1 && are_games => Ok(SEVERAL_GAMES),
        "default" if tasks.len() > 1 => Ok(SEVERAL_TASKS),
        "default" => Ok(of(DEFAULT).unwrap_or_default()),
        "few-frames" => Ok(of(FEW_FRAMES).unwrap_or(FEW_FRAMES_OF_ANY)),
        _ => Err(no_such(name)),
    }
}

fn no_such(name: &str) -> ConfigError {
    let names = || PRESETS.iter().map(|(name, _)| *name);
    ConfigError::NoSuchPreset {
        name: name.escape_debug().to_string(),
        suggestion: did_you_mean(name, names()),
        names: names().collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Layers};
    use super::*;
    use crate::env::Registry;

    fn resolved(name: &str, env: &str) -> Config {
        let layers = Layers { env: Some(env), preset: Some(name), ..Layers::default() };
        layers.resolve().unwrap()
    }

    #[test]
    fn every_preset_is_of_a_known_environment_and_works() {
        for (name, presets) in [("default", DEFAULT), ("few-frames", FEW_FRAMES)] {
            for (ids, text) in presets {
                let is_default = DEFAULT.iter().any(|(_, of_default)| of_default == text);
                let title = if is_default { "Preset" } else { "Preset few-frames" };
                assert!(text.starts_with(&format!("# {title} of ")), "{text}");
                assert!(text.contains(". Goal: "), "{text}");
                ids.iter().for_each(|id| assert_works(name, id));
            }
        }
    }

    #[test]
    fn several_tasks_have_a_preset_of_their_own_and_as_many_actors_each() {
        let games = "MinAtar/Breakout-v0,MinAtar/SpaceInvaders-v0,MinAtar/Asterix-v0";
        let config = resolved("default", games);
        assert!(config.loss.popart > 0.0 && config.loss.lambda < 1.0);
        assert_eq!((config.n_tasks(), config.actors.count), (3, 3));
        config.check().unwrap();
        let config = resolved("default", "MountainCar-v0,Acrobot-v1");
        assert!(config.loss.popart > 0.0);
        assert_eq!((config.actors.count, config.task_of(0), config.task_of(3)), (4, 0, 1));
        config.check().unwrap();
        let asked = ["actors.count=4".to_owned()];
        let layers = Layers { env: Some(games), assignments: &asked, ..Layers::default() };
        let refused = layers.resolve().unwrap().check().unwrap_err().to_string();
        assert!(refused.contains("actors.count") && refused.contains("3 or 6"), "{refused}");
    }

    fn assert_works(name: &str, id: &str) {
        let config = resolved(name, id);
        let unchanged = Config { env: config.env.clone(), ..Config::default() };
        assert_ne!(config, unchanged, "{name}, {id}: the preset changes nothing");
        match config.check() {
            // Of pictures that libtorch alone learns from.
            Err(ConfigError::NetworkNeedsTorch { .. }) if !cfg!(feature = "torch") => {}
            // It is asked of Gymnasium, which need not be here.
            Err(ConfigError::Value { field, .. }) if id.contains(':') && field == "env" => {}
            checked => checked.unwrap(),
        }
    }

    #[test]
    fn every_environment_of_the_engine_learns_from_few_frames_by_a_preset_of_its_own() {
        let registry = Registry::default();
        let ids: Vec<&str> = registry.ids().collect();
        assert!(ids.len() > 10, "{ids:?}");
        for id in ids {
            let text = preset("few-frames", id).unwrap();
            assert_ne!(text, FEW_FRAMES_OF_ANY, "{id} has none of its own");
        }
        assert_eq!(preset("few-frames", "gym:CarRacing-v3").unwrap(), FEW_FRAMES_OF_ANY);
        assert_eq!(resolved("few-frames", "my_module:make_env").loss.epochs, 4);
    }

    #[test]
    fn a_preset_is_taken_by_its_name_and_another_name_is_refused_with_the_one_meant() {
        assert_eq!(resolved("default", "CartPole-v1"), Config::default());
        let unnamed = Layers { env: Some("Acrobot-v1"), ..Layers::default() };
        assert_eq!(unnamed.resolve().unwrap(), resolved("default", "Acrobot-v1"));
        assert_ne!(unnamed.resolve().unwrap(), resolved("few-frames", "Acrobot-v1"));
        let refused = preset("few-frame", "CartPole-v1").unwrap_err().to_string();
        assert_eq!(
            refused,
            "--preset few-frame: no such preset, did you mean \"few-frames\"?; there are default, few-frames"
        );
    }
}
