//! Colours and letters of every picture of a benchmark.

use plotters::coord::Shift;
use plotters::prelude::*;

// Okabe and Ito's colours, as in the training report.
/// Text, and ranges.
pub const INK: RGBColor = RGBColor(0x1C, 0x21, 0x28);
/// Secondary text.
pub const MUTED: RGBColor = RGBColor(0x5A, 0x64, 0x70);
/// Data.
pub const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xB2);

/// Where something is drawn.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Whether it could be.
pub type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A generic family, because no font travels with the picture. The library divides every size by 1.24.
pub fn text(size: f64, colour: RGBColor) -> TextStyle<'static> {
    FontDesc::new(FontFamily::SansSerif, size * 1.24, FontStyle::Normal).color(&colour)
}
