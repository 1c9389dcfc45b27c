//! The libtorch learner backend: the same network and losses as tensor operations, differentiated by
//! libtorch's autograd.
//!
//! Independent of `native` down to the arithmetic, so that each checks the other, and the place to
//! start from for networks that have no hand-derived gradient. Knows nothing of rollouts or
//! optimisers: all parameters are one flat leaf tensor, whose gradient comes back as one flat vector.
//! Built with the cargo feature `torch`; called by the learner, never by the supervisor (a process
//! forked after libtorch has started threads would hang).

use ndarray::ArrayView2;
use tch::{Device, Kind, Tensor};

use super::backend::{Backend, Batch, LossCosts, Losses, Outputs, Targets};
use crate::network::params::{NetworkShape, ParamLayout};

/// Forward pass, losses and gradient of the shared-torso network by libtorch on the CPU, all slots of
/// an update in one pass.
#[derive(Debug)]
pub struct Torch {
    layout: ParamLayout,
    /// Numbers of values of each layer's weight and bias, in the order of the flat vector.
    split_sizes: Vec<i64>,
    /// What the last forward pass left to be differentiated.
    graph: Option<Graph>,
    /// `−pg_advantage` at the action taken and 0 at the others, `[A, T·B]`.
    policy_weights: Vec<f32>,
    /// The gradient on its way from libtorch's memory.
    grad: Vec<f32>,
}

/// Tensors that autograd can follow from the losses back to the parameters.
#[derive(Debug)]
struct Graph {
    /// The leaf: every parameter, flat.
    params: Tensor,
    /// log π(·|x), `[A, T·B]`.
    log_probs: Tensor,
    /// V(x), `[T·B]`: without the bootstrap, which is a constant to the loss.
    values: Tensor,
}

/// Values of the block that [`keep_freed_memory`] gives back: 28 MB, below glibc's limit of 32.
const FREED_BLOCK_LEN: i64 = 7 << 20;

impl Torch {
    /// A backend for the network of `shape` and batches of any size.
    ///
    /// Sets libtorch to one thread: its batches are too small to be worth handing parts to others. What
    /// several cores do at a time is several batches, each by a backend of its own.
    pub fn new(shape: &NetworkShape) -> Self {
        tch::set_num_threads(1);
        keep_freed_memory();
        let layout = ParamLayout::new(shape);
        let layers = layout.torso().iter().copied().chain([layout.heads()]);
        let sizes = layers.flat_map(|dense| [dense.n_outputs * dense.n_inputs, dense.n_outputs]);
        Torch {
            split_sizes: sizes.map(|size| size as i64).collect(),
            grad: vec![0.0; layout.len()],
            layout,
            graph: None,
            policy_weights: Vec::new(),
        }
    }

    /// Logits, then the value, `[A+1, N]`, of observations `[D, N]`.
    fn heads(&self, params: &Tensor, obs: &Tensor) -> Tensor {
        // One split, whose gradient is one concatenation; a `narrow` for each would sum as many
        // gradients of the whole vector.
        let parts = params.split_with_sizes(&self.split_sizes[..], 0);
        let mut layers = parts.chunks_exact(2);
        let mut input = obs.shallow_clone();
        for (dense, layer) in self.layout.torso().iter().zip(&mut layers) {
            input = tanh(affine(layer, dense.n_outputs, &input));
        }
        let heads = layers.next().expect("split_sizes ends with the heads");
        affine(heads, self.layout.heads().n_outputs, &input)
    }

    /// Fills `policy_weights` from the actions taken.
    fn weigh_actions(&mut self, batch: &Batch<f32>, pg_advantages: &[f32]) {
        let n_steps = batch.n_steps();
        self.policy_weights.clear();
        self.policy_weights.resize(batch.n_actions() * n_steps, 0.0);
        for (n, (&action, &advantage)) in batch.actions.iter().zip(pg_advantages).enumerate() {
            self.policy_weights[action as usize * n_steps + n] = -advantage;
        }
    }
}

