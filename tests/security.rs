//! Who can see and touch what while a run runs: its memory, its files, its descriptors, the network.

#[path = "common/training.rs"]
mod training;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use impala::run::dir::RunDir;
use nix::sys::signal::{Signal, kill};
use tempfile::TempDir;
use training::{Training, wait_until};

impl Training {
    /// A run started with no mask at all, after something has been learned.
    fn without_mask() -> Self {
        Self::with_mask("0")
    }

    fn with_mask(mask: &str) -> Self {
        let prologue = format!("umask {mask};");
        let training = Training::start_from(&prologue, "eval_episodes = 3\n", &[]);
        wait_until("rows of metrics", || training.n_rows() > 1);
        training
    }

    /// The supervisor, the learner, the actors.
    fn pids(&self) -> Vec<u32> {
        let workers = self.workers().into_iter().map(|pid| pid.as_raw().unsigned_abs());
        let pids: Vec<u32> = [self.supervisor.id()].into_iter().chain(workers).collect();
        assert_eq!(pids.len(), 6, "five workers live");
        pids
    }

    /// Ends it in order.
    fn stop(&mut self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        wait_until("its end", || self.supervisor.try_wait().unwrap().is_some());
    }
}

/// Where a process's descriptors lead: the path in /proc and what is behind it.
fn descriptors(pid: u32) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let target = fs::read_link(&path).ok()?.to_string_lossy().into_owned();
        Some((path, target))
    });
    links.collect()
}

/// Inodes of a process's sockets.
fn sockets(pid: u32) -> HashSet<String> {
    let targets = descriptors(pid).into_iter().map(|(_, target)| target);
    let inodes = targets
        .filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()));
    inodes.collect()
}

/// Inodes in a table of the kernel's: every socket of the internet families, and those local ones that
/// have a name or wait for others to connect.
fn reachable_sockets(pid: u32) -> HashSet<String> {
    const ACCEPTS_CONNECTIONS: &str = "00010000";
    let table =
        |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let mut inodes = HashSet::new();
    for name in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let table = table(name);
        inodes.extend(table.lines().skip(1).filter_map(|line| column(line, 9)));
    }
    let table = table("packet") + &table("unix");
    let is_reachable = |line: &&str| {
        column(line, 3).as_deref() == Some(ACCEPTS_CONNECTIONS) || column(line, 7).is_some()
    };
    inodes.extend(table.lines().filter(is_reachable).filter_map(|line| column(line, 6)));
    inodes
}

fn column(line: &str, number: usize) -> Option<String> {
    line.split_whitespace().nth(number).map(str::to_owned)
}

#[test]
fn nobody_can_connect_to_a_run() {
    let training = Training::without_mask();
    for pid in training.pids() {
        let reachable = reachable_sockets(pid);
        assert!(sockets(pid).is_disjoint(&reachable), "process {pid} listens");
    }
}

#[test]
fn the_check_for_listeners_sees_one() {
    let own = std::process::id();
    let seen = |before: &HashSet<String>| {
        let new: HashSet<String> = sockets(own).difference(before).cloned().collect();
        !new.is_empty() && new.iter().all(|inode| reachable_sockets(own).contains(inode))
    };
    let before = sockets(own);
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(seen(&before), "a listener of TCP");
    drop(tcp);
    let folder = TempDir::new().unwrap();
    let before = sockets(own);
    let _local = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    assert!(seen(&before), "a local listener");
}

/// A channel's end that a second process held would hide the death of the first.
#[test]
fn each_end_of_the_channel_has_one_holder() {
    let training = Training::without_mask();
    let pids = training.pids();
    let holders: Vec<usize> = pids.iter().map(|pid| sockets(*pid).len()).collect();
    assert_eq!(holders, [1, 1, 0, 0, 0, 0], "supervisor and learner, an end each; actors none");
}

/// Reports are made to be shared, as far as the mask of their user allows; whose own rights no mask takes.
#[test]
fn memory_and_checkpoints_are_the_users_alone_and_all_else_is_as_the_mask_says() {
    for (mask, of_file, of_folder) in
        [("0", 0o666, 0o777), ("027", 0o640, 0o750), ("0777", 0o600, 0o700)]
    {
        let training = Training::with_mask(mask);
        assert_modes(training, of_file, of_folder);
    }
}

fn assert_modes(mut training: Training, of_file: u32, of_folder: u32) {
    let pid = training.pids()[0];
    let segments =
        descriptors(pid).into_iter().filter(|(_, target)| target.starts_with("/dev/shm/"));
    let modes: Vec<u32> = segments.map(|(path, _)| mode(&path)).collect();
    assert!(!modes.is_empty(), "the supervisor holds the segment");
    assert!(modes.iter().all(|mode| *mode == 0o600), "readable by its user alone: {modes:?}");
    training.stop();
    let run = RunDir::open(&training.run_dir).unwrap();
    assert!(run.report().exists());
    let mut n_files = 0;
    let mut open = vec![training.run_dir.clone()];
    while let Some(path) = open.pop() {
        let is_checkpoint = path.extension().is_some_and(|extension| extension == "safetensors");
        let expected = match path.is_dir() {
            true => of_folder,
            false if is_checkpoint => 0o600,
            false => of_file,
        };
        assert_eq!(mode(&path), expected, "{}", path.display());
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        n_files += 1;
    }
    assert!(n_files > 10, "{n_files}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
