//! Where the lanes get their batches: the rings, and the batch that is being gathered from them.
//!
//! Owns the consuming end of every ring. One lane at a time has the turn to gather and sleeps in it; the
//! rings have a lock each, held for an instruction or two, so that nobody who hands slots back ever waits
//! for a sleeper. There is one unfinished batch for all lanes: if each had its own, all could wait for the
//! slots in the others' hands. Knows nothing of what is learned. Called by the lanes.

use std::sync::Mutex;
use std::time::Duration;

use super::lock;
use super::pulse::Pulse;
use crate::base::clock::monotonic_ns;
use crate::base::stages::{Stage, StageClock};
use crate::base::sync::{AtomicBool, Ordering};
use crate::config::Config;
use crate::rollout::RolloutHeader;
use crate::shm::board::{Board, LearnerStatus, Phase};
use crate::shm::doorbell::Doorbell;
use crate::shm::weights::WeightsReader;
use crate::shm::{Consumer, Segment, SegmentError, TakenSlot};

/// How long a waiting lane sleeps before it looks at the stop flag and says that it lives.
const WAIT_TIMEOUT: Duration = Duration::from_millis(50);

/// Slots that a lane learns from together, until it hands them back.
#[derive(Default)]
pub struct SlotBatch<'seg> {
    /// Number of the lane that it is for.
    pub lane: usize,
    /// In the order in which they were taken.
    pub slots: Vec<TakenSlot<'seg>>,
    /// When the wait for them had ended, ns.
    pub taken_ns: u64,
    /// Slots published and not yet taken when the batch was complete.
    pub n_ready: usize,
    /// Slots that were left out while it was gathered, because their policy was too old.
    pub left_out: Vec<LeftOut>,
}

/// What is known of a slot that was taken, and handed back without being learned from.
#[derive(Clone, Copy, Debug)]
pub struct LeftOut {
    /// Whose rollout it held.
    pub actor: usize,
    /// What that rollout told of itself.
    pub header: RolloutHeader,
    /// When the wait for it had ended, ns.
    pub taken_ns: u64,
}

/// The rings, and whose turn it is to take from them.
pub struct Intake<'seg> {
    batch_slots: usize,
    /// In updates.
    max_policy_lag: u64,
    /// Slots that are handed back together, where the run is deterministic.
    round: Option<Round<'seg>>,
    board: Board<'seg>,
    status: &'seg LearnerStatus,
    pulse: Pulse<'seg>,
    doorbell: &'seg Doorbell,
    rings: Vec<Mutex<Consumer<'seg>>>,
    turn: Mutex<Gathering<'seg>>,
    /// Whether no lane shall begin another batch.
    is_closed: AtomicBool,
}

/// What makes a run deterministic: no slot is handed back before all slots of all rings have been learned
/// from. Until then each actor waits, and whichever collects first afterwards finds the same weights.
struct Round<'seg> {
    n_slots: usize,
    /// Learned from already.
    learned: Mutex<Vec<TakenSlot<'seg>>>,
}

/// What the lane whose turn it is works on.
struct Gathering<'seg> {
    /// The batch so far.
    slots: Vec<TakenSlot<'seg>>,
    /// The ring to look at next, so that none is favoured.
    next_ring: usize,
    /// For the version published last.
    weights: WeightsReader<'seg>,
    /// Slots that were left out since the last batch.
    left_out: Vec<LeftOut>,
}

impl<'seg> Intake<'seg> {
    /// The intake of a checked configuration, from whose rings `consumed` slots each have been learned
    /// from already.
    ///
    /// # Errors
    /// If the segment is damaged.
    pub fn new(
        config: &Config,
        segment: &'seg Segment,
        consumed: &[u64],
    ) -> Result<Self, SegmentError> {
        let board = segment.board();
        let ring = |(actor, &n_taken)| -> Result<_, SegmentError> {
            let mut ring = segment.consumer(actor)?;
            ring.skip_to(n_taken);
            Ok(Mutex::new(ring))
        };
        let rings = consumed.iter().enumerate().map(ring);
        Ok(Intake {
            batch_slots: config.loss.batch_slots,
            max_policy_lag: config.loss.max_policy_lag_updates(),
            round: config.deterministic.then(|| Round::of(config.n_slots())),
            board,
            status: board.learner(),
            pulse: Pulse::new(&board.learner().vitals, config.n_learner_threads()),
            doorbell: segment.learner_doorbell(),
            rings: rings.collect::<Result<_, _>>()?,
            turn: Mutex::new(Gathering {
                slots: Vec::with_capacity(config.loss.batch_slots),
                next_ring: 0,
                weights: segment.weights_reader(),
                left_out: Vec::new(),
            }),
            is_closed: AtomicBool::new(false),
        })
    }

    /// Waits for a batch and puts it into `batch`, which holds no slots; false when no more shall begin, and
    /// `batch` then holds what had been taken for one.
    pub fn take(&self, batch: &mut SlotBatch<'seg>, clock: &mut StageClock) -> bool {
        self.pulse.rest(batch.lane);
        let mut gathering = lock(&self.turn);
        let is_whole = self.fill(&mut gathering, batch, clock);
        std::mem::swap(&mut batch.slots, &mut gathering.slots);
        batch.left_out.clear();
        std::mem::swap(&mut batch.left_out, &mut gathering.left_out);
        batch.n_ready = self.n_ready();
        is_whole
    }

