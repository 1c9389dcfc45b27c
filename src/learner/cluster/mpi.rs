//! The ranks of an MPI job, joined by whatever MPI the machines have.
//!
//! Owns every call of MPI, through the few lines of C in `mpi.c`. **The learner's process alone makes them**: MPI
//! starts threads, and who forks has none. A round is a collective that does not block: this rank tests, lets others
//! run, and says that it lives, so that it counts as waiting and not as hung. What MPI may write to belongs to
//! [`Mpi`] while a round is open:
//!
//! - J1: one thread at a time calls MPI: who holds the hub.
//! - J2: the buffers of an open round are neither moved nor freed until MPI says that it is done with them; if it
//!   never does, they are leaked.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem;
use std::time::Duration;

use super::agreement::{bytes_of, set_from_bytes, settings_of};
use super::contribution::Contribution;
use super::record::{RankRecord, host_bytes, text_of};
use super::tally::Tally;
use super::{Cluster, ClusterError, Meanwhile, Round};
use crate::base::clock::{in_ns, in_seconds, monotonic_ns};
use crate::config::Config;
use crate::os::launcher::Rank;
use crate::run::meta::host_name;
use crate::shm::doorbell::Doorbell;
use crate::state::LearnerState;

unsafe extern "C" {
    fn impala_mpi_init(rank: *mut c_int, size: *mut c_int) -> c_int;
    fn impala_mpi_start_sum(values: *mut f32, n: c_int) -> c_int;
    fn impala_mpi_start_gather(own: *const c_void, all: *mut c_void, n_bytes: c_int) -> c_int;
    fn impala_mpi_start_broadcast(bytes: *mut c_void, n_bytes: c_int) -> c_int;
    fn impala_mpi_test(is_done: *mut c_int) -> c_int;
    fn impala_mpi_call_roll(round: u64) -> c_int;
    fn impala_mpi_hear_roll(round: u64, here: *mut u8) -> c_int;
    fn impala_mpi_finalize() -> c_int;
    fn impala_mpi_reason(code: c_int, text: *mut c_char, n_bytes: c_int);
}

/// How long a waiting rank sleeps between two looks, once it has let others run for a while.
const NAP: Duration = Duration::from_micros(50);

/// Looks without a nap, each of which lets others run ten times. On a core of its own that is some 100 µs, in which
/// most rounds end; a nap would make them longer.
const AWAKE: u32 = 20;

/// So often a waiting rank says that it lives and answers roll calls, ns.
const BREATH_NS: u64 = 5_000_000;

/// How long a roll call waits for answers: all who wait look at it every [`BREATH_NS`].
const ROLL_CALL_NS: u64 = 2_000_000_000;

/// Bytes of a sentence about this rank that goes to all others.
const WORDS_BYTES: usize = 512;

/// This rank's end of the job.
pub struct Mpi {
    rank: Rank,
    hosts: Vec<String>,
    order: Order,
    round_timeout_ns: u64,
    /// Rounds so far: the same on all ranks.
    n_rounds: u64,
    /// What an open round reads and writes.
    values: Vec<f32>,
    own_bytes: Vec<u8>,
    all_values: Vec<f32>,
    all_bytes: Vec<u8>,
    /// Whether MPI is not done with them.
    is_open: bool,
    /// Whether no further round is to come.
    has_parted: bool,
    bell: Doorbell,
}

/// The order of a sum.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    OfMpi,
    OfRanks,
}

impl Mpi {
    /// Joins the job, compares settings, and takes over the state of rank 0. Blocks until all ranks have come.
    ///
    /// # Errors
    /// If the launcher's ranks are not MPI's, or a rank wants something else.
    pub fn join(config: &Config, state: &mut LearnerState) -> Result<Mpi, ClusterError> {
        let found = init()?;
        if found != config.rank {
            return Err(ClusterError::OtherRank { told: config.rank, found });
        }
        let mut mpi = Mpi {
            rank: found,
            hosts: Vec::new(),
            order: if config.sums_in_order() { Order::OfRanks } else { Order::OfMpi },
            round_timeout_ns: in_ns(config.distributed.round_timeout_s),
            n_rounds: 0,
            values: Vec::new(),
            own_bytes: Vec::new(),
            all_values: Vec::new(),
            all_bytes: Vec::new(),
            is_open: false,
            has_parted: false,
            bell: Doorbell::default(),
        };
        let hosts = mpi.gather_bytes(&host_bytes(&host_name()), &mut || true)?;
        mpi.hosts = hosts.iter().map(|host| text_of(host)).collect();
        mpi.compare_settings(config)?;
        mpi.take_state_of_first(state)?;
        Ok(mpi)
    }

