//! The types of number that slots hold.

/// The type of a field's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// Observations that are no pixels, rewards, logarithms.
    F32,
    /// Indices of actions.
    I32,
    /// Kinds, lengths, tasks.
    U32,
    /// Pixels.
    U8,
}

impl Number {
    /// Bytes of one.
    pub fn n_bytes(self) -> usize {
        match self {
            Number::F32 | Number::I32 | Number::U32 => 4,
            Number::U8 => 1,
        }
    }

    /// As Rust and NumPy call it.
    pub fn name(self) -> &'static str {
        match self {
            Number::F32 => "f32",
            Number::I32 => "i32",
            Number::U32 => "u32",
            Number::U8 => "u8",
        }
    }
}

/// So many numbers of one type: what a field has for one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Numbers {
    /// Their type.
    pub number: Number,
    /// How many.
    pub len: usize,
}

impl Numbers {
    /// `len` numbers of this type.
    pub const fn new(number: Number, len: usize) -> Self {
        Numbers { number, len }
    }
}
