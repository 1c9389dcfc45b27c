//! A segment in which any bytes are other ones, or that ends early, as one who looks on finds it: refused
//! where size or header differ, and looked into without harm whatever board and rings say.
//!
//! The first two bytes say how much is cut off; the rest is laid over a sound segment, bit by bit, so that
//! no input at all is a sound one.

#![no_main]

use std::fs;
use std::io::Read;
use std::sync::LazyLock;

use impala::rollout::RolloutShape;
use impala::shm::layout::SegmentShape;
use impala::shm::view::SegmentView;
use impala::shm::{Segment, SegmentError};
use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;

const SHAPE: SegmentShape = SegmentShape {
    n_actors: 2,
    slots_per_actor: 2,
    n_params: 7,
    n_moments: 1,
    rollout: RolloutShape::of_numbers(2, 1, 4),
};

/// Magic, size and hash of the layout.
const HEADER_BYTES: usize = 24;

static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut segment = Segment::create(&SHAPE).unwrap();
    let mut bytes = Vec::new();
    segment.take_view_file().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
});
static FILE: LazyLock<NamedTempFile> = LazyLock::new(|| NamedTempFile::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let (cut, changes) = bytes.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
    let mut segment = SOUND.clone();
    segment.iter_mut().zip(changes).for_each(|(byte, change)| *byte ^= change);
    segment.truncate(segment.len().saturating_sub(u16::from_le_bytes(*cut).into()));
    fs::write(FILE.path(), &segment).unwrap();
    let is_sound = segment.len() == SOUND.len() && segment[..HEADER_BYTES] == SOUND[..HEADER_BYTES];
    match SegmentView::attach(FILE.path(), &SHAPE) {
        Ok(view) => {
            assert!(is_sound, "a wrong header or size was taken");
            assert_eq!(view.actors().len(), SHAPE.n_actors);
            assert_eq!(view.rings().len(), SHAPE.n_actors);
            let _ = (view.learner(), view.updates(), view.stop_ordered(), view.slots_per_actor());
        }
        Err(error @ SegmentError::Header { .. }) => {
            assert!(!is_sound, "a sound segment was refused");
            assert!(!error.to_string().is_empty());
        }
        Err(error) => panic!("{error}"),
    }
});
