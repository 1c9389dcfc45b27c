//! The learner's lanes without processes: what a gradient that comes late counts as, that one lane is
//! reproducible, and that no way in which a lane ends leaves another one waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use impala::actor::collector::Collector;
use impala::base::clock::RunClock;
use impala::base::seeds::{Stream, stream_seed};
use impala::base::stages::{Stage, StageClock, StageHistograms};
use impala::config::{ActorSettings, Config, LossSettings, Schedule};
use impala::learner::cluster::Alone;
use impala::learner::cluster::contribution::Contribution;
use impala::learner::gradient::{Epoch, Gradient};
use impala::learner::hub::{Hub, Then};
use impala::learner::intake::{Intake, SlotBatch};
use impala::learner::optim::clip_grad_norm;
use impala::learner::pass::PassSums;
use impala::learner::{Learner, LearnerError, MessageSink};
use impala::network::params::ParamLayout;
use impala::run::sizes::Sizes;
use impala::shm::layout::SegmentShape;
use impala::shm::weights::WeightsReader;
use impala::shm::{Producer, Segment};
use impala::state::{LearnerState, OptimizerState, SCORE_WINDOW};
use impala::telemetry::{LearnerFigures, Message, Progress, SlotRecord, Unlearned};

/// Long enough never to matter.
const LONG: Duration = Duration::from_secs(60);

/// Keeps the learner's last words.
#[derive(Clone, Default)]
struct LastWords(Arc<Mutex<Words>>);

/// The last progress, what all reports add up to, and how many rows each had.
#[derive(Default)]
struct Words {
    progress: Progress,
    figures: LearnerFigures,
    n_rows: Vec<usize>,
    latencies: StageHistograms,
    slots: Vec<SlotRecord>,
}

impl MessageSink for LastWords {
    fn send(&mut self, message: Message) -> Result<(), LearnerError> {
        let mut words = self.0.lock().unwrap();
        let Message::Report(report) = message else { return Ok(()) };
        words.progress = report.progress.clone();
        words.figures.add(&report).unwrap();
        words.n_rows.push(report.rows.len());
        for (stage, encoded) in &report.latency {
            words.latencies.add(*stage, &encoded.decode().unwrap());
        }
        words.slots.extend(report.slots);
        Ok(())
    }
}

/// A supervisor that is gone, or a learner that falls over its own report.
#[derive(Clone, Copy)]
enum Broken {
    Deaf,
    Panicking,
}

impl MessageSink for Broken {
    fn send(&mut self, _: Message) -> Result<(), LearnerError> {
        match self {
            Broken::Deaf => Err(LearnerError::Report("nobody listens".into())),
            Broken::Panicking => panic!("fell over its report"),
        }
    }
}

/// One actor with two slots of 20 frames.
fn config(learner_threads: usize) -> Config {
    Config {
        learner_threads,
        actors: ActorSettings { count: 1, envs_per_actor: 4, unroll_length: 5, slots_per_actor: 2 },
        ..Config::default()
    }
}

/// Its segment, in this process alone, with the first weights published.
fn segment(config: &Config) -> Segment {
    let layout = ParamLayout::new(&Sizes::of(config).unwrap().network);
    let segment = Segment::heap(&SegmentShape {
        n_actors: config.actors.count,
        slots_per_actor: config.actors.slots_per_actor,
        n_params: layout.len(),
        n_moments: 1,
        rollout: Sizes::of(config).unwrap().rollout,
    });
    let segment = segment.unwrap();
    let params = layout.init(stream_seed(config.seed, Stream::Weights));
    segment.weights_writer().unwrap().publish(0, &params);
    let square = vec![0.0; layout.len()];
    let state = LearnerState {
        counters: Default::default(),
        recent_returns: [0.0; SCORE_WINDOW],
        return_stats: Default::default(),
        params,
        optimizer: OptimizerState { n_steps: 0, square, mean: Vec::new() },
    };
    let consumed = vec![0; config.actors.count];
    segment.state_writer().unwrap().save(state.as_view(), consumed);
    segment
}

