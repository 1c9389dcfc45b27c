//! The plots of the learner's stages: means, shares, percentiles.
//!
//! Owns the order and the colour of the stages wherever they appear. Does not draw or read files.

use hdrhistogram::Histogram;

use super::axis::{Axis, Scale};
use super::chart::{Chart, Layer, Mark, Panel};
use super::palette::Colour;
use super::points::{Point, curve, is_drawable};
use super::read::{RunData, StageInterval};
use super::series::{Over, Plot, over_run, positive};
use crate::base::stages::Stage;
use crate::telemetry::MetricsRow;

/// A stage, its colour wherever it appears, and its µs an update.
type StageColumn = (Stage, Colour, fn(&MetricsRow) -> f64);

/// The learner's stages from the largest to what is left, with colour and column.
const STAGES: [StageColumn; 11] = [
    (Stage::Forward, Colour::Blue, |r| r.forward_us),
    (Stage::Backward, Colour::Vermillion, |r| r.backward_us),
    (Stage::Vtrace, Colour::Green, |r| r.vtrace_us),
    (Stage::Optimizer, Colour::Orange, |r| r.optimizer_us),
    (Stage::Batching, Colour::Sky, |r| r.batching_us),
    (Stage::Publish, Colour::Purple, |r| r.publish_us),
    (Stage::Turn, Colour::Wine, |r| r.turn_us),
    (Stage::Exchange, Colour::Ink, |r| r.exchange_us),
    (Stage::Release, Colour::Olive, |r| r.release_us),
    (Stage::Report, Colour::Slate, |r| r.report_us),
    (Stage::Wait, Colour::Grey, |r| r.wait_us),
];

/// Mean time of each stage over the run.
pub fn times(rows: &[MetricsRow]) -> Plot {
    let caption = "Look for lines that stay level: a stage that slows down as the run goes on has a leak or a \
                   rival for its core.";
    over_run(rows, ("stage_times", "Time of each stage of the learner", caption), |over| {
        let layers = STAGES.iter().filter(|column| has_stage(rows, column)).map(
            |(stage, colour, column)| {
                let time =
                    rows.iter().filter_map(|row| Some((over.of(row), positive(column(row))?)));
                Layer::new(stage.tag(), *colour, Mark::Line(curve(time)))
            },
        );
        vec![Panel::fit("time per update, µs", Scale::Log, layers.collect())]
    })
}

/// Whether a run has that stage: one alone exchanges nothing, and its plots need not say so.
fn has_stage(rows: &[MetricsRow], (stage, _, column): &StageColumn) -> bool {
    *stage != Stage::Exchange || rows.iter().any(|row| column(row) > 0.0)
}

/// Mean time of gathering and of the two directions through the network, without all other stages.
pub fn assigned(rows: &[MetricsRow]) -> Plot {
    const ASSIGNED: [Stage; 3] = [Stage::Backward, Stage::Forward, Stage::Batching];
    let caption = "Look for how they stand to each other: forward reads the network once, backward about twice, \
                   and batching should be next to nothing.";
    let words = ("batching_forward_backward", "Batching, forward and backward", caption);
    over_run(rows, words, |over| {
        let layers = ASSIGNED.iter().filter_map(|stage| {
            let (_, colour, column) = STAGES.iter().find(|(of, ..)| of == stage)?;
            let time = rows.iter().filter_map(|row| Some((over.of(row), positive(column(row))?)));
            Some(Layer::new(stage.tag(), *colour, Mark::Line(curve(time))))
        });
        vec![Panel::fit("time per update, µs", Scale::Log, layers.collect())]
    })
}

/// Steps of a stacked plot: each is drawn with two corners for every stage, so few are enough.
const MAX_STEPS: usize = 200;

/// Each stage's share of the learner's time, stacked.
pub fn shares(rows: &[MetricsRow]) -> Plot {
    let caption = "The height of a colour is its share of the time; the largest one is what to make cheaper, \
                   unless it is wait, which is the actors' to fill.";
    let steps = share_steps(rows);
    over_run(rows, ("stage_shares", "Where the learner's time went", caption), |over| {
        let shown = STAGES.iter().enumerate().filter(|(_, column)| has_stage(rows, column));
        let layers = shown.map(|(i, (stage, colour, _))| {
            let corners = |step: &ShareStep, level: usize| {
                let (from, to) = step.span(over);
                [(from, step.levels[level]), (to, step.levels[level])]
            };
            let outline = |level| steps.iter().flat_map(|s| corners(s, level)).collect();
            Layer::new(stage.tag(), *colour, Mark::Area(outline(i), outline(i + 1)))
        });
        vec![Panel::fit("share of the learner's time", Scale::Share, layers.collect())]
    })
}

/// Shares over one stretch of the run: `levels[i]` to `levels[i + 1]` is the i-th of [`STAGES`].
struct ShareStep {
    seconds: (f64, f64),
    frames: (f64, f64),
    levels: [f64; STAGES.len() + 1],
}

impl ShareStep {
    fn span(&self, over: Over) -> (f64, f64) {
        match over {
            Over::Frames => self.frames,
            Over::Seconds => self.seconds,
        }
    }
}

