//! Settings that learn one environment: what differs from the defaults, a TOML file each.

/// The presets by the ids of their environments. CartPole-v1 has none: the defaults learn it.
const PRESETS: &[(&str, &str)] = &[
    ("MountainCar-v0", include_str!("presets/MountainCar-v0.toml")),
    ("Acrobot-v1", include_str!("presets/Acrobot-v1.toml")),
];

/// The preset of an environment as TOML, if it has one. Its first comment says what it reaches.
pub fn preset(env: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(id, _)| *id == env).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Layers};
    use super::*;

    #[test]
    fn every_preset_is_of_a_known_environment_and_works() {
        for (id, text) in PRESETS {
            assert!(text.starts_with(&format!("# Preset of {id}. Goal: ")), "{id}: {text}");
            let config = Layers { env: Some(id), ..Layers::default() }.resolve().unwrap();
            config.check().unwrap();
            let unchanged = Config { env: config.env.clone(), ..Config::default() };
            assert_ne!(config, unchanged, "{id}: the preset changes nothing");
        }
    }
}
