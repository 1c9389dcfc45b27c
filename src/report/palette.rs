//! The colours of plots and page, each in a light and a dark shade.
//!
//! Plots are drawn in the light shades, so that an SVG file of its own looks right anywhere. Inside the
//! page, [`css`] maps each light shade, by the exact attribute value that the SVG backend writes, to a
//! variable that follows the reader's colour scheme; the drawings themselves need no second version.
//!
//! The data colours are those of Okabe and Ito ("Color Universal Design", 2008), which stay apart for
//! colour-blind readers, with the yellow darkened to be seen on white.

use std::fmt::Write;

use plotters::style::RGBColor;

/// A role on the page or in a plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Background.
    Surface,
    /// Text, and the line that matters most.
    Ink,
    /// Secondary text.
    Muted,
    /// Grid lines and borders.
    Grid,
    /// Data.
    Blue,
    /// Data.
    Orange,
    /// Data.
    Green,
    /// Data.
    Vermillion,
    /// Data.
    Purple,
    /// Data.
    Sky,
    /// Data.
    Olive,
    /// Data: waiting, idle, the rest.
    Grey,
    /// Data.
    Slate,
    /// Data.
    Wine,
}

impl Colour {
    const ALL: [Colour; 14] = [
        Colour::Surface,
        Colour::Ink,
        Colour::Muted,
        Colour::Grid,
        Colour::Blue,
        Colour::Orange,
        Colour::Green,
        Colour::Vermillion,
        Colour::Purple,
        Colour::Sky,
        Colour::Olive,
        Colour::Grey,
        Colour::Slate,
        Colour::Wine,
    ];

    /// Name of the CSS variable, light shade, dark shade. No two light shades are the same, since
    /// [`css`] tells roles apart by them.
    fn shades(self) -> (&'static str, u32, u32) {
        match self {
            Colour::Surface => ("surface", 0xFFFFFF, 0x15191F),
            Colour::Ink => ("ink", 0x1C2128, 0xE8ECF1),
            Colour::Muted => ("muted", 0x5A6470, 0x9BA5B1),
            Colour::Grid => ("grid", 0xE3E7EC, 0x2C343E),
            Colour::Blue => ("blue", 0x0072B2, 0x4FA8E0),
            Colour::Orange => ("orange", 0xE69F00, 0xF0B23A),
            Colour::Green => ("green", 0x009E73, 0x33BF97),
            Colour::Vermillion => ("vermillion", 0xD55E00, 0xF08443),
            Colour::Purple => ("purple", 0xCC79A7, 0xDE9DC3),
            Colour::Sky => ("sky", 0x56B4E9, 0x8FD0F5),
            Colour::Olive => ("olive", 0xB5A800, 0xE3D84F),
            Colour::Grey => ("grey", 0xA3ADB9, 0x66717F),
            Colour::Slate => ("slate", 0x4C5866, 0xAEB8C4),
            Colour::Wine => ("wine", 0x882255, 0xC9679B),
        }
    }

    /// Name of the page's variable that holds it in the reader's scheme.
    pub fn css_name(self) -> &'static str {
        self.shades().0
    }

    /// The light shade, as the plots draw it.
    pub fn rgb(self) -> RGBColor {
        let [_, red, green, blue] = self.shades().1.to_be_bytes();
        RGBColor(red, green, blue)
    }
}

/// Colours of lines that mean the same of different things, in the order in which they are taken.
pub const SERIES: [Colour; 7] = [
    Colour::Blue,
    Colour::Vermillion,
    Colour::Green,
    Colour::Orange,
    Colour::Purple,
    Colour::Sky,
    Colour::Olive,
];

/// Variables for both schemes, and the rules that make inline plots follow them. Print is always light.
pub fn css() -> String {
    let mut light = String::new();
    let mut dark = String::new();
    let mut rules = String::new();
    for colour in Colour::ALL {
        let (name, light_shade, dark_shade) = colour.shades();
        let _ = write!(light, "--{name}:#{light_shade:06X};");
        let _ = write!(dark, "--{name}:#{dark_shade:06X};");
        let _ = writeln!(rules, "svg [fill=\"#{light_shade:06X}\"]{{fill:var(--{name})}}");
        let _ = writeln!(rules, "svg [stroke=\"#{light_shade:06X}\"]{{stroke:var(--{name})}}");
    }
    format!(
        ":root{{color-scheme:light;{light}}}\n\
         @media screen and (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}\n{rules}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_shades_tell_the_roles_apart() {
        let mut shades: Vec<u32> = Colour::ALL.iter().map(|colour| colour.shades().1).collect();
        shades.sort_unstable();
        shades.dedup();
        assert_eq!(shades.len(), Colour::ALL.len());
    }
}
