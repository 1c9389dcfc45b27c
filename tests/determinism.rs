//! What a run learns can be had again: twice by the same settings, where that is asked for, and from the
//! log of its slots in any case.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use impala::network::params::ParamLayout;
use impala::run::dir::RunDir;
use impala::state::checkpoint::Checkpoint;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A watchdog, not a measurement: a loaded machine may take long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Columns of `metrics.csv` that measure time, or what was collected meanwhile, and not what was learned.
fn is_measured(column: &str) -> bool {
    ["time_s", "frames_per_s", "frames_produced"].contains(&column) || column.ends_with("_us")
}

fn impala(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Trains into a folder and returns it.
fn train(folder: &Path, name: &str, args: &[&str]) -> RunDir {
    let path = folder.join(name);
    let output = impala(&["train", "--frames", "60000", "--set", "report.eval_episodes=3"])
        .args(args)
        .arg("--run-dir")
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    RunDir::open(&path).unwrap()
}

/// The columns of `metrics.csv` that say what was learned.
fn learned(run: &RunDir) -> BTreeMap<String, Vec<String>> {
    let mut reader = csv::Reader::from_path(run.metrics()).unwrap();
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let mut columns = BTreeMap::new();
    for record in reader.records() {
        for (name, value) in names.iter().zip(record.unwrap().iter()) {
            columns.entry(name.clone()).or_insert_with(Vec::new).push(value.to_owned());
        }
    }
    columns.retain(|name, _| !is_measured(name));
    assert!(columns.len() > 20 && columns["frames"].len() > 20, "{:?}", columns.keys());
    columns
}

fn replay(run: &Path) -> Output {
    impala(&["replay"]).arg(run).output().unwrap()
}

fn assert_replays(run: &RunDir) {
    let output = replay(run.path());
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("bit for bit"), "{}", text(&output));
}

#[test]
fn two_deterministic_runs_of_one_seed_are_equal_and_of_two_seeds_are_not() {
    let folder = TempDir::new().unwrap();
    for (case, args) in [
        &["--deterministic"][..],
        &["--deterministic", "--set", "actors.slots_per_actor=2", "--batch-slots", "4"],
        &["--deterministic", "--preset", "few-frames"],
        &["--deterministic", "--env", "TMaze-v0", "--set", "network.lstm_inputs=last_step"],
    ]
    .into_iter()
    .enumerate()
    {
        let run = |name: &str, seed: &str| {
            let args: Vec<&str> = args.iter().copied().chain(["--seed", seed]).collect();
            train(folder.path(), &format!("{case}-{name}"), &args)
        };
        let (first, second, other) = (run("first", "3"), run("second", "3"), run("other", "4"));
        let weights = |run: &RunDir| fs::read(run.checkpoint()).unwrap();
        assert!(weights(&first) == weights(&second), "{args:?}: the checkpoints differ");
        assert_eq!(learned(&first), learned(&second), "{args:?}");
        assert!(weights(&first) != weights(&other), "{args:?}: the seed does nothing");
        assert_ne!(learned(&first), learned(&other), "{args:?}");
    }
}

/// Whoever computes a block of a batch.
#[test]
fn threads_that_share_a_batch_learn_the_same_weights() {
    let folder = TempDir::new().unwrap();
    let weights = |name: &str, settings: &[&str]| {
        let breakout = ["--env", "MinAtar/Breakout-v1", "--deterministic"];
        let run = train(folder.path(), name, &[&breakout, settings].concat());
        Checkpoint::load(&run.checkpoint()).unwrap().state.params
    };
    for kernels in ["auto", "portable"] {
        let with = |n_threads: &str| {
            let [kernels, threads] =
                [format!("kernels={kernels}"), format!("batch_threads={n_threads}")];
            weights(&format!("{kernels}-{n_threads}"), &["--set", &kernels, "--set", &threads])
        };
        let alone = with("1");
        assert!(with("2") == alone && with("3") == alone, "{kernels}");
    }
}

