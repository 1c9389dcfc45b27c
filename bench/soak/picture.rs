//! A soak as one picture: a panel a quantity over the run's minutes.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::ink::{Area, BLUE, Drawn, INK, text};
use super::plane::plain;
use super::sample::Sample;

/// Twice the size it is shown at, because the drawing library rounds to whole pixels.
const WIDTH: u32 = 1400;
const PANEL_HEIGHT: u32 = 300;
const MARGIN: u32 = 20;

type Points = Vec<(f64, f64)>;

/// The picture as SVG.
///
/// # Errors
/// The drawing library's, in words.
pub fn draw(samples: &[Sample]) -> Result<String> {
    let panels = panels(samples);
    let mut svg = String::new();
    let size = (WIDTH, PANEL_HEIGHT * panels.len() as u32);
    draw_into(&panels, SVGBackend::with_string(&mut svg, size).into_drawing_area())
        .map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(svg)
}

fn panels(samples: &[Sample]) -> [(&'static str, Points); 7] {
    let over = |value: &dyn Fn(&Sample) -> f64| -> Points {
        samples.iter().map(|sample| (sample.time_s / 60.0, value(sample))).collect()
    };
    let rate = |seconds: &dyn Fn(&Sample) -> f64| -> Points {
        let pairs = samples.windows(2).filter(|pair| seconds(&pair[1]) > seconds(&pair[0]));
        let rates = pairs.map(|pair| {
            let frames = pair[1].frames.saturating_sub(pair[0].frames) as f64;
            (pair[1].time_s / 60.0, frames / (seconds(&pair[1]) - seconds(&pair[0])) / 1e6)
        });
        rates.collect()
    };
    let sum = |sample: &Sample, value: fn(&super::sample::Process) -> u64| -> f64 {
        sample.processes.iter().map(|process| value(process) as f64).sum()
    };
    [
        ("memory of all processes (PSS), MB", over(&|s| sum(s, |p| p.pss_bytes) / 1e6)),
        ("open descriptors of all processes", over(&|s| sum(s, |p| p.descriptors))),
        ("M frames learned from, per CPU second", rate(&|s| s.cpu_s)),
        ("M frames per CPU second that a learner alone learned from", over(&|s| s.yardstick / 1e6)),
        ("M frames learned from, per second", rate(&|s| s.time_s)),
        ("policy lag, mean, updates", over(&|s| s.policy_lag)),
        ("load average of the machine", over(&|s| s.load)),
    ]
}

fn draw_into(panels: &[(&str, Points)], root: Area) -> Drawn {
    root.fill(&WHITE)?;
    for (area, (title, points)) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        draw_panel(area, title, points)?;
    }
    root.present()
}

fn draw_panel(area: &Area, title: &str, points: &Points) -> Drawn {
    let points = || points.iter().copied().filter(|(_, y)| y.is_finite());
    let highest = points().map(|(_, y)| y).fold(1e-3, f64::max);
    let longest = points().map(|(x, _)| x).fold(1e-3, f64::max);
    let mut plane = ChartBuilder::on(area)
        .caption(title, text(26.0, INK))
        .margin(MARGIN)
        .x_label_area_size(44)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..longest, 0.0..1.15 * highest)?;
    let mut mesh = plane.configure_mesh();
    plain(&mut mesh);
    mesh.x_desc("minutes").draw()?;
    plane.draw_series(LineSeries::new(points(), BLUE.stroke_width(3))).map(drop)
}
