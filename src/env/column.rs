//! One environment's part of what passes to and from E of them: its observation, its action.
//!
//! Owns which Rust types an environment may use for them, and where each lies among those of the others. The
//! type is known when the program is compiled, so an array of numbers is written by as many stores as it has.

use ndarray::ArrayViewMut2;

use crate::space::{ActionSpace, Actions, Number, ObsMut, ObsSpace};

/// What an environment writes an observation as: `[f32; D]`, `[f32]` for a number of numbers that only its
/// arguments say, or `[u8]` for the pixels of a picture, `[C, H, W]`.
pub trait Observation {
    /// The room of E environments.
    type Rows<'a>;

    /// Whether it can hold an observation of this space.
    fn fits(space: &ObsSpace) -> bool;

    /// The room, by rows; `None` where it is not that of `n_envs` observations of `space`.
    fn rows<'a>(
        room: ObsMut<'a>,
        space: &ObsSpace,
        n_envs: usize,
        scratch: &'a mut Vec<f32>,
    ) -> Option<Self::Rows<'a>>;

    /// Lets `write` fill the observation of environment `e`.
    fn write<T>(rows: &mut Self::Rows<'_>, e: usize, write: impl FnOnce(&mut Self) -> T) -> T;
}

/// The rows of a room of `n_rows` numbers for each of `n_envs` environments.
fn number_rows(room: ObsMut<'_>, n_rows: usize, n_envs: usize) -> Option<ArrayViewMut2<'_, f32>> {
    match room {
        ObsMut::Numbers(room) if room.dim() == (n_rows, n_envs) => Some(room),
        _ => None,
    }
}

impl<const D: usize> Observation for [f32; D] {
    type Rows<'a> = [&'a mut [f32]; D];

    fn fits(space: &ObsSpace) -> bool {
        matches!(space, ObsSpace::Vector { len, .. } if *len == D)
    }

    fn rows<'a>(
        room: ObsMut<'a>,
        _: &ObsSpace,
        n_envs: usize,
        _: &'a mut Vec<f32>,
    ) -> Option<Self::Rows<'a>> {
        let room = number_rows(room, D, n_envs)?;
        let mut rows = room.into_outer_iter_mut().map(|row| row.into_slice());
        let rows: [Option<&'a mut [f32]>; D] = std::array::from_fn(|_| rows.next().flatten());
        let is_whole = rows.iter().all(Option::is_some);
        is_whole.then(|| rows.map(Option::unwrap_or_default))
    }

    #[inline]
    fn write<T>(rows: &mut Self::Rows<'_>, e: usize, write: impl FnOnce(&mut Self) -> T) -> T {
        let mut column = [0.0; D];
        let written = write(&mut column);
        for (row, number) in rows.iter_mut().zip(column) {
            row[e] = number;
        }
        written
    }
}

impl Observation for [f32] {
    /// The room, and room for one observation in one piece.
    type Rows<'a> = (ArrayViewMut2<'a, f32>, &'a mut Vec<f32>);

    fn fits(space: &ObsSpace) -> bool {
        matches!(space, ObsSpace::Vector { .. })
    }

    fn rows<'a>(
        room: ObsMut<'a>,
        space: &ObsSpace,
        n_envs: usize,
        scratch: &'a mut Vec<f32>,
    ) -> Option<Self::Rows<'a>> {
        let n_rows = space.numbers().len;
        scratch.resize(n_rows, 0.0);
        Some((number_rows(room, n_rows, n_envs)?, scratch))
    }

    fn write<T>(rows: &mut Self::Rows<'_>, e: usize, write: impl FnOnce(&mut Self) -> T) -> T {
        let (room, column) = rows;
        let written = write(column);
        room.column_mut(e).iter_mut().zip(column.iter()).for_each(|(room, number)| *room = *number);
        written
    }
}

impl Observation for [u8] {
    /// All pixels, and how many one environment has.
    type Rows<'a> = (&'a mut [u8], usize);

    fn fits(space: &ObsSpace) -> bool {
        space.numbers().number == Number::U8
    }

    fn rows<'a>(
        room: ObsMut<'a>,
        space: &ObsSpace,
        n_envs: usize,
        _: &'a mut Vec<f32>,
    ) -> Option<Self::Rows<'a>> {
        let n_pixels = space.numbers().len;
        match room {
            ObsMut::Pixels(room) if room.dim() == (n_envs, n_pixels) => {
                Some((room.into_slice()?, n_pixels))
            }
            _ => None,
        }
    }

    fn write<T>(rows: &mut Self::Rows<'_>, e: usize, write: impl FnOnce(&mut Self) -> T) -> T {
        let (pixels, n_pixels) = rows;
        write(&mut pixels[e * *n_pixels..][..*n_pixels])
    }
}

