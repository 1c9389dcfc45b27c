//! What environments do that they must not: panic, hang, return NaN, return nothing else; and that slow ones are
//! borne. Each case is a training of
//! this program's own with such an environment, in a process of its own, because training forks.

use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::thread::sleep;
use std::time::Duration;

use impala::base::clock::monotonic_ns;
use impala::config::Config;
use impala::env::{ArgError, Env, NoArgs, NumpyRng, Registry, Transition};
use impala::sinks::terminal::Show;
use impala::space::{ActionSpace, ObsSpace, Spec};
use impala::telemetry::{Exit, Summary};
use impala::train::{Destination, train};
use tempfile::TempDir;

/// How a bad environment behaves; the environment variable by which a child is told.
const BEHAVIOUR: &str = "BAD_ENVIRONMENT";

/// What a slow environment takes for a step. A rollout of two of them takes 2.4 s.
const SLOW_STEP: Duration = Duration::from_millis(60);

/// Episodes of ten steps, of which one may not end well.
struct Bad {
    rng: NumpyRng,
    n_steps: usize,
    behaviour: String,
}

impl Env for Bad {
    type Obs = [f32; 1];
    type Action = usize;
    type Args = NoArgs;
    const ID: &'static str = "Bad-v0";

    fn spec(_: &NoArgs) -> Result<Spec, ArgError> {
        Ok(Spec {
            id: Self::ID.into(),
            obs: ObsSpace::vector(1),
            actions: ActionSpace::Discrete(2),
            max_episode_steps: Some(10),
            reward_threshold: None,
        })
    }

    fn new(_: &NoArgs, seed: u128) -> Self {
        let behaviour = std::env::var(BEHAVIOUR).unwrap();
        Bad { rng: NumpyRng::new(seed), n_steps: 0, behaviour }
    }

    fn reset(&mut self, obs: &mut [f32; 1]) {
        self.n_steps = 0;
        *obs = [self.rng.uniform(-1.0, 1.0) as f32];
    }

    fn step(&mut self, action: usize, obs: &mut [f32; 1]) -> Transition {
        self.n_steps += 1;
        // Rare enough that most rollouts are sound, and sure to come in a short run.
        let is_bad = self.n_steps == 5 && self.rng.uniform(0.0, 1.0) < 0.002;
        match &*self.behaviour {
            "panics" if is_bad => panic!("cannot go on"),
            "panics in the evaluation" if !is_in_actor() => panic!("cannot be evaluated"),
            "hangs in the evaluation" if !is_in_actor() => sleep(Duration::MAX),
            "exits as if training diverged" if is_bad => std::process::exit(4),
            "always hangs" => sleep(Duration::MAX),
            "slow" => sleep(SLOW_STEP),
            _ => {}
        }
        let is_nan = match &*self.behaviour {
            "nan" => is_bad,
            "always nan" => true,
            _ => false,
        };
        *obs = [if is_nan { f32::NAN } else { 0.1 * self.n_steps as f32 }];
        Transition { reward: action as f32, ..Transition::default() }
    }
}

/// Steps of zero, for ever.
struct Endless;

impl Env for Endless {
    type Obs = [f32; 1];
    type Action = usize;
    type Args = NoArgs;
    const ID: &'static str = "Endless-v0";

    fn spec(args: &NoArgs) -> Result<Spec, ArgError> {
        Ok(Spec { id: Self::ID.into(), max_episode_steps: None, ..Bad::spec(args)? })
    }

    fn new(_: &NoArgs, _: u128) -> Self {
        Endless
    }

    fn reset(&mut self, obs: &mut [f32; 1]) {
        *obs = [0.0];
    }

    fn step(&mut self, _action: usize, _obs: &mut [f32; 1]) -> Transition {
        Transition { reward: 0.5, ..Transition::default() }
    }
}

/// Whether this process trains, and does not evaluate.
fn is_in_actor() -> bool {
    std::fs::read_to_string("/proc/self/comm").unwrap().starts_with("impala-actor")
}

