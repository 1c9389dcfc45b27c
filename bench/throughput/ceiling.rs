//! What arithmetic alone would allow: the most multiply-adds of a core, and of all at once, by what a frame needs.
//!
//! Only dense layers and heads are counted: on bits a convolution needs no products. Multiply-adds are those of the
//! kernels that run, in f32 or bf16. All cores at once do less than so many times one where they share units, as two
//! threads of one core do; a virtual machine does not tell.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use impala::config::Config;
use impala::kernels::Simd;
use impala::network::{Layer, NetworkSpec};
use impala::os::process::n_cores;
use impala::run::sizes::Sizes;

use super::Effort;

/// Rounds of multiply-adds between two looks at the clock: some microseconds in f32, up to half a millisecond in bf16.
const ROUNDS: usize = 1_000;

/// How long one try lasts: the best of many counts, since others use the machine too.
const TRY: Duration = Duration::from_millis(2);

/// The most that cores do, and what a frame needs of it.
pub struct Ceiling {
    /// One core, GFLOP/s.
    pub one_core: f64,
    /// All cores at once, GFLOP/s.
    pub all_cores: f64,
    /// Floating-point operations of a frame that is acted.
    acting: f64,
    /// Of one that is learned from.
    learning: f64,
}

impl Ceiling {
    /// Measures the cores, for what this configuration makes of a frame.
    pub fn measure(config: &Config, effort: Effort) -> Result<Ceiling> {
        let (simd, n_tries) = (config.simd()?, 20 * effort.n_runs);
        let best = |gflops: &dyn Fn() -> f64| (0..n_tries).map(|_| gflops()).fold(0.0, f64::max);
        let [forward, backward] = flops(&Sizes::of(config)?.network);
        // The learner looks at the bootstrap's step too.
        let n_steps = config.actors.unroll_length as f64;
        Ok(Ceiling {
            one_core: best(&|| gflops(simd)),
            all_cores: best(&|| gflops_of_all(simd)),
            acting: forward,
            learning: forward * (n_steps + 1.0) / n_steps + backward,
        })
    }

    /// Of one core that acts, M frames/s.
    pub fn acting(&self) -> f64 {
        self.one_core * 1e3 / self.acting
    }

    /// Of one core that learns, M frames/s.
    pub fn learning(&self) -> f64 {
        self.one_core * 1e3 / self.learning
    }

    /// Of all cores that act and learn, M frames/s.
    pub fn whole(&self) -> f64 {
        self.all_cores * 1e3 / (self.acting + self.learning)
    }
}

/// Of this core, for a moment.
fn gflops(simd: Simd) -> f64 {
    let (start, mut n_flops) = (Instant::now(), 0);
    while start.elapsed() < TRY {
        n_flops += simd.multiply_adds(ROUNDS);
    }
    n_flops as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Of a thread for each core, at the same time.
fn gflops_of_all(simd: Simd) -> f64 {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..n_cores()).map(|_| scope.spawn(|| gflops(simd))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it only multiplies")).sum()
    })
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
