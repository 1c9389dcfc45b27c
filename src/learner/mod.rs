//! The learner: the second of the two hot loops. Takes slots, computes V-trace targets and the
//! gradient, steps the optimiser, publishes the weights, hands the slots back.
//!
//! The loop is in [`lane`]; one lane runs on the process's first thread, further ones on threads of their
//! own, and all meet in [`intake`] (where batches come from) and [`hub`] (where gradients go). Both stand
//! behind locks of this process alone: no other process waits for them, and if this one dies they die
//! with it. Called by the supervisor in a forked process.

pub mod cluster;
pub mod corrections;
pub mod gradient;
pub mod hub;
pub mod intake;
pub mod lane;
pub mod losses;
pub mod meters;
pub mod optim;
pub mod overlap;
pub mod pass;
pub mod popart;
pub mod pulse;
pub mod ranks;
pub mod reward_norm;
pub mod score;
pub mod streak;
pub mod targets;
pub mod task_meters;
pub mod vtrace;

use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;
use std::{fmt, io};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::base::clock::{RunClock, in_seconds, monotonic_ns};
use crate::base::units::number_of;
use crate::config::{Config, ConfigError};
use crate::os::process::end_worker;
use crate::shm::{Segment, SegmentError};
use crate::state::LearnerState;
use crate::telemetry::Message;

use cluster::{Cluster, ClusterError};
use hub::Hub;
use intake::Intake;
use lane::Lane;
use losses::Losses;

/// Why a learner could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LearnerError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The shared segment is damaged or of another layout.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// Nobody has saved a state to start from.
    #[error(
        "the shared segment holds no sound state to learn from; the supervisor saves the first"
    )]
    NoState,
    /// No update is finite any more.
    #[error("{} in a row without a finite one: {last}", number_of(*n_in_a_row, "update"))]
    Diverged {
        /// Updates in a row.
        n_in_a_row: u64,
        /// The last one.
        last: NotFinite,
    },
    /// The operating system gave no thread.
    #[error(
        "cannot start a learner thread: {0}; check `ulimit -u` or lower learner_threads and batch_threads"
    )]
    Thread(io::Error),
    /// The ranks of the job cannot learn together.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A round of theirs failed.
    #[error("update {update}: {source}")]
    Round {
        /// Which update it would have been.
        update: u64,
        /// Why.
        source: ClusterError,
    },
    /// The others have not started.
    #[error(
        "waited {waited_s:.0} s for the other ranks to start (distributed.round_timeout_s); see what the launcher says"
    )]
    NobodyCame {
        /// How long.
        waited_s: f64,
    },
    /// The supervisor is gone or deaf.
    #[error("the supervisor does not take reports: {0}")]
    Report(String),
}

/// An update that was not made, and what is known about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotFinite {
    /// Which update it would have been.
    pub update: u64,
    /// Losses, means over the learned frames of its batch.
    pub losses: Losses,
    /// Norm of its gradient.
    pub grad_norm: f32,
    /// Norm of the last finite gradient; NaN if there was none.
    pub last_grad_norm: f32,
    /// Learning rate of its step.
    pub learning_rate: f64,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let NotFinite { update, losses, grad_norm, last_grad_norm, learning_rate } = self;
        let before = match last_grad_norm.is_finite() {
            true => format!("that of the last finite one was {last_grad_norm}"),
            false => "none before it was finite".into(),
        };
        write!(
            f,
            "update {update} had the losses {losses} a frame \
             and a gradient of norm {grad_norm} ({before}) at a learning rate of {learning_rate}"
        )
    }
}

/// Where the learner's messages go.
pub trait MessageSink {
    /// Sends one message.
    ///
    /// # Errors
    /// If nobody listens any more.
    fn send(&mut self, message: Message) -> Result<(), LearnerError>;
}

/// The learner process.
pub struct Learner<'seg, S> {
    config: &'seg Config,
    segment: &'seg Segment,
    intake: Intake<'seg>,
    hub: Mutex<Hub<'seg, S>>,
}

impl<'seg, S: MessageSink + Send> Learner<'seg, S> {
    /// A learner that goes on from the state in the segment, be it fresh, resumed, or what a learner
    /// before it left.
    ///
    /// # Errors
    /// If the configuration cannot work, the segment is damaged or holds no state, or the other ranks of the job do
    /// not come.
    pub fn new(
        config: &'seg Config,
        segment: &'seg Segment,
        run_clock: RunClock,
        sink: S,
    ) -> Result<Self, LearnerError> {
        let now_ns = monotonic_ns();
        segment.check_header()?;
        segment.prefault()?;
        let saved = segment.state_reader().read_if_newer().map_err(SegmentError::from)?;
        let mut saved = saved.ok_or(LearnerError::NoState)?;
        if !saved.state.is_finite() {
            return Err(LearnerError::NoState);
        }
        let cluster = join(config, segment, &mut saved.state)?;
        let intake = Intake::new(config, segment, &saved.consumed)?;
        let hub = Hub::new(config, segment, cluster, saved, run_clock, now_ns, sink)?;
        Ok(Learner { config, segment, intake, hub: Mutex::new(hub) })
    }

