//! Drawings of how something works: boxes, arrows and words, put where the caller says.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::bars::{Bars, WIDTH};
use super::ink::{Area, Drawn, INK, MUTED, text};

/// A light fill for what is shared or idle.
pub const PALE: RGBColor = RGBColor(0xE3, 0xE7, 0xEC);
/// Data.
pub const ORANGE: RGBColor = RGBColor(0xE6, 0x9F, 0x00);

/// Something at a place.
pub enum Mark {
    /// A filled box with a word in its middle: left, top, width, height.
    Box([i32; 4], RGBColor, String),
    /// Words that begin at a place.
    Words((i32, i32), String),
    /// From a place to another.
    Arrow((i32, i32), (i32, i32)),
}

/// Marks on an area of a height, and bars below them.
pub struct Sketch {
    pub height: i32,
    pub marks: Vec<Mark>,
    pub bars: Vec<Bars>,
}

impl Sketch {
    /// Bars alone.
    pub fn of(bars: Vec<Bars>) -> Self {
        Sketch { height: 0, marks: Vec::new(), bars }
    }

    /// The picture as SVG.
    ///
    /// # Errors
    /// The drawing library's, in words.
    pub fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw_into(&mut svg).map_err(|error| anyhow!("cannot draw: {error}"))?;
        Ok(svg)
    }

    fn draw_into(&self, svg: &mut String) -> Drawn {
        let height = self.height + self.bars.iter().map(Bars::height).sum::<i32>();
        let root = SVGBackend::with_string(svg, (WIDTH as u32, height as u32)).into_drawing_area();
        root.fill(&WHITE)?;
        let (marks, mut rest) = root.split_vertically(self.height);
        for mark in &self.marks {
            mark.draw(&marks)?;
        }
        for block in &self.bars {
            let (area, below) = rest.split_vertically(block.height());
            block.draw(&area)?;
            rest = below;
        }
        root.present()
    }
}

impl Mark {
    fn draw(&self, area: &Area) -> Drawn {
        match self {
            Mark::Box([left, top, width, height], colour, word) => {
                let corners = [(*left, *top), (left + width, top + height)];
                area.draw(&Rectangle::new(corners, colour.filled()))?;
                let is_dark = *colour != PALE && *colour != ORANGE;
                let style = text(22.0, if is_dark { WHITE } else { INK });
                let middle = (left + width / 2, top + height / 2);
                let anchor = Pos::new(HPos::Center, VPos::Center);
                area.draw_text(word, &style.pos(anchor), middle)
            }
            Mark::Words(at, words) => {
                let anchor = Pos::new(HPos::Left, VPos::Center);
                area.draw_text(words, &text(22.0, INK).pos(anchor), *at)
            }
            Mark::Arrow(from, to) => draw_arrow(area, *from, *to),
        }
    }
}

/// A line with a triangle at its end.
fn draw_arrow(area: &Area, from: (i32, i32), to: (i32, i32)) -> Drawn {
    const LENGTH: f64 = 16.0;
    const HALF_WIDTH: f64 = 8.0;
    let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let length = dx.hypot(dy).max(1.0);
    let (ux, uy) = (dx / length, dy / length);
    let corner = |side: f64| {
        let x = f64::from(to.0) - LENGTH * ux + side * HALF_WIDTH * uy;
        let y = f64::from(to.1) - LENGTH * uy - side * HALF_WIDTH * ux;
        (x as i32, y as i32)
    };
    area.draw(&PathElement::new([from, to], MUTED.stroke_width(3)))?;
    area.draw(&Polygon::new([to, corner(1.0), corner(-1.0)], MUTED.filled()))
}
