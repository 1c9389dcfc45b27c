//! Faults on purpose at every named point of a worker's loop (`src/base/faults.rs`): the run goes on or ends as
//! promised, nothing is torn, and nothing is left. `make test-faults` builds with the feature that has them; in
//! any other build this shows that it has none.

/// Words that only a build with fault points holds.
const MARKERS: [&str; 3] = ["IMPALA_FAULT", "slot-half-written", "before-goodbye"];

/// Those of them that are in this program.
fn markers_in(program: &str) -> Vec<&'static str> {
    let bytes = std::fs::read(program).unwrap();
    let is_there =
        |marker: &&str| bytes.windows(marker.len()).any(|part| part == marker.as_bytes());
    MARKERS.into_iter().filter(is_there).collect()
}

#[test]
fn fault_points_are_in_builds_with_the_feature_alone() {
    let expected = if cfg!(feature = "faults") { MARKERS.to_vec() } else { Vec::new() };
    assert_eq!(markers_in(env!("CARGO_BIN_EXE_impala")), expected);
}

/// Looks at the program that `make build` and `make train` leave, where `make test-release` says that it is one.
#[test]
fn a_release_build_has_no_fault_points() {
    let Ok(program) = std::env::var("IMPALA_RELEASE") else {
        println!("SKIPPED: no release build was named; `make test-release` builds one and looks");
        return;
    };
    assert_eq!(markers_in(&program), [""; 0], "{program}");
}

