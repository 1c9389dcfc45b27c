//! Networks: from observations to outputs, and from the outputs' derivatives to a gradient.
//!
//! A network's outputs are one matrix `[P + V, N]`: P parameters of the distribution over actions, then V
//! values, of N frames. That matrix is all that a network and the rest of the engine know of each other. A
//! network knows no action, no reward and no loss; what the P rows mean is for [`heads`] to say.
//!
//! [`native`] has hand-derived gradients on our own kernels; `torch` has libtorch's autograd.

pub mod heads;
pub mod native;
pub mod params;
mod spec;
#[cfg(feature = "torch")]
pub mod torch;

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::rollout::Frames;
use crate::space::Obs;

pub use spec::{NetworkSpec, Torso, Unfit};

/// A network that acts: weights of one version, one call a step of E environments.
pub trait Acting: Send {
    /// The flat weights, to be overwritten with a newer version.
    fn params_mut(&mut self) -> &mut [f32];

    /// Writes the P parameters of the action distribution, `[P, E]`, for observations of E frames.
    /// Allocates nothing.
    fn outputs(&mut self, obs: Obs<'_>, outputs: ArrayViewMut2<f32>);
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
    /// `params` and `frames` are those of the last [`Learning::forward`].
    fn backward(
        &mut self,
        params: &[R],
        frames: &Frames<R>,
        d_outputs: ArrayView2<R>,
        grad: &mut [R],
    );
}
