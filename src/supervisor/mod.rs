//! The supervisor: forks the learner and the actors, watches them, records what they report, stops them.
//!
//! One single-threaded event loop over a closed set of events, a signal or a worker's end, which takes
//! the learner's messages at every turn. It touches no rollout, publishes weights only while there is no
//! learner, and never calls libtorch, so that nothing a worker does can hurt it and forking stays
//! safe. Called by `train.rs`.
//!
//! Here is the loop, and all that is decided in it: who is started again, killed or given up, and when the
//! run ends. The files beside it decide nothing: `events` waits, `crew` forks and kills, `life` is what a
//! forked process does, `channel` brings the learner's messages, `recorder` writes them down (`cores` adds up
//! who had the processor), and `keeper` has the states that training can go back to. `evaluator` has a process
//! play now and then what was learned, and `final_eval` at the end; what they do there is in `exam`.

mod channel;
mod cores;
mod crew;
pub mod divergence;
mod evaluator;
mod events;
pub mod exam;
mod exit_report;
pub mod final_eval;
mod keeper;
mod life;
mod outcome;
pub mod place;
mod recorder;
pub mod restart;
pub mod watch;

use std::io;

use tracing::debug;

use crate::base::clock::{RunClock, in_ns, in_seconds, monotonic_ns};
use crate::base::units::number_of;
use crate::config::{Config, ConfigError, SupervisionSettings};
use crate::os::process::{Death, EXIT_DIVERGED, EXIT_SEGMENT};
use crate::os::signals::{CaughtSignals, Request};
use crate::run::dir::RunDir;
use crate::shm::state::SavedState;
use crate::shm::{Segment, SegmentError};
use crate::sinks::Sinks;
use crate::state::checkpoint::{Checkpoint, CheckpointError};
use crate::telemetry::{EvalSummary, Exit, Message, Reliability};
use divergence::Remedy;
use exit_report::ExitReport;
use place::{Place, Role};
use restart::{Cause, Decision, RestartPolicy};
use watch::Watch;

use crew::{Crew, LEARNER};
use events::Event;
use keeper::Keeper;
use outcome::reason;
use recorder::Recorder;

pub use outcome::{ActorFigures, RunOutcome};
pub use recorder::Totals;

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The shared segment cannot be made anew.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The operating system refused a process, a pipe or a signal descriptor.
    #[error(
        "the operating system refused {what}: {source}; check `ulimit -u -n` and try fewer actors"
    )]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn refused(what: &'static str) -> impl Fn(io::Error) -> SupervisorError {
    move |source| SupervisorError::System { what, source }
}

/// Everything the supervisor holds while workers live.
pub struct Supervisor<'a> {
    config: &'a Config,
    segment: &'a Segment,
    signals: &'a CaughtSignals,
    recorder: Recorder<'a>,
    keeper: Keeper<'a>,
    crew: Crew<'a>,
    policy: RestartPolicy,
    watch: Watch,
    /// Whether a worker found the segment damaged and all has to begin anew.
    is_segment_damaged: bool,
    n_hangs: u64,
    /// The end that was told last.
    told_last: Option<ExitReport>,
    /// Why a learner's loop ended, where one came to its end.
    outcome: Option<Exit>,
    /// Why the run must end although the learner has not finished.
    trouble: Option<String>,
    /// When the order to stop was given.
    stopping_since_ns: Option<u64>,
}

impl<'a> Supervisor<'a> {
    /// Starts all workers.
    ///
    /// # Errors
    /// If the operating system refuses one; those already started are ended.
    pub fn start(
        config: &'a Config,
        run: &RunDir,
        run_clock: RunClock,
        signals: &'a CaughtSignals,
        segment: &'a mut Segment,
        sinks: &'a mut Sinks,
    ) -> Result<Self, SupervisorError> {
        let view_file = segment.take_view_file();
        let now_ns = monotonic_ns();
        let keeper = Keeper::new(config, run, run_clock, segment, now_ns)?;
        let first_generation = keeper.counters().updates;
        let mut supervisor = Supervisor {
            config,
            segment,
            signals,
            recorder: Recorder::new(run_clock, sinks),
            keeper,
            crew: Crew::new(config, run_clock, segment, view_file, first_generation),
            policy: restart_policy(&config.supervision),
            watch: Watch::new(in_ns(config.supervision.hang_timeout_s), now_ns),
            is_segment_damaged: false,
            n_hangs: 0,
            told_last: None,
            outcome: None,
            trouble: None,
            stopping_since_ns: None,
        };
        supervisor.announce();
        for place in 0..supervisor.crew.places.len() {
            supervisor.crew.start(place).map_err(refused("a worker process"))?;
        }
        Ok(supervisor)
    }

