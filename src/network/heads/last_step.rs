//! The step before, as numbers that a network with memory may take beside the features of an observation: the
//! action that was taken, and the reward, as in IMPALA (arXiv 1802.01561, Figure 3).
//!
//! An index is one-hot, a number is as it was drawn; the reward is clipped to ±1, as in the paper's own code. After
//! a reset all are zero. Actor and learner both write them here, and so have the same.

use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};

use crate::rollout::{Batch, StepKind};
use crate::space::{ActionSpace, Actions};

/// L: numbers that tell of one step.
pub fn n_numbers(space: &ActionSpace) -> usize {
    n_action_numbers(space) + 1
}

fn n_action_numbers(space: &ActionSpace) -> usize {
    match space {
        ActionSpace::Discrete(_) | ActionSpace::MultiDiscrete(_) => choices(space).iter().sum(),
        ActionSpace::Box { low, .. } => low.len(),
    }
}

/// How many indices each part of an action has; none where it is numbers.
fn choices(space: &ActionSpace) -> &[usize] {
    match space {
        ActionSpace::Discrete(n) => std::slice::from_ref(n),
        ActionSpace::MultiDiscrete(choices) => choices,
        ActionSpace::Box { .. } => &[],
    }
}

/// N steps that a network is told of afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a> {
    /// Actions taken, `[K, N]`.
    pub actions: Actions<'a>,
    /// Raw rewards, `[N]`.
    pub rewards: &'a [f32],
    /// What each step was, `[N]`.
    pub kinds: &'a [StepKind],
}

impl Steps<'_> {
    /// Writes what is told of each of them, `[L, N]`.
    pub fn tell(&self, space: &ActionSpace, mut numbers: ArrayViewMut2<f32>) {
        numbers.fill(0.0);
        let reward_row = n_action_numbers(space);
        for (n, &kind) in self.kinds.iter().enumerate() {
            if kind != StepKind::RESET {
                self.tell_action(space, n, numbers.view_mut());
                numbers[[reward_row, n]] = self.rewards[n].clamp(-1.0, 1.0);
            }
        }
    }

    fn tell_action(&self, space: &ActionSpace, n: usize, mut numbers: ArrayViewMut2<f32>) {
        match self.actions {
            Actions::Numbers(actions) => {
                let rows = s![..actions.nrows(), n];
                numbers.slice_mut(rows).assign(&actions.column(n));
            }
            Actions::Indices(actions) => {
                let mut first = 0;
                for (&index, n_choices) in actions.column(n).iter().zip(choices(space)) {
                    // Where a slot is damaged, none of the numbers is 1.
                    if (index as usize) < *n_choices {
                        numbers[[first + index as usize, n]] = 1.0;
                    }
                    first += n_choices;
                }
            }
        }
    }
}

/// What the learner's network is told of the steps of a batch.
#[derive(Debug)]
pub struct LastSteps {
    space: ActionSpace,
    /// `[L, (T+1)·B]`.
    numbers: Array2<f32>,
}

impl LastSteps {
    /// Room for `n_observations` = (T+1)·B frames, `n_rows` = L numbers each: those of this space, or none.
    pub fn new(space: &ActionSpace, n_rows: usize, n_observations: usize) -> Self {
        LastSteps { space: space.clone(), numbers: Array2::zeros((n_rows, n_observations)) }
    }

    /// What is told before each frame: before step 0 what the actor's network was told, at the end of its state.
    pub fn of(&mut self, batch: &Batch) -> ArrayView2<'_, f32> {
        let Batch { frames, actions, rewards, .. } = batch;
        let (n_rows, n_first) = (self.numbers.nrows(), frames.n_trajectories);
        if n_rows > 0 {
            let (mut first, later) = self.numbers.view_mut().split_at(ndarray::Axis(1), n_first);
            first.assign(&frames.state.slice(s![-(n_rows as isize).., ..]));
            Steps { actions: *actions, rewards, kinds: frames.kinds }.tell(&self.space, later);
        }
        self.numbers.view()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;

    const KINDS: [StepKind; 3] = [StepKind::ORDINARY, StepKind::RESET, StepKind::TERMINATED];

    fn told(space: &ActionSpace, actions: Actions) -> Array2<f32> {
        let mut numbers = Array2::from_elem((n_numbers(space), 3), 7.0);
        let steps = Steps { actions, rewards: &[0.5, 0.25, -4.0], kinds: &KINDS };
        steps.tell(space, numbers.view_mut());
        numbers
    }

    #[test]
    fn actions_are_one_hot_or_as_drawn_and_rewards_clipped() {
        let one = told(&ActionSpace::Discrete(2), Actions::of_indices(&[1, 1, 0]));
        assert_eq!(one, arr2(&[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.5, 0.0, -1.0]]));
        let indices = arr2(&[[1, 1, 0], [2, -7, 9]]);
        let several = ActionSpace::MultiDiscrete(vec![2, 3]);
        let several = told(&several, Actions::Indices(indices.view()));
        assert_eq!(several.column(0).to_vec(), [0.0, 1.0, 0.0, 0.0, 1.0, 0.5]);
        assert_eq!(several.column(1).to_vec(), [0.0; 6], "after a reset");
        assert_eq!(several.column(2).to_vec(), [1.0, 0.0, 0.0, 0.0, 0.0, -1.0], "no such index");
        let space = ActionSpace::Box { low: vec![-1.0; 2], high: vec![1.0; 2] };
        let drawn = arr2(&[[0.1, 0.2, 1.5], [-0.1, 0.4, -9.0]]);
        let numbers = told(&space, Actions::Numbers(drawn.view()));
        assert_eq!(numbers, arr2(&[[0.1, 0.0, 1.5], [-0.1, 0.0, -9.0], [0.5, 0.0, -1.0]]));
    }
}
