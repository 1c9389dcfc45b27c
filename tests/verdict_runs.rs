//! Real runs whose limit is known beforehand: the report names it. Each is a training of this program's own, in a
//! process of its own, because training forks.
//!
//! Other programs may be at work on the machine, and then they are what the report has to name. So each case
//! holds on a busy machine too: what is known to limit a run does so, or others are measured to have had its
//! cores. `tests/verdict.rs` asserts the judgement on figures that do not change.

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

use impala::base::clock::monotonic_ns;
use impala::config::{Config, Layers};
use impala::env::{ArgError, Env, NoArgs, Registry, Transition};
use impala::report::bottleneck::{Diagnosis, Limit, diagnose};
use impala::run::meta::Meta;
use impala::sinks::terminal::Show;
use impala::space::{ActionSpace, ObsSpace, Spec};
use impala::telemetry::Summary;
use impala::train::{Destination, train};
use tempfile::TempDir;

/// The environment variable by which a child is told that it is one.
const CHILD: &str = "VERDICT_RUN";

/// Cores that others may use before they are thought to be at work.
const QUIET: f64 = 0.1;

/// Waits for something else at each step, as one does that talks to a simulator.
struct Waiting(u32);

impl Env for Waiting {
    type Obs = [f32; 1];
    type Action = usize;
    type Args = NoArgs;
    const ID: &'static str = "Waiting-v0";

    fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
        Ok(Spec {
            id: Self::ID.into(),
            obs: ObsSpace::vector(1),
            actions: ActionSpace::Discrete(2),
            max_episode_steps: Some(10),
            reward_threshold: None,
        })
    }

    fn new(_: &NoArgs, _: u128) -> Self {
        Waiting(0)
    }

    fn reset(&mut self, obs: &mut [f32; 1]) {
        self.0 = 0;
        *obs = [0.0];
    }

    fn step(&mut self, action: usize, obs: &mut [f32; 1]) -> Transition {
        sleep(Duration::from_micros(500));
        self.0 += 1;
        *obs = [0.1 * self.0 as f32];
        Transition { reward: action as f32, ..Transition::default() }
    }
}

/// The child's part.
fn train_here(folder: &Path, assignments: &[String]) -> ExitCode {
    let layers = Layers { assignments, ..Layers::default() };
    let config = layers.resolve().unwrap();
    let environments = Registry::default().with::<Waiting>();
    let config = Config { environments, ..config };
    train(&config, &Destination::At(folder.into()), monotonic_ns(), Show::Nothing).unwrap();
    ExitCode::SUCCESS
}

struct Case {
    summary: Summary,
    diagnosis: Diagnosis,
    report: String,
    processes: String,
    meta: Meta,
}

/// Trains by this command, which is given words before the program, with these settings; by slow kernels, so that a
/// run lasts long enough to be watched.
fn train_with(before: &[&str], settings: &[&str]) -> Case {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let program = std::env::current_exe().unwrap();
    let words = before.iter().copied().map(String::from);
    let words: Vec<String> = words.chain([program.display().to_string()]).collect();
    let output = Command::new(&words[0])
        .args(&words[1..])
        .arg(&run)
        .args(settings)
        .args(["report.eval_episodes=0", "kernels=\"portable\""])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |file: &str| std::fs::read_to_string(run.join(file)).unwrap();
    let summary: Summary = serde_json::from_str(&read("summary.json")).unwrap();
    let meta: Meta = serde_json::from_str(&read("meta.json")).unwrap();
    let diagnosis = diagnose(&summary, Some(meta.n_cores));
    let (report, processes) = (read("report.html"), read("processes.csv"));
    Case { summary, diagnosis, report, processes, meta }
}

impl Case {
    /// The limit is this one, or others are measured to have had the cores.
    fn assert_limit(&self, expected: Limit) {
        let others = self.summary.cores_of_others.unwrap_or(1.0);
        let is_excused = self.diagnosis.limit == Limit::Others && others > QUIET;
        assert!(self.diagnosis.limit == expected || is_excused, "{others}: {}", self.diagnosis);
    }
}

/// Loops that want a core each all the time, until they are dropped.
struct BusyLoops(Vec<Child>);

impl BusyLoops {
    fn start() -> Self {
        let n_loops = 2 * std::thread::available_parallelism().unwrap().get();
        // They end with this program, however that ends.
        let busy = "while kill -0 $PPID 2>/dev/null; do :; done";
        let busy = || Command::new("sh").args(["-c", busy]).spawn().unwrap();
        BusyLoops((0..n_loops).map(|_| busy()).collect())
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        for busy in &mut self.0 {
            // It ends by nothing else.
            let _ = busy.kill();
            let _ = busy.wait();
        }
    }
}

