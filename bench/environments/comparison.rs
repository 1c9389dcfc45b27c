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

/// E, environments a process, where they are only stepped: with more of them a step's way to the process costs each less.
const STEPPED_ENVS: [usize; 2] = [N_ENVS, 4 * N_ENVS];

/// The file `results/bench/environments.json`.
#[derive(Serialize)]
pub struct Comparison {
    setting: Setting,
    n_processes: usize,
    /// The others, by name and version.
    peers: Vec<String>,
    stepped: Vec<Stepped>,
    learned: Vec<Learned>,
    /// Who is missing, where, and why.
    left_out: Vec<String>,
}

/// One environment stepped; steps a second of all processes together, medians of the runs.
#[derive(Serialize)]
struct Stepped {
    env: &'static str,
    n_envs: usize,
    /// Python's plain loop over them, and that of the engine's worker, each with nobody on the other side.
    plain: f64,
    worker: f64,
    /// By the engine, with random actions, and with a policy's.
    stepping: f64,
    collecting: f64,
}

/// One environment learned; steps a second, medians of the runs.
#[derive(Serialize)]
struct Learned {
    env: &'static str,
    /// `None` where this build lacks the network.
    engine: Option<f64>,
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
    let stepped = |(env, _): (&'static str, _)| {
        STEPPED_ENVS.map(|n_envs| -> Result<Stepped> {
            Ok(Stepped {
                env,
                n_envs,
                plain: bare("plain", env, n_envs, args, effort)?,
                worker: bare("worker", env, n_envs, args, effort)?,
                stepping: stepping(env, n_envs, args, effort)?,
                collecting: collecting(env, n_envs, args, effort)?,
            })
        })
    };
    let mut learned = |(env, id): (&'static str, &str)| -> Result<Learned> {
        let peer = |(peer, python): (&Peer, &Option<PathBuf>)| {
            let measured = peer.measure(python.as_ref()?, id, effort);
            measured.inspect_err(|why| leave_out(format!("{}, {id}: {why}", peer.title))).ok()
        };
        let engine = learning(env, args, effort)?;
        Ok(Learned { env, engine, peers: PEERS.iter().zip(&pythons).map(peer).collect() })
    };
    let stepped = ENVIRONMENTS.into_iter().flat_map(stepped).collect::<Result<_>>()?;
    let learned = ENVIRONMENTS.into_iter().map(&mut learned).collect::<Result<_>>()?;
    Ok(Comparison { setting, n_processes, peers, stepped, learned, left_out })
}

impl Comparison {
    pub fn markdown(&self) -> String {
        let Comparison { setting, n_processes, peers, left_out, .. } = self;
        let left_out: String =
            left_out.iter().map(|what| format!("Left out: {what}.\n\n")).collect();
        format!(
            "# Environments of Python\n\nEnvironment steps a second. Medians of five runs, of the others' of three.\n\n\
             ## Stepping\n\n{n_processes} processes at once, with E environments each.\n\n{}\n\
             Plain loop: Python's own over the environments. Worker's loop: that of the engine's worker, which also writes \
             all results where an actor would read them; nobody does. Through the engine: the same worker, asked by a \
             process of the engine's for each step, with random actions. Collected: with the actions of the policy's \
             network, whose time counts.\n\n## Learning\n\n{}\n{left_out}Ours has an actor a core with {N_ENVS} \
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
            "E",
            "plain loop",
            "worker's loop",
            "through the engine",
            "of the worker's loop",
            "collected",
        ];
        let mut table = Table::new(head);
        for Stepped { env, n_envs, plain, worker, stepping, collecting } in &self.stepped {
            let share = format!("{:.0} %", 100.0 * stepping / worker);
            let [plain, worker, stepping, collecting] =
                [plain, worker, stepping, collecting].map(|steps| figure(*steps));
            table.push([
                (*env).into(),
                n_envs.to_string(),
                plain,
                worker,
                stepping,
                share,
                collecting,
            ]);
        }
        table.text()
    }

    fn learning_table(&self) -> String {
        let own = ["environment", "the engine"];
        let mut table = Table::new(own.into_iter().chain(PEERS.map(|peer| peer.title)));
        for Learned { env, engine, peers } in &self.learned {
            let all = std::iter::once(engine).chain(peers);
            let cells = all.map(|steps| steps.map_or("–".into(), figure));
            table.push(std::iter::once((*env).into()).chain(cells));
        }
        table.text()
    }
}
