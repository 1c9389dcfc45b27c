//! `impala eval`: plays a trained policy, says how well it did, and draws an episode.

use std::path::{Path, PathBuf};

use crate::base::suggest::did_you_mean;
use crate::base::units::{number_of, one_score, score};
use crate::config::Config;
use crate::env::{Registry, task_ids};
use crate::kernels::Simd;
use crate::play::render::{Film, Video};
use crate::play::scores::{Bin, histogram, summarise};
use crate::play::{Bounds, Player, Selection};
use crate::run::dir::RunDir;
use crate::sinks::terminal::{ProgressLine, Show};
use crate::state::checkpoint::Checkpoint;
use crate::telemetry::EvalSummary;
use anyhow::{Context, anyhow, bail};
use clap::value_parser;
use serde::Serialize;

use super::Failure;
use super::config::Trust;

/// Bars of the printed histogram.
const MAX_BINS: usize = 12;

/// The longest bar of the histogram, in characters.
const BAR_CHARS: usize = 40;

/// Play a trained policy's most probable actions and report the score.
///
/// Episode i is reset with --seed plus i, so two evaluations with one seed play the same episodes.
/// --gif and --frames draw the first of them, --video shows it as the environment draws itself, where it does.
/// A policy of several tasks plays all of them, one after the other.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    impala eval                                    the newest run, 100 greedy episodes\n  \
    impala eval results/latest --sampled --episodes 1000   actions drawn as in training\n  \
    impala eval --json | jq .mean                  for programs\n  \
    impala eval --episodes 1 --gif episode.gif     see what it does\n  \
    impala eval --video lander.mp4                 as the environment draws itself")]
pub struct Args {
    /// A run's folder, or a checkpoint file.
    #[arg(value_name = "RUN|CHECKPOINT", default_value = "results/latest")]
    run: PathBuf,
    /// Play only this one of the tasks that were trained together, by its id.
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Episodes to play, each in an environment of its own.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=1_000_000))]
    episodes: u32,
    /// Episode i is reset with this seed plus i.
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(..1 << 62))]
    seed: u64,
    /// Cut an episode that has not ended after this many steps; it counts with its return so far.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    max_steps: u64,
    /// Stop after this time; episodes that have not ended by then do not count.
    #[arg(long, value_name = "S", default_value_t = 600.0, value_parser = seconds)]
    max_seconds: f64,
    /// Draw actions from the policy's probabilities, as in training, instead of the most probable ones.
    #[arg(long)]
    sampled: bool,
    #[command(flatten)]
    trust: Trust,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    /// Write the first episode as an animated GIF, to a file that ends in .gif.
    #[arg(long, value_name = "FILE")]
    gif: Option<PathBuf>,
    /// Write the first episode as a film, .gif or .mp4: as the environment draws itself (render_mode=rgb_array
    /// of Gymnasium's), else as --gif does. An .mp4 needs the program ffmpeg.
    #[arg(long, value_name = "FILE")]
    video: Option<PathBuf>,
    /// Write the first episode as PNG files into this folder. How many frames are played, --episodes and --max-steps say.
    #[arg(long, value_name = "DIR")]
    frames: Option<PathBuf>,
    /// Draw every K-th step only, for smaller files; with --gif, --video or --frames [default: 1].
    #[arg(long, value_name = "K", value_parser = value_parser!(u32).range(1..))]
    every: Option<u32>,
}

/// What an evaluation found, as `--json` prints it; `docs/metrics.md` says what each value means.
#[derive(Serialize)]
struct Evaluation<'a> {
    env: &'a str,
    checkpoint: &'a Path,
    frames: u64,
    updates: u64,
    actions: String,
    seed: u64,
    #[serde(flatten)]
    summary: EvalSummary,
    returns: Vec<f64>,
}

/// Plays, prints the scores' statistics, draws.
pub fn run(args: &Args, environments: &Registry, show: Show) -> Result<(), Failure> {
    let usage = |error| Failure::Usage(error);
    args.check_pictures().map_err(usage)?;
    let video = args.video.as_deref().map(|path| Video::new(path, args.every() as usize));
    let video = video.transpose().map_err(|error| usage(error.into()))?;
    let path = checkpoint_path(&args.run).map_err(usage)?;
    let checkpoint = Checkpoint::load(&path).map_err(|error| usage(error.into()))?;
    let selection = if args.sampled { Selection::Sampled } else { Selection::Greedy };
    let config = settings(&checkpoint, environments);
    args.trust.check(&config).map_err(usage)?;
    let (environments, env_args) = (config.registry(), &config.env_args);
    let tasks = args.tasks(&checkpoint.spec.id).map_err(usage)?;
    let player_with = |env_args| {
        Player::new(&checkpoint, &environments, env_args, Simd::detect(), selection)
            .and_then(|player| player.in_task(tasks[0].0))
    };
    let player = player_with(env_args).map_err(|error| usage(error.into()))?;
    let about = |id, (summary, returns)| Evaluation {
        env: id,
        checkpoint: &path,
        frames: checkpoint.state.counters.frames,
        updates: checkpoint.state.counters.updates,
        actions: selection.to_string(),
        seed: args.seed,
        summary,
        returns,
    };
    let mut evaluations = Vec::new();
    for &(task, id) in &tasks {
        let player = player.clone().in_task(task).map_err(|error| usage(error.into()))?;
        evaluations.push(about(id, play(args, &player, show).map_err(Failure::Run)?));
    }
    print(args, &evaluations)?;
    draw(args, &player, show).map_err(Failure::Run)?;
    let Some(video) = video else { return Ok(()) };
    let drawing = environments.drawing(tasks[0].1, env_args);
    let player = player_with(&drawing).map_err(|error| Failure::Run(error.into()))?;
    film(args, &player, video, show).map_err(Failure::Run)
}

