//! The terminal: a progress line while training runs, plain lines where there is no terminal.
//!
//! Written to stderr, so that what a command prints on stdout can be piped. The supervisor calls it.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::telemetry::Progress;

/// Without a terminal there is a line this often: few enough for a log file.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// What goes on being wrong is said this often.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Shows progress and notes.
pub struct Terminal {
    /// `None` where stderr is not a terminal.
    bar: Option<ProgressBar>,
    budget_frames: u64,
    /// When, and at how many frames, the last plain line was written.
    last: (Instant, u64),
    /// When each warning was last shown, and how often it has been held back since.
    warnings: BTreeMap<String, (Instant, u64)>,
}

impl Terminal {
    /// A progress line for a run of `budget_frames`.
    pub fn new(budget_frames: u64) -> Self {
        let bar = stderr().is_terminal().then(|| progress_bar(budget_frames));
        let last = (Instant::now(), 0);
        Terminal { bar, budget_frames, last, warnings: BTreeMap::new() }
    }

    /// Shows where training stands.
    pub fn progress(&mut self, progress: &Progress) {
        if let Some(bar) = &self.bar {
            bar.set_position(progress.frames.min(self.budget_frames));
            bar.set_message(figures(progress));
        } else if self.last.0.elapsed() >= PLAIN_INTERVAL {
            self.plain_line(progress);
        }
    }

    /// Writes a line above the progress line.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| write_line(text)),
            None => write_line(text),
        }
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
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn plain_line(&mut self, progress: &Progress) {
        let (last_time, last_frames) = self.last;
        let frames_per_s =
            (progress.frames - last_frames) as f64 / last_time.elapsed().as_secs_f64() / 1e6;
        let Progress { frames, .. } = progress;
        let (budget, figures) = (self.budget_frames, figures(progress));
        write_line(&format!(
            "{frames} of {budget} frames, {frames_per_s:.2} M frames/s, {figures}"
        ));
        self.last = (Instant::now(), progress.frames);
    }
}

fn with_repeats(text: &str, n_held: u64) -> String {
    if n_held == 0 { text.to_owned() } else { format!("{text} ({n_held} times more)") }
}

/// A closed stderr must not end a training run.
fn write_line(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

fn figures(progress: &Progress) -> String {
    let score = progress.score_last100.map_or("–".into(), |score| format!("{score:.1}"));
    format!(
        "score {score}, {} updates, policy lag {:.1}",
        progress.updates, progress.policy_lag_mean
    )
}

fn progress_bar(budget_frames: u64) -> ProgressBar {
    let template = "{bar:24} {human_pos}/{human_len} frames, {per_sec}, {msg}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is a valid constant");
    let style = style.with_key(
        "per_sec",
        |state: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
            // A formatter that fails has nowhere to say so; the bar then shows nothing here.
            let _ = write!(w, "{:.2} M frames/s", state.per_sec() / 1e6);
        },
    );
    let target = ProgressDrawTarget::stderr_with_hz(10);
    ProgressBar::with_draw_target(Some(budget_frames), target).with_style(style)
}
