//! Learns once more what a run learned, alone and in order, from the log of its slots.
//!
//! What an actor collects follows from its seed and from the weights that it acted with, and what the
//! learner makes of it from the order in which slots were taken. `slots.csv` holds both: for each slot the
//! version acted with, and the update that learned from it. So one process can collect every rollout again,
//! learn from them in the same order, and must come to the same weights, to the last bit, however many
//! processes and threads the run had and whichever of them died. Owns that second learning. Writes
//! nothing; called by `impala replay`.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::actor::collector::{Collector, CollectorError};
use crate::base::input::open_regular;
use crate::base::stages::StageClock;
use crate::config::{Config, ConfigError, Layers};
use crate::env::Registry;
use crate::learner::optim::{Optimizer, UpdateRule, clip_grad_norm};
use crate::learner::pass::Pass;
use crate::learner::popart::{PopArt, TargetSums};
use crate::network::Statistics;
use crate::report::read::RunData;
use crate::rollout::{Rollout, RolloutBuffer, RolloutShape};
use crate::run::dir::{RunDir, RunDirError};
use crate::run::first_state::fresh_state;
use crate::run::meta::Meta;
use crate::run::sizes::Sizes;
use crate::state::checkpoint::{Checkpoint, CheckpointError};
use crate::state::{LearnerState, OptimizerState};
use crate::telemetry::SlotRecord;

/// The longest log: a day at three thousand slots a second, fifty bytes each.
const MAX_LOG_BYTES: u64 = 1 << 34;

/// Why a run cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no run there.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// A setting of the run cannot work here.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is nothing to collect with.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// A checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is no log, or it cannot be read.
    #[error("cannot read {}: {source}; train with --log-slots to have it", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// A checkpoint is not one of this run's.
    #[error(
        "{}: it is of another network or optimiser than the run's settings, or from before the run; put back \
         what the run wrote",
        path.display()
    )]
    Differs {
        /// The checkpoint.
        path: PathBuf,
    },
    /// The log is not that of a whole run.
    #[error(
        "{}: {what}; a log is whole where no learner died, nothing was reset and the disk took all of it",
        path.display()
    )]
    Gap {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Updates made.
    pub updates: u64,
    /// Rollouts collected.
    pub rollouts: usize,
    /// Weights and optimiser's numbers that differ from those of the run's checkpoint.
    pub n_different: usize,
    /// How many were compared.
    pub n_compared: usize,
}

/// Replays a run of one of these environments up to its newest checkpoint; `progress` is told how many updates have been made, and how
/// many there are.
///
/// # Errors
/// If the run, its log or its checkpoint cannot be read, or the log lacks something.
pub fn replay(
    path: &Path,
    environments: &Registry,
    mut progress: impl FnMut(u64, u64),
) -> Result<Replayed, ReplayError> {
    let run = RunDir::open(path)?;
    let (file, environments) = (run.config(), Some(environments));
    let layers = Layers { file: Some(&file), environments, ..Layers::default() };
    let config = layers.resolve()?;
    config.check()?;
    let checkpoint = load(&run.checkpoint(), &config)?;
    let slots = SlotLog::read(&run.slots())?;
    let start = first_state(&run, &config)?;
    let (first, last) = (start.counters.updates, checkpoint.state.counters.updates);
    if last < first {
        return Err(ReplayError::Differs { path: run.checkpoint() });
    }
    let mut student = Student::new(&config, start, &slots)?;
    student.learn(&slots, last, |made| progress(made - first, last - first))?;
    Ok(student.compare(&checkpoint.state))
}

/// What the run began with: fresh weights, or those of the run that it went on from.
fn first_state(run: &RunDir, config: &Config) -> Result<LearnerState, ReplayError> {
    match RunData::read(run).meta {
        Some(Meta { resumed_from: Some(path), .. }) => Ok(load(Path::new(&path), config)?.state),
        _ => Ok(fresh_state(config)?),
    }
}

