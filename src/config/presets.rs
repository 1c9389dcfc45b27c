//! Settings that learn one environment: what differs from the defaults, a TOML file each.

/// The presets by the ids of their environments, or by how these begin, before a star. CartPole-v1 has none: the
/// defaults learn it.
const PRESETS: &[(&[&str], &str)] = &[
    (&["MountainCar-v0"], include_str!("presets/MountainCar-v0.toml")),
    (&["Acrobot-v1"], include_str!("presets/Acrobot-v1.toml")),
    (&["Pendulum-v1"], include_str!("presets/Pendulum-v1.toml")),
    (MINATAR, include_str!("presets/MinAtar.toml")),
    (&["PixelCatch-v0"], include_str!("presets/PixelCatch-v0.toml")),
    (&["TMaze-v0"], include_str!("presets/TMaze-v0.toml")),
    (&["gym:LunarLander-v3"], include_str!("presets/LunarLander-v3.toml")),
    (&["vec:ALE/*"], include_str!("presets/atari.toml")),
];

const MINATAR: &[&str] = &[
    "MinAtar/Breakout-v1",
    "MinAtar/Breakout-v0",
    "MinAtar/SpaceInvaders-v1",
    "MinAtar/SpaceInvaders-v0",
    "MinAtar/Freeway-v1",
    "MinAtar/Freeway-v0",
    "MinAtar/Asterix-v1",
    "MinAtar/Asterix-v0",
    "MinAtar/Seaquest-v1",
    "MinAtar/Seaquest-v0",
];

/// The preset of an environment as TOML, if it has one. Its first comment says what it reaches.
pub fn preset(env: &str) -> Option<&'static str> {
    let is_of = |id: &&str| match id.strip_suffix('*') {
        Some(start) => env.starts_with(start),
        None => *id == env,
    };
    PRESETS.iter().find(|(ids, _)| ids.iter().any(is_of)).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError, Layers};
    use super::*;

    #[test]
    fn every_preset_is_of_a_known_environment_and_works() {
        for (ids, text) in PRESETS {
            assert!(text.starts_with("# Preset of ") && text.contains(". Goal: "), "{text}");
            for id in *ids {
                let config = Layers { env: Some(id), ..Layers::default() }.resolve().unwrap();
                match config.check() {
                    // `tests/outside_env.rs` asks the process of these.
                    Err(_) if id.contains(':') => {}
                    // Of pictures that libtorch alone learns from.
                    Err(ConfigError::NetworkNeedsTorch { .. }) if !cfg!(feature = "torch") => {}
                    checked => checked.unwrap(),
                }
                let unchanged = Config { env: config.env.clone(), ..Config::default() };
                assert_ne!(config, unchanged, "{id}: the preset changes nothing");
            }
        }
    }
}