/// The child's part: some hundred rollouts.
fn train_badly(folder: &Path) -> ExitCode {
    let environments = Registry::default().with::<Bad>().with::<Endless>();
    let mut config = Config { environments, env: Bad::ID.into(), ..Config::default() };
    (config.frames, config.actors.count, config.report.eval_episodes) = (150_000, 2, 0);
    config.supervision.max_restarts = 1_000;
    config.supervision.max_pause_s = 0.0;
    match &*std::env::var(BEHAVIOUR).unwrap() {
        "always nan" => {
            (config.supervision.max_restarts, config.supervision.max_bad_rollouts) = (1, 3);
        }
        "panics in the evaluation" => {
            (config.report.eval_episodes, config.eval.interval_s) = (10, 0.05);
            config.frames = 1_500_000;
        }
        "hangs in the evaluation" => {
            (config.report.eval_episodes, config.supervision.hang_timeout_s) = (10, 1.0);
        }
        "never ends" => {
            config.env = Endless::ID.into();
            (config.report.eval_episodes, config.report.eval_max_steps) = (10, 300);
        }
        "never ends in time" => {
            config.env = Endless::ID.into();
            (config.report.eval_episodes, config.report.eval_max_s) = (10, 0.2);
            config.report.eval_max_steps = 1_000_000_000;
        }
        "always hangs" => {
            (config.supervision.hang_timeout_s, config.supervision.stop_grace_s) = (0.5, 0.1);
            // So that no two deaths fall into one window.
            (config.supervision.max_restarts, config.supervision.restart_window_s) = (2, 0.01);
        }
        "slow" => {
            (config.frames, config.actors.envs_per_actor) = (40, 2);
            (config.supervision.hang_timeout_s, config.supervision.stop_grace_s) = (1.0, 1.5);
            config.supervision.max_restarts = 1;
        }
        _ => {}
    }
    let run = train(&config, &Destination::At(folder.into()), monotonic_ns(), Show::Nothing);
    ExitCode::from(if run.unwrap().summary.exit == Exit::Finished { 0 } else { 1 })
}

struct Case {
    output: Output,
    summary: Summary,
    meta: String,
    /// The report; empty where there is none.
    page: String,
}

fn train_with(behaviour: &str) -> Case {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let output = Command::new(std::env::current_exe().unwrap())
        .arg(&run)
        .env(BEHAVIOUR, behaviour)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    let summary = std::fs::read_to_string(run.join("summary.json")).unwrap();
    let summary = serde_json::from_str(&summary).unwrap();
    let meta = std::fs::read_to_string(run.join("meta.json")).unwrap();
    let page = std::fs::read_to_string(run.join("report.md")).unwrap_or_default();
    Case { output, summary, meta, page }
}

