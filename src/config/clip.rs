//! How far the policy gradient may take π away from μ: a number, no limit, or what the epochs ask for.
//!
//! Owns its three spellings in a settings file. What a clip does to a gradient, `learner/losses.rs` knows.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::setting::{Allowed, Value, inline_toml};

/// ε of `auto` for several epochs: PPO's own (Schulman et al. 2017, section 6.1).
const EPSILON: f32 = 0.2;

/// PPO's clip of the importance ratio π(a|x)/μ(a|x).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// 0.2 where each batch is learned from several times, none where once.
    Auto,
    /// No limit: the policy gradient of IMPALA.
    None,
    /// ε: a step whose ratio has gone beyond 1 ± ε, and would go further, gives the policy no gradient.
    Epsilon(f32),
}

impl Clip {
    /// What a setting of it may be.
    pub(super) const ALLOWED: Allowed =
        Allowed::Text("auto, none, or a number above 0 such as 0.2");

    /// ε for so many epochs; `None` where nothing is clipped.
    pub fn epsilon(self, epochs: u64) -> Option<f32> {
        match self {
            Clip::Auto => (epochs > 1).then_some(EPSILON),
            Clip::None => None,
            Clip::Epsilon(epsilon) => Some(epsilon),
        }
    }
}

impl Serialize for Clip {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Clip::Auto => serializer.serialize_str("auto"),
            Clip::None => serializer.serialize_str("none"),
            Clip::Epsilon(epsilon) => serializer.serialize_f32(*epsilon),
        }
    }
}

impl<'de> Deserialize<'de> for Clip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Spelling)
    }
}

/// Reads what a clip may be written as.
struct Spelling;

impl Visitor<'_> for Spelling {
    type Value = Clip;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("auto, none or a number")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Clip, E> {
        match word {
            "auto" => Ok(Clip::Auto),
            "none" => Ok(Clip::None),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_f64<E: Error>(self, epsilon: f64) -> Result<Clip, E> {
        Ok(Clip::Epsilon(epsilon as f32))
    }

    fn visit_i64<E: Error>(self, epsilon: i64) -> Result<Clip, E> {
        Ok(Clip::Epsilon(epsilon as f32))
    }
}

impl Value for Clip {
    fn to_toml(&self) -> String {
        inline_toml(self)
    }

    fn is_within(&self, _: &Allowed) -> bool {
        !matches!(self, Clip::Epsilon(epsilon) if !(epsilon.is_finite() && *epsilon > 0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Table {
        clip: Clip,
    }

    #[test]
    fn every_spelling_is_read_back() {
        for (text, clip) in [
            ("clip = \"auto\"", Clip::Auto),
            ("clip = \"none\"", Clip::None),
            ("clip = 0.2", Clip::Epsilon(0.2)),
            ("clip = 1", Clip::Epsilon(1.0)),
        ] {
            assert_eq!(toml::from_str::<Table>(text).unwrap().clip, clip, "{text}");
            let again = format!("clip = {}", clip.to_toml());
            assert_eq!(toml::from_str::<Table>(&again).unwrap().clip, clip, "{again}");
        }
        let refused = toml::from_str::<Table>("clip = \"off\"").unwrap_err();
        assert!(refused.message().contains("expected auto, none or a number"), "{refused}");
    }

    #[test]
    fn auto_clips_where_a_batch_is_learned_from_again() {
        assert_eq!(
            [1, 2, 8].map(|epochs| Clip::Auto.epsilon(epochs)),
            [None, Some(0.2), Some(0.2)]
        );
        assert_eq!(Clip::None.epsilon(8), None);
        assert_eq!(Clip::Epsilon(0.3).epsilon(1), Some(0.3));
        for wrong in [0.0, -0.1, f32::NAN, f32::INFINITY] {
            assert!(!Clip::Epsilon(wrong).is_within(&Clip::ALLOWED), "{wrong}");
        }
    }
}
