//! What an actor writes into a slot, checked from outside: the T+1 rule, whose logits belong to whose
//! observation, next-step autoreset, and that the loop allocates nothing.

#[path = "common/allocations.rs"]
mod allocations;

use allocations::allocations;
use impala::actor::collector::{Collector, NumberPlace};
use impala::actor::policy::Policy;
use impala::config::Config;
use impala::env::{ArgError, Env, NoArgs, Registry, Transition};
use impala::network::heads::Odds;
use impala::network::params::ParamLayout;
use impala::rollout::StepKind;
use impala::rollout::{Rollout, RolloutBuffer};
use impala::run::sizes::Sizes;
use impala::shm::Segment;
use impala::shm::layout::SegmentShape;
use impala::space::{ActionBuffer, ActionSpace, ObsSpace, Spec};

fn config() -> Config {
    let mut config = Config { seed: 5, ..Config::default() };
    config.actors.envs_per_actor = 6;
    config.actors.unroll_length = 40;
    config
}

/// A collector with the run's initial weights, and those weights.
fn collector(config: &Config) -> (Collector, Vec<f32>) {
    let params = ParamLayout::new(&Sizes::of(config).unwrap().network).init(config.seed);
    let mut collector = Collector::new(config, 0, 0).unwrap();
    collector.params_mut().copy_from_slice(&params);
    (collector, params)
}

/// Counts its steps; returns a bad observation in the third one and a bad reward in the fourth.
struct Failing {
    n_steps: usize,
}

impl Env for Failing {
    type Obs = [f32; 2];
    type Action = usize;
    type Args = NoArgs;
    const ID: &'static str = "Failing-v0";

    fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
        Ok(Spec {
            id: Self::ID.into(),
            obs: ObsSpace::bounded(&[[0.0, 1.0], [0.0, 1.0]]),
            actions: ActionSpace::Discrete(2),
            max_episode_steps: Some(1_000),
            reward_threshold: None,
        })
    }

    fn new(_: &NoArgs, _: u128) -> Self {
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
        Transition { reward, ..Transition::default() }
    }
}

/// A collector of two environments for two steps at a time.
fn failing() -> (Collector, RolloutBuffer) {
    let environments = Registry::default().with::<Failing>();
    let mut config = Config { environments, env: Failing::ID.into(), ..config() };
    config.actors.envs_per_actor = 2;
    config.actors.unroll_length = 2;
    let slot = RolloutBuffer::new(Sizes::of(&config).unwrap().rollout);
    (Collector::new(&config, 0, 0).unwrap(), slot)
}

