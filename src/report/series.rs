//! Columns of the metrics as lines and bands over the run.
//!
//! Owns what a run is drawn over, frames or seconds, and how rows become points. Does not choose plots.

use super::axis::{Axis, Scale};
use super::chart::{Chart, Layer, Mark, Panel};
use super::palette::Colour;
use super::points::{Point, curve};
use crate::telemetry::{EvalRow, MetricsRow, TaskRow};

/// A figure: one drawing, or one for each of the things that a run can be drawn over.
pub enum Plot {
    /// Its horizontal axis is no part of the run.
    Fixed(Chart),
    /// The same over frames and over seconds.
    Run {
        /// Over the frames learned from.
        frames: Chart,
        /// Over the time since the process started.
        seconds: Chart,
    },
}

impl Plot {
    /// Draws the same over both.
    pub fn over_run(build: impl Fn(Over) -> Chart) -> Plot {
        Plot::Run { frames: build(Over::Frames), seconds: build(Over::Seconds) }
    }
}

/// Plots that answer one question.
pub struct Section {
    /// The question's heading.
    pub title: &'static str,
    /// What a reader needs to know first.
    pub intro: &'static str,
    /// The plots.
    pub plots: Vec<Plot>,
}

/// A column of the metrics; none where nothing was measured.
pub type Column = fn(&MetricsRow) -> Option<f64>;

/// What a run is drawn over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Frames learned from.
    Frames,
    /// Seconds since the process started.
    Seconds,
}

impl Over {
    /// Where a row lies.
    pub fn of(self, row: &MetricsRow) -> f64 {
        match self {
            Over::Frames => row.frames as f64,
            Over::Seconds => row.time_s,
        }
    }

    /// Where an evaluation lies.
    pub fn of_evaluation(self, row: &EvalRow) -> f64 {
        match self {
            Over::Frames => row.frames as f64,
            Over::Seconds => row.time_s,
        }
    }

    /// Where a row of one task lies.
    pub fn of_task(self, row: &TaskRow) -> f64 {
        match self {
            Over::Frames => row.frames as f64,
            Over::Seconds => row.time_s,
        }
    }

    /// Name and unit of the axis.
    pub fn name(self) -> &'static str {
        match self {
            Over::Frames => "frames learned from",
            Over::Seconds => "time since the start, s",
        }
    }

    /// The axis that all of a run's plots share.
    pub fn axis(self, rows: &[MetricsRow]) -> Axis {
        Axis::tight(self.name(), Scale::FromZero, rows.iter().map(|row| self.of(row)))
    }

    /// Where a moment of the run lies; frames are interpolated between the rows around it.
    pub fn at(self, rows: &[MetricsRow], time_s: f64) -> f64 {
        if self == Over::Seconds {
            return time_s;
        }
        let after = rows.partition_point(|row| row.time_s < time_s);
        let Some(next) = rows.get(after) else {
            return rows.last().map_or(f64::NAN, |row| row.frames as f64);
        };
        let (from_s, from) = match after.checked_sub(1).and_then(|before| rows.get(before)) {
            Some(row) => (row.time_s, row.frames as f64),
            None => (rows[0].time_s.min(time_s), 0.0),
        };
        let share = ((time_s - from_s) / (next.time_s - from_s)).clamp(0.0, 1.0);
        from + share * (next.frames as f64 - from)
    }
}

/// A column as points.
pub fn points(rows: &[MetricsRow], over: Over, column: Column) -> Vec<Point> {
    curve(rows.iter().filter_map(|row| Some((over.of(row), column(row)?))))
}

/// A column as a line.
pub fn line(
    rows: &[MetricsRow],
    over: Over,
    name: &'static str,
    colour: Colour,
    column: Column,
) -> Layer {
    Layer::new(name, colour, Mark::Line(points(rows, over, column)))
}

/// Two columns as the band between them.
pub fn band(
    rows: &[MetricsRow],
    over: Over,
    name: &'static str,
    lower: Column,
    upper: Column,
) -> Layer {
    let (lower, upper) = (points(rows, over, lower), points(rows, over, upper));
    Layer::new(name, Colour::Blue, Mark::Band(lower, upper))
}

/// A value to compare with.
pub fn level(name: &'static str, value: f64) -> Layer {
    Layer::new(name, Colour::Vermillion, Mark::Level(value))
}

/// A plot of one line over the run: most of them.
pub fn single(
    rows: &[MetricsRow],
    (id, title, caption): (&'static str, &'static str, &str),
    (y_name, scale, line_name): (&'static str, Scale, &'static str),
    column: Column,
) -> Plot {
    over_run(rows, (id, title, caption), |over| {
        let layers = vec![line(rows, over, line_name, Colour::Blue, column)];
        vec![Panel::fit(y_name, scale, layers)]
    })
}

/// A plot over the run of the panels that `build` makes.
pub fn over_run(
    rows: &[MetricsRow],
    (id, title, caption): (&'static str, &str, &str),
    build: impl Fn(Over) -> Vec<Panel>,
) -> Plot {
    Plot::over_run(|over| Chart {
        id,
        title: title.to_owned(),
        caption: caption.to_owned(),
        x: over.axis(rows),
        panels: build(over),
    })
}

/// A value that a logarithmic axis can show.
pub fn positive(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}
