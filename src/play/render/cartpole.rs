//! CartPole-v1: a cart on a track, a pole on the cart.

use super::canvas::{Canvas, Ink, WIDTH_PX};

/// Pixels a metre: the track's ends, where an episode is lost, are 2.4 m from the middle.
const SCALE_PX: f32 = 90.0;
const END_M: f32 = 2.4;
/// Gymnasium's `length` is half of the pole.
const POLE_M: f32 = 1.0;
const TRACK_Y: f32 = 196.0;
const CART_PX: (f32, f32) = (52.0, 28.0);

/// Draws position and angle (clockwise, 0 upright) of `[x, ẋ, θ, θ̇]`, or of `[x, θ]`.
pub fn draw(canvas: &mut Canvas, obs: &[f32]) {
    let (&[position, _, angle, _] | &[position, angle]) = obs else { return };
    let middle = WIDTH_PX as f32 / 2.0;
    let at = |metres: f32| middle + metres * SCALE_PX;
    canvas.line(&[(at(-END_M), TRACK_Y), (at(END_M), TRACK_Y)], 3.0, Ink::Pale);
    for metres in [-END_M, 0.0, END_M] {
        canvas.line(&[(at(metres), TRACK_Y - 6.0), (at(metres), TRACK_Y + 6.0)], 3.0, Ink::Pale);
    }
    let (x, top) = (at(position), TRACK_Y - CART_PX.1 - 6.0);
    canvas.rectangle((x - CART_PX.0 / 2.0, top), CART_PX, Ink::Blue);
    for wheel in [-0.28, 0.28] {
        canvas.disc((x + wheel * CART_PX.0, TRACK_Y - 6.0), 6.0, Ink::Black);
    }
    let pivot = (x, top + 6.0);
    let pole_px = POLE_M * SCALE_PX;
    let tip = (pivot.0 + pole_px * angle.sin(), pivot.1 - pole_px * angle.cos());
    canvas.line(&[pivot, tip], 9.0, Ink::Orange);
    canvas.disc(pivot, 4.0, Ink::Black);
}
