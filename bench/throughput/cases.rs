//! Ablations, each with one method off or exchanged, and scaling: short runs, all in turn and several
//! rounds of it, so that what the machine does meanwhile hits all alike. An ablation runs right after the
//! default that it is compared with: on a shared host the speed of a core changes within seconds.

use std::time::Duration;

use anyhow::Result;
use impala::config::Config;
use impala::kernels::Simd;
use serde::Serialize;

use super::alternatives::{self, Variant};
use super::common::impala;
use super::disturbance::Disturbance;
use super::figure::figure;
use super::interval::median_interval;
use super::progress::Progress;
use super::sample::{Sample, Spread};
use super::table::Table;
use super::training::{endless, run};
use super::{Effort, Scope};

/// Environment steps between rows of a run's metrics: dozens a second even of the slowest case.
const ROW_FRAMES: u64 = 20_000;

/// Where the first row is the default, and each further one has one method off.
pub const ABLATIONS: [&str; 2] = ["ablations: settings", "ablations: alternatives in bench/"];

/// What is run.
#[derive(Clone, Debug, PartialEq)]
enum How {
    /// The real binary with these settings.
    Engine(Box<Config>),
    /// The loops of `alternatives/`.
    Alternative(Variant),
}

/// A run's place in the tables. Some places share a run.
struct Place {
    group: &'static str,
    name: String,
    how: How,
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    pub group: &'static str,
    pub name: String,
    pub m_frames_per_s: Spread,
    /// Its speed by the default's: of an ablation just before it, else in the same round.
    pub of_default: Spread,
    pub cpu_s_per_m_frames: Spread,
    pub pss_mb: Spread,
    /// Mean policy lag, updates.
    pub policy_lag: Spread,
    /// The worst of its runs.
    pub disturbance: Disturbance,
}

fn engine(group: &'static str, name: impl Into<String>, change: impl FnOnce(&mut Config)) -> Place {
    let mut config = endless("CartPole-v1", ROW_FRAMES);
    change(&mut config);
    Place { group, name: name.into(), how: How::Engine(Box::new(config)) }
}

/// Every place of the scope, group by group.
fn places(scope: Scope) -> Vec<Place> {
    let [_, exchanged] = ABLATIONS;
    let alternative = |variant: Variant| Place {
        group: exchanged,
        name: variant.name().into(),
        how: How::Alternative(variant),
    };
    let mut places = settings();
    places.extend(Variant::ALL.map(alternative));
    if scope == Scope::Everything {
        places.extend(scaling());
    }
    places
}

/// Methods that a setting switches off.
fn settings() -> Vec<Place> {
    let [group, _] = ABLATIONS;
    let mut places = vec![
        engine(group, "default", |_| {}),
        // The slot, and with it the learner's work and the number of hand-overs, stays the same.
        engine(group, "E = 1, T = 640: same slots", |config| {
            config.actors.envs_per_actor = 1;
            config.actors.unroll_length = 640;
        }),
        // The update stays the same, of 32 slots as long and a frame wide.
        engine(group, "E = 1, 32 slots a batch", |config| {
            config.actors.envs_per_actor = 1;
            config.actors.slots_per_actor = 8;
            config.loss.batch_slots = 32;
        }),
    ];
    for simd in Simd::all_supported().filter(|simd| simd.name() != Simd::auto().name()) {
        let name = format!("kernels: {}, not {}", simd.name(), Simd::auto().name());
        places.push(engine(group, name, |config| config.kernels = simd.name().into()));
    }
    for n_slots in [2, 4] {
        let name = format!("{n_slots} slots an actor, not 1");
        places.push(engine(group, name, |config| config.actors.slots_per_actor = n_slots));
    }
    places.push(engine(group, "1 learner thread, not 2", |config| config.learner_threads = 1));
    places
}

/// One size at a time.
fn scaling() -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |group, sizes: &[usize], set: &dyn Fn(&mut Config, usize)| {
        let place = |&size: &usize| engine(group, size.to_string(), |config| set(config, size));
        places.extend(sizes.iter().map(place));
    };
    add("scaling: actors", &[1, 2, 4, 8, 16], &|config, n| config.actors.count = n);
    add("scaling: learner threads", &[1, 2, 4], &|config, n| config.learner_threads = n);
    add("scaling: environments an actor, E", &[8, 32, 128], &|config, n| {
        config.actors.envs_per_actor = n;
    });
    add("scaling: unroll length, T", &[5, 20, 80], &|config, n| config.actors.unroll_length = n);
    add("scaling: units of both layers, H", &[32, 64, 128, 256], &|config, n| {
        config.network.hidden = vec![n, n];
    });
    add("scaling: slots a batch, S", &[1, 2, 4], &|config, n| config.loss.batch_slots = n);
    places
}

impl How {
    /// What it is compared with.
    fn default(&self) -> How {
        match self {
            How::Engine(_) => How::Engine(Box::new(endless("CartPole-v1", ROW_FRAMES))),
            How::Alternative(_) => How::Alternative(Variant::Engine),
        }
    }

