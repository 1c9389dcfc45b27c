//! The trainers of others: where each has its packages, what drives it, and what it calls an environment.
//!
//! Their virtual environments are those of `make bench-peers`, made by `bench/peers/environments.py` at first use.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::ways::{Effort, printed};

/// Environments of each of them, or processes of environments.
pub const N_WORKERS: usize = 4;

pub const PEERS: [Peer; 3] = [
    Peer {
        title: "Stable-Baselines3 A2C",
        home: "gymnasium",
        package: "stable-baselines3",
        driver: &["sb3.py", "a2c"],
        ids: &[],
    },
    Peer {
        title: "Stable-Baselines3 PPO",
        home: "gymnasium",
        package: "stable-baselines3",
        driver: &["sb3.py", "ppo"],
        ids: &[],
    },
    Peer {
        title: "Sample Factory APPO",
        home: "sample-factory",
        package: "sample-factory",
        driver: &["appo.py"],
        ids: &[("LunarLander-v3", "LunarLander-v2"), ("ALE/Pong-v5", "atari_pong")],
    },
];

/// A trainer of others.
pub struct Peer {
    pub title: &'static str,
    /// Its virtual environment, as `bench/peers/environments.py` calls it.
    home: &'static str,
    package: &'static str,
    /// The program beside this file that drives it, and what that takes first.
    driver: &'static [&'static str],
    /// What it calls environments otherwise than the newest Gymnasium.
    ids: &'static [(&'static str, &'static str)],
}

impl Peer {
    /// The Python that has its packages, which are installed where they are not yet.
    ///
    /// # Errors
    /// Where they cannot be had; why has been said.
    pub fn prepare(&self, python: &Path) -> Result<PathBuf> {
        let mut command = Command::new(python);
        command.arg("bench/peers/environments.py").arg(self.home).stderr(Stdio::inherit());
        let output = command.output().with_context(|| python.display().to_string())?;
        ensure!(output.status.success(), "its packages could not be installed");
        Ok(String::from_utf8(output.stdout)?.trim().into())
    }

    /// Its name and the version that is pinned.
    ///
    /// # Errors
    /// Where its lock file cannot be read or lacks it.
    pub fn version(&self) -> Result<String> {
        let path = format!("bench/peers/locks/{}.txt", self.home);
        let lock = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let of_package = |line: &str| {
            let version = line.strip_prefix(self.package)?.strip_prefix("==")?;
            Some(format!("{} {}", self.package, version.trim_end_matches(" \\")))
        };
        lock.lines().find_map(of_package).with_context(|| format!("{path}: no {}", self.package))
    }

    /// Frames learned from a second.
    ///
    /// # Errors
    /// If it fails, with its last words.
    pub fn measure(&self, python: &Path, id: &str, effort: &Effort) -> Result<f64> {
        let own = self.ids.iter().find(|(theirs, _)| *theirs == id);
        let id = own.map_or(id, |(_, own)| own);
        printed(effort.n_peer_runs, 1, |_| {
            let (program, first) = self.driver.split_first().expect("each names its program");
            let mut command = Command::new(python);
            command.arg(Path::new("bench/environments").join(program)).args(first).arg(id);
            command.args([N_WORKERS.to_string(), (3.0 * effort.seconds).to_string()]);
            command.env("CUDA_VISIBLE_DEVICES", "");
            command
        })
    }
}
