//! Under which circumstances a run ran: program, machine, command, start and end.
//!
//! Owns the content of `meta.json` and how its facts are found. Knows nothing of where it is stored.
//! The supervisor collects it, `sinks::files` writes it, the report reads it.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::os::cores::MachineLoad;
use crate::os::process;
use crate::telemetry::Exit;

/// `meta.json`. Facts that could not be found out say `unknown`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of the package.
    pub version: String,
    /// Commit the program was built from, as the build passed it in `IMPALA_GIT_COMMIT`.
    pub git_commit: String,
    /// Compiler that built the program, as the build passed it in `IMPALA_RUSTC_VERSION`.
    pub rustc: String,
    /// Host name.
    pub host: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Model of the processor.
    pub cpu_model: String,
    /// Cores this process may use (affinity and control-group quota respected).
    pub n_cores: usize,
    /// The command line, one entry an argument.
    pub command: Vec<String>,
    /// The checkpoint that the run goes on from; `null` for one that began with fresh weights.
    #[serde(default)]
    pub resumed_from: Option<String>,
    /// When this part of the run began, UTC, RFC 3339.
    pub started: Timestamp,
    /// What the run's times count from, UTC, RFC 3339: `started`, less what its earlier parts took.
    #[serde(default)]
    pub time_origin: Timestamp,
    /// How busy the machine was then.
    #[serde(default)]
    pub load_at_start: MachineLoad,
    /// How busy it was at the end; `null` while it runs, and for ever after a kill.
    #[serde(default)]
    pub load_at_end: Option<MachineLoad>,
    /// When the run ended; `null` while it runs, and for ever after a kill.
    pub ended: Option<Timestamp>,
    /// How the run ended; `null` while it runs, and for ever after a kill.
    pub exit: Option<Exit>,
    /// The same in words; `null` while it runs, and for ever after a kill.
    pub exit_reason: Option<String>,
}

impl Meta {
    /// The facts of this process on this machine, for a run that starts now.
    pub fn collect() -> Meta {
        let started = Timestamp::now();
        Meta {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: option_env!("IMPALA_GIT_COMMIT").unwrap_or(UNKNOWN).to_owned(),
            rustc: option_env!("IMPALA_RUSTC_VERSION").unwrap_or(UNKNOWN).to_owned(),
            host: host_name(),
            kernel: kernel_text("/proc/sys/kernel/osrelease"),
            cpu_model: cpu_model(&kernel_text("/proc/cpuinfo")),
            n_cores: process::n_cores(),
            command: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
            resumed_from: None,
            started,
            time_origin: started,
            load_at_start: MachineLoad::now(),
            load_at_end: None,
            ended: None,
            exit: None,
            exit_reason: None,
        }
    }

    /// A part of a run that goes on from the checkpoint at `path`, before which the run took `earlier_ns`.
    pub fn go_on_from(&mut self, path: &Path, earlier_ns: u64) {
        self.resumed_from = Some(path.display().to_string());
        let earlier = SignedDuration::try_from(Duration::from_nanos(earlier_ns));
        self.time_origin -= earlier.expect("the longest such time, 585 years, is expressible");
    }

    /// The same run, ended now.
    pub fn end(&mut self, exit: Exit, reason: &str) {
        self.ended = Some(Timestamp::now());
        self.load_at_end = Some(MachineLoad::now());
        self.exit = Some(exit);
        self.exit_reason = Some(reason.to_owned());
    }
}

/// Name of this machine.
pub fn host_name() -> String {
    kernel_text("/proc/sys/kernel/hostname")
}

const UNKNOWN: &str = "unknown";

fn kernel_text(path: &str) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// x86 names the model in `model name`; other processors may not say.
fn cpu_model(cpuinfo: &str) -> String {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == "model name")
        .map_or(UNKNOWN, |(_, model)| model.trim())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_model_is_the_first_model_name() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast 9000: 8-Core\n\nmodel name\t: Other";
        assert_eq!(cpu_model(cpuinfo), "Fast 9000: 8-Core");
        assert_eq!(cpu_model("CPU part : 0xd0c"), UNKNOWN);
    }
}
