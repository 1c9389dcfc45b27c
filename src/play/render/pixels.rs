//! Any environment that shows pictures: the picture itself, scaled by whole pixels.
//!
//! Owns which colour a pixel has. Planes of bits lie over one another, the later over the earlier, each in a
//! colour of its own that a legend explains. Bytes are grey or red, green and blue; of a stack the newest is
//! drawn, and said to be so. The film calls it, and the encoder of GIFs asks which colours to expect.

use std::collections::BTreeSet;

use super::canvas::{Canvas, Ink, Rgb, SCENE_BOTTOM, Size, WIDTH_PX};

/// Paper that is left above and below a picture at least.
const MARGIN_PX: usize = 8;
/// What stands to the left and right of a picture needs this much each.
const SIDE_PX: usize = 134;
/// From a picture to what is said of it.
const GAP_PX: usize = 12;

/// Where no plane has anything.
const EMPTY: Rgb = [22, 26, 36];

/// Colours of planes on [`EMPTY`], in the order in which they are taken. The first is the player's in MinAtar's
/// games. After the last they begin again.
const PLANES: [Rgb; 12] = [
    [255, 255, 255],
    [86, 180, 233],
    [230, 159, 0],
    [0, 158, 115],
    [228, 60, 50],
    [255, 150, 205],
    [240, 228, 66],
    [45, 95, 215],
    [150, 95, 45],
    [130, 140, 155],
    [120, 235, 215],
    [150, 75, 200],
];

/// Cells of planes that are drawn at least so large have a line between them.
const MIN_LINED_PX: usize = 6;

/// Legends have no more lines than this.
const MAX_LINES: usize = 11;
const LINE_PX: usize = 19;
const SWATCH_PX: usize = 11;

/// What the pixels of an environment are, and how they are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Pixels {
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// The largest pixel.
    pub high: u8,
    /// Names of the planes, as far as somebody has named them.
    pub names: &'static [&'static str],
}

/// What a channel stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Where one kind of thing is.
    Planes,
    /// Red, green, blue.
    Colour,
    /// One picture in shades of grey, or several of which the last is the newest, as Gymnasium stacks them.
    Grey,
}

impl Pixels {
    fn kind(&self) -> Kind {
        match (self.high, self.shape[0]) {
            (1, _) => Kind::Planes,
            (_, 3) => Kind::Colour,
            _ => Kind::Grey,
        }
    }