/// A checkpoint of the network and the optimiser that the settings ask for.
fn load(path: &Path, config: &Config) -> Result<Checkpoint, ReplayError> {
    let checkpoint = Checkpoint::load(path)?;
    let n_moments = checkpoint.state.optimizer.moments().count();
    let is_fitting = checkpoint.network == Sizes::of(config)?.network
        && n_moments == config.optimizer.kind.n_moments();
    if is_fitting { Ok(checkpoint) } else { Err(ReplayError::Differs { path: path.to_owned() }) }
}

/// The log of a run's slots.
struct SlotLog {
    path: PathBuf,
    /// In the order in which they were used.
    slots: Vec<SlotRecord>,
}

impl SlotLog {
    fn read(path: &Path) -> Result<Self, ReplayError> {
        let refuse = |source: csv::Error| ReplayError::Log { path: path.to_owned(), source };
        let file = open_regular(path).map_err(|error| refuse(error.into()))?;
        let mut reader = csv::Reader::from_reader(file.take(MAX_LOG_BYTES));
        let slots: Result<Vec<SlotRecord>, _> = reader.deserialize().collect();
        Ok(SlotLog { path: path.to_owned(), slots: slots.map_err(refuse)? })
    }

    fn gap(&self, what: String) -> ReplayError {
        ReplayError::Gap { path: self.path.clone(), what }
    }

    /// The slots of each update, in order; those that were left out belong to none.
    fn batches(&self) -> impl Iterator<Item = &[SlotRecord]> {
        self.slots.chunk_by(|a, b| a.update == b.update).filter(|slots| slots[0].update.is_some())
    }

    /// How often each version of the weights will be asked for.
    fn uses(&self) -> HashMap<u64, usize> {
        let mut uses = HashMap::new();
        let acted = self.slots.iter().filter(|slot| is_first(slot)).map(|slot| slot.policy_version);
        let learned = self.batches().filter_map(|slots| slots[0].gradient_version);
        acted.chain(learned).for_each(|version| *uses.entry(version).or_default() += 1);
        uses
    }

    /// How often each slot was learned from, by actor and sequence.
    fn learnings(&self) -> HashMap<(usize, u64), usize> {
        let mut learnings = HashMap::new();
        let slots = self.batches().flatten();
        slots.for_each(|slot| *learnings.entry((slot.actor, slot.sequence)).or_default() += 1);
        learnings
    }

    /// Every actor's slots, each once, in the order in which they were published.
    fn of_actors(&self, n_actors: usize) -> Result<Vec<Vec<SlotRecord>>, ReplayError> {
        let mut actors = vec![Vec::new(); n_actors];
        for slot in &self.slots {
            let actor = actors.get_mut(slot.actor);
            let no_actor = || self.gap(format!("there is no actor {}", slot.actor));
            actor.ok_or_else(no_actor)?.push(*slot);
        }
        for (actor, slots) in actors.iter_mut().enumerate() {
            slots.sort_unstable_by_key(|slot| slot.sequence);
            slots.dedup_by_key(|slot| slot.sequence);
            if let Some(missing) = (0..).zip(&*slots).find(|(n, slot)| *n != slot.sequence) {
                return Err(self.gap(format!("slot {} of actor {actor} is missing", missing.0)));
            }
        }
        Ok(actors)
    }
}

/// Whether this is a slot's first line: a line of an earlier version of this program knows no epochs.
fn is_first(slot: &SlotRecord) -> bool {
    slot.epoch.is_none_or(|epoch| epoch == 1)
}

/// Versions of the weights, each kept until it was asked for as often as it will be.
struct Versions {
    uses_left: HashMap<u64, usize>,
    kept: HashMap<u64, Vec<f32>>,
}

impl Versions {
    fn add(&mut self, version: u64, params: &[f32]) {
        if self.uses_left.contains_key(&version) {
            self.kept.insert(version, params.to_vec());
        }
    }

