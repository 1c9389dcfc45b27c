//! Sums of rows that a list picks: what a matrix product comes to where one factor holds mostly zeros and else
//! ones.
//!
//! A convolution of planes of bits adds, for each bit that is set, the weights of each place that the bit has
//! in a kernel; of 400 to 1,000 bits some 6 to 46 are set.

use super::ROW_LEN;
use super::RowPair;
use super::vector::{Span, Vector};

/// `sums[to] += rows[from]` for each pair, in their order.
#[inline(always)]
pub(super) fn add_rows<V: Vector>(cpu: V::Cpu, pairs: &[RowPair], rows: &[f32], sums: &mut [f32]) {
    const { assert!(ROW_LEN.is_multiple_of(V::LANES)) };
    let (rows, sums) = (rows.as_chunks::<ROW_LEN>().0, sums.as_chunks_mut::<ROW_LEN>().0);
    for pair in pairs {
        let (row, sum) = (&rows[pair.from as usize], &mut sums[pair.to as usize]);
        for lane in (0..ROW_LEN).step_by(V::LANES) {
            // SAFETY: K2: both are whole rows, which hold a whole number of vectors.
            unsafe {
                let row = V::load(cpu, row.as_ptr().add(lane), Span::Full);
                let sum = sum.as_mut_ptr().add(lane);
                (V::load(cpu, sum, Span::Full) + row).store(sum, Span::Full);
            }
        }
    }
}
