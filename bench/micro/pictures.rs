//! Observations of bits: a byte a cell, as slots have them, against eight cells a byte.

use std::hint::black_box;

use anyhow::Result;
use impala::config::Config;
use impala::env::StepBuffer;
use impala::kernels::bits_of;
use impala::space::Actions;

use crate::contest::{Bench, Contender, Contest};

/// Cells of a row.
const WIDTH: usize = 10;

/// Environments and steps of a slot.
const E: usize = 32;
const T: usize = 20;

/// Writes a frame of MinAtar's Breakout and reads it as often as the engine does: once to act, once to learn.
pub fn of_breakout(bench: &mut Bench) -> Result<()> {
    let frames = played()?;
    let (n_frames, n_cells) = (frames.len(), frames[0].n_cells);
    let mut bytes = vec![0_u8; n_frames * n_cells];
    let words_a_frame = n_cells.div_ceil(64);
    let mut words = vec![0_u64; n_frames * words_a_frame];
    let mut seen = Vec::with_capacity(n_cells);
    let mut seen_in_words = Vec::with_capacity(n_cells);
    bench.run(Contest {
        group: "MinAtar Breakout, one frame of a slot",
        job: "set cells written once, their rows listed twice".into(),
        unit: "ns",
        figures: &[""],
        target: None,
        contenders: vec![
            Contender::calls("a byte a cell", n_frames as u32, || {
                for (frame, cells) in frames.iter().zip(bytes.chunks_exact_mut(n_cells)) {
                    cells.fill(0);
                    frame.set.iter().for_each(|&cell| cells[cell] = 1);
                }
                for cells in [&bytes; 2].into_iter().flat_map(|all| all.chunks_exact(n_cells)) {
                    list_bytes(black_box(cells), &mut seen);
                }
            }),
            Contender::calls("a bit a cell", n_frames as u32, || {
                for (frame, cells) in frames.iter().zip(words.chunks_exact_mut(words_a_frame)) {
                    cells.fill(0);
                    frame.set.iter().for_each(|&cell| cells[cell / 64] |= 1 << (cell % 64));
                }
                for cells in [&words; 2].into_iter().flat_map(|all| all.chunks_exact(words_a_frame))
                {
                    list_bits(black_box(cells), n_cells, &mut seen_in_words);
                }
            }),
        ],
    })
}

/// A frame's cells that are set.
struct Frame {
    set: Vec<usize>,
    n_cells: usize,
}

/// Those of a slot, after a hundred steps of three actions in turn.
fn played() -> Result<Vec<Frame>> {
    let config = Config { env: "MinAtar/Breakout-v1".into(), ..Config::default() };
    let mut envs = config.make_vec(0, E, 1)?;
    let mut room = StepBuffer::new(&config.spec()?, E);
    room.reset(&mut *envs)?;
    let mut frames = Vec::new();
    for step in 0..100 + T {
        let actions: [i32; E] = std::array::from_fn(|e| ((step * 7 + e) % 3) as i32);
        room.step(&mut *envs, Actions::of_indices(&actions))?;
        if step >= 100 {
            let pixels = room.obs.view().pixels();
            frames.extend(pixels.rows().into_iter().map(|row| {
                let set = (0..).zip(row).filter(|(_, bit)| **bit != 0).map(|(cell, _)| cell);
                Frame { set: set.collect(), n_cells: row.len() }
            }));
        }
    }
    Ok(frames)
}

/// As `network/native/bit_conv.rs` reads them: a row of a plane at a time.
fn list_bytes(cells: &[u8], seen: &mut Vec<u16>) {
    seen.clear();
    for first in (0..cells.len()).step_by(WIDTH) {
        let filled_up = || {
            let mut bytes = [0; 16];
            bytes[..cells.len() - first].copy_from_slice(&cells[first..]);
            bytes
        };
        let bytes = cells[first..].first_chunk().copied().unwrap_or_else(filled_up);
        keep(bits_of(bytes), seen);
    }
}

fn list_bits(words: &[u64], n_cells: usize, seen: &mut Vec<u16>) {
    seen.clear();
    for first in (0..n_cells).step_by(WIDTH) {
        let (word, shift) = (first / 64, first % 64);
        let next = words.get(word + 1).copied().unwrap_or_default();
        keep((words[word] >> shift | next << 1 << (63 - shift)) as u16, seen);
    }
}

/// Keeps a row in which a bit is set.
fn keep(bits: u16, seen: &mut Vec<u16>) {
    let (row, n_seen) = (bits & ((1 << WIDTH) - 1), seen.len());
    seen.push(row);
    seen.truncate(n_seen + usize::from(row != 0));
}
