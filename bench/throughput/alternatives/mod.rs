//! What the engine would cost with another way of doing one thing.
//!
//! The engine keeps one way to do each thing, so the others live here: one learner and its actors,
//! made of the engine's own parts ([`loops`]), around three pieces that can be exchanged: how a worker
//! waits ([`Waiting`]), how rollouts travel ([`Transport`]), how weights travel ([`Weights`]). The first
//! variant is the engine's choice of each, without the engine's reports, saved states and signs of life, and so
//! somewhat faster than the engine. It is what the others are compared with.
//!
//! Workers never stop by themselves. They count into memory shared with this process, which looks at it
//! twice and then kills them.

mod loops;
mod shared;
mod transport;
mod waiting;
mod weights;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use impala::config::Config;
use impala::os::process::{Death, EXIT_ERROR, Worker};
use impala::run::first_state::{create_segment, fresh_state};
use impala::run::sizes::Sizes;
use impala::shm::Segment;
use nix::sys::signal::Signal;

use super::Effort;
use super::processes::watch;
use super::sample::Sample;
use shared::Shared;
use transport::{Copied, Lockstep, Messages, Rings, Transport};
use waiting::Waiting;
use weights::{Messaged, Mutexed, Seqlock, Weights};

/// Which one method is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// None: the engine's choices.
    Engine,
    /// Nobody collects while the learner learns.
    Lockstep,
    /// The learner copies every slot before it reads it.
    Copied,
    /// One copy of the weights under a mutex.
    MutexWeights,
    /// Weights as messages of ipc-channel.
    MessageWeights,
    /// Rollouts as messages of ipc-channel.
    MessageRollouts,
    /// Waiting asleep, without letting others run first.
    Sleeping,
    /// Waiting by looking again at once.
    Spinning,
    /// Waiting by letting others run, then looking again.
    Yielding,
}

impl Variant {
    pub const ALL: [Variant; 9] = [
        Variant::Engine,
        Variant::Lockstep,
        Variant::Copied,
        Variant::MutexWeights,
        Variant::MessageWeights,
        Variant::MessageRollouts,
        Variant::Sleeping,
        Variant::Spinning,
        Variant::Yielding,
    ];

    /// The row's name.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Engine => "default: the engine's methods",
            Variant::Lockstep => "lockstep, not asynchronous",
            Variant::Copied => "slots copied, not read in place",
            Variant::MutexWeights => "weights: mutex, not seqlock",
            Variant::MessageWeights => "weights: messages, not seqlock",
            Variant::MessageRollouts => "rollouts: messages, not rings",
            Variant::Sleeping => "waiting: futex at once",
            Variant::Spinning => "waiting: spin, not futex",
            Variant::Yielding => "waiting: yield, not futex",
        }
    }
}

/// What the learner counts.
#[derive(Default)]
struct Figures {
    updates: AtomicU64,
    lag_sum: AtomicU64,
}

/// The exchangeable pieces of one variant.
struct Pieces<'a> {
    transport: Box<dyn Transport + 'a>,
    weights: Box<dyn Weights + 'a>,
}

fn pieces<'a>(variant: Variant, config: &Config, segment: &'a Segment) -> Result<Pieces<'a>> {
    let n_actors = config.actors.count;
    let n_params = Sizes::of(config)?.n_params();
    let rings = |waiting| Rings { segment, n_actors, waiting };
    let mut pieces = Pieces {
        transport: Box::new(rings(Waiting::Doorbell)),
        weights: Box::new(Seqlock { segment }),
    };
    match variant {
        Variant::Engine => {}
        Variant::Lockstep => pieces.transport = Box::new(Lockstep(rings(Waiting::Doorbell))),
        Variant::Copied => {
            pieces.transport =
                Box::new(Copied(rings(Waiting::Doorbell), Sizes::of(config)?.rollout));
        }
        Variant::MutexWeights => pieces.weights = Box::new(Mutexed::new(n_params)?),
        Variant::MessageWeights => pieces.weights = Box::new(Messaged::new(n_actors)?),
        Variant::MessageRollouts => pieces.transport = Box::new(Messages::new(config)?),
        Variant::Sleeping => pieces.transport = Box::new(rings(Waiting::Futex)),
        Variant::Spinning => pieces.transport = Box::new(rings(Waiting::Spin)),
        Variant::Yielding => pieces.transport = Box::new(rings(Waiting::Yield)),
    }
    Ok(pieces)
}

/// Runs one variant and measures it.
///
/// Forks: this process must have one thread.
pub fn run(variant: Variant, effort: Effort) -> Result<Sample> {
    let config = Config::default();
    let shape = Sizes::of(&config)?.segment;
    let segment = create_segment(&shape, &fresh_state(&config)?)?;
    let pieces = pieces(variant, &config, &segment)?;
    let figures = Shared::new(Figures::default())?;
    let workers = start(&config, &segment, &pieces, &figures)?;
    let pids: Vec<u32> = workers.iter().map(Worker::pid).collect();
    std::thread::sleep(effort.case_warm_up);
    let (start, before) = (Instant::now(), counts(&figures));
    let usage = watch(|| pids.clone(), effort.case_measured);
    let (seconds, after) = (start.elapsed().as_secs_f64(), counts(&figures));
    stop(workers).with_context(|| variant.name())?;
    let n_updates = after.0 - before.0;
    let m_frames = n_updates * Sizes::of(&config)?.rollout.n_frames() as f64 / 1e6;
    Ok(Sample {
        m_frames_per_s: m_frames / seconds,
        cpu_s_per_m_frames: usage.cpu_s / m_frames,
        pss_mb: usage.largest_pss_mb(),
        policy_lag: (after.1 - before.1) / n_updates,
        disturbance: usage.disturbance,
    })
}

/// Updates and summed lag so far. Relaxed: two figures for people, a few updates apart at most.
fn counts(figures: &Figures) -> (f64, f64) {
    (figures.updates.load(Relaxed) as f64, figures.lag_sum.load(Relaxed) as f64)
}

fn start(
    config: &Config,
    segment: &Segment,
    pieces: &Pieces,
    figures: &Figures,
) -> Result<Vec<Worker>> {
    let Pieces { transport, weights } = pieces;
    let learn = || loops::learn(config, segment, &**transport, &**weights, figures);
    let mut workers = vec![Worker::spawn(|| status_of(learn()))?];
    for actor in 0..config.actors.count {
        let act = || loops::act(config, segment, actor, &**transport, &**weights);
        workers.push(Worker::spawn(|| status_of(act()))?);
    }
    Ok(workers)
}

/// The exit status of a worker that should have run until it was killed.
fn status_of(end: Result<loops::Never>) -> i32 {
    let Err(error) = end;
    eprintln!("{error:#}");
    EXIT_ERROR
}

fn stop(workers: Vec<Worker>) -> Result<()> {
    for worker in &workers {
        worker.kill()?;
    }
    for worker in workers {
        let death = worker.reap()?.death;
        ensure!(death == Death::Killed(Signal::SIGKILL), "a worker {death} before its time");
    }
    Ok(())
}
