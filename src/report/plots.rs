//! Which plots a report has, in which order, and those of what was learned.
//!
//! Owns the choice of columns, axes, colours and captions. Does not draw or read files. The page asks
//! for the sections.

use super::axis::Scale;
use super::chart::{Layer, Mark, Panel};
use super::pace::Pace;
use super::palette::Colour;
use super::points::{Point, curve};
use super::read::RunData;
use super::series::{Over, Plot, Section, band, level, line, over_run, positive, single};
use super::{processes, stages, tasks};
use crate::telemetry::MetricsRow;

/// All plots of a run, in reading order.
pub fn sections(run: &RunData) -> Vec<Section> {
    [learned(run)].into_iter().chain(tasks::section(run)).chain(others(run)).collect()
}

fn learned(run: &RunData) -> Section {
    let rows = &run.rows;
    Section {
        title: "Did it learn?",
        intro: "The score of an episode is its undiscounted sum of rewards. The losses say how the \
                    learner got there; their sizes matter less than that they stay finite and settle.",
        plots: score(run)
            .into_iter()
            .chain([losses(rows), critic_loss(rows), entropy(rows)])
            .collect(),
    }
}

fn others(run: &RunData) -> Vec<Section> {
    let rows = &run.rows;
    vec![
        Section {
            title: "How far apart were actors and learner?",
            intro: "Actors play with weights that are a few updates old. V-trace corrects for that with \
                    importance ratios: how much more likely the learner's policy π would have chosen the \
                    same action than the actor's policy μ did.",
            plots: vec![importance_ratio(rows), policy_lag(rows), kl(rows), ring_occupancy(rows)],
        },
        Section {
            title: "Was optimisation healthy?",
            intro: "A critic that predicts nothing, a gradient that grows without end, a learning rate \
                    that is not what was asked for: they show here first.",
            plots: optimisation(rows),
        },
        Section {
            title: "How fast was it, and where did the time go?",
            intro: "The learner's loop is cut into stages without a gap between them, so their times \
                    add up to all of its time.",
            plots: vec![
                throughput(rows),
                stages::assigned(rows),
                stages::shares(rows),
                stages::times(rows),
                stages::percentiles(run),
                processes::actor_times(run),
                processes::memory(run),
            ],
        },
        Section {
            title: "How even were the stages?",
            intro: "Each stage's time for an update, over the run: half of the updates of an interval \
                    stayed below the line, 99 of 100 below the upper edge of the band.",
            plots: stages::bands(run),
        },
    ]
}

fn optimisation(rows: &[MetricsRow]) -> Vec<Plot> {
    let always = [explained_variance(rows), gradient_norm(rows), learning_rate(rows)];
    always.into_iter().chain(reward_scale(rows)).collect()
}

/// Of several tasks the normalised score, if they have one: their returns have no common scale.
fn score(run: &RunData) -> Option<Plot> {
    if run.task_rows.is_empty() {
        return Some(score_of_one(run));
    }
    let is_known = run.rows.iter().any(|row| row.normalized_score.is_some());
    is_known.then(|| normalized_score(&run.rows))
}

fn normalized_score(rows: &[MetricsRow]) -> Plot {
    let caption = "The mean over the tasks, between random actions (0) and a run on each task alone (1). Look for a \
                   line that still rises at the end: more frames would bring more.";
    single(
        rows,
        ("score", "Normalised score", caption),
        ("normalised score", Scale::FromZero, "mean of the tasks"),
        |r| r.normalized_score,
    )
}

fn score_of_one(run: &RunData) -> Plot {
    let rows = &run.rows;
    let threshold = run.summary.as_ref().and_then(|summary| summary.score_threshold);
    let caption = match threshold {
        Some(_) => {
            "Look for the mean of the last 100 episodes crossing the dashed line, and staying above it: that \
             is when the task is solved. Against seconds it is how long a person waits."
        }
        None => {
            "Look for a mean of the last 100 episodes that still rises at the end: more frames would bring \
             more. Against seconds it is how long a person waits."
        }
    };
    over_run(rows, ("score", "Score", caption), |over| {
        let mut layers = vec![
            band(rows, over, "lowest to highest", |r| r.score_min, |r| r.score_max),
            line(rows, over, "interval mean", Colour::Blue, |r| r.score_mean),
            line(rows, over, "mean of the last 100 episodes", Colour::Ink, |r| r.score_last100),
        ];
        if !run.evaluations.is_empty() {
            let points = run.evaluations.iter().map(|row| (over.of_evaluation(row), row.mean));
            let line = Mark::Line(curve(points));
            layers.push(Layer::new("greedy evaluation, mean", Colour::Green, line));
        }
        layers.extend(threshold.map(|value| level("solved", value)));
        vec![Panel::fit("score of an episode", Scale::FromZero, layers)]
    })
}

