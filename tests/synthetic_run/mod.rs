//! A made-up run that looks like a real one, written through the run's own sink.

use std::path::Path;

use hdrhistogram::Histogram;
use impala::base::clock::Interval;
use impala::base::stages::{Stage, StageHistograms};
use impala::run::dir::RunDir;
use impala::run::meta::Meta;
use impala::sinks::files::RunFiles;
use impala::sinks::tensorboard::TensorBoard;
use impala::telemetry::{
    ActorSummary, CoreSummary, EvalRow, EvalSummary, Exit, LagSummary, LatencySummary,
    MemorySummary, MetricsRow, ProcessSample, RankSummary, Reliability, SlotRecord, Spread,
    Summary,
};

pub const CONFIG: &str = r#"
env = "CartPole-v1"
seed = 7

[actors]
n_actors = 4
n_envs = 32

[learner]
backend = "native"
unroll_length = 20
learning_rate = 0.002
stop_when_solved = false
"#;

pub const FRAMES_A_ROW: u64 = 3_200;
const UPDATES_A_ROW: u64 = 5;
const ROW_S: f64 = 0.00125;
const STARTUP_S: f64 = 0.012;
const N_SAMPLES: u64 = 12;
pub const ROWS_AN_INTERVAL: usize = 10;

/// Mean µs of each stage.
const STAGE_US: [(Stage, f64); 16] = [
    (Stage::Wait, 6.0),
    (Stage::Batching, 2.1),
    (Stage::Forward, 89.0),
    (Stage::Vtrace, 4.2),
    (Stage::Backward, 123.0),
    (Stage::Turn, 1.4),
    (Stage::Exchange, 3.2),
    (Stage::Optimizer, 7.4),
    (Stage::Publish, 1.1),
    (Stage::Release, 11.0),
    (Stage::Report, 0.6),
    (Stage::ActorClaim, 540.0),
    (Stage::ActorReadWeights, 0.9),
    (Stage::ActorAct, 71.0),
    (Stage::ActorEnv, 24.0),
    (Stage::HandOver, 160.0),
];

/// A number in 0 to 1 that looks random and is the same every time.
pub fn noise(i: u64) -> f64 {
    let mut x = i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 27)) >> 11) as f64 / (1u64 << 53) as f64
}

fn stage_us(stage: Stage, i: u64) -> f64 {
    let mean = STAGE_US.iter().find(|(of, _)| *of == stage).map_or(0.0, |(_, us)| *us);
    mean * (0.9 + 0.2 * noise(i * 31 + stage as u64))
}

/// The i-th of n rows of a run that learns CartPole-v1 within its first third.
pub fn row(i: u64, n: u64) -> MetricsRow {
    let frames = (i + 1) * FRAMES_A_ROW;
    let share = frames as f64 / (n * FRAMES_A_ROW) as f64;
    let skill = 1.0 / (1.0 + (-(share - 0.25) * 28.0).exp());
    let mean = 22.0 + 478.0 * skill - 8.0 * noise(i) * (1.0 - skill);
    let settled = 1.0 - 0.9 * skill;
    let critic_loss = 3.5 * settled * (0.7 + 0.6 * noise(i + 1));
    let policy_loss = (noise(i + 2) - 0.6) * 0.4 * settled;
    let entropy = 0.69 - 0.45 * skill - 0.03 * noise(i + 3);
    MetricsRow {
        time_s: STARTUP_S + ((i + 1) as f64 + 0.2 * noise(i)) * ROW_S,
        frames,
        frames_produced: frames + 2_560 + (noise(i + 4) * 640.0) as u64,
        updates: (i + 1) * UPDATES_A_ROW,
        frames_per_s: FRAMES_A_ROW as f64 / ROW_S * (0.9 + 0.15 * noise(i + 5)),
        episodes: i * 12,
        score_mean: (i % 9 != 4).then_some(mean),
        score_min: (i % 9 != 4).then_some(mean * (0.4 + 0.4 * noise(i + 6))),
        score_max: (i % 9 != 4).then_some((mean * (1.3 + 0.5 * noise(i + 7))).min(500.0)),
        score_last100: Some(20.0 + 480.0 / (1.0 + (-(share - 0.33) * 24.0).exp())),
        normalized_score: None,
        total_loss: Some(policy_loss + 0.5 * critic_loss - 0.001 * entropy),
        policy_loss: Some(policy_loss),
        critic_loss: Some(critic_loss),
        entropy: Some(entropy),
        rho_min: Some(0.35 + 0.4 * noise(i + 8)),
        rho_mean: Some(0.99 + 0.02 * noise(i + 9)),
        rho_max: Some(1.4 + 1.6 * noise(i + 10)),
        rho_clipped: Some(0.45 + 0.08 * noise(i + 11)),
        policy_clipped: Some(0.0),
        kl: Some(0.002 * (0.5 + noise(i + 12)) * settled),
        explained_variance: Some(skill * 0.97 - 0.15 * noise(i + 13) * settled),
        grad_norm: 260.0 * settled * (0.5 + noise(i + 14)),
        learning_rate: 2e-3 * (1.0 - share).max(0.05),
        entropy_cost: 1e-3,
        reward_scale: Some(0.1),
        policy_lag_mean: 3.0 + 0.6 * noise(i + 15),
        policy_lag_max: 6 + (noise(i + 16) * 5.0) as u64,
        gradient_lag_mean: 0.8 + 0.3 * noise(i + 18),
        ring_occupancy: 2.6 + 0.5 * noise(i + 17),
        wait_us: stage_us(Stage::Wait, i),
        batching_us: stage_us(Stage::Batching, i),
        forward_us: stage_us(Stage::Forward, i),
        vtrace_us: stage_us(Stage::Vtrace, i),
        backward_us: stage_us(Stage::Backward, i),
        turn_us: stage_us(Stage::Turn, i),
        exchange_us: stage_us(Stage::Exchange, i),
        optimizer_us: stage_us(Stage::Optimizer, i),
        publish_us: stage_us(Stage::Publish, i),
        release_us: stage_us(Stage::Release, i),
        report_us: stage_us(Stage::Report, i),
    }
}

