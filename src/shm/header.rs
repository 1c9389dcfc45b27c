//! First words of the segment, by which a process knows what it is looking at.
//!
//! Owns what stands there for a layout. Written once, before the first fork, and anew after damage; checked
//! by every worker that starts, and by whoever looks on.

use super::error::SegmentError;
use super::layout::Layout;
use crate::base::sync::{AtomicU64, Ordering};

/// "IMPALA-1" in ASCII.
const MAGIC: u64 = u64::from_be_bytes(*b"IMPALA-1");

/// Magic number, size, and hash of the layout.
#[repr(C, align(128))]
pub struct SegmentHeader {
    magic: AtomicU64,
    total_bytes: AtomicU64,
    layout_hash: AtomicU64,
}

impl SegmentHeader {
    /// Says that what follows has this layout.
    pub fn write(&self, layout: &Layout) {
        for ((_, word), value) in self.words().into_iter().zip(expected(layout)) {
            // Relaxed: no other process exists; forking orders this before all they do.
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Whether it says that.
    ///
    /// # Errors
    /// [`SegmentError::Header`].
    pub fn check(&self, layout: &Layout) -> Result<(), SegmentError> {
        for ((field, word), expected) in self.words().into_iter().zip(expected(layout)) {
            let found = word.load(Ordering::Relaxed);
            if found != expected {
                return Err(SegmentError::Header { field, found, expected });
            }
        }
        Ok(())
    }

    pub(super) fn words(&self) -> [(&'static str, &AtomicU64); 3] {
        [
            ("magic", &self.magic),
            ("total_bytes", &self.total_bytes),
            ("layout_hash", &self.layout_hash),
        ]
    }
}

/// What the words should be, in their order.
fn expected(layout: &Layout) -> [u64; 3] {
    [MAGIC, layout.total_bytes as u64, layout.hash()]
}
