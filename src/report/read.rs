//! A run read back from its files.
//!
//! Owns the reading of every file of a run folder. Does not judge or draw. The page calls it.
//!
//! A run may have been killed, may still run, or may have diverged: what is missing or broken is left
//! out and named in [`RunData::notes`], so that the rest can still be shown.

use std::path::Path;

use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogHistogram, IntervalLogIterator, LogEntry,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::points::is_drawable;
use crate::base::input::{open_regular, read_at_most, read_text_at_most};
use crate::base::stages::Stage;
use crate::base::units::number_of;
use crate::network::NetworkSpec;
use crate::run::dir::RunDir;
use crate::run::meta::Meta;
use crate::space::Spec;
use crate::state::checkpoint::Checkpoint;
use crate::telemetry::{EvalRow, MetricsRow, ProcessSample, Summary, TaskRow};

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
    /// `tasks.csv`, in the order of the file; empty of a run of one task.
    pub task_rows: Vec<TaskRow>,
    /// `latency.hlog`, all intervals of a stage added up, ns.
    pub latencies: Latencies,
    /// `latency.hlog`, interval by interval.
    pub intervals: Vec<StageInterval>,
    /// `processes.csv`, in the order of the file.
    pub samples: Vec<ProcessSample>,
    /// `evaluations.csv`, in the order of the file; empty of a run that had none.
    pub evaluations: Vec<EvalRow>,
    /// `summary.json`.
    pub summary: Option<Summary>,
    /// What was trained in and what was trained, of the newest checkpoint.
    pub trained: Option<(Spec, NetworkSpec)>,
    /// `observation.png`.
    pub observation: Option<Vec<u8>>,
    /// What could not be read, in sentences.
    pub notes: Vec<String>,
}

const LAST_LINE_INCOMPLETE: &str = "the last line is incomplete and left out";

/// The longest log of the longest run: a million rows of a few hundred bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A picture as the run draws one has some thousand bytes.
const MAX_PICTURE_BYTES: u64 = 1 << 20;

/// How every PNG file begins (PNG specification, section 5.2).
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Rows that are read of `metrics.csv`: as many as `report.rows` allows.
const MAX_ROWS: usize = 1_000_000;

/// Bytes of a histogram once it is unpacked. Ours have some thousand buckets.
const MAX_HISTOGRAM_BYTES: u64 = 1 << 20;

/// Significant digits of a histogram; five would take a hundred megabytes.
const MAX_DIGITS: u32 = 3;

/// HdrHistogram's V2 format, before the counts: cookie, length of the counts, normalising offset,
/// digits (32 bits each), lowest and highest value, ratio (64 bits each).
const HEADER_BYTES: usize = 4 * 4 + 3 * 8;

/// First word of that format. The decoder takes others too, one of which unpacks again without a bound.
const V2_COOKIE: u32 = 0x1c84_9313;

/// Its compressed form, before the deflated bytes: cookie and length.
const COMPRESSED_HEADER_BYTES: usize = 2 * 4;

/// Measurements in a histogram: a nanosecond each is a hundred days. Sums of so many cannot overflow.
const MAX_COUNT: u64 = 1 << 53;

