//! The files of `src/shm` that the scenarios run, under the names by which they call one another.

#[path = "../../../../src/shm/board.rs"]
pub mod board;
#[path = "../../../../src/shm/cells.rs"]
pub mod cells;
#[path = "../../../../src/shm/doorbell.rs"]
pub mod doorbell;
#[path = "../../../../src/shm/layout.rs"]
pub mod layout;
#[path = "../../../../src/shm/ring.rs"]
pub mod ring;
#[path = "../../../../src/shm/state.rs"]
pub mod state;
#[path = "../../../../src/shm/weights.rs"]
pub mod weights;
