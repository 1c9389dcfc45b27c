//! Runs that are ended, killed or damaged, and go on. Each test starts the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use impala::network::params::ParamLayout;
use impala::run::dir::RunDir;
use impala::run::meta::Meta;
use impala::space::ObsSpace;
use impala::state::checkpoint::Checkpoint;
use impala::telemetry::{MetricsRow, Summary};
use tempfile::TempDir;

/// A watchdog, not a measurement: a loaded machine may take long.
const PATIENCE: Duration = Duration::from_secs(300);

const FRAMES: u64 = 40_000;

fn impala(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_impala")).args(args).output().unwrap()
}

/// Trains into `name` below the folder; `args` come on top.
fn train(folder: &TempDir, name: &str, args: &[&str]) -> (PathBuf, Output) {
    let path = folder.path().join(name);
    let common = ["train", "--set", "report.eval_episodes=5", "--run-dir", path.to_str().unwrap()];
    let output = impala(&[common.as_slice(), args].concat());
    (path, output)
}

/// A run of [`FRAMES`] frames.
fn first_part(folder: &TempDir) -> PathBuf {
    let (path, output) = train(folder, "first", &["--frames", &FRAMES.to_string()]);
    assert!(output.status.success(), "{}", said(&output));
    path
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn rows(run: &Path) -> Vec<MetricsRow> {
    let mut reader = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

fn summary(run: &Path) -> Summary {
    serde_json::from_str(&std::fs::read_to_string(run.join("summary.json")).unwrap()).unwrap()
}

fn checkpoint(run: &Path) -> Checkpoint {
    Checkpoint::load(&run.join("checkpoint.safetensors")).unwrap()
}

#[test]
fn frames_schedule_optimiser_rows_and_histograms_go_on() {
    let folder = TempDir::new().unwrap();
    let first = first_part(&folder);
    let flags = ["--resume", first.to_str().unwrap(), "--frames", "80000"];
    let (second, output) = train(&folder, "second", &flags);
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("frames = 80000 (was 40000)"), "{said}");

    let (before, after) = (summary(&first), summary(&second));
    assert!(after.frames >= 80_000 && after.updates > before.updates);
    assert!(after.frames_produced > before.frames_produced && after.wall_s > before.wall_s);
    // A thread that another one's last update overtook has measured once more.
    let is_of = |run: &Summary, n_updates: u64| {
        let n_threads = run.learner_threads as u64;
        (n_updates..=n_updates + n_threads).contains(&run.latency_us["backward"].count)
    };
    assert!(is_of(&before, before.updates));
    assert!(is_of(&after, after.updates - before.updates), "as all times, of its own part");
    let (then, now) = (rows(&first), rows(&second));
    assert_eq!(now[..then.len()], then, "the first part's rows come first");
    assert!(now.is_sorted_by_key(|row| row.frames) && now.is_sorted_by(|a, b| a.time_s < b.time_s));
    let (last, next) = (&then[then.len() - 1], &now[then.len()]);
    assert!(next.learning_rate < last.learning_rate, "the schedule does not begin again");
    assert!(next.episodes >= last.episodes);

    let saved = checkpoint(&second).state;
    assert_eq!(saved.optimizer.n_steps, saved.counters.updates);
    assert_eq!(saved.counters.frames, after.frames);
    let log = |run: &Path| std::fs::read_to_string(run.join("latency.hlog")).unwrap();
    let tags = |text: &str| text.lines().filter(|line| line.starts_with("Tag=")).count();
    assert!(tags(&log(&second)) > tags(&log(&first)));
    let meta = std::fs::read_to_string(second.join("meta.json")).unwrap();
    assert!(meta.contains("\"resumed_from\": \""), "{meta}");
    let page = std::fs::read_to_string(second.join("report.md")).unwrap();
    // Of both parts, at whose ends each thread may have measured once more.
    let n_threads = (before.learner_threads + after.learner_threads) as u64;
    let is_counted =
        |count: u64| page.contains(&format!("| `backward` | losses and gradient | {count} |"));
    assert!((after.updates..=after.updates + n_threads).any(is_counted), "{page}");
    let learned = format!("{} frames learned in ", after.frames - before.frames);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains(&learned) && told.contains(" updates in all"), "{told}");
}

