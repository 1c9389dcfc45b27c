//! The evaluation at the end of a run, in a process of its own.
//!
//! An environment that panics or hangs there costs the run its evaluation and none of its results. Called by
//! `train.rs`.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use ipc_channel::IpcError;
use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::watch::Watch;
use crate::base::latency::monotonic_ns;
use crate::base::seeds::{Stream, stream_seed};
use crate::config::{Config, ConfigError, ReportSettings};
use crate::os::process::{EXIT_ERROR, Ended, Worker, leave_words, set_process_name};
use crate::os::signals::{CaughtSignals, Request};
use crate::play::render::still;
use crate::play::{Bounds, EvalError, Player, Selection, scores};
use crate::sinks::terminal::{ProgressLine, Show};
use crate::space::ObsSpace;
use crate::state::checkpoint::Checkpoint;
use crate::telemetry::EvalSummary;

/// The process says this often how far it is; whoever waits for it listens as often.
const INTERVAL: Duration = Duration::from_millis(100);

/// The report's picture is of the middle of so many steps: late enough for a game to have begun, and no longer
/// than a step of all episodes, which are played before it.
const PICTURE_STEPS: u64 = 40;

/// What a final evaluation leaves.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The scores.
    pub summary: EvalSummary,
    /// An observation as a PNG file, where observations are pictures.
    pub picture: Option<Vec<u8>>,
}

/// Why a run has no evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Unevaluated {
    /// Somebody wanted the end at once.
    #[error("there was no final evaluation: a second signal asked for the end")]
    Hurry,
    /// Somebody wanted the end.
    #[error("{0} ended the final evaluation")]
    Signal(Signal),
    /// An environment took too long for a step, seconds.
    #[error(
        "the final evaluation gave no sign of life for {0} s and was killed (supervision.hang_timeout_s)"
    )]
    Hung(f64),
    /// No episode ended in time, seconds.
    #[error(
        "the final evaluation is without a result: no episode ended within {0} s; raise report.eval_max_s, or \
         lower report.eval_max_steps"
    )]
    Endless(f64),
    /// Its process failed.
    #[error("the final evaluation {}: {}", .0.death, .0.last_words)]
    Death(Ended),
    /// The operating system refused the process.
    #[error("the operating system refused the final evaluation: {0}; check `ulimit -u -n`")]
    System(#[from] io::Error),
}

/// What the process says.
#[derive(Serialize, Deserialize)]
enum Said {
    /// So many episodes are over.
    Played(u64),
    /// What came of all; nothing where none ended.
    Done(Option<EvalSummary>),
    /// What an observation looks like; after the scores, which it must not cost.
    Seen(Vec<u8>),
}

/// The greedy score of the final weights, from memory; `None` if no evaluation was asked for.
///
/// Forks: the calling process must have one thread.
///
/// # Errors
/// [`Unevaluated`].
pub fn evaluate(
    config: &Config,
    checkpoint: &Checkpoint,
    signals: &CaughtSignals,
    show: Show,
) -> Result<Option<Evaluation>, Unevaluated> {
    if config.report.eval_episodes == 0 {
        return Ok(None);
    }
    if signals.n_taken() > 1 {
        return Err(Unevaluated::Hurry);
    }
    let (sender, receiver) = ipc::channel()?;
    let worker = Worker::spawn(|| {
        set_process_name("impala-eval");
        let done = play(config, checkpoint, &sender).map_err(|error| error.to_string());
        done.map_or_else(failed, |()| 0)
    })?;
    let mut audience = Audience::new(config, receiver, show);
    let waited = audience.wait_for(&worker, signals);
    if waited.is_err() {
        worker.kill()?;
    }
    let ended = worker.reap()?;
    match (audience.summary, waited) {
        (Some(Some(summary)), _) => {
            Ok(Some(Evaluation { summary, picture: audience.picture.take() }))
        }
        (Some(None), _) => Err(Unevaluated::Endless(config.report.eval_max_s)),
        (None, Err(why)) => Err(why),
        (None, Ok(())) => Err(Unevaluated::Death(ended)),
    }
}

fn failed(why: String) -> i32 {
    leave_words(&format!("evaluation: {why}"));
    EXIT_ERROR
}

