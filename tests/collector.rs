//! What an actor writes into a slot, checked from outside: the T+1 rule, whose logits belong to whose
//! observation, next-step autoreset, and that the loop allocates nothing.

#[path = "common/allocations.rs"]
mod allocations;

use allocations::allocations;
use impala::actor::collector::{Collector, NumberPlace};
use impala::actor::policy::Policy;
use impala::config::Config;
use impala::env::{Env, EnvSpec, NumpyRng, Registry, Transition};
use impala::network::params::ParamLayout;
use impala::rollout::StepKind;
use impala::rollout::{Rollout, RolloutBuffer};
use impala::shm::Segment;
use impala::shm::layout::SegmentShape;
use ndarray::{Array2, s};

fn config() -> Config {
    let mut config = Config { seed: 5, ..Config::default() };
    config.actors.envs_per_actor = 6;
    config.actors.unroll_length = 40;
    config
}

/// A collector with the run's initial weights, and those weights.
fn collector(config: &Config) -> (Collector, Vec<f32>) {
    let params = ParamLayout::new(&config.network_shape().unwrap()).init(config.seed);
    let mut collector = Collector::new(config, 0, 0).unwrap();
    collector.params_mut().copy_from_slice(&params);
    (collector, params)
}

/// Counts its steps; returns a bad observation in the third one and a bad reward in the fourth.
struct Failing {
    n_steps: usize,
}

impl Env<2> for Failing {
    const SPEC: EnvSpec = EnvSpec {
        id: "Failing-v0",
        obs_dim: 2,
        n_actions: 2,
        max_episode_steps: 1_000,
        reward_threshold: 0.0,
        obs_bounds: Some(&[[0.0, 1.0], [0.0, 1.0]]),
    };

    fn new(_: NumpyRng) -> Self {
        Failing { n_steps: 0 }
    }

    fn reset(&mut self, obs: &mut [f32; 2]) {
        self.n_steps = 0;
        *obs = [0.0, 0.25];
    }

    fn step(&mut self, _: usize, obs: &mut [f32; 2]) -> Transition {
        self.n_steps += 1;
        *obs = [self.n_steps as f32, if self.n_steps == 3 { f32::NAN } else { 0.5 }];
        let reward = if self.n_steps == 4 { f32::NEG_INFINITY } else { 1.0 };
        Transition { reward, terminated: false }
    }
}

/// A collector of two environments for two steps at a time.
fn failing() -> (Collector, RolloutBuffer) {
    let environments = Registry::default().with::<Failing, _>();
    let mut config = Config { environments, env: Failing::SPEC.id.into(), ..config() };
    config.actors.envs_per_actor = 2;
    config.actors.unroll_length = 2;
    let slot = RolloutBuffer::new(config.rollout_shape().unwrap());
    (Collector::new(&config, 0, 0).unwrap(), slot)
}

#[test]
fn a_bad_number_is_named_and_its_environment_begins_anew() {
    let (mut collector, mut slot) = failing();
    let mut bad_numbers = Vec::new();
    for _ in 0..4 {
        collector.collect(&mut slot.view_mut());
        bad_numbers.push(collector.mend(&slot.view_mut()));
    }
    // Steps 1 and 2 are sound, step 3 is not; reset after step 4, steps 5 and 6 are sound, step 7 is not.
    assert_eq!((bad_numbers[0], bad_numbers[2]), (None, None));
    for (bad, step) in [(bad_numbers[1], 3), (bad_numbers[3], 7)] {
        let bad = bad.unwrap();
        assert_eq!((bad.env, bad.step, bad.place), (0, step, NumberPlace::Observation(1)));
        let said = format!("environment 0 (seed {}) returned NaN as number 1", bad.seed);
        assert_eq!(bad.to_string(), format!("{said} of its observation at its step {step}"));
    }
    // Its first observation after the reset is what the next rollout begins with, as the network takes it.
    collector.collect(&mut slot.view_mut());
    assert_eq!(slot.view().obs.slice(s![.., ..2]), ndarray::array![[-1.0, -1.0], [-0.5, -0.5]]);
}

#[test]
fn one_bad_number_anywhere_in_a_rollout_is_found() {
    let config = config();
    let (mut collector, _) = collector(&config);
    let mut slot = RolloutBuffer::new(config.rollout_shape().unwrap());
    let places = [(0, 0), (3, 17), (1, 40 * 6 + 5)].map(|place| (Some(place), 0));
    let rewards = [0, 6, 40 * 6 - 1].map(|n| (None, n));
    for (obs, reward) in places.into_iter().chain(rewards) {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut rollout = slot.view_mut();
            collector.collect(&mut rollout);
            assert_eq!(collector.mend(&rollout), None);
            match obs {
                Some(place) => rollout.obs[place] = bad,
                None => rollout.rewards[reward] = bad,
            }
            let found = collector.mend(&rollout).unwrap();
            let column = obs.map_or(reward, |(_, column)| column);
            let place = obs.map_or(NumberPlace::Reward, |(d, _)| NumberPlace::Observation(d));
            assert_eq!((found.env, found.place), (column % 6, place));
            assert_eq!(found.value.to_bits(), bad.to_bits());
        }
    }
}

fn kinds_of_env<'a>(rollout: &'a Rollout, env: usize, n_envs: usize) -> Vec<&'a StepKind> {
    rollout.kinds.iter().skip(env).step_by(n_envs).collect()
}

