//! How much of the learner's update time actors were collecting in: the measure of asynchrony.
//!
//! Exact but for the seams between blocks: each rollout says when it was collected, each update when
//! it ran, and the two sets of intervals are intersected a block of updates at a time.

/// Updates in a block. Memory stays constant, and what the seams lose is below a per mille.
const BLOCK_UPDATES: usize = 1024;

/// From when to when, ns of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Begin, ns.
    pub start_ns: u64,
    /// End, ns.
    pub end_ns: u64,
}

impl Span {
    fn overlap_ns(&self, other: &Span) -> u64 {
        self.end_ns.min(other.end_ns).saturating_sub(self.start_ns.max(other.start_ns))
    }
}

/// Intersects updates with the union of all collecting.
#[derive(Debug, Default)]
pub struct Overlap {
    updates: Vec<Span>,
    collects: Vec<Span>,
    update_ns: u64,
    collected_ns: u64,
}

impl Overlap {
    /// Counts the time in which one rollout was collected.
    pub fn add_collect(&mut self, span: Span) {
        self.collects.push(span);
    }

    /// Counts the time of one update. Those of several lanes run at the same time: each counts.
    pub fn add_update(&mut self, span: Span) {
        self.updates.push(span);
        if self.updates.len() == BLOCK_UPDATES {
            self.settle();
        }
    }

    /// Takes the sums of all complete blocks since the last call: time of updates, and of that the time in
    /// which at least one actor was collecting, ns.
    pub fn take(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.update_ns), std::mem::take(&mut self.collected_ns))
    }

    /// Folds the block into the sums, complete or not.
    pub fn settle(&mut self) {
        let busy = union(&mut self.collects);
        self.updates.sort_unstable();
        let mut from = 0;
        for update in &self.updates {
            from += busy[from..].iter().take_while(|span| span.end_ns <= update.start_ns).count();
            let during = busy[from..].iter().take_while(|span| span.start_ns < update.end_ns);
            self.collected_ns += during.map(|span| span.overlap_ns(update)).sum::<u64>();
            self.update_ns += update.end_ns - update.start_ns;
        }
        self.updates.clear();
        self.collects.clear();
    }
}

/// The union of spans as disjoint spans in order.
fn union(spans: &mut [Span]) -> Vec<Span> {
    spans.sort_unstable();
    let mut disjoint: Vec<Span> = Vec::new();
    for span in spans.iter() {
        match disjoint.last_mut() {
            Some(last) if span.start_ns <= last.end_ns => {
                last.end_ns = last.end_ns.max(span.end_ns)
            }
            _ => disjoint.push(*span),
        }
    }
    disjoint
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn span(start_ns: u64, end_ns: u64) -> Span {
        Span { start_ns, end_ns }
    }

    fn share(updates: &[Span], collects: &[Span]) -> f64 {
        let mut overlap = Overlap::default();
        collects.iter().for_each(|span| overlap.add_collect(*span));
        updates.iter().for_each(|span| overlap.add_update(*span));
        overlap.settle();
        let (update_ns, collected_ns) = overlap.take();
        assert_eq!(overlap.take(), (0, 0), "what was taken is not there again");
        collected_ns as f64 / update_ns.max(1) as f64
    }

    #[test]
    fn actors_that_collect_together_count_once() {
        let updates = [span(0, 10), span(20, 30)];
        assert_eq!(share(&updates, &[span(5, 25), span(6, 8)]), 0.5);
        assert_eq!(share(&updates, &[span(10, 20)]), 0.0);
        assert_eq!(share(&updates, &[span(0, 40), span(0, 40)]), 1.0);
        assert_eq!(share(&[], &[span(0, 40)]), 0.0);
    }

    proptest! {
        #[test]
        fn the_sweep_is_a_count_of_moments(
            collects in prop::collection::vec((0..100u64, 0..30u64), 0..20),
            lanes in prop::collection::vec(prop::collection::btree_set(0..130u64, 2..20), 1..4),
        ) {
            let collects: Vec<Span> = collects.iter().map(|(start, n)| span(*start, start + n)).collect();
            let updates_of = |cuts: &BTreeSet<u64>| -> Vec<Span> {
                let cuts: Vec<u64> = cuts.iter().copied().collect();
                cuts.chunks_exact(2).map(|cut| span(cut[0], cut[1])).collect()
            };
            let updates: Vec<Span> = lanes.iter().flat_map(updates_of).collect();
            let is_in = |span: &Span, ns: u64| (span.start_ns..span.end_ns).contains(&ns);
            let (mut n_moments, mut n_both) = (0, 0);
            for update in &updates {
                for ns in (0..200).filter(|ns| is_in(update, *ns)) {
                    n_moments += 1;
                    n_both += u64::from(collects.iter().any(|collect| is_in(collect, ns)));
                }
            }
            prop_assert_eq!(share(&updates, &collects), n_both as f64 / n_moments as f64);
        }
    }
}
