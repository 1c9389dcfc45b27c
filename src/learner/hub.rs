//! The hub: what the lanes have in common, in the hands of one lane at a time.
//!
//! Owns the parameters, the optimiser, the writing end of the weights and the meters. A lane comes with a
//! finished gradient, and leaves with the weights changed and published and all of it counted. Between two
//! lanes nothing is shared but this and the intake, so that with one lane the lock around it is never
//! waited for and the learner is the plain sequential one. Knows nothing of rings or threads.

use xxhash_rust::xxh3::Xxh3;

use super::cluster::Cluster;
use super::cluster::contribution::Contribution;
use super::cluster::record::Surroundings;
use super::cluster::tally::Tally;
use super::gradient::{Epoch, Gradient};
use super::intake::{LeftOut, SlotBatch, policy_lag};
use super::losses::Losses;
use super::meters::{Meters, Update};
use super::optim::{Optimizer, UpdateRule, clip_grad_norm};
use super::pass::PassSums;
use super::popart::PopArt;
use super::ranks::Ranks;
use super::reward_norm::RewardNorm;
use super::streak::{Streak, Verdict};
use super::targets::ReturnSettings;
use super::{LearnerError, MessageSink, NotFinite};
use crate::base::clock::{RunClock, monotonic_ns};
use crate::base::faults::{self, Point};
use crate::base::finite::all_finite;
use crate::base::stages::{Stage, StageClock};
use crate::config::Config;
use crate::network::Statistics;
use crate::os::process::remark;
use crate::rollout::RolloutHeader;
use crate::run::sizes::Sizes;
use crate::shm::board::{Board, LearnerStatus, Phase};
use crate::shm::state::{SavedState, StateWriter};
use crate::shm::weights::WeightsWriter;
use crate::shm::{Held, Segment, TakenSlot};
use crate::state::{Counters, LearnerState, StateView};
use crate::telemetry::{Exit, Message, SlotRecord, Unlearned};

/// Reports that may wait to be taken. The channel holds two of the largest, and whoever sends into a full one
/// waits: a supervisor that stands still must not stop the learner.
const MAX_WAITING_REPORTS: u64 = 2;

/// What a lane does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The batch's next epoch, if it has one.
    NextEpoch,
    /// Another batch: nothing more is learned from this one.
    NextBatch,
    /// Nothing: it was the run's last update.
    End,
}

/// What one lane at a time works with.
pub struct Hub<'seg, S> {
    config: &'seg Config,
    segment: &'seg Segment,
    sink: S,
    board: Board<'seg>,
    status: &'seg LearnerStatus,
    weights: Held<'seg, WeightsWriter<'seg>>,
    /// Where the next learner goes on if this one dies.
    saved: Held<'seg, StateWriter<'seg>>,
    /// Slots of each ring up to the youngest learned from. An older one in another lane's hands counts
    /// as well: if the process dies it is lost, rather than the younger one learned from twice.
    consumed: Vec<u64>,
    params: Vec<f32>,
    optimizer: Optimizer,
    /// Of observations, where the network has them among its parameters.
    statistics: Option<Statistics>,
    /// Of each task's targets, where values are in units of them.
    popart: Option<PopArt>,
    /// Version of the weights that this hub began with.
    first_version: u64,
    /// Updates in a row that would not have been finite.
    streak: Streak,
    /// Further ones, of rollouts that were acted with weights from before this hub.
    n_inherited: u64,
    /// Norm of the last finite gradient.
    last_grad_norm: f32,
    /// Environment steps in a slot.
    frames_per_slot: u64,
    /// Mean score from which the task counts as solved, if one is known.
    reward_threshold: Option<f64>,
    /// What rewards are normalised by, if they are.
    reward_norm: Option<RewardNorm>,
    meters: Meters,
    /// Reports sent, by learners before this one too.
    n_sent: u64,
    /// With the other learners of the job.
    ranks: Ranks<'seg>,
}

