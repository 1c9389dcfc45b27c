//! Steps a second of the same environments: bare, stepped, collected and learned by the engine, learned by others.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::Args;
use super::common::Setting;
use super::figure::figure;
use super::peers::{N_WORKERS, PEERS, Peer};
use super::table::Table;
use super::ways::{Effort, N_ENVS, bare, collecting, learning, stepping};

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
    /// Python's plain loop over them, and that of the engine's worker, each with nobody on the other side.
    plain: f64,
    worker: f64,
    /// By the engine, with random actions, and with a policy's.
    stepping: f64,
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
            plain: bare("plain", env, args, effort)?,
            worker: bare("worker", env, args, effort)?,
            stepping: stepping(env, args, effort)?,
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
        let Comparison { setting, n_processes, n_envs, peers, left_out, .. } = self;
        let left_out: String =
            left_out.iter().map(|what| format!("Left out: {what}.\n\n")).collect();
        format!(
            "# Environments of Python\n\nEnvironment steps a second. Medians of five runs, of the others' of three.\n\n\
             ## Stepping\n\n{n_processes} processes at once, with {n_envs} environments each.\n\n{}\n\
             Plain loop: Python's own over the environments. Worker's loop: that of the engine's worker, which also writes \
             all results where an actor would read them; nobody does. Through the engine: the same worker, asked by a \
             process of the engine's for each step, with random actions. Collected: with the actions of the policy's \
             network, whose time counts.\n\n## Learning\n\n{}\n{left_out}Ours has an actor a core with {n_envs} \
             environments, and the preset's settings. The others have environments in {N_WORKERS} processes. \
             Stable-Baselines3 has its defaults and one environment in each (SubprocVecEnv). Sample Factory has the settings \
             of `make bench-peers`, with 20 in each, and for Pong those of its own Atari example, with one. Its Gymnasium \
             is older than 1.0: its LunarLander is version 2. Pong is stepped by four frames everywhere. Versions: \
             {}.\n\n{}\n",
            self.stepping_table(),
            self.learning_table(),
            peers.join(", "),
            setting.line()
        )
    }

    fn stepping_table(&self) -> String {
        let head = [
            "environment",
            "plain loop",
            "worker's loop",
            "through the engine",
            "of the worker's loop",
            "collected",
        ];
        let mut table = Table::new(head);
        for Row { env, plain, worker, stepping, collecting, .. } in &self.rows {
            let share = format!("{:.0} %", 100.0 * stepping / worker);
            let [plain, worker, stepping, collecting] =
                [plain, worker, stepping, collecting].map(|steps| figure(*steps));
            table.push([(*env).into(), plain, worker, stepping, share, collecting]);
        }
        table.text()
    }

    fn learning_table(&self) -> String {
        let own = ["environment", "the engine"];
        let mut table = Table::new(own.into_iter().chain(PEERS.map(|peer| peer.title)));
        for Row { env, learning, peers, .. } in &self.rows {
            let all = std::iter::once(learning).chain(peers);
            let cells = all.map(|steps| steps.map_or("–".into(), figure));
            table.push(std::iter::once((*env).into()).chain(cells));
        }
        table.text()
    }
}
