//! Handing a slot over: from process to process with the receiver asleep, from thread to thread, and
//! what the steps cost where nobody waits.

use std::collections::VecDeque;
use std::hint::{black_box, spin_loop};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use impala::base::clock::monotonic_ns;
use impala::config::Config;
use impala::os::process::{Death, Worker};
use impala::run::sizes::Sizes;
use impala::shm::Segment;
use impala::shm::doorbell::Doorbell;
use impala::shm::layout::SegmentShape;
use impala::shm::ring::{RingConsumer, RingProducer, RingState};
use ipc_channel::ipc;

use crate::contest::{Bench, Contender, Contest};

const GROUP: &str = "slot hand-over";

/// As long as filling a slot of 640 frames takes: by then the receiver is asleep.
const FILL_TIME: Duration = Duration::from_micros(100);

/// No hand-over takes this long, unless the other side has died.
const PATIENCE: Duration = Duration::from_secs(10);

/// Jobs a call, where one is a few nanoseconds.
const N_OPS: u32 = 100;

/// A slot of the default size from an actor to a learner that sleeps: from the stamp just before it is
/// published until the learner has it.
pub fn between_processes(bench: &mut Bench) -> Result<()> {
    let rollout = Sizes::of(&Config::default())?.rollout;
    let shape =
        SegmentShape { n_actors: 1, slots_per_actor: 1, n_params: 1, n_moments: 1, rollout };
    let segment = Segment::create(&shape)?;
    let slot_bytes = segment.layout().slot.stride_bytes;
    bench.run(Contest {
        group: GROUP,
        job: format!("{} kB to a sleeping process", slot_bytes / 1_000),
        unit: "ns",
        figures: &["p50", "p99"],
        target: Some(20_000.0),
        contenders: vec![
            Contender::latencies("ring in shared memory", |n| through_segment(&segment, n)),
            Contender::latencies("ipc-channel, bytes", |n| through_ipc(slot_bytes, n)),
        ],
    })
}

fn through_segment(segment: &Segment, n: usize) -> Result<Vec<u64>> {
    let actor = Worker::spawn(|| publish_slots(segment, n))?;
    let mut consumer = segment.consumer(0)?;
    let take = |_| {
        let start = Instant::now();
        loop {
            let bell = segment.learner_doorbell();
            if let Some(slot) = bell.wait_for(PATIENCE, || consumer.try_take()) {
                let latency_ns = monotonic_ns() - slot.rollout().header.published_ns;
                consumer.release(slot);
                return Ok(latency_ns);
            }
            ensure!(start.elapsed() < PATIENCE, "the sending process is stuck");
        }
    };
    let latencies = (0..n).map(take).collect::<Result<_>>()?;
    ensure!(actor.reap()?.death == Death::Exited(0), "the sending process failed");
    Ok(latencies)
}

/// The actor's side, in a process of its own; returns its exit status.
fn publish_slots(segment: &Segment, n: usize) -> i32 {
    let Ok(mut producer) = segment.producer(0, 0) else { return 1 };
    for _ in 0..n {
        while producer.claim(PATIENCE).is_none() {}
        spin_for(FILL_TIME);
        let Some(slot) = producer.try_claim() else { return 1 };
        slot.publish(0);
    }
    0
}

fn through_ipc(slot_bytes: usize, n: usize) -> Result<Vec<u64>> {
    let (sender, receiver) = ipc::bytes_channel()?;
    let actor = Worker::spawn(move || {
        let mut slot = vec![0; slot_bytes];
        for _ in 0..n {
            spin_for(FILL_TIME);
            slot[..8].copy_from_slice(&monotonic_ns().to_ne_bytes());
            if sender.send(&slot).is_err() {
                return 1;
            }
        }
        0
    })?;
    let take = |_| {
        let slot = receiver.recv().context("the sending process is gone")?;
        let sent_ns = slot.first_chunk().map_or(0, |stamp| u64::from_ne_bytes(*stamp));
        Ok(monotonic_ns() - sent_ns)
    };
    let latencies = (0..n).map(take).collect::<Result<_>>()?;
    ensure!(actor.reap()?.death == Death::Exited(0), "the sending process failed");
    Ok(latencies)
}

fn spin_for(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        spin_loop();
    }
}

/// Half of a round trip between two threads, waiting as each way does, or spinning.
pub fn between_threads(bench: &mut Bench) -> Result<()> {
    bench.run(Contest {
        group: GROUP,
        job: "one word to a waiting thread".into(),
        unit: "ns",
        figures: &["p50", "p99"],
        target: None,
        contenders: vec![
            Contender::latencies("ring and doorbell", |n| {
                let (there, back) = (Waiting::default(), Waiting::default());
                Ok(ping_pong(n, [there.ends()?, back.ends()?]))
            }),
            Contender::latencies("Mutex<VecDeque> and Condvar", |n| {
                let (there, back) = (LockedQueue::default(), LockedQueue::default());
                Ok(ping_pong(n, [there.ends(), back.ends()]))
            }),
            Contender::latencies("ipc-channel", |n| Ok(ping_pong(n, [ipc_ends()?, ipc_ends()?]))),
        ],
    })?;
    bench.run(Contest {
        group: GROUP,
        job: "one word to a spinning thread".into(),
        unit: "ns",
        figures: &["p50", "p99"],
        target: None,
        contenders: vec![
            Contender::latencies("ring", |n| {
                let (there, back) = (RingState::default(), RingState::default());
                Ok(ping_pong(n, [spinning_ends(&there)?, spinning_ends(&back)?]))
            }),
            Contender::latencies("rtrb", |n| Ok(ping_pong(n, [rtrb_ends(), rtrb_ends()]))),
        ],
    })
}

