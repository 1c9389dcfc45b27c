//! Heads: what a network's P outputs of a frame mean as a distribution over actions.
//!
//! A head stands between the network, which knows no action, and the loss, which knows no action space. It
//! samples, says log π(a|x) and the entropy, and turns a loss's derivatives by these two numbers into
//! derivatives by the P outputs. An action space is known here and nowhere else.

mod categorical;
pub mod gaussian;
pub mod last_step;
mod multi;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, NdFloat, s};
use rand_core::Rng;

use crate::kernels::Kernels;
use crate::space::{ActionSpace, Actions, ActionsMut};
use categorical::Categorical;
use gaussian::Gaussian;
use multi::MultiCategorical;

/// What a batch's outputs say of it: three numbers a frame.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a, R> {
    /// log π(a|x) of the actions taken, by the target policy, `[T, B]`.
    pub log_pi: &'a [R],
    /// Entropy of π(·|x), nats, `[T, B]`.
    pub entropies: &'a [R],
    /// Baseline V(x), `[T+1, B]`: the last row is that of the observation after step T.
    pub values: &'a [R],
}

/// A loss's derivatives by the three numbers of each frame, `[T, B]` each.
#[derive(Clone, Copy, Debug)]
pub struct Slopes<'a, R> {
    /// ∂L/∂log π(a|x).
    pub log_pi: &'a [R],
    /// ∂L/∂H.
    pub entropies: &'a [R],
    /// ∂L/∂V(x).
    pub values: &'a [R],
}

/// P: how many outputs of a network make a distribution over these actions.
pub fn n_params(space: &ActionSpace) -> usize {
    match space {
        ActionSpace::Discrete(n) => *n,
        ActionSpace::MultiDiscrete(choices) => choices.iter().sum(),
        ActionSpace::Box { low, .. } => 2 * low.len(),
    }
}

/// F: how many of these, the first ones, are the same whatever is observed.
pub fn n_free(space: &ActionSpace) -> usize {
    match space {
        ActionSpace::Discrete(_) | ActionSpace::MultiDiscrete(_) => 0,
        ActionSpace::Box { low, .. } => low.len(),
    }
}

/// What a policy thinks of one part of an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Odds {
    /// Probability of each index, `[A]`.
    Indices(Vec<f32>),
    /// Of a number as it is drawn.
    Number {
        /// The number that is most likely.
        mean: f32,
        /// Its standard deviation.
        std: f32,
    },
}

/// The head of one action space, with buffers for batches of one size.
#[derive(Debug)]
pub struct Head<K, R> {
    /// P.
    n_params: usize,
    kind: Kind<K, R>,
    /// Where there are several, the value of each frame's task, `[N]`; no more than was ever needed.
    values: Vec<R>,
}

#[derive(Debug)]
enum Kind<K, R> {
    /// One of A actions.
    Categorical(Categorical<K, R>),
    /// K choices at once.
    MultiCategorical(MultiCategorical<K, R>),
    /// K numbers.
    Gaussian(Gaussian<R>),
}

impl<K: Kernels<R>, R: NdFloat> Head<K, R> {
    /// The head of an action space, for `n_frames` frames.
    pub fn new(space: &ActionSpace, kernels: K, n_frames: usize) -> Self {
        let kind = match space {
            ActionSpace::Discrete(n) => Kind::Categorical(Categorical::new(*n, kernels, n_frames)),
            ActionSpace::MultiDiscrete(choices) => {
                Kind::MultiCategorical(MultiCategorical::new(choices, kernels, n_frames))
            }
            ActionSpace::Box { low, .. } => Kind::Gaussian(Gaussian::new(low.len(), n_frames)),
        };
        Head { n_params: n_params(space), kind, values: Vec::new() }
    }

