//! The parts alone, each on one core and from memory: what the whole could be at best.

use std::time::{Duration, Instant};

use anyhow::Result;
use impala::actor::collector::Collector;
use impala::base::stages::StageClock;
use impala::base::units::grouped;
use impala::config::Config;
use impala::env::StepBuffer;
use impala::network::params::ParamLayout;
use impala::rollout::RolloutBuffer;
use impala::run::sizes::Sizes;
use impala::shm::Segment;
use impala::shm::layout::SegmentShape;
use impala::space::Actions;

use super::Effort;
use super::ceiling::Ceiling;
use super::disturbance::Disturbance;
use super::lone_learner::LoneLearner;
use super::processes::cpu_s;
use super::processor_time::processor_time;
use super::row::Row;
use super::training::with_preset;

/// What the parts belong to, and the heading of their rows.
const TASKS: [(&str, &str); 2] = [
    ("CartPole-v1", "parts, one core, from memory"),
    ("MinAtar/Breakout-v1", "parts of MinAtar Breakout, one core, from memory"),
];

/// All parts together: five a task, each of which first works once. What the core can do at most takes a moment.
pub fn planned(effort: Effort) -> Duration {
    effort.part * (5 * TASKS.len() * effort.n_runs) as u32
}

/// Every part's row.
pub fn rows(effort: Effort) -> Result<Vec<Row>> {
    let of_task = |(env, group)| rows_of(group, &with_preset(env), effort);
    let rows: Result<Vec<Vec<Row>>> = TASKS.into_iter().map(of_task).collect();
    Ok(rows?.concat())
}

fn rows_of(group: &'static str, config: &Config, effort: Effort) -> Result<Vec<Row>> {
    let n_params = Sizes::of(config)?.n_params();
    let ours = [std::process::id()];
    let (before, ours_before) = (processor_time(), cpu_s(&ours));
    let ceiling = Ceiling::measure(config, effort)?;
    let [publish, read] = weights(config, effort)?;
    let environment = env_only(config, effort)?;
    let (actor, learner) = (actor_only(config, effort)?, learner_only(config, effort)?);
    let disturbance = Disturbance::since(before, cpu_s(&ours) - ours_before);
    let row = |name: String, unit, values| Row::new(group, name, unit, values, disturbance);
    let of_weights = |what| format!("weights {what}, {} f32", grouped(n_params as u64));
    Ok(vec![
        row("multiply-adds, one core".into(), "GFLOP/s", vec![ceiling.one_core]),
        row("multiply-adds, all cores".into(), "GFLOP/s", vec![ceiling.all_cores]),
        row("environment only".into(), "M frames/s", environment),
        row("actor only".into(), "M frames/s", actor).below(ceiling.acting()),
        row("learner only, native".into(), "M frames/s", learner).below(ceiling.learning()),
        row(of_weights("publish"), "µs", publish),
        row(of_weights("read"), "µs", read),
    ])
}

/// Repeats `work`, which does `n_frames`, for the time of a part, `n_runs` times; M frames/s each.
fn m_frames_per_s(effort: Effort, n_frames: u64, mut work: impl FnMut()) -> Vec<f64> {
    let seconds = seconds_each(effort, &mut work);
    seconds.iter().map(|seconds| n_frames as f64 / seconds / 1e6).collect()
}

/// Seconds that one `work` takes, the mean of a part's time, `n_runs` times.
fn seconds_each(effort: Effort, work: &mut impl FnMut()) -> Vec<f64> {
    work();
    let mean = |_| {
        let (start, mut n) = (Instant::now(), 0);
        while start.elapsed() < effort.part.max(Duration::from_millis(1)) {
            work();
            n += 1;
        }
        start.elapsed().as_secs_f64() / f64::from(n)
    };
    (0..effort.n_runs).map(mean).collect()
}

fn env_only(config: &Config, effort: Effort) -> Result<Vec<f64>> {
    const N_ENVS: usize = 32;
    const N_STEPS: usize = 20;
    let mut envs = config.make_vec(0, N_ENVS, 1)?;
    let mut room = StepBuffer::new(&config.spec()?, N_ENVS);
    room.reset(&mut *envs)?;
    Ok(m_frames_per_s(effort, (N_ENVS * N_STEPS) as u64, || {
        for step in 0..N_STEPS {
            let actions = [(step % 2) as i32; N_ENVS];
            room.step(&mut *envs, Actions::of_indices(&actions)).expect("they take both");
        }
    }))
}

fn actor_only(config: &Config, effort: Effort) -> Result<Vec<f64>> {
    let mut slot = RolloutBuffer::new(Sizes::of(config)?.rollout);
    let mut collector = Collector::new(config, 0, 0)?;
    let params = ParamLayout::new(&Sizes::of(config)?.network).init(1);
    collector.params_mut().copy_from_slice(&params);
    let n_frames = collector.frames_per_rollout();
    Ok(m_frames_per_s(effort, n_frames, || {
        collector.collect(&mut slot.view_mut()).expect("native ones do not fail");
    }))
}

fn learner_only(config: &Config, effort: Effort) -> Result<Vec<f64>> {
    let (mut learner, mut clock) = (LoneLearner::new(config)?, StageClock::start());
    let n_frames = learner.learn(&mut clock);
    Ok(m_frames_per_s(effort, n_frames, || _ = learner.learn(&mut clock)))
}

fn weights(config: &Config, effort: Effort) -> Result<[Vec<f64>; 2]> {
    let n_params = Sizes::of(config)?.n_params();
    let rollout = Sizes::of(config)?.rollout;
    let shape = SegmentShape { n_actors: 1, slots_per_actor: 1, n_params, n_moments: 1, rollout };
    let segment = Segment::create(&shape)?;
    let (mut writer, mut reader) = (segment.weights_writer()?, segment.weights_reader());
    let mut params = vec![0.5; n_params];
    let mut version = 0;
    let mut publish = || {
        version += 1;
        writer.publish(version, &params);
    };
    let published = seconds_each(effort, &mut publish);
    let mut both = || {
        version += 1;
        writer.publish(version, &params);
        reader.read_if_newer(&mut params).expect("nobody wrote over them");
    };
    let read = seconds_each(effort, &mut both);
    let us = |seconds: &f64| seconds * 1e6;
    let read = read.iter().zip(&published).map(|(both, publish)| us(&(both - publish)));
    Ok([published.iter().map(us).collect(), read.collect()])
}
