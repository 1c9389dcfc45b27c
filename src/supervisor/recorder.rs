//! The recorder of a run: what the learner reports and what the processes take, into files and onto the
//! terminal, and all of it added up.
//!
//! Owns the sinks while workers live. A write that fails becomes a note, and training goes on. Decides
//! nothing, and knows no shared memory. Called by the supervisor.

use super::cores::CoreLedger;
use super::place::Place;
use crate::base::clock::{Interval, RunClock, in_seconds, monotonic_ns};
use crate::base::stages::StageHistograms;
use crate::os::cores::CoreTime;
use crate::os::memory::pss_bytes;
use crate::os::process::descendants;
use crate::sinks::Sinks;
use crate::sinks::files::FilesError;
use crate::sinks::tensorboard::TensorBoardError;
use crate::telemetry::{
    DecodeError, EvalRow, LearnerFigures, LiveNote, MemorySummary, ProcessSample, Report,
};

/// Processes are sampled after a tenth of the run so far, but this seldom at least and this often at most:
/// a short run has some points in its plot of memory, and a sample costs little beside what lies between two.
const MIN_SAMPLE_NS: u64 = 100_000_000;
const MAX_SAMPLE_NS: u64 = 1_000_000_000;

/// In a long run samples become rarer still, so that their file has hundreds of rows a process, not tens
/// of thousands.
const SAMPLES_OF_A_LONG_RUN: u64 = 500;

/// What all reports and samples of a run add up to.
#[derive(Default)]
pub struct Totals {
    /// What reports have covered, from the first one's start, ns of `CLOCK_MONOTONIC`.
    reported: Option<Interval>,
    /// What all of its learners reported.
    pub learner: LearnerFigures,
    /// Latencies of all stages.
    pub latency: StageHistograms,
    /// Memory of all processes; none before the first sample.
    pub memory: Option<MemorySummary>,
    /// What each process got of the cores.
    pub cores: CoreLedger,
}

impl Totals {
    /// From the begin of the first learner's loop to the end of what the last one reported, ns; `None` if
    /// none reported.
    pub fn train_ns(&self) -> Option<u64> {
        self.reported.map(|reported| reported.end_ns - reported.start_ns)
    }
}

/// Why a report could not be recorded.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    TensorBoard(#[from] TensorBoardError),
}

/// The sinks of a run, and what went into them.
pub struct Recorder<'a> {
    run_clock: RunClock,
    sinks: &'a mut Sinks,
    totals: Totals,
    /// When processes are sampled next.
    next_sample_ns: u64,
}

impl<'a> Recorder<'a> {
    /// A recorder that has recorded nothing yet.
    pub fn new(run_clock: RunClock, sinks: &'a mut Sinks) -> Self {
        Recorder { run_clock, sinks, totals: Totals::default(), next_sample_ns: 0 }
    }

    /// Says in the run's folder where its segment can be looked into.
    ///
    /// # Errors
    /// If the note cannot be written.
    pub fn announce(&self, note: &LiveNote) -> Result<(), FilesError> {
        self.sinks.files.announce(note)
    }

    /// Tells the user.
    pub fn note(&self, text: &str) {
        self.sinks.terminal.note(text);
    }

    /// Shows how many frames have been learned from: reports, which tell more, become rare in a long run.
    pub fn show_frames(&mut self, frames: u64) {
        self.sinks.terminal.show_frames(frames);
    }

    /// Takes the progress line away.
    pub fn finish(&self) {
        self.sinks.terminal.finish();
    }

    /// Hands over what all has added up to.
    pub fn take_totals(&mut self) -> Totals {
        std::mem::take(&mut self.totals)
    }

    /// Records what the learner reports.
    pub fn record(&mut self, report: &Report) {
        self.sinks.terminal.progress(&report.progress);
        let reported = &mut self.totals.reported;
        let start_ns = reported.map_or(report.start_ns, |reported| reported.start_ns);
        *reported = Some(Interval { start_ns, end_ns: report.end_ns });
        if let Err(error) = self.write(report) {
            self.sinks.terminal.warn(&format!("{error}; training goes on"));
        }
    }

    /// Records what an evaluation found, and tells the user.
    pub fn record_evaluation(&mut self, row: &EvalRow) {
        self.sinks.terminal.note(&row.to_string());
        let files = self.sinks.files.append_evaluations(std::slice::from_ref(row));
        let board = self.sinks.tensorboard.as_mut();
        let board =
            board.map_or(Ok(()), |board| board.append_evaluations(std::slice::from_ref(row)));
        let errors = [files.err().map(|e| e.to_string()), board.err().map(|e| e.to_string())];
        for error in errors.into_iter().flatten() {
            self.sinks.terminal.note(&format!("{error}; training goes on"));
        }
    }

