//! A plot as data, and its drawing as SVG.
//!
//! Owns the look: sizes, fonts, legend, grid. Does not know what is plotted. Filled by `plots`, `stages`,
//! `processes` and `comparison`.
//!
//! Everything is drawn at twice the size it is shown at, because the drawing library rounds to whole
//! pixels. Text sizes are the library's, which writes them divided by [`FONT_RATIO`].

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Serialize;

use super::axis::{Axis, Scale};
use super::palette::Colour;
use super::points::Point;

/// A figure: one or more panels over one horizontal axis.
pub struct Chart {
    /// Name of its files, without what it is drawn over.
    pub id: &'static str,
    /// What is shown.
    pub title: String,
    /// One sentence: what to look for.
    pub caption: String,
    /// The horizontal axis of all panels.
    pub x: Axis,
    /// From top to bottom.
    pub panels: Vec<Panel>,
}

/// One plotting area.
pub struct Panel {
    /// The vertical axis.
    pub y: Axis,
    /// From back to front.
    pub layers: Vec<Layer>,
}

/// Something drawn in one colour, with its entry in the legend.
pub struct Layer {
    /// Text of the legend; layers of one name share the entry.
    pub name: String,
    /// Colour.
    pub colour: Colour,
    /// What is drawn, in values, not positions.
    pub mark: Mark,
}

/// What a layer draws.
pub enum Mark {
    /// A line through the points.
    Line(Vec<Point>),
    /// A dashed horizontal line across the plot.
    Level(f64),
    /// The area between two lines, see-through.
    Band(Vec<Point>, Vec<Point>),
    /// The area between two lines, solid.
    Area(Vec<Point>, Vec<Point>),
    /// Solid boxes from one corner to the other.
    Boxes(Vec<(Point, Point)>),
}

impl Layer {
    /// A layer.
    pub fn new(name: impl Into<String>, colour: Colour, mark: Mark) -> Layer {
        Layer { name: name.into(), colour, mark }
    }
}

impl Panel {
    /// A panel whose vertical axis shows all of its layers.
    pub fn fit(name: &str, scale: Scale, layers: Vec<Layer>) -> Panel {
        let values = layers.iter().flat_map(|layer| layer.mark.values());
        Panel { y: Axis::roomy(name, scale, values), layers }
    }

    /// Whether anything was measured; a level alone is no measurement.
    fn is_empty(&self) -> bool {
        self.layers.iter().all(|layer| match &layer.mark {
            Mark::Line(points) | Mark::Band(points, _) | Mark::Area(points, _) => points.is_empty(),
            Mark::Boxes(boxes) => boxes.is_empty(),
            Mark::Level(_) => true,
        })
    }
}

impl Mark {
    fn values(&self) -> Vec<f64> {
        let ys = |points: &[Point]| points.iter().map(|point| point.1).collect::<Vec<f64>>();
        match self {
            Mark::Line(points) => ys(points),
            Mark::Level(value) => vec![*value],
            Mark::Band(lower, upper) | Mark::Area(lower, upper) => [ys(lower), ys(upper)].concat(),
            Mark::Boxes(boxes) => boxes.iter().flat_map(|(a, b)| [a.1, b.1]).collect(),
        }
    }
}

/// The library divides every text size by this before writing it.
const FONT_RATIO: f64 = 1.24;
const WIDTH: i32 = 1200;
const PANEL_HEIGHT: i32 = 460;
/// A panel below another is of secondary interest.
const LOWER_PANEL_HEIGHT: i32 = 220;
const PADDING: i32 = 20;
const TITLE_HEIGHT: i32 = 56;
const LEGEND_ROW_HEIGHT: i32 = 40;
const X_AXIS_HEIGHT: i32 = 84;
const TITLE_SIZE: f64 = 31.0;
const TEXT_SIZE: f64 = 25.0;
/// Estimated width of a digit of `TEXT_SIZE`: no font is loaded, the viewer's own draws the text.
const DIGIT_WIDTH: i32 = 15;
const SWATCH_WIDTH: i32 = 34;
const LINE_WIDTH: u32 = 4;

type Svg<'a> = SVGBackend<'a>;
type Area<'a> = DrawingArea<Svg<'a>, plotters::coord::Shift>;
type Plane<'a> = ChartContext<'a, Svg<'a>, Cartesian2d<Axis, Axis>>;
type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// A drawn figure.
pub struct Drawing {
    /// The picture.
    pub svg: String,
    /// Where each panel's plotting area lies in it, in the picture's own units.
    pub areas: Vec<PlotArea>,
}

