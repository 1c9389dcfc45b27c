//! An LSTM over the steps of some trajectories: forward pass, and back-propagation through time by hand.
//!
//! Feature-major as all here: frame `n = t·B + b` is a column, so step t of B trajectories is a block of columns. Knows
//! what a reset is, and nothing of what goes into the gates from below or out of the units above.
//!
//! One step, with x the features, h and c the memory, gates in PyTorch's order (Hochreiter and Schmidhuber 1997,
//! doi 10.1162/neco.1997.9.8.1735, with the forget gate of Gers et al. 2000, doi 10.1162/089976600300015015):
//!
//! ```text
//! a = W_ih x + b_ih + W_hh h + b_hh                      [4H]
//! i, f, o = σ(a_i), σ(a_f), σ(a_o)      g = tanh(a_g)
//! c' = f ⊙ c + i ⊙ g                    h' = o ⊙ tanh c'
//! ```

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, NdFloat, s};

use super::super::params::LstmLayout;
use crate::base::columns::{columns, columns_mut};
use crate::kernels::{FeatureMajor, Kernels};
use crate::rollout::StepKind;

/// Where an LSTM's parameters lie, and the kernels that compute with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lstm<K> {
    pub(super) layout: LstmLayout,
    pub(super) kernels: K,
}

/// The steps of a forward pass, each matrix with a column a frame.
#[derive(Debug)]
pub(super) struct Unrolled<R> {
    /// i, f, g and o of each unit, `[4H, N]`. Before the pass `W_ih x + b_ih` stands there.
    pub(super) gates: FeatureMajor<R>,
    /// h that a step begins with, `[H, N]`.
    hidden_in: FeatureMajor<R>,
    /// c that it begins with.
    cell_in: FeatureMajor<R>,
    /// c' that it ends with.
    cell: FeatureMajor<R>,
    /// tanh c'.
    squashed: FeatureMajor<R>,
    /// h' that it ends with.
    pub(super) hidden: FeatureMajor<R>,
    /// Arguments of exponentials, one row of a block.
    row: Vec<R>,
}

impl<R: NdFloat> Unrolled<R> {
    /// Room for `n_frames` frames of an LSTM of `n_units` units.
    pub(super) fn new(n_units: usize, n_frames: usize) -> Self {
        let rows = |n_rows| FeatureMajor::zeros(n_rows, n_frames);
        Unrolled {
            gates: rows(4 * n_units),
            hidden_in: rows(n_units),
            cell_in: rows(n_units),
            cell: rows(n_units),
            squashed: rows(n_units),
            hidden: rows(n_units),
            row: vec![R::zero(); n_frames],
        }
    }

    /// The first step begins with h and c of `state`, whose first rows they are.
    pub(super) fn begin(&mut self, state: ArrayView2<R>) {
        let (n_units, block) = (self.hidden.view().nrows(), 0..state.ncols());
        let (hidden, rest) = state.split_at(Axis(0), n_units);
        let cell = rest.split_at(Axis(0), n_units).0;
        columns_mut(self.hidden_in.view_mut(), block.clone()).assign(&hidden);
        columns_mut(self.cell_in.view_mut(), block).assign(&cell);
    }

    /// Writes h' and c' of the first step into the first rows of `state`.
    pub(super) fn end(&self, state: ArrayViewMut2<R>) {
        let (n_units, block) = (self.hidden.view().nrows(), 0..state.ncols());
        let (mut hidden, rest) = state.split_at(Axis(0), n_units);
        hidden.assign(&columns(self.hidden.view(), block.clone()));
        rest.split_at(Axis(0), n_units).0.assign(&columns(self.cell.view(), block));
    }

    /// The step after `now` begins with what that ended with; with nothing after a reset.
    fn carry(&mut self, now: Range<usize>, kinds: &[StepKind]) {
        let next = now.end..now.end + now.len();
        let both = [(&self.hidden, &mut self.hidden_in), (&self.cell, &mut self.cell_in)];
        for (from, to) in both {
            let from = columns(from.view(), now.clone());
            let mut to = columns_mut(to.view_mut(), next.clone());
            to.assign(&from);
            forget(kinds, to);
        }
    }
}

