//! The arithmetic of a small multi-layer perceptron, a whole batch of frames at a time.
//!
//! Owns: the [`Kernels`] contract, its implementations for each instruction set, and [`Simd`], which
//! picks one when the program starts. Knows nothing of networks, parameters, rollouts or losses.
//! Called by the forward and backward pass of the policy network and by V-trace (exponentials).
//!
//! # Matrices
//!
//! Every batch is feature-major: row = feature, column = frame. Letters: I inputs, O outputs,
//! A actions, N frames. Columns are contiguous (unit column stride), rows may be any stride apart, so
//! a column range of a larger matrix is a valid argument and copies nothing.
//!
//! Two things about where a matrix lies decide its speed (measured on Zen 5 with `bench/kernels/main.rs`,
//! H = 64, forward and backward): rows 4 kB or a multiple apart (1,024 frames) fall on the same lines
//! of the L1 cache and cost a third of the speed; rows that begin at multiples of 64 bytes gain 6 %,
//! because no load straddles two cache lines. [`FeatureMajor`] is a matrix that sees to both.
//!
//! # Files
//!
//! | file | what |
//! |---|---|
//! | `vector.rs` | what the kernels need of a vector of f32; tanh, exp and log made of it |
//! | `blocked.rs` | the kernels themselves, and how they are blocked |
//! | `scatter.rs` | sums of rows that a list picks |
//! | `feature_major.rs` | a matrix that lies as the kernels like it |
//! | `avx2.rs`, `avx512.rs` | that vector in one instruction set each |
//! | `portable.rs` | that vector in what every CPU has |
//!
//! # Invariants that the unsafe blocks rest on
//!
//! - **K1** A value of [`Avx2`] or [`Avx512`] exists only where detection found the instruction set,
//!   and every operation on a vector takes such a value or a vector made from one.
//! - **K2** A pointer is formed only inside a view whose shape and unit column stride were checked at
//!   the entry of the kernel; a tail of columns goes through loads and stores that touch no more than
//!   the tail.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod blocked;
mod feature_major;
mod portable;
mod scatter;
mod vector;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use feature_major::FeatureMajor;
pub use portable::Portable;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

/// What a layer applies to each of its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// The sum itself: logits and values.
    Identity,
    /// The hyperbolic tangent: hidden layers.
    Tanh,
}

/// Numbers in a row that [`Kernels::add_rows`] adds: one AVX-512 register.
pub const ROW_LEN: usize = 16;

/// Which row of a matrix is added to which row of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPair {
    /// Index of the row that is added.
    pub from: u32,
    /// Index of the row that it is added to.
    pub to: u32,
}

/// Batched layers forward and backward. Nothing is allocated; all sizes may be zero.
///
/// # Panics
///
/// Every method panics if the shapes do not fit together or if a matrix's columns are not contiguous.
pub trait Kernels<R>: Copy + Send {
    /// One layer: `y[O,N] = activation(w[O,I] · x[I,N] + b[O])`.
    fn dense(
        self,
        w: ArrayView2<R>,
        b: ArrayView1<R>,
        x: ArrayView2<R>,
        activation: Activation,
        y: ArrayViewMut2<R>,
    );

    /// Adds the gradient of a layer's parameters, given the gradient `dy` of its sums:
    /// `dw[O,I] += dy[O,N] · x[I,N]ᵀ` and `db[O] += Σ_N dy[O,N]`.
    fn weight_gradient(
        self,
        dy: ArrayView2<R>,
        x: ArrayView2<R>,
        dw: ArrayViewMut2<R>,
        db: ArrayViewMut1<R>,
    );

    /// The gradient of the sums of the layer below, whose outputs `x[I,N]` went through tanh:
    /// `dx[I,N] = (w[O,I]ᵀ · dy[O,N]) ⊙ (1 − x[I,N]²)`.
    fn input_gradient(
        self,
        w: ArrayView2<R>,
        dy: ArrayView2<R>,
        x: ArrayView2<R>,
        dx: ArrayViewMut2<R>,
    );

    /// `c[M,N] += a[M,K] · b[K,N]`; `a` may lie in any order, such as transposed.
    fn add_product(self, a: ArrayView2<R>, b: ArrayView2<R>, c: ArrayViewMut2<R>);

    /// `c[M,N] += a[M,K] · b[N,K]ᵀ`.
    fn add_row_products(self, a: ArrayView2<R>, b: ArrayView2<R>, c: ArrayViewMut2<R>);

    /// `sums[to] += rows[from]` for each pair, in their order; both are matrices of [`ROW_LEN`] columns.
    fn add_rows(self, pairs: &[RowPair], rows: &[R], sums: &mut [R]);

