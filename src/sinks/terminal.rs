//! The terminal: a bar with the time left while something runs, plain lines where there is no terminal.
//!
//! Owns how progress looks, and when to be silent. Written to stderr, so that what a command prints on
//! stdout can be piped. Training, evaluation and drawing call it; nothing ticks, since a process that
//! forks may have no second thread.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::base::units::{DASH, number_of, percent, score};
use crate::os::launcher::Rank;
use crate::telemetry::Progress;

/// Without a bar there is a line this often: few enough for a log file.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// What goes on being wrong is said this often.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Not at all; notes are still written.
    Nothing,
    /// As a line every few seconds, for log files.
    Lines,
    /// As a bar that is redrawn in place.
    Bar,
}

impl Show {
    /// A bar where stderr is a terminal that can redraw a line, else lines.
    pub fn on_stderr() -> Show {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if stderr().is_terminal() && !is_dumb { Show::Bar } else { Show::Lines }
    }
}

/// Progress towards a number that is known beforehand.
pub struct ProgressLine {
    show: Show,
    bar: ProgressBar,
    task: &'static str,
    unit: &'static str,
    total: u64,
    /// Before each note: who of several says it; empty of one alone.
    speaker: String,
    /// What had been done before: it counts as done, and not for the speed.
    before: u64,
    start: Instant,
    last_line: Instant,
}

impl ProgressLine {
    /// `task` is what goes on ("training"), counted up to `total` in `unit` ("frames").
    pub fn new(show: Show, task: &'static str, unit: &'static str, total: u64) -> Self {
        let target = match show {
            Show::Bar => ProgressDrawTarget::stderr_with_hz(10),
            Show::Nothing | Show::Lines => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style(unit, 0));
        let now = Instant::now();
        let speaker = String::new();
        ProgressLine {
            show,
            bar,
            task,
            unit,
            total,
            speaker,
            before: 0,
            start: now,
            last_line: now,
        }
    }

    /// The same of something that goes on, of which `before` had been done.
    pub fn going_on_from(mut self, before: u64) -> Self {
        self.before = before.min(self.total);
        self.bar.set_style(style(self.unit, self.before));
        self.bar.set_position(self.before);
        self
    }

    /// Shows that `done` have been done; `figures` tells more, and may be empty.
    pub fn set(&mut self, done: u64, figures: &str) {
        let done = done.min(self.total);
        match self.show {
            Show::Nothing => {}
            Show::Bar => {
                let figures = if figures.is_empty() { "".into() } else { format!(", {figures}") };
                self.bar.set_message(figures);
                self.bar.set_position(done);
            }
            Show::Lines if self.last_line.elapsed() >= PLAIN_INTERVAL => {
                self.last_line = Instant::now();
                write_line(&self.plain(done, figures));
            }
            Show::Lines => {}
        }
    }

    /// Writes a line above the bar.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| write_line(&format!("{}{text}", self.speaker)));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn plain(&self, done: u64, figures: &str) -> String {
        let seconds = self.start.elapsed().as_secs_f64();
        let n_new = done.saturating_sub(self.before);
        let (per_s, share) = (n_new as f64 / seconds, done as f64 / self.total.max(1) as f64);
        let comma = if figures.is_empty() { "" } else { ", " };
        let left = match n_new {
            0 => String::new(),
            _ => format!(", {:.0} s left", (self.total - done) as f64 / per_s),
        };
        let ProgressLine { task, unit, total, .. } = self;
        let (percent, rate) = (100.0 * share, rate(per_s, unit));
        format!("{task}: {done} of {total} {unit} ({percent:.0} %), {rate}{comma}{figures}{left}")
    }
}

/// The lines of a command that does one thing after another.
pub struct TaskLines {
    show: Show,
    line: Option<ProgressLine>,
}

impl TaskLines {
    /// Nothing is shown before the first task.
    pub fn new(show: Show) -> Self {
        TaskLines { show, line: None }
    }

    /// Shows that `done` of `total` have been done. Another task or unit than before is a new line.
    pub fn set(&mut self, task: &'static str, unit: &'static str, done: u64, total: u64) {
        let is_same = |line: &ProgressLine| (line.task, line.unit) == (task, unit);
        if !self.line.as_ref().is_some_and(is_same) {
            self.finish();
            self.line = Some(ProgressLine::new(self.show, task, unit, total));
        }
        self.line.iter_mut().for_each(|line| line.set(done, ""));
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.line.iter().for_each(ProgressLine::finish);
    }
}

