//! What a slot's field is made of, and how its bytes become what Rust knows.
//!
//! Owns the size and order of a field's numbers, and the casts. Which fields there are stands in `slot.rs`.

use std::marker::PhantomData;

use bytemuck::{Pod, cast_slice, cast_slice_mut};
use ndarray::{ArrayView2, ArrayViewMut2};

use super::RolloutShape;
use crate::base::span::product;
use crate::space::{Actions, ActionsMut, Number, Numbers, Obs, ObsMut};

/// For how many steps a field has numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// For each of the T steps.
    Each,
    /// For each step, for what was seen after the last one, and for pictures that are seen together with that of
    /// step 0: T + L, which is T + 1 where nothing is stacked.
    EachAndLast,
    /// Once, before step 0.
    Once,
    /// A list that is as long as there are steps, of which the header says how much counts.
    List,
}

/// One field of a slot of some shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its order in letters, such as `[T, E]`.
    pub order: &'static str,
    /// What it has for one environment at one step.
    pub numbers: Numbers,
    /// For how many steps.
    pub steps: Steps,
}

impl Field {
    /// Steps that it has numbers for.
    pub fn n_steps(&self, shape: &RolloutShape) -> usize {
        match self.steps {
            Steps::Each | Steps::List => shape.unroll_length,
            Steps::EachAndLast => shape.unroll_length + shape.n_stacked,
            Steps::Once => 1,
        }
    }

    /// Rows of a feature-major field; one for pixels, which lie frame by frame.
    pub fn n_rows(&self) -> usize {
        match self.numbers.number {
            Number::U8 => 1,
            _ => self.numbers.len,
        }
    }

    /// Bytes that lie together for one environment at one step.
    pub fn unit_bytes(&self) -> usize {
        let unit = if self.numbers.number == Number::U8 { self.numbers.len } else { 1 };
        unit * self.numbers.number.n_bytes()
    }

    /// Bytes in all; `None` where the number would overflow.
    pub fn n_bytes(&self, shape: &RolloutShape) -> Option<usize> {
        shape.unroll_length.checked_add(shape.n_stacked)?;
        let Numbers { number, len } = self.numbers;
        product(&[number.n_bytes(), len, self.n_steps(shape), shape.n_envs])
    }
}

/// A field's bytes as the type that its readers and writers know.
pub trait Column {
    /// The field to read.
    type Ref<'a>: Copy;
    /// The field to fill.
    type Mut<'a>;

    /// Casts the bytes of `field`, which begin at a multiple of 64.
    fn cast<'a>(field: &Field, bytes: &'a [u8]) -> Self::Ref<'a>;

    /// The same, to write to.
    fn cast_mut<'a>(field: &Field, bytes: &'a mut [u8]) -> Self::Mut<'a>;

    /// The bytes again.
    fn bytes<'a: 'a>(column: Self::Ref<'a>) -> &'a [u8];
}

/// A field of one number a step, or of a list: `[T·E]`.
pub struct Row<T>(PhantomData<T>);

impl<T: Pod> Column for Row<T> {
    type Ref<'a> = &'a [T];
    type Mut<'a> = &'a mut [T];

    fn cast<'a>(_: &Field, bytes: &'a [u8]) -> &'a [T] {
        cast_slice(bytes)
    }

    fn cast_mut<'a>(_: &Field, bytes: &'a mut [u8]) -> &'a mut [T] {
        cast_slice_mut(bytes)
    }

    fn bytes<'a: 'a>(column: &'a [T]) -> &'a [u8] {
        cast_slice(column)
    }
}

/// A field of several numbers of f32 a step: `[R, N]`.
pub struct Matrix;

impl Column for Matrix {
    type Ref<'a> = ArrayView2<'a, f32>;
    type Mut<'a> = ArrayViewMut2<'a, f32>;

    fn cast<'a>(field: &Field, bytes: &'a [u8]) -> ArrayView2<'a, f32> {
        matrix(field.n_rows(), cast_slice(bytes))
    }

    fn cast_mut<'a>(field: &Field, bytes: &'a mut [u8]) -> ArrayViewMut2<'a, f32> {
        matrix_mut(field.n_rows(), cast_slice_mut(bytes))
    }

    fn bytes<'a: 'a>(column: ArrayView2<'a, f32>) -> &'a [u8] {
        cast_slice(whole(column))
    }
}

/// Observations, of numbers or of pixels.
pub struct Observations;

impl Column for Observations {
    type Ref<'a> = Obs<'a>;
    type Mut<'a> = ObsMut<'a>;

    fn cast<'a>(field: &Field, bytes: &'a [u8]) -> Obs<'a> {
        match field.numbers.number {
            Number::U8 => Obs::Pixels(matrix(bytes.len() / field.unit_bytes(), bytes)),
            _ => Obs::Numbers(Matrix::cast(field, bytes)),
        }
    }

    fn cast_mut<'a>(field: &Field, bytes: &'a mut [u8]) -> ObsMut<'a> {
        match field.numbers.number {
            Number::U8 => ObsMut::Pixels(matrix_mut(bytes.len() / field.unit_bytes(), bytes)),
            _ => ObsMut::Numbers(Matrix::cast_mut(field, bytes)),
        }
    }

    fn bytes<'a: 'a>(column: Obs<'a>) -> &'a [u8] {
        match column {
            Obs::Numbers(obs) => Matrix::bytes(obs),
            Obs::Pixels(obs) => whole(obs),
        }
    }
}

/// Actions, of indices or of numbers.
pub struct Taken;

impl Column for Taken {
    type Ref<'a> = Actions<'a>;
    type Mut<'a> = ActionsMut<'a>;

    fn cast<'a>(field: &Field, bytes: &'a [u8]) -> Actions<'a> {
        match field.numbers.number {
            Number::F32 => Actions::Numbers(Matrix::cast(field, bytes)),
            _ => Actions::Indices(matrix(field.n_rows(), cast_slice(bytes))),
        }
    }

    fn cast_mut<'a>(field: &Field, bytes: &'a mut [u8]) -> ActionsMut<'a> {
        match field.numbers.number {
            Number::F32 => ActionsMut::Numbers(Matrix::cast_mut(field, bytes)),
            _ => ActionsMut::Indices(matrix_mut(field.n_rows(), cast_slice_mut(bytes))),
        }
    }

    fn bytes<'a: 'a>(column: Actions<'a>) -> &'a [u8] {
        match column {
            Actions::Indices(actions) => cast_slice(whole(actions)),
            Actions::Numbers(actions) => Matrix::bytes(actions),
        }
    }
}

const DIVIDES: &str = "a field has as many numbers in each row";

/// Numbers as `n_rows` rows; a field of no rows is empty.
fn matrix<T>(n_rows: usize, numbers: &[T]) -> ArrayView2<'_, T> {
    let n_columns = numbers.len().checked_div(n_rows).unwrap_or(0);
    ArrayView2::from_shape((n_rows, n_columns), numbers).expect(DIVIDES)
}

/// [`matrix`], to write to.
fn matrix_mut<T>(n_rows: usize, numbers: &mut [T]) -> ArrayViewMut2<'_, T> {
    let n_columns = numbers.len().checked_div(n_rows).unwrap_or(0);
    ArrayViewMut2::from_shape((n_rows, n_columns), numbers).expect(DIVIDES)
}

fn whole<T>(matrix: ArrayView2<'_, T>) -> &[T] {
    matrix.to_slice().expect("a field's rows lie one behind the other")
}
