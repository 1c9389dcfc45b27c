//! The evaluation at the end of a run: who waits for it, hears how far it is, and tells the user.
//!
//! Owns the wait: signals end it, and Ctrl-Z holds it. Called by `train.rs`.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::exam::{Evaluation, Exam, INTERVAL, Unevaluated, play};
use crate::config::Config;
use crate::os::process::Worker;
use crate::os::signals::{CaughtSignals, Request};
use crate::sinks::terminal::{ProgressLine, Show};
use crate::state::checkpoint::Checkpoint;

/// The greedy scores of the final weights, from memory; `None` if no evaluation was asked for.
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
    let n_episodes = config.report.eval_episodes;
    if n_episodes == 0 {
        return Ok(None);
    }
    if signals.n_taken() > 1 {
        return Err(Unevaluated::Hurry);
    }
    let fork = |voice| Worker::spawn(|| play(config, checkpoint, n_episodes, voice));
    let mut exam = Exam::begin(config, fork)?;
    let n_all = n_episodes * config.n_tasks() as u64;
    let mut line = ProgressLine::new(show, "evaluating", "episodes", n_all);
    let waited = wait_for(&mut exam, signals, &mut line);
    line.finish();
    exam.end(waited).map(Some)
}

/// Waits for the process's end; an error says why it must not be waited for any longer.
fn wait_for(
    exam: &mut Exam,
    signals: &CaughtSignals,
    line: &mut ProgressLine,
) -> Result<(), Unevaluated> {
    let timeout = PollTimeout::try_from(INTERVAL).expect("an interval is far below the limit");
    loop {
        let fds = [exam.worker().pidfd(), signals.as_fd()];
        let mut polled = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(io::Error::from(errno).into()),
        }
        let has_ended = polled[0].any() == Some(true);
        let listened = exam.listen();
        line.set(exam.n_played(), "");
        if has_ended {
            return Ok(());
        }
        match signals.take()? {
            Some(Request::End(signal)) => return Err(Unevaluated::Signal(signal)),
            Some(Request::Pause) => pause(exam, signals)?,
            None => listened?,
        }
    }
}

/// Stands still, with the process, until somebody continues this one.
fn pause(exam: &mut Exam, signals: &CaughtSignals) -> io::Result<()> {
    exam.worker().pause()?;
    signals.pause();
    exam.worker().go_on()?;
    exam.look_anew();
    Ok(())
}