/// The two ends of one direction: send a word, receive one.
struct Ends<'a> {
    send: Box<dyn FnMut() + Send + 'a>,
    receive: Box<dyn FnMut() + Send + 'a>,
}

fn ping_pong(n: usize, [there, back]: [Ends; 2]) -> Vec<u64> {
    let (mut ping, mut await_pong) = (there.send, back.receive);
    let (mut await_ping, mut pong) = (there.receive, back.send);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..n {
                await_ping();
                pong();
            }
        });
        let round_trip = |_| {
            let start_ns = monotonic_ns();
            ping();
            await_pong();
            (monotonic_ns() - start_ns) / 2
        };
        (0..n).map(round_trip).collect()
    })
}

/// Our ring with a doorbell, as the engine waits.
#[derive(Default)]
struct Waiting {
    ring: RingState,
    doorbell: Doorbell,
}

impl Waiting {
    fn ends(&self) -> Result<Ends<'_>> {
        let mut producer = RingProducer::attach(&self.ring, 1)?;
        let mut consumer = RingConsumer::attach(&self.ring, 1)?;
        let send = move || {
            // Free since before the other side answered: never full.
            producer.try_claim();
            producer.publish();
            self.doorbell.ring();
        };
        let receive = move || {
            let index = loop {
                if let Some(index) = self.doorbell.wait_for(PATIENCE, || consumer.try_take()) {
                    break index;
                }
            };
            consumer.release(index);
        };
        Ok(Ends { send: Box::new(send), receive: Box::new(receive) })
    }
}

fn spinning_ends(ring: &RingState) -> Result<Ends<'_>> {
    let mut producer = RingProducer::attach(ring, 1)?;
    let mut consumer = RingConsumer::attach(ring, 1)?;
    let send = move || {
        producer.try_claim();
        producer.publish();
    };
    let receive = move || {
        let index = spin_until(|| consumer.try_take());
        consumer.release(index);
    };
    Ok(Ends { send: Box::new(send), receive: Box::new(receive) })
}

fn rtrb_ends() -> Ends<'static> {
    let (mut producer, mut consumer) = rtrb::RingBuffer::new(1);
    let send = move || {
        spin_until(|| producer.push(1_u64).ok());
    };
    let receive = move || {
        spin_until(|| consumer.pop().ok());
    };
    Ends { send: Box::new(send), receive: Box::new(receive) }
}

/// Spins, but gives the core away now and then: there may be only one.
fn spin_until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        for _ in 0..1_000 {
            if let Some(found) = look() {
                return found;
            }
            spin_loop();
        }
        std::thread::yield_now();
    }
}

fn ipc_ends() -> Result<Ends<'static>> {
    let (sender, receiver) = ipc::channel::<u64>()?;
    let send = move || sender.send(1).expect("the receiver is alive");
    let receive = move || {
        receiver.recv().expect("the sender is alive");
    };
    Ok(Ends { send: Box::new(send), receive: Box::new(receive) })
}

/// What one writes first: a queue under a lock.
#[derive(Default)]
struct LockedQueue {
    queue: Mutex<VecDeque<u64>>,
    ready: Condvar,
}

impl LockedQueue {
    fn push(&self, word: u64) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(word);
        self.ready.notify_one();
    }

    fn pop(&self) -> Option<u64> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ready.wait_while(queue, |queue| queue.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn ends(&self) -> Ends<'_> {
        let receive = || {
            self.pop();
        };
        Ends { send: Box::new(|| self.push(1)), receive: Box::new(receive) }
    }
}

/// All steps of a hand-over in one thread, where each finds its work done: the bare instructions.
pub fn uncontended(bench: &mut Bench) -> Result<()> {
    let (ring, doorbell, locked) =
        (RingState::default(), Doorbell::default(), LockedQueue::default());
    let mut producer = RingProducer::attach(&ring, 2)?;
    let mut consumer = RingConsumer::attach(&ring, 2)?;
    let mut step = move || {
        producer.try_claim();
        producer.publish();
        if let Some(index) = black_box(consumer.try_take()) {
            consumer.release(index);
        }
    };
    let (mut rtrb_producer, mut rtrb_consumer) = rtrb::RingBuffer::new(2);
    let (sender, receiver) = ipc::channel::<u64>()?;
    bench.run(Contest {
        group: GROUP,
        job: "in and out, nobody waits".into(),
        unit: "ns",
        figures: &[""],
        target: None,
        contenders: vec![
            Contender::calls("ring: claim, publish, take, release", N_OPS, || {
                (0..N_OPS).for_each(|_| step());
            }),
            Contender::calls("rtrb: push, pop", N_OPS, || {
                for word in 0..N_OPS {
                    black_box((rtrb_producer.push(word).ok(), rtrb_consumer.pop().ok()));
                }
            }),
            Contender::calls("Mutex<VecDeque> and Condvar", N_OPS, || {
                for word in 0..N_OPS {
                    locked.push(u64::from(word));
                    black_box(locked.pop());
                }
            }),
            Contender::call("ipc-channel", || {
                black_box((sender.send(1).ok(), receiver.recv().ok()));
            }),
        ],
    })?;
    let condvar = Condvar::new();
    bench.run(Contest {
        group: GROUP,
        job: "waking nobody".into(),
        unit: "ns",
        figures: &[""],
        target: None,
        contenders: vec![
            Contender::calls("doorbell", N_OPS, || {
                (0..N_OPS).for_each(|_| _ = black_box(doorbell.ring()));
            }),
            Contender::calls("Condvar", N_OPS, || {
                (0..N_OPS).for_each(|_| black_box(&condvar).notify_one());
            }),
        ],
    })
}
