//! `impala train`: settings and flags, one run, what came of it.

use std::path::{Path, PathBuf};

use crate::base::clock::monotonic_ns;
use crate::base::units::{number_of, percent, score};
use crate::config::{Config, ExchangeKind, Layers, LearnerKind, NotWhole, whole_setting};
use crate::env::Registry;
use crate::os::launcher::Rank;
use crate::os::process::end_by;
use crate::report::read::RunData;
use crate::report::{self, Pictures, Step, learning};
use crate::revisit::resume::{ResumeError, Resumption};
use crate::run::dir::RunDir;
use crate::sinks::terminal::{Show, TaskLines, rate};
use crate::telemetry::{Exit, Summary, TaskSummary};
use crate::train::{Destination, Lost, TrainError, TrainedRun, resume, train};
use anyhow::{Context, anyhow};
use clap::ValueEnum;

use super::Failure;
use super::config::{Sources, Trust};
use super::shell;

/// Train an agent and leave a report.
///
/// Settings come from the defaults, then a preset of the environment, then the file given with
/// --config, then --set, then the other flags. `impala config` prints every setting with its meaning.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    impala train                                   CartPole-v1, about two seconds\n  \
    impala train --seed 7 --stop-when-solved       end as soon as it is solved\n  \
    impala train --preset few-frames               learn from as few frames as it can\n  \
    impala train --frames 20000000 --actors 2      longer, with two actors\n  \
    impala train --env MinAtar/Breakout-v0,MinAtar/Asterix-v0   two tasks, one network\n  \
    impala train --set optimizer.learning_rate.start=0.001   any one setting\n  \
    impala train --config results/latest/config.toml   the settings of an earlier run\n  \
    impala train --seeds 1..5 --name wide --set network.hidden=[256,256]   five runs, and their comparison\n  \
    impala train --resume results/latest --frames 4000000   go on where that run stopped")]
pub struct Args {
    #[command(flatten)]
    sources: Sources,
    /// Go on with a run: its folder, or one of its checkpoints. Settings are those of the run, unless
    /// others are given; the run's own files stay as they are. With the same folder as --run-dir the run goes on
    /// there, and begins there where it has no checkpoint yet.
    #[arg(long, value_name = "RUN|CHECKPOINT", conflicts_with = "preset")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
    /// Seed of everything random [default: 1].
    #[arg(long, allow_negative_numbers = true, value_parser = whole::<u64>("seed"))]
    seed: Option<u64>,
    /// Train once with each of these seeds, one after the other, and compare the runs: 1..5 (the last included),
    /// or 1,2,7. With --run-dir the runs' folders and the comparison go below that folder.
    #[arg(long, value_name = "SEEDS", value_parser = parse_seeds, conflicts_with_all = ["seed", "resume"])]
    seeds: Option<Seeds>,
    /// A name of the run, with which that of its folder begins [default: the environment's].
    #[arg(long)]
    name: Option<String>,
    /// A word by which the run is found again (`impala runs --tag WORD`); may be given several times.
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// Frames (environment steps) to learn from [default: 2000000], such as 2000000, 2_000_000 or 2e6.
    #[arg(long, allow_negative_numbers = true, value_parser = whole::<u64>("frames"))]
    frames: Option<u64>,
    /// Actor processes [default: 4].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<usize>("actors.count"))]
    actors: Option<usize>,
    /// Environments that each actor steps side by side [default: 32].
    #[arg(long, value_name = "E", allow_negative_numbers = true, value_parser = whole::<usize>("actors.envs_per_actor"))]
    envs_per_actor: Option<usize>,
    /// Steps of each environment in a rollout [default: 20].
    #[arg(long, value_name = "T", allow_negative_numbers = true, value_parser = whole::<usize>("actors.unroll_length"))]
    unroll: Option<usize>,
    /// Rollout slots in a batch [default: 1].
    #[arg(long, value_name = "S", allow_negative_numbers = true, value_parser = whole::<usize>("loss.batch_slots"))]
    batch_slots: Option<usize>,
    /// Which learner computes the gradients [default: auto].
    #[arg(long)]
    learner: Option<Learner>,
    /// Threads that compute gradients, each of a batch of its own [default: 0, which is 2 where they can
    /// be had and used].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<usize>("learner_threads"))]
    learner_threads: Option<usize>,
    /// Two runs of one seed learn the same weights to the last bit; actors and learner take turns.
    #[arg(long)]
    deterministic: bool,
    /// Log which slots each update learned from, for `impala replay`.
    #[arg(long)]
    log_slots: bool,
    /// End as soon as the mean of the last 100 episodes reaches the environment's threshold.
    #[arg(long)]
    stop_when_solved: bool,
    /// Folder for the run's files, new or empty [default: a new one below results/]. With --resume of the same
    /// folder, what the earlier part wrote is put aside in parts/.
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
}

