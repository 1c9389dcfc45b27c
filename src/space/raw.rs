//! From a number as a policy draws it to the number that an environment takes.

/// A bound beyond this is meant as none, such as the largest f32.
const WIDEST_BOUND: f32 = 1e6;

/// One number's way out of the policy: a drawn -1 becomes the lower bound of the action, 1 the upper one, and what
/// lies beyond is brought back. Where one of them is no bound, the number is taken as it is drawn, up to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActionMap {
    low: f32,
    high: f32,
    centre: f32,
    /// Half of the way from one bound to the other.
    half: f32,
    is_squashed: bool,
}

impl ActionMap {
    /// Numbers beyond -1 and 1 are clipped; or all are squashed by tanh, where both bounds are there.
    pub fn of([low, high]: [f32; 2], squash: bool) -> Self {
        if is_bounded([low, high]) {
            let half = (high - low) / 2.0;
            return ActionMap { low, high, centre: low + half, half, is_squashed: squash };
        }
        ActionMap { low, high, centre: 0.0, half: 1.0, is_squashed: false }
    }

    /// What the environment takes, of what was drawn.
    pub fn taken(&self, drawn: f32) -> f32 {
        let share = if self.is_squashed { drawn.tanh() } else { drawn };
        (self.centre + self.half * share).clamp(self.low, self.high)
    }

    /// How far a number that the environment takes is on the way from bound to bound, 0 to 1; for people to look
    /// at.
    pub fn share(&self, taken: f32) -> f32 {
        match is_bounded([self.low, self.high]) {
            true => (taken - self.low) / (self.high - self.low),
            false => (1.0 + taken.tanh()) / 2.0,
        }
    }
}

fn is_bounded(bounds: [f32; 2]) -> bool {
    bounds.into_iter().all(|bound| bound.abs() <= WIDEST_BOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_numbers_from_minus_one_to_one_span_the_bounds() {
        let taken = |squash| {
            let map = ActionMap::of([-2.0, 6.0], squash);
            [-9.0, -1.0, 0.0, 0.5, 1.0, 9.0].map(|drawn| map.taken(drawn))
        };
        assert_eq!(taken(false), [-2.0, -2.0, 2.0, 4.0, 6.0, 6.0]);
        let expected = [-9.0, -1.0, 0.0, 0.5, 1.0, 9.0].map(|drawn: f32| 2.0 + 4.0 * drawn.tanh());
        approx::assert_relative_eq!(taken(true)[..], expected[..], max_relative = 1e-6);
        assert!(taken(true).iter().all(|number| (-2.0..=6.0).contains(number)));
    }

    #[test]
    fn a_number_without_bounds_is_taken_as_it_is_drawn() {
        for squash in [false, true] {
            let map = ActionMap::of([f32::MIN, f32::MAX], squash);
            assert_eq!([-3.5, 1e30].map(|drawn| map.taken(drawn)), [-3.5, 1e30]);
            let map = ActionMap::of([0.0, f32::MAX], squash);
            assert_eq!([-3.5, 3.5].map(|drawn| map.taken(drawn)), [0.0, 3.5]);
        }
    }

    #[test]
    fn shares_go_from_bound_to_bound() {
        let map = ActionMap::of([-2.0, 6.0], false);
        assert_eq!([-2.0, 0.0, 6.0].map(|taken| map.share(taken)), [0.0, 0.25, 1.0]);
        let map = ActionMap::of([f32::MIN, f32::MAX], false);
        assert_eq!([-9.9e9, 0.0, 9.9e9].map(|taken| map.share(taken)), [0.0, 0.5, 1.0]);
    }
}
