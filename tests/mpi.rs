//! Several ranks, started by a real mpirun: that they learn as one learner, to the last bit, and how they end. Each
//! test starts the real binary; `make test-mpi` builds it with the feature `mpi`.

#[path = "../bench/cluster/launch.rs"]
mod launch;
#[path = "../bench/cluster/net.rs"]
mod net;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use impala::run::dir::RunDir;
use impala::state::LearnerState;
use impala::state::checkpoint::Checkpoint;
use impala::telemetry::{Exit, MetricsRow, Summary};
use launch::{mpirun, with_flags};
use net::Namespaces;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Long enough never to matter: a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What mpirun does not start again, and leaves, when it is killed itself.
const LEFT_BY_OPEN_MPI: &str = "vader_segment";

/// One job at work at a time: two cores are few, and each looks at what is left behind. While a launcher waits out the
/// grace of a job that has ended, the next one runs, if the tests have threads enough.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const IMPALA: &str = env!("CARGO_BIN_EXE_impala");

/// Runs short enough for a test, of few actors.
const SMALL: [&str; 6] = [
    "--set",
    "actors.envs_per_actor=8",
    "--set",
    "report.eval_episodes=5",
    "--set",
    "report.rows=20",
];

/// A run that ends when a test says so.
const ENDLESS: [&str; 6] = [
    "--frames",
    "1000000000",
    "--set",
    "report.rows=1000000",
    "--set",
    "distributed.check_interval=50",
];

fn train(mut command: Command, run: &Path, args: &[&str]) -> Output {
    command.args([IMPALA, "train", "--run-dir"]).arg(run).args(SMALL).args(args);
    command.output().unwrap()
}

/// The same alone, without any mpirun.
fn train_alone(run: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(IMPALA);
    command.args(["train", "--run-dir"]).arg(run).args(SMALL).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[track_caller]
fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, text(output));
}

fn state_of(run: &Path) -> LearnerState {
    Checkpoint::load(&RunDir::open(run).unwrap().checkpoint()).unwrap().state
}