/// The learners by their names on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum Learner {
    /// Native where it supports the network, else torch.
    Auto,
    /// Hand-derived gradients on built-in kernels.
    Native,
    /// The autograd of libtorch (a build with the feature `torch`).
    Torch,
}

/// Trains and says what came of it.
pub fn run(
    args: &Args,
    environments: &Registry,
    process_start_ns: u64,
    show: Show,
) -> Result<(), Failure> {
    let resumption = args.resumption().map_err(|error| Failure::Usage(error.into()))?;
    let config = args.config(environments, resumption.as_ref()).map_err(Failure::Usage)?;
    if let Some(Seeds(seeds)) = &args.seeds {
        if !config.rank.is_alone() {
            let remedy = "several ranks learn one run; start one job for each --seed";
            return Err(Failure::Usage(anyhow!("--seeds: {remedy}")));
        }
        let root = args.run_dir.as_deref().unwrap_or(Path::new("results"));
        if RunDir::open(root).is_ok() {
            let remedy =
                "several runs need a folder that is none itself; name another with --run-dir";
            return Err(Failure::Usage(anyhow!("{} holds a run: {remedy}", root.display())));
        }
        return train_each(&config, seeds, root, process_start_ns, show);
    }
    let destination = match &args.run_dir {
        Some(path) if args.resume.as_ref() == Some(path) => Destination::On(path.clone()),
        Some(path) => Destination::At(path.clone()),
        None => Destination::Below("results".into()),
    };
    if let (Destination::On(path), None) = (&destination, &resumption) {
        say!("{} has no checkpoint to go on from yet: the run begins at frame 0", path.display());
    }
    let trained = match &resumption {
        Some(resumption) => resume(&config, resumption, &destination, process_start_ns, show),
        None => train(&config, &destination, process_start_ns, show),
    };
    let trained = trained.map_err(failure)?;
    if config.rank.is_first() {
        print_result(&config, &trained);
    }
    check(&trained)?;
    trained.signal.map_or(Ok(()), |signal| end_by(signal))
}

/// One run with each seed, and the report that compares them. A run that fails is told of and the next one
/// begins; a signal ends all.
fn train_each(
    config: &Config,
    seeds: &[u64],
    root: &Path,
    process_start_ns: u64,
    show: Show,
) -> Result<(), Failure> {
    let destination = Destination::Below(root.to_owned());
    let mut starts_ns =
        std::iter::once(process_start_ns).chain(std::iter::repeat_with(monotonic_ns));
    let (mut runs, mut failed, mut signal) = (Vec::new(), Vec::new(), None);
    for (&seed, start_ns) in seeds.iter().zip(&mut starts_ns) {
        let config = Config { seed, ..config.clone() };
        let trained = train(&config, &destination, start_ns, show).map_err(failure)?;
        print_result(&config, &trained);
        if let Err(Failure::Usage(error) | Failure::Run(error)) = check(&trained) {
            failed.push(format!("seed {seed}: {error}"));
        }
        signal = trained.signal;
        runs.push(trained.run);
        if signal.is_some() {
            break;
        }
    }
    let page = compare(&runs, &root.join("comparison"), show)?;
    say!("comparison of {}: {}", number_of(runs.len() as u64, "run"), page.display());
    match (signal, &failed[..]) {
        (Some(signal), _) => end_by(signal),
        (None, []) => Ok(()),
        (None, failed) => Err(Failure::Run(anyhow!("{}", failed.join("; ")))),
    }
}

fn compare(runs: &[RunDir], folder: &Path, show: Show) -> Result<PathBuf, Failure> {
    let create = std::fs::create_dir_all(folder);
    let create = create.with_context(|| format!("cannot create {}", folder.display()));
    create.map_err(Failure::Run)?;
    let mut lines = TaskLines::new(show);
    let mut watch = |Step { task, unit, done, total }: Step| lines.set(task, unit, done, total);
    let page = report::compare(runs, folder, Pictures::Svg, &mut watch);
    lines.finish();
    page.map_err(|error| Failure::Run(error.into()))
}

