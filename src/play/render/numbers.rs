//! Any environment: the numbers of its observation, each with a bar from the middle.

use super::canvas::{Canvas, Ink, SCENE_BOTTOM, Size, WIDTH_PX};

/// More numbers than this do not fit below one another; the first ones are shown.
const MAX_ROWS: usize = 11;
const ROW_PX: f32 = 20.0;
const HALF_BAR_PX: f32 = 120.0;

/// Draws an observation. A bar's length is tanh of its number: small ones keep their proportions, and
/// large ones stay on the paper.
pub fn draw(canvas: &mut Canvas, obs: &[f32]) {
    let n_rows = obs.len().min(MAX_ROWS);
    let first_top = (SCENE_BOTTOM - n_rows as f32 * ROW_PX) / 2.0;
    let middle = WIDTH_PX as f32 / 2.0 + 40.0;
    for (row, &number) in obs.iter().enumerate().take(n_rows) {
        let top = first_top + row as f32 * ROW_PX;
        let label = format!("obs[{row}] {number:>9.3}");
        canvas.text((14, top as u32), &label, Size::Small, Ink::Black);
        canvas.rectangle((middle, top), (1.0, ROW_PX), Ink::Pale);
        let length = HALF_BAR_PX * number.tanh();
        let left = middle + length.min(0.0);
        canvas.rectangle((left, top + 4.0), (length.abs(), ROW_PX - 8.0), Ink::Blue);
    }
}
