//! Each processor's operations on tiles beside the emulated ones.

use super::convert::Convert;
use super::words::{BLOCK, Sums, TILE, Words, of_bf16, pair, to_bf16, unpaired};
use super::*;

/// Numbers in −1..1 that look random.
fn numbers(seed: u32) -> impl FnMut() -> f32 {
    let mut word = seed;
    move || {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (word >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn random_words(rows: usize, columns: usize, seed: u32) -> Words {
    let (mut words, mut number) = (Words::zeros(rows, columns), numbers(seed));
    for row in 0..rows {
        words.row_mut(row).fill_with(|| pair(number(), number()));
    }
    words
}

fn random_sums(seed: u32) -> Sums {
    let mut number = numbers(seed);
    Sums([(); BLOCK].map(|()| [(); BLOCK].map(|()| 4.0 * number())))
}

/// One product of random factors as work for the tiles' instructions, and 16 steps beside it.
struct Product<'a, T>(T, Factors, Size, &'a mut Sums);

impl<T: Tiles> Work for Product<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let mut noted = Noted(Vec::new());
        // SAFETY: K3: the test asked for places of these sizes.
        unsafe { self.0.product_beside(self.1, self.2, self.3, &mut noted) }
        assert!(noted.0.into_iter().eq(0..=TILE), "each step once, in order");
    }
}

fn product(tiles: impl Tiles, size: Size) -> Sums {
    let depth = size.pairs.next_multiple_of(TILE);
    let height = size.rows.next_multiple_of(TILE);
    let mut left = random_words(height, depth, 1);
    (0..height).for_each(|row| left.row_mut(row)[size.pairs..].fill(0));
    let right = random_words(depth, BLOCK, 2);
    let factors = Factors {
        left: left.at([0, 0], [height, depth]),
        right: right.at([0, 0], [depth, size.columns]),
    };
    let mut sums = Sums([[f32::NAN; BLOCK]; BLOCK]);
    tiles.run(Product(tiles, factors, size, &mut sums));
    sums
}

const SIZES: [Size; 6] = [
    Size { rows: 32, columns: 32, pairs: 32 },
    Size { rows: 32, columns: 16, pairs: 320 },
    Size { rows: 3, columns: 32, pairs: 33 },
    Size { rows: 16, columns: 16, pairs: 2 },
    Size { rows: 21, columns: 32, pairs: 6 },
    Size { rows: 1, columns: 16, pairs: 1 },
];

/// The largest difference of two products from one another, within the size asked for.
fn difference(a: &Sums, b: &Sums, size: Size) -> f32 {
    let rows = a.0.iter().zip(&b.0).take(size.rows);
    let pairs = rows.flat_map(|(a, b)| a.iter().zip(b).take(size.columns));
    pairs
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |most, one| if most.is_nan() || one <= most { most } else { one })
}

/// The emulated product is what f64 makes of the same pairs, but for rounding.
#[test]
fn emulated_products_are_the_plain_ones() {
    for size in SIZES {
        let depth = size.pairs.next_multiple_of(TILE);
        let left = random_words(size.rows.next_multiple_of(TILE), depth, 1);
        let right = random_words(depth, BLOCK, 2);
        let sums = product(Emulated, size);
        for r in 0..size.rows {
            for c in 0..size.columns {
                let terms = (0..size.pairs).flat_map(|k| {
                    let (l, r) = (unpaired(left.row(r)[k]), unpaired(right.row(k)[c]));
                    [0, 1].map(|half| f64::from(l[half]) * f64::from(r[half]))
                });
                let expected = terms.sum::<f64>();
                let error = (f64::from(sums.0[r][c]) - expected).abs();
                assert!(error < 1e-6 * (4 + size.pairs) as f64, "{r} {c}: {error:e}");
            }
        }
    }
}

#[test]
fn bf16_is_the_nearest() {
    for (number, nearest) in
        [(1.0, 1.0), (1.003_906_2, 1.0), (1.003_907, 1.007_812_5), (-3.3e38, -3.3e38)]
    {
        let rounded = of_bf16(to_bf16(number));
        assert!(
            (rounded - nearest).abs() <= nearest.abs() / 512.0
                && rounded.signum() == nearest.signum()
        );
    }
    assert_eq!(of_bf16(to_bf16(1.003_906_2)), 1.0, "a tie goes to the even one");
    assert!(
        of_bf16(to_bf16(f32::NAN)).is_nan()
            && of_bf16(to_bf16(f32::from_bits(0x7f80_0001))).is_nan()
    );
    assert_eq!(unpaired(pair(f32::INFINITY, -0.5)), [f32::INFINITY, -0.5]);
}

/// Of 32 features.
type Totals = [[f32; TILE]; BLOCK];

/// What the ends write, all layouts as they lie.
struct Ended<T>(T, Sums);

