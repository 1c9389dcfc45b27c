//! What an actor writes into a slot, checked from outside: the T+1 rule, whose logits belong to whose
//! observation, next-step autoreset, and that the loop allocates nothing.

#[path = "common/allocations.rs"]
mod allocations;

use allocations::allocations;
use impala::collector::Collector;
use impala::config::Config;
use impala::env::StepKind;
use impala::params::ParamLayout;
use impala::policy::Policy;
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
        assert_eq!(reader.read_if_newer(collector.params_mut()), Some(version));
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
