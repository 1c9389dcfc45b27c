//! `impala eval` as a user meets it: scores as text and JSON, an episode as GIF and PNG, refusals.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use impala::env::{EnvArgs, Registry};
use impala::kernels::Simd;
use impala::play::render::{HEIGHT_PX, WIDTH_PX};
use impala::play::{Bounds, Player, Selection};
use impala::run::dir::RunDir;
use impala::state::checkpoint::Checkpoint;
use impala::telemetry::EvalRow;
use serde_json::Value;
use tempfile::TempDir;

#[path = "common/untrained.rs"]
mod untrained;

/// As the command has them unless it is told otherwise.
const BOUNDS: Bounds = Bounds { max_steps: 100_000, max_s: 600.0 };

fn eval(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
    command.current_dir(folder).arg("eval").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder with `policy.safetensors`, a policy as it is before training.
fn with_policy() -> (TempDir, Checkpoint) {
    let folder = TempDir::new().unwrap();
    let checkpoint = untrained::checkpoint("CartPole-v1", 640);
    checkpoint.save(&folder.path().join("policy.safetensors")).unwrap();
    (folder, checkpoint)
}

#[test]
fn json_has_the_scores_that_the_library_finds() {
    let (folder, checkpoint) = with_policy();
    let (environments, args) = (Registry::default(), EnvArgs::default());
    for (flag, selection) in [("-q", Selection::Greedy), ("--sampled", Selection::Sampled)] {
        let flags = ["policy.safetensors", "--json", "--episodes", "300", "--seed", "7", flag];
        let output = eval(folder.path(), &flags);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let player = Player::new(&checkpoint, &environments, &args, Simd::detect(), selection);
        let returns = player.unwrap().play(300, 7, BOUNDS, |_| {}).unwrap().returns;
        assert_eq!(found["returns"], serde_json::json!(returns));
        assert_eq!(found["actions"], selection.to_string());
        assert_eq!((&found["frames"], &found["episodes"]), (&640.into(), &300.into()));
        let mean = returns.iter().sum::<f64>() / 300.0;
        assert!((found["mean"].as_f64().unwrap() - mean).abs() < 1e-9);
        assert!(found["standard_error"].as_f64().unwrap() > 0.0);
    }
}

/// Of CartPole, whose episodes are longer than that as soon as a policy is any good.
#[test]
fn episodes_that_do_not_end_are_cut_or_left_and_told() {
    let (folder, _) = with_policy();
    let args = ["policy.safetensors", "--sampled", "--episodes", "250"];
    let cut = eval(folder.path(), &[&args[..], &["--max-steps", "9"]].concat());
    let said = text(&cut.stdout);
    assert!(cut.status.success() && said.contains("CartPole-v1: 250 sampled"), "{said}");
    assert!(
        said.contains("max 9; ") && said.contains(" of them did not end and were cut"),
        "{said}"
    );
    let late = eval(
        folder.path(),
        &["policy.safetensors", "--episodes", "1000000", "--max-seconds", "0.1", "--json"],
    );
    let found: Value = serde_json::from_slice(&late.stdout).unwrap();
    let n_all = ["episodes", "unfinished"].map(|key| found[key].as_u64().unwrap());
    assert!(n_all[0] > 0 && n_all[1] > 0 && n_all[0] + n_all[1] == 1_000_000, "{n_all:?}");
    assert_eq!(found["returns"].as_array().unwrap().len() as u64, n_all[0]);
    let none = eval(
        folder.path(),
        &["policy.safetensors", "--max-seconds", "0.001", "--episodes", "1000000"],
    );
    // On a fast machine the first ones may have ended even so.
    let said = text(&none.stderr);
    assert!(
        none.status.success() || said.contains("ended within 0.001 s; raise --max-seconds"),
        "{said}"
    );
    let gif = ["--episodes", "1", "--max-steps", "3", "--gif", "short.gif"];
    let output = eval(folder.path(), &[&["policy.safetensors"], &gif[..]].concat());
    assert!(text(&output.stdout).contains("short.gif: 4 frames"), "{}", text(&output.stdout));
}

#[test]
fn text_has_mean_error_extremes_and_a_histogram_of_all_episodes() {
    let (folder, _) = with_policy();
    let output = eval(folder.path(), &["policy.safetensors", "--sampled", "--episodes", "250"]);
    let text = text(&output.stdout);
    for expected in
        ["CartPole-v1: 250 sampled episodes", "640 frames", "± standard error", "min ", "max "]
    {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
    let counts = text.lines().skip(2).map(|line| line.rsplit(' ').next().unwrap());
    assert_eq!(counts.map(|count| count.parse::<u32>().unwrap()).sum::<u32>(), 250, "{text}");
    assert!(text.contains('█'));
}

/// Number of frames of a GIF, each decoded, and how long the whole plays, hundredths of a second.
fn play(path: &Path) -> (usize, u32) {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(std::fs::File::open(path).unwrap()).unwrap();
    assert_eq!((decoder.width(), decoder.height()), (WIDTH_PX as u16, HEIGHT_PX as u16));
    let (mut n_frames, mut delay_cs) = (0, 0);
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        n_frames += 1;
        delay_cs += u32::from(frame.delay);
    }
    (n_frames, delay_cs)
}

#[test]
fn an_episode_becomes_a_gif_and_png_files_with_a_frame_a_moment() {
    let (folder, checkpoint) = with_policy();
    let (environments, args) = (Registry::default(), EnvArgs::default());
    let player =
        Player::new(&checkpoint, &environments, &args, Simd::detect(), Selection::Greedy).unwrap();
    let n_moments = player.moments(5, 1_000).unwrap().len();
    let args = ["policy.safetensors", "--episodes", "1", "--seed", "5"];
    let output = eval(folder.path(), &[&args[..], &["--gif", "a.gif", "--frames", "png"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(&format!("a.gif: {n_moments} frames")));
    // 2/100 s a step, as Gymnasium's 50 a second, and two seconds at the end.
    assert_eq!(play(&folder.path().join("a.gif")), (n_moments, 2 * (n_moments as u32 - 1) + 200));

    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder.path().join("png")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), n_moments);
    assert!(files[0].ends_with("frame-00000.png"));
    for file in [&files[0], &files[n_moments - 1]] {
        let picture = tiny_skia::Pixmap::load_png(file).unwrap();
        assert_eq!((picture.width(), picture.height()), (WIDTH_PX, HEIGHT_PX));
    }

    eval(folder.path(), &[&args[..], &["--gif", "b.gif", "--every", "4"]].concat());
    assert_eq!(play(&folder.path().join("b.gif")).0, (n_moments - 1).div_ceil(4) + 1);
}

/// The colour in the middle of each of 10 × 10 cells of a picture of the scene, RGBA.
fn cells(pixels: &[u8]) -> Vec<[u8; 3]> {
    let side = 21;
    let (left, top) = ((WIDTH_PX as usize - 10 * side) / 2, 9);
    let middle = |cell: usize| (left + cell % 10 * side + 10, top + cell / 10 * side + 10);
    let places = (0..100).map(middle).map(|(x, y)| 4 * (y * WIDTH_PX as usize + x));
    places.map(|at| [pixels[at], pixels[at + 1], pixels[at + 2]]).collect()
}

/// The first frame of a GIF, which is whole.
fn first_frame(path: &Path) -> Vec<u8> {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(std::fs::File::open(path).unwrap()).unwrap();
    decoder.read_next_frame().unwrap().unwrap().buffer.to_vec()
}

/// Of Breakout, where every plane has something in it: each cell has the colour of its last plane.
#[test]
fn planes_of_bits_are_drawn_in_a_colour_each() {
    let folder = TempDir::new().unwrap();
    let checkpoint = untrained::checkpoint("MinAtar/Breakout-v1", 640);
    checkpoint.save(&folder.path().join("policy.safetensors")).unwrap();
    let (environments, args) = (Registry::default(), EnvArgs::default());
    let player = Player::new(&checkpoint, &environments, &args, Simd::detect(), Selection::Greedy);
    let moments = player.unwrap().moments(5, 1_000).unwrap();
    let drawn = ["--gif", "a.gif", "--frames", "png"];
    let flags = ["policy.safetensors", "--episodes", "1", "--seed", "5"];
    let output = eval(folder.path(), &[&flags[..], &drawn[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));

    let mut colours: [Option<[u8; 3]>; 5] = [None; 5];
    for (step, moment) in moments.iter().enumerate() {
        let file = folder.path().join(format!("png/frame-{step:05}.png"));
        let picture = cells(tiny_skia::Pixmap::load_png(file).unwrap().data());
        if step == 0 {
            assert_eq!(cells(&first_frame(&folder.path().join("a.gif"))), picture);
        }
        for (cell, colour) in picture.into_iter().enumerate() {
            let last = (0..4).rev().find(|plane| moment.obs[100 * plane + cell] == 1.0);
            let expected = colours[last.map_or(4, |plane| plane)].get_or_insert(colour);
            assert_eq!(*expected, colour, "step {step}, cell {cell}");
        }
    }
    let unlike: BTreeSet<_> = colours.into_iter().flatten().collect();
    assert_eq!(unlike.len(), 5, "paddle, ball, trail, brick and nothing: {colours:?}");
}

#[test]
fn what_cannot_be_evaluated_or_written_is_refused_with_a_remedy() {
    let (folder, checkpoint) = with_policy();
    std::fs::create_dir(folder.path().join("run")).unwrap();
    let refusal = |args: &[&str]| {
        let output = eval(folder.path(), args);
        assert!(output.stdout.is_empty(), "refused before anything is played: {output:?}");
        (output.status.code(), text(&output.stderr))
    };
    let (status, message) = refusal(&[]);
    assert_eq!(status, Some(2));
    assert!(message.contains("results/latest"), "{message}");
    let (status, message) = refusal(&["run"]);
    assert!(status == Some(2) && message.contains("not a run folder"), "{message}");
    std::fs::write(folder.path().join("run/metrics.csv"), "").unwrap();
    let (status, message) = refusal(&["run"]);
    assert!(status == Some(2) && message.contains("no checkpoint"), "{message}");
    let (status, _) = refusal(&["policy.safetensors", "--every", "0"]);
    assert_eq!(status, Some(2));
    let (status, message) = refusal(&["policy.safetensors", "--gif", "no/such/folder/a.gif"]);
    assert!(status == Some(2) && message.contains("no/such/folder/a.gif"), "{message}");
    for (args, said) in [
        (["--gif", "a.png"], "--gif a.png: it writes a GIF; name a file that ends in .gif"),
        (
            ["--frames", "1000"],
            "--frames 1000: it is a folder for pictures and no number, give ./1000",
        ),
        (["--every", "5"], "--every 5: nothing is drawn; add --gif FILE"),
    ] {
        let (status, message) = refusal(&[&["policy.safetensors"], &args[..]].concat());
        assert!(status == Some(2) && message.contains(said), "{message}");
    }
    for (env, said) in [
        (
            "Acrobot-v1",
            "network was made for observations f32 [4], actions Discrete(2), Acrobot-v1 has \
             observations f32 [6], actions Discrete(3)",
        ),
        ("CartPole-v2", "unknown environment \"CartPole-v2\""),
    ] {
        let mut other = checkpoint.clone();
        other.spec.id = env.into();
        other.save(&folder.path().join("other.safetensors")).unwrap();
        let (status, message) = refusal(&["other.safetensors"]);
        assert!(status == Some(2) && message.contains(said), "{message}");
    }
}

/// Of the highest mean, and of equals the one trained longer.
#[test]
fn evaluations_while_a_run_trains_are_recorded_and_say_which_policy_is_the_best() {
    let folder = TempDir::new().unwrap();
    let train = |run: &str, more: &[&str]| {
        let eval = ["--set", "eval.interval_s=0.05", "--set", "eval.episodes=3"];
        let end = ["--set", "report.eval_episodes=4", "--run-dir", run];
        let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
        command.current_dir(folder.path()).arg("train").args(eval).args(end).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stderr), RunDir::open(&folder.path().join(run)).unwrap())
    };
    let (said, run) = train("run", &["--frames", "2000000"]);
    assert!(said.contains("greedy score") && said.contains("over 3 episodes after"), "{said}");
    let (_, on) = train("on", &["--frames", "2500000", "--resume", "run"]);
    for (run, frames) in [(&run, 2_000_000), (&on, 2_500_000)] {
        let rows: Vec<EvalRow> = csv::Reader::from_path(run.evaluations())
            .unwrap()
            .deserialize()
            .map(Result::unwrap)
            .collect();
        assert!(rows.len() > 3 && rows.is_sorted_by_key(|row| row.frames), "{rows:?}");
        let (last, before) = rows.split_last().unwrap();
        assert!(last.frames >= frames && last.episodes == 4, "{last:?}");
        assert!(before.iter().filter(|row| row.episodes == 3).count() > 2);
        let best = rows.iter().max_by(|a, b| a.mean.total_cmp(&b.mean)).unwrap();
        let kept = Checkpoint::load(&run.best_checkpoint()).unwrap();
        assert_eq!(kept.state.counters.frames, best.frames, "{rows:?}");
    }
}
