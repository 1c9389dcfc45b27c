//! The memory under a segment: made, mapped, reserved, protected, freed.
//!
//! Owns every call to the system about it (invariant M1 in `shm/mod.rs`). Knows nothing of what lies where.
//! Called by `segment.rs`, and by `view.rs` for another process's.

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::{File, OpenOptions};
use std::ptr::NonNull;

use nix::errno::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags};
use shared_memory::{Shmem, ShmemConf};

use super::SHM_DIR;
use super::error::{SegmentError, system_error};
use crate::base::span::Span;

/// The memory under a segment; frees it when dropped.
pub enum Memory {
    /// Shared with all processes forked from here.
    Mapped(Shmem),
    /// Private to this process, for tests and for Miri, which has no shared mappings.
    Heap(HeapPages),
    /// Another process's, without the right to write. Only a [`SegmentView`](super::view::SegmentView) has
    /// such memory.
    Viewed(ViewedPages),
}

impl Memory {
    /// Shared memory of `n_bytes` zeroes, all of it reserved, already without a name; and a read-only
    /// descriptor of it.
    ///
    /// # Errors
    /// [`SegmentError::Create`], [`SegmentError::Open`], [`SegmentError::TooSmall`],
    /// [`SegmentError::System`].
    pub fn shared(n_bytes: usize) -> Result<(Memory, File), SegmentError> {
        let mut shmem = ShmemConf::new().size(n_bytes).create()?;
        let (file, view_file) = open_and_unlink(&mut shmem)?;
        reserve(&file, n_bytes)?;
        Ok((Memory::Mapped(shmem), view_file))
    }

    /// Zeroes in private memory.
    pub fn heap(pages: std::alloc::Layout) -> Memory {
        Memory::Heap(HeapPages::new(pages))
    }

    /// The file of another process's memory, read-only.
    ///
    /// # Errors
    /// [`SegmentError::System`].
    pub fn viewed(file: &File, n_bytes: usize) -> Result<Memory, SegmentError> {
        Ok(Memory::Viewed(ViewedPages::map(file, n_bytes)?))
    }

    /// Its first byte.
    pub fn base(&self) -> *mut u8 {
        match self {
            Memory::Mapped(shmem) => shmem.as_ptr(),
            Memory::Heap(pages) => pages.base.as_ptr(),
            Memory::Viewed(pages) => pages.base.as_ptr(),
        }
    }

    /// Makes all `n_bytes` of shared memory present in this process.
    ///
    /// # Errors
    /// [`SegmentError::System`].
    pub fn prefault(&self, n_bytes: usize) -> Result<(), SegmentError> {
        let Memory::Mapped(_) = self else { return Ok(()) };
        // SAFETY: M1; this is our mapping from end to end, and populating it changes no byte of it.
        let populated =
            unsafe { rustix::mm::madvise(self.base().cast(), n_bytes, Advice::LinuxPopulateWrite) };
        match populated {
            // A kernel before 5.14 does not know the advice: pages then come at the first touch, which
            // cannot fail because they have been reserved.
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(errno) => Err(system_error("madvise")(errno)),
        }
    }

    /// Leaves this process no more than `access` to these pages, which are of the segment's layout.
    ///
    /// # Errors
    /// [`SegmentError::System`].
    pub fn protect(&self, pages: Span, access: MprotectFlags) -> Result<(), SegmentError> {
        // SAFETY: M1, M2; the pages are ours. Taking access away cannot break memory safety: whoever
        // still has a reference into them is ended by the kernel.
        unsafe { rustix::mm::mprotect(self.base().add(pages.offset).cast(), pages.n_bytes, access) }
            .map_err(system_error("mprotect"))
    }
}

/// Zeroed, page-aligned memory of one process.
pub struct HeapPages {
    base: NonNull<u8>,
    layout: std::alloc::Layout,
}

impl HeapPages {
    fn new(layout: std::alloc::Layout) -> Self {
        assert!(layout.size() > 0);
        // SAFETY: the size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        HeapPages { base, layout }
    }
}

impl Drop for HeapPages {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// A read-only mapping of a segment's file.
pub struct ViewedPages {
    base: NonNull<u8>,
    n_bytes: usize,
}

impl ViewedPages {
    fn map(file: &File, n_bytes: usize) -> Result<Self, SegmentError> {
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            let flags = MapFlags::SHARED;
            rustix::mm::mmap(std::ptr::null_mut(), n_bytes, ProtFlags::READ, flags, file, 0)
        };
        let base = base.map_err(system_error("mmap"))?;
        let base = NonNull::new(base.cast()).expect("the kernel maps nothing at address 0");
        Ok(ViewedPages { base, n_bytes })
    }
}

impl Drop for ViewedPages {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and unmapped only here. A failure could only mean
        // that it is not mapped.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.n_bytes) };
    }
}

/// Takes the name away from fresh shared memory; returns a file of it for [`reserve`] to work on, and
/// one that can only be read.
fn open_and_unlink(shmem: &mut Shmem) -> Result<(File, File), SegmentError> {
    let name = shmem.get_os_id().to_owned();
    let path = format!("{SHM_DIR}{name}");
    let open = |options: &mut OpenOptions| {
        let file = options.read(true).open(&path);
        file.map_err(|source| SegmentError::Open { path: path.clone(), source })
    };
    // While it owns the name, a dropped `Shmem` unlinks it; forked children must not even try.
    let files = (open(File::options().write(true))?, open(&mut File::options())?);
    nix::sys::mman::shm_unlink(name.as_str())
        .map_err(|errno| SegmentError::System { call: "shm_unlink", errno })?;
    shmem.set_owner(false);
    Ok(files)
}

/// Reserves memory for the whole file.
fn reserve(file: &File, needed_bytes: usize) -> Result<(), SegmentError> {
    loop {
        match nix::fcntl::posix_fallocate(file, 0, needed_bytes as i64) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOSPC) => {
                let space = nix::sys::statvfs::fstatvfs(file);
                let free_bytes =
                    space.map_or(0, |space| space.blocks_available() * space.fragment_size());
                return Err(SegmentError::TooSmall {
                    needed_bytes,
                    free_bytes,
                    fitting_envs: None,
                });
            }
            Err(errno) => return Err(SegmentError::System { call: "posix_fallocate", errno }),
        }
    }
}