fn summary_of(run: &Path) -> Summary {
    let text = fs::read_to_string(run.join("summary.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn rows_of(run: &Path) -> Vec<MetricsRow> {
    let mut metrics = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    metrics.deserialize().map(Result::unwrap).collect()
}

/// Bits, since −0 equals 0.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[track_caller]
fn assert_same_bits(one: &LearnerState, other: &LearnerState) {
    assert_eq!(bits(&one.params), bits(&other.params), "parameters");
    assert_eq!(bits(&one.optimizer.square), bits(&other.optimizer.square), "moments");
    assert_eq!(one.counters.frames, other.counters.frames);
    assert_eq!(one.counters.updates, other.counters.updates);
    assert_eq!(one.counters.episodes, other.counters.episodes);
}

/// All ranks said the same of their weights, in this summary and in the one that another rank wrote.
#[track_caller]
fn assert_equal_ranks(run: &Path) {
    let (first, second) = (summary_of(run), summary_of(&run.join("ranks/001")));
    let weights: Vec<&str> = first.ranks.iter().map(|rank| &*rank.weights).collect();
    assert_eq!(weights.len(), 2, "{:?}", first.ranks);
    assert_eq!(weights[0], weights[1]);
    assert_eq!(first.ranks, second.ranks);
    assert_eq!((first.frames, first.updates), (second.frames, second.updates));
}

/// R ranks of S slots learn as one learner of R·S slots, be the rounds one a batch or several.
#[test]
fn two_ranks_learn_as_one_learner_of_both_ones_slots() {
    let _turn = turn();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (slots, actors) in [(1, 2), (2, 2)] {
        let shape = |slots: usize, actors: usize| {
            [
                "--deterministic",
                "--frames",
                "40000",
                "--seed",
                "7",
                "--batch-slots",
                &slots.to_string(),
                "--actors",
                &actors.to_string(),
            ]
            .map(str::to_owned)
        };
        let (half, whole) = (shape(slots, actors), shape(2 * slots, 2 * actors));
        let run = |name: &str, n_ranks, args: &[String]| {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let run = path(&format!("{name}-{slots}"));
            match n_ranks {
                0 => assert_success(&train_alone(&run, &args)),
                n => assert_success(&train(mpirun(n), &run, &args)),
            }
            run
        };
        let (two, again, one) =
            (run("two", 2, &half), run("again", 2, &half), run("one", 0, &whole));
        assert_same_bits(&state_of(&two), &state_of(&one));
        assert_same_bits(&state_of(&two), &state_of(&again));
        assert!(state_of(&two).counters.updates >= 40_000 / (20 * 8 * 2 * slots as u64));
        assert_equal_ranks(&two);
        let (of_two, of_one) = (rows_of(&two), rows_of(&one));
        assert_eq!(of_two.len(), of_one.len());
        for (two, one) in of_two.iter().zip(&of_one) {
            assert_eq!(
                (two.frames, two.updates, two.episodes),
                (one.frames, one.updates, one.episodes)
            );
            assert_eq!(two.grad_norm, one.grad_norm, "of the summed gradient");
            approx::assert_relative_eq!(
                two.score_mean.unwrap_or(0.0),
                one.score_mean.unwrap_or(0.0),
                max_relative = 1e-5
            );
            approx::assert_relative_eq!(
                two.total_loss.unwrap(),
                one.total_loss.unwrap(),
                max_relative = 1e-3,
                epsilon = 1e-4
            );
        }
    }
}

/// Through MPI, which has nobody to talk to, and by the launcher alone.
#[test]
fn one_rank_learns_what_a_run_without_mpirun_learns() {
    let _turn = turn();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let args = ["--deterministic", "--frames", "40000", "--seed", "7"];
    let with_mpi = [&args[..], &["--set", "distributed.exchange=mpi"]].concat();
    assert_success(&train_alone(&path("alone"), &args));
    assert_success(&train(mpirun(1), &path("launched"), &args));
    assert_success(&train(mpirun(1), &path("mpi"), &with_mpi));
    assert_same_bits(&state_of(&path("alone")), &state_of(&path("launched")));
    assert_same_bits(&state_of(&path("alone")), &state_of(&path("mpi")));
}

/// Ranks that cannot share memory solve CartPole together.
#[test]
fn two_ranks_in_two_network_namespaces_solve_cartpole() {
    let _turn = turn();
    let folder = TempDir::new().unwrap();
    let Some(net) = namespaces(folder.path()) else { return };
    let mut mpirun = net.mpirun();
    with_flags(&mut mpirun);
    let run = folder.path().join("run");
    let args = ["--stop-when-solved", "--seed", "3", "--envs-per-actor", "32", "--actors", "2"];
    let output = train(mpirun, &run, &args);
    assert_success(&output);
    let summary = summary_of(&run);
    assert_eq!(summary.exit, Exit::Solved, "{}", text(&output));
    assert_eq!(summary.ranks.iter().map(|rank| &*rank.host).collect::<Vec<_>>(), net.names);
    assert_equal_ranks(&run);
    assert!(run.join("report.html").exists() && !run.join("ranks/001/report.html").exists());
    assert!(summary.ranks.iter().all(|rank| rank.frames > 0 && rank.exchange_p50_us > 0.0));
    assert_eq!(summary.ranks.iter().map(|rank| rank.frames).sum::<u64>(), summary.frames);
}

/// None where this process may not make them; in CI it may.
fn namespaces(folder: &Path) -> Option<Namespaces> {
    match Namespaces::new(folder) {
        Ok(net) => Some(net),
        Err(error) if std::env::var("CI").as_deref() != Ok("true") => {
            println!("SKIPPED: two network namespaces: {error}");
            None
        }
        Err(error) => panic!("two network namespaces: {error}"),
    }
}

/// A job under way.
struct Job {
    mpirun: Child,
    run: PathBuf,
    _folder: TempDir,
    turn: Option<MutexGuard<'static, ()>>,
}

impl Job {
    /// Two ranks that learn until a test ends them.
    fn start() -> Self {
        Job::start_by(mpirun(2), &[], TempDir::new().unwrap(), turn())
    }

    /// The same with the command that goes on with a run where there is one.
    fn start_in_own_folder() -> Self {
        let folder = TempDir::new().unwrap();
        let run = folder.path().join("run").to_str().unwrap().to_owned();
        Job::start_by(mpirun(2), &["--resume", &run], folder, turn())
    }

    fn start_by(
        mut mpirun: Command,
        args: &[&str],
        folder: TempDir,
        turn: MutexGuard<'static, ()>,
    ) -> Self {
        let run = folder.path().join("run");
        mpirun
            .args([IMPALA, "train", "--run-dir"])
            .arg(&run)
            .args(SMALL)
            .args(ENDLESS)
            .args(["--actors", "2"])
            .args(args);
        // Into a file: a pipe would be full when nobody reads it.
        let said = fs::File::create(folder.path().join("said")).unwrap();
        mpirun.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said);
        let mpirun = mpirun.spawn().unwrap();
        let job = Job { mpirun, run, _folder: folder, turn: Some(turn) };
        wait_until("rows of metrics", || job.n_rows() > 5);
        job
    }

    fn n_rows(&self) -> usize {
        fs::read_to_string(self.run.join("metrics.csv")).unwrap_or_default().lines().count()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.run.with_file_name("said")).unwrap_or_default()
    }

    fn named(&self, rank: usize, name: &str) -> Vec<Pid> {
        launch::named(IMPALA, &self.run, rank, name)
    }

    fn one(&self, rank: usize, name: &str) -> Pid {
        let found = self.named(rank, name);
        assert_eq!(found.len(), 1, "{name} of rank {rank}: {}", self.said());
        found[0]
    }

    fn kill(&self, pid: Pid, signal: Signal) {
        kill(pid, signal).unwrap();
    }

    /// Waits for the job's end and makes sure that nothing of it lives on; its status, as a shell says it.
    fn end(mut self) -> (i32, String, PathBuf, TempDir) {
        wait_until("its last process", || processes_of(&self.run).is_empty());
        assert_no_memory_left();
        drop(self.turn.take());
        wait_until("the job's end", || self.mpirun.try_wait().unwrap().is_some());
        let status = self.mpirun.wait().unwrap();
        let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap();
        let (said, run) = (self.said(), self.run.clone());
        (code, said, run, std::mem::replace(&mut self._folder, TempDir::new().unwrap()))
    }
}

