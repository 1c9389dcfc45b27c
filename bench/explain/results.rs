//! What the committed benchmarks measured, as their JSON files say.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::interval::median_interval;

/// All files of one machine.
pub struct Machine {
    /// What a table's column calls it.
    pub label: &'static str,
    pub throughput: Throughput,
    /// Parts and whole measured by themselves, where they were; they then stand for those of `throughput`.
    pub headline: Option<Throughput>,
    /// Methods measured by themselves, in more rounds; they then stand for those of `throughput`.
    pub ablations: Option<Throughput>,
    pub micro: Micro,
    /// `None` where the kernels were not measured.
    kernels: Option<Kernels>,
}

/// `throughput-*.json`, `throughput-headline-*.json`, `throughput-ablations-*.json`.
#[derive(Deserialize)]
pub struct Throughput {
    pub setting: Setting,
    pub load_after: f64,
    rows: Vec<Row>,
    cases: Vec<Case>,
}

/// The machine and the commit.
#[derive(Deserialize)]
pub struct Setting {
    pub commit: String,
    pub cpu: String,
    pub simd: String,
    pub n_cores: usize,
    pub started: String,
    pub load_before: f64,
}

/// One quantity.
#[derive(Deserialize)]
struct Row {
    group: String,
    name: String,
    #[serde(flatten)]
    spread: Spread,
    disturbance: Disturbance,
}

/// What else the machine did.
#[derive(Deserialize)]
struct Disturbance {
    others_percent: f64,
}

/// One short run's settings or alternative.
#[derive(Deserialize)]
pub struct Case {
    group: String,
    name: String,
    pub m_frames_per_s: Spread,
    pub of_default: Ratios,
    pub cpu_s_per_m_frames: Spread,
    pub policy_lag: Spread,
    disturbance: Disturbance,
}

/// Of several measurements.
#[derive(Clone, Copy, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// Of the same to something else, measured together.
#[derive(Deserialize)]
pub struct Ratios {
    pub median: f64,
    values: Vec<f64>,
}

/// `micro-*.json`.
#[derive(Deserialize)]
pub struct Micro {
    rows: Vec<Contender>,
}

/// One way to do a job.
#[derive(Deserialize)]
struct Contender {
    job: String,
    figure: String,
    contender: String,
    value: Middle,
}

#[derive(Deserialize)]
struct Middle {
    median: f64,
}

/// `kernels-*.json`.
#[derive(Deserialize)]
struct Kernels {
    setting: Setting,
    instruction_sets: Vec<InstructionSet>,
}

/// Of one instruction set.
#[derive(Deserialize)]
pub struct InstructionSet {
    simd: String,
    pub peak_gflops: f64,
    kernels: Vec<Kernel>,
}

/// At one size.
#[derive(Deserialize)]
pub struct Kernel {
    pub name: String,
    pub hidden: usize,
    pub n_frames: usize,
    pub flops_per_frame: usize,
    pub gflops: f64,
    pub percent_of_peak: f64,
}

impl Machine {
    /// Reads the files whose names end so.
    ///
    /// # Errors
    /// If one is missing or is not what the benchmarks write.
    pub fn read(folder: &Path, label: &'static str, ending: &str) -> Result<Self> {
        let path = |kind: &str| folder.join(format!("{kind}-{ending}.json"));
        Ok(Machine {
            label,
            throughput: read(&path("throughput"))?,
            headline: read_if_there(&path("throughput-headline"))?,
            ablations: read_if_there(&path("throughput-ablations"))?,
            micro: read(&path("micro"))?,
            kernels: read_if_there(&path("kernels"))?,
        })
    }

    /// The instruction set of its kernels.
    pub fn simd(&self) -> &str {
        &self.throughput.setting.simd
    }

    /// One quantity of the throughput's tables.
    pub fn row(&self, group: &str, name: &str) -> Option<Spread> {
        let all = self.headline.iter().chain([&self.throughput]);
        let mut rows = all.flat_map(|measured| &measured.rows);
        rows.find(|row| row.group == group && row.name == name).map(|row| row.spread)
    }

    /// One short run of the throughput's tables.
    pub fn case(&self, group: &str, name: &str) -> Option<&Case> {
        let all = self.ablations.iter().chain([&self.throughput]);
        let mut cases = all.flat_map(|measured| &measured.cases);
        cases.find(|case| case.group == group && case.name == name)
    }

    /// Kernels of the widest instruction set; `None` where none were measured.
    pub fn widest(&self) -> Option<&InstructionSet> {
        let Kernels { setting, instruction_sets } = self.kernels.as_ref()?;
        instruction_sets.iter().find(|set| set.simd == setting.simd)
    }

    /// What a part costs when it is done in one of the ways compared, ns.
    pub fn micro_ns(&self, job: &str, figure: &str, contender: &str) -> Option<f64> {
        let is_it = |row: &&Contender| {
            without_size(&row.job) == job && row.figure == figure && row.contender == contender
        };
        self.micro.rows.iter().find(is_it).map(|row| row.value.median)
    }
}

/// A job's name but for the size of a rollout, which was not always the same.
fn without_size(job: &str) -> &str {
    let size = job.split_once(" kB ").filter(|(number, _)| number.parse::<u32>().is_ok());
    size.map_or(job, |(_, rest)| rest)
}

impl Throughput {
    /// Of all cores' time, what other processes took while the whole, or else the first case, was measured.
    pub fn others_percent(&self) -> f64 {
        let whole = self.rows.iter().find(|row| row.group.starts_with("end to end, native"));
        let whole = whole.map(|row| &row.disturbance);
        let measured = whole.or_else(|| Some(&self.cases.first()?.disturbance));
        measured.map_or(f64::NAN, |disturbance| disturbance.others_percent)
    }
}

impl Ratios {
    /// Where the true median is in nine of ten cases.
    pub fn interval(&self) -> [f64; 2] {
        median_interval(&self.values)
    }
}

impl InstructionSet {
    /// All of one size.
    pub fn of_size(&self, hidden: usize, n_frames: usize) -> impl Iterator<Item = &Kernel> {
        self.kernels.iter().filter(move |k| k.hidden == hidden && k.n_frames == n_frames)
    }

    /// The same kernel at the same size.
    pub fn same_as(&self, other: &Kernel) -> Option<&Kernel> {
        self.of_size(other.hidden, other.n_frames).find(|kernel| kernel.name == other.name)
    }
}

fn read_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if path.exists() { read(path).map(Some) } else { Ok(None) }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}
