//! Horizontal bars with their names and figures, under a heading; several such blocks make a picture.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ink::{Area, Drawn, INK, MUTED, text};

/// Twice the size it is shown at, because the drawing library rounds to whole pixels.
pub const WIDTH: i32 = 1400;
/// Around whatever is drawn.
pub const PADDING: i32 = 24;
const TITLE_HEIGHT: i32 = 50;
const BAR_HEIGHT: i32 = 38;
/// Where the bars begin: right of their names.
const BAR_LEFT: i32 = 440;
/// Where the longest bar may end: left of the figures.
const BAR_RIGHT: i32 = 1100;

/// Data beside those in [`super::ink::BLUE`].
pub const GREEN: RGBColor = RGBColor(0x00, 0x9E, 0x73);

/// One bar, from zero.
pub struct Bar {
    /// Left of it.
    pub name: String,
    /// Its length.
    pub median: f64,
    /// A line over its end, where there is a spread.
    pub range: Option<[f64; 2]>,
    /// Right of it.
    pub words: String,
    pub colour: RGBColor,
}

/// Bars on one scale.
pub struct Bars {
    pub title: String,
    pub bars: Vec<Bar>,
    /// A line across them all.
    pub level: Option<f64>,
}

impl Bars {
    /// Of the area that [`Bars::draw`] needs.
    pub fn height(&self) -> i32 {
        TITLE_HEIGHT + BAR_HEIGHT * self.bars.len() as i32 + PADDING
    }

    /// Draws all of them into the upper left of an area.
    pub fn draw(&self, area: &Area) -> Drawn {
        area.draw_text(&self.title, &text(28.0, INK), (PADDING, 16))?;
        let ends = self.bars.iter().map(|bar| bar.range.map_or(bar.median, |[_, max]| max));
        let longest = ends.chain(self.level).fold(f64::MIN_POSITIVE, f64::max);
        let x = |value: f64| BAR_LEFT + (value / longest * f64::from(BAR_RIGHT - BAR_LEFT)) as i32;
        for (k, bar) in self.bars.iter().enumerate() {
            let y = TITLE_HEIGHT + BAR_HEIGHT * k as i32 + BAR_HEIGHT / 2;
            bar.draw(area, y, &x)?;
        }
        let Some(level) = self.level else { return Ok(()) };
        let bottom = TITLE_HEIGHT + BAR_HEIGHT * self.bars.len() as i32;
        let line = [(x(level), TITLE_HEIGHT), (x(level), bottom)];
        area.draw(&PathElement::new(line, MUTED.stroke_width(2)))
    }
}

impl Bar {
    fn draw(&self, area: &Area, y: i32, x: &dyn Fn(f64) -> i32) -> Drawn {
        const HALF: i32 = BAR_HEIGHT / 2 - 5;
        let anchor = Pos::new(HPos::Left, VPos::Center);
        area.draw_text(&self.name, &text(22.0, INK).pos(anchor), (PADDING, y))?;
        if !self.median.is_finite() {
            return Ok(());
        }
        let corners = [(x(0.0), y - HALF), (x(self.median), y + HALF)];
        area.draw(&Rectangle::new(corners, self.colour.filled()))?;
        if let Some([min, max]) = self.range {
            area.draw(&PathElement::new([(x(min), y), (x(max), y)], INK.stroke_width(3)))?;
        }
        area.draw_text(&self.words, &text(22.0, MUTED).pos(anchor), (BAR_RIGHT + 14, y))
    }
}
