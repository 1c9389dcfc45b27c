//! The other learners of a job: who they are, and what is summed over them.
//!
//! One sentence holds: **R ranks of S slots an update learn as one learner of R·S slots.** Every rank brings its
//! gradient and its tally into a round, and all take the same sums out of it. Equal sums and equal arithmetic keep
//! parameters and optimisers equal, so nothing else is sent. What is decided (skip, stop, solved, rows) is decided
//! by what all have in common, so that no rank ever skips a round.
//!
//! [`Cluster`] is the border to whatever joins machines. [`Alone`] is a run without others; `mpi` joins those that
//! a launcher started. Here alone the feature `mpi` is named. Called by the hub, one lane at a time.

pub mod agreement;
pub mod contribution;
pub mod record;
pub mod tally;

#[cfg(feature = "mpi")]
mod mpi;

use crate::config::Config;
use crate::os::launcher::Rank;
use crate::state::LearnerState;

use contribution::Contribution;
use record::RankRecord;
use tally::Tally;

/// Why ranks could not learn together, or not any more.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClusterError {
    /// Several processes were started, and this build cannot join them.
    #[error(
        "started as {rank}, but this build has no MPI, and each rank would be a run of its own; use `make build-mpi`, or \
         build with `cargo build --release --features mpi`; `--set distributed.exchange=none` lets each run alone"
    )]
    NotBuilt {
        /// What the launcher says.
        rank: Rank,
    },
    /// MPI was asked for, and this build has none.
    #[error(
        "distributed.exchange = mpi: this build has no MPI; use `make build-mpi`, or build with \
         `cargo build --release --features mpi`"
    )]
    NoMpi,
    /// MPI does not know of the others.
    #[error(
        "the launcher says {told}, MPI says {found}: this build's MPI is not the launcher's; use the mpirun that came \
         with it, or `srun --mpi=pmix`"
    )]
    OtherRank {
        /// What the launcher says.
        told: Rank,
        /// What MPI says.
        found: Rank,
    },
    /// A rank would learn something else.
    #[error("{0}; give all ranks the same settings")]
    Settings(String),
    /// A rank would go on from somewhere else.
    #[error("{0}; give all ranks the same checkpoint")]
    Checkpoint(String),
    /// Some have not come to a round.
    #[error("{rank} waited {waited_s:.1} s for the others (distributed.round_timeout_s): {who}")]
    Missing {
        /// Who waited.
        rank: Rank,
        /// How long.
        waited_s: f64,
        /// Who has not come, in words.
        who: String,
    },
    /// The ranks have other weights than one another.
    #[error(
        "after update {update} the weights of {who} differ from those of rank 0; go on from the newest checkpoint, and \
         see whether all machines have the same program and sound memory"
    )]
    Unequal {
        /// The last update before the look.
        update: u64,
        /// Which ranks.
        who: String,
    },
    /// MPI refused.
    #[error("MPI failed in {what}: {reason}; see that the ranks reach one another")]
    Mpi {
        /// What was asked of it.
        what: &'static str,
        /// What it says.
        reason: String,
    },
}

/// What a waiting rank does meanwhile: it says that it lives. False ends the wait.
pub type Meanwhile<'a> = &'a mut dyn FnMut() -> bool;

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Round {
    /// All ranks have the same sums.
    Summed,
    /// It was given up; this rank takes part in no other.
    GivenUp,
}

/// All learners of a job, seen from one of them.
pub trait Cluster: Send {
    /// Which one this is.
    fn rank(&self) -> Rank;

    /// Makes gradient and tally those of all ranks together. Every rank has to come, with an equal number of values.
    ///
    /// # Errors
    /// If somebody does not come in time, or the exchange fails.
    fn sum(
        &mut self,
        contribution: &mut Contribution,
        tally: &mut Tally,
        meanwhile: Meanwhile,
    ) -> Result<Round, ClusterError>;

    /// What each rank says of itself, in their order; none where the round was given up. Every rank has to come.
    ///
    /// # Errors
    /// As [`Cluster::sum`].
    fn gather(
        &mut self,
        own: &RankRecord,
        meanwhile: Meanwhile,
    ) -> Result<Vec<RankRecord>, ClusterError>;

    /// Parts from the others in order, when all do.
    fn leave(&mut self);
}

/// The cluster of a run without others.
pub struct Alone;

impl Cluster for Alone {
    fn rank(&self) -> Rank {
        Rank::default()
    }

    fn sum(
        &mut self,
        contribution: &mut Contribution,
        _: &mut Tally,
        _: Meanwhile,
    ) -> Result<Round, ClusterError> {
        contribution.add_up();
        Ok(Round::Summed)
    }

    fn gather(&mut self, own: &RankRecord, _: Meanwhile) -> Result<Vec<RankRecord>, ClusterError> {
        Ok(vec![*own])
    }

    fn leave(&mut self) {}
}

/// Whether this build can learn as the settings and the launcher ask. Touches no MPI.
///
/// # Errors
/// If it lacks MPI.
pub fn check(config: &Config) -> Result<(), ClusterError> {
    let is_built = cfg!(feature = "mpi");
    match (config.is_distributed() && !is_built, config.rank.is_alone()) {
        (false, _) => Ok(()),
        (true, true) => Err(ClusterError::NoMpi),
        (true, false) => Err(ClusterError::NotBuilt { rank: config.rank }),
    }
}

/// Joins the other learners of the job, if there are any, and takes over the state of rank 0. Waits for all; the
/// process gets threads.
///
/// # Errors
/// If the others do not come, or want something else.
pub fn join(config: &Config, state: &mut LearnerState) -> Result<Box<dyn Cluster>, ClusterError> {
    check(config)?;
    #[cfg(feature = "mpi")]
    if config.is_distributed() {
        return Ok(Box::new(mpi::Mpi::join(config, state)?));
    }
    // Who is alone has nobody's state but its own.
    let _ = state;
    Ok(Box::new(Alone))
}
