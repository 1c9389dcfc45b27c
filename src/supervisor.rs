//! The supervisor: forks the learner and the actors, watches them, writes what they report, stops them.
//!
//! One single-threaded event loop over a closed set of events, a signal or a worker's end, which takes
//! the learner's messages at every turn. It touches no rollout, publishes the initial weights and none
//! after them, and never calls libtorch, so that nothing a worker does can hurt it and forking stays
//! safe. Called by `train.rs`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ipc_channel::TryRecvError;
use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::actor::{Actor, ActorError};
use crate::checkpoint::Checkpoint;
use crate::checkpoints::Checkpoints;
use crate::config::Config;
use crate::latency::{RunClock, StageHistograms, monotonic_ns};
use crate::learner::optim::{Optimizer, UpdateRule};
use crate::learner::{Learner, LearnerError, MessageSink};
use crate::params::ParamLayout;
use crate::process::{Death, EXIT_ERROR, Worker, set_process_name};
use crate::restart::{Decision, History};
use crate::run_dir::RunDir;
use crate::seeds::{Stream, stream_seed};
use crate::shm::Segment;
use crate::shm::board::ActorStatus;
use crate::shm::layout::SegmentShape;
use crate::shm::state::StateReader;
use crate::sinks::files::{FilesError, Interval, RunFiles};
use crate::sinks::tensorboard::{TensorBoard, TensorBoardError};
use crate::sinks::terminal::Terminal;
use crate::state::{Counters, LearnerState, SCORE_WINDOW};
use crate::telemetry::{DecodeError, Exit, LearnerOutcome, Message, Reliability, Report};

/// The loop wakes at least this often to take messages; the ends of workers and signals wake it at once.
const TICK: Duration = Duration::from_millis(20);

/// How long workers may take to stop before they are killed.
const STOP_GRACE_NS: u64 = 3_000_000_000;

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The shared segment could not be made.
    #[error(transparent)]
    Segment(#[from] crate::shm::SegmentError),
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

/// What a run came to.
pub struct RunOutcome {
    /// How it ended.
    pub exit: Exit,
    /// The same in words.
    pub reason: String,
    /// The learner's last words; `None` if it died without any.
    pub learner: Option<LearnerOutcome>,
    /// Latencies of all stages over the run.
    pub latency: StageHistograms,
    /// What each actor did.
    pub actors: Vec<ActorFigures>,
    /// Time the learner waited for slots, ns.
    pub learner_wait_ns: u64,
    /// Where training stood at the end, whether or not it could be written.
    pub checkpoint: Checkpoint,
    /// What was saved, and what went wrong.
    pub reliability: Reliability,
}

/// Totals of one actor's place over all its processes.
#[derive(Clone, Copy, Debug)]
pub struct ActorFigures {
    /// Environment steps in published rollouts.
    pub frames: u64,
    /// Rollouts published.
    pub rollouts: u64,
    /// Time blocked on a full ring, ns.
    pub claim_wait_ns: u64,
    /// Time copying weights, ns.
    pub read_weights_ns: u64,
    /// Time in forward passes and sampling, ns.
    pub act_ns: u64,
    /// Time in environments, ns.
    pub env_ns: u64,
    /// Times the ring was full when it came to claim a slot.
    pub n_waits: u64,
    /// Reads of the weights that had to begin anew.
    pub weights_retries: u64,
    /// Times it was started again.
    pub n_restarts: u64,
}

/// One thing that happened.
#[derive(Clone, Copy)]
enum Event {
    Signal,
    LearnerDied,
    ActorDied(usize),
}

/// Everything the supervisor holds while workers live.
pub struct Supervisor<'a> {
    config: &'a Config,
    run_clock: RunClock,
    segment: &'a Segment,
    signals: CaughtSignals,
    files: &'a mut RunFiles,
    tensorboard: &'a mut TensorBoard,
    terminal: &'a mut Terminal,
    /// The only receiver of the learner's messages; a forked child drops its copy.
    messages: Option<IpcReceiver<Message>>,
    learner: Option<Worker>,
    actors: Vec<Option<Worker>>,
    histories: Vec<History>,
    latency: StageHistograms,
    /// The learner's state, from which checkpoints are made.
    saved: StateReader<'a>,
    /// The newest state that was read.
    state: LearnerState,
    checkpoints: Checkpoints,
    outcome: Option<LearnerOutcome>,
    /// Why the run must end although the learner has not finished.
    trouble: Option<String>,
    /// When the order to stop was given.
    stopping_since_ns: Option<u64>,
}

