//! The crew: the learner's place and each actor's, and the processes in them.
//!
//! Owns how a worker is forked and killed, and what a forked child must close of all that it inherits.
//! Decides nothing: who is needed, who is killed and what a death means is for the supervisor to say.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use tracing::debug;

use super::channel::Inbox;
use super::evaluator::Evaluator;
use super::exam::play;
use super::life;
use super::place::{Place, Role};
use crate::base::clock::{RunClock, monotonic_ns};
use crate::config::Config;
use crate::os::process::{Worker, start_ticks};
use crate::shm::Segment;
use crate::shm::board::Vitals;
use crate::state::checkpoint::Checkpoint;
use crate::telemetry::LiveNote;

/// The learner's place among all places; the actors' follow in their order.
pub const LEARNER: usize = 0;

/// All workers of a run.
pub struct Crew<'a> {
    config: &'a Config,
    run_clock: RunClock,
    segment: &'a Segment,
    /// The learner's, then each actor's.
    pub places: Vec<Place>,
    /// The learner's messages; a forked child closes its copy.
    pub inbox: Inbox,
    /// Who evaluates meanwhile.
    pub evaluator: Evaluator,
    /// Through which others look into the segment; a forked child closes its copy.
    view_file: Option<File>,
    /// Generation of the first actors: a resumed run must not replay the episodes of its earlier part.
    first_generation: u64,
}

impl<'a> Crew<'a> {
    /// Places that are all due at once.
    pub fn new(
        config: &'a Config,
        run_clock: RunClock,
        segment: &'a Segment,
        view_file: Option<File>,
        first_generation: u64,
    ) -> Self {
        let actors = (0..config.actors.count).map(Role::Actor);
        let places = std::iter::once(Role::Learner).chain(actors).map(Place::new).collect();
        let (inbox, evaluator) = (Inbox::default(), Evaluator::new(config, monotonic_ns()));
        Crew { config, run_clock, segment, places, inbox, evaluator, view_file, first_generation }
    }

    /// Forks the process that a place lacks.
    ///
    /// # Errors
    /// If the operating system refuses a process or what it needs.
    pub fn start(&mut self, place: usize) -> io::Result<()> {
        let generation = self.first_generation + self.places[place].n_restarts();
        let worker = match self.places[place].role() {
            Role::Learner => self.fork_learner()?,
            Role::Actor(actor) => self.fork_actor(actor, generation)?,
        };
        debug!(generation, pid = worker.pid(), "started {}", self.places[place].role());
        let n_done = self.n_done(place);
        self.places[place].occupy(worker, monotonic_ns(), n_done);
        Ok(())
    }

    fn fork_learner(&mut self) -> io::Result<Worker> {
        let outbox = self.inbox.open()?;
        let is_first = self.places[LEARNER].exit_report().is_none();
        Worker::spawn(|| {
            self.begin_life(LEARNER);
            life::of_learner(self.config, self.segment, self.run_clock, outbox, is_first)
        })
    }

    fn fork_actor(&mut self, actor: usize, generation: u64) -> io::Result<Worker> {
        let is_first = self.places[1 + actor].exit_report().is_none();
        Worker::spawn(|| {
            self.begin_life(1 + actor);
            life::of_actor(self.config, self.segment, actor, generation, is_first)
        })
    }

    /// Begins to evaluate a checkpoint in a process of its own.
    ///
    /// # Errors
    /// If the operating system refuses a process or what it needs.
    pub fn evaluate(&mut self, checkpoint: Checkpoint) -> io::Result<()> {
        let Crew { config, inbox, evaluator, view_file, .. } = self;
        let n_episodes = config.eval.episodes;
        evaluator.begin(config, checkpoint, monotonic_ns(), |checkpoint, voice| {
            Worker::spawn(|| {
                inbox.close();
                *view_file = None;
                play(config, checkpoint, n_episodes, voice)
            })
        })
    }

    /// In a forked child: closes what the supervisor alone may hold, and says who has the place now.
    fn begin_life(&mut self, place: usize) {
        self.inbox.close();
        self.evaluator.forget();
        self.view_file = None;
        let n_restarts = self.places[place].n_restarts();
        self.vitals(place).start(std::process::id(), n_restarts, monotonic_ns());
    }

    /// Kills the process in a place; who that was, if there was one that was not killed before.
    ///
    /// # Errors
    /// If the system refuses, which it does only for what is no child.
    pub fn kill(&mut self, place: usize) -> io::Result<Option<String>> {
        let place = &mut self.places[place];
        let pid = place.worker().map_or(0, Worker::pid);
        Ok(place.kill()?.then(|| format!("{} (pid {pid})", place.role())))
    }

    /// Kills everyone.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn kill_all(&self) -> io::Result<()> {
        self.places.iter().filter_map(Place::worker).try_for_each(Worker::kill)
    }

    /// Has everyone stand still.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn pause_all(&self) -> io::Result<()> {
        self.everyone().try_for_each(Worker::pause)
    }

    /// Has everyone go on.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn go_on_all(&self) -> io::Result<()> {
        self.everyone().try_for_each(Worker::go_on)
    }

    /// All processes, who evaluates included.
    fn everyone(&self) -> impl Iterator<Item = &Worker> {
        self.places.iter().filter_map(Place::worker).chain(self.evaluator.worker())
    }

    /// Reaps everyone, who all were killed, and has the processes due again of the places that were not given
    /// up. None of them shall play the episodes of the ones before.
    ///
    /// # Errors
    /// As [`Place::reap`].
    pub fn begin_anew(&mut self) -> io::Result<()> {
        self.first_generation += 1;
        for place in self.places.iter_mut().filter(|place| place.is_in_use()) {
            place.reap()?;
            place.begin_anew();
        }
        Ok(())
    }

    /// Rollouts or updates that have been made in this place, by all its workers.
    pub fn n_done(&self, place: usize) -> u64 {
        match self.places[place].role() {
            Role::Learner => self.segment.board().learner().updates.get(),
            Role::Actor(actor) => self.segment.board().actor(actor).rollouts.get(),
        }
    }

    /// What the worker in this place last said about itself.
    pub fn vitals(&self, place: usize) -> &Vitals {
        match self.places[place].role() {
            Role::Learner => &self.segment.board().learner().vitals,
            Role::Actor(actor) => &self.segment.board().actor(actor).vitals,
        }
    }

    /// Where the segment can be looked into, and what only its layout's maker knows; `None` for one that
    /// cannot be.
    ///
    /// # Errors
    /// If the system does not tell of its own file.
    pub fn live_note(&self) -> io::Result<Option<LiveNote>> {
        let Some(segment) = &self.view_file else { return Ok(None) };
        let inode = segment.metadata()?.ino();
        let spec = self.config.spec().map_err(io::Error::other)?;
        let (pid, descriptor) = (std::process::id(), segment.as_raw_fd());
        let start_ticks = start_ticks(pid).ok_or_else(|| io::Error::other("there is no /proc"))?;
        Ok(Some(LiveNote {
            pid,
            start_ticks,
            descriptor,
            inode,
            spec,
            learner_threads: self.config.n_learner_threads(),
            batch_threads: self.config.n_batch_threads(),
        }))
    }
}
