//! Which plots a report has, and what is in them.
//!
//! Owns the choice of columns, axes, colours and captions. Does not draw or read files. The page asks
//! for the sections.

use hdrhistogram::Histogram;

use super::axis::{Axis, Scale};
use super::bottleneck::actor_loop_s;
use super::chart::{Chart, Layer, Mark, Panel};
use super::palette::Colour;
use super::points::{Point, curve, is_drawable};
use super::read::RunData;
use crate::latency::Stage;
use crate::telemetry::{ActorSummary, MetricsRow};

/// Plots that answer one question.
pub struct Section {
    /// The question's heading.
    pub title: &'static str,
    /// What a reader needs to know first.
    pub intro: &'static str,
    /// The plots.
    pub charts: Vec<Chart>,
}

/// A column of the metrics; none where nothing was measured.
type Column = fn(&MetricsRow) -> Option<f64>;

/// What the metrics are drawn over.
#[derive(Clone, Copy)]
enum Over {
    Frames,
    Seconds,
}

impl Over {
    fn of(self, row: &MetricsRow) -> f64 {
        match self {
            Over::Frames => row.frames as f64,
            Over::Seconds => row.time_s,
        }
    }

    fn axis(self, rows: &[MetricsRow]) -> Axis {
        let name = match self {
            Over::Frames => "frames learned from",
            Over::Seconds => "time since the start, s",
        };
        Axis::tight(name, Scale::FromZero, rows.iter().map(|row| self.of(row)))
    }
}

/// All plots of a run, in reading order.
pub fn sections(run: &RunData) -> Vec<Section> {
    vec![learning(run), distance(&run.rows), optimisation(&run.rows), speed(run)]
}

fn learning(run: &RunData) -> Section {
    Section {
        title: "Did it learn?",
        intro: "The score of an episode is its undiscounted sum of rewards. The losses say how the \
                learner got there; their sizes matter less than that they stay finite and settle.",
        charts: vec![
            score(run, Over::Frames, "score_frames"),
            score(run, Over::Seconds, "score_seconds"),
            losses(&run.rows),
            entropy(&run.rows),
        ],
    }
}

fn distance(rows: &[MetricsRow]) -> Section {
    Section {
        title: "How far apart were actors and learner?",
        intro: "Actors play with weights that are a few updates old. V-trace corrects for that with \
                importance ratios: how much more likely the learner's policy π would have chosen the \
                same action than the actor's policy μ did.",
        charts: vec![importance_ratio(rows), policy_lag(rows), kl(rows), ring_occupancy(rows)],
    }
}

fn optimisation(rows: &[MetricsRow]) -> Section {
    Section {
        title: "Was optimisation healthy?",
        intro: "A critic that predicts nothing, a gradient that grows without end, a learning rate \
                that is not what was asked for: they show here first.",
        charts: vec![explained_variance(rows), gradient_norm(rows), learning_rate(rows)],
    }
}

fn speed(run: &RunData) -> Section {
    Section {
        title: "How fast was it, and where did the time go?",
        intro: "The learner's loop is cut into stages without a gap between them, so their times add \
                up to all of its time.",
        charts: vec![
            throughput(&run.rows, Over::Frames, "throughput_frames"),
            throughput(&run.rows, Over::Seconds, "throughput_seconds"),
            stage_times(&run.rows),
            stage_shares(&run.rows),
            percentiles(run),
            actor_times(run),
        ],
    }
}

fn points(rows: &[MetricsRow], over: Over, column: Column) -> Vec<Point> {
    curve(rows.iter().filter_map(|row| Some((over.of(row), column(row)?))))
}

fn line(
    rows: &[MetricsRow],
    over: Over,
    name: &'static str,
    colour: Colour,
    column: Column,
) -> Layer {
    Layer::new(name, colour, Mark::Line(points(rows, over, column)))
}

fn band(
    rows: &[MetricsRow],
    over: Over,
    name: &'static str,
    lower: Column,
    upper: Column,
) -> Layer {
    let (lower, upper) = (points(rows, over, lower), points(rows, over, upper));
    Layer::new(name, Colour::Blue, Mark::Band(lower, upper))
}

fn level(name: &'static str, value: f64) -> Layer {
    Layer::new(name, Colour::Vermillion, Mark::Level(value))
}

/// A plot of one line over frames: most of them.
fn single(
    rows: &[MetricsRow],
    (id, title, caption): (&'static str, &'static str, &str),
    (y_name, scale, line_name): (&'static str, Scale, &'static str),
    column: Column,
) -> Chart {
    let layers = vec![line(rows, Over::Frames, line_name, Colour::Blue, column)];
    over_frames(rows, (id, title, caption), vec![Panel::fit(y_name, scale, layers)])
}

