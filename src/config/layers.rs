//! The layers that settings come from: defaults, a preset of the environment, a file, assignments.
//!
//! Owns the order of the layers and what is said of a layer that cannot be read. A layer is a TOML table
//! of any of the settings, laid over what is there. Which preset it is follows from its name, and from the
//! environment that the highest layer names.

use std::fs::File;
use std::path::Path;

use toml::{Table, Value};

use super::Config;
use super::advice::{did_you_mean_setting, in_words};
use super::error::{ConfigError, quoted};
use super::presets::{PRESETS, preset};
use super::whole::{NotWhole, limits, whole_number};
use crate::base::input::read_text_at_most;
use crate::env::{Registry, task_ids};

/// Every setting with a long comment is far below this.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where settings come from, besides the defaults. Each goes over the one before; the preset goes first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layers<'a> {
    /// The environments that may be named; without any, the engine's own.
    pub environments: Option<&'a Registry>,
    /// The settings of a run that is resumed, which then stand for the defaults and the preset.
    pub earlier: Option<&'a Config>,
    /// Which preset of the environment; without a name, `default`.
    pub preset: Option<&'a str>,
    /// The environment, whatever the others say of it.
    pub env: Option<&'a str>,
    /// Assignments to arguments of the environment, such as `size=9`; they go over all else.
    pub env_args: &'a [String],
    /// Wrappers of the environment; where there are any, in the place of all others.
    pub env_wrappers: &'a [String],
    /// The Python of the environment, whatever the others say of it.
    pub python: Option<&'a str>,
    /// A TOML file with any of the settings.
    pub file: Option<&'a Path>,
    /// Assignments such as `optimizer.learning_rate.start=0.001`, in order.
    pub assignments: &'a [String],
}

impl Layers<'_> {
    /// The settings with all layers in place; not yet checked.
    ///
    /// # Errors
    /// If the file cannot be read or is not a configuration, or an assignment is not one, or there is no such
    /// preset.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let file = self.file.map(read).transpose()?.unwrap_or_default();
        let set = self.assignments.iter().map(|text| Assignment::parse(Flag::Set, text));
        let env_args = self.env_args.iter().map(|text| Assignment::parse(Flag::EnvArg, text));
        let assignments = set.chain(env_args).collect::<Result<Vec<_>, _>>()?;
        let base = self.earlier.cloned().unwrap_or_default();
        let env = self.env_id(&file, &assignments).unwrap_or(&base.env).to_owned();
        let preset = preset_table(self.preset, &env)?;
        let mut table = Table::try_from(base).expect("every configuration is a TOML table");
        if self.earlier.is_none() {
            lay_over(&mut table, preset);
            share_out_actors(&mut table, task_ids(&env).len());
        }
        lay_over(&mut table, file);
        let mut config = from_table(&table).expect("each layer was read as a configuration before");
        for assignment in &assignments {
            assignment.assign(&mut table);
            config = from_table(&table).map_err(|error| assignment.refused(one_line(&error)))?;
        }
        if let Some(env) = self.env {
            config.env = env.into();
        }
        if !self.env_wrappers.is_empty() {
            config.env_wrappers = self.env_wrappers.to_vec();
        }
        if let Some(python) = self.python {
            config.python = python.into();
        }
        config.environments = self.environments.cloned().unwrap_or_default();
        Ok(config)
    }

    /// The environment that the highest layer names.
    fn env_id<'a>(&'a self, file: &'a Table, assignments: &'a [Assignment]) -> Option<&'a str> {
        let assigned = assignments.iter().rev().find(|assignment| assignment.name == "env");
        let named = self.env.or_else(|| assigned.and_then(|assignment| assignment.value.as_str()));
        named.or_else(|| file.get("env").and_then(Value::as_str))
    }
}

/// What an assignment was given with.
#[derive(Clone, Copy)]
enum Flag {
    Set,
    EnvArg,
}

impl Flag {
    fn name(self) -> &'static str {
        match self {
            Flag::Set => "--set",
            Flag::EnvArg => "--env-arg",
        }
    }

    /// Of the names that a user gives with it, the table.
    fn table(self) -> &'static str {
        match self {
            Flag::Set => "",
            Flag::EnvArg => "env_args.",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Flag::Set => "optimizer.learning_rate.start=0.001",
            Flag::EnvArg => "size=9",
        }
    }
}

/// One setting's new value.
struct Assignment {
    flag: Flag,
    /// Dotted name of a setting that there is.
    name: String,
    value: Value,
    /// The value as it was given, on one line.
    given: String,
}

