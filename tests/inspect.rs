//! Looking into runs: the layout, a live run as text and as a screen, the list of runs, progress bars.
//! Terminals are real ones: pseudo-terminals, compared before and after.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use impala::rollout::RolloutShape;
use impala::shm::layout::{Layout, SegmentShape};
use impala::shm::view::SegmentView;
use impala::shm::{Segment, SegmentError};
use impala::telemetry::LiveNote;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use tempfile::TempDir;

/// A hang ends a test after this.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Enters and leaves the screen on which a program may draw; shows the cursor.
const ENTER: &str = "\x1b[?1049h";
const LEAVE: &str = "\x1b[?1049l";
const SHOW_CURSOR: &str = "\x1b[?25h";

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
    command.args(args).env_remove("NO_COLOR");
    command
}

fn impala(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Both ends of a terminal. No process that is started meanwhile inherits either, so that a closed one is closed.
fn pseudo_terminal(ws_row: u16, ws_col: u16) -> (PtyMaster, File) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let flags = OFlag::O_NOCTTY.bits();
    let name = ptsname_r(&master).unwrap();
    let slave = File::options().read(true).write(true).custom_flags(flags).open(name).unwrap();
    tcsetwinsize(&slave, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (master, slave)
}

/// A command on a terminal of its own.
struct OnTerminal {
    child: Child,
    master: PtyMaster,
    slave: File,
    before: Termios,
    seen: String,
}

impl OnTerminal {
    fn start(command: Command) -> Self {
        OnTerminal::start_in(110, command)
    }

    fn start_in(n_columns: u16, mut command: Command) -> Self {
        let (master, slave) = pseudo_terminal(40, n_columns);
        let before = tcgetattr(&slave).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        OnTerminal { child, master, slave, before, seen: String::new() }
    }

    /// Takes what has been written, waiting a little if there is nothing.
    fn look(&mut self) {
        let mut polled = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::from(50u8)).unwrap() > 0 {
            let mut bytes = [0; 65536];
            let n_read = self.master.read(&mut bytes).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..n_read]));
        }
    }

    fn until(&mut self, what: &str, mut seen: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !seen(self) {
            assert!(start.elapsed() < WATCHDOG, "no {what} in {}", self.seen);
            self.look();
        }
    }

    /// Waits for the end; returns all that was written.
    fn finish(mut self) -> (ExitStatus, String) {
        let mut status = None;
        self.until("end", |this| {
            status = this.child.try_wait().unwrap();
            status.is_some()
        });
        self.look();
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(after, self.before, "the terminal's modes are as they were");
        (status.unwrap(), self.seen)
    }
}

/// A run that goes on until it is told to stop.
struct Running {
    child: Child,
    run_dir: PathBuf,
}

impl Running {
    fn start(run_dir: PathBuf) -> Self {
        Running::start_with(run_dir, &[])
    }

    fn start_with(run_dir: PathBuf, flags: &[&str]) -> Self {
        let frames = "1000000000000";
        let args = ["train", "-q", "--frames", frames, "--actors", "2", "--run-dir"];
        let mut command = command(&[&args[..], &[path(&run_dir)], flags].concat());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let running = Running { child, run_dir };
        let start = Instant::now();
        // The first rollouts are learned from: everything is up.
        while !plain(&running.run_dir).contains("learning") {
            assert!(start.elapsed() < WATCHDOG, "{}", plain(&running.run_dir));
        }
        running
    }