fn losses(rows: &[MetricsRow]) -> Plot {
    let caption = "Total = policy + cost · critic − cost · entropy. Look for lines that settle; a jump late in \
                   the run announces a collapse of the policy.";
    over_run(rows, ("loss", "Policy loss and total loss", caption), |over| {
        let losses = vec![
            line(rows, over, "policy", Colour::Blue, |r| r.policy_loss),
            line(rows, over, "total", Colour::Ink, |r| r.total_loss),
        ];
        vec![Panel::fit("loss per frame", Scale::Linear, losses)]
    })
}

/// Apart from the others, and by powers of ten: it begins so high that all that follows would be one flat line.
fn critic_loss(rows: &[MetricsRow]) -> Plot {
    let caption = "Half the squared distance from the V-trace target. Look for a line that falls by a power of \
                   ten and more, and levels off; a rise late in the run says that returns have changed.";
    single(
        rows,
        ("critic_loss", "Critic loss", caption),
        ("loss per frame", Scale::Log, "critic"),
        |r| r.critic_loss.and_then(positive),
    )
}

fn entropy(rows: &[MetricsRow]) -> Plot {
    let caption = "Look for a slow decline from chance (ln 2 = 0.69 with two actions); a sudden drop to 0 \
                   means that exploration has stopped. Of real numbers it may fall below 0.";
    single(
        rows,
        ("entropy", "Entropy of the target policy", caption),
        ("entropy, nats", Scale::FromZero, "entropy of π"),
        |r| r.entropy,
    )
}

fn explained_variance(rows: &[MetricsRow]) -> Plot {
    let caption = "Look for a rise towards 1: the critic then predicts the returns; at 0 or below it is no \
                   better than a constant. Once every episode ends alike there is nothing left to explain, \
                   and a good critic falls to 0 too.";
    let words = ("explained_variance", "Variance explained by the critic", caption);
    over_run(rows, words, |over| {
        let layers = vec![
            line(rows, over, "of the V-trace targets", Colour::Blue, |r| r.explained_variance),
            level("perfect", 1.0),
        ];
        vec![Panel::fit("explained variance", Scale::FromZero, layers)]
    })
}

fn importance_ratio(rows: &[MetricsRow]) -> Plot {
    let caption = "Look for a mean near 1 and a narrow band: actors and learner then agree; near a half is \
                   clipped even so, because half of all ratios lie above 1.";
    over_run(rows, ("importance_ratio", "Importance ratios", caption), |over| {
        let smallest = |r: &MetricsRow| r.rho_min.and_then(positive);
        let ratios = vec![
            band(rows, over, "smallest to largest", smallest, |r| r.rho_max.and_then(positive)),
            level("on-policy", 1.0),
            line(rows, over, "mean ratio", Colour::Blue, |r| r.rho_mean.and_then(positive)),
        ];
        let mut clipped =
            vec![line(rows, over, "share clipped", Colour::Orange, |r| r.rho_clipped)];
        // Where nothing is clipped of the policy gradient there is nothing to see.
        if rows.iter().any(|row| row.policy_clipped > Some(0.0)) {
            clipped.push(line(rows, over, "without policy gradient", Colour::Green, |r| {
                r.policy_clipped
            }));
        }
        vec![
            Panel::fit("π(a|x) / μ(a|x)", Scale::Log, ratios),
            Panel::fit("clipped", Scale::Share, clipped),
        ]
    })
}