/// Publishes rollouts of one policy until `is_over`, the same ones in every run. They are passed off as
/// those of the newest weights, so that none is too old.
fn act(config: &Config, segment: &Segment, is_over: &AtomicBool) {
    let mut producer = segment.producer(0, 0).unwrap();
    let (mut collector, weights) =
        (Collector::new(config, 0, 0).unwrap(), segment.weights_reader());
    let params = ParamLayout::new(&Sizes::of(config).unwrap().network);
    collector.params_mut().copy_from_slice(&params.init(7));
    while !is_over.load(Ordering::Relaxed) {
        if let Some(mut slot) = producer.claim(Duration::from_millis(1)) {
            collector.collect(&mut slot.rollout()).unwrap();
            slot.publish(weights.version().unwrap().unwrap());
        }
    }
}

/// Runs a learner beside an actor.
fn learn<S: MessageSink + Send>(config: &Config, sink: S) -> Result<Vec<f32>, LearnerError> {
    let segment = segment(config);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| act(config, &segment, &is_over));
        let learner = Learner::new(config, &segment, RunClock::starting_at(0), sink).unwrap();
        // The actor has to end even where the learner panics.
        let ended = catch_unwind(AssertUnwindSafe(|| learner.run()));
        is_over.store(true, Ordering::Relaxed);
        match ended {
            Ok(result) => result.map(|()| state_in(&segment).params),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A gradient of one value.
fn filled(n_params: usize, value: f32) -> Contribution {
    let mut contribution = Contribution::new(n_params, 1);
    contribution.gradient_mut().fill(value);
    contribution
}

/// A gradient at the first weights, for the only update of its batch.
fn gradient(contribution: &mut Contribution) -> Gradient<'_> {
    Gradient {
        contribution,
        version: 0,
        sums: PassSums::default(),
        targets: Vec::new(),
        total_loss: 0.0,
        entropy_cost: 0.0,
        reward_scale: 1.0,
        epoch: Epoch { number: 1, of: 1 },
        started_ns: 0,
    }
}

/// A hub, with slots for it to learn from.
struct OneHub<'seg> {
    hub: Hub<'seg, LastWords>,
    words: LastWords,
    /// For the newest version, so that no slot is too old.
    weights: WeightsReader<'seg>,
    intake: Intake<'seg>,
    producer: Producer<'seg>,
    clock: StageClock,
    n_params: usize,
}

impl<'seg> OneHub<'seg> {
    fn new(config: &'seg Config, segment: &'seg Segment) -> Self {
        let saved = segment.state_reader().read_if_newer().unwrap().unwrap();
        let n_params = saved.state.params.len();
        let intake = Intake::new(config, segment, &saved.consumed).unwrap();
        let run_clock = RunClock::starting_at(0);
        let words = LastWords::default();
        let hub =
            Hub::new(config, segment, Box::new(Alone), saved, run_clock, 0, words.clone()).unwrap();
        let producer = segment.producer(0, 0).unwrap();
        let weights = segment.weights_reader();
        OneHub { hub, words, weights, intake, producer, clock: StageClock::start(), n_params }
    }

    /// Applies a gradient of which all values are `value`, of a rollout acted with the newest weights.
    fn apply(&mut self, value: f32, total_loss: f64) -> Result<(), LearnerError> {
        let newest = self.weights.version().unwrap().unwrap();
        self.apply_acted_with(newest, (value, total_loss))
    }