    /// All ranks learn of a setting in which one of them differs.
    fn compare_settings(&mut self, config: &Config) -> Result<(), ClusterError> {
        let own = settings_of(config);
        let first = self.broadcast_any(own.as_bytes())?;
        let first = String::from_utf8_lossy(&first).into_owned();
        let found = own.lines().zip(first.lines()).find(|(own, first)| own != first);
        let words = match found {
            Some((own, first)) => {
                format!("rank {} ({}) has {own}, rank 0 has {first}", self.rank.number, host_name())
            }
            None if own.lines().count() != first.lines().count() => {
                format!("rank {} ({}) is of another version", self.rank.number, host_name())
            }
            None => String::new(),
        };
        self.agree(&words)?.map_or(Ok(()), |said| Err(ClusterError::Settings(said)))
    }

    /// Rank 0's state, for all. A rank may be behind it, and not ahead: versions of weights never go back (W4).
    fn take_state_of_first(&mut self, state: &mut LearnerState) -> Result<(), ClusterError> {
        let own = (state.counters.updates, bytes_of(state));
        let first = self.broadcast_any(&own.1)?;
        if first.len() != own.1.len() {
            return Err(ClusterError::Checkpoint("rank 0 has a state of another size".into()));
        }
        set_from_bytes(state, &first);
        let words = if own.0 > state.counters.updates
            || own.0 == state.counters.updates && own.1 != first
        {
            format!(
                "rank {} goes on from update {}, rank 0 from another state, of update {}",
                self.rank.number, own.0, state.counters.updates
            )
        } else {
            String::new()
        };
        self.agree(&words)?.map_or(Ok(()), |said| Err(ClusterError::Checkpoint(said)))
    }

    /// Tells all ranks what is wrong here, and hears what is wrong with the first of them that has something to say.
    fn agree(&mut self, words: &str) -> Result<Option<String>, ClusterError> {
        let mut bytes = [0; WORDS_BYTES];
        let kept = words.floor_char_boundary(WORDS_BYTES - 1);
        bytes[..kept].copy_from_slice(&words.as_bytes()[..kept]);
        let all = self.gather_bytes(&bytes, &mut || true)?;
        Ok(all.iter().map(|words| text_of(words)).find(|words| !words.is_empty()))
    }

    /// Bytes of rank 0, of whose number the others need not know.
    fn broadcast_any(&mut self, own: &[u8]) -> Result<Vec<u8>, ClusterError> {
        let n_bytes = self.broadcast((own.len() as u64).to_ne_bytes().to_vec())?;
        let n_bytes = u64::from_ne_bytes(n_bytes.try_into().expect("as many bytes as were given"));
        let mut bytes = own.to_vec();
        bytes.resize(n_bytes as usize, 0);
        self.broadcast(bytes)
    }