fn policy_lag(rows: &[MetricsRow]) -> Plot {
    let caption = "How many updates old the actors' weights were when the gradient of their rollouts was \
                   applied, and how many of these other learner threads made while it was computed (none \
                   where there is one thread); look for a mean of a few updates and no trend.";
    over_run(rows, ("policy_lag", "Policy lag", caption), |over| {
        let layers = vec![
            line(rows, over, "largest", Colour::Orange, |r| Some(r.policy_lag_max as f64)),
            line(rows, over, "mean", Colour::Blue, |r| Some(r.policy_lag_mean)),
            line(rows, over, "of it by other threads, mean", Colour::Green, |r| {
                Some(r.gradient_lag_mean)
            }),
        ];
        vec![Panel::fit("policy lag, updates", Scale::FromZero, layers)]
    })
}

fn kl(rows: &[MetricsRow]) -> Plot {
    let caption = "The distance between the actors' policy μ and the learner's π; look for spikes, which mark \
                   updates that changed the policy abruptly.";
    single(
        rows,
        ("kl", "Distance from behaviour to target policy", caption),
        ("KL(μ ‖ π), nats", Scale::FromZero, "mean of the interval"),
        |r| r.kl,
    )
}

fn ring_occupancy(rows: &[MetricsRow]) -> Plot {
    let caption = "Rollouts that lay ready when the learner took a batch; near zero it waits for the actors, \
                   at the rings' capacity they wait for it.";
    single(
        rows,
        ("ring_occupancy", "Rollouts waiting for the learner", caption),
        ("published slots", Scale::FromZero, "mean of the interval"),
        |r| Some(r.ring_occupancy),
    )
}

fn gradient_norm(rows: &[MetricsRow]) -> Plot {
    let caption = "Before clipping; look for a level that falls as the policy settles, and for spikes of a \
                   power of ten and more.";
    single(
        rows,
        ("grad_norm", "Norm of the gradient", caption),
        ("gradient norm", Scale::Log, "mean of the interval"),
        |r| positive(r.grad_norm),
    )
}

fn learning_rate(rows: &[MetricsRow]) -> Plot {
    let caption = "The schedule as it was applied; look for the decay that keeps a solved policy from \
                   collapsing.";
    single(
        rows,
        ("learning_rate", "Learning rate", caption),
        ("learning rate", Scale::FromZero, "at the end of the interval"),
        |r| Some(r.learning_rate),
    )
}

/// None where it is the same number all along.
fn reward_scale(rows: &[MetricsRow]) -> Option<Plot> {
    let caption = "What rewards were multiplied with: one over the running deviation of the discounted return. Look \
                   for a line that settles; as long as it moves, equal rewards count for less or more than before.";
    let varies = rows.windows(2).any(|pair| pair[0].reward_scale != pair[1].reward_scale);
    varies.then(|| {
        single(
            rows,
            ("reward_scale", "Scale of the rewards", caption),
            ("reward scale", Scale::Log, "at the end of the interval"),
            |r| r.reward_scale.and_then(positive),
        )
    })
}

fn throughput(rows: &[MetricsRow]) -> Plot {
    let pace = Pace::of(rows);
    let caption = format!(
        "{}Look for a level line; the two curves lie together unless rollouts pile up or are dropped. Dips are \
         restarts, or other programs taking the cores.",
        pace.as_ref().map(Pace::remark).unwrap_or_default()
    );
    over_run(rows, ("throughput", "Throughput", &caption), |over| {
        let ends = [rows.first(), rows.last()].map(|row| row.map_or(0.0, |row| over.of(row)));
        let mut layers = Vec::new();
        layers.extend(pace.iter().map(|pace| {
            let [lower, upper] = pace.middle.map(|value| ends.map(|at| (at, value)).to_vec());
            Layer::new("eight of ten intervals", Colour::Blue, Mark::Band(lower, upper))
        }));
        let collected = Mark::Line(produced(rows, over));
        layers.push(Layer::new("collected by the actors", Colour::Orange, collected));
        layers.push(line(rows, over, "learned from", Colour::Blue, |r| Some(r.frames_per_s)));
        layers.extend(pace.iter().map(|pace| level("mean", pace.mean)));
        vec![Panel::fit("frames per second", Scale::FromZero, layers)]
    })
}

/// Collected frames per second between a row and the one before it.
fn produced(rows: &[MetricsRow], over: Over) -> Vec<Point> {
    curve(rows.windows(2).map(|pair| {
        let n_frames = pair[1].frames_produced.saturating_sub(pair[0].frames_produced);
        (over.of(&pair[1]), n_frames as f64 / (pair[1].time_s - pair[0].time_s))
    }))
}
