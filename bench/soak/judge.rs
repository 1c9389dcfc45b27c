//! Whether a run grew or decayed: series in, judgements out. No clock, no I/O.
//!
//! A trend is the median of the slopes between all pairs of samples (Theil and Sen), so that neither a
//! spike nor a stretch in which the machine was busy with something else makes one. Descriptors are few
//! and exact: there a single one more counts.

use serde::Serialize;

use super::sample::Sample;
use super::statistics::median;

/// Start-up, when everything grows, is left out: a tenth of the run, this at most, s.
const LONGEST_WARM_UP_S: f64 = 120.0;

/// Fewer samples than this show no trend.
pub const FEWEST_SAMPLES: usize = 9;

/// Memory may change by this share of what it was over the run ...
const MEMORY_BOUND: f64 = 0.05;
/// ... or by so much, bytes, where that is more: a histogram that meets a longer time doubles.
const MEMORY_BOUND_BYTES: f64 = 256.0 * 1024.0;

/// Frames learned from per second of processor time, by what the yardstick does in it, may fall by this share
/// over the run. Programs that run beside it take caches from the run and from the yardstick, but not the same.
const DECAY_BOUND: f64 = 0.15;

/// Speed is measured over stretches of so much processor time at least, s: it is counted in hundredths for
/// each process, and one that is let run for a moment now and then finds nothing in any cache.
const SHORTEST_STRETCH_CPU_S: f64 = 1.0;

/// What one quantity did over the run.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    pub quantity: String,
    pub unit: &'static str,
    /// Medians of the first and the last third.
    pub first_third: f64,
    pub last_third: f64,
    /// Change over the run as judged, in the unit.
    pub change: f64,
    /// The most that the change may be, or the least if below zero; none where it is only told.
    pub bound: Option<f64>,
    pub holds: bool,
}

/// Judges a run by its samples; nothing of too few of them.
pub fn judge(samples: &[Sample]) -> Vec<Judgement> {
    let Some(last) = samples.last() else { return Vec::new() };
    let warm_up_s = LONGEST_WARM_UP_S.min(0.1 * last.time_s);
    let first = samples.partition_point(|sample| sample.time_s < warm_up_s);
    let samples = &samples[first..];
    if samples.len() < FEWEST_SAMPLES {
        return Vec::new();
    }
    let of_processes = (0..samples[0].processes.len()).flat_map(|k| process(samples, k));
    [memory("all processes", &series(samples, total_pss))]
        .into_iter()
        .chain(of_processes)
        .chain(throughput(samples))
        .chain([policy_lag(samples), restarts(samples)])
        .collect()
}

type Series = Vec<(f64, f64)>;

