//! The run as TensorBoard shows it: scalars of every column of `metrics.csv` and, task by task, of `tasks.csv`;
//! histograms of latencies.
//!
//! Owns the event file: its messages, its framing, and which tag a column gets. Reads no clock: events
//! carry the times of what they tell. The supervisor calls it.
//!
//! The messages are the few fields of TensorFlow's `event.proto`, `summary.proto` and `tensor.proto`
//! that are written here, with their numbers. A record is the length, its checksum, the message, its
//! checksum; checksums are CRC-32C, masked as TensorFlow's `record_writer.h` masks them.

use std::io;
use std::path::PathBuf;

use hdrhistogram::Histogram;
use jiff::Timestamp;
use prost::Message;
use serde::Serialize;

use super::batches::BatchFile;
use crate::base::stages::Stage;
use crate::run::dir::RunDir;
use crate::run::meta::Meta;
use crate::telemetry::{EvalRow, MetricsRow, TaskRow};

/// Columns with the names that users of Stable-Baselines3 and CleanRL look for, or near them. A stage's
/// column goes to `time/`, any other to `impala/`, under its own name.
const TAGS: [(&str, &str); 27] = [
    ("time_s", "time/time_elapsed"),
    ("frames", "time/total_timesteps"),
    ("frames_produced", "time/frames_produced"),
    ("updates", "train/n_updates"),
    ("frames_per_s", "charts/SPS"),
    ("episodes", "rollout/episodes"),
    ("score_mean", "charts/episodic_return"),
    ("score_min", "rollout/ep_rew_min"),
    ("score_max", "rollout/ep_rew_max"),
    ("score_last100", "rollout/ep_rew_mean"),
    ("normalized_score", "tasks/normalized_score"),
    ("total_loss", "losses/total_loss"),
    ("policy_loss", "losses/policy_loss"),
    ("critic_loss", "losses/value_loss"),
    ("entropy", "losses/entropy"),
    ("kl", "losses/approx_kl"),
    ("explained_variance", "losses/explained_variance"),
    ("grad_norm", "losses/grad_norm"),
    ("learning_rate", "charts/learning_rate"),
    ("entropy_cost", "charts/entropy_cost"),
    ("rho_min", "vtrace/rho_min"),
    ("rho_mean", "vtrace/rho_mean"),
    ("rho_max", "vtrace/rho_max"),
    ("rho_clipped", "vtrace/rho_clipped"),
    ("policy_lag_mean", "vtrace/policy_lag_mean"),
    ("policy_lag_max", "vtrace/policy_lag_max"),
    ("ring_occupancy", "time/ring_occupancy"),
];

/// The tag of a column of `metrics.csv`.
pub fn scalar_tag(column: &str) -> String {
    match TAGS.iter().find(|(name, _)| *name == column) {
        Some((_, tag)) => (*tag).to_owned(),
        None if column.ends_with("_us") => format!("time/{column}"),
        None => format!("impala/{column}"),
    }
}

/// The tag of a column of `tasks.csv`: the task's id, and a name as [`scalar_tag`] has it without its group.
pub fn task_tag(task: &str, column: &str) -> String {
    let tag = scalar_tag(column);
    let name = tag.rsplit('/').next().unwrap_or_default();
    format!("tasks/{task}/{name}")
}

/// The tag of a stage's latencies.
pub fn histogram_tag(stage: Stage) -> String {
    format!("latency/{}_us", stage.tag())
}

/// Why nothing could be added for TensorBoard.
#[derive(Debug, thiserror::Error)]
pub enum TensorBoardError {
    /// The system refused the write.
    #[error("cannot write {}: {source}; see whether the disk is full and the folder still there", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A row cannot be taken apart into its columns.
    #[error("cannot name the columns of a row: {0}; this is a defect, please report it")]
    Columns(#[from] csv::Error),
}

/// The open event file of a running run.
pub struct TensorBoard {
    log: BatchFile,
    /// Seconds since the epoch that [`MetricsRow::time_s`] counts from.
    origin_s: f64,
}

impl TensorBoard {
    /// Begins the event file of a run with its settings as a text.
    ///
    /// # Errors
    /// [`TensorBoardError::Write`] where the file cannot be made.
    pub fn create(
        run: &RunDir,
        meta: &Meta,
        config_toml: &str,
    ) -> Result<TensorBoard, TensorBoardError> {
        let seconds = |time: Timestamp| time.as_nanosecond() as f64 / 1e9;
        let (started, started_s) = (meta.started, seconds(meta.started));
        let path = run.events(started.as_second());
        let log =
            BatchFile::create(&path).map_err(|source| TensorBoardError::Write { path, source })?;
        let mut board = TensorBoard { log, origin_s: seconds(meta.time_origin) };
        let version = Event {
            wall_time: started_s,
            file_version: Some("brain.Event:2".to_owned()),
            ..Event::default()
        };
        let settings = Value::text("settings", format!("```toml\n{config_toml}\n```"));
        let settings = Event::of(started_s, 0, vec![settings]);
        board.append(&[version, settings])?;
        Ok(board)
    }