/// The histograms of one interval, with a tail of slow measurements.
pub fn histograms(interval: u64) -> StageHistograms {
    let mut histograms = StageHistograms::default();
    for stage in Stage::ALL {
        for k in 0..UPDATES_A_ROW * ROWS_AN_INTERVAL as u64 {
            let tail = 1.0 / (0.004 + noise(interval * 1_000 + k * 17 + stage as u64)).powf(0.4);
            histograms.record(stage, (stage_us(stage, k) * tail * 600.0) as u64);
        }
    }
    histograms
}

pub fn summary(rows: &[MetricsRow], totals: &StageHistograms) -> Summary {
    let last = rows.last().cloned().unwrap_or_default();
    let train_s = last.time_s - STARTUP_S;
    let latency = |stage: Stage| (stage.tag().to_owned(), LatencySummary::of(totals.get(stage)));
    let wait = LatencySummary::of(totals.get(Stage::Wait));
    Summary {
        env: "CartPole-v1".to_owned(),
        seed: 7,
        learner: "native".to_owned(),
        kernels: "avx2".to_owned(),
        learner_threads: 2,
        batch_threads: 1,
        max_learner_threads: 4,
        ring_batches: 4,
        clip: None,
        slots_per_actor: 1,
        batch_slots: 1,
        epochs: 1,
        deterministic: false,
        real_actions: false,
        exit: Exit::Finished,
        signal: None,
        wall_s: last.time_s + 0.021,
        startup_s: STARTUP_S,
        train_s,
        frames: last.frames,
        emulator_frames: None,
        frames_before: 0,
        frames_produced: last.frames_produced,
        updates: last.updates,
        frames_per_s: last.frames as f64 / train_s,
        solved: true,
        solved_frames: Some(236_800),
        solved_s: Some(0.1041),
        score_last100: last.score_last100,
        score_threshold: Some(475.0),
        eval: Some(EvalSummary {
            episodes: 100,
            cut: 0,
            unfinished: 0,
            mean: 500.0,
            standard_error: 0.0,
            min: 500.0,
            max: 500.0,
        }),
        tasks: Vec::new(),
        normalized_score: None,
        latency_us: Stage::ALL.into_iter().map(latency).collect(),
        policy_lag: Some(LagSummary { mean: 3.3, p50: 3, p99: 7, max: 11 }),
        gradient_lag: Some(LagSummary { mean: 0.9, p50: 1, p99: 2, max: 5 }),
        rho: Some(Spread { min: 0.31, mean: 1.001, max: 3.2 }),
        memory: Some(memory()),
        actors: (0..4).map(|k| actor(k, train_s)).collect(),
        learner_wait_s: wait.count as f64 * wait.mean / 1e6,
        learner_cores: Some(cores(2.0 * train_s, 0.9)),
        cores_of_others: Some(0.2),
        collected_during_updates: 0.93,
        rollouts_dropped: 4,
        ranks: vec![rank(0), rank(1)],
        reliability: Reliability { checkpoints: 1, learner_restarts: 3, ..Reliability::default() },
    }
}

fn rank(rank: usize) -> RankSummary {
    RankSummary {
        rank,
        host: format!("node{rank}"),
        frames: 1_000_000,
        frames_per_s: 5e5,
        exchange_s: 0.2 + 0.6 * rank as f64,
        exchange_p50_us: 28.0,
        exchange_p99_us: 95.0,
        wait_s: 0.1,
        restarts: 0,
        policy_lag: 3.3,
        weights: "0123456789abcdef".into(),
    }
}