fn series(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Series {
    samples.iter().map(|sample| (sample.time_s, value(sample))).collect()
}

fn total_pss(sample: &Sample) -> f64 {
    sample.processes.iter().map(|process| process.pss_bytes as f64).sum()
}

fn process(samples: &[Sample], k: usize) -> [Judgement; 2] {
    let name = &samples[0].processes[k].name;
    let pss = series(samples, |sample| sample.processes[k].pss_bytes as f64);
    let descriptors = series(samples, |sample| sample.processes[k].descriptors as f64);
    let mut judgement = told(format!("descriptors, {name}"), "", &descriptors, 1.0);
    judgement.change = judgement.last_third - judgement.first_third;
    [memory(name, &pss), judgement.at_most(0.0)]
}

/// Memory in MB; the bound is on growth alone.
fn memory(of: &str, pss_bytes: &Series) -> Judgement {
    let judgement = told(format!("memory (PSS), {of}"), "MB", pss_bytes, 1e6);
    let bound = (MEMORY_BOUND * judgement.first_third).max(MEMORY_BOUND_BYTES / 1e6);
    judgement.at_most(bound)
}

fn throughput(samples: &[Sample]) -> [Judgement; 3] {
    let per_cpu_s = rates(samples, |sample| sample.cpu_s, SHORTEST_STRETCH_CPU_S);
    let per_s = rates(samples, |sample| sample.time_s, 0.0);
    let of_yardstick =
        per_cpu_s.iter().map(|rate| Rate { per_s: rate.per_s / rate.yardstick, ..*rate });
    let relative =
        told("frames per CPU second, of the yardstick's".into(), "%", &plain(of_yardstick), 0.01);
    let bound = -DECAY_BOUND * relative.first_third;
    let told = |name: &str, rates: Vec<Rate>| told(name.into(), "M frames/s", &plain(rates), 1e6);
    [
        relative.at_least(bound),
        told("frames learned from, per CPU second", per_cpu_s),
        told("frames learned from, per second", per_s),
    ]
}

/// Frames a second over one stretch.
#[derive(Clone, Copy)]
struct Rate {
    end_s: f64,
    per_s: f64,
    /// The yardstick's in the same stretch.
    yardstick: f64,
}

/// The rates over stretches of `seconds`, each as long as `shortest_s` at least.
fn rates(samples: &[Sample], seconds: fn(&Sample) -> f64, shortest_s: f64) -> Vec<Rate> {
    let (mut rates, mut start) = (Vec::new(), 0);
    for (end, sample) in samples.iter().enumerate() {
        let passed_s = seconds(sample) - seconds(&samples[start]);
        if passed_s > shortest_s {
            let frames = sample.frames.saturating_sub(samples[start].frames) as f64;
            let yardsticks: Vec<f64> = samples[start..=end].iter().map(|s| s.yardstick).collect();
            let yardstick = median(&yardsticks);
            rates.push(Rate { end_s: sample.time_s, per_s: frames / passed_s, yardstick });
            start = end;
        }
    }
    rates
}

fn plain(rates: impl IntoIterator<Item = Rate>) -> Series {
    rates.into_iter().map(|rate| (rate.end_s, rate.per_s)).collect()
}

fn policy_lag(samples: &[Sample]) -> Judgement {
    let lags = series(samples, |sample| sample.policy_lag);
    let known: Series = lags.into_iter().filter(|(_, lag)| lag.is_finite()).collect();
    told("policy lag, mean".into(), "updates", &known, 1.0)
}

/// No worker has a reason to end: each replacement is a fault that was mended.
fn restarts(samples: &[Sample]) -> Judgement {
    let restarts = series(samples, |sample| sample.restarts as f64);
    let mut judgement = told("workers replaced".into(), "", &restarts, 1.0);
    judgement.change = restarts.last().map_or(0.0, |(_, n)| *n);
    judgement.at_most(0.0)
}

/// A quantity in units of `unit_size`, with its trend and without a bound.
fn told(quantity: String, unit: &'static str, series: &Series, unit_size: f64) -> Judgement {
    let third = series.len().div_ceil(3);
    let median_of = |part: &[(f64, f64)]| {
        median(&part.iter().map(|(_, value)| value / unit_size).collect::<Vec<_>>())
    };
    Judgement {
        quantity,
        unit,
        first_third: median_of(&series[..third]),
        last_third: median_of(&series[series.len() - third..]),
        change: trend(series) / unit_size,
        bound: None,
        holds: true,
    }
}

/// Change over the whole series: the median slope times its length.
fn trend(series: &Series) -> f64 {
    let mut slopes = Vec::new();
    for (k, (x0, y0)) in series.iter().enumerate() {
        slopes.extend(series[k + 1..].iter().map(|(x1, y1)| (y1 - y0) / (x1 - x0)));
    }
    let length = |series: &Series| Some(series.last()?.0 - series.first()?.0);
    median(&slopes) * length(series).unwrap_or(f64::NAN)
}

impl Judgement {
    fn at_most(self, bound: f64) -> Judgement {
        Judgement { bound: Some(bound), holds: self.change <= bound, ..self }
    }

    fn at_least(self, bound: f64) -> Judgement {
        Judgement { bound: Some(bound), holds: self.change >= bound, ..self }
    }
}
