//! Random actions for the learner's tests.

use impala::space::{ActionBuffer, ActionSpace, ActionsMut};

use crate::uniform::Uniform;

/// Actions of `n` steps.
pub fn random_actions(space: &ActionSpace, n: usize, random: &mut Uniform) -> ActionBuffer {
    let mut actions = ActionBuffer::zeros(space, n);
    match actions.view_mut() {
        ActionsMut::Indices(mut rows) => {
            for (part, mut row) in rows.outer_iter_mut().enumerate() {
                let n_choices = match space {
                    ActionSpace::MultiDiscrete(choices) => choices[part],
                    ActionSpace::Discrete(n) => *n,
                    ActionSpace::Box { .. } => unreachable!("its actions are numbers"),
                };
                row.mapv_inplace(|_| random.below(n_choices) as i32);
            }
        }
        ActionsMut::Numbers(mut rows) => rows.mapv_inplace(|_| 2.0 * random.draw() as f32),
    }
    actions
}
