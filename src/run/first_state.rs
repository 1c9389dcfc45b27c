//! What a run starts with: its first state, and the segment with a state in it.
//!
//! Owns the way there from a configuration that was checked. Knows nothing of who will work in the segment.
//! Called by `train.rs`; and by who learns a run again, to have the same.

use super::sizes::Sizes;
use crate::base::seeds::{Stream, stream_seed};
use crate::config::{Config, ConfigError};
use crate::network::params::ParamLayout;
use crate::shm::layout::SegmentShape;
use crate::shm::{Segment, SegmentError};
use crate::state::{Counters, LearnerState, OptimizerState, ReturnStats, SCORE_WINDOW};

/// The state that a fresh run of a checked configuration begins with.
///
/// # Errors
/// If the configuration cannot work.
pub fn fresh_state(config: &Config) -> Result<LearnerState, ConfigError> {
    let layout = ParamLayout::new(&Sizes::of(config)?.network);
    Ok(LearnerState {
        counters: Counters::default(),
        recent_returns: [0.0; SCORE_WINDOW],
        return_stats: ReturnStats::default(),
        params: layout.init(stream_seed(config.seed, Stream::Weights)),
        optimizer: OptimizerState::fresh(layout.len(), config.optimizer.kind.n_moments()),
    })
}

/// A segment with the state to learn from and its weights in it: whoever is forked finds weights to act
/// with, or a state to go on from.
///
/// # Errors
/// If there is not enough shared memory.
pub fn create_segment(shape: &SegmentShape, state: &LearnerState) -> Result<Segment, SegmentError> {
    let segment = Segment::create(shape)?;
    segment.put_state(state, vec![0; shape.n_actors])?;
    Ok(segment)
}
