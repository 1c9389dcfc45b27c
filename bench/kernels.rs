//! How fast the kernels are on one quiet core, next to the most multiply-adds that core can do.
//!
//! `taskset -c 1 cargo bench --bench kernels` prints a table and writes it, for each instruction set that
//! the processor has, to `results/bench/kernels-<the best of them>.{json,md}`; `-- avx2` measures one
//! only, and writes nothing, as do `-- quick` and `cargo test --benches`, which run every line once or
//! twice to show that it runs. Each figure is the best of many short repetitions: others may use the
//! machine, and the best is what they disturb least.

#[path = "common/processor_time.rs"]
mod processor_time;
#[path = "common/setting.rs"]
mod setting;
#[path = "common/table.rs"]
mod table;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use impala::kernels::{Activation, FeatureMajor, Kernels, Simd};
use impala::mlp::{Activations, Mlp};
use impala::params::NetworkShape;
use impala::sinks::terminal::{ProgressLine, Show};
use ndarray::{Array1, Array2, s};
use serde::Serialize;

use processor_time::{processor_time, stolen_percent};
use setting::{Setting, load_average, save};
use table::Table;

/// Observation features, actions, and head rows (a logit an action and a value) of CartPole.
const OBSERVATIONS: usize = 4;
const ACTIONS: usize = 2;
const HEADS: usize = ACTIONS + 1;

/// Long enough to outlast a clock reading many times, short enough to be often undisturbed.
const REPETITION: Duration = Duration::from_micros(30);

/// H and N of each block of lines: the actors' and the learner's columns, for three sizes of network.
const SIZES: [(usize, usize); 6] =
    [(32, 32), (32, 672), (64, 32), (64, 672), (128, 32), (128, 672)];

/// The file `results/bench/kernels-<instruction set>.json`.
#[derive(Serialize)]
struct Results {
    setting: Setting,
    load_after: f64,
    /// Of all processors' time, what the hypervisor gave to other machines.
    steal_percent: f64,
    instruction_sets: Vec<InstructionSet>,
}

/// All kernels of one instruction set.
#[derive(Serialize)]
struct InstructionSet {
    simd: &'static str,
    /// Of one core, with this set's multiply-adds.
    peak_gflops: f64,
    kernels: Vec<Figures>,
}

/// One kernel at one size.
#[derive(Serialize)]
struct Figures {
    name: &'static str,
    hidden: usize,
    n_frames: usize,
    /// Floating-point operations a frame; 0 where exponentials are most of the work.
    flops_per_frame: usize,
    gflops: f64,
    percent_of_peak: f64,
    ns_per_frame: f64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says so with --bench; without it this is a test that everything runs.
    let is_quick = !arguments.iter().any(|argument| argument == "--bench")
        || arguments.iter().any(|argument| argument == "quick" || argument == "--test");
    let only = arguments.iter().find_map(|name| Simd::named(name).ok());
    let asked = |simd: &Simd| only.is_none_or(|only| only.name() == simd.name());
    let sets = Vec::from_iter(Simd::supported().filter(asked));
    let results = measure_all(&sets, &Stopwatch { repetitions: if is_quick { 2 } else { 600 } });
    let text = markdown(&results);
    println!("{text}");
    if !is_quick && only.is_none() {
        let name = format!("kernels-{}", results.setting.simd);
        let [json, _] = save(Path::new("results/bench"), &name, &results, &text)?;
        println!("written to {} (and .md)", json.display());
    }
    Ok(())
}

fn measure_all(sets: &[Simd], stopwatch: &Stopwatch) -> Results {
    let (setting, before) = (Setting::now(), processor_time());
    let n_lines = (sets.len() * SIZES.len() * LINES.len()) as u64;
    let mut progress = ProgressLine::new(Show::on_stderr(), "kernels", "lines", n_lines);
    let mut n_done = 0;
    let mut instruction_sets = Vec::new();
    for simd in sets {
        let peak_gflops = peak_gflops(*simd, stopwatch);
        let mut kernels = Vec::new();
        for (hidden, n_frames) in SIZES {
            kernels.extend(measure(*simd, hidden, n_frames, peak_gflops, stopwatch));
            n_done += LINES.len() as u64;
            progress.set(n_done, simd.name());
        }
        instruction_sets.push(InstructionSet { simd: simd.name(), peak_gflops, kernels });
    }
    progress.finish();
    let (load_after, steal_percent) = (load_average(), stolen_percent(before));
    Results { setting, load_after, steal_percent, instruction_sets }
}

