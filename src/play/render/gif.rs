//! Canvases as one animated GIF: a palette made of the inks and of the colours of pictures, and of each frame
//! only what has changed.

use std::collections::HashMap;

use gif::{DisposalMethod, Encoder, Frame, Repeat};

use super::canvas::{Canvas, HEIGHT_PX, Ink, Rgb, WIDTH_PX, mix};

/// Shades of each ink over paper, for the soft edges of shapes and text.
const N_SHADES: usize = 6;

/// The last frame is seen this long, hundredths of a second, before a viewer starts again.
const LAST_DELAY_CS: u16 = 200;

/// Colours that a palette has room for beside the inks.
pub const MAX_COLOURS: usize = 256 - 2 - (Ink::ALL.len() - 1) * N_SHADES;

/// Encodes frames that are shown for `delay_cs` hundredths of a second each, over and over. Beside the inks they
/// have these `colours`, up to [`MAX_COLOURS`], or colours near them.
pub fn encode(
    frames: impl Iterator<Item = Canvas>,
    delay_cs: u16,
    colours: &[Rgb],
) -> Result<Vec<u8>, String> {
    let mut palette = Palette::new(colours);
    let size = (WIDTH_PX as u16, HEIGHT_PX as u16);
    let mut encoder = Encoder::new(Vec::new(), size.0, size.1, &palette.rgb()).map_err(text)?;
    encoder.set_repeat(Repeat::Infinite).map_err(text)?;
    let mut frames = frames.peekable();
    let mut shown = vec![Palette::UNCHANGED; (WIDTH_PX * HEIGHT_PX) as usize];
    while let Some(canvas) = frames.next() {
        let next: Vec<u8> =
            canvas.pixels().chunks_exact(4).map(|rgba| palette.index(rgba)).collect();
        let mut frame = changes(&shown, &next);
        frame.delay = if frames.peek().is_some() { delay_cs } else { LAST_DELAY_CS };
        encoder.write_frame(&frame).map_err(text)?;
        shown = next;
    }
    encoder.into_inner().map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The smallest rectangle that holds every pixel which differs, with the others left as they were.
fn changes(shown: &[u8], next: &[u8]) -> Frame<'static> {
    let width = WIDTH_PX as usize;
    let changed = |index: &usize| shown[*index] != next[*index];
    let all = (0..next.len()).filter(changed);
    let (mut left, mut right, mut top, mut bottom) = (width, 0, usize::MAX, 0);
    for index in all {
        let (x, y) = (index % width, index / width);
        (left, right) = (left.min(x), right.max(x + 1));
        (top, bottom) = (top.min(y), bottom.max(y + 1));
    }
    if bottom == 0 {
        // A frame has at least one pixel, and this one stays as it was.
        (left, right, top, bottom) = (0, 1, 0, 1);
    }
    let rows = (top..bottom).flat_map(|y| y * width + left..y * width + right);
    let pixels: Vec<u8> =
        rows.map(|i| if changed(&i) { next[i] } else { Palette::UNCHANGED }).collect();
    Frame {
        left: left as u16,
        top: top as u16,
        width: (right - left) as u16,
        height: (bottom - top) as u16,
        transparent: Some(Palette::UNCHANGED),
        dispose: DisposalMethod::Keep,
        buffer: pixels.into(),
        ..Frame::default()
    }
}

/// The colours of all frames, and where each pixel's nearest stands.
struct Palette {
    colours: Vec<Rgb>,
    found: HashMap<Rgb, u8>,
}

impl Palette {
    /// The entry that leaves a pixel as it was.
    const UNCHANGED: u8 = 0;

    fn new(of_pictures: &[Rgb]) -> Self {
        let paper = Ink::Paper.rgb();
        let mut colours = vec![paper, paper];
        for ink in Ink::ALL.into_iter().filter(|ink| *ink != Ink::Paper) {
            for shade in 1..=N_SHADES {
                let opacity = (255 * shade / N_SHADES) as u8;
                let channel = |channel: usize| mix(ink.rgb()[channel], paper[channel], opacity);
                colours.push([channel(0), channel(1), channel(2)]);
            }
        }
        colours.extend(of_pictures);
        Palette { colours, found: HashMap::new() }
    }

    fn rgb(&self) -> Vec<u8> {
        self.colours.concat()
    }

    /// The nearest colour of an opaque pixel.
    fn index(&mut self, rgba: &[u8]) -> u8 {
        let rgb = [rgba[0], rgba[1], rgba[2]];
        let Palette { colours, found } = self;
        *found.entry(rgb).or_insert_with(|| nearest(colours, rgb))
    }
}

fn nearest(colours: &[Rgb], rgb: Rgb) -> u8 {
    let distance = |colour: &Rgb| -> u32 {
        colour.iter().zip(rgb).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
    };
    let painted = colours.iter().enumerate().skip(usize::from(Palette::UNCHANGED) + 1);
    let nearest = painted.min_by_key(|(_, colour)| distance(colour));
    nearest.map_or(1, |(index, _)| index as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a GIF as a viewer does; returns the colours after each frame.
    fn play(bytes: &[u8]) -> Vec<Vec<Rgb>> {
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(bytes).unwrap();
        let (width, mut screen) =
            (WIDTH_PX as usize, vec![[0; 3]; (WIDTH_PX * HEIGHT_PX) as usize]);
        let mut screens = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            for (index, rgba) in frame.buffer.chunks_exact(4).enumerate() {
                let x = usize::from(frame.left) + index % usize::from(frame.width);
                let y = usize::from(frame.top) + index / usize::from(frame.width);
                if rgba[3] != 0 {
                    screen[y * width + x] = [rgba[0], rgba[1], rgba[2]];
                }
            }
            screens.push(screen.clone());
        }
        screens
    }

    fn canvas(left: f32) -> Canvas {
        let mut canvas = Canvas::new();
        canvas.rectangle((left, 20.0), (40.0, 30.0), Ink::Blue);
        canvas.disc((left, 100.5), 20.0, Ink::Orange);
        canvas
    }

    #[test]
    fn what_a_viewer_sees_is_what_was_drawn() {
        let lefts = [100.0, 103.5, 103.5, 20.25];
        let screens = play(&encode(lefts.into_iter().map(canvas), 2, &[]).unwrap());
        assert_eq!(screens.len(), lefts.len(), "a frame without a change is a frame");
        for (screen, left) in screens.iter().zip(lefts) {
            let drawn = canvas(left);
            for (seen, meant) in screen.iter().zip(drawn.pixels().chunks_exact(4)) {
                let worst = seen.iter().zip(meant).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                assert!(worst <= 255 / N_SHADES as u8, "{seen:?} for {meant:?}");
            }
        }
    }

    #[test]
    fn colours_of_a_picture_are_as_they_were() {
        let mut colours = vec![[3, 200, 90], [200, 3, 90]];
        colours.resize(MAX_COLOURS, [9; 3]);
        let frame = || {
            let mut canvas = Canvas::new();
            canvas.block((0, 0), (4, 4), colours[0]);
            canvas.block((4, 0), (4, 4), colours[1]);
            canvas
        };
        let screens = play(&encode([frame()].into_iter(), 2, &colours).unwrap());
        assert_eq!(screens[0][3..5], colours[..2]);
    }

    #[test]
    fn a_small_change_costs_little() {
        let size = |lefts: &[f32]| encode(lefts.iter().copied().map(canvas), 2, &[]).unwrap().len();
        let still = size(&[100.0; 2]) - size(&[100.0]);
        assert!(still < 100, "{still} bytes for a frame without a change");
    }
}
