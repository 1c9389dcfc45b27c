//! `make bench-networks`: frames a second of each network on one core, acting and learning, by our own
//! arithmetic and by libtorch with each of its options. Written to
//! `results/bench/networks-<instruction set>.{json,md}`; without `--bench`, as a test, each works once.

#[path = "../common/figure.rs"]
mod figure;
#[path = "../common/setting.rs"]
mod setting;
#[path = "../common/statistics.rs"]
mod statistics;
#[path = "../common/table.rs"]
mod table;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use figure::figure;
use impala::kernels::Simd;
use impala::network::params::ParamLayout;
use impala::network::{Arithmetic, Backend, NetworkSpec, Pixels, TorchOptions, Torso, native};
use impala::rollout::{Frames, StepKind};
use impala::space::Obs;
use ndarray::Array2;
use serde::Serialize;
use setting::{Setting, save};
use statistics::median;
use table::Table;

/// E and T of the defaults.
const N_ENVS: usize = 32;
const N_STEPS: usize = 20;

/// Measure each network, acting and learning, by each arithmetic.
#[derive(Parser)]
struct Args {
    /// Given by cargo: measure in earnest.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How long and how often to measure.
struct Effort {
    n_runs: usize,
    part: Duration,
}

/// One network by one arithmetic.
#[derive(Serialize)]
struct Row {
    network: String,
    by: String,
    n_params: usize,
    /// Frames a second, E = 32 a call.
    acting_per_s: f64,
    /// Frames a second, forward and backward, T·E = 640 a call.
    learning_per_s: f64,
}

/// The file `results/bench/networks-<instruction set>.json`.
#[derive(Serialize)]
struct Results {
    setting: Setting,
    rows: Vec<Row>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let (n_runs, part) = if args.bench { (5, 0.4) } else { (1, 0.0) };
    let effort = Effort { n_runs, part: Duration::from_secs_f64(part) };
    let setting = Setting::now();
    let of_spec = |spec: NetworkSpec| ways().into_iter().map(move |way| (spec.clone(), way));
    let cases = networks().into_iter().flat_map(of_spec);
    let cases = cases.filter(|(spec, (_, backend, _))| has(spec, *backend));
    let rows = cases.map(|(spec, way)| row(&spec, way, &effort)).collect();
    let results = Results { setting, rows };
    let text = markdown(&results);
    println!("{text}");
    if args.bench {
        let name = format!("networks-{}", results.setting.simd);
        let [json, markdown] = save(Path::new("results/bench"), &name, &results, &text)?;
        println!("written to {} and {}", json.display(), markdown.display());
    }
    Ok(())
}

fn networks() -> [NetworkSpec; 9] {
    let planes = |channels| Pixels { shape: [channels, 10, 10], high: 1 };
    let screens = Pixels { shape: [4, 84, 84], high: u8::MAX };
    let pictures = |torso, pixels| NetworkSpec::pictures(torso, pixels, 6);
    [
        NetworkSpec::mlp(4, &[64, 64], 2),
        NetworkSpec::mlp(4, &[64, 64], 2).with_lstm(64, 0),
        pictures(Torso::Mlp { hidden: vec![256, 128] }, planes(4)),
        pictures(Torso::Minatar, planes(4)),
        pictures(Torso::Minatar, planes(10)),
        pictures(Torso::Nature, screens),
        pictures(Torso::ImpalaShallow, screens),
        pictures(Torso::ImpalaShallow, screens).with_lstm(256, 0),
        pictures(Torso::ImpalaDeep, screens),
    ]
}

/// A name, and whose arithmetic.
type Way = (String, Backend, Arithmetic);

/// Ours in f32 and in all of bf16 that the processor has, and libtorch with each of its options.
fn ways() -> Vec<Way> {
    let native = |name: String, simd: Simd| (name, Backend::Native, Arithmetic::with(simd));
    let in_bf16 = Simd::supported_bf16().map(|simd| (format!("native, {}", simd.name()), simd));
    let ours = [("native".into(), Simd::detect().in_f32())].into_iter().chain(in_bf16);
    let torch = |(name, channels_last, bf16): (&str, bool, bool)| {
        let torch = TorchOptions { channels_last, bf16 };
        (name.into(), Backend::Torch, Arithmetic { torch, ..Arithmetic::with(Simd::detect()) })
    };
    let torches = [
        ("torch, f32", false, false),
        ("torch, f32, channels last", true, false),
        ("torch, bf16", false, true),
        ("torch, bf16, channels last", true, true),
    ];
    ours.map(|(name, simd)| native(name, simd)).chain(torches.map(torch)).collect()
}

fn has(spec: &NetworkSpec, backend: Backend) -> bool {
    backend.is_built() && (backend == Backend::Torch || native::supports(spec))
}

fn row(spec: &NetworkSpec, (by, backend, arithmetic): Way, effort: &Effort) -> Row {
    let params = ParamLayout::new(spec).init(1);
    let n_obs = (N_STEPS + 1) * N_ENVS;
    let (numbers, pixels) = observations(spec, n_obs);
    let obs = if spec.pixels.is_some() {
        Obs::Pixels(pixels.view())
    } else {
        Obs::Numbers(numbers.view())
    };
    let mut acting = impala::network::acting_by(spec, backend, arithmetic, N_ENVS, 0);
    acting.params_mut().copy_from_slice(&params);
    let mut logits = Array2::zeros((spec.n_action_params, N_ENVS));
    let mut state = Array2::zeros((spec.n_state(), N_ENVS));
    let acts = || acting.outputs(obs.frames(0..N_ENVS), state.view_mut(), logits.view_mut());
    let acting_per_s = per_s(effort, N_ENVS, acts);
    let mut learning = impala::network::learning(spec, backend, arithmetic, n_obs);
    let mut outputs = Array2::zeros((spec.n_outputs(), n_obs));
    let d_outputs = Array2::from_elem((spec.n_outputs(), N_STEPS * N_ENVS), 0.01);
    let mut grad = vec![0.0; params.len()];
    let kinds = vec![StepKind::ORDINARY; N_STEPS * N_ENVS];
    let first_state = Array2::zeros((spec.n_state(), N_ENVS));
    let frames = Frames { state: first_state.view(), ..Frames::memoryless(N_ENVS, obs, &kinds) };
    let learning_per_s = per_s(effort, N_STEPS * N_ENVS, || {
        learning.forward(&params, &frames, outputs.view_mut());
        learning.backward(&params, &frames, d_outputs.view(), &mut grad);
    });
    let network = match spec.pixels {
        Some(Pixels { shape, .. }) => format!("{} on {shape:?}", spec.name()),
        None => format!("{} on [{}]", spec.name(), spec.n_inputs),
    };
    Row { network, by, n_params: params.len(), acting_per_s, learning_per_s }
}

/// Numbers as CartPole's; of bits as many as MinAtar's Breakout shows, one in twelve.
fn observations(spec: &NetworkSpec, n_obs: usize) -> (Array2<f32>, Array2<u8>) {
    let numbers = |(d, n): (usize, usize)| ((d + n) as f32).sin();
    let high = spec.pixels.map_or(1, |pixels| pixels.high);
    let pixel = |(n, d): (usize, usize)| match high {
        1 => u8::from((7 * n + 5 * d).is_multiple_of(12)),
        _ => (31 * n + 17 * d) as u8,
    };
    let (n_numbers, n_pixels) =
        if spec.pixels.is_some() { (0, spec.n_inputs) } else { (spec.n_inputs, 0) };
    (
        Array2::from_shape_fn((n_numbers, n_obs), numbers),
        Array2::from_shape_fn((n_obs, n_pixels), pixel),
    )
}

/// Median over the runs of frames a second of `work`, which does `n_frames`.
fn per_s(effort: &Effort, n_frames: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut run = || {
        let (start, mut n) = (Instant::now(), 0);
        while n == 0 || start.elapsed() < effort.part {
            work();
            n += n_frames;
        }
        n as f64 / start.elapsed().as_secs_f64()
    };
    median(&Vec::from_iter((0..effort.n_runs).map(|_| run())))
}

fn markdown(Results { setting, rows }: &Results) -> String {
    let head = [
        "network",
        "by",
        "parameters",
        "acting, E = 32, k frames/s",
        "learning, T·E = 640, k frames/s",
    ];
    let mut table = Table::new(head);
    for Row { network, by, n_params, acting_per_s, learning_per_s } in rows {
        let kilo = |per_s: &f64| figure(per_s / 1e3);
        let (acting, learning) = (kilo(acting_per_s), kilo(learning_per_s));
        table.push([network.clone(), by.clone(), n_params.to_string(), acting, learning]);
    }
    format!(
        "# Networks on one core\n\nActing: outputs for 32 frames a call. Learning: forward and backward of a slot. \
         Median of the runs.\n\n{}\n\n{}\n",
        table.text(),
        setting.line()
    )
}
