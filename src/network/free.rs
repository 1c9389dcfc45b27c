//! Outputs that are the same whatever is observed: F parameters of their own beside a network.
//!
//! Wraps a network that knows nothing of them. Its outputs follow below the F free rows, whose every column is the
//! free parameters; their gradient is the sum over the columns. Called by who makes networks.

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat, s};
use std::ops::Range;

use super::params::ParamLayout;
use super::{Acting, Learning, NetworkSpec};
use crate::rollout::Frames;
use crate::space::Obs;

/// A network with free rows above its outputs.
struct FreeRows<N: ?Sized> {
    /// Where their parameters lie.
    free: Range<usize>,
    network: Box<N>,
}

/// The network that acts, with the free rows of `spec` if it has any.
pub(super) fn acting(spec: &NetworkSpec, network: Box<dyn Acting>) -> Box<dyn Acting> {
    match ParamLayout::new(spec).free() {
        free if free.is_empty() => network,
        free => Box::new(FreeRows { free, network }),
    }
}

/// The network that learns, with the free rows of `spec` if it has any.
pub(super) fn learning<R: NdFloat>(
    spec: &NetworkSpec,
    network: Box<dyn Learning<R>>,
) -> Box<dyn Learning<R>> {
    match ParamLayout::new(spec).free() {
        free if free.is_empty() => network,
        free => Box::new(FreeRows { free, network }),
    }
}

/// Writes the free parameters into the first rows.
fn fill<R: NdFloat>(free: &[R], outputs: &mut ArrayViewMut2<R>) {
    for (mut row, value) in outputs.outer_iter_mut().zip(free) {
        row.fill(*value);
    }
}

impl Acting for FreeRows<dyn Acting> {
    fn params(&self) -> &[f32] {
        self.network.params()
    }

    fn params_mut(&mut self) -> &mut [f32] {
        self.network.params_mut()
    }

    fn outputs(
        &mut self,
        obs: Obs<'_>,
        state: ArrayViewMut2<f32>,
        mut outputs: ArrayViewMut2<f32>,
    ) {
        fill(&self.network.params()[self.free.clone()], &mut outputs);
        self.network.outputs(obs, state, outputs.slice_move(s![self.free.len().., ..]));
    }
}

impl<R: NdFloat> Learning<R> for FreeRows<dyn Learning<R>> {
    fn name(&self) -> &'static str {
        self.network.name()
    }

    fn slots_per_pass(&self, batch_slots: usize) -> usize {
        self.network.slots_per_pass(batch_slots)
    }

    fn forward(&mut self, params: &[R], frames: &Frames<R>, mut outputs: ArrayViewMut2<R>) {
        fill(&params[self.free.clone()], &mut outputs);
        self.network.forward(params, frames, outputs.slice_move(s![self.free.len().., ..]));
    }

    fn backward(
        &mut self,
        params: &[R],
        frames: &Frames<R>,
        d_outputs: ArrayView2<R>,
        grad: &mut [R],
    ) {
        for (sum, row) in grad[self.free.clone()].iter_mut().zip(d_outputs.outer_iter()) {
            *sum += row.sum();
        }
        let d_outputs = d_outputs.slice_move(s![self.free.len().., ..]);
        self.network.backward(params, frames, d_outputs, grad);
    }
}
