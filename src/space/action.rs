//! Actions: what one can do, and views of what was done in many frames.

use std::fmt;
use std::ops::Range;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use serde::{Deserialize, Serialize};

use super::number::{Number, Numbers};
use crate::base::columns::{columns, columns_mut};

/// What can be done in one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionSpace {
    /// One of A actions, an index below it.
    Discrete(usize),
    /// K choices at once, each an index below its number.
    MultiDiscrete(Vec<usize>),
    /// K numbers, each between its bounds.
    Box {
        /// Smallest values, `[K]`; the least f32 where there is no bound.
        low: Vec<f32>,
        /// Largest values, `[K]`.
        high: Vec<f32>,
    },
}

impl ActionSpace {
    /// The numbers of one action.
    pub fn numbers(&self) -> Numbers {
        match self {
            ActionSpace::Discrete(_) => Numbers::new(Number::I32, 1),
            ActionSpace::MultiDiscrete(choices) => Numbers::new(Number::I32, choices.len()),
            ActionSpace::Box { low, .. } => Numbers::new(Number::F32, low.len()),
        }
    }

    pub(super) fn fault(&self) -> Option<String> {
        let is_index = |n: &usize| (1..=i32::MAX as usize).contains(n);
        let is_sound = match self {
            ActionSpace::Discrete(n) => is_index(n),
            ActionSpace::MultiDiscrete(choices) => {
                !choices.is_empty() && choices.iter().all(is_index)
            }
            ActionSpace::Box { low, high } => {
                // JSON, in which a checkpoint states them, has no infinity.
                let is_bound =
                    |(low, high): (&f32, &f32)| low.is_finite() && high.is_finite() && low < high;
                low.len() == high.len() && !low.is_empty() && low.iter().zip(high).all(is_bound)
            }
        };
        (!is_sound).then(|| format!("actions {self}: there is none, or bounds do not fit"))
    }
}

impl fmt::Display for ActionSpace {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ActionSpace::Discrete(n) => write!(f, "Discrete({n})"),
            ActionSpace::MultiDiscrete(choices) => write!(f, "MultiDiscrete {choices:?}"),
            ActionSpace::Box { low, high } if low.len() == high.len() => {
                write!(f, "Box [{}]", low.len())
            }
            ActionSpace::Box { low, high } => {
                write!(f, "Box of {} low and {} high bounds", low.len(), high.len())
            }
        }
    }
}

/// The actions of N frames, `[K, N]`: a row is a part of an action, a column a frame.
#[derive(Clone, Copy, Debug)]
pub enum Actions<'a> {
    /// Indices.
    Indices(ArrayView2<'a, i32>),
    /// Numbers, as they were drawn.
    Numbers(ArrayView2<'a, f32>),
}

/// Said where a head meets actions of another kind.
const NO_INDICES: &str = "a head of indices meets actions of its own space";
const NO_NUMBERS: &str = "a head of numbers meets actions of its own space";

impl<'a> Actions<'a> {
    /// Actions that are one index each, `[N]`.
    pub fn of_indices(indices: &'a [i32]) -> Self {
        let row = ArrayView2::from_shape((1, indices.len()), indices);
        Actions::Indices(row.expect("one row has all of them"))
    }

    /// N.
    pub fn n_frames(&self) -> usize {
        match self {
            Actions::Indices(actions) => actions.ncols(),
            Actions::Numbers(actions) => actions.ncols(),
        }
    }

    /// The rows of indices, `[K, N]`.
    ///
    /// # Panics
    /// If they are numbers.
    pub fn indices(&self) -> ArrayView2<'a, i32> {
        match self {
            Actions::Indices(actions) => *actions,
            Actions::Numbers(_) => panic!("{NO_INDICES}"),
        }
    }

    /// Those of some of the frames.
    pub fn frames(&self, range: Range<usize>) -> Actions<'a> {
        match self {
            Actions::Indices(actions) => Actions::Indices(columns(*actions, range)),
            Actions::Numbers(actions) => Actions::Numbers(columns(*actions, range)),
        }
    }

    /// The rows of numbers, `[K, N]`.
    ///
    /// # Panics
    /// If they are indices.
    pub fn numbers(&self) -> ArrayView2<'a, f32> {
        match self {
            Actions::Numbers(actions) => *actions,
            Actions::Indices(_) => panic!("{NO_NUMBERS}"),
        }
    }

    /// The only row of an action that is one index, `[N]`.
    ///
    /// # Panics
    /// If actions have more parts, or are numbers.
    pub fn index_row(&self) -> &'a [i32] {
        let indices = self.indices();
        assert_eq!(indices.nrows(), 1, "{NO_INDICES}");
        indices.slice_move(s![0, ..]).to_slice().expect("columns are contiguous")
    }
}

