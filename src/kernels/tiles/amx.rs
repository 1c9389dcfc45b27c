//! Products by `TDPBF16PS` of Intel's AMX: sums of 16 × 16 numbers in a register, 32 products each in an instruction.
//!
//! Written in assembly, which stable Rust takes as it is. The operating system lets a process use the registers
//! only after it has asked; a fork inherits the answer. Register 0–3 hold a block of sums, 4–5 the left tiles,
//! 6–7 the right ones. No compiler-made code touches them, and each product loads all that it uses.

use std::arch::asm;

use super::super::Work;
use super::ends::Ends;
use super::words::{BLOCK, Place, Sums, TILE};
use super::{Factors, Size, Tiles};

/// The operations on tiles of a CPU with AMX.
#[derive(Clone, Copy, Debug)]
pub struct Amx(Ends);

/// `ldtilecfg`'s operand: all eight registers with 16 rows of 64 bytes.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_a_row: [u16; 16],
    rows: [u8; 16],
}

static CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_a_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

impl Amx {
    /// They, if this CPU has them and the operating system lets this process use them: asked before the fork for
    /// all processes, and by each of them again.
    pub(in super::super) fn detect() -> Option<Amx> {
        Ends::detect().filter(|_| is_permitted()).map(Amx)
    }
}