    /// The same, of a rollout acted with the weights of that version.
    fn apply_acted_with(
        &mut self,
        policy_version: u64,
        (value, total_loss): (f32, f64),
    ) -> Result<(), LearnerError> {
        let contribution = &mut filled(self.n_params, value);
        let mut batch = SlotBatch::default();
        self.producer.claim(LONG).unwrap().publish(policy_version);
        assert!(self.intake.take(&mut batch, &mut self.clock));
        let mut sums = PassSums::default();
        (sums.losses.entropy, sums.off_policy.n_learned) = (10.0, 20);
        let mut gradient = Gradient { total_loss, sums, ..gradient(contribution) };
        let then = self.hub.apply(&mut gradient, &batch, &mut self.clock, &mut || ());
        self.intake.release(&mut batch);
        then.map(|then| assert_ne!(then, Then::End))
    }
}

fn state_in(segment: &Segment) -> LearnerState {
    segment.state_reader().read_if_newer().unwrap().unwrap().state
}

/// A learning rate with which small gradients lead to finite weights, and large ones do not.
const STEEP: f64 = 1e38;

/// Bad in each way there is: the gradient, its norm, the loss, and a finite one after whose steep step the
/// weights are not.
const NOT_FINITE: [(f32, f64); 5] =
    [(f32::NAN, 0.0), (1e30, 0.0), (1e-3, f64::NAN), (1e-3, f64::NEG_INFINITY), (10.0, 0.0)];

#[test]
fn an_update_that_is_not_finite_changes_nothing_and_is_counted() {
    let mut config = config(1);
    config.optimizer.learning_rate = Schedule::constant(STEEP);
    let (segment, spared) = (segment(&config), segment(&config));
    let mut hub = OneHub::new(&config, &segment);
    let mut spared_hub = OneHub::new(&config, &spared);
    for (value, total_loss) in NOT_FINITE {
        hub.apply(1e-3, 0.0).unwrap();
        let (state, version) = (state_in(&segment), segment.weights_reader().version());
        hub.apply(value, total_loss).unwrap();
        assert_eq!(state_in(&segment), state, "after {value} {total_loss}");
        assert_eq!(segment.weights_reader().version(), version, "nothing was published");
        spared_hub.apply(1e-3, 0.0).unwrap();
    }
    hub.apply(1e-3, 0.0).unwrap();
    spared_hub.apply(1e-3, 0.0).unwrap();
    let (state, spared_state) = (state_in(&segment), state_in(&spared));
    assert_eq!((state.params, state.optimizer), (spared_state.params, spared_state.optimizer));
    assert_eq!(state.counters.updates, 1 + NOT_FINITE.len() as u64);
    assert_eq!(segment.board().learner().skipped_updates.get(), NOT_FINITE.len() as u64);
}