/// The line of a training run.
pub struct Terminal {
    line: ProgressLine,
    /// What was last shown beside the frames.
    figures: String,
    /// When each warning was last shown, and how often it has been held back since.
    warnings: BTreeMap<String, (Instant, u64)>,
}

impl Terminal {
    /// A line for a run of `budget_frames`, of which its earlier part has learned `frames_before`. Of several ranks
    /// the first alone shows progress, in lines, since what looks like a terminal is the launcher's; the others' notes
    /// say whose they are.
    pub fn new(show: Show, rank: Rank, budget_frames: u64, frames_before: u64) -> Self {
        let show = match show {
            show if rank.is_alone() => show,
            Show::Bar | Show::Lines if rank.is_first() => Show::Lines,
            _ => Show::Nothing,
        };
        let line = ProgressLine::new(show, "training", "frames", budget_frames);
        let mut line = line.going_on_from(frames_before);
        if !rank.is_first() {
            line.speaker = format!("[rank {}] ", rank.number);
        }
        Terminal { line, figures: String::new(), warnings: BTreeMap::new() }
    }

    /// Shows where training stands.
    pub fn progress(&mut self, progress: &Progress) {
        self.figures = figures(progress);
        self.show_frames(progress.frames);
    }

    /// Shows how many frames have been learned from, beside the figures that were last known.
    pub fn show_frames(&mut self, frames: u64) {
        self.line.set(frames, &self.figures);
    }

    /// Writes a line above the progress line.
    pub fn note(&self, text: &str) {
        self.line.note(text);
    }

    /// A note about something that may go wrong again and again: shown once a minute, else counted.
    pub fn warn(&mut self, text: &str) {
        match self.warnings.get_mut(text) {
            Some((shown, n_held)) if shown.elapsed() < WARNING_INTERVAL => *n_held += 1,
            known => {
                let n_held = known.map_or(0, |(_, n_held)| *n_held);
                self.note(&with_repeats(text, n_held));
                self.warnings.insert(text.to_owned(), (Instant::now(), 0));
            }
        }
    }

    /// Takes the progress line away, and says how often each warning was held back.
    pub fn finish(&self) {
        let held = self.warnings.iter().filter(|(_, (_, n_held))| *n_held > 0);
        held.for_each(|(text, (_, n_held))| self.note(&with_repeats(text, *n_held)));
        self.line.finish();
    }
}

fn with_repeats(text: &str, n_held: u64) -> String {
    match n_held {
        0 => text.to_owned(),
        _ => format!("{text} ({} more)", number_of(n_held, "time")),
    }
}

