//! What lies where in the shared memory, as a table with a line between regions.

use crate::base::span::Span;
use crate::base::units::number_of;
use crate::config::Config;
use crate::rollout::fields;
use crate::run::sizes::Sizes;
use crate::shm::layout::{Layout, STATUS_BYTES};

/// A stretch of the segment and whose it is.
struct Row {
    span: Span,
    what: String,
    written_by: &'static str,
}

fn row(span: Span, what: impl Into<String>, written_by: &'static str) -> Row {
    Row { span, what: what.into(), written_by }
}

/// Prints the layout that a configuration leads to.
pub fn print(config: &Config) -> anyhow::Result<()> {
    config.check()?;
    let layout = Layout::new(&Sizes::of(config)?.segment)?;
    say!("{}", headline(config, &layout));
    let regions = regions(&layout);
    let chars = regions.iter().flatten().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let rule = format!("{:─>13}┼{:─>13}┼{:─>width$}┼{:─>28}", "", "", "", "", width = chars + 2);
    say!("{:>12} │{:>12} │ {:chars$} │ written by", "offset", "bytes", "what");
    for region in regions {
        say!("{rule}");
        for Row { span, what, written_by } in region {
            say!("{:>12} │{:>12} │ {what:chars$} │ {written_by}", span.offset, span.n_bytes);
        }
    }
    say!("{rule}\n{:>12} │ end", layout.total_bytes);
    Ok(())
}

fn headline(config: &Config, layout: &Layout) -> String {
    let shape = &layout.shape;
    format!(
        "{}: {} bytes of shared memory ({:.2} MB) for {}, {} each of {} × {}, and {}\n",
        config.env,
        layout.total_bytes,
        layout.total_bytes as f64 / 1e6,
        number_of(shape.n_actors as u64, "actor"),
        number_of(shape.slots_per_actor as u64, "slot"),
        number_of(shape.rollout.unroll_length as u64, "step"),
        number_of(shape.rollout.n_envs as u64, "environment"),
        number_of(shape.n_params as u64, "parameter"),
    )
}

/// Every region with what is in it, in the order of the segment. Rings are alike: the first is shown
/// whole, with its first slot field by field, of the others where they begin.
fn regions(layout: &Layout) -> Vec<Vec<Row>> {
    let mut regions = vec![
        vec![row(layout.header, "header: magic, size, layout hash", "supervisor, before forks")],
        board(layout),
        vec![
            row(layout.weights_state, "weights: cell in use, sequences", "learner"),
            row(layout.weights_cells[0], "  cell 0: parameters", "learner"),
            row(layout.weights_cells[1], "  cell 1: parameters", "learner"),
        ],
        vec![
            row(layout.state_head, "state: cell in use, sequences", "learner"),
            row(layout.state_cells[0], "  cell 0: parameters, optimiser, counters", "learner"),
            row(layout.state_cells[1], "  cell 1: parameters, optimiser, counters", "learner"),
        ],
        first_ring(layout),
    ];
    regions.extend((1..layout.shape.n_actors).map(|actor| {
        vec![row(layout.ring_region(actor), format!("ring {actor}, as ring 0"), "as ring 0")]
    }));
    regions
}

fn board(layout: &Layout) -> Vec<Row> {
    let group = |index: usize| Span {
        offset: layout.board.offset + index * STATUS_BYTES,
        n_bytes: STATUS_BYTES,
    };
    let mut rows = vec![
        row(group(0), "board: orders", "supervisor"),
        row(group(1), "  learner: vitals, counters", "learner"),
    ];
    rows.extend((0..layout.shape.n_actors).map(|actor| {
        row(group(2 + actor), format!("  actor {actor}: vitals, counters"), "this actor")
    }));
    rows.push(row(layout.learner_doorbell, "  learner's doorbell", "learner, actors"));
    rows
}

fn first_ring(layout: &Layout) -> Vec<Row> {
    let (ring, slot) = (&layout.ring, &layout.slot);
    let at = |base: usize, span: Span| Span { offset: base + span.offset, ..span };
    let region = layout.ring_region(0).offset;
    let mut rows = vec![
        row(at(region, ring.state), "ring 0: head, tail", "actor 0; learner"),
        row(at(region, ring.doorbell), "  actor's doorbell", "learner, actor 0"),
    ];
    let first_slot = layout.slot_offset(0, 0);
    let unpublished = "actor 0 while unpublished";
    rows.push(row(at(first_slot, slot.header), "  slot 0: header", unpublished));
    for (field, span) in fields(&layout.shape.rollout).iter().zip(slot.fields) {
        let what = format!("    {} {} {}", field.name, field.numbers.number.name(), field.order);
        rows.push(row(at(first_slot, span), what, unpublished));
    }
    rows.extend((1..layout.shape.slots_per_actor).map(|index| {
        let offset = layout.slot_offset(0, index as u64);
        let span = Span { offset, n_bytes: slot.stride_bytes };
        row(span, format!("  slot {index}, as slot 0"), unpublished)
    }));
    rows
}