    /// Supervises until every worker has ended.
    ///
    /// # Errors
    /// If the operating system fails the supervisor itself; all workers are then ended.
    pub fn run(mut self) -> Result<RunOutcome, SupervisorError> {
        while self.crew.places.iter().any(Place::is_in_use) {
            let events = events::wait(self.signals, &self.crew.places);
            for event in events.map_err(refused("to wait for workers"))? {
                self.handle(event)?;
            }
            self.take_messages();
            self.recorder.show_frames(self.keeper.frames_now());
            self.pass_on_remarks();
            self.sample_if_due();
            self.kill_stragglers().map_err(refused("to kill a worker"))?;
            self.kill_hung().map_err(refused("to kill a worker"))?;
            self.reset_if_damaged()?;
            self.man_due_places();
            if self.keeper.is_checkpoint_due() {
                self.write_checkpoint();
            }
            self.evaluate();
        }
        self.crew.evaluator.stop();
        self.take_messages();
        let unsaved = self.keeper.write_checkpoint().err();
        self.recorder.finish();
        Ok(self.take_outcome(unsaved))
    }

    /// Says in the run's folder where the segment can be looked into. A run goes on without that.
    fn announce(&self) {
        let announced = match self.crew.live_note() {
            Ok(Some(note)) => self.recorder.announce(&note).map_err(|error| error.to_string()),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = announced {
            self.recorder.note(&format!("{error}; `impala inspect` will not see this run"));
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), SupervisorError> {
        match event {
            Event::Signal => self.on_signal(),
            Event::Death(place) => self.on_death(place),
        }
    }

    /// The first signal asks for an orderly stop, the second ends everything at once; Ctrl-Z pauses.
    fn on_signal(&mut self) -> Result<(), SupervisorError> {
        let failed = refused("a signal to be read");
        while let Some(request) = self.signals.take().map_err(&failed)? {
            match request {
                Request::Pause => self.pause().map_err(refused("to stop a worker"))?,
                Request::End(signal) if self.signals.n_taken() > 1 => {
                    self.recorder.note(&format!("{signal} again: all workers are killed"));
                    self.crew.kill_all().map_err(refused("to kill a worker"))?;
                }
                Request::End(signal) => {
                    self.recorder.note(&format!("{signal}: stopping; once more to stop at once"));
                    self.order_stop();
                }
            }
        }
        Ok(())
    }

    /// Stands still, with all workers, until somebody continues this process. That time is nobody's silence,
    /// nor part of what workers may take to stop.
    fn pause(&mut self) -> io::Result<()> {
        let since_ns = monotonic_ns();
        self.crew.pause_all()?;
        self.signals.pause();
        self.crew.go_on_all()?;
        let now_ns = monotonic_ns();
        self.watch.look_anew(now_ns);
        self.crew.evaluator.look_anew();
        self.stopping_since_ns =
            self.stopping_since_ns.map(|stopping| stopping + now_ns - since_ns);
        let paused_s = in_seconds(now_ns - since_ns);
        self.recorder.note(&format!("all processes stood still for {paused_s:.1} s, and go on"));
        Ok(())
    }

    fn on_death(&mut self, place: usize) -> Result<(), SupervisorError> {
        self.pass_on_remarks();
        self.recorder.close_account(&self.crew.places[place]);
        let reaped = self.crew.places[place].reap().map_err(refused("to reap a worker"))?;
        let Some(death) = reaped else { return Ok(()) };
        let role = self.crew.places[place].role();
        debug!("{role} {death}");
        if role == Role::Learner {
            self.take_messages();
            // Without its goodbye it has crashed, whatever its exit status.
            if death == Death::Exited(0) && self.outcome.is_some() {
                self.order_stop();
            }
        }
        if self.stopping_since_ns.is_some() {
            return Ok(());
        }
        if role == Role::Learner && !self.config.rank.is_alone() {
            self.fail(
                "the learner of this rank died, and with it the job: go on from the newest checkpoint",
            );
            return Ok(());
        }
        self.is_segment_damaged |= death == Death::Exited(EXIT_SEGMENT);
        // A library in an actor's environment may exit with any status.
        if role == Role::Learner && death == Death::Exited(EXIT_DIVERGED) {
            return self.go_back();
        }
        self.restart_or_give_up(place);
        Ok(())
    }

    /// Tells the user what workers have to say.
    fn pass_on_remarks(&mut self) {
        for remark in self.crew.places.iter_mut().flat_map(Place::hear) {
            self.recorder.note(&remark);
        }
    }

    /// After a learner's death for want of finite updates: goes back to where it had proved itself, or ends
    /// the run where that has been tried.
    fn go_back(&mut self) -> Result<(), SupervisorError> {
        match self.keeper.go_back()? {
            None => self.is_segment_damaged = true,
            Some(Remedy::Stop) => self.fail(
                "training diverged again after it had gone back; lower optimizer.learning_rate.start, \
                 loss.reward_scale or optimizer.max_grad_norm, or see what the rewards are",
            ),
            Some(Remedy::GoBackTo(goal_updates)) => {
                self.crew.places[LEARNER].begin_anew();
                let why = exit_report::together(self.crew.places[LEARNER].exit_report());
                self.recorder.note(&format!(
                    "{why}; weights and optimiser go back to what they were after update {goal_updates}"
                ));
            }
        }
        Ok(())
    }

    /// Decides whether a place whose process died gets another one, and says so.
    fn restart_or_give_up(&mut self, place: usize) {
        let (now_ns, n_done) = (monotonic_ns(), self.crew.n_done(place));
        let decision = self.crew.places[place].decide_restart(&self.policy, now_ns, n_done);
        let role = self.crew.places[place].role();
        let exit_report = self.tell_end(place);
        match decision {
            Decision::RestartAfter(pause_ns) => {
                let pause = if pause_ns == 0 {
                    String::new()
                } else {
                    format!(" in {} s", in_seconds(pause_ns))
                };
                let loss = self.loss_with(role);
                self.recorder.note(&format!("{exit_report}; started again{pause}{loss}"));
            }
            Decision::GiveUp(cause) => {
                let SupervisionSettings { max_restarts, restart_window_s, .. } =
                    self.config.supervision;
                let deaths = number_of(max_restarts as u64, "death");
                let how = match cause {
                    Cause::Often => format!("in {restart_window_s} s"),
                    Cause::InVain => "in a row that left nothing".into(),
                };
                self.recorder.note(&format!(
                    "{exit_report}; given up after more than {deaths} {how} (supervision.max_restarts)"
                ));
                match role {
                    Role::Learner => self.fail("the learner died too often"),
                    Role::Actor(_) => self.end_if_too_few(),
                }
            }
        }
    }

    /// How the last worker in a place ended, for the note of its death.
    fn tell_end(&mut self, place: usize) -> String {
        let Some(ended) = self.crew.places[place].exit_report() else {
            return "a process that could not be forked".into();
        };
        let told = ended.told_after(self.told_last.as_ref());
        self.told_last = Some(ended.clone());
        told
    }

    /// What is lost with a worker in this place, for the note of its death.
    fn loss_with(&self, role: Role) -> String {
        let saved = match role {
            // A damaged one is for the replacement to find.
            Role::Learner => self.segment.state_reader().read_if_newer().ok().flatten(),
            Role::Actor(_) => None,
        };
        saved.map_or_else(String::new, |SavedState { state, .. }| {
            format!(
                " from update {} (frame {}); nothing is lost but updates under way",
                state.counters.updates, state.counters.frames
            )
        })
    }

    /// Ends the run in order, as failed.
    fn fail(&mut self, why: &str) {
        let exit_reports = self.crew.places.iter().filter_map(Place::exit_report);
        self.trouble = Some(format!("{why} ({})", exit_report::together(exit_reports)));
        self.order_stop();
    }

    /// Forks what is due. A fork that fails, for want of processes or memory, is one more death.
    fn man_due_places(&mut self) {
        for place in 0..self.crew.places.len() {
            if self.crew.places[place].is_due(monotonic_ns())
                && let Err(error) = self.crew.start(place)
            {
                let role = self.crew.places[place].role();
                self.recorder.note(&format!("{role} cannot be started: {error}"));
                self.restart_or_give_up(place);
            }
        }
    }

    /// Kills workers that gave no sign of life for too long; their ends are then handled as any other.
    fn kill_hung(&mut self) -> io::Result<()> {
        self.watch.turn(monotonic_ns());
        let silence_s = self.config.supervision.hang_timeout_s;
        for number in 0..self.crew.places.len() {
            let started_ns = self.crew.places[number].started_ns();
            let heartbeat_ns = self.crew.vitals(number).heartbeat_ns.get();
            if self.watch.is_hung(started_ns, heartbeat_ns) {
                let why =
                    format!("gave no sign of life for {silence_s} s (supervision.hang_timeout_s)");
                self.n_hangs += u64::from(self.kill(number, &why)?);
            }
        }
        Ok(())
    }

    /// Kills the process in a place and says why; whether there was one that was not killed before.
    fn kill(&mut self, place: usize, why: &str) -> io::Result<bool> {
        let killed = self.crew.kill(place)?;
        if let Some(who) = &killed {
            self.recorder.note(&format!("{who} {why}; killed"));
        }
        Ok(killed.is_some())
    }

    /// Where the segment was found damaged nothing in it can be trusted: ends all workers, makes it
    /// new around the last state that was read for a checkpoint, and starts them again.
    fn reset_if_damaged(&mut self) -> Result<(), SupervisorError> {
        let is_damaged = std::mem::take(&mut self.is_segment_damaged) | self.keeper.take_damage();
        if !is_damaged || self.stopping_since_ns.is_some() {
            return Ok(());
        }
        if !self.config.rank.is_alone() {
            self.fail(
                "the shared segment was damaged, and a learner of several cannot begin again",
            );
            return Ok(());
        }
        self.crew.kill_all().map_err(refused("to kill a worker"))?;
        self.crew.begin_anew().map_err(refused("to reap a worker"))?;
        self.keeper.reset_segment()?;
        let frames = self.keeper.counters().frames;
        self.recorder.note(&format!(
            "the shared segment was damaged; everything starts again from frame {frames}"
        ));
        if self.keeper.n_resets() > self.policy.max_restarts as u64 {
            self.fail("the shared segment was damaged too often");
        }
        Ok(())
    }

    /// Ends the run if the actors that are left can never fill a batch: the learner would wait for ever.
    fn end_if_too_few(&mut self) {
        let actors = self.crew.places.iter().filter(|place| place.role() != Role::Learner);
        let n_actors = actors.filter(|place| place.is_in_use()).count();
        if n_actors * self.config.actors.slots_per_actor < self.config.loss.batch_slots {
            self.fail(&format!(
                "actors died too often: the {n_actors} that are left cannot fill a batch of {}",
                number_of(self.config.loss.batch_slots as u64, "slot")
            ));
        } else if self.config.deterministic {
            self.fail("an actor died too often: a deterministic run learns from all rings in turn");
        } else {
            let actors = number_of(self.config.actors.count as u64, "actor");
            self.recorder.note(&format!("training goes on with {n_actors} of {actors}"));
        }
    }

    /// Tells all workers to stop, and wakes those who sleep.
    fn order_stop(&mut self) {
        debug!("ordered everyone to stop");
        self.stopping_since_ns.get_or_insert_with(monotonic_ns);
        self.segment.board().order_stop();
        self.segment.learner_doorbell().ring();
        (0..self.config.actors.count)
            .for_each(|actor| _ = self.segment.actor_doorbell(actor).ring());
        self.crew.places.iter_mut().for_each(Place::close);
    }

    /// Kills whoever has not stopped in time, and says who that was.
    fn kill_stragglers(&mut self) -> io::Result<()> {
        let grace_s = self.config.supervision.stop_grace_s;
        match self.stopping_since_ns {
            Some(since_ns) if monotonic_ns() - since_ns > in_ns(grace_s) => {
                let why = format!("did not stop in {grace_s} s (supervision.stop_grace_s)");
                (0..self.crew.places.len()).try_for_each(|place| self.kill(place, &why).map(drop))
            }
            _ => Ok(()),
        }
    }

    /// Takes every message that has come; the learner must never wait for us.
    fn take_messages(&mut self) {
        while let Some(message) = self.crew.inbox.take() {
            match message {
                Message::Report(report) => {
                    self.segment.board().count_report();
                    self.recorder.record(&report);
                }
                Message::Finished(exit) => {
                    self.outcome = Some(exit);
                    // The last moment at which every process is there; after an order to stop it is too late.
                    if self.stopping_since_ns.is_none() {
                        self.recorder.sample(&self.crew.places);
                    }
                }
            }
        }
    }

    fn sample_if_due(&mut self) {
        if self.outcome.is_none() && self.stopping_since_ns.is_none() {
            self.recorder.sample_if_due(&self.crew.places);
        }
    }

    fn write_checkpoint(&mut self) {
        if let Err(error) = self.keeper.write_checkpoint() {
            self.recorder.note(&format!("{error}; training goes on"));
        }
    }

    /// Notes what an evaluation came to, and begins the next one where it is due.
    fn evaluate(&mut self) {
        match self.crew.evaluator.turn() {
            None => {}
            Some(Ok((checkpoint, summary))) => self.note_evaluation(*checkpoint, &summary),
            Some(Err(why)) => self.recorder.note(&format!("{why}; training goes on")),
        }
        if self.stopping_since_ns.is_none()
            && self.crew.evaluator.is_due(monotonic_ns())
            && let Some(checkpoint) = self.keeper.look(monotonic_ns())
            && let Err(error) = self.crew.evaluate(checkpoint)
        {
            self.recorder.note(&format!("{}; training goes on", exam::Unevaluated::from(error)));
        }
    }

    fn note_evaluation(&mut self, checkpoint: Checkpoint, summary: &EvalSummary) {
        self.recorder.record_evaluation(&exam::row(&checkpoint, summary));
        if let Err(error) = self.keeper.keep_if_best(checkpoint, summary.mean) {
            self.recorder.note(&format!("{error}; training goes on"));
        }
    }

    fn reliability(&self) -> Reliability {
        Reliability {
            learner_restarts: self.crew.places[LEARNER].n_restarts(),
            hangs: self.n_hangs,
            skipped_updates: self.segment.board().learner().skipped_updates.get(),
            #[cfg(feature = "faults")]
            self_checks: Some(self.segment.self_checks()),
            ..self.keeper.reliability()
        }
    }

    fn take_outcome(&mut self, unsaved: Option<CheckpointError>) -> RunOutcome {
        let (exit, reason) = match (&self.trouble, &self.outcome) {
            (Some(trouble), _) => (Exit::Failed, trouble.clone()),
            (None, Some(exit)) => (*exit, reason(*exit).into()),
            (None, None) => (Exit::Interrupted, reason(Exit::Interrupted).into()),
        };
        let checkpoint = self.keeper.checkpoint(monotonic_ns());
        let board = self.segment.board();
        let places = board.actors().iter().zip(&self.crew.places[1..]);
        RunOutcome {
            exit,
            reason,
            totals: self.recorder.take_totals(),
            rollouts_dropped: board.learner().rollouts_dropped.get(),
            actors: places.map(|(actor, place)| ActorFigures::of(actor, place)).collect(),
            learner_wait_ns: board.learner().wait_ns.get(),
            checkpoint,
            unsaved,
            reliability: self.reliability(),
        }
    }
}

impl Drop for Supervisor<'_> {
    /// No worker outlives its supervisor, however that ends.
    fn drop(&mut self) {
        self.crew.evaluator.stop();
        // A worker that cannot be killed or reaped is dead already, or beyond our reach.
        let _ = self.crew.kill_all();
        self.crew.places.iter_mut().for_each(|place| drop(place.reap()));
    }
}

/// The restart policy that the settings ask for.
fn restart_policy(settings: &SupervisionSettings) -> RestartPolicy {
    RestartPolicy {
        max_restarts: settings.max_restarts,
        window_ns: in_ns(settings.restart_window_s),
        max_pause_ns: in_ns(settings.max_pause_s),
    }
}
