//! How rollouts travel from the actors to the learner.

use anyhow::Result;
use impala::config::Config;
use impala::rollout::{Rollout, RolloutBuffer, RolloutMut, RolloutShape};
use impala::shm::doorbell::Doorbell;
use impala::shm::{Consumer, Producer, Segment, TakenSlot};
use ipc_channel::ipc::{
    IpcBytesReceiver, IpcBytesSender, IpcReceiver, IpcSender, bytes_channel, channel,
};

use super::waiting::Waiting;

/// A way for rollouts; made before the fork, its ends in the processes that use them.
pub trait Transport {
    /// An actor's end.
    fn filler(&self, actor: usize) -> Result<Box<dyn Fill + '_>>;
    /// The learner's end.
    fn taker(&self) -> Result<Box<dyn Take + '_>>;
}

/// An actor's end.
pub trait Fill {
    /// Waits until there is room for a rollout.
    fn claim(&mut self);
    /// The room.
    fn rollout(&mut self) -> RolloutMut<'_>;
    /// Sends the rollout to the learner.
    fn publish(&mut self, policy_version: u64);
}

/// The learner's end.
pub trait Take {
    /// Waits for a rollout; returns whose it is.
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

struct RingTaker<'a> {
    rings: Vec<Consumer<'a>>,
    doorbell: &'a Doorbell,
    waiting: Waiting,
    next_ring: usize,
    /// Slots in hand, the last one taken last.
    taken: Vec<TakenSlot<'a>>,
}

impl<'a> Rings<'a> {
    fn ring_taker(&self) -> Result<RingTaker<'a>> {
        let rings = (0..self.n_actors).map(|actor| self.segment.consumer(actor));
        Ok(RingTaker {
            rings: rings.collect::<Result<_, _>>()?,
            doorbell: self.segment.learner_doorbell(),
            waiting: self.waiting,
            next_ring: 0,
            taken: Vec::with_capacity(self.n_actors),
        })
    }
}

impl Transport for Rings<'_> {
    fn filler(&self, actor: usize) -> Result<Box<dyn Fill + '_>> {
        let producer = self.segment.producer(actor, 0)?;
        let doorbell = self.segment.actor_doorbell(actor);
        Ok(Box::new(RingFiller { producer, doorbell, waiting: self.waiting }))
    }

    fn taker(&self) -> Result<Box<dyn Take + '_>> {
        Ok(Box::new(self.ring_taker()?))
    }
}

impl Fill for RingFiller<'_> {
    fn claim(&mut self) {
        self.waiting.until(self.doorbell, || self.producer.try_claim().map(drop));
    }

    fn rollout(&mut self) -> RolloutMut<'_> {
        self.producer.try_claim().expect("the slot stays ours until it is published")
    }

    fn publish(&mut self, policy_version: u64) {
        self.producer.publish(policy_version);
    }
}

impl Take for RingTaker<'_> {
    fn take(&mut self) -> usize {
        let n_rings = self.rings.len();
        let taken = self.waiting.until(self.doorbell, || {
            let in_turn = (0..n_rings).map(|k| (self.next_ring + k) % n_rings);
            in_turn.into_iter().find_map(|ring| Some((ring, self.rings[ring].try_take()?)))
        });
        let (ring, slot) = taken;
        self.next_ring = (ring + 1) % n_rings;
        self.taken.push(slot);
        ring
    }

    fn rollout(&self) -> Rollout<'_> {
        self.taken.last().expect("read after take").rollout()
    }

    fn release(&mut self) {
        self.taken.drain(..).for_each(|slot| self.rings[slot.actor()].release(slot));
    }
}

/// Rings in rounds: the learner begins when every actor has published and hands all slots back at the
/// end, so that either it works or they do.
pub struct Lockstep<'a>(pub Rings<'a>);

struct RoundTaker<'a>(RingTaker<'a>);

impl Transport for Lockstep<'_> {
    fn filler(&self, actor: usize) -> Result<Box<dyn Fill + '_>> {
        self.0.filler(actor)
    }

    fn taker(&self) -> Result<Box<dyn Take + '_>> {
        Ok(Box::new(RoundTaker(self.0.ring_taker()?)))
    }
}

impl Take for RoundTaker<'_> {
    fn take(&mut self) -> usize {
        let RingTaker { rings, doorbell, waiting, next_ring, .. } = &mut self.0;
        if *next_ring == 0 {
            let mut all_ready = || rings.iter_mut().all(|ring| ring.n_ready() > 0);
            waiting.until(doorbell, || all_ready().then_some(()));
        }
        self.0.take()
    }

    fn rollout(&self) -> Rollout<'_> {
        self.0.rollout()
    }

    fn release(&mut self) {
        if self.0.next_ring == 0 {
            self.0.release();
        }
    }
}

/// Rings, but the learner copies each slot into a batch of its own before it reads it.
pub struct Copied<'a>(pub Rings<'a>, pub RolloutShape);

