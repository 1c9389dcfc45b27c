//! Evaluations while training goes on: one after the other, each in a process of its own.
//!
//! Owns when one is due and the process at work. Plays the same episodes each time, so that scores differ by the
//! policy alone. Knows no shared memory, and decides nothing about training. The crew forks for it, the supervisor
//! asks at every turn.

use std::io;

use super::exam::{Evaluation, Exam, Unevaluated, Voice};
use crate::base::clock::in_ns;
use crate::config::Config;
use crate::os::process::Worker;
use crate::state::checkpoint::Checkpoint;
use crate::telemetry::EvalSummary;

/// What an evaluation found of a checkpoint.
pub type Evaluated = Result<(Box<Checkpoint>, EvalSummary), Unevaluated>;

/// Who evaluates.
pub struct Evaluator {
    /// From the begin of one evaluation to that of the next; `None` where there is none.
    interval_ns: Option<u64>,
    /// When the last one began.
    last_ns: u64,
    at_work: Option<(Exam, Box<Checkpoint>)>,
}

impl Evaluator {
    /// An evaluator that begins `eval.interval_s` after `now_ns`. Of several ranks the first one has it.
    pub fn new(config: &Config, now_ns: u64) -> Self {
        let is_on = config.eval.is_on() && config.rank.is_first();
        let interval_ns = is_on.then_some(in_ns(config.eval.interval_s));
        Evaluator { interval_ns, last_ns: now_ns, at_work: None }
    }

    /// Whether it is time for one, and nobody is at work.
    pub fn is_due(&self, now_ns: u64) -> bool {
        let is_time = |interval_ns| now_ns.saturating_sub(self.last_ns) >= interval_ns;
        self.at_work.is_none() && self.interval_ns.is_some_and(is_time)
    }

    /// Begins one, in a process that `fork` makes.
    ///
    /// # Errors
    /// If the system refuses it; the next one is due an interval later.
    pub fn begin(
        &mut self,
        config: &Config,
        checkpoint: Checkpoint,
        now_ns: u64,
        fork: impl FnOnce(&Checkpoint, Voice) -> io::Result<Worker>,
    ) -> io::Result<()> {
        self.last_ns = now_ns;
        let checkpoint = Box::new(checkpoint);
        let exam = Exam::begin(config, |voice| fork(&checkpoint, voice))?;
        self.at_work = Some((exam, checkpoint));
        Ok(())
    }

    /// What came of the one at work, where it has ended since the last call.
    pub fn turn(&mut self) -> Option<Evaluated> {
        let (exam, _) = self.at_work.as_mut()?;
        let listened = exam.listen();
        if listened.is_ok() && !exam.worker().has_ended() {
            return None;
        }
        let (exam, checkpoint) = self.at_work.take()?;
        let evaluated = exam.end(listened);
        let summary = |evaluation: Evaluation| evaluation.summaries.into_iter().flatten().next();
        let summary = evaluated.map(|evaluation| summary(evaluation).expect("an episode ended"));
        Some(summary.map(|summary| (checkpoint, summary)))
    }

    /// Its process, if one is at work.
    pub fn worker(&self) -> Option<&Worker> {
        self.at_work.as_ref().map(|(exam, _)| exam.worker())
    }

    /// Forgets the silence so far.
    pub fn look_anew(&mut self) {
        self.at_work.iter_mut().for_each(|(exam, _)| exam.look_anew());
    }

    /// In a forked child: lets go of a process that is the parent's.
    pub fn forget(&mut self) {
        self.at_work = None;
    }

    /// Ends whatever is at work.
    pub fn stop(&mut self) {
        if let Some((exam, _)) = self.at_work.take() {
            // A process that cannot be killed or reaped is dead already, or beyond our reach.
            let _ = exam.end(Err(Unevaluated::Hurry));
        }
    }
}