impl<'seg, S: MessageSink> Hub<'seg, S> {
    /// A hub that goes on from `saved`, together with the others of `cluster`.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(
        config: &'seg Config,
        segment: &'seg Segment,
        cluster: Box<dyn Cluster>,
        saved: SavedState,
        run_clock: RunClock,
        loop_start_ns: u64,
        sink: S,
    ) -> Result<Self, LearnerError> {
        let (board, SavedState { state, consumed }) = (segment.board(), saved);
        let (loss, Sizes { network, .. }) = (&config.loss, Sizes::of(config)?);
        let sizes = [config.actors.count, config.actors.envs_per_actor];
        let reward_norm = RewardNorm::new(&ReturnSettings::of(loss), state.return_stats, sizes);
        Ok(Hub {
            config,
            segment,
            sink,
            board,
            status: board.learner(),
            weights: weights_of(segment, &state)?,
            saved: segment.state_writer()?,
            consumed,
            frames_per_slot: segment.layout().shape.rollout.n_frames() as u64,
            reward_threshold: config.spec()?.reward_threshold,
            reward_norm: loss.reward_norm.then_some(reward_norm),
            meters: Meters::new(config, run_clock, loop_start_ns, &state),
            first_version: state.counters.updates,
            params: state.params,
            optimizer: Optimizer::resume(UpdateRule::of(&config.optimizer), state.optimizer),
            statistics: Statistics::of(&network),
            popart: PopArt::of(&network, loss),
            n_sent: board.reports_taken(),
            streak: Streak::new(config.supervision.max_bad_updates),
            n_inherited: 0,
            last_grad_norm: f32::NAN,
            ranks: Ranks::new(config, board, cluster, loop_start_ns),
        })
    }

    /// What rewards of a batch are multiplied with, in all its epochs.
    pub fn reward_scale(&mut self, batch: &SlotBatch) -> f32 {
        let Some(norm) = &mut self.reward_norm else { return self.config.loss.reward_scale };
        batch.slots.iter().for_each(|slot| norm.count(slot.actor(), &slot.rollout()));
        norm.scale()
    }

    /// One update: the sum over all ranks, the optimiser's step, the new weights for all to see, and the books.
    /// `beat` says that the lane lives while it waits for other ranks. Says whether the batch may have another one.
    ///
    /// # Errors
    /// If update after update is not finite, another rank does not come, or the supervisor is gone.
    pub fn apply(
        &mut self,
        gradient: &mut Gradient,
        batch: &SlotBatch,
        clock: &mut StageClock,
        beat: &mut dyn FnMut(),
    ) -> Result<Then, LearnerError> {
        let epoch = gradient.epoch;
        let learned = if epoch.is_first() { self.admit(batch, gradient) } else { &batch.slots };
        let tally = self.exchange(gradient, learned, clock, beat)?;
        if self.ranks.are_to_stop() {
            return Ok(Then::End);
        }
        if tally.n_slots == 0.0 {
            return Ok(Then::NextBatch);
        }
        let max_norm = self.config.optimizer.max_grad_norm;
        let grad_norm = clip_grad_norm(gradient.contribution.gradient_mut(), max_norm);
        let Some(update) = self.optimise(gradient, grad_norm, batch, &tally) else {
            if epoch.is_first() {
                self.log_slots(batch, Err(Unlearned::NotFinite));
            }
            self.skip(gradient, grad_norm, &tally)?;
            return Ok(if self.is_done() { Then::End } else { Then::NextBatch });
        };
        self.count_rollouts(learned, &tally, epoch);
        if !learned.is_empty() {
            self.log_slots(batch, Ok(gradient));
        }
        clock.lap(Stage::Optimizer);
        self.publish(update.n_frames);
        clock.lap(Stage::Publish);
        self.report(&update, clock)?;
        self.compare_if_due(beat)?;
        clock.lap(Stage::Report);
        Ok(if self.ends_after(epoch) { Then::End } else { Then::NextEpoch })
    }

    /// The slots to learn from of a batch that comes to its first update: all, or none, whose gradient is then zero.
    /// No rank skips a round.
    fn admit<'b, 's>(
        &mut self,
        batch: &'b SlotBatch<'s>,
        gradient: &mut Gradient,
    ) -> &'b [TakenSlot<'s>] {
        self.count_taken(batch);
        let unlearned = if self.is_too_old(batch) {
            self.status.rollouts_dropped.add(batch.slots.len() as u64);
            Unlearned::TooOld
        } else if self.is_done() {
            // Another lane is at the last epochs of the run's last batch, and ends the run.
            Unlearned::Overtaken
        } else {
            return &batch.slots;
        };
        self.log_slots(batch, Err(unlearned));
        gradient.contribution.clear();
        (gradient.sums, gradient.total_loss) = (PassSums::default(), 0.0);
        &[]
    }

    /// Whether the run ends with this update. A batch is learned from to its last epoch, unless a stop is ordered.
    fn ends_after(&self, epoch: Epoch) -> bool {
        self.exit().is_some() && (epoch.is_last() || !self.is_done())
    }

    /// Whether no further batch is needed.
    fn is_done(&self) -> bool {
        matches!(self.exit(), Some(Exit::Finished | Exit::Solved))
    }

    /// Makes the gradient that of all ranks; what they all count of it.
    fn exchange(
        &mut self,
        gradient: &mut Gradient,
        learned: &[TakenSlot],
        clock: &mut StageClock,
        beat: &mut dyn FnMut(),
    ) -> Result<Tally, LearnerError> {
        let mut tally = self.own_tally(gradient, learned);
        let update = self.meters.updates() + 1;
        let elsewhere = self.ranks.sum(gradient.contribution, &mut tally, update, beat)?;
        if !self.ranks.is_alone() {
            (gradient.sums, gradient.total_loss) = (tally.sums, tally.total_loss);
            self.meters.count_produced_elsewhere(elsewhere);
            self.ranks.count_round(clock.lap(Stage::Exchange));
        }
        Ok(tally)
    }

    /// What this rank alone counts of its batch.
    fn own_tally(&self, gradient: &Gradient, learned: &[TakenSlot]) -> Tally {
        let is_inherited = |slot: &&TakenSlot| slot.header().policy_version < self.first_version;
        let mut tally = Tally {
            n_slots: learned.len() as f64,
            n_inherited: learned.iter().filter(is_inherited).count() as f64,
            total_loss: gradient.total_loss,
            sums: gradient.sums,
            ..Tally::default()
        };
        if !self.ranks.is_alone() {
            each_return(learned, |episode_return| {
                tally.n_episodes += 1.0;
                tally.return_sum += episode_return;
            });
        }
        tally
    }

    /// A last round without a gradient, of a rank that was told to stop while the others may not have been.
    ///
    /// # Errors
    /// If another rank does not come.
    pub fn say_goodbye(&mut self) -> Result<(), LearnerError> {
        if self.ranks.is_alone() || self.exit().is_some() {
            return Ok(());
        }
        let (vitals, update) = (&self.status.vitals, self.meters.updates() + 1);
        let mut beat = || vitals.beat(monotonic_ns());
        let mut nothing = Contribution::of(self.config)?;
        let elsewhere = self.ranks.sum(&mut nothing, &mut Tally::default(), update, &mut beat)?;
        self.meters.count_produced_elsewhere(elsewhere);
        Ok(())
    }

    /// Notes what was taken and comes after the last update.
    pub fn leave(&mut self, batch: &SlotBatch) {
        self.count_taken(batch);
        self.log_slots(batch, Err(Unlearned::Overtaken));
    }

    /// Counts what a lane did after its last update.
    pub fn count_rest(&mut self, clock: &mut StageClock) {
        self.meters.count_rest(&clock.take());
    }

    /// Frames learned from.
    pub fn frames(&self) -> u64 {
        self.meters.frames()
    }

    /// Whether, and why, no update should follow. Of several ranks all say the same.
    pub fn exit(&self) -> Option<Exit> {
        if self.config.stop_when_solved && self.meters.counters().solved().is_some() {
            Some(Exit::Solved)
        } else if self.frames() >= self.config.frames {
            Some(Exit::Finished)
        } else if self.ranks.are_to_stop() || self.ranks.is_alone() && self.board.stop_ordered() {
            Some(Exit::Interrupted)
        } else {
            None
        }
    }

    /// Whether the other lanes made so many updates meanwhile that a slot's policy is too old by now.
    fn is_too_old(&self, batch: &SlotBatch) -> bool {
        let lags = batch.slots.iter().map(|slot| policy_lag(self.weights.version(), slot));
        lags.max() > Some(self.config.loss.max_policy_lag_updates())
    }

    /// Counts what the headers say of all that was taken, be it learned from or not.
    fn count_taken(&mut self, batch: &SlotBatch) {
        self.status.rollouts_dropped.add(batch.left_out.len() as u64);
        for slot in &batch.left_out {
            self.meters.count_taken(&slot.header, slot.taken_ns);
        }
        for slot in &batch.slots {
            self.meters.count_taken(slot.header(), batch.taken_ns);
        }
    }

    /// Counts what is learned from. Lag is counted here, where it can grow no more, and in each epoch.
    fn count_rollouts(&mut self, learned: &[TakenSlot], tally: &Tally, epoch: Epoch) {
        for slot in learned {
            let lag = policy_lag(self.weights.version(), slot);
            self.meters.count_lag(lag);
            if !epoch.is_first() {
                continue;
            }
            self.ranks.count_slot(lag);
            let consumed = &mut self.consumed[slot.actor()];
            #[cfg(feature = "faults")]
            self.status.checks.on_learned(slot.is_whole(), slot.index(), *consumed);
            *consumed = (slot.index() + 1).max(*consumed);
        }
        if epoch.is_first() {
            learned.iter().for_each(|slot| self.meters.tasks.count(&slot.rollout()));
            self.count_episodes(learned, tally);
        }
    }

    /// Counts the episodes that ended; of those of other ranks the mean is known.
    fn count_episodes(&mut self, learned: &[TakenSlot], tally: &Tally) {
        let score = &mut self.meters.score;
        if self.ranks.is_alone() {
            each_return(learned, |episode_return| score.add(episode_return));
        } else if tally.n_episodes > 0.0 {
            let mean = tally.return_sum / tally.n_episodes;
            let (mut low, mut high) = (mean, mean);
            each_return(learned, |own| (low, high) = (low.min(own), high.max(own)));
            score.add_all(tally.n_episodes as u64, mean, (low, high));
        }
    }

    /// Notes what was learned from the batch, or why nothing was, if the run logs that.
    fn log_slots(&mut self, batch: &SlotBatch, learned: Result<&Gradient, Unlearned>) {
        if !self.config.log_slots {
            return;
        }
        let too_old = |slot: &LeftOut| SlotRecord {
            unlearned: Some(Unlearned::TooOld),
            ..slot_record(slot.actor, &slot.header)
        };
        let update = self.meters.updates() + 1;
        let records = batch.slots.iter().map(|slot| SlotRecord {
            update: learned.ok().map(|_| update),
            gradient_version: learned.ok().map(|gradient| gradient.version),
            entropy_cost: learned.ok().map(|gradient| gradient.entropy_cost),
            epoch: learned.ok().map(|gradient| gradient.epoch.number),
            reward_scale: learned.ok().map(|gradient| gradient.reward_scale),
            unlearned: learned.err(),
            ..slot_record(slot.actor(), slot.header())
        });
        self.meters.log_slots(batch.left_out.iter().map(too_old).chain(records));
    }

    /// Takes one step of the optimiser; `None`, and nothing has changed, where loss, gradient or what comes
    /// of it is not finite.
    fn optimise(
        &mut self,
        gradient: &Gradient,
        grad_norm: f32,
        batch: &SlotBatch,
        tally: &Tally,
    ) -> Option<Update> {
        let Gradient { ref contribution, version, sums, total_loss, epoch, .. } = *gradient;
        if !(grad_norm.is_finite() && total_loss.is_finite()) {
            return None;
        }
        let learning_rate = self.learning_rate();
        self.optimizer.step(&mut self.params, contribution.gradient(), learning_rate as f32);
        self.move_statistics(gradient, batch);
        if !self.is_finite() {
            self.undo_step();
            return None;
        }
        self.streak.end();
        self.last_grad_norm = grad_norm;
        let gradient_lag = self.weights.version().unwrap_or(version) - version;
        Some(Update {
            sums,
            grad_norm,
            total_loss,
            gradient_lag,
            learning_rate,
            entropy_cost: gradient.entropy_cost,
            reward_scale: gradient.reward_scale,
            n_ready: batch.n_ready,
            n_frames: if epoch.is_first() {
                tally.n_slots as u64 * self.frames_per_slot
            } else {
                0
            },
            ends_batch: epoch.is_last(),
            started_ns: gradient.started_ns,
        })
    }

    /// Changes the parameters that no gradient changes by what the batch says of observations and targets.
    fn move_statistics(&mut self, gradient: &Gradient, batch: &SlotBatch) {
        if let Some(statistics) = &self.statistics
            && gradient.epoch.is_first()
        {
            batch.slots.iter().for_each(|slot| statistics.add(&mut self.params, &slot.rollout()));
        }
        if let Some(popart) = &self.popart {
            popart.update(&mut self.params, &gradient.targets);
        }
    }

    /// Takes parameters and optimiser back to the last update, whose state is what stands in the segment.
    fn undo_step(&mut self) {
        // Where it is damaged, this learner ends, and its replacement says so.
        let saved = self.segment.state_reader().read_if_newer().ok().flatten();
        let SavedState { state, .. } = saved.expect("there is the state that this hub began with");
        self.params = state.params;
        let rule = UpdateRule::of(&self.config.optimizer);
        self.optimizer = Optimizer::resume(rule, state.optimizer);
    }

    /// Counts an update that was not made; an error where there were too many in a row. Rollouts that were
    /// acted with weights from before this hub say nothing against its own: where training has just gone
    /// back from hopeless weights, every ring may hold such a rollout.
    fn skip(
        &mut self,
        gradient: &Gradient,
        grad_norm: f32,
        tally: &Tally,
    ) -> Result<(), LearnerError> {
        self.status.skipped_updates.add(1);
        let last = NotFinite {
            update: self.meters.updates() + 1,
            losses: mean_losses(&gradient.sums),
            grad_norm,
            last_grad_norm: self.last_grad_norm,
            learning_rate: self.learning_rate(),
        };
        let (verdict, nth) = if tally.n_inherited > 0.0 {
            self.n_inherited += 1;
            (Verdict::Skip, self.n_inherited)
        } else {
            (self.streak.extend(), self.streak.n_in_a_row())
        };
        if nth == 1 {
            remark(&format!("the learner skipped an update that was not finite: {last}"));
        }
        match verdict {
            Verdict::Skip => Ok(()),
            Verdict::Diverged => {
                let n_in_a_row = self.streak.n_in_a_row();
                Err(LearnerError::Diverged { n_in_a_row, last })
            }
        }
    }

    fn learning_rate(&self) -> f64 {
        self.config.optimizer.learning_rate.at(self.frames(), self.config.frames)
    }

    /// Makes the new weights visible to all actors and lanes, after what a replacement would need (W5).
    fn publish(&mut self, n_frames: u64) {
        self.save_state(self.meters.counters_after(n_frames));
        let before_shown = || _ = faults::reach(Point::MidWeights);
        self.weights.publish_with(self.meters.updates() + 1, &self.params, before_shown);
    }

    /// Makes `counters` and all that goes with them the state to go on from.
    fn save_state(&mut self, counters: Counters) {
        let state = StateView {
            counters,
            recent_returns: self.meters.score.recent(),
            return_stats: self.reward_norm.as_ref().map(RewardNorm::stats).unwrap_or_default(),
            params: &self.params,
            optimizer: self.optimizer.state(),
        };
        self.saved.save(state, self.consumed.iter().copied());
    }

    /// Whether all that was learned is numbers.
    fn is_finite(&self) -> bool {
        all_finite(&self.params) && self.optimizer.state().is_finite()
    }

    /// Folds the update into the meters; sends a report when one is due.
    fn report(&mut self, update: &Update, clock: &mut StageClock) -> Result<(), LearnerError> {
        let now_ns = clock.last_ns();
        self.status.frames.add(update.n_frames);
        self.status.updates.add(1);
        self.meters.count_stages(&clock.take());
        self.meters.count_update(update, now_ns);
        self.meters.note_if_solved(self.reward_threshold, now_ns);
        if update.ends_batch && self.meters.row_is_due() {
            self.close_row(now_ns);
        }
        let n_waiting = self.n_sent.saturating_sub(self.board.reports_taken());
        // What is not sent now stays in the meters, and goes with a later one.
        if n_waiting < MAX_WAITING_REPORTS
            && let Some(report) = self.meters.due_report(now_ns)
        {
            self.n_sent += 1;
            self.sink.send(Message::Report(Box::new(report)))?;
        }
        Ok(())
    }

    fn close_row(&mut self, now_ns: u64) {
        let units = self.popart.iter().flat_map(|popart| popart.units(&self.params));
        self.meters.close_row(now_ns, self.board.frames_produced(), units);
    }

    /// Every so many updates all ranks tell one another how they are, and make sure that they have equal weights.
    ///
    /// # Errors
    /// If they have not, or another rank does not come.
    fn compare_if_due(&mut self, beat: &mut dyn FnMut()) -> Result<(), LearnerError> {
        let interval = self.config.distributed.check_interval;
        if self.ranks.is_alone() || !self.meters.updates().is_multiple_of(interval) {
            return Ok(());
        }
        self.compare(beat)
    }

    fn compare(&mut self, beat: &mut dyn FnMut()) -> Result<(), LearnerError> {
        let (hash, counters) = (self.hash(), self.meters.counters());
        let around = Surroundings {
            frames_per_slot: self.frames_per_slot,
            wait_ns: self.status.wait_ns.get(),
            restarts: self.board.actors().iter().map(|actor| actor.vitals.restarts.get()).sum(),
        };
        let summaries = self.ranks.compare(hash, &counters, &around, beat)?;
        self.meters.note_ranks(summaries);
        Ok(())
    }

    /// A fingerprint of what all ranks have in common.
    fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        let Counters { frames, updates, episodes, solved_frames, .. } = self.meters.counters();
        hash.update(bytemuck::bytes_of(&[frames, updates, episodes, solved_frames]));
        hash.update(bytemuck::cast_slice(self.meters.score.recent()));
        hash.update(bytemuck::cast_slice(&self.params));
        let moments = self.optimizer.state().moments();
        moments.for_each(|moment| hash.update(bytemuck::cast_slice(moment)));
        hash.digest()
    }

    /// Saves the last state, parts from the other ranks and sends what is left to say.
    ///
    /// # Errors
    /// If the supervisor is gone, or the ranks have come to different ends.
    pub fn finish(mut self) -> Result<(), LearnerError> {
        faults::reach(Point::BeforeGoodbye);
        self.save_state(self.meters.counters());
        self.part()?;
        let now_ns = monotonic_ns();
        self.close_row(now_ns);
        while let Some(report) = self.meters.take_last_report(now_ns) {
            self.sink.send(Message::Report(Box::new(report)))?;
        }
        self.sink.send(Message::Finished(self.exit().unwrap_or_default()))?;
        self.status.vitals.enter(Phase::Finished, monotonic_ns());
        Ok(())
    }

    /// Compares notes with the other ranks a last time, and parts from them.
    fn part(&mut self) -> Result<(), LearnerError> {
        let vitals = &self.status.vitals;
        if self.ranks.has_company() {
            self.compare(&mut || vitals.beat(monotonic_ns()))?;
        }
        self.ranks.leave();
        Ok(())
    }
}

/// The writing end of the weights, which are those of the state or newer.
fn weights_of<'seg>(
    segment: &'seg Segment,
    state: &LearnerState,
) -> Result<Held<'seg, WeightsWriter<'seg>>, LearnerError> {
    let mut weights = segment.weights_writer()?;
    if weights.version() < Some(state.counters.updates) {
        weights.publish(state.counters.updates, &state.params);
    }
    Ok(weights)
}

/// Means over the learned frames, as `metrics.csv` has them.
fn mean_losses(PassSums { losses, off_policy }: &PassSums) -> Losses {
    losses.per(off_policy.n_learned.max(1) as f64)
}

/// Goes through the undiscounted returns of the episodes that ended in some slots.
fn each_return(slots: &[TakenSlot], mut take: impl FnMut(f64)) {
    for slot in slots {
        slot.rollout().episodes().for_each(|(episode_return, _)| take(f64::from(episode_return)));
    }
}

/// Which slot the log is about.
fn slot_record(actor: usize, header: &RolloutHeader) -> SlotRecord {
    let RolloutHeader { generation, sequence, policy_version, .. } = *header;
    SlotRecord { actor, generation, sequence, policy_version, ..SlotRecord::default() }
}
