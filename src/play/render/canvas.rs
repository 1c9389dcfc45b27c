//! A picture to draw on: filled shapes, lines and text in a handful of inks.
//!
//! Owns size, colours and the pixels. Knows nothing of what is drawn. Scenes and the caption draw on it;
//! the GIF encoder reads its pixels.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, Transform,
};

/// Width of a frame.
pub const WIDTH_PX: u32 = 480;
/// Height of a frame.
pub const HEIGHT_PX: u32 = 320;

/// Scenes draw above this line, the caption below it.
pub const SCENE_BOTTOM: f32 = 228.0;

/// A point, pixels from the left and from the top.
pub type Point = (f32, f32);

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// A pixel as it lies in memory.
type Rgba = [u8; 4];

/// What is drawn with. Data colours are those of Okabe and Ito, as in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// The background.
    Paper,
    /// Text and outlines.
    Black,
    /// Secondary text.
    Grey,
    /// Ground, grids, empty bars.
    Pale,
    /// The body that moves.
    Blue,
    /// The limb on it.
    Orange,
    /// A goal.
    Green,
}

impl Ink {
    /// Every ink.
    pub const ALL: [Ink; 7] =
        [Ink::Paper, Ink::Black, Ink::Grey, Ink::Pale, Ink::Blue, Ink::Orange, Ink::Green];

    /// Its colour.
    pub fn rgb(self) -> Rgb {
        match self {
            Ink::Paper => [255, 255, 255],
            Ink::Black => [31, 36, 48],
            Ink::Grey => [110, 118, 132],
            Ink::Pale => [221, 225, 231],
            Ink::Blue => [0, 114, 178],
            Ink::Orange => [230, 159, 0],
            Ink::Green => [0, 158, 115],
        }
    }
}

/// How large text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 16 pixels, regular.
    Small,
    /// 20 pixels, bold.
    Large,
}

impl Size {
    fn raster(self) -> (FontWeight, RasterHeight) {
        match self {
            Size::Small => (FontWeight::Regular, RasterHeight::Size16),
            Size::Large => (FontWeight::Bold, RasterHeight::Size20),
        }
    }

    /// Width of a character; all have the same.
    pub fn char_px(self) -> f32 {
        let (weight, height) = self.raster();
        get_raster_width(weight, height) as f32
    }
}

/// The picture.
pub struct Canvas {
    pixmap: Pixmap,
}

impl Canvas {
    /// Empty paper.
    pub fn new() -> Self {
        let mut pixmap = Pixmap::new(WIDTH_PX, HEIGHT_PX).expect("the size is a valid constant");
        pixmap.fill(colour(Ink::Paper));
        Canvas { pixmap }
    }

    /// A filled polygon.
    pub fn polygon(&mut self, corners: &[Point], ink: Ink) {
        let Some(path) = path(corners, true) else { return };
        let (fill, here) = (FillRule::Winding, Transform::identity());
        self.pixmap.fill_path(&path, &paint(ink), fill, here, None);
    }

    /// A filled rectangle.
    pub fn rectangle(&mut self, (left, top): Point, (width, height): (f32, f32), ink: Ink) {
        // Nothing to see where width or height is zero, or a number is not finite.
        let Some(rectangle) = Rect::from_xywh(left, top, width, height) else { return };
        self.pixmap.fill_rect(rectangle, &paint(ink), Transform::identity(), None);
    }

    /// A block of whole pixels in a colour of its own; what lies beyond the edge is cut off.
    pub fn block(
        &mut self,
        (left, top): (usize, usize),
        (width, height): (usize, usize),
        rgb: Rgb,
    ) {
        let row = WIDTH_PX as usize;
        let (right, bottom) = ((left + width).min(row), (top + height).min(HEIGHT_PX as usize));
        let pixels: &mut [Rgba] = bytemuck::cast_slice_mut(self.pixmap.data_mut());
        for pixels in pixels.chunks_exact_mut(row).take(bottom).skip(top) {
            pixels
                .iter_mut()
                .take(right)
                .skip(left)
                .for_each(|pixel| pixel[..3].copy_from_slice(&rgb));
        }
    }

