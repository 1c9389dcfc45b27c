//! How many operations a frame costs, and how fast they could be done: from the arithmetic at the core's
//! peak down to what the whole engine does.

use anyhow::{Context, Result};

use super::results::{InstructionSet, Machine};

/// CartPole's observation size, logits and value, and the hidden units of the default network.
const OBSERVATIONS: usize = 4;
const HEADS: usize = 3;
pub const HIDDEN: usize = 64;
/// Steps of a rollout: the learner's forward pass goes over one more.
const T: usize = 20;
/// Environments of an actor: columns of an actor's forward pass.
const E: usize = 32;
/// Columns of a slot, bootstrap included.
const N: usize = (T + 1) * E;

/// One bound on what the machine can do, in M frames/s.
pub struct Rung {
    pub name: &'static str,
    pub m_frames_per_s: f64,
}

/// Multiply-adds of each layer, as two operations a weight.
fn layers() -> [usize; 3] {
    [OBSERVATIONS * HIDDEN, HIDDEN * HIDDEN, HIDDEN * HEADS].map(|n_weights| 2 * n_weights)
}

/// Of acting once.
pub fn act_flops() -> f64 {
    layers().iter().sum::<usize>() as f64
}

/// Of the learner's forward pass, with the frame's share of the bootstrap.
pub fn forward_flops() -> f64 {
    act_flops() * (T + 1) as f64 / T as f64
}

/// Of the gradient: of the weights of every layer, of the inputs of all but the first.
pub fn backward_flops() -> f64 {
    let [first, middle, heads] = layers();
    (first + 2 * middle + 2 * heads) as f64
}

/// All of it.
pub fn frame_flops() -> f64 {
    act_flops() + forward_flops() + backward_flops()
}

/// What kernels reach of the peak at the sizes of the default network.
pub struct Rates {
    pub peak_gflops: f64,
    /// Of an actor's forward pass, over its environments.
    pub act_gflops: f64,
    /// Of forward and backward pass over a slot.
    pub learn_gflops: f64,
}

impl Rates {
    /// # Errors
    /// If a kernel is not among those measured.
    pub fn of(set: &InstructionSet) -> Result<Self> {
        let rate = |name: &str, n_frames| {
            let kernel = set.of_size(HIDDEN, n_frames).find(|kernel| kernel.name == name);
            kernel.map(|kernel| kernel.gflops).with_context(|| format!("no kernel {name}"))
        };
        let (act_gflops, learn_gflops) = (rate("forward", E)?, rate("forward + backward", N)?);
        Ok(Rates { peak_gflops: set.peak_gflops, act_gflops, learn_gflops })
    }
}

/// From the arithmetic down to the engine.
///
/// # Errors
/// If something was not measured.
pub fn ladder(machine: &Machine) -> Result<Vec<Rung>> {
    let rates = Rates::of(machine.widest().context("no kernels were measured")?)?;
    let n_cores = machine.throughput.setting.n_cores as f64;
    // GFLOP/s by FLOP a frame are G frames/s.
    let at_peak = n_cores * rates.peak_gflops / frame_flops() * 1e3;
    let learn_flops = forward_flops() + backward_flops();
    let ns_a_frame = act_flops() / rates.act_gflops + learn_flops / rates.learn_gflops;
    let row = |group, name| {
        let spread = machine.row(group, name).with_context(|| format!("no row {group}: {name}"));
        spread.map(|spread| spread.median)
    };
    let parts = "parts, one core, from memory";
    let (actor, learner) = (row(parts, "actor only")?, row(parts, "learner only, native")?);
    let whole = "frames consumed by learning";
    let rung = |name, m_frames_per_s| Rung { name, m_frames_per_s };
    Ok(vec![
        rung("all cores at their peak of multiply-adds", at_peak),
        rung("all cores at their kernels' rates", n_cores * 1e3 / ns_a_frame),
        rung("all cores, actor and learner from memory", n_cores / (1.0 / actor + 1.0 / learner)),
        rung("whole, 2 learner threads", row("end to end, native", whole)?),
        rung("one core, learner from memory", learner),
        rung("whole, 1 learner thread", row("end to end, native, 1 learner thread", whole)?),
    ])
}
