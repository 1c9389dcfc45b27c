//! Observations: what one is made of, and views of those of many frames.
//!
//! **Numbers lie feature-major, pixels frame-major.** A vector's layout is what our kernels want: a row is a
//! feature, a column a frame. An image's is what an environment writes in one copy and libtorch reads.

use std::fmt;
use std::ops::Range;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, s};
use serde::{Deserialize, Serialize};

use super::number::{Number, Numbers};
use crate::base::columns::{columns, columns_mut};
use crate::base::finite::all_finite;

/// What an observation is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObsSpace {
    /// Numbers.
    Vector {
        /// How many, D.
        len: usize,
        /// Smallest and largest value of each, `[D]`: what the network sees is mapped from there to -1 to 1.
        /// `None`: it sees the numbers as they are.
        bounds: Option<Vec<[f32; 2]>>,
    },
    /// Pixels of u8.
    Image {
        /// Channels, height, width: `[C, H, W]`.
        shape: [usize; 3],
        /// The largest pixel. The network sees 0 to this as 0 to 1.
        high: u8,
    },
}

impl ObsSpace {
    /// `len` numbers, which the network sees as they are.
    pub fn vector(len: usize) -> Self {
        ObsSpace::Vector { len, bounds: None }
    }

    /// Numbers between bounds, which the network sees between -1 and 1.
    pub fn bounded(bounds: &[[f32; 2]]) -> Self {
        ObsSpace::Vector { len: bounds.len(), bounds: Some(bounds.to_vec()) }
    }

    /// Pictures of u8.
    pub fn image(channels: usize, height: usize, width: usize) -> Self {
        ObsSpace::Image { shape: [channels, height, width], high: u8::MAX }
    }

    /// Pictures of bits, each 0 or 1: every channel says where one kind of thing is.
    pub fn planes(channels: usize, height: usize, width: usize) -> Self {
        ObsSpace::Image { shape: [channels, height, width], high: 1 }
    }

    /// The numbers of one observation.
    pub fn numbers(&self) -> Numbers {
        match self {
            ObsSpace::Vector { len, .. } => Numbers::new(Number::F32, *len),
            ObsSpace::Image { shape, .. } => Numbers::new(Number::U8, shape.iter().product()),
        }
    }

    /// What `n_pictures` one behind the other are, each with its channels; `None` of numbers, which one alone is.
    pub fn stacked(&self, n_pictures: usize) -> Option<ObsSpace> {
        match self {
            ObsSpace::Image { shape: [channels, height, width], high } => {
                let channels = channels.checked_mul(n_pictures)?;
                Some(ObsSpace::Image { shape: [channels, *height, *width], high: *high })
            }
            ObsSpace::Vector { .. } => (n_pictures == 1).then(|| self.clone()),
        }
    }

    /// What has room for an observation of either, both as they come to the network: that with fewer numbers or
    /// channels is followed by zeros. `None` where they are not of one kind, or pictures not of one size.
    pub fn padded(&self, other: &ObsSpace) -> Option<ObsSpace> {
        match (self, other) {
            (ObsSpace::Vector { len, .. }, ObsSpace::Vector { len: other, .. }) => {
                Some(ObsSpace::vector(*len.max(other)))
            }
            (
                ObsSpace::Image { shape: [channels, sides @ ..], high },
                ObsSpace::Image { shape: [others, other_sides @ ..], high: other_high },
            ) => {
                let [height, width] = *sides;
                let shape = [*channels.max(others), height, width];
                let is_alike = sides == other_sides && high == other_high;
                is_alike.then_some(ObsSpace::Image { shape, high: *high })
            }
            _ => None,
        }
    }

    /// How each number comes to the network; `None` where all come as they are.
    pub fn input_maps(&self) -> Option<Vec<InputMap>> {
        match self {
            ObsSpace::Vector { bounds, .. } => {
                bounds.as_ref().map(|bounds| bounds.iter().copied().map(InputMap::of).collect())
            }
            ObsSpace::Image { .. } => None,
        }
    }