#[test]
fn a_streak_of_updates_that_are_not_finite_ends_the_learner_with_a_diagnosis() {
    let mut config = config(1);
    config.supervision.max_bad_updates = 3;
    let segment = segment(&config);
    let mut hub = OneHub::new(&config, &segment);
    let bad = |hub: &mut OneHub| hub.apply(f32::NAN, f64::NAN);
    hub.apply(0.5, 0.0).unwrap();
    for _ in 0..2 {
        bad(&mut hub).unwrap();
        bad(&mut hub).unwrap();
        hub.apply(0.5, 0.0).unwrap();
    }
    bad(&mut hub).unwrap();
    bad(&mut hub).unwrap();
    let error = bad(&mut hub).unwrap_err();
    assert!(matches!(error, LearnerError::Diverged { n_in_a_row: 3, .. }), "{error}");
    let error = error.to_string();
    let norm = clip_grad_norm(&mut vec![0.5; hub.n_params], f32::MAX);
    let finite = format!("finite one was {norm}");
    // As in metrics.csv: 20 frames of half a nat each.
    let losses = "losses policy 0, critic 0, entropy 0.5 a frame";
    for part in ["update 4 ", losses, "norm NaN", &finite, "rate of 0.00"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

/// As after going back: rings full of what hopeless weights acted are no reason to give up sound ones.
#[test]
fn rollouts_from_before_a_learner_do_not_condemn_its_weights() {
    const BAD: (f32, f64) = (f32::NAN, f64::NAN);
    let mut config = config(1);
    config.supervision.max_bad_updates = 3;
    let segment = segment(&config);
    let mut before = OneHub::new(&config, &segment);
    before.apply(1e-3, 0.0).unwrap();
    before.apply(1e-3, 0.0).unwrap();
    drop(before);
    let mut hub = OneHub::new(&config, &segment);
    for _ in 0..10 {
        hub.apply_acted_with(1, BAD).unwrap();
    }
    assert_eq!(segment.board().learner().skipped_updates.get(), 10, "each is counted");
    hub.apply_acted_with(2, BAD).unwrap();
    hub.apply_acted_with(1, BAD).unwrap();
    hub.apply_acted_with(2, BAD).unwrap();
    let error = hub.apply_acted_with(2, BAD).unwrap_err();
    assert!(matches!(error, LearnerError::Diverged { n_in_a_row: 3, .. }), "{error}");
}

/// Reports wait with the learner, whole, until those it has sent are taken.
#[test]
fn a_supervisor_that_takes_no_report_stops_nobody() {
    // A row an update, so that a report is due at every hundredth at the latest.
    let mut config = Config { frames: 20_000, ..config(1) };
    config.report.rows = 1_000;
    let segment = segment(&config);
    let mut hub = OneHub::new(&config, &segment);
    let words = hub.words.clone();
    let sent = || words.0.lock().unwrap().n_rows.clone();
    for _ in 0..450 {
        hub.apply(1e-3, 0.0).unwrap();
    }
    assert_eq!(sent().len(), 2, "nobody has taken one yet");
    segment.board().count_report();
    for _ in 0..5 {
        hub.apply(1e-3, 0.0).unwrap();
    }
    assert_eq!(sent().len(), 3, "there is room for one more");
    hub.hub.finish().unwrap();
    let sent = sent();
    assert!(sent.iter().all(|n_rows| *n_rows <= 100), "none is larger than the channel: {sent:?}");
    assert_eq!(sent.iter().sum::<usize>(), 455, "no row is lost: {sent:?}");
}

/// What is documented as measured once a rollout is so for those that no update learned from, too.
#[test]
fn what_a_dropped_rollout_measured_counts_and_why_it_was_dropped_is_logged() {
    let loss = LossSettings { max_policy_lag: 0, ..LossSettings::default() };
    let config = Config { loss, log_slots: true, ..config(1) };
    let segment = segment(&config);
    let mut hub = OneHub::new(&config, &segment);
    hub.apply(1e-3, 0.0).unwrap();
    // Of the weights before those, so that it is left out as the next one is taken.
    hub.producer.claim(LONG).unwrap().publish(0);
    hub.apply(f32::NAN, 0.0).unwrap();
    let mut batch = SlotBatch::default();
    hub.producer.claim(LONG).unwrap().publish(1);
    assert!(hub.intake.take(&mut batch, &mut hub.clock));
    hub.hub.leave(&batch);
    hub.hub.finish().unwrap();
    let words = hub.words.0.lock().unwrap();
    for stage in [Stage::ActorClaim, Stage::ActorAct, Stage::ActorEnv, Stage::HandOver] {
        assert_eq!(words.latencies.get(stage).len(), 4, "{stage:?}");
    }
    let unlearned: Vec<_> = words.slots.iter().map(|slot| slot.unlearned).collect();
    let why = [Unlearned::TooOld, Unlearned::NotFinite, Unlearned::Overtaken].map(Some);
    assert_eq!(unlearned, [&[None], &why[..]].concat());
    assert!(words.slots.iter().all(|slot| slot.update.is_none() == slot.unlearned.is_some()));
    assert_eq!(segment.board().learner().rollouts_dropped.get(), 1);
}

/// The stages are all of a lane's time, also where it waited and no update followed.
#[test]
fn the_last_wait_counts() {
    const WAITED: Duration = Duration::from_millis(200);
    let config = config(2);
    let segment = segment(&config);
    let words = LastWords::default();
    let learner = Learner::new(&config, &segment, RunClock::starting_at(0), words.clone()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| learner.run().unwrap());
        thread::sleep(WAITED);
        segment.board().order_stop();
        segment.learner_doorbell().ring();
    });
    let words = words.0.lock().unwrap();
    let waits = words.latencies.get(Stage::Wait);
    assert_eq!(waits.len(), 2, "of each lane");
    assert!(waits.min() >= WAITED.as_nanos() as u64 / 2, "{} ns", waits.min());
    assert_eq!((words.figures.policy_lag(), words.progress.policy_lag_mean), (None, None));
}

