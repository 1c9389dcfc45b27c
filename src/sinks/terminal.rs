//! The terminal: a progress line while training runs, plain lines where there is no terminal.
//!
//! Written to stderr, so that what a command prints on stdout can be piped. The supervisor calls it.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::telemetry::Progress;

/// Without a terminal there is a line this often: few enough for a log file.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Shows progress and notes.
pub struct Terminal {
    /// `None` where stderr is not a terminal.
    bar: Option<ProgressBar>,
    budget_frames: u64,
    /// When, and at how many frames, the last plain line was written.
    last: (Instant, u64),
}

impl Terminal {
    /// A progress line for a run of `budget_frames`.
    pub fn new(budget_frames: u64) -> Self {
        let bar = stderr().is_terminal().then(|| progress_bar(budget_frames));
        Terminal { bar, budget_frames, last: (Instant::now(), 0) }
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

    /// Takes the progress line away.
    pub fn finish(&self) {
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