/// Room for the actions of N frames, as [`Actions`].
#[derive(Debug)]
pub enum ActionsMut<'a> {
    /// Indices.
    Indices(ArrayViewMut2<'a, i32>),
    /// Numbers.
    Numbers(ArrayViewMut2<'a, f32>),
}

impl ActionsMut<'_> {
    /// What is there, to be read.
    pub fn view(&self) -> Actions<'_> {
        match self {
            ActionsMut::Indices(actions) => Actions::Indices(actions.view()),
            ActionsMut::Numbers(actions) => Actions::Numbers(actions.view()),
        }
    }

    /// The room of some of the frames.
    pub fn frames(&mut self, range: Range<usize>) -> ActionsMut<'_> {
        match self {
            ActionsMut::Indices(actions) => {
                ActionsMut::Indices(columns_mut(actions.view_mut(), range))
            }
            ActionsMut::Numbers(actions) => {
                ActionsMut::Numbers(columns_mut(actions.view_mut(), range))
            }
        }
    }

    /// The rows of indices, `[K, N]`.
    ///
    /// # Panics
    /// If they are numbers.
    pub fn indices(&mut self) -> ArrayViewMut2<'_, i32> {
        match self {
            ActionsMut::Indices(actions) => actions.view_mut(),
            ActionsMut::Numbers(_) => panic!("{NO_INDICES}"),
        }
    }

    /// The rows of numbers, `[K, N]`.
    ///
    /// # Panics
    /// If they are indices.
    pub fn numbers(&mut self) -> ArrayViewMut2<'_, f32> {
        match self {
            ActionsMut::Numbers(actions) => actions.view_mut(),
            ActionsMut::Indices(_) => panic!("{NO_NUMBERS}"),
        }
    }

    /// The only row of an action that is one index, `[N]`.
    ///
    /// # Panics
    /// If actions have more parts, or are numbers.
    pub fn index_row(&mut self) -> &mut [i32] {
        match self {
            ActionsMut::Indices(actions) if actions.nrows() == 1 => {
                let row = actions.slice_mut(s![0, ..]);
                row.into_slice().expect("columns are contiguous")
            }
            _ => panic!("{NO_INDICES}"),
        }
    }
}

/// Actions of N frames in private memory.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionBuffer {
    /// Indices, `[K, N]`.
    Indices(Array2<i32>),
    /// Numbers, `[K, N]`.
    Numbers(Array2<f32>),
}

impl ActionBuffer {
    /// Room for the actions of `n_frames` frames, all zero.
    pub fn zeros(space: &ActionSpace, n_frames: usize) -> Self {
        let Numbers { number, len } = space.numbers();
        match number {
            Number::F32 => ActionBuffer::Numbers(Array2::zeros((len, n_frames))),
            _ => ActionBuffer::Indices(Array2::zeros((len, n_frames))),
        }
    }

    /// What is there, to be read.
    pub fn view(&self) -> Actions<'_> {
        match self {
            ActionBuffer::Indices(actions) => Actions::Indices(actions.view()),
            ActionBuffer::Numbers(actions) => Actions::Numbers(actions.view()),
        }
    }

    /// The room.
    pub fn view_mut(&mut self) -> ActionsMut<'_> {
        match self {
            ActionBuffer::Indices(actions) => ActionsMut::Indices(actions.view_mut()),
            ActionBuffer::Numbers(actions) => ActionsMut::Numbers(actions.view_mut()),
        }
    }
}