    /// Adds a point to every scalar, with the frames as the step. What was not measured has none.
    ///
    /// # Errors
    /// [`TensorBoardError::Write`]; these rows are lost, what was written before stays whole.
    pub fn append_rows(&mut self, rows: &[MetricsRow]) -> Result<(), TensorBoardError> {
        let events = rows.iter().map(|row| self.row_event(row)).collect::<Result<Vec<_>, _>>()?;
        self.append(&events)
    }

    /// Adds a point to every scalar of each row's task, with the frames of all tasks as the step.
    ///
    /// # Errors
    /// [`TensorBoardError::Write`]; these rows are lost, what was written before stays whole.
    pub fn append_task_rows(&mut self, rows: &[TaskRow]) -> Result<(), TensorBoardError> {
        let events = rows.iter().map(|row| self.task_event(row)).collect::<Result<Vec<_>, _>>()?;
        self.append(&events)
    }

    /// Adds what evaluations found, with the frames as the step.
    ///
    /// # Errors
    /// [`TensorBoardError::Write`]; these are lost, what was written before stays whole.
    pub fn append_evaluations(&mut self, rows: &[EvalRow]) -> Result<(), TensorBoardError> {
        let event = |row: &EvalRow| {
            let values =
                [("mean_reward", row.mean), ("min_reward", row.min), ("max_reward", row.max)]
                    .map(|(name, value)| Value::scalar(format!("eval/{name}"), value));
            Event::of(self.origin_s + row.time_s, row.frames as i64, values.into())
        };
        let events: Vec<Event> = rows.iter().map(event).collect();
        self.append(&events)
    }

    /// Adds a histogram of each stage that has measurements; `stages` are histograms of nanoseconds.
    ///
    /// # Errors
    /// [`TensorBoardError::Write`]; this interval is lost, what was written before stays whole.
    pub fn append_latencies<'a>(
        &mut self,
        end_ns: u64,
        frames: u64,
        stages: impl IntoIterator<Item = (Stage, &'a Histogram<u64>)>,
    ) -> Result<(), TensorBoardError> {
        let values: Vec<Value> = stages
            .into_iter()
            .filter(|(_, histogram)| !histogram.is_empty())
            .map(|(stage, histogram)| Value::histogram(histogram_tag(stage), histogram))
            .collect();
        if values.is_empty() {
            return Ok(());
        }
        let wall_time = self.origin_s + end_ns as f64 / 1e9;
        self.append(&[Event::of(wall_time, frames as i64, values)])
    }

    fn row_event(&self, row: &MetricsRow) -> Result<Event, TensorBoardError> {
        let values = cells(row)?
            .into_iter()
            .map(|(column, value)| Value::scalar(scalar_tag(&column), value))
            .collect();
        Ok(Event::of(self.origin_s + row.time_s, row.frames as i64, values))
    }

    /// Where a row stands is said by its event; its task by the tags.
    fn task_event(&self, row: &TaskRow) -> Result<Event, TensorBoardError> {
        let values = cells(row)?
            .into_iter()
            .filter(|(column, _)| !["time_s", "frames", "task"].contains(&&**column))
            .map(|(column, value)| Value::scalar(task_tag(&row.task, &column), value))
            .collect();
        Ok(Event::of(self.origin_s + row.time_s, row.frames as i64, values))
    }

    fn append(&mut self, events: &[Event]) -> Result<(), TensorBoardError> {
        let mut records = Vec::new();
        for event in events {
            push_record(&mut records, &event.encode_to_vec());
        }
        let written = self.log.append(&records);
        written
            .map_err(|source| TensorBoardError::Write { path: self.log.path().to_owned(), source })
    }
}

/// The measured columns of a row by name.
fn cells(row: &impl Serialize) -> Result<Vec<(String, f64)>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(row)?;
    let lines = writer.into_inner().map_err(|e| csv::Error::from(e.into_error()))?;
    let mut reader = csv::Reader::from_reader(lines.as_slice());
    let columns = reader.headers()?.clone();
    let mut record = csv::StringRecord::new();
    reader.read_record(&mut record)?;
    let values = record.iter().map(|cell| cell.parse::<f64>().ok());
    Ok(columns.iter().zip(values).filter_map(|(name, v)| Some((name.to_owned(), v?))).collect())
}

