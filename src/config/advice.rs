//! What is said of a setting's name or value that is none: the setting that was meant, and types in plain words.
//!
//! Owns the names that other trainers have for our settings, and the words that stand for types of the
//! language. Judges nothing. The layers ask, and the command line about its flags.

use super::Config;
use crate::base::suggest::nearest;

/// What the settings are called elsewhere: by Stable-Baselines3, CleanRL, RLlib and Sample Factory.
const ELSEWHERE: [(&str, &str); 26] = [
    ("lr", "optimizer.learning_rate.start"),
    ("gamma", "loss.discount"),
    ("total_timesteps", "frames"),
    ("env_id", "env"),
    ("num_envs", "actors.envs_per_actor"),
    ("n_envs", "actors.envs_per_actor"),
    ("num_workers", "actors.count"),
    ("num_actors", "actors.count"),
    ("n_steps", "actors.unroll_length"),
    ("batch_size", "loss.batch_slots"),
    ("ent_coef", "loss.entropy_cost.start"),
    ("vf_coef", "loss.baseline_cost"),
    ("use_lstm", "network.lstm"),
    ("lstm_hidden_size", "network.lstm"),
    ("lstm_cell_size", "network.lstm"),
    ("rnn_size", "network.lstm"),
    ("norm_obs", "network.normalize_observations"),
    ("n_stack", "frame_stack"),
    ("clip_rewards", "loss.reward_clip"),
    ("n_epochs", "loss.epochs"),
    ("num_epochs", "loss.epochs"),
    ("update_epochs", "loss.epochs"),
    ("clip_range", "loss.clip"),
    ("clip_coef", "loss.clip"),
    ("gae_lambda", "loss.lambda"),
    ("normalize_reward", "loss.reward_norm"),
];

/// What our types are to somebody who writes a settings file. Longer names stand before their beginnings.
const TYPES: [(&str, &str); 9] = [
    ("an array of length", "a list of length"),
    ("a sequence", "a list"),
    ("a boolean", "true or false"),
    ("usize", "a whole number, 0 or more"),
    ("u64", "a whole number, 0 or more"),
    ("u32", "a whole number, 0 or more"),
    ("i64", "a whole number"),
    ("f64", "a number"),
    ("f32", "a number"),
];

/// The setting that is surely meant by a name of another trainer, by the end of its dotted name, or by a
/// table's, of which it is the first setting.
pub fn meant_setting(given: &str) -> Option<String> {
    let given = given.replace('-', "_");
    let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == given);
    if let Some((_, setting)) = elsewhere {
        return Some((*setting).to_owned());
    }
    let (end, table) = (format!(".{given}"), format!(".{given}."));
    names().into_iter().find(|name| name.ends_with(&end) || name.contains(&table))
}

/// `, did you mean "…"?`, or nothing if no setting and no table is near.
pub fn did_you_mean_setting(given: &str) -> String {
    let near = || nearest(given, with_tables().iter().map(String::as_str)).map(str::to_owned);
    in_question(meant_setting(given).or_else(near))
}

/// A reader's message about a value or a key, without the names of our types, and of an unknown key with the
/// one that was meant.
pub fn in_words(message: &str) -> String {
    if let Some((name, siblings)) = unknown_key(message) {
        let sibling = || nearest(name, siblings.iter().copied()).map(str::to_owned);
        let meant = meant_setting(name).or_else(sibling);
        let question =
            meant.map_or_else(|| did_you_mean_setting(name), |meant| in_question(Some(meant)));
        return format!("no such setting: {name}{question}; `impala config` prints all");
    }
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let plain = TYPES.iter().find_map(|(name, plain)| {
        expected.strip_prefix(name).map(|rest| format!("{found}, expected {plain}{rest}"))
    });
    plain.unwrap_or_else(|| message.to_owned())
}

/// The key of a message about an unknown one, and those that stand beside it.
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (name, rest) = rest.split_once('`')?;
    Some((name, rest.split('`').skip(1).step_by(2).collect()))
}

fn in_question(meant: Option<String>) -> String {
    meant.map_or_else(String::new, |meant| format!(", did you mean \"{meant}\"?"))
}

/// The dotted name of every setting.
fn names() -> Vec<String> {
    let config = Config::default();
    let settings = config.visited().into_iter().filter(|item| item.value.is_some());
    settings.map(|item| item.path).collect()
}

/// The same, and those of the tables.
fn with_tables() -> Vec<String> {
    Config::default().visited().into_iter().map(|item| item.path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_call_a_setting_is_one_that_there_is() {
        for (name, setting) in ELSEWHERE {
            assert!(names().iter().any(|known| known == setting), "{name}: {setting}");
            assert!(!names().iter().any(|known| known == name), "{name} is a setting of ours");
        }
    }

    #[test]
    fn a_name_leads_to_the_setting_that_was_meant() {
        for (given, setting) in [
            ("lr", Some("optimizer.learning_rate.start")),
            ("learning_rate", Some("optimizer.learning_rate.start")),
            ("learning-rate", Some("optimizer.learning_rate.start")),
            ("discount", Some("loss.discount")),
            ("quux", None),
        ] {
            assert_eq!(meant_setting(given).as_deref(), setting, "{given}");
        }
        assert_eq!(did_you_mean_setting("actor"), ", did you mean \"actors\"?");
        assert_eq!(did_you_mean_setting("loss.discuont"), ", did you mean \"loss.discount\"?");
        assert_eq!(did_you_mean_setting("an_idea_of_my_own"), "");
    }

    #[test]
    fn messages_name_no_type_of_the_language() {
        for (message, told) in [
            (
                "invalid type: string \"x\", expected usize",
                "invalid type: string \"x\", expected a whole number, 0 or more",
            ),
            ("invalid type: map, expected f32", "invalid type: map, expected a number"),
            ("invalid type: map, expected a sequence", "invalid type: map, expected a list"),
            (
                "unknown field `cuont`, expected one of `count`, `unroll_length`",
                "no such setting: cuont, did you mean \"count\"?; `impala config` prints all",
            ),
            (
                "unknown field `actor`, expected one of `env`, `seed`, `actors`",
                "no such setting: actor, did you mean \"actors\"?; `impala config` prints all",
            ),
            ("string values must be quoted", "string values must be quoted"),
        ] {
            assert_eq!(in_words(message), told);
        }
    }
}
