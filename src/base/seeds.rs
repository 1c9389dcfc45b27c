//! One seed of a run into independent seeds of everything random in it.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;

/// What a seed is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The network's initial weights.
    Weights,
    /// The environments of an actor process.
    Environments {
        /// The actor's place.
        actor: u64,
        /// How many processes had that place before: a replacement must not replay their episodes.
        generation: u64,
    },
    /// The action selection of an actor process.
    Actions {
        /// The actor's place.
        actor: u64,
        /// How many processes had that place before.
        generation: u64,
    },
    /// The environments of the evaluation at the end.
    Evaluation,
}

/// The seed of one stream of the run with seed `run_seed`, below 2⁶² so that `seed + i` never wraps.
///
/// Streams are told apart by hashing, so that neither neighbouring seeds nor neighbouring actors
/// share environments.
pub fn stream_seed(run_seed: u64, stream: Stream) -> u64 {
    let (purpose, actor, generation) = match stream {
        Stream::Weights => (0, 0, 0),
        Stream::Environments { actor, generation } => (1, actor, generation),
        Stream::Actions { actor, generation } => (2, actor, generation),
        Stream::Evaluation => (3, 0, 0),
    };
    let mix = |state: u64, word: u64| SplitMix64::seed_from_u64(state ^ word).next_u64();
    [purpose, actor, generation].into_iter().fold(mix(0, run_seed), mix) >> 2
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn streams_differ() {
        let mut seen = HashSet::new();
        for seed in 0..20 {
            assert!(seen.insert(stream_seed(seed, Stream::Weights)));
            assert!(seen.insert(stream_seed(seed, Stream::Evaluation)));
            for (actor, generation) in (0..20).flat_map(|a| (0..5).map(move |g| (a, g))) {
                assert!(seen.insert(stream_seed(seed, Stream::Environments { actor, generation })));
                assert!(seen.insert(stream_seed(seed, Stream::Actions { actor, generation })));
            }
        }
    }

    #[test]
    fn the_same_stream_is_the_same_seed() {
        assert_eq!(stream_seed(7, Stream::Weights), stream_seed(7, Stream::Weights));
    }
}