#[test]
fn any_run_is_learned_again_from_the_log_of_its_slots() {
    let folder = TempDir::new().unwrap();
    let one = train(folder.path(), "one", &["--log-slots"]);
    assert_replays(&one);
    let threads = ["--log-slots", "--learner-threads", "2", "--set", "actors.slots_per_actor=2"];
    assert_replays(&train(folder.path(), "threads", &threads));
    // Several updates of each slot, with rewards that are scaled by those before.
    let epochs = [&threads[..], &["--preset", "few-frames", "--actors", "2"]].concat();
    let epochs = train(folder.path(), "epochs", &epochs);
    let log = fs::read_to_string(epochs.slots()).unwrap();
    for epoch in ["1", "2", "3", "4"] {
        let is_of = |line: &str| line.split(',').nth(7) == Some(epoch);
        assert!(log.lines().any(is_of), "nothing was learned in epoch {epoch}:\n{log}");
    }
    assert_replays(&epochs);
    // So few updates of lag are allowed that slots are left out.
    let dropping = ["--log-slots", "--set", "loss.max_policy_lag=1"];
    let dropping = train(folder.path(), "dropping", &dropping);
    let log = fs::read_to_string(dropping.slots()).unwrap();
    assert!(log.lines().any(|line| line.ends_with(",,,,too_old")), "no slot was left out:\n{log}");
    assert_replays(&dropping);
    let resumed = ["--log-slots", "--frames", "90000", "--resume", one.path().to_str().unwrap()];
    let resumed =
        impala(&["train", "--run-dir"]).arg(folder.path().join("on")).args(resumed).output();
    assert!(resumed.as_ref().unwrap().status.success(), "{}", text(&resumed.unwrap()));
    assert_replays(&RunDir::open(&folder.path().join("on")).unwrap());
    let memory = ["--log-slots", "--env", "TMaze-v0", "--set", "network.lstm_inputs=last_step"];
    assert_replays(&train(folder.path(), "memory", &memory));
}

/// Statistics of observations are of the same frames as the weights, also where a run goes on.
#[test]
fn statistics_of_observations_go_with_the_weights() {
    let folder = TempDir::new().unwrap();
    let seen = |run: &RunDir| {
        let Checkpoint { network, state, .. } = Checkpoint::load(&run.checkpoint()).unwrap();
        let statistics = &state.params[ParamLayout::new(&network).statistics()];
        assert_eq!(statistics.len(), 1 + 2 * 4);
        assert_eq!(statistics[0], state.counters.frames as f32);
        statistics[1..].to_vec()
    };
    let normalized = ["--log-slots", "--set", "network.normalize_observations=true"];
    let one = train(folder.path(), "one", &normalized);
    assert_replays(&one);
    // A cart pole moves less than it falls fast.
    let [.., _, velocity, angle, _] = seen(&one)[..] else { panic!("eight numbers") };
    assert!(angle > 0.0 && angle < 0.1 && velocity > angle, "{angle} {velocity}");
    let resumed = ["--log-slots", "--frames", "90000", "--resume", one.path().to_str().unwrap()];
    let on = folder.path().join("on");
    let output = impala(&["train", "--run-dir"]).arg(&on).args(resumed).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let on = RunDir::open(&on).unwrap();
    assert_replays(&on);
    assert_ne!(seen(&on), seen(&one));
}

#[test]
fn a_log_that_was_changed_is_found_out() {
    let folder = TempDir::new().unwrap();
    let run = train(folder.path(), "run", &["--log-slots"]);
    let log = fs::read_to_string(run.slots()).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let with = |name: &str, lines: &[&str]| {
        let copy = folder.path().join(name);
        fs::create_dir(&copy).unwrap();
        for file in [run.meta(), run.config(), run.checkpoint()] {
            fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
        }
        fs::write(copy.join("slots.csv"), lines.join("\n")).unwrap();
        let output = replay(&copy);
        (output.status.code(), text(&output))
    };
    assert_eq!(with("same", &lines).0, Some(0));
    // The same slots, two of different actors in the other order.
    let mut swapped = lines.clone();
    let fields = |line: &str| -> Vec<String> { line.split(',').map(str::to_owned).collect() };
    // Of which the later one was not acted with what the earlier one made.
    let is_swappable = |i: &usize| {
        let (earlier, later) = (fields(lines[*i]), fields(lines[i + 1]));
        earlier[0] != later[0] && later[3].parse::<u64>().unwrap() + 1 < later[4].parse().unwrap()
    };
    let at = (20..lines.len() - 1).find(is_swappable).unwrap();
    let (mut a, mut b) = (fields(lines[at + 1]), fields(lines[at]));
    for column in 4..9 {
        std::mem::swap(&mut a[column], &mut b[column]);
    }
    let (a, b) = (a.join(","), b.join(","));
    (swapped[at], swapped[at + 1]) = (&a, &b);
    let (code, words) = with("swapped", &swapped);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("differ"), "{words}");
    let (code, words) = with("cut", &lines[..lines.len() / 2]);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("ends with update"), "{words}");
    let without: Vec<&str> = lines[..30].iter().chain(&lines[31..]).copied().collect();
    let (code, words) = with("hole", &without);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("is missing"), "{words}");
    fs::remove_file(folder.path().join("hole/slots.csv")).unwrap();
    let output = replay(&folder.path().join("hole"));
    assert!(text(&output).contains("--log-slots"), "{}", text(&output));
}

