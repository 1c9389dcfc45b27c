//! The learner's gradients against finite differences, in f64: through the loss, the head and the network.

#[path = "common/plain_kernels.rs"]
mod plain_kernels;
#[path = "common/random_actions.rs"]
mod random_actions;
#[path = "common/random_batch.rs"]
mod random_batch;
#[path = "common/uniform.rs"]
mod uniform;

use impala::kernels::{Kernels, Simd};
use impala::learner::losses::{ActorCritic, LossCosts, Losses, Targets};
use impala::network::heads::{Head, Seen};
use impala::network::native;
use impala::network::params::ParamLayout;
use impala::network::{Learning, NetworkSpec, Torso};
use impala::rollout::{Frames, StepKind};
use impala::space::{ActionSpace, Actions, Obs, ObsSpace, Spec};
use ndarray::{Array2, NdFloat};
use plain_kernels::Plain;
use random_batch::{RandomBatch, RandomObs};
use uniform::Uniform;

const COSTS: LossCosts<f64> =
    LossCosts { baseline_cost: 0.5, entropy_cost: 0.01, clip: f64::INFINITY, floor: 0.0 };

/// The same with PPO's clip: of random ratios between 1/e and e about a half are beyond it.
const CLIPPED: LossCosts<f64> = LossCosts { clip: 0.2, ..COSTS };

/// The same with a floor that is as large as the probabilities themselves.
const LIFTED: LossCosts<f64> = LossCosts { floor: 0.3, ..COSTS };

/// Networks, and the actions that they are for.
fn networks() -> [(NetworkSpec, ActionSpace); 18] {
    let minatar = |shape, actions| of(ObsSpace::Image { shape, high: 1 }, Torso::Minatar, actions);
    let mlp = |n_inputs, hidden: &[usize], actions| {
        of(ObsSpace::vector(n_inputs), Torso::Mlp { hidden: hidden.to_vec() }, actions)
    };
    let lstm = |units, n_last_step, (spec, actions): (NetworkSpec, ActionSpace)| {
        (spec.with_lstm(units, n_last_step), actions)
    };
    let tasks = |n_values, (spec, actions): (NetworkSpec, ActionSpace)| {
        (NetworkSpec { n_values, ..spec }, actions)
    };
    let (discrete, several) = (ActionSpace::Discrete, ActionSpace::MultiDiscrete);
    [
        mlp(4, &[8, 6], discrete(2)),
        mlp(3, &[5], discrete(4)),
        mlp(1, &[7, 3, 9], discrete(3)),
        mlp(3, &[5], several(vec![3, 2, 4])),
        mlp(3, &[5], real(1)),
        mlp(4, &[8, 6], real(3)),
        minatar([1, 3, 6], discrete(2)),
        minatar([1, 3, 6], real(2)),
        minatar([2, 4, 5], several(vec![2, 2])),
        lstm(5, 0, mlp(3, &[6], discrete(2))),
        lstm(4, 3, mlp(2, &[5, 7], discrete(3))),
        lstm(1, 2, mlp(1, &[2], real(2))),
        lstm(3, 0, mlp(3, &[4], several(vec![3, 2]))),
        tasks(3, mlp(3, &[5, 4], discrete(2))),
        tasks(2, minatar([2, 4, 5], discrete(3))),
        tasks(3, lstm(4, 3, mlp(2, &[5], discrete(3)))),
        tasks(2, mlp(3, &[5], real(2))),
        minatar([1, 3, 20], discrete(2)),
    ]
}

/// K numbers.
fn real(n_numbers: usize) -> ActionSpace {
    ActionSpace::Box { low: vec![-1.0; n_numbers], high: vec![1.0; n_numbers] }
}

fn of(obs: ObsSpace, torso: Torso, actions: ActionSpace) -> (NetworkSpec, ActionSpace) {
    let (max_episode_steps, reward_threshold) = (None, None);
    let spec = Spec { id: "X-v0".into(), obs, actions, max_episode_steps, reward_threshold };
    (NetworkSpec::of(&spec, torso), spec.actions)
}

/// A network with its head and its loss, as a pass of the learner has them.
struct Stack<K, R> {
    network: Box<dyn Learning<R>>,
    head: Head<K, R>,
    loss: ActorCritic<R>,
    outputs: Array2<R>,
    d_outputs: Array2<R>,
}