fn over_frames(
    rows: &[MetricsRow],
    (id, title, caption): (&'static str, &'static str, &str),
    panels: Vec<Panel>,
) -> Chart {
    Chart { id, title, caption: caption.to_owned(), x: Over::Frames.axis(rows), panels }
}

fn score(run: &RunData, over: Over, id: &'static str) -> Chart {
    let rows = &run.rows;
    let mut layers = vec![
        band(rows, over, "lowest to highest", |r| r.score_min, |r| r.score_max),
        line(rows, over, "interval mean", Colour::Blue, |r| r.score_mean),
        line(rows, over, "mean of the last 100 episodes", Colour::Ink, |r| r.score_last100),
    ];
    let threshold = run.summary.as_ref().and_then(|summary| summary.score_threshold);
    layers.extend(threshold.map(|value| level("solved", value)));
    let (title, caption) = match over {
        Over::Frames => (
            "Score over frames",
            "Look for the mean of the last 100 episodes crossing the dashed line, and staying \
             above it: that is when the task is solved.",
        ),
        Over::Seconds => {
            ("Score over time", "The same curve against the clock: how long a person waits for it.")
        }
    };
    let panels = vec![Panel::fit("score of an episode", Scale::FromZero, layers)];
    Chart { id, title, caption: caption.to_owned(), x: over.axis(rows), panels }
}

fn losses(rows: &[MetricsRow]) -> Chart {
    let layers = vec![
        line(rows, Over::Frames, "critic", Colour::Orange, |r| Some(r.critic_loss)),
        line(rows, Over::Frames, "policy", Colour::Blue, |r| Some(r.policy_loss)),
        line(rows, Over::Frames, "total", Colour::Ink, |r| Some(r.total_loss)),
    ];
    let caption = "Look for a critic loss that falls and levels off; a jump late in the run announces a \
                   collapse of the policy.";
    over_frames(
        rows,
        ("loss", "Losses", caption),
        vec![Panel::fit("loss per frame", Scale::Linear, layers)],
    )
}

fn entropy(rows: &[MetricsRow]) -> Chart {
    let caption = "Look for a slow decline from chance (ln 2 = 0.69 with two actions); a sudden drop to 0 \
                   means that exploration has stopped.";
    single(
        rows,
        ("entropy", "Entropy of the target policy", caption),
        ("entropy, nats", Scale::FromZero, "entropy of π"),
        |r| Some(r.entropy),
    )
}

fn explained_variance(rows: &[MetricsRow]) -> Chart {
    let caption = "Look for a rise towards 1: the critic then predicts the returns; at 0 or below it is no \
                   better than a constant.";
    let layers = vec![
        line(rows, Over::Frames, "of the V-trace targets", Colour::Blue, |r| {
            Some(r.explained_variance)
        }),
        level("perfect", 1.0),
    ];
    over_frames(
        rows,
        ("explained_variance", "Variance explained by the critic", caption),
        vec![Panel::fit("explained variance", Scale::FromZero, layers)],
    )
}

fn importance_ratio(rows: &[MetricsRow]) -> Chart {
    let ratios = vec![
        band(
            rows,
            Over::Frames,
            "smallest to largest",
            |r| positive(r.rho_min),
            |r| positive(r.rho_max),
        ),
        level("on-policy", 1.0),
        line(rows, Over::Frames, "mean ratio", Colour::Blue, |r| positive(r.rho_mean)),
    ];
    let clipped =
        vec![line(rows, Over::Frames, "share clipped", Colour::Orange, |r| Some(r.rho_clipped))];
    let caption = "Look for a mean near 1 and a narrow band: actors and learner then agree; near a half is \
                   clipped even so, because half of all ratios lie above 1.";
    let panels = vec![
        Panel::fit("π(a|x) / μ(a|x)", Scale::Log, ratios),
        Panel::fit("clipped", Scale::Share, clipped),
    ];
    over_frames(rows, ("importance_ratio", "Importance ratios", caption), panels)
}

