//! How far the benchmark is: a bar over the seconds that all measurements are planned to take.

use std::time::Duration;

use impala::sinks::terminal::{ProgressLine, Show};

/// The bar of the whole benchmark.
pub struct Progress {
    line: ProgressLine,
    done: Duration,
}

impl Progress {
    /// Of measurements that take so long together.
    pub fn new(planned: Duration) -> Self {
        let planned_ms = planned.as_millis() as u64;
        let line = ProgressLine::new(Show::on_stderr(), "measuring", "planned ms", planned_ms);
        Progress { line, done: Duration::ZERO }
    }

    /// Says what comes next, and how long that is planned to take.
    pub fn begin(&mut self, what: &str, planned: Duration) {
        self.line.set(self.done.as_millis() as u64, what);
        self.done += planned;
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.line.finish();
    }
}