/// Two batches of one slot each, whose gradients are both of the first weights, applied one after the
/// other; and how many rollouts were dropped.
fn two_gradients_of_the_first_weights(config: &Config) -> (Progress, LearnerFigures, u64) {
    let segment = segment(config);
    let words = LastWords::default();
    let saved = segment.state_reader().read_if_newer().unwrap().unwrap();
    let intake = Intake::new(config, &segment, &saved.consumed).unwrap();
    let clock = RunClock::starting_at(0);
    let mut hub =
        Hub::new(config, &segment, Box::new(Alone), saved, clock, 0, words.clone()).unwrap();
    let mut producer = segment.producer(0, 0).unwrap();
    let mut clock = StageClock::start();
    let mut batches = [SlotBatch::default(), SlotBatch::default()];
    for batch in &mut batches {
        producer.claim(LONG).unwrap().publish(0);
        assert!(intake.take(batch, &mut clock));
    }
    let contribution = &mut Contribution::of(config).unwrap();
    contribution.gradient_mut().fill(1e-3);
    for batch in &mut batches {
        let mut gradient = gradient(contribution);
        let then = hub.apply(&mut gradient, batch, &mut clock, &mut || ()).unwrap();
        assert_ne!(then, Then::End);
        intake.release(batch);
    }
    hub.finish().unwrap();
    let words = words.0.lock().unwrap();
    let (progress, figures) = (words.progress.clone(), words.figures.clone());
    assert_eq!(segment.weights_reader().version(), Ok(Some(progress.updates)));
    (progress, figures, segment.board().learner().rollouts_dropped.get())
}

#[test]
fn what_other_lanes_did_meanwhile_counts_as_lag() {
    let (progress, figures, n_dropped) = two_gradients_of_the_first_weights(&config(2));
    assert_eq!(progress.updates, 2);
    for lag in [figures.policy_lag(), figures.gradient_lag()].map(Option::unwrap) {
        assert_eq!((lag.mean, lag.max), (0.5, 1), "{lag:?}");
    }
    assert_eq!(n_dropped, 0);
}

#[test]
fn a_gradient_that_became_too_old_meanwhile_is_dropped_and_counted() {
    let loss = LossSettings { max_policy_lag: 0, ..LossSettings::default() };
    let config = Config { loss, ..config(2) };
    let (progress, figures, n_dropped) = two_gradients_of_the_first_weights(&config);
    assert_eq!(progress.updates, 1);
    assert_eq!((figures.policy_lag().unwrap().max, n_dropped), (0, 1));
    assert_eq!(progress.frames, 20, "a dropped rollout is not learned from");
}

#[test]
fn one_lane_makes_the_same_weights_of_the_same_rollouts() {
    let config = Config { frames: 4_000, ..config(1) };
    let [first, second] = [(); 2].map(|()| learn(&config, LastWords::default()).unwrap());
    assert_eq!(first, second);
    assert_ne!(first, ParamLayout::new(&Sizes::of(&config).unwrap().network).init(7));
}

#[test]
fn several_lanes_learn_every_frame_once() {
    let config = Config { frames: 40_000, ..config(2) };
    let words = LastWords::default();
    learn(&config, words.clone()).unwrap();
    let progress = words.0.lock().unwrap().progress.clone();
    assert_eq!(progress.frames, progress.updates * 20);
    // The other lane may hold one batch more when the budget is spent.
    assert!((40_000..=40_020).contains(&progress.frames), "{progress:?}");
}