/// Zeroes the columns of those that were reset.
fn forget<R: NdFloat>(kinds: &[StepKind], mut block: ArrayViewMut2<R>) {
    let resets = kinds.iter().enumerate().filter(|(_, kind)| **kind == StepKind::RESET);
    resets.for_each(|(column, _)| block.column_mut(column).fill(R::zero()));
}

/// Derivatives on their way back.
#[derive(Debug)]
pub(super) struct Slopes<R> {
    /// By h' as the layer above sees it, `[H, N]`; to be written before the pass.
    pub(super) d_hidden: FeatureMajor<R>,
    /// By a, `[4H, N]`.
    pub(super) d_gates: FeatureMajor<R>,
    /// By h' and c' as the next step sees them, `[H, B]`.
    d_next_hidden: FeatureMajor<R>,
    d_next_cell: FeatureMajor<R>,
}

impl<R: NdFloat> Slopes<R> {
    /// Room for `n_frames` frames of an LSTM of `n_units` units.
    pub(super) fn new(n_units: usize, n_frames: usize) -> Self {
        let rows = |n_rows| FeatureMajor::zeros(n_rows, n_frames);
        Slopes {
            d_hidden: rows(n_units),
            d_gates: rows(4 * n_units),
            d_next_hidden: rows(n_units),
            d_next_cell: rows(n_units),
        }
    }
}

/// The blocks of N frames of B trajectories, in the order of time.
fn blocks(n_frames: usize, n_trajectories: usize) -> impl DoubleEndedIterator<Item = Range<usize>> {
    let steps = 0..n_frames.checked_div(n_trajectories).unwrap_or(0);
    steps.map(move |t| t * n_trajectories..(t + 1) * n_trajectories)
}

impl<K> Lstm<K> {
    /// All steps of B trajectories, from where [`Unrolled::begin`] began; `kinds` is `[T, B]`.
    pub(super) fn forward<R: NdFloat>(
        &self,
        params: &[R],
        (n_trajectories, kinds): (usize, &[StepKind]),
        unrolled: &mut Unrolled<R>,
    ) where
        K: Kernels<R>,
    {
        for now in blocks(kinds.len(), n_trajectories) {
            self.step(params, now.clone(), unrolled);
            unrolled.carry(now.clone(), &kinds[now]);
        }
        self.step(params, kinds.len()..kinds.len() + n_trajectories, unrolled);
    }

    /// The step of one block of frames.
    pub(super) fn step<R: NdFloat>(
        &self,
        params: &[R],
        now: Range<usize>,
        unrolled: &mut Unrolled<R>,
    ) where
        K: Kernels<R>,
    {
        let memory = self.layout.memory;
        let mut gates = columns_mut(unrolled.gates.view_mut(), now.clone());
        let hidden_in = columns(unrolled.hidden_in.view(), now.clone());
        self.kernels.add_product(memory.weight(params), hidden_in, gates.view_mut());
        let biases = memory.bias(params);
        let row = &mut unrolled.row[..now.len()];
        for (index, (gate, bias)) in gates.outer_iter_mut().zip(biases).enumerate() {
            let gate = gate.into_slice().expect(CONTIGUOUS);
            match index / self.layout.n_units() {
                2 => self.tanh(gate, *bias, row),
                _ => self.sigmoid(gate, *bias, row),
            }
        }
        self.remember(now, unrolled);
    }

    /// `σ(x + bias)` in the place of x.
    fn sigmoid<R: NdFloat>(&self, x: &mut [R], bias: R, row: &mut [R])
    where
        K: Kernels<R>,
    {
        row.iter_mut().zip(&*x).for_each(|(row, x)| *row = -(*x + bias));
        self.kernels.exp(row, x);
        x.iter_mut().for_each(|x| *x = R::one() / (R::one() + *x));
    }

