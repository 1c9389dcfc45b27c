//! Arguments of an environment: settings that only it knows, such as the size of a maze.
//!
//! A run names them in its settings (`env_args`); an environment reads them as a type of its own.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// Arguments as they stand in a run's settings, by name; empty for the environment's defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvArgs(Table);

impl EnvArgs {
    /// Sets one argument; an earlier value is replaced.
    pub fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An argument that is or holds a number which is not finite, and that number.
    pub fn not_finite(&self) -> Option<(&str, &Value)> {
        self.0.iter().find_map(|(name, value)| Some((name.as_str(), not_finite(value)?)))
    }

    /// The arguments as a JSON object. What is not finite is null there.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("a TOML table has names and plain values")
    }

    /// The arguments as NAME=VALUE, each value as TOML writes it.
    pub fn assignments(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}"))
    }

    /// The arguments as an environment declares them.
    ///
    /// # Errors
    /// [`ArgError`] for a name that it does not know, or a value of another type.
    pub fn read<A: DeserializeOwned>(&self) -> Result<A, ArgError> {
        let read = Value::Table(self.0.clone()).try_into();
        read.map_err(|error: toml::de::Error| ArgError(error.message().replace('\n', " ")))
    }
}

fn not_finite(value: &Value) -> Option<&Value> {
    match value {
        Value::Float(number) => (!number.is_finite()).then_some(value),
        Value::Array(values) => values.iter().find_map(not_finite),
        Value::Table(table) => table.iter().find_map(|(_, value)| not_finite(value)),
        _ => None,
    }
}

impl std::fmt::Display for EnvArgs {
    /// As TOML writes a table on one line.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}", Value::Table(self.0.clone()))
    }
}

/// The arguments of an environment that has none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoArgs {}

/// Arguments that an environment cannot be made with, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ArgError(String);

impl ArgError {
    /// The argument `name` must not be `value`, but as `remedy` says.
    pub fn of(name: &str, value: impl std::fmt::Display, remedy: &str) -> Self {
        ArgError(format!("{name} = {value}: {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Maze {
        size: usize,
        is_dark: bool,
    }

    impl Default for Maze {
        fn default() -> Self {
            Maze { size: 7, is_dark: false }
        }
    }

    #[test]
    fn arguments_are_read_over_the_defaults() {
        let mut args = EnvArgs::default();
        assert_eq!(args.read(), Ok(Maze::default()));
        args.set("size", 9.into());
        assert_eq!(args.read(), Ok(Maze { size: 9, is_dark: false }));
        assert_eq!(args.to_string(), "{ size = 9 }");
        args.set("name", "deep".into());
        assert_eq!(args.to_json(), r#"{"name":"deep","size":9}"#);
        assert!(args.assignments().eq(["name=\"deep\"", "size=9"]));
    }

    #[test]
    fn a_wrong_name_or_type_is_refused_with_what_is_right() {
        let mut args = EnvArgs::default();
        args.set("siez", 9.into());
        let message = args.read::<Maze>().unwrap_err().to_string();
        assert!(message.contains("`siez`") && message.contains("`size`"), "{message}");
        assert!(args.read::<NoArgs>().unwrap_err().to_string().contains("`siez`"));
        let mut args = EnvArgs::default();
        args.set("size", "large".into());
        assert!(args.read::<Maze>().unwrap_err().to_string().contains("large"));
    }
}
