//! What a network remembers on its way: from step to step and rollout to rollout in the actor, through the slot, and
//! again in the learner, which must see what the actor saw.

#[path = "common/allocations.rs"]
mod allocations;

use allocations::allocations;
use impala::actor::collector::Collector;
use impala::actor::policy::Policy;
use impala::base::stages::StageClock;
use impala::config::{Config, Layers};
use impala::env::{ArgError, Env, NoArgs, Registry, Transition};
use impala::learner::pass::Pass;
use impala::learner::targets::OffPolicyStats;
use impala::network::Arithmetic;
use impala::network::params::ParamLayout;
use impala::rollout::{RolloutBuffer, StepKind};
use impala::run::sizes::Sizes;
use impala::space::{ActionBuffer, ActionSpace, ObsBuffer, ObsSpace, Spec};

/// The settings of these assignments, with an LSTM that is told the last action and reward.
fn config(assignments: &[&str]) -> Config {
    let memory = ["network.lstm=24", "network.lstm_inputs=last_step", "actors.envs_per_actor=6"];
    let assignments = memory.iter().chain(assignments).map(|text| text.to_string());
    let assignments: Vec<String> = assignments.collect();
    let config = Layers { assignments: &assignments, ..Layers::default() }.resolve().unwrap();
    config.check().unwrap();
    config
}

/// Weights from which memory has something to say: larger than initial ones.
fn params(config: &Config) -> Vec<f32> {
    let layout = ParamLayout::new(&Sizes::of(config).unwrap().network);
    layout.init(config.seed).iter().map(|value| 3.0 * value).collect()
}

fn collector(config: &Config) -> Collector {
    let mut collector = Collector::new(config, 0, 0).unwrap();
    collector.params_mut().copy_from_slice(&params(config));
    collector
}

/// Rollouts that follow one another.
fn collected(config: &Config, n_rollouts: usize) -> Vec<RolloutBuffer> {
    let mut collector = collector(config);
    let mut rollout = || {
        let mut slot = RolloutBuffer::new(Sizes::of(config).unwrap().rollout);
        collector.collect(&mut slot.view_mut()).unwrap();
        slot
    };
    (0..n_rollouts).map(|_| rollout()).collect()
}

/// How the learner's policy of the same weights differs from the one that acted.
fn off_policy(config: &Config, slots: &[RolloutBuffer]) -> OffPolicyStats {
    let (mut pass, params) = (Pass::new(config).unwrap(), params(config));
    let mut all = OffPolicyStats::default();
    for slots in slots.chunks(pass.n_slots()) {
        let views: Vec<_> = slots.iter().map(RolloutBuffer::view).collect();
        let grad = &mut vec![0.0; params.len()];
        all.merge(&pass.learn(&views, &params, grad, &mut StageClock::start()).off_policy);
    }
    all
}

/// Of one index, of an observation that hides half; of numbers; of short episodes.
const TASKS: [&[&str]; 3] = [
    &["env=CartPole-v1", "env_args.hide_velocities=true"],
    &["env=Pendulum-v1", "actors.unroll_length=90"],
    &["env=TMaze-v0", "env_args.length=2"],
];

#[test]
fn the_learner_sees_what_the_actor_saw() {
    for task in TASKS {
        let config = config(task);
        let slots = collected(&config, 5);
        let resets = |slot: &RolloutBuffer| slot.view().kinds.contains(&StepKind::RESET);
        assert!(slots.iter().filter(|slot| resets(slot)).count() > 1, "{task:?}: episodes end");
        let OffPolicyStats { n_learned, rho_min, rho_max, .. } = off_policy(&config, &slots);
        assert!(n_learned > 500, "{task:?}");
        assert!(rho_min > 1.0 - 1e-4 && rho_max < 1.0 + 1e-4, "{task:?}: {rho_min} to {rho_max}");
    }
}

/// Each part of what the slot says of the memory matters to the test above.
#[test]
fn whoever_forgets_sees_something_else() {
    let config = config(TASKS[0]);
    for rows in [0..24, 24..48, 48..51] {
        let mut slots = collected(&config, 5);
        for slot in &mut slots {
            let mut state = slot.view_mut().state;
            rows.clone().for_each(|row| state.row_mut(row).fill(0.0));
        }
        let OffPolicyStats { rho_min, rho_max, .. } = off_policy(&config, &slots);
        assert!(rho_max - rho_min > 1e-2, "{rows:?}: {rho_min} to {rho_max}");
    }
    let mut slots = collected(&config, 5);
    for slot in &mut slots {
        let kinds = slot.view_mut().kinds;
        kinds.iter_mut().filter(|kind| **kind == StepKind::RESET).for_each(|kind| {
            *kind = StepKind::ORDINARY;
        });
    }
    let OffPolicyStats { rho_min, rho_max, .. } = off_policy(&config, &slots);
    assert!(rho_max - rho_min > 1e-2, "resets: {rho_min} to {rho_max}");
}

