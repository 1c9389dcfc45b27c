//! What dense layers take of an observation: numbers as they are, pixels as numbers from 0 to 1.

use ndarray::{ArrayView2, NdFloat};

use super::NetworkSpec;
use crate::kernels::FeatureMajor;
use crate::space::Obs;

/// Observations as a matrix of numbers, and room for it where they are pixels.
#[derive(Debug)]
pub(super) struct Inputs<R> {
    /// What becomes 1, and `[D, N]`.
    pixels: Option<(R, FeatureMajor<R>)>,
}

impl<R: NdFloat> Inputs<R> {
    /// Those of a network, of `n_frames` observations.
    pub(super) fn new(spec: &NetworkSpec, n_frames: usize) -> Self {
        let number = |pixel: u8| R::from(pixel).expect("a float holds a byte");
        let room = |high| (number(high), FeatureMajor::zeros(spec.n_inputs, n_frames));
        Inputs { pixels: spec.pixels.map(|pixels| room(pixels.high)) }
    }

    /// The numbers `[D, N]` of these observations.
    pub(super) fn take<'a, 'o: 'a>(&'a mut self, obs: Obs<'o, R>) -> ArrayView2<'a, R> {
        if let (Some((high, room)), Obs::Pixels(pixels)) = (&mut self.pixels, obs) {
            let mut room = room.view_mut();
            for (frame, pixels) in pixels.outer_iter().enumerate() {
                for (number, pixel) in room.column_mut(frame).iter_mut().zip(pixels) {
                    *number = R::from(*pixel).expect("a float holds a byte") / *high;
                }
            }
        }
        self.taken(obs)
    }

    /// The same of the observations that were taken last.
    pub(super) fn taken<'a, 'o: 'a>(&'a self, obs: Obs<'o, R>) -> ArrayView2<'a, R> {
        match &self.pixels {
            Some((_, room)) => room.view(),
            None => obs.numbers().reborrow(),
        }
    }
}
