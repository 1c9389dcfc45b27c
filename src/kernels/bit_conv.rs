//! A convolution of planes of bits by a kernel of 3 × 3 with 16 outputs, a frame at a time: what a matrix product
//! comes to where one factor holds mostly zeros and else ones.
//!
//! Each bit that is set adds nine rows of weights to the nine places that see it; of 400 to 1,000 bits some 6 to 46
//! are set. The gradient is the same sum with the two sides exchanged. Places lie in a grid with a margin, so that
//! each bit has nine of them, and none is asked whether it is there.

use super::vector::{Span, Vector};
use super::{BitGrid, ROW_LEN, SetBit, WINDOW};

/// A row of the kernel's outputs.
type Row = [f32; ROW_LEN];

/// Rows of weights that see a bit.
const WEIGHTS: usize = WINDOW * WINDOW;

/// Adds one row to another.
///
/// # Safety
/// Both have [`ROW_LEN`] numbers.
#[inline(always)]
unsafe fn add<V: Vector>(cpu: V::Cpu, row: *const f32, sum: *mut f32) {
    for lane in (0..ROW_LEN).step_by(V::LANES) {
        // SAFETY: K2: the caller's promise: a row is a whole number of vectors.
        unsafe {
            let (row, sum) = (row.add(lane), sum.add(lane));
            (V::load(cpu, sum, Span::Full) + V::load(cpu, row, Span::Full)).store(sum, Span::Full);
        }
    }
}

/// The bit's rows of weights, and the place at which the last one sees it.
///
/// # Panics
/// If they are not there.
#[inline(always)]
fn window(bit: &SetBit, grid: BitGrid, n_rows: usize) -> (usize, usize) {
    let (first_row, place) = (bit.first_row as usize, bit.place as usize);
    assert!(first_row + WEIGHTS <= n_rows && place < grid.n_with_margin(), "inside the matrices");
    let last = place.checked_sub((WINDOW - 1) * (grid.stride() + 1));
    (first_row, last.expect("each bit is seen nine times"))
}

/// `sums[P,16]`, each from the last row of `weights`, the bias, on.
#[inline(always)]
pub(super) fn convolve_bits<V: Vector>(
    cpu: V::Cpu,
    grid: BitGrid,
    bits: &[SetBit],
    weights: &[f32],
    room: &mut [f32],
    sums: &mut [f32],
) {
    const { assert!(ROW_LEN.is_multiple_of(V::LANES)) };
    let weights: &[Row] = weights.as_chunks().0;
    let (room, sums) = (grid.with_margin_mut(room), grid.places_mut(sums));
    let (bias, weights) = weights.split_last().expect("the bias is the last row");
    for y in 0..grid.height {
        for place in &mut room[grid.first_of(y)..][..grid.width] {
            *place = *bias;
        }
    }
    for bit in bits {
        let (first_row, last) = window(bit, grid, weights.len());
        for weight in 0..WEIGHTS {
            let (y, x) = (weight / WINDOW, weight % WINDOW);
            let place = last + (WINDOW - 1 - y) * grid.stride() + WINDOW - 1 - x;
            // SAFETY: K2: `window` has checked the first and the last one of both.
            unsafe {
                let row = weights.as_ptr().add(first_row + weight);
                add::<V>(cpu, row.cast(), room.as_mut_ptr().add(place).cast());
            }
        }
    }
    for (y, sums) in sums.chunks_exact_mut(grid.width).enumerate() {
        let places = &room[grid.first_of(y)..][..grid.width];
        sums.iter_mut().zip(places).for_each(|(sum, place)| *sum = *place);
    }
}

/// Adds to `d_weights` the gradient of weights and bias, given that of the sums, `[P, 16]`.
#[inline(always)]
pub(super) fn bit_gradient<V: Vector>(
    cpu: V::Cpu,
    grid: BitGrid,
    bits: &[SetBit],
    d_sums: &[f32],
    room: &mut [f32],
    d_weights: &mut [f32],
) {
    let d_weights: &mut [Row] = d_weights.as_chunks_mut().0;
    let (room, d_sums) = (grid.with_margin_mut(room), grid.places(d_sums));
    let (d_bias, d_weights) = d_weights.split_last_mut().expect("the bias is the last row");
    for (y, d_sums) in d_sums.chunks_exact(grid.width).enumerate() {
        let places = &mut room[grid.first_of(y)..][..grid.width];
        places.iter_mut().zip(d_sums).for_each(|(place, d)| *place = *d);
    }
    for lane in (0..ROW_LEN).step_by(V::LANES) {
        add_places::<V>(cpu, d_sums, lane, d_bias);
        for bits in bits.chunk_by(|a, b| a.first_row == b.first_row) {
            add_plane::<V>(cpu, grid, bits, room, lane, d_weights);
        }
    }
}

/// The part of all places in the bias, in some of the 16 lanes.
#[inline(always)]
fn add_places<V: Vector>(cpu: V::Cpu, d_sums: &[Row], lane: usize, d_bias: &mut Row) {
    // SAFETY: K2: each row is a whole number of vectors.
    unsafe {
        let mut sum = V::load(cpu, d_bias.as_ptr().add(lane), Span::Full);
        for d in d_sums {
            sum = sum + V::load(cpu, d.as_ptr().add(lane), Span::Full);
        }
        sum.store(d_bias.as_mut_ptr().add(lane), Span::Full);
    }
}

/// The part of one plane's bits, in some of the 16 lanes: nine sums, each in a register.
#[inline(always)]
fn add_plane<V: Vector>(
    cpu: V::Cpu,
    grid: BitGrid,
    bits: &[SetBit],
    room: &[Row],
    lane: usize,
    d_weights: &mut [Row],
) {
    let (first_row, _) = window(&bits[0], grid, d_weights.len());
    let rows = &mut d_weights[first_row..first_row + WEIGHTS];
    let mut sums = [V::splat(cpu, 0.0); WEIGHTS];
    for (sum, row) in sums.iter_mut().zip(&*rows) {
        // SAFETY: K2: a row is a whole number of vectors.
        *sum = unsafe { V::load(cpu, row.as_ptr().add(lane), Span::Full) };
    }
    for bit in bits {
        let (_, last) = window(bit, grid, WEIGHTS + first_row);
        for (weight, sum) in sums.iter_mut().enumerate() {
            let (y, x) = (weight / WINDOW, weight % WINDOW);
            let place = last + (WINDOW - 1 - y) * grid.stride() + WINDOW - 1 - x;
            // SAFETY: K2: `window` has checked the first and the last place.
            let d = unsafe {
                V::load(cpu, room.as_ptr().add(place).cast::<f32>().add(lane), Span::Full)
            };
            *sum = *sum + d;
        }
    }
    for (sum, row) in sums.into_iter().zip(rows) {
        // SAFETY: K2: a row is a whole number of vectors.
        unsafe { sum.store(row.as_mut_ptr().add(lane), Span::Full) };
    }
}