fn failure(error: TrainError) -> Failure {
    let is_usage = error.is_usage();
    let error = anyhow!(error);
    if is_usage { Failure::Usage(error) } else { Failure::Run(error) }
}

/// Whether a run is done and all of it on disk.
fn check(trained: &TrainedRun) -> Result<(), Failure> {
    if !trained.lost.is_empty() {
        let lost: Vec<String> = trained.lost.iter().map(Lost::to_string).collect();
        let lost = lost.join("; ");
        return Err(Failure::Run(anyhow!(
            "the run is done, but not all of it is on disk: lost {lost}"
        )));
    }
    match trained.summary.exit {
        Exit::Failed => Err(Failure::Run(anyhow!("{}", trained.reason))),
        _ => Ok(()),
    }
}

/// Seeds of several runs, each once.
#[derive(Clone, Debug, PartialEq)]
struct Seeds(Vec<u64>);

/// The most runs of one command.
const MAX_SEEDS: u64 = 1_000;

/// `FIRST..LAST`, the last included, or seeds between commas.
fn parse_seeds(text: &str) -> Result<Seeds, String> {
    let refused = || "give seeds as 1..5 or 1,2,7, each once".to_owned();
    let seed = |text: &str| text.trim().parse::<u64>().map_err(|_| refused());
    let seeds: Vec<u64> = match text.split_once("..") {
        Some((first, last)) => {
            let (first, last) = (seed(first)?, seed(last.trim_start_matches('='))?);
            if first > last || last - first >= MAX_SEEDS {
                return Err(format!("give 1 to {MAX_SEEDS} seeds, the lowest first"));
            }
            (first..=last).collect()
        }
        None => text.split(',').map(seed).collect::<Result<_, _>>()?,
    };
    let mut sorted = seeds.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) { Err(refused()) } else { Ok(Seeds(seeds)) }
}

impl Args {
    /// What to go on from. A run that is to go on in its own folder begins there, where it has not come to a checkpoint
    /// yet: one command then starts it and starts it again.
    fn resumption(&self) -> Result<Option<Resumption>, ResumeError> {
        let Some(path) = &self.resume else { return Ok(None) };
        let is_own = self.run_dir.as_ref() == Some(path);
        let has_begun = || RunDir::open(path).is_ok_and(|run| run.has_checkpoint());
        if is_own && !has_begun() { Ok(None) } else { Resumption::open(path).map(Some) }
    }

    fn config(
        &self,
        environments: &Registry,
        resumption: Option<&Resumption>,
    ) -> anyhow::Result<Config> {
        let earlier = match resumption.map(Resumption::settings).transpose() {
            // Settings of another version: those of the file stand for them.
            Err(_) if self.sources.has_file() => None,
            earlier => earlier?,
        };
        if let Some(earlier) = &earlier {
            self.trust.check(earlier)?;
        }
        let layers = Layers { earlier: earlier.as_ref(), ..self.sources.layers(environments) };
        let mut config = layers.resolve()?;
        set(&mut config.seed, &self.seed);
        set(&mut config.name, &self.name);
        if !self.tags.is_empty() {
            config.tags.clone_from(&self.tags);
        }
        set(&mut config.frames, &self.frames);
        set(&mut config.actors.count, &self.actors);
        set(&mut config.actors.envs_per_actor, &self.envs_per_actor);
        set(&mut config.actors.unroll_length, &self.unroll);
        set(&mut config.loss.batch_slots, &self.batch_slots);
        set(&mut config.learner_threads, &self.learner_threads);
        set(&mut config.learner, &self.learner.map(LearnerKind::from));
        config.stop_when_solved |= self.stop_when_solved;
        config.deterministic |= self.deterministic;
        config.log_slots |= self.log_slots;
        if config.distributed.exchange != ExchangeKind::None {
            config.rank = Rank::launched();
        }
        Ok(config)
    }
}

impl From<Learner> for LearnerKind {
    fn from(learner: Learner) -> Self {
        match learner {
            Learner::Auto => LearnerKind::Auto,
            Learner::Native => LearnerKind::Native,
            Learner::Torch => LearnerKind::Torch,
        }
    }
}

/// Reads the flag of a setting of whole numbers, within its limits.
fn whole<N: TryFrom<u64>>(
    setting: &'static str,
) -> impl Fn(&str) -> Result<N, NotWhole> + Clone + Send + Sync + 'static {
    move |text| whole_setting(setting, text)
}

fn set<T: Clone>(setting: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        setting.clone_from(value);
    }
}

