//! Which kernels a program runs with, by name and by what the processor has.
//!
//! Owns the choice and nothing else: every call goes on to the kernels chosen.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

use super::tiles::{self, Emulated, TileRectified, TileStack};
use super::{
    Activation, Affine, BitGrid, BitRow, DenseRectified, DenseStack, Kernels, Portable, Rectified,
    Stack, Work,
};
#[cfg(target_arch = "x86_64")]
use super::{
    Avx2, Avx512,
    tiles::{Amx, DotProducts},
};

/// The kernels of one instruction set, chosen once at the start and then copied about.
#[derive(Clone, Copy, Debug)]
pub struct Simd {
    isa: Isa,
    /// Whether a stack of layers is computed in bf16, and by which products.
    bf16: Option<Products>,
}

/// Who multiplies tiles of bf16.
#[derive(Clone, Copy, Debug)]
enum Products {
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
    #[cfg(target_arch = "x86_64")]
    Dot(DotProducts),
    Emulated(Emulated),
}

impl Products {
    /// Whether they are faster than those of f32 on this CPU.
    fn gain(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Products::Amx(_) => true,
            #[cfg(target_arch = "x86_64")]
            Products::Dot(dot) => dot.are_as_many_as_of_f32(),
            Products::Emulated(_) => false,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    Portable(Portable),
}

/// Kernels were asked for that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownKernels {
    /// There are no kernels of that name.
    #[error("no kernels are called {name:?}: choose auto, amx, bf16, avx512, avx2 or portable")]
    NoSuchName {
        /// The name asked for.
        name: String,
    },
    /// The kernels exist, but this CPU lacks their instructions.
    #[error(
        "this CPU cannot run the {name} kernels: choose auto, or one that it supports ({supported})"
    )]
    Unsupported {
        /// The name asked for.
        name: String,
        /// Names of the kernels that would run here, fastest first.
        supported: String,
    },
}

/// Calls the same method on whichever kernels were chosen.
macro_rules! dispatch {
    ($simd:ident.$method:ident($($argument:expr),*)) => {
        match $simd.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(kernels) => kernels.$method($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(kernels) => kernels.$method($($argument),*),
            Isa::Portable(kernels) => kernels.$method($($argument),*),
        }
    };
}

impl Simd {
    /// The kernels that are fastest where a stack of layers may be computed in bf16: of two sets in bf16 the first
    /// that gains by it, else the fastest in f32.
    pub fn auto() -> Simd {
        let gains = |simd: &Simd| simd.bf16.is_some_and(Products::gain);
        Simd::supported_bf16().find(gains).unwrap_or_else(Simd::detect)
    }

    /// The fastest kernels in f32 that this CPU supports.
    pub fn detect() -> Simd {
        Simd::supported().next().unwrap_or(Simd::portable())
    }

    /// The kernels that run everywhere.
    pub fn portable() -> Simd {
        Simd { isa: Isa::Portable(Portable), bf16: None }
    }

    /// All kernels in f32 that this CPU supports, fastest first; the portable ones come last.
    pub fn supported() -> impl Iterator<Item = Simd> {
        #[cfg(target_arch = "x86_64")]
        let vectorised = [Avx512::detect().map(Isa::Avx512), Avx2::detect().map(Isa::Avx2)];
        #[cfg(not(target_arch = "x86_64"))]
        let vectorised: [Option<Isa>; 0] = [];
        let simd = |isa| Simd { isa, bf16: None };
        vectorised.into_iter().flatten().map(simd).chain([Simd::portable()])
    }

    /// The kernels in bf16 that this CPU supports, fastest first. They are those of AVX-512 but for a
    /// stack of layers.
    pub fn supported_bf16() -> impl Iterator<Item = Simd> {
        #[cfg(target_arch = "x86_64")]
        let products = [Amx::detect().map(Products::Amx), DotProducts::detect().map(Products::Dot)];
        #[cfg(not(target_arch = "x86_64"))]
        let products: [Option<Products>; 0] = [];
        products
            .into_iter()
            .flatten()
            .map(|products| Simd { bf16: Some(products), ..Simd::detect() })
    }

    /// The same kernels, all in f32.
    pub fn in_f32(self) -> Simd {
        Simd { bf16: None, ..self }
    }

    /// The portable kernels, with a stack of layers as AMX computes it, number by number: for tests.
    pub fn emulated() -> Simd {
        Simd { bf16: Some(Products::Emulated(Emulated)), ..Simd::portable() }
    }

    /// The kernels called `auto` (see [`Simd::auto`]), `amx`, `bf16`, `avx512`, `avx2` or `portable`.
    ///
    /// # Errors
    ///
    /// [`UnknownKernels`] if the name is unknown, or known but not supported by this CPU.
    pub fn named(name: &str) -> Result<Simd, UnknownKernels> {
        let chosen = match name {
            "auto" => Some(Simd::auto()),
            "amx" | "bf16" => Simd::supported_bf16().find(|simd| simd.name() == name),
            "avx512" | "avx2" | "portable" => Simd::supported().find(|simd| simd.name() == name),
            _ => {
                return Err(UnknownKernels::NoSuchName { name: name.to_owned() });
            }
        };
        chosen.ok_or_else(|| UnknownKernels::Unsupported {
            name: name.to_owned(),
            supported: Simd::all_supported().map(Simd::name).collect::<Vec<_>>().join(", "),
        })
    }

    /// All kernels that this CPU supports: those in bf16 first, then those in f32.
    pub fn all_supported() -> impl Iterator<Item = Simd> {
        Simd::supported_bf16().chain(Simd::supported())
    }

