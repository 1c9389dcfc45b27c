//! Heads: what a network's P outputs of a frame mean as a distribution over actions.
//!
//! A head stands between the network, which knows no action, and the loss, which knows no action space. It
//! samples, says log π(a|x) and the entropy, and turns a loss's derivatives by these two numbers into
//! derivatives by the P outputs. An action space is known here and nowhere else.

mod categorical;

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat};
use rand_core::Rng;

use super::Unfit;
use crate::kernels::Kernels;
use crate::space::{ActionSpace, Actions, ActionsMut};
use categorical::Categorical;

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
///
/// # Errors
/// [`Unfit`] where no head draws such actions.
pub fn n_params(space: &ActionSpace) -> Result<usize, Unfit> {
    match space {
        ActionSpace::Discrete(n) => Ok(*n),
        _ => Err(no_head(space)),
    }
}

fn no_head(space: &ActionSpace) -> Unfit {
    Unfit(format!("no head draws actions of {space}; Discrete ones can be learned"))
}

/// The head of one action space, with buffers for batches of one size.
#[derive(Debug)]
pub enum Head<K, R> {
    /// One of A actions.
    Categorical(Categorical<K, R>),
}

impl<K: Kernels<R>, R: NdFloat> Head<K, R> {
    /// The head of an action space, for `n_frames` frames.
    ///
    /// # Panics
    /// Where no head draws such actions: there is no network for them either
    /// ([`NetworkSpec::of`](super::NetworkSpec::of)).
    pub fn new(space: &ActionSpace, kernels: K, n_frames: usize) -> Self {
        match space {
            ActionSpace::Discrete(n) => Head::Categorical(Categorical::new(*n, kernels, n_frames)),
            _ => panic!("{}", no_head(space)),
        }
    }

    /// log π(a|x), entropy and value of every frame; `outputs` is `[P + V, (T+1)·B]`,
    /// `actions` `[K, T·B]`.
    pub fn evaluate<'a>(
        &'a mut self,
        outputs: ArrayView2<'a, R>,
        actions: Actions<'_>,
    ) -> Seen<'a, R> {
        match self {
            Head::Categorical(head) => head.evaluate(outputs, actions.index_row()),
        }
    }

    /// Writes the derivative of the loss by every output, `[P + V, T·B]`. The actions are those of the last
    /// [`Head::evaluate`].
    pub fn chain(&self, actions: Actions<'_>, slopes: &Slopes<R>, d_outputs: ArrayViewMut2<R>) {
        match self {
            Head::Categorical(head) => head.chain(actions.index_row(), slopes, d_outputs),
        }
    }
}

impl<K: Kernels<f32>> Head<K, f32> {
    /// Draws an action for each of E environments and writes log μ(a|x) beside it; `outputs` is `[P, E]`.
    pub fn sample(
        &mut self,
        outputs: ArrayView2<f32>,
        rng: &mut impl Rng,
        mut actions: ActionsMut<'_>,
        log_mu: &mut [f32],
    ) {
        match self {
            Head::Categorical(head) => head.sample(outputs, rng, actions.index_row(), log_mu),
        }
    }

    /// Takes the most probable action of each environment; `outputs` is `[P, E]`.
    pub fn best(&self, outputs: ArrayView2<f32>, mut actions: ActionsMut<'_>) {
        match self {
            Head::Categorical(_) => categorical::best(outputs, actions.index_row()),
        }
    }

    /// Probability of each action in environment `env`, `[A]`, as the last [`Head::sample`] saw them.
    pub fn probs(&self, env: usize) -> Vec<f32> {
        match self {
            Head::Categorical(head) => head.probs(env),
        }
    }
}