    /// log π(a|x), entropy and value of every frame; `outputs` is `[P + V, (T+1)·B]`,
    /// `actions` `[K, T·B]`, `tasks` `[B]`: a frame's value is that of its task. Where there is one task, `tasks` is
    /// empty.
    #[inline(always)]
    pub fn evaluate<'a>(
        &'a mut self,
        outputs: ArrayView2<'a, R>,
        actions: Actions<'_>,
        tasks: &[u32],
    ) -> Seen<'a, R> {
        let params = outputs.slice(s![..self.n_params, ..actions.n_frames()]);
        let (log_pi, entropies) = match &mut self.kind {
            Kind::Categorical(head) => head.evaluate(params, actions.index_row()),
            Kind::MultiCategorical(head) => head.evaluate(params, actions.indices()),
            Kind::Gaussian(head) => head.evaluate(params, actions.numbers()),
        };
        let rows = outputs.slice_move(s![self.n_params.., ..]);
        let values = if tasks.is_empty() {
            rows.index_axis_move(Axis(0), 0).to_slice().expect(CONTIGUOUS)
        } else {
            let of_tasks = rows.columns().into_iter().zip(tasks.iter().cycle());
            self.values.clear();
            self.values.extend(of_tasks.map(|(values, task)| values[*task as usize]));
            &self.values
        };
        Seen { log_pi, entropies, values }
    }

    /// Writes the derivative of the loss by every output, `[P + V, T·B]`. Actions and tasks are those of the last
    /// [`Head::evaluate`].
    #[inline(always)]
    pub fn chain(
        &self,
        actions: Actions<'_>,
        tasks: &[u32],
        slopes: &Slopes<R>,
        mut d_outputs: ArrayViewMut2<R>,
    ) {
        let d_params = d_outputs.slice_mut(s![..self.n_params, ..]);
        match &self.kind {
            Kind::Categorical(head) => head.chain(actions.index_row(), slopes, d_params),
            Kind::MultiCategorical(head) => head.chain(actions.indices(), slopes, d_params),
            Kind::Gaussian(head) => head.chain(slopes, d_params),
        }
        let mut rows = d_outputs.slice_mut(s![self.n_params.., ..]);
        if tasks.is_empty() {
            let row = rows.index_axis_move(Axis(0), 0).into_slice();
            return row.expect(CONTIGUOUS).copy_from_slice(slopes.values);
        }
        rows.fill(R::zero());
        let slopes = slopes.values.iter().zip(tasks.iter().cycle());
        for (mut d_values, (slope, task)) in rows.columns_mut().into_iter().zip(slopes) {
            d_values[*task as usize] = *slope;
        }
    }
}

/// Said of matrices here.
const CONTIGUOUS: &str = "columns of the outputs are contiguous";

impl<K: Kernels<f32>> Head<K, f32> {
    /// Draws an action for each of E environments and writes log μ(a|x) beside it; `outputs` is `[P, E]`.
    pub fn sample(
        &mut self,
        outputs: ArrayView2<f32>,
        rng: &mut impl Rng,
        mut actions: ActionsMut<'_>,
        log_mu: &mut [f32],
    ) {
        match &mut self.kind {
            Kind::Categorical(head) => head.sample(outputs, rng, actions.index_row(), log_mu),
            Kind::MultiCategorical(head) => head.sample(outputs, rng, actions.indices(), log_mu),
            Kind::Gaussian(head) => head.sample(outputs, rng, actions.numbers(), log_mu),
        }
    }

    /// Takes the most probable action of each environment; `outputs` is `[P, E]`.
    pub fn best(&self, outputs: ArrayView2<f32>, mut actions: ActionsMut<'_>) {
        match &self.kind {
            Kind::Categorical(_) => categorical::best(outputs, actions.index_row()),
            Kind::MultiCategorical(head) => head.best(outputs, actions.indices()),
            Kind::Gaussian(head) => head.best(outputs, actions.numbers()),
        }
    }

    /// What the policy thinks of each part of the action in environment `env`, `[K]`, as the last
    /// [`Head::sample`] saw these outputs.
    pub fn odds(&self, outputs: ArrayView2<f32>, env: usize) -> Vec<Odds> {
        match &self.kind {
            Kind::Categorical(head) => vec![Odds::Indices(head.probs(env))],
            Kind::MultiCategorical(head) => head.probs(env).map(Odds::Indices).collect(),
            Kind::Gaussian(_) => {
                let each = gaussian::means_and_stds(outputs.column(env)).into_iter();
                each.map(|(mean, std)| Odds::Number { mean, std }).collect()
            }
        }
    }
}
