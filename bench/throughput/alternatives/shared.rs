//! One value in memory that processes forked from here share.

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::Figures;
use super::weights::LockedWeights;

/// Types that several processes may use at once.
///
/// # Safety
/// Made of atomics only.
pub unsafe trait ForkShared {}

// SAFETY: two atomic words.
unsafe impl ForkShared for Figures {}
// SAFETY: a futex, which is an atomic word, and atomic words.
unsafe impl ForkShared for LockedWeights {}

/// A value that stays the same one in every child forked while it exists.
pub struct Shared<T> {
    value: NonNull<T>,
}

impl<T: ForkShared> Shared<T> {
    const N_BYTES: NonZeroUsize = NonZeroUsize::new(size_of::<T>()).expect("T has a size");

    /// Moves a value into fresh shared memory.
    pub fn new(value: T) -> nix::Result<Shared<T>> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses the address, so no mapping in use is replaced.
        let pages = unsafe { mmap_anonymous(None, Self::N_BYTES, access, MapFlags::MAP_SHARED) }?;
        let place = pages.cast::<T>();
        assert!(place.is_aligned());
        // SAFETY: fresh, writable, large enough, aligned, and nobody else knows of it yet.
        unsafe { place.write(value) };
        Ok(Shared { value: place })
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: written in `new` and mapped until `drop`; only shared references are ever made.
        unsafe { self.value.as_ref() }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; no reference outlives `self`. Atomics need no drop.
        let unmapped = unsafe { munmap(self.value.cast(), size_of::<T>()) };
        debug_assert!(unmapped.is_ok());
    }
}
