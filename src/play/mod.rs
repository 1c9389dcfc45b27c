//! A trained policy plays: episodes, their scores, pictures of them.

pub mod player;
pub mod render;
pub mod scores;
pub mod trial;

pub use player::{Bounds, Choice, ChoicePart, EvalError, Moment, Played, Player, Selection};