    /// Copies a version into `params`; `None` if it has not been made yet.
    fn copy(&mut self, version: u64, params: &mut [f32]) -> Option<()> {
        params.copy_from_slice(self.kept.get(&version)?);
        let uses_left = self.uses_left.get_mut(&version)?;
        *uses_left -= 1;
        if *uses_left == 0 {
            self.kept.remove(&version);
        }
        Some(())
    }
}

/// One actor of the run, collecting again what its processes collected.
struct ReplayedActor {
    collector: Collector,
    generation: u64,
    /// What is to be collected, the next one last.
    to_come: Vec<SlotRecord>,
    /// Collected and still to be learned from, by their sequence.
    rollouts: HashMap<u64, RolloutBuffer>,
}

impl ReplayedActor {
    fn new(config: &Config, actor: usize, slots: Vec<SlotRecord>) -> Result<Self, CollectorError> {
        let generation = slots.first().map_or(0, |slot| slot.generation);
        let to_come = slots.into_iter().rev().collect();
        let collector = Collector::new(config, actor as u64, generation)?;
        Ok(ReplayedActor { collector, generation, to_come, rollouts: HashMap::new() })
    }
}

/// Learns what the run's learner learned.
struct Student<'a> {
    config: &'a Config,
    rollout: RolloutShape,
    pass: Pass,
    optimizer: Optimizer,
    params: Vec<f32>,
    statistics: Option<Statistics>,
    popart: Option<PopArt>,
    /// Version of `params`.
    version: u64,
    frames: u64,
    actors: Vec<ReplayedActor>,
    /// How often each slot will still be learned from, by actor and sequence.
    learnings_left: HashMap<(usize, u64), usize>,
    versions: Versions,
    n_rollouts: usize,
}

impl<'a> Student<'a> {
    fn new(config: &'a Config, start: LearnerState, log: &SlotLog) -> Result<Self, ReplayError> {
        let actors = log.of_actors(config.actors.count)?.into_iter().enumerate();
        let actors = actors.map(|(actor, slots)| ReplayedActor::new(config, actor, slots));
        let version = start.counters.updates;
        let mut versions = Versions { uses_left: log.uses(), kept: HashMap::new() };
        versions.add(version, &start.params);
        let Sizes { rollout, network, .. } = Sizes::of(config)?;
        Ok(Student {
            config,
            rollout,
            statistics: Statistics::of(&network),
            popart: PopArt::of(&network, &config.loss),
            pass: Pass::new(config)?,
            optimizer: Optimizer::resume(UpdateRule::of(&config.optimizer), start.optimizer),
            params: start.params,
            version,
            frames: start.counters.frames,
            actors: actors.collect::<Result<_, _>>()?,
            learnings_left: log.learnings(),
            versions,
            n_rollouts: 0,
        })
    }