    /// Takes slots until there are enough for a batch; false when no more shall begin.
    fn fill(
        &self,
        gathering: &mut Gathering<'seg>,
        batch: &mut SlotBatch,
        clock: &mut StageClock,
    ) -> bool {
        while gathering.slots.len() < self.batch_slots {
            if !self.wait(batch.lane, self.n_needed(gathering), clock) {
                return false;
            }
            batch.taken_ns = clock.last_ns();
            self.gather(gathering, batch.taken_ns);
        }
        true
    }

    /// Hands the batch's slots back to their actors; in a deterministic run with the round's last batch.
    pub fn release(&self, batch: &mut SlotBatch<'seg>) {
        let Some(round) = &self.round else { return self.hand_back(&mut batch.slots) };
        let mut learned = lock(&round.learned);
        learned.append(&mut batch.slots);
        // After the last update nobody shall collect what would then be counted as collected.
        if learned.len() == round.n_slots && !self.is_over() {
            self.hand_back(&mut learned);
        }
    }

    fn hand_back(&self, slots: &mut Vec<TakenSlot<'seg>>) {
        for slot in slots.drain(..) {
            lock(&self.rings[slot.actor()]).release(slot);
        }
    }

    /// The lanes' signs of life.
    pub fn pulse(&self) -> &Pulse<'seg> {
        &self.pulse
    }

    /// No lane begins another batch; those that wait for one are woken.
    pub fn close(&self) {
        // Relaxed: nothing is read because of it; the doorbell orders it before a sleeper's look.
        self.is_closed.store(true, Ordering::Relaxed);
        self.doorbell.ring();
    }

    /// Whether a lane has closed it.
    pub fn is_closed(&self) -> bool {
        // Relaxed: as in `close`.
        self.is_closed.load(Ordering::Relaxed)
    }

    /// How many slots must be there before one is taken: what the batch lacks, and for the first batch of
    /// a round all that the rings can hold.
    fn n_needed(&self, gathering: &Gathering) -> usize {
        match &self.round {
            Some(round) if lock(&round.learned).is_empty() => round.n_slots,
            _ => self.batch_slots - gathering.slots.len(),
        }
    }

    /// Waits until the rings hold `n_needed` slots; false when no batch shall be begun any more.
    fn wait(&self, lane: usize, n_needed: usize, clock: &mut StageClock) -> bool {
        let look = || (self.is_over() || self.n_ready() >= n_needed).then_some(());
        while look().is_none() {
            self.pulse.enter(lane, Phase::Waiting, monotonic_ns());
            self.doorbell.wait_for(WAIT_TIMEOUT, look);
        }
        self.status.wait_ns.add(clock.lap(Stage::Wait));
        self.pulse.enter(lane, Phase::Learning, clock.last_ns());
        !self.is_over()
    }

    /// Takes slots from one ring after the other until the batch is complete or all are empty.
    fn gather(&self, gathering: &mut Gathering<'seg>, taken_ns: u64) {
        let mut n_empty = 0;
        while gathering.slots.len() < self.batch_slots && n_empty < self.rings.len() {
            let ring = gathering.next_ring;
            gathering.next_ring = (ring + 1) % self.rings.len();
            let taken = lock(&self.rings[ring]).try_take();
            match taken {
                Some(slot) => self.admit(slot, gathering, taken_ns),
                None => n_empty += 1,
            }
        }
    }

    /// Puts a taken slot into the batch, or hands it back if its policy is too old.
    fn admit(&self, slot: TakenSlot<'seg>, gathering: &mut Gathering<'seg>, taken_ns: u64) {
        // Where they are damaged, the lane that reads them next says so.
        let newest = gathering.weights.version().ok().flatten();
        let lag = policy_lag(newest, &slot);
        if lag <= self.max_policy_lag {
            gathering.slots.push(slot);
        } else {
            let (actor, header) = (slot.actor(), *slot.header());
            gathering.left_out.push(LeftOut { actor, header, taken_ns });
            lock(&self.rings[slot.actor()]).release(slot);
        }
    }

    fn is_over(&self) -> bool {
        self.is_closed() || self.board.stop_ordered()
    }

    /// Published slots that nobody has taken.
    fn n_ready(&self) -> usize {
        self.rings.iter().map(|ring| lock(ring).n_ready() as usize).sum()
    }
}

impl Round<'_> {
    fn of(n_slots: usize) -> Self {
        Round { n_slots, learned: Mutex::new(Vec::with_capacity(n_slots)) }
    }
}

/// How many updates `newest`, the version published last, is ahead of the policy that the slot was
/// acted with.
pub fn policy_lag(newest: Option<u64>, slot: &TakenSlot) -> u64 {
    newest.unwrap_or(0).saturating_sub(slot.header().policy_version)
}
