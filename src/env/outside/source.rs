//! Where environments in a process of their own come from: what a user writes, and the command that it stands for.
//!
//! Owns the names (`gym:`, `vec:`, `exec:`, `MODULE:CALLABLE`) and the choice of the Python. Starts nothing.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::{ArgError, EnvArgs};
use super::Launch;
use super::error::OutsideError;

/// Where a Python's file is found that a virtual environment has.
const PYTHON_IN_VENV: &str = "bin/python";

/// Mode of a file that somebody may run.
const ANYBODY_RUNS: u32 = 0o111;

/// Libraries start as many threads as there are cores, in each actor, unless these say otherwise.
const ONE_THREAD: [&str; 4] =
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"];

/// What steps the environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// The engine's own worker in a Python, told this name: `gym:ID`, `vec:ID` or `MODULE:CALLABLE`.
    Python(&'a str),
    /// Any program that speaks the protocol.
    Program(&'a Path),
}

impl<'a> Source<'a> {
    /// What a name stands for; `None` for one without a colon, which is the engine's own or nobody's.
    pub fn parse(id: &'a str) -> Option<Self> {
        match id.split_once(':')? {
            (_, "") | ("", _) => None,
            ("exec", path) => Some(Source::Program(Path::new(path))),
            _ => Some(Source::Python(id)),
        }
    }

    /// Refuses arguments that could not be told: a Python is told them as JSON.
    ///
    /// # Errors
    /// Which it is.
    pub fn check_args(self, args: &EnvArgs) -> Result<(), ArgError> {
        match (self, args.not_finite()) {
            (Source::Python(_), Some((name, value))) => {
                let remedy = format!(
                    "must be finite, as JSON's numbers are; a text is \"{value}\", with its quotes"
                );
                Err(ArgError::of(name, value, &remedy))
            }
            _ => Ok(()),
        }
    }

    /// What has to be run for such environments.
    pub fn must_be(self) -> &'static str {
        match self {
            Source::Program(_) => "a program that speaks as docs/environment-protocol.md says",
            Source::Python(_) => "a Python, which --python names",
        }
    }

    /// The command that steps such environments, which reads the worker's source from `worker`.
    ///
    /// # Errors
    /// Where there is no such program or Python, or a program is given wrappers.
    pub fn command(
        self,
        worker: &Path,
        args: &EnvArgs,
        launch: &Launch,
    ) -> Result<Command, OutsideError> {
        let mut command = match self {
            Source::Program(path) => program(path, args, launch)?,
            Source::Python(name) => {
                let mut command = Command::new(python(&launch.python)?);
                command.arg(worker).arg(name).arg(args.to_json()).args(&launch.wrappers);
                command
            }
        };
        let unset = ONE_THREAD.into_iter().filter(|name| env::var_os(name).is_none());
        command.envs(unset.map(|name| (name, "1")));
        Ok(command)
    }
}

fn program(path: &Path, args: &EnvArgs, launch: &Launch) -> Result<Command, OutsideError> {
    if !launch.wrappers.is_empty() {
        return Err(OutsideError::Wrappers);
    }
    let path = existing(path.to_owned(), "program", "")?;
    // A name without a slash would be looked for elsewhere.
    let is_bare = path.components().count() == 1;
    let mut command = Command::new(if is_bare { Path::new(".").join(path) } else { path });
    command.args(args.assignments());
    Ok(command)
}

/// The Python that was asked for, else that of an active or a local virtual environment, else the system's.
fn python(given: &str) -> Result<PathBuf, OutsideError> {
    let remedy = ", with --python";
    if !given.is_empty() {
        return existing(given.into(), "Python", remedy);
    }
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set("IMPALA_PYTHON") {
        return existing(path, "Python", ", with IMPALA_PYTHON or --python");
    }
    let in_venv = |venv: PathBuf| Some(venv.join(PYTHON_IN_VENV)).filter(|path| path.is_file());
    let found = set("VIRTUAL_ENV").and_then(in_venv).or_else(|| in_venv(".venv".into()));
    Ok(found.unwrap_or_else(|| "python3".into()))
}

fn existing(
    path: PathBuf,
    what: &'static str,
    remedy: &'static str,
) -> Result<PathBuf, OutsideError> {
    match path.metadata() {
        Ok(file) if file.is_file() && file.permissions().mode() & ANYBODY_RUNS != 0 => Ok(path),
        Ok(file) if file.is_file() => Err(OutsideError::NotExecutable { path }),
        _ => Err(OutsideError::NoFile { what, path, remedy }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn numbers_that_json_lacks_are_refused_where_it_carries_them() {
        let args: EnvArgs = toml::from_str("size = 1\nnested = { sizes = [1.0, inf] }").unwrap();
        let refused = Source::Python("gym:a").check_args(&args).unwrap_err().to_string();
        assert!(refused.starts_with("nested = inf: must be finite"), "{refused}");
        assert_eq!(Source::Program(Path::new("a")).check_args(&args), Ok(()));
        let args = toml::from_str("size = \"inf\"").unwrap();
        assert_eq!(Source::Python("gym:a").check_args(&args), Ok(()));
    }

    #[test]
    fn a_colon_parts_what_is_outside_from_the_engines_own() {
        for own in ["CartPole-v1", "", ":", "gym:", ":x"] {
            assert_eq!(Source::parse(own), None, "{own}");
        }
        for name in ["gym:LunarLander-v3", "vec:ALE/Pong-v5", "a.b:make"] {
            assert_eq!(Source::parse(name), Some(Source::Python(name)));
        }
        assert_eq!(Source::parse("exec:./a:b"), Some(Source::Program(Path::new("./a:b"))));
    }

    #[test]
    fn a_program_is_given_its_arguments_and_no_wrappers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = Source::Program(file.path());
        let refused = refused.command(Path::new(""), &EnvArgs::default(), &Launch::default());
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(&format!("`chmod +x {}`", file.path().display())), "{refused}");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut args = EnvArgs::default();
        args.set("size", 7.into());
        args.set("name", "deep".into());
        let source = Source::Program(file.path());
        let command = source.command(Path::new(""), &args, &Launch::default()).unwrap();
        assert!(command.get_args().eq(["name=\"deep\"", "size=7"]));
        assert!(command.get_envs().any(|(name, value)| {
            name == "OMP_NUM_THREADS" && value.is_some_and(|value| value == "1")
        }));
        let launch = Launch { wrappers: vec!["a:B".into()], ..Launch::default() };
        let refused = source.command(Path::new(""), &args, &launch);
        assert!(matches!(refused, Err(OutsideError::Wrappers)));
        let refused = Source::Program(Path::new("nowhere"));
        let refused = refused.command(Path::new(""), &args, &Launch::default()).unwrap_err();
        assert!(refused.to_string().starts_with("there is no program nowhere"), "{refused}");
    }
}
