//! Why environments in a process of their own cannot be had, or cannot go on.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::os::process::Death;

/// Why environments in a process of their own cannot be had, or cannot go on.
#[derive(Debug, Error)]
pub enum OutsideError {
    /// There is no such file.
    #[error("there is no {what} {}; name one that there is{remedy}", path.display())]
    NoFile {
        /// `Python` or `program`.
        what: &'static str,
        /// What was looked for.
        path: PathBuf,
        /// Which setting names another, after a comma; or nothing.
        remedy: &'static str,
    },
    /// Wrappers are Python's.
    #[error("env_wrappers are for environments of Python; leave them out for a program")]
    Wrappers,
    /// The operating system refused the process, its socket or its memory.
    #[error("the operating system refused {what}: {source}; check `ulimit -u -n` and free memory")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The process says what is wrong.
    #[error("{0}")]
    Told(String),
    /// The process ended.
    #[error("the process of the environments {death}{}", after_end(.printed))]
    Died {
        /// How.
        death: Death,
        /// The end of what it had printed.
        printed: String,
    },
    /// The process takes too long to start, seconds.
    #[error(
        "the process of the environments was not ready after {0} s; give it longer with env_start_timeout_s"
    )]
    Late(f64),
    /// The process says what it must not.
    #[error(
        "the process of the environments said {said:?} where {expected} was due; docs/environment-protocol.md \
         has the order"
    )]
    Protocol {
        /// What it said.
        said: String,
        /// What should have come.
        expected: &'static str,
    },
    /// What the process says of its environments cannot be.
    #[error("the environments state a wrong specification: {0}; mend what they say of themselves")]
    Spec(String),
    /// The same environments were others when the run was sized.
    #[error(
        "the environments have changed since the run began: they had {then}, and have {now}; start anew"
    )]
    Changed {
        /// The spaces that the run was sized for.
        then: String,
        /// Those now.
        now: String,
    },
}

fn after_end(printed: &str) -> String {
    match printed.trim() {
        "" => String::new(),
        printed => format!("; the last that it printed:\n{printed}"),
    }
}
