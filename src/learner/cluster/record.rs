//! What a rank says of itself to all others: how fast it is, how long it waits, and which weights it has.
//!
//! Owns what is measured of the exchange over a whole run. Made by the hub; rank 0's becomes the report's table.

use bytemuck::{Pod, Zeroable};
use hdrhistogram::Histogram;

use super::ClusterError;
use crate::base::clock::in_seconds;
use crate::base::stages::histogram;
use crate::run::meta::host_name;
use crate::state::Counters;
use crate::telemetry::RankSummary;

/// Bytes of a host's name that are told.
const HOST_BYTES: usize = 64;

/// A rank at one update: plain words, which travel as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct RankRecord {
    /// Of parameters and optimiser.
    pub hash: u64,
    /// The last update.
    pub update: u64,
    /// Frames of its own actors that were learned from.
    pub frames: u64,
    /// Since its learner began, ns.
    pub train_ns: u64,
    /// Time in rounds, ns.
    pub exchange_ns: u64,
    /// Median of a round, ns.
    pub exchange_p50_ns: u64,
    /// 99th percentile of a round, ns.
    pub exchange_p99_ns: u64,
    /// Time without a batch, ns.
    pub wait_ns: u64,
    /// Times that its actors were started again.
    pub restarts: u64,
    /// Sum of the policy lags of its slots, updates.
    pub lag_sum: u64,
    /// Slots learned from.
    pub n_slots: u64,
    host: [u8; HOST_BYTES],
}

/// What is known of this rank.
pub struct RankMeter {
    start_ns: u64,
    exchange: Histogram<u64>,
    exchange_ns: u64,
    /// Slots learned from.
    pub n_slots: u64,
    /// Sum of their policy lags, updates.
    pub lag_sum: u64,
}

/// What others know of this rank, and it has not measured itself.
pub struct Surroundings {
    /// Frames in a slot.
    pub frames_per_slot: u64,
    /// Time without a batch, ns.
    pub wait_ns: u64,
    /// Times that actors were started again.
    pub restarts: u64,
}

impl RankMeter {
    /// One that has measured nothing at `start_ns`.
    pub fn new(start_ns: u64) -> Self {
        RankMeter { start_ns, exchange: histogram(), exchange_ns: 0, n_slots: 0, lag_sum: 0 }
    }

    /// Counts a round.
    pub fn count_round(&mut self, ns: u64) {
        self.exchange.saturating_record(ns);
        self.exchange_ns += ns;
    }

    /// What is to be said at `now_ns`, where these are the weights' hash and counters.
    pub fn record(
        &self,
        hash: u64,
        counters: &Counters,
        around: &Surroundings,
        now_ns: u64,
    ) -> RankRecord {
        RankRecord {
            hash,
            update: counters.updates,
            frames: self.n_slots * around.frames_per_slot,
            train_ns: now_ns.saturating_sub(self.start_ns),
            exchange_ns: self.exchange_ns,
            exchange_p50_ns: self.exchange.value_at_quantile(0.5),
            exchange_p99_ns: self.exchange.value_at_quantile(0.99),
            wait_ns: around.wait_ns,
            restarts: around.restarts,
            lag_sum: self.lag_sum,
            n_slots: self.n_slots,
            host: host_bytes(&host_name()),
        }
    }
}

impl RankRecord {
    /// Its host.
    pub fn host(&self) -> String {
        text_of(&self.host)
    }

    /// The same as a line of the summary.
    pub fn summary(&self, rank: usize) -> RankSummary {
        RankSummary {
            rank,
            host: self.host(),
            frames: self.frames,
            frames_per_s: self.frames as f64 / in_seconds(self.train_ns),
            exchange_s: in_seconds(self.exchange_ns),
            exchange_p50_us: self.exchange_p50_ns as f64 / 1e3,
            exchange_p99_us: self.exchange_p99_ns as f64 / 1e3,
            wait_s: in_seconds(self.wait_ns),
            restarts: self.restarts,
            policy_lag: self.lag_sum as f64 / self.n_slots as f64,
            weights: format!("{:016x}", self.hash),
        }
    }
}

/// The text that bytes hold up to the first zero.
pub fn text_of(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// A host's name, cut where it is longer.
pub fn host_bytes(name: &str) -> [u8; HOST_BYTES] {
    let mut bytes = [0; HOST_BYTES];
    let kept = name.len().min(HOST_BYTES - 1);
    bytes[..kept].copy_from_slice(&name.as_bytes()[..kept]);
    bytes
}

/// Whether all ranks stand at the same update with the same weights.
///
/// # Errors
/// Who does not, compared with rank 0.
pub fn check_equal(records: &[RankRecord]) -> Result<(), ClusterError> {
    let Some(first) = records.first() else { return Ok(()) };
    let differs = |(_, record): &(usize, &RankRecord)| {
        (record.hash, record.update) != (first.hash, first.update)
    };
    let others: Vec<String> = records
        .iter()
        .enumerate()
        .filter(differs)
        .map(|(rank, record)| format!("rank {rank} ({})", record.host()))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(ClusterError::Unequal { update: first.update, who: others.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_with_other_weights_are_named() {
        let around = Surroundings { frames_per_slot: 640, wait_ns: 0, restarts: 0 };
        let counters = Counters { updates: 9, ..Counters::default() };
        let record = |hash| RankMeter::new(0).record(hash, &counters, &around, 1);
        assert_eq!(check_equal(&[record(1), record(1)]), Ok(()));
        let error = check_equal(&[record(1), record(1), record(2)]).unwrap_err().to_string();
        assert!(error.contains("after update 9 the weights of rank 2 ("), "{error}");
    }

    #[test]
    fn a_record_is_a_line_of_the_summary() {
        let mut meter = RankMeter::new(1_000_000_000);
        (meter.n_slots, meter.lag_sum) = (10, 25);
        meter.count_round(20_000);
        meter.count_round(40_000);
        let around = Surroundings { frames_per_slot: 640, wait_ns: 500_000_000, restarts: 3 };
        let line = meter.record(0xabc, &Counters::default(), &around, 3_000_000_000).summary(1);
        assert_eq!((line.frames, line.frames_per_s, line.policy_lag), (6_400, 3_200.0, 2.5));
        assert_eq!((line.exchange_s, line.wait_s, line.restarts), (6e-5, 0.5, 3));
        assert_eq!((line.rank, &*line.weights), (1, "0000000000000abc"));
        assert_eq!(line.host, host_name());
    }
}