    /// A filled disc.
    pub fn disc(&mut self, (x, y): Point, radius: f32, ink: Ink) {
        let Some(path) = PathBuilder::from_circle(x, y, radius) else { return };
        let (fill, here) = (FillRule::Winding, Transform::identity());
        self.pixmap.fill_path(&path, &paint(ink), fill, here, None);
    }

    /// A line through points, with round ends.
    pub fn line(&mut self, points: &[Point], width: f32, ink: Ink) {
        let Some(path) = path(points, false) else { return };
        let (line_cap, line_join) = (LineCap::Round, LineJoin::Round);
        let stroke = Stroke { width, line_cap, line_join, ..Stroke::default() };
        self.pixmap.stroke_path(&path, &paint(ink), &stroke, Transform::identity(), None);
    }

    /// Text whose box begins at this point; what the font lacks (all but ASCII) becomes a question mark.
    pub fn text(&mut self, (left, top): (u32, u32), text: &str, size: Size, ink: Ink) {
        let (weight, height) = size.raster();
        let mut left = left as usize;
        for character in text.chars() {
            let glyph = get_raster(character, weight, height).or(get_raster('?', weight, height));
            let glyph = glyph.expect("the font has all of ASCII");
            for (row_idx, row) in glyph.rows().enumerate() {
                for (column_idx, &coverage) in row.iter().enumerate() {
                    self.blend(left + column_idx, top as usize + row_idx, coverage, ink);
                }
            }
            left += glyph.width();
        }
    }

    /// Its pixels, row by row: red, green, blue, and an opacity that is always full.
    pub fn pixels(&self) -> &[u8] {
        self.pixmap.data()
    }

    /// The picture as a PNG file, or why there is none.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        self.pixmap.encode_png().map_err(|error| error.to_string())
    }

    fn blend(&mut self, x: usize, y: usize, coverage: u8, ink: Ink) {
        if x >= WIDTH_PX as usize || y >= HEIGHT_PX as usize {
            return;
        }
        let at = 4 * (y * WIDTH_PX as usize + x);
        for (channel, above) in self.pixmap.data_mut()[at..at + 3].iter_mut().zip(ink.rgb()) {
            *channel = mix(above, *channel, coverage);
        }
    }
}

/// `above` over `below`, opaque at 255.
pub fn mix(above: u8, below: u8, opacity: u8) -> u8 {
    let (above, below, opacity) = (u32::from(above), u32::from(below), u32::from(opacity));
    ((above * opacity + below * (255 - opacity) + 127) / 255) as u8
}

fn colour(ink: Ink) -> Color {
    let [red, green, blue] = ink.rgb();
    Color::from_rgba8(red, green, blue, 255)
}

fn paint(ink: Ink) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(colour(ink));
    paint
}

/// `None` for a path without extent, or through a point that is not finite: there is nothing to see.
fn path(points: &[Point], closed: bool) -> Option<tiny_skia::Path> {
    let (&(x, y), rest) = points.split_first()?;
    let mut path = PathBuilder::new();
    path.move_to(x, y);
    rest.iter().for_each(|&(x, y)| path.line_to(x, y));
    if closed {
        path.close();
    }
    path.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_leave_their_ink_and_nothing_beyond_the_edge_panics() {
        let mut canvas = Canvas::new();
        canvas.rectangle((10.0, 10.0), (20.0, 20.0), Ink::Blue);
        canvas.text((450, 305), "WW\u{2603}~", Size::Large, Ink::Black);
        canvas.disc((-5.0, 400.0), 30.0, Ink::Green);
        canvas.line(&[(f32::NAN, 0.0), (1.0, f32::INFINITY)], 2.0, Ink::Orange);
        canvas.polygon(&[], Ink::Orange);
        canvas.block((470, 310), (20, 20), [1, 2, 3]);
        let pixel = |x: usize, y: usize| &canvas.pixels()[4 * (y * WIDTH_PX as usize + x)..][..4];
        assert_eq!(pixel(15, 15), [0, 114, 178, 255]);
        assert_eq!([pixel(469, 310), pixel(479, 319)], [[255; 4], [1, 2, 3, 255]]);
        assert_eq!(pixel(200, 100), [255; 4]);
        let dark = canvas.pixels().chunks(4).filter(|pixel| pixel[0] < 100 && pixel[2] < 100);
        assert!(dark.count() > 10, "text is drawn");
    }
}
