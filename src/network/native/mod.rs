//! Networks with hand-derived gradients over the batched kernels.
//!
//! Generic over the float type, so that the very code that trains in f32 is checked in f64 against
//! finite differences.

mod bit_conv;
mod lstm;
mod minatar;
mod mlp;
mod own_weights;
mod recurrent;

use ndarray::NdFloat;

use super::{Acting, Learning, NetworkSpec, Pixels, Torso, free};
use crate::kernels::{Kernels, Simd};

/// What such a network is called in settings and reports.
pub(super) const NAME: &str = "native";

/// Whether there is such a network for `spec`: for all dense layers, with an LSTM or without, and for MinAtar's on
/// planes of bits.
pub fn supports(spec: &NetworkSpec) -> bool {
    match spec.torso {
        Torso::Mlp { .. } => true,
        Torso::Minatar => spec.lstm.is_none() && spec.pixels.is_some_and(is_planes_of_bits),
        Torso::Nature | Torso::ImpalaShallow | Torso::ImpalaDeep => false,
    }
}

/// Whether these are planes that [`bit_conv`] can count.
fn is_planes_of_bits(pixels: Pixels) -> bool {
    pixels.high == 1 && pixels.shape.iter().all(|side| u16::try_from(*side).is_ok())
}

/// Whether several threads can share a pass of `spec`: blocks of frames are worth a meeting where its dense layer is
/// large.
pub fn can_share(spec: &NetworkSpec) -> bool {
    supports(spec) && matches!(spec.torso, Torso::Minatar)
}

/// The network of `spec` as it acts in `n_envs` environments of one task, with all-zero weights.
///
/// # Panics
/// If it is not [supported](supports).
pub fn acting(spec: &NetworkSpec, kernels: Simd, n_envs: usize, task: u32) -> Box<dyn Acting> {
    assert!(supports(spec), "{} is left to libtorch", spec.name());
    let network: Box<dyn Acting> = match (&spec.torso, spec.lstm) {
        (Torso::Minatar, _) => Box::new(minatar::MinatarActing::new(spec, kernels, n_envs, task)),
        (_, None) => Box::new(mlp::MlpActing::new(spec, kernels, n_envs, task)),
        (_, Some(_)) => Box::new(recurrent::RecurrentActing::new(spec, kernels, n_envs, task)),
    };
    free::acting(spec, network)
}

/// The network of `spec` as it learns from batches of `n_observations` = (T+1)·B observations.
///
/// # Panics
/// If it is not [supported](supports).
pub fn learning<K: Kernels<R> + 'static, R: NdFloat + Send>(
    spec: &NetworkSpec,
    kernels: K,
    n_observations: usize,
) -> Box<dyn Learning<R>> {
    assert!(supports(spec), "{} is left to libtorch", spec.name());
    let n = n_observations;
    let network: Box<dyn Learning<R>> = match (&spec.torso, spec.lstm) {
        (Torso::Minatar, _) => Box::new(minatar::MinatarLearning::new(spec, kernels, n)),
        (_, None) => Box::new(mlp::MlpLearning::new(spec, kernels, n)),
        (_, Some(_)) => Box::new(recurrent::RecurrentLearning::new(spec, kernels, n)),
    };
    free::learning(spec, network)
}