impl<T: Tiles> Work for Ended<T> {
    type Output = ([Words; 5], Totals);
    #[inline(always)]
    fn run(self) -> Self::Output {
        let ends = self.0.ends();
        let x = random_words(TILE, BLOCK, 7);
        let biases: [f32; BLOCK] = std::array::from_fn(|row| row as f32 / 8.0 - 2.0);
        let mut wide = [(); 3].map(|()| Words::zeros(TILE, BLOCK));
        let mut tall = [(); 2].map(|()| Words::zeros(BLOCK, TILE));
        let mut totals = [[0.0; TILE]; BLOCK];
        // SAFETY: K3: the places are of the sizes that the operations write.
        unsafe {
            let [pairs, errors, frames] =
                wide.each_mut().map(|words| words.at_mut([0, 0], [TILE, BLOCK]));
            let [rows, first] = tall.each_mut().map(|words| words.at_mut([0, 0], [BLOCK, TILE]));
            let x = x.at([0, 0], [TILE, BLOCK]);
            let (totals, mut kept) = (totals.as_mut_ptr().cast(), [[[0; TILE]; TILE]; 2]);
            let inner = Errors::Inner { pairs: errors, frames, totals };
            for k in 0..TILE {
                ends.activate(k, &self.1, biases.as_ptr(), pairs, Some(rows));
                ends.slope(k, &self.1, x, inner, &mut kept);
                ends.slope(k, &self.1, x, Errors::First { rows: first }, &mut kept);
            }
            ends.exchange(&kept[0], frames);
            ends.exchange(&kept[1], frames.right_of(TILE));
        }
        let ([pairs, errors, frames], [rows, first]) = (wide, tall);
        ([pairs, errors, frames, rows, first], totals)
    }
}

/// Notes in which order it was done.
struct Noted(Vec<usize>);

impl Steps for Noted {
    #[inline(always)]
    fn step(&mut self, k: usize) {
        self.0.push(k);
    }

    #[inline(always)]
    fn finish(&mut self) {
        self.0.push(TILE);
    }
}

/// What the conversions make of two rows and of a square, as words one after another.
struct Converted<T>(T);

impl<T: Convert> Work for Converted<T> {
    type Output = Vec<u32>;
    #[inline(always)]
    fn run(self) -> Vec<u32> {
        let mut number = numbers(11);
        let mut row = || [(); BLOCK].map(|()| number());
        let (mut low, high) = (row(), row());
        low[3..7].copy_from_slice(&[f32::NAN, -f32::NAN, f32::NEG_INFINITY, -0.0]);
        let (mut pairs, mut both) = ([0; TILE], [0; BLOCK]);
        self.0.pairs(&low, &mut pairs);
        self.0.interleave(&low, &high, &mut both);
        let mut kept = [[1.0; BLOCK]; 2];
        for (half, kept) in kept.iter_mut().enumerate() {
            self.0.where_not_zero(&high, (&both, half), kept);
        }
        let mut biased = low;
        self.0.rectify_biased(&mut biased, &high);
        self.0.rectify(&mut low);
        let floats = [low, biased, kept[0], kept[1]].map(|row| row.map(f32::to_bits));
        let mut square: [[u32; TILE]; TILE] =
            std::array::from_fn(|r| std::array::from_fn(|c| (100 * r + c) as u32));
        self.0.transpose(&mut square);
        [&pairs[..], &both, floats.as_flattened(), square.as_flattened()].concat()
    }
}

fn check(tiles: impl Convert) {
    assert_eq!(tiles.run(Converted(tiles)), Emulated.run(Converted(Emulated)));
    for size in SIZES {
        let (found, expected) = (product(tiles, size), product(Emulated, size));
        let difference = difference(&found, &expected, size);
        assert!(difference <= 2e-7 * (8 + size.pairs) as f32, "{difference:e}");
    }
    let (sums, again) = (random_sums(3), random_sums(3));
    let (found, expected) = (tiles.run(Ended(tiles, sums)), Emulated.run(Ended(Emulated, again)));
    let ((found, found_totals), (expected, expected_totals)) = (found, expected);
    for (found, expected) in found_totals.iter().zip(&expected_totals) {
        approx::assert_relative_eq!(found[..], expected[..], max_relative = 1e-5);
    }
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        for row in 0..if index < 3 { TILE } else { BLOCK } {
            let words = found.row(row).iter().zip(expected.row(row));
            let numbers = words.flat_map(|(a, b)| unpaired(*a).into_iter().zip(unpaired(*b)));
            // A tanh 4e-6 beside the other may round to the bf16 beside the other's.
            for (a, b) in numbers {
                assert!((a - b).abs() <= b.abs() / 127.0 + 5e-6, "{index}, row {row}: {a} for {b}");
            }
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn dot_products_are_the_emulated_ones() {
    match DotProducts::detect() {
        Some(tiles) => check(tiles),
        None => eprintln!("SKIPPED: this CPU has no AVX-512 BF16"),
    }
}

/// The emulation rounds as this hardware does: to the last bit.
#[test]
#[cfg(target_arch = "x86_64")]
fn amx_computes_the_emulated_bits() {
    let Some(tiles) = Amx::detect() else {
        return eprintln!("SKIPPED: this CPU has no AMX, or the operating system withholds it");
    };
    check(tiles);
    for size in SIZES {
        assert_eq!(difference(&product(tiles, size), &product(Emulated, size), size), 0.0);
    }
}
