//! Products by `TDPBF16PS` of Intel's AMX: sums of 16 × 16 numbers in a register, 32 products each in an instruction.
//!
//! Written in assembly, which stable Rust takes as it is. The operating system lets a process use the registers
//! only after it has asked; a fork inherits the answer. Register 0–3 hold a block of sums, 4–5 the left tiles,
//! 6–7 the right ones. No compiler-made code touches them, and each product loads all that it uses.

use std::arch::asm;

use super::super::Work;
use super::ends::Ends;
use super::words::{BLOCK, Sums, TILE};
use super::{Factors, Size, Steps, Tiles};

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
    type Ends = Ends;

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
    unsafe fn product_beside(
        self,
        factors: Factors,
        size: Size,
        sums: &mut Sums,
        beside: &mut impl Steps,
    ) {
        let both = [size.rows > TILE, size.columns > TILE];
        let mut rest = Rest { beside, k: 0 };
        // SAFETY: K1, K3: the caller's promise.
        unsafe {
            zero_sums();
            for k in (0..size.pairs).step_by(TILE) {
                dots(factors, k, both, &mut rest);
            }
            rest.step(TILE);
            rest.beside.finish();
            store_sums(sums, both);
        }
    }

    #[inline(always)]
    fn ends(self) -> Ends {
        self.0
    }
}

/// Steps of other work after two products: as many as take about their time.
const STEPS: usize = 3;

/// What is left of other work.
struct Rest<'a, S> {
    beside: &'a mut S,
    /// The next step.
    k: usize,
}

impl<S: Steps> Rest<'_, S> {
    /// Up to `n` more steps.
    #[inline(always)]
    fn step(&mut self, n: usize) {
        let end = TILE.min(self.k + n);
        while self.k < end {
            self.beside.step(self.k);
            self.k += 1;
        }
    }
}

/// Zeros in registers 0–3.
///
/// # Safety
/// The tiles are configured.
#[inline(always)]
unsafe fn zero_sums() {
    // SAFETY: K1: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            options(nostack, nomem, preserves_flags)
        );
    }
}

/// Adds the products of 16 pairs from `k` on to registers 0–3.
///
/// # Safety
/// As of [`Tiles::product_beside`].
#[inline(always)]
unsafe fn dots(
    Factors { left, right }: Factors,
    k: usize,
    [two_rows, two_columns]: [bool; 2],
    rest: &mut Rest<impl Steps>,
) {
    // SAFETY: K1, K3: the caller's promise.
    unsafe {
        load!(6, right.at(k, 0), right.stride);
        load!(4, left.at(0, k), left.stride);
        dot!(0, 4, 6);
        if two_columns {
            load!(7, right.at(k, TILE), right.stride);
            dot!(1, 4, 7);
        }
        rest.step(STEPS);
        if two_rows {
            load!(5, left.at(TILE, k), left.stride);
            dot!(2, 5, 6);
        }
        if two_rows && two_columns {
            dot!(3, 5, 7);
        }
        rest.step(STEPS);
    }
}

/// Registers 0–3.
///
/// # Safety
/// As of [`Tiles::product_beside`].
#[inline(always)]
unsafe fn store_sums(sums: &mut Sums, [two_rows, two_columns]: [bool; 2]) {
    let [upper, lower] = [sums.0[0].as_mut_ptr(), sums.0[TILE].as_mut_ptr()];
    // SAFETY: K1, K3: the caller's promise.
    unsafe {
        store!(0, upper, BLOCK);
        if two_columns {
            store!(1, upper.add(TILE), BLOCK);
        }
        if two_rows {
            store!(2, lower, BLOCK);
        }
        if two_rows && two_columns {
            store!(3, lower.add(TILE), BLOCK);
        }
    }
}
