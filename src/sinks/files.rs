//! The files of a run, written while it runs.
//!
//! Owns the formats of `meta.json`, `config.toml`, `metrics.csv`, `latency.hlog`, `processes.csv`,
//! `tasks.csv`, `slots.csv`, `evaluations.csv` and `summary.json`, and puts `observation.png` beside them;
//! `docs/metrics.md` says what each value means. Reads no clock and knows no process. The supervisor
//! calls it; the report and standard tools read what it writes.
//!
//! A run can be killed, and a disk can fill, at any moment. So each JSON file is replaced in one step,
//! each log grows by whole batches of lines, and a failed write is returned, not fatal: what had been
//! written stays readable and the next write may succeed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde::Serialize;

use super::batches::BatchFile;
use crate::base::clock::Interval;
use crate::base::stages::Stage;
use crate::run::dir::RunDir;
use crate::run::meta::Meta;
use crate::telemetry::{
    EvalRow, Exit, LiveNote, MetricsRow, ProcessSample, SlotRecord, Summary, TaskRow,
};

/// The first line of the log says its format, as the Java `HistogramLogWriter` does; the last comment
/// says the unit, which the format leaves open.
const HLOG_COMMENTS: [&str; 2] = [
    "[Histogram log format version 1.3]",
    "Values and Interval_Max are nanoseconds (ratio 1); one line a stage (Tag) and interval.",
];

/// Column titles of the log, as the standard tools write them.
const HLOG_LEGEND: &str =
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// Why a file of the run could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The system refused the write.
    #[error("cannot write {}: {source}; see whether the disk is full and the folder still there", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A value cannot be expressed in the file's format.
    #[error("cannot express a value in {}: {reason}; this is a defect, please report it", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// What the encoder says.
        reason: String,
    },
}

/// The open files of a running run.
pub struct RunFiles {
    run: RunDir,
    meta: Meta,
    metrics: BatchFile,
    latency: BatchFile,
    processes: BatchFile,
    /// Made with their first lines: most runs have none.
    tasks: Option<BatchFile>,
    slots: Option<BatchFile>,
    evaluations: Option<BatchFile>,
}

impl RunFiles {
    /// Writes `meta.json` (exit unknown yet), `config.toml`, and the headers of the logs. From here on the folder is a run that the report can read.
    ///
    /// # Errors
    /// [`FilesError::Write`] with the first file that cannot be written.
    pub fn create(run: &RunDir, meta: Meta, config_toml: &str) -> Result<RunFiles, FilesError> {
        write_json(&run.meta(), &meta)?;
        replace(&run.config(), config_toml.as_bytes())?;
        let metrics = new_log(&run.metrics(), &csv_header(&MetricsRow::default()))?;
        let processes = new_log(&run.processes(), &csv_header(&ProcessSample::default()))?;
        let latency = new_log(&run.latency(), &hlog_header(SystemTime::from(meta.time_origin)))?;
        let (run, tasks, slots, evaluations) = (run.clone(), None, None, None);
        Ok(RunFiles { run, meta, metrics, latency, processes, tasks, slots, evaluations })
    }

    /// Appends rows to `metrics.csv`, all or none of them. An absent value is an empty cell.
    ///
    /// # Errors
    /// [`FilesError::Write`]; the rows are lost, the file ends with the row before them.
    pub fn append_rows(&mut self, rows: &[MetricsRow]) -> Result<(), FilesError> {
        let lines = csv_lines(rows, false).map_err(|e| encode_error(&self.metrics, &e))?;
        append(&mut self.metrics, &lines)
    }

    /// Appends rows to `tasks.csv`, all or none of them.
    ///
    /// # Errors
    /// [`FilesError::Write`]; the rows are lost.
    pub fn append_task_rows(&mut self, rows: &[TaskRow]) -> Result<(), FilesError> {
        append_if_any(&mut self.tasks, &self.run.tasks(), rows)
    }

    /// Appends lines of the `latency.hlog` of the run that this one goes on from.
    ///
    /// # Errors
    /// [`FilesError::Write`].
    pub fn append_latency_lines(&mut self, lines: &str) -> Result<(), FilesError> {
        append(&mut self.latency, lines.as_bytes())
    }

    /// Appends a row for each process to `processes.csv`, all or none of them.
    ///
    /// # Errors
    /// [`FilesError::Write`]; the rows are lost, the file ends with the row before them.
    pub fn append_samples(&mut self, samples: &[ProcessSample]) -> Result<(), FilesError> {
        let lines = csv_lines(samples, false).map_err(|e| encode_error(&self.processes, &e))?;
        append(&mut self.processes, &lines)
    }

    /// Appends a line for each slot to `slots.csv`, all or none of them.
    ///
    /// # Errors
    /// [`FilesError::Write`]; the lines are lost, and with them what could be replayed.
    pub fn append_slots(&mut self, slots: &[SlotRecord]) -> Result<(), FilesError> {
        append_if_any(&mut self.slots, &self.run.slots(), slots)
    }

    /// Appends a line for each evaluation to `evaluations.csv`, all or none of them.
    ///
    /// # Errors
    /// [`FilesError::Write`]; the lines are lost.
    pub fn append_evaluations(&mut self, rows: &[EvalRow]) -> Result<(), FilesError> {
        append_if_any(&mut self.evaluations, &self.run.evaluations(), rows)
    }

