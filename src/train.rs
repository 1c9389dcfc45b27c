//! One training run from its configuration to its report.
//!
//! Owns the order of things: check, make the run folder and the segment, supervise, evaluate, sum up,
//! render. Called by `impala train`, and by anyone who uses the engine as a library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tracing::debug;

use crate::base::clock::{RunClock, in_seconds, monotonic_ns};
use crate::base::stages::{Stage, StageHistograms};
use crate::config::{Config, ConfigError};
use crate::env::normalized_score;
use crate::learner::cluster::{self, ClusterError};
use crate::os::launcher::Rank;
use crate::os::process::{
    TooFewDescriptors, TooManyThreads, allow_descriptors, check_one_thread, end_with_launcher,
    survive_large_files,
};
use crate::os::signals::CaughtSignals;
use crate::report::{self, Pictures, ReportError};
use crate::revisit::resume::{Records, ResumeError, Resumption};
use crate::run::checkpoints::{inherit_best, keep_last_if_best};
use crate::run::claim::Claim;
use crate::run::dir::{RunDir, RunDirError, RunName};
use crate::run::first_state::{create_segment, fresh_state};
use crate::run::footprint::{TooLittleMemory, check_memory};
use crate::run::meta::Meta;
use crate::run::sizes::Sizes;
use crate::shm::SegmentError;
use crate::sinks::Sinks;
use crate::sinks::files::{FilesError, RunFiles};
use crate::sinks::tensorboard::{TensorBoard, TensorBoardError};
use crate::sinks::terminal::{Show, Terminal};
use crate::space::{ActionSpace, Spec};
use crate::state::checkpoint::CheckpointError;
use crate::state::{Counters, LearnerState};
use crate::supervisor::exam::{Evaluation, row};
use crate::supervisor::final_eval;
use crate::supervisor::place::Role;
use crate::supervisor::{ActorFigures, RunOutcome, Supervisor, SupervisorError};
use crate::telemetry::{
    ActorSummary, CoreSummary, EvalRow, EvalSummary, Exit, LatencySummary, LearnerFigures, Summary,
    TaskSummary,
};

/// Where the files of a run go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A new folder named after the run below this one, with `latest` pointing at it.
    Below(PathBuf),
    /// This folder, which must be new or empty.
    At(PathBuf),
    /// This folder, where the run goes on: what its earlier part wrote, if there was one, is put aside in it.
    On(PathBuf),
}

/// A finished run.
#[derive(Debug)]
pub struct TrainedRun {
    /// The run's folder.
    pub run: RunDir,
    /// The whole run in figures.
    pub summary: Summary,
    /// Why it ended, in words.
    pub reason: String,
    /// The report's page.
    pub report: PathBuf,
    /// What of its end could not be written, because of a full disk for example; the rest is there.
    pub lost: Vec<Lost>,
    /// The first signal that asked for the end, also while results were written. Who was started by a shell
    /// or a batch system ends with [`end_by`](crate::os::process::end_by), for them to see it.
    pub signal: Option<Signal>,
}

