//! The learner's gradients against finite differences, in f64: through the loss, the head and the network.

#[path = "common/plain_kernels.rs"]
mod plain_kernels;
#[path = "common/random_batch.rs"]
mod random_batch;
#[path = "common/uniform.rs"]
mod uniform;

use impala::kernels::{Kernels, Simd};
use impala::learner::losses::{ActorCritic, LossCosts, Losses, Targets};
use impala::network::heads::Head;
use impala::network::native::NativeLearning;
use impala::network::params::ParamLayout;
use impala::network::{Learning, NetworkSpec};
use impala::rollout::Frames;
use impala::space::{ActionSpace, Actions, Obs};
use ndarray::{Array2, NdFloat};
use plain_kernels::Plain;
use random_batch::RandomBatch;
use uniform::Uniform;

const COSTS: LossCosts<f64> = LossCosts { baseline_cost: 0.5, entropy_cost: 0.01 };

fn networks() -> [NetworkSpec; 3] {
    [
        NetworkSpec::mlp(4, &[8, 6], 2),
        NetworkSpec::mlp(3, &[5], 4),
        NetworkSpec::mlp(1, &[7, 3, 9], 3),
    ]
}

/// A network with its head and its loss, as a pass of the learner has them.
struct Stack<K, R> {
    network: NativeLearning<K, R>,
    head: Head<K, R>,
    loss: ActorCritic<R>,
    outputs: Array2<R>,
    d_outputs: Array2<R>,
}

impl<K: Kernels<R>, R: NdFloat> Stack<K, R> {
    fn new(spec: &NetworkSpec, kernels: K, n_steps: usize, n_observations: usize) -> Self {
        let actions = ActionSpace::Discrete(spec.n_action_params);
        Stack {
            network: NativeLearning::new(spec, kernels, n_observations),
            head: Head::new(&actions, kernels, n_steps),
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
        let seen = self.head.evaluate(self.outputs.view(), actions);
        let (losses, slopes) = self.loss.differentiate(&seen, targets, costs);
        self.head.chain(actions, &slopes, self.d_outputs.view_mut());
        self.network.backward(params, frames, self.d_outputs.view(), grad);
        losses
    }
}

/// A stack in f64 with its parameters and a random batch.
struct Problem {
    stack: Stack<Plain, f64>,
    params: Vec<f64>,
    random: RandomBatch,
}

impl Problem {
    fn new(spec: &NetworkSpec, seed: u64) -> Self {
        let random = RandomBatch::new(spec, 5, 7, seed);
        let n_params = ParamLayout::new(spec).len();
        Problem {
            stack: Stack::new(spec, Plain, random.actions.len(), random.obs.ncols()),
            params: Uniform::seeded(seed + 100).vec(n_params, 0.7),
            random,
        }
    }

    fn learn(&mut self, grad: &mut [f64]) -> Losses {
        let seen = (&self.random.frames(), self.random.actions());
        self.stack.learn(&self.params, seen, (&self.random.targets(), &COSTS), grad)
    }