#[cfg(feature = "faults")]
mod points {
    use std::collections::{BTreeMap, HashSet};
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};
    use std::time::{Duration, Instant};

    use impala::config::Config;
    use impala::run::dir::RunDir;
    use impala::state::checkpoint::Checkpoint;
    use impala::telemetry::{SlotRecord, Summary};
    use tempfile::TempDir;

    /// Bounds a hang; a loaded machine may take long for what takes seconds.
    const WATCHDOG_S: &str = "240";

    /// A run of a thousand updates whose every slot is logged: longer than the tenth of a second that a learner
    /// reports after.
    const SETTINGS: &str = "log_slots = true\nframes = 800_000\n[report]\neval_episodes = 3\n\
                            [checkpoint]\ninterval_s = 0.1\n[supervision]\nhang_timeout_s = 3.0\n";

    /// A run with a fault in it, after its end.
    struct Run {
        fault: &'static str,
        folder: TempDir,
        output: Output,
    }

    impl Run {
        fn with(fault: &'static str, flags: &[&str]) -> Run {
            let shm_before = shared_memory_files();
            let folder = TempDir::new().unwrap();
            let config = folder.path().join("settings.toml");
            std::fs::write(&config, SETTINGS).unwrap();
            let output = Command::new("timeout")
                .args([
                    "--kill-after=10",
                    WATCHDOG_S,
                    env!("CARGO_BIN_EXE_impala"),
                    "train",
                    "--config",
                ])
                .arg(&config)
                .arg("--run-dir")
                .arg(folder.path().join("run"))
                .args(flags)
                .env("IMPALA_FAULT", fault)
                .env("RUST_BACKTRACE", "0")
                .output()
                .unwrap();
            let run = Run { fault, folder, output };
            wait_until("no process is left", || run.processes() == 0);
            // Of a run beside this one a name is there for microseconds.
            wait_until("no shared memory is left", || shared_memory_files().is_subset(&shm_before));
            run
        }

        fn dir(&self) -> PathBuf {
            self.folder.path().join("run")
        }

        fn said(&self) -> String {
            format!("{}: {}", self.fault, String::from_utf8_lossy(&self.output.stderr))
        }

        fn summary(&self) -> Summary {
            let text = std::fs::read_to_string(self.dir().join("summary.json")).unwrap();
            serde_json::from_str(&text).unwrap()
        }

        /// Processes that were started with this run's folder, zombies included.
        fn processes(&self) -> usize {
            let dir = self.dir().display().to_string();
            let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
            let lines = processes
                .filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok());
            lines.filter(|line| line.contains(&dir)).count()
        }

        /// The end had this status, and stderr these parts.
        fn assert_ended(&self, status: i32, parts: &[&str]) -> &Self {
            let said = self.said();
            assert_eq!(self.output.status.code(), Some(status), "{said}");
            for part in parts {
                assert!(said.contains(part), "no {part:?} in {said}");
            }
            self
        }

        /// Each actor's slots came to the learner once and in order; `is_whole`: all of them are logged.
        fn assert_slots_in_order(&self, is_whole: bool) -> &Self {
            let mut next: BTreeMap<usize, u64> = BTreeMap::new();
            let mut slots = csv::Reader::from_path(self.dir().join("slots.csv")).unwrap();
            for slot in slots.deserialize() {
                let slot: SlotRecord = slot.unwrap();
                let next = next.entry(slot.actor).or_default();
                let is_next =
                    if is_whole { slot.sequence == *next } else { slot.sequence >= *next };
                assert!(is_next, "{slot:?}, expected {next}: {}", self.said());
                *next = slot.sequence + 1;
            }
            assert_eq!(next.len(), 4, "all actors were heard: {}", self.said());
            self
        }

        /// What was learned is what the slots' actors would collect again: no bit of a slot was torn.
        fn assert_replays(&self) -> &Self {
            let replay = Command::new(env!("CARGO_BIN_EXE_impala"))
                .args(["replay", self.dir().to_str().unwrap()])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&replay.stderr);
            assert!(replay.status.success(), "{said}; {}", self.said());
            self
        }

        /// What the build's own checks saw: no slot and no copy of the weights torn, no rollout learned from
        /// twice, and none lost but what was in the hands of a learner that ended.
        fn assert_checks(&self) -> &Self {
            let summary = self.summary();
            let reliability = summary.reliability;
            let checks = reliability.self_checks.unwrap();
            assert!(checks.slots_checked > 0, "{}", self.said());
            let torn = [checks.torn_slots, checks.torn_weights, checks.older_weights];
            assert_eq!((torn, checks.learned_twice), ([0; 3], 0), "{checks:?} {}", self.said());
            // A slot in the hands of each lane of each learner that ended.
            let (n_ended, n_lanes) = (reliability.learner_restarts, summary.learner_threads as u64);
            assert!(checks.taken_again <= n_ended * n_lanes, "{checks:?}");
            // A lane that the end of another one overtakes hands its slot back without having learned from it.
            assert!(checks.not_learned <= n_ended * (n_lanes - 1), "{checks:?} {}", self.said());
            self
        }

        /// The newest checkpoint is sound, and nothing half-written is left.
        fn assert_files_whole(&self) -> &Self {
            let run = RunDir::open(&self.dir()).unwrap();
            let checkpoint = Checkpoint::load(&run.checkpoint()).unwrap();
            assert!(checkpoint.state.is_finite() && checkpoint.state.counters.updates > 0);
            assert!(half_written(&self.dir()).is_empty(), "{}", self.said());
            self
        }
    }

    fn half_written(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
        let files = files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "tmp"));
        folders.iter().flat_map(|folder| half_written(folder)).chain(files).collect()
    }

    fn shared_memory_files() -> HashSet<String> {
        let files = std::fs::read_dir("/dev/shm").unwrap();
        files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < Duration::from_secs(60), "waited too long until {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How a worker's end at a fault is told.
    const KILLED: &str = "was killed by SIGKILL";
    const PANICKED: &str = "panicked (exit status 101): panicked at src/base/faults.rs";
    const HUNG: &str = "gave no sign of life for 3 s (supervision.hang_timeout_s); killed";
    const LEFT: &str = "exited with status 0";

    /// An actor that dies anywhere in its loop costs the slot in its hands and nothing else.
    fn actor_dies(fault: &'static str, how: &str) {
        let run = Run::with(fault, &[]);
        run.assert_ended(0, &[how, "started again"])
            .assert_slots_in_order(true)
            .assert_checks()
            .assert_replays()
            .assert_files_whole();
        let restarts: Vec<u64> = run.summary().actors.iter().map(|actor| actor.restarts).collect();
        assert_eq!(restarts, [1, 0, 0, 0], "{}", run.said());
    }

    #[test]
    fn an_actor_that_dies_at_any_point_tears_nothing() {
        for (fault, how) in [
            ("actor0:slot-half-written:kill@3", KILLED),
            ("actor0:slot-half-written:panic@3", PANICKED),
            ("actor0:slot-half-written:exit@3", LEFT),
            ("actor0:env-step:kill@47", KILLED),
            ("actor0:env-step:panic@1", PANICKED),
            ("actor0:before-publish:kill@3", KILLED),
            ("actor0:before-publish:panic@1", PANICKED),
            ("actor0:before-publish:exit@3", LEFT),
        ] {
            actor_dies(fault, how);
        }
    }

    #[test]
    fn an_actor_that_hangs_at_any_point_is_replaced() {
        for fault in [
            "actor0:slot-half-written:stop@3",
            "actor0:env-step:hang@47",
            "actor0:before-publish:hang@3",
        ] {
            // A batch needs a slot of each actor: without the replacement there is no next update.
            let run = Run::with(fault, &["--batch-slots", "4"]);
            run.assert_ended(0, &[HUNG, "started again"])
                .assert_slots_in_order(true)
                .assert_checks()
                .assert_replays()
                .assert_files_whole();
            assert_eq!(run.summary().actors[0].restarts, 1, "{}", run.said());
        }
    }

    /// What dies with a learner is the batch in its hands, at most; its replacement learns from it again.
    fn learner_dies(fault: &'static str, how: &str) {
        let run = Run::with(fault, &[]);
        run.assert_ended(0, &[how, "started again"])
            .assert_slots_in_order(false)
            .assert_checks()
            .assert_files_whole();
        let summary = run.summary();
        assert_eq!(summary.reliability.learner_restarts, 1, "{}", run.said());
        assert_eq!(summary.reliability.segment_resets, 0, "{}", run.said());
        assert_eq!(summary.frames, summary.updates * 640, "each update learned from a slot");
    }

    #[test]
    fn a_learner_that_dies_at_any_point_is_replaced() {
        for (fault, how) in [
            ("learner:after-take:kill@5", KILLED),
            ("learner:after-take:panic@1", PANICKED),
            ("learner:after-take:exit@5", LEFT),
            ("learner:mid-state:kill@5", KILLED),
            ("learner:mid-state:panic@1", PANICKED),
            ("learner:mid-weights:kill@5", KILLED),
            ("learner:mid-weights:panic@5", PANICKED),
            ("learner:before-goodbye:kill@1", KILLED),
            ("learner:before-goodbye:exit@1", LEFT),
        ] {
            learner_dies(fault, how);
        }
    }

    #[test]
    fn a_learner_that_hangs_at_any_point_is_replaced() {
        for fault in
            ["learner:after-take:stop@5", "learner:mid-state:hang@5", "learner:mid-weights:stop@5"]
        {
            learner_dies(fault, HUNG);
        }
    }

    /// The other lane would wait for ever for the slots in its hands, and beat its heart.
    #[test]
    fn one_lane_that_hangs_is_noticed() {
        let settings =
            ["--batch-slots", "4", "--learner-threads", "2", "--set", "actors.slots_per_actor=2"];
        let run = Run::with("learner:after-take:hang@5", &settings);
        run.assert_ended(0, &[HUNG, "started again"]).assert_files_whole();
        assert_eq!(run.summary().reliability.learner_restarts, 1, "{}", run.said());
    }

    #[test]
    fn a_bad_reward_is_dropped_and_counted() {
        let run = Run::with("actor0:env-step:nan@47", &[]);
        let told = ["returned NaN as its reward at its step 47", "the rollout is dropped"];
        run.assert_ended(0, &told).assert_slots_in_order(true).assert_files_whole();
        let summary = run.summary();
        let bad: Vec<u64> = summary.actors.iter().map(|actor| actor.bad_rollouts).collect();
        assert_eq!(bad, [1, 0, 0, 0]);
        assert_eq!(summary.reliability.skipped_updates, 0, "nothing bad came to the learner");
    }

    #[test]
    fn one_loss_that_is_not_finite_is_skipped() {
        let run = Run::with("learner:loss:nan@7", &[]);
        let told = "the learner skipped an update that was not finite: update 7 ";
        run.assert_ended(0, &[told]).assert_slots_in_order(true).assert_replays();
        let reliability = run.summary().reliability;
        let counts = [reliability.skipped_updates, reliability.rollbacks];
        assert_eq!((counts, reliability.learner_restarts), ([1, 0], 0), "{}", run.said());
    }

    #[test]
    fn ten_losses_in_a_row_that_are_not_finite_take_training_back() {
        let run = Run::with("learner:loss:nan@20..29", &[]);
        let told = [
            "10 updates in a row without a finite one: update 20 had the losses policy NaN",
            "weights and optimiser go back to what they were after update ",
        ];
        run.assert_ended(0, &told).assert_files_whole();
        let reliability = run.summary().reliability;
        let counts = [reliability.skipped_updates, reliability.rollbacks];
        assert_eq!((counts, reliability.learner_restarts), ([10, 1], 0), "{}", run.said());
    }

    #[test]
    fn ten_more_end_the_run_with_a_diagnosis_and_sound_weights() {
        let run = Run::with("learner:loss:nan@5+", &[]);
        let told = [
            "training diverged again after it had gone back",
            "losses policy NaN",
            "learning rate",
            "lower optimizer.learning_rate.start",
        ];
        run.assert_ended(1, &told);
        let reliability = run.summary().reliability;
        // The rollouts from before the second learner count for nothing: one of each actor, which has one slot.
        let n_actors = Config::default().actors.count as u64;
        let skipped = 20..=20 + n_actors;
        assert!(skipped.contains(&reliability.skipped_updates), "{}", reliability.skipped_updates);
        assert_eq!(reliability.rollbacks, 1);
        let run_dir = RunDir::open(&run.dir()).unwrap();
        assert!(Checkpoint::load(&run_dir.checkpoint()).unwrap().state.is_finite());
    }

    /// Killed between the file and its name: the checkpoint before is there, and the run can be resumed.
    #[test]
    fn a_kill_in_the_middle_of_a_checkpoint_leaves_the_one_before() {
        let run = Run::with("supervisor:mid-checkpoint:kill@3", &["--frames", "1000000000"]);
        assert!(!run.output.status.success(), "{}", run.said());
        let run_dir = RunDir::open(&run.dir()).unwrap();
        let kept = run_dir.numbered_checkpoints();
        assert_eq!(kept.len(), 2, "{kept:?}");
        kept.iter().for_each(|path| drop(Checkpoint::load(path).unwrap()));
        let newest = Checkpoint::load(&run_dir.checkpoint()).unwrap();
        assert_eq!(newest, Checkpoint::load(&kept[0]).unwrap());
    }
}
