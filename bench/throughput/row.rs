//! One line of a table: a quantity, measured several times.

use serde::Serialize;

use super::disturbance::Disturbance;
use super::figure::figure;
use super::sample::Spread;
use super::table::Table;

/// One quantity: the median of several measurements, and their spread.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub group: &'static str,
    pub name: String,
    pub unit: &'static str,
    #[serde(flatten)]
    pub spread: Spread,
    /// What arithmetic alone would allow, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<f64>,
    /// While it was measured.
    pub disturbance: Disturbance,
}

impl Row {
    pub fn new(
        group: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        values: impl IntoIterator<Item = f64>,
        disturbance: Disturbance,
    ) -> Self {
        Row {
            group,
            name: name.into(),
            unit,
            spread: Spread::of(values),
            ceiling: None,
            disturbance,
        }
    }

    /// With a ceiling.
    pub fn below(self, ceiling: f64) -> Self {
        Row { ceiling: Some(ceiling), ..self }
    }
}

/// One table a group.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::new();
    for group in rows.chunk_by(|a, b| a.group == b.group) {
        let first = &group[0];
        let head = [first.group, "median", "min – max", "unit", "runs", "of its ceiling"];
        let mut table = Table::new(head);
        for Row { name, unit, spread, ceiling, .. } in group {
            let (median, n_runs) = (figure(spread.median), spread.values.len().to_string());
            let share = ceiling.map_or("–".into(), |ceiling| {
                format!("{:.0} % of {}", 100.0 * spread.median / ceiling, figure(ceiling))
            });
            table.push([name.clone(), median, spread.range(), (*unit).into(), n_runs, share]);
        }
        text += &format!("\n{}\n{}\n", table.text(), first.disturbance.line());
    }
    text
}