    /// `amx`, `bf16`, `avx512`, `avx2` or `portable`: what [`Simd::named`] takes and what a report prints; of the
    /// tests' own kernels `emulated`.
    pub fn name(self) -> &'static str {
        match (self.bf16, self.isa) {
            #[cfg(target_arch = "x86_64")]
            (Some(Products::Amx(_)), _) => "amx",
            #[cfg(target_arch = "x86_64")]
            (Some(Products::Dot(_)), _) => "bf16",
            (Some(Products::Emulated(_)), _) => "emulated",
            #[cfg(target_arch = "x86_64")]
            (None, Isa::Avx512(_)) => "avx512",
            #[cfg(target_arch = "x86_64")]
            (None, Isa::Avx2(_)) => "avx2",
            (None, Isa::Portable(_)) => "portable",
        }
    }

    /// Does work in code compiled for these instructions. They change no result: Rust never fuses nor reorders
    /// what is written apart.
    pub fn run<W: Work>(self, work: W) -> W::Output {
        dispatch!(self.run(work))
    }

    /// Whether `f64::mul_add` is one instruction in [`Simd::run`], not a call.
    pub fn fuses(self) -> bool {
        !matches!(self.isa, Isa::Portable(_))
    }

    /// Keeps the multiply-add units as busy as these instructions can for `rounds` rounds: the yardstick
    /// of the benchmarks. In bf16 those of a stack. Returns the floating-point operations done.
    pub fn multiply_adds(self, rounds: usize) -> usize {
        match self.bf16 {
            None => dispatch!(self.multiply_adds(rounds)),
            #[cfg(target_arch = "x86_64")]
            Some(Products::Amx(tiles)) => tiles::multiply_adds(tiles, rounds),
            #[cfg(target_arch = "x86_64")]
            Some(Products::Dot(tiles)) => tiles::multiply_adds(tiles, rounds),
            Some(Products::Emulated(tiles)) => tiles::multiply_adds(tiles, rounds),
        }
    }
}

impl Kernels<f32> for Simd {
    fn dense(
        self,
        w: ArrayView2<f32>,
        b: ArrayView1<f32>,
        x: ArrayView2<f32>,
        activation: Activation,
        y: ArrayViewMut2<f32>,
    ) {
        dispatch!(self.dense(w, b, x, activation, y))
    }

    fn weight_gradient(
        self,
        dy: ArrayView2<f32>,
        x: ArrayView2<f32>,
        dw: ArrayViewMut2<f32>,
        db: ArrayViewMut1<f32>,
    ) {
        dispatch!(self.weight_gradient(dy, x, dw, db))
    }

    fn input_gradient(self, w: ArrayView2<f32>, dy: ArrayView2<f32>, x: ArrayViewMut2<f32>) {
        dispatch!(self.input_gradient(w, dy, x))
    }

    fn add_product(self, a: ArrayView2<f32>, b: ArrayView2<f32>, c: ArrayViewMut2<f32>) {
        dispatch!(self.add_product(a, b, c))
    }

    fn add_row_products(self, a: ArrayView2<f32>, b: ArrayView2<f32>, c: ArrayViewMut2<f32>) {
        dispatch!(self.add_row_products(a, b, c))
    }

    fn convolve_bits(self, grid: BitGrid, rows: &[BitRow], tables: &[f32], sums: &mut [f32]) {
        dispatch!(self.convolve_bits(grid, rows, tables, sums))
    }

    fn bit_gradient(self, grid: BitGrid, rows: &[BitRow], d_sums: &[f32], d_tables: &mut [f32]) {
        dispatch!(self.bit_gradient(grid, rows, d_sums, d_tables))
    }

    fn log_softmax(
        self,
        logits: ArrayView2<f32>,
        log_p: ArrayViewMut2<f32>,
        p: ArrayViewMut2<f32>,
    ) {
        dispatch!(self.log_softmax(logits, log_p, p))
    }

    fn exp(self, x: &[f32], y: &mut [f32]) {
        dispatch!(self.exp(x, y))
    }

    fn stack(self, layers: &[Affine], n_columns: usize, learns: bool) -> Box<dyn Stack<f32>> {
        match self.bf16 {
            None => Box::new(DenseStack::new(self, layers, n_columns)),
            #[cfg(target_arch = "x86_64")]
            Some(Products::Amx(amx)) => Box::new(TileStack::new(amx, layers, n_columns, learns)),
            #[cfg(target_arch = "x86_64")]
            Some(Products::Dot(dot)) => Box::new(TileStack::new(dot, layers, n_columns, learns)),
            Some(Products::Emulated(emulated)) => {
                Box::new(TileStack::new(emulated, layers, n_columns, learns))
            }
        }
    }

    fn rectified(self, layer: Affine, n_frames: usize, learns: bool) -> Box<dyn Rectified<f32>> {
        match self.bf16 {
            None => Box::new(DenseRectified::new(self, layer, n_frames, learns)),
            #[cfg(target_arch = "x86_64")]
            Some(Products::Amx(amx)) => Box::new(TileRectified::new(amx, layer, n_frames, learns)),
            #[cfg(target_arch = "x86_64")]
            Some(Products::Dot(dot)) => Box::new(TileRectified::new(dot, layer, n_frames, learns)),
            Some(Products::Emulated(emulated)) => {
                Box::new(TileRectified::new(emulated, layer, n_frames, learns))
            }
        }
    }
}