/// A run of 40 batches of 20 frames with three updates each, and what was said of it.
fn three_epochs(learner_threads: usize) -> LastWords {
    let mut config = Config { frames: 800, log_slots: true, ..config(learner_threads) };
    (config.loss.epochs, config.report.rows) = (3, 1_000);
    let words = LastWords::default();
    learn(&config, words.clone()).unwrap();
    words
}

#[test]
fn a_batch_makes_as_many_updates_as_it_has_epochs_and_counts_once() {
    let words = three_epochs(1);
    let words = words.0.lock().unwrap();
    assert_eq!((words.progress.frames, words.progress.updates), (800, 120));
    assert_eq!(words.n_rows.iter().sum::<usize>(), 40, "a row ends with a batch");
    assert_eq!(words.latencies.get(Stage::HandOver).len(), 40);
    // The third gradient is applied to weights that are three updates younger than those acted with.
    let lag = words.figures.policy_lag().unwrap();
    assert!(lag.mean >= 1.0 && lag.max >= 2, "{lag:?}");
    assert_eq!(words.slots.len(), 120);
    for (n, slot) in (0..).zip(&words.slots) {
        assert_eq!((slot.sequence, slot.epoch), (n / 3, Some(n % 3 + 1)));
        assert_eq!((slot.update, slot.gradient_version), (Some(n + 1), Some(n)));
    }
}

/// The other lane may hold one batch more when the budget is spent: that one is not begun.
#[test]
fn several_lanes_share_epochs_and_end_after_the_last() {
    let words = three_epochs(2);
    let words = words.0.lock().unwrap();
    let progress = &words.progress;
    assert_eq!(progress.frames, 800);
    assert!((118..=120).contains(&progress.updates), "{progress:?}");
    let learned = words.slots.iter().filter(|slot| slot.unlearned.is_none());
    assert_eq!(learned.filter(|slot| slot.epoch == Some(1)).count(), 40);
}

/// The limit is in batches, so that more epochs do not make rollouts too old.
#[test]
fn a_limit_of_the_lag_counts_batches() {
    let mut config = Config { frames: u64::MAX, ..config(1) };
    (config.loss.epochs, config.loss.max_policy_lag) = (4, 1);
    let segment = segment(&config);
    let mut hub = OneHub::new(&config, &segment);
    let learned_at_lag = |hub: &mut OneHub, lag: u64| {
        let newest = hub.weights.version().unwrap().unwrap();
        hub.apply_acted_with(newest - lag, (1e-3, 0.0)).unwrap();
        hub.weights.version().unwrap().unwrap() > newest
    };
    (0..8).for_each(|_| hub.apply(1e-3, 0.0).unwrap());
    assert!(learned_at_lag(&mut hub, 4));
    assert_eq!(segment.board().learner().rollouts_dropped.get(), 0);
    hub.producer.claim(LONG).unwrap().publish(0);
    hub.apply(1e-3, 0.0).unwrap();
    assert_eq!(segment.board().learner().rollouts_dropped.get(), 1, "older than a batch");
}

/// What is not finite would not be so in the next epoch either; and what is counted with the first epoch is not
/// counted again.
#[test]
fn a_batch_is_left_at_an_update_that_is_not_finite() {
    let config = config(1);
    let segment = segment(&config);
    let mut hub = OneHub::new(&config, &segment);
    let mut batch = SlotBatch::default();
    hub.producer.claim(LONG).unwrap().publish(0);
    assert!(hub.intake.take(&mut batch, &mut hub.clock));
    let mut apply = |number, value| {
        let (mut contribution, epoch) = (filled(hub.n_params, value), Epoch { number, of: 3 });
        let mut gradient = Gradient { epoch, ..gradient(&mut contribution) };
        hub.hub.apply(&mut gradient, &batch, &mut hub.clock, &mut || ()).unwrap()
    };
    assert_eq!(apply(1, 1e-3), Then::NextEpoch);
    assert_eq!(apply(2, f32::NAN), Then::NextBatch);
    let counters = state_in(&segment).counters;
    assert_eq!((counters.frames, counters.updates), (20, 1));
}

