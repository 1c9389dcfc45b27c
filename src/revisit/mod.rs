//! A run seen again: gone on with, looked into while it lives, learned again.

pub mod live;
pub mod replay;
pub mod resume;