    fn broadcast(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, ClusterError> {
        self.own_bytes = bytes;
        let n_bytes = count(self.own_bytes.len());
        let bytes = self.own_bytes.as_mut_ptr();
        // SAFETY: J1, the caller holds this alone; J2, the buffer is ours and stays until `wait` is over.
        let code = unsafe { impala_mpi_start_broadcast(bytes.cast(), n_bytes) };
        let round = self.wait("a broadcast", code, &mut || true)?;
        debug_assert_eq!(round, Round::Summed, "nothing gives it up");
        Ok(mem::take(&mut self.own_bytes))
    }

    /// Bytes of each rank; nothing where the round was given up.
    fn gather_bytes(
        &mut self,
        own: &[u8],
        meanwhile: Meanwhile,
    ) -> Result<Vec<Vec<u8>>, ClusterError> {
        self.own_bytes = own.to_vec();
        self.all_bytes = vec![0; self.rank.of * own.len()];
        let (own_bytes, all) = (self.own_bytes.as_ptr(), self.all_bytes.as_mut_ptr());
        // SAFETY: J1, the caller holds this alone; J2, both buffers are ours, of the lengths given, and stay until
        // `wait` is over.
        let code =
            unsafe { impala_mpi_start_gather(own_bytes.cast(), all.cast(), count(own.len())) };
        match self.wait("a gathering", code, meanwhile)? {
            Round::Summed => {
                Ok(self.all_bytes.chunks_exact(own.len()).map(<[u8]>::to_vec).collect())
            }
            Round::GivenUp => Ok(Vec::new()),
        }
    }

    /// Sums `values` as MPI likes.
    fn sum_as_mpi_likes(&mut self, meanwhile: Meanwhile) -> Result<Round, ClusterError> {
        let (values, n_values) = (self.values.as_mut_ptr(), count(self.values.len()));
        // SAFETY: J1, the caller holds this alone; J2, the buffer is ours and stays until `wait` is over.
        let code = unsafe { impala_mpi_start_sum(values, n_values) };
        self.wait("a sum", code, meanwhile)
    }

    /// Brings the values of all ranks together in `all_values`, one rank behind the other.
    fn gather_values(&mut self, meanwhile: Meanwhile) -> Result<Round, ClusterError> {
        self.all_values.resize(self.rank.of * self.values.len(), 0.0);
        let n_bytes = count(size_of_val(&self.values[..]));
        let (own, all) = (self.values.as_ptr(), self.all_values.as_mut_ptr());
        // SAFETY: J1, the caller holds this alone; J2, both buffers are ours, of the lengths given, and stay until
        // `wait` is over.
        let code = unsafe { impala_mpi_start_gather(own.cast(), all.cast(), n_bytes) };
        self.wait("a sum in the order of the ranks", code, meanwhile)
    }

    /// Waits for the collective that was started with this code: tests, lets others run, naps.
    fn wait(
        &mut self,
        what: &'static str,
        code: c_int,
        meanwhile: Meanwhile,
    ) -> Result<Round, ClusterError> {
        checked(what, code)?;
        self.is_open = true;
        self.n_rounds += 1;
        let (start_ns, mut last_ns) = (monotonic_ns(), monotonic_ns());
        let (mut roll_call, mut n_looks) = (None, 0);
        while !self.is_done(what, if n_looks < AWAKE { Duration::ZERO } else { NAP })? {
            n_looks += 1;
            let now_ns = monotonic_ns();
            if now_ns - last_ns < BREATH_NS {
                continue;
            }
            last_ns = now_ns;
            if !meanwhile() {
                self.has_parted = true;
                return Ok(Round::GivenUp);
            }
            self.hear(&mut roll_call, start_ns, now_ns)?;
        }
        self.is_open = false;
        Ok(Round::Summed)
    }

    /// Looks whether MPI is done, for as long as a nap takes.
    fn is_done(&self, what: &'static str, nap: Duration) -> Result<bool, ClusterError> {
        let test = || {
            let mut is_done = 0;
            // SAFETY: J1, the caller holds this alone; the flag is written before the call returns.
            let code = unsafe { impala_mpi_test(&mut is_done) };
            let tested = checked(what, code).map(|()| is_done != 0);
            (tested != Ok(false)).then_some(tested)
        };
        self.bell.wait_for(nap, test).unwrap_or(Ok(false))
    }

    /// Answers roll calls; calls the roll itself once it has waited too long, and says who is not there.
    fn hear(
        &mut self,
        roll_call: &mut Option<RollCall>,
        start_ns: u64,
        now_ns: u64,
    ) -> Result<(), ClusterError> {
        let mut unheard = vec![0; self.rank.of];
        let here = roll_call.as_mut().map_or(&mut unheard, |call| &mut call.here);
        // SAFETY: J1, the caller holds this alone; `here` has a byte for each rank.
        let code = unsafe { impala_mpi_hear_roll(self.n_rounds, here.as_mut_ptr()) };
        checked("a roll call", code)?;
        match roll_call {
            None if now_ns - start_ns > self.round_timeout_ns => {
                // SAFETY: J1, the caller holds this alone.
                let code = unsafe { impala_mpi_call_roll(self.n_rounds) };
                checked("a roll call", code)?;
                *roll_call = Some(RollCall { since_ns: now_ns, here: unheard });
                Ok(())
            }
            Some(call) if now_ns - call.since_ns > ROLL_CALL_NS => {
                let waited_s = in_seconds(now_ns - start_ns);
                let who = self.missing(&call.here);
                Err(ClusterError::Missing { rank: self.rank, waited_s, who })
            }
            _ => Ok(()),
        }
    }

    /// Who has not answered, in words.
    fn missing(&self, here: &[u8]) -> String {
        let absent = (0..self.rank.of).filter(|rank| here[*rank] == 0 && *rank != self.rank.number);
        let named: Vec<String> = absent.map(|rank| self.name_of(rank)).collect();
        match &named[..] {
            [] => {
                "all ranks wait, and the exchange stands still; see the network between them".into()
            }
            [one] => format!("{one} has not come"),
            several => format!("{} have not come", several.join(", ")),
        }
    }

    fn name_of(&self, rank: usize) -> String {
        match self.hosts.get(rank) {
            Some(host) => format!("rank {rank} ({host})"),
            None => format!("rank {rank}"),
        }
    }
}

/// Who has answered, byte by byte, since it was asked.
struct RollCall {
    since_ns: u64,
    here: Vec<u8>,
}

impl Cluster for Mpi {
    fn rank(&self) -> Rank {
        self.rank
    }

