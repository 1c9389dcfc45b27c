//! A network that acts by libtorch.

use ndarray::ArrayViewMut2;
use tch::Tensor;

use super::super::params::ParamLayout;
use super::super::{Acting, NetworkSpec, TorchOptions};
use super::tensors;
use super::walk::Walk;
use crate::rollout::Frames;
use crate::space::Obs;

/// Said of matrices here.
const STANDARD: &str = "it is in standard layout";

/// The network by libtorch on the CPU, with weights of its own.
#[derive(Debug)]
pub struct TorchActing {
    walk: Walk,
    params: Vec<f32>,
    /// Of all environments.
    task: u32,
    /// The parameters as libtorch takes them; `None` where they have changed since.
    parts: Option<Vec<Tensor>>,
}

impl TorchActing {
    /// The network of `spec` for environments of one task, with all-zero weights. Sets libtorch to one thread.
    pub fn new(spec: &NetworkSpec, options: TorchOptions, task: u32) -> Self {
        tensors::prepare();
        let layout = ParamLayout::new(spec);
        let walk = Walk::new(spec, &layout, options);
        TorchActing { walk, params: vec![0.0; layout.len()], task, parts: None }
    }
}

impl Acting for TorchActing {
    fn params(&self) -> &[f32] {
        &self.params
    }

    fn params_mut(&mut self) -> &mut [f32] {
        self.parts = None;
        &mut self.params
    }

    fn outputs(
        &mut self,
        obs: Obs<'_>,
        mut state: ArrayViewMut2<f32>,
        mut outputs: ArrayViewMut2<f32>,
    ) {
        let TorchActing { walk, params, task, parts } = self;
        let outputs = outputs.as_slice_mut().expect(STANDARD);
        tch::no_grad(|| {
            let parts = parts.get_or_insert_with(|| walk.split(&Tensor::from_slice(params)));
            let tasks = &[*task];
            let seen = Frames { tasks, ..walk.one_step(obs, state.view()) };
            let (policy, memory) = walk.policy(parts, &seen);
            tensors::copy(&policy, outputs);
            if let Some(memory) = memory {
                memory.copy_to(state.as_slice_mut().expect(STANDARD));
            }
        });
    }
}
