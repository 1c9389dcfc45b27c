//! What a rank brings into a round: the gradient of its batch, with room behind it for the tally.
//!
//! Owns the layout of the one buffer that is exchanged. Made by a lane, filled pass by pass, summed by the cluster.

use super::tally::Tally;
use crate::config::{Config, ConfigError};
use crate::network::Backend;
use crate::run::sizes::Sizes;

/// `[parts · P + tally]`, where P is the number of parameters. The first part is the gradient, once all parts are
/// added up.
pub struct Contribution {
    values: Vec<f32>,
    n_params: usize,
    n_parts: usize,
}

impl Contribution {
    /// One as a configuration needs it. Where sums keep an order each slot has a part of its own; libtorch takes all
    /// slots in one pass.
    ///
    /// # Errors
    /// If the configuration was not checked.
    pub fn of(config: &Config) -> Result<Self, ConfigError> {
        let sizes = Sizes::of(config)?;
        let is_by_slot = config.backend(&sizes.network)? == Backend::Native;
        let n_parts =
            if config.sums_in_order() && is_by_slot { config.loss.batch_slots } else { 1 };
        Ok(Contribution::new(sizes.n_params(), n_parts))
    }

    /// One whose passes add to `n_parts` gradients of `n_params` parameters, the last of which takes all further ones.
    pub fn new(n_params: usize, n_parts: usize) -> Self {
        let values = vec![0.0; n_parts * n_params + Tally::LEN];
        Contribution { values, n_params, n_parts }
    }

    /// Sets all to zero.
    pub fn clear(&mut self) {
        self.values.fill(0.0);
    }

    /// The gradient that the pass with this number adds to.
    pub fn part(&mut self, pass: usize) -> &mut [f32] {
        let part = pass.min(self.n_parts - 1);
        &mut self.values[part * self.n_params..][..self.n_params]
    }

    /// The gradient, by every parameter.
    pub fn gradient(&self) -> &[f32] {
        &self.values[..self.n_params]
    }

    /// The same, to be changed.
    pub fn gradient_mut(&mut self) -> &mut [f32] {
        self.part(0)
    }

    /// Adds the other parts to the first one, in their order.
    pub fn add_up(&mut self) {
        let (gradient, others) = self.parts();
        others.for_each(|part| add(gradient, part));
    }

    fn parts(&mut self) -> (&mut [f32], impl Iterator<Item = &[f32]>) {
        let n_gradients = self.n_parts * self.n_params;
        let (gradient, others) = self.values[..n_gradients].split_at_mut(self.n_params);
        (gradient, others.chunks_exact(self.n_params))
    }
}

/// What only a cluster of several needs.
impl Contribution {
    /// The whole buffer, for it to be exchanged.
    pub fn values_mut(&mut self) -> &mut Vec<f32> {
        &mut self.values
    }

    /// Where the tally stands.
    pub fn tally_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.n_parts * self.n_params..]
    }

    /// Becomes the sum of the buffers of all ranks, which lie one behind the other: gradients part by part, in the
    /// order of the ranks, as one rank that had all these parts would add them up.
    pub fn sum_in_order(&mut self, all: &[f32]) {
        let (n_values, n_gradients) = (self.values.len(), self.n_parts * self.n_params);
        let mut parts = all
            .chunks_exact(n_values)
            .flat_map(|of_rank| of_rank[..n_gradients].chunks_exact(self.n_params));
        let (gradient, rest) = self.values.split_at_mut(self.n_params);
        gradient.copy_from_slice(parts.next().expect("there is a rank, with a part"));
        parts.for_each(|part| add(gradient, part));
        let tally = &mut rest[n_gradients - self.n_params..];
        tally.fill(0.0);
        all.chunks_exact(n_values).for_each(|of_rank| add(tally, &of_rank[n_gradients..]));
    }
}

fn add(sum: &mut [f32], part: &[f32]) {
    sum.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers whose sum depends on the order.
    fn gradients() -> [Vec<f32>; 4] {
        let value = |part: usize, i: usize| {
            ((7 * part + 3 * i + 1) as f32).sqrt() * 10f32.powi(part as i32 - 2)
        };
        [0, 1, 2, 3].map(|part| (0..5).map(|i| value(part, i)).collect())
    }

    fn of_parts(parts: &[Vec<f32>]) -> Contribution {
        let mut contribution = Contribution::new(5, parts.len());
        parts.iter().enumerate().for_each(|(i, part)| contribution.part(i).copy_from_slice(part));
        contribution
    }

    #[test]
    fn parts_are_added_in_their_order() {
        let parts = gradients();
        let mut contribution = of_parts(&parts);
        contribution.add_up();
        let sum = |i: usize| parts[1..].iter().fold(parts[0][i], |sum, part| sum + part[i]);
        assert_eq!(contribution.gradient(), [0, 1, 2, 3, 4].map(sum));
    }

    #[test]
    fn further_passes_add_to_the_last_part() {
        let mut contribution = Contribution::new(2, 1);
        contribution.part(0)[0] = 1.0;
        contribution.part(3)[0] += 2.0;
        assert_eq!(contribution.gradient(), [3.0, 0.0]);
    }

    #[test]
    fn two_ranks_of_two_parts_sum_as_one_of_four() {
        let parts = gradients();
        let mut whole = of_parts(&parts);
        whole.add_up();
        let mut ranks = [of_parts(&parts[..2]), of_parts(&parts[2..])];
        ranks.iter_mut().zip([3.0, 4.0]).for_each(|(rank, count)| rank.tally_mut()[0] = count);
        let all: Vec<f32> = ranks.iter_mut().flat_map(|rank| rank.values_mut().clone()).collect();
        for rank in &mut ranks {
            rank.sum_in_order(&all);
            assert_eq!(rank.gradient(), whole.gradient());
            assert_eq!(rank.tally_mut()[0], 7.0);
        }
    }
}
