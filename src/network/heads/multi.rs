//! K choices at once, each drawn from a softmax of its own.

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat, s};
use rand_core::Rng;

use super::Slopes;
use super::categorical::{self, Categorical};
use crate::kernels::Kernels;

/// K independent softmax policies: log π and the entropy are sums over them.
#[derive(Debug)]
pub struct MultiCategorical<K, R> {
    /// One for each choice.
    choices: Vec<Categorical<K, R>>,
    /// Of the actions taken, `[N]`.
    log_pi: Vec<R>,
    /// Nats, `[N]`.
    entropies: Vec<R>,
}

impl<K: Kernels<R>, R: NdFloat> MultiCategorical<K, R> {
    /// `n_actions` = A of each choice, for N = `n_frames` frames.
    pub fn new(n_actions: &[usize], kernels: K, n_frames: usize) -> Self {
        let choice = |n: &usize| Categorical::new(*n, kernels, n_frames);
        let row = || vec![R::zero(); n_frames];
        let choices = n_actions.iter().map(choice).collect();
        MultiCategorical { choices, log_pi: row(), entropies: row() }
    }

    /// log π(a|x) and entropy, as [`super::Head::evaluate`] has them; `logits` is `[P, N]`, `actions` `[K, N]`.
    pub fn evaluate(&mut self, logits: ArrayView2<R>, actions: ArrayView2<i32>) -> (&[R], &[R]) {
        self.log_pi.fill(R::zero());
        self.entropies.fill(R::zero());
        let mut first = 0;
        for (choice, actions) in self.choices.iter_mut().zip(actions.outer_iter()) {
            let rows = first..first + choice.n_actions();
            first = rows.end;
            let actions = actions.to_slice().expect("columns are contiguous");
            let (log_pi, entropies) = choice.evaluate(logits.slice(s![rows, ..]), actions);
            add(&mut self.log_pi, log_pi);
            add(&mut self.entropies, entropies);
        }
        (&self.log_pi, &self.entropies)
    }

    /// See [`super::Head::chain`]; `d_logits` is `[P, N]`.
    pub fn chain(
        &self,
        actions: ArrayView2<i32>,
        slopes: &Slopes<R>,
        mut d_logits: ArrayViewMut2<R>,
    ) {
        let mut first = 0;
        for (choice, actions) in self.choices.iter().zip(actions.outer_iter()) {
            let rows = first..first + choice.n_actions();
            first = rows.end;
            let actions = actions.to_slice().expect("columns are contiguous");
            choice.chain(actions, slopes, d_logits.slice_mut(s![rows, ..]));
        }
    }
}

impl<K: Kernels<f32>> MultiCategorical<K, f32> {
    /// See [`super::Head::sample`].
    pub fn sample(
        &mut self,
        logits: ArrayView2<f32>,
        rng: &mut impl Rng,
        mut actions: ArrayViewMut2<i32>,
        log_mu: &mut [f32],
    ) {
        self.log_pi.fill(0.0);
        let mut first = 0;
        for (choice, actions) in self.choices.iter_mut().zip(actions.outer_iter_mut()) {
            let rows = first..first + choice.n_actions();
            first = rows.end;
            let actions = actions.into_slice().expect("columns are contiguous");
            choice.sample(logits.slice(s![rows, ..]), rng, actions, log_mu);
            add(&mut self.log_pi, log_mu);
        }
        log_mu.copy_from_slice(&self.log_pi);
    }

    /// See [`super::Head::best`].
    pub fn best(&self, logits: ArrayView2<f32>, mut actions: ArrayViewMut2<i32>) {
        let mut first = 0;
        for (choice, actions) in self.choices.iter().zip(actions.outer_iter_mut()) {
            let rows = first..first + choice.n_actions();
            first = rows.end;
            let actions = actions.into_slice().expect("columns are contiguous");
            categorical::best(logits.slice(s![rows, ..]), actions);
        }
    }

    /// See [`super::Head::odds`]: those of each choice.
    pub fn probs(&self, env: usize) -> impl Iterator<Item = Vec<f32>> {
        self.choices.iter().map(move |choice| choice.probs(env))
    }
}

fn add<R: NdFloat>(sums: &mut [R], numbers: &[R]) {
    sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += *number);
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand_core::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;
    use crate::kernels::Simd;

    /// Of one of three and one of two; unequal, so that no mix-up of rows stays hidden.
    const PROBS: [&[f32]; 2] = [&[0.5, 0.2, 0.3], &[0.1, 0.9]];

    /// Logits of N frames, each choice's shifted by another constant.
    fn logits(n_frames: usize) -> Array2<f32> {
        let column: Vec<f32> = (0..)
            .zip(PROBS)
            .flat_map(|(choice, probs)| {
                probs.iter().map(move |prob| prob.ln() + 3.0 * choice as f32)
            })
            .collect();
        Array2::from_shape_fn((5, n_frames), |(row, _)| column[row])
    }

    #[test]
    fn actions_are_drawn_as_often_as_the_product_of_their_probabilities_says() {
        let n = 200_000;
        let (logits, mut actions) = (logits(n), Array2::zeros((2, n)));
        let mut head = MultiCategorical::new(&[3, 2], Simd::detect(), n);
        let mut log_mu = vec![0.0; n];
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        head.sample(logits.view(), &mut rng, actions.view_mut(), &mut log_mu);
        let mut counts = [[0; 2]; 3];
        for (action, log_mu) in actions.columns().into_iter().zip(&log_mu) {
            let [first, second] = [action[0] as usize, action[1] as usize];
            counts[first][second] += 1;
            let expected = PROBS[0][first] * PROBS[1][second];
            approx::assert_relative_eq!(log_mu.exp(), expected, max_relative = 1e-5);
        }
        for (first, row) in counts.iter().enumerate() {
            for (second, count) in row.iter().enumerate() {
                let expected = f64::from(PROBS[0][first] * PROBS[1][second]);
                let error = 5.0 * (expected * (1.0 - expected) / n as f64).sqrt();
                let share = f64::from(*count) / n as f64;
                assert!((share - expected).abs() < error, "{first}, {second}: {share}");
            }
        }
        let entropy: f32 = PROBS.iter().copied().flatten().map(|prob| -prob * prob.ln()).sum();
        let (log_pi, entropies) = head.evaluate(logits.view(), actions.view());
        assert_eq!(log_pi, log_mu, "to the last bit: the learner's ratio of equal policies is 1");
        approx::assert_relative_eq!(entropies[0], entropy, max_relative = 1e-5);
        for (probs, expected) in head.probs(0).zip(PROBS) {
            approx::assert_relative_eq!(probs[..], *expected, max_relative = 1e-5);
        }
    }

    #[test]
    fn the_best_action_is_that_of_each_choice() {
        let mut actions = Array2::zeros((2, 3));
        let head = MultiCategorical::new(&[3, 2], Simd::detect(), 3);
        head.best(logits(3).view(), actions.view_mut());
        assert_eq!(actions, ndarray::arr2(&[[0; 3], [1; 3]]));
    }
}
