//! A policy's exam: a process that plays greedy episodes with a checkpoint's weights, and what it says of them.
//!
//! Owns what is played there, what is said, and what comes of it. An environment that panics or hangs in it costs
//! an evaluation and nothing else. Who waits for it, and for how long, is for its callers to say: `final_eval.rs`
//! at the end of a run, `evaluator.rs` while it trains.

use std::io;
use std::time::Duration;

use ipc_channel::IpcError;
use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::watch::Watch;
use crate::base::clock::{in_ns, in_seconds, monotonic_ns};
use crate::base::seeds::{Stream, stream_seed};
use crate::config::{Config, ConfigError, ReportSettings};
use crate::os::process::{EXIT_ERROR, Ended, Worker, leave_words, set_process_name};
use crate::play::render::still;
use crate::play::{Bounds, EvalError, Player, Selection, scores};
use crate::space::ObsSpace;
use crate::state::Counters;
use crate::state::checkpoint::Checkpoint;
use crate::telemetry::{EvalRow, EvalSummary};

/// The process says this often how far it is; whoever waits for it listens as often.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// The report's picture is of the middle of so many steps: late enough for a game to have begun, and no longer
/// than a step of all episodes, which are played before it.
const PICTURE_STEPS: u64 = 40;

/// What an evaluation leaves.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The scores of each task, most often of one; nothing of one of which no episode ended.
    pub summaries: Vec<Option<EvalSummary>>,
    /// An observation as a PNG file, where observations are pictures.
    pub picture: Option<Vec<u8>>,
}

/// Why there is no evaluation.
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
        "the evaluation gave no sign of life for {0} s and was killed (supervision.hang_timeout_s)"
    )]
    Hung(f64),
    /// No episode ended in time, seconds.
    #[error(
        "the evaluation is without a result: no episode ended within {0} s; raise report.eval_max_s, or lower \
         report.eval_max_steps"
    )]
    Endless(f64),
    /// Its process failed.
    #[error("the evaluation {}: {}", .0.death, .0.last_words)]
    Death(Ended),
    /// The operating system refused the process.
    #[error("the operating system refused an evaluation: {0}; check `ulimit -u -n`")]
    System(#[from] io::Error),
}

/// What the process says.
#[derive(Serialize, Deserialize)]
enum Said {
    /// So many episodes are over.
    Played(u64),
    /// What came of each task; nothing where no episode ended.
    Done(Vec<Option<EvalSummary>>),
    /// What an observation looks like; after the scores, which it must not cost.
    Seen(Vec<u8>),
}

/// Where the process speaks.
pub struct Voice(IpcSender<Said>);

/// A process that plays, in the hands of who waits for it.
pub struct Exam {
    worker: Worker,
    receiver: IpcReceiver<Said>,
    max_s: f64,
    hang_timeout_s: f64,
    watch: Watch,
    started_ns: u64,
    /// When something was last heard, ns.
    heard_ns: u64,
    n_played: u64,
    /// What came of it, once that was heard.
    summaries: Option<Vec<Option<EvalSummary>>>,
    picture: Option<Vec<u8>>,
}

impl Exam {
    /// An exam whose process `fork` makes, which has it call [`play`].
    ///
    /// # Errors
    /// If the system refuses it.
    pub fn begin(
        config: &Config,
        fork: impl FnOnce(Voice) -> io::Result<Worker>,
    ) -> io::Result<Exam> {
        let (sender, receiver) = ipc::channel()?;
        let worker = fork(Voice(sender))?;
        let (hang_timeout_s, now_ns) = (config.supervision.hang_timeout_s, monotonic_ns());
        Ok(Exam {
            worker,
            receiver,
            max_s: config.report.eval_max_s,
            hang_timeout_s,
            watch: Watch::new(in_ns(hang_timeout_s), now_ns),
            started_ns: now_ns,
            heard_ns: now_ns,
            n_played: 0,
            summaries: None,
            picture: None,
        })
    }

    /// Its process.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Episodes that are over, as far as was heard.
    pub fn n_played(&self) -> u64 {
        self.n_played
    }