    fn loss(&mut self) -> f64 {
        let mut ignored = vec![0.0; self.params.len()];
        self.learn(&mut ignored).total(&COSTS)
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for (seed, spec) in networks().iter().enumerate() {
        let mut problem = Problem::new(spec, seed as u64);
        let mut grad = vec![0.0; problem.params.len()];
        problem.learn(&mut grad);
        for (k, &analytic) in grad.iter().enumerate() {
            let (step, centre) = (1e-5, problem.params[k]);
            problem.params[k] = centre + step;
            let above = problem.loss();
            problem.params[k] = centre - step;
            let below = problem.loss();
            problem.params[k] = centre;
            let numeric = (above - below) / (2.0 * step);
            let tolerance = 1e-7 * (1.0 + numeric.abs());
            assert!((analytic - numeric).abs() < tolerance, "{k}: {analytic} is not {numeric}");
        }
    }
}

#[test]
fn gradients_add_up() {
    let mut problem = Problem::new(&networks()[0], 3);
    let mut once = vec![0.0; problem.params.len()];
    problem.learn(&mut once);
    let mut twice = once.clone();
    problem.learn(&mut twice);
    for (once, twice) in once.iter().zip(&twice) {
        approx::assert_relative_eq!(2.0 * once, *twice, max_relative = 1e-12);
    }
}

#[test]
fn masked_rows_have_no_part_in_losses_or_gradient() {
    let mut problem = Problem::new(&networks()[0], 4);
    let mut grad = vec![0.0; problem.params.len()];
    let losses = problem.learn(&mut grad);
    let masked: Vec<usize> =
        (0..problem.random.weights.len()).filter(|&n| problem.random.weights[n] == 0.0).collect();
    assert!(!masked.is_empty());
    for n in masked {
        problem.random.vs[n] += 1e6;
        problem.random.actions[n] = 1 - problem.random.actions[n];
        problem.random.obs.column_mut(n).fill(-3.0);
    }
    let mut changed = vec![0.0; grad.len()];
    assert_eq!(problem.learn(&mut changed), losses);
    assert_eq!(changed, grad);
}

#[test]
fn bootstrap_columns_get_values_but_no_gradient() {
    let mut problem = Problem::new(&networks()[0], 5);
    let mut grad = vec![0.0; problem.params.len()];
    problem.learn(&mut grad);
    let n = problem.random.actions.len();
    problem.random.obs.slice_mut(ndarray::s![.., n..]).fill(2.0);
    let mut changed = vec![0.0; grad.len()];
    problem.learn(&mut changed);
    assert_eq!(changed, grad);
    let values = problem.stack.outputs.row(2);
    let bootstrap: Vec<f64> = values.iter().skip(n).copied().collect();
    assert_eq!(bootstrap, vec![bootstrap[0]; 7], "equal observations have equal values");
}

/// Losses and gradient of f32 kernels on the same problem.
fn learn_f32(kernels: Simd, problem: &Problem, spec: &NetworkSpec) -> (Losses, Vec<f32>) {
    let f32s = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let random = &problem.random;
    let (obs, params) = (random.obs.mapv(|v| v as f32), f32s(&problem.params));
    let (vs, rhos) = (f32s(&random.vs), f32s(&random.rhos));
    let (pg, weights) = (f32s(&random.pg_advantages), f32s(&random.weights));
    let (n_trajectories, kinds) = (random.n_trajectories, &*random.kinds);
    let frames = Frames { n_trajectories, obs: Obs::Numbers(obs.view()), kinds };
    let targets = Targets { vs: &vs, rhos: &rhos, pg_advantages: &pg, weights: &weights };
    let costs = LossCosts { baseline_cost: 0.5, entropy_cost: 0.01 };
    let mut grad = vec![0.0; params.len()];
    let mut stack = Stack::new(spec, kernels, random.actions.len(), random.obs.ncols());
    let losses = stack.learn(&params, (&frames, random.actions()), (&targets, &costs), &mut grad);
    (losses, grad)
}

#[test]
fn every_kernel_agrees_with_f64() {
    let spec = NetworkSpec::mlp(4, &[64, 64], 2);
    let mut problem = Problem::new(&spec, 6);
    problem.params.iter_mut().for_each(|param| *param *= 0.2);
    let mut grad = vec![0.0; problem.params.len()];
    let losses = problem.learn(&mut grad);
    let scale = grad.iter().fold(0.0_f64, |max, g| max.max(g.abs()));
    for name in ["portable", "avx2", "avx512"] {
        let Ok(kernels) = Simd::named(name) else {
            println!("SKIPPED: this processor has no {name}");
            continue;
        };
        let (found, found_grad) = learn_f32(kernels, &problem, &spec);
        approx::assert_relative_eq!(found.total(&COSTS), losses.total(&COSTS), max_relative = 1e-4);
        for (k, (found, expected)) in found_grad.iter().zip(&grad).enumerate() {
            let error = (f64::from(*found) - expected).abs();
            assert!(
                error <= 1e-4 * expected.abs() + 1e-5 * scale,
                "{name} {k}: {found} {expected}"
            );
        }
    }
}