    /// The colours of these observations, where they have `most` or fewer; else as many that lie evenly among
    /// those that bytes can have.
    pub fn colours<'a>(
        &self,
        observations: impl Iterator<Item = &'a [f32]>,
        most: usize,
    ) -> Vec<Rgb> {
        if self.kind() == Kind::Planes {
            // The legend shows those that no observation has too.
            return PLANES.into_iter().chain([EMPTY]).collect();
        }
        let [_, height, width] = self.shape;
        let mut seen = BTreeSet::new();
        for obs in observations.filter(|obs| self.fits(obs)) {
            seen.extend((0..height * width).map(|at| self.colour(obs, at)));
            if seen.len() > most {
                return self.even_colours();
            }
        }
        seen.into_iter().collect()
    }

    fn even_colours(&self) -> Vec<Rgb> {
        if self.kind() == Kind::Grey {
            return (0..=u8::MAX).step_by(2).map(|grey| [grey; 3]).collect();
        }
        let level = |index: u8, place: u8| index / place % 6 * 51;
        (0..216).map(|index| [36, 6, 1].map(|place| level(index, place))).collect()
    }

    fn fits(&self, obs: &[f32]) -> bool {
        obs.len() == self.shape.iter().product::<usize>()
    }

    /// Draws an observation `[C·H·W]`; one of another length not at all.
    pub fn draw(&self, canvas: &mut Canvas, obs: &[f32]) {
        let [_, height, width] = self.shape;
        if !self.fits(obs) {
            return;
        }
        let scale = Scale::of([height, width]);
        let [shown_height, shown_width] = [height, width].map(|side| scale.shown(side));
        let left = (WIDTH_PX as usize - shown_width) / 2;
        let top = (SCENE_BOTTOM as usize - shown_height) / 2;
        let frame = (shown_width + 2, shown_height + 2);
        canvas.block((left - 1, top - 1), frame, Ink::Pale.rgb());
        canvas.block((left, top), (shown_width, shown_height), EMPTY);
        let is_lined = self.kind() == Kind::Planes && scale.up >= MIN_LINED_PX;
        let cell = scale.up - usize::from(is_lined);
        for y in 0..shown_height / scale.up {
            for x in 0..shown_width / scale.up {
                let place = (left + x * scale.up, top + y * scale.up);
                let colour = self.colour(obs, y * scale.down * width + x * scale.down);
                canvas.block(place, (cell, cell), colour);
            }
        }
        self.draw_legend(canvas, left + shown_width + GAP_PX, top);
    }

    /// The colour of the pixel at this place in each channel.
    fn colour(&self, obs: &[f32], at: usize) -> Rgb {
        let [n_channels, height, width] = self.shape;
        let pixel = |channel: usize| obs[channel * height * width + at];
        let byte = |channel| (pixel(channel) / f32::from(self.high) * 255.0).round() as u8;
        match self.kind() {
            Kind::Planes => {
                let last = (0..n_channels).rev().find(|&plane| pixel(plane) > 0.0);
                last.map_or(EMPTY, |plane| PLANES[plane % PLANES.len()])
            }
            Kind::Colour => [0, 1, 2].map(byte),
            Kind::Grey => [byte(n_channels - 1); 3],
        }
    }

    /// Names of planes with their colours, or which of a stack is drawn.
    fn draw_legend(&self, canvas: &mut Canvas, left: usize, top: usize) {
        let n_channels = self.shape[0];
        if self.kind() == Kind::Grey && n_channels > 1 {
            let (place, text) = ((left as u32, top as u32), format!("newest of {n_channels}"));
            canvas.text(place, &text, Size::Small, Ink::Grey);
        }
        if self.kind() != Kind::Planes {
            return;
        }
        for plane in 0..n_channels.min(MAX_LINES) {
            let line_top = top + plane * LINE_PX;
            let colour = PLANES[plane % PLANES.len()];
            let swatch_top = line_top + (16 - SWATCH_PX) / 2;
            canvas.block((left, swatch_top), (SWATCH_PX, SWATCH_PX), EMPTY);
            let inner = SWATCH_PX - 2;
            canvas.block((left + 1, swatch_top + 1), (inner, inner), colour);
            let name = self.names.get(plane).map_or(format!("plane {plane}"), |&name| name.into());
            let place = ((left + SWATCH_PX + 7) as u32, line_top as u32);
            canvas.text(place, &name, Size::Small, Ink::Black);
        }
    }
}

/// How large a pixel is drawn: `up` pixels of the canvas, or, of a picture that is too large, one of `down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Scale {
    up: usize,
    down: usize,
}

impl Scale {
    fn of(sides: [usize; 2]) -> Scale {
        let room = [SCENE_BOTTOM as usize - 2 * MARGIN_PX, WIDTH_PX as usize - 2 * SIDE_PX];
        let least = |ratio: fn((usize, usize)) -> usize| room.into_iter().zip(sides).map(ratio);
        let up = least(|(room, side)| room / side).min().unwrap_or(1);
        let down = least(|(room, side)| side.div_ceil(room)).max().unwrap_or(1);
        Scale { up: up.max(1), down }
    }

    /// Pixels of the canvas that a side takes.
    fn shown(self, side: usize) -> usize {
        side.div_ceil(self.down) * self.up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLACK: Rgb = [0; 3];

    fn drawn(pixels: Pixels, obs: &[f32]) -> Canvas {
        let mut canvas = Canvas::new();
        pixels.draw(&mut canvas, obs);
        canvas
    }

    fn of(shape: [usize; 3], high: u8) -> Pixels {
        Pixels { shape, high, names: &[] }
    }

    fn at(canvas: &Canvas, (x, y): (usize, usize)) -> Rgb {
        let rgba = &canvas.pixels()[4 * (y * WIDTH_PX as usize + x)..];
        [rgba[0], rgba[1], rgba[2]]
    }

    /// Left, top, right and bottom of the pixels of this colour between the sides of the scene.
    fn extent(canvas: &Canvas, colour: Rgb) -> [usize; 4] {
        let columns = SIDE_PX..WIDTH_PX as usize - SIDE_PX;
        let places = columns.flat_map(|x| (0..SCENE_BOTTOM as usize).map(move |y| (x, y)));
        let inside = places.filter(|&place| at(canvas, place) == colour);
        inside.fold([usize::MAX, usize::MAX, 0, 0], |[left, top, right, bottom], (x, y)| {
            [left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)]
        })
    }

    #[test]
    fn a_cell_is_a_square_of_whole_pixels_where_it_is_in_the_picture() {
        let mut obs = [0.0; 300];
        obs[100 + 10 * 2 + 7] = 1.0;
        let canvas = drawn(of([3, 10, 10], 1), &obs);
        // 21 pixels a cell: the most that fit ten times into 212. One of them parts it from the next.
        assert_eq!(extent(&canvas, EMPTY), [135, 9, 345, 219]);
        let (left, top) = (135 + 7 * 21, 9 + 2 * 21);
        assert_eq!(extent(&canvas, PLANES[1]), [left, top, left + 20, top + 20]);
    }

