//! The files of `src/base` that the protocols use.

pub mod faults;
#[path = "../../../../src/base/finite.rs"]
pub mod finite;
#[path = "../../../../src/base/span.rs"]
pub mod span;
#[path = "../../../../src/base/sync.rs"]
pub mod sync;