    /// Appends one line to `latency.hlog` for every stage that has measurements; histograms of nanoseconds.
    /// The interval counts from the start of the run, as [`MetricsRow::time_s`] does.
    ///
    /// # Errors
    /// [`FilesError::Write`]; the interval is lost, the file ends with the one before it.
    pub fn append_latencies<'a>(
        &mut self,
        interval: Interval,
        stages: impl IntoIterator<Item = (Stage, &'a Histogram<u64>)>,
    ) -> Result<(), FilesError> {
        let measured = stages.into_iter().filter(|(_, histogram)| !histogram.is_empty());
        let lines = hlog_lines(interval, measured).map_err(|e| encode_error(&self.latency, &e))?;
        append(&mut self.latency, &lines)
    }

    /// Replaces `summary.json`. What is not finite becomes `null`.
    ///
    /// # Errors
    /// [`FilesError::Write`]; an earlier summary stays.
    pub fn write_summary(&self, summary: &Summary) -> Result<(), FilesError> {
        write_json(&self.run.summary(), summary)
    }

    /// Writes `observation.png`, whose bytes these are.
    ///
    /// # Errors
    /// [`FilesError::Write`]; the report then has no picture.
    pub fn write_observation(&self, png: &[u8]) -> Result<(), FilesError> {
        replace(&self.run.observation(), png)
    }

    /// Writes `live.json`: the run can be looked into from now on. It is taken away as this value is dropped.
    ///
    /// # Errors
    /// [`FilesError::Write`]; the run then cannot be looked into.
    pub fn announce(&self, note: &LiveNote) -> Result<(), FilesError> {
        write_json(&self.run.live(), note)
    }

    /// Records in `meta.json` how and when the run ended.
    ///
    /// # Errors
    /// [`FilesError::Write`]; the file then still says that the run is running.
    pub fn finish(&mut self, exit: Exit, reason: &str) -> Result<(), FilesError> {
        self.meta.end(exit, reason);
        write_json(&self.run.meta(), &self.meta)
    }
}

impl Drop for RunFiles {
    /// However the run ended, nothing more is written: takes `live.json` away. One that stays, after a kill,
    /// names a process that is gone, and is recognised by that.
    fn drop(&mut self) {
        let _ = fs::remove_file(self.run.live());
    }
}

/// The names of a row's columns, as a line.
fn csv_header(row: &impl Serialize) -> Vec<u8> {
    let mut lines = csv_lines(&[row], true)
        .expect("a row of numbers and names is expressible, and memory takes every write");
    let end = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |at| at + 1);
    lines.truncate(end);
    lines
}

fn new_log(path: &Path, header: &[u8]) -> Result<BatchFile, FilesError> {
    let unwritable = |source| FilesError::Write { path: path.to_owned(), source };
    let mut log = BatchFile::create(path).map_err(unwritable)?;
    log.append(header).map_err(unwritable)?;
    Ok(log)
}

/// Appends to a log that is made with its first line.
fn append_if_any<T: Serialize + Default>(
    log: &mut Option<BatchFile>,
    path: &Path,
    rows: &[T],
) -> Result<(), FilesError> {
    if rows.is_empty() {
        return Ok(());
    }
    let log = match log {
        Some(log) => log,
        none => none.insert(new_log(path, &csv_header(&T::default()))?),
    };
    let lines = csv_lines(rows, false).map_err(|e| encode_error(log, &e))?;
    append(log, &lines)
}

fn append(log: &mut BatchFile, lines: &[u8]) -> Result<(), FilesError> {
    log.append(lines).map_err(|source| FilesError::Write { path: log.path().to_owned(), source })
}

fn encode_error(log: &BatchFile, reason: &dyn std::fmt::Display) -> FilesError {
    FilesError::Encode { path: log.path().to_owned(), reason: reason.to_string() }
}

fn csv_lines(rows: &[impl Serialize], with_header: bool) -> csv::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().has_headers(with_header).from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    writer.into_inner().map_err(|e| e.into_error().into())
}

/// Both times are given, because without BaseTime the standard reader guesses from their size whether
/// intervals count from the epoch or from the start.
fn hlog_header(origin: SystemTime) -> Vec<u8> {
    let mut header = Vec::new();
    let mut builder = IntervalLogWriterBuilder::new();
    for comment in HLOG_COMMENTS {
        builder.add_comment(comment);
    }
    builder.with_start_time(origin).with_base_time(origin);
    builder
        .begin_log_with(&mut header, &mut V2DeflateSerializer::new())
        .expect("memory takes every write");
    header.extend_from_slice(HLOG_LEGEND.as_bytes());
    header
}

fn hlog_lines<'a>(
    interval: Interval,
    stages: impl Iterator<Item = (Stage, &'a Histogram<u64>)>,
) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let start = Duration::from_nanos(interval.start_ns);
    let length = Duration::from_nanos(interval.end_ns.saturating_sub(interval.start_ns));
    let mut lines = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    // A builder without comments and times writes no header.
    let mut log = IntervalLogWriterBuilder::new().begin_log_with(&mut lines, &mut serializer)?;
    for (stage, histogram) in stages {
        log.write_histogram(histogram, start, length, Tag::new(stage.tag()))?;
    }
    Ok(lines)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FilesError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| FilesError::Encode { path: path.to_owned(), reason: e.to_string() })?;
    text.push(b'\n');
    replace(path, &text)
}

/// Written aside and renamed: a reader, or a kill, meets the old content or the new one.
fn replace(path: &Path, content: &[u8]) -> Result<(), FilesError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    fs::write(&aside, content)
        .and_then(|()| fs::rename(&aside, path))
        .inspect_err(|_| drop(fs::remove_file(&aside)))
        .map_err(|source| FilesError::Write { path: path.to_owned(), source })
}
