//! How rollouts travel from the actors to the learner.

use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use bytemuck::{bytes_of, bytes_of_mut};
use impala::config::Config;
use impala::rollout::{Rollout, RolloutBuffer, RolloutHeader, RolloutMut, RolloutShape};
use impala::run::sizes::Sizes;
use impala::shm::doorbell::Doorbell;
use impala::shm::{Consumer, Producer, Segment, TakenSlot};
use ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender, bytes_channel, channel,
};

use super::loops::lock;
use super::waiting::Waiting;

/// A way for rollouts; made before the fork, its ends in the processes that use them.
pub trait Transport {
    /// An actor's end.
    fn filler(&self, actor: usize) -> Result<Box<dyn Fill + '_>>;
    /// The learner's end, once for each of its lanes.
    fn takers(&self, n_lanes: usize) -> Result<Vec<Box<dyn Take + '_>>>;
}

/// An actor's end.
pub trait Fill {
    /// Waits until there is room for a rollout.
    fn claim(&mut self);
    /// Lets `fill` fill the room.
    fn fill(&mut self, fill: &mut dyn FnMut(&mut RolloutMut));
    /// Sends the rollout to the learner.
    fn publish(&mut self, policy_version: u64);
}

/// A lane's end.
pub trait Take: Send {
    /// Waits for a rollout that no other lane takes; returns whose it is.
    fn take(&mut self) -> usize;
    /// The rollout that was taken.
    fn rollout(&self) -> Rollout<'_>;
    /// Gives the room back.
    fn release(&mut self);
}

/// The engine's: rings of slots in shared memory, read where they lie.
#[derive(Clone, Copy)]
pub struct Rings<'a> {
    pub segment: &'a Segment,
    pub n_actors: usize,
    pub waiting: Waiting,
}

struct RingFiller<'a> {
    producer: Producer<'a>,
    doorbell: &'a Doorbell,
    waiting: Waiting,
}

/// What the lanes share, locked as in the engine's intake: whose turn it is may sleep, and never keeps
/// another lane from handing back.
struct Intake<'a> {
    rings: Vec<Mutex<Consumer<'a>>>,
    doorbell: &'a Doorbell,
    waiting: Waiting,
    /// The ring to look at next, in the hands of the lane whose turn it is.
    turn: Mutex<usize>,
}

struct RingTaker<'a> {
    intake: Arc<Intake<'a>>,
    slot: Option<TakenSlot<'a>>,
}

impl<'a> Rings<'a> {
    fn intake(&self) -> Result<Arc<Intake<'a>>> {
        let ring = |actor| self.segment.consumer(actor).map(Mutex::new);
        Ok(Arc::new(Intake {
            rings: (0..self.n_actors).map(ring).collect::<Result<_, _>>()?,
            doorbell: self.segment.learner_doorbell(),
            waiting: self.waiting,
            turn: Mutex::new(0),
        }))
    }
}

impl<'a> Intake<'a> {
    /// Waits for a slot of any ring.
    fn take(&self, mut turn: MutexGuard<usize>) -> TakenSlot<'a> {
        let n_rings = self.rings.len();
        let (ring, slot) = self.waiting.until(self.doorbell, || {
            let mut in_turn = (0..n_rings).map(|k| (*turn + k) % n_rings);
            in_turn.find_map(|ring| Some((ring, lock(&self.rings[ring]).try_take()?)))
        });
        *turn = (ring + 1) % n_rings;
        slot
    }

    fn release(&self, slot: TakenSlot<'a>) {
        lock(&self.rings[slot.actor()]).release(slot);
    }

    /// Waits for a slot of every ring.
    fn wait_for_all(&self) {
        let rings = || self.rings.iter().map(|ring| lock(ring).n_ready());
        self.waiting.until(self.doorbell, || rings().all(|n_ready| n_ready > 0).then_some(()));
    }
}

