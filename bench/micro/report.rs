//! The table that the contests end in.

use std::fmt::Write;

use serde::Serialize;

use crate::common::Setting;
use crate::contest::{Effort, Row, Spread};
use crate::figure::figure;

/// The file `results/bench/micro-<instruction set>.json`.
#[derive(Serialize)]
pub struct Table {
    pub setting: Setting,
    pub load_after: f64,
    /// Time that a hypervisor took away meanwhile, % of all cores'.
    pub steal_percent: f64,
    pub effort: Effort,
    pub rows: Vec<Row>,
}

/// The whole table, with a line for each alternative.
pub fn markdown(table: &Table) -> String {
    let mut text = String::from(
        "# Micro-benchmarks\n\nMedians of rounds in which all contenders take turns, 10 % – 90 % in \
         brackets. The ratio is our cost over the alternative's in the same round: below 1, ours is \
         cheaper.\n",
    );
    let mut group = "";
    for row in &table.rows {
        if row.group != group {
            group = row.group;
            let _ = write!(
                text,
                "\n| {group} | | cost | ours ÷ this | rounds |\n|---|---|---:|---:|---:|\n"
            );
        }
        let (value, ratio) = (cost(row), ratio(row));
        let Row { job, figure, contender, n_rounds, .. } = row;
        let comma = if figure.is_empty() { "" } else { ", " };
        let name = if row.ours_over_it.is_none() {
            format!("**{contender}**")
        } else {
            contender.to_string()
        };
        let _ =
            writeln!(text, "| {job}{comma}{figure} | {name} | {value} | {ratio} | {n_rounds} |");
    }
    let (load_after, steal_percent) = (table.load_after, table.steal_percent);
    let _ = writeln!(
        text,
        "\n{}; load after {load_after:.2}; stolen meanwhile {steal_percent:.1} %",
        table.setting.line()
    );
    text
}

fn cost(row: &Row) -> String {
    let Spread { median, p10, p90 } = row.value;
    let [median, p10, p90] = [median, p10, p90].map(|value| quantity(value, row.unit));
    format!("{median} ({p10} – {p90})")
}

fn ratio(row: &Row) -> String {
    match (row.ours_over_it, row.target) {
        (Some(ratio), _) => {
            let [median, p10, p90] = [ratio.median, ratio.p10, ratio.p90].map(figure);
            format!("{median} ({p10} – {p90})")
        }
        (None, Some(target)) => {
            let verdict = if row.value.median <= target { "met" } else { "missed" };
            format!("target {}: {verdict}", quantity(target, row.unit))
        }
        (None, None) => "–".into(),
    }
}

/// A value with its unit; times in the largest unit that keeps them above 1.
fn quantity(value: f64, unit: &str) -> String {
    let (value, unit) = match (unit, value) {
        ("ns", v) if v >= 1e6 => (v / 1e6, "ms"),
        ("ns", v) if v >= 1e3 => (v / 1e3, "µs"),
        (unit, v) => (v, unit),
    };
    format!("{} {unit}", figure(value))
}
