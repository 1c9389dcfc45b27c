//! The supervisor: forks the learner and the actors, watches them, writes what they report, stops them.
//!
//! One single-threaded event loop over a closed set of events, a signal or a worker's end, which takes
//! the learner's messages at every turn. It touches no rollout, publishes weights only while there is no
//! learner, and never calls libtorch, so that nothing a worker does can hurt it and forking stays
//! safe. Called by `train.rs`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use ipc_channel::TryRecvError;
use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::debug;

use crate::actor::{Actor, ActorError};
use crate::checkpoint::Checkpoint;
use crate::checkpoints::Checkpoints;
use crate::config::{Config, ConfigError, SupervisionSettings};
use crate::divergence::{Divergence, Remedy};
use crate::faults;
use crate::latency::{RunClock, StageHistograms, monotonic_ns};
use crate::learner::optim::{Optimizer, UpdateRule};
use crate::learner::{Learner, LearnerError, MessageSink};
use crate::memory::pss_bytes;
use crate::params::{NetworkShape, ParamLayout};
use crate::place::{Place, Role};
use crate::process::{
    Death, EXIT_DIVERGED, EXIT_ERROR, EXIT_SEGMENT, Worker, leave_words, set_process_name,
};
use crate::restart::{Decision, RestartPolicy};
use crate::rollout::RolloutShape;
use crate::run_dir::RunDir;
use crate::seeds::{Stream, stream_seed};
use crate::shm::board::{ActorStatus, Vitals};
use crate::shm::layout::SegmentShape;
use crate::shm::state::{SavedState, StateReader};
use crate::shm::{Segment, SegmentError};
use crate::signals::CaughtSignals;
use crate::sinks::files::{FilesError, Interval, RunFiles};
use crate::sinks::tensorboard::{TensorBoard, TensorBoardError};
use crate::sinks::terminal::Terminal;
use crate::state::{Counters, LearnerState, SCORE_WINDOW};
use crate::telemetry::{
    DecodeError, Exit, LearnerFigures, LiveNote, MemorySummary, Message, ProcessSample,
    Reliability, Report,
};
use crate::watch::Watch;

/// The loop wakes at least this often to take messages; the ends of workers and signals wake it at once.
const TICK: Duration = Duration::from_millis(20);

/// Processes are sampled after a tenth of the run so far, but this seldom at least and this often at most:
/// a short run has some points in its plot of memory, and a sample costs little beside what lies between two.
const MIN_SAMPLE_NS: u64 = 100_000_000;
const MAX_SAMPLE_NS: u64 = 1_000_000_000;

/// In a long run samples become rarer still, so that their file has hundreds of rows a process, not tens
/// of thousands.
const SAMPLES_OF_A_LONG_RUN: u64 = 500;

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
    /// From the begin of the first learner's loop to the end of what the last one reported, ns.
    pub train_ns: u64,
    /// What all of its learners reported.
    pub learner: LearnerFigures,
    /// Rollouts left out of learning because their policy was too old.
    pub rollouts_dropped: u64,
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
    /// Memory of all processes.
    pub memory: Option<MemorySummary>,
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
    /// Rollouts that were not published for a number that was none.
    pub n_bad_rollouts: u64,
}

/// One thing that happened.
#[derive(Clone, Copy)]
enum Event {
    Signal,
    /// The process in this place ended.
    Death(usize),
}

/// Everything the supervisor holds while workers live.
pub struct Supervisor<'a> {
    config: &'a Config,
    run_clock: RunClock,
    segment: &'a Segment,
    signals: &'a CaughtSignals,
    files: &'a mut RunFiles,
    tensorboard: &'a mut TensorBoard,
    terminal: &'a mut Terminal,
    /// Through which others look into the segment; a forked child closes its copy.
    view_file: Option<File>,
    /// The only receiver of the learner's messages; a forked child drops its copy.
    messages: Option<IpcReceiver<Message>>,
    /// The learner's, then each actor's.
    places: Vec<Place>,
    /// Generation of the first actors: a resumed run must not replay the episodes of its earlier part.
    first_generation: u64,
    policy: RestartPolicy,
    watch: Watch,
    /// Whether a worker found the segment damaged and all has to begin anew.
    is_segment_damaged: bool,
    n_resets: u64,
    n_hangs: u64,
    latency: StageHistograms,
    /// The learner's state, from which checkpoints are made.
    saved: StateReader<'a>,
    /// The newest state that was read, and the one before that.
    state: LearnerState,
    state_before: LearnerState,
    divergence: Divergence,
    n_rollbacks: u64,
    checkpoints: Checkpoints,
    /// Why a learner's loop ended, where one came to its end.
    outcome: Option<Exit>,
    figures: LearnerFigures,
    /// What reports have covered so far, from the first one's start, ns.
    reported: Option<Interval>,
    /// Memory of all processes; none before the first sample.
    memory: Option<MemorySummary>,
    /// When processes are sampled next.
    next_sample_ns: u64,
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

