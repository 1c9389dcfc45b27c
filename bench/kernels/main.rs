//! How fast the kernels are on one quiet core, next to the most multiply-adds that core can do.
//!
//! `taskset -c 1 cargo bench --bench kernels` prints a table and writes it, for each instruction set that
//! the processor has, to `results/bench/kernels-<the best of them>.{json,md}`; `-- avx2` measures one
//! only, and writes nothing, as do `-- quick` and `cargo test --benches`, which run every line once or
//! twice to show that it runs. Each figure is the best of many short repetitions: others may use the
//! machine, and the best is what they disturb least. All lines of all sizes are measured in turn, round after
//! round, each beside the peak: what disturbs for a while then disturbs a round of all lines, and not all
//! rounds of one.

#[cfg(target_arch = "x86_64")]
mod bf16;
mod network;
#[path = "../common/processor_time.rs"]
mod processor_time;
#[path = "../common/setting.rs"]
mod setting;
#[path = "../common/table.rs"]
mod table;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use impala::kernels::Simd;
use impala::sinks::terminal::{ProgressLine, Show};
use serde::Serialize;

use network::Network;
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
    /// Of one core, with this set's multiply-adds: the most that was seen before any line.
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
    /// The most that was seen beside it.
    peak_gflops: f64,
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
    let sets = Vec::from_iter(Simd::all_supported().filter(asked));
    let results = measure_all(&sets, &Stopwatch::new(is_quick));
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
    let mut groups = Vec::from_iter(sets.iter().map(|simd| (*simd, groups(*simd))));
    let n_rounds = stopwatch.rounds as u64;
    let mut progress = ProgressLine::new(Show::on_stderr(), "kernels", "rounds", n_rounds);
    for round in 1..=n_rounds {
        for group in groups.iter_mut().flat_map(|(_, groups)| groups) {
            group.measure(stopwatch);
        }
        progress.set(round, "all lines");
    }
    progress.finish();
    let instruction_sets = groups.iter().map(|(simd, groups)| {
        let kernels = Vec::from_iter(groups.iter().flat_map(|group| group.figures()));
        let peaks = kernels.iter().map(|kernel: &Figures| kernel.peak_gflops);
        let peak_gflops = peaks.fold(0.0, f64::max);
        InstructionSet { simd: simd.name(), peak_gflops, kernels }
    });
    let instruction_sets = instruction_sets.collect();
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
    rounds: usize,
    /// Of each line in a round.
    repetitions: usize,
}

impl Stopwatch {
    fn new(is_quick: bool) -> Self {
        let (rounds, repetitions) = if is_quick { (1, 2) } else { (60, 10) };
        Stopwatch { rounds, repetitions }
    }

    /// Best time of one call in one round, ns.
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
type Line<T> = (&'static str, fn(usize) -> usize, fn(&mut T));

/// The layers one by one, which is not how bf16 is computed.
const LAYERS: [Line<Network>; 10] = [
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
];

/// The network as actors and learner compute it, with weights packed before.
const WHOLE: [Line<Network>; 4] = [
    ("pack", |_| 0, Network::pack),
    ("forward, acting", forward, Network::act),
    ("forward", forward, Network::forward),
    (
        "forward + backward",
        |hidden| 2 * forward(hidden) + middle(hidden) + heads(hidden),
        |net| {
            net.forward();
            net.backward();
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

/// Lines that are measured on the same data.
struct Group<T> {
    simd: Simd,
    /// H.
    hidden: usize,
    /// N.
    n_frames: usize,
    subject: T,
    lines: Vec<Line<T>>,
    /// Of each line so far.
    bests: Vec<Best>,
}

#[derive(Clone, Copy)]
struct Best {
    peak_gflops: f64,
    ns: f64,
}

/// A group, whatever its data are.
trait Rounds {
    /// One round of every line, each beside the peak.
    fn measure(&mut self, stopwatch: &Stopwatch);
    /// The best of all rounds.
    fn figures(&self) -> Vec<Figures>;
}

impl<T> Group<T> {
    fn new(simd: Simd, (hidden, n_frames): (usize, usize), subject: T, lines: &[Line<T>]) -> Self {
        let bests = vec![Best { peak_gflops: 0.0, ns: f64::INFINITY }; lines.len()];
        Group { simd, hidden, n_frames, subject, lines: lines.to_vec(), bests }
    }
}

impl<T> Rounds for Group<T> {
    fn measure(&mut self, stopwatch: &Stopwatch) {
        for ((_, _, call), best) in self.lines.iter().zip(&mut self.bests) {
            best.peak_gflops = best.peak_gflops.max(peak_gflops(self.simd, stopwatch));
            best.ns = best.ns.min(stopwatch.best_ns(|| call(&mut self.subject)));
        }
    }

    fn figures(&self) -> Vec<Figures> {
        let lines = self.lines.iter().zip(&self.bests);
        let figures = lines.map(|((name, flops, _), Best { peak_gflops, ns })| {
            let (ns_per_frame, flops_per_frame) = (ns / self.n_frames as f64, flops(self.hidden));
            let gflops = flops_per_frame as f64 / ns_per_frame;
            Figures {
                name,
                hidden: self.hidden,
                n_frames: self.n_frames,
                flops_per_frame,
                gflops,
                peak_gflops: *peak_gflops,
                percent_of_peak: 100.0 * gflops / peak_gflops,
                ns_per_frame,
            }
        });
        figures.collect()
    }
}

/// At every size one line for each kernel at its place in the network, and for the network; where the
/// processor can, also the middle layer's sums in f32 and in bf16. Of kernels in bf16 the network alone.
fn groups(simd: Simd) -> Vec<Box<dyn Rounds>> {
    let mut groups: Vec<Box<dyn Rounds>> = Vec::new();
    for size in SIZES {
        let net = Network::new(simd, size.0, size.1);
        let is_bf16 = simd.name() != simd.in_f32().name();
        let lines = if is_bf16 { WHOLE.to_vec() } else { [&LAYERS[..], &WHOLE].concat() };
        groups.push(Box::new(Group::new(simd, size, net, &lines)));
        #[cfg(target_arch = "x86_64")]
        if let Some(trial) = bf16::Trial::new(simd, size.0, size.1) {
            let lines: [Line<bf16::Trial>; 2] = [
                ("middle sums, f32", middle, |trial| trial.sums_f32()),
                ("middle sums, bf16", middle, |trial| trial.sums_bf16()),
            ];
            groups.push(Box::new(Group::new(simd, size, trial, &lines)));
        }
    }
    groups
}
