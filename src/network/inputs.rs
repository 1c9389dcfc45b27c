//! What dense layers take of an observation: numbers as they are, pixels as numbers from 0 to 1, and which task it is
//! of.

use ndarray::{ArrayView2, ArrayViewMut2, NdFloat, s};

use super::NetworkSpec;
use crate::kernels::FeatureMajor;
use crate::space::Obs;

/// Observations as a matrix of numbers, and room for it where they do not lie as one.
#[derive(Debug)]
pub(super) struct Inputs<R> {
    /// What pixels are divided by; 1 where there are none.
    high: R,
    /// D.
    n_inputs: usize,
    /// `[D + K, N]`, K rows of tasks below the others; `None` where the numbers of observations are all.
    room: Option<FeatureMajor<R>>,
}

impl<R: NdFloat> Inputs<R> {
    /// Those of a network, of `n_frames` observations.
    pub(super) fn new(spec: &NetworkSpec, n_frames: usize) -> Self {
        let n_rows = spec.n_inputs + spec.n_task_inputs();
        let is_needed = spec.pixels.is_some() || n_rows > spec.n_inputs;
        Inputs {
            high: number(spec.pixels.map_or(1, |pixels| pixels.high)),
            n_inputs: spec.n_inputs,
            room: is_needed.then(|| FeatureMajor::zeros(n_rows, n_frames)),
        }
    }

    /// The numbers `[D + K, N]` of these observations, of which number n has the task `tasks[n % tasks.len()]`.
    pub(super) fn take<'a, 'o: 'a>(
        &'a mut self,
        obs: Obs<'o, R>,
        tasks: &[u32],
    ) -> ArrayView2<'a, R> {
        if let Some(room) = &mut self.room {
            let mut room = room.view_mut();
            match obs {
                Obs::Numbers(numbers) => room.slice_mut(s![..self.n_inputs, ..]).assign(&numbers),
                Obs::Pixels(pixels) => {
                    for (frame, pixels) in pixels.outer_iter().enumerate() {
                        for (room, pixel) in room.column_mut(frame).iter_mut().zip(pixels) {
                            *room = number::<R>(*pixel) / self.high;
                        }
                    }
                }
            }
            tell_tasks(tasks, room.slice_mut(s![self.n_inputs.., ..]));
        }
        self.taken(obs)
    }

    /// The same of the observations that were taken last.
    pub(super) fn taken<'a, 'o: 'a>(&'a self, obs: Obs<'o, R>) -> ArrayView2<'a, R> {
        match &self.room {
            Some(room) => room.view(),
            None => obs.numbers().reborrow(),
        }
    }
}

fn number<R: NdFloat>(byte: u8) -> R {
    R::from(byte).expect("a float holds a byte")
}

/// Writes into each column of `[K, N]` a 1 for its frame's task and 0 for the others. Frames go round the tasks,
/// `[B]`.
pub(super) fn tell_tasks<R: NdFloat>(tasks: &[u32], mut room: ArrayViewMut2<R>) {
    room.fill(R::zero());
    if room.is_empty() {
        return;
    }
    for (mut column, task) in room.columns_mut().into_iter().zip(tasks.iter().cycle()) {
        column[*task as usize] = R::one();
    }
}
