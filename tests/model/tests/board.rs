//! What one who looks on sees of a live run: the board and the rings' indices, as `view.rs` reads them.

use shm_model::machine::{Arc, explore, explore_within, thread};
use shm_model::shm::board::{ActorStatus, Phase};
use shm_model::shm::ring::{RingConsumer, RingProducer, RingState};

/// An actor's group on the board, and its ring of two slots.
#[derive(Default)]
struct Actor {
    status: ActorStatus,
    ring: RingState,
}

const N_SLOTS: u64 = 2;

/// What `SegmentView` reads of an actor at once; no two numbers of it need be of one instant.
fn look(actor: &Actor) -> [u64; 4] {
    let (published, released) = actor.ring.glance();
    [actor.status.frames.get(), actor.status.vitals.restarts.get(), published, released]
}

/// Looks on `n_looks` times: no number ever goes back or beyond what was done in the end.
fn look_on(actor: &Actor, n_looks: usize, end: [u64; 4]) {
    let mut before = [0; 4];
    for _ in 0..n_looks {
        let seen = look(actor);
        for (k, seen) in seen.into_iter().enumerate() {
            assert!((before[k]..=end[k]).contains(&seen), "number {k}: {seen} after {}", before[k]);
        }
        before = seen;
        let phase = actor.status.vitals.phase.get();
        assert!([Phase::Absent, Phase::Starting, Phase::Collecting].contains(&phase));
    }
}

/// One process of an actor: it publishes `n_rollouts` of ten frames each, and ends without a word.
fn live(actor: &Actor, restarts: u64, n_rollouts: u64) {
    let ActorStatus { vitals, frames, .. } = &actor.status;
    vitals.start(1, restarts, 0);
    vitals.enter(Phase::Collecting, 0);
    let mut ring = RingProducer::attach(&actor.ring, N_SLOTS).unwrap();
    for _ in 0..n_rollouts {
        ring.try_claim().expect("the ring has room for all");
        ring.publish();
        frames.add(10);
    }
}

/// Nothing that is shown goes back, and a replacement counts on from where its predecessor stopped.
#[test]
fn board_never_goes_back_and_loses_nothing_with_a_replacement() {
    explore(|| {
        let actor = Arc::new(Actor::default());
        let end = [20, 1, 2, 0];
        let looking = {
            let actor = actor.clone();
            thread::spawn(move || look_on(&actor, 2, end))
        };
        live(&actor, 0, 1);
        live(&actor, 1, 1);
        looking.join().unwrap();
        assert_eq!(look(&actor), end);
    });
}

/// Both ends of a ring move while somebody looks on.
#[test]
fn board_shows_both_ends_of_a_moving_ring() {
    explore_within(1, || {
        let actor = Arc::new(Actor::default());
        let end = [20, 0, 2, 1];
        let looking = {
            let actor = actor.clone();
            thread::spawn(move || look_on(&actor, 2, end))
        };
        let acting = {
            let actor = actor.clone();
            thread::spawn(move || live(&actor, 0, 2))
        };
        let mut ring = RingConsumer::attach(&actor.ring, N_SLOTS).unwrap();
        while ring.try_take().is_none() {
            thread::yield_now();
        }
        ring.release(0);
        acting.join().unwrap();
        looking.join().unwrap();
        assert_eq!(look(&actor), end);
    });
}
