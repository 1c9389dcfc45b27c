//! How much of the learner's update time actors were collecting in: the measure of asynchrony.
//!
//! Exact but for the seams between blocks: each rollout says when it was collected, each update when
//! it ran, and the two sets of intervals are intersected a block of updates at a time.

use crate::base::clock::Interval;

/// Updates in a block. Memory stays constant, and what the seams lose is below a per mille.
const BLOCK_UPDATES: usize = 1024;

/// Intersects updates with the union of all collecting.
#[derive(Debug, Default)]
pub struct Overlap {
    updates: Vec<Interval>,
    collects: Vec<Interval>,
    update_ns: u64,
    collected_ns: u64,
}

impl Overlap {
    /// Counts the time in which one rollout was collected.
    pub fn add_collect(&mut self, interval: Interval) {
        self.collects.push(interval);
    }

    /// Counts the time of one update. Those of several lanes run at the same time: each counts.
    pub fn add_update(&mut self, interval: Interval) {
        self.updates.push(interval);
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
            from += busy[from..]
                .iter()
                .take_while(|interval| interval.end_ns <= update.start_ns)
                .count();
            let during =
                busy[from..].iter().take_while(|interval| interval.start_ns < update.end_ns);
            self.collected_ns += during.map(|interval| common_ns(interval, update)).sum::<u64>();
            self.update_ns += update.end_ns - update.start_ns;
        }
        self.updates.clear();
        self.collects.clear();
    }
}

fn common_ns(one: &Interval, other: &Interval) -> u64 {
    one.end_ns.min(other.end_ns).saturating_sub(one.start_ns.max(other.start_ns))
}

/// The union of intervals as disjoint ones in order.
fn union(intervals: &mut [Interval]) -> Vec<Interval> {
    intervals.sort_unstable();
    let mut disjoint: Vec<Interval> = Vec::new();
    for interval in intervals.iter() {
        match disjoint.last_mut() {
            Some(last) if interval.start_ns <= last.end_ns => {
                last.end_ns = last.end_ns.max(interval.end_ns)
            }
            _ => disjoint.push(*interval),
        }
    }
    disjoint
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn interval(start_ns: u64, end_ns: u64) -> Interval {
        Interval { start_ns, end_ns }
    }

    fn share(updates: &[Interval], collects: &[Interval]) -> f64 {
        let mut overlap = Overlap::default();
        collects.iter().for_each(|interval| overlap.add_collect(*interval));
        updates.iter().for_each(|interval| overlap.add_update(*interval));
        overlap.settle();
        let (update_ns, collected_ns) = overlap.take();
        assert_eq!(overlap.take(), (0, 0), "what was taken is not there again");
        collected_ns as f64 / update_ns.max(1) as f64
    }

    #[test]
    fn actors_that_collect_together_count_once() {
        let updates = [interval(0, 10), interval(20, 30)];
        assert_eq!(share(&updates, &[interval(5, 25), interval(6, 8)]), 0.5);
        assert_eq!(share(&updates, &[interval(10, 20)]), 0.0);
        assert_eq!(share(&updates, &[interval(0, 40), interval(0, 40)]), 1.0);
        assert_eq!(share(&[], &[interval(0, 40)]), 0.0);
    }

    proptest! {
        #[test]
        fn the_sweep_is_a_count_of_moments(
            collects in prop::collection::vec((0..100u64, 0..30u64), 0..20),
            lanes in prop::collection::vec(prop::collection::btree_set(0..130u64, 2..20), 1..4),
        ) {
            let collects: Vec<Interval> = collects.iter().map(|(start, n)| interval(*start, start + n)).collect();
            let updates_of = |cuts: &BTreeSet<u64>| -> Vec<Interval> {
                let cuts: Vec<u64> = cuts.iter().copied().collect();
                cuts.chunks_exact(2).map(|cut| interval(cut[0], cut[1])).collect()
            };
            let updates: Vec<Interval> = lanes.iter().flat_map(updates_of).collect();
            let is_in = |interval: &Interval, ns: u64| (interval.start_ns..interval.end_ns).contains(&ns);
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
