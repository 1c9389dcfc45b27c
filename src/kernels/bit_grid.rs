//! Planes of bits as a 3 × 3 convolution sees them: rows of up to 16 bits, and the places of the sums.

use std::ops::Range;

use wide::u8x16;

/// Numbers in a row that belong to one place: the outputs of the convolution, and one AVX-512 register.
pub const ROW_LEN: usize = 16;

/// Side of the kernel, cells.
pub const WINDOW: usize = 3;

/// What three bits that stand side by side may be.
pub const PATTERNS: usize = 1 << WINDOW;

/// Bits that stand side by side in a plane, the left one lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BitRow {
    /// Which bits are set; none beyond the plane.
    pub bits: u16,
    /// The plane's number.
    pub plane: u16,
    /// The row of the plane.
    pub y: u16,
    /// The column of the lowest bit.
    pub x: u16,
}

impl BitRow {
    /// Bits of a row.
    pub const BITS: usize = u16::BITS as usize;

    /// Places that see three of its bits. The next row of the same `y`, if there is one, begins with the next place.
    pub const PLACES: usize = Self::BITS + 1 - WINDOW;

    /// The three bits from this one on.
    #[inline(always)]
    pub fn pattern(self, bit: usize) -> usize {
        (u32::from(self.bits) >> bit) as usize % PATTERNS
    }
}

/// Where the kernel meets bits of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// The first row of places, whose lowest row of the kernel meets the bits.
    pub top: usize,
    /// The kernel's rows that do, one a row of places: the upper ones meet them further down.
    pub kernel_rows: Range<usize>,
    /// The places of each of these rows.
    pub places: Range<usize>,
    /// Of each of these places the first bit that it sees, by its number in the row.
    pub bits: Range<usize>,
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

    /// P.
    pub fn n_places(self) -> usize {
        self.height * self.width
    }

    /// The rows of a plane, with no bit set.
    pub fn rows(self, plane: usize) -> impl Iterator<Item = BitRow> {
        let number = |n: usize| u16::try_from(n).expect("planes and their sides are below 65,536");
        let firsts = (0..self.width).step_by(BitRow::PLACES);
        let row = move |y, x| BitRow { bits: 0, plane: number(plane), y: number(y), x: number(x) };
        (0..self.height + WINDOW - 1).flat_map(move |y| firsts.clone().map(move |x| row(y, x)))
    }

    /// Where the kernel meets bits of the row that are set; none where it would lie partly outside the plane.
    #[inline(always)]
    pub fn meeting(self, row: BitRow) -> Option<Meeting> {
        let (y, x) = (row.y as usize, row.x as usize);
        let kernel_rows = (y + 1).saturating_sub(self.height)..WINDOW.min(y + 1);
        let first = (row.bits.trailing_zeros() as usize).saturating_sub(WINDOW - 1);
        let end = ((u16::BITS - row.bits.leading_zeros()) as usize).min(BitRow::PLACES);
        let bits = first..end.min(self.width.saturating_sub(x));
        let is_met = !kernel_rows.is_empty() && !bits.is_empty();
        is_met.then(|| Meeting {
            top: y + 1 - kernel_rows.end,
            kernel_rows,
            places: x + bits.start..x + bits.end,
            bits,
        })
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

/// Which bytes are not 0, the first one lowest.
#[inline(always)]
pub fn bits_of(bytes: [u8; BitRow::BITS]) -> u16 {
    !u8x16::new(bytes).simd_eq(u8x16::default()).to_bitmask() as u16
}
