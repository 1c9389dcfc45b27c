//! What arithmetic alone would allow: the most multiply-adds of one core, by what a frame needs of them.
//!
//! Only dense layers and heads are counted: on bits a convolution needs no products. Multiply-adds are those of f32,
//! so kernels in bf16 may pass the ceiling.

use std::time::Duration;

use anyhow::Result;
use impala::config::Config;
use impala::network::{Layer, NetworkSpec};
use impala::run::sizes::Sizes;

use super::Effort;
use super::parts::seconds_each;

/// Of one core, M frames/s.
#[derive(Clone, Copy)]
pub struct Ceiling {
    pub peak_gflops: f64,
    pub acting: f64,
    pub learning: f64,
}

impl Ceiling {
    /// Measures the core, for what this configuration makes of a frame.
    pub fn measure(config: &Config, effort: Effort) -> Result<Ceiling> {
        let peak_gflops = peak_gflops(config, effort)?;
        let network = Sizes::of(config)?.network;
        let [forward, backward] = flops(&network);
        // The learner looks at the bootstrap's step too.
        let n_steps = config.actors.unroll_length as f64;
        let learning = forward * (n_steps + 1.0) / n_steps + backward;
        let m_frames_per_s = |flops: f64| peak_gflops * 1e3 / flops;
        Ok(Ceiling {
            peak_gflops,
            acting: m_frames_per_s(forward),
            learning: m_frames_per_s(learning),
        })
    }

    /// Of `n_cores` that act and learn, M frames/s.
    pub fn whole(&self, n_cores: usize) -> f64 {
        n_cores as f64 / (1.0 / self.acting + 1.0 / self.learning)
    }
}

/// The best of all repetitions: others may use the core meanwhile.
fn peak_gflops(config: &Config, effort: Effort) -> Result<f64> {
    const ROUNDS: usize = 10_000;
    let simd = config.simd()?.in_f32();
    let flops = simd.multiply_adds(ROUNDS) as f64;
    let brief = Effort { part: Duration::from_millis(1), n_runs: 100 * effort.n_runs, ..effort };
    let seconds = seconds_each(brief, &mut || _ = simd.multiply_adds(ROUNDS));
    Ok(flops / seconds.into_iter().fold(f64::INFINITY, f64::min) / 1e9)
}

/// Floating-point operations of a frame: outputs from inputs; then gradients of weights, and of the inputs of every
/// layer but the network's first.
fn flops(network: &NetworkSpec) -> [f64; 2] {
    let layers = network.layers();
    let dense = layers.iter().filter_map(|layer| match layer {
        Layer::Dense { n_inputs, n_outputs } => Some(n_inputs * n_outputs),
        _ => None,
    });
    let forward = 2 * (dense.sum::<usize>() + network.n_outputs() * network.n_head_inputs());
    let first = match layers.first() {
        Some(Layer::Dense { n_inputs, n_outputs }) => 2 * n_inputs * n_outputs,
        _ => 0,
    };
    [forward as f64, (2 * forward - first) as f64]
}
