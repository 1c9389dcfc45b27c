//! The command as a user meets it: help, refusals, a run's files, evaluation, the report again.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use impala::base::stages::Stage;
use impala::config::{Clip, Config, Layers, Schedule};
use impala::play::render::{HEIGHT_PX, WIDTH_PX};
use impala::run::dir::RunDir;
use impala::state::checkpoint::Checkpoint;
use impala::telemetry::{Exit, MetricsRow, Summary};
use tempfile::TempDir;

fn impala(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_impala")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs `impala train` with flags that must be refused, and returns the one line it says.
fn refusal(folder: &Path, args: &[&str]) -> String {
    let run_dir = folder.join("run");
    let run_dir = run_dir.to_str().unwrap();
    let output = impala(&[&["train", "--run-dir", run_dir], args].concat());
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{args:?}: one line, not {stderr}");
    assert!(!Path::new(run_dir).exists(), "{args:?}: nothing may have been started");
    stderr
}

/// The same for a configuration file with this text.
fn refused_file(folder: &Path, toml: &str) -> String {
    let file = folder.join("bad.toml");
    std::fs::write(&file, toml).unwrap();
    refusal(folder, &["--config", file.to_str().unwrap()])
}

/// Four processes that a launcher started would else be four runs.
#[cfg(not(feature = "mpi"))]
#[test]
fn one_of_several_ranks_is_refused_by_a_build_without_mpi() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    for launcher in [
        [("OMPI_COMM_WORLD_RANK", "1"), ("OMPI_COMM_WORLD_SIZE", "4")],
        [("PMI_RANK", "1"), ("PMI_SIZE", "4")],
        [("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "4")],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
        command.args(["train", "--run-dir"]).arg(&run).envs(launcher);
        let output = command.output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("rank 1 of 4") && stderr.contains("make build-mpi"), "{stderr}");
        assert!(!run.exists(), "nothing may have been started");
    }
    let refused = refusal(folder.path(), &["--set", "distributed.exchange=mpi"]);
    assert!(refused.contains("distributed.exchange = mpi"), "{refused}");
}

/// Who wants four runs says so.
#[test]
fn ranks_that_exchange_nothing_are_runs_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
    command.args(["train", "--frames", "20000", "--set", "distributed.exchange=none", "--run-dir"]);
    command.arg(&run).envs([("PMI_RANK", "1"), ("PMI_SIZE", "4")]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(run.join("report.html").exists());
}

#[test]
fn help_teaches_every_command() {
    for (command, words) in [
        ("train", ["Acrobot-v1", "--frames", "--stop-when-solved", "Examples:"]),
        ("eval", ["checkpoint", "--episodes", "--seed", "most probable actions"]),
        ("config", ["--env", "--set", "default", "Examples:"]),
        ("report", ["results/latest", "Render", "run", "report"]),
    ] {
        let output = impala(&[command, "--help"]);
        assert!(output.status.success());
        let help = text(&output.stdout).to_lowercase();
        for word in words {
            assert!(help.contains(&word.to_lowercase()), "{command}: no {word} in {help}");
        }
    }
}

#[test]
fn a_number_of_frames_that_is_none_is_refused_with_one_that_is() {
    for (flag, value, remedy) in [
        ("--frames", "2.5", "such as 2000000, 2_000_000 or 2e6"),
        ("--frames", "-5", "too small, at least 1"),
        ("--seed", "-1", "too small, at least 0"),
        ("--seed", "99999999999999999999", "too large, at most 9223372036854775807"),
        ("--actors", "1e3", "too large, at most 256"),
    ] {
        let output = impala(&["train", flag, value]);
        assert_eq!(output.status.code(), Some(2));
        let said = text(&output.stderr);
        let parts = [flag, &format!("'{value}'"), remedy];
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn whole_numbers_may_be_written_with_powers_of_ten_and_underscores() {
    for (frames, seed) in [("frames=2e6", "seed=1e1"), ("frames=2_000_000", "seed=10")] {
        let printed = text(&impala(&["config", "--set", frames, "--set", seed]).stdout);
        assert!(printed.contains("\nframes = 2000000\n"), "{frames}: {printed}");
        assert!(printed.contains("\nseed = 10\n"), "{seed}: {printed}");
    }
}

#[test]
fn what_is_wrong_with_an_assignment_is_told_in_the_words_that_were_given() {
    let folder = tempfile::tempdir().unwrap();
    for (args, expected) in [
        (["--env-arg", "x"], "--env-arg x: an assignment is NAME=VALUE, such as size=9"),
        (["--env-arg", "mode="], "for an empty text give --env-arg 'mode=\"\"'"),
        (["--set", "env="], "for an empty text give --set 'env=\"\"'"),
        (
            ["--set", "frames=99999999999999999999"],
            ": too large, at most 9223372036854775807; frames is 1 to",
        ),
        (["--set", "frames=-5"], "frames is 1 to"),
        (
            ["--set", "network.hidden=256"],
            "expected a list, such as [256]; network.hidden is a list of 1 to 16",
        ),
        (["--set", "network.hidden=[\"a\"]"], "--set network.hidden=[\"a\"]: "),
        (["--set", "tags=a"], "such as [\"a\"]"),
        (["--env-arg", "hide_velocities=\"yes\""], "env_args = { hide_velocities = \"yes\" }: "),
        (["--tag", ""], "tags = \"\": must be 1 to 64 letters"),
    ] {
        let message = refusal(folder.path(), &args);
        assert!(message.contains(expected) && !message.contains('\\'), "{args:?}: {message}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused_by_name_value_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    for (toml, expected) in [
        ("env = \"CartPole-v9\"", ["env = CartPole-v9", "CartPole-v1"]),
        ("frames = 0", ["frames = 0", "1 to"]),
        ("kernels = \"mmx\"", ["kernels = mmx", "portable"]),
        ("[actors]\ncount = 0", ["actors.count = 0", "1 to 256"]),
        ("[actors]\ncount = 257", ["actors.count = 257", "1 to 256"]),
        ("[actors]\nenvs_per_actor = 0", ["actors.envs_per_actor = 0", "1 to"]),
        ("[actors]\nunroll_length = 0", ["actors.unroll_length = 0", "1 to"]),
        ("[actors]\nslots_per_actor = 0", ["actors.slots_per_actor = 0", "1 to"]),
        ("[network]\nhidden = []", ["network.hidden", "1 to"]),
        ("[network]\nhidden = [64, 0]", ["network.hidden = [64, 0]", "each 1 to 16384"]),
        ("[network]\nlstm = 16385", ["network.lstm = 16385", "0 to 16384"]),
        (
            "[network]\nlstm_inputs = \"last_step\"",
            ["network.lstm_inputs = last_step", "set network.lstm, such as 64"],
        ),
        ("[loss]\nbatch_slots = 0", ["loss.batch_slots = 0", "1 to"]),
        ("[loss]\nbatch_slots = 5", ["loss.batch_slots = 5", "actors.slots_per_actor"]),
        ("[loss]\ndiscount = 1.5", ["loss.discount = 1.5", "0.0 to 1.0"]),
        ("[loss]\ndiscount = nan", ["loss.discount = nan", "0.0 to 1.0"]),
        ("[loss]\nrho_bar = inf", ["loss.rho_bar = inf", "to"]),
        ("[loss]\nlambda = -0.1", ["loss.lambda = -0.1", "0.0 to 1.0"]),
        (
            "[optimizer.learning_rate]\nstart = -1.0",
            ["optimizer.learning_rate.start = -1", "0.0 to 1000"],
        ),
        (
            "[optimizer.learning_rate]\nend_fraction = 11.0",
            ["optimizer.learning_rate.end_fraction = 11", "0.0 to 10"],
        ),
        (
            "[loss.entropy_cost]\nover_frames = -1",
            ["bad.toml:2: `over_frames = -1`", "expected a whole number, 0 or more"],
        ),
        ("[loss.entropy_cost]\nstart = inf", ["loss.entropy_cost.start = inf", "0.0 to 1000"]),
        ("[optimizer]\nmax_grad_norm = 0.0", ["optimizer.max_grad_norm = 0", "to"]),
        ("[optimizer]\nepsilon = 0.0", ["optimizer.epsilon = 0", "to"]),
        ("learner_threads = 5", ["learner_threads = 5", "at most 4"]),
        ("learner_threads = 2\n[loss]\nbatch_slots = 3", ["learner_threads = 2", "at most 1"]),
        ("learner_threads = 65\n[actors]\ncount = 99", ["learner_threads = 65", "0 to 64"]),
        ("batch_threads = 2", ["batch_threads = 2", "must be 1 for mlp"]),
        (
            "env = \"MinAtar/Breakout-v1\"\nlearner_threads = 2\nbatch_threads = 3",
            ["batch_threads = 3", "must be 1 with learner_threads = 2"],
        ),
        ("[report]\nrows = 0", ["report.rows = 0", "1 to"]),
        ("[report]\neval_max_steps = 0", ["report.eval_max_steps = 0", "1 to"]),
        ("[report]\neval_max_s = 0.0", ["report.eval_max_s = 0", "0.1 to"]),
        // A rollout, and a batch, that one update would overdraw the budget with.
        ("frames = 639", ["frames = 639", "must be 640 or more, the frames of one batch"]),
        (
            "frames = 300_000\n[loss]\nbatch_slots = 4096\n[actors]\nslots_per_actor = 1024",
            ["frames = 300000", "must be 2621440 or more, the frames of one batch"],
        ),
    ] {
        let message = refused_file(folder.path(), toml);
        assert!(expected.iter().all(|part| message.contains(part)), "{toml}: {message}");
    }
}

#[test]
fn files_that_are_no_configuration_are_refused_by_line_and_text() {
    let folder = tempfile::tempdir().unwrap();
    for (toml, expected) in [
        ("seed = 1\nlearning_speed = 3", ["bad.toml:2:", "no such setting: learning_speed"]),
        ("seed = 1\nlearning_rate = 3", ["bad.toml:2:", "mean \"optimizer.learning_rate.start\"?"]),
        (
            "[actors]\n\ncuont = 3",
            ["bad.toml:3:", "no such setting: cuont, did you mean \"count\"?"],
        ),
        ("[actor]\ncount = 3", ["bad.toml:1:", "no such setting: actor, did you mean \"actors\"?"]),
        ("[optimizer]\nbetas = [0.9, 0.9, 0.9]", ["bad.toml: ", "optimizer.betas"]),
        ("seed = \"one\"", ["bad.toml:1: `seed = \"one\"`", "expected"]),
        ("seed = -4", ["bad.toml:1: `seed = -4`", "expected"]),
        ("frames = 1.5", ["bad.toml:1: `frames = 1.5`", "expected"]),
        ("learner = \"jax\"", ["bad.toml:1:", "`native`"]),
        ("frames = 99999999999999999999", ["bad.toml:1:", "frames"]),
        ("seed = ", ["bad.toml:1:", "seed"]),
        ("[actors\ncount = 1", ["bad.toml:1:", "[actors"]),
        ("actors = 3", ["bad.toml:1: `actors = 3`", "expected a table of settings"]),
    ] {
        let message = refused_file(folder.path(), toml);
        assert!(expected.iter().all(|part| message.contains(part)), "{toml}: {message}");
    }
    let missing = refusal(folder.path(), &["--config", "nowhere.toml"]);
    assert!(missing.contains("nowhere.toml: cannot read"), "{missing}");
}

#[test]
fn assignments_that_name_no_setting_or_no_value_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for (assignment, expected) in [
        ("loss.discount", ["--set loss.discount: ", "NAME=VALUE"]),
        ("=3", ["--set =3: ", "NAME=VALUE"]),
        ("seed=", ["--set seed=: ", "NAME=VALUE"]),
        ("loss.discuont=0.9", ["no such setting", "did you mean \"loss.discount\"?"]),
        ("learning_rate.start=1", ["no such setting", "\"optimizer.learning_rate.start\"?"]),
        ("lr=1", ["no such setting", "did you mean \"optimizer.learning_rate.start\"?"]),
        ("optimizer.learning_rate=0.1", ["it is a table of", "optimizer.learning_rate.start"]),
        ("quux=1", ["--set quux: no such setting;", "`impala config`"]),
        ("seed=one", ["--set seed=one: invalid type: string", "seed is 0 to"]),
        ("seed=-4", ["--set seed=-4: ", "seed is 0 to"]),
        ("seed=1\nframes=2", ["--set seed=", "seed is 0 to"]),
        ("frames=1.5", ["--set frames=1.5: ", "frames is 1 to"]),
        ("env=a\nb", ["env = a\\nb: unknown environment", "known: "]),
        ("network.hidden=64", ["--set network.hidden=64: ", "1 to 16 numbers, each 1 to 16384"]),
        ("optimizer.kind=sgd", ["unknown variant `sgd`", "optimizer.kind is rms_prop, adam"]),
        ("stop_when_solved=1", ["--set stop_when_solved=1: ", "stop_when_solved is true or false"]),
        ("loss.discount=1.5", ["loss.discount = 1.5", "0.0 to 1.0"]),
        ("env=CartPole-v9", ["env = CartPole-v9", "did you mean \"CartPole-v1\"?"]),
    ] {
        let message = refusal(folder.path(), &["--set", assignment]);
        assert!(expected.iter().all(|part| message.contains(part)), "{assignment}: {message}");
        let printed = impala(&["config", "--set", assignment]);
        assert_eq!(printed.status.code(), Some(2), "{assignment}");
    }
}

#[test]
fn a_flag_that_a_setting_is_meant_by_leads_to_the_setting() {
    for (flag, setting) in [
        ("--lr", "optimizer.learning_rate.start"),
        ("--learning-rate", "optimizer.learning_rate.start"),
        ("--discount", "loss.discount"),
    ] {
        let output = impala(&["train", flag, "0.1"]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(&format!("--set {setting}=VALUE")), "{flag}: {message}");
        assert!(!message.contains("similar argument"), "{flag}: {message}");
    }
    let message = text(&impala(&["train", "--learner-thread", "2"]).stderr);
    assert!(message.contains("--learner-threads"), "a flag there is: {message}");
}

#[test]
fn the_printed_settings_are_accepted_and_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("printed.toml");
    for flags in [
        &[][..],
        &["--set", "env=MountainCar-v0"],
        &["--set", "env=Acrobot-v1", "--set", "loss.lambda=0.5"],
        &[
            "--set",
            "loss.discount=0.1",
            "--set",
            "network.hidden=[3, 5]",
            "--set",
            "kernels=portable",
        ],
        &["--set", "optimizer.learning_rate.shape=constant", "--set", "seed=9223372036854775807"],
    ] {
        let output = impala(&[&["config"], flags].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        std::fs::write(&file, &printed).unwrap();
        let read = Config::from_file(&file).unwrap();
        let assignments: Vec<_> =
            flags.iter().filter(|flag| **flag != "--set").map(|flag| (*flag).to_owned()).collect();
        let layers = Layers { assignments: &assignments, ..Layers::default() };
        assert_eq!(read, layers.resolve().unwrap());
        assert!(printed.ends_with(&read.to_toml()));
    }
}

#[test]
fn a_later_layer_has_the_last_word() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("layer.toml");
    std::fs::write(&file, "frames = 7\nseed = 7\n[loss.entropy_cost]\nstart = 0.5\n").unwrap();
    let run_dir = folder.path().join("run");
    let places = [&file, &run_dir].map(|path| path.to_str().unwrap());
    let sets = ["--set", "seed=8", "--set", "report.eval_episodes=0", "--set", "seed=9"];
    let flags = ["train", "--config", places[0], "--run-dir", places[1], "--frames", "1000"];
    let output = impala(&[&flags[..], &sets].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let config = Config::from_file(&run_dir.join("config.toml")).unwrap();
    assert_eq!((config.seed, config.frames, config.report.eval_episodes), (9, 1000, 0));
    assert_eq!(config.loss.entropy_cost, Schedule::constant(0.5));
    assert_eq!(config.optimizer, Config::default().optimizer);
}

#[test]
fn a_preset_lies_between_the_defaults_and_what_the_user_says() {
    let output = impala(&["config", "--env", "MountainCar-v0", "--set", "loss.lambda=0.5"]);
    let printed = text(&output.stdout);
    assert!(printed.contains("\n# Preset of MountainCar-v0. Goal: "), "{printed}");
    let config: Config = toml::from_str(&printed).unwrap();
    let layers = Layers { env: Some("MountainCar-v0"), ..Layers::default() };
    let mut preset = layers.resolve().unwrap();
    assert_ne!(preset.actors, Config::default().actors);
    assert_ne!(preset.loss.lambda, 0.5);
    preset.loss.lambda = 0.5;
    assert_eq!(config, preset);
}

#[test]
fn a_preset_is_chosen_by_name_and_what_is_open_is_told() {
    let printed = |args: &[&str]| text(&impala(&[&["config"], args].concat()).stdout);
    let few = printed(&["--env", "Pendulum-v1", "--preset", "few-frames"]);
    assert!(few.contains("\n# Preset few-frames of Pendulum-v1. Goal: "), "{few}");
    assert!(few.contains("\n# Presets: default (") && few.contains("few-frames ("), "{few}");
    assert!(few.contains("loss.clip 0.2."), "{few}");
    let config: Config = toml::from_str(&few).unwrap();
    assert_eq!((config.loss.epochs, config.loss.clip), (4, Clip::Auto));
    assert!(printed(&[]).contains("loss.clip none."));
    assert_eq!(printed(&["--preset", "default"]), printed(&[]));
    for (args, told) in [
        (&["train", "--preset", "fewframes"][..], "did you mean \"few-frames\"?"),
        (&["train", "--preset", "few-frames", "--resume", "x"], "cannot be used with"),
        (&["train", "--set", "loss.clip=off"], "expected auto, none or a number"),
        (
            &["train", "--set", "loss.clip=-0.2"],
            "loss.clip = -0.2: must be auto, none, or a number",
        ),
        (&["train", "--set", "loss.epochs=0"], "loss.epochs = 0: must be 1 to 1000"),
        (&["train", "--set", "loss.n_epochs=3"], "no such setting"),
        (&["train", "--clip-range", "0.1"], "--set loss.clip=VALUE"),
    ] {
        let output = impala(args);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(told), "no {told:?} in {message}");
    }
}

#[test]
fn sizes_that_overflow_or_exceed_memory_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = folder.path().join("run");
    let sizes = ["--actors", "256", "--envs-per-actor", "65536", "--unroll", "65536"];
    let flags = ["train", "--frames", "1000000000000", "--run-dir", run_dir.to_str().unwrap()];
    let output = impala(&[&flags[..], &sizes[..]].concat());
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("bytes") && message.contains("fewer actors"), "{message}");
}

