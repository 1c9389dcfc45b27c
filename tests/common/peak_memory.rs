//! How much memory a piece of work holds at once, to show that it refuses before it allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Adds up what each thread holds.
struct Watching;

thread_local! {
    /// Bytes held, and the most that ever were. A thread may free what another one allocated, hence signed.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(n_bytes: isize) {
    HELD.with(|held| {
        let (now, most) = held.get();
        held.set((now + n_bytes, most.max(now + n_bytes)));
    });
}

// SAFETY: hands every request on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// What `work` returns, and how many bytes it held at most beside what this thread held before.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    let result = work();
    let (_, most) = HELD.with(Cell::get);
    (result, (most - before).unsigned_abs())
}