    fn sum(
        &mut self,
        contribution: &mut Contribution,
        tally: &mut Tally,
        meanwhile: Meanwhile,
    ) -> Result<Round, ClusterError> {
        contribution.tally_mut().copy_from_slice(&tally.to_array());
        if self.order == Order::OfMpi {
            contribution.add_up();
        }
        mem::swap(&mut self.values, contribution.values_mut());
        let round = match self.order {
            Order::OfMpi => self.sum_as_mpi_likes(meanwhile)?,
            Order::OfRanks => self.gather_values(meanwhile)?,
        };
        if round == Round::GivenUp {
            return Ok(round);
        }
        mem::swap(&mut self.values, contribution.values_mut());
        if self.order == Order::OfRanks {
            contribution.sum_in_order(&self.all_values);
        }
        let numbers: &[f32] = contribution.tally_mut();
        tally.set(numbers.try_into().expect("it has room for a tally"));
        Ok(round)
    }

    fn gather(
        &mut self,
        own: &RankRecord,
        meanwhile: Meanwhile,
    ) -> Result<Vec<RankRecord>, ClusterError> {
        let all = self.gather_bytes(bytemuck::bytes_of(own), meanwhile)?;
        Ok(all.iter().map(|bytes| bytemuck::pod_read_unaligned(bytes)).collect())
    }

    fn leave(&mut self) {
        if !self.has_parted {
            self.has_parted = true;
            // SAFETY: J1, the caller holds this alone; no round is open, or this rank would have parted.
            // What it returns matters to nobody: the process ends.
            let _ = unsafe { impala_mpi_finalize() };
        }
    }
}

impl Drop for Mpi {
    /// J2: MPI may still write to the buffers of a round that did not end.
    fn drop(&mut self) {
        if self.is_open {
            mem::forget(mem::take(&mut self.values));
            mem::forget(mem::take(&mut self.own_bytes));
            mem::forget(mem::take(&mut self.all_values));
            mem::forget(mem::take(&mut self.all_bytes));
        }
    }
}

fn init() -> Result<Rank, ClusterError> {
    let (mut number, mut of) = (0, 0);
    // SAFETY: J1, no other thread knows of MPI yet; both numbers are written before the call returns.
    let code = unsafe { impala_mpi_init(&mut number, &mut of) };
    checked("its start", code)?;
    Ok(Rank { number: number as usize, of: of as usize })
}

/// # Errors
/// What MPI says of a code that is none of success.
fn checked(what: &'static str, code: c_int) -> Result<(), ClusterError> {
    if code == 0 {
        return Ok(());
    }
    let mut text: [c_char; WORDS_BYTES] = [0; WORDS_BYTES];
    // SAFETY: J1, whoever asked for `what` holds MPI; the text is as long as is said, and ends with a zero byte.
    let reason = unsafe {
        impala_mpi_reason(code, text.as_mut_ptr(), count(WORDS_BYTES));
        CStr::from_ptr(text.as_ptr())
    };
    Err(ClusterError::Mpi { what, reason: reason.to_string_lossy().into_owned() })
}

/// MPI counts in C's int.
fn count(n: usize) -> c_int {
    c_int::try_from(n).expect("a network of so many parameters is refused before")
}
