//! Optimisers over one flat parameter vector, and the clipping of its gradient.
//!
//! RMSProp and Adam as PyTorch defines them (`torch.optim.RMSprop` without momentum or centring,
//! `torch.optim.Adam` without weight decay), so that settings carry over. Called once an update.

use crate::config::{OptimizerConfig, OptimizerKind};
use crate::kernels::{Simd, Work};
use crate::state::OptimizerState;

/// Which optimiser, with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateRule {
    /// `square_avg = α·square_avg + (1−α)·g²`, `param −= lr · g / (√square_avg + ε)`.
    RmsProp {
        /// Smoothing of the squared gradient.
        alpha: f32,
        /// Added to the denominator.
        epsilon: f32,
    },
    /// Adam with bias correction.
    Adam {
        /// Smoothing of the gradient.
        beta1: f32,
        /// Smoothing of the squared gradient.
        beta2: f32,
        /// Added to the denominator.
        epsilon: f32,
    },
}

/// An optimiser and its state.
#[derive(Clone, Debug)]
pub struct Optimizer {
    /// The widest vectors: they change no result.
    simd: Simd,
    rule: UpdateRule,
    state: OptimizerState,
}

impl UpdateRule {
    /// The rule of a configuration.
    pub fn of(config: &OptimizerConfig) -> Self {
        let OptimizerConfig { alpha, betas: [beta1, beta2], epsilon, .. } = *config;
        match config.kind {
            OptimizerKind::RmsProp => UpdateRule::RmsProp { alpha, epsilon },
            OptimizerKind::Adam => UpdateRule::Adam { beta1, beta2, epsilon },
        }
    }

    fn n_moments(self) -> usize {
        match self {
            UpdateRule::RmsProp { .. } => OptimizerKind::RmsProp.n_moments(),
            UpdateRule::Adam { .. } => OptimizerKind::Adam.n_moments(),
        }
    }
}

impl Optimizer {
    /// A fresh optimiser for `n_params` parameters.
    pub fn new(rule: UpdateRule, n_params: usize) -> Self {
        Optimizer::resume(rule, OptimizerState::fresh(n_params, rule.n_moments()))
    }

    /// One that goes on from an earlier one's state, which must be of the same rule.
    pub fn resume(rule: UpdateRule, state: OptimizerState) -> Self {
        assert_eq!(state.moments().count(), rule.n_moments(), "the state is of another rule");
        Optimizer { simd: Simd::detect(), rule, state }
    }

    /// What it remembers between steps.
    pub fn state(&self) -> &OptimizerState {
        &self.state
    }

    /// One step down the gradient. Slices have the optimiser's number of parameters.
    pub fn step(&mut self, params: &mut [f32], grad: &[f32], learning_rate: f32) {
        self.state.n_steps += 1;
        let Optimizer { simd, rule, ref mut state } = *self;
        simd.run(Step { rule, state, params, grad, learning_rate });
    }
}

/// One step of an optimiser, as work for wide vectors.
struct Step<'a> {
    rule: UpdateRule,
    /// The step counted already.
    state: &'a mut OptimizerState,
    params: &'a mut [f32],
    grad: &'a [f32],
    learning_rate: f32,
}

impl Work for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.rule {
            UpdateRule::RmsProp { alpha, epsilon } => self.rmsprop(alpha, epsilon),
            UpdateRule::Adam { beta1, beta2, epsilon } => self.adam([beta1, beta2], epsilon),
        }
    }
}

impl Step<'_> {
    #[inline(always)]
    fn rmsprop(self, alpha: f32, epsilon: f32) {
        let Step { state, params, grad, learning_rate: lr, .. } = self;
        for ((param, &g), square) in params.iter_mut().zip(grad).zip(&mut state.square) {
            *square = alpha * *square + (1.0 - alpha) * g * g;
            *param -= lr * g / (square.sqrt() + epsilon);
        }
    }

    #[inline(always)]
    fn adam(self, [beta1, beta2]: [f32; 2], epsilon: f32) {
        let Step { state, params, grad, learning_rate: lr, .. } = self;
        // Beyond the largest i32 both powers have long been zero.
        let n_steps = i32::try_from(state.n_steps).unwrap_or(i32::MAX);
        let step_size = lr / (1.0 - beta1.powi(n_steps));
        let square_correction = (1.0 - beta2.powi(n_steps)).sqrt();
        let moments = state.mean.iter_mut().zip(&mut state.square);
        for ((param, &g), (mean, square)) in params.iter_mut().zip(grad).zip(moments) {
            *mean = beta1 * *mean + (1.0 - beta1) * g;
            *square = beta2 * *square + (1.0 - beta2) * g * g;
            *param -= step_size * *mean / (square.sqrt() / square_correction + epsilon);
        }
    }
}

/// Scales `grad` so that its Euclidean norm is at most `max_norm`; returns the norm before.
pub fn clip_grad_norm(grad: &mut [f32], max_norm: f32) -> f32 {
    let norm = squared_norm(grad).sqrt();
    if norm > max_norm {
        let scale = max_norm / norm;
        grad.iter_mut().for_each(|g| *g *= scale);
    }
    norm
}

/// Sum of squares, in independent partial sums so that the compiler may use SIMD.
fn squared_norm(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<16>();
    let mut partial = [0.0_f32; 16];
    for chunk in chunks {
        for (sum, value) in partial.iter_mut().zip(chunk) {
            *sum += value * value;
        }
    }
    partial.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps by PyTorch's documented update rules, worked out in float64, on params [1, -2, 3]
    /// with gradients [.5, -1, 2] then [-1, .25, 4] at a rate of 0.1.
    const RMSPROP: [f32; 3] = [0.988_416_5, -1.312_950_9, 1.171_897_4];
    const ADAM: [f32; 3] = [0.936_610_35, -1.853_053_2, 2.803_481_8];

    fn two_steps(rule: UpdateRule) -> [f32; 3] {
        let mut params = [1.0, -2.0, 3.0];
        let mut optimizer = Optimizer::new(rule, 3);
        optimizer.step(&mut params, &[0.5, -1.0, 2.0], 0.1);
        optimizer.step(&mut params, &[-1.0, 0.25, 4.0], 0.1);
        params
    }

    #[test]
    fn rmsprop_is_pytorchs() {
        let params = two_steps(UpdateRule::RmsProp { alpha: 0.99, epsilon: 0.01 });
        approx::assert_relative_eq!(params[..], RMSPROP[..], max_relative = 1e-6);
    }

    #[test]
    fn adam_is_pytorchs() {
        let params = two_steps(UpdateRule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 });
        approx::assert_relative_eq!(params[..], ADAM[..], max_relative = 1e-6);
    }

    #[test]
    fn clipping_bounds_the_norm_and_reports_it_before() {
        let mut grad = vec![3.0; 100];
        assert_eq!(clip_grad_norm(&mut grad, 40.0), 30.0);
        assert_eq!(grad[0], 3.0);
        assert_eq!(clip_grad_norm(&mut grad, 15.0), 30.0);
        approx::assert_relative_eq!(clip_grad_norm(&mut grad, 15.0), 15.0, max_relative = 1e-6);
    }
}
