//! What ranks agree on before they learn: settings as text to compare, and a state as bytes to begin with.
//!
//! Called by whatever joins machines.

use crate::config::{Config, dotted};
use crate::state::{Counters, LearnerState, RecentReturns};

/// Settings in which machines may differ, and everything that a run says of itself alone.
const OF_ONE_MACHINE: [&str; 4] = ["kernels", "learner_threads", "batch_threads", "python"];

/// All that ranks must have in common, a line each.
pub fn settings_of(config: &Config) -> String {
    let table = config.to_toml().parse().expect("a configuration's own TOML parses");
    let settings =
        dotted(&table).into_iter().filter(|(name, _)| !OF_ONE_MACHINE.contains(&name.as_str()));
    let lines = settings.map(|(name, value)| format!("{name} = {value}\n"));
    std::iter::once(format!("version = {}\n", env!("CARGO_PKG_VERSION"))).chain(lines).collect()
}

/// A state, for the other ranks to go on from.
pub fn bytes_of(state: &LearnerState) -> Vec<u8> {
    // Statistics of returns are refused where several ranks learn; who is alone keeps its own.
    let LearnerState { counters, recent_returns, params, optimizer, .. } = state;
    let mut bytes = bytemuck::bytes_of(counters).to_vec();
    bytes.extend_from_slice(bytemuck::cast_slice(recent_returns));
    bytes.extend_from_slice(&optimizer.n_steps.to_ne_bytes());
    for values in [params, &optimizer.square, &optimizer.mean] {
        bytes.extend_from_slice(bytemuck::cast_slice(values));
    }
    bytes
}

/// The other way; `bytes` are of a state of the same size.
///
/// # Panics
/// If they are not.
pub fn set_from_bytes(state: &mut LearnerState, mut bytes: &[u8]) {
    fn next<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(n);
        *bytes = rest;
        taken
    }
    state.counters = bytemuck::pod_read_unaligned(next(&mut bytes, size_of::<Counters>()));
    let returns = bytemuck::cast_slice_mut(&mut state.recent_returns);
    returns.copy_from_slice(next(&mut bytes, size_of::<RecentReturns>()));
    state.optimizer.n_steps = bytemuck::pod_read_unaligned(next(&mut bytes, size_of::<u64>()));
    for values in [&mut state.params, &mut state.optimizer.square, &mut state.optimizer.mean] {
        let values = bytemuck::cast_slice_mut(values);
        values.copy_from_slice(next(&mut bytes, values.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{OptimizerState, ReturnStats, SCORE_WINDOW};

    #[test]
    fn a_state_travels_whole() {
        let vector = |from: usize| (from..from + 5).map(|i| i as f32).collect::<Vec<_>>();
        let mut recent_returns = [0.0; SCORE_WINDOW];
        recent_returns[7] = 3.5;
        let sent = LearnerState {
            counters: Counters { frames: 1, updates: 2, episodes: 3, ..Counters::default() },
            recent_returns,
            return_stats: ReturnStats::default(),
            params: vector(10),
            optimizer: OptimizerState { n_steps: 9, square: vector(20), mean: vector(30) },
        };
        let mut got = LearnerState { params: vec![0.0; 5], ..sent.clone() };
        got.counters = Counters::default();
        got.optimizer = OptimizerState::fresh(5, 2);
        got.recent_returns = [0.0; SCORE_WINDOW];
        set_from_bytes(&mut got, &bytes_of(&sent));
        assert_eq!(got, sent);
    }

    #[test]
    fn settings_of_one_machine_may_differ_and_no_others() {
        let config = |change: &dyn Fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            settings_of(&config)
        };
        let first = config(&|_| ());
        assert_eq!(config(&|config| config.kernels = "portable".into()), first);
        assert_eq!(config(&|config| config.learner_threads = 1), first);
        assert_ne!(config(&|config| config.optimizer.alpha = 0.9), first);
        assert_eq!(first.lines().count(), config(&|config| config.seed = 7).lines().count());
    }
}