impl Transport for Rings<'_> {
    fn filler(&self, actor: usize) -> Result<Box<dyn Fill + '_>> {
        let producer = self.segment.producer(actor, 0)?;
        let doorbell = self.segment.actor_doorbell(actor);
        Ok(Box::new(RingFiller { producer, doorbell, waiting: self.waiting }))
    }

    fn takers(&self, n_lanes: usize) -> Result<Vec<Box<dyn Take + '_>>> {
        let intake = self.intake()?;
        let taker = |_| RingTaker { intake: Arc::clone(&intake), slot: None };
        Ok((0..n_lanes).map(|lane| Box::new(taker(lane)) as _).collect())
    }
}

const STILL_OURS: &str = "the slot stays ours until it is published";

impl Fill for RingFiller<'_> {
    fn claim(&mut self) {
        self.waiting.until(self.doorbell, || self.producer.try_claim().map(drop));
    }

    fn fill(&mut self, fill: &mut dyn FnMut(&mut RolloutMut)) {
        fill(&mut self.producer.try_claim().expect(STILL_OURS).rollout());
    }

    fn publish(&mut self, policy_version: u64) {
        self.producer.try_claim().expect(STILL_OURS).publish(policy_version);
    }
}

impl Take for RingTaker<'_> {
    fn take(&mut self) -> usize {
        let slot = self.intake.take(lock(&self.intake.turn));
        self.slot.insert(slot).actor()
    }

    fn rollout(&self) -> Rollout<'_> {
        self.slot.as_ref().expect("read after take").rollout()
    }

    fn release(&mut self) {
        self.intake.release(self.slot.take().expect("released after take"));
    }
}

/// Rings in rounds: the learner begins when every actor has published and hands all slots back at the
/// end, so that either it works or they do.
pub struct Lockstep<'a>(pub Rings<'a>);

struct RoundTaker<'a> {
    inner: RingTaker<'a>,
    /// The round's slots that were learned from, by whichever lane.
    learned: Arc<Mutex<Vec<TakenSlot<'a>>>>,
}

impl Transport for Lockstep<'_> {
    fn filler(&self, actor: usize) -> Result<Box<dyn Fill + '_>> {
        self.0.filler(actor)
    }

    fn takers(&self, n_lanes: usize) -> Result<Vec<Box<dyn Take + '_>>> {
        let (intake, learned) = (self.0.intake()?, Arc::default());
        let inner = |_| RingTaker { intake: Arc::clone(&intake), slot: None };
        let taker = |lane| RoundTaker { inner: inner(lane), learned: Arc::clone(&learned) };
        Ok((0..n_lanes).map(|lane| Box::new(taker(lane)) as _).collect())
    }
}

impl Take for RoundTaker<'_> {
    fn take(&mut self) -> usize {
        let intake = &self.inner.intake;
        let turn = lock(&intake.turn);
        if *turn == 0 {
            intake.wait_for_all();
        }
        let slot = intake.take(turn);
        self.inner.slot.insert(slot).actor()
    }

    fn rollout(&self) -> Rollout<'_> {
        self.inner.rollout()
    }

    fn release(&mut self) {
        let RingTaker { intake, slot } = &mut self.inner;
        let mut learned = lock(&self.learned);
        learned.extend(slot.take());
        if learned.len() == intake.rings.len() {
            learned.drain(..).for_each(|slot| intake.release(slot));
        }
    }
}

/// Rings, but the learner copies each slot into a batch of its own before it reads it.
pub struct Copied<'a>(pub Rings<'a>, pub RolloutShape);

struct CopyTaker<'a> {
    inner: Box<dyn Take + 'a>,
    copy: RolloutBuffer,
}

impl Transport for Copied<'_> {
    fn filler(&self, actor: usize) -> Result<Box<dyn Fill + '_>> {
        self.0.filler(actor)
    }

    fn takers(&self, n_lanes: usize) -> Result<Vec<Box<dyn Take + '_>>> {
        let taker = |inner| CopyTaker { inner, copy: RolloutBuffer::new(self.1) };
        let inner = self.0.takers(n_lanes)?.into_iter();
        Ok(inner.map(|inner| Box::new(taker(inner)) as _).collect())
    }
}

impl Take for CopyTaker<'_> {
    fn take(&mut self) -> usize {
        let actor = self.inner.take();
        let rollout = self.inner.rollout();
        *self.copy.view_mut().header = *rollout.header;
        self.copy.copy_from(&rollout.field_bytes());
        actor
    }

    fn rollout(&self) -> Rollout<'_> {
        self.copy.view()
    }

    fn release(&mut self) {
        self.inner.release();
    }
}