impl Drop for Job {
    /// A failed test leaves no job behind.
    fn drop(&mut self) {
        let _ = self.mpirun.kill();
        let _ = self.mpirun.wait();
        processes_of(&self.run).into_iter().for_each(|pid| _ = kill(pid, Signal::SIGKILL));
    }
}

/// All processes of a run.
fn processes_of(run: &Path) -> Vec<Pid> {
    launch::processes(IMPALA, run)
}

fn assert_no_memory_left() {
    let files = fs::read_dir("/dev/shm")
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = files.filter(|name| !name.starts_with(LEFT_BY_OPEN_MPI)).collect();
    assert!(!left.iter().any(|name| name.contains("impala")), "{left:?}");
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All ranks stop at one update, with checkpoint and report.
#[test]
fn a_job_that_is_asked_to_end_ends_in_order() {
    let job = Job::start();
    job.kill(Pid::from_raw(job.mpirun.id() as i32), Signal::SIGTERM);
    let (code, said, run, _folder) = job.end();
    assert_ne!(code, 0, "the launcher was asked to end: {said}");
    let (first, second) = (summary_of(&run), summary_of(&run.join("ranks/001")));
    assert_eq!((first.exit, second.exit), (Exit::Interrupted, Exit::Interrupted), "{said}");
    assert_eq!(first.updates, second.updates);
    assert_equal_ranks(&run);
    assert!(run.join("report.html").exists());
    assert_eq!(state_of(&run).counters.updates, first.updates);
}

/// One rank that is told to stop stops all, at the same update.
#[test]
fn a_vote_of_one_rank_ends_all() {
    let job = Job::start();
    job.kill(job.one(1, "impala"), Signal::SIGINT);
    let (_, said, run, _folder) = job.end();
    let (first, second) = (summary_of(&run), summary_of(&run.join("ranks/001")));
    assert_eq!((first.exit, second.exit), (Exit::Interrupted, Exit::Interrupted), "{said}");
    assert_equal_ranks(&run);
}

#[test]
fn a_killed_actor_is_replaced_within_its_rank() {
    let job = Job::start();
    let killed = job.one(1, "impala-actor0");
    job.kill(killed, Signal::SIGKILL);
    wait_until("its replacement", || {
        job.named(1, "impala-actor0").iter().any(|pid| *pid != killed)
    });
    let n_rows = job.n_rows();
    wait_until("more rows", || job.n_rows() > n_rows + 3);
    job.kill(Pid::from_raw(job.mpirun.id() as i32), Signal::SIGTERM);
    let (_, said, run, _folder) = job.end();
    assert!(said.contains("[rank 1] actor 0"), "{said}");
    let ranks = summary_of(&run).ranks;
    assert_eq!((ranks[0].restarts, ranks[1].restarts), (0, 1));
    assert_equal_ranks(&run);
}

#[test]
fn a_killed_learner_ends_the_job() {
    for rank in [0, 1] {
        let job = Job::start();
        job.kill(job.one(rank, "impala-learner"), Signal::SIGKILL);
        let (code, said, run, _folder) = job.end();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("the learner of this rank died, and with it the job"), "{said}");
        assert!(state_of(&run).counters.updates > 0, "rank 0 stopped in order: {said}");
    }
}