    /// What the environment says, of what the network takes (up to rounding); for people to look at.
    pub fn observed(&self, inputs: Vec<f32>) -> Vec<f32> {
        let Some(maps) = self.input_maps() else { return inputs };
        inputs.into_iter().zip(maps).map(|(input, map)| map.observed(input)).collect()
    }

    pub(super) fn fault(&self) -> Option<String> {
        match self {
            ObsSpace::Vector { len: 0, .. } => Some("an observation with no number in it".into()),
            ObsSpace::Vector { len, bounds: Some(bounds) } if bounds.len() != *len => {
                Some(format!("{} bounds of {len} numbers; each has its own", bounds.len()))
            }
            ObsSpace::Vector { bounds, .. } => {
                let is_sound = |[low, high]: &&[f32; 2]| low < high && (high - low).is_finite();
                let wrong = bounds.iter().flatten().find(|bounds| !is_sound(bounds));
                wrong.map(|wrong| format!("bounds {wrong:?}; they are finite, the lower one first"))
            }
            ObsSpace::Image { shape, .. } if shape.contains(&0) => {
                Some(format!("pictures of {shape:?}; no side may be 0"))
            }
            ObsSpace::Image { high, .. } => {
                (*high == 0).then(|| "pictures whose largest pixel is 0".into())
            }
        }
    }
}

impl fmt::Display for ObsSpace {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ObsSpace::Vector { len, .. } => write!(f, "f32 [{len}]"),
            ObsSpace::Image { shape, high: u8::MAX } => write!(f, "u8 {shape:?}"),
            ObsSpace::Image { shape, high } => write!(f, "u8 {shape:?} of 0 to {high}"),
        }
    }
}

/// One number's way into the network: `(observed − centre) · factor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputMap {
    /// What becomes 0.
    pub centre: f32,
    /// What it is multiplied with from there.
    pub factor: f32,
}

impl InputMap {
    /// The lower bound becomes -1, the upper one 1.
    pub fn of([low, high]: [f32; 2]) -> Self {
        InputMap { centre: (low + high) / 2.0, factor: 2.0 / (high - low) }
    }

    /// What was observed, of what the network takes.
    pub fn observed(&self, input: f32) -> f32 {
        input / self.factor + self.centre
    }

    /// Maps all of these numbers.
    pub fn map(&self, numbers: &mut [f32]) {
        for number in numbers {
            *number = (*number - self.centre) * self.factor;
        }
    }
}

/// The observations of N frames.
#[derive(Clone, Copy, Debug)]
pub enum Obs<'a, R = f32> {
    /// `[D, N]`: a row is a feature, a column a frame.
    Numbers(ArrayView2<'a, R>),
    /// `[N, C·H·W]`: a row is a frame.
    Pixels(ArrayView2<'a, u8>),
}

impl<'a, R> Obs<'a, R> {
    /// N.
    pub fn n_frames(&self) -> usize {
        match self {
            Obs::Numbers(obs) => obs.ncols(),
            Obs::Pixels(obs) => obs.nrows(),
        }
    }

    /// Those of some of the frames.
    pub fn frames(&self, range: Range<usize>) -> Obs<'a, R> {
        match self {
            Obs::Numbers(obs) => Obs::Numbers(columns(*obs, range)),
            Obs::Pixels(obs) => Obs::Pixels(obs.slice_move(s![range, ..])),
        }
    }

    /// The numbers, for a network of numbers.
    ///
    /// # Panics
    /// If they are pixels, which `Config::check` refuses for such a network.
    pub fn numbers(&self) -> ArrayView2<'a, R> {
        match self {
            Obs::Numbers(obs) => *obs,
            Obs::Pixels(_) => panic!("a network of numbers was given pixels"),
        }
    }

    /// The pixels, `[N, C·H·W]`, for a network of pictures.
    ///
    /// # Panics
    /// If they are numbers, which `Config::check` refuses for such a network.
    pub fn pixels(&self) -> ArrayView2<'a, u8> {
        match self {
            Obs::Pixels(obs) => *obs,
            Obs::Numbers(_) => panic!("a network of pictures was given numbers"),
        }
    }
}