/// The shape of the segment that a configuration needs with this network.
pub fn segment_shape(config: &Config, network: &NetworkShape) -> SegmentShape {
    SegmentShape {
        n_actors: config.actors.count,
        slots_per_actor: config.actors.slots_per_actor,
        n_params: ParamLayout::new(network).len(),
        n_moments: UpdateRule::of(&config.optimizer).n_moments(),
        rollout: RolloutShape {
            unroll_length: config.actors.unroll_length,
            n_envs: config.actors.envs_per_actor,
            obs_dim: network.obs_dim,
            n_actions: network.n_actions,
        },
    }
}

/// The segment that a checked configuration needs, with the state to learn from and its weights in it:
/// whoever is forked finds weights to act with, or a state to go on from.
///
/// # Errors
/// If the configuration cannot work, or there is not enough shared memory.
pub fn create_segment(config: &Config, state: &LearnerState) -> Result<Segment, SupervisorError> {
    let segment = Segment::create(&segment_shape(config, &config.network_shape()?))?;
    put_state(&segment, state, vec![0; config.actors.count])?;
    Ok(segment)
}

/// Makes `state` what learners and actors go on from, while there is no learner. `consumed` says how many
/// slots of each ring it is the result of.
fn put_state(
    segment: &Segment,
    state: &LearnerState,
    consumed: Vec<u64>,
) -> Result<(), SegmentError> {
    segment.state_writer()?.save(state.as_view(), consumed);
    segment.weights_writer()?.publish(state.counters.updates, &state.params);
    Ok(())
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
        (files, tensorboard): (&'a mut RunFiles, &'a mut TensorBoard),
        terminal: &'a mut Terminal,
    ) -> Result<Self, SupervisorError> {
        let view_file = segment.take_view_file();
        let places = (0..config.actors.count).map(Role::Actor);
        let places = std::iter::once(Role::Learner).chain(places).map(Place::new);
        let now_ns = monotonic_ns();
        let mut saved = segment.state_reader();
        let state = saved.read_if_newer().map_or_else(|| fresh_state(config), |s| Ok(s.state))?;
        let mut supervisor = Supervisor {
            config,
            run_clock,
            segment,
            signals,
            files,
            tensorboard,
            terminal,
            view_file,
            messages: None,
            places: places.collect(),
            first_generation: state.counters.updates,
            policy: restart_policy(&config.supervision),
            watch: Watch::new(ns(config.supervision.hang_timeout_s), now_ns),
            is_segment_damaged: false,
            n_resets: 0,
            n_hangs: 0,
            latency: StageHistograms::default(),
            saved,
            state_before: state.clone(),
            state,
            divergence: Divergence::new(config.supervision.max_bad_updates),
            n_rollbacks: 0,
            checkpoints: Checkpoints::new(config, run, now_ns)?,
            outcome: None,
            figures: LearnerFigures::default(),
            reported: None,
            memory: None,
            next_sample_ns: 0,
            trouble: None,
            stopping_since_ns: None,
        };
        supervisor.announce();
        for place in 0..supervisor.places.len() {
            supervisor.man(place).map_err(refused("a worker process"))?;
        }
        Ok(supervisor)
    }

    /// Supervises until every worker has ended.
    ///
    /// # Errors
    /// If the operating system fails the supervisor itself; all workers are then ended.
    pub fn run(mut self) -> Result<RunOutcome, SupervisorError> {
        while self.places.iter().any(Place::is_manned) {
            for event in self.wait().map_err(refused("to wait for workers"))? {
                self.handle(event)?;
            }
            self.take_messages();
            self.pass_on_remarks();
            self.sample_if_due();
            self.kill_stragglers().map_err(refused("to kill a worker"))?;
            self.kill_hung().map_err(refused("to kill a worker"))?;
            self.reset_if_damaged()?;
            self.man_due_places();
            if self.checkpoints.is_due(monotonic_ns()) {
                self.write_checkpoint();
            }
        }
        self.take_messages();
        self.write_checkpoint();
        self.terminal.finish();
        Ok(self.take_outcome())
    }

    /// Says in the run's folder where the segment can be looked into. A run goes on without that.
    fn announce(&mut self) {
        let Some(file) = &self.view_file else { return };
        let announced = self
            .note_of(file)
            .map_err(|error| error.to_string())
            .and_then(|note| self.files.announce(&note).map_err(|error| error.to_string()));
        if let Err(error) = announced {
            self.terminal.note(&format!("{error}; `impala inspect` will not see this run"));
        }
    }

    /// Where the segment behind this file of ours can be looked into, and what only its layout's maker knows.
    fn note_of(&self, segment: &File) -> io::Result<LiveNote> {
        let inode = segment.metadata()?.ino();
        let RolloutShape { obs_dim, n_actions, .. } = self.segment.layout().shape.rollout;
        let (pid, descriptor) = (std::process::id(), segment.as_raw_fd());
        let learner_threads = self.config.n_learner_threads();
        Ok(LiveNote { pid, descriptor, inode, obs_dim, n_actions, learner_threads })
    }

    /// Forks the process that a place lacks.
    fn man(&mut self, place: usize) -> io::Result<()> {
        let generation = self.first_generation + self.places[place].n_restarts();
        let worker = match self.places[place].role() {
            Role::Learner => self.fork_learner()?,
            Role::Actor(actor) => self.fork_actor(actor, generation)?,
        };
        debug!(generation, pid = worker.pid(), "started {}", self.places[place].role());
        self.places[place].occupy(worker, monotonic_ns());
        Ok(())
    }

    fn fork_learner(&mut self) -> io::Result<Worker> {
        let (sender, receiver) = ipc::channel()?;
        self.messages = Some(receiver);
        let is_first = self.places[0].epitaph().is_none();
        Worker::spawn(|| {
            faults::take_part(|| "learner".into(), is_first);
            (self.messages, self.view_file) = (None, None);
            set_process_name("impala-learner");
            exit_status("learner", self.learner_life(Channel { sender }))
        })
    }

    /// All that the learner's process does.
    fn learner_life(&self, sink: Channel) -> Result<(), WorkerError> {
        Ok(Learner::new(self.config, self.segment, self.run_clock, sink)?.run()?)
    }

    fn fork_actor(&mut self, actor: usize, generation: u64) -> io::Result<Worker> {
        let is_first = self.places[1 + actor].epitaph().is_none();
        Worker::spawn(|| {
            faults::take_part(|| format!("actor{actor}"), is_first);
            (self.messages, self.view_file) = (None, None);
            // No dash: the number of the last of 256 actors just fits.
            set_process_name(&format!("impala-actor{actor}"));
            exit_status(&format!("actor {actor}"), self.actor_life(actor, generation))
        })
    }

    /// All that an actor's process does.
    fn actor_life(&self, actor: usize, generation: u64) -> Result<(), WorkerError> {
        Ok(Actor::new(self.config, self.segment, actor, generation)?.run()?)
    }

    /// Sleeps until something happens, a tick at most.
    fn wait(&self) -> io::Result<Vec<Event>> {
        let mut sources: Vec<(BorrowedFd, Event)> = vec![(self.signals.as_fd(), Event::Signal)];
        for (number, place) in self.places.iter().enumerate() {
            sources.extend(place.worker().map(|worker| (worker.pidfd(), Event::Death(number))));
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
            Event::Death(place) => self.on_death(place),
        }
    }

    /// The first signal asks for an orderly stop, the second ends everything at once.
    fn on_signal(&mut self) -> Result<(), SupervisorError> {
        let failed = refused("a signal to be read");
        while let Some(name) = self.signals.take().map_err(&failed)? {
            if self.stopping_since_ns.is_some() {
                self.terminal.note(&format!("{name} again: all workers are killed"));
                self.kill_all().map_err(refused("to kill a worker"))?;
                continue;
            }
            self.terminal.note(&format!("{name}: stopping; once more to stop at once"));
            self.order_stop();
        }
        Ok(())
    }

    fn on_death(&mut self, place: usize) -> Result<(), SupervisorError> {
        self.pass_on_remarks();
        let buried = self.places[place].bury().map_err(refused("to reap a worker"))?;
        let Some(death) = buried else { return Ok(()) };
        let role = self.places[place].role();
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
        self.is_segment_damaged |= death == Death::Exited(EXIT_SEGMENT);
        if death == Death::Exited(EXIT_DIVERGED) {
            return self.go_back();
        }
        self.mourn(place);
        Ok(())
    }

    /// Tells the user what workers have to say.
    fn pass_on_remarks(&mut self) {
        for remark in self.places.iter_mut().flat_map(Place::hear) {
            self.terminal.note(&remark);
        }
    }

    /// After a learner's death for want of finite updates: takes weights and optimiser back to where they
    /// had proved themselves. All counts go on. Ends the run where that has been tried.
    fn go_back(&mut self) -> Result<(), SupervisorError> {
        let last = self.segment.state_reader().read_if_newer();
        let Some(SavedState { state: last, consumed }) = last else {
            self.is_segment_damaged = true;
            return Ok(());
        };
        let n_updates = |state: &LearnerState| state.counters.updates;
        let (newest, older) = (n_updates(&self.state), n_updates(&self.state_before));
        let remedy = self.divergence.decide(n_updates(&last), newest, older);
        let goal = match remedy {
            Remedy::GoBackTo(goal) if goal == newest => &self.state,
            _ => &self.state_before,
        };
        let goal_updates = n_updates(goal);
        // Versions never go back (W4): what is taken back counts as one more update.
        let counters = Counters { updates: n_updates(&last) + 1, ..last.counters };
        self.state = LearnerState { counters, recent_returns: last.recent_returns, ..goal.clone() };
        self.state_before = self.state.clone();
        put_state(self.segment, &self.state, consumed)?;
        if remedy == Remedy::Stop {
            self.fail(
                "training diverged again after it had gone back; lower optimizer.learning_rate.start, \
                 loss.reward_scale or optimizer.max_grad_norm, or see what the rewards are",
            );
            return Ok(());
        }
        self.n_rollbacks += 1;
        self.places[0].begin_anew();
        let epitaph = self.places[0].epitaph().unwrap_or_default();
        self.terminal.note(&format!(
            "{epitaph}; weights and optimiser go back to what they were after update {goal_updates}"
        ));
        Ok(())
    }

    /// Decides whether a place whose process died is manned again, and says so.
    fn mourn(&mut self, place: usize) {
        let decision = self.places[place].mourn(&self.policy, monotonic_ns());
        let role = self.places[place].role();
        let epitaph = self.places[place].epitaph().unwrap_or("a process that could not be forked");
        match decision {
            Decision::RestartAfter(pause_ns) => {
                let pause = if pause_ns == 0 {
                    String::new()
                } else {
                    format!(" in {} s", pause_ns as f64 / 1e9)
                };
                let loss = self.loss_with(role);
                self.terminal.note(&format!("{epitaph}; started again{pause}{loss}"));
            }
            Decision::GiveUp => {
                let SupervisionSettings { max_restarts, restart_window_s, .. } =
                    self.config.supervision;
                self.terminal.note(&format!(
                    "{epitaph}; given up after more than {max_restarts} deaths in {restart_window_s} s \
                     (supervision.max_restarts)"
                ));
                match role {
                    Role::Learner => self.fail("the learner died too often"),
                    Role::Actor(_) => self.end_if_too_few(),
                }
            }
        }
    }

    /// What is lost with a worker in this place, for the note of its death.
    fn loss_with(&self, role: Role) -> String {
        let saved = match role {
            Role::Learner => self.segment.state_reader().read_if_newer(),
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
        let epitaphs: Vec<&str> = self.places.iter().filter_map(Place::epitaph).collect();
        let epitaphs = epitaphs.join("; ");
        self.trouble = Some(format!("{why} ({epitaphs})"));
        self.order_stop();
    }

    /// Forks what is due. A fork that fails, for want of processes or memory, is one more death.
    fn man_due_places(&mut self) {
        for place in 0..self.places.len() {
            if self.places[place].is_due(monotonic_ns())
                && let Err(error) = self.man(place)
            {
                let role = self.places[place].role();
                self.terminal.note(&format!("{role} cannot be started: {error}"));
                self.mourn(place);
            }
        }
    }

    /// Kills workers that gave no sign of life for too long; their ends are then handled as any other.
    fn kill_hung(&mut self) -> io::Result<()> {
        self.watch.turn(monotonic_ns());
        let silence_s = self.config.supervision.hang_timeout_s;
        for number in 0..self.places.len() {
            let place = &self.places[number];
            let heartbeat_ns = self.vitals(place.role()).heartbeat_ns.get();
            if self.watch.is_hung(place.started_ns(), heartbeat_ns) {
                let why = format!("gave no sign of life for {silence_s} s");
                self.n_hangs += u64::from(self.kill(number, &why)?);
            }
        }
        Ok(())
    }

    /// Kills the process in a place and says why; whether there was one that was not killed before.
    fn kill(&mut self, place: usize, why: &str) -> io::Result<bool> {
        let place = &mut self.places[place];
        let pid = place.worker().map_or(0, Worker::pid);
        let is_first = place.kill()?;
        if is_first {
            self.terminal.note(&format!("{} (pid {pid}) {why}; killed", place.role()));
        }
        Ok(is_first)
    }

    fn vitals(&self, role: Role) -> &Vitals {
        match role {
            Role::Learner => &self.segment.board().learner().vitals,
            Role::Actor(actor) => &self.segment.board().actor(actor).vitals,
        }
    }

    /// Where a worker found the segment damaged nothing in it can be trusted: ends all workers, makes it
    /// new around the last state that was read for a checkpoint, and starts them again.
    fn reset_if_damaged(&mut self) -> Result<(), SupervisorError> {
        if !std::mem::take(&mut self.is_segment_damaged) || self.stopping_since_ns.is_some() {
            return Ok(());
        }
        self.kill_all().map_err(refused("to kill a worker"))?;
        for place in &mut self.places {
            place.bury().map_err(refused("to reap a worker"))?;
            place.begin_anew();
        }
        self.segment.reset();
        put_state(self.segment, &self.state, vec![0; self.config.actors.count])?;
        self.saved = self.segment.state_reader();
        self.n_resets += 1;
        let frames = self.state.counters.frames;
        self.terminal.note(&format!(
            "the shared segment was damaged; everything starts again from frame {frames}"
        ));
        if self.n_resets > self.policy.max_restarts as u64 {
            self.fail("the shared segment was damaged too often");
        }
        Ok(())
    }

    /// Ends the run if the actors that are left can never fill a batch: the learner would wait for ever.
    fn end_if_too_few(&mut self) {
        let actors = self.places.iter().filter(|place| place.role() != Role::Learner);
        let n_actors = actors.filter(|place| place.is_manned()).count();
        if n_actors * self.config.actors.slots_per_actor < self.config.loss.batch_slots {
            self.fail(&format!(
                "actors died too often: the {n_actors} that are left cannot fill a batch of {} slots",
                self.config.loss.batch_slots
            ));
        } else if self.config.deterministic {
            self.fail("an actor died too often: a deterministic run learns from all rings in turn");
        } else {
            let n_places = self.config.actors.count;
            self.terminal.note(&format!("training goes on with {n_actors} of {n_places} actors"));
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
        self.places.iter_mut().for_each(Place::close);
    }

    /// Kills whoever has not stopped in time, and says who that was.
    fn kill_stragglers(&mut self) -> io::Result<()> {
        let grace_s = self.config.supervision.stop_grace_s;
        match self.stopping_since_ns {
            Some(since_ns) if monotonic_ns() - since_ns > ns(grace_s) => {
                let why = format!("did not stop in {grace_s} s");
                (0..self.places.len()).try_for_each(|place| self.kill(place, &why).map(drop))
            }
            _ => Ok(()),
        }
    }

    fn kill_all(&self) -> io::Result<()> {
        self.places.iter().filter_map(Place::worker).try_for_each(Worker::kill)
    }

    /// Takes every message that has come; the learner must never wait for us.
    fn take_messages(&mut self) {
        while let Some(receiver) = &self.messages {
            match receiver.try_recv() {
                Ok(Message::Report(report)) => {
                    self.segment.board().count_report();
                    self.fold(&report);
                }
                Ok(Message::Finished(exit)) => {
                    self.outcome = Some(exit);
                    // The last moment at which every process is there; after an order to stop it is too late.
                    if self.stopping_since_ns.is_none() {
                        self.sample_processes();
                    }
                }
                Err(TryRecvError::Empty) => return,
                // The learner has ended; its pidfd says how.
                Err(TryRecvError::IpcError(_)) => self.messages = None,
            }
        }
    }

    fn sample_if_due(&mut self) {
        let now_ns = monotonic_ns();
        let is_over = self.outcome.is_some() || self.stopping_since_ns.is_some();
        if is_over || now_ns < self.next_sample_ns {
            return;
        }
        self.sample_processes();
        let run_ns = now_ns.saturating_sub(self.run_clock.process_start_ns);
        let interval_ns = (run_ns / 10).clamp(MIN_SAMPLE_NS, MAX_SAMPLE_NS);
        self.next_sample_ns = now_ns + interval_ns.max(run_ns / SAMPLES_OF_A_LONG_RUN);
    }

    /// Notes memory and restarts of every process that lives.
    fn sample_processes(&mut self) {
        let time_s = self.run_clock.since_start_ns(monotonic_ns()) as f64 / 1e9;
        let sample = |process: String, pid, restarts| {
            let pss_bytes = pss_bytes(pid)?;
            Some(ProcessSample { time_s, process, pid, pss_bytes, restarts })
        };
        let own = sample("supervisor".into(), std::process::id(), 0);
        let workers = self.places.iter().filter_map(|place| {
            let name = match place.role() {
                Role::Learner => "learner".to_owned(),
                Role::Actor(actor) => format!("actor{actor}"),
            };
            sample(name, place.worker()?.pid(), place.n_restarts())
        });
        let samples: Vec<ProcessSample> = own.into_iter().chain(workers).collect();
        self.memory.get_or_insert_default().add(&samples);
        if let Err(error) = self.files.append_samples(&samples) {
            self.terminal.note(&format!("{error}; training goes on"));
        }
    }

    fn fold(&mut self, report: &Report) {
        self.terminal.progress(&report.progress);
        let start_ns = self.reported.map_or(report.start_ns, |reported| reported.start_ns);
        self.reported = Some(Interval { start_ns, end_ns: report.end_ns });
        if let Err(error) = self.write(report) {
            self.terminal.warn(&format!("{error}; training goes on"));
        }
    }

    fn write(&mut self, report: &Report) -> Result<(), RecordError> {
        self.figures.add(report)?;
        let mut latencies = Vec::with_capacity(report.latency.len());
        for (stage, encoded) in &report.latency {
            let histogram = encoded.decode()?;
            self.latency.add(*stage, &histogram);
            latencies.push((*stage, histogram));
        }
        let start_ns = self.run_clock.since_start_ns(report.start_ns);
        let end_ns = self.run_clock.since_start_ns(report.end_ns);
        let stages = || latencies.iter().map(|(stage, histogram)| (*stage, histogram));
        self.files.append_slots(&report.slots)?;
        self.files.append_rows(&report.rows)?;
        self.files.append_latencies(Interval { start_ns, end_ns }, stages())?;
        self.tensorboard.append_rows(&report.rows)?;
        Ok(self.tensorboard.append_latencies(end_ns, report.progress.frames, stages())?)
    }

    /// Writes where training stands, from shared memory. The learner goes on meanwhile.
    fn write_checkpoint(&mut self) {
        let now_ns = monotonic_ns();
        let mut checkpoint = self.checkpoint(now_ns);
        if self.config.deterministic {
            checkpoint.forget_times();
        }
        if let Err(error) = self.checkpoints.write(&checkpoint, now_ns) {
            self.terminal.note(&format!("{error}; training goes on"));
        }
    }

    /// Where training stands.
    fn checkpoint(&mut self, now_ns: u64) -> Checkpoint {
        if let Some(saved) = self.saved.read_if_newer() {
            self.state_before = std::mem::replace(&mut self.state, saved.state);
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
            learner_restarts: self.places[0].n_restarts(),
            hangs: self.n_hangs,
            segment_resets: self.n_resets,
            skipped_updates: self.segment.board().learner().skipped_updates.get(),
            rollbacks: self.n_rollbacks,
            #[cfg(feature = "faults")]
            self_checks: Some(self.segment.self_checks()),
            #[cfg(not(feature = "faults"))]
            self_checks: None,
        }
    }

    fn take_outcome(&mut self) -> RunOutcome {
        let (exit, reason) = match (&self.trouble, &self.outcome) {
            (Some(trouble), _) => (Exit::Failed, trouble.clone()),
            (None, Some(exit)) => (*exit, reason(*exit).into()),
            (None, None) => (Exit::Interrupted, reason(Exit::Interrupted).into()),
        };
        let checkpoint = self.checkpoint(monotonic_ns());
        let board = self.segment.board();
        let places = board.actors().iter().zip(&self.places[1..]);
        RunOutcome {
            exit,
            reason,
            train_ns: self.reported.map_or(0, |reported| reported.end_ns - reported.start_ns),
            learner: std::mem::take(&mut self.figures),
            rollouts_dropped: board.learner().rollouts_dropped.get(),
            latency: std::mem::take(&mut self.latency),
            actors: places.map(|(actor, place)| ActorFigures::of(actor, place)).collect(),
            learner_wait_ns: board.learner().wait_ns.get(),
            checkpoint,
            reliability: self.reliability(),
            memory: self.memory,
        }
    }
}

impl Drop for Supervisor<'_> {
    /// No worker outlives its supervisor, however that ends.
    fn drop(&mut self) {
        // A worker that cannot be killed or reaped is dead already, or beyond our reach.
        let _ = self.kill_all();
        self.places.iter_mut().for_each(|place| drop(place.bury()));
        self.files.withdraw();
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
    fn of(actor: &ActorStatus, place: &Place) -> Self {
        ActorFigures {
            frames: actor.frames.get(),
            rollouts: actor.rollouts.get(),
            claim_wait_ns: actor.claim_wait_ns.get(),
            read_weights_ns: actor.read_weights_ns.get(),
            act_ns: actor.act_ns.get(),
            env_ns: actor.env_ns.get(),
            n_waits: actor.n_waits.get(),
            weights_retries: actor.weights_retries.get(),
            n_restarts: place.n_restarts(),
            n_bad_rollouts: actor.bad_rollouts.get(),
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

impl WorkerError {
    /// Whether the worker found the shared segment damaged.
    fn is_damage(&self) -> bool {
        use SegmentError::{Header, Ring};
        match self {
            WorkerError::Learner(LearnerError::NoState) => true,
            WorkerError::Learner(LearnerError::Segment(error))
            | WorkerError::Actor(ActorError::Segment(error)) => {
                matches!(error, Header { .. } | Ring { .. })
            }
            WorkerError::Learner(_) | WorkerError::Actor(_) => false,
        }
    }
}

/// The restart policy that the settings ask for.
fn restart_policy(settings: &SupervisionSettings) -> RestartPolicy {
    RestartPolicy {
        max_restarts: settings.max_restarts,
        window_ns: ns(settings.restart_window_s),
        max_pause_ns: ns(settings.max_pause_s),
    }
}

fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// The exit status of a worker; says on stderr why it failed, if it did.
fn exit_status(role: &str, result: Result<(), WorkerError>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            leave_words(&format!("{role}: {error}"));
            match error {
                _ if error.is_damage() => EXIT_SEGMENT,
                WorkerError::Learner(LearnerError::Diverged { .. }) => EXIT_DIVERGED,
                WorkerError::Learner(_) | WorkerError::Actor(_) => EXIT_ERROR,
            }
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