fn other_programs_on_every_core_are_named() {
    let busy = BusyLoops::start();
    let case = train_with(&[], &["frames=300_000"]);
    drop(busy);
    assert_eq!(case.diagnosis.limit, Limit::Others, "{}", case.diagnosis);
    assert_eq!(case.diagnosis.change, None, "no setting is to blame: {}", case.diagnosis);
    assert!(case.report.contains("Other programs took the cores"));
    let learner = case.summary.learner_cores.expect("this kernel tells");
    assert!(learner.without_core_s > 0.1 * learner.watched_s, "{learner:?}");
    let header = case.processes.lines().next().unwrap();
    assert!(header.contains("on_core_s,without_core_s"), "{header}");
    let load = case.meta.load_at_end.expect("the run has ended").load_average;
    assert!(load.is_some_and(|[last, ..]| last > 0.0), "{load:?}");
}

/// Actors that sleep use no core: more of them run faster, whatever the number of cores.
fn environments_that_sleep_ask_for_more_actors() {
    let settings =
        ["env=\"Waiting-v0\"", "frames=4_000", "actors.envs_per_actor=1", "actors.count=2"];
    let case = train_with(&[], &settings);
    case.assert_limit(Limit::Actors);
    if case.diagnosis.limit == Limit::Actors {
        let change = case.diagnosis.change.as_ref().expect("a setting");
        assert_eq!(change.flags, "--actors 4", "{}", case.diagnosis);
        assert!(case.diagnosis.advice.contains("wait without using a core"), "{}", case.diagnosis);
    }
}

fn a_slow_learner_is_named() {
    let settings = ["network.hidden=[512,512]", "frames=8_000", "learner_threads=1"];
    train_with(&[], &settings).assert_limit(Limit::Learner);
}

fn one_actor_takes_turns_with_the_learner() {
    let settings = ["actors.count=1", "frames=200_000"];
    train_with(&[], &settings).assert_limit(Limit::Turns);
}

fn a_run_in_lockstep_is_limited_by_turns() {
    let case = train_with(&[], &["loss.batch_slots=4", "frames=200_000"]);
    case.assert_limit(Limit::Turns);
    assert!(!case.diagnosis.advice.contains("cheaper"), "{}", case.diagnosis);
}

fn a_deterministic_run_is_limited_by_turns() {
    let case = train_with(&[], &["deterministic=true", "frames=200_000"]);
    case.assert_limit(Limit::Turns);
    assert!(!case.diagnosis.advice.contains("cheaper"), "{}", case.diagnosis);
}

/// On one core there is nothing to share, and no thread is advised.
fn a_run_pinned_to_one_core_is_limited_by_it() {
    let first = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = first.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let core = allowed.trim().split([',', '-']).next().unwrap().to_owned();
    let case = train_with(&["taskset", "-c", &core], &["frames=200_000"]);
    assert_eq!(case.meta.n_cores, 1);
    case.assert_limit(Limit::Cores);
    assert!(!case.diagnosis.advice.contains("--learner-threads"), "{}", case.diagnosis);
}

/// Rewards a thousand million times too large: the budget is spent, and nothing is learned.
fn a_run_that_learns_nothing_does_not_end_as_plain_finished() {
    let case = train_with(&[], &["loss.reward_scale=1e9", "frames=100_000"]);
    let (status, _) = case.report.split_once("</h1>").unwrap();
    assert!(status.contains("Finished without learning"), "{status}");
    assert!(!status.contains("status good"), "{status}");
    assert!(case.report.contains("<code>loss.reward_scale</code>"), "the first setting to look at");
}

fn has_taskset() -> bool {
    let mut taskset = Command::new("taskset");
    taskset.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if std::env::var(CHILD).is_ok() {
        return train_here(args[0].as_ref(), &args[1..]);
    }
    let cases: [(&str, fn()); 8] = [
        ("other_programs_on_every_core_are_named", other_programs_on_every_core_are_named),
        (
            "environments_that_sleep_ask_for_more_actors",
            environments_that_sleep_ask_for_more_actors,
        ),
        ("a_slow_learner_is_named", a_slow_learner_is_named),
        ("one_actor_takes_turns_with_the_learner", one_actor_takes_turns_with_the_learner),
        ("a_run_in_lockstep_is_limited_by_turns", a_run_in_lockstep_is_limited_by_turns),
        ("a_deterministic_run_is_limited_by_turns", a_deterministic_run_is_limited_by_turns),
        ("a_run_pinned_to_one_core_is_limited_by_it", a_run_pinned_to_one_core_is_limited_by_it),
        (
            "a_run_that_learns_nothing_does_not_end_as_plain_finished",
            a_run_that_learns_nothing_does_not_end_as_plain_finished,
        ),
    ];
    for (name, case) in cases {
        if name.contains("pinned") && !has_taskset() {
            println!("SKIPPED: {name}: there is no taskset (package util-linux)");
            continue;
        }
        case();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}