    fn write(&mut self, report: &Report) -> Result<(), RecordError> {
        self.totals.learner.add(report)?;
        let mut latencies = Vec::with_capacity(report.latency.len());
        for (stage, encoded) in &report.latency {
            let histogram = encoded.decode()?;
            self.totals.latency.add(*stage, &histogram);
            latencies.push((*stage, histogram));
        }
        let start_ns = self.run_clock.since_start_ns(report.start_ns);
        let end_ns = self.run_clock.since_start_ns(report.end_ns);
        let stages = || latencies.iter().map(|(stage, histogram)| (*stage, histogram));
        self.sinks.files.append_slots(&report.slots)?;
        self.sinks.files.append_rows(&report.rows)?;
        self.sinks.files.append_task_rows(&report.task_rows)?;
        self.sinks.files.append_latencies(Interval { start_ns, end_ns }, stages())?;
        if let Some(tensorboard) = &mut self.sinks.tensorboard {
            tensorboard.append_rows(&report.rows)?;
            tensorboard.append_task_rows(&report.task_rows)?;
            tensorboard.append_latencies(end_ns, report.progress.frames, stages())?;
        }
        Ok(())
    }

    /// Samples the processes if that is due.
    pub fn sample_if_due(&mut self, places: &[Place]) {
        let now_ns = monotonic_ns();
        if now_ns < self.next_sample_ns {
            return;
        }
        self.sample(places);
        let run_ns = now_ns.saturating_sub(self.run_clock.process_start_ns);
        let interval_ns = (run_ns / 10).clamp(MIN_SAMPLE_NS, MAX_SAMPLE_NS);
        self.next_sample_ns = now_ns + interval_ns.max(run_ns / SAMPLES_OF_A_LONG_RUN);
    }

    /// Records what every process that lives takes of the machine, and its restarts.
    pub fn sample(&mut self, places: &[Place]) {
        let own = Process {
            name: "supervisor".into(),
            pid: std::process::id(),
            helpers: Vec::new(),
            started_ns: self.run_clock.process_start_ns,
            restarts: 0,
        };
        let workers = places.iter().filter_map(Process::of);
        let samples = std::iter::once(own).chain(workers);
        let now_ns = monotonic_ns();
        let samples: Vec<ProcessSample> =
            samples.filter_map(|process| self.sample_of(process, now_ns)).collect();
        self.totals.cores.note_moment(now_ns);
        if !samples.is_empty() {
            self.totals.memory.get_or_insert_default().add(&samples);
        }
        if let Err(error) = self.sinks.files.append_samples(&samples) {
            self.sinks.terminal.note(&format!("{error}; training goes on"));
        }
    }

    /// Looks once more at a worker that has ended, before it is reaped: what it got of the cores is final.
    pub fn close_account(&mut self, place: &Place) {
        if let Some(process) = Process::of(place) {
            self.look_at_cores(&process, monotonic_ns());
        }
    }

    /// `None` of a process that has ended.
    fn sample_of(&mut self, process: Process, now_ns: u64) -> Option<ProcessSample> {
        let cores = self.look_at_cores(&process, now_ns);
        let Process { name, pid, helpers, restarts, .. } = process;
        let seconds = |ns: fn(CoreTime) -> u64| cores.map(|cores| in_seconds(ns(cores)));
        Some(ProcessSample {
            time_s: in_seconds(self.run_clock.since_start_ns(now_ns)),
            process: name,
            pid,
            pss_bytes: pss_bytes(pid)? + helpers.into_iter().filter_map(pss_bytes).sum::<u64>(),
            on_core_s: seconds(|cores| cores.on_core_ns),
            without_core_s: seconds(|cores| cores.without_core_ns),
            restarts,
        })
    }

    fn look_at_cores(&mut self, process: &Process, now_ns: u64) -> Option<CoreTime> {
        let Process { name, pid, helpers, started_ns, .. } = process;
        self.totals.cores.look(name, *pid, helpers, *started_ns, now_ns)
    }
}

/// A process that is looked at.
struct Process {
    name: String,
    pid: u32,
    /// Processes that it has started itself, such as that of its environments.
    helpers: Vec<u32>,
    started_ns: u64,
    restarts: u64,
}

impl Process {
    /// The worker in a place, if there is one.
    fn of(place: &Place) -> Option<Process> {
        let pid = place.worker()?.pid();
        let (name, started_ns) = (place.role().tag(), place.started_ns());
        let (helpers, restarts) = (descendants(pid), place.n_restarts());
        Some(Process { name, pid, helpers, started_ns, restarts })
    }
}