impl Assignment {
    /// Reads `NAME=VALUE`. A value that is no TOML is a word.
    fn parse(flag: Flag, text: &str) -> Result<Assignment, ConfigError> {
        let (given, example) = (quoted(text), flag.example());
        let refused = || ConfigError::Assignment { flag: flag.name(), given, example };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => (name.trim(), value.trim()),
            _ => return Err(refused()),
        };
        let name = format!("{}{name}", flag.table());
        check_name(&name)?;
        if value.is_empty() {
            return Err(ConfigError::NoValue { flag: flag.name(), given: quoted(text.trim()) });
        }
        let word = || Value::String(value.trim_matches('"').into());
        let read = value.parse().unwrap_or_else(|_| word());
        let mut assignment = Assignment { flag, name, given: quoted(value), value: read };
        assignment.read_whole(value)?;
        Ok(assignment)
    }

    /// Reads the number of a setting of whole ones, which TOML would have written without a point and a power of ten.
    fn read_whole(&mut self, text: &str) -> Result<(), ConfigError> {
        let Some([_, high]) = limits(&self.name) else { return Ok(()) };
        match whole_number::<u64>(text, [0, high]) {
            Ok(number) => self.value = Value::Integer(number as i64),
            Err(error @ NotWhole::TooLarge(_)) => return Err(self.refused(error.to_string())),
            // The limits say more of a number that is too small, and the types of one that is none.
            Err(_) => {}
        }
        Ok(())
    }

    fn assign(&self, table: &mut Table) {
        let nested = self.name.rsplit('.').fold(self.value.clone(), |value, key| {
            Value::Table(Table::from_iter([(key.to_owned(), value)]))
        });
        if let Value::Table(nested) = nested {
            lay_over(table, nested);
        }
    }

    fn refused(&self, mut message: String) -> ConfigError {
        let defaults = Config::default();
        let setting = defaults.visited().into_iter().find(|item| item.path == self.name);
        if message.ends_with("expected a list") {
            message = format!("{message}, such as [{}]", self.value);
        }
        ConfigError::Assigned {
            flag: self.flag.name(),
            name: self.name.strip_prefix(self.flag.table()).unwrap_or(&self.name).into(),
            value: self.given.clone(),
            message,
            allowed: setting.map_or_else(String::new, |item| item.setting.allowed.to_string()),
        }
    }
}

/// Whether there is a setting of this name, which is not a table of settings.
fn check_name(name: &str) -> Result<(), ConfigError> {
    let defaults = Config::default();
    let items = defaults.visited();
    let settings = || items.iter().filter(|item| item.value.is_some()).map(|item| &*item.path);
    // Which arguments an environment takes, it says itself.
    let is_argument = name.strip_prefix("env_args.").is_some_and(|name| !name.is_empty());
    if is_argument || settings().any(|known| known == name) {
        return Ok(());
    }
    let table = format!("{name}.");
    let below: Vec<&str> = settings().filter(|known| known.starts_with(&table)).collect();
    let suggestion = match below[..] {
        [] => did_you_mean_setting(name),
        _ => format!(", it is a table of {}", below.join(", ")),
    };
    Err(ConfigError::NoSuchSetting { name: name.into(), suggestion })
}

/// Reads a TOML file as settings. Unknown keys and wrong types are errors.
fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = File::open(path)
        .and_then(|file| read_text_at_most(file, MAX_FILE_BYTES))
        .map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let refused = |error| parse_error(path, &text, &error);
    toml::from_str::<Config>(&text).map_err(refused)?;
    let table = toml::from_str(&text).map_err(refused)?;
    // A list that is too long is refused here only, by its name instead of its line.
    let refused = |error: toml::de::Error| {
        let message = in_words(&error.to_string().trim_end().replace('\n', " "));
        ConfigError::Read { path: path.into(), source: std::io::Error::other(message) }
    };
    from_table(&table).map(|_| table).map_err(refused)
}

fn preset_table(name: Option<&str>, env: &str) -> Result<Table, ConfigError> {
    let [(default, _), ..] = PRESETS;
    let text = preset(name.unwrap_or(default), env)?;
    Ok(toml::from_str(text).expect("a test reads every preset"))
}

/// As many actors of these settings for each task as the others have.
fn share_out_actors(table: &mut Table, n_tasks: usize) {
    let actors = table.get_mut("actors").and_then(|actors| actors.get_mut("count"));
    if let Some(Value::Integer(count)) = actors {
        *count = (*count as usize).next_multiple_of(n_tasks) as i64;
    }
}

fn from_table(table: &Table) -> Result<Config, toml::de::Error> {
    table.clone().try_into()
}

/// Puts what `upper` has in the place of what `lower` has, table by table.
fn lay_over(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(lower)), Value::Table(upper)) => lay_over(lower, upper),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

/// One line from a TOML error: the file's line, its text, what was expected.
fn parse_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text[..start].lines().count().max(1);
    let line = if text[..start].ends_with('\n') { line + 1 } else { line };
    ConfigError::Parse {
        path: path.into(),
        line,
        text: text.lines().nth(line - 1).unwrap_or_default().trim().into(),
        message: one_line(error),
    }
}

fn one_line(error: &toml::de::Error) -> String {
    in_words(&error.message().replace('\n', " "))
}