#[test]
fn the_last_observation_of_a_rollout_is_the_first_of_the_next() {
    let config = config();
    let (mut collector, _) = collector(&config);
    let mut slots = [0; 3].map(|_| RolloutBuffer::new(config.rollout_shape().unwrap()));
    for slot in &mut slots {
        collector.collect(&mut slot.view_mut());
    }
    for pair in slots.windows(2) {
        let (before, after) = (pair[0].view().obs, pair[1].view().obs);
        let last = before.slice(s![.., 40 * 6..]);
        assert_eq!(last, after.slice(s![.., ..6]));
        assert_ne!(last, after.slice(s![.., 6..12]), "observations move on");
    }
}

#[test]
fn behaviour_log_probs_belong_to_the_observation_of_their_own_step() {
    let config = config();
    let (mut collector, params) = collector(&config);
    let mut slot = RolloutBuffer::new(config.rollout_shape().unwrap());
    collector.collect(&mut slot.view_mut());
    let mut policy = Policy::new(&config.network_shape().unwrap(), config.simd().unwrap(), 6, 0);
    policy.params_mut().copy_from_slice(&params);
    let (mut log_probs, mut actions) = (Array2::zeros((2, 6)), [0; 6]);
    let rollout = slot.view();
    for t in 0..40 {
        let step = s![.., t * 6..(t + 1) * 6];
        policy.sample(rollout.obs.slice(step), log_probs.view_mut(), &mut actions);
        assert_eq!(log_probs, rollout.behaviour_log_probs.slice(step), "step {t}");
    }
}

#[test]
fn actions_are_drawn_from_the_recorded_policy() {
    let mut config = config();
    config.actors.envs_per_actor = 64;
    config.actors.unroll_length = 500;
    let (mut collector, _) = collector(&config);
    let mut slot = RolloutBuffer::new(config.rollout_shape().unwrap());
    collector.collect(&mut slot.view_mut());
    let rollout = slot.view();
    let n = rollout.actions.len() as f64;
    let expected: f64 =
        rollout.behaviour_log_probs.row(1).iter().map(|lp| f64::from(lp.exp())).sum();
    let drawn = rollout.actions.iter().filter(|action| **action == 1).count() as f64;
    // Six standard deviations of a sum of n Bernoulli draws, each at most 1/2.
    assert!((drawn - expected).abs() < 3.0 * n.sqrt(), "{drawn} of {n}, expected {expected}");
    assert!(rollout.actions.iter().all(|action| [0, 1].contains(action)));
}

#[test]
fn every_end_is_followed_by_one_reset_row_and_logged_once() {
    let config = config();
    let (mut collector, _) = collector(&config);
    let mut slot = RolloutBuffer::new(config.rollout_shape().unwrap());
    let mut n_ended = 0;
    for _ in 0..20 {
        collector.collect(&mut slot.view_mut());
        let rollout = slot.view();
        for env in 0..6 {
            for pair in kinds_of_env(&rollout, env, 6).windows(2) {
                assert_eq!(pair[0].ends_episode(), *pair[1] == StepKind::RESET);
            }
        }
        let ends = rollout.kinds.iter().filter(|kind| kind.ends_episode()).count();
        assert_eq!(rollout.episodes().count(), ends);
        assert!(rollout.episodes().all(|(score, length)| score == length as f32 && length > 5));
        n_ended += ends;
    }
    assert!(n_ended > 50, "an untrained policy falls often");
}

#[test]
fn the_same_seed_collects_the_same_and_another_generation_something_else() {
    let config = config();
    let collected = |generation| {
        let (_, params) = collector(&config);
        let mut collector = Collector::new(&config, 0, generation).unwrap();
        collector.params_mut().copy_from_slice(&params);
        let mut slot = RolloutBuffer::new(config.rollout_shape().unwrap());
        collector.collect(&mut slot.view_mut());
        slot.view().obs.to_owned()
    };
    assert_eq!(collected(0), collected(0));
    assert_ne!(collected(0), collected(1));
}

#[test]
fn a_whole_rollout_from_claim_to_publish_allocates_nothing() {
    let config = config();
    let (mut collector, params) = collector(&config);
    let segment = Segment::heap(&SegmentShape {
        n_actors: 1,
        slots_per_actor: 2,
        n_params: params.len(),
        n_moments: 1,
        rollout: config.rollout_shape().unwrap(),
    })
    .unwrap();
    let (mut writer, mut reader) = (segment.weights_writer().unwrap(), segment.weights_reader());
    let (mut producer, mut consumer) =
        (segment.producer(0, 0).unwrap(), segment.consumer(0).unwrap());
    let before = allocations();
    for version in 0..50 {
        writer.publish(version, &params);
        let mut rollout = producer.try_claim().unwrap();
        assert_eq!(reader.read_if_newer(collector.params_mut()), Ok(Some(version)));
        collector.collect(&mut rollout);
        producer.publish(version);
        let slot = consumer.try_take().unwrap();
        assert_eq!(slot.rollout().header.policy_version, version);
        consumer.release(slot);
    }
    assert_eq!(allocations() - before, 0);
}

#[test]
fn collecting_allocates_nothing_with_any_kernel() {
    for kernels in ["portable", "avx2", "avx512"] {
        let config = Config { kernels: kernels.into(), ..config() };
        if config.simd().is_err() {
            println!("SKIPPED: this processor has no {kernels}");
            continue;
        }
        let (mut collector, _) = collector(&config);
        let mut slot = RolloutBuffer::new(config.rollout_shape().unwrap());
        let before = allocations();
        for _ in 0..50 {
            collector.collect(&mut slot.view_mut());
        }
        assert_eq!(allocations() - before, 0, "{kernels}");
    }
}