struct CopyTaker<'a> {
    inner: RingTaker<'a>,
    copy: RolloutBuffer,
}

impl Transport for Copied<'_> {
    fn filler(&self, actor: usize) -> Result<Box<dyn Fill + '_>> {
        self.0.filler(actor)
    }

    fn taker(&self) -> Result<Box<dyn Take + '_>> {
        Ok(Box::new(CopyTaker { inner: self.0.ring_taker()?, copy: RolloutBuffer::new(self.1) }))
    }
}

impl Take for CopyTaker<'_> {
    fn take(&mut self) -> usize {
        let actor = self.inner.take();
        let mut copy = self.copy.view_mut();
        for (to, from) in fields_mut(&mut copy).into_iter().zip(fields(&self.inner.rollout())) {
            to.copy_from_slice(from);
        }
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
    rollouts: (IpcBytesSender, IpcBytesReceiver),
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
    way: &'a Messages,
    actor: usize,
    rollout: RolloutBuffer,
}

impl Messages {
    pub fn new(config: &Config) -> Result<Messages> {
        Ok(Messages {
            shape: config.rollout_shape()?,
            n_slots: config.actors.slots_per_actor,
            rollouts: bytes_channel()?,
            leave: (0..config.actors.count).map(|_| channel()).collect::<Result<_, _>>()?,
        })
    }
}

impl Transport for Messages {
    fn filler(&self, actor: usize) -> Result<Box<dyn Fill + '_>> {
        let (n_free, rollout) = (self.n_slots, RolloutBuffer::new(self.shape));
        Ok(Box::new(MessageFiller { way: self, actor, n_free, rollout, message: Vec::new() }))
    }

    fn taker(&self) -> Result<Box<dyn Take + '_>> {
        let rollout = RolloutBuffer::new(self.shape);
        Ok(Box::new(MessageTaker { way: self, actor: 0, rollout }))
    }
}

impl Fill for MessageFiller<'_> {
    fn claim(&mut self) {
        match self.n_free.checked_sub(1) {
            Some(n_free) => self.n_free = n_free,
            None => self.way.leave[self.actor].1.recv().expect("the learner lives until killed"),
        }
    }

    fn rollout(&mut self) -> RolloutMut<'_> {
        self.rollout.view_mut()
    }

    fn publish(&mut self, policy_version: u64) {
        self.rollout.view_mut().header.policy_version = policy_version;
        self.message.clear();
        self.message.extend_from_slice(&self.actor.to_ne_bytes());
        for field in fields(&self.rollout.view()) {
            self.message.extend_from_slice(field);
        }
        self.way.rollouts.0.send(&self.message).expect("the learner lives until killed");
    }
}

impl Take for MessageTaker<'_> {
    fn take(&mut self) -> usize {
        let message = self.way.rollouts.1.recv().expect("actors live until killed");
        let (actor, mut rest) = message.split_first_chunk().expect("the actor comes first");
        for field in fields_mut(&mut self.rollout.view_mut()) {
            let (bytes, after) = rest.split_at(field.len());
            field.copy_from_slice(bytes);
            rest = after;
        }
        self.actor = usize::from_ne_bytes(*actor);
        self.actor
    }

    fn rollout(&self) -> Rollout<'_> {
        self.rollout.view()
    }

    fn release(&mut self) {
        self.way.leave[self.actor].0.send(()).expect("actors live until killed");
    }
}

const WHOLE: &str = "fields are made in one piece";

/// A rollout as bytes, field by field.
fn fields<'a>(rollout: &Rollout<'a>) -> [&'a [u8]; 8] {
    use bytemuck::{bytes_of, cast_slice};
    [
        bytes_of(rollout.header),
        cast_slice(rollout.obs.to_slice().expect(WHOLE)),
        cast_slice(rollout.actions),
        cast_slice(rollout.rewards),
        cast_slice(rollout.kinds),
        cast_slice(rollout.behaviour_log_probs.to_slice().expect(WHOLE)),
        cast_slice(rollout.episode_returns),
        cast_slice(rollout.episode_lengths),
    ]
}

/// The same fields to write to.
fn fields_mut<'a>(rollout: &'a mut RolloutMut) -> [&'a mut [u8]; 8] {
    use bytemuck::{bytes_of_mut, cast_slice_mut};
    [
        bytes_of_mut(rollout.header),
        cast_slice_mut(rollout.obs.as_slice_mut().expect(WHOLE)),
        cast_slice_mut(rollout.actions),
        cast_slice_mut(rollout.rewards),
        cast_slice_mut(rollout.kinds),
        cast_slice_mut(rollout.behaviour_log_probs.as_slice_mut().expect(WHOLE)),
        cast_slice_mut(rollout.episode_returns),
        cast_slice_mut(rollout.episode_lengths),
    ]
}