/// The rectangle between the axes of a panel.
#[derive(Clone, Debug, Serialize)]
pub struct PlotArea {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

/// Draws the figure.
///
/// # Errors
/// The drawing library's, in words.
pub fn draw(chart: &Chart) -> Result<Drawing, String> {
    let mut drawing = Drawing { svg: String::new(), areas: Vec::new() };
    draw_into(chart, &mut drawing).map_err(|e| e.to_string())?;
    Ok(drawing)
}

fn draw_into(chart: &Chart, Drawing { svg, areas }: &mut Drawing) -> Drawn {
    let legend = legend_rows(chart);
    let head_height = TITLE_HEIGHT + LEGEND_ROW_HEIGHT * legend.len() as i32;
    let lower_height = LOWER_PANEL_HEIGHT * (chart.panels.len() as i32 - 1).max(0);
    let height = head_height + PANEL_HEIGHT + lower_height + X_AXIS_HEIGHT;
    let root = SVGBackend::with_string(svg, (WIDTH as u32, height as u32)).into_drawing_area();
    root.fill(&Colour::Surface.rgb())?;
    draw_text(&root, &chart.title, (PADDING, 14), TITLE_SIZE, Colour::Ink, FontStyle::Bold)?;
    draw_legend(&root, &legend)?;
    let (_, mut rest) = root.split_vertically(head_height);
    let y_axis_width = y_axis_width(chart);
    for (i, panel) in chart.panels.iter().enumerate() {
        let is_last = i + 1 == chart.panels.len();
        let plot_height = if i == 0 { PANEL_HEIGHT } else { LOWER_PANEL_HEIGHT };
        let (area, below) =
            rest.split_vertically(plot_height + if is_last { X_AXIS_HEIGHT } else { 0 });
        areas.push(draw_panel(&area, &chart.x, panel, is_last, y_axis_width)?);
        rest = below;
    }
    root.present()
}

/// One width for all panels, so that they stand exactly above each other.
fn y_axis_width(chart: &Chart) -> i32 {
    let ticks = chart.panels.iter().flat_map(|panel| &panel.y.ticks);
    let longest = ticks.map(|(_, text)| text.chars().count()).max().unwrap_or(1);
    66 + DIGIT_WIDTH * longest as i32
}

fn draw_panel(
    area: &Area,
    x: &Axis,
    panel: &Panel,
    is_last: bool,
    y_width: i32,
) -> Drawn<PlotArea> {
    let mut plane = ChartBuilder::on(area)
        .margin_left(PADDING)
        .margin_right(2 * PADDING)
        .margin_top(PADDING)
        .x_label_area_size(if is_last { X_AXIS_HEIGHT } else { 0 })
        .y_label_area_size(y_width)
        .build_cartesian_2d(x.clone(), panel.y.clone())?;
    draw_grid(&mut plane, x, &panel.y)?;
    for layer in &panel.layers {
        draw_layer(&mut plane, layer, x, &panel.y)?;
    }
    if panel.is_empty() {
        draw_nothing_measured(&plane)?;
    }
    let (xs, ys) = plane.plotting_area().get_pixel_range();
    Ok(PlotArea { left: xs.start, right: xs.end, top: ys.start, bottom: ys.end })
}

/// Positions to pixels, with the ticks of the axis in place of the library's.
impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, position: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (position - self.lo) / (self.hi - self.lo);
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(at, _)| *at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.lo..self.hi
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, position: &f64) -> String {
        self.tick_text(*position)
    }
}

