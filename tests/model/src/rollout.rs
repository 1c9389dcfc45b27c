//! Stands in for `src/rollout`: what `layout.rs` computes with. No scenario has a rollout.

#[path = "../../../src/space/number.rs"]
mod number;

use number::{Number, Numbers};

/// As the real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RolloutShape {
    pub unroll_length: usize,
    pub n_envs: usize,
    pub obs: Numbers,
    pub n_stacked: usize,
    pub action: Numbers,
}

impl RolloutShape {
    pub const fn of_numbers(unroll_length: usize, n_envs: usize, n_numbers: usize) -> Self {
        let (obs, action) = (Numbers::new(Number::F32, n_numbers), Numbers::new(Number::I32, 1));
        RolloutShape { unroll_length, n_envs, obs, n_stacked: 1, action }
    }
}

/// A slot of any size will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLayout {
    pub stride_bytes: usize,
}

impl SlotLayout {
    pub fn of(_shape: &RolloutShape) -> Option<SlotLayout> {
        Some(SlotLayout { stride_bytes: 128 })
    }
}

/// What the layout's hash asks of a field.
pub struct Field {
    pub name: &'static str,
    pub numbers: Numbers,
}

pub fn fields(shape: &RolloutShape) -> [Field; 1] {
    [Field { name: "obs", numbers: shape.obs }]
}