    /// `tanh(x + bias)` in the place of x, as `2 σ(2x) − 1`.
    fn tanh<R: NdFloat>(&self, x: &mut [R], bias: R, row: &mut [R])
    where
        K: Kernels<R>,
    {
        let two = R::one() + R::one();
        row.iter_mut().zip(&*x).for_each(|(row, x)| *row = -two * (*x + bias));
        self.kernels.exp(row, x);
        x.iter_mut().for_each(|x| *x = two / (R::one() + *x) - R::one());
    }

    /// c' and h' of gates that are open.
    fn remember<R: NdFloat>(&self, now: Range<usize>, unrolled: &mut Unrolled<R>)
    where
        K: Kernels<R>,
    {
        let n_trajectories = now.len();
        let arguments = &mut unrolled.row[..n_trajectories];
        let gates = columns(unrolled.gates.view(), now.clone());
        let cell_in = columns(unrolled.cell_in.view(), now.clone());
        let mut cell = columns_mut(unrolled.cell.view_mut(), now.clone());
        let mut squashed = columns_mut(unrolled.squashed.view_mut(), now.clone());
        let mut hidden = columns_mut(unrolled.hidden.view_mut(), now);
        for unit in 0..self.layout.n_units() {
            // Of one length that the compiler sees, so that it may leave out the checks.
            let [i, f, g, o] = self.gates(gates, unit).map(|gate| &gate[..n_trajectories]);
            let c_in = &row(cell_in, unit)[..n_trajectories];
            let c = &mut row_mut(&mut cell, unit)[..n_trajectories];
            for n in 0..n_trajectories {
                c[n] = f[n] * c_in[n] + i[n] * g[n];
            }
            let squashed = &mut row_mut(&mut squashed, unit)[..n_trajectories];
            squashed.copy_from_slice(c);
            self.tanh(squashed, R::zero(), arguments);
            let h = &mut row_mut(&mut hidden, unit)[..n_trajectories];
            for n in 0..n_trajectories {
                h[n] = o[n] * squashed[n];
            }
        }
    }

    /// Rows of a unit's four gates in a block.
    fn gates<'a, R>(&self, block: ArrayView2<'a, R>, unit: usize) -> [&'a [R]; 4] {
        let n_units = self.layout.n_units();
        [0, 1, 2, 3].map(|gate| row(block, gate * n_units + unit))
    }

    /// Writes the derivatives by a of the first N frames, and adds to `grad` the gradient of what stands before h.
    /// `slopes.d_hidden` and `unrolled` are those of the pass; `kinds` is `[T, B]`, N = T·B.
    pub(super) fn backward<R: NdFloat>(
        &self,
        params: &[R],
        (n_trajectories, kinds): (usize, &[StepKind]),
        unrolled: &Unrolled<R>,
        slopes: &mut Slopes<R>,
        grad: &mut [R],
    ) where
        K: Kernels<R>,
    {
        let memory = self.layout.memory;
        let block = s![.., ..n_trajectories];
        slopes.d_next_hidden.view_mut().slice_mut(block).fill(R::zero());
        slopes.d_next_cell.view_mut().slice_mut(block).fill(R::zero());
        for now in blocks(kinds.len(), n_trajectories).rev() {
            self.step_back(now.clone(), unrolled, slopes);
            let Some(before) = now.start.checked_sub(n_trajectories) else { break };
            let d_gates = columns(slopes.d_gates.view(), now.clone());
            let mut d_hidden = columns_mut(slopes.d_next_hidden.view_mut(), 0..n_trajectories);
            d_hidden.fill(R::zero());
            let weight = memory.weight(params).reversed_axes();
            self.kernels.add_product(weight, d_gates, d_hidden.view_mut());
            let kinds = &kinds[before..now.start];
            forget(kinds, d_hidden);
            forget(kinds, columns_mut(slopes.d_next_cell.view_mut(), 0..n_trajectories));
        }
        let learned = s![.., ..kinds.len()];
        let (d_weight, d_bias) = memory.split_mut(grad);
        let (d_gates, hidden_in) = (slopes.d_gates.view(), unrolled.hidden_in.view());
        let (d_gates, hidden_in) = (d_gates.slice(learned), hidden_in.slice(learned));
        self.kernels.weight_gradient(d_gates, hidden_in, d_weight, d_bias);
    }

    /// Back through the step of a block: from h' and c' to a and c.
    fn step_back<R: NdFloat>(
        &self,
        now: Range<usize>,
        unrolled: &Unrolled<R>,
        slopes: &mut Slopes<R>,
    ) {
        let first = 0..now.len();
        let gates = columns(unrolled.gates.view(), now.clone());
        let cell_in = columns(unrolled.cell_in.view(), now.clone());
        let squashed = columns(unrolled.squashed.view(), now.clone());
        let d_hidden = columns(slopes.d_hidden.view(), now.clone());
        let d_next_hidden = columns(slopes.d_next_hidden.view(), first.clone());
        let mut d_cell = columns_mut(slopes.d_next_cell.view_mut(), first);
        let mut d_gates = quarters(columns_mut(slopes.d_gates.view_mut(), now));
        for unit in 0..self.layout.n_units() {
            let step = UnitStep {
                gates: self.gates(gates, unit),
                cell_in: row(cell_in, unit),
                squashed: row(squashed, unit),
                d_hidden: [row(d_hidden, unit), row(d_next_hidden, unit)],
            };
            step.back(
                row_mut(&mut d_cell, unit),
                d_gates.each_mut().map(|gate| row_mut(gate, unit)),
            );
        }
    }
}

