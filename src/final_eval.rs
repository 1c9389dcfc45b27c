//! The evaluation at the end of a run, in a process of its own.
//!
//! An environment that panics there, or hangs until somebody presses Ctrl-C, costs the run its evaluation
//! and none of its results. Called by `train.rs`.

use std::io;
use std::os::fd::AsFd;

use ipc_channel::ipc;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::checkpoint::Checkpoint;
use crate::config::{Config, ConfigError};
use crate::eval::{self, EvalError, Player, Selection};
use crate::process::{EXIT_ERROR, Obituary, Worker, leave_words, set_process_name};
use crate::seeds::{Stream, stream_seed};
use crate::signals::CaughtSignals;
use crate::telemetry::EvalSummary;

/// Why a run has no evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Unevaluated {
    /// Somebody wanted the end.
    #[error("{0} ended the final evaluation")]
    Signal(&'static str),
    /// Its process failed.
    #[error("the final evaluation {}: {}", .0.death, .0.last_words)]
    Death(Obituary),
    /// The operating system refused the process.
    #[error("the operating system refused the final evaluation: {0}; check `ulimit -u -n`")]
    System(#[from] io::Error),
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
) -> Result<Option<EvalSummary>, Unevaluated> {
    if config.report.eval_episodes == 0 {
        return Ok(None);
    }
    let (sender, receiver) = ipc::channel()?;
    let worker = Worker::spawn(|| {
        set_process_name("impala-eval");
        let sent = play(config, checkpoint)
            .map_err(|error| error.to_string())
            .and_then(|summary| sender.send(summary).map_err(|error| error.to_string()));
        sent.map_or_else(failed, |()| 0)
    })?;
    if let Some(signal) = end_or_signal(&worker, signals)? {
        worker.kill()?;
        worker.reap()?;
        return Err(Unevaluated::Signal(signal));
    }
    let obituary = worker.bury()?;
    receiver.try_recv().map_err(|_| Unevaluated::Death(obituary))
}

fn failed(why: String) -> i32 {
    leave_words(&format!("evaluation: {why}"));
    EXIT_ERROR
}

/// Waits for the worker's end; a signal that comes before is returned.
fn end_or_signal(worker: &Worker, signals: &CaughtSignals) -> io::Result<Option<&'static str>> {
    let mut polled = [worker.pidfd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if polled[0].any() == Some(true) {
            return Ok(None);
        }
        if let Some(signal) = signals.take()? {
            return Ok(Some(signal));
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
}

fn play(config: &Config, checkpoint: &Checkpoint) -> Result<Option<EvalSummary>, PlayError> {
    let seed = stream_seed(config.seed, Stream::Evaluation);
    let n_episodes = config.report.eval_episodes as usize;
    let player = Player::new(checkpoint, &config.environments, config.simd()?, Selection::Greedy)?;
    Ok(eval::summarise(&player.returns(n_episodes, seed, |_| {})))
}