/// Scores of the episodes that one task was played for.
fn play(args: &Args, player: &Player, show: Show) -> anyhow::Result<(EvalSummary, Vec<f64>)> {
    let mut line = ProgressLine::new(show, "evaluating", "episodes", args.episodes.into());
    let bounds = Bounds { max_steps: args.max_steps, max_s: args.max_seconds };
    let finished = |n_finished| line.set(n_finished as u64, "");
    let played = player.play(args.episodes as usize, args.seed, bounds, finished);
    line.finish();
    let played = played?;
    let summary = summarise(&played).ok_or_else(|| args.none_ended())?;
    Ok((summary, played.returns))
}

/// One object where one task was played, else a list of them.
fn print(args: &Args, evaluations: &[Evaluation]) -> Result<(), Failure> {
    match evaluations {
        [evaluation] if args.json => say!("{}", as_json(evaluation)?),
        _ if args.json => say!("{}", as_json(&evaluations)?),
        _ => evaluations.iter().for_each(|evaluation| say!("{}", as_text(evaluation))),
    }
    Ok(())
}

/// What the run was trained with. Settings of another version have nothing that could be read.
fn settings(checkpoint: &Checkpoint, environments: &Registry) -> Config {
    let config: Config = toml::from_str(&checkpoint.settings).unwrap_or_default();
    let (environments, env) = (environments.clone(), checkpoint.spec.id.clone());
    Config { environments, env, ..config }
}

impl Args {
    /// Which of the tasks that were trained together are to be played, with their ids.
    fn tasks<'a>(&self, env: &'a str) -> anyhow::Result<Vec<(usize, &'a str)>> {
        let all = task_ids(env);
        let is_asked = |(_, id): &(usize, &str)| self.task.as_ref().is_none_or(|task| task == id);
        let asked: Vec<_> = all.iter().copied().enumerate().filter(is_asked).collect();
        let draws = self.draws();
        match (&self.task, asked.len()) {
            (Some(task), 0) => bail!(
                "--task {task}: it was not trained{}; there are {}",
                did_you_mean(task, all.iter().copied()),
                all.join(", ")
            ),
            (_, 2..) if draws => bail!(
                "--gif, --video and --frames draw one task: name it with --task, of {}",
                all.join(", ")
            ),
            _ => Ok(asked),
        }
    }

    /// Whether pictures are asked for.
    fn draws(&self) -> bool {
        self.gif.is_some() || self.video.is_some() || self.frames.is_some()
    }

    /// Each so many steps are drawn.
    fn every(&self) -> u32 {
        self.every.unwrap_or(1)
    }

    /// Refuses pictures that could not be what was meant, before a long evaluation and not after it.
    fn check_pictures(&self) -> anyhow::Result<()> {
        for (flag, path) in [("--gif", &self.gif), ("--video", &self.video)] {
            check_place(flag, path.as_deref())?;
        }
        let ends_so =
            |path: &Path| path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gif"));
        if let Some(path) = self.gif.as_deref().filter(|path| !ends_so(path)) {
            let path = path.display();
            bail!(
                "--gif {path}: it writes a GIF; name a file that ends in .gif, or take --video or --frames"
            );
        }
        let is_number =
            |path: &&str| path.chars().all(|letter| letter.is_ascii_digit() || letter == '_');
        if let Some(path) = self.frames.as_deref().and_then(Path::to_str).filter(is_number) {
            bail!(
                "--frames {path}: it is a folder for pictures and no number, give ./{path} if you mean that; \
                 --episodes and --max-steps bound what is played"
            );
        }
        match self.every {
            Some(every) if !self.draws() => bail!(
                "--every {every}: nothing is drawn; add --gif FILE, --video FILE or --frames DIR"
            ),
            _ => Ok(()),
        }
    }

    fn none_ended(&self) -> anyhow::Error {
        anyhow!(
            "none of {} episodes ended within {} s; raise --max-seconds, or lower --max-steps",
            self.episodes,
            self.max_seconds
        )
    }
}

