//! The cases as one picture: what each method is worth as bars, speed by size as lines.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::cases::{ABLATIONS, Case};
use super::sample::figure;

/// Twice the size it is shown at, because the drawing library rounds to whole pixels.
const WIDTH: i32 = 1400;
const PADDING: i32 = 24;
const TITLE_HEIGHT: i32 = 50;
const BAR_HEIGHT: i32 = 38;
/// Where the bars begin: right of their names.
const BAR_LEFT: i32 = 440;
/// Where the longest bar may end: left of the figures.
const BAR_RIGHT: i32 = 1150;
const PANELS_A_ROW: usize = 3;
const PANEL_HEIGHT: i32 = 360;

// Okabe and Ito's colours, as in the training report.
const INK: RGBColor = RGBColor(0x1C, 0x21, 0x28);
const MUTED: RGBColor = RGBColor(0x5A, 0x64, 0x70);
const GRID: RGBColor = RGBColor(0xE3, 0xE7, 0xEC);
const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);
const GREEN: RGBColor = RGBColor(0x00, 0x9E, 0x73);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

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
    let bars_height = bars.iter().map(|group| bars_height(group)).sum::<i32>();
    let n_panel_rows = lines.len().div_ceil(PANELS_A_ROW);
    let height = bars_height + n_panel_rows as i32 * PANEL_HEIGHT;
    let root = SVGBackend::with_string(svg, (WIDTH as u32, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let (mut rest, panels) = root.split_vertically(bars_height);
    for group in bars {
        let (area, below) = rest.split_vertically(self::bars_height(group));
        draw_bars(&area, group)?;
        rest = below;
    }
    for (area, group) in panels.split_evenly((n_panel_rows, PANELS_A_ROW)).iter().zip(lines) {
        draw_panel(area, group)?;
    }
    root.present()
}

fn bars_height(group: &[Case]) -> i32 {
    TITLE_HEIGHT + BAR_HEIGHT * group.len() as i32 + PADDING
}

/// Speed by the default's, a bar a case.
fn draw_bars(area: &Area, group: &[Case]) -> Drawn {
    let title = format!("{}: speed by the default's", group[0].group);
    area.draw_text(&title, &text(28.0, INK), (PADDING, 16))?;
    let longest = group.iter().map(|case| case.of_default.max).fold(1.0, f64::max);
    let x = |share: f64| BAR_LEFT + (share / longest * f64::from(BAR_RIGHT - BAR_LEFT)) as i32;
    for (k, case) in group.iter().enumerate() {
        let y = TITLE_HEIGHT + BAR_HEIGHT * k as i32 + BAR_HEIGHT / 2;
        draw_bar(area, case, y, &x)?;
    }
    let bottom = TITLE_HEIGHT + BAR_HEIGHT * group.len() as i32;
    let default = [(x(1.0), TITLE_HEIGHT), (x(1.0), bottom)];
    area.draw(&PathElement::new(default, MUTED.stroke_width(2)))
}

fn draw_bar(area: &Area, case: &Case, y: i32, x: &dyn Fn(f64) -> i32) -> Drawn {
    const HALF: i32 = BAR_HEIGHT / 2 - 5;
    let share = &case.of_default;
    let colour = if case.group == ABLATIONS[0] { BLUE } else { GREEN };
    let anchor = Pos::new(HPos::Left, VPos::Center);
    area.draw_text(&case.name, &text(22.0, INK).pos(anchor), (PADDING, y))?;
    if !share.median.is_finite() {
        return Ok(());
    }
    let corners = [(x(0.0), y - HALF), (x(share.median), y + HALF)];
    area.draw(&Rectangle::new(corners, colour.filled()))?;
    let range = [(x(share.min), y), (x(share.max), y)];
    area.draw(&PathElement::new(range, INK.stroke_width(3)))?;
    let speed = figure(case.m_frames_per_s.median);
    let words = format!("{:.2}, {speed} M/s", share.median);
    let style = text(22.0, MUTED).pos(anchor);
    area.draw_text(&words, &style, (BAR_RIGHT + 14, y))
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
    plane
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(MUTED.stroke_width(2))
        .label_style(text(20.0, MUTED))
        .axis_desc_style(text(20.0, INK))
        .x_labels(2 * group.len() + 1)
        .x_label_formatter(&size)
        .y_labels(5)
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

/// A generic family, because no font travels with the picture. The library divides every size by 1.24.
fn text(size: f64, colour: RGBColor) -> TextStyle<'static> {
    FontDesc::new(FontFamily::SansSerif, size * 1.24, FontStyle::Normal).color(&colour)
}