impl Obs<'_> {
    /// Whether no number is NaN or infinite. One pass, without a branch.
    ///
    /// # Panics
    /// If numbers are not those of whole rows.
    pub fn is_finite(&self) -> bool {
        match self {
            Obs::Numbers(obs) => all_finite(obs.as_slice().expect("rows are whole")),
            Obs::Pixels(_) => true,
        }
    }

    /// The numbers of one frame.
    pub fn frame(&self, frame: usize) -> Vec<f32> {
        match self {
            Obs::Numbers(obs) => obs.column(frame).to_vec(),
            Obs::Pixels(obs) => obs.row(frame).iter().map(|pixel| f32::from(*pixel)).collect(),
        }
    }
}

/// Room for the observations of N frames, as [`Obs`].
#[derive(Debug)]
pub enum ObsMut<'a> {
    /// `[D, N]`: any distance between rows, unit distance between columns.
    Numbers(ArrayViewMut2<'a, f32>),
    /// `[N, C·H·W]`.
    Pixels(ArrayViewMut2<'a, u8>),
}

impl ObsMut<'_> {
    /// The room again, for a moment.
    pub fn reborrow(&mut self) -> ObsMut<'_> {
        match self {
            ObsMut::Numbers(obs) => ObsMut::Numbers(obs.view_mut()),
            ObsMut::Pixels(obs) => ObsMut::Pixels(obs.view_mut()),
        }
    }

    /// The numbers.
    ///
    /// # Panics
    /// If they are pixels.
    pub fn numbers(&mut self) -> ArrayViewMut2<'_, f32> {
        match self {
            ObsMut::Numbers(obs) => obs.view_mut(),
            ObsMut::Pixels(_) => panic!("there are pixels, and numbers were wanted"),
        }
    }

    /// What is there, to be read.
    pub fn view(&self) -> Obs<'_> {
        match self {
            ObsMut::Numbers(obs) => Obs::Numbers(obs.view()),
            ObsMut::Pixels(obs) => Obs::Pixels(obs.view()),
        }
    }

    /// The room of some of the frames.
    pub fn frames(&mut self, range: Range<usize>) -> ObsMut<'_> {
        match self {
            ObsMut::Numbers(obs) => ObsMut::Numbers(columns_mut(obs.view_mut(), range)),
            ObsMut::Pixels(obs) => ObsMut::Pixels(obs.slice_mut(s![range, ..])),
        }
    }

    /// Copies observations of the same kind, of as many frames and of as many numbers each or fewer, behind which
    /// zeros follow.
    ///
    /// # Panics
    /// If they are of another kind, of other frames, or larger.
    pub fn assign_padded(&mut self, obs: Obs<'_>) {
        match (self, obs) {
            (ObsMut::Numbers(room), Obs::Numbers(obs)) => {
                room.slice_mut(s![..obs.nrows(), ..]).assign(&obs);
                room.slice_mut(s![obs.nrows().., ..]).fill(0.0);
            }
            (ObsMut::Pixels(room), Obs::Pixels(obs)) => {
                room.slice_mut(s![.., ..obs.ncols()]).assign(&obs);
                room.slice_mut(s![.., obs.ncols()..]).fill(0);
            }
            _ => panic!("numbers and pixels do not mix"),
        }
    }

    /// Copies observations of the same kind and number.
    ///
    /// # Panics
    /// If they are of another kind or number.
    pub fn assign(&mut self, obs: Obs<'_>) {
        match (self, obs) {
            (ObsMut::Numbers(room), Obs::Numbers(obs)) => room.assign(&obs),
            (ObsMut::Pixels(room), Obs::Pixels(obs)) => room.assign(&obs),
            _ => panic!("numbers and pixels do not mix"),
        }
    }
}

/// Observations of N frames in private memory.
#[derive(Clone, Debug, PartialEq)]
pub enum ObsBuffer {
    /// `[D, N]`.
    Numbers(Array2<f32>),
    /// `[N, C·H·W]`.
    Pixels(Array2<u8>),
}

impl ObsBuffer {
    /// Room for `n_frames` observations, all zero.
    pub fn zeros(space: &ObsSpace, n_frames: usize) -> Self {
        let Numbers { number, len } = space.numbers();
        match number {
            Number::U8 => ObsBuffer::Pixels(Array2::zeros((n_frames, len))),
            _ => ObsBuffer::Numbers(Array2::zeros((len, n_frames))),
        }
    }

