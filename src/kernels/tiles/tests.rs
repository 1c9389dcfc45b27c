//! Each processor's operations on tiles beside the emulated ones.

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

/// One product of random factors as work for the tiles' instructions.
struct Product<'a, T>(T, Factors, Size, &'a [f32], &'a mut Sums);

impl<T: Tiles> Work for Product<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        // SAFETY: K3: the test asked for places of these sizes.
        unsafe { self.0.product(self.1, self.2, self.3.as_ptr(), self.4) }
    }
}

fn product(tiles: impl Tiles, size: Size) -> Sums {
    let depth = size.pairs.next_multiple_of(TILE);
    let height = size.rows.next_multiple_of(TILE);
    let mut left = random_words(height, depth, 1);
    (0..height).for_each(|row| left.row_mut(row)[size.pairs..].fill(0));
    let right = random_words(depth, BLOCK, 2);
    let start: Vec<f32> = (0..height).flat_map(|row| [row as f32 / 8.0; TILE]).collect();
    let factors = Factors {
        left: left.at([0, 0], [height, depth]),
        right: right.at([0, 0], [depth, size.columns]),
    };
    let mut sums = Sums([[f32::NAN; BLOCK]; BLOCK]);
    tiles.run(Product(tiles, factors, size, &start, &mut sums));
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
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, |most, one| if one <= most { most } else { one })
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
                let expected = r as f64 / 8.0 + terms.sum::<f64>();
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

/// What the ends write, all layouts as they lie.
struct Ended<T>(T, Sums);

impl<T: Tiles> Work for Ended<T> {
    type Output = [Words; 4];
    #[inline(always)]
    fn run(self) -> [Words; 4] {
        let x = random_words(TILE, BLOCK, 7);
        let [mut pairs, mut frames, mut rows, mut errors] =
            [TILE, TILE, BLOCK, TILE].map(|rows| Words::zeros(rows, BLOCK));
        let place = [0, 0];
        // SAFETY: K3: the places are of the sizes that the operations write.
        unsafe {
            let kept = Some(frames.at_mut(place, [TILE, BLOCK]));
            self.0.activate(&self.1, pairs.at_mut(place, [TILE, BLOCK]), kept);
            let kept = Some(errors.at_mut(place, [TILE, BLOCK]));
            let x = x.at(place, [TILE, BLOCK]);
            self.0.slope(&self.1, x, rows.at_mut(place, [BLOCK, TILE]), kept);
        }
        [pairs, frames, rows, errors]
    }
}

fn check(tiles: impl Tiles) {
    for size in SIZES {
        let (found, expected) = (product(tiles, size), product(Emulated, size));
        let difference = difference(&found, &expected, size);
        assert!(difference <= 2e-7 * (8 + size.pairs) as f32, "{difference:e}");
    }
    let (sums, again) = (random_sums(3), random_sums(3));
    let (found, expected) = (tiles.run(Ended(tiles, sums)), Emulated.run(Ended(Emulated, again)));
    for (found, expected) in found.iter().zip(&expected) {
        for row in 0..TILE {
            let words = found.row(row).iter().zip(expected.row(row));
            let numbers = words.flat_map(|(a, b)| unpaired(*a).into_iter().zip(unpaired(*b)));
            // A tanh 4e-6 beside the other may round to the bf16 beside the other's.
            for (a, b) in numbers {
                assert!((a - b).abs() <= b.abs() / 127.0 + 5e-6, "row {row}: {a} for {b}");
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