    fn run(&self, effort: Effort) -> Result<Sample> {
        match self {
            How::Engine(config) => {
                let run = run(impala(), config, effort.case_warm_up, effort.case_measured)?;
                Ok(run.sample)
            }
            How::Alternative(variant) => alternatives::run(*variant, effort),
        }
    }
}

/// All cases together.
pub fn planned(scope: Scope, effort: Effort) -> Duration {
    let places = places(scope);
    let hows = different(&places);
    let n_pairs = hows.iter().filter(|how| is_paired(how, &places)).count();
    one(effort) * (effort.n_case_runs * (hows.len() + n_pairs)) as u32
}

fn one(effort: Effort) -> Duration {
    effort.case_warm_up + effort.case_measured
}

/// What is run, once each.
fn different(places: &[Place]) -> Vec<&How> {
    let mut hows: Vec<&How> = Vec::new();
    for place in places {
        if !hows.contains(&&place.how) {
            hows.push(&place.how);
        }
    }
    hows
}

/// Whether the default runs once more before it: of an ablation, which is not the default itself.
fn is_paired(how: &How, places: &[Place]) -> bool {
    let is_ablation = |place: &Place| place.how == *how && ABLATIONS.contains(&place.group);
    *how != how.default() && places.iter().any(is_ablation)
}

/// Measures every case of the scope.
pub fn measure(scope: Scope, effort: Effort, progress: &mut Progress) -> Result<Vec<Case>> {
    let places = places(scope);
    let hows = different(&places);
    let mut samples = vec![Vec::new(); hows.len()];
    // Of the default, before each run of an ablation.
    let mut before = vec![Vec::new(); hows.len()];
    for round in 0..effort.n_case_runs {
        // There and back again: a steady drift then cancels between rounds.
        let there = 0..hows.len();
        let order = if round % 2 == 0 { Vec::from_iter(there) } else { there.rev().collect() };
        for k in order {
            if is_paired(hows[k], &places) {
                progress.begin("ablations and scaling", one(effort));
                before[k].push(hows[k].default().run(effort)?);
            }
            progress.begin("ablations and scaling", one(effort));
            samples[k].push(hows[k].run(effort)?);
        }
    }
    let index = |how: &How| hows.iter().position(|known| *known == how);
    let of = |how: &How| -> &[Sample] { index(how).map_or(&[], |k| &samples[k]) };
    let case = |place: &Place| {
        let paired = index(&place.how).map_or(&[][..], |k| &before[k]);
        let default = if paired.is_empty() { of(&place.how.default()) } else { paired };
        Case::new(place, of(&place.how), default)
    };
    Ok(places.iter().map(case).collect())
}

impl Case {
    fn new(place: &Place, samples: &[Sample], default: &[Sample]) -> Self {
        let spread = |of: fn(&Sample) -> f64| Spread::of(samples.iter().map(of));
        let rounds = samples.iter().zip(default);
        Case {
            group: place.group,
            name: place.name.clone(),
            m_frames_per_s: spread(|sample| sample.m_frames_per_s),
            of_default: Spread::of(rounds.map(|(a, b)| a.m_frames_per_s / b.m_frames_per_s)),
            cpu_s_per_m_frames: spread(|sample| sample.cpu_s_per_m_frames),
            pss_mb: spread(|sample| sample.pss_mb),
            policy_lag: spread(|sample| sample.policy_lag),
            disturbance: Disturbance::worst(samples.iter().map(|sample| sample.disturbance)),
        }
    }
}

/// The median of the ratios, and how sure it is.
fn times_default(ratios: &Spread) -> String {
    let [low, high] = median_interval(&ratios.values);
    format!("{:.2} ({low:.2} – {high:.2})", ratios.median)
}

/// One table a group, and how they were measured; nothing where nothing was.
pub fn markdown(cases: &[Case], effort: &Effort) -> String {
    let mut text = String::new();
    for group in cases.chunk_by(|a, b| a.group == b.group) {
        let mut table = Table::new([
            group[0].group,
            "M frames/s",
            "min – max",
            "of default",
            "CPU s/M",
            "PSS MB",
            "lag",
            "steal",
            "others",
        ]);
        for case in group {
            table.push([
                case.name.clone(),
                figure(case.m_frames_per_s.median),
                case.m_frames_per_s.range(),
                times_default(&case.of_default),
                figure(case.cpu_s_per_m_frames.median),
                figure(case.pss_mb.median),
                figure(case.policy_lag.median),
                format!("{:.1} %", case.disturbance.steal_percent),
                format!("{:.0} %", case.disturbance.others_percent),
            ]);
        }
        text += &format!("\n{}", table.text());
    }
    if !cases.is_empty() {
        text += &format!(
            "\nMedians of {} rounds of {} s. of default: median of the ratios to the default just before it \
             (ablations), or in the same round (scaling); in brackets, where the true median is in nine of ten \
             cases.\n",
            effort.n_case_runs,
            effort.case_measured.as_secs_f64()
        );
    }
    text
}
