//! From slots to targets: what each kind of row means to V-trace, that trajectories of different
//! slots never mix, and that each stage runs once and is timed once.

use std::sync::{Arc, Mutex};

use impala::actor::collector::Collector;
use impala::base::clock::monotonic_ns;
use impala::base::stages::{Stage, StageClock};
use impala::config::{Config, Correction, LossSettings, TorsoKind};
use impala::kernels::Simd;
use impala::learner::pass::Pass;
use impala::learner::targets::{ReturnSettings, TargetBuilder};
use impala::learner::vtrace::VtraceParams;
use impala::network::Learning;
use impala::network::heads::Seen;
use impala::network::params::ParamLayout;
use impala::rollout::{Batch, Frames, Gather, RolloutBuffer, RolloutShape, StepKind};
use impala::run::sizes::Sizes;
use ndarray::{ArrayView2, ArrayViewMut2};

const SHAPE: RolloutShape = RolloutShape::of_numbers(3, 1, 1);

fn target_builder(n_steps: usize) -> TargetBuilder<Simd> {
    TargetBuilder::new(settings(f32::INFINITY), Simd::detect(), n_steps)
}

fn settings(reward_clip: f32) -> ReturnSettings {
    let vtrace = VtraceParams { rho_bar: 1.0, c_bar: 1.0, pg_rho_bar: 1.0, lambda: 1.0 };
    let (reward_scale, reward_bound) = (0.1, f32::INFINITY);
    let correction = Correction::Vtrace;
    ReturnSettings { discount: 0.5, reward_clip, reward_scale, reward_bound, vtrace, correction }
}

/// vs and advantages of one on-policy trajectory with rewards 10, 20, 30 (scaled to 1, 2, 3) and
/// values 100, 200, 300, 400.
fn on_policy(kinds: [StepKind; 3]) -> (Vec<f32>, Vec<f32>) {
    solved(target_builder(3), [10.0, 20.0, 30.0], kinds)
}

fn solved(
    mut builder: TargetBuilder<Simd>,
    rewards: [f32; 3],
    kinds: [StepKind; 3],
) -> (Vec<f32>, Vec<f32>) {
    let mut slot = RolloutBuffer::new(SHAPE);
    slot.view_mut().rewards.copy_from_slice(&rewards);
    slot.view_mut().kinds.copy_from_slice(&kinds);
    let (log_pi, values) = ([0.0; 3], [100.0, 200.0, 300.0, 400.0]);
    let seen = Seen { log_pi: &log_pi, entropies: &[0.0; 3], values: &values };
    let (targets, _) = builder.solve(&Batch::of(&slot.view()), &seen);
    (targets.vs.to_vec(), targets.pg_advantages.to_vec())
}

fn assert_close(found: &[f32], expected: &[f32]) {
    approx::assert_relative_eq!(found, expected, max_relative = 1e-5);
}

#[test]
fn ordinary_rows_bootstrap_from_the_observation_after_the_last_step() {
    let (vs, _) = on_policy([StepKind::ORDINARY; 3]);
    let last = 3.0 + 0.5 * 400.0;
    assert_close(&vs, &[1.0 + 0.5 * (2.0 + 0.5 * last), 2.0 + 0.5 * last, last]);
}

#[test]
fn a_terminated_row_does_not_bootstrap_and_the_reset_row_is_masked() {
    let (vs, pg) = on_policy([StepKind::TERMINATED, StepKind::RESET, StepKind::ORDINARY]);
    assert_close(&vs, &[1.0, 200.0, 203.0]);
    assert_close(&pg, &[1.0 - 100.0, 0.0, 203.0 - 300.0]);
}

#[test]
fn a_lost_life_does_not_bootstrap_and_the_row_after_it_is_learned_from() {
    let (vs, pg) = on_policy([StepKind::LIFE_LOST, StepKind::ORDINARY, StepKind::ORDINARY]);
    assert_close(&vs, &[1.0, 2.0 + 0.5 * 203.0, 203.0]);
    assert_close(&pg, &[1.0 - 100.0, 2.0 + 0.5 * 203.0 - 200.0, 203.0 - 300.0]);
}

#[test]
fn rewards_are_clipped_on_both_sides_before_they_are_scaled() {
    let builder = TargetBuilder::new(settings(15.0), Simd::detect(), 3);
    let ends = [StepKind::TERMINATED; 3];
    assert_close(&solved(builder, [10.0, 20.0, -30.0], ends).0, &[1.0, 1.5, -1.5]);
    assert_close(&solved(target_builder(3), [10.0, 20.0, -30.0], ends).0, &[1.0, 2.0, -3.0]);
    let mut loss = LossSettings::default();
    assert_eq!(ReturnSettings::of(&loss).reward_clip, f32::INFINITY, "0 is no clip");
    loss.reward_clip = 1.0;
    assert_eq!(ReturnSettings::of(&loss).reward_clip, 1.0);
}