/// Messages of ipc-channel: a rollout's bytes one way, leave to send the next one the other way. As many
/// rollouts are on their way as the engine has slots.
pub struct Messages {
    shape: RolloutShape,
    n_slots: usize,
    sender: IpcBytesSender,
    receiver: Mutex<IpcBytesReceiver>,
    leave: Vec<(IpcSender<()>, IpcReceiver<()>)>,
}

struct MessageFiller<'a> {
    way: &'a Messages,
    actor: usize,
    /// Rollouts that may be sent before the first leave comes.
    n_free: usize,
    rollout: RolloutBuffer,
    message: Vec<u8>,
}

struct MessageTaker<'a> {
    receiver: &'a Mutex<IpcBytesReceiver>,
    leave: Vec<IpcSender<()>>,
    actor: usize,
    rollout: RolloutBuffer,
}

impl Messages {
    pub fn new(config: &Config) -> Result<Messages> {
        let (sender, receiver) = bytes_channel()?;
        Ok(Messages {
            shape: Sizes::of(config)?.rollout,
            n_slots: config.actors.slots_per_actor,
            sender,
            receiver: Mutex::new(receiver),
            leave: (0..config.actors.count).map(|_| channel()).collect::<Result<_, _>>()?,
        })
    }
}

impl Transport for Messages {
    fn filler(&self, actor: usize) -> Result<Box<dyn Fill + '_>> {
        let (n_free, rollout) = (self.n_slots, RolloutBuffer::new(self.shape));
        Ok(Box::new(MessageFiller { way: self, actor, n_free, rollout, message: Vec::new() }))
    }

    fn takers(&self, n_lanes: usize) -> Result<Vec<Box<dyn Take + '_>>> {
        let taker = |_| MessageTaker {
            receiver: &self.receiver,
            leave: self.leave.iter().map(|(sender, _)| sender.clone()).collect(),
            actor: 0,
            rollout: RolloutBuffer::new(self.shape),
        };
        Ok((0..n_lanes).map(|lane| Box::new(taker(lane)) as _).collect())
    }
}

impl Fill for MessageFiller<'_> {
    fn claim(&mut self) {
        match self.n_free.checked_sub(1) {
            Some(n_free) => self.n_free = n_free,
            None => self.way.leave[self.actor].1.recv().expect("the learner lives until killed"),
        }
    }

    fn fill(&mut self, fill: &mut dyn FnMut(&mut RolloutMut)) {
        fill(&mut self.rollout.view_mut());
    }

    fn publish(&mut self, policy_version: u64) {
        self.rollout.view_mut().header.policy_version = policy_version;
        self.message.clear();
        self.message.extend_from_slice(&self.actor.to_ne_bytes());
        let rollout = self.rollout.view();
        self.message.extend_from_slice(bytes_of(rollout.header));
        for field in rollout.field_bytes() {
            self.message.extend_from_slice(field);
        }
        self.way.sender.send(&self.message).expect("the learner lives until killed");
    }
}

impl Take for MessageTaker<'_> {
    fn take(&mut self) -> usize {
        let message = lock(self.receiver).recv().expect("actors live until killed");
        let (actor, mut rest) = message.split_first_chunk().expect("the actor comes first");
        let header = bytes_of_mut(self.rollout.view_mut().header);
        header.copy_from_slice(take(&mut rest, size_of::<RolloutHeader>()));
        let sizes = self.rollout.view().field_bytes().map(<[u8]>::len);
        self.rollout.copy_from(&sizes.map(|size| take(&mut rest, size)));
        self.actor = usize::from_ne_bytes(*actor);
        self.actor
    }

    fn rollout(&self) -> Rollout<'_> {
        self.rollout.view()
    }

    fn release(&mut self) {
        self.leave[self.actor].send(()).expect("actors live until killed");
    }
}

/// The next bytes of a message.
fn take<'a>(rest: &mut &'a [u8], n_bytes: usize) -> &'a [u8] {
    let (taken, after) = rest.split_at(n_bytes);
    *rest = after;
    taken
}
