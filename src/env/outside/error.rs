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
    /// The file is there and must not be run.
    #[error("{} may not be run; if it is a program, `chmod +x {}` lets it", path.display(), path.display())]
    NotExecutable {
        /// What should be run.
        path: PathBuf,
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
    /// The process ended before its first word.
    #[error(
        "the process of the environments {death} before it said anything; {} must be {must}{}", program.display(),
        after_end(.printed)
    )]
    Mute {
        /// How.
        death: Death,
        /// What was run.
        program: PathBuf,
        /// What that has to be.
        must: &'static str,
        /// The end of what it had printed.
        printed: String,
    },
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
        "the process of the environments was not ready after {0} s; give it longer with --set env_start_timeout_s=SECONDS"
    )]
    Late(f64),
    /// The process takes too long to answer, seconds.
    #[error(
        "the process of the environments did not answer for {0} s, as one that hangs in a step or reset; mend it, or give \
         it longer with --set supervision.hang_timeout_s=SECONDS"
    )]
    Silent(f64),
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