/// Of a run with `loss.reward_norm`: what rewards are divided by goes on, and does not begin again at 1.
#[test]
fn what_rewards_are_normalised_by_goes_on() {
    let folder = TempDir::new().unwrap();
    let (first, output) = train(&folder, "first", &["--preset", "few-frames", "--frames", "20000"]);
    assert!(output.status.success(), "{}", said(&output));
    let flags = ["--resume", first.to_str().unwrap(), "--frames", "30000"];
    let (second, output) = train(&folder, "second", &flags);
    assert!(output.status.success(), "{}", said(&output));
    let [then, now] = [&first, &second].map(|run| checkpoint(run).state);
    assert_eq!(then.counters.updates, 4 * then.counters.frames / 256, "four epochs a batch");
    let [(n_then, n_frames), (n_now, _)] =
        [&then, &now].map(|state| (state.return_stats.n, state.counters.frames as f64));
    // Reset rows have no return.
    assert!((0.9 * n_frames..=n_frames).contains(&n_then), "{n_then} of {n_frames}");
    assert!(n_now > n_then + 8_000.0, "{n_now} after {n_then}");
    let scales: Vec<f64> = rows(&second).iter().filter_map(|row| row.reward_scale).collect();
    assert!(scales.iter().all(|scale| *scale < 0.5), "returns spread by 2 or more: {scales:?}");
    let (other, _) = train(&folder, "other", &["--frames", "20000"]);
    assert_eq!(checkpoint(&other).state.return_stats, Default::default(), "not asked for");
}

#[test]
fn the_best_checkpoint_of_the_earlier_part_is_not_forgotten() {
    let folder = TempDir::new().unwrap();
    let first = first_part(&folder);
    let best = RunDir::open(&first).unwrap().best_checkpoint();
    let mut better = checkpoint(&first);
    better.state.recent_returns.fill(1e6);
    std::fs::remove_file(&best).unwrap();
    better.save(&best).unwrap();
    let flags = ["--resume", first.to_str().unwrap(), "--frames", "50000"];
    let (second, output) = train(&folder, "second", &flags);
    assert!(output.status.success(), "{}", said(&output));
    let best = RunDir::open(&second).unwrap().best_checkpoint();
    assert_eq!(Checkpoint::load(&best).unwrap(), better);
}

