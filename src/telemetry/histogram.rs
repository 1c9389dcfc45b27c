//! Histograms on their way between processes: HdrHistogram's V2 encoding, and the bounds of ages in updates.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::{Deserialize, Serialize};

use crate::base::stages::{Stage, StageHistograms};

/// Largest lag told apart in a run's histogram; larger ones count as this.
pub(super) const MAX_LAG: u64 = 1_000_000;

/// A histogram of ages in updates, with nothing in it.
pub fn lag_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LAG, 3).expect("constant bounds are valid")
}

/// A histogram in HdrHistogram's V2 encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncodedHistogram(Vec<u8>);

/// A message held bytes that are no histogram: the two ends are not of one build.
#[derive(Debug, thiserror::Error)]
#[error("a latency histogram could not be decoded ({0}); rebuild so that all processes agree")]
pub struct DecodeError(hdrhistogram::serialization::DeserializeError);

impl EncodedHistogram {
    /// Encodes a histogram.
    pub fn encode(histogram: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(histogram, &mut bytes)
            .expect("writing to memory does not fail");
        EncodedHistogram(bytes)
    }

    /// The histogram again.
    ///
    /// # Errors
    /// If the bytes are not a V2 histogram.
    pub fn decode(&self) -> Result<Histogram<u64>, DecodeError> {
        Deserializer::new().deserialize(&mut self.0.as_slice()).map_err(DecodeError)
    }
}

/// Encodes every stage that has counts.
pub fn encode_stages(histograms: &StageHistograms) -> Vec<(Stage, EncodedHistogram)> {
    let timed = Stage::ALL.into_iter().filter(|&stage| !histograms.get(stage).is_empty());
    timed.map(|stage| (stage, EncodedHistogram::encode(histograms.get(stage)))).collect()
}
