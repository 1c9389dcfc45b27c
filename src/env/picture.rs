//! A picture that an environment draws of itself, for people to look at.

/// Red, green and blue, a byte each.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[H, W, 3]`.
    pub rgb: Vec<u8>,
    /// Pictures of a second, where the environment says how fast it is meant to be seen.
    pub fps: Option<f64>,
}
