//! MountainCar-v0: a car between two hills, a flag on the right one.

use super::canvas::{Canvas, Ink, Point, SCENE_BOTTOM, WIDTH_PX};

/// Where the world ends and where the flag stands, as in Gymnasium.
const MIN_POSITION: f32 = -1.2;
const MAX_POSITION: f32 = 0.6;
const GOAL_POSITION: f32 = 0.5;

const CAR_PX: (f32, f32) = (40.0, 15.0);
const WHEEL_PX: f32 = 6.0;

/// Draws the position of `[x, ẋ]`.
pub fn draw(canvas: &mut Canvas, obs: &[f32]) {
    let &[position, _] = obs else { return };
    let n_points = 100;
    let width = MAX_POSITION - MIN_POSITION;
    let along = |point: usize| MIN_POSITION + width * point as f32 / n_points as f32;
    let hills: Vec<Point> = (0..=n_points).map(|point| ground(along(point))).collect();
    let (right, left) = ((WIDTH_PX as f32, SCENE_BOTTOM), (0.0, SCENE_BOTTOM));
    canvas.polygon(&[&hills[..], &[right, left]].concat(), Ink::Pale);
    canvas.line(&hills, 2.0, Ink::Grey);

    let foot = ground(GOAL_POSITION);
    let top = (foot.0, foot.1 - 48.0);
    canvas.line(&[foot, top], 3.0, Ink::Black);
    canvas.polygon(&[top, (top.0 - 24.0, top.1 + 9.0), (top.0, top.1 + 18.0)], Ink::Green);
    draw_car(canvas, position);
}

fn draw_car(canvas: &mut Canvas, position: f32) {
    let (x, y) = ground(position);
    let (behind, ahead) = (ground(position - 0.02), ground(position + 0.02));
    let angle = (ahead.1 - behind.1).atan2(ahead.0 - behind.0);
    let (sin, cos) = angle.sin_cos();
    let place =
        |along: f32, above: f32| (x + along * cos + above * sin, y + along * sin - above * cos);
    let (half, floor) = (CAR_PX.0 / 2.0, WHEEL_PX);
    let roof = floor + CAR_PX.1;
    let corners = [(-half, floor), (-half, roof), (half, roof), (half, floor)];
    canvas.polygon(&corners.map(|(along, above)| place(along, above)), Ink::Blue);
    for along in [-half / 2.0, half / 2.0] {
        canvas.disc(place(along, WHEEL_PX), WHEEL_PX, Ink::Black);
    }
}

/// The point of the ground at a position; the height is Gymnasium's `sin(3x)`, stretched.
fn ground(position: f32) -> Point {
    let share = (position - MIN_POSITION) / (MAX_POSITION - MIN_POSITION);
    (share * WIDTH_PX as f32, 150.0 - 64.0 * (3.0 * position).sin())
}
