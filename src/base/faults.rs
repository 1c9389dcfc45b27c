//! Faults on purpose: a process that kills, stops or fails itself at a named point of its work. For tests of
//! what a run promises.
//!
//! Only in a build with the cargo feature `faults`. In any other a point is an empty function, and neither
//! names nor the environment variable are in the binary (`tests/faults.rs` looks). There `IMPALA_FAULT` says
//! what happens, such as `actor0:before-publish:kill@3`: who, where, what, and at which passage. `@3` and
//! `@3..7` hold for the first process in its place alone, `@3+` for each of its replacements too. Several
//! faults are separated by commas.

/// A point of the work at which something can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// An actor has chosen the actions of the rollout's middle step and not taken them.
    SlotHalfWritten,
    /// An actor is about to step its environments.
    EnvStep,
    /// An actor has filled a slot and not published it.
    BeforePublish,
    /// A lane has taken a batch and not learned from it.
    AfterTake,
    /// A lane has computed the losses of a batch.
    Loss,
    /// The learner has written half of its state.
    MidState,
    /// The learner has written the weights and not shown them.
    MidWeights,
    /// The learner is about to end without a word.
    BeforeGoodbye,
    /// The supervisor has written a checkpoint's file and not given it its name.
    MidCheckpoint,
}

#[cfg(not(feature = "faults"))]
mod plan {
    /// Says who this process is from now on.
    #[inline(always)]
    pub fn take_part(_role: impl FnOnce() -> String, _is_first: bool) {}

    /// Passes a point; whether a number made there shall be NaN.
    #[inline(always)]
    pub fn reach(_point: super::Point) -> bool {
        false
    }
}

#[cfg(feature = "faults")]
mod plan {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nix::sys::signal::{Signal, raise};

    use super::Point;

    /// Where the faults are named.
    const VARIABLE: &str = "IMPALA_FAULT";

    const POINTS: [(&str, Point); 9] = [
        ("slot-half-written", Point::SlotHalfWritten),
        ("env-step", Point::EnvStep),
        ("before-publish", Point::BeforePublish),
        ("after-take", Point::AfterTake),
        ("loss", Point::Loss),
        ("mid-state", Point::MidState),
        ("mid-weights", Point::MidWeights),
        ("before-goodbye", Point::BeforeGoodbye),
        ("mid-checkpoint", Point::MidCheckpoint),
    ];

    const ACTIONS: [(&str, Action); 6] = [
        ("kill", Action::Kill),
        ("stop", Action::Stop),
        ("panic", Action::Panic),
        ("hang", Action::Hang),
        ("exit", Action::Exit),
        ("nan", Action::Nan),
    ];

    #[derive(Clone, Copy, Debug)]
    enum Action {
        Kill,
        Stop,
        Panic,
        Hang,
        /// With status 0 and without a goodbye.
        Exit,
        Nan,
    }

    struct Fault {
        role: String,
        point: Point,
        action: Action,
        first_passage: u64,
        last_passage: u64,
        is_of_replacements_too: bool,
        n_passages: AtomicU64,
    }

    /// The faults of this process: its own, whoever it was forked from.
    static FAULTS: OnceLock<Vec<Fault>> = OnceLock::new();
    static OWN: OnceLock<(String, bool)> = OnceLock::new();

    /// Says who this process is from now on: a worker, or the supervisor if it never says so.
    pub fn take_part(role: impl FnOnce() -> String, is_first: bool) {
        OWN.get_or_init(|| (role(), is_first));
    }

    /// Passes a point, and does what is to happen there; whether a number made there shall be NaN.
    pub fn reach(point: Point) -> bool {
        let supervisor = || ("supervisor".to_owned(), true);
        let supervised = OWN.get().cloned();
        let (role, is_first) = supervised.unwrap_or_else(supervisor);
        let mut is_nan = false;
        for fault in FAULTS.get_or_init(faults) {
            let is_ours = fault.role == role && (is_first || fault.is_of_replacements_too);
            if fault.point == point && is_ours {
                let passage = fault.n_passages.fetch_add(1, Ordering::Relaxed) + 1;
                if (fault.first_passage..=fault.last_passage).contains(&passage) {
                    is_nan |= act(fault.action, point);
                }
            }
        }
        is_nan
    }

    fn act(action: Action, point: Point) -> bool {
        match action {
            Action::Nan => return true,
            Action::Panic => panic!("a fault on purpose at {point:?}"),
            Action::Exit => std::process::exit(0),
            Action::Kill => raise(Signal::SIGKILL).expect("a process may signal itself"),
            Action::Stop => raise(Signal::SIGSTOP).expect("a process may signal itself"),
            Action::Hang => loop {
                nix::unistd::pause();
            },
        }
        false
    }

    fn faults() -> Vec<Fault> {
        let named = std::env::var(VARIABLE).unwrap_or_default();
        let faults = named.split(',').filter(|fault| !fault.is_empty());
        let refuse = |fault| panic!("{VARIABLE}: {fault:?} is not ROLE:POINT:ACTION@PASSAGE");
        faults.map(|fault| parsed(fault).unwrap_or_else(|| refuse(fault))).collect()
    }

    fn parsed(text: &str) -> Option<Fault> {
        let (what, passages) = text.split_once('@')?;
        let [role, point, action] = what.split(':').collect::<Vec<_>>().try_into().ok()?;
        let (_, point) = POINTS.into_iter().find(|(name, _)| *name == point)?;
        let (_, action) = ACTIONS.into_iter().find(|(name, _)| *name == action)?;
        let (first, last) = match (passages.strip_suffix('+'), passages.split_once("..")) {
            (Some(first), _) => (first.parse().ok()?, u64::MAX),
            (None, Some((first, last))) => (first.parse().ok()?, last.parse().ok()?),
            (None, None) => (passages.parse().ok()?, passages.parse().ok()?),
        };
        Some(Fault {
            role: role.to_owned(),
            point,
            action,
            first_passage: first,
            last_passage: last,
            is_of_replacements_too: passages.ends_with('+'),
            n_passages: AtomicU64::new(0),
        })
    }
}

pub use plan::{reach, take_part};
