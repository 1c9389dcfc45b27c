//! Stands in for `src/base/faults.rs`: a thread that dies at a point where a process can be told to.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The points that the scenarios' files pass.
pub enum Point {
    MidState,
}

thread_local! {
    static DIES: Cell<bool> = const { Cell::new(false) };
}

/// Passes a point, or dies there without a word.
pub fn reach(_point: Point) -> bool {
    if DIES.take() {
        resume_unwind(Box::new("killed"));
    }
    false
}

/// Does `work` until its first point, where whoever did it is gone: nothing is finished and nothing is
/// tidied up, as the protocols' types have no destructors.
pub fn die_during(work: impl FnOnce()) {
    DIES.set(true);
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err(), "it passed no point");
}