/// The state that a fresh run of a checked configuration begins with.
///
/// # Errors
/// If the configuration cannot work.
pub fn fresh_state(config: &Config) -> Result<LearnerState, SupervisorError> {
    let layout = ParamLayout::new(&config.network_shape()?);
    let optimizer = Optimizer::new(UpdateRule::of(&config.optimizer), layout.len());
    Ok(LearnerState {
        counters: Counters::default(),
        recent_returns: [0.0; SCORE_WINDOW],
        params: layout.init(stream_seed(config.seed, Stream::Weights)),
        optimizer: optimizer.state().clone(),
    })
}

/// The segment that a checked configuration needs, with the state to learn from and its weights in it:
/// whoever is forked finds weights to act with, or a state to go on from.
///
/// # Errors
/// If the configuration cannot work, or there is not enough shared memory.
pub fn create_segment(config: &Config, state: &LearnerState) -> Result<Segment, SupervisorError> {
    let shape = SegmentShape {
        n_actors: config.actors.count,
        slots_per_actor: config.actors.slots_per_actor,
        n_params: state.params.len(),
        n_moments: state.optimizer.moments().count(),
        rollout: config.rollout_shape()?,
    };
    let segment = Segment::create(&shape)?;
    segment.state_writer()?.save(state.as_view(), vec![0; config.actors.count]);
    segment.weights_writer()?.publish(state.counters.updates, &state.params);
    Ok(segment)
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
        segment: &'a Segment,
        (files, tensorboard): (&'a mut RunFiles, &'a mut TensorBoard),
        terminal: &'a mut Terminal,
    ) -> Result<Self, SupervisorError> {
        let n_actors = config.actors.count;
        let mut saved = segment.state_reader();
        let state = saved.read_if_newer().map_or_else(|| fresh_state(config), |s| Ok(s.state))?;
        let mut supervisor = Supervisor {
            config,
            run_clock,
            segment,
            signals: CaughtSignals::new().map_err(refused("a signal descriptor"))?,
            files,
            tensorboard,
            terminal,
            messages: None,
            learner: None,
            actors: (0..n_actors).map(|_| None).collect(),
            histories: vec![History::default(); n_actors],
            latency: StageHistograms::default(),
            saved,
            state,
            checkpoints: Checkpoints::new(config, run, monotonic_ns())?,
            outcome: None,
            trouble: None,
            stopping_since_ns: None,
        };
        supervisor.start_learner()?;
        (0..n_actors).try_for_each(|actor| supervisor.start_actor(actor))?;
        Ok(supervisor)
    }

    /// Supervises until every worker has ended.
    ///
    /// # Errors
    /// If the operating system fails the supervisor itself; all workers are then ended.
    pub fn run(mut self) -> Result<RunOutcome, SupervisorError> {
        while self.learner.is_some() || self.actors.iter().any(Option::is_some) {
            for event in self.wait().map_err(refused("to wait for workers"))? {
                self.handle(event)?;
            }
            self.take_messages();
            self.kill_stragglers().map_err(refused("to kill a worker"))?;
            if self.checkpoints.is_due(monotonic_ns()) {
                self.write_checkpoint();
            }
        }
        self.take_messages();
        self.write_checkpoint();
        self.terminal.finish();
        Ok(self.take_outcome())
    }

    fn start_learner(&mut self) -> Result<(), SupervisorError> {
        let (sender, receiver) = ipc::channel().map_err(refused("a channel"))?;
        self.messages = Some(receiver);
        let worker = Worker::spawn(|| {
            self.messages = None;
            set_process_name("impala-learner");
            exit_status("learner", self.learner_life(Channel { sender }))
        });
        self.learner = Some(worker.map_err(refused("a learner process"))?);
        Ok(())
    }

    /// All that the learner's process does.
    fn learner_life(&self, sink: Channel) -> Result<(), WorkerError> {
        Ok(Learner::new(self.config, self.segment, self.run_clock, sink)?.run()?)
    }

    fn start_actor(&mut self, actor: usize) -> Result<(), SupervisorError> {
        let generation = self.histories[actor].n_restarts();
        let worker = Worker::spawn(|| {
            self.messages = None;
            // No dash: the number of the last of 256 actors just fits.
            set_process_name(&format!("impala-actor{actor}"));
            exit_status(&format!("actor {actor}"), self.actor_life(actor, generation))
        });
        self.actors[actor] = Some(worker.map_err(refused("an actor process"))?);
        Ok(())
    }

    /// All that an actor's process does.
    fn actor_life(&self, actor: usize, generation: u64) -> Result<(), WorkerError> {
        Actor::new(self.config, self.segment, actor, generation)?.run();
        Ok(())
    }

    /// Sleeps until something happens, a tick at most.
    fn wait(&self) -> io::Result<Vec<Event>> {
        let mut sources: Vec<(BorrowedFd, Event)> = vec![(self.signals.0.as_fd(), Event::Signal)];
        sources.extend(self.learner.iter().map(|learner| (learner.pidfd(), Event::LearnerDied)));
        for (actor, worker) in self.actors.iter().enumerate() {
            sources.extend(worker.iter().map(|worker| (worker.pidfd(), Event::ActorDied(actor))));
        }
        let mut polled: Vec<PollFd> =
            sources.iter().map(|(fd, _)| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(TICK).expect("a tick is far below the limit");
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let happened = polled.iter().map(|fd| fd.any().unwrap_or(false));
        let events = sources.iter().zip(happened).filter(|(_, happened)| *happened);
        Ok(events.map(|((_, event), _)| *event).collect())
    }

    fn handle(&mut self, event: Event) -> Result<(), SupervisorError> {
        match event {
            Event::Signal => self.on_signal(),
            Event::LearnerDied => self.on_learner_death(),
            Event::ActorDied(actor) => self.on_actor_death(actor),
        }
    }

    /// The first signal asks for an orderly stop, the second ends everything at once.
    fn on_signal(&mut self) -> Result<(), SupervisorError> {
        let failed = refused("a signal to be read");
        while let Some(signal) = self.signals.0.read_signal().map_err(|e| failed(e.into()))? {
            if self.stopping_since_ns.is_some() {
                self.kill_all().map_err(refused("to kill a worker"))?;
                continue;
            }
            let name = Signal::try_from(signal.ssi_signo as i32).map_or("a signal", Signal::as_str);
            self.terminal.note(&format!("{name}: stopping; once more to stop at once"));
            self.order_stop();
        }
        Ok(())
    }

    fn on_learner_death(&mut self) -> Result<(), SupervisorError> {
        let Some(learner) = self.learner.take() else { return Ok(()) };
        let death = learner.reap().map_err(refused("to reap the learner"))?;
        self.take_messages();
        if death != Death::Exited(0) {
            self.trouble = Some(format!("the learner {death}"));
        } else if self.outcome.is_none() {
            self.trouble = Some("the learner ended without a word".into());
        }
        self.order_stop();
        Ok(())
    }

    fn on_actor_death(&mut self, actor: usize) -> Result<(), SupervisorError> {
        let Some(worker) = self.actors[actor].take() else { return Ok(()) };
        let pid = worker.pid();
        let death = worker.reap().map_err(refused("to reap an actor"))?;
        if self.stopping_since_ns.is_some() {
            return Ok(());
        }
        match self.histories[actor].decide(monotonic_ns()) {
            Decision::Restart => {
                self.terminal.note(&format!("actor {actor} (pid {pid}) {death}; started again"));
                self.start_actor(actor)
            }
            Decision::GiveUp => {
                self.terminal.note(&format!("actor {actor} (pid {pid}) {death}; given up"));
                self.end_if_too_few();
                Ok(())
            }
        }
    }

    /// Ends the run if the actors that are left can never fill a batch: the learner would wait for ever.
    fn end_if_too_few(&mut self) {
        let n_actors = self.actors.iter().flatten().count();
        if n_actors * self.config.actors.slots_per_actor < self.config.loss.batch_slots {
            self.trouble = Some(format!(
                "actors died too often: the {n_actors} that are left cannot fill a batch of {} slots",
                self.config.loss.batch_slots
            ));
            self.order_stop();
        }
    }

    /// Tells all workers to stop, and wakes those who sleep.
    fn order_stop(&mut self) {
        self.stopping_since_ns.get_or_insert_with(monotonic_ns);
        self.segment.board().order_stop();
        self.segment.learner_doorbell().ring();
        for actor in 0..self.actors.len() {
            self.segment.actor_doorbell(actor).ring();
        }
    }

    /// Kills whoever has not stopped in time.
    fn kill_stragglers(&mut self) -> io::Result<()> {
        match self.stopping_since_ns {
            Some(since_ns) if monotonic_ns() - since_ns > STOP_GRACE_NS => self.kill_all(),
            _ => Ok(()),
        }
    }

    fn kill_all(&self) -> io::Result<()> {
        self.learner.iter().chain(self.actors.iter().flatten()).try_for_each(Worker::kill)
    }

    /// Takes every message that has come; the learner must never wait for us.
    fn take_messages(&mut self) {
        while let Some(receiver) = &self.messages {
            match receiver.try_recv() {
                Ok(Message::Report(report)) => self.fold(&report),
                Ok(Message::Finished(outcome)) => self.outcome = Some(*outcome),
                Err(TryRecvError::Empty) => return,
                // The learner has ended; its pidfd says how.
                Err(TryRecvError::IpcError(_)) => self.messages = None,
            }
        }
    }

    fn fold(&mut self, report: &Report) {
        self.terminal.progress(&report.progress);
        if let Err(error) = self.write(report) {
            self.terminal.note(&format!("{error}; training goes on"));
        }
    }

    fn write(&mut self, report: &Report) -> Result<(), RecordError> {
        let mut latencies = Vec::with_capacity(report.latency.len());
        for (stage, encoded) in &report.latency {
            let histogram = encoded.decode()?;
            self.latency.add(*stage, &histogram);
            latencies.push((*stage, histogram));
        }
        let start_ns = self.run_clock.since_start_ns(report.start_ns);
        let end_ns = self.run_clock.since_start_ns(report.end_ns);
        let stages = || latencies.iter().map(|(stage, histogram)| (*stage, histogram));
        self.files.append_rows(&report.rows)?;
        self.files.append_latencies(Interval { start_ns, end_ns }, stages())?;
        self.tensorboard.append_rows(&report.rows)?;
        Ok(self.tensorboard.append_latencies(end_ns, report.progress.frames, stages())?)
    }

    /// Writes where training stands, from shared memory. The learner goes on meanwhile.
    fn write_checkpoint(&mut self) {
        let now_ns = monotonic_ns();
        let checkpoint = self.checkpoint(now_ns);
        if let Err(error) = self.checkpoints.write(&checkpoint, now_ns) {
            self.terminal.note(&format!("{error}; training goes on"));
        }
    }

    /// Where training stands.
    fn checkpoint(&mut self, now_ns: u64) -> Checkpoint {
        if let Some(saved) = self.saved.read_if_newer() {
            self.state = saved.state;
        }
        let mut state = self.state.clone();
        state.counters.frames_produced_before += self.frames_produced();
        self.checkpoints.checkpoint(state, self.run_clock.since_start_ns(now_ns))
    }

    /// Environment steps that actors have collected in this segment.
    fn frames_produced(&self) -> u64 {
        self.segment.board().actors().iter().map(|actor| actor.frames.get()).sum()
    }

    fn reliability(&self) -> Reliability {
        Reliability {
            checkpoints: self.checkpoints.n_written(),
            checkpoint_errors: self.checkpoints.n_failed(),
        }
    }

    fn take_outcome(&mut self) -> RunOutcome {
        let (exit, reason) = match (&self.trouble, &self.outcome) {
            (Some(trouble), _) => (Exit::Failed, trouble.clone()),
            (None, Some(outcome)) => (outcome.exit, reason(outcome.exit).into()),
            (None, None) => (Exit::Interrupted, reason(Exit::Interrupted).into()),
        };
        let checkpoint = self.checkpoint(monotonic_ns());
        let board = self.segment.board();
        let places = board.actors().iter().zip(&self.histories);
        RunOutcome {
            exit,
            reason,
            learner: self.outcome.take(),
            latency: std::mem::take(&mut self.latency),
            actors: places.map(|(actor, history)| ActorFigures::of(actor, history)).collect(),
            learner_wait_ns: board.learner().wait_ns.get(),
            checkpoint,
            reliability: self.reliability(),
        }
    }
}