    /// What is there, to be read.
    pub fn view(&self) -> Obs<'_> {
        match self {
            ObsBuffer::Numbers(obs) => Obs::Numbers(obs.view()),
            ObsBuffer::Pixels(obs) => Obs::Pixels(obs.view()),
        }
    }

    /// The room.
    pub fn view_mut(&mut self) -> ObsMut<'_> {
        match self {
            ObsBuffer::Numbers(obs) => ObsMut::Numbers(obs.view_mut()),
            ObsBuffer::Pixels(obs) => ObsMut::Pixels(obs.view_mut()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_become_one_and_what_has_them_already_is_left_bit_for_bit() {
        let mut numbers = [-1.2, -0.3, 0.6];
        InputMap::of([-1.2, 0.6]).map(&mut numbers);
        approx::assert_relative_eq!(numbers[..], [-1.0, 0.0, 1.0][..], epsilon = 1e-6);
        let space = ObsSpace::bounded(&[[-1.2, 0.6]; 3]);
        let observed = space.observed(numbers.to_vec());
        approx::assert_relative_eq!(observed[..], [-1.2, -0.3, 0.6][..], epsilon = 1e-6);
        let mut numbers = [0.1, -0.123_456_7, 1e-30];
        InputMap::of([-1.0, 1.0]).map(&mut numbers);
        assert_eq!(numbers, [0.1, -0.123_456_7, 1e-30]);
    }

    #[test]
    fn what_is_padded_has_room_for_either_and_zeros_behind_the_smaller() {
        let padded = ObsSpace::planes(4, 10, 10).padded(&ObsSpace::planes(6, 10, 10));
        assert_eq!(padded, Some(ObsSpace::planes(6, 10, 10)));
        let numbers = ObsSpace::bounded(&[[-1.0, 1.0]; 3]).padded(&ObsSpace::vector(2));
        assert_eq!(numbers, Some(ObsSpace::vector(3)));
        for (one, other) in [
            (ObsSpace::planes(4, 10, 10), ObsSpace::planes(4, 10, 9)),
            (ObsSpace::planes(4, 10, 10), ObsSpace::image(4, 10, 10)),
            (ObsSpace::planes(1, 2, 2), ObsSpace::vector(4)),
        ] {
            assert_eq!(one.padded(&other), None, "{one}, {other}");
        }
        for (small, large) in [
            (ObsSpace::vector(2), ObsSpace::vector(5)),
            (ObsSpace::image(2, 1, 1), ObsSpace::image(5, 1, 1)),
        ] {
            let (mut small, mut large) = (ObsBuffer::zeros(&small, 3), ObsBuffer::zeros(&large, 3));
            for (buffer, number) in [(&mut small, 7), (&mut large, 9)] {
                match buffer.view_mut() {
                    ObsMut::Numbers(mut obs) => obs.fill(f32::from(number)),
                    ObsMut::Pixels(mut obs) => obs.fill(number),
                }
            }
            large.view_mut().assign_padded(small.view());
            assert_eq!(large.view().frame(1), [7.0, 7.0, 0.0, 0.0, 0.0]);
        }
    }

    #[test]
    fn frames_of_numbers_are_columns_and_those_of_pixels_rows() {
        for space in [ObsSpace::vector(3), ObsSpace::image(1, 1, 3)] {
            let mut buffer = ObsBuffer::zeros(&space, 4);
            let mut one = ObsBuffer::zeros(&space, 1);
            match one.view_mut() {
                ObsMut::Numbers(mut obs) => obs.fill(7.0),
                ObsMut::Pixels(mut obs) => obs.fill(7),
            }
            buffer.view_mut().frames(2..3).assign(one.view());
            let sums: Vec<f32> = (0..4).map(|n| buffer.view().frame(n).iter().sum()).collect();
            assert_eq!(sums, [0.0, 0.0, 21.0, 0.0], "{space}");
            assert_eq!(buffer.view().frames(1..4).n_frames(), 3);
        }
    }
}