fn positive(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

fn policy_lag(rows: &[MetricsRow]) -> Chart {
    let layers = vec![
        line(rows, Over::Frames, "largest", Colour::Orange, |r| Some(r.policy_lag_max as f64)),
        line(rows, Over::Frames, "mean", Colour::Blue, |r| Some(r.policy_lag_mean)),
        line(rows, Over::Frames, "of it while learning, mean", Colour::Green, |r| {
            Some(r.gradient_lag_mean)
        }),
    ];
    let caption = "How many updates old the actors' weights were when the gradient of their rollouts was \
                   applied, and how many of these the other learner threads made while it was computed; look \
                   for a mean of a few updates and no trend.";
    let panels = vec![Panel::fit("policy lag, updates", Scale::FromZero, layers)];
    over_frames(rows, ("policy_lag", "Policy lag", caption), panels)
}

fn kl(rows: &[MetricsRow]) -> Chart {
    let caption = "The distance between the actors' policy μ and the learner's π; look for spikes, which mark \
                   updates that changed the policy abruptly.";
    single(
        rows,
        ("kl", "Distance from behaviour to target policy", caption),
        ("KL(μ ‖ π), nats", Scale::FromZero, "mean of the interval"),
        |r| Some(r.kl),
    )
}

fn ring_occupancy(rows: &[MetricsRow]) -> Chart {
    let caption = "Rollouts that lay ready when the learner took a batch; near zero it waits for the actors, \
                   at the rings' capacity they wait for it.";
    single(
        rows,
        ("ring_occupancy", "Rollouts waiting for the learner", caption),
        ("published slots", Scale::FromZero, "mean of the interval"),
        |r| Some(r.ring_occupancy),
    )
}

fn gradient_norm(rows: &[MetricsRow]) -> Chart {
    let caption = "Before clipping; look for a level that falls as the policy settles, and for spikes of a \
                   power of ten and more.";
    single(
        rows,
        ("grad_norm", "Norm of the gradient", caption),
        ("gradient norm", Scale::Log, "mean of the interval"),
        |r| positive(r.grad_norm),
    )
}

fn learning_rate(rows: &[MetricsRow]) -> Chart {
    let caption = "The schedule as it was applied; look for the decay that keeps a solved policy from \
                   collapsing.";
    single(
        rows,
        ("learning_rate", "Learning rate", caption),
        ("learning rate", Scale::FromZero, "at the end of the interval"),
        |r| Some(r.learning_rate),
    )
}

fn throughput(rows: &[MetricsRow], over: Over, id: &'static str) -> Chart {
    let layers = vec![
        Layer::new("collected by the actors", Colour::Orange, Mark::Line(produced(rows, over))),
        line(rows, over, "learned from", Colour::Blue, |r| Some(r.frames_per_s)),
    ];
    let (title, caption) = match over {
        Over::Frames => (
            "Throughput over frames",
            "Look for a level line; the two curves lie together unless rollouts pile up or are dropped.",
        ),
        Over::Seconds => (
            "Throughput over time",
            "The same against the clock: dips here are restarts, or other programs taking the cores.",
        ),
    };
    let panels = vec![Panel::fit("frames per second", Scale::FromZero, layers)];
    Chart { id, title, caption: caption.to_owned(), x: over.axis(rows), panels }
}

/// Collected frames per second between a row and the one before it.
fn produced(rows: &[MetricsRow], over: Over) -> Vec<Point> {
    curve(rows.windows(2).map(|pair| {
        let n_frames = pair[1].frames_produced.saturating_sub(pair[0].frames_produced);
        (over.of(&pair[1]), n_frames as f64 / (pair[1].time_s - pair[0].time_s))
    }))
}

/// A stage, its colour wherever it appears, and its µs an update.
type StageColumn = (Stage, Colour, fn(&MetricsRow) -> f64);

/// The learner's stages from the largest to what is left, with colour and column.
const STAGES: [StageColumn; 10] = [
    (Stage::Forward, Colour::Blue, |r| r.forward_us),
    (Stage::Backward, Colour::Vermillion, |r| r.backward_us),
    (Stage::Vtrace, Colour::Green, |r| r.vtrace_us),
    (Stage::Optimizer, Colour::Orange, |r| r.optimizer_us),
    (Stage::Batching, Colour::Sky, |r| r.batching_us),
    (Stage::Publish, Colour::Purple, |r| r.publish_us),
    (Stage::Turn, Colour::Wine, |r| r.turn_us),
    (Stage::Release, Colour::Olive, |r| r.release_us),
    (Stage::Report, Colour::Slate, |r| r.report_us),
    (Stage::Wait, Colour::Grey, |r| r.wait_us),
];

fn stage_times(rows: &[MetricsRow]) -> Chart {
    let layers = STAGES.map(|(stage, colour, column)| {
        let time = rows.iter().filter_map(|row| Some((row.time_s, positive(column(row))?)));
        Layer::new(stage.tag(), colour, Mark::Line(curve(time)))
    });
    Chart {
        id: "stage_times",
        title: "Time of each stage of the learner",
        caption: "Look for lines that stay level: a stage that slows down as the run goes on has a leak or a \
                  rival for its core."
            .to_owned(),
        x: Over::Seconds.axis(rows),
        panels: vec![Panel::fit("time per update, µs", Scale::Log, layers.into())],
    }
}

/// Steps of a stacked plot: each is drawn with two corners for every stage, so few are enough.
const MAX_STEPS: usize = 200;

fn stage_shares(rows: &[MetricsRow]) -> Chart {
    let steps = share_steps(rows);
    let layers = STAGES.iter().enumerate().map(|(i, (stage, colour, _))| {
        let outline = |level: usize| {
            steps
                .iter()
                .flat_map(|s| [(s.from_s, s.levels[level]), (s.to_s, s.levels[level])])
                .collect()
        };
        Layer::new(stage.tag(), *colour, Mark::Area(outline(i), outline(i + 1)))
    });
    Chart {
        id: "stage_shares",
        title: "Where the learner's time went",
        caption: "The height of a colour is its share of the time; the largest one is what to make cheaper, \
                  unless it is wait, which is the actors' to fill."
            .to_owned(),
        x: Over::Seconds.axis(rows),
        panels: vec![Panel::fit("share of the learner's time", Scale::Share, layers.collect())],
    }
}

/// Shares over one stretch of time: `levels[i]` to `levels[i + 1]` is the i-th of [`STAGES`].
struct ShareStep {
    from_s: f64,
    to_s: f64,
    levels: [f64; STAGES.len() + 1],
}

/// Stretches of several rows where there are many; their times are added up before they are compared.
fn share_steps(rows: &[MetricsRow]) -> Vec<ShareStep> {
    let mut steps = Vec::new();
    let (mut from_s, mut updates) = (None, 0);
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
        let to_s = stretch[stretch.len() - 1].time_s;
        let total_s = totals.iter().sum::<f64>() / 1e6;
        if is_drawable(to_s) && total_s > 0.0 {
            // The first row says when it ended; its stages cover it, so they say when it began.
            let begin_s = from_s.unwrap_or((to_s - total_s).max(0.0));
            steps.push(ShareStep { from_s: begin_s, to_s, levels: stacked(totals) });
            from_s = Some(to_s);
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

/// Stages whose distribution is drawn: those an update cannot do without, and the wait.
const DISTRIBUTIONS: [Stage; 7] = [
    Stage::Batching,
    Stage::Forward,
    Stage::Vtrace,
    Stage::Backward,
    Stage::Optimizer,
    Stage::Publish,
    Stage::Wait,
];

fn percentiles(run: &RunData) -> Chart {
    let curves = DISTRIBUTIONS.map(|stage| (stage, run.latencies.get(stage).map(percentile_curve)));
    let layers: Vec<Layer> = STAGES
        .iter()
        .filter_map(|(stage, colour, _)| {
            let (_, points) = curves.iter().find(|(of, _)| of == stage)?;
            Some(Layer::new(stage.tag(), *colour, Mark::Line(points.clone().unwrap_or_default())))
        })
        .collect();
    let shares =
        curves.iter().filter_map(|(_, points)| points.as_ref()).flatten().map(|point| point.0);
    Chart {
        id: "percentiles",
        title: "How often a stage was slow",
        caption: "At 99 % one reads the time that 99 of 100 updates stayed below; look for lines that turn up \
                  steeply: rare, long interruptions."
            .to_owned(),
        x: Axis::tight("percentile", Scale::Percentile, shares),
        panels: vec![Panel::fit("time per update, µs", Scale::Log, layers)],
    }
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

/// A part of an actor's time, in s.
type ActorPart = (&'static str, Colour, fn(&ActorSummary) -> f64);

/// From the bottom of a bar to its top; what is left of the time comes above.
const ACTOR_PARTS: [ActorPart; 4] = [
    ("forward passes", Colour::Blue, |a| a.act_s),
    ("environments", Colour::Green, |a| a.env_s),
    ("reading weights", Colour::Purple, |a| a.read_weights_s),
    ("waiting: ring full", Colour::Grey, |a| a.blocked_s),
];

fn actor_times(run: &RunData) -> Chart {
    let (actors, train_s) =
        run.summary.as_ref().map_or((&[][..], 0.0), |s| (s.actors.as_slice(), s.train_s));
    let mut tops = vec![0.0; actors.len()];
    let mut layers: Vec<Layer> = ACTOR_PARTS
        .iter()
        .map(|(name, colour, part)| {
            let heights = actors.iter().map(|actor| positive(part(actor)).unwrap_or(0.0));
            Layer::new(name, *colour, Mark::Boxes(stack_boxes(&mut tops, heights)))
        })
        .collect();
    let rest: Vec<f64> =
        actors.iter().zip(&tops).map(|(actor, top)| actor_loop_s(actor, train_s) - top).collect();
    let boxes = stack_boxes(&mut tops, rest.into_iter());
    layers.push(Layer::new("other", Colour::Slate, Mark::Boxes(boxes)));
    Chart {
        id: "actor_times",
        title: "What each actor did",
        caption: "Look for bars that are alike; grey is time in which the actor had a rollout ready and no \
                  free slot to put it in."
            .to_owned(),
        x: Axis::numbered("actor", actors.len()),
        panels: vec![Panel::fit("time, s", Scale::FromZero, layers)],
    }
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
