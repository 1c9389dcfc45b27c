//! Why an environment cannot be had, or cannot go on.

use thiserror::Error;

use super::args::ArgError;
use super::outside::OutsideError;
use crate::base::suggest::did_you_mean;

/// Why an environment cannot be had, or cannot go on.
#[derive(Debug, Error)]
pub enum EnvError {
    /// Nobody has registered it.
    #[error(transparent)]
    Unknown(#[from] UnknownEnv),
    /// It cannot be made with these arguments.
    #[error(
        "{env} cannot be made with these arguments: {source}; set others with --env-arg NAME=VALUE"
    )]
    Args {
        /// Its id.
        env: String,
        /// What is wrong.
        source: ArgError,
    },
    /// What it says of itself cannot be.
    #[error("{env} states a wrong specification: {fault}; mend its `spec`")]
    Spec {
        /// Its id.
        env: String,
        /// What is wrong.
        fault: String,
    },
    /// Several tasks cannot be one run's.
    #[error("{why}")]
    Tasks {
        /// What is wrong, and what to do about it.
        why: String,
    },
    /// An action is none of its space. Such an action can only come from a broken sampler, and to clamp it
    /// would record a behaviour policy that never acted.
    #[error("action {action} in environment {index} is not in {space} of {env}; mend who chose it")]
    Action {
        /// The environments' id.
        env: String,
        /// Which of them.
        index: usize,
        /// What it was given.
        action: String,
        /// What it takes.
        space: String,
    },
    /// Room for observations, or actions, are of another shape than the environments'.
    #[error("{what} of {n_envs} environments of {env} do not fit what was given; mend the caller")]
    Room {
        /// The environments' id.
        env: String,
        /// How many they are.
        n_envs: usize,
        /// `observations` or `actions`.
        what: &'static str,
    },
    /// Environments in a process of their own cannot be had, or cannot go on.
    #[error("{env}: {source}")]
    Outside {
        /// The environments' id.
        env: String,
        /// Why.
        source: OutsideError,
    },
}

impl EnvError {
    pub(super) fn outside(id: &str, source: OutsideError) -> Self {
        EnvError::Outside { env: id.into(), source }
    }
}

/// An id that a registry does not hold.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "unknown environment {id:?}{}",
    answer(&did_you_mean(id, known.iter().copied()), known)
)]
pub struct UnknownEnv {
    /// What was asked for.
    pub id: String,
    /// What there is.
    pub known: Vec<&'static str>,
}

/// A question ends a sentence, and what there is begins another.
fn answer(question: &str, known: &[&str]) -> String {
    let and = if question.is_empty() { "; known" } else { " Known" };
    format!("{question}{and}: {}; one of Gymnasium's is gym:ID", known.join(", "))
}
