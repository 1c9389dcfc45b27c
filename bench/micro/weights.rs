//! Publishing and reading weights: two cells under sequence locks, against a copy under a lock, a shared
//! pointer that is swapped, and messages.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Result;
use impala::base::clock::monotonic_ns;
use impala::config::Config;
use impala::run::sizes::Sizes;
use impala::shm::Segment;
use impala::shm::layout::SegmentShape;
use ipc_channel::ipc::{self, IpcSharedMemory};

use crate::contest::{Bench, Contender, Contest};

/// About the time between two updates.
const UPDATE_TIME: Duration = Duration::from_micros(200);

/// The other ways, in this process alone.
struct Others {
    locked: Mutex<Vec<f32>>,
    swapped: RwLock<Arc<[f32]>>,
}

impl Others {
    fn new(n_params: usize) -> Self {
        let params = vec![0.5; n_params];
        Others { swapped: RwLock::new(params.as_slice().into()), locked: Mutex::new(params) }
    }

    fn publish_locked(&self, params: &[f32]) {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner).copy_from_slice(params);
    }

    fn read_locked(&self, params: &mut [f32]) {
        params.copy_from_slice(&self.locked.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn publish_swapped(&self, params: &[f32]) {
        let fresh = params.into();
        *self.swapped.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    fn shared(&self) -> Arc<[f32]> {
        self.swapped.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn segment(n_params: usize) -> Result<Segment> {
    let rollout = Sizes::of(&Config::default())?.rollout;
    let shape = SegmentShape { n_actors: 1, slots_per_actor: 1, n_params, n_moments: 1, rollout };
    Ok(Segment::create(&shape)?)
}

/// Publishing, reading and both, in one thread: the cost of copying.
pub fn copies(bench: &mut Bench, n_params: usize) -> Result<()> {
    let (segment, others) = (segment(n_params)?, Others::new(n_params));
    publish(bench, &segment, &others)?;
    read(bench, &segment, &others)?;
    publish_and_read(bench, &segment, &others)
}

/// A contest about weights, in a thread or between two.
fn contest<'a>(
    job: &str,
    n_params: usize,
    figures: &'static [&'static str],
    contenders: Vec<Contender<'a>>,
) -> Contest<'a> {
    let job = format!("{job} {} k f32", n_params as f64 / 1e3);
    Contest { group: "weights", job, unit: "ns", figures, target: None, contenders }
}

fn publish(bench: &mut Bench, segment: &Segment, others: &Others) -> Result<()> {
    let mut writer = segment.weights_writer()?;
    let mut version = writer.version().unwrap_or(0);
    let params = vec![0.5; segment.layout().shape.n_params];
    let mut plain = params.clone();
    let contenders = vec![
        Contender::call("two cells", || {
            version += 1;
            writer.publish(version, &params);
        }),
        Contender::call("copy under a Mutex", || others.publish_locked(&params)),
        Contender::call("RwLock<Arc>, swapped", || others.publish_swapped(&params)),
        Contender::call("plain copy", || black_box(&mut plain).copy_from_slice(&params)),
    ];
    bench.run(contest("publish", params.len(), &[""], contenders))
}

fn read(bench: &mut Bench, segment: &Segment, others: &Others) -> Result<()> {
    let source = vec![0.5; segment.layout().shape.n_params];
    let version = segment.weights_writer()?.version().unwrap_or(0) + 1;
    segment.weights_writer()?.publish(version, &source);
    let mut copies = [(); 4].map(|()| source.clone());
    let [ours, locked, swapped, plain] = &mut copies;
    let contenders = vec![
        // A new reader has read nothing yet, so that to it the weights are always new ones.
        Contender::call("two cells", || {
            _ = black_box(segment.weights_reader().read_if_newer(ours));
        }),
        Contender::call("copy under a Mutex", || others.read_locked(locked)),
        Contender::call("RwLock<Arc>, copied", || swapped.copy_from_slice(&others.shared())),
        Contender::call("RwLock<Arc>, borrowed", || _ = black_box(others.shared())),
        Contender::call("plain copy", || black_box(&mut *plain).copy_from_slice(&source)),
    ];
    let target = (source.len() < 5_000).then_some(1_000.0);
    bench.run(Contest { target, ..contest("read", source.len(), &[""], contenders) })
}

fn publish_and_read(bench: &mut Bench, segment: &Segment, others: &Others) -> Result<()> {
    let mut writer = segment.weights_writer()?;
    let mut version = writer.version().unwrap_or(0);
    let source = vec![0.5_f32; segment.layout().shape.n_params];
    let mut copies = [(); 3].map(|()| source.clone());
    let [ours, locked, received] = &mut copies;
    let mut reader = segment.weights_reader();
    // Bytes in a message would block for ever at this size, with nobody to receive them meanwhile.
    let (sender, receiver) = ipc::channel::<IpcSharedMemory>()?;
    let contenders = vec![
        Contender::call("two cells", || {
            version += 1;
            writer.publish(version, &source);
            _ = black_box(reader.read_if_newer(ours));
        }),
        Contender::call("copy under a Mutex", || {
            others.publish_locked(&source);
            others.read_locked(locked);
        }),
        Contender::call("ipc-channel, IpcSharedMemory", || {
            let memory = IpcSharedMemory::from_bytes(bytemuck::cast_slice(&source));
            sender.send(memory).expect("the receiver is alive");
            let message = receiver.recv().expect("the sender is alive");
            received.copy_from_slice(bytemuck::cast_slice(&message));
        }),
    ];
    bench.run(contest("publish and read", source.len(), &[""], contenders))
}

/// Reading while another thread publishes at the pace of updates.
pub fn while_written(bench: &mut Bench, n_params: usize) -> Result<()> {
    let (segment, others) = (segment(n_params)?, Others::new(n_params));
    let params = vec![0.5; n_params];
    let mut copy = params.clone();
    let mut copies = [(); 2].map(|()| params.clone());
    let [locked, swapped] = &mut copies;
    let mut writer = segment.weights_writer()?;
    let mut version = 0;
    let contenders = vec![
        Contender::latencies("two cells", |n| {
            let publish = || {
                version += 1;
                writer.publish(version, &params);
            };
            let read = || {
                _ = black_box(segment.weights_reader().read_if_newer(&mut copy));
            };
            Ok(read_while(publish, read, n))
        }),
        Contender::latencies("copy under a Mutex", |n| {
            Ok(read_while(|| others.publish_locked(&params), || others.read_locked(locked), n))
        }),
        Contender::latencies("RwLock<Arc>, copied", |n| {
            let read = || swapped.copy_from_slice(&others.shared());
            Ok(read_while(|| others.publish_swapped(&params), read, n))
        }),
    ];
    bench.run(contest("read while written", n_params, &["p50", "p99"], contenders))
}

/// Latencies of `n` reads, one an update, while another thread publishes.
fn read_while(mut publish: impl FnMut() + Send, mut read: impl FnMut(), n: usize) -> Vec<u64> {
    let is_over = AtomicBool::new(false);
    publish();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                publish();
                pause();
            }
        });
        let timed_read = |_| {
            pause();
            let start_ns = monotonic_ns();
            read();
            monotonic_ns() - start_ns
        };
        let latencies = (0..n).map(timed_read).collect();
        is_over.store(true, Ordering::Relaxed);
        latencies
    })
}

/// As long as an update, awake.
fn pause() {
    let start = Instant::now();
    while start.elapsed() < UPDATE_TIME {
        std::hint::spin_loop();
    }
}