#[test]
fn a_truncated_row_bootstraps_from_its_final_observation() {
    let (vs, pg) = on_policy([StepKind::TRUNCATED, StepKind::RESET, StepKind::ORDINARY]);
    assert_close(&vs, &[1.0 + 0.5 * 200.0, 200.0, 203.0]);
    assert_close(&pg, &[101.0 - 100.0, 0.0, 203.0 - 300.0]);
}

#[test]
fn an_end_in_the_last_row_is_treated_alike() {
    let (vs, _) = on_policy([StepKind::ORDINARY, StepKind::ORDINARY, StepKind::TERMINATED]);
    assert_close(&vs[2..], &[3.0]);
    let (vs, _) = on_policy([StepKind::ORDINARY, StepKind::ORDINARY, StepKind::TRUNCATED]);
    assert_close(&vs[2..], &[203.0]);
}

#[test]
fn ratios_are_target_over_behaviour_of_the_taken_action() {
    let mut slot = RolloutBuffer::new(SHAPE);
    slot.view_mut().kinds.copy_from_slice(&[
        StepKind::ORDINARY,
        StepKind::ORDINARY,
        StepKind::RESET,
    ]);
    slot.view_mut().log_mu.copy_from_slice(&[0.5_f32, 0.2, 0.9].map(f32::ln));
    let log_pi = [0.25_f32, 0.8, 0.9].map(f32::ln);
    let seen = Seen { log_pi: &log_pi, entropies: &[0.0; 3], values: &[0.0; 4] };
    let mut builder = target_builder(3);
    let (_, stats) = builder.solve(&Batch::of(&slot.view()), &seen);
    assert_eq!((stats.n_learned, stats.n_clipped), (2, 1), "the reset row does not count");
    approx::assert_relative_eq!(stats.rho_min, 0.5, max_relative = 1e-5);
    approx::assert_relative_eq!(stats.rho_max, 4.0, max_relative = 1e-5);
    approx::assert_relative_eq!(stats.rho_sum, 4.5, max_relative = 1e-5);
    assert!(stats.kl_sum > 0.0);
}

fn config(batch_slots: usize) -> Config {
    let mut config = Config::default();
    config.actors.envs_per_actor = 5;
    config.actors.unroll_length = 30;
    config.loss.batch_slots = batch_slots;
    config
}

/// Rollouts of different actors.
fn rollouts(config: &Config, n: u64) -> Vec<RolloutBuffer> {
    let collect = |actor| {
        let mut slot = RolloutBuffer::new(Sizes::of(config).unwrap().rollout);
        Collector::new(config, actor, 0).unwrap().collect(&mut slot.view_mut()).unwrap();
        slot
    };
    (0..n).map(collect).collect()
}

fn grad_of(pass: &mut Pass, slots: &[RolloutBuffer], params: &[f32]) -> Vec<f32> {
    let mut grad = vec![0.0; params.len()];
    let mut clock = StageClock::start();
    for slots in slots.chunks(pass.n_slots()) {
        let views: Vec<_> = slots.iter().map(RolloutBuffer::view).collect();
        pass.learn(&views, params, &mut grad, &mut clock);
    }
    grad
}

/// What a network was asked to do.
#[derive(Default)]
struct Calls {
    names: Vec<&'static str>,
    /// Derivatives by the value of each step.
    d_values: Vec<f32>,
}

/// Gives every observation the sum of its numbers as value and all actions the same logit, as the behaviour
/// policy did, and writes down what it is asked.
struct Recorder {
    n_slots: usize,
    calls: Arc<Mutex<Calls>>,
}

impl Learning for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn slots_per_pass(&self, _batch_slots: usize) -> usize {
        self.n_slots
    }

    fn forward(&mut self, _: &[f32], frames: &Frames, mut outputs: ArrayViewMut2<f32>) {
        self.calls.lock().unwrap().names.push("forward");
        outputs.fill(0.0);
        let obs = frames.obs.numbers();
        outputs
            .row_mut(2)
            .iter_mut()
            .zip(obs.columns())
            .for_each(|(value, obs)| *value = obs.sum());
    }

    fn backward(&mut self, _: &[f32], _: &Frames, d_outputs: ArrayView2<f32>, _: &mut [f32]) {
        self.calls.lock().unwrap().names.push("backward");
        self.calls.lock().unwrap().d_values.extend(d_outputs.row(2));
    }
}

fn recorded(n_slots: usize, slots: &[RolloutBuffer]) -> Calls {
    let calls = Arc::new(Mutex::new(Calls::default()));
    let recorder = Recorder { n_slots, calls: calls.clone() };
    let mut pass = Pass::with_network(&config(4), Box::new(recorder)).unwrap();
    grad_of(&mut pass, slots, &[]);
    std::mem::take(&mut *calls.lock().unwrap())
}

#[test]
fn gathered_slots_learn_what_each_learns_alone() {
    let config = config(4);
    let slots = rollouts(&config, 4);
    let (alone, gathered) = (recorded(1, &slots).d_values, recorded(4, &slots).d_values);
    let (n_envs, n_steps) = (5, 30);
    for (slot, t) in (0..4).flat_map(|slot| (0..n_steps).map(move |t| (slot, t))) {
        let from = slot * n_steps * n_envs + t * n_envs;
        let to = (t * 4 + slot) * n_envs;
        assert_eq!(gathered[to..to + n_envs], alone[from..from + n_envs], "slot {slot}, step {t}");
    }
}