#[test]
fn a_slot_without_memory_has_no_bytes_for_it() {
    let rollout = |units| Sizes::of(&config_of(units)).unwrap().rollout;
    assert_eq!((rollout(0).n_state, rollout(64).n_state), (0, 128));
    let slot = RolloutBuffer::new(rollout(0));
    assert_eq!(slot.view().state.len(), 0);
}

fn config_of(units: usize) -> Config {
    let mut config = Config::default();
    config.network.lstm = units;
    config
}

#[test]
fn memory_begins_empty_and_goes_on_into_the_next_rollout() {
    let slots = collected(&config(TASKS[0]), 2);
    assert!(slots[0].view().state.iter().all(|number| *number == 0.0));
    assert!(slots[1].view().state.iter().any(|number| *number != 0.0));
}

#[test]
fn collecting_with_memory_allocates_nothing() {
    for task in TASKS {
        let config = config(task);
        let mut collector = collector(&config);
        let mut slot = RolloutBuffer::new(Sizes::of(&config).unwrap().rollout);
        let before = allocations();
        (0..20).for_each(|_| _ = collector.collect(&mut slot.view_mut()).unwrap());
        assert_eq!(allocations() - before, 0, "{task:?}");
    }
}

/// The second of two environments returns a bad observation in its third step.
struct Failing {
    seed: u128,
    n_steps: usize,
}

impl Env for Failing {
    type Obs = [f32; 1];
    type Action = usize;
    type Args = NoArgs;
    const ID: &'static str = "Failing-v0";

    fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
        Ok(Spec {
            id: Self::ID.into(),
            obs: ObsSpace::vector(1),
            actions: ActionSpace::Discrete(2),
            max_episode_steps: None,
            reward_threshold: None,
        })
    }

    fn new(_: &NoArgs, seed: u128) -> Self {
        Failing { seed, n_steps: 0 }
    }

    fn reset(&mut self, obs: &mut [f32; 1]) {
        *obs = [0.5];
    }

    fn step(&mut self, _: usize, obs: &mut [f32; 1]) -> Transition {
        self.n_steps += 1;
        let is_bad = self.n_steps == 3 && self.seed.is_multiple_of(2);
        *obs = [if is_bad { f32::NAN } else { 0.5 }];
        Transition { reward: 1.0, ..Transition::default() }
    }
}

#[test]
fn an_environment_that_is_mended_is_forgotten() {
    let environments = Registry::default().with::<Failing>();
    let mut config = Config { environments, env: Failing::ID.into(), ..config_of(8) };
    config.actors.envs_per_actor = 2;
    config.actors.unroll_length = 5;
    let mut collector = collector(&config);
    let mut slot = RolloutBuffer::new(Sizes::of(&config).unwrap().rollout);
    collector.collect(&mut slot.view_mut()).unwrap();
    let bad = collector.mend(&slot.view_mut()).unwrap().expect("one returned NaN").env;
    collector.collect(&mut slot.view_mut()).unwrap();
    assert_eq!(collector.mend(&slot.view_mut()).unwrap(), None);
    let state = slot.view().state.to_owned();
    assert!(state.column(bad).iter().all(|number| *number == 0.0), "{state}");
    assert!(state.column(1 - bad).iter().all(|number| number.is_finite() && *number != 0.0));
}

/// Else one bad version of the weights would spoil every episode that it acted in.
#[test]
fn what_is_no_number_is_not_remembered() {
    let Sizes { spec, network, rollout, .. } = Sizes::of(&config_of(8)).unwrap();
    let arithmetic = Arithmetic::with(impala::kernels::Simd::detect());
    let mut policy = Policy::new(0, &network, &spec.actions, arithmetic, 3, 0);
    let (obs, mut actions) =
        (ObsBuffer::zeros(&spec.obs, 3), ActionBuffer::zeros(&spec.actions, 3));
    policy.params_mut().fill(f32::NAN);
    policy.greedy(obs.view(), actions.view_mut());
    policy.params_mut().copy_from_slice(&ParamLayout::new(&network).init(1));
    let mut state = ndarray::Array2::from_elem((rollout.n_state, 3), 7.0);
    policy.recall(state.view_mut());
    assert_eq!(state, ndarray::Array2::<f32>::zeros((16, 3)));
    policy.greedy(obs.view(), actions.view_mut());
    policy.recall(state.view_mut());
    assert!(state.iter().all(|number| number.is_finite() && *number != 0.0));
}
