//! The plane that lines are drawn on: a grid of levels alone, so that the data stand out.

use plotters::chart::MeshStyle;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

use super::ink::{INK, MUTED, text};

const GRID: RGBColor = RGBColor(0xE3, 0xE7, 0xEC);

/// Gives a mesh this style; what its axes say is the caller's.
pub fn plain<X, Y, B>(mesh: &mut MeshStyle<'_, '_, X, Y, B>)
where
    X: Ranged + ValueFormatter<X::ValueType>,
    Y: Ranged + ValueFormatter<Y::ValueType>,
    B: DrawingBackend,
{
    mesh.disable_x_mesh()
        .bold_line_style(GRID.stroke_width(2))
        .light_line_style(TRANSPARENT)
        .axis_style(MUTED.stroke_width(2))
        .label_style(text(20.0, MUTED))
        .axis_desc_style(text(20.0, INK))
        .y_labels(5);
}
