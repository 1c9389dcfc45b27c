//! Environments in processes of their own: those of Gymnasium, in a Python, and of any program that speaks the
//! protocol of `docs/environment-protocol.md`.
//!
//! An actor starts one process for all its environments (`bridge.rs`), after its own fork, and steps them
//! through a [`VecEnv`] (`vector.rs`). What they are is asked once, before anything is forked or sized: the
//! [`Outside`] of a registry remembers it, also for the processes that are forked later. Knows nothing of
//! actors, slots or learning. Called by [`Registry`](super::Registry).

mod bridge;
mod error;
mod log;
mod protocol;
mod source;
mod vector;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

pub use error::OutsideError;

use super::tasks::MAX_TASKS;
use super::vector::VecEnv;
use super::{EnvArgs, EnvError};
use crate::base::clock::{in_ns, monotonic_ns};
use crate::space::Spec;
use bridge::Bridge;
use protocol::{Described, Drawn, hello};
use source::Source;
use vector::OutsideVecEnv;

/// How the processes of environments are started.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The Python; empty for the one that is found.
    pub python: String,
    /// Wrappers of each environment, `MODULE:CLASS` or `MODULE:CLASS={"argument": 1}`, the innermost first.
    pub wrappers: Vec<String>,
    /// How long a process may take until its environments can be stepped, seconds.
    pub start_timeout_s: f64,
    /// Of how many environments; a process of more may take longer, in proportion.
    pub n_envs: usize,
}

impl Default for Launch {
    fn default() -> Self {
        // A package may import for half a minute where many actors do so at once on few cores.
        Launch { python: String::new(), wrappers: Vec::new(), start_timeout_s: 120.0, n_envs: 32 }
    }
}

impl Launch {
    /// How long a process of so many environments may take, seconds.
    fn timeout_s(&self, n_envs: usize) -> f64 {
        self.start_timeout_s * (n_envs as f64 / self.n_envs as f64).max(1.0)
    }
}

/// Arguments with which environments of Python draw themselves; those of others, and of a vector, as they are.
pub fn drawing(id: &str, args: &EnvArgs) -> EnvArgs {
    let mut args = args.clone();
    if matches!(Source::parse(id), Some(Source::Python(name)) if !name.starts_with("vec:")) {
        args.set("render_mode", "rgb_array".into());
    }
    args
}

/// Whether an id names code to be run, and not only an entry of Gymnasium's own table.
pub fn names_code(id: &str) -> bool {
    match id.split_once(':') {
        None => false,
        Some(("gym" | "vec", id)) => id.contains(':'),
        Some(_) => true,
    }
}

/// What environments say of themselves, and to whom that applies.
#[derive(Debug)]
struct Probed {
    id: String,
    args: EnvArgs,
    launch: Launch,
    account: Account,
}

/// What environments say of themselves.
#[derive(Clone, Debug)]
pub struct Account {
    /// What they are.
    pub spec: Spec,
    /// What a user should know of them, a line each.
    pub notes: Vec<String>,
    /// Frames of an emulator in a step; 1 where there is none.
    pub frames_per_step: u32,
    drawn: Option<Drawn>,
}

/// Environments in processes of their own: how those are started, and what is known of them.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    launch: Launch,
    /// How long an answer may take once they have started, seconds; `None` where a supervisor watches.
    answer_timeout_s: Option<f64>,
    /// Folder for what they print.
    logs: Option<PathBuf>,
    /// Clones share them, so that of one command's environments one process each is asked.
    probes: Probes,
}

/// What is known of as many environments as a run may have tasks.
#[derive(Clone, Debug)]
struct Probes(Arc<[OnceLock<Probed>; MAX_TASKS]>);

impl Default for Probes {
    fn default() -> Self {
        Probes(Arc::new(std::array::from_fn(|_| OnceLock::new())))
    }
}

impl Probes {
    fn all(&self) -> impl Iterator<Item = &Probed> {
        self.0.iter().filter_map(OnceLock::get)
    }

    /// Remembers one more; of those that find no place a process is asked each time.
    fn add(&self, probed: Probed) {
        let _ = self.0.iter().try_fold(probed, |probed, place| place.set(probed).err());
    }
}

impl Outside {
    /// The same, started otherwise.
    pub fn launching(self, launch: Launch) -> Self {
        Outside { launch, ..self }
    }

    /// The same, with what they print in a folder.
    pub fn logging_to(self, folder: PathBuf) -> Self {
        Outside { logs: Some(folder), ..self }
    }

    /// The same, given up where an answer takes longer than so many seconds.
    pub fn answering_within(self, seconds: f64) -> Self {
        Outside { answer_timeout_s: Some(seconds), ..self }
    }