/// Whether CPU and operating system have AMX with bf16, and this process may use it.
fn is_permitted() -> bool {
    const TILE_BITS: u32 = 1 << 22 | 1 << 24;
    // CPUID leaf 7: AMX-BF16 and AMX-TILE in EDX. Leaf 0 says whether there is a leaf 7.
    let has_leaf = std::arch::x86_64::__cpuid(0).eax >= 7;
    if !has_leaf || std::arch::x86_64::__cpuid_count(7, 0).edx & TILE_BITS != TILE_BITS {
        return false;
    }
    /// arch_prctl(2): asks for a feature whose state is too large for every process.
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    /// The state of the tile registers.
    const XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and touches no memory of this process.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

/// Loads a tile register from a place.
macro_rules! load {
    ($tile:literal, $first:expr, $stride:expr) => {
        asm!(
            concat!("tileloadd tmm", $tile, ", [{first} + {stride}*1]"),
            first = in(reg) $first,
            stride = in(reg) 4 * $stride,
            options(nostack, readonly, preserves_flags)
        )
    };
}

/// Stores a tile register to a place.
macro_rules! store {
    ($tile:literal, $first:expr, $stride:expr) => {
        asm!(
            concat!("tilestored [{first} + {stride}*1], tmm", $tile),
            first = in(reg) $first,
            stride = in(reg) 4 * $stride,
            options(nostack, preserves_flags)
        )
    };
}

/// Adds the products of two tiles to a third.
macro_rules! dot {
    ($sums:literal, $left:literal, $right:literal) => {
        asm!(
            concat!("tdpbf16ps tmm", $sums, ", tmm", $left, ", tmm", $right),
            options(nostack, nomem, preserves_flags)
        )
    };
}

impl Tiles for Amx {
    fn run<W: Work>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")]
        unsafe fn compiled<W: Work>(work: W) -> W::Output {
            work.run()
        }
        // SAFETY: K1: `self` is the proof that the CPU has these features, and the permission for the tiles. Their
        // state is let go at the end, so that no switch of processes has to save 8 kB of it.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly, preserves_flags));
            let output = compiled(work);
            asm!("tilerelease", options(nostack, nomem, preserves_flags));
            output
        }
    }

    #[inline(always)]
    unsafe fn product(self, factors: Factors, size: Size, start: *const f32, sums: &mut Sums) {
        let (two_rows, two_columns) = (size.rows > TILE, size.columns > TILE);
        let [upper, lower] = [0, TILE].map(|row| sums.0[row].as_mut_ptr());
        // SAFETY: K1, K3: the caller's promise.
        unsafe {
            match (two_rows, two_columns) {
                (true, true) => {
                    load!(0, start, TILE);
                    load!(1, start, TILE);
                    load!(2, start.add(TILE * TILE), TILE);
                    load!(3, start.add(TILE * TILE), TILE);
                    four_dots(factors, size.pairs);
                    store!(0, upper, BLOCK);
                    store!(1, upper.add(TILE), BLOCK);
                    store!(2, lower, BLOCK);
                    store!(3, lower.add(TILE), BLOCK);
                }
                (true, false) => {
                    load!(0, start, TILE);
                    load!(2, start.add(TILE * TILE), TILE);
                    upper_and_lower(factors, size.pairs);
                    store!(0, upper, BLOCK);
                    store!(2, lower, BLOCK);
                }
                (false, true) => {
                    load!(0, start, TILE);
                    load!(1, start, TILE);
                    side_by_side(factors, size.pairs);
                    store!(0, upper, BLOCK);
                    store!(1, upper.add(TILE), BLOCK);
                }
                (false, false) => {
                    load!(0, start, TILE);
                    one_dot(factors, size.pairs);
                    store!(0, upper, BLOCK);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn activate(self, sums: &Sums, pairs: Place<*mut u32>, frames: Option<Place<*mut u32>>) {
        // SAFETY: K3: the caller's promise.
        unsafe { self.0.activate(sums, pairs, frames) }
    }

    #[inline(always)]
    unsafe fn slope(
        self,
        sums: &Sums,
        x: Place<*const u32>,
        rows: Place<*mut u32>,
        pairs: Option<Place<*mut u32>>,
    ) {
        // SAFETY: K3: the caller's promise.
        unsafe { self.0.slope(sums, x, rows, pairs) }
    }
}

/// Two tiles of rows by two of columns.
///
/// # Safety
/// As of [`Tiles::product`]; registers 0–3 hold the sums.
#[inline(always)]
unsafe fn four_dots(Factors { left, right }: Factors, pairs: usize) {
    for k in (0..pairs).step_by(TILE) {
        // SAFETY: K1, K3: the caller's promise.
        unsafe {
            load!(6, right.at(k, 0), right.stride);
            load!(4, left.at(0, k), left.stride);
            dot!(0, 4, 6);
            load!(7, right.at(k, TILE), right.stride);
            dot!(1, 4, 7);
            load!(5, left.at(TILE, k), left.stride);
            dot!(2, 5, 6);
            dot!(3, 5, 7);
        }
    }
}

/// Two tiles of rows by one of columns.
///
/// # Safety
/// As of [`Tiles::product`]; registers 0 and 2 hold the sums.
#[inline(always)]
unsafe fn upper_and_lower(Factors { left, right }: Factors, pairs: usize) {
    for k in (0..pairs).step_by(TILE) {
        // SAFETY: K1, K3: the caller's promise.
        unsafe {
            load!(6, right.at(k, 0), right.stride);
            load!(4, left.at(0, k), left.stride);
            dot!(0, 4, 6);
            load!(5, left.at(TILE, k), left.stride);
            dot!(2, 5, 6);
        }
    }
}

/// One tile of rows by two of columns.
///
/// # Safety
/// As of [`Tiles::product`]; registers 0 and 1 hold the sums.
#[inline(always)]
unsafe fn side_by_side(Factors { left, right }: Factors, pairs: usize) {
    for k in (0..pairs).step_by(TILE) {
        // SAFETY: K1, K3: the caller's promise.
        unsafe {
            load!(4, left.at(0, k), left.stride);
            load!(6, right.at(k, 0), right.stride);
            dot!(0, 4, 6);
            load!(7, right.at(k, TILE), right.stride);
            dot!(1, 4, 7);
        }
    }
}

/// One tile by one.
///
/// # Safety
/// As of [`Tiles::product`]; register 0 holds the sums.
#[inline(always)]
unsafe fn one_dot(Factors { left, right }: Factors, pairs: usize) {
    for k in (0..pairs).step_by(TILE) {
        // SAFETY: K1, K3: the caller's promise.
        unsafe {
            load!(4, left.at(0, k), left.stride);
            load!(6, right.at(k, 0), right.stride);
            dot!(0, 4, 6);
        }
    }
}
