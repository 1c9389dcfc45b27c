//! One of A actions, drawn from the softmax of A logits.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, NdFloat};
use rand_core::Rng;

use super::super::params::unit_f32;
use super::Slopes;
use crate::kernels::Kernels;

/// The softmax policy over A actions.
#[derive(Debug)]
pub struct Categorical<K, R> {
    kernels: K,
    /// log π(·|x), `[A, N]`.
    log_probs: Array2<R>,
    /// π(·|x), `[A, N]`.
    probs: Array2<R>,
    /// Of the actions taken, `[N]`.
    log_pi: Vec<R>,
    /// −Σ p log p, `[N]`, nats.
    entropies: Vec<R>,
    /// Of each environment's uniform number, what the probabilities so far have left, `[N]`.
    left: Vec<R>,
}

impl<K: Kernels<R>, R: NdFloat> Categorical<K, R> {
    /// `n_actions` = A actions, for N = `n_frames` frames.
    pub fn new(n_actions: usize, kernels: K, n_frames: usize) -> Self {
        let matrix = || Array2::zeros((n_actions, n_frames));
        let row = || vec![R::zero(); n_frames];
        Categorical {
            kernels,
            log_probs: matrix(),
            probs: matrix(),
            log_pi: row(),
            entropies: row(),
            left: row(),
        }
    }

    /// A.
    pub fn n_actions(&self) -> usize {
        self.log_probs.nrows()
    }

    /// log π(a|x) and entropy, as [`super::Head::evaluate`] has them; `logits` is `[A, N]`, `actions` `[N]`.
    #[inline(always)]
    pub fn evaluate(&mut self, logits: ArrayView2<R>, actions: &[i32]) -> (&[R], &[R]) {
        self.kernels.log_softmax(logits, self.log_probs.view_mut(), self.probs.view_mut());
        self.look_up(actions);
        self.entropies.fill(R::zero());
        for action in 0..self.n_actions() {
            let (probs, log_probs) = (row(&self.probs, action), row(&self.log_probs, action));
            for ((entropy, &p), &log_p) in self.entropies.iter_mut().zip(probs).zip(log_probs) {
                *entropy -= p * log_p;
            }
        }
        (&self.log_pi, &self.entropies)
    }

    /// Fills `log_pi` from `log_probs`: a pass over every action, without a branch.
    #[inline(always)]
    fn look_up(&mut self, actions: &[i32]) {
        self.log_pi.fill(R::zero());
        for action in 0..self.log_probs.nrows() {
            let log_probs = row(&self.log_probs, action);
            for ((sum, &taken), &log_prob) in self.log_pi.iter_mut().zip(actions).zip(log_probs) {
                *sum += if taken == action as i32 { log_prob } else { R::zero() };
            }
        }
    }

    /// See [`super::Head::chain`]; `d_logits` is `[A, N]`.
    #[inline(always)]
    pub fn chain(&self, actions: &[i32], slopes: &Slopes<R>, mut d_logits: ArrayViewMut2<R>) {
        for action in 0..self.n_actions() {
            let column = ActionColumn {
                action: action as i32,
                taken: actions,
                probs: row(&self.probs, action),
                log_probs: row(&self.log_probs, action),
                entropies: &self.entropies,
            };
            column.chain(slopes, slice_of(d_logits.row_mut(action)));
        }
    }
}

impl<K: Kernels<f32>> Categorical<K, f32> {
    /// See [`super::Head::sample`].
    pub fn sample(
        &mut self,
        outputs: ArrayView2<f32>,
        rng: &mut impl Rng,
        actions: &mut [i32],
        log_mu: &mut [f32],
    ) {
        self.kernels.log_softmax(outputs, self.log_probs.view_mut(), self.probs.view_mut());
        self.draw(rng, actions);
        self.look_up(actions);
        log_mu.copy_from_slice(&self.log_pi);
    }

    /// Inverts every environment's distribution function at a uniform number. The last action takes what
    /// rounding leaves, so that an action is always in range, as it is where a probability is NaN.
    ///
    /// Counts the actions that the number lies beyond instead of leaving at the right one: which one that is
    /// no processor can guess, and a wrong guess costs more than the counting.
    fn draw(&mut self, rng: &mut impl Rng, actions: &mut [i32]) {
        assert_eq!(actions.len(), self.left.len(), "one action an environment");
        actions.fill(0);
        self.left.fill_with(|| unit_f32(rng));
        let last = self.probs.nrows() - 1;
        for probs in self.probs.outer_iter().take(last) {
            for ((action, left), p) in actions.iter_mut().zip(&mut self.left).zip(probs) {
                *left -= p;
                *action += i32::from(*left >= 0.0);
            }
        }
    }

    /// Probability of each action in environment `env`, `[A]`.
    pub fn probs(&self, env: usize) -> Vec<f32> {
        self.log_probs.column(env).iter().map(|log_prob| log_prob.exp()).collect()
    }
}

/// The index of the largest logit of each column, the action that is most probable.
pub fn best(logits: ArrayView2<f32>, actions: &mut [i32]) {
    for (logits, action) in logits.columns().into_iter().zip(actions) {
        let best = logits.indexed_iter().max_by(|(_, a), (_, b)| a.total_cmp(b));
        *action = best.map_or(0, |(index, _)| index as i32);
    }
}

/// All steps of a batch as one action sees them, `[T·B]` each.
struct ActionColumn<'a, R> {
    action: i32,
    /// Actions taken.
    taken: &'a [i32],
    /// Of this action, by the target policy.
    probs: &'a [R],
    log_probs: &'a [R],
    entropies: &'a [R],
}

impl<R: NdFloat> ActionColumn<'_, R> {
    /// Writes the derivative of the loss by this action's logits.
    ///
    /// With p the softmax of the logits l, a the action taken and H the entropy:
    /// `∂log p_a/∂l_i = [i = a] − p_i` and `∂H/∂l_i = −p_i (log p_i + H)`.
    #[inline(always)]
    fn chain(&self, slopes: &Slopes<R>, d_logits: &mut [R]) {
        let n_steps = d_logits.len();
        let ActionColumn { action, taken, probs, log_probs, entropies } = *self;
        // Of one length, so that the compiler may leave out the checks and use SIMD.
        let taken = &taken[..n_steps];
        let [probs, log_probs, entropies, by_log_pi, by_entropy] =
            [probs, log_probs, entropies, slopes.log_pi, slopes.entropies]
                .map(|values| &values[..n_steps]);
        for n in 0..n_steps {
            let is_taken = if taken[n] == action { R::one() } else { R::zero() };
            let minus_d_entropy = probs[n] * (log_probs[n] + entropies[n]);
            d_logits[n] = by_log_pi[n] * (is_taken - probs[n]) - by_entropy[n] * minus_d_entropy;
        }
    }
}

fn row<R>(matrix: &Array2<R>, index: usize) -> &[R] {
    let n_columns = matrix.ncols();
    let values = matrix.as_slice().expect("owned matrices here keep the standard layout");
    &values[index * n_columns..(index + 1) * n_columns]
}

fn slice_of<R>(row: ndarray::ArrayViewMut1<'_, R>) -> &mut [R] {
    row.into_slice().expect("columns of the outputs are contiguous")
}