/// What the table of `summary.json` says of each figure of a resumed run.
#[test]
fn times_go_on_and_what_the_process_did_is_its_own() {
    const EARLIER_S: f64 = 1000.0;
    let folder = TempDir::new().unwrap();
    let first = first_part(&folder);
    let mut long = checkpoint(&first);
    long.elapsed_ns = (EARLIER_S * 1e9) as u64;
    let file = folder.path().join("long.safetensors");
    long.save(&file).unwrap();
    let flags = ["--resume", file.to_str().unwrap(), "--frames", "60000"];
    let (second, output) = train(&folder, "second", &flags);
    assert!(output.status.success(), "{}", said(&output));
    let (summary, rows) = (summary(&second), rows(&second));
    assert!(summary.wall_s > EARLIER_S && rows[0].time_s > EARLIER_S);
    assert!(summary.startup_s < rows[0].time_s - EARLIER_S, "{}", summary.startup_s);
    let n_learned = (summary.frames - long.state.counters.frames) as f64;
    assert_eq!(summary.frames_before, long.state.counters.frames);
    let per_s = n_learned / summary.train_s;
    assert!((summary.frames_per_s / per_s - 1.0).abs() < 1e-6, "of this part");
    let lags = rows.iter().map(|row| row.policy_lag_max);
    assert!(summary.policy_lag.unwrap().max >= lags.max().unwrap());
    let collected: u64 = summary.actors.iter().map(|actor| actor.frames).sum();
    let produced_before = long.state.counters.frames_produced_before;
    assert_eq!(summary.frames_produced, produced_before + collected);
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("killed");
    let mut running = Command::new(env!("CARGO_BIN_EXE_impala"))
        .args(["train", "--frames", "100000000000", "--set", "checkpoint.interval_s=0.2"])
        .args(["--run-dir", path.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while RunDir::open(&path).map_or(0, |run| run.numbered_checkpoints().len()) < 2 {
        assert!(start.elapsed() < PATIENCE, "no checkpoints");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    // Killed between two renames, `checkpoint.safetensors` is one older than the newest.
    let newest = &RunDir::open(&path).unwrap().numbered_checkpoints()[0];
    let frames = Checkpoint::load(newest).unwrap().state.counters.frames;
    let budget = (frames + 10_000).to_string();
    let flags = ["--resume", path.to_str().unwrap(), "--frames", &budget];
    let (second, output) = train(&folder, "second", &flags);
    assert!(output.status.success(), "{}", said(&output));
    assert!(summary(&second).frames >= frames + 10_000);
    assert!(rows(&second).is_sorted_by_key(|row| row.frames));
}

/// Flips a bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // The newest checkpoint's file has two names.
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_none_left_is_an_error() {
    let folder = TempDir::new().unwrap();
    let first = first_part(&folder);
    let run = RunDir::open(&first).unwrap();
    let mut earlier = checkpoint(&first);
    earlier.state.counters.frames = 20_480;
    earlier.save(&run.checkpoint_after(20_480)).unwrap();
    let newest = run.numbered_checkpoints().remove(0);
    damage(&newest);
    let flags = ["--resume", first.to_str().unwrap(), "--frames", "41000"];
    let (_, output) = train(&folder, "second", &flags);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("passed over: ") && text.contains("damaged: its checksum"), "{text}");
    assert!(text.contains("at frame 20480"), "{text}");

    damage(&run.checkpoint_after(20_480));
    damage(&run.checkpoint());
    let (third, output) = train(&folder, "third", &flags);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("has no sound checkpoint to go on from"), "{text}");
    assert!(!third.exists(), "nothing was started");
}

#[test]
fn what_does_not_fit_is_refused_with_what_differs() {
    let folder = TempDir::new().unwrap();
    let first = first_part(&folder);
    let file = first.join("checkpoint.safetensors");
    let file = file.to_str().unwrap();
    for (args, expected) in [
        (
            vec!["--frames", "80000", "--set", "network.hidden=[32]"],
            "network.hidden = [32], but the checkpoint has [64, 64]",
        ),
        (
            vec!["--frames", "80000", "--set", "network.lstm=32"],
            "network.lstm = 32, but the checkpoint has 0",
        ),
        (
            vec!["--frames", "80000", "--set", "network.normalize_observations=true"],
            "network.normalize_observations = true, but the checkpoint has false",
        ),
        (
            vec!["--frames", "80000", "--set", "optimizer.kind=adam"],
            "optimizer.kind = \"adam\", but the checkpoint has \"rms_prop\"",
        ),
        (
            vec!["--env", "Acrobot-v1"],
            "env = \"Acrobot-v1\", but the checkpoint has \"CartPole-v1\"",
        ),
        (vec![], "give more with --frames"),
        (
            vec!["--frames", "80000", "--set", "network.hidden=[32]", "--config", "/dev/null"],
            "network.hidden = [32], but the checkpoint has [64, 64]",
        ),
    ] {
        let flags = [vec!["--resume", file], args].concat();
        refused(&folder, &flags, expected);
    }
    let (second, output) = train(&folder, "second", &["--resume", file, "--frames", "41000"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(rows(&second)[0].frames > FRAMES, "a file alone has no earlier rows");
}

#[test]
fn a_network_that_sees_several_pictures_goes_on_as_it_was() {
    let folder = TempDir::new().unwrap();
    let game = ["--env", "MinAtar/Breakout-v1", "--frames", "5000", "--set", "frame_stack=2"];
    let (first, output) = train(&folder, "first", &game);
    assert!(output.status.success(), "{}", said(&output));
    let resume = ["--resume", first.to_str().unwrap(), "--frames", "9000"];
    let told = "frame_stack = 1, but the checkpoint has 2";
    refused(&folder, &[&resume[..], &["--set", "frame_stack=1"]].concat(), told);
}

#[test]
fn a_network_that_remembers_goes_on_as_it_was() {
    let folder = TempDir::new().unwrap();
    let (first, output) = train(&folder, "first", &["--env", "TMaze-v0", "--frames", "40960"]);
    assert!(output.status.success(), "{}", said(&output));
    let resume = ["--resume", first.to_str().unwrap(), "--frames", "80000"];
    let (second, output) = train(&folder, "second", &resume);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(checkpoint(&second).network, checkpoint(&first).network);
    assert_eq!(checkpoint(&second).network.n_state(), 128);
    let with = |setting| [&resume[..], &["--set", setting]].concat();
    refused(&folder, &with("network.lstm=0"), "network.lstm = 0, but the checkpoint has 64");
    let told = "network.lstm_inputs = last_step, but the checkpoint has features";
    refused(&folder, &with("network.lstm_inputs=last_step"), told);
}

/// Training with these flags is a mistake, of which that is said, and starts nothing.
fn refused(folder: &TempDir, flags: &[&str], expected: &str) {
    let (path, output) = train(folder, "refused", flags);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(expected), "{text}");
    assert!(!path.exists(), "nothing was started");
}

/// Of a checkpoint with its text changed, as another version might have written it.
fn rewritten(folder: &TempDir, run: &Path, change: impl FnOnce(&mut Checkpoint)) -> String {
    let mut checkpoint = checkpoint(run);
    change(&mut checkpoint);
    let file = folder.path().join("rewritten.safetensors");
    checkpoint.save(&file).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn settings_of_another_version_can_be_replaced_by_a_file() {
    let folder = TempDir::new().unwrap();
    let first = first_part(&folder);
    let newer = |checkpoint: &mut Checkpoint| checkpoint.settings += "[novelty]\nweight = 1\n";
    let file = rewritten(&folder, &first, newer);
    let flags = ["--resume", &file, "--frames", "41000"];
    refused(&folder, &flags, "give --config FILE");
    let settings = first.join("config.toml");
    let flags = [flags.as_slice(), &["--config", settings.to_str().unwrap()]].concat();
    let (second, output) = train(&folder, "second", &flags);
    assert!(output.status.success(), "{}", said(&output));
    assert!(summary(&second).frames >= 41_000);
}

#[test]
fn a_task_that_was_solved_is_not_gone_on_with_by_a_run_that_ends_when_it_is() {
    let folder = TempDir::new().unwrap();
    let first = first_part(&folder);
    let solved = |checkpoint: &mut Checkpoint| checkpoint.state.counters.solved_frames = 30_000;
    let file = rewritten(&folder, &first, solved);
    let flags = ["--resume", &file, "--frames", "41000"];
    refused(&folder, &[&flags[..], &["--stop-when-solved"]].concat(), "after 30000 frames");
    let (second, output) = train(&folder, "second", &flags);
    assert!(output.status.success(), "{}", said(&output));
    assert!(summary(&second).frames >= 41_000);
}

#[test]
fn an_environment_that_has_changed_is_refused() {
    let folder = TempDir::new().unwrap();
    let first = first_part(&folder);
    let file = rewritten(&folder, &first, |checkpoint| {
        checkpoint.network.n_inputs = 5;
        checkpoint.spec.obs = ObsSpace::vector(5);
        let n_params = ParamLayout::new(&checkpoint.network).len();
        checkpoint.state.params.resize(n_params, 0.0);
        checkpoint.state.optimizer.square.resize(n_params, 0.0);
    });
    let expected =
        "CartPole-v1 has observations f32 [4], actions Discrete(2), but the checkpoint's";
    refused(&folder, &["--resume", &file, "--frames", "41000"], expected);
}

#[test]
fn a_deterministic_run_that_is_resumed_has_the_times_of_its_rows() {
    let folder = TempDir::new().unwrap();
    let flags = ["--deterministic", "--frames", &FRAMES.to_string()];
    let (first, output) = train(&folder, "first", &flags);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(checkpoint(&first).elapsed_ns, 0, "equal runs have equal checkpoints");
    let flags = ["--resume", first.to_str().unwrap(), "--frames", "80000"];
    let (second, output) = train(&folder, "second", &flags);
    assert!(output.status.success(), "{}", said(&output));
    let rows = rows(&second);
    assert!(rows.is_sorted_by(|a, b| a.time_s < b.time_s), "times go on");
}

#[test]
fn meta_names_the_checkpoint_itself_and_when_the_first_part_began() {
    let folder = TempDir::new().unwrap();
    let first = first_part(&folder);
    let link = folder.path().join("latest");
    std::os::unix::fs::symlink(&first, &link).unwrap();
    let file = link.join("checkpoint.safetensors");
    let flags = ["--resume", file.to_str().unwrap(), "--frames", "41000"];
    let (second, output) = train(&folder, "second", &flags);
    assert!(output.status.success(), "{}", said(&output));
    let meta = std::fs::read_to_string(second.join("meta.json")).unwrap();
    let meta: Meta = serde_json::from_str(&meta).unwrap();
    let expected = first.join("checkpoint.safetensors").canonicalize().unwrap();
    assert_eq!(meta.resumed_from.as_deref(), expected.to_str());
    let earlier_ns = (meta.started.as_nanosecond() - meta.time_origin.as_nanosecond()) as u64;
    assert_eq!(earlier_ns, checkpoint(&first).elapsed_ns);
}

/// One command starts a run and goes on with it.
#[test]
fn a_run_goes_on_in_its_own_folder() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let own = run.to_str().unwrap();
    let (_, output) = train(&folder, "run", &["--resume", own, "--frames", "40000"]);
    assert!(output.status.success(), "{}", said(&output));
    let (_, output) = train(&folder, "run", &["--resume", own, "--frames", "80000"]);
    assert!(output.status.success(), "{}", said(&output));
    let (first, second) = (summary(&run.join("parts/000")), summary(&run));
    assert_eq!(second.frames_before, first.frames);
    assert!((80_000..81_000).contains(&second.frames), "{}", second.frames);
    assert!(run.join("parts/000/report.html").exists() && run.join("report.html").exists());
}
