//! Matrices that end where their memory does, to show that nothing behind them is touched.

use std::num::NonZeroUsize;

use ndarray::ArrayViewMut2;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect};

/// A matrix whose last element is the last of its page; touching what follows kills the process.
/// The pages stay mapped: the tests need few of them.
pub fn before_a_guard_page(rows: usize, columns: usize) -> ArrayViewMut2<'static, f32> {
    const PAGE_BYTES: usize = 4096;
    let bytes = rows * columns * size_of::<f32>();
    let pages_bytes = bytes.next_multiple_of(PAGE_BYTES);
    let length = NonZeroUsize::new(pages_bytes + PAGE_BYTES).unwrap();
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a fresh mapping that nobody else knows; the view ends where the guard page begins.
    unsafe {
        let start = mmap_anonymous(None, length, access, MapFlags::MAP_PRIVATE).unwrap();
        mprotect(start.byte_add(pages_bytes), PAGE_BYTES, ProtFlags::PROT_NONE).unwrap();
        let first = start.byte_add(pages_bytes - bytes).cast();
        ArrayViewMut2::from_shape_ptr((rows, columns), first.as_ptr())
    }
}
