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
