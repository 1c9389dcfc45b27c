//! A run read back from its files.
//!
//! Owns the reading of every file of a run folder. Does not judge or draw. The page calls it.
//!
//! A run may have been killed, may still run, or may have diverged: what is missing or broken is left
//! out and named in [`RunData::notes`], so that the rest can still be shown.

use std::fs;
use std::path::Path;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogHistogram, IntervalLogIterator, LogEntry,
};
use serde::de::DeserializeOwned;

use super::points::is_drawable;
use crate::latency::Stage;
use crate::meta::Meta;
use crate::run_dir::RunDir;
use crate::telemetry::{MetricsRow, Summary};

/// All that is known of a run.
#[derive(Default)]
pub struct RunData {
    /// Name of the run folder.
    pub name: String,
    /// `meta.json`.
    pub meta: Option<Meta>,
    /// `config.toml`.
    pub config: toml::Table,
    /// `metrics.csv`, in the order of the file.
    pub rows: Vec<MetricsRow>,
    /// `latency.hlog`, all intervals of a stage added up, ns.
    pub latencies: Latencies,
    /// `summary.json`.
    pub summary: Option<Summary>,
    /// What could not be read, in sentences.
    pub notes: Vec<String>,
}

const LAST_LINE_INCOMPLETE: &str = "the last line is incomplete and left out";

/// One histogram of nanoseconds for each stage that was measured.
#[derive(Default)]
pub struct Latencies {
    by_stage: Vec<(Stage, Histogram<u64>)>,
}

impl Latencies {
    /// The histogram of a stage, ns.
    pub fn get(&self, stage: Stage) -> Option<&Histogram<u64>> {
        self.by_stage.iter().find(|(of, _)| *of == stage).map(|(_, histogram)| histogram)
    }

    fn add(&mut self, stage: Stage, histogram: Histogram<u64>) -> Result<(), String> {
        match self.by_stage.iter_mut().find(|(of, _)| *of == stage) {
            Some((_, total)) => total.add(histogram).map_err(|e| e.to_string()),
            None => {
                self.by_stage.push((stage, histogram));
                Ok(())
            }
        }
    }
}

impl RunData {
    /// Reads what there is.
    pub fn read(run: &RunDir) -> RunData {
        let name = run.path().file_name().map(|name| name.to_string_lossy().into_owned());
        let mut data = RunData { name: name.unwrap_or_default(), ..RunData::default() };
        data.meta = data.read_json(&run.meta());
        data.summary = data.read_json(&run.summary());
        data.config = data.read_config(&run.config());
        data.read_metrics(&run.metrics());
        data.read_latencies(&run.latency());
        data
    }

    fn read_json<T: DeserializeOwned>(&mut self, path: &Path) -> Option<T> {
        let text = self.read_text(path)?;
        serde_json::from_str(&text).map_err(|e| self.note(path, &e)).ok()
    }

    fn read_config(&mut self, path: &Path) -> toml::Table {
        let Some(text) = self.read_text(path) else {
            return toml::Table::new();
        };
        text.parse().map_err(|e: toml::de::Error| self.note(path, &e.message())).unwrap_or_default()
    }

    fn read_metrics(&mut self, path: &Path) {
        let Some(mut text) = self.read_text(path) else {
            return;
        };
        // A line that is still being written may be cut inside a number and yet parse.
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        if complete < text.len() {
            self.note(path, &LAST_LINE_INCOMPLETE);
        }
        text.truncate(complete);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        let Ok(header) = reader.headers().cloned() else {
            return;
        };
        let (mut n_broken, mut n_undrawable) = (0, 0);
        for record in reader.records() {
            match record.and_then(|record| Ok((record.deserialize(Some(&header))?, record))) {
                Ok((row, record)) => {
                    self.rows.push(row);
                    n_undrawable += record.iter().filter(|cell| is_undrawable(cell)).count();
                }
                Err(_) => n_broken += 1,
            }
        }
        if n_broken > 0 {
            self.note(path, &format!("{n_broken} unreadable row(s) left out"));
        }
        if n_undrawable > 0 {
            self.note(
                path,
                &format!("{n_undrawable} value(s) are not finite or too large, and not plotted"),
            );
        }
    }

    fn read_latencies(&mut self, path: &Path) {
        let Some(text) = self.read_text(path) else {
            return;
        };
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            let added = match entry {
                Ok(LogEntry::Interval(interval)) => self.add_interval(&interval),
                Ok(LogEntry::StartTime(_) | LogEntry::BaseTime(_)) => Ok(()),
                Err(_) => Err(LAST_LINE_INCOMPLETE.to_owned()),
            };
            added.unwrap_or_else(|reason| self.note(path, &reason));
        }
    }

    /// A tag this version does not know belongs to a later one and is passed over.
    fn add_interval(&mut self, interval: &IntervalLogHistogram) -> Result<(), String> {
        let Some(stage) = interval.tag().and_then(|tag| Stage::from_tag(tag.as_str())) else {
            return Ok(());
        };
        self.latencies.add(stage, decode(interval.encoded_histogram())?)
    }

    fn read_text(&mut self, path: &Path) -> Option<String> {
        fs::read_to_string(path).map_err(|e| self.note(path, &e)).ok()
    }

    fn note(&mut self, path: &Path, what: &dyn std::fmt::Display) {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        self.notes.push(format!("{file}: {what}"));
    }
}

fn is_undrawable(cell: &str) -> bool {
    cell.parse::<f64>().is_ok_and(|value| !is_drawable(value))
}

fn decode(encoded: &str) -> Result<Histogram<u64>, String> {
    use base64::Engine as _;
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|e| e.to_string())?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(|e| e.to_string())
}
