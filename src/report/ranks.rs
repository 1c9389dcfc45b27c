//! The learners that learned together, and whom the others wait for.
//!
//! Owns that judgement and its thresholds. Pure: what a summary says of the ranks goes in, a table and a sentence come
//! out. The page shows them.

use super::loops::{finite, ratio};
use super::units::{grouped, micros, percent, seconds, three_digits};
use crate::telemetry::{RankSummary, Summary};

/// A rank is waited for if the others stand in rounds this share of the time longer than it does. Less is jitter, which
/// falls now on this one and now on that one.
const KEEPS_WAITING: f64 = 0.05;

/// Rounds of which even the last to come sees this share of its time cost more than they should.
const DEAR: f64 = 0.25;

/// The table.
pub struct RankTable {
    /// Whom the job waits for, in a sentence.
    pub verdict: String,
    /// Names of the columns.
    pub titles: [&'static str; 9],
    /// A row a rank.
    pub rows: Vec<[String; 9]>,
}

impl RankTable {
    /// That of a run of several ranks; `None` of one alone.
    pub fn of(summary: &Summary) -> Option<RankTable> {
        let ranks = &summary.ranks;
        (ranks.len() > 1).then(|| RankTable {
            verdict: verdict(ranks, finite(summary.train_s)),
            titles: [
                "rank",
                "host",
                "frames",
                "frames/s",
                "round p50, µs",
                "round p99, µs",
                "in rounds",
                "without a batch",
                "restarts, lag",
            ],
            rows: ranks.iter().map(|rank| row(rank, summary.train_s)).collect(),
        })
    }
}

fn row(rank: &RankSummary, train_s: f64) -> [String; 9] {
    let share =
        |part_s: f64| format!("{} ({})", seconds(part_s), percent(ratio(finite(part_s), train_s)));
    [
        rank.rank.to_string(),
        rank.host.clone(),
        grouped(rank.frames),
        grouped(finite(rank.frames_per_s) as u64),
        micros(rank.exchange_p50_us),
        micros(rank.exchange_p99_us),
        share(rank.exchange_s),
        share(rank.wait_s),
        format!("{}, {}", rank.restarts, three_digits(finite(rank.policy_lag))),
    ]
}

/// Who comes last to a round waits least in it.
fn verdict(ranks: &[RankSummary], train_s: f64) -> String {
    let in_rounds = |rank: &&RankSummary| finite(rank.exchange_s);
    let Some(last) = ranks.iter().min_by(|a, b| in_rounds(a).total_cmp(&in_rounds(b))) else {
        return String::new();
    };
    let least_s = in_rounds(&last);
    let longer_s: f64 = ranks.iter().map(|rank| in_rounds(&rank) - least_s).sum();
    let waits = ratio(longer_s / (ranks.len() - 1) as f64, train_s);
    let least = ratio(least_s, train_s);
    if waits >= KEEPS_WAITING {
        format!(
            "The job waits for rank {} ({}): the others stand in rounds {} of the time longer than it does.",
            last.rank,
            last.host,
            percent(waits)
        )
    } else if least >= DEAR {
        format!(
            "All ranks stand in rounds {} of the time or more, and wait for none in particular: the network between them, \
             or ranks that are slow in turn, take it; a larger batch (`loss.batch_slots`) makes rounds rarer.",
            percent(least)
        )
    } else {
        format!(
            "No rank keeps the others waiting: rounds take {} of the time of the one that comes last.",
            percent(least)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(in_rounds_s: &[f64]) -> Summary {
        let rank = |(rank, exchange_s): (usize, &f64)| RankSummary {
            rank,
            host: format!("node{rank}"),
            exchange_s: *exchange_s,
            ..RankSummary::default()
        };
        let ranks = in_rounds_s.iter().enumerate().map(rank).collect();
        Summary { train_s: 10.0, ranks, ..Summary::default() }
    }

    #[test]
    fn the_rank_that_the_others_wait_for_is_named() {
        let of = |in_rounds_s: &[f64]| {
            RankTable::of(&run(in_rounds_s)).unwrap().verdict.replace('\u{a0}', " ")
        };
        let late = of(&[2.0, 2.2, 0.3]);
        assert!(
            late.starts_with("The job waits for rank 2 (node2)")
                && late.contains("18 % of the time"),
            "{late}"
        );
        assert!(of(&[0.3, 0.4, 0.35]).starts_with("No rank keeps the others waiting"));
        assert!(
            of(&[5.0, 5.1]).starts_with("All ranks stand in rounds 50 %"),
            "{}",
            of(&[5.0, 5.1])
        );
    }

    #[test]
    fn who_is_alone_has_no_table() {
        assert!(RankTable::of(&run(&[])).is_none());
        assert_eq!(RankTable::of(&run(&[1.0, f64::NAN])).unwrap().rows.len(), 2);
    }
}
