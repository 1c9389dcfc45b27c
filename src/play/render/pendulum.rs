//! Pendulum-v1: a rod on a motor.

use super::canvas::{Canvas, Ink, Point, SCENE_BOTTOM, WIDTH_PX};

/// Pixels of the rod, which is 1 m long.
const ROD_PX: f32 = 84.0;
const MOTOR: Point = (WIDTH_PX as f32 / 2.0, SCENE_BOTTOM / 2.0);

/// Draws the rod of `[cos θ, sin θ, θ̇]`; angles are anticlockwise from upright, where it is meant to stand.
pub fn draw(canvas: &mut Canvas, obs: &[f32]) {
    let &[cos, sin, _] = obs else { return };
    canvas.line(&[MOTOR, (MOTOR.0, MOTOR.1 - ROD_PX)], 2.0, Ink::Green);
    let tip = (MOTOR.0 - ROD_PX * sin, MOTOR.1 - ROD_PX * cos);
    canvas.line(&[MOTOR, tip], 14.0, Ink::Blue);
    canvas.disc(MOTOR, 5.0, Ink::Black);
}