    /// Learns until the budget is spent, the task is solved (if that ends the run) or the board says
    /// stop.
    ///
    /// # Errors
    /// If training diverges, the segment is damaged, the supervisor is gone, or there are no threads to be
    /// had.
    pub fn run(self) -> Result<(), LearnerError> {
        // A learner before this one may have made the last update and not said goodbye.
        if lock(&self.hub).exit().is_some() {
            return self.hub.into_inner().expect(NO_PANIC).finish();
        }
        let _helpers = helpers(self.config.n_batch_threads())?;
        let lane = |number| Lane::new(number, self.config, self.segment, &self.intake, &self.hub);
        let lanes = (0..self.config.n_learner_threads()).map(lane);
        run_together(lanes.collect::<Result<_, _>>()?)?;
        let mut hub = self.hub.into_inner().expect(NO_PANIC);
        hub.say_goodbye()?;
        hub.finish()
    }
}

/// How often who waits for the job to begin says that it lives.
const BREATH: Duration = Duration::from_millis(100);

/// Rounds of the beginning that time out say more than that nobody came: they have so long for it, s.
const LAST_WORDS_S: f64 = 5.0;

/// Joins the other learners of the job, if there are any. Meanwhile a thread says that this one lives, because MPI
/// blocks until all have come; it gives up when that has taken too long.
fn join(
    config: &Config,
    segment: &Segment,
    state: &mut LearnerState,
) -> Result<Box<dyn Cluster>, LearnerError> {
    if !config.is_distributed() {
        return Ok(cluster::join(config, state)?);
    }
    let (done, is_done) = mpsc::channel::<()>();
    let vitals = &segment.board().learner().vitals;
    let (start_ns, patience_s) = (monotonic_ns(), config.distributed.round_timeout_s);
    thread::scope(|scope| {
        let breathe = move || {
            while is_done.recv_timeout(BREATH) == Err(RecvTimeoutError::Timeout) {
                let waited_s = in_seconds(monotonic_ns() - start_ns);
                if waited_s > patience_s + LAST_WORDS_S {
                    end_worker(&format!("learner: {}", LearnerError::NobodyCame { waited_s }));
                }
                vitals.beat(monotonic_ns());
            }
        };
        let named = thread::Builder::new().name("impala-breath".into());
        named.spawn_scoped(scope, breathe).map_err(LearnerError::Thread)?;
        let joined = cluster::join(config, state);
        drop(done);
        Ok(joined?)
    })
}

/// Makes this thread the first of a pool of `n_threads`, which share its work on a batch until the pool is dropped.
fn helpers(n_threads: usize) -> Result<Option<ThreadPool>, LearnerError> {
    if n_threads == 1 || rayon::current_thread_index().is_some() {
        return Ok(None);
    }
    let pool = ThreadPoolBuilder::new().num_threads(n_threads).use_current_thread();
    let pool = pool.thread_name(|number| format!("impala-batch{number}"));
    pool.build().map(Some).map_err(|error| LearnerError::Thread(io::Error::other(error)))
}

/// Runs the first lane on this thread and each further one on its own; the first error, if any.
fn run_together<S: MessageSink + Send>(lanes: Vec<Lane<S>>) -> Result<(), LearnerError> {
    thread::scope(|scope| {
        let mut lanes = lanes.into_iter().zip(0..);
        let first = lanes.next();
        let others: Vec<_> = lanes
            .map(|(lane, number)| {
                let thread = thread::Builder::new().name(lane::thread_name(number));
                // A lane that cannot be started is dropped, and the others end with it.
                thread.spawn_scoped(scope, || lane.run()).map_err(LearnerError::Thread)
            })
            .collect();
        let mut result = first.map_or(Ok(()), |(lane, _)| lane.run());
        for other in others {
            let ended =
                other.and_then(|lane| lane.join().unwrap_or_else(|panic| resume_unwind(panic)));
            result = result.and(ended);
        }
        result
    })
}

/// Why a lock of this process is never poisoned where it is taken.
const NO_PANIC: &str = "no lane has panicked in its turn, or this one ends with it";

/// Takes a lock that only lanes share. If one of them panicked in its turn, this one panics too: what is
/// behind the lock may be half done, and the learner ends.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect(NO_PANIC)
}