/// What an environment takes an action as: `usize` for one index, `[usize; K]` for K indices, `[f32; K]` for K
/// numbers, which are cut to their bounds.
pub trait Action: Sized {
    /// The actions of E environments, and what is allowed.
    type Rows<'a>;

    /// Whether it can hold an action of this space.
    fn fits(space: &ActionSpace) -> bool;

    /// The actions, by rows; `None` where they are not those of `n_envs` environments of `space`.
    fn rows<'a>(actions: Actions<'a>, space: &ActionSpace, n_envs: usize)
    -> Option<Self::Rows<'a>>;

    /// The action of environment `e`; `None` where it is not in the space.
    fn read(rows: &Self::Rows<'_>, e: usize) -> Option<Self>;
}

impl Action for usize {
    type Rows<'a> = (&'a [i32], usize);

    fn fits(space: &ActionSpace) -> bool {
        matches!(space, ActionSpace::Discrete(_))
    }

    fn rows<'a>(
        actions: Actions<'a>,
        space: &ActionSpace,
        n_envs: usize,
    ) -> Option<Self::Rows<'a>> {
        match (actions, space) {
            (Actions::Indices(rows), ActionSpace::Discrete(n)) if rows.dim() == (1, n_envs) => {
                Some((actions.index_row(), *n))
            }
            _ => None,
        }
    }

    #[inline]
    fn read((actions, n_actions): &Self::Rows<'_>, e: usize) -> Option<usize> {
        index_below(*n_actions, actions[e])
    }
}

impl<const K: usize> Action for [usize; K] {
    type Rows<'a> = [(&'a [i32], usize); K];

    fn fits(space: &ActionSpace) -> bool {
        matches!(space, ActionSpace::MultiDiscrete(choices) if choices.len() == K)
    }

    fn rows<'a>(
        actions: Actions<'a>,
        space: &ActionSpace,
        n_envs: usize,
    ) -> Option<Self::Rows<'a>> {
        let (Actions::Indices(rows), ActionSpace::MultiDiscrete(choices)) = (actions, space) else {
            return None;
        };
        let is_fitting = rows.dim() == (K, n_envs) && choices.len() == K;
        let row = |k: usize| (rows.slice_move(ndarray::s![k, ..]).to_slice(), choices[k]);
        let rows = is_fitting.then(|| std::array::from_fn::<_, K, _>(row))?;
        let is_whole = rows.iter().all(|(row, _)| row.is_some());
        is_whole.then(|| rows.map(|(row, n)| (row.unwrap_or_default(), n)))
    }

    fn read(rows: &Self::Rows<'_>, e: usize) -> Option<Self> {
        let mut action = [0; K];
        for (part, (indices, n)) in action.iter_mut().zip(rows) {
            *part = index_below(*n, indices[e])?;
        }
        Some(action)
    }
}

impl<const K: usize> Action for [f32; K] {
    type Rows<'a> = ([&'a [f32]; K], [[f32; 2]; K]);

    fn fits(space: &ActionSpace) -> bool {
        matches!(space, ActionSpace::Box { low, .. } if low.len() == K)
    }

    fn rows<'a>(
        actions: Actions<'a>,
        space: &ActionSpace,
        n_envs: usize,
    ) -> Option<Self::Rows<'a>> {
        let (Actions::Numbers(rows), ActionSpace::Box { low, high }) = (actions, space) else {
            return None;
        };
        let is_fitting = rows.dim() == (K, n_envs) && low.len() == K && high.len() == K;
        let row = |k: usize| rows.slice_move(ndarray::s![k, ..]).to_slice();
        let rows = is_fitting.then(|| std::array::from_fn::<_, K, _>(row))?;
        let bounds = std::array::from_fn(|k| [low[k], high[k]]);
        let is_whole = rows.iter().all(Option::is_some);
        is_whole.then(|| (rows.map(Option::unwrap_or_default), bounds))
    }

    fn read((rows, bounds): &Self::Rows<'_>, e: usize) -> Option<Self> {
        Some(std::array::from_fn(|k| rows[k][e].clamp(bounds[k][0], bounds[k][1])))
    }
}

/// The index, if it is below `n`. A negative one becomes a huge one, so one comparison checks both ends.
#[inline]
fn index_below(n: usize, index: i32) -> Option<usize> {
    let index = index as u32 as usize;
    (index < n).then_some(index)
}
