//! The shared segment: the only place that maps memory and casts bytes.
//!
//! Owns: [`Segment`], its mapping, and the typed ends that it hands out, a file each. Knows nothing of
//! processes: who forks and who restarts is the supervisor's affair. Called by the supervisor (creates it,
//! reads the board and the learner's state), the actors (a [`Producer`], a
//! [`WeightsReader`](weights::WeightsReader)) and the learner (a [`Consumer`] an actor, the
//! [`WeightsWriter`](weights::WeightsWriter), the [`StateWriter`](state::StateWriter)).
//!
//! ```text
//!  page                                        written by                readable by
//! ┌─────────┬───────────────────────────────┐
//! │ header  │ magic · bytes · layout's hash │  supervisor, before forks   all
//! ├─────────┼───────────────────────────────┤
//! │ board   │ orders                        │  supervisor                 all
//! │         │ learner: vitals, counters     │  learner                    all
//! │         │ actor 0 … actor N-1           │  actor k its own            all
//! │         │ learner's doorbell            │  learner, actors            both
//! ├─────────┼───────────────────────────────┤
//! │ weights │ cell in use                   │  learner                    actors
//! │         │ cell 0: sequence, version     │
//! │         │ cell 1: sequence, version     │
//! │         │ cell 0: parameters            │
//! │         │ cell 1: parameters            │
//! ├─────────┼───────────────────────────────┤
//! │ state   │ as the weights, of all that   │  learner                    supervisor,
//! │         │ learning goes on from         │                             next learner
//! ├─────────┼───────────────────────────────┤
//! │ ring 0  │ head                          │  actor 0                    learner
//! │         │ tail                          │  learner                    actor 0
//! │         │ actor's doorbell              │  learner, actor 0           both
//! │         │ slot 0: header, obs, actions, │  actor 0 while it is        learner while
//! │         │   rewards, kinds, log μ,      │  unpublished                it is published
//! │         │   episode returns and lengths │
//! │         │ slot 1 …                      │
//! ├─────────┼───────────────────────────────┤
//! │ ring 1… │                               │
//! └─────────┴───────────────────────────────┘
//! ```
//!
//! # Invariants
//! SAFETY comments cite them by number.
//!
//! Memory
//! - **M1** The segment is `layout.total_bytes` of zeroed, page-aligned memory that lives as long as its
//!   `Segment` and, being unlinked before the first fork, has no name by which a stranger could find it.
//!   Who may trace the supervisor, that is its user, can look on through a descriptor that it keeps
//!   (`view`): such a mapping is read-only, and its header is checked like anyone's.
//! - **M2** What [`Layout`](layout::Layout) places is inside the segment, aligned for its type, and overlaps
//!   nothing else (property-tested).
//! - **M3** All but the slots is accessed through atomics only, and any bits are a value of them. Slots
//!   hold plain numbers, of which the same is true.
//! - **M4** A role (producer of ring k, consumer of ring k, writer of the weights, writer of the state) has
//!   at most one holder. Inside a process the `Segment` sees to it. Between processes whoever forks does:
//!   a worker takes only its own roles, the supervisor takes the two writers' only while no learner
//!   lives, and a replacement is forked after its predecessor was reaped.
//!
//! Ring
//! - **R1** Only the producer writes head; only the consumer writes tail.
//! - **R2** Slot `i` belongs to the consumer while `tail ≤ i < head`, and to the producer while
//!   `head ≤ i < tail + n_slots`. Nobody touches a slot that is not his.
//! - **R3** A slot passes to the other side with one release store, after the last access to it.
//! - **R4** Indices never go back and never wrap; a replacement continues from those in the segment.
//! - **R5** `0 ≤ head − tail ≤ n_slots`; checked by each side whenever it looks at the other's. Who finds it
//!   broken dies, and the replacement, which cannot attach, has everything begin anew.
//!
//! Weights, and the learner's state likewise: two cells of words each
//! - **W1** Only the writer writes them.
//! - **W2** The cell in use is never written to: the other one is filled, then the index is flipped. A reader
//!   that finds it marked as being written has found damage, and says so instead of waiting for an end.
//! - **W3** A cell's sequence is odd from before its first word is written until after its last one; every
//!   write has numbers of its own, also after a writer died in the middle.
//! - **W4** The version of the cell in use never goes back.
//! - **W5** The state of an update is whole before the weights of that update are published: what an actor
//!   has acted with is never ahead of what a replaced learner goes on from.
//!
//! Board
//! - **B1** Every word has one writing process.
//! - **B2** No word publishes another one: all accesses are relaxed.
//! - **B3** Counters are totals over all generations.
//!
//! Doorbells
//! - **D1** A doorbell carries no data: a lost or needless ring costs time, never correctness. Its word
//!   is the only one with several writers.

pub mod board;
pub mod cells;
#[cfg(feature = "faults")]
pub mod checks;
mod consumer;
pub mod doorbell;
mod error;
mod header;
pub mod layout;
mod memory;
mod producer;
pub mod ring;
mod roles;
mod segment;
mod shared;
mod slot;
pub mod state;
#[cfg(test)]
mod tests;
pub mod view;
pub mod weights;

pub use consumer::{Consumer, TakenSlot};
pub use error::SegmentError;
pub use producer::{ClaimedSlot, Producer};
pub use roles::Held;
pub use segment::Segment;

/// Where the C library keeps named shared memory.
const SHM_DIR: &str = "/dev/shm";
