//! What one step of a rollout was: ordinary, an end, a reset.

use bytemuck::{Pod, Zeroable};

/// What one row of a rollout is: the step that led from its observation to the next one.
///
/// A plain word rather than an enum, because it is read back from memory that another process wrote:
/// there every bit pattern can occur, and an unknown one must only ever mask its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct StepKind(u32);

impl StepKind {
    /// The episode goes on.
    pub const ORDINARY: Self = Self(0);
    /// The episode ended in a terminal state: the next observation's value is 0 by definition.
    pub const TERMINATED: Self = Self(1);
    /// The time limit cut the episode: the next observation is its true last one and has a value.
    pub const TRUNCATED: Self = Self(2);
    /// No step was taken: the action was ignored, and the next observation is a new episode's first.
    pub const RESET: Self = Self(3);
    /// A life was lost and the game goes on: what follows counts for nothing here, as after a terminal state, but
    /// the next row is a step like any other.
    pub const LIFE_LOST: Self = Self(4);

    /// Whether the row is a step of a policy, from which to learn; false for resets and unknown words.
    pub fn is_learned(self) -> bool {
        self.0 < Self::RESET.0 || self == Self::LIFE_LOST
    }

    /// Whether the value of the next observation is 0 by definition.
    pub fn ends_value(self) -> bool {
        self == Self::TERMINATED || self == Self::LIFE_LOST
    }

    /// Whether an episode ended with this step, one way or the other. With a lost life none does.
    pub fn ends_episode(self) -> bool {
        self == Self::TERMINATED || self == Self::TRUNCATED
    }
}