#[test]
fn a_bad_number_is_named_and_its_environment_begins_anew() {
    let (mut collector, mut slot) = failing();
    let mut bad_numbers = Vec::new();
    for _ in 0..4 {
        collector.collect(&mut slot.view_mut()).unwrap();
        bad_numbers.push(collector.mend(&slot.view_mut()).unwrap());
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
    collector.collect(&mut slot.view_mut()).unwrap();
    let first = slot.view().obs.frames(0..2).numbers();
    assert_eq!(first, ndarray::array![[-1.0, -1.0], [-0.5, -0.5]]);
}

#[test]
fn one_bad_number_anywhere_in_a_rollout_is_found() {
    let config = config();
    let (mut collector, _) = collector(&config);
    let mut slot = RolloutBuffer::new(Sizes::of(&config).unwrap().rollout);
    let places = [(0, 0), (3, 17), (1, 40 * 6 + 5)].map(|place| (Some(place), 0));
    let rewards = [0, 6, 40 * 6 - 1].map(|n| (None, n));
    for (obs, reward) in places.into_iter().chain(rewards) {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut rollout = slot.view_mut();
            collector.collect(&mut rollout).unwrap();
            assert_eq!(collector.mend(&rollout).unwrap(), None);
            match obs {
                Some(place) => rollout.obs.numbers()[place] = bad,
                None => rollout.rewards[reward] = bad,
            }
            let found = collector.mend(&rollout).unwrap().unwrap();
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
    let mut slots = [0; 3].map(|_| RolloutBuffer::new(Sizes::of(&config).unwrap().rollout));
    for slot in &mut slots {
        collector.collect(&mut slot.view_mut()).unwrap();
    }
    for pair in slots.windows(2) {
        let (before, after) = (pair[0].view().obs, pair[1].view().obs);
        let last = before.frames(40 * 6..41 * 6).numbers();
        assert_eq!(last, after.frames(0..6).numbers());
        assert_ne!(last, after.frames(6..12).numbers(), "observations move on");
    }
}

/// A policy with these weights for as many environments.
fn policy(config: &Config, params: &[f32], n_envs: usize) -> Policy {
    let Sizes { spec, network, .. } = Sizes::of(config).unwrap();
    let mut policy =
        Policy::new(0, &network, &spec.actions, config.arithmetic().unwrap(), n_envs, 0);
    policy.params_mut().copy_from_slice(params);
    policy
}

#[test]
fn log_mu_is_of_the_action_taken_at_the_observation_of_its_own_step() {
    let config = config();
    let (mut collector, params) = collector(&config);
    let mut slot = RolloutBuffer::new(Sizes::of(&config).unwrap().rollout);
    collector.collect(&mut slot.view_mut()).unwrap();
    let mut policy = policy(&config, &params, 6);
    let mut drawn = ActionBuffer::zeros(&ActionSpace::Discrete(2), 6);
    let rollout = slot.view();
    for t in 0..40 {
        let step = t * 6..(t + 1) * 6;
        let obs = rollout.obs.frames(step.clone());
        policy.sample(obs, drawn.view_mut(), &mut [0.0; 6]);
        for (env, n) in step.enumerate() {
            let taken = rollout.actions.index_row()[n] as usize;
            let odds = policy.odds(env);
            let [Odds::Indices(probs)] = &odds[..] else { panic!("{odds:?}") };
            assert_eq!(rollout.log_mu[n].exp(), probs[taken], "step {t}, environment {env}");
        }
    }
}

#[test]
fn actions_are_drawn_from_the_recorded_policy() {
    let mut config = config();
    config.actors.envs_per_actor = 64;
    config.actors.unroll_length = 500;
    let (mut collector, _) = collector(&config);
    let mut slot = RolloutBuffer::new(Sizes::of(&config).unwrap().rollout);
    collector.collect(&mut slot.view_mut()).unwrap();
    let rollout = slot.view();
    let actions = rollout.actions.index_row();
    let n = actions.len() as f64;
    // Of action 1: what was recorded where it was taken, and what is left of 1 where 0 was.
    let of_one = |(log_mu, action): (&f32, &i32)| {
        let taken = f64::from(log_mu.exp());
        if *action == 1 { taken } else { 1.0 - taken }
    };
    let expected: f64 = rollout.log_mu.iter().zip(actions).map(of_one).sum();
    let drawn = actions.iter().filter(|action| **action == 1).count() as f64;
    // Six standard deviations of a sum of n Bernoulli draws, each at most 1/2.
    assert!((drawn - expected).abs() < 3.0 * n.sqrt(), "{drawn} of {n}, expected {expected}");
    assert!(actions.iter().all(|action| [0, 1].contains(action)));
}

#[test]
fn every_end_is_followed_by_one_reset_row_and_logged_once() {
    let config = config();
    let (mut collector, _) = collector(&config);
    let mut slot = RolloutBuffer::new(Sizes::of(&config).unwrap().rollout);
    let mut n_ended = 0;
    for _ in 0..20 {
        collector.collect(&mut slot.view_mut()).unwrap();
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
        let mut slot = RolloutBuffer::new(Sizes::of(&config).unwrap().rollout);
        collector.collect(&mut slot.view_mut()).unwrap();
        slot.view().obs.numbers().to_owned()
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
        rollout: Sizes::of(&config).unwrap().rollout,
    })
    .unwrap();
    let (mut writer, mut reader) = (segment.weights_writer().unwrap(), segment.weights_reader());
    let (mut producer, mut consumer) =
        (segment.producer(0, 0).unwrap(), segment.consumer(0).unwrap());
    let before = allocations();
    for version in 0..50 {
        writer.publish(version, &params);
        let mut slot = producer.try_claim().unwrap();
        assert_eq!(reader.read_if_newer(collector.params_mut()), Ok(Some(version)));
        collector.collect(&mut slot.rollout()).unwrap();
        slot.publish(version);
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
        let mut slot = RolloutBuffer::new(Sizes::of(&config).unwrap().rollout);
        let before = allocations();
        for _ in 0..50 {
            collector.collect(&mut slot.view_mut()).unwrap();
        }
        assert_eq!(allocations() - before, 0, "{kernels}");
    }
}
