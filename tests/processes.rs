//! Workers and supervisor as processes: deaths, signals, and what is left behind. Each test starts
//! the real binary.

#[path = "common/training.rs"]
mod training;

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::time::{Duration, Instant};

use impala::base::span::Span;
use impala::config::Config;
use impala::revisit::live::LiveRun;
use impala::run::dir::RunDir;
use impala::run::sizes::Sizes;
use impala::shm::board::Phase;
use impala::shm::layout::{LINE_BYTES, Layout, SegmentShape};
use impala::shm::view::WorkerSigns;
use impala::telemetry::{Exit, MetricsRow, SlotRecord, Summary};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use training::{Training, wait_until};

/// Exit codes, as a shell sees them, of a run that a signal asked to end.
const BY_SIGHUP: Option<i32> = Some(128 + 1);
const BY_SIGINT: Option<i32> = Some(128 + 2);
const BY_SIGTERM: Option<i32> = Some(128 + 15);

impl Training {
    /// Starts a run and waits for its five workers.
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more flags.
    fn start_with(flags: &[&str]) -> Self {
        Self::start_set("", flags)
    }

    /// The same with more settings.
    fn start_set(settings: &str, flags: &[&str]) -> Self {
        Self::start_from("", settings, flags)
    }

    /// The worker of this name that is none of `others`.
    fn worker_besides(&self, name: &str, others: &[Pid]) -> Option<Pid> {
        let is_it = |pid: &Pid| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.trim() == name) && !others.contains(pid)
        };
        self.workers().into_iter().find(is_it)
    }

    /// Waits for the worker of this name that is none of `before`.
    fn replacement(&self, name: &str, before: &[Pid]) -> Pid {
        let mut found = None;
        wait_until("a replacement", || {
            found = self.worker_besides(name, before);
            found.is_some()
        });
        found.unwrap()
    }

    /// Frames in the last row of metrics.
    fn n_frames(&self) -> u64 {
        let metrics = std::fs::read_to_string(self.run_dir.join("metrics.csv")).unwrap_or_default();
        let complete = metrics.rsplit_once('\n').map_or("", |(complete, _)| complete);
        let last = complete.lines().last().unwrap_or_default();
        last.split(',').nth(1).and_then(|frames| frames.parse().ok()).unwrap_or(0)
    }

    /// What the run says of itself while it runs.
    fn look_in(&self) -> LiveRun {
        LiveRun::attach(&RunDir::open(&self.run_dir).unwrap()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for the supervisor's end; returns its exit code and what it said.
    fn end(mut self) -> (Option<i32>, String, Option<Summary>) {
        self.await_end()
    }

    /// The same, and the rows of its metrics.
    fn end_with_rows(mut self) -> (Option<i32>, String, Option<Summary>, Vec<MetricsRow>) {
        let (code, said, summary) = self.await_end();
        let mut metrics = csv::Reader::from_path(self.run_dir.join("metrics.csv")).unwrap();
        (code, said, summary, metrics.deserialize().map(Result::unwrap).collect())
    }

    fn await_end(&mut self) -> (Option<i32>, String, Option<Summary>) {
        wait_until("the supervisor's end", || self.supervisor.try_wait().unwrap().is_some());
        let status = self.supervisor.wait().unwrap();
        let mut said = String::new();
        let stderr = self.supervisor.stderr.as_mut().unwrap();
        std::io::Read::read_to_string(stderr, &mut said).unwrap();
        let summary = std::fs::read_to_string(self.run_dir.join("summary.json")).ok();
        // As a shell says it: a death by a signal is its number and 128.
        let code = status.code().or_else(|| Some(128 + status.signal()?));
        (code, said, summary.map(|text| serde_json::from_str(&text).unwrap()))
    }
}

fn is_alive(pid: Pid) -> bool {
    // A zombie that nobody has reaped yet is dead for our purposes.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

fn shared_memory_files() -> HashSet<String> {
    let files = std::fs::read_dir("/dev/shm").unwrap();
    files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_killed_actor_is_replaced_and_training_goes_on() {
    let training = Training::start();
    let before = training.workers();
    kill(before[2], Signal::SIGKILL).unwrap();
    wait_until("a replacement", || {
        let now = training.workers();
        now.len() == 5 && !now.contains(&before[2])
    });
    let n_rows = training.n_rows();
    wait_until("a hundred thousand frames more", || training.n_rows() >= n_rows + 10);
    training.signal(Signal::SIGTERM);
    let (code, said, summary) = training.end();
    let summary = summary.unwrap();
    assert_eq!(code, BY_SIGTERM, "{said}");
    assert!(said.contains("was killed by SIGKILL; started again"), "{said}");
    assert_eq!(summary.actors.iter().map(|actor| actor.restarts).collect::<Vec<_>>(), [0, 1, 0, 0]);
    assert!(summary.actors[1].rollouts > 0);
}

/// Kills the last actor and each of its replacements until it is given up.
fn kill_until_given_up(training: &Training) {
    let mut killed = HashSet::new();
    wait_until("giving up", || {
        let workers = training.workers();
        // The youngest is always the replacement of the one killed last.
        if workers.len() == 5 && killed.insert(workers[4]) {
            kill(workers[4], Signal::SIGKILL).unwrap();
        }
        workers.len() < 5 && killed.len() > 5
    });
}

#[test]
fn a_run_whose_actors_cannot_fill_a_batch_any_more_ends_with_its_reason() {
    let training = Training::start_with(&["--batch-slots", "4"]);
    kill_until_given_up(&training);
    let (code, said, summary) = training.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot fill a batch of 4 slots"), "{said}");
    assert_eq!(summary.unwrap().exit, Exit::Failed);
}

#[test]
fn an_actor_that_dies_again_and_again_is_given_up() {
    let training = Training::start();
    kill_until_given_up(&training);
    training.signal(Signal::SIGTERM);
    let (code, said, summary) = training.end();
    assert_eq!(code, BY_SIGTERM, "{said}");
    let told =
        ["; given up after more than 5 deaths in 30 s", "training goes on with 3 of 4 actors"];
    assert!(told.iter().all(|part| said.contains(part)), "{said}");
    assert_eq!(summary.unwrap().actors[3].restarts, 5);
}

/// It learns from all rings in turn: with one for ever empty it would wait for ever.
#[test]
fn a_deterministic_run_ends_with_an_actor_that_is_given_up() {
    let training = Training::start_with(&["--deterministic"]);
    kill_until_given_up(&training);
    let (code, said, summary) = training.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a deterministic run learns from all rings in turn"), "{said}");
    assert_eq!(summary.unwrap().exit, Exit::Failed);
}

const LEARNER: &str = "impala-learner";

/// Frames and updates of the last row before and of the first one after each death: what was learned is
/// there again, but for what had not been reported.
#[test]
fn a_killed_learner_is_replaced_and_goes_on_from_its_last_update() {
    let training = Training::start();
    let mut killed = Vec::new();
    for _ in 0..2 {
        let n_rows = training.n_rows();
        wait_until("some training", || training.n_rows() >= n_rows + 2);
        let frames_before = training.n_frames();
        killed.push(training.replacement(LEARNER, &killed));
        kill(killed[killed.len() - 1], Signal::SIGKILL).unwrap();
        training.replacement(LEARNER, &killed);
        wait_until("training after the death", || training.n_frames() > frames_before);
    }
    training.signal(Signal::SIGTERM);
    let (code, said, summary, rows) = training.end_with_rows();
    let summary = summary.unwrap();
    assert_eq!(code, BY_SIGTERM, "{said}");
    assert!(said.contains("the learner (pid"), "{said}");
    let lost = "nothing is lost but updates under way";
    assert_eq!(said.matches(lost).count(), 2, "what is lost is said: {said}");
    assert_eq!((summary.reliability.learner_restarts, summary.exit), (2, Exit::Interrupted));
    assert_eq!(summary.actors.iter().map(|actor| actor.restarts).sum::<u64>(), 0);
    assert!(rows.is_sorted_by_key(|row| row.frames), "frames never go back");
    assert!(summary.frames >= rows[rows.len() - 1].frames);
    assert_figures_are_of_all_learners(&summary, &rows);
}

/// Rows are of every learner, so what they say together must be what the summary says of the whole run.
fn assert_figures_are_of_all_learners(summary: &Summary, rows: &[MetricsRow]) {
    assert!(summary.startup_s < rows[0].time_s, "the first learner's first rollout");
    let lows = rows.iter().filter_map(|row| row.rho_min);
    let highs = rows.iter().filter_map(|row| row.rho_max);
    let extremes = (lows.fold(f64::INFINITY, f64::min), highs.fold(0.0, f64::max));
    let rho = summary.rho.unwrap();
    assert_eq!((rho.min, rho.max), extremes);
    let of_rows = rows.iter().filter_map(|row| row.rho_mean).sum::<f64>() / rows.len() as f64;
    assert!((rho.mean - of_rows).abs() < 0.01, "{rho:?} {of_rows}");
    let oldest = rows.iter().map(|row| row.policy_lag_max).max().unwrap();
    assert!(summary.policy_lag.unwrap().max >= oldest, "{:?} {oldest}", summary.policy_lag);
}

#[test]
fn a_learner_that_dies_again_and_again_ends_the_run_with_every_exit_report() {
    let training = Training::start_set("[supervision]\nmax_restarts = 1\n", &[]);
    let first = training.replacement(LEARNER, &[]);
    kill(first, Signal::SIGKILL).unwrap();
    kill(training.replacement(LEARNER, &[first]), Signal::SIGKILL).unwrap();
    let (code, said, summary) = training.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the learner died too often (the learner (pid"), "{said}");
    assert!(said.contains("was killed by SIGKILL"), "{said}");
    assert_eq!(summary.unwrap().exit, Exit::Failed);
}

/// Actors wait on full rings while the learner is stopped, and nobody is replaced before its time.
#[test]
fn a_stopped_worker_is_replaced_after_the_time_out_and_not_before() {
    // Long enough that on a loaded machine nobody else is silent for it.
    let training = Training::start_set("[supervision]\nhang_timeout_s = 8.0\n", &[]);
    let actor = training.replacement("impala-actor1", &[]);
    wait_until("some training", || training.n_rows() > 1);
    kill(actor, Signal::SIGSTOP).unwrap();
    training.replacement("impala-actor1", &[actor]);
    let learner = training.replacement(LEARNER, &[]);
    kill(learner, Signal::SIGSTOP).unwrap();
    training.replacement(LEARNER, &[learner]);
    let n_frames = training.n_frames();
    wait_until("training after both", || training.n_frames() > n_frames);
    training.signal(Signal::SIGTERM);
    let (code, said, summary) = training.end();
    let reliability = summary.unwrap().reliability;
    assert_eq!(code, BY_SIGTERM, "{said}");
    assert!(
        said.contains("gave no sign of life for 8 s (supervision.hang_timeout_s); killed"),
        "{said}"
    );
    assert_eq!((reliability.hangs, reliability.learner_restarts), (2, 1), "{said}");
}

/// Longer than any worker may be silent: what it did not see it must not judge.
#[test]
fn a_stopped_supervisor_replaces_nobody() {
    let training = Training::start_set("[supervision]\nhang_timeout_s = 5.0\n", &[]);
    wait_until("some training", || training.n_rows() > 1);
    let workers: HashSet<Pid> = training.workers().into_iter().collect();
    training.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(6));
    training.signal(Signal::SIGCONT);
    let n_frames = training.n_frames();
    wait_until("training after it", || training.n_frames() > n_frames);
    assert_eq!(training.workers().into_iter().collect::<HashSet<_>>(), workers);
    training.signal(Signal::SIGTERM);
    let (code, said, summary) = training.end();
    assert_eq!((code, summary.unwrap().reliability.hangs), (BY_SIGTERM, 0), "{said}");
}

/// Writes over the indices of the first ring, through the memory of a worker, then kills its actor: the
/// next one to attach must notice.
#[test]
fn a_damaged_segment_is_made_new_and_everything_starts_again() {
    let training = Training::start_with(&["--log-slots"]);
    wait_until("some training", || training.n_rows() > 1);
    let workers = training.workers();
    let actor = training.replacement("impala-actor0", &[]);
    if let Err(error) = damage_first_ring(actor) {
        return skip(&error);
    }
    kill(actor, Signal::SIGKILL).unwrap();
    await_new_workers(&training, &workers);
    let mut slots = csv::Reader::from_path(training.run_dir.join("slots.csv")).unwrap();
    let mut seen = HashSet::new();
    for slot in slots.deserialize::<SlotRecord>().map_while(Result::ok) {
        let is_new = seen.insert((slot.actor, slot.generation, slot.sequence));
        assert!(is_new, "an actor plays the episodes again of the one before: {slot:?}");
    }
    assert_reset(training, "ring indices are corrupt");
}

fn skip(error: &std::io::Error) {
    eprintln!("SKIPPED: a parent cannot write to its child's memory here: {error}");
}

/// Waits until none of these workers is left and training goes on.
fn await_new_workers(training: &Training, before: &[Pid]) {
    let frames = training.n_frames();
    wait_until("a reset", || {
        let now = training.workers();
        now.len() == before.len() && !now.iter().any(|worker| before.contains(worker))
    });
    wait_until("training after it", || training.n_frames() > frames);
}

/// Ends the run, which has been reset because of this complaint.
fn assert_reset(training: Training, complaint: &str) {
    training.signal(Signal::SIGTERM);
    let (code, said, summary) = training.end();
    assert_eq!(code, BY_SIGTERM, "{said}");
    assert!(said.contains(complaint), "{said}");
    assert!(said.contains("the shared segment was damaged; everything starts again"), "{said}");
    assert!(summary.unwrap().reliability.segment_resets >= 1);
}

/// Where everything lies in a segment of the default shape.
fn layout() -> Layout {
    let config = Config::default();
    let state = impala::run::first_state::fresh_state(&config).unwrap();
    let shape = SegmentShape {
        n_actors: config.actors.count,
        slots_per_actor: config.actors.slots_per_actor,
        n_params: state.params.len(),
        n_moments: 1,
        rollout: Sizes::of(&config).unwrap().rollout,
    };
    Layout::new(&shape).unwrap()
}

/// The segment through the memory of one of its workers, and with the rights of that one.
struct WorkerMemory {
    memory: File,
    segment: u64,
}

impl WorkerMemory {
    fn of(worker: Pid) -> std::io::Result<Self> {
        let maps = std::fs::read_to_string(format!("/proc/{worker}/maps"))?;
        let lines = maps.lines().filter(|line| line.contains("/dev/shm/"));
        let starts =
            lines.map(|line| u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap());
        let memory = File::options().read(true).write(true).open(format!("/proc/{worker}/mem"))?;
        Ok(WorkerMemory { memory, segment: starts.min().unwrap() })
    }

    fn read(&self, offset: usize) -> std::io::Result<u64> {
        let mut word = [0; 8];
        self.memory.read_exact_at(&mut word, self.segment + offset as u64)?;
        Ok(u64::from_ne_bytes(word))
    }

    fn write(&self, offset: usize, word: u64) -> std::io::Result<()> {
        self.memory.write_all_at(&word.to_ne_bytes(), self.segment + offset as u64)
    }
}

/// Overwrites the head of the first ring.
fn damage_first_ring(actor: Pid) -> std::io::Result<()> {
    WorkerMemory::of(actor)?.write(layout().ring_region(0).offset, u64::MAX)
}

/// Marks the cell in use of the weights, or of the state, as being written.
fn mark_cell_in_use(learner: Pid, region: Span) -> std::io::Result<()> {
    let memory = WorkerMemory::of(learner)?;
    let cell = memory.read(region.offset)? as usize;
    let sequence = region.offset + (1 + cell) * LINE_BYTES;
    memory.write(sequence, memory.read(sequence)? + 1)
}

/// Stops a process and waits until it stands still.
fn stop(pid: Pid) {
    kill(pid, Signal::SIGSTOP).unwrap();
    wait_until("a process to stand still", || is_stopped(pid));
}

/// Waits until a learner whose actors stand still has nothing to do, and stops it: what it has saved is what
/// it has published.
fn stop_between_updates(training: &Training) {
    let workers = training.workers();
    workers[1..].iter().for_each(|actor| stop(*actor));
    let live = training.look_in();
    wait_until("empty rings", || live.snapshot().learner.phase == Phase::Waiting);
    stop(workers[0]);
}

/// Nobody may look again and again at such a cell, least of all the supervisor, whom nobody watches.
#[test]
fn a_cell_in_use_that_is_marked_as_being_written_hangs_nobody() {
    for region in [layout().weights(), layout().state()] {
        // Longer than this test lasts: nobody is saved by being killed.
        let training = Training::start_set("[supervision]\nhang_timeout_s = 1000.0\n", &[]);
        wait_until("some training", || training.n_rows() > 1);
        let workers = training.workers();
        stop_between_updates(&training);
        if let Err(error) = mark_cell_in_use(workers[0], region) {
            return skip(&error);
        }
        kill(workers[0], Signal::SIGKILL).unwrap();
        // Where the supervisor has ended an actor already, there is none to continue.
        for actor in &workers[1..] {
            let continued = kill(*actor, Signal::SIGCONT);
            assert!(matches!(continued, Ok(()) | Err(Errno::ESRCH)), "{continued:?}");
        }
        await_new_workers(&training, &workers);
        assert_reset(training, "is marked as being written (sequence ");
    }
}

/// And then as if the signal had ended it, for whoever started it to see.
#[test]
fn one_signal_stops_in_order_with_all_files() {
    let endings =
        [(Signal::SIGINT, BY_SIGINT), (Signal::SIGTERM, BY_SIGTERM), (Signal::SIGHUP, BY_SIGHUP)];
    for (signal, ending) in endings {
        let training = Training::start();
        let workers = training.workers();
        let run_dir = training.run_dir.clone();
        training.signal(signal);
        wait_until("the workers' end", || !workers.iter().any(|worker| is_alive(*worker)));
        wait_until("the report", || run_dir.join("report.html").exists());
        for file in ["checkpoint.safetensors", "latency.hlog", "meta.json", "metrics.csv"] {
            assert!(run_dir.join(file).exists(), "{file}");
        }
        let (code, said, summary) = training.end();
        let summary = summary.unwrap();
        assert_eq!((code, summary.exit), (ending, Exit::Interrupted), "{said}");
        assert_eq!(summary.signal.as_deref(), Some(signal.as_str()));
    }
}

/// As `nohup` and a job that a script starts with `&` have it.
#[test]
fn signals_ignored_from_the_start_stay_ignored() {
    let training = Training::start_from("trap '' HUP INT TSTP;", "", &[]);
    wait_until("some training", || training.n_rows() > 1);
    let workers = training.workers();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTSTP] {
        training.signal(signal);
        let n_frames = training.n_frames();
        wait_until("training after it", || training.n_frames() > n_frames);
    }
    assert_eq!(training.workers(), workers);
    training.signal(Signal::SIGTERM);
    let (code, said, summary) = training.end();
    assert_eq!((code, summary.unwrap().signal.as_deref()), (BY_SIGTERM, Some("SIGTERM")), "{said}");
    assert!(!said.contains("SIGHUP") && !said.contains("SIGINT"), "{said}");
}

/// Whose children end unasked, unless they take that back.
#[test]
fn a_parent_that_ignores_its_children_costs_no_results() {
    let training = Training::start_from("trap '' CHLD;", "", &[]);
    wait_until("some training", || training.n_rows() > 1);
    let actor = training.replacement("impala-actor2", &[]);
    kill(actor, Signal::SIGKILL).unwrap();
    training.replacement("impala-actor2", &[actor]);
    training.signal(Signal::SIGTERM);
    let (code, said, summary) = training.end();
    assert_eq!((code, summary.unwrap().actors[2].restarts), (BY_SIGTERM, 1), "{said}");
    assert!(said.contains("was killed by SIGKILL; started again"), "{said}");
}

/// A mask is what the fork of a parent happened to have.
#[test]
fn signals_blocked_from_the_start_are_heard() {
    let block = "set -- env --block-signal=TERM,USR1,CHLD \"$@\";";
    let is_known = std::process::Command::new("env").args(["--block-signal=TERM", "true"]).status();
    if !is_known.is_ok_and(|status| status.success()) {
        return eprintln!("SKIPPED: this `env` cannot block signals");
    }
    let training = Training::start_from(block, "", &[]);
    wait_until("some training", || training.n_rows() > 1);
    let status = std::fs::read_to_string(format!("/proc/{}/status", training.pid())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    assert_eq!(mask >> (Signal::SIGUSR1 as u32 - 1) & 1, 0, "{mask:x}");
    training.signal(Signal::SIGTERM);
    let (code, said, _) = training.end();
    assert_eq!(code, BY_SIGTERM, "{said}");
}

fn is_stopped(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().unwrap_or_default().starts_with(" T"))
}

impl Training {
    /// In a process group of its own, as an interactive shell starts it: only such a one can be stopped by
    /// the terminal.
    fn start_as_job(settings: &str, flags: &[&str]) -> Self {
        Self::start_as(|shell| _ = shell.process_group(0), "", settings, flags)
    }

    /// Ctrl-Z, until everybody stands still.
    fn suspend(&self, others: &[Pid]) {
        self.signal(Signal::SIGTSTP);
        wait_until("all to stand still", || {
            is_stopped(self.pid()) && others.iter().all(|pid| is_stopped(*pid))
        });
    }
}

#[test]
fn ctrl_z_stops_all_processes_and_counts_as_nobodys_silence() {
    let settings = "[supervision]\nhang_timeout_s = 4.0\n";
    let training = Training::start_as_job(settings, &[]);
    wait_until("some training", || training.n_rows() > 1);
    let workers = training.workers();
    training.suspend(&workers);
    let (ticks, n_rows) = (processor_ticks(workers[0]), training.n_rows());
    // Longer than anybody may be silent.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!((processor_ticks(workers[0]), training.n_rows()), (ticks, n_rows), "nobody trains");
    let n_frames = training.n_frames();
    training.signal(Signal::SIGCONT);
    wait_until("training after it", || training.n_frames() > n_frames);
    assert_eq!(training.workers(), workers, "nobody was replaced");
    training.signal(Signal::SIGTERM);
    let (code, said, summary) = training.end();
    assert_eq!((code, summary.unwrap().reliability.hangs), (BY_SIGTERM, 0), "{said}");
    assert!(said.contains("all processes stood still for "), "{said}");
}

/// Nor does the time for which an evaluation stands still.
#[test]
fn ctrl_z_stops_the_final_evaluation_too() {
    let endless = ["--set", "report.eval_episodes=1_000_000"];
    let training = Training::start_as_job("[supervision]\nhang_timeout_s = 4.0\n", &endless);
    wait_until("some training", || training.n_rows() > 1);
    training.signal(Signal::SIGINT);
    let evaluation = training.replacement("impala-eval", &[]);
    training.suspend(&[evaluation]);
    std::thread::sleep(Duration::from_secs(5));
    training.signal(Signal::SIGCONT);
    wait_until("the evaluation to go on", || !is_stopped(evaluation));
    training.signal(Signal::SIGINT);
    let (code, said, summary) = training.end();
    assert_eq!((code, summary.unwrap().exit), (BY_SIGINT, Exit::Interrupted), "{said}");
    assert!(said.contains("SIGINT ended the final evaluation"), "{said}");
}

/// When memory runs out, the kernel takes one of those that can be replaced.
#[test]
fn workers_offer_themselves_to_be_killed_before_their_supervisor() {
    let training = Training::start();
    wait_until("some training", || training.n_rows() > 1);
    let adjusted = |pid: Pid| -> i32 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse().unwrap()
    };
    let own = adjusted(training.pid());
    assert!(training.workers().into_iter().all(|worker| adjusted(worker) == 1000.min(own + 500)));
    training.signal(Signal::SIGTERM);
    training.end();
}

#[test]
fn children_die_with_a_killed_supervisor_and_nothing_is_left() {
    let files_before = shared_memory_files();
    let training = Training::start();
    let workers = training.workers();
    training.signal(Signal::SIGKILL);
    wait_until("the workers' end", || !workers.iter().any(|worker| is_alive(*worker)));
    let new_files: Vec<_> = shared_memory_files().difference(&files_before).cloned().collect();
    assert_eq!(new_files, Vec::<String>::new());
}

#[test]
fn workers_are_named_by_their_roles() {
    let training = Training::start();
    let names = || -> Vec<String> {
        let comm = |pid: &Pid| std::fs::read_to_string(format!("/proc/{pid}/comm"));
        training.workers().iter().filter_map(|pid| Some(comm(pid).ok()?.trim().into())).collect()
    };
    let roles =
        ["impala-learner", "impala-actor0", "impala-actor1", "impala-actor2", "impala-actor3"];
    wait_until("the workers' names", || names() == roles);
    training.signal(Signal::SIGTERM);
    training.end();
}

#[test]
fn a_running_segment_has_no_name() {
    let files_before = shared_memory_files();
    let training = Training::start();
    let new_files: Vec<_> = shared_memory_files().difference(&files_before).cloned().collect();
    assert_eq!(new_files, Vec::<String>::new());
    training.signal(Signal::SIGTERM);
    training.end();
}

/// Processor time that a process has used, in clock ticks (user and system).
fn processor_ticks(pid: Pid) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    [fields[11], fields[12]].map(|ticks| ticks.parse::<u64>().unwrap()).iter().sum()
}

/// Clock ticks in a second, as the kernel reports them on every Linux that this runs on.
const TICKS_A_SECOND: f64 = 100.0;

/// None of these processes, which have nothing to do, uses more than a twentieth of a core.
fn assert_asleep(who: &str, processes: &[Pid]) {
    let ticks = || -> Vec<u64> { processes.iter().map(|pid| processor_ticks(*pid)).collect() };
    let (before, start) = (ticks(), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let (after, seconds) = (ticks(), start.elapsed().as_secs_f64());
    for (before, after) in before.iter().zip(after) {
        let share = (after - before) as f64 / TICKS_A_SECOND / seconds;
        assert!(share < 0.05, "{who} uses {share} of a core");
    }
}

/// Nobody publishes a slot: the learner sleeps until somebody does, and so does the supervisor.
#[test]
fn a_learner_without_slots_sleeps() {
    let training = Training::start_set("[supervision]\nhang_timeout_s = 1000.0\n", &[]);
    wait_until("some training", || training.n_rows() > 1);
    let workers = training.workers();
    workers[1..].iter().for_each(|actor| kill(*actor, Signal::SIGSTOP).unwrap());
    let live = training.look_in();
    wait_until("empty rings", || live.snapshot().learner.phase == Phase::Waiting);
    assert_asleep("a learner or supervisor that waits", &[workers[0], training.pid()]);
    workers[1..].iter().for_each(|actor| kill(*actor, Signal::SIGCONT).unwrap());
    training.signal(Signal::SIGTERM);
    let (code, said, _) = training.end();
    assert_eq!(code, BY_SIGTERM, "{said}");
}

/// A stopped learner hands no slot back: actors fill their rings and sleep. Who goes on before the time-out
/// is not replaced.
#[test]
fn actors_sleep_while_the_learner_is_stopped_and_go_on_with_it() {
    let training = Training::start_set("[supervision]\nhang_timeout_s = 1000.0\n", &[]);
    wait_until("some training", || training.n_rows() > 1);
    let workers = training.workers();
    kill(workers[0], Signal::SIGSTOP).unwrap();
    // Rollouts under way are finished first, however long that takes on this machine.
    let live = training.look_in();
    let is_waiting = |actor: &WorkerSigns| actor.phase == Phase::Waiting;
    wait_until("full rings", || live.snapshot().actors.iter().all(is_waiting));
    assert_asleep("an actor that waits for a slot", &workers[1..]);
    let n_frames = training.n_frames();
    kill(workers[0], Signal::SIGCONT).unwrap();
    wait_until("training after it", || training.n_frames() > n_frames);
    assert_eq!(training.workers(), workers, "nobody was replaced");
    training.signal(Signal::SIGTERM);
    let (code, said, summary) = training.end();
    assert_eq!((code, summary.unwrap().reliability.hangs), (BY_SIGTERM, 0), "{said}");
}

#[test]
fn no_dead_worker_stays_in_the_process_table() {
    let training = Training::start();
    wait_until("some training", || training.n_rows() > 1);
    for name in ["impala-actor0", "impala-actor2", LEARNER, "impala-actor1"] {
        let worker = training.replacement(name, &[]);
        kill(worker, Signal::SIGKILL).unwrap();
        training.replacement(name, &[worker]);
        // It would stand here as a zombie for as long as nobody had asked how it ended.
        assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists(), "{name} {worker}");
    }
    training.signal(Signal::SIGTERM);
    assert_eq!(training.end().0, BY_SIGTERM);
}

/// One SIGINT: the last checkpoint is of the last update, and the report is whole, also where a worker
/// does not hear the order to stop.
#[test]
fn an_interrupted_run_leaves_its_last_update_and_a_whole_report() {
    // Longer than this test lasts: only that it does not stop may cost the worker its life.
    let mut training = Training::start_set("[supervision]\nhang_timeout_s = 1000.0\n", &[]);
    wait_until("some training", || training.n_rows() > 1);
    kill(training.replacement("impala-actor3", &[]), Signal::SIGSTOP).unwrap();
    training.signal(Signal::SIGINT);
    wait_until("its end", || training.supervisor.try_wait().unwrap().is_some());
    let run = RunDir::open(&training.run_dir).unwrap();
    let checkpoint = impala::state::checkpoint::Checkpoint::load(&run.checkpoint()).unwrap();
    let report = std::fs::read_to_string(run.report()).unwrap();
    let (code, said, summary) = training.end();
    let summary = summary.unwrap();
    assert_eq!((code, summary.exit), (BY_SIGINT, Exit::Interrupted), "{said}");
    assert!(said.contains("did not stop in 3 s (supervision.stop_grace_s); killed"), "{said}");
    assert_eq!(checkpoint.state.counters.frames, summary.frames);
    assert_eq!(checkpoint.state.counters.updates, summary.updates);
    for part in ["What limited this run", "What went wrong and was mended", "</html>"] {
        assert!(report.contains(part), "{part}");
    }
}

/// An evaluation that would last longer than anybody waits.
#[test]
fn a_signal_during_the_final_evaluation_costs_no_results() {
    let mut training = Training::start_with(&["--set", "report.eval_episodes=1_000_000"]);
    wait_until("some training", || training.n_rows() > 1);
    let run = RunDir::open(&training.run_dir).unwrap();
    training.signal(Signal::SIGINT);
    training.replacement("impala-eval", &[]);
    training.signal(Signal::SIGINT);
    wait_until("its end", || training.supervisor.try_wait().unwrap().is_some());
    let reason = std::fs::read_to_string(run.path().join("meta.json")).unwrap_or_default();
    assert!(run.report().exists(), "no report; {reason}");
    let (code, said, summary) = training.end();
    let summary = summary.unwrap();
    assert_eq!((code, summary.exit, summary.eval), (BY_SIGINT, Exit::Interrupted, None), "{said}");
    assert!(reason.contains("SIGINT ended the final evaluation"), "{reason}");
}

#[test]
fn a_folder_in_which_a_run_goes_on_is_refused_to_another() {
    let training = Training::start();
    wait_until("some training", || training.n_rows() > 1);
    let path = training.run_dir.to_str().unwrap();
    for more in [&["--frames", "1000"][..], &["--resume", path]] {
        let train = [env!("CARGO_BIN_EXE_impala"), "train", "--run-dir", path];
        let output = Command::new(train[0]).args(&train[1..]).args(more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}: {said}");
        assert!(said.contains("belongs to a run that is still going on"), "{more:?}: {said}");
    }
    assert!(!training.run_dir.join("parts").exists(), "nothing was put aside");
    training.signal(Signal::SIGTERM);
    let (code, said, summary) = training.end();
    assert_eq!((code, summary.unwrap().exit), (BY_SIGTERM, Exit::Interrupted), "{said}");
}

/// The first signal would leave the stopped worker more time than this test has.
#[test]
fn a_second_signal_ends_everything_at_once() {
    let patient = "[supervision]\nhang_timeout_s = 10000.0\nstop_grace_s = 10000.0\n";
    let training = Training::start_set(patient, &[]);
    wait_until("some training", || training.n_rows() > 1);
    let workers = training.workers();
    kill(workers[4], Signal::SIGSTOP).unwrap();
    training.signal(Signal::SIGINT);
    wait_until("the others' end", || !workers[..4].iter().any(|worker| is_alive(*worker)));
    assert!(is_alive(workers[4]), "the first signal leaves it its time");
    training.signal(Signal::SIGINT);
    let (code, said, summary) = training.end();
    assert_eq!((code, summary.unwrap().exit), (BY_SIGINT, Exit::Interrupted), "{said}");
    assert!(said.contains("SIGINT again: all workers are killed"), "{said}");
    assert!(!is_alive(workers[4]));
}
