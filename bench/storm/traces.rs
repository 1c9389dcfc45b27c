//! What a run leaves behind, or holds for too long: processes, zombies, descriptors, files.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::children::children;
use super::descriptors::n_descriptors;

/// A dead worker is a zombie until its supervisor has run again; one that is there for so long has been
/// forgotten.
const LONGEST_ZOMBIE: Duration = Duration::from_secs(5);

/// Zombies are looked for this often.
const ZOMBIE_INTERVAL: Duration = Duration::from_millis(100);

/// How long what is on its way out may take, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// State and parent of a process; `None` if there is none.
fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Whether `pid` is alive and a child of `parent`.
pub fn is_child(pid: u32, parent: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, of)| of == parent && state != 'Z')
}

/// Zombies among a process's children, and since when.
#[derive(Default)]
pub struct Zombies {
    last_look: Option<Instant>,
    since: BTreeMap<u32, Instant>,
    stayed: BTreeSet<u32>,
}

impl Zombies {
    /// Looks, if it is time to.
    pub fn look(&mut self, parent: Pid) {
        if self.last_look.is_some_and(|look| look.elapsed() < ZOMBIE_INTERVAL) {
            return;
        }
        let now = Instant::now();
        self.last_look = Some(now);
        let zombies: BTreeSet<u32> = children(parent.as_raw() as u32)
            .into_iter()
            .filter(|child| state_and_parent(*child).is_some_and(|(state, _)| state == 'Z'))
            .collect();
        self.since.retain(|pid, _| zombies.contains(pid));
        for pid in zombies {
            let since = *self.since.entry(pid).or_insert(now);
            if now - since > LONGEST_ZOMBIE {
                self.stayed.insert(pid);
            }
        }
    }

    /// How many stayed for too long.
    pub fn n_stayed(&self) -> u64 {
        self.stayed.len() as u64
    }
}

/// Names in /dev/shm.
pub fn shared_memory_names() -> BTreeSet<String> {
    entries(Path::new("/dev/shm")).into_iter().collect()
}

/// Names in /dev/shm that were not there before and stay: those of other programs come and go.
pub fn left_shared_memory(before: &BTreeSet<String>) -> Vec<String> {
    let new = || -> Vec<String> { shared_memory_names().difference(before).cloned().collect() };
    wait_until(|| new().is_empty());
    new()
}

/// How many processes of a run there are beyond those that there should be; some may be on their way out.
pub fn more_processes(temporary: &Path, n_expected: usize) -> u64 {
    let more = || processes_with(temporary).len().saturating_sub(n_expected) as u64;
    wait_until(|| more() == 0);
    more()
}

/// Processes of a run that has ended.
pub fn left_processes(temporary: &Path) -> Vec<String> {
    wait_until(|| processes_with(temporary).is_empty());
    processes_with(temporary)
}

/// Processes with this folder for temporary files: a run's own, its environments', and what those have started.
fn processes_with(temporary: &Path) -> Vec<String> {
    let mark = [b"TMPDIR=", temporary.as_os_str().as_bytes()].concat();
    let has_it = |process: &str| {
        let environ = std::fs::read(Path::new(process).join("environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == mark)
    };
    entries(Path::new("/proc")).into_iter().filter(|path| has_it(path)).collect()
}

/// All that is in `folder`.
pub fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path().display().to_string()).collect()
}

/// Files below `folder` that were not finished.
pub fn half_written(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(half_written(&path));
        } else if path.extension().is_some_and(|extension| extension == "tmp") {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Descriptors that a process holds beyond those that it held; it may be in the middle of writing a file.
pub fn more_descriptors(pid: u32, before: u64) -> u64 {
    let more = || n_descriptors(pid).unwrap_or(0).saturating_sub(before);
    wait_until(|| more() == 0);
    more()
}

fn wait_until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
}