impl Backend for Torch {
    fn name(&self) -> &'static str {
        "torch"
    }

    fn slots_per_pass(&self, batch_slots: usize) -> usize {
        batch_slots
    }

    fn forward(&mut self, params: &[f32], batch: &Batch<f32>, outputs: &mut Outputs<f32>) {
        let params = Tensor::from_slice(params).set_requires_grad(true);
        let heads = self.heads(&params, &matrix(batch.obs));
        let (n_actions, n_steps) = (batch.n_actions() as i64, batch.n_steps() as i64);
        let logits = heads.narrow(0, 0, n_actions).narrow(1, 0, n_steps);
        let log_probs = logits.log_softmax(0, Kind::Float);
        let values = heads.get(n_actions);
        copy(&log_probs, outputs.log_probs.as_slice_mut().expect("outputs are standard layout"));
        copy(&values, &mut outputs.values);
        self.graph = Some(Graph { params, log_probs, values: values.narrow(0, 0, n_steps) });
    }

    fn backward(
        &mut self,
        _params: &[f32],
        batch: &Batch<f32>,
        _outputs: &Outputs<f32>,
        targets: &Targets<f32>,
        costs: &LossCosts<f32>,
        grad: &mut [f32],
    ) -> Losses {
        self.weigh_actions(batch, targets.pg_advantages);
        let graph = self.graph.take().expect("backward follows forward");
        let weights = Tensor::from_slice(targets.weights);

        let policy = graph.log_probs.view(-1).dot(&Tensor::from_slice(&self.policy_weights));
        let error = &graph.values - Tensor::from_slice(targets.vs);
        let critic = (&error * &weights).dot(&error) * 0.5;
        let entropy = -(graph.log_probs.exp() * &graph.log_probs).mv(&weights).sum(Kind::Float);

        // Autograd sums the gradients of several roots: that of their sum.
        let roots = [
            policy.shallow_clone(),
            &critic * f64::from(costs.baseline_cost),
            &entropy * f64::from(-costs.entropy_cost),
        ];
        let gradients = Tensor::run_backward(&roots, &[graph.params], false, false);
        copy(&gradients[0], &mut self.grad);
        grad.iter_mut().zip(&self.grad).for_each(|(sum, &new)| *sum += new);
        Losses { policy: value(&policy), critic: value(&critic), entropy: value(&entropy) }
    }
}

/// Makes the allocator keep the memory of one update for the next.
///
/// Every update allocates its tensors anew, and glibc would give their pages back to the kernel after
/// each and fault them in again: half the time of an update of 2,688 columns. glibc's threshold for
/// that is twice the largest block ever freed, so one large block, never touched, raises it for good.
fn keep_freed_memory() {
    drop(Tensor::empty([FREED_BLOCK_LEN], (Kind::Float, Device::Cpu)));
}

/// `W[O,I] · X[I,N] + b[O]` of a layer's flat weight and bias.
fn affine(layer: &[Tensor], n_outputs: usize, input: &Tensor) -> Tensor {
    let rows = n_outputs as i64;
    layer[1].view([rows, 1]).addmm(&layer[0].view([rows, -1]), input)
}

/// tanh, as `2 σ(2x) − 1`: on a CPU libtorch's sigmoid takes a tenth of the time of its tanh.
///
/// In place where autograd does not need the value before: it needs that of the sigmoid alone.
fn tanh(mut x: Tensor) -> Tensor {
    (x.g_mul_scalar_(2.0).sigmoid_() * 2.0).g_sub_scalar_(1.0)
}

/// A copy of a matrix, `[rows, columns]`.
fn matrix(values: ArrayView2<f32>) -> Tensor {
    let size = [values.nrows() as i64, values.ncols() as i64];
    let standard = values.as_standard_layout();
    Tensor::from_slice(standard.as_slice().expect("just brought into standard layout")).view(size)
}

/// Copies all values of a tensor out.
fn copy(tensor: &Tensor, values: &mut [f32]) {
    tensor.copy_data(values, values.len());
}

/// The one value of a tensor.
fn value(tensor: &Tensor) -> f64 {
    tensor.double_value(&[])
}