/// Who waits for the process, hears how far it is, and tells the user.
struct Audience {
    receiver: IpcReceiver<Said>,
    line: ProgressLine,
    hang_timeout_s: f64,
    watch: Watch,
    started_ns: u64,
    /// When something was last heard, ns.
    heard_ns: u64,
    /// What came of it, once that was heard.
    summary: Option<Option<EvalSummary>>,
    picture: Option<Vec<u8>>,
}

impl Audience {
    fn new(config: &Config, receiver: IpcReceiver<Said>, show: Show) -> Self {
        let (hang_timeout_s, now_ns) = (config.supervision.hang_timeout_s, monotonic_ns());
        Audience {
            receiver,
            line: ProgressLine::new(show, "evaluating", "episodes", config.report.eval_episodes),
            hang_timeout_s,
            watch: Watch::new((hang_timeout_s * 1e9) as u64, now_ns),
            started_ns: now_ns,
            heard_ns: now_ns,
            summary: None,
            picture: None,
        }
    }

    /// Waits for the worker's end; an error says why it must not be waited for any longer.
    fn wait_for(&mut self, worker: &Worker, signals: &CaughtSignals) -> Result<(), Unevaluated> {
        let fds = [worker.pidfd(), signals.as_fd()];
        let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let timeout = PollTimeout::try_from(INTERVAL).expect("an interval is far below the limit");
        loop {
            match poll(&mut polled, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
            self.listen();
            if polled[0].any() == Some(true) {
                return Ok(());
            }
            match signals.take()? {
                Some(Request::End(signal)) => return Err(Unevaluated::Signal(signal)),
                Some(Request::Pause) => self.pause(worker, signals)?,
                None => {}
            }
            self.watch.turn(monotonic_ns());
            if self.watch.is_hung(self.started_ns, self.heard_ns) {
                return Err(Unevaluated::Hung(self.hang_timeout_s));
            }
        }
    }

    /// Stands still, with the worker, until somebody continues this process.
    fn pause(&mut self, worker: &Worker, signals: &CaughtSignals) -> io::Result<()> {
        worker.pause()?;
        signals.pause();
        worker.go_on()?;
        self.watch.look_anew(monotonic_ns());
        Ok(())
    }

    fn listen(&mut self) {
        while let Ok(said) = self.receiver.try_recv() {
            self.heard_ns = monotonic_ns();
            match said {
                Said::Played(n_episodes) => self.line.set(n_episodes, ""),
                Said::Done(summary) => self.summary = Some(summary),
                Said::Seen(png) => self.picture = Some(png),
            }
        }
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.line.finish();
    }
}

/// Why the episodes cannot be played.
#[derive(Debug, thiserror::Error)]
enum PlayError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Eval(#[from] EvalError),
    #[error(transparent)]
    Channel(#[from] IpcError),
}

fn play(
    config: &Config,
    checkpoint: &Checkpoint,
    sender: &IpcSender<Said>,
) -> Result<(), PlayError> {
    let seed = stream_seed(config.seed, Stream::Evaluation);
    let n_episodes = config.report.eval_episodes as usize;
    let (environments, args) = (config.registry(), &config.env_args);
    // As `impala eval` plays it.
    let kernels = config.simd()?.in_f32();
    let player = Player::new(checkpoint, &environments, args, kernels, Selection::Greedy)?;
    let mut said_ns = monotonic_ns();
    let ReportSettings { eval_max_steps: max_steps, eval_max_s: max_s, .. } = config.report;
    let finished = |n_played: usize| {
        let now_ns = monotonic_ns();
        if now_ns - said_ns >= INTERVAL.as_nanos() as u64 {
            said_ns = now_ns;
            // Whoever waits is gone only together with this process.
            let _ = sender.send(Said::Played(n_played as u64));
        }
    };
    let bounds = Bounds { max_steps, max_s };
    let played = player.play(n_episodes, seed, bounds, finished)?;
    sender.send(Said::Done(scores::summarise(&played)))?;
    if matches!(checkpoint.spec.obs, ObsSpace::Image { .. }) {
        let moments = player.moments(seed, PICTURE_STEPS)?;
        let middle = &moments[(moments.len() - 1) / 2];
        // A picture that cannot be encoded is one that the report lacks.
        still(&checkpoint.spec, middle).map_or(Ok(()), |png| sender.send(Said::Seen(png)))?;
    }
    Ok(())
}
