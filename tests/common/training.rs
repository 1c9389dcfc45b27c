//! A run of the real binary seen from outside: its processes, its files, its end.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

/// A watchdog, not a measurement: a loaded machine may take long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A run that would last for hours, with a row of metrics every ten thousand frames.
const SETTINGS: &str = "frames = 10_000_000_000\n[report]\nrows = 1_000_000\n";

/// A run that is ended, however roughly, when the test ends.
pub struct Training {
    pub supervisor: Child,
    pub run_dir: PathBuf,
    _folder: tempfile::TempDir,
}

impl Training {
    /// Starts a run with these settings and flags, by a shell that has run `prologue` before, such as
    /// `umask 0;`, and waits for its five workers.
    pub fn start_from(prologue: &str, settings: &str, flags: &[&str]) -> Self {
        Self::start_as(|_| (), prologue, settings, flags)
    }

    /// The same by a process that `prepare` has changed.
    pub fn start_as(
        prepare: impl FnOnce(&mut Command),
        prologue: &str,
        settings: &str,
        flags: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = folder.path().join("run");
        let config = folder.path().join("settings.toml");
        std::fs::write(&config, format!("{SETTINGS}{settings}")).unwrap();
        let mut shell = Command::new("sh");
        prepare(&mut shell);
        let supervisor = shell
            .args(["-c", &format!("{prologue} exec \"$@\""), "sh"])
            .args([env!("CARGO_BIN_EXE_impala"), "train"])
            .args(["--run-dir", run_dir.to_str().unwrap()])
            .args(["--config", config.to_str().unwrap()])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let training = Training { supervisor, run_dir, _folder: folder };
        wait_until("five workers", || training.workers().len() == 5);
        training
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.supervisor.id() as i32)
    }

    /// Living children of the supervisor, oldest first: the learner, then the actors.
    pub fn workers(&self) -> Vec<Pid> {
        let pid = self.supervisor.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().map(|child| Pid::from_raw(child.parse().unwrap())).collect()
    }

    /// Rows of metrics so far.
    pub fn n_rows(&self) -> usize {
        let metrics = std::fs::read_to_string(self.run_dir.join("metrics.csv"));
        metrics.unwrap_or_default().lines().count().saturating_sub(1)
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        // Ends a run whose test failed; one that has ended has no process to kill.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
