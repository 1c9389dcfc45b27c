//! The numbers behind a drawing, for the page to show where the reader points.
//!
//! Owns their JSON; `report.js` beside this file reads it. Does not draw.

use serde::{Serialize, Serializer};

use super::axis::{Axis, Scale};
use super::chart::{Chart, Drawing, Layer, Mark, PlotArea};
use super::points::Point;

/// The JSON of a drawn chart; it can stand inside a `script` element.
pub fn json(chart: &Chart, drawing: &Drawing) -> String {
    let panels = chart.panels.iter().zip(&drawing.areas).map(|(panel, area)| PanelData {
        area,
        y: AxisData::of(&panel.y),
        layers: panel.layers.iter().flat_map(LayerData::of).collect(),
    });
    let readout = Readout { x: AxisData::of(&chart.x), panels: panels.collect() };
    let json = serde_json::to_string(&readout).expect("numbers and names are expressible");
    // No name from a run may end the element that the JSON stands in.
    json.replace('<', "\\u003c")
}

#[derive(Serialize)]
struct Readout<'a> {
    x: AxisData<'a>,
    panels: Vec<PanelData<'a>>,
}

#[derive(Serialize)]
struct AxisData<'a> {
    name: &'a str,
    scale: Scale,
    lo: f64,
    hi: f64,
}

#[derive(Serialize)]
struct PanelData<'a> {
    area: &'a PlotArea,
    y: AxisData<'a>,
    layers: Vec<LayerData>,
}

/// What is shown of a layer: a value, or from `y` to `y2`, or only the height between them.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Line,
    Band,
    Area,
}

#[derive(Serialize)]
struct LayerData {
    name: String,
    colour: &'static str,
    kind: Kind,
    x: Vec<Short>,
    y: Vec<Short>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    y2: Vec<Short>,
}

impl<'a> AxisData<'a> {
    fn of(axis: &'a Axis) -> Self {
        AxisData { name: &axis.name, scale: axis.scale, lo: axis.lo, hi: axis.hi }
    }
}

impl LayerData {
    fn of(layer: &Layer) -> Vec<LayerData> {
        let data = |name: &str, kind, lower: &[Point], upper: &[Point]| LayerData {
            name: name.to_owned(),
            colour: layer.colour.css_name(),
            kind,
            x: lower.iter().map(|point| Short::of(point.0)).collect(),
            y: lower.iter().map(|point| Short::of(point.1)).collect(),
            y2: upper.iter().map(|point| Short::of(point.1)).collect(),
        };
        let name = layer.name.as_str();
        match &layer.mark {
            Mark::Line(points) => vec![data(name, Kind::Line, points, &[])],
            Mark::Band(lower, upper) if are_paired(lower, upper) => {
                vec![data(name, Kind::Band, lower, upper)]
            }
            // A long run's edges are thinned each on its own.
            Mark::Band(lower, upper) => vec![
                data(&format!("{name}: lower"), Kind::Line, lower, &[]),
                data(&format!("{name}: upper"), Kind::Line, upper, &[]),
            ],
            Mark::Area(lower, upper) => vec![data(name, Kind::Area, lower, upper)],
            Mark::Boxes(boxes) => {
                let middle = |x: f64, x2: f64, y| ((x + x2) / 2.0, y);
                let lower: Vec<Point> = boxes.iter().map(|(a, b)| middle(a.0, b.0, a.1)).collect();
                let upper: Vec<Point> = boxes.iter().map(|(a, b)| middle(a.0, b.0, b.1)).collect();
                vec![data(name, Kind::Area, &lower, &upper)]
            }
            Mark::Level(_) => Vec::new(),
        }
    }
}

fn are_paired(lower: &[Point], upper: &[Point]) -> bool {
    lower.len() == upper.len() && lower.iter().zip(upper).all(|(a, b)| a.0 == b.0)
}

/// A number in at most six digits: more cannot be read off a plot, and would make the page large.
struct Short(f64);

impl Short {
    fn of(value: f64) -> Short {
        if value == 0.0 || !value.is_finite() {
            return Short(value);
        }
        let unit = 10f64.powi(value.abs().log10().floor() as i32 - 5);
        Short((value / unit).round() * unit)
    }
}

impl Serialize for Short {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Short(value) = *self;
        if value.fract() == 0.0 && value.abs() < 9e15 {
            return serializer.serialize_i64(value as i64);
        }
        // Rounding to a multiple of a fraction leaves a tail of binary digits; text does not.
        let text = format!("{value:.5e}");
        serializer.serialize_f64(text.parse().unwrap_or(value))
    }
}
