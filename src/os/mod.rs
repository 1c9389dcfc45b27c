//! What is asked of Linux: processes, signals, what a process takes of the machine.

pub mod cores;
pub mod launcher;
pub mod memory;
pub mod memory_limits;
pub mod process;
pub mod program;
pub mod signals;
