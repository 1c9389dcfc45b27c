//! A trained policy plays: episodes, their scores, pictures of them.

pub mod player;
pub mod render;
pub mod scores;

pub use player::{Choice, EvalError, Moment, Player, Selection};