#[test]
fn a_killed_supervisor_ends_the_job() {
    let job = Job::start();
    job.kill(job.one(1, "impala"), Signal::SIGKILL);
    let (code, said, run, _folder) = job.end();
    assert_eq!(code, 137, "{said}");
    assert_eq!(summary_of(&run).exit, Exit::Interrupted, "rank 0 was asked to end: {said}");
}

#[test]
fn a_killed_launcher_leaves_no_process() {
    let job = Job::start();
    job.kill(Pid::from_raw(job.mpirun.id() as i32), Signal::SIGKILL);
    let (code, said, run, _folder) = job.end();
    assert_eq!(code, 137, "{said}");
    assert_eq!(summary_of(&run).exit, Exit::Interrupted, "{said}");
    assert!(state_of(&run).counters.updates > 0);
}

#[test]
fn a_killed_daemon_of_another_machine_ends_the_job() {
    let turn = turn();
    let folder = TempDir::new().unwrap();
    let Some(net) = namespaces(folder.path()) else { return };
    let mut mpirun = net.mpirun();
    with_flags(&mut mpirun);
    let job = Job::start_by(mpirun, &[], folder, turn);
    let supervisor = job.one(1, "impala");
    let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
    let daemon: i32 =
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/{daemon}/comm")).unwrap().trim(), "orted");
    job.kill(Pid::from_raw(daemon), Signal::SIGKILL);
    let (code, said, ..) = job.end();
    assert_ne!(code, 0, "{said}");
}