/// A table an instruction set.
fn markdown(results: &Results) -> String {
    let Results { setting, load_after, steal_percent, instruction_sets } = results;
    let mut text = String::from("# Kernels on one core, beside its peak of multiply-adds\n");
    for InstructionSet { simd, peak_gflops, kernels } in instruction_sets {
        text += &format!("\n{simd}: peak {peak_gflops:.1} GFLOP/s\n\n");
        let head = ["kernel", "H", "N", "GFLOP/s", "% of peak", "ns/frame", "M frames/s"];
        let mut table = Table::new(head);
        for Figures { name, hidden, n_frames, gflops, percent_of_peak, ns_per_frame, .. } in kernels
        {
            table.push([
                (*name).to_owned(),
                hidden.to_string(),
                n_frames.to_string(),
                format!("{gflops:.1}"),
                format!("{percent_of_peak:.1}"),
                format!("{ns_per_frame:.2}"),
                format!("{:.2}", 1e3 / ns_per_frame),
            ]);
        }
        text += &table.text();
    }
    text + &format!(
        "\n{}; load after {load_after:.2}; stolen meanwhile {steal_percent:.1} %\n",
        setting.line()
    )
}

struct Stopwatch {
    repetitions: usize,
}

impl Stopwatch {
    /// Best time of one call, ns.
    fn best_ns(&self, mut call: impl FnMut()) -> f64 {
        let calls = calls_in(REPETITION, &mut call);
        let one = || {
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_nanos() as f64 / calls as f64
        };
        std::iter::repeat_with(one).take(self.repetitions).fold(f64::INFINITY, f64::min)
    }
}

/// How many calls take about that long, at least one.
fn calls_in(time: Duration, call: &mut impl FnMut()) -> usize {
    let start = Instant::now();
    let mut calls = 0;
    while calls == 0 || start.elapsed() < time {
        call();
        calls += 1;
    }
    calls
}

/// The most floating-point operations this core does with these kernels' instructions.
fn peak_gflops(simd: Simd, stopwatch: &Stopwatch) -> f64 {
    const ROUNDS: usize = 10_000;
    let flops = simd.multiply_adds(ROUNDS) as f64;
    flops / stopwatch.best_ns(|| _ = simd.multiply_adds(ROUNDS))
}

