//! Where the places of a convolution of bits lie: in a grid with a margin, and without it.

/// Numbers in a row that belong to one place: the outputs of the convolution, and one AVX-512 register.
pub const ROW_LEN: usize = 16;

/// Side of the kernel, cells.
pub const WINDOW: usize = 3;

/// A bit that is set, as the kernel sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetBit {
    /// The first of nine rows of weights: those of the bit's plane.
    pub first_row: u32,
    /// In the grid with its margin, the place at which the first of these rows sees it. The others see it up to
    /// two places before in both directions.
    pub place: u32,
}

/// The P places of the convolution of a plane, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitGrid {
    /// Rows.
    pub height: usize,
    /// Places of a row.
    pub width: usize,
}

impl BitGrid {
    /// Of planes `[H, W]`.
    pub fn of([height, width]: [usize; 2]) -> Self {
        BitGrid { height: height + 1 - WINDOW, width: width + 1 - WINDOW }
    }

    /// Places with the margin, in which those at which the kernel would lie partly outside the plane are as well.
    pub fn n_with_margin(self) -> usize {
        (self.height + 2 * (WINDOW - 1)) * self.stride()
    }

    /// P.
    pub fn n_places(self) -> usize {
        self.height * self.width
    }

    /// From one row to the next, with the margin.
    pub fn stride(self) -> usize {
        self.width + 2 * (WINDOW - 1)
    }

    /// The first place of a row, with the margin.
    pub fn first_of(self, row: usize) -> usize {
        (row + WINDOW - 1) * self.stride() + WINDOW - 1
    }

    /// The bit of a cell of the plane with this number.
    pub fn bit(self, plane: usize, [y, x]: [usize; 2]) -> SetBit {
        let first_row = (plane * WINDOW * WINDOW) as u32;
        SetBit { first_row, place: (self.first_of(y) + x) as u32 }
    }

    /// A row for each place with the margin.
    ///
    /// # Panics
    /// If there are more or fewer.
    pub fn with_margin_mut<R>(self, room: &mut [R]) -> &mut [[R; ROW_LEN]] {
        let (rows, _) = room.as_chunks_mut();
        assert_eq!(rows.len(), self.n_with_margin(), "a row for each place with the margin");
        rows
    }

    /// A row for each place.
    ///
    /// # Panics
    /// If there are more or fewer.
    pub fn places<R>(self, sums: &[R]) -> &[[R; ROW_LEN]] {
        let (rows, _) = sums.as_chunks();
        assert_eq!(rows.len(), self.n_places(), "a row for each place");
        rows
    }

    /// The same, to be written.
    ///
    /// # Panics
    /// If there are more or fewer.
    pub fn places_mut<R>(self, sums: &mut [R]) -> &mut [[R; ROW_LEN]] {
        let (rows, _) = sums.as_chunks_mut();
        assert_eq!(rows.len(), self.n_places(), "a row for each place");
        rows
    }
}