/// One unit's step of B trajectories, `[B]` each.
struct UnitStep<'a, R> {
    /// i, f, g, o.
    gates: [&'a [R]; 4],
    cell_in: &'a [R],
    /// tanh c'.
    squashed: &'a [R],
    /// The derivatives by h' that the layer above and the next step have.
    d_hidden: [&'a [R]; 2],
}

impl<R: NdFloat> UnitStep<'_, R> {
    /// `d_cell` is the derivative by c' as the next step sees it, and becomes that by c.
    fn back(&self, d_cell: &mut [R], [d_i, d_f, d_g, d_o]: [&mut [R]; 4]) {
        let (one, n_trajectories) = (R::one(), d_cell.len());
        // Of one length that the compiler sees, so that it may leave out the checks.
        let [i, f, g, o] = self.gates.map(|gate| &gate[..n_trajectories]);
        let [above, next] = self.d_hidden.map(|d_hidden| &d_hidden[..n_trajectories]);
        let [c, s] = [self.cell_in, self.squashed].map(|row| &row[..n_trajectories]);
        let [d_i, d_f, d_g, d_o] = [d_i, d_f, d_g, d_o].map(|row| &mut row[..n_trajectories]);
        for n in 0..n_trajectories {
            let d_h = above[n] + next[n];
            let d_c = d_cell[n] + d_h * o[n] * (one - s[n] * s[n]);
            d_o[n] = d_h * s[n] * o[n] * (one - o[n]);
            d_i[n] = d_c * g[n] * i[n] * (one - i[n]);
            d_f[n] = d_c * c[n] * f[n] * (one - f[n]);
            d_g[n] = d_c * i[n] * (one - g[n] * g[n]);
            d_cell[n] = d_c * f[n];
        }
    }
}

/// The rows of i, f, g and o.
fn quarters<R>(gates: ArrayViewMut2<'_, R>) -> [ArrayViewMut2<'_, R>; 4] {
    let n_units = gates.nrows() / 4;
    let (i_and_f, g_and_o) = gates.split_at(Axis(0), 2 * n_units);
    let (i, f) = i_and_f.split_at(Axis(0), n_units);
    let (g, o) = g_and_o.split_at(Axis(0), n_units);
    [i, f, g, o]
}

/// Said of a block's rows.
const CONTIGUOUS: &str = "columns are contiguous";

fn row<R>(matrix: ArrayView2<'_, R>, index: usize) -> &[R] {
    matrix.index_axis_move(Axis(0), index).to_slice().expect(CONTIGUOUS)
}

fn row_mut<'a, R>(matrix: &'a mut ArrayViewMut2<'_, R>, index: usize) -> &'a mut [R] {
    matrix.index_axis_mut(Axis(0), index).into_slice().expect(CONTIGUOUS)
}
