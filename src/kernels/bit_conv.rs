//! A convolution of planes of bits by a kernel of 3 × 3 with 16 outputs, a frame at a time: what a matrix product
//! comes to where one factor holds mostly zeros and else ones.
//!
//! A row of the kernel meets three bits at a place, and of their eight patterns each has its sum of weights in a
//! table. So a row of a plane with bits adds one row of the table a place and row of the kernel, however many of
//! its bits are set; of 40 to 100 rows some 6 to 30 have any. The gradient is the same sum with the two sides
//! exchanged.

use std::array;

use super::vector::{Span, Vector};
use super::{BitGrid, BitRow, Meeting, PATTERNS, ROW_LEN, WINDOW};

/// A number for each output.
type Row = [f32; ROW_LEN];

/// The patterns of a row of the kernel, in a plane.
type Table = [Row; PATTERNS];

/// Adds one row to another.
#[inline(always)]
fn add<V: Vector>(cpu: V::Cpu, row: &Row, sum: &mut Row) {
    const { assert!(ROW_LEN.is_multiple_of(V::LANES)) };
    for lane in (0..ROW_LEN).step_by(V::LANES) {
        // SAFETY: K2: a row is a whole number of vectors.
        unsafe {
            let (row, sum) = (row.as_ptr().add(lane), sum.as_mut_ptr().add(lane));
            (V::load(cpu, sum, Span::Full) + V::load(cpu, row, Span::Full)).store(sum, Span::Full);
        }
    }
}

/// `sums[P,16]`, each from the last row of `tables`, the bias, on.
#[inline(always)]
pub(super) fn convolve_bits<V: Vector>(
    cpu: V::Cpu,
    grid: BitGrid,
    rows: &[BitRow],
    tables: &[f32],
    sums: &mut [f32],
) {
    let (bias, tables) = tables.as_chunks().0.split_last().expect(BIAS);
    let tables: &[Table] = tables.as_chunks().0;
    let sums = grid.places_mut(sums);
    sums.fill(*bias);
    for row in rows {
        let Some(meeting) = grid.meeting(*row) else { continue };
        match meeting.kernel_rows.len() {
            3 => add_sums::<V, 3>(cpu, grid, *row, meeting, tables, sums),
            2 => add_sums::<V, 2>(cpu, grid, *row, meeting, tables, sums),
            _ => add_sums::<V, 1>(cpu, grid, *row, meeting, tables, sums),
        }
    }
}

/// Adds what K rows of the kernel meet of a row of bits.
#[inline(always)]
fn add_sums<V: Vector, const K: usize>(
    cpu: V::Cpu,
    grid: BitGrid,
    row: BitRow,
    Meeting { top, kernel_rows, places, bits }: Meeting,
    tables: &[Table],
    sums: &mut [Row],
) {
    let tables = &tables[row.plane as usize * WINDOW..][kernel_rows];
    let tables: &[Table; K] = tables.first_chunk().expect(AS_MANY);
    let mut sums = sums[top * grid.width..].chunks_exact_mut(grid.width);
    let sums: [&mut [Row]; K] =
        array::from_fn(|_| &mut sums.next().expect(AS_MANY)[places.clone()]);
    for (at, bit) in bits.enumerate() {
        let pattern = row.pattern(bit);
        for k in 0..K {
            add::<V>(cpu, &tables[K - 1 - k][pattern], &mut sums[k][at]);
        }
    }
}

/// Adds to `d_tables` the gradient of the tables and the bias, given that of the sums, `[P, 16]`.
#[inline(always)]
pub(super) fn bit_gradient<V: Vector>(
    cpu: V::Cpu,
    grid: BitGrid,
    rows: &[BitRow],
    d_sums: &[f32],
    d_tables: &mut [f32],
) {
    let (d_bias, d_tables) = d_tables.as_chunks_mut().0.split_last_mut().expect(BIAS);
    let d_tables: &mut [Table] = d_tables.as_chunks_mut().0;
    let d_sums = grid.places(d_sums);
    add_places::<V>(cpu, d_sums, d_bias);
    for row in rows {
        let Some(meeting) = grid.meeting(*row) else { continue };
        match meeting.kernel_rows.len() {
            3 => add_gradient::<V, 3>(cpu, grid, *row, meeting, d_sums, d_tables),
            2 => add_gradient::<V, 2>(cpu, grid, *row, meeting, d_sums, d_tables),
            _ => add_gradient::<V, 1>(cpu, grid, *row, meeting, d_sums, d_tables),
        }
    }
}

/// Adds the gradient of what K rows of the kernel meet of a row of bits.
#[inline(always)]
fn add_gradient<V: Vector, const K: usize>(
    cpu: V::Cpu,
    grid: BitGrid,
    row: BitRow,
    Meeting { top, kernel_rows, places, bits }: Meeting,
    d_sums: &[Row],
    d_tables: &mut [Table],
) {
    let d_tables = &mut d_tables[row.plane as usize * WINDOW..][kernel_rows];
    let d_tables: &mut [Table; K] = d_tables.first_chunk_mut().expect(AS_MANY);
    let mut d_sums = d_sums[top * grid.width..].chunks_exact(grid.width);
    let d_sums: [&[Row]; K] = array::from_fn(|_| &d_sums.next().expect(AS_MANY)[places.clone()]);
    for (at, bit) in bits.enumerate() {
        let pattern = row.pattern(bit);
        for k in 0..K {
            add::<V>(cpu, &d_sums[k][at], &mut d_tables[K - 1 - k][pattern]);
        }
    }
}

/// Said of a meeting.
const AS_MANY: &str = "as many rows of the kernel as of places";

/// Said of tables here.
const BIAS: &str = "the bias is the last row";

/// The part of all places in the bias.
#[inline(always)]
fn add_places<V: Vector>(cpu: V::Cpu, d_sums: &[Row], d_bias: &mut Row) {
    for lane in (0..ROW_LEN).step_by(V::LANES) {
        // SAFETY: K2: each row is a whole number of vectors.
        unsafe {
            let mut sum = V::load(cpu, d_bias.as_ptr().add(lane), Span::Full);
            for d in d_sums {
                sum = sum + V::load(cpu, d.as_ptr().add(lane), Span::Full);
            }
            sum.store(d_bias.as_mut_ptr().add(lane), Span::Full);
        }
    }
}