/// Stretches of several rows where there are many; their times are added up before they are compared.
fn share_steps(rows: &[MetricsRow]) -> Vec<ShareStep> {
    let mut steps: Vec<ShareStep> = Vec::new();
    let mut updates = 0;
    for stretch in rows.chunks(rows.len().div_ceil(MAX_STEPS).max(1)) {
        let mut totals = [0.0; STAGES.len()];
        for row in stretch {
            let n_updates = row.updates.saturating_sub(updates) as f64;
            updates = row.updates;
            for (total, (_, _, column)) in totals.iter_mut().zip(&STAGES) {
                *total +=
                    positive(column(row)).filter(|us| is_drawable(*us)).unwrap_or(0.0) * n_updates;
            }
        }
        let last = &stretch[stretch.len() - 1];
        let total_s = totals.iter().sum::<f64>() / 1e6;
        if is_drawable(last.time_s) && total_s > 0.0 {
            // The first row says when it ended; its stages cover it, so they say when it began.
            let first = ((last.time_s - total_s).max(0.0), 0.0);
            let from = steps.last().map_or(first, |step| (step.seconds.1, step.frames.1));
            steps.push(ShareStep {
                seconds: (from.0, last.time_s),
                frames: (from.1, last.frames as f64),
                levels: stacked(totals),
            });
        }
    }
    steps
}

/// Running sums from 0 to 1.
fn stacked(totals: [f64; STAGES.len()]) -> [f64; STAGES.len() + 1] {
    let whole: f64 = totals.iter().sum();
    let mut levels = [0.0; STAGES.len() + 1];
    for (i, total) in totals.iter().enumerate() {
        levels[i + 1] = levels[i] + total / whole;
    }
    levels
}

/// A stage whose distribution is drawn, with the name of the plot over the run and its title.
type Distribution = (Stage, &'static str, &'static str);

/// Those an update cannot do without, and the wait.
const DISTRIBUTIONS: [Distribution; 7] = [
    (Stage::Batching, "band_batching", "Batching: gathering rollouts"),
    (Stage::Forward, "band_forward", "Forward: policy and value of every frame"),
    (Stage::Vtrace, "band_vtrace", "V-trace: importance ratios and targets"),
    (Stage::Backward, "band_backward", "Backward: losses and gradient"),
    (Stage::Optimizer, "band_optimizer", "Optimiser: clipping and parameter step"),
    (Stage::Publish, "band_publish", "Publish: new weights to the actors"),
    (Stage::Wait, "band_wait", "Wait: no rollout was ready"),
];

/// The full distribution of each stage over the whole run.
pub fn percentiles(run: &RunData) -> Plot {
    let curves: Vec<(Stage, Vec<Point>)> = DISTRIBUTIONS
        .iter()
        .map(|&(stage, ..)| {
            (stage, run.latencies.get(stage).map(percentile_curve).unwrap_or_default())
        })
        .collect();
    let layers: Vec<Layer> = STAGES
        .iter()
        .filter_map(|(stage, colour, _)| {
            let (_, points) = curves.iter().find(|(of, _)| of == stage)?;
            Some(Layer::new(stage.tag(), *colour, Mark::Line(points.clone())))
        })
        .collect();
    let shares = curves.iter().flat_map(|(_, points)| points).map(|point| point.0);
    Plot::Fixed(Chart {
        id: "percentiles",
        title: "How often a stage was slow".to_owned(),
        caption: "At 99 % one reads the time that 99 of 100 updates stayed below; look for lines that turn up \
                  steeply: rare, long interruptions."
            .to_owned(),
        x: Axis::tight("percentile", Scale::Percentile, shares),
        panels: vec![Panel::fit("time per update, µs", Scale::Log, layers)],
    })
}

/// Shares p of 0 to 1 with the time in µs that this share of measurements does not exceed, up to the
/// last share that a single measurement still decides.
fn percentile_curve(histogram: &Histogram<u64>) -> Vec<Point> {
    const STEPS_PER_NINE: f64 = 40.0;
    if histogram.is_empty() {
        return Vec::new();
    }
    let n_steps = ((histogram.len() as f64).log10() * STEPS_PER_NINE) as u32;
    let shares = (0..=n_steps).map(|step| 1.0 - 10f64.powf(-f64::from(step) / STEPS_PER_NINE));
    curve(shares.map(|share| (share, histogram.value_at_quantile(share).max(1) as f64 / 1e3)))
}

/// Percentiles of each stage over the run, a plot a stage.
pub fn bands(run: &RunData) -> Vec<Plot> {
    let colour_of = |stage: Stage| STAGES.iter().find(|(of, ..)| *of == stage).map(|(_, c, _)| *c);
    let plots = DISTRIBUTIONS.iter().map(|&(stage, id, title)| {
        let colour = colour_of(stage).unwrap_or(Colour::Blue);
        over_run(&run.rows, (id, title, band_caption(stage)), |over| {
            let of_stage = run.intervals.iter().filter(|interval| interval.stage == stage);
            let at = |percentile: fn(&StageInterval) -> f64| {
                let middle = |i: &StageInterval| over.at(&run.rows, (i.start_s + i.end_s) / 2.0);
                curve(of_stage.clone().map(|i| (middle(i), percentile(i))))
            };
            let (p10, p99) = (at(|i| i.p10_us), at(|i| i.p99_us));
            let layers = vec![
                Layer::new("p10 to p99", colour, Mark::Band(p10, p99)),
                Layer::new("p90", Colour::Muted, Mark::Line(at(|i| i.p90_us))),
                Layer::new("p50 (median)", colour, Mark::Line(at(|i| i.p50_us))),
            ];
            vec![Panel::fit("time per update, µs", Scale::Log, layers)]
        })
    });
    plots.collect()
}

fn band_caption(stage: Stage) -> &'static str {
    match stage {
        Stage::Wait => {
            "Look for how far the upper edge reaches: that long the learner stood still for want of rollouts."
        }
        _ => {
            "Look for a narrow band without a trend; where its upper edge rises, something took the core from \
             the learner."
        }
    }
}
