//! The cases as one picture: what each method is worth as bars, speed by size as lines.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::bars::{Bar, Bars, GREEN, PADDING, WIDTH};
use super::cases::{ABLATIONS, Case};
use super::figure::figure;
use super::ink::{Area, BLUE, Drawn, INK, text};
use super::plane::plain;

const PANELS_A_ROW: usize = 3;
const PANEL_HEIGHT: i32 = 360;

/// The picture as SVG.
///
/// # Errors
/// The drawing library's, in words.
pub fn draw(cases: &[Case]) -> Result<String> {
    let mut svg = String::new();
    draw_into(cases, &mut svg).map_err(|error| anyhow!("cannot draw: {error}"))?;
    Ok(svg)
}

fn draw_into(cases: &[Case], svg: &mut String) -> Drawn {
    let groups = Vec::from_iter(cases.chunk_by(|a, b| a.group == b.group));
    let (bars, lines): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|group| ABLATIONS.contains(&group[0].group));
    let bars = Vec::from_iter(bars.into_iter().map(bars_of));
    let bars_height = bars.iter().map(Bars::height).sum::<i32>();
    let n_panel_rows = lines.len().div_ceil(PANELS_A_ROW);
    let height = bars_height + n_panel_rows as i32 * PANEL_HEIGHT;
    let root = SVGBackend::with_string(svg, (WIDTH as u32, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let (mut rest, panels) = root.split_vertically(bars_height);
    for block in bars {
        let (area, below) = rest.split_vertically(block.height());
        block.draw(&area)?;
        rest = below;
    }
    for (area, group) in panels.split_evenly((n_panel_rows, PANELS_A_ROW)).iter().zip(lines) {
        draw_panel(area, group)?;
    }
    root.present()
}

/// Speed by the default's, a bar a case.
fn bars_of(group: &[Case]) -> Bars {
    let bar = |case: &Case| Bar {
        name: case.name.clone(),
        median: case.of_default.median,
        range: Some([case.of_default.min, case.of_default.max]),
        words: format!("{:.2}, {} M/s", case.of_default.median, figure(case.m_frames_per_s.median)),
        colour: if case.group == ABLATIONS[0] { BLUE } else { GREEN },
    };
    Bars {
        title: format!("{}: speed by the default's", group[0].group),
        bars: group.iter().map(bar).collect(),
        level: Some(1.0),
    }
}

/// Frames a second of one group, its sizes side by side.
fn draw_panel(area: &Area, group: &[Case]) -> Drawn {
    let fastest = group.iter().map(|case| case.m_frames_per_s.max).fold(0.1, f64::max);
    let (x_range, y_range) = (-0.5..group.len() as f64 - 0.5, 0.0..1.1 * fastest);
    let mut plane = ChartBuilder::on(area)
        .caption(group[0].group, text(24.0, INK))
        .margin(PADDING)
        .x_label_area_size(44)
        .y_label_area_size(76)
        .build_cartesian_2d(x_range, y_range)?;
    let size = |at: &f64| match group.get(at.round() as usize) {
        Some(case) if (at - at.round()).abs() < 0.01 => case.name.clone(),
        _ => String::new(),
    };
    let mut mesh = plane.configure_mesh();
    plain(&mut mesh);
    mesh.x_labels(2 * group.len() + 1)
        .x_label_formatter(&size)
        .y_label_formatter(&|speed| format!("{speed:.1}"))
        .set_tick_mark_size(LabelAreaPosition::Bottom, 0)
        .y_desc("M frames/s")
        .draw()?;
    let measured = |k_and_case: &(usize, &Case)| k_and_case.1.m_frames_per_s.median.is_finite();
    let cases = || group.iter().enumerate().filter(measured).map(|(k, case)| (k as f64, case));
    let medians = || cases().map(|(k, case)| (k, case.m_frames_per_s.median));
    plane.draw_series(cases().map(|(k, Case { m_frames_per_s: speed, .. })| {
        PathElement::new([(k, speed.min), (k, speed.max)], INK.stroke_width(3))
    }))?;
    plane.draw_series([PathElement::new(Vec::from_iter(medians()), BLUE.stroke_width(4))])?;
    plane.draw_series(medians().map(|at| Circle::new(at, 6, BLUE.filled()))).map(drop)
}
