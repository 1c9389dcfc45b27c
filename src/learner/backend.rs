//! The contract between the learner loop and what computes the network: outputs in, gradient out.
//!
//! A backend sees one [`Batch`] at a time and never a ring, a clock or an optimiser. `native` and
//! `torch` implement it; their agreement is tested in `tests/torch_backend.rs`.

use ndarray::{Array2, ArrayView2, NdFloat};

use crate::rollout::StepKind;

/// B trajectories of T steps, feature-major: column `n = t·B + b`, so a row of time is contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a, R> {
    /// B.
    pub n_trajectories: usize,
    /// Observations `[D, (T+1)·B]`; the last B columns are the observations after step T, whose value
    /// is the bootstrap.
    pub obs: ArrayView2<'a, R>,
    /// Actions taken, `[T, B]`, each in `0..A`.
    pub actions: &'a [i32],
    /// Raw rewards, `[T, B]`.
    pub rewards: &'a [R],
    /// What each step was, `[T, B]`.
    pub kinds: &'a [StepKind],
    /// log μ(·|x) of the behaviour policy, `[A, T·B]`.
    pub behaviour_log_probs: ArrayView2<'a, R>,
}

impl<R> Batch<'_, R> {
    /// T·B, the number of steps (reset rows included).
    pub fn n_steps(&self) -> usize {
        self.actions.len()
    }

    /// (T+1)·B, the number of observations.
    pub fn n_observations(&self) -> usize {
        self.obs.ncols()
    }

    /// A, the number of actions.
    pub fn n_actions(&self) -> usize {
        self.behaviour_log_probs.nrows()
    }
}

/// What the forward pass says of a batch.
#[derive(Clone, Debug)]
pub struct Outputs<R> {
    /// log π(·|x) of the target policy, `[A, T·B]`.
    pub log_probs: Array2<R>,
    /// Baseline V(x), `[T+1, B]`.
    pub values: Vec<R>,
}

impl<R: NdFloat> Outputs<R> {
    /// Room for the outputs of batches of one size.
    pub fn new(n_actions: usize, n_steps: usize, n_observations: usize) -> Self {
        Outputs {
            log_probs: Array2::zeros((n_actions, n_steps)),
            values: vec![R::zero(); n_observations],
        }
    }
}

/// What the losses are taken against: constants to the gradient.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a, R> {
    /// V-trace targets of the baseline, `[T, B]`.
    pub vs: &'a [R],
    /// V-trace advantages of the policy gradient, `[T, B]`; 0 in masked rows, as V-trace leaves them.
    pub pg_advantages: &'a [R],
    /// 1 for a learned row, 0 for a masked one, `[T, B]`.
    pub weights: &'a [R],
}

/// Weights of the loss terms:
/// `total = policy + baseline_cost · critic − entropy_cost · entropy`, all summed over learned rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossCosts<R> {
    /// Multiplies the critic loss ½ (vs − V)².
    pub baseline_cost: R,
    /// Multiplies the entropy bonus.
    pub entropy_cost: R,
}

/// Loss terms, each summed over the learned rows of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// −log π(a|x) · pg_advantage.
    pub policy: f64,
    /// ½ (vs − V)².
    pub critic: f64,
    /// Entropy of the target policy, nats.
    pub entropy: f64,
}

impl Losses {
    /// The loss that the gradient belongs to.
    pub fn total(&self, costs: &LossCosts<f64>) -> f64 {
        self.policy + costs.baseline_cost * self.critic - costs.entropy_cost * self.entropy
    }
}

/// Computes a network's outputs and the gradient of its losses for one batch after the other.
pub trait Backend<R = f32>: Send {
    /// `native` or `torch`.
    fn name(&self) -> &'static str;

    /// How many of an update's slots one pass takes when the update has `batch_slots` of them: 1
    /// learns each slot where it lies, more gathers them into one batch first.
    fn slots_per_pass(&self, batch_slots: usize) -> usize;

    /// Fills `outputs` for every column of `batch`, and keeps what [`Backend::backward`] needs.
    fn forward(&mut self, params: &[R], batch: &Batch<R>, outputs: &mut Outputs<R>);

    /// Adds the gradient of the summed loss to `grad` (laid out like `params`), and returns the loss
    /// terms. `batch` and `outputs` are those of the last [`Backend::forward`].
    fn backward(
        &mut self,
        params: &[R],
        batch: &Batch<R>,
        outputs: &Outputs<R>,
        targets: &Targets<R>,
        costs: &LossCosts<R>,
        grad: &mut [R],
    ) -> Losses;
}
