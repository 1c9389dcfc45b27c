//! Acrobot-v1: two links on a fixed joint, and the height that the free end has to reach.

use super::canvas::{Canvas, Ink, Point, WIDTH_PX};

/// Pixels a link; both are 1 m long, and the goal is one link above the fixed joint.
const LINK_PX: f32 = 52.0;
const JOINT: Point = (WIDTH_PX as f32 / 2.0, 114.0);

/// Draws the links of `[cos θ1, sin θ1, cos θ2, sin θ2, θ̇1, θ̇2]`. Angles are anticlockwise, the first
/// from hanging down, the second from the first link.
pub fn draw(canvas: &mut Canvas, obs: &[f32]) {
    let &[cos1, sin1, cos2, sin2, _, _] = obs else { return };
    let goal_y = JOINT.1 - LINK_PX;
    canvas.line(&[(JOINT.0 - 150.0, goal_y), (JOINT.0 + 150.0, goal_y)], 2.0, Ink::Green);
    let (cos12, sin12) = (cos1 * cos2 - sin1 * sin2, sin1 * cos2 + cos1 * sin2);
    let elbow = (JOINT.0 + LINK_PX * sin1, JOINT.1 + LINK_PX * cos1);
    let hand = (elbow.0 + LINK_PX * sin12, elbow.1 + LINK_PX * cos12);
    canvas.line(&[JOINT, elbow], 11.0, Ink::Blue);
    canvas.line(&[elbow, hand], 11.0, Ink::Orange);
    for joint in [JOINT, elbow] {
        canvas.disc(joint, 5.0, Ink::Black);
    }
}
