//! Networks: their parameters in one flat vector, and how observations become outputs.

pub mod mlp;
pub mod params;
