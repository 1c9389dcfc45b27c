//! The learner's arithmetic: a whole pass and its parts, V-trace, the kernels in short.

use std::hint::black_box;

use anyhow::Result;
use impala::base::stages::{Stage, StageClock};
use impala::config::Config;
use impala::kernels::{Activation, Kernels, Simd};
use impala::learner::vtrace::{VtraceInput, VtraceParams, vtrace as vtrace_rows};
use ndarray::{Array1, Array2, Axis};

use crate::contest::{Bench, Contender, Contest};
use crate::lone_learner::LoneLearner;

const GROUP: &str = "learner, one slot of 20 × 32 frames";
const STAGES: [Stage; 5] =
    [Stage::Batching, Stage::Forward, Stage::Vtrace, Stage::Backward, Stage::Optimizer];

/// Passes whose mean is one measurement: a lap of the clock is too short alone.
const N_PASSES: usize = 5;

/// Steps, environments and hidden units of the default settings.
const T: usize = 20;
const E: usize = 32;
const H: usize = 64;

/// One update without its rings, stage by stage, on the widest kernels and on the portable ones.
pub fn parts(bench: &mut Bench) -> Result<()> {
    let with =
        |kernels: &str| LoneLearner::new(&Config { kernels: kernels.into(), ..Config::default() });
    let (mut ours, mut portable) = (with("auto")?, with("portable")?);
    bench.run(Contest {
        group: GROUP,
        job: "update".into(),
        unit: "ns",
        figures: &["total", "batching", "forward", "vtrace", "backward", "optimizer"],
        target: None,
        contenders: vec![
            Contender::figures("widest kernels", |_| Ok(stages_ns(&mut ours))),
            Contender::figures("portable kernels", |_| Ok(stages_ns(&mut portable))),
        ],
    })
}

/// Mean times of an update and of each of its [`STAGES`].
fn stages_ns(learner: &mut LoneLearner) -> Vec<f64> {
    let mut clock = StageClock::start();
    for _ in 0..N_PASSES {
        learner.learn(&mut clock);
    }
    let laps_ns = clock.take();
    let stages = STAGES.map(|stage| laps_ns[stage as usize] as f64 / N_PASSES as f64);
    [&[stages.iter().sum()], &stages[..]].concat()
}

/// V-trace alone: rows of all trajectories at once, against one trajectory after the other.
pub fn vtrace(bench: &mut Bench) -> Result<()> {
    let numbers = |n: usize, scale: f32| -> Vec<f32> {
        (0..n).map(|i| scale * ((i * 37 % 101) as f32 / 50.0)).collect()
    };
    let (n, params) =
        (T * E, VtraceParams { rho_bar: 1.0_f32, c_bar: 1.0, pg_rho_bar: 1.0, lambda: 1.0 });
    let (rhos, rewards, values) = (numbers(n, 1.0), numbers(n, 0.1), numbers(n + E, 0.5));
    let (discounts, weights) = (vec![0.99; n], vec![1.0; n]);
    let input = VtraceInput {
        n_trajectories: E,
        rhos: &rhos,
        discounts: &discounts,
        rewards: &rewards,
        weights: &weights,
        values: &values,
    };
    let (mut vs, mut advantages) = (vec![0.0; n], vec![0.0; n]);
    let (mut plain_vs, mut plain_advantages) = (vec![0.0; n], vec![0.0; n]);
    bench.run(Contest {
        group: GROUP,
        job: "V-trace".into(),
        unit: "ns",
        figures: &[""],
        target: None,
        contenders: vec![
            Contender::call("row by row", || {
                vtrace_rows(black_box(&input), &params, &mut vs, &mut advantages);
            }),
            Contender::call("trajectory by trajectory", || {
                one_by_one(black_box(&input), &params, &mut plain_vs, &mut plain_advantages);
            }),
        ],
    })
}

/// Equation (1) as one reads it: from the end of each trajectory to its beginning.
fn one_by_one(
    input: &VtraceInput<f32>,
    params: &VtraceParams<f32>,
    vs: &mut [f32],
    pg_advantages: &mut [f32],
) {
    let n_trajectories = input.n_trajectories;
    for b in 0..n_trajectories {
        let (mut next_value, mut next_vs) =
            (input.values[vs.len() + b], input.values[vs.len() + b]);
        for t in (0..vs.len() / n_trajectories).rev() {
            let n = t * n_trajectories + b;
            let (rho, discount, weight) = (input.rhos[n], input.discounts[n], input.weights[n]);
            let (reward, value) = (input.rewards[n], input.values[n]);
            let delta = weight * rho.min(params.rho_bar) * (reward + discount * next_value - value);
            let c = weight * params.lambda * rho.min(params.c_bar);
            pg_advantages[n] =
                weight * rho.min(params.pg_rho_bar) * (reward + discount * next_vs - value);
            vs[n] = value + delta + discount * c * (next_vs - next_value);
            (next_value, next_vs) = (value, vs[n]);
        }
    }
}

/// The network's middle layer at the widths of an actor's step and of a slot; every kernel in every
/// size is in `bench/kernels/main.rs`.
pub fn kernels(bench: &mut Bench) -> Result<()> {
    let number = |i: usize| (i * 37 % 101) as f32 / 500.0 - 0.1;
    let matrix = |rows, columns| {
        Array2::from_shape_fn((rows, columns), |(row, column)| number(row * columns + column))
    };
    let (simd, w, b) = (Simd::detect(), matrix(H, H), Array1::<f32>::zeros(H));
    for n_columns in [E, (T + 1) * E] {
        let (x, mut y) = (matrix(H, n_columns), Array2::zeros((H, n_columns)));
        let mut portable_y = y.clone();
        let dense = |kernels: Simd, y: &mut Array2<f32>| {
            kernels.dense(w.view(), b.view(), x.view(), Activation::Tanh, y.view_mut());
        };
        bench.run(Contest {
            group: "kernels",
            job: format!("layer of 64 × 64 with tanh, {n_columns} frames"),
            unit: "ns",
            figures: &[""],
            target: None,
            contenders: vec![
                Contender::call("widest", || dense(simd, &mut y)),
                Contender::call("portable", || dense(Simd::portable(), &mut portable_y)),
                Contender::call("ndarray, f32::tanh", || {
                    let sums = w.dot(&x) + b.view().insert_axis(Axis(1));
                    black_box(sums.mapv_into(f32::tanh));
                }),
            ],
        })?;
    }
    Ok(())
}
