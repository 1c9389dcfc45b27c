//! The torsos by name: what makes features of an observation, as a list of layers.
//!
//! Each function draws its torso with the shapes of the pictures that it was published for. To add one: a
//! variant, its function, its word in the setting `network.torso`.

use serde::{Deserialize, Serialize};

use super::layer::Stack;

/// What makes features of an observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Torso {
    /// Dense layers, each followed by tanh.
    Mlp {
        /// Units of each layer, at least one layer.
        hidden: Vec<usize>,
    },
    /// The network of MinAtar's authors; see [`Torso::name`] for its setting.
    Minatar,
    /// The network of DQN's second paper.
    Nature,
    /// The smaller network of the IMPALA paper.
    ImpalaShallow,
    /// The larger one.
    ImpalaDeep,
}

impl Torso {
    /// As the setting `network.torso` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Torso::Mlp { .. } => "mlp",
            Torso::Minatar => "minatar",
            Torso::Nature => "nature",
            Torso::ImpalaShallow => "impala-shallow",
            Torso::ImpalaDeep => "impala-deep",
        }
    }

    /// Whether it looks at pictures, and cannot take numbers.
    pub fn is_of_pictures(&self) -> bool {
        !matches!(self, Torso::Mlp { .. })
    }

    /// Its layers on observations `[C, H, W]`, of which numbers have `[D, 1, 1]`, where the first dense one takes
    /// `n_task_inputs` numbers besides; `None` where a picture is too small for its kernels.
    pub(super) fn stack(&self, shape: [usize; 3], n_task_inputs: usize) -> Option<Stack> {
        let pictures = Stack::on(shape).told(n_task_inputs);
        match self {
            Torso::Mlp { hidden } => {
                let numbers = Stack::on([shape.iter().product(), 1, 1]);
                Some(mlp(numbers.told(n_task_inputs), hidden))
            }
            Torso::Minatar => minatar(pictures),
            Torso::Nature => nature(pictures),
            Torso::ImpalaShallow => impala_shallow(pictures),
            Torso::ImpalaDeep => Some(impala_deep(pictures)),
        }
    }
}

/// `D ─ dense ─ tanh ─ dense ─ tanh ─ … ─ features`. Pixels are taken one by one.
fn mlp(numbers: Stack, hidden: &[usize]) -> Stack {
    hidden.iter().fold(numbers, |stack, &units| stack.dense(units).tanh())
}

/// Young and Tian 2019 (arXiv 1903.03176), section 3, as their `dqn.py` has it.
///
/// ```text
/// [C,10,10] ─ conv 3×3, 16 ─ ReLU ─ [16,8,8] ─ flatten ─ dense 128 ─ ReLU ─ 128 features
/// parameters of C = 4: 592 + 131,200
/// ```
fn minatar(planes: Stack) -> Option<Stack> {
    Some(planes.conv(16, 3, 1)?.relu().flatten().dense(128).relu())
}

/// Mnih et al. 2015 (doi 10.1038/nature14236), "Methods: Model architecture".
///
/// ```text
/// [4,84,84] ─ conv 8×8 stride 4, 32 ─ ReLU ─ [32,20,20]
///           ─ conv 4×4 stride 2, 64 ─ ReLU ─ [64,9,9]
///           ─ conv 3×3 stride 1, 64 ─ ReLU ─ [64,7,7] ─ flatten ─ dense 512 ─ ReLU ─ 512 features
/// parameters: 8,224 + 32,832 + 36,928 + 1,606,144
/// ```
fn nature(pictures: Stack) -> Option<Stack> {
    let first = pictures.conv(32, 8, 4)?.relu();
    let last = first.conv(64, 4, 2)?.relu().conv(64, 3, 1)?.relu();
    Some(last.flatten().dense(512).relu())
}

/// IMPALA (arXiv 1802.01561), Figure 3 left, without its LSTM.
///
/// ```text
/// [4,84,84] ─ conv 8×8 stride 4, 16 ─ ReLU ─ [16,20,20]
///           ─ conv 4×4 stride 2, 32 ─ ReLU ─ [32,9,9] ─ flatten ─ dense 256 ─ ReLU ─ 256 features
/// parameters: 4,112 + 8,224 + 663,808
/// ```
fn impala_shallow(pictures: Stack) -> Option<Stack> {
    let convs = pictures.conv(16, 8, 4)?.relu().conv(32, 4, 2)?.relu();
    Some(convs.flatten().dense(256).relu())
}

/// IMPALA (arXiv 1802.01561), Figure 3 right, without its LSTM: fifteen convolutions.
///
/// ```text
/// [4,84,84] ─ section 16 ─ [16,42,42] ─ section 32 ─ [32,21,21] ─ section 32 ─ [32,11,11]
///           ─ ReLU ─ flatten ─ dense 256 ─ ReLU ─ 256 features
/// section c:  ─ conv 3×3, c ─ max pool 3×3 stride 2 ─ block ─ block ─
/// block:      ─┬─ ReLU ─ conv 3×3, c ─ ReLU ─ conv 3×3, c ─ + ─
///              └────────────────────────────────────────────┘
/// parameters: 9,872 + 41,632 + 46,240 + 991,488
/// ```
fn impala_deep(pictures: Stack) -> Stack {
    let sections = [16, 32, 32].into_iter().fold(pictures, |stack, channels| {
        let block = |inner: Stack| inner.relu().same_conv(channels).relu().same_conv(channels);
        stack.same_conv(channels).max_pool().residual(block).residual(block)
    });
    sections.relu().flatten().dense(256).relu()
}