    /// What environments say of themselves; `None` for an id that cannot be of any.
    ///
    /// Asks a process of theirs, at most once.
    ///
    /// # Errors
    /// [`EnvError::Outside`].
    pub fn account(&self, id: &str, args: &EnvArgs) -> Option<Result<Account, EnvError>> {
        let source = Source::parse(id)?;
        if let Err(source) = source.check_args(args) {
            return Some(Err(EnvError::Args { env: id.into(), source }));
        }
        let is_same = |probed: &&Probed| {
            probed.id == id && probed.args == *args && probed.launch == self.launch
        };
        if let Some(probed) = self.probes.all().find(is_same) {
            return Some(Ok(probed.account.clone()));
        }
        let probed = self.probe(source, id, args).map_err(|source| EnvError::outside(id, source));
        Some(probed.inspect(|account| {
            let launch = self.launch.clone();
            let (id, args) = (id.into(), args.clone());
            self.probes.add(Probed { id, args, launch, account: account.clone() });
        }))
    }

    /// `n_envs` environments, the first seeded with `seed`; `None` for an id that cannot be of any. Their process
    /// has begun to start.
    ///
    /// # Errors
    /// As [`Outside::account`].
    pub fn make_vec(
        &self,
        id: &str,
        args: &EnvArgs,
        n_envs: usize,
        seed: u64,
    ) -> Option<Result<Box<dyn VecEnv>, EnvError>> {
        let source = Source::parse(id)?;
        Some(self.account(id, args)?.and_then(|Account { spec, drawn, .. }| {
            let begin = || {
                let mut bridge = Bridge::start(source, args, &self.launch, self.logs.as_deref())?;
                bridge.say(hello(n_envs, seed).as_bytes())?;
                let envs = OutsideVecEnv::new(bridge, spec, drawn, n_envs, &self.launch)?;
                Ok(envs.answering_within(self.answer_timeout_s))
            };
            let envs = begin().map_err(|source| EnvError::outside(id, source))?;
            Ok(Box::new(envs) as Box<dyn VecEnv>)
        }))
    }

    /// Asks one environment what it is.
    fn probe(&self, source: Source, id: &str, args: &EnvArgs) -> Result<Account, OutsideError> {
        let mut bridge = Bridge::start(source, args, &self.launch, None)?;
        bridge.say(hello(1, 0).as_bytes())?;
        let end_ns = monotonic_ns().saturating_add(in_ns(self.launch.start_timeout_s));
        let described = hear_description(&mut bridge, &mut || monotonic_ns() < end_ns)?;
        let described = described.ok_or(OutsideError::Late(self.launch.start_timeout_s))?;
        let spec = described.spec(id).map_err(OutsideError::Spec)?;
        let Described { notes, frames_per_step, picture: drawn, .. } = described;
        Ok(Account { spec, notes, frames_per_step, drawn })
    }
}

/// The answer to `hello`, as [`Bridge::hear`].
fn hear_description(
    bridge: &mut Bridge,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Described>, OutsideError> {
    let Some(message) = bridge.hear(goes_on)? else { return Ok(None) };
    match Described::parse(message) {
        Some(Ok(described)) => Ok(Some(described)),
        Some(Err(error)) => Err(OutsideError::Spec(error.to_string())),
        None => Err(unexpected(message, "`spec` and JSON")),
    }
}

#[cold]
fn unexpected(message: &[u8], expected: &'static str) -> OutsideError {
    let said = String::from_utf8_lossy(&message[..message.len().min(200)]).into_owned();
    OutsideError::Protocol { said, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_of_python_are_told_to_draw_themselves() {
        let drawn = |id| drawing(id, &EnvArgs::default()).to_json();
        for id in ["gym:LunarLander-v3", "a.b:make"] {
            assert_eq!(drawn(id), r#"{"render_mode":"rgb_array"}"#, "{id}");
        }
        for id in ["vec:ALE/Pong-v5", "exec:./simulator"] {
            assert_eq!(drawn(id), "{}", "{id}");
        }
    }

    #[test]
    fn more_environments_than_an_actor_has_may_take_longer_to_start() {
        let launch = Launch { start_timeout_s: 3.0, n_envs: 4, ..Launch::default() };
        assert_eq!([1, 4, 100].map(|n_envs| launch.timeout_s(n_envs)), [3.0, 3.0, 75.0]);
    }

    #[test]
    fn ids_of_gymnasiums_table_name_no_code() {
        for id in ["CartPole-v1", "gym:LunarLander-v3", "vec:ALE/Pong-v5"] {
            assert!(!names_code(id), "{id}");
        }
        for id in ["exec:./simulator", "os:system", "gym:package:Maze-v0"] {
            assert!(names_code(id), "{id}");
        }
    }
}