impl Drop for Supervisor<'_> {
    /// No worker outlives its supervisor, however that ends.
    fn drop(&mut self) {
        for worker in
            self.learner.take().into_iter().chain(self.actors.iter_mut().filter_map(Option::take))
        {
            // A worker that cannot be killed or reaped is dead already, or beyond our reach.
            let _ = worker.kill().and_then(|()| worker.reap());
        }
    }
}

fn reason(exit: Exit) -> &'static str {
    match exit {
        Exit::Finished => "the frame budget was consumed",
        Exit::Solved => "the task was solved",
        Exit::Interrupted => "a signal asked for it",
        Exit::Failed => "a worker failed",
    }
}

impl ActorFigures {
    fn of(actor: &ActorStatus, history: &History) -> Self {
        ActorFigures {
            frames: actor.frames.get(),
            rollouts: actor.rollouts.get(),
            claim_wait_ns: actor.claim_wait_ns.get(),
            read_weights_ns: actor.read_weights_ns.get(),
            act_ns: actor.act_ns.get(),
            env_ns: actor.env_ns.get(),
            n_waits: actor.n_waits.get(),
            weights_retries: actor.weights_retries.get(),
            n_restarts: history.n_restarts(),
        }
    }
}

/// Why a report could not be recorded.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    TensorBoard(#[from] TensorBoardError),
}

