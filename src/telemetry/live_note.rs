//! `live.json`: where a running run can be looked into.

use serde::{Deserialize, Serialize};

use crate::space::Spec;

/// `live.json`: whose run it is while it lasts, and where its shared memory can be looked into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveNote {
    /// The supervisor's process.
    pub pid: u32,
    /// When that was started, in ticks of the kernel: a process that gets the same number later has another.
    pub start_ticks: u64,
    /// Its descriptor of the segment, until training ends.
    pub descriptor: i32,
    /// The segment's inode: what has the descriptor's number after that has another.
    pub inode: u64,
    /// What the environment is: whoever looks need not know it.
    pub spec: Spec,
    /// Threads of the learner, whose waiting is added up.
    pub learner_threads: usize,
    /// How many compute each one's batch together.
    pub batch_threads: usize,
}