/// What is measured: its name, floating-point operations a frame given H, and one call of it. None are
/// counted where exponentials are most of the work.
type Line = (&'static str, fn(usize) -> usize, fn(&mut Network));

const LINES: [Line; 12] = [
    ("dense first, tanh", first, |net| net.dense(0)),
    ("dense middle, tanh", middle, |net| net.dense(1)),
    ("dense heads", heads, |net| net.dense(2)),
    ("weight_gradient heads", heads, |net| net.weight_gradient(2)),
    ("input_gradient heads", heads, |net| net.input_gradient(2)),
    ("weight_gradient middle", middle, |net| net.weight_gradient(1)),
    ("input_gradient middle", middle, |net| net.input_gradient(1)),
    ("weight_gradient first", first, |net| net.weight_gradient(0)),
    ("log_softmax", |_| 0, Network::log_softmax),
    ("exp", |_| 0, Network::exp),
    ("forward", forward, |net| net.whole.forward()),
    (
        "forward + backward",
        |hidden| 2 * forward(hidden) + middle(hidden) + heads(hidden),
        |net| {
            net.whole.forward();
            net.whole.backward();
        },
    ),
];

fn first(hidden: usize) -> usize {
    2 * hidden * OBSERVATIONS
}

fn middle(hidden: usize) -> usize {
    2 * hidden * hidden
}

fn heads(hidden: usize) -> usize {
    2 * HEADS * hidden
}

fn forward(hidden: usize) -> usize {
    first(hidden) + middle(hidden) + heads(hidden)
}

/// One line for each kernel at its place in the network, and for the network.
fn measure(
    simd: Simd,
    hidden: usize,
    n_frames: usize,
    peak_gflops: f64,
    stopwatch: &Stopwatch,
) -> [Figures; LINES.len()] {
    let mut net = Network::new(simd, hidden, n_frames);
    LINES.map(|(name, flops_per_frame, call)| {
        let ns_per_frame = stopwatch.best_ns(|| call(&mut net)) / n_frames as f64;
        let flops_per_frame = flops_per_frame(hidden);
        let gflops = flops_per_frame as f64 / ns_per_frame;
        let percent_of_peak = 100.0 * gflops / peak_gflops;
        Figures { name, hidden, n_frames, flops_per_frame, gflops, percent_of_peak, ns_per_frame }
    })
}

/// Three layers, each to be measured by itself, and the engine's network of the same sizes. `values[l]`
/// and `errors[l]` are the input of layer l and its gradient; the last ones are the heads.
struct Network {
    simd: Simd,
    w: [Array2<f32>; 3],
    b: [Array1<f32>; 3],
    dw: [Array2<f32>; 3],
    db: [Array1<f32>; 3],
    values: [FeatureMajor<f32>; 4],
    errors: [FeatureMajor<f32>; 4],
    whole: Whole,
}

impl Network {
    fn new(simd: Simd, hidden: usize, frames: usize) -> Network {
        let sizes = [OBSERVATIONS, hidden, hidden, HEADS];
        let mut seed = 1_u32;
        let mut number = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed as f32 / u32::MAX as f32 - 0.5
        };
        let mut matrix = |rows, columns| Array2::from_shape_simple_fn((rows, columns), &mut number);
        let w = std::array::from_fn(|l| matrix(sizes[l + 1], sizes[l]) * 0.3);
        let mut columns = |l: usize| {
            let mut columns = FeatureMajor::zeros(sizes[l], frames);
            columns.view_mut().assign(&matrix(sizes[l], frames));
            columns
        };
        Network {
            simd,
            b: std::array::from_fn(|l| Array1::zeros(sizes[l + 1])),
            dw: std::array::from_fn(|l| Array2::zeros((sizes[l + 1], sizes[l]))),
            db: std::array::from_fn(|l| Array1::zeros(sizes[l + 1])),
            errors: std::array::from_fn(&mut columns),
            values: std::array::from_fn(&mut columns),
            w,
            whole: Whole::new(simd, hidden, frames),
        }
    }

    fn dense(&mut self, layer: usize) {
        let (below, above) = self.values.split_at_mut(layer + 1);
        let activation = if layer == 2 { Activation::Identity } else { Activation::Tanh };
        let (x, y) = (below[layer].view(), above[0].view_mut());
        self.simd.dense(self.w[layer].view(), self.b[layer].view(), x, activation, y);
    }

    fn weight_gradient(&mut self, layer: usize) {
        let (dw, db) = (self.dw[layer].view_mut(), self.db[layer].view_mut());
        let (dy, x) = (self.errors[layer + 1].view(), self.values[layer].view());
        self.simd.weight_gradient(dy, x, dw, db);
    }

    fn input_gradient(&mut self, layer: usize) {
        let (below, above) = self.errors.split_at_mut(layer + 1);
        let (dy, dx) = (above[0].view(), below[layer].view_mut());
        self.simd.input_gradient(self.w[layer].view(), dy, self.values[layer].view(), dx);
    }

    fn log_softmax(&mut self) {
        let logits = self.values[3].view().slice_move(s![..2, ..]);
        let room = self.errors[1].view_mut().slice_move(s![..4, ..]);
        let (log_p, p) = room.split_at(ndarray::Axis(0), 2);
        self.simd.log_softmax(logits, log_p, p);
    }

    fn exp(&mut self) {
        let (x, mut y) = (self.values[0].view(), self.errors[0].view_mut());
        let (x, mut y) = (x.row(0), y.row_mut(0));
        if let (Some(x), Some(y)) = (x.as_slice(), y.as_slice_mut()) {
            self.simd.exp(x, y);
        }
    }
}

/// The network as actors and learner compute with it.
struct Whole {
    mlp: Mlp<Simd>,
    params: Vec<f32>,
    grad: Vec<f32>,
    obs: Array2<f32>,
    activations: Activations<f32>,
    scratch: Activations<f32>,
    heads: Array2<f32>,
}

impl Whole {
    fn new(simd: Simd, hidden: usize, frames: usize) -> Whole {
        let hidden = vec![hidden; 2];
        let shape = NetworkShape { obs_dim: OBSERVATIONS, hidden, n_actions: ACTIONS };
        let mlp = Mlp::new(&shape, simd);
        let params = mlp.layout().init(1);
        Whole {
            mlp,
            grad: vec![0.0; params.len()],
            params,
            obs: Array2::from_shape_fn((OBSERVATIONS, frames), |(d, n)| ((d + n) as f32).sin()),
            activations: Activations::new(&shape, frames),
            scratch: Activations::new(&shape, frames),
            heads: Array2::zeros((HEADS, frames)),
        }
    }

    fn forward(&mut self) {
        let Whole { mlp, params, obs, activations, heads, .. } = self;
        mlp.forward(params, obs.view(), activations, heads.view_mut());
    }

    fn backward(&mut self) {
        let Whole { mlp, params, grad, obs, activations, scratch, heads } = self;
        mlp.backward(params, obs.view(), activations, heads.view(), scratch, grad);
    }
}