/// Why a worker ended early.
#[derive(Debug, thiserror::Error)]
enum WorkerError {
    #[error(transparent)]
    Learner(#[from] LearnerError),
    #[error(transparent)]
    Actor(#[from] ActorError),
}

/// The exit status of a worker; says on stderr why it failed, if it did.
fn exit_status(role: &str, result: Result<(), WorkerError>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("impala: {role}: {error}");
            EXIT_ERROR
        }
    }
}

/// The learner's end of the channel.
struct Channel {
    sender: IpcSender<Message>,
}

impl MessageSink for Channel {
    fn send(&mut self, message: Message) -> Result<(), LearnerError> {
        self.sender.send(message).map_err(|error| LearnerError::Report(error.to_string()))
    }
}

/// Signals that ask for an orderly stop, read from a descriptor instead of interrupting.
struct CaughtSignals(SignalFd);

impl CaughtSignals {
    fn set() -> SigSet {
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
    }

    fn new() -> io::Result<Self> {
        let set = Self::set();
        set.thread_block()?;
        Ok(CaughtSignals(SignalFd::with_flags(
            &set,
            SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
        )?))
    }
}

impl Drop for CaughtSignals {
    fn drop(&mut self) {
        // What comes after the workers' end (evaluation, report) may be interrupted as usual.
        let _ = Self::set().thread_unblock();
    }
}
