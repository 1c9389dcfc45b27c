//! How weights travel from the learner to the actors.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use anyhow::{Result, ensure};
use impala::base::sync::Futex;
use impala::shm::weights::{WeightsReader, WeightsWriter};
use impala::shm::{Held, Segment};
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, bytes_channel};

use super::shared::Shared;

/// A way for weights; made before the fork, its ends in the processes that use them.
pub trait Weights {
    /// The learner's end.
    fn writer(&self) -> Result<Box<dyn Write + '_>>;
    /// An actor's end.
    fn reader(&self, actor: usize) -> Box<dyn Read + '_>;
}

/// The learner's end; whichever of its lanes has the turn uses it.
pub trait Write: Send {
    /// Makes weights known. `served` are the actors whose slots they come from, which are handed back
    /// next.
    fn publish(&mut self, version: u64, params: &[f32], served: &[usize]);
}

/// An actor's end.
pub trait Read {
    /// Once a slot: the version copied into `params`, or `None` if they are the newest already.
    fn read(&mut self, params: &mut [f32]) -> Option<u64>;
}

/// The engine's: two cells, each a seqlock; nobody ever waits.
pub struct Seqlock<'a> {
    pub segment: &'a Segment,
}

impl Weights for Seqlock<'_> {
    fn writer(&self) -> Result<Box<dyn Write + '_>> {
        Ok(Box::new(self.segment.weights_writer()?))
    }

    fn reader(&self, _actor: usize) -> Box<dyn Read + '_> {
        Box::new(self.segment.weights_reader())
    }
}

impl Write for Held<'_, WeightsWriter<'_>> {
    fn publish(&mut self, version: u64, params: &[f32], _served: &[usize]) {
        (**self).publish(version, params);
    }
}

impl Read for WeightsReader<'_> {
    fn read(&mut self, params: &mut [f32]) -> Option<u64> {
        self.read_if_newer(params).expect("nobody wrote over them")
    }
}

/// One copy in shared memory under a mutex that all processes take to read or write it.
pub struct Mutexed {
    weights: Shared<LockedWeights>,
}

/// More parameters than the default network has.
const MAX_PARAMS: usize = 8192;

/// 0 free, 1 held, 2 held and perhaps waited for: the textbook's futex mutex.
pub struct LockedWeights {
    mutex: Futex,
    version: AtomicU64,
    words: [AtomicU64; MAX_PARAMS / 2],
}

impl Mutexed {
    pub fn new(n_params: usize) -> Result<Mutexed> {
        ensure!(n_params <= MAX_PARAMS, "room for {MAX_PARAMS} parameters, not {n_params}");
        let weights = LockedWeights {
            mutex: Futex::default(),
            version: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; MAX_PARAMS / 2],
        };
        Ok(Mutexed { weights: Shared::new(weights)? })
    }
}

impl LockedWeights {
    /// Runs `critical` while nobody else does.
    fn locked<T>(&self, critical: impl FnOnce() -> T) -> T {
        let word = &self.mutex.word;
        // SYNC: acquiring here and below pairs with the release at the end: what the last holder did
        // is visible to the next.
        if word.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
            while word.swap(2, Acquire) != 0 {
                self.mutex.wait(2, Duration::MAX);
            }
        }
        let result = critical();
        // SYNC: partner of the two above.
        if word.swap(0, Release) == 2 {
            self.mutex.wake_all();
        }
        result
    }
}

impl Weights for Mutexed {
    fn writer(&self) -> Result<Box<dyn Write + '_>> {
        Ok(Box::new(&*self.weights))
    }

    fn reader(&self, _actor: usize) -> Box<dyn Read + '_> {
        Box::new(&*self.weights)
    }
}

impl Write for &LockedWeights {
    fn publish(&mut self, version: u64, params: &[f32], _served: &[usize]) {
        self.locked(|| {
            self.version.store(version, Relaxed);
            for (word, pair) in self.words.iter().zip(params.chunks(2)) {
                let pair = [pair[0], pair.get(1).copied().unwrap_or(0.0)];
                word.store(bytemuck::cast(pair), Relaxed);
            }
        });
    }
}

impl Read for &LockedWeights {
    fn read(&mut self, params: &mut [f32]) -> Option<u64> {
        self.locked(|| {
            for (word, pair) in self.words.iter().zip(params.chunks_mut(2)) {
                let numbers: [f32; 2] = bytemuck::cast(word.load(Relaxed));
                pair.copy_from_slice(&numbers[..pair.len()]);
            }
            Some(self.version.load(Relaxed))
        })
    }
}

/// With every slot that it hands back, the learner sends that actor the weights: the fewest messages with
/// which an actor has those made from its own slot. What another lane makes meanwhile comes a slot later.
pub struct Messaged {
    channels: Vec<(IpcBytesSender, IpcBytesReceiver)>,
}

impl Messaged {
    pub fn new(n_actors: usize) -> Result<Messaged> {
        let channels = (0..n_actors).map(|_| bytes_channel()).collect::<Result<_, _>>()?;
        Ok(Messaged { channels })
    }
}

struct Sender {
    actors: Vec<IpcBytesSender>,
    message: Vec<u8>,
}

impl Weights for Messaged {
    fn writer(&self) -> Result<Box<dyn Write + '_>> {
        let actors = self.channels.iter().map(|(sender, _)| sender.clone()).collect();
        Ok(Box::new(Sender { actors, message: Vec::new() }))
    }

    fn reader(&self, actor: usize) -> Box<dyn Read + '_> {
        Box::new(&self.channels[actor].1)
    }
}

impl Write for Sender {
    fn publish(&mut self, version: u64, params: &[f32], served: &[usize]) {
        self.message.clear();
        self.message.extend_from_slice(&version.to_ne_bytes());
        self.message.extend_from_slice(bytemuck::cast_slice(params));
        for &actor in served {
            self.actors[actor].send(&self.message).expect("receivers live until they are killed");
        }
    }
}

impl Read for &IpcBytesReceiver {
    fn read(&mut self, params: &mut [f32]) -> Option<u64> {
        let message = self.recv().expect("the sender lives until it is killed");
        let (version, weights) = message.split_first_chunk().expect("a version comes first");
        bytemuck::cast_slice_mut(params).copy_from_slice(weights);
        Some(u64::from_ne_bytes(*version))
    }
}