impl Case {
    fn said(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    fn assert_said(&self, parts: &[&str]) {
        let said = self.said();
        for part in parts {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
}

fn one_that_panics_is_named_and_its_actor_replaced() {
    let case = train_with("panics");
    case.assert_said(&["panicked (exit status 101)", "cannot go on", "in environment ", "(seed "]);
    case.assert_said(&["; started again"]);
    assert_eq!(case.output.status.code(), Some(0), "{}", case.said());
    assert!(case.summary.actors.iter().map(|actor| actor.restarts).sum::<u64>() > 0);
}

fn a_rollout_with_nan_is_dropped_and_counted_and_training_goes_on() {
    let case = train_with("nan");
    case.assert_said(&["returned NaN as number 0 of its observation", "the rollout is dropped"]);
    assert_eq!(case.output.status.code(), Some(0), "{}", case.said());
    let actors = &case.summary.actors;
    let n_bad = actors.iter().map(|actor| actor.bad_rollouts).sum::<u64>();
    assert!(n_bad > 2, "{n_bad}");
    assert_eq!(actors.iter().map(|actor| actor.restarts).sum::<u64>(), 0);
    assert_eq!(case.summary.reliability.skipped_updates, 0, "no NaN came to the learner");
    let n_remarks = case.said().matches("the rollout is dropped").count();
    assert!((1..=2).contains(&n_remarks), "one a process, the others are counted: {}", case.said());
}

fn nothing_but_nan_ends_the_run_with_its_reason() {
    let case = train_with("always nan");
    case.assert_said(&["3 rollouts in a row had a NaN or infinite observation", "; given up"]);
    assert_eq!(case.output.status.code(), Some(1), "{}", case.said());
    assert_eq!((case.summary.exit, case.summary.frames), (Exit::Failed, 0));
}

fn one_that_panics_in_the_evaluation_costs_no_results() {
    let case = train_with("panics in the evaluation");
    assert_eq!(case.output.status.code(), Some(0), "{}", case.said());
    assert_eq!((case.summary.exit, case.summary.eval), (Exit::Finished, None));
    assert!(!case.page.is_empty(), "{}", case.said());
    case.assert_said(&["cannot be evaluated; training goes on"]);
    for told in [case.said(), case.meta] {
        assert!(told.contains("the evaluation panicked (exit status 101)"), "{told}");
        assert!(told.contains("cannot be evaluated"), "{told}");
    }
}

fn one_that_hangs_in_the_evaluation_costs_no_results() {
    let case = train_with("hangs in the evaluation");
    assert_eq!(case.output.status.code(), Some(0), "{}", case.said());
    assert_eq!((case.summary.exit, case.summary.eval), (Exit::Finished, None));
    assert!(!case.page.is_empty(), "{}", case.said());
    case.assert_said(&["the evaluation gave no sign of life for 1 s", "hang_timeout_s"]);
}

fn one_that_never_ends_is_cut_in_the_evaluation() {
    let case = train_with("never ends");
    assert_eq!(case.output.status.code(), Some(0), "{}", case.said());
    let eval = case.summary.eval.unwrap();
    assert_eq!((eval.episodes, eval.cut, eval.unfinished), (10, 10, 0));
    assert_eq!((eval.min, eval.max), (150.0, 150.0));
}

fn one_that_never_ends_in_time_costs_no_results() {
    let case = train_with("never ends in time");
    assert_eq!(case.output.status.code(), Some(0), "{}", case.said());
    assert_eq!((case.summary.exit, case.summary.eval), (Exit::Finished, None));
    assert!(!case.page.is_empty(), "{}", case.said());
    assert!(
        case.meta.contains("no episode ended within 0.2 s; raise report.eval_max_s"),
        "{}",
        case.meta
    );
}

fn a_slow_one_is_not_taken_for_hung() {
    let case = train_with("slow");
    assert_eq!(case.output.status.code(), Some(0), "{}", case.said());
    assert_eq!(case.summary.reliability.hangs, 0, "{}", case.said());
    assert!(!case.said().contains("killed"), "{}", case.said());
}

/// Its actor ends with the status by which a learner says that it diverged.
fn one_that_ends_its_actor_takes_no_weights_back() {
    let case = train_with("exits as if training diverged");
    case.assert_said(&["exited with status 4", "; started again"]);
    assert_eq!(case.output.status.code(), Some(0), "{}", case.said());
    let reliability = &case.summary.reliability;
    assert_eq!((reliability.rollbacks, reliability.learner_restarts), (0, 0), "{}", case.said());
}

fn one_that_always_hangs_is_given_up() {
    let case = train_with("always hangs");
    case.assert_said(&[
        "gave no sign of life for 0.5 s",
        "given up after more than 2 deaths in a row that left nothing",
    ]);
    assert_eq!(case.output.status.code(), Some(1), "{}", case.said());
    assert_eq!((case.summary.exit, case.summary.frames), (Exit::Failed, 0));
    assert!(case.page.contains("Why it failed") && !case.page.contains("What came of it"));
}

/// Not the environment's fault, but told as early.
fn a_process_with_threads_is_refused() {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || stopped.recv());
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let refused =
        train(&Config::default(), &Destination::At(run.clone()), monotonic_ns(), Show::Nothing);
    let error = refused.unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("this one has 2"), "{error}");
    assert!(!run.exists(), "nothing was started");
    drop(stop);
    assert!(other.join().unwrap().is_err());
}

fn main() -> ExitCode {
    if let (Some(folder), Ok(_)) = (std::env::args().nth(1), std::env::var(BEHAVIOUR)) {
        return train_badly(folder.as_ref());
    }
    let cases: [(&str, fn()); 11] = [
        (
            "one_that_panics_is_named_and_its_actor_replaced",
            one_that_panics_is_named_and_its_actor_replaced,
        ),
        (
            "a_rollout_with_nan_is_dropped_and_counted_and_training_goes_on",
            a_rollout_with_nan_is_dropped_and_counted_and_training_goes_on,
        ),
        (
            "nothing_but_nan_ends_the_run_with_its_reason",
            nothing_but_nan_ends_the_run_with_its_reason,
        ),
        (
            "one_that_panics_in_the_evaluation_costs_no_results",
            one_that_panics_in_the_evaluation_costs_no_results,
        ),
        (
            "one_that_hangs_in_the_evaluation_costs_no_results",
            one_that_hangs_in_the_evaluation_costs_no_results,
        ),
        (
            "one_that_never_ends_is_cut_in_the_evaluation",
            one_that_never_ends_is_cut_in_the_evaluation,
        ),
        (
            "one_that_never_ends_in_time_costs_no_results",
            one_that_never_ends_in_time_costs_no_results,
        ),
        (
            "one_that_ends_its_actor_takes_no_weights_back",
            one_that_ends_its_actor_takes_no_weights_back,
        ),
        ("one_that_always_hangs_is_given_up", one_that_always_hangs_is_given_up),
        ("a_slow_one_is_not_taken_for_hung", a_slow_one_is_not_taken_for_hung),
        ("a_process_with_threads_is_refused", a_process_with_threads_is_refused),
    ];
    for (name, case) in cases {
        case();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}