#[test]
fn a_checkpoint_of_another_network_or_optimiser_is_refused() {
    let folder = TempDir::new().unwrap();
    let run = train(folder.path(), "run", &["--log-slots"]);
    for (name, setting) in [
        ("network", "network.hidden=[8]"),
        ("memory", "network.lstm=8"),
        ("optimiser", "optimizer.kind=adam"),
    ] {
        let other = train(folder.path(), name, &["--set", setting]);
        fs::copy(other.checkpoint(), run.checkpoint()).unwrap();
        let output = replay(run.path());
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
        assert!(text(&output).contains("another network or optimiser"), "{}", text(&output));
    }
}

/// In a run that went on from another one.
#[test]
fn a_checkpoint_from_before_the_run_is_refused() {
    let folder = TempDir::new().unwrap();
    let (first, on, short) =
        (train(folder.path(), "first", &[]), folder.path().join("on"), folder.path().join("short"));
    let resumed = ["--log-slots", "--frames", "90000", "--resume", first.path().to_str().unwrap()];
    for (path, args) in [(&on, &resumed[..]), (&short, &["--frames", "20000"])] {
        let output = impala(&["train", "--run-dir"]).arg(path).args(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    fs::copy(short.join("checkpoint.safetensors"), on.join("checkpoint.safetensors")).unwrap();
    let output = replay(&on);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("from before the run"), "{}", text(&output));
}

/// What a replacement collects follows from its generation, which the log has.
#[test]
fn a_run_whose_actor_was_killed_is_learned_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run");
    let mut supervisor = impala(&["train", "--log-slots", "--frames", "1000000000", "--run-dir"])
        .arg(&path)
        .args(["--set", "report.rows=100000", "--set", "report.eval_episodes=1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let log = || fs::read_to_string(path.join("slots.csv")).unwrap_or_default();
    wait_until("slots", || log().lines().count() > 100);
    let children = format!("/proc/{0}/task/{0}/children", supervisor.id());
    let last = || fs::read_to_string(&children).unwrap().split_whitespace().last().map(pid_of);
    kill(last().unwrap(), Signal::SIGKILL).unwrap();
    let replaced = |line: &str| line.starts_with("3,1,");
    wait_until("its replacement's slots", || {
        log().lines().filter(|line| replaced(line)).count() > 20
    });
    kill(Pid::from_raw(supervisor.id() as i32), Signal::SIGINT).unwrap();
    wait_until("the run's end", || supervisor.try_wait().unwrap().is_some());
    assert_replays(&RunDir::open(&path).unwrap());
}

fn pid_of(word: &str) -> Pid {
    Pid::from_raw(word.parse().unwrap())
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn settings_that_no_deterministic_run_can_have_are_refused() {
    let cases: [(&[&str], &str); 3] = [
        (&["--learner-threads", "2"], "learner_threads"),
        (&["--batch-slots", "3"], "loss.batch_slots"),
        (&["--set", "loss.max_policy_lag=2"], "loss.max_policy_lag"),
    ];
    for (args, field) in cases {
        let output = impala(&["train", "--deterministic"]).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output).contains(field), "{}", text(&output));
    }
}

#[test]
fn a_folder_that_is_no_run_is_refused() {
    let folder = TempDir::new().unwrap();
    let path: PathBuf = folder.path().join("nothing");
    let output = replay(&path);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}
