//! What is left: the environments' step, saving a checkpoint, counting a latency.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::sync::Mutex;

use anyhow::Result;
use impala::base::stages::{Stage, StageHistograms, histogram as one_histogram};
use impala::config::Config;
use impala::env::{StepBuffer, VecEnv};
use impala::learner::optim::{Optimizer, UpdateRule};
use impala::network::params::ParamLayout;
use impala::run::sizes::Sizes;
use impala::space::Actions;
use impala::state::checkpoint::Checkpoint;
use impala::state::{Counters, LearnerState, SCORE_WINDOW};

use crate::contest::{Bench, Contender, Contest};

const E: usize = 32;

/// One step of 32 environments, straight into rows of observations.
pub fn environment(bench: &mut Bench) -> Result<()> {
    let config = Config::default();
    let mut together = Stepper::new(vec![config.make_vec(0, E, 1)?]);
    let apart = (0..E).map(|e| config.make_vec(0, 1, e as u64)).collect::<Result<_, _>>()?;
    let mut apart = Stepper::new(apart);
    let mut plain = [(); E].map(|()| PlainCartPole::new());
    let mut n_steps = 0_usize;
    bench.run(Contest {
        group: "environment",
        job: "CartPole step, one of 32".into(),
        unit: "ns",
        figures: &[""],
        target: None,
        contenders: vec![
            Contender::calls("vector of 32", E as u32, || together.step()),
            Contender::calls("32 vectors of one", E as u32, || apart.step()),
            Contender::calls("plain scalar loop", E as u32, || {
                n_steps += 1;
                let step = |env: &mut PlainCartPole| env.step(n_steps % 2);
                black_box(plain.iter_mut().map(step).collect::<Vec<_>>());
            }),
        ],
    })
}

/// Vectors of environments with the buffers that they write.
struct Stepper {
    vectors: Vec<Box<dyn VecEnv>>,
    rooms: Vec<StepBuffer>,
    n_steps: usize,
}

impl Stepper {
    fn new(mut vectors: Vec<Box<dyn VecEnv>>) -> Self {
        let room = |vector: &mut Box<dyn VecEnv>| {
            let mut room = StepBuffer::new(vector.spec(), vector.n_envs());
            room.reset(&mut **vector).expect("CartPole does not fail");
            room
        };
        let rooms = vectors.iter_mut().map(room).collect();
        Stepper { vectors, rooms, n_steps: 0 }
    }

    fn step(&mut self) {
        self.n_steps += 1;
        let actions = [(self.n_steps % 2) as i32; E];
        for (vector, room) in self.vectors.iter_mut().zip(&mut self.rooms) {
            let actions = Actions::of_indices(&actions[..vector.n_envs()]);
            room.step(&mut **vector, actions).expect("CartPole takes both");
            black_box((&room.rewards, &room.kinds));
        }
    }
}

/// CartPole as tutorials write it: an observation on the heap, a reset within the last step.
struct PlainCartPole {
    state: [f64; 4],
    n_steps: u32,
}

impl PlainCartPole {
    fn new() -> Self {
        PlainCartPole { state: [0.01, -0.02, 0.03, -0.04], n_steps: 0 }
    }

    fn step(&mut self, action: usize) -> (Vec<f32>, f32, bool) {
        let [x, x_dot, theta, theta_dot] = self.state;
        let force = if action == 1 { 10.0 } else { -10.0 };
        let (sin, cos) = (theta.sin(), theta.cos());
        let temp = (force + 0.05 * theta_dot.powi(2) * sin) / 1.1;
        let theta_acc = (9.8 * sin - cos * temp) / (0.5 * (4.0 / 3.0 - 0.1 * cos.powi(2) / 1.1));
        let x_acc = temp - 0.05 * theta_acc * cos / 1.1;
        let tau = 0.02;
        self.state = [
            x + tau * x_dot,
            x_dot + tau * x_acc,
            theta + tau * theta_dot,
            theta_dot + tau * theta_acc,
        ];
        self.n_steps += 1;
        let is_over =
            self.state[0].abs() > 2.4 || self.state[2].abs() > 0.209_44 || self.n_steps == 500;
        if is_over {
            *self = PlainCartPole::new();
        }
        (self.state.map(|number| number as f32).to_vec(), 1.0, is_over)
    }
}

/// Saving the weights of CartPole's network so that a power failure leaves the old file or the new one.
pub fn checkpoint(bench: &mut Bench) -> Result<()> {
    let config = Config::default();
    let Sizes { spec, network, .. } = Sizes::of(&config)?;
    let folder = tempfile::tempdir()?;
    let params = ParamLayout::new(&network).init(1);
    let optimizer = Optimizer::new(UpdateRule::of(&config.optimizer), params.len());
    let state = LearnerState {
        counters: Counters::default(),
        recent_returns: [0.0; SCORE_WINDOW],
        return_stats: Default::default(),
        params,
        optimizer: optimizer.state().clone(),
    };
    let settings = config.to_toml();
    let checkpoint = Checkpoint { spec, network, state, settings, elapsed_ns: 0 };
    let path = |name: &str| folder.path().join(name);
    let (safetensors, synced, written) = (path("a.safetensors"), path("b"), path("c"));
    let bytes: &[u8] = bytemuck::cast_slice(&checkpoint.state.params);
    bench.run(Contest {
        group: "checkpoint",
        job: "save 4.675 k f32".into(),
        unit: "ns",
        figures: &[""],
        target: None,
        contenders: vec![
            Contender::call("safetensors: synced, renamed, folder synced", || {
                checkpoint.save(&safetensors).expect("a fresh folder can be written to");
            }),
            Contender::call("bare bytes, synced", || {
                let mut file = File::create(&synced).expect("a fresh folder can be written to");
                file.write_all(bytes).and_then(|()| file.sync_all()).expect("there is space");
            }),
            Contender::call("bare bytes, not synced", || {
                std::fs::write(&written, bytes).expect("a fresh folder can be written to");
            }),
        ],
    })
}

/// Counting one latency.
pub fn histogram(bench: &mut Bench) -> Result<()> {
    const N_OPS: u32 = 1_000;
    let latencies: Vec<u64> = (0..u64::from(N_OPS)).map(|i| 90_000 + i * i % 60_000).collect();
    let mut stages = StageHistograms::default();
    let locked = Mutex::new(one_histogram());
    let mut kept = Vec::with_capacity(latencies.len());
    bench.run(Contest {
        group: "telemetry",
        job: "count a latency".into(),
        unit: "ns",
        figures: &[""],
        target: None,
        contenders: vec![
            Contender::calls("histogram of its stage", N_OPS, || {
                latencies.iter().for_each(|&ns| stages.record(Stage::Forward, ns));
            }),
            Contender::calls("histogram under a Mutex", N_OPS, || {
                for &ns in &latencies {
                    locked.lock().expect("nobody panics with it").saturating_record(ns);
                }
            }),
            Contender::calls("kept in a Vec, unsorted", N_OPS, || {
                kept.clear();
                latencies.iter().for_each(|&ns| black_box(&mut kept).push(ns));
            }),
        ],
    })
}
