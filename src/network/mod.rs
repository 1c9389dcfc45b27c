//! Networks: from observations to outputs, and from the outputs' derivatives to a gradient.
//!
//! A network's outputs are one matrix `[P + V, N]`: P parameters of the distribution over actions, then V
//! values, of N frames. That matrix is all that a network and the rest of the engine know of each other. A
//! network knows no action, no reward and no loss; what the P rows mean is for [`heads`] to say.
//!
//! A network that remembers gets its memory as one more matrix `[R, B]`: from who acts before every step, from a
//! batch before step 0, from where it goes through the steps in their order. R numbers of an LSTM are h, c, and
//! what it was told of the step before ([`heads::last_step`]).
//!
//! A network of several tasks has a value for each. Its first dense layer takes K more numbers, which tell the task of
//! the frame: 1 for that task, 0 for the others.
//!
//! [`native`] has hand-derived gradients on our own kernels; `torch` has libtorch's autograd.

mod free;
pub mod heads;
mod inputs;
mod layer;
pub mod native;
mod normalized;
pub mod params;
mod spec;
#[cfg(feature = "torch")]
pub mod torch;
mod torso;

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::kernels::Simd;
use crate::rollout::Frames;
use crate::space::Obs;

pub use layer::{Conv, Layer};
pub use normalized::Statistics;
pub use spec::{LstmSpec, NetworkSpec, Pixels};
pub use torso::Torso;

/// A network that acts: weights of one version, one call a step of E environments.
pub trait Acting: Send {
    /// The flat weights.
    fn params(&self) -> &[f32];

    /// The flat weights, to be overwritten with a newer version.
    fn params_mut(&mut self) -> &mut [f32];

    /// Writes the P parameters of the action distribution, `[P, E]`, for observations of E frames. `state`, `[R, E]`,
    /// is what it remembers, and what it will remember after; R is 0 for a network without memory.
    /// Our own networks allocate nothing.
    fn outputs(&mut self, obs: Obs<'_>, state: ArrayViewMut2<f32>, outputs: ArrayViewMut2<f32>);
}

/// A network that learns: one call forward and one back a pass, never one a frame.
pub trait Learning<R = f32>: Send {
    /// `native` or `torch`.
    fn name(&self) -> &'static str;

    /// How many of an update's slots one pass takes when the update has `batch_slots` of them: 1
    /// learns each slot where it lies, more gathers them into one batch first.
    fn slots_per_pass(&self, batch_slots: usize) -> usize;

    /// Writes the outputs of every frame, `[P + V, (T+1)·B]`, and keeps what [`Learning::backward`] needs.
    fn forward(&mut self, params: &[R], frames: &Frames<R>, outputs: ArrayViewMut2<R>);

    /// Adds to `grad` (laid out like `params`) the gradient of a loss whose derivative by the outputs of
    /// the first T·B frames is `d_outputs`, `[P + V, T·B]`. The last B frames are constants to the loss.
    /// `params` and `frames` are those of the last [`Learning::forward`], which one pass back may use up.
    fn backward(
        &mut self,
        params: &[R],
        frames: &Frames<R>,
        d_outputs: ArrayView2<R>,
        grad: &mut [R],
    );
}

/// Whose arithmetic a network runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Hand-derived gradients on our own kernels.
    Native,
    /// libtorch.
    Torch,
}

impl Backend {
    /// Our own where it [supports](native::supports) the network, else libtorch.
    pub fn of(spec: &NetworkSpec) -> Backend {
        if native::supports(spec) { Backend::Native } else { Backend::Torch }
    }

    /// Whether this build has it.
    pub fn is_built(self) -> bool {
        self == Backend::Native || cfg!(feature = "torch")
    }

    /// `native` or `torch`.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Native => native::NAME,
            Backend::Torch => "torch",
        }
    }
}

/// How the numbers of a network are computed.
#[derive(Clone, Copy, Debug)]
pub struct Arithmetic {
    /// Of our own networks.
    pub kernels: Simd,
    /// Of libtorch's.
    pub torch: TorchOptions,
}

impl Arithmetic {
    /// These kernels, and libtorch as it is by default.
    pub fn with(kernels: Simd) -> Self {
        Arithmetic { kernels, torch: TorchOptions::default() }
    }
}

/// What libtorch may do with pictures and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TorchOptions {
    /// Pictures lie with their channels innermost.
    pub channels_last: bool,
    /// The torso computes in bfloat16; parameters, heads and gradients stay f32.
    pub bf16: bool,
}

impl Default for TorchOptions {
    fn default() -> Self {
        TorchOptions { channels_last: true, bf16: false }
    }
}

/// The network of `spec` as it acts in `n_envs` environments, all of the task with this number, with all-zero weights:
/// our own where there is one, whoever learns.
///
/// # Panics
/// If this build lacks its [`Backend`].
pub fn acting(
    spec: &NetworkSpec,
    arithmetic: Arithmetic,
    n_envs: usize,
    task: u32,
) -> Box<dyn Acting> {
    acting_by(spec, Backend::of(spec), arithmetic, n_envs, task)
}

/// The same on a backend of one's choice.
///
/// # Panics
/// If this build lacks the backend, or the backend such a network.
pub fn acting_by(
    spec: &NetworkSpec,
    backend: Backend,
    arithmetic: Arithmetic,
    n_envs: usize,
    task: u32,
) -> Box<dyn Acting> {
    let network = match backend {
        Backend::Native => native::acting(spec, arithmetic.kernels, n_envs, task),
        #[cfg(feature = "torch")]
        Backend::Torch => {
            free::acting(spec, Box::new(torch::TorchActing::new(spec, arithmetic.torch, task)))
        }
        #[cfg(not(feature = "torch"))]
        Backend::Torch => panic!("{NO_TORCH}"),
    };
    normalized::acting(spec, network, n_envs)
}

/// The network of `spec` as it learns from passes of `n_observations` = (T+1)·B observations.
///
/// # Panics
/// If this build lacks the backend, or the backend such a network.
pub fn learning(
    spec: &NetworkSpec,
    backend: Backend,
    arithmetic: Arithmetic,
    n_observations: usize,
) -> Box<dyn Learning> {
    let network = match backend {
        Backend::Native => native::learning(spec, arithmetic.kernels, n_observations),
        #[cfg(feature = "torch")]
        Backend::Torch => {
            free::learning(spec, Box::new(torch::TorchLearning::new(spec, arithmetic.torch)))
        }
        #[cfg(not(feature = "torch"))]
        Backend::Torch => panic!("{NO_TORCH}"),
    };
    normalized::learning(spec, network)
}

/// Said where nobody has asked [`Backend::is_built`].
#[cfg(not(feature = "torch"))]
const NO_TORCH: &str = "this build has no libtorch";
