//! Why a configuration was refused.

use std::path::PathBuf;

/// Why a configuration was refused. Each message is one line: where, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot read the configuration: {source}; give a readable TOML file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has an unknown key or a value of the wrong type.
    #[error("{}:{line}: `{text}`: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The offending line.
        text: String,
        /// What is wrong and what was expected.
        message: String,
    },
    /// An assignment has no `=`, or nothing before it.
    #[error("{flag} {given}: an assignment is NAME=VALUE, such as {example}")]
    Assignment {
        /// `--set` or `--env-arg`.
        flag: &'static str,
        /// What was given.
        given: String,
        /// What could have been given.
        example: &'static str,
    },
    /// An assignment has nothing after its `=`.
    #[error(
        "{flag} {given}: NAME=VALUE with no value; for an empty text give {flag} '{given}\"\"'"
    )]
    NoValue {
        /// `--set` or `--env-arg`.
        flag: &'static str,
        /// What was given.
        given: String,
    },
    /// No setting has this name.
    #[error("--set {name}: no such setting{suggestion}; `impala config` prints all")]
    NoSuchSetting {
        /// The name given.
        name: String,
        /// The nearest one, in words; empty if none is near.
        suggestion: String,
    },
    /// No preset has this name.
    #[error("--preset {name}: no such preset{suggestion}; there are {names}")]
    NoSuchPreset {
        /// The name given.
        name: String,
        /// The nearest one, in words; empty if none is near.
        suggestion: String,
        /// All that there are.
        names: String,
    },
    /// The value is of the wrong type.
    #[error("{flag} {name}={value}: {message}; {name} is {allowed}")]
    Assigned {
        /// `--set` or `--env-arg`.
        flag: &'static str,
        /// Dotted name of the setting.
        name: String,
        /// The value given.
        value: String,
        /// What is wrong.
        message: String,
        /// What may be given.
        allowed: String,
    },
    /// A setting has a value that cannot work.
    #[error("{field} = {value}: {remedy}")]
    Value {
        /// Dotted name of the setting.
        field: String,
        /// The value given.
        value: String,
        /// What would work.
        remedy: String,
    },
    /// The libtorch learner is asked for and not built in.
    #[error(
        "learner = torch: this build has no libtorch; use `make train LEARNER=torch`, \
         or build with `cargo build --release --features torch`"
    )]
    NoTorch,
    /// The network is one that libtorch alone computes, and that is not built in.
    #[error(
        "network.torso = {network}: libtorch computes it, which this build lacks; use `make train LEARNER=torch`, \
         build with `cargo build --release --features torch`, or take `--set network.torso=mlp`"
    )]
    NetworkNeedsTorch {
        /// The torso, and the LSTM if it has one.
        network: String,
    },
}

/// What a user gave, on one line, with nothing in it that a terminal would obey. Quotes stay as they were given.
pub(super) fn quoted(given: &str) -> String {
    let mut text = String::new();
    for letter in given.chars() {
        match letter {
            '"' | '\'' | '\\' => text.push(letter),
            _ => text.extend(letter.escape_debug()),
        }
    }
    text
}