/// One entry of an event file.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since the epoch.
    #[prost(double, tag = "1")]
    wall_time: f64,
    /// Frames learned from.
    #[prost(int64, tag = "2")]
    step: i64,
    /// Of the first event of a file.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

/// One point of one tag: exactly one of the optional fields that hold data is set.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "5")]
    histogram: Option<HistogramProto>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<Tensor>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct HistogramProto {
    #[prost(double, tag = "1")]
    min: f64,
    #[prost(double, tag = "2")]
    max: f64,
    /// Number of measurements.
    #[prost(double, tag = "3")]
    num: f64,
    #[prost(double, tag = "4")]
    sum: f64,
    #[prost(double, tag = "5")]
    sum_squares: f64,
    /// Upper ends of the buckets; a bucket begins where the one before it ends.
    #[prost(double, repeated, tag = "6")]
    bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    bucket: Vec<f64>,
}

/// A string; a tensor without a shape holds one value.
#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(string, repeated, tag = "8")]
    strings: Vec<String>,
}

/// `DT_STRING` of TensorFlow's `types.proto`.
const STRING: i32 = 7;

/// Which of TensorBoard's plugins shows a tag.
#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin: Option<Plugin>,
}

#[derive(Clone, PartialEq, Message)]
struct Plugin {
    #[prost(string, tag = "1")]
    name: String,
}

impl Event {
    fn of(wall_time: f64, step: i64, values: Vec<Value>) -> Event {
        Event { wall_time, step, file_version: None, summary: Some(Summary { values }) }
    }
}

impl Value {
    fn scalar(tag: String, value: f64) -> Value {
        Value { tag, simple_value: Some(value as f32), ..Value::default() }
    }

    /// A Markdown text, for the plugin that shows texts.
    fn text(tag: &str, text: String) -> Value {
        let plugin = Some(Plugin { name: "text".to_owned() });
        let tensor = Some(Tensor { dtype: STRING, strings: vec![text] });
        Value {
            tag: tag.to_owned(),
            tensor,
            metadata: Some(Metadata { plugin }),
            ..Value::default()
        }
    }

    /// Nanoseconds into buckets of microseconds.
    fn histogram(tag: String, histogram_ns: &Histogram<u64>) -> Value {
        Value { tag, histogram: Some(buckets(histogram_ns)), ..Value::default() }
    }
}

/// The recorded buckets alone, with an empty one before each that does not follow at once.
fn buckets(histogram_ns: &Histogram<u64>) -> HistogramProto {
    let us = |ns: u64| ns as f64 / 1e3;
    let mut proto = HistogramProto {
        min: us(histogram_ns.min()),
        max: us(histogram_ns.max()),
        num: histogram_ns.len() as f64,
        ..HistogramProto::default()
    };
    let mut end_ns = 0;
    for step in histogram_ns.iter_recorded() {
        let value_ns = step.value_iterated_to();
        let from_ns = histogram_ns.lowest_equivalent(value_ns);
        if from_ns > end_ns {
            proto.bucket_limit.push(us(from_ns));
            proto.bucket.push(0.0);
        }
        let count = step.count_at_value() as f64;
        end_ns = histogram_ns.next_non_equivalent(value_ns);
        proto.bucket_limit.push(us(end_ns));
        proto.bucket.push(count);
        let middle = us(histogram_ns.median_equivalent(value_ns));
        proto.sum += count * middle;
        proto.sum_squares += count * middle * middle;
    }
    proto
}

/// Length, masked checksum of the length, message, masked checksum of the message.
fn push_record(file: &mut Vec<u8>, message: &[u8]) {
    let length = (message.len() as u64).to_le_bytes();
    file.extend_from_slice(&length);
    file.extend_from_slice(&masked_checksum(&length).to_le_bytes());
    file.extend_from_slice(message);
    file.extend_from_slice(&masked_checksum(message).to_le_bytes());
}

/// A checksum over data that holds checksums would be weak, so it is rotated and shifted.
fn masked_checksum(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}
