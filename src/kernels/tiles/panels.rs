//! Right factors in panels of 32 columns, so that a product reads one stretch of memory from its beginning to its end.

use ndarray::ArrayViewMut3;

use super::words::{BLOCK, Strided, TILE, Words};

/// A matrix of words `[depth, columns]`, one panel of 32 columns after the other, each row by row.
#[derive(Debug)]
pub(super) struct Panels {
    words: Words,
    /// Rows of a panel.
    depth: usize,
}

impl Panels {
    /// Zeros; the depth is rounded up to whole tiles, the columns to whole panels.
    pub(super) fn zeros(depth: usize, columns: usize) -> Self {
        let depth = depth.next_multiple_of(TILE);
        Panels { words: Words::zeros(columns.div_ceil(BLOCK) * depth, BLOCK), depth }
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.depth == 0
    }

    /// Row `k` of a panel.
    #[inline(always)]
    pub(super) fn row(&self, panel: usize, k: usize) -> &[u32; BLOCK] {
        let row = self.words.row(self.row_idx(panel, k));
        row.first_chunk().expect("a panel is 32 words wide")
    }

    /// The same, to be written.
    #[inline(always)]
    pub(super) fn row_mut(&mut self, panel: usize, k: usize) -> &mut [u32; BLOCK] {
        let row = self.words.row_mut(self.row_idx(panel, k));
        row.first_chunk_mut().expect("a panel is 32 words wide")
    }

    /// All of them, `[panels, depth, 32]`.
    pub(super) fn view_mut(&mut self) -> ArrayViewMut3<'_, u32> {
        let (depth, words) = (self.depth, self.words.view_mut());
        let shape = (words.nrows() / depth.max(1), depth, BLOCK);
        words.into_shape_with_order(shape).expect("rows of panels are as long as they are wide")
    }

    /// The first `depth` rows of a panel.
    ///
    /// # Panics
    /// If there are not so many.
    #[inline(always)]
    pub(super) fn at(&self, panel: usize, depth: usize) -> Strided<*const u32> {
        assert!(depth <= self.depth, "inside the panel");
        self.words.at([panel * self.depth, 0], [depth, BLOCK])
    }

    #[inline(always)]
    fn row_idx(&self, panel: usize, k: usize) -> usize {
        assert!(k < self.depth, "inside the panel");
        panel * self.depth + k
    }
}