impl<K: Kernels<R> + 'static, R: NdFloat + Send> Stack<K, R> {
    fn new(
        (spec, actions): (&NetworkSpec, &ActionSpace),
        kernels: K,
        random: &RandomBatch,
    ) -> Self {
        let (n_steps, n_observations) = (random.n_steps(), random.obs.n_frames());
        Stack {
            network: native::learning(spec, kernels, n_observations),
            head: Head::new(actions, kernels, n_steps),
            loss: ActorCritic::new(n_steps),
            outputs: Array2::zeros((spec.n_outputs(), n_observations)),
            d_outputs: Array2::zeros((spec.n_outputs(), n_steps)),
        }
    }

    fn learn(
        &mut self,
        params: &[R],
        (frames, actions): (&Frames<R>, Actions),
        (targets, costs): (&Targets<R>, &LossCosts<R>),
        grad: &mut [R],
    ) -> Losses {
        self.network.forward(params, frames, self.outputs.view_mut());
        let seen = self.head.evaluate(self.outputs.view(), actions, frames.tasks);
        let (losses, slopes) = self.loss.differentiate(&seen, targets, costs);
        self.head.chain(actions, frames.tasks, &slopes, self.d_outputs.view_mut());
        self.network.backward(params, frames, self.d_outputs.view(), grad);
        losses
    }
}

/// A stack in f64 with its parameters and a random batch.
struct Problem {
    stack: Stack<Plain, f64>,
    params: Vec<f64>,
    random: RandomBatch,
    costs: LossCosts<f64>,
}

impl Problem {
    fn new((spec, actions): &(NetworkSpec, ActionSpace), seed: u64) -> Self {
        let random = RandomBatch::new((spec, actions), [5, 7], seed);
        let n_params = ParamLayout::new(spec).len();
        Problem {
            stack: Stack::new((spec, actions), Plain, &random),
            params: Uniform::seeded(seed + 100).vec(n_params, 0.7),
            random,
            costs: COSTS,
        }
    }

    fn learn(&mut self, grad: &mut [f64]) -> Losses {
        let seen = (&self.random.frames(), self.random.actions());
        self.stack.learn(&self.params, seen, (&self.random.targets(), &self.costs), grad)
    }