    /// Makes update after update until the one numbered `last`.
    fn learn(
        &mut self,
        log: &SlotLog,
        last: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<(), ReplayError> {
        for slots in log.batches() {
            if self.version == last {
                break;
            }
            let next = self.version + 1;
            if slots[0].update != Some(next) {
                return Err(log.gap(format!("update {next} is missing")));
            }
            self.update(slots)
                .ok_or_else(|| log.gap(format!("update {next} needs weights that nothing made")))?;
            progress(self.version);
        }
        if self.version == last {
            return Ok(());
        }
        Err(log.gap(format!("it ends with update {}, the checkpoint has {last}", self.version)))
    }

    /// One update from these slots; `None` if the log asks for what it never made.
    fn update(&mut self, slots: &[SlotRecord]) -> Option<()> {
        slots.iter().try_for_each(|slot| self.collect_until(slot))?;
        let mut at = vec![0.0; self.params.len()];
        self.versions.copy(slots[0].gradient_version?, &mut at)?;
        let mut grad = vec![0.0; self.params.len()];
        self.learn_batch(slots, &at, &mut grad)?;
        clip_grad_norm(&mut grad, self.config.optimizer.max_grad_norm);
        let learning_rate = self.config.optimizer.learning_rate.at(self.frames, self.config.frames);
        self.optimizer.step(&mut self.params, &grad, learning_rate as f32);
        if is_first(&slots[0]) {
            self.count_observed(slots)?;
        }
        if let Some(popart) = &self.popart {
            let targets: Vec<TargetSums> = self.pass.target_sums().collect();
            popart.update(&mut self.params, &targets);
        }
        slots.iter().try_for_each(|slot| self.forget(slot))?;
        self.version += 1;
        if is_first(&slots[0]) {
            self.frames += self.actors[0].collector.frames_per_rollout() * slots.len() as u64;
        }
        self.versions.add(self.version, &self.params);
        Some(())
    }

    /// Counts these slots among the statistics of observations, where the network has them.
    fn count_observed(&mut self, slots: &[SlotRecord]) -> Option<()> {
        let Some(statistics) = &self.statistics else { return Some(()) };
        for slot in slots {
            let rollout = self.actors[slot.actor].rollouts.get(&slot.sequence)?;
            statistics.add(&mut self.params, &rollout.view());
        }
        Some(())
    }

    /// Adds the gradient of these slots at `params` to `grad`.
    fn learn_batch(
        &mut self,
        slots: &[SlotRecord],
        params: &[f32],
        grad: &mut [f32],
    ) -> Option<()> {
        self.pass.set_entropy_cost(slots[0].entropy_cost? as f32);
        self.pass.clear_target_sums();
        if let Some(reward_scale) = slots[0].reward_scale {
            self.pass.set_reward_scale(reward_scale);
        }
        let rollout = |slot: &SlotRecord| self.actors[slot.actor].rollouts.get(&slot.sequence);
        for slots in slots.chunks(self.pass.n_slots()) {
            let views = slots.iter().map(|slot| rollout(slot).map(RolloutBuffer::view));
            let views: Vec<Rollout> = views.collect::<Option<_>>()?;
            self.pass.learn(&views, params, grad, &mut StageClock::start());
        }
        Some(())
    }

    /// Drops a rollout that was learned from for the last time.
    fn forget(&mut self, slot: &SlotRecord) -> Option<()> {
        let left = self.learnings_left.get_mut(&(slot.actor, slot.sequence))?;
        *left -= 1;
        if *left == 0 {
            self.actors[slot.actor].rollouts.remove(&slot.sequence);
        }
        Some(())
    }

    /// Collects what its actor collected, up to this slot's rollout.
    fn collect_until(&mut self, wanted: &SlotRecord) -> Option<()> {
        let actor = &mut self.actors[wanted.actor];
        while !actor.rollouts.contains_key(&wanted.sequence) {
            let next = actor.to_come.pop()?;
            if next.generation != actor.generation {
                actor.generation = next.generation;
                let number = next.actor as u64;
                actor.collector = Collector::new(self.config, number, next.generation).ok()?;
            }
            self.versions.copy(next.policy_version, actor.collector.params_mut())?;
            let mut rollout = RolloutBuffer::new(self.rollout);
            actor.collector.collect(&mut rollout.view_mut()).ok()?;
            if self.learnings_left.contains_key(&(next.actor, next.sequence)) {
                actor.rollouts.insert(next.sequence, rollout);
            }
            self.n_rollouts += 1;
        }
        Some(())
    }

    fn compare(&self, state: &LearnerState) -> Replayed {
        let own = bits(&self.params, self.optimizer.state());
        let expected = bits(&state.params, &state.optimizer);
        Replayed {
            updates: self.version,
            rollouts: self.n_rollouts,
            n_different: own.iter().zip(&expected).filter(|(a, b)| a != b).count(),
            n_compared: own.len().min(expected.len()),
        }
    }
}

/// All that was learned, in a form that tells any two apart.
fn bits(params: &[f32], optimizer: &OptimizerState) -> Vec<u32> {
    optimizer.moments().chain([params]).flatten().map(|value| value.to_bits()).collect()
}
