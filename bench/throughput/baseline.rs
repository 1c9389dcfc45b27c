//! The change against the figures of an earlier run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::figure::figure;
use super::table::Table;

/// Median and range of one figure, and of how many measurements.
#[derive(Clone, Copy, Debug)]
struct Figure {
    median: f64,
    min: f64,
    max: f64,
    n: usize,
}

/// Group, name and unit.
type Key = [String; 3];

/// Ranges of fewer measurements say nothing: those of three of the same thing each lie apart once in
/// ten times.
const MIN_MEASUREMENTS: usize = 3;

impl Figure {
    /// Whether no measurement of one is among those of the other; `None` if there are too few.
    fn is_apart_from(&self, other: &Figure) -> Option<bool> {
        let is_apart = self.min > other.max || self.max < other.min;
        (self.n.min(other.n) >= MIN_MEASUREMENTS).then_some(is_apart)
    }
}

/// The quantities of a case, by their keys.
const CASE_QUANTITIES: [(&str, &str); 4] = [
    ("m_frames_per_s", "M frames/s"),
    ("cpu_s_per_m_frames", "CPU s / M frames"),
    ("pss_mb", "MB"),
    ("policy_lag", "updates"),
];

/// A table of the speeds, and of whatever else left its earlier range.
///
/// # Errors
/// If the earlier file cannot be read.
pub fn change(path: &Path, now_table: &Value) -> Result<String> {
    let read = || -> Result<Value> { Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?) };
    let before_table = read().with_context(|| format!("--baseline {}", path.display()))?;
    let before = BTreeMap::from_iter(figures(&before_table));
    let mut table = Table::new(["change", "before", "now", "by", "unit", "beyond the spread"]);
    for (key, now) in figures(now_table) {
        let Some(before) = before.get(&key) else { continue };
        let is_apart = now.is_apart_from(before);
        let [group, name, unit] = key;
        if unit == "M frames/s" || is_apart == Some(true) {
            table.push([
                format!("{group}: {name}"),
                figure(before.median),
                figure(now.median),
                format!("{:+.1} %", 100.0 * (now.median / before.median - 1.0)),
                unit,
                is_apart.map_or("too few runs", |apart| if apart { "yes" } else { "no" }).into(),
            ]);
        }
    }
    let text = |key: &str| before_table["setting"][key].as_str().unwrap_or("unknown");
    let (warning, commit, started) =
        (other_machine(&before_table, now_table), text("commit"), text("started"));
    Ok(format!("\n{warning}{}\nbefore: {commit}, {started}\n", table.text()))
}

/// A warning above the table if the two are not of one kind of machine: the change is then as much the
/// machine's as the program's.
fn other_machine(before: &Value, now: &Value) -> String {
    let of = |table: &Value| {
        let setting = &table["setting"];
        ["cpu", "simd", "n_cores"].map(|key| setting[key].to_string().replace('"', ""))
    };
    let (before, now) = (of(before), of(now));
    if before == now {
        return String::new();
    }
    let words =
        |[cpu, simd, n_cores]: [String; 3]| format!("{cpu}, {n_cores} cores, kernels {simd}");
    format!(
        "**WARNING: different machines are compared. The change is the machine's as much as the \
         program's.**\n\nbefore: {}\nnow: {}\n\n",
        words(before),
        words(now)
    )
}

/// Every figure of a file, in the file's order.
fn figures(table: &Value) -> Vec<(Key, Figure)> {
    let mut figures = Vec::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for row in table["rows"].as_array().into_iter().flatten() {
        let key = [text(&row["group"]), text(&row["name"]), text(&row["unit"])];
        figures.extend(figure_in(row).map(|figure| (key, figure)));
    }
    for case in table["cases"].as_array().into_iter().flatten() {
        for (quantity, unit) in CASE_QUANTITIES {
            let key = [text(&case["group"]), text(&case["name"]), unit.to_owned()];
            figures.extend(figure_in(&case[quantity]).map(|figure| (key, figure)));
        }
    }
    figures
}

/// `None` where something was not measured, which is `null` in the file.
fn figure_in(spread: &Value) -> Option<Figure> {
    let number = |key: &str| spread[key].as_f64();
    let n = spread["values"].as_array()?.len();
    Some(Figure { median: number("median")?, min: number("min")?, max: number("max")?, n })
}
