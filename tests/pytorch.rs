//! The lines of PyTorch in `docs/checkpoints.md`, run as they stand there.

use impala::run::sizes::Sizes;
use impala::space::{ActionBuffer, ObsBuffer};
use std::path::Path;
use std::process::Command;

use impala::actor::policy::Policy;
use impala::config::Config;
use impala::kernels::Simd;
use impala::network::Arithmetic;
use impala::run::first_state::fresh_state;
use impala::state::checkpoint::Checkpoint;

const DOC: &str = include_str!("../docs/checkpoints.md");

/// An interpreter of one's own choice, such as that of a virtual environment with torch.
fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn has_torch() -> bool {
    let found = Command::new(python()).args(["-c", "import torch, safetensors.torch"]).output();
    found.is_ok_and(|output| output.status.success())
}

/// A network that was never trained, saved where the lines look for it.
fn save(folder: &Path, hidden: Vec<usize>, seed: u64) -> Checkpoint {
    let mut config = Config { seed, ..Config::default() };
    config.network.hidden = hidden;
    let Sizes { spec, network, .. } = Sizes::of(&config).unwrap();
    let checkpoint = Checkpoint {
        spec,
        network,
        state: fresh_state(&config).unwrap(),
        settings: config.to_toml(),
        elapsed_ns: 0,
    };
    let run = folder.join("results/latest");
    std::fs::create_dir_all(&run).unwrap();
    checkpoint.save(&run.join("checkpoint.safetensors")).unwrap();
    checkpoint
}

/// What our own policy does where the environment shows zeros.
fn greedy_action(checkpoint: &Checkpoint) -> i32 {
    let Checkpoint { spec, network, state, .. } = checkpoint;
    let mut policy = Policy::new(0, network, &spec.actions, Arithmetic::with(Simd::detect()), 1, 0);
    policy.params_mut().copy_from_slice(&state.params);
    let mut actions = ActionBuffer::zeros(&spec.actions, 1);
    policy.greedy(ObsBuffer::zeros(&spec.obs, 1).view(), actions.view_mut());
    actions.view().index_row()[0]
}

#[test]
fn the_documented_lines_load_the_policy_and_act_as_it_does() {
    let lines = DOC.split_once("```python\n").and_then(|(_, rest)| rest.split_once("```"));
    let (lines, _) = lines.expect("docs/checkpoints.md has a block of Python");
    assert_eq!(lines.lines().count(), 10, "ten lines");
    if !has_torch() {
        eprintln!("SKIPPED: {} has no torch and safetensors; set PYTHON to one that has", python());
        return;
    }
    let mut seen = Vec::new();
    for seed in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let hidden = if seed % 2 == 0 { vec![64, 64] } else { vec![8; 7] };
        let expected = greedy_action(&save(folder.path(), hidden, seed));
        let program = format!("{lines}print(action)");
        let mut command = Command::new(python());
        let output = command.args(["-c", &program]).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected.to_string());
        seen.push(expected);
    }
    assert!(seen.contains(&0) && seen.contains(&1), "a constant would pass too: {seen:?}");
}