/// The time of one stage for an update over one interval: percentiles in µs. The histograms of a long
/// run together would not fit into memory.
pub struct StageInterval {
    /// The stage.
    pub stage: Stage,
    /// Begin, s since the process started.
    pub start_s: f64,
    /// End, s since the process started.
    pub end_s: f64,
    /// What one in ten stayed below.
    pub p10_us: f64,
    /// Median.
    pub p50_us: f64,
    /// What nine in ten stayed below.
    pub p90_us: f64,
    /// What 99 in 100 stayed below.
    pub p99_us: f64,
}

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

    fn add(&mut self, stage: Stage, histogram: &Histogram<u64>) -> Result<(), String> {
        match self.by_stage.iter_mut().find(|(of, _)| *of == stage) {
            Some((_, total)) if total.len() + histogram.len() > MAX_COUNT => {
                Err(format!("more than {MAX_COUNT} measurements of one stage"))
            }
            Some((_, total)) => total.add(histogram).map_err(|e| e.to_string()),
            None => {
                self.by_stage.push((stage, histogram.clone()));
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
        data.samples = data.read_optional(&run.processes());
        data.evaluations = data.read_optional(&run.evaluations());
        data.task_rows = data.read_optional(&run.tasks());
        data.read_trained(&run.checkpoint());
        data.read_observation(&run.observation());
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
        let Some(text) = self.read_text(path) else {
            return;
        };
        let (rows, n_undrawable) = self.read_rows(path, text);
        self.rows = rows;
        if n_undrawable > 0 {
            let values = number_of(n_undrawable as u64, "value");
            self.note(path, &format!("{values} left out of the plots: not finite, or too large"));
        }
    }

    /// A run that has just begun lacks the file.
    fn read_trained(&mut self, path: &Path) {
        if path.exists() {
            let specs = Checkpoint::load_specs(path);
            // Its message has the whole path, and a remedy for who wanted the weights.
            let note = "what was trained is not said: its header cannot be read";
            self.trained = specs.map_err(|_| self.note(path, &note)).ok();
        }
    }

    /// The rows of a table that some runs lack.
    fn read_optional<T>(&mut self, path: &Path) -> Vec<T>
    where
        T: DeserializeOwned + Serialize + Default,
    {
        let text = if path.exists() { self.read_text(path) } else { None };
        text.map(|text| self.read_rows(path, text).0).unwrap_or_default()
    }

    fn read_observation(&mut self, path: &Path) {
        if !path.exists() {
            return;
        }
        let read = open_regular(path).and_then(|file| read_at_most(file, MAX_PICTURE_BYTES));
        match read {
            Ok(bytes) if bytes.starts_with(PNG_SIGNATURE) => self.observation = Some(bytes),
            Ok(_) => self.note(path, &"it is no PNG file"),
            Err(error) => self.note(path, &error),
        }
    }

    /// The readable rows of a table, and how many of their values cannot be drawn.
    fn read_rows<T>(&mut self, path: &Path, mut text: String) -> (Vec<T>, usize)
    where
        T: DeserializeOwned + Serialize + Default,
    {
        // A line that is still being written may be cut inside a number and yet parse.
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        if complete < text.len() {
            self.note(path, &LAST_LINE_INCOMPLETE);
        } else if text.is_empty() {
            self.note(path, &"it is empty");
        }
        text.truncate(complete);
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
        let Ok(header) = reader.headers().cloned() else {
            return (Vec::new(), 0);
        };
        if complete > 0
            && let Some(fault) = header_fault(&header, &columns::<T>())
        {
            self.note(path, &fault);
        }
        let mut rows = Vec::new();
        let (mut n_broken, mut n_undrawable) = (0, 0);
        for record in reader.records() {
            if rows.len() == MAX_ROWS {
                self.note(path, &format!("only its first {MAX_ROWS} rows are read"));
                break;
            }
            match record.and_then(|record| Ok((record.deserialize(Some(&header))?, record))) {
                Ok((row, record)) => {
                    rows.push(row);
                    n_undrawable += record.iter().filter(|cell| is_undrawable(cell)).count();
                }
                Err(_) => n_broken += 1,
            }
        }
        if n_broken > 0 {
            let rows = number_of(n_broken, "unreadable row");
            self.note(path, &format!("{rows} left out"));
        }
        (rows, n_undrawable)
    }

    fn read_latencies(&mut self, path: &Path) {
        let Some(text) = self.read_text(path) else {
            return;
        };
        let (mut n_broken, mut first_reason) = (0, String::new());
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            let added = match entry {
                Ok(LogEntry::Interval(interval)) => self.add_interval(&interval),
                Ok(LogEntry::StartTime(_) | LogEntry::BaseTime(_)) => Ok(()),
                Err(_) => {
                    self.note(path, &LAST_LINE_INCOMPLETE);
                    Ok(())
                }
            };
            if let Err(reason) = added {
                n_broken += 1;
                first_reason = if n_broken == 1 { reason } else { first_reason };
            }
        }
        if n_broken > 0 {
            let intervals = number_of(n_broken, "unreadable interval");
            self.note(path, &format!("{intervals} left out ({first_reason})"));
        }
    }

    /// A tag this version does not know belongs to a later one and is passed over.
    fn add_interval(&mut self, interval: &IntervalLogHistogram) -> Result<(), String> {
        let Some(stage) = interval.tag().and_then(|tag| Stage::from_tag(tag.as_str())) else {
            return Ok(());
        };
        let histogram = decode(interval.encoded_histogram())?;
        self.latencies.add(stage, &histogram)?;
        let start_s = interval.start_timestamp().as_secs_f64();
        let end_s = start_s + interval.duration().as_secs_f64();
        let at_us = |quantile| histogram.value_at_quantile(quantile).max(1) as f64 / 1e3;
        let (p10_us, p50_us) = (at_us(0.1), at_us(0.5));
        let (p90_us, p99_us) = (at_us(0.9), at_us(0.99));
        self.intervals.push(StageInterval {
            stage,
            start_s,
            end_s,
            p10_us,
            p50_us,
            p90_us,
            p99_us,
        });
        Ok(())
    }

    fn read_text(&mut self, path: &Path) -> Option<String> {
        let text = open_regular(path).and_then(|file| read_text_at_most(file, MAX_FILE_BYTES));
        text.map_err(|e| self.note(path, &e)).ok()
    }

    fn note(&mut self, path: &Path, what: &dyn std::fmt::Display) {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        self.notes.push(format!("{file}: {what}"));
    }
}