/// A closed stderr must not end a training run.
fn write_line(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// The most tasks whose scores a line has room for.
const MAX_TASK_SCORES: usize = 6;

fn figures(progress: &Progress) -> String {
    let lag = progress.policy_lag_mean.map_or(DASH.into(), |lag| format!("{lag:.1}"));
    let known = |value: &Option<f64>| score(value.unwrap_or(f64::NAN));
    let scores = match progress.task_scores.len() {
        0 => format!("score {}", known(&progress.score_last100)),
        1..=MAX_TASK_SCORES => {
            let scores: Vec<String> = progress.task_scores.iter().map(known).collect();
            format!("score {}", scores.join(" | "))
        }
        _ => format!("normalised score {}", percent(progress.normalized_score.unwrap_or(f64::NAN))),
    };
    format!("{scores}, policy lag {lag}")
}

/// A rate with its unit, in three digits.
pub fn rate(per_s: f64, unit: &str) -> String {
    // From where the digits shown would be those of the larger unit, or have one more before the point.
    let (number, prefix) = match per_s {
        999_500.0.. => (per_s / 1e6, "M "),
        999.5.. => (per_s / 1e3, "k "),
        _ => (per_s, ""),
    };
    let decimals = match number {
        99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    format!("{number:.decimals$} {prefix}{unit}/s")
}

fn style(unit: &'static str, before: u64) -> ProgressStyle {
    // The bar's own estimate would take what had been done before for work of its first second.
    let per_s = move |state: &ProgressState| {
        state.pos().saturating_sub(before) as f64 / state.elapsed().as_secs_f64().max(1e-9)
    };
    // The bar takes what the figures leave of the line, which in 80 columns is little.
    let template = "{wide_bar:.cyan/dim} {percent}% of {human_len}, {rate}{msg}, {left} left";
    // A formatter that fails has nowhere to say so; the bar then shows nothing here.
    let write_rate = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = out.write_str(&rate(per_s(state), unit));
    };
    let write_left = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let n_left = state.len().unwrap_or(0).saturating_sub(state.pos());
        let left = Duration::try_from_secs_f64(n_left as f64 / per_s(state));
        // Nothing done says nothing of the rest.
        let _ = match left {
            Ok(left) => write!(out, "{:#}", HumanDuration(left)),
            Err(_) => out.write_str("?"),
        };
    };
    ProgressStyle::with_template(template)
        .expect("the template is a valid constant")
        .with_key("rate", write_rate)
        .with_key("left", write_left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_says_what_how_much_and_how_long() {
        let mut line = ProgressLine::new(Show::Lines, "evaluating", "episodes", 400);
        line.start -= Duration::from_secs(10);
        let text = line.plain(100, "score 3");
        // The clock goes on between the lines of this test, so the last digits are not looked at.
        assert!(text.starts_with("evaluating: 100 of 400 episodes (25 %), "), "{text}");
        assert!(text.contains(" episodes/s, score 3, ") && text.ends_with(" s left"), "{text}");
        assert!(!line.plain(0, "").contains("left"), "nothing done says nothing of the rest");
    }

    #[test]
    fn what_was_done_before_counts_as_done_and_not_for_the_speed() {
        let line = ProgressLine::new(Show::Lines, "training", "frames", 4_000);
        let mut line = line.going_on_from(1_000);
        assert_eq!(line.bar.position(), 1_000, "the bar does not begin at 0");
        assert!(!line.plain(1_000, "").contains("left"), "nothing is known yet of the speed");
        // So long that what passes between the lines of this test changes no digit that is looked at.
        line.start -= Duration::from_secs(100_000);
        let text = line.plain(2_000, "");
        assert!(text.starts_with("training: 2000 of 4000 frames (50 %), 0.01 frames/s"), "{text}");
        assert!(text.contains(", 200") && text.ends_with(" s left"), "{text}");
    }

    #[test]
    fn figures_have_the_digits_of_their_scale_and_a_dash_for_none() {
        assert_eq!(figures(&Progress::default()), "score –, policy lag –");
        let progress = Progress {
            score_last100: Some(0.966),
            policy_lag_mean: Some(0.0),
            ..Progress::default()
        };
        assert_eq!(figures(&progress), "score 0.966, policy lag 0.0");
        let task_scores = vec![Some(8.0), None, Some(120.0)];
        let progress = Progress { task_scores, score_last100: None, ..progress };
        assert_eq!(figures(&progress), "score 8.00 | – | 120.0, policy lag 0.0");
        let task_scores = vec![Some(1.0); 57];
        let many = Progress { task_scores, normalized_score: Some(0.4), ..progress };
        assert_eq!(figures(&many), "normalised score 40\u{a0}%, policy lag 0.0");
        let unknown = Progress { normalized_score: None, ..many };
        assert_eq!(figures(&unknown), "normalised score –, policy lag 0.0");
    }

    #[test]
    fn another_task_is_another_line() {
        let mut lines = TaskLines::new(Show::Nothing);
        lines.set("reading", "runs", 1, 2);
        lines.set("drawing", "plots", 1, 30);
        assert_eq!(lines.line.as_ref().map(|line| (line.task, line.total)), Some(("drawing", 30)));
        let start = lines.line.as_ref().map(|line| line.start);
        lines.set("drawing", "plots", 2, 30);
        assert_eq!(lines.line.map(|line| line.start), start, "the same task goes on");
    }

    #[test]
    fn rates_have_three_digits() {
        assert_eq!(rate(4_200_000.0, "frames"), "4.20 M frames/s");
        assert_eq!(rate(1_234.0, "episodes"), "1.23 k episodes/s");
        assert_eq!(rate(45_678.0, "frames"), "45.7 k frames/s");
        assert_eq!(rate(991_610.0, "frames"), "992 k frames/s");
        assert_eq!(rate(999_600.0, "frames"), "1.00 M frames/s");
        assert_eq!(rate(999.6, "rows"), "1.00 k rows/s");
        assert_eq!(rate(99.96, "rows"), "100 rows/s");
        assert_eq!(rate(2.0, "rows"), "2.00 rows/s");
    }
}
