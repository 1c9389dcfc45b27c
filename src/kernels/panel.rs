//! Room for a tile of what a product multiplies with.
//!
//! Rows of a matrix may be whole pages apart. They then fall on the same lines of L1, and no prefetch follows them. A
//! copy, which many rows of the other matrix use, has its rows side by side.

use std::mem::MaybeUninit;

use super::matrix::Matrix;
use super::vector::{Span, Vector};

/// The most rows of a right matrix that a product copies before it multiplies: with the widest tile, half of L1.
pub(super) const PANEL_DEPTH: usize = 128;

/// The most columns of a tile.
const PANEL_COLUMNS: usize = 32;

/// A tile of a right matrix, row upon row.
#[repr(align(64))]
pub(super) struct Panel([MaybeUninit<f32>; PANEL_DEPTH * PANEL_COLUMNS]);

impl Panel {
    /// Rows of a product from which on a copy pays. It takes as long as two rows.
    pub(super) const PAYING_ROWS: usize = 32;

    pub(super) fn new() -> Panel {
        Panel([MaybeUninit::uninit(); PANEL_DEPTH * PANEL_COLUMNS])
    }

    /// Copies C vectors of each of the first `depth` rows of a matrix. The copy lasts until the next one.
    ///
    /// # Safety
    ///
    /// The rows and the columns in `span` exist.
    #[inline(always)]
    pub(super) unsafe fn copy<V: Vector, const C: usize>(
        &mut self,
        cpu: V::Cpu,
        from: Matrix,
        depth: usize,
        span: Span,
    ) -> Matrix {
        assert!(depth <= PANEL_DEPTH && C * V::LANES <= PANEL_COLUMNS, "a tile has its room");
        let first = self.0.as_mut_ptr().cast::<f32>();
        let panel = Matrix::packed(first, C * V::LANES);
        for k in 0..depth {
            for c in 0..C {
                // SAFETY: K2: the caller's promise; the panel has room for that many rows of C vectors.
                unsafe {
                    let vector = V::load(cpu, from.at(k, c * V::LANES), span);
                    vector.store(panel.at(k, c * V::LANES), Span::Full);
                }
            }
        }
        panel
    }
}