#[test]
fn an_order_to_stop_is_heard_between_two_epochs() {
    let config = config(1);
    let segment = segment(&config);
    let mut hub = OneHub::new(&config, &segment);
    let mut batch = SlotBatch::default();
    hub.producer.claim(LONG).unwrap().publish(0);
    assert!(hub.intake.take(&mut batch, &mut hub.clock));
    segment.board().order_stop();
    let (mut contribution, epoch) = (filled(hub.n_params, 1e-3), Epoch { number: 1, of: 3 });
    let mut gradient = Gradient { epoch, ..gradient(&mut contribution) };
    let then = hub.hub.apply(&mut gradient, &batch, &mut hub.clock, &mut || ()).unwrap();
    assert_eq!(then, Then::End);
}

/// The scale comes from the batch's own rewards and those before, and outlives the hub with the state.
#[test]
fn what_rewards_are_normalised_by_is_part_of_the_state() {
    let mut config = config(1);
    config.loss.reward_norm = true;
    let segment = segment(&config);
    let mut hub = OneHub::new(&config, &segment);
    let mut collector = Collector::new(&config, 0, 0).unwrap();
    let mut scales = Vec::new();
    for _ in 0..2 {
        let mut batch = SlotBatch::default();
        let mut slot = hub.producer.claim(LONG).unwrap();
        collector.collect(&mut slot.rollout()).unwrap();
        slot.publish(0);
        assert!(hub.intake.take(&mut batch, &mut hub.clock));
        scales.push(hub.hub.reward_scale(&batch));
        let mut contribution = filled(hub.n_params, 1e-3);
        let mut gradient = gradient(&mut contribution);
        hub.hub.apply(&mut gradient, &batch, &mut hub.clock, &mut || ()).unwrap();
        hub.intake.release(&mut batch);
    }
    // CartPole's reward is always 1, so G at step t of an episode is 1 + γ + … + γᵗ.
    let stats = state_in(&segment).return_stats;
    assert!(stats.n > 30.0 && stats.mean > 1.0, "{stats:?}");
    assert_eq!(scales[1], (1.0 / (stats.variance() + 1e-8).sqrt()) as f32);
    assert!(scales[1] < scales[0], "returns spread as episodes last: {scales:?}");
    drop(hub);
    let mut replacement = OneHub::new(&config, &segment);
    assert_eq!(replacement.hub.reward_scale(&SlotBatch::default()), scales[1]);
}

#[test]
fn a_lane_that_fails_ends_the_others() {
    // No end in sight: only the failing report ends it.
    let config = Config { frames: u64::MAX, ..config(2) };
    let error = learn(&config, Broken::Deaf).unwrap_err();
    assert!(matches!(error, LearnerError::Report(_)), "{error}");
}

#[test]
fn a_lane_that_panics_in_its_turn_ends_the_others() {
    let config = Config { frames: u64::MAX, ..config(2) };
    let ended = catch_unwind(AssertUnwindSafe(|| learn(&config, Broken::Panicking)));
    assert!(ended.is_err(), "the panic is the learner's");
}

#[test]
fn a_lane_that_waits_for_slots_does_not_outlive_the_others() {
    let config = config(2);
    let segment = segment(&config);
    let intake = Intake::new(&config, &segment, &[0]).unwrap();
    thread::scope(|scope| {
        let mut waiting = [(); 2].map(|()| {
            Some(scope.spawn(|| intake.take(&mut SlotBatch::default(), &mut StageClock::start())))
        });
        intake.close();
        for lane in &mut waiting {
            assert!(!lane.take().unwrap().join().unwrap());
        }
    });
}
