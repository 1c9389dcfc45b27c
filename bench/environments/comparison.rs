//! Steps a second of the same environments: bare, collected and learned by the engine, learned by others.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::Args;
use super::common::Setting;
use super::figure::figure;
use super::peers::{N_WORKERS, PEERS, Peer};
use super::table::Table;
use super::ways::{Effort, N_ENVS, bare, collecting, learning};

/// Where each environment comes from, and what Gymnasium calls it.
const ENVIRONMENTS: [(&str, &str); 3] = [
    ("gym:CartPole-v1", "CartPole-v1"),
    ("gym:LunarLander-v3", "LunarLander-v3"),
    ("vec:ALE/Pong-v5", "ALE/Pong-v5"),
];

/// The file `results/bench/environments.json`.
#[derive(Serialize)]
pub struct Comparison {
    setting: Setting,
    n_processes: usize,
    n_envs: usize,
    /// The others, by name and version.
    peers: Vec<String>,
    rows: Vec<Row>,
    /// Who is missing, where, and why.
    left_out: Vec<String>,
}

/// One environment, steps a second of all processes together; medians of the runs.
#[derive(Serialize)]
struct Row {
    env: &'static str,
    bare: f64,
    collecting: f64,
    learning: Option<f64>,
    /// In the order of [`PEERS`].
    peers: Vec<Option<f64>>,
}

/// Measures all of it. Of the others only where it is in earnest: their packages are gigabytes.
pub fn compare(setting: Setting, args: &Args, effort: &Effort) -> Result<Comparison> {
    let mut peers = PEERS.iter().map(|peer| peer.version()).collect::<Result<Vec<_>>>()?;
    peers.dedup();
    let (n_processes, mut left_out) = (setting.n_cores, Vec::new());
    let mut leave_out = |what: String| {
        eprintln!("LEFT OUT: {what}");
        left_out.push(what);
    };
    let pythons: Vec<Option<PathBuf>> = PEERS
        .iter()
        .map(|peer| {
            let python = args.bench.then(|| peer.prepare(&args.peers_python))?;
            python.inspect_err(|why| leave_out(format!("{}: {why}", peer.title))).ok()
        })
        .collect();
    let mut row = |(env, id): &(&'static str, &'static str)| -> Result<Row> {
        let peer = |(peer, python): (&Peer, &Option<PathBuf>)| {
            let measured = peer.measure(python.as_ref()?, id, effort);
            measured.inspect_err(|why| leave_out(format!("{}, {id}: {why}", peer.title))).ok()
        };
        Ok(Row {
            env,
            bare: bare(env, args, effort)?,
            collecting: collecting(env, args, effort)?,
            learning: learning(env, args, effort)?,
            peers: PEERS.iter().zip(&pythons).map(peer).collect(),
        })
    };
    let rows = ENVIRONMENTS.iter().map(&mut row).collect::<Result<_>>()?;
    Ok(Comparison { setting, n_processes, n_envs: N_ENVS, peers, rows, left_out })
}

impl Comparison {
    pub fn markdown(&self) -> String {
        let Comparison { setting, n_processes, n_envs, peers, rows, left_out } = self;
        let own = [
            "environment",
            "Python's bare loop",
            "collected by the engine",
            "of the bare loop",
            "learned by the engine",
        ];
        let mut table = Table::new(own.into_iter().chain(PEERS.map(|peer| peer.title)));
        for Row { env, bare, collecting, learning, peers } in rows {
            let of = |value: &Option<f64>| value.map_or("–".into(), figure);
            let share = format!("{:.0} %", 100.0 * collecting / bare);
            let own = [(*env).into(), figure(*bare), figure(*collecting), share, of(learning)];
            table.push(own.into_iter().chain(peers.iter().map(of)));
        }
        let left_out: String =
            left_out.iter().map(|what| format!("Left out: {what}.\n\n")).collect();
        let (versions, table) = (peers.join(", "), table.text());
        format!(
            "# Environments of Python\n\nSteps a second of {n_processes} processes with {n_envs} environments each; \
             learned: an actor a core, and the learner. Medians of five runs, of the others' of three.\n\n{table}\n{left_out}The others learn, too, \
             with environments in {N_WORKERS} processes. Stable-Baselines3 has its defaults and one environment in each \
             (SubprocVecEnv). Sample Factory has the settings of `make bench-peers`, with 20 in each, and for Pong those \
             of its own Atari example, with one. Its Gymnasium is older than 1.0: its LunarLander is version 2. Pong is \
             stepped by four frames everywhere. Versions: {versions}.\n\n{}\n",
            setting.line()
        )
    }
}