#[test]
fn folders_that_cannot_take_a_run_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for run_dir in [file.join("run"), file.clone(), folder.path().to_owned()] {
        let output = impala(&["train", "--run-dir", run_dir.to_str().unwrap()]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(run_dir.to_str().unwrap()), "{message}");
    }
}

#[cfg(not(feature = "torch"))]
#[test]
fn a_build_without_libtorch_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let message = refusal(folder.path(), &["--learner", "torch"]);
    assert!(message.contains("learner = torch") && message.contains("--features torch"));
}

fn rows(run_dir: &Path) -> Vec<MetricsRow> {
    let mut reader = csv::Reader::from_path(run_dir.join("metrics.csv")).unwrap();
    reader.deserialize().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_run_with_one_learner_thread_learns_and_leaves_all_its_files() {
    a_run_learns_and_leaves_all_its_files(1);
}

#[test]
fn a_run_with_two_learner_threads_learns_and_leaves_all_its_files() {
    a_run_learns_and_leaves_all_its_files(2);
}

fn a_run_learns_and_leaves_all_its_files(threads: usize) {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = folder.path().join("run");
    let path = run_dir.to_str().unwrap();
    let flags = ["--seed", "3", "--frames", "400000", "--learner-threads", &threads.to_string()];
    let output = impala(&[&["train", "--run-dir", path], &flags[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("report.html"));

    let summary = std::fs::read_to_string(run_dir.join("summary.json")).unwrap();
    let summary: Summary = serde_json::from_str(&summary).unwrap();
    assert_eq!(
        (summary.exit, summary.seed, summary.learner.as_str()),
        (Exit::Finished, 3, "native")
    );
    assert!(summary.solved, "{summary:?}");
    assert!(summary.solved_frames.unwrap() <= 400_000);
    assert_eq!(summary.eval.unwrap().episodes, 100);
    assert!(summary.eval.unwrap().mean > 400.0);
    assert_eq!(summary.frames, summary.updates * 640);
    assert_eq!(summary.frames, 400_000, "no lane learns beyond the budget");
    assert!(summary.frames_produced >= summary.frames);
    assert_eq!(
        summary.frames_produced,
        summary.actors.iter().map(|actor| actor.frames).sum::<u64>()
    );
    assert!(summary.collected_during_updates > 0.0 && summary.collected_during_updates <= 1.0);
    let (rho, policy_lag) = (summary.rho.unwrap(), summary.policy_lag.unwrap());
    assert!(rho.min > 0.0 && rho.min <= 1.0 && rho.max >= 1.0, "{rho:?}");
    assert_eq!(summary.learner_threads, threads);
    let gradient_lag = summary.gradient_lag.unwrap();
    assert!(threads > 1 || gradient_lag.max == 0, "nobody else changes the weights");
    assert!(gradient_lag.mean <= policy_lag.mean);
    stages_add_up(&summary);

    let rows = rows(&run_dir);
    assert!((150..=210).contains(&rows.len()), "{} rows", rows.len());
    assert!(rows.windows(2).all(|pair| pair[0].frames < pair[1].frames));
    assert_eq!(rows.last().unwrap().frames, summary.frames);
    let entropy = rows.last().unwrap().entropy.unwrap();
    assert!(entropy > 0.0 && entropy <= 2.0_f64.ln(), "{entropy}");

    let config = Config::from_file(&run_dir.join("config.toml")).unwrap();
    assert_eq!((config.seed, config.frames), (3, 400_000));
    let checkpoint = Checkpoint::load(&run_dir.join("checkpoint.safetensors")).unwrap();
    let counters = checkpoint.state.counters;
    assert_eq!((counters.frames, counters.updates), (summary.frames, summary.updates));

    assert!(!run_dir.join("observation.png").exists(), "numbers are no picture");
    evaluates(&run_dir);
    renders_again(&run_dir);
}

#[test]
fn a_run_on_pictures_leaves_one_that_its_report_shows() {
    let folder = tempfile::tempdir().unwrap();
    let run_dir = folder.path().join("run");
    let path = run_dir.to_str().unwrap();
    let flags = ["--env", "MinAtar/Freeway-v1", "--frames", "2000"];
    let bounds = ["--set", "report.eval_episodes=2", "--set", "report.eval_max_steps=50"];
    let output = impala(&[&["train", "--run-dir", path], &flags[..], &bounds[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let png = std::fs::read(run_dir.join("observation.png")).unwrap();
    let picture = tiny_skia::Pixmap::decode_png(&png).unwrap();
    assert_eq!((picture.width(), picture.height()), (WIDTH_PX, HEIGHT_PX));
    let page = std::fs::read_to_string(run_dir.join("report.html")).unwrap();
    let embedded = base64::engine::general_purpose::STANDARD.encode(&png);
    assert!(page.contains("7\u{a0}planes of 10 × 10 bits") && page.contains(&embedded));
}

/// The stages of each learner thread are laps without a gap: together they are its time.
fn stages_add_up(summary: &Summary) {
    let alone = Stage::LEARNER.into_iter().filter(|stage| *stage != Stage::Exchange);
    let stages: Vec<Stage> = alone.collect();
    let latencies: Vec<_> = stages.iter().map(|stage| summary.latency_us[stage.tag()]).collect();
    let total_us: f64 = latencies.iter().map(|latency| latency.mean * latency.count as f64).sum();
    let share = total_us / 1e6 / (summary.train_s * summary.learner_threads as f64);
    // Histograms keep two digits, whose errors cancel. On a busy machine a thread starts some milliseconds late.
    let least = 0.99 - 0.02 / summary.train_s;
    assert!((least..1.005).contains(&share), "stages are {share} of {} s", summary.train_s);
    // What a thread does after its last update is measured once more.
    let counts = summary.updates..=summary.updates + summary.learner_threads as u64;
    for (stage, latency) in stages.iter().zip(latencies) {
        assert!(counts.contains(&latency.count), "{stage:?}: {}", latency.count);
        assert!(latency.mean > 0.0, "{stage:?} is timed");
    }
}

fn evaluates(run_dir: &Path) {
    let checkpoint = run_dir.join("checkpoint.safetensors");
    let output = impala(&["eval", checkpoint.to_str().unwrap(), "--episodes", "300"]);
    assert!(text(&output.stdout).contains("CartPole-v1: 300 greedy episodes"), "{output:?}");
    let output = impala(&["eval", run_dir.join("config.toml").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("not a safetensors file"));
}

fn renders_again(run_dir: &Path) {
    let report = run_dir.join("report.html");
    std::fs::remove_file(&report).unwrap();
    let output = impala(&["report", run_dir.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(std::fs::read_to_string(&report).unwrap().contains("CartPole-v1"));
    assert_eq!(impala(&["report", "no/such/run"]).status.code(), Some(2));
}

#[test]
fn a_resolved_configuration_reproduces_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let flags = ["--frames", "5000", "--actors", "2", "--unroll", "7", "--seed", "9"];
    impala(&[&["train", "--run-dir", first.to_str().unwrap()], &flags[..]].concat());
    let config = first.join("config.toml");
    let output = impala(&[
        "train",
        "--run-dir",
        second.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = |run: &Path| std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert_eq!(read(&first), read(&second));
}

#[test]
fn a_run_of_each_seed_and_their_comparison() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().to_str().unwrap();
    let train =
        ["train", "--seeds", "3..5", "--name", "wide", "--tag", "trio", "--frames", "20000"];
    let small = ["--set", "report.eval_episodes=2", "--run-dir", root];
    let output = impala(&[&train[..], &small].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("seed 3,") && said.contains("seed 5,"), "{said}");
    assert!(said.contains("comparison of 3 runs: "), "{said}");
    let mut seeds: Vec<u64> = fs::read_dir(folder.path())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .filter_map(|entry| RunDir::open(&entry.path()).ok())
        .map(|run| {
            assert!(run.path().file_name().unwrap().to_str().unwrap().starts_with("wide-native-s"));
            let summary = fs::read_to_string(run.summary()).unwrap();
            serde_json::from_str::<Summary>(&summary).unwrap().seed
        })
        .collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [3, 4, 5]);
    let page = fs::read_to_string(folder.path().join("comparison/report.md")).unwrap();
    assert!(page.replace('\u{a0}', " ").contains("3 runs in 1 group"), "{page}");
    let refused = impala(&["train", "--seeds", "1..3", "--seed", "2"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn what_would_be_passed_over_or_lost_on_the_way_to_an_environment_is_refused() {
    let folder = TempDir::new().unwrap();
    let plain = folder.path().join("no_program");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let plain = format!("exec:{}", plain.display());
    for (args, expected) in [
        (
            &["--env", "CartPole-v1", "--env-wrapper", "a:B"][..],
            ["env_wrappers = a:B: must be left out for CartPole-v1", "gym:CartPole-v1"],
        ),
        (
            &["--env", "MinAtar/Breakout-v1", "--env-wrapper", "a:B"],
            ["env_wrappers = a:B", "left out"],
        ),
        (
            &["--env", "gym:X-v0", "--env-arg", "act=inf"],
            ["env_args = { act = inf }", "act = inf: must be finite"],
        ),
        (
            &["--env", "gym:X-v0", "--env-arg", "act=nan"],
            ["env_args = { act = nan }", "must be finite"],
        ),
        (&["--env", &plain], ["no_program may not be run", "chmod +x"]),
        (
            &["--env", "gym:X-v0", "--python", "/bin/true"],
            ["exited with status 0", "/bin/true must be a Python"],
        ),
    ] {
        let refused = refusal(folder.path(), args);
        assert!(expected.iter().all(|part| refused.contains(part)), "{args:?}: {refused}");
    }
    let check = impala(&["env", "check", "CartPole-v1", "--env-wrapper", "a:B"]);
    assert_eq!(check.status.code(), Some(2));
    assert!(text(&check.stderr).contains("env_wrappers = a:B"), "{}", text(&check.stderr));
}

#[test]
fn a_check_proposes_to_train_what_was_checked() {
    let output = impala(&[
        "env",
        "check",
        "TMaze-v0",
        "--env-arg",
        "length=5",
        "--set",
        "network.hidden=[8]",
    ]);
    let told = text(&output.stdout);
    let command = "impala train --env TMaze-v0 --set 'network.hidden=[8]' --env-arg length=5\n";
    assert!(output.status.success() && told.ends_with(command), "{told}{}", text(&output.stderr));
}