/// The header of a table of such rows.
fn columns<T: Serialize + Default>() -> csv::StringRecord {
    let mut table = Vec::new();
    let mut writer = csv::Writer::from_writer(&mut table);
    writer.serialize(T::default()).expect("a row has a name for each of its values");
    drop(writer);
    let header = csv::Reader::from_reader(table.as_slice()).headers().cloned();
    header.expect("it was just written")
}

/// What a header lacks: a value that may be absent is passed over in silence if its column has another name.
fn header_fault(found: &csv::StringRecord, expected: &csv::StringRecord) -> Option<String> {
    let is_absent = |name: &&str| !found.iter().any(|known| known == *name);
    let absent: Vec<&str> = expected.iter().filter(is_absent).collect();
    let (first, n_absent, n) = (absent.first()?, absent.len(), expected.len());
    Some(format!("its first line names {} of {n} columns; `{first}` is missing", n - n_absent))
}

fn is_undrawable(cell: &str) -> bool {
    cell.parse::<f64>().is_ok_and(|value| !is_drawable(value))
}

fn decode(encoded: &str) -> Result<Histogram<u64>, String> {
    use base64::Engine as _;
    let packed =
        base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|e| e.to_string())?;
    let bytes = unpack(&packed)?;
    let histogram = Deserializer::new().deserialize(&mut bytes.as_slice());
    let histogram: Histogram<u64> = histogram.map_err(|e| e.to_string())?;
    if histogram.len() > MAX_COUNT {
        return Err(format!("more than {MAX_COUNT} measurements"));
    }
    Ok(histogram)
}

/// The histogram inside a compressed one, which is known to be harmless to decode: the decoder believes
/// what a header says about sizes, and an extreme count would overflow in it.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let Some((_, deflated)) = packed.split_at_checked(COMPRESSED_HEADER_BYTES) else {
        return Err("a histogram is cut short".into());
    };
    let bytes = read_at_most(ZlibDecoder::new(deflated), MAX_HISTOGRAM_BYTES)
        .map_err(|error| format!("a histogram cannot be unpacked: {error}"))?;
    let word = |at: usize| {
        let bytes = bytes.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let counts = bytes.get(HEADER_BYTES..).unwrap_or_default();
    if word(0) != Some(V2_COOKIE) {
        return Err("a histogram in another format than HdrHistogram's V2".into());
    }
    if word(4) != Some(counts.len() as u32) {
        return Err("a histogram is not as long as it says".into());
    }
    if word(12).is_none_or(|n_digits| n_digits > MAX_DIGITS) {
        return Err(format!("a histogram of more than {MAX_DIGITS} digits"));
    }
    // Nine such bytes are the one number whose negative does not exist.
    if counts.windows(9).any(|window| window.iter().all(|&byte| byte == u8::MAX)) {
        return Err("a histogram with an impossible count".into());
    }
    Ok(bytes)
}
