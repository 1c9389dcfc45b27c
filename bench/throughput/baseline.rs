//! The change against the figures of an earlier run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::sample::figure;
use super::table::Table;

/// Median and range of one figure.
#[derive(Clone, Copy, Debug)]
struct Figure {
    median: f64,
    min: f64,
    max: f64,
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
pub fn change(path: &Path, now: &Value) -> Result<String> {
    let read = || -> Result<Value> { Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?) };
    let before_table = read().with_context(|| format!("--baseline {}", path.display()))?;
    let (before, now) = (figures(&before_table), figures(now));
    let mut table = Table::new(["change", "unit", "before", "now", "by", "beyond the spread"]);
    for ([group, name, unit], now) in &now {
        let Some(before) = before.get(&[group.clone(), name.clone(), unit.clone()]) else {
            continue;
        };
        let is_apart = now.min > before.max || now.max < before.min;
        if unit == "M frames/s" || is_apart {
            table.push([
                format!("{group}: {name}"),
                unit.clone(),
                figure(before.median),
                figure(now.median),
                format!("{:+.1} %", 100.0 * (now.median / before.median - 1.0)),
                if is_apart { "yes" } else { "no" }.into(),
            ]);
        }
    }
    let setting = &before_table["setting"];
    Ok(format!("\n{}\nbefore: {} at {}\n", table.text(), setting["commit"], setting["started"]))
}

/// Every figure of a file by group, name and unit.
fn figures(table: &Value) -> BTreeMap<[String; 3], Figure> {
    let mut figures = BTreeMap::new();
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
    Some(Figure { median: number("median")?, min: number("min")?, max: number("max")? })
}