/// Also with another number of ranks, each of which goes on from the one checkpoint.
#[test]
fn a_job_goes_on_with_fewer_ranks_and_with_more() {
    let _turn = turn();
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let budgets = ["40000", "80000", "120000"];
    let args = |frames, from: Option<&str>| {
        let from = from.map(|name| path(name).to_str().unwrap().to_owned());
        let resume = from.into_iter().flat_map(|from| ["--resume".to_owned(), from]);
        ["--frames", frames, "--actors", "2"]
            .map(str::to_owned)
            .into_iter()
            .chain(resume)
            .collect::<Vec<_>>()
    };
    let run = |name: &str, n_ranks, frames, from| {
        let args = args(frames, from);
        assert_success(&train(
            mpirun(n_ranks),
            &path(name),
            &args.iter().map(String::as_str).collect::<Vec<_>>(),
        ));
        summary_of(&path(name))
    };
    let two = run("two", 2, budgets[0], None);
    let one = run("one", 1, budgets[1], Some("two"));
    let three = run("again", 2, budgets[2], Some("one"));
    assert!((40_000..41_000).contains(&two.frames) && one.frames_before == two.frames);
    assert!((80_000..81_000).contains(&one.frames) && three.frames_before == one.frames);
    assert!((120_000..121_000).contains(&three.frames));
    assert_equal_ranks(&path("again"));
    let frames: Vec<u64> = rows_of(&path("again")).iter().map(|row| row.frames).collect();
    assert!(frames.is_sorted() && frames[0] <= 20_000, "rows of all parts: {frames:?}");
}

/// One command starts a job and goes on with it, as a batch system does that puts it back into its queue.
#[test]
fn the_same_command_again_goes_on_in_the_same_folder() {
    let job = Job::start_in_own_folder();
    job.kill(job.one(1, "impala-learner"), Signal::SIGKILL);
    let (code, said, run, _folder) = job.end();
    assert_eq!(code, 1, "{said}");
    let reached = state_of(&run).counters.frames;
    let frames = (reached + 20_000).to_string();
    let _turn = turn();
    let args = ["--actors", "2", "--frames", &frames, "--resume", run.to_str().unwrap()];
    assert_success(&train(mpirun(2), &run, &args));
    let summary = summary_of(&run);
    assert_eq!((summary.frames_before, summary.exit), (reached, Exit::Finished));
    assert_equal_ranks(&run);
    assert!(
        run.join("parts/000/metrics.csv").exists()
            && run.join("ranks/001/parts/000/metrics.csv").exists()
    );
    assert!(rows_of(&run)[0].frames < reached, "its rows are those of both parts");
}

#[test]
fn a_rank_with_other_settings_is_refused() {
    let _turn = turn();
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let mut command = mpirun(1);
    let one = |command: &mut Command, alpha: &str| {
        command.args([IMPALA, "train", "--run-dir"]).arg(&run).args(SMALL);
        command.args(["--set", &format!("optimizer.alpha={alpha}")]);
    };
    one(&mut command, "0.99");
    command.args([":", "-n", "1"]);
    one(&mut command, "0.9");
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let said = text(&output);
    assert!(
        said.contains("has optimizer.alpha = 0.9, rank 0 has optimizer.alpha = 0.99"),
        "{said}"
    );
}

#[test]
fn ranks_without_a_common_folder_are_refused() {
    let folder = TempDir::new().unwrap();
    let output = mpirun(2).args([IMPALA, "train"]).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("needs --run-dir"), "{}", text(&output));
    assert!(!folder.path().join("results").exists(), "nothing may have been started");
}

/// A rank that never comes to the rounds is named by the one that waits.
#[test]
fn a_rank_that_stands_still_is_named() {
    let args = ["--set", "distributed.round_timeout_s=1"];
    let job = Job::start_by(mpirun(2), &args, TempDir::new().unwrap(), turn());
    job.kill(job.one(1, "impala"), Signal::SIGSTOP);
    job.kill(job.one(1, "impala-learner"), Signal::SIGSTOP);
    wait_until("a name", || job.said().contains("rank 1 ("));
    let said = job.said();
    assert!(said.contains("rank 0 of 2 waited") && said.contains("has not come"), "{said}");
    job.kill(job.one(1, "impala"), Signal::SIGCONT);
    let (code, ..) = job.end();
    assert_ne!(code, 0);
}