#[test]
fn every_stage_runs_once_a_pass() {
    let slots = rollouts(&config(4), 4);
    assert_eq!(recorded(4, &slots).names, ["forward", "backward"]);
    assert_eq!(recorded(2, &slots).names, ["forward", "backward", "forward", "backward"]);
}

#[test]
fn a_batch_of_many_slots_has_the_sum_of_their_gradients() {
    let slots = rollouts(&config(4), 4);
    let params = ParamLayout::new(&Sizes::of(&config(4)).unwrap().network).init(1);
    let together = grad_of(&mut Pass::new(&config(4)).unwrap(), &slots, &params);
    let mut sum = vec![0.0; params.len()];
    for slot in slots.chunks(1) {
        let alone = grad_of(&mut Pass::new(&config(1)).unwrap(), slot, &params);
        sum.iter_mut().zip(alone).for_each(|(sum, grad)| *sum += grad);
    }
    approx::assert_relative_eq!(together[..], sum[..], max_relative = 1e-3, epsilon = 1e-3);
}

/// Equal weights are equal probabilities only where the learner sees what the actor saw.
#[test]
fn the_learner_sees_the_stacks_that_the_actor_acted_upon() {
    let mut config = Config {
        env: "PixelCatch-v0".into(),
        frame_stack: 3,
        kernels: "portable".into(),
        ..config(2)
    };
    config.network.torso = TorsoKind::Mlp;
    config.network.hidden = vec![32];
    let sizes = Sizes::of(&config).unwrap();
    assert_eq!((sizes.rollout.obs.len, sizes.network.n_inputs), (24 * 24, 3 * 24 * 24));
    let params = ParamLayout::new(&sizes.network).init(3);
    let mut collector = Collector::new(&config, 0, 0).unwrap();
    // As they are, the weights would choose every action alike.
    let params: Vec<f32> = params.into_iter().map(|param| 8.0 * param).collect();
    collector.params_mut().copy_from_slice(&params);
    let mut pass = Pass::new(&config).unwrap();
    let mut grad = vec![0.0; params.len()];
    for _ in 0..3 {
        let mut slot = RolloutBuffer::new(sizes.rollout);
        collector.collect(&mut slot.view_mut()).unwrap();
        let mut clock = StageClock::start();
        let sums = pass.learn(&[slot.view()], &params, &mut grad, &mut clock).off_policy;
        approx::assert_relative_eq!(sums.rho_min, 1.0, max_relative = 1e-4);
        approx::assert_relative_eq!(sums.rho_max, 1.0, max_relative = 1e-4);
        assert!(slot.view().kinds.contains(&StepKind::RESET));
        assert!(
            slot.view().log_mu.iter().any(|log_mu| *log_mu < -1.5),
            "one was chosen against odds"
        );
    }
}

#[test]
fn the_laps_of_a_pass_leave_no_gap() {
    let config = config(1);
    let slots = rollouts(&config, 1);
    let params = ParamLayout::new(&Sizes::of(&config).unwrap().network).init(1);
    let mut pass = Pass::new(&config).unwrap();
    let mut grad = vec![0.0; params.len()];
    let before_ns = monotonic_ns();
    let mut clock = StageClock::start();
    let started_ns = clock.last_ns();
    for _ in 0..100 {
        pass.learn(&[slots[0].view()], &params, &mut grad, &mut clock);
    }
    let laps_ns = clock.take();
    assert_eq!(laps_ns.iter().sum::<u64>(), clock.last_ns() - started_ns);
    assert!(started_ns >= before_ns && clock.last_ns() <= monotonic_ns());
    for stage in [Stage::Batching, Stage::Forward, Stage::Vtrace, Stage::Backward] {
        assert!(laps_ns[stage as usize] > 0, "{stage:?} is timed");
    }
}

#[test]
fn gathering_keeps_every_number() {
    let config = config(2);
    let slots = rollouts(&config, 2);
    let shape = Sizes::of(&config).unwrap().rollout;
    let mut gather = Gather::new(&shape, 2);
    let views: Vec<_> = slots.iter().map(RolloutBuffer::view).collect();
    let gathered = gather.gather(&views);
    let batch = Batch::of(&gathered);
    assert_eq!((batch.frames.n_trajectories, batch.n_steps()), (10, 300));
    for (slot, view) in views.iter().enumerate() {
        let column = |n: usize| (n / 5 * 2 + slot) * 5 + n % 5;
        for n in 0..shape.n_observations() {
            assert_eq!(batch.frames.obs.frame(column(n)), view.obs.frame(n));
        }
        for n in 0..shape.n_frames() {
            let steps = (batch.rewards[column(n)], batch.frames.kinds[column(n)]);
            assert_eq!(steps, (view.rewards[n], view.kinds[n]));
            assert_eq!(batch.actions.index_row()[column(n)], view.actions.index_row()[n]);
            assert_eq!(batch.log_mu[column(n)], view.log_mu[n]);
        }
    }
}
