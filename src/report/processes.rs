//! The plots of what processes did and used.
//!
//! Owns the parts of an actor's time and of the memory. Does not draw or read files.

use super::axis::{Axis, Scale};
use super::chart::{Chart, Layer, Mark, Panel};
use super::loops::actor_loop_s;
use super::palette::Colour;
use super::points::{Point, curve, is_drawable};
use super::read::RunData;
use super::series::{Plot, over_run, positive};
use crate::telemetry::{ActorSummary, ProcessSample};

/// A part of an actor's time, in s.
type ActorPart = (&'static str, Colour, fn(&ActorSummary) -> f64);

/// From the bottom of a bar to its top; what is left of the time comes above.
const ACTOR_PARTS: [ActorPart; 4] = [
    ("forward passes", Colour::Blue, |a| a.act_s),
    ("environments", Colour::Green, |a| a.env_s),
    ("reading weights", Colour::Purple, |a| a.read_weights_s),
    ("waiting: ring full", Colour::Grey, |a| a.blocked_s),
];

/// A bar an actor.
pub fn actor_times(run: &RunData) -> Plot {
    let (actors, train_s) =
        run.summary.as_ref().map_or((&[][..], 0.0), |s| (s.actors.as_slice(), s.train_s));
    let mut tops = vec![0.0; actors.len()];
    let mut layers: Vec<Layer> = ACTOR_PARTS
        .iter()
        .map(|(name, colour, part)| {
            let heights = actors.iter().map(|actor| positive(part(actor)).unwrap_or(0.0));
            Layer::new(*name, *colour, Mark::Boxes(stack_boxes(&mut tops, heights)))
        })
        .collect();
    let rest: Vec<f64> =
        actors.iter().zip(&tops).map(|(actor, top)| actor_loop_s(actor, train_s) - top).collect();
    let boxes = stack_boxes(&mut tops, rest.into_iter());
    layers.push(Layer::new("other, or without a core", Colour::Slate, Mark::Boxes(boxes)));
    Plot::Fixed(Chart {
        id: "actor_times",
        title: "What each actor did".to_owned(),
        caption: "Look for bars that are alike; grey is time in which the actor had a rollout ready and no \
                  free slot to put it in."
            .to_owned(),
        x: Axis::numbered("actor", actors.len()),
        panels: vec![Panel::fit("time, s", Scale::FromZero, layers)],
    })
}

/// One box an actor on top of those below.
fn stack_boxes(tops: &mut [f64], heights: impl Iterator<Item = f64>) -> Vec<(Point, Point)> {
    const HALF_WIDTH: f64 = 0.36;
    let mut boxes = Vec::new();
    for (k, (top, height)) in tops.iter_mut().zip(heights).enumerate() {
        if height > 0.0 && is_drawable(height) {
            boxes.push(((k as f64 - HALF_WIDTH, *top), (k as f64 + HALF_WIDTH, *top + height)));
            *top += height;
        }
    }
    boxes
}

/// Processes whose memory is drawn together.
const ROLES: [(&str, Colour); 3] =
    [("supervisor", Colour::Slate), ("learner", Colour::Orange), ("actors", Colour::Blue)];

/// Memory of all processes, stacked, and how often workers were started again.
pub fn memory(run: &RunData) -> Plot {
    let caption = "Shared pages count in equal parts for all who share them (PSS), so the height is what the \
                   run takes of the machine; look for a level top, and for steps in restarts.";
    let moments = moments(&run.samples);
    over_run(&run.rows, ("memory", "Memory, and restarts", caption), |over| {
        let at = |moment: &Moment, value| (over.at(&run.rows, moment.time_s), value);
        let layers = ROLES.iter().enumerate().map(|(i, (role, colour))| {
            let edge = |level: usize| curve(moments.iter().map(|m| at(m, m.levels_mb[level])));
            Layer::new(*role, *colour, Mark::Area(edge(i), edge(i + 1)))
        });
        let restarts = curve(moments.iter().map(|m| at(m, m.n_restarts as f64)));
        let restarts = Layer::new("restarts so far", Colour::Vermillion, Mark::Line(restarts));
        vec![
            Panel::fit("memory (PSS), MB", Scale::FromZero, layers.collect()),
            Panel::fit("restarts", Scale::Count, vec![restarts]),
        ]
    })
}

/// All processes at one time: `levels_mb[i]` to `levels_mb[i + 1]` is the i-th of [`ROLES`].
struct Moment {
    time_s: f64,
    levels_mb: [f64; ROLES.len() + 1],
    n_restarts: u64,
}

/// A stacked plot is drawn with a corner for every role and moment, so few are enough.
const MAX_MOMENTS: usize = 400;

fn moments(samples: &[ProcessSample]) -> Vec<Moment> {
    let at_once = samples.chunk_by(|a, b| a.time_s == b.time_s);
    let at_once = at_once.filter(|samples| is_drawable(samples[0].time_s));
    let mut moments: Vec<Moment> = at_once.map(|s| moment(s[0].time_s, s)).collect();
    // The last sample is often taken when the learner has ended, and would look like memory given back.
    let with_learner = |moment: &Moment| moment.levels_mb[2] > moment.levels_mb[1];
    let n_lived = moments.iter().rposition(with_learner).map_or(moments.len(), |last| last + 1);
    moments.truncate(n_lived);
    let stride = moments.len().div_ceil(MAX_MOMENTS).max(1);
    moments.into_iter().step_by(stride).collect()
}

fn moment(time_s: f64, samples: &[ProcessSample]) -> Moment {
    let mut levels_mb = [0.0; ROLES.len() + 1];
    for (i, (role, _)) in ROLES.iter().enumerate() {
        let of_role = samples.iter().filter(|sample| sample.role() == *role);
        levels_mb[i + 1] = levels_mb[i] + of_role.map(|s| s.pss_bytes as f64 / 1e6).sum::<f64>();
    }
    Moment { time_s, levels_mb, n_restarts: samples.iter().map(|sample| sample.restarts).sum() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_drawn_up_to_the_learners_end() {
        let sample = |time_s, process: &str| ProcessSample {
            time_s,
            process: process.to_owned(),
            pss_bytes: 1_000_000,
            ..ProcessSample::default()
        };
        let times = |processes: &[(f64, &str)]| {
            let samples: Vec<_> = processes.iter().map(|(time_s, p)| sample(*time_s, p)).collect();
            moments(&samples).iter().map(|moment| moment.time_s).collect::<Vec<_>>()
        };
        let ended = [(1.0, "learner"), (1.0, "actor0"), (2.0, "actor0")];
        assert_eq!(times(&ended), [1.0], "it had ended");
        let replaced = [(1.0, "learner"), (2.0, "actor0"), (3.0, "learner")];
        assert_eq!(times(&replaced), [1.0, 2.0, 3.0], "it died and was replaced");
        assert_eq!(times(&[(1.0, "actor0")]), [1.0], "it never lived");
    }
}
