//! What groups of runs are compared by over their runs: columns of the metrics, and their plots.
//!
//! Owns the choice of the columns and the words around them. Does not draw or read files.

use std::collections::BTreeMap;

use super::axis::{Axis, Scale};
use super::chart::{Chart, Layer, Mark, Panel};
use super::groups::{Group, Groups};
use super::palette::Colour;
use super::points::{curve, is_drawable};
use super::series::{Column, Over, Plot, Section};
use super::spread::Spread;
use crate::telemetry::Summary;

/// The plots, in reading order.
pub fn sections(groups: &Groups) -> Vec<Section> {
    let plots = |measures: &[Measure]| -> Vec<Plot> {
        measures.iter().map(|measure| plot(groups, *measure)).collect()
    };
    vec![
        Section {
            title: "Did they learn?",
            intro: "A line is the median over the runs of a group, the band around it reaches from \
                    the lowest run to the highest. A line ends where the group's first run ends.",
            plots: plots(&[&scores(groups)[..], &[ENTROPY, CRITIC, EXPLAINED]].concat()),
        },
        Section {
            title: "How far apart were actors and learner, and how fast was it?",
            intro: "What asynchrony costs, and what it buys.",
            plots: plots(&[LAG, KL, CLIPPED, THROUGHPUT]),
        },
    ]
}

/// Points of a curve.
const N_STEPS: u32 = 200;

/// A column that is compared, and the words around it.
#[derive(Clone, Copy)]
struct Measure {
    id: &'static str,
    title: &'static str,
    caption: &'static str,
    y_name: &'static str,
    scale: Scale,
    column: Column,
}

const SCORE: Measure = Measure {
    id: "score",
    title: "Score: mean of the last 100 episodes",
    caption: "Look for lines that rise early and stay up (above the dashed line, if any), and for narrow bands.",
    y_name: "score of an episode",
    scale: Scale::FromZero,
    column: |r| r.score_last100,
};
const NORMALIZED_SCORE: Measure = Measure {
    id: "normalized_score",
    title: "Normalised score of several tasks",
    caption: "The mean over the tasks, between random actions (0) and a run on each task alone (1). Look for lines \
              that rise early, and for narrow bands.",
    y_name: "normalised score",
    scale: Scale::FromZero,
    column: |r| r.normalized_score,
};
const ENTROPY: Measure = Measure {
    id: "entropy",
    title: "Entropy of the target policy",
    caption: "Look for a group that falls to 0 early: it stopped exploring.",
    y_name: "entropy, nats",
    scale: Scale::FromZero,
    column: |r| r.entropy,
};
const CRITIC: Measure = Measure {
    id: "critic_loss",
    title: "Critic loss",
    caption: "Look for lines that level off; a group that rises again loses what it had learned.",
    y_name: "loss per frame",
    scale: Scale::FromZero,
    column: |r| r.critic_loss,
};
const EXPLAINED: Measure = Measure {
    id: "explained_variance",
    title: "Variance explained by the critic",
    caption: "Look for a rise towards 1.",
    y_name: "explained variance",
    scale: Scale::FromZero,
    column: |r| r.explained_variance,
};
const LAG: Measure = Measure {
    id: "policy_lag",
    title: "Policy lag",
    caption: "How many updates old the actors' weights were; more lag takes more frames to learn.",
    y_name: "policy lag, updates",
    scale: Scale::FromZero,
    column: |r| Some(r.policy_lag_mean),
};
const KL: Measure = Measure {
    id: "kl",
    title: "Distance from behaviour to target policy",
    caption: "What the lag amounted to.",
    y_name: "KL(μ ‖ π), nats",
    scale: Scale::FromZero,
    column: |r| r.kl,
};
const CLIPPED: Measure = Measure {
    id: "rho_clipped",
    title: "Share of importance ratios clipped",
    caption: "Near a half even without lag, because half of all ratios lie above 1.",
    y_name: "clipped",
    scale: Scale::Share,
    column: |r| r.rho_clipped,
};
const THROUGHPUT: Measure = Measure {
    id: "throughput",
    title: "Throughput",
    caption: "Frames learned from in a second. Runs that ran at once took it from each other.",
    y_name: "frames per second",
    scale: Scale::FromZero,
    column: |r| Some(r.frames_per_s),
};

/// The score, and where some runs had several tasks their normalised one; where all had, that alone.
fn scores(groups: &Groups) -> Vec<Measure> {
    let n_several = groups.runs.iter().filter(|run| !run.data.task_rows.is_empty()).count();
    match n_several {
        0 => vec![SCORE],
        _ if n_several == groups.runs.len() => vec![NORMALIZED_SCORE],
        _ => vec![SCORE, NORMALIZED_SCORE],
    }
}

fn plot(groups: &Groups, measure: Measure) -> Plot {
    Plot::over_run(|over| chart(groups, measure, over))
}

fn chart(groups: &Groups, measure: Measure, over: Over) -> Chart {
    let ends = groups.runs.iter().filter_map(|run| run.end(over));
    let mut layers: Vec<Layer> =
        groups.groups.iter().flat_map(|group| lines(groups, group, measure, over)).collect();
    if measure.id == SCORE.id {
        layers.extend(thresholds(groups));
    }
    Chart {
        id: measure.id,
        title: measure.title.to_owned(),
        caption: measure.caption.to_owned(),
        x: Axis::tight(over.name(), Scale::FromZero, ends),
        panels: vec![Panel::fit(measure.y_name, measure.scale, layers)],
    }
}

/// A group's median, and where it has several runs the band around it.
fn lines(groups: &Groups, group: &Group, measure: Measure, over: Over) -> Vec<Layer> {
    let steps = steps(groups, group, measure.column, over);
    let edge = |value: fn(&Spread) -> f64| curve(steps.iter().map(|(x, s)| (*x, value(s))));
    let name = group.name.as_str();
    let mut layers = Vec::new();
    if groups.members(group).count() > 1 {
        let band = Mark::Band(edge(|s| s.lo), edge(|s| s.hi));
        layers.push(Layer::new(format!("{name}: lowest to highest"), group.colour, band));
    }
    layers.push(Layer::new(name, group.colour, Mark::Line(edge(|s| s.median))));
    layers
}

/// The score at which each environment counts as solved.
fn thresholds(groups: &Groups) -> Vec<Layer> {
    let of_env = |s: &Summary| Some((s.env.clone(), s.score_threshold?));
    let of_envs: BTreeMap<String, f64> = groups.summaries().filter_map(of_env).collect();
    let n_envs = of_envs.len();
    let level = |(env, score)| {
        let name = if n_envs == 1 { "solved".to_owned() } else { format!("{env} solved") };
        Layer::new(name, Colour::Ink, Mark::Level(score))
    };
    of_envs.into_iter().map(level).collect()
}

/// The group's spread at even steps up to the end of its shortest run.
fn steps(groups: &Groups, group: &Group, column: Column, over: Over) -> Vec<(f64, Spread)> {
    let members = || groups.members(group);
    let shortest = members().filter_map(|run| run.end(over)).fold(f64::INFINITY, f64::min);
    if !is_drawable(shortest) {
        return Vec::new();
    }
    let at_step = |k: u32| {
        let x = shortest * f64::from(k) / f64::from(N_STEPS);
        let values = members().filter_map(|run| run.at(column, over, x)).collect();
        Some((x, Spread::of(values)?))
    };
    (0..=N_STEPS).filter_map(at_step).collect()
}
