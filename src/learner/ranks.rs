//! This learner among those of a job: the rounds in which all ranks sum their gradients, and what they agree on.
//!
//! Owns the [`Cluster`], what was measured of its rounds, and whether the ranks are to stop. Knows neither weights
//! nor batches. Who is alone has rounds too, which change nothing. Used by the hub.

use super::LearnerError;
use super::cluster::contribution::Contribution;
use super::cluster::record::{RankMeter, Surroundings, check_equal};
use super::cluster::tally::Tally;
use super::cluster::{Cluster, Round};
use crate::base::clock::{in_ns, monotonic_ns};
use crate::config::Config;
use crate::shm::board::Board;
use crate::state::Counters;
use crate::telemetry::RankSummary;

/// Share of `supervision.stop_grace_s` that a rank which was told to stop waits for the others, so that the rest is
/// enough to end in order without them.
const SHARE_OF_GRACE: f64 = 0.7;

/// This rank, with the others.
pub struct Ranks<'seg> {
    cluster: Box<dyn Cluster>,
    board: Board<'seg>,
    meter: RankMeter,
    /// Frames that this rank's actors had produced at the last round.
    n_produced: u64,
    /// How long a rank that was told to stop waits for the others, ns.
    patience_ns: u64,
    /// Whether a rank has voted to stop, or this one has given the others up.
    is_stop_agreed: bool,
    /// Whether the others are gone.
    has_given_up: bool,
}

impl<'seg> Ranks<'seg> {
    /// The ranks of `cluster`, of which none has come to a round at `start_ns`.
    pub fn new(
        config: &Config,
        board: Board<'seg>,
        cluster: Box<dyn Cluster>,
        start_ns: u64,
    ) -> Self {
        Ranks {
            cluster,
            board,
            meter: RankMeter::new(start_ns),
            n_produced: 0,
            patience_ns: in_ns(config.supervision.stop_grace_s * SHARE_OF_GRACE),
            is_stop_agreed: false,
            has_given_up: false,
        }
    }

    /// Whether there is no other.
    pub fn is_alone(&self) -> bool {
        self.cluster.rank().is_alone()
    }

    /// Whether there are others, and they still come.
    pub fn has_company(&self) -> bool {
        !(self.is_alone() || self.has_given_up)
    }

    /// Whether a rank has voted to stop, or this one has given the others up.
    pub fn are_to_stop(&self) -> bool {
        self.is_stop_agreed
    }

    /// The round of an update: makes gradient and tally those of all ranks. Returns the frames that the others' actors
    /// have produced since the last one.
    ///
    /// # Errors
    /// If another rank does not come.
    pub fn sum(
        &mut self,
        contribution: &mut Contribution,
        tally: &mut Tally,
        update: u64,
        beat: &mut dyn FnMut(),
    ) -> Result<u64, LearnerError> {
        if !self.is_alone() {
            self.vote(tally);
        }
        let n_own = tally.n_produced;
        let round = self.cluster.sum(
            contribution,
            tally,
            &mut meanwhile(self.board, self.patience_ns, beat),
        );
        let round = round.map_err(|source| LearnerError::Round { update, source })?;
        self.has_given_up |= round == Round::GivenUp;
        self.is_stop_agreed |= self.has_given_up || tally.n_stops > 0.0;
        Ok((tally.n_produced - n_own) as u64)
    }

    /// Adds to a tally what this rank's actors have produced since the last round, and whether it was told to stop.
    fn vote(&mut self, tally: &mut Tally) {
        let n_produced = self.board.frames_produced();
        let n_before = std::mem::replace(&mut self.n_produced, n_produced);
        tally.n_produced = (n_produced - n_before) as f64;
        tally.n_stops = f64::from(u8::from(self.board.stop_ordered()));
    }

    /// Counts the time of a round, ns.
    pub fn count_round(&mut self, ns: u64) {
        self.meter.count_round(ns);
    }

    /// Counts a slot that was learned from, and its policy lag.
    pub fn count_slot(&mut self, lag: u64) {
        self.meter.n_slots += 1;
        self.meter.lag_sum += lag;
    }

    /// All ranks tell one another how they are, and make sure that what they learned has equal hashes. A line a rank;
    /// none where this one has given the others up.
    ///
    /// # Errors
    /// If the hashes differ, or another rank does not come.
    pub fn compare(
        &mut self,
        hash: u64,
        counters: &Counters,
        around: &Surroundings,
        beat: &mut dyn FnMut(),
    ) -> Result<Vec<RankSummary>, LearnerError> {
        let own = self.meter.record(hash, counters, around, monotonic_ns());
        let records = self.cluster.gather(&own, &mut meanwhile(self.board, self.patience_ns, beat));
        let records =
            records.map_err(|source| LearnerError::Round { update: counters.updates, source })?;
        check_equal(&records)?;
        self.has_given_up |= records.is_empty();
        self.is_stop_agreed |= records.is_empty();
        Ok(records.iter().enumerate().map(|(rank, record)| record.summary(rank)).collect())
    }

    /// Parts from the others.
    pub fn leave(&mut self) {
        self.cluster.leave();
    }
}

/// What a wait for other ranks does meanwhile: it beats the heart. Once told to stop it does not go on for long,
/// because whoever does not come may be gone.
fn meanwhile(board: Board<'_>, patience_ns: u64, beat: &mut dyn FnMut()) -> impl FnMut() -> bool {
    let mut stop_ns = None;
    move || {
        beat();
        let now_ns = monotonic_ns();
        !board.stop_ordered() || now_ns - *stop_ns.get_or_insert(now_ns) < patience_ns
    }
}