/// A time that can be waited for.
fn seconds(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.001..=1e6).contains(seconds));
    seconds.ok_or("give a number of seconds from 0.001 to 1000000")
}

/// A picture that could not be written is refused before a long evaluation, not after it.
fn check_place(flag: &str, path: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) || path.is_dir() {
        bail!(
            "{flag} {}: no such place for a file; name a file in a folder that exists",
            path.display()
        );
    }
    Ok(())
}

/// The final network of a run's folder, or the file itself.
fn checkpoint_path(given: &Path) -> anyhow::Result<PathBuf> {
    if given.is_file() {
        return Ok(given.to_owned());
    }
    let run = RunDir::open(given)?;
    let path = run.checkpoint();
    if path.is_file() {
        return Ok(path);
    }
    Err(anyhow!(
        "{} has no checkpoint: it still runs, or was ended before it had one; see `impala runs`",
        given.display()
    ))
}

fn draw(args: &Args, player: &Player, show: Show) -> anyhow::Result<()> {
    if args.gif.is_none() && args.frames.is_none() {
        return Ok(());
    }
    let moments = player.moments(args.seed, args.max_steps)?;
    let film = Film::new(player.task_spec(), &moments, args.every() as usize);
    let line = || ProgressLine::new(show, "drawing", "frames", film.n_frames() as u64);
    let say = |path: &Path| {
        if !args.json {
            say!("{}: {}", path.display(), number_of(film.n_frames() as u64, "frame"));
        }
    };
    if let Some(path) = &args.gif {
        let mut line = line();
        film.write_gif(path, |drawn| line.set(drawn as u64, ""))?;
        line.finish();
        say(path);
    }
    if let Some(folder) = &args.frames {
        let mut line = line();
        film.write_frames(folder, |drawn| line.set(drawn as u64, ""))?;
        line.finish();
        say(folder);
    }
    Ok(())
}

/// The first episode as the environment draws itself, else as we draw it.
fn film(args: &Args, player: &Player, mut video: Video, show: Show) -> anyhow::Result<()> {
    let every = args.every();
    let mut moments = Vec::new();
    player.watch(args.seed, args.max_steps, |moment, envs| -> anyhow::Result<()> {
        let is_shown = moment.step.is_multiple_of(every) || moment.choice.is_none();
        match is_shown.then(|| envs.picture()).transpose()?.flatten() {
            Some(picture) => video.add(&picture)?,
            None => moments.push(moment),
        }
        Ok(())
    })?;
    if video.n_pictures() == 0 {
        let film = Film::new(player.task_spec(), &moments, every as usize);
        let mut line = ProgressLine::new(show, "drawing", "frames", film.n_frames() as u64);
        let drawn = |drawn| line.set(drawn as u64, "");
        // A palette of our own colours is smaller, and exact.
        if video.is_gif() {
            film.write_gif(video.path(), drawn)?;
        } else {
            film.add_to(&mut video, drawn)?;
        }
        line.finish();
    }
    let path = video.path().to_owned();
    video.finish()?;
    if !args.json {
        say!("{}", path.display());
    }
    Ok(())
}

fn as_json(evaluations: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(evaluations).context("the scores cannot be written");
    text.map_err(Failure::Run)
}

fn as_text(evaluation: &Evaluation) -> String {
    let Evaluation { env, actions, frames, summary, .. } = evaluation;
    let EvalSummary { episodes, mean, standard_error, min, max, .. } = summary;
    let (episodes, frames) =
        (number_of(*episodes, &format!("{actions} episode")), number_of(*frames, "frame"));
    let mut text = format!(
        "{env}: {episodes} of a policy that learned from {frames}\n\
         score {} ± {} (mean ± standard error), min {}, max {}{}",
        score(*mean),
        score(*standard_error),
        one_score(*min),
        one_score(*max),
        summary.remark(),
    );
    for line in histogram_lines(&histogram(&evaluation.returns, MAX_BINS)) {
        text.push('\n');
        text.push_str(&line);
    }
    text
}

fn histogram_lines(bins: &[Bin]) -> Vec<String> {
    let labels: Vec<String> = bins.iter().map(label).collect();
    let label_chars = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or_default().max(1);
    let line = |(label, bin): (&String, &Bin)| {
        let bar = bar(bin.count as f64 / most as f64);
        format!("  {label:>label_chars$}  {bar} {}", bin.count)
    };
    labels.iter().zip(bins).map(line).collect()
}

fn label(bin: &Bin) -> String {
    // Edges are round numbers; what comes after the twelfth digit is rounding.
    let edge = |value: f64| (value * 1e9).round() / 1e9;
    match bin.from == bin.below {
        true => one_score(bin.from),
        false => format!("{} to <{}", edge(bin.from), edge(bin.below)),
    }
}

/// A bar in eighths of a character, so that one episode among many is still seen.
fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share * (BAR_CHARS * 8) as f64).ceil() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}