fn draw_grid(plane: &mut Plane, x: &Axis, y: &Axis) -> Drawn {
    plane
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(Colour::Grid.rgb().stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(Colour::Muted.rgb().stroke_width(2))
        .label_style(font(TEXT_SIZE, Colour::Muted, FontStyle::Normal))
        .axis_desc_style(font(TEXT_SIZE, Colour::Ink, FontStyle::Normal))
        .set_all_tick_mark_size(7)
        .x_desc(x.name.as_str())
        .y_desc(y.name.as_str())
        .draw()
}

fn draw_layer(plane: &mut Plane, layer: &Layer, x: &Axis, y: &Axis) -> Drawn {
    let colour = layer.colour.rgb();
    let place = |&(px, py): &Point| Some((x.place(px)?, y.place(py)?));
    let place_all = |points: &[Point]| points.iter().filter_map(place).collect::<Vec<Point>>();
    match &layer.mark {
        Mark::Line(points) => draw_line(plane, place_all(points), colour),
        Mark::Level(value) => y.place(*value).map_or(Ok(()), |at| draw_level(plane, at, x, colour)),
        Mark::Band(lower, upper) => {
            draw_area(plane, &place_all(lower), place_all(upper), colour.mix(0.22))
        }
        Mark::Area(lower, upper) => {
            draw_area(plane, &place_all(lower), place_all(upper), colour.mix(1.0))
        }
        Mark::Boxes(boxes) => {
            let corners = boxes.iter().filter_map(|(a, b)| Some([place(a)?, place(b)?]));
            let boxes = corners.map(|corners| Rectangle::new(corners, colour.filled()));
            plane.draw_series(boxes).map(drop)
        }
    }
}

/// A line of one point would be invisible: few points are marked. So many that they nearly touch
/// make a block of a thick line.
fn draw_line(plane: &mut Plane, points: Vec<Point>, colour: RGBColor) -> Drawn {
    const FEW: usize = 12;
    const MANY: usize = 400;
    if points.len() <= FEW {
        plane.draw_series(points.iter().map(|&at| Circle::new(at, 6, colour.filled())))?;
    }
    let width = if points.len() < MANY { LINE_WIDTH } else { LINE_WIDTH / 2 };
    plane.draw_series([PathElement::new(points, colour.stroke_width(width))]).map(drop)
}

fn draw_level(plane: &mut Plane, at: f64, x: &Axis, colour: RGBColor) -> Drawn {
    let ends = [(x.lo, at), (x.hi, at)];
    let style = colour.stroke_width(3);
    plane.draw_series(DashedLineSeries::new(ends, 14, 10, style)).map(drop)
}

fn draw_area(plane: &mut Plane, lower: &[Point], upper: Vec<Point>, colour: RGBAColor) -> Drawn {
    let outline: Vec<Point> = upper.into_iter().chain(lower.iter().rev().copied()).collect();
    if outline.len() < 3 {
        return Ok(());
    }
    plane.draw_series([Polygon::new(outline, colour)]).map(drop)
}

fn draw_nothing_measured(plane: &Plane) -> Drawn {
    let area = plane.plotting_area().strip_coord_spec();
    let (width, height) = area.dim_in_pixel();
    let style =
        font(TEXT_SIZE, Colour::Muted, FontStyle::Normal).pos(Pos::new(HPos::Center, VPos::Center));
    area.draw_text("nothing was measured", &style, (width as i32 / 2, height as i32 / 2))
}

/// Legend entries by row, as many in each as fit.
fn legend_rows(chart: &Chart) -> Vec<Vec<&Layer>> {
    let mut entries: Vec<&Layer> = Vec::new();
    for layer in chart.panels.iter().flat_map(|panel| &panel.layers) {
        if entries.iter().all(|entry| entry.name != layer.name) {
            entries.push(layer);
        }
    }
    let mut rows: Vec<Vec<&Layer>> = Vec::new();
    let mut free_width = 0;
    for entry in entries {
        free_width -= legend_width(entry);
        if free_width < 0 || rows.is_empty() {
            rows.push(Vec::new());
            free_width = WIDTH - 2 * PADDING - legend_width(entry);
        }
        if let Some(row) = rows.last_mut() {
            row.push(entry);
        }
    }
    rows
}

fn legend_width(layer: &Layer) -> i32 {
    const GAP: i32 = 26;
    SWATCH_WIDTH + 10 + layer.name.chars().map(letter_width).sum::<i32>() + GAP
}

/// Estimated, on the wide side, from common sans-serif fonts.
fn letter_width(letter: char) -> i32 {
    match letter {
        'i' | 'j' | 'l' | ' ' | '|' | '-' => 8,
        'f' | 'r' | 't' => 10,
        'm' | 'w' => 22,
        _ => DIGIT_WIDTH,
    }
}

fn draw_legend(root: &Area, rows: &[Vec<&Layer>]) -> Drawn {
    let mut y = TITLE_HEIGHT + LEGEND_ROW_HEIGHT / 2;
    for row in rows {
        let mut x = PADDING;
        for layer in row {
            draw_swatch(root, layer, (x, y))?;
            let style = font(TEXT_SIZE, Colour::Ink, FontStyle::Normal)
                .pos(Pos::new(HPos::Left, VPos::Center));
            root.draw_text(&layer.name, &style, (x + SWATCH_WIDTH + 10, y))?;
            x += legend_width(layer);
        }
        y += LEGEND_ROW_HEIGHT;
    }
    Ok(())
}

/// A piece of what the layer draws.
fn draw_swatch(root: &Area, layer: &Layer, (x, y): (i32, i32)) -> Drawn {
    let colour = layer.colour.rgb();
    let line =
        |from: i32, to: i32| PathElement::new([(x + from, y), (x + to, y)], colour.stroke_width(6));
    let patch = |opacity| {
        Rectangle::new([(x, y - 11), (x + SWATCH_WIDTH, y + 11)], colour.mix(opacity).filled())
    };
    match layer.mark {
        Mark::Line(_) => root.draw(&line(0, SWATCH_WIDTH)),
        Mark::Level(_) => root.draw(&line(0, 13)).and_then(|()| root.draw(&line(21, SWATCH_WIDTH))),
        Mark::Band(..) => root.draw(&patch(0.22)),
        Mark::Area(..) | Mark::Boxes(_) => root.draw(&patch(1.0)),
    }
}

fn draw_text(
    root: &Area,
    text: &str,
    at: (i32, i32),
    size: f64,
    colour: Colour,
    style: FontStyle,
) -> Drawn {
    root.draw_text(text, &font(size, colour, style), at)
}

/// A generic family, because no font travels with the page.
fn font(size: f64, colour: Colour, style: FontStyle) -> TextStyle<'static> {
    let font = FontDesc::new(FontFamily::SansSerif, size * FONT_RATIO, style);
    font.color(&colour.rgb())
}
