//! Who can see and touch what while a run runs: its memory, its files, its descriptors, the network.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use impala::run_dir::RunDir;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A watchdog, not a measurement: a loaded machine may take long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run of hours, in a folder of its own, started with no mask at all.
struct Training {
    supervisor: Child,
    folder: TempDir,
}

impl Training {
    /// Starts it and waits until something has been learned.
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let settings = "frames = 1_000_000_000\n[report]\nrows = 1_000_000\neval_episodes = 3\n";
        fs::write(folder.path().join("settings.toml"), settings).unwrap();
        let script = "umask 0 && exec \"$0\" train --config settings.toml --run-dir run";
        let supervisor = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_impala")])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let training = Training { supervisor, folder };
        let metrics = training.run_dir().join("metrics.csv");
        let n_rows = || fs::read_to_string(&metrics).unwrap_or_default().lines().count();
        wait_until("rows of metrics", || n_rows() > 2);
        training
    }

    fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The supervisor, the learner, the actors.
    fn pids(&self) -> Vec<u32> {
        let pid = self.supervisor.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let children = children.split_whitespace().map(|child| child.parse().unwrap());
        let pids: Vec<u32> = [pid].into_iter().chain(children).collect();
        assert_eq!(pids.len(), 6, "five workers live");
        pids
    }

    /// Ends it in order.
    fn stop(&mut self) {
        kill(Pid::from_raw(self.supervisor.id() as i32), Signal::SIGTERM).unwrap();
        wait_until("its end", || self.supervisor.try_wait().unwrap().is_some());
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        // Ends a run whose test failed; one that has ended has no process to kill.
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
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
    let training = Training::start();
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
    let training = Training::start();
    let pids = training.pids();
    let holders: Vec<usize> = pids.iter().map(|pid| sockets(*pid).len()).collect();
    assert_eq!(holders, [1, 1, 0, 0, 0, 0], "supervisor and learner, an end each; actors none");
}

#[test]
fn memory_and_files_of_a_run_are_the_users_alone() {
    let mut training = Training::start();
    let pid = training.pids()[0];
    let segments =
        descriptors(pid).into_iter().filter(|(_, target)| target.starts_with("/dev/shm/"));
    let modes: Vec<u32> = segments.map(|(path, _)| mode(&path)).collect();
    assert!(!modes.is_empty(), "the supervisor holds the segment");
    assert!(modes.iter().all(|mode| *mode == 0o600), "readable by its user alone: {modes:?}");
    training.stop();
    let run = RunDir::open(&training.run_dir()).unwrap();
    assert!(run.report().exists());
    let mut n_files = 0;
    let mut open = vec![training.run_dir()];
    while let Some(path) = open.pop() {
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
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