fn memory() -> MemorySummary {
    let mut memory = MemorySummary::default();
    (0..N_SAMPLES).for_each(|k| memory.add(&sample(k)));
    memory
}

/// Memory of all processes, the k-th time it was looked at; actor 2 was started again in the middle.
pub fn sample(k: u64) -> Vec<ProcessSample> {
    let of = |process: &str, pid, pss_bytes, restarts| ProcessSample {
        time_s: STARTUP_S + k as f64 * 0.02,
        process: process.to_owned(),
        pid,
        pss_bytes,
        on_core_s: Some(k as f64 * 0.007),
        without_core_s: Some(k as f64 * 0.001),
        restarts,
    };
    let actor = |i: u32| {
        let restarts = u64::from(i == 2 && k > N_SAMPLES / 2);
        of(&format!("actor{i}"), 102 + i, 700_000 + 10_000 * u64::from(i), restarts)
    };
    let learner = of("learner", 101, 2_000_000 + 30_000 * k, 0);
    [of("supervisor", 100, 1_500_000, 0), learner].into_iter().chain((0..4).map(actor)).collect()
}

/// What a process got of the cores that wanted one this share of its time.
fn cores(watched_s: f64, wanted: f64) -> CoreSummary {
    let wanted_s = wanted * watched_s;
    CoreSummary { on_core_s: 0.95 * wanted_s, without_core_s: 0.05 * wanted_s, watched_s }
}

fn actor(k: u64, train_s: f64) -> ActorSummary {
    ActorSummary {
        frames: 160_000 + k * 640,
        rollouts: 250 + k,
        blocked_s: train_s * (0.55 + 0.04 * noise(k)),
        act_s: train_s * 0.27,
        env_s: train_s * 0.11,
        read_weights_s: train_s * 0.004,
        cores: Some(cores(train_s, 0.35)),
        waits: 1_000,
        weights_retries: 2,
        restarts: u64::from(k == 2),
        bad_rollouts: 0,
    }
}

/// A finished run of `n` rows in `path`, after `change` had its way with each row.
pub fn write(path: &Path, n: u64, change: impl Fn(&mut MetricsRow)) -> RunDir {
    let run = RunDir::create_at(path).unwrap();
    let meta = Meta::collect();
    let mut board = TensorBoard::create(&run, &meta, CONFIG).unwrap();
    let mut files = RunFiles::create(&run, meta, CONFIG).unwrap();
    let mut rows: Vec<MetricsRow> = (0..n).map(|i| row(i, n)).collect();
    rows.iter_mut().for_each(change);
    let mut totals = StageHistograms::default();
    let mut start_ns = 0;
    for (k, batch) in rows.chunks(ROWS_AN_INTERVAL).enumerate() {
        files.append_rows(batch).unwrap();
        let histograms = histograms(k as u64);
        let end_ns = start_ns + (ROWS_AN_INTERVAL as f64 * ROW_S * 1e9) as u64;
        files.append_latencies(Interval { start_ns, end_ns }, of_all(&histograms)).unwrap();
        board.append_rows(batch).unwrap();
        let frames = batch[batch.len() - 1].frames;
        board.append_latencies(end_ns, frames, of_all(&histograms)).unwrap();
        Stage::ALL.into_iter().for_each(|stage| totals.add(stage, histograms.get(stage)));
        start_ns = end_ns;
    }
    (0..N_SAMPLES).for_each(|k| files.append_samples(&sample(k)).unwrap());
    files.append_slots(&[SlotRecord::default()]).unwrap();
    let scored = rows.iter().filter(|row| row.score_last100.is_some());
    let evaluations: Vec<EvalRow> = scored.step_by(7).map(evaluation).collect();
    files.append_evaluations(&evaluations).unwrap();
    board.append_evaluations(&evaluations).unwrap();
    files.write_summary(&summary(&rows, &totals)).unwrap();
    files.finish(Exit::Finished, "the frame budget was consumed").unwrap();
    run
}

/// Of the policy after an interval: as many points as that had frames, in thousands.
fn evaluation(row: &MetricsRow) -> EvalRow {
    let (time_s, frames, updates) = (row.time_s, row.frames, row.updates);
    let mean = frames as f64 / 1e3;
    let standard_error = Some(1.0);
    let (min, max) = (mean - 5.0, mean + 5.0);
    EvalRow { time_s, frames, updates, episodes: 20, cut: 0, mean, standard_error, min, max }
}

pub fn of_all(histograms: &StageHistograms) -> impl Iterator<Item = (Stage, &Histogram<u64>)> {
    Stage::ALL.into_iter().map(|stage| (stage, histograms.get(stage)))
}