    fn note(&self) -> LiveNote {
        let text = std::fs::read_to_string(self.run_dir.join("live.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.child.wait().unwrap();
    }

    /// Looks at the run again and again until its text holds this; returns the text.
    fn until_seen(&self, what: &str) -> String {
        let start = Instant::now();
        loop {
            let seen = plain(&self.run_dir);
            if seen.contains(what) {
                return seen;
            }
            assert!(start.elapsed() < WATCHDOG, "no {what:?} in {seen}");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plain(run_dir: &Path) -> String {
    text(&impala(&["inspect", path(run_dir)]).stdout)
}

#[test]
fn a_live_run_is_seen_and_its_end_too() {
    let folder = TempDir::new().unwrap();
    let mut running = Running::start(folder.path().join("run"));
    let seen = plain(&running.run_dir);
    for expected in [
        "CartPole-v1: ",
        "supervisor",
        "learner",
        "actor 1",
        "/1",
        "p99",
        "score, last 100   none in",
    ] {
        assert!(seen.contains(expected), "no {expected:?} in\n{seen}");
    }
    let headline = seen.lines().next().unwrap();
    assert!(headline.chars().count() <= 80, "{headline:?} does not fit");
    let speed = seen.lines().find(|line| line.starts_with("frames/s ")).unwrap();
    assert!(speed.contains(" to "), "no row is there yet, and a speed is: {speed:?}");
    let actor = seen.lines().find(|line| line.starts_with("actor 0")).unwrap();
    let pid: i32 = actor.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!(kill(Pid::from_raw(pid), None).is_ok(), "{pid} is a process");

    only_the_supervisor_keeps_the_descriptor(&running);
    for leave in [Leave::Key(b"q"), Leave::Key(b"\x03"), Leave::Signal(Signal::SIGTERM)] {
        the_screen_leaves_the_terminal_as_it_was(&running.run_dir, leave);
    }
    the_screen_ends_with_its_terminal(&running.run_dir);

    running.end(Signal::SIGINT);
    assert!(!running.run_dir.join("live.json").exists());
    let ended = plain(&running.run_dir);
    assert!(ended.contains("is not running: a signal asked for it"), "{ended}");
    assert!(ended.contains("report.html"), "{ended}");
}

/// What `impala runs` calls the one run below this folder.
fn state_below(results: &Path) -> String {
    let output = impala(&["runs", "--json", path(results)]);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    listed[0]["state"].as_str().unwrap().to_owned()
}

/// With an evaluation that would last longer than anybody waits, and an end by a signal or by a kill.
#[test]
fn a_run_that_evaluates_is_ending_and_neither_running_nor_killed() {
    for (last, state) in [(Signal::SIGINT, "interrupted"), (Signal::SIGKILL, "killed")] {
        let folder = TempDir::new().unwrap();
        let flags = ["--set", "report.eval_episodes=1_000_000"];
        let mut running = Running::start_with(folder.path().join("run"), &flags);
        assert_eq!(state_below(folder.path()), "running");
        running.signal(Signal::SIGINT);
        let seen = running.until_seen("is ending: training is over");
        assert_eq!(seen.lines().count(), 1, "{seen}");
        assert_eq!(state_below(folder.path()), "ending");
        running.end(last);
        assert_eq!(state_below(folder.path()), state);
        assert_eq!(running.run_dir.join("live.json").exists(), last == Signal::SIGKILL);
        assert!(plain(&running.run_dir).contains("is not running: "));
    }
}

/// Process id and restarts that are shown of a worker.
fn pid_and_restarts(seen: &str, worker: &str) -> (i32, u64) {
    let row = |beginning: &str| {
        let row = seen.lines().find(|line| line.starts_with(beginning)).unwrap();
        row.chars().collect::<Vec<char>>()
    };
    // Numbers end below the last letter of their title, whatever stands beside them.
    let cell = |title: &str| {
        let titles: String = row("process").iter().collect();
        let end = titles.find(title).unwrap() + title.len();
        let until_there: String = row(worker)[..end].iter().collect();
        until_there.split_whitespace().next_back().unwrap().to_owned()
    };
    (cell("pid").parse().unwrap(), cell("died").parse().unwrap())
}

#[test]
fn restarts_are_those_of_this_part_of_the_run_and_the_learners_too() {
    let folder = TempDir::new().unwrap();
    let mut first = Running::start(folder.path().join("first"));
    for (worker, untouched) in [("actor 0", "learner"), ("learner", "actor 1")] {
        let (pid, n_restarts) = pid_and_restarts(&plain(&first.run_dir), worker);
        assert_eq!(n_restarts, 0, "{worker}");
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let start = Instant::now();
        while pid_and_restarts(&plain(&first.run_dir), worker).0 == pid {
            assert!(start.elapsed() < WATCHDOG, "{worker} is not replaced");
        }
        let seen = plain(&first.run_dir);
        assert_eq!(pid_and_restarts(&seen, worker).1, 1, "{seen}");
        assert_eq!(pid_and_restarts(&seen, untouched).1, 0, "{seen}");
    }
    first.end(Signal::SIGINT);
    let resumed = ["--resume", path(&first.run_dir)];
    let second = Running::start_with(folder.path().join("second"), &resumed);
    let seen = plain(&second.run_dir);
    for worker in ["learner", "actor 0", "actor 1"] {
        assert_eq!(pid_and_restarts(&seen, worker).1, 0, "{seen}");
    }
}

enum Leave {
    Key(&'static [u8]),
    Signal(Signal),
}

fn the_screen_leaves_the_terminal_as_it_was(run_dir: &Path, leave: Leave) {
    let mut command = command(&["inspect", "--watch", path(run_dir)]);
    command.env("TERM", "xterm-256color");
    let mut screen = OnTerminal::start(command);
    screen.until("screen", |screen| screen.seen.contains("actor"));
    assert_ne!(tcgetattr(&screen.slave).unwrap(), screen.before, "keys are read one by one");
    match leave {
        Leave::Key(key) => screen.master.write_all(key).unwrap(),
        Leave::Signal(signal) => kill(Pid::from_raw(screen.child.id() as i32), signal).unwrap(),
    }
    let (status, seen) = screen.finish();
    assert!(status.success(), "{status}");
    let (_, after) = seen.split_once(ENTER).expect("a screen of its own is entered");
    let (_, after) = after.rsplit_once(LEAVE).expect("and left");
    assert!(after.contains(SHOW_CURSOR) || seen.contains(SHOW_CURSOR), "with the cursor shown");
    assert!(!after.contains("actor"), "nothing is drawn after that");
}

/// Nobody is left to press a key, and no signal comes: the terminal was not the screen's controlling one.
fn the_screen_ends_with_its_terminal(run_dir: &Path) {
    let mut command = command(&["inspect", "--watch", path(run_dir)]);
    command.env("TERM", "xterm-256color");
    let mut screen = OnTerminal::start(command);
    screen.until("screen", |screen| screen.seen.contains("actor"));
    let OnTerminal { mut child, master, slave, .. } = screen;
    drop((master, slave));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > WATCHDOG {
            child.kill().unwrap();
            panic!("the screen outlives its terminal");
        }
        poll(&mut [], PollTimeout::from(20u8)).unwrap();
    };
    assert!(status.success(), "in order, not {status}");
}

/// The supervisor's descriptor can only be read, and no child has a copy.
fn only_the_supervisor_keeps_the_descriptor(running: &Running) {
    let LiveNote { pid, descriptor, inode, .. } = running.note();
    assert_eq!(pid, running.child.id());
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    assert!(flags.ends_with('0'), "O_RDONLY, not {flags}");
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children: Vec<&str> = children.split_whitespace().collect();
    assert_eq!(children.len(), 3, "a learner and two actors");
    for child in children {
        let copy = std::fs::metadata(format!("/proc/{child}/fd/{descriptor}"));
        assert!(copy.is_err() || copy.unwrap().ino() != inode, "process {child} kept a copy");
    }
}

/// The note has what is needed of an environment that `impala` was not built with.
#[test]
fn a_run_of_somebody_elses_environment_is_seen() {
    let folder = TempDir::new().unwrap();
    let mut running = Running::start(folder.path().join("run"));
    let config = running.run_dir.join("config.toml");
    let settings = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, settings.replace("CartPole-v1", "Lamp-v0")).unwrap();
    let seen = plain(&running.run_dir);
    assert!(seen.contains("Lamp-v0: ") && seen.contains(" updates"), "{seen}");
    let live = running.run_dir.join("live.json");
    let note = std::fs::read_to_string(&live).unwrap();
    std::fs::write(&live, note.replace("\"len\": 4", "\"len\": 0")).unwrap();
    let refused = impala(&["inspect", path(&running.run_dir)]);
    assert!(
        text(&refused.stderr).contains("live.json: an observation with no number"),
        "{refused:?}"
    );
    running.end(Signal::SIGINT);
}

#[test]
fn runs_lists_whatever_lies_there() {
    let folder = TempDir::new().unwrap();
    let results = folder.path();
    assert!(text(&impala(&["runs", path(results)]).stdout).contains("no runs"));

    let finished = results.join("finished");
    let tags = ["--tag", "first", "--tag", "short"];
    let train = ["train", "-q", "--frames", "2_000", "--run-dir", path(&finished)];
    impala(&[&train[..], &tags].concat());
    let mut killed = Running::start(results.join("killed"));
    let running = Running::start(results.join("running"));
    killed.end(Signal::SIGKILL);
    for (name, file, content) in [
        ("unreadable", "meta.json", "{\"version\": "),
        ("empty", "metrics.csv", ""),
        ("no-run", "notes.txt", "hello"),
    ] {
        std::fs::create_dir(results.join(name)).unwrap();
        std::fs::write(results.join(name).join(file), content).unwrap();
    }
    std::fs::write(results.join("file"), "").unwrap();
    std::os::unix::fs::symlink("finished", results.join("latest")).unwrap();

    let output = impala(&["runs", "--json", path(results)]);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut states: Vec<(&str, &str)> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["run"].as_str().unwrap(), run["state"].as_str().unwrap()))
        .collect();
    states.sort();
    let expected = [
        ("empty", "unreadable"),
        ("finished", "finished"),
        ("killed", "killed"),
        ("running", "running"),
        ("unreadable", "unreadable"),
    ];
    assert_eq!(states, expected);
    let of = |name: &str| listed.as_array().unwrap().iter().find(|run| run["run"] == name).unwrap();
    assert_eq!(
        (&of("finished")["env"], &of("finished")["frames"]),
        (&"CartPole-v1".into(), &2560.into())
    );
    assert_ne!(of("unreadable")["problems"], serde_json::json!([]));

    assert_eq!(of("finished")["tags"], serde_json::json!(["first", "short"]));
    let differs = of("finished")["differs"].as_array().unwrap();
    assert!(differs.contains(&"frames=2000".into()), "{differs:?}");
    assert_eq!(of("running")["differs"], serde_json::json!([]), "it is as most are");
    for (tags, n_listed) in [(&["first", "short"][..], 1), (&["first", "long"], 0)] {
        let flags = tags.iter().flat_map(|tag| ["--tag", tag]);
        let args: Vec<&str> = ["runs", "--json", path(results)].into_iter().chain(flags).collect();
        let listed: Vec<Value> = serde_json::from_slice(&impala(&args).stdout).unwrap();
        assert_eq!(listed.len(), n_listed, "{tags:?}");
    }

    let table = text(&impala(&["runs", path(results)]).stdout);
    assert!(table.contains(" #first #short ") && table.contains(" frames=2000"), "{table}");
    let n_unreadable = expected.iter().filter(|(_, state)| *state == "unreadable").count();
    assert_eq!(table.lines().count(), 1 + expected.len() + n_unreadable, "{table}");
    assert!(table.contains("\nunreadable is unreadable: meta.json: "), "{table}");
    assert!(table.contains("\nempty is unreadable: "), "{table}");
    let none = text(&impala(&["runs", path(results), "--tag", "long"]).stdout);
    assert!(
        none.starts_with("of 5 runs below ") && none.contains("there are first, short"),
        "{none}"
    );
    let one = text(&impala(&["runs", path(&finished)]).stdout);
    assert!(one.lines().count() == 2 && one.contains("\nfinished  "), "{one}");
    assert!(table.lines().next().unwrap().contains("score"), "{table}");
    let ended = plain(&killed.run_dir);
    assert!(ended.contains("it was killed"), "{ended}");
    drop(running);
    assert_eq!(impala(&["runs", "no/such/folder"]).status.code(), Some(2));
}

#[test]
fn the_layout_covers_the_segment_and_names_its_writers() {
    let output = impala(&["inspect", "--layout"]);
    let drawn = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/layout.txt");
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(drawn, expected, "if that is meant: impala inspect --layout > {}", golden.display());

    let spans: Vec<(usize, usize)> = drawn
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('│').map(str::trim);
            Some((cells.next()?.parse().ok()?, cells.next()?.parse().ok()?))
        })
        .collect();
    assert!(spans.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{drawn}");
    let refused = impala(&["inspect", "--layout", "--env", "Humanoid-v5"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(impala(&["inspect", "--env", "CartPole-v1"]).status.code(), Some(2));
}

#[test]
fn a_view_believes_no_file_that_is_not_the_segment() {
    let rollout = RolloutShape::of_numbers(5, 4, 4);
    let shape =
        SegmentShape { n_actors: 2, slots_per_actor: 1, n_params: 100, n_moments: 1, rollout };
    let field = |path: &Path, shape: &SegmentShape| match SegmentView::attach(path, shape).err() {
        Some(SegmentError::Header { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "short").unwrap();
    assert_eq!(field(&file, &shape), "size");
    let n_bytes = Layout::new(&shape).unwrap().total_bytes;
    std::fs::write(&file, vec![0; n_bytes]).unwrap();
    assert_eq!(field(&file, &shape), "magic");

    let mut segment = Segment::create(&shape).unwrap();
    let view_file = segment.take_view_file().unwrap();
    assert!(segment.take_view_file().is_none(), "there is one");
    let path = PathBuf::from(format!("/proc/self/fd/{}", view_file.as_raw_fd()));
    let transposed = RolloutShape { unroll_length: 4, n_envs: 5, ..rollout };
    let other = SegmentShape { rollout: transposed, ..shape };
    assert_ne!(field(&path, &other), "magic", "another shape is noticed");
    let view = SegmentView::attach(&path, &shape).unwrap();
    segment.board().actor(1).frames.add(640);
    segment.producer(1, 0).unwrap().try_claim().unwrap();
    assert_eq!((view.actors()[1].frames, view.rings()[1].published), (640, 0));
    segment.board().order_stop();
    assert!(view.stop_ordered());
}

fn train_on_terminal(term: &str, no_color: bool, flags: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let run_dir = folder.path().join("run");
    let args = ["train", "--frames", "30000", "--run-dir", path(&run_dir)];
    let mut command = command(&[&args[..], flags].concat());
    command.env("TERM", term);
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let (status, seen) = OnTerminal::start(command).finish();
    assert!(status.success(), "{seen}");
    assert!(seen.contains("report.html"), "{seen}");
    seen
}

#[test]
fn a_terminal_gets_a_bar_with_the_time_left() {
    let seen = train_on_terminal("xterm-256color", false, &[]);
    assert!(seen.contains("% of 30,000, ") && seen.contains(" left"), "{seen:?}");
    assert!(seen.contains("\x1b[36m"), "the bar is coloured: {seen:?}");
    let seen = train_on_terminal("xterm-256color", true, &[]);
    assert!(seen.contains("% of 30,000, ") && !seen.contains("\x1b[36m"), "{seen:?}");
}

/// What is seen of a line once the terminal has obeyed it.
fn without_escapes(line: &str) -> String {
    let after =
        |part: &str| part.split_once(|c: char| c.is_ascii_alphabetic()).map(|p| p.1.to_owned());
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |seen, part| seen + &after(part).unwrap_or_default())
}

#[test]
fn an_interrupted_run_leaves_its_terminal_as_it_was() {
    let folder = TempDir::new().unwrap();
    let run_dir = folder.path().join("run");
    let mut command = command(&["train", "--frames", "2000000000", "--run-dir", path(&run_dir)]);
    command.env("TERM", "xterm-256color");
    let mut terminal = OnTerminal::start_in(80, command);
    terminal.until("bar", |this| this.seen.contains(", policy lag "));
    kill(Pid::from_raw(terminal.child.id() as i32), Signal::SIGINT).unwrap();
    let (status, seen) = terminal.finish();
    assert!(status.signal() == Some(2) && seen.contains("SIGINT: stopping"), "{seen:?}");
    assert!(seen.contains("go on with: impala train --resume "), "{seen:?}");
    let bars = seen.split(['\r', '\n']).filter(|line| line.contains("% of"));
    let widest = bars.map(|bar| without_escapes(bar).trim_end().chars().count()).max();
    assert!(widest <= Some(80), "a bar of {widest:?} columns: {seen:?}");
    let last_bar = seen.rfind("% of").unwrap();
    assert!(seen[last_bar..].contains("\x1b[2K"), "the bar is taken away: {seen:?}");
    let n_times = |code| seen.matches(code).count();
    assert!(n_times("\x1b[?25h") >= n_times("\x1b[?25l"), "the cursor is seen: {seen:?}");
}

#[test]
fn quiet_and_dumb_terminals_get_no_bar_and_verbose_says_what_happens() {
    for seen in [train_on_terminal("dumb", false, &[]), train_on_terminal("xterm", false, &["-q"])]
    {
        assert!(!seen.contains("% of") && !seen.contains('\x1b'), "{seen:?}");
    }
    let seen = train_on_terminal("xterm", true, &["-v"]);
    for expected in
        ["started the learner", "started actor 3", "made the shared segment", "rendered the report"]
    {
        assert!(seen.contains(expected), "no {expected:?} in {seen}");
    }
    assert!(!seen.contains('\x1b'), "{seen:?}");
}

/// As `impala config | head` does it: who reads the result may leave before its end.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut config = command(&["config"]);
    let output = config.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));

    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = command(&["config"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write to the standard output"), "{output:?}");
}

#[test]
fn completions_know_every_command_and_are_valid() {
    for shell in ["bash", "zsh", "fish"] {
        let output = impala(&["completions", shell]);
        let script = text(&output.stdout);
        for word in ["stop-when-solved", "inspect", "episodes"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    let script = impala(&["completions", "bash"]).stdout;
    let mut bash = Command::new("bash").args(["-n"]).stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(&script).unwrap();
    assert!(bash.wait().unwrap().success());
}
