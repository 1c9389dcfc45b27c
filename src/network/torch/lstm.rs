//! An LSTM as tensor operations, a frame a row: step after step, as resets fall between any two of them.

use ndarray::ArrayView2;
use tch::Tensor;

use super::super::params::LstmLayout;
use super::tensors;
use crate::rollout::StepKind;

/// Weights and biases by PyTorch's names, `[4H, F + L]`, `[4H, H]`, `[4H]`, `[4H]`.
pub(super) const N_PARTS: usize = 4;

/// What is remembered between two steps of B trajectories, `[B, H]` each.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) hidden: Tensor,
    pub(super) cell: Tensor,
}

/// An LSTM of H units.
#[derive(Debug)]
pub(super) struct Lstm(pub(super) LstmLayout);

impl Lstm {
    /// Values of each of its parts.
    pub(super) fn split_sizes(&self) -> [usize; N_PARTS] {
        let LstmLayout { features, last_step, memory } = self.0;
        let n_rows = memory.n_outputs;
        let n_inputs = features.n_inputs + last_step.n_inputs;
        [n_rows * n_inputs, n_rows * memory.n_inputs, n_rows, n_rows]
    }

    /// h' of every step, `[N, H]`, and the memory after the last one. `inputs` is `[F + L, N]`, `kinds` `[T, B]`; after
    /// a reset the memory is empty.
    pub(super) fn unroll(
        &self,
        parts: &[Tensor],
        inputs: &Tensor,
        kinds: &[StepKind],
        mut memory: Memory,
    ) -> (Tensor, Memory) {
        let [weight, memory_weight, bias, memory_bias] = parts else {
            unreachable!("of four parts")
        };
        let n_rows = self.0.memory.n_outputs as i64;
        let memory_weight = memory_weight.view([n_rows, -1]).tr();
        // Of all frames at once what does not depend on the step before.
        let sums = (bias + memory_bias).addmm(&inputs.tr(), &weight.view([n_rows, -1]).tr());
        let n_trajectories = memory.hidden.size()[0];
        let mut hidden = Vec::new();
        // Of the steps before all but the first.
        let mut kinds = kinds.chunks_exact(n_trajectories as usize);
        for sums in sums.split(n_trajectories, 0) {
            if !hidden.is_empty() {
                memory.forget(kinds.next().expect("a kind for each step but the last"));
            }
            memory = memory.step(&sums.addmm(&memory.hidden, &memory_weight));
            hidden.push(memory.hidden.shallow_clone());
        }
        (Tensor::cat(&hidden, 0), memory)
    }
}

impl Memory {
    /// The first rows of a state `[R, B]`.
    pub(super) fn of(state: ArrayView2<f32>, n_units: usize) -> Memory {
        let state = tensors::matrix(state).tr();
        let units = n_units as i64;
        Memory { hidden: state.narrow(1, 0, units), cell: state.narrow(1, units, units) }
    }

    /// Writes it into the first rows of a state `[R, B]`.
    pub(super) fn copy_to(&self, state: &mut [f32]) {
        let (hidden, rest) = state.split_at_mut(self.hidden.numel());
        tensors::copy(&self.hidden.tr().contiguous(), hidden);
        tensors::copy(&self.cell.tr().contiguous(), &mut rest[..self.cell.numel()]);
    }

    /// After a step whose gates have these sums, `[B, 4H]`.
    fn step(&self, sums: &Tensor) -> Memory {
        let gates = sums.chunk(4, 1);
        let [input, forget, cell, output] = &gates[..] else { unreachable!("four gates") };
        let cell = forget.sigmoid() * &self.cell + input.sigmoid() * cell.tanh();
        Memory { hidden: output.sigmoid() * cell.tanh(), cell }
    }

    /// Nothing is remembered where the step was a reset, and no gradient comes back.
    fn forget(&mut self, kinds: &[StepKind]) {
        let is_reset = |kind: &StepKind| *kind == StepKind::RESET;
        if kinds.iter().any(is_reset) {
            let kept: Vec<f32> =
                kinds.iter().map(|kind| f32::from(u8::from(!is_reset(kind)))).collect();
            let kept = Tensor::from_slice(&kept).unsqueeze(1);
            self.hidden = &self.hidden * &kept;
            self.cell = &self.cell * &kept;
        }
    }
}
