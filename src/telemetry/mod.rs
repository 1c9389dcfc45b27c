//! What a run tells about itself: the rows, reports and summary that travel from the learner to the
//! supervisor and from there into files. Pure data; no I/O, no clock.

mod histogram;
mod live_note;
mod message;
mod row;
mod summary;

pub use histogram::{DecodeError, EncodedHistogram, encode_stages, lag_histogram};
pub use live_note::LiveNote;
pub use message::{LearnerFigures, LearnerSums, Message, Progress, Report};
pub use row::{EvalRow, MetricsRow, ProcessSample, SlotRecord, TaskRow, Unlearned};
pub use summary::{
    ActorSummary, CoreSummary, EvalSummary, Exit, LagSummary, LatencySummary, MemorySummary,
    RankSummary, Reliability, SelfChecks, Spread, Summary, TaskSummary,
};
