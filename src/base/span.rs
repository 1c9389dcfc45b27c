//! Stretches of bytes, placed one behind the other: arithmetic alone.

/// A stretch of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub offset: usize,
    /// How long it is.
    pub n_bytes: usize,
}

impl Span {
    /// The first byte behind it.
    pub fn end(&self) -> usize {
        self.offset + self.n_bytes
    }
}

/// Places spans one behind the other; `None` where a number would overflow.
#[derive(Default)]
pub struct Cursor {
    end: usize,
}

impl Cursor {
    /// The next span whose offset is a multiple of `align`.
    pub fn place(&mut self, align: usize, n_bytes: usize) -> Option<Span> {
        let offset = self.end.checked_next_multiple_of(align)?;
        self.end = offset.checked_add(n_bytes)?;
        Some(Span { offset, n_bytes })
    }

    /// The first byte behind all that was placed.
    pub fn end(&self) -> usize {
        self.end
    }
}

/// The product of all factors; `None` where it would overflow.
pub fn product(factors: &[usize]) -> Option<usize> {
    factors.iter().try_fold(1usize, |product, &factor| product.checked_mul(factor))
}