    /// Hears what has been said. Never waits.
    ///
    /// # Errors
    /// [`Unevaluated::Hung`] after too long a silence.
    pub fn listen(&mut self) -> Result<(), Unevaluated> {
        while let Ok(said) = self.receiver.try_recv() {
            self.heard_ns = monotonic_ns();
            match said {
                Said::Played(n_episodes) => self.n_played = n_episodes,
                Said::Done(summaries) => self.summaries = Some(summaries),
                Said::Seen(png) => self.picture = Some(png),
            }
        }
        self.watch.turn(monotonic_ns());
        let is_hung = self.watch.is_hung(self.started_ns, self.heard_ns);
        if is_hung { Err(Unevaluated::Hung(self.hang_timeout_s)) } else { Ok(()) }
    }

    /// Forgets the silence so far: nobody could have heard anything.
    pub fn look_anew(&mut self) {
        self.watch.look_anew(monotonic_ns());
    }

    /// Clears the process away, which has ended or is killed because of `waited`; what came of it.
    ///
    /// # Errors
    /// [`Unevaluated`].
    pub fn end(mut self, waited: Result<(), Unevaluated>) -> Result<Evaluation, Unevaluated> {
        if waited.is_err() {
            self.worker.kill()?;
        } else {
            let _ = self.listen();
        }
        let ended = self.worker.reap()?;
        match (self.summaries, waited) {
            (Some(summaries), _) if summaries.iter().any(Option::is_some) => {
                Ok(Evaluation { summaries, picture: self.picture })
            }
            (Some(_), _) => Err(Unevaluated::Endless(self.max_s)),
            (None, Err(why)) => Err(why),
            (None, Ok(())) => Err(Unevaluated::Death(ended)),
        }
    }
}

/// What an evaluation of this checkpoint found, as it is recorded.
pub fn row(checkpoint: &Checkpoint, summary: &EvalSummary) -> EvalRow {
    let Counters { frames, updates, .. } = checkpoint.state.counters;
    let EvalSummary { episodes, cut, mean, standard_error, min, max, .. } = *summary;
    let standard_error = standard_error.is_finite().then_some(standard_error);
    let time_s = in_seconds(checkpoint.elapsed_ns);
    EvalRow { time_s, frames, updates, episodes, cut, mean, standard_error, min, max }
}

/// All that the process does; its exit status.
pub fn play(config: &Config, checkpoint: &Checkpoint, n_episodes: u64, voice: Voice) -> i32 {
    set_process_name("impala-eval");
    match play_all(config, checkpoint, n_episodes as usize, &voice.0) {
        Ok(()) => 0,
        Err(why) => {
            leave_words(&format!("evaluation: {why}"));
            EXIT_ERROR
        }
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

fn play_all(
    config: &Config,
    checkpoint: &Checkpoint,
    n_episodes: usize,
    sender: &IpcSender<Said>,
) -> Result<(), PlayError> {
    let seed = stream_seed(config.seed, Stream::Evaluation);
    let (environments, args) = (config.registry(), &config.env_args);
    // As `impala eval` plays it.
    let kernels = config.simd()?.in_f32();
    let player = Player::new(checkpoint, &environments, args, kernels, Selection::Greedy)?;
    let n_tasks = config.n_tasks();
    let mut said_ns = monotonic_ns();
    let ReportSettings { eval_max_steps: max_steps, eval_max_s: max_s, .. } = config.report;
    let mut finished = |n_played: usize| {
        let now_ns = monotonic_ns();
        if now_ns - said_ns >= INTERVAL.as_nanos() as u64 {
            said_ns = now_ns;
            // Whoever waits is gone only together with this process.
            let _ = sender.send(Said::Played(n_played as u64));
        }
    };
    // The time is for all.
    let bounds = Bounds { max_steps, max_s: max_s / n_tasks as f64 };
    let mut summaries = Vec::new();
    for task in 0..n_tasks {
        let finished = |n_finished| finished(task * n_episodes + n_finished);
        let played = player.clone().in_task(task)?.play(n_episodes, seed, bounds, finished)?;
        summaries.push(scores::summarise(&played));
    }
    sender.send(Said::Done(summaries))?;
    if matches!(checkpoint.spec.obs, ObsSpace::Image { .. }) {
        let moments = player.moments(seed, PICTURE_STEPS)?;
        let middle = &moments[(moments.len() - 1) / 2];
        // A picture that cannot be encoded is one that the report lacks.
        still(player.task_spec(), middle).map_or(Ok(()), |png| sender.send(Said::Seen(png)))?;
    }
    Ok(())
}