    fn loss(&mut self) -> f64 {
        let mut ignored = vec![0.0; self.params.len()];
        self.learn(&mut ignored).total(&self.costs)
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for (seed, spec) in networks().iter().enumerate() {
        // The loss knows no network: all of it once behind the small ones is enough.
        let is_small = matches!(spec.0.torso, Torso::Mlp { .. });
        let losses = if is_small { &[COSTS, CLIPPED, LIFTED][..] } else { &[CLIPPED] };
        for &costs in losses {
            let mut problem = Problem::new(spec, seed as u64);
            problem.costs = costs;
            assert_is_that_of_finite_differences(&mut problem, &spec.0.torso);
        }
    }
}

fn assert_is_that_of_finite_differences(problem: &mut Problem, torso: &Torso) {
    let mut grad = vec![0.0; problem.params.len()];
    problem.learn(&mut grad);
    let is_smooth = matches!(torso, Torso::Mlp { .. });
    // Of the large network a part, spread over all of it.
    let stride = if is_smooth { 1 } else { (grad.len() / 400).max(1) };
    for (k, &analytic) in grad.iter().enumerate().step_by(stride) {
        // So small that no sum crosses the kink of a ReLU on the way.
        let (step, allowed) = if is_smooth { (1e-5, 1e-7) } else { (1e-6, 1e-6) };
        let centre = problem.params[k];
        problem.params[k] = centre + step;
        let above = problem.loss();
        problem.params[k] = centre - step;
        let below = problem.loss();
        problem.params[k] = centre;
        let numeric = (above - below) / (2.0 * step);
        let tolerance = allowed * (1.0 + numeric.abs());
        assert!((analytic - numeric).abs() < tolerance, "{k}: {analytic} is not {numeric}");
    }
}

/// Derivatives by log π(a|x) of steps with these advantages and ratios, at ε = 0.2, and how many are clipped.
fn by_log_pi(advantages: &[f64], rhos: &[f64]) -> (Vec<f64>, f64) {
    let n = rhos.len();
    let [zeros, weights, log_pi] = [0.0, 1.0, -0.7].map(|value| vec![value; n]);
    let seen = Seen { log_pi: &log_pi, entropies: &zeros, values: &zeros };
    let targets = Targets { vs: &zeros, rhos, pg_advantages: advantages, weights: &weights };
    let mut loss = ActorCritic::new(n);
    let (losses, slopes) = loss.differentiate(&seen, &targets, &CLIPPED);
    (slopes.log_pi.to_vec(), losses.clipped)
}

/// PPO's clip by its definition (equation 7): no derivative where min(rA, clip(r)A) is flat in r.
#[test]
fn the_clip_stops_what_drives_a_ratio_further_and_nothing_that_drives_it_back() {
    let ratios = [0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 3.0];
    let (up, n_up) = by_log_pi(&[2.0; 7], &ratios);
    assert_eq!((up, n_up), (vec![-2.0, -2.0, -2.0, -2.0, -2.0, 0.0, 0.0], 2.0));
    let (down, n_down) = by_log_pi(&[-2.0; 7], &ratios);
    assert_eq!((down, n_down), (vec![0.0, 0.0, 2.0, 2.0, 2.0, 2.0, 2.0], 2.0));
    // Masked rows have no advantage and are not clipped.
    assert_eq!(by_log_pi(&[0.0; 7], &ratios), (vec![0.0; 7], 0.0));
    let surrogate =
        |ratio: f64, advantage: f64| (ratio * advantage).min(ratio.clamp(0.8, 1.2) * advantage);
    for (&ratio, advantage) in ratios.iter().flat_map(|ratio| [(ratio, 2.0), (ratio, -2.0)]) {
        let is_flat = surrogate(ratio + 1e-6, advantage) == surrogate(ratio - 1e-6, advantage);
        assert_eq!(by_log_pi(&[advantage], &[ratio]).1 == 1.0, is_flat, "{ratio} {advantage}");
    }
}

/// What is not a number must not hide behind the clip: the update would seem to be sound.
#[test]
fn a_ratio_or_advantage_that_is_not_a_number_is_not_clipped_away() {
    assert!(by_log_pi(&[f64::NAN], &[5.0]).0[0].is_nan());
    assert_eq!(by_log_pi(&[1.0], &[f64::NAN]).0, [-1.0]);
}

/// One of each kind of network and of each kind of head, and several tasks.
fn kinds() -> [(NetworkSpec, ActionSpace); 7] {
    let [mlp, _, _, several, real, _, minatar, _, _, _, lstm, _, _, tasks, games, ..] = networks();
    [mlp, several, real, minatar, lstm, tasks, games]
}

#[test]
fn gradients_add_up() {
    for spec in kinds() {
        let mut problem = Problem::new(&spec, 3);
        let mut once = vec![0.0; problem.params.len()];
        problem.learn(&mut once);
        let mut twice = once.clone();
        problem.learn(&mut twice);
        for (once, twice) in once.iter().zip(&twice) {
            approx::assert_relative_eq!(2.0 * once, *twice, max_relative = 1e-12);
        }
    }
}

#[test]
fn masked_rows_have_no_part_in_losses_or_gradient() {
    for spec in kinds() {
        let mut problem = Problem::new(&spec, 4);
        let mut grad = vec![0.0; problem.params.len()];
        let losses = problem.learn(&mut grad);
        let weights = problem.random.weights.iter().enumerate();
        let masked: Vec<usize> =
            weights.filter(|(_, weight)| **weight == 0.0).map(|(n, _)| n).collect();
        assert!(!masked.is_empty());
        for n in masked {
            problem.random.vs[n] += 1e6;
            problem.random.spoil_action(n);
            problem.random.obs.spoil(n);
        }
        let mut changed = vec![0.0; grad.len()];
        assert_eq!(problem.learn(&mut changed), losses);
        assert_eq!(changed, grad);
    }
}

#[test]
fn bootstrap_columns_get_values_but_no_gradient() {
    for spec in kinds() {
        let mut problem = Problem::new(&spec, 5);
        let mut grad = vec![0.0; problem.params.len()];
        problem.learn(&mut grad);
        let n = problem.random.n_steps();
        (n..n + 7).for_each(|frame| problem.random.obs.spoil(frame));
        let mut changed = vec![0.0; grad.len()];
        problem.learn(&mut changed);
        assert_eq!(changed, grad);
        if spec.0.lstm.is_some() || spec.0.n_values > 1 {
            continue; // What each of them remembers differs, or its task.
        }
        let values = problem.stack.outputs.row(spec.0.n_action_params);
        let bootstrap: Vec<f64> = values.iter().skip(n).copied().collect();
        assert_eq!(bootstrap, vec![bootstrap[0]; 7], "equal observations have equal values");
    }
}

#[test]
fn what_was_before_a_reset_has_no_part_in_what_comes_after() {
    let [_, _, _, _, _, _, _, _, _, _, (spec, actions), ..] = networks();
    assert_eq!(spec.n_last_step(), 3);
    let mut problem = Problem::new(&(spec, actions), 8);
    let (n_steps, n_trajectories) = (problem.random.n_steps(), problem.random.n_trajectories);
    problem.random.kinds.fill(StepKind::ORDINARY);
    // The third step of the first trajectory.
    problem.random.kinds[2 * n_trajectories] = StepKind::RESET;
    problem.learn(&mut vec![0.0; problem.params.len()]);
    let before = problem.stack.outputs.clone();
    problem.random.state.fill(0.5);
    problem.random.obs.spoil(n_trajectories);
    problem.learn(&mut vec![0.0; problem.params.len()]);
    for n in 0..n_steps + n_trajectories {
        let (trajectory, step) = (n % n_trajectories, n / n_trajectories);
        let is_same = problem.stack.outputs.column(n) == before.column(n);
        assert_eq!(is_same, trajectory == 0 && step > 2, "step {step}, trajectory {trajectory}");
    }
}

/// Losses and gradient of f32 kernels on the same problem.
fn learn_f32(
    kernels: Simd,
    problem: &Problem,
    (spec, actions): &(NetworkSpec, ActionSpace),
) -> (Losses, Vec<f32>) {
    let f32s = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let random = &problem.random;
    let params = f32s(&problem.params);
    let (vs, rhos) = (f32s(&random.vs), f32s(&random.rhos));
    let (pg, weights) = (f32s(&random.pg_advantages), f32s(&random.weights));
    let (n_trajectories, kinds) = (random.n_trajectories, &*random.kinds);
    let numbers;
    let obs = match &random.obs {
        RandomObs::Bits(obs) => Obs::Pixels(obs.view()),
        RandomObs::Numbers(obs) => {
            numbers = obs.mapv(|v| v as f32);
            Obs::Numbers(numbers.view())
        }
    };
    let (state, last_steps) =
        (random.state.mapv(|v| v as f32), random.last_steps.mapv(|v| v as f32));
    let (state, last_steps) = (state.view(), last_steps.view());
    let frames = Frames { n_trajectories, obs, kinds, state, last_steps, tasks: &random.tasks };
    let targets = Targets { vs: &vs, rhos: &rhos, pg_advantages: &pg, weights: &weights };
    let costs =
        LossCosts { baseline_cost: 0.5, entropy_cost: 0.01, clip: f32::INFINITY, floor: 0.0 };
    let mut grad = vec![0.0; params.len()];
    let mut stack = Stack::new((spec, actions), kernels, random);
    let losses = stack.learn(&params, (&frames, random.actions()), (&targets, &costs), &mut grad);
    (losses, grad)
}

#[test]
fn every_kernel_agrees_with_f64() {
    let mlp = |actions| of(ObsSpace::vector(4), Torso::Mlp { hidden: vec![64, 64] }, actions);
    let lstm = |(spec, actions): (NetworkSpec, ActionSpace)| (spec.with_lstm(64, 5), actions);
    let tasks = |(spec, actions): (NetworkSpec, ActionSpace)| {
        (NetworkSpec { n_values: 3, ..spec }, actions)
    };
    let planes = ObsSpace::planes(4, 10, 10);
    let several = ActionSpace::MultiDiscrete(vec![3, 2]);
    for spec in [
        mlp(ActionSpace::Discrete(2)),
        mlp(several),
        mlp(real(2)),
        lstm(mlp(ActionSpace::Discrete(4))),
        tasks(mlp(ActionSpace::Discrete(2))),
        tasks(of(planes.clone(), Torso::Minatar, ActionSpace::Discrete(3))),
        of(planes.clone(), Torso::Minatar, ActionSpace::Discrete(3)),
        of(planes, Torso::Minatar, real(3)),
    ] {
        let mut problem = Problem::new(&spec, 6);
        problem.params.iter_mut().for_each(|param| *param *= 0.2);
        let mut grad = vec![0.0; problem.params.len()];
        let losses = problem.learn(&mut grad);
        for name in ["portable", "avx2", "avx512"] {
            let Ok(kernels) = Simd::named(name) else {
                println!("SKIPPED: this processor has no {name}");
                continue;
            };
            let (found, found_grad) = learn_f32(kernels, &problem, &spec);
            let (found, expected) = (found.total(&COSTS), losses.total(&COSTS));
            approx::assert_relative_eq!(found, expected, max_relative = 1e-4);
            assert_gradients_agree(
                &format!("{name}, {} {}", spec.0.name(), spec.1),
                &found_grad,
                &grad,
            );
        }
    }
}

fn assert_gradients_agree(what: &str, found: &[f32], expected: &[f64]) {
    let scale = expected.iter().fold(0.0_f64, |max, g| max.max(g.abs()));
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        let tolerance = 1e-4 * expected.abs() + 1e-5 * scale;
        assert!(error <= tolerance, "{what} {k}: {found} {expected}");
    }
}