    /// Log-probabilities and probabilities of each frame:
    /// `log_p[A,N] = logits[A,N] − log Σ_A exp(logits[A,N])`, `p[A,N] = exp(log_p[A,N])`.
    ///
    /// The largest logit of a frame is subtracted first, so that no finite logit overflows.
    fn log_softmax(self, logits: ArrayView2<R>, log_p: ArrayViewMut2<R>, p: ArrayViewMut2<R>);

    /// `y[n] = exp(x[n])`; beyond the range of the float, 0 or infinity.
    fn exp(self, x: &[R], y: &mut [R]);
}

/// The kernels of one instruction set, chosen once at the start and then copied about.
#[derive(Clone, Copy, Debug)]
pub struct Simd(Isa);

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
    #[error("no kernels are called {name:?}: choose auto, avx512, avx2 or portable")]
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
        match $simd.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(kernels) => kernels.$method($($argument),*),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(kernels) => kernels.$method($($argument),*),
            Isa::Portable(kernels) => kernels.$method($($argument),*),
        }
    };
}

impl Simd {
    /// The fastest kernels that this CPU supports.
    pub fn detect() -> Simd {
        Simd::supported().next().unwrap_or(Simd::portable())
    }

    /// The kernels that run everywhere.
    pub fn portable() -> Simd {
        Simd(Isa::Portable(Portable))
    }

    /// All kernels that this CPU supports, fastest first; the portable ones come last.
    pub fn supported() -> impl Iterator<Item = Simd> {
        #[cfg(target_arch = "x86_64")]
        let vectorised = [Avx512::detect().map(Isa::Avx512), Avx2::detect().map(Isa::Avx2)];
        #[cfg(not(target_arch = "x86_64"))]
        let vectorised: [Option<Isa>; 0] = [];
        vectorised.into_iter().flatten().map(Simd).chain([Simd::portable()])
    }

    /// The kernels called `auto` (the fastest), `avx512`, `avx2` or `portable`.
    ///
    /// # Errors
    ///
    /// [`UnknownKernels`] if the name is unknown, or known but not supported by this CPU.
    pub fn named(name: &str) -> Result<Simd, UnknownKernels> {
        let chosen = match name {
            "auto" => Some(Simd::detect()),
            "avx512" | "avx2" | "portable" => Simd::supported().find(|simd| simd.name() == name),
            _ => {
                return Err(UnknownKernels::NoSuchName { name: name.to_owned() });
            }
        };
        chosen.ok_or_else(|| UnknownKernels::Unsupported {
            name: name.to_owned(),
            supported: Simd::supported().map(Simd::name).collect::<Vec<_>>().join(", "),
        })
    }

    /// `avx512`, `avx2` or `portable`: what [`Simd::named`] takes and what a report prints.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            Isa::Portable(_) => "portable",
        }
    }

    /// Keeps the multiply-add units as busy as these instructions can for `rounds` rounds: the yardstick
    /// of the kernels' benchmark. Returns the floating-point operations done.
    pub fn multiply_adds(self, rounds: usize) -> usize {
        dispatch!(self.multiply_adds(rounds))
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

    fn input_gradient(
        self,
        w: ArrayView2<f32>,
        dy: ArrayView2<f32>,
        x: ArrayView2<f32>,
        dx: ArrayViewMut2<f32>,
    ) {
        dispatch!(self.input_gradient(w, dy, x, dx))
    }

    fn add_product(self, a: ArrayView2<f32>, b: ArrayView2<f32>, c: ArrayViewMut2<f32>) {
        dispatch!(self.add_product(a, b, c))
    }

    fn add_row_products(self, a: ArrayView2<f32>, b: ArrayView2<f32>, c: ArrayViewMut2<f32>) {
        dispatch!(self.add_row_products(a, b, c))
    }

    fn add_rows(self, pairs: &[RowPair], rows: &[f32], sums: &mut [f32]) {
        dispatch!(self.add_rows(pairs, rows, sums))
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
}

/// The shapes of a layer fit together: `w[O,I]`, outputs `y[O,N]`, inputs `x[I,N]`.
fn check_layer(w: (usize, usize), y: (usize, usize), x: (usize, usize)) {
    let ((w_outputs, w_inputs), (outputs, y_frames), (inputs, x_frames)) = (w, y, x);
    assert_eq!((w_outputs, w_inputs), (outputs, inputs), "weights must be [outputs, inputs]");
    assert_eq!(y_frames, x_frames, "outputs and inputs must have as many frames");
}