fn print_result(config: &Config, trained: &TrainedRun) {
    let summary = &trained.summary;
    say!("{}", outcome_line(summary, &trained.reason));
    say!("{}", speed_line(summary));
    if let Some(eval) = &summary.eval {
        say!(
            "greedy score over {}: mean {}, min {}, max {}{}",
            number_of(eval.episodes, "episode"),
            score(eval.mean),
            score(eval.min),
            score(eval.max),
            eval.remark()
        );
    }
    for task in &summary.tasks {
        say!("{}", task_line(task));
    }
    if let Some(mean) = summary.normalized_score {
        say!("normalised by runs on each alone: mean {}", percent(mean));
    }
    print_learning(trained);
    if trained.report.exists() {
        say!("report: {}", trained.report.display());
    }
    let is_cut_short = matches!(summary.exit, Exit::Interrupted | Exit::Failed);
    if is_cut_short && trained.run.checkpoint().exists() {
        say!("go on with: {}", way_on(config, trained.run.path()));
    }
}

/// The command that goes on with a run.
fn way_on(config: &Config, run: &Path) -> String {
    let run = run.to_string_lossy();
    // What names code is not run for the mere asking, whoever goes on.
    let trust = config.named_code().map(|_| "--trust");
    shell::line(["impala", "train", "--resume", &run].into_iter().chain(trust))
}

fn task_line(task: &TaskSummary) -> String {
    let TaskSummary { task, frames, score_last100, eval, .. } = task;
    let last = score(score_last100.unwrap_or(f64::NAN));
    let frames = number_of(*frames, "frame");
    let greedy = eval.map_or(String::new(), |eval| {
        let episodes = number_of(eval.episodes, "episode");
        format!(", greedy score over {episodes}: mean {}{}", score(eval.mean), eval.remark())
    });
    format!("{task}: last 100 episodes: mean {last}, {frames}{greedy}")
}

fn speed_line(summary: &Summary) -> String {
    let frames = number_of(summary.frames_of_this_part(), "frame");
    let emulated = summary.emulator_frames.map_or_else(String::new, |frames| {
        format!(" ({} of the emulator in all)", number_of(frames, "frame"))
    });
    let frames = frames + &emulated;
    let updates = number_of(summary.updates, "update");
    let Some(lag) = summary.policy_lag else {
        return format!("{frames} learned, {updates} in all");
    };
    let speed = rate(summary.frames_per_s, "frames");
    let lag = lag.mean;
    let train_s = summary.train_s;
    format!(
        "{frames} learned in {train_s:.2} s: {speed}, {updates} in all, mean policy lag {lag:.1}"
    )
}

/// Says so where a run came to its end and to nothing.
fn print_learning(trained: &TrainedRun) {
    // Scores of several tasks have no common scale that could be judged.
    if !trained.summary.tasks.is_empty() {
        return;
    }
    let learning = learning::judge(&RunData::read(&trained.run).rows, &trained.summary);
    if trained.summary.exit == Exit::Finished && learning.is_failure() {
        say!("{learning}");
    }
}

fn outcome_line(summary: &Summary, reason: &str) -> String {
    let Summary { env, seed, learner, .. } = summary;
    let solved = match (summary.solved_frames, summary.solved_s) {
        (Some(frames), Some(seconds)) => {
            format!("solved after {}, {seconds:.2} s; ", number_of(frames, "frame"))
        }
        _ if summary.score_threshold.is_some() => "not solved; ".into(),
        // Nobody has said from which score on it is.
        _ => String::new(),
    };
    format!("{env}, seed {seed}, {learner} learner: {solved}ended because {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_somebodys_code_goes_on_where_it_is_trusted() {
        let command = |env: &str| {
            let config = Config { env: env.into(), ..Config::default() };
            way_on(&config, Path::new("my runs/1"))
        };
        assert_eq!(command("gym:CartPole-v1"), "impala train --resume 'my runs/1'");
        assert_eq!(command("my_module:make"), "impala train --resume 'my runs/1' --trust");
    }

    #[test]
    fn seeds_are_a_range_or_a_list() {
        let seeds = |text| parse_seeds(text).map(|seeds| seeds.0);
        assert_eq!(seeds("1..5").unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(seeds("3..3").unwrap(), [3]);
        assert_eq!(seeds("7, 1,12").unwrap(), [7, 1, 12]);
        for wrong in ["", "5..1", "1..", "a", "1,1", "1..2000", "-1..2", "1.5"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
    }
}