    #[test]
    fn a_later_plane_lies_over_an_earlier_one() {
        let canvas = drawn(of([3, 1, 2], 1), &[1.0, 1.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!([at(&canvas, (200, 114)), at(&canvas, (280, 114))], [PLANES[0], PLANES[1]]);
    }

    #[test]
    fn colours_of_planes_are_told_apart() {
        let colours = of([12, 1, 1], 1).colours([].into_iter(), 100);
        let apart = |a: Rgb, b: Rgb| -> u32 {
            a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
        };
        for (idx, &a) in colours.iter().enumerate() {
            for &b in &colours[..idx] {
                assert!(apart(a, b) > 60 * 60, "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn few_colours_are_kept_and_many_have_neighbours() {
        let of_colour = of([3, 1, 2], 255);
        let (red, grey) = ([200.0, 7.0, 0.0, 7.0, 0.0, 7.0], [7.0; 6]);
        let colours = |most| of_colour.colours([&red[..], &grey].into_iter(), most);
        assert_eq!(colours(2), [[7; 3], [200, 0, 0]]);
        for (many, farthest) in [(colours(1), 26), (of([1, 1, 1], 255).even_colours(), 1)] {
            assert!(many.len() <= 218);
            for channel in 0..3 {
                let is_near =
                    |byte: u8| many.iter().any(|rgb| rgb[channel].abs_diff(byte) <= farthest);
                assert!((0..=255).all(is_near));
            }
        }
    }

    #[test]
    fn bytes_are_grey_or_colours_or_the_newest_of_a_stack() {
        let grey = drawn(of([1, 1, 2], 255), &[0.0, 100.0]);
        assert_eq!([at(&grey, (200, 114)), at(&grey, (280, 114))], [BLACK, [100; 3]]);
        let colour = drawn(of([3, 1, 1], 255), &[10.0, 20.0, 30.0]);
        assert_eq!(at(&colour, (240, 114)), [10, 20, 30]);
        let stack = drawn(of([4, 1, 1], 255), &[10.0, 20.0, 30.0, 40.0]);
        assert_eq!(at(&stack, (240, 114)), [40; 3]);
        let few = drawn(of([1, 1, 1], 3), &[1.0]);
        assert_eq!(at(&few, (240, 114)), [85; 3]);
    }

    #[test]
    fn only_planes_and_stacks_need_words() {
        let is_silent = |shape: [usize; 3], high| {
            let canvas = drawn(of(shape, high), &vec![0.0; shape.iter().product()]);
            let right = WIDTH_PX as usize - SIDE_PX + GAP_PX / 2..WIDTH_PX as usize;
            let mut places = right.flat_map(|x| (0..SCENE_BOTTOM as usize).map(move |y| (x, y)));
            places.all(|place| at(&canvas, place) == Ink::Paper.rgb())
        };
        assert!(is_silent([1, 24, 24], 255) && is_silent([3, 24, 24], 255));
        assert!(!is_silent([4, 84, 84], 255) && !is_silent([4, 10, 10], 1));
    }

    #[test]
    fn pictures_of_any_size_fit_into_the_scene() {
        assert_eq!(Scale::of([10, 10]), Scale { up: 21, down: 1 });
        assert_eq!(Scale::of([84, 84]), Scale { up: 2, down: 1 });
        assert_eq!(Scale::of([210, 160]), Scale { up: 1, down: 1 });
        assert_eq!(Scale::of([512, 512]), Scale { up: 1, down: 3 });
        for [height, width] in [[1, 1], [7, 700], [700, 7], [512, 512], [1, 1 << 20]] {
            let shape = [1, height, width];
            let canvas = drawn(of(shape, 255), &vec![255.0; height * width]);
            assert_eq!(at(&canvas, (0, 0)), Ink::Paper.rgb(), "{shape:?}");
        }
    }

    #[test]
    fn observations_of_another_size_or_without_meaning_are_no_panic() {
        let blank = Canvas::new();
        assert_eq!(drawn(of([1, 2, 2], 255), &[1.0; 3]).pixels(), blank.pixels());
        for pixel in [f32::NAN, f32::INFINITY, -1.0, 1e30] {
            for channels in [1, 3, 4] {
                drawn(of([channels, 1, 1], 255), &vec![pixel; channels]);
            }
        }
    }
}