/// A part of a run's end that is not on disk.
#[derive(Debug)]
pub struct Lost {
    /// Which.
    pub what: &'static str,
    /// Why.
    pub why: TrainError,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} ({})", self.what, self.why)
    }
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system allows too few open files.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// This build cannot join the other ranks of the job.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Ranks start in different seconds, and their folders would have different names.
    #[error(
        "{0} needs --run-dir DIR: the job's ranks write into one folder, which they cannot agree on by themselves"
    )]
    NoRunDir(Rank),
    /// The calling process has several threads.
    #[error(transparent)]
    Threads(#[from] TooManyThreads),
    /// The run's folder cannot be made.
    #[error(transparent)]
    RunDir(#[from] RunDirError),
    /// The run cannot be resumed.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// There is too little memory.
    #[error(transparent)]
    Memory(#[from] TooLittleMemory),
    /// The shared segment cannot be made.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// Workers cannot be had.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// A file of the run cannot be written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A checkpoint of the run cannot be written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The file for TensorBoard cannot be written.
    #[error(transparent)]
    TensorBoard(#[from] TensorBoardError),
    /// The report cannot be written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl TrainError {
    /// Whether it was the user's mistake, found before anything was started.
    pub fn is_usage(&self) -> bool {
        use SegmentError::{Layout, TooSmall};
        match self {
            TrainError::Config(_)
            | TrainError::Cluster(_)
            | TrainError::NoRunDir(_)
            | TrainError::Descriptors(_)
            | TrainError::Threads(_)
            | TrainError::Memory(_)
            | TrainError::RunDir(_)
            | TrainError::Resume(_) => true,
            TrainError::Segment(error) => matches!(error, Layout(_) | TooSmall { .. }),
            _ => false,
        }
    }
}

/// Trains with `config`; `process_start_ns` (`CLOCK_MONOTONIC`) is what times are counted from, `show`
/// how progress is shown on stderr.
///
/// Forks: the calling process must have one thread.
///
/// # Errors
/// If the configuration or the calling process is refused, or the system refuses what the run needs. A
/// run that fails later is no error here: its summary says [`Failed`](crate::telemetry::Exit::Failed).
pub fn train(
    config: &Config,
    destination: &Destination,
    process_start_ns: u64,
    show: Show,
) -> Result<TrainedRun, TrainError> {
    config.check()?;
    let run_clock = RunClock::starting_at(process_start_ns);
    run_from(config, destination, run_clock, &fresh_state(config)?, None, show)
}

/// Goes on with a run from one of its checkpoints, in a folder of its own that begins with what the
/// earlier part had recorded until then. Frames, schedules, optimiser and times go on.
///
/// Forks: the calling process must have one thread.
///
/// # Errors
/// As [`train`]; also if the checkpoint does not fit the configuration, or leaves nothing to learn.
pub fn resume(
    config: &Config,
    resumption: &Resumption,
    destination: &Destination,
    process_start_ns: u64,
    show: Show,
) -> Result<TrainedRun, TrainError> {
    config.check()?;
    resumption.check(config)?;
    let checkpoint = resumption.checkpoint();
    let run_clock = RunClock { process_start_ns, earlier_ns: checkpoint.elapsed_ns };
    run_from(config, destination, run_clock, &checkpoint.state, Some(resumption), show)
}

fn run_from(
    config: &Config,
    destination: &Destination,
    run_clock: RunClock,
    state: &LearnerState,
    resumption: Option<&Resumption>,
    show: Show,
) -> Result<TrainedRun, TrainError> {
    prepare_process(config, destination)?;
    let refused = |source| SupervisorError::System { what: "a signal descriptor", source };
    // Until the results are written: a Ctrl-C during the evaluation would else lose them.
    let signals = CaughtSignals::catch().map_err(refused)?;
    let mut meta = Meta::collect();
    if let Some(resumption) = resumption {
        meta.go_on_from(resumption.path(), run_clock.earlier_ns);
    }
    let sizes = Sizes::of(config)?;
    check_memory(config, &sizes)?;
    let mut segment = create_segment(&sizes.segment, state)?;
    debug!(bytes = segment.layout().total_bytes, "made the shared segment");
    // Before the folder is made: it may be the one that has them. Of several ranks the first has the run's.
    let earlier = resumption.filter(|_| config.rank.is_first()).map(Resumption::records);
    let (run, _claim) = create_run_dir(config, destination, &meta)?;
    let environments = config.environments.clone().logging_to(run.path().to_owned());
    let config = &Config { environments, ..config.clone() };
    let mut sinks = create_sinks(config, &run, meta, show, state.counters.frames)?;
    let begin =
        |from| begin_as_earlier(config, from, earlier.unwrap_or_default(), &run, &mut sinks);
    let begun = resumption.map_or(Ok(()), begin);
    let outcome = begun.and_then(|()| {
        Ok(Supervisor::start(config, &run, run_clock, &signals, &mut segment, &mut sinks)?.run()?)
    });
    // The error says more than a file that cannot be written could add.
    let mut outcome =
        outcome.inspect_err(|error| drop(sinks.files.finish(Exit::Failed, &error.to_string())))?;
    debug!(reason = outcome.reason, "all workers have ended");
    let evaluation = evaluate(config, &mut outcome, &signals, &sinks.terminal, show);
    let mut end = End::of(config, &outcome, evaluation, run_clock, state.counters.frames);
    end.summary.signal = signals.first().map(|signal| signal.as_str().to_owned());
    let mut lost = write_results(&run, &mut sinks, &end, &mut outcome);
    lost.extend(render(config, &run).err().map(|why| Lost { what: "the report", why }));
    let (report, signal) = (run.report(), signals.first());
    let (summary, reason) = (end.summary, outcome.reason);
    Ok(TrainedRun { run, summary, reason, report, lost, signal })
}

/// Makes sure that this process can do all that the run asks of it, before anything exists.
fn prepare_process(config: &Config, destination: &Destination) -> Result<(), TrainError> {
    cluster::check(config)?;
    if !config.rank.is_alone() {
        end_with_launcher();
        if matches!(destination, Destination::Below(_)) {
            return Err(TrainError::NoRunDir(config.rank));
        }
    }
    check_one_thread()?;
    allow_descriptors(1 + config.actors.count)?;
    survive_large_files();
    Ok(())
}

/// What a run reports to, `frames_before` of whose budget an earlier part has learned from.
fn create_sinks(
    config: &Config,
    run: &RunDir,
    meta: Meta,
    show: Show,
    frames_before: u64,
) -> Result<Sinks, TrainError> {
    let toml = format!("# {}\n\n{}", config.spec()?, config.to_toml());
    let is_shown = config.rank.is_first();
    let tensorboard = is_shown.then(|| TensorBoard::create(run, &meta, &toml)).transpose()?;
    let files = RunFiles::create(run, meta, &toml)?;
    debug!(folder = %run.path().display(), "made the run's folder");
    let terminal = Terminal::new(show, config.rank, config.frames, frames_before);
    Ok(Sinks { files, tensorboard, terminal })
}

/// Begins the records, and the best checkpoint, with those of the run that this one goes on from, and says what
/// is worth knowing of it.
fn begin_as_earlier(
    config: &Config,
    resumption: &Resumption,
    earlier: Records,
    run: &RunDir,
    sinks: &mut Sinks,
) -> Result<(), TrainError> {
    if !config.rank.is_first() {
        return Ok(());
    }
    resumption.notes(config).iter().for_each(|note| sinks.terminal.note(note));
    if let Some(best) = resumption.best().filter(|best| *best != run.best_checkpoint()) {
        inherit_best(run, &best)?;
    }
    let Records { rows, latency_lines, task_rows, evaluations } = earlier;
    sinks.files.append_rows(&rows)?;
    sinks.files.append_task_rows(&task_rows)?;
    sinks.files.append_latency_lines(&latency_lines)?;
    sinks.files.append_evaluations(&evaluations)?;
    let Some(tensorboard) = &mut sinks.tensorboard else { return Ok(()) };
    tensorboard.append_rows(&rows)?;
    Ok(tensorboard.append_evaluations(&evaluations)?)
}

/// Plays with the final weights; where that fails the outcome says why there is no evaluation.
fn evaluate(
    config: &Config,
    outcome: &mut RunOutcome,
    signals: &CaughtSignals,
    terminal: &Terminal,
    show: Show,
) -> Option<Evaluation> {
    if !config.rank.is_first() {
        return None;
    }
    let evaluation = final_eval::evaluate(config, &outcome.checkpoint, signals, show);
    let evaluation = evaluation.unwrap_or_else(|why| {
        terminal.note(&format!("{why}; the run's results are written without it"));
        outcome.reason += &format!("; {why}");
        None
    });
    let episodes = |eval: &Evaluation| eval.summaries.iter().flatten().map(|s| s.episodes).sum();
    let episodes: Option<u64> = evaluation.as_ref().map(episodes);
    debug!(episodes, "evaluated the final weights");
    evaluation
}

/// What is known at the end.
struct End {
    summary: Summary,
    /// An observation as a PNG file.
    picture: Option<Vec<u8>>,
    /// What the evaluation at the end found, where there were others before.
    last_evaluation: Option<EvalRow>,
}

impl End {
    fn of(
        config: &Config,
        outcome: &RunOutcome,
        evaluation: Option<Evaluation>,
        run_clock: RunClock,
        frames_before: u64,
    ) -> End {
        let (evals, picture) = evaluation.map(|eval| (eval.summaries, eval.picture)).unzip();
        let evals = evals.unwrap_or_default();
        let last = evals.first().copied().flatten().filter(|_| config.eval.is_on());
        End {
            summary: summarise(config, outcome, &evals, run_clock, frames_before),
            picture: picture.flatten(),
            last_evaluation: last.map(|eval| row(&outcome.checkpoint, &eval)),
        }
    }
}

/// Writes what is known at the end, and says what could not be. Each file is tried, however the one before it
/// went; but none where the folder is gone, in whose place a new one would look like a run.
fn write_results(
    run: &RunDir,
    sinks: &mut Sinks,
    end: &End,
    outcome: &mut RunOutcome,
) -> Vec<Lost> {
    if let Err(gone) = run.check_there() {
        let what = "the last checkpoint, summary.json, the end of meta.json and the report";
        return vec![Lost { what, why: gone.into() }];
    }
    let mut lost = Vec::new();
    let mut note = |what, written: Result<(), TrainError>| {
        lost.extend(written.err().map(|why| Lost { what, why }));
    };
    note("the last checkpoint", outcome.unsaved.take().map_or(Ok(()), |why| Err(why.into())));
    let evaluated =
        end.last_evaluation.map_or(Ok(()), |row| write_last_evaluation(run, sinks, &row));
    note("the last evaluation", evaluated);
    let files = &mut sinks.files;
    note("summary.json", files.write_summary(&end.summary).map_err(TrainError::from));
    let pictured = end.picture.as_ref().map_or(Ok(()), |png| files.write_observation(png));
    note("observation.png", pictured.map_err(TrainError::from));
    let ended = files.finish(outcome.exit, &outcome.reason);
    note("the end of meta.json", ended.map_err(TrainError::from));
    lost
}

/// Renders the report, where there is a folder for it; of several ranks the first has one.
fn render(config: &Config, run: &RunDir) -> Result<(), TrainError> {
    if !config.rank.is_first() || run.check_there().is_err() {
        return Ok(());
    }
    let page = report::render(run, Pictures::Svg, &mut |_| ())?;
    debug!(page = %page.display(), "rendered the report");
    Ok(())
}

/// The evaluation at the end is one more, and its policy may be the best one.
fn write_last_evaluation(run: &RunDir, sinks: &mut Sinks, row: &EvalRow) -> Result<(), TrainError> {
    keep_last_if_best(run, row.mean)?;
    sinks.files.append_evaluations(std::slice::from_ref(row))?;
    let Some(tensorboard) = &mut sinks.tensorboard else { return Ok(()) };
    Ok(tensorboard.append_evaluations(std::slice::from_ref(row))?)
}

fn create_run_dir(
    config: &Config,
    destination: &Destination,
    meta: &Meta,
) -> Result<(RunDir, Claim), RunDirError> {
    let create = |root: &Path| {
        let learner = config.learner_name();
        let of = if config.name.is_empty() { &config.env } else { &config.name };
        let name = RunName { of, learner, seed: config.seed, started: meta.started };
        RunDir::create(root, name)
    };
    let own = |path: &Path| RunDir::path_for_rank(path, config.rank);
    match destination {
        Destination::Below(root) => {
            let run = create(root)?;
            let claim = Claim::on(run.path())?;
            Ok((run, claim))
        }
        // The claim first: of two that begin at once, one finds an empty folder.
        Destination::At(path) => {
            let claim = Claim::on(&own(path))?;
            Ok((RunDir::create_at(&own(path))?, claim))
        }
        Destination::On(path) => {
            let claim = Claim::on(&own(path))?;
            Ok((RunDir::go_on_at(&own(path))?, claim))
        }
    }
}

fn summarise(
    config: &Config,
    outcome: &RunOutcome,
    evals: &[Option<EvalSummary>],
    run_clock: RunClock,
    frames_before: u64,
) -> Summary {
    let (learner, state) = (&outcome.totals.learner, &outcome.checkpoint.state);
    let train_s = outcome.totals.train_ns().map_or(f64::NAN, in_seconds);
    let (Counters { frames, updates, .. }, solved) = (state.counters, state.counters.solved());
    let tasks = task_summaries(config, learner, evals);
    Summary {
        exit: outcome.exit,
        wall_s: in_seconds(run_clock.since_start_ns(monotonic_ns())),
        startup_s: startup_s(learner, run_clock),
        train_s,
        frames,
        emulator_frames: emulator_frames(config, frames),
        frames_before,
        frames_produced: state.counters.frames_produced_before,
        updates,
        frames_per_s: (frames - frames_before) as f64 / train_s,
        solved: solved.is_some(),
        solved_frames: solved.map(|(frames, _)| frames),
        solved_s: solved.map(|(_, ns)| in_seconds(ns)),
        score_last100: state.score().filter(|_| tasks.is_empty()),
        eval: of_one_task(evals),
        normalized_score: together(&tasks),
        tasks,
        latency_us: latencies(&outcome.totals.latency),
        policy_lag: learner.policy_lag(),
        gradient_lag: learner.gradient_lag(),
        rho: learner.sums.rho(),
        memory: outcome.totals.memory,
        actors: actor_summaries(outcome),
        learner_wait_s: in_seconds(outcome.learner_wait_ns),
        learner_cores: outcome.totals.cores.summary(&Role::Learner.tag()),
        cores_of_others: outcome.totals.cores.of_others(),
        collected_during_updates: learner.sums.collected_during_updates(),
        rollouts_dropped: outcome.rollouts_dropped,
        ranks: learner.ranks.clone(),
        reliability: outcome.reliability,
        ..settings(config)
    }
}

/// Of several tasks each one's stands with it.
fn of_one_task(evals: &[Option<EvalSummary>]) -> Option<EvalSummary> {
    if let [eval] = evals { *eval } else { None }
}

/// What was counted of each of several tasks, in their order, and what the evaluation at the end found.
fn task_summaries(
    config: &Config,
    learner: &LearnerFigures,
    evals: &[Option<EvalSummary>],
) -> Vec<TaskSummary> {
    let ids = config.tasks();
    let ids = if ids.len() > 1 { ids } else { Vec::new() };
    let evals = evals.iter().copied().chain(std::iter::repeat(None));
    let summary = |(id, eval): (&str, Option<EvalSummary>)| {
        let counted = learner.tasks.iter().find(|task| task.task == id).cloned();
        let counted = counted.unwrap_or_default();
        let normalized_score = normalized_score([(id, counted.score_last100)]);
        TaskSummary { task: id.to_owned(), normalized_score, eval, ..counted }
    };
    ids.into_iter().zip(evals).map(summary).collect()
}

/// The score of all tasks, where every one has its own and is known.
fn together(tasks: &[TaskSummary]) -> Option<f64> {
    normalized_score(tasks.iter().map(|task| (&*task.task, task.score_last100)))
}

/// What so many steps are on the emulator, where the environment has one.
fn emulator_frames(config: &Config, frames: u64) -> Option<u64> {
    let a_step = config.registry().frames_per_step(&config.env, &config.env_args).ok()?;
    (a_step > 1).then(|| frames * u64::from(a_step))
}

/// What a summary says of the settings, and nothing else yet.
fn settings(config: &Config) -> Summary {
    let spec = config.spec().ok();
    let has_real_actions = |spec: &Spec| matches!(spec.actions, ActionSpace::Box { .. });
    Summary {
        env: config.env.clone(),
        seed: config.seed,
        learner: config.learner_name().into(),
        kernels: config.kernels_name(),
        learner_threads: config.n_learner_threads(),
        batch_threads: config.n_batch_threads(),
        max_learner_threads: config.max_learner_threads(),
        ring_batches: config.ring_batches(),
        clip: config.loss.epsilon(),
        slots_per_actor: config.actors.slots_per_actor,
        batch_slots: config.loss.batch_slots,
        epochs: config.loss.epochs,
        deterministic: config.deterministic,
        real_actions: spec.as_ref().is_some_and(has_real_actions),
        score_threshold: spec.and_then(|spec| spec.reward_threshold),
        ..Summary::default()
    }
}

/// Of this process: the parts before a resumed one had starts of their own.
fn startup_s(learner: &LearnerFigures, run_clock: RunClock) -> f64 {
    let since_start = |ns: u64| in_seconds(ns.saturating_sub(run_clock.process_start_ns));
    learner.sums.first_frame_ns.map_or(f64::NAN, since_start)
}

/// Of every stage; who was alone exchanged nothing.
fn latencies(latency: &StageHistograms) -> BTreeMap<String, LatencySummary> {
    let is_there = |stage: &Stage| *stage != Stage::Exchange || !latency.get(*stage).is_empty();
    let summary = |stage: Stage| (stage.tag().to_owned(), LatencySummary::of(latency.get(stage)));
    Stage::ALL.into_iter().filter(is_there).map(summary).collect()
}

fn actor_summaries(outcome: &RunOutcome) -> Vec<ActorSummary> {
    let cores = |actor| outcome.totals.cores.summary(&Role::Actor(actor).tag());
    let actors = outcome.actors.iter().enumerate();
    actors.map(|(actor, figures)| actor_summary(figures, cores(actor))).collect()
}

fn actor_summary(figures: &ActorFigures, cores: Option<CoreSummary>) -> ActorSummary {
    ActorSummary {
        frames: figures.frames,
        rollouts: figures.rollouts,
        blocked_s: in_seconds(figures.claim_wait_ns),
        act_s: in_seconds(figures.act_ns),
        env_s: in_seconds(figures.env_ns),
        read_weights_s: in_seconds(figures.read_weights_ns),
        cores,
        waits: figures.n_waits,
        weights_retries: figures.weights_retries,
        restarts: figures.n_restarts,
        bad_rollouts: figures.n_bad_rollouts,
    }
}
