//! The Python package of the wheel: it trains, reads a run, and acts as the engine does.
//!
//! `make test-wheel` builds the wheel, installs it into a fresh virtual environment and runs this. Elsewhere it is
//! skipped, loudly.

use std::path::{Path, PathBuf};
use std::process::Command;

use impala::actor::policy::Policy;
use impala::kernels::Simd;
use impala::network::params::ParamLayout;
use impala::network::{Arithmetic, NetworkSpec, Torso};
use impala::space::{ActionBuffer, ActionMap, ActionSpace, ObsBuffer, ObsMut, ObsSpace, Spec};
use impala::state::checkpoint::Checkpoint;
use impala::state::{Counters, LearnerState, OptimizerState, SCORE_WINDOW};
use serde_json::{Value, json};

/// Observations of each policy.
const N: usize = 24;

/// The Python of the environment that has the wheel.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("IMPALA_WHEEL_PYTHON").map(PathBuf::from);
    if python.is_none() {
        eprintln!("SKIPPED: there is no wheel; `make test-wheel` builds one and comes back here");
    }
    python
}

/// What a program of Python prints, where it runs to its end.
fn run(python: &Path, program: &str, folder: &Path, input: &[&str]) -> String {
    let mut command = Command::new(python);
    let output = command.args(["-c", program]).args(input).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn spec(obs: ObsSpace, actions: ActionSpace) -> Spec {
    Spec { id: "Made-v0".into(), obs, actions, max_episode_steps: None, reward_threshold: None }
}

/// A policy that was never trained, as a checkpoint. One of numbers that squashes actions normalises observations.
fn untrained(spec: Spec, torso: Torso, squash: bool) -> Checkpoint {
    let network = NetworkSpec { normalizes: squash, ..NetworkSpec::of(&spec, torso) };
    let layout = ParamLayout::new(&network);
    let mut params = layout.init(5);
    // Neither 0 and 1, nor the same for each number.
    params[layout.statistics()].iter_mut().zip(1u8..).for_each(|(x, i)| *x += 0.1 * f32::from(i));
    // So large that what is observed decides, not the biases.
    params.iter_mut().for_each(|param| *param *= 3.0);
    let optimizer = OptimizerState::fresh(params.len(), 1);
    let state = LearnerState {
        counters: Counters::default(),
        recent_returns: [0.0; SCORE_WINDOW],
        return_stats: Default::default(),
        params,
        optimizer,
    };
    Checkpoint {
        spec,
        network,
        state,
        settings: format!("squash_actions = {squash}"),
        elapsed_ns: 0,
    }
}

/// Observations drawn by a plain recipe: as our policy takes them, and as the environment shows them, a list each.
fn observations(space: &ObsSpace) -> (ObsBuffer, Vec<Vec<f32>>) {
    let mut obs = ObsBuffer::zeros(space, N);
    let number = |frame: usize, i: usize| ((frame * 131 + i * 37 + 11) % 97) as f32 / 97.0;
    match obs.view_mut() {
        ObsMut::Numbers(mut room) => {
            room.indexed_iter_mut()
                .for_each(|((i, frame), room)| *room = 8.0 * number(frame, i) - 4.0);
        }
        ObsMut::Pixels(mut room) => {
            let pixel = |frame, i| u8::from(number(frame, i) > 0.8);
            room.indexed_iter_mut().for_each(|((frame, i), room)| *room = pixel(frame, i));
        }
    }
    let frames = (0..N).map(|frame| obs.view().frame(frame)).collect();
    if let Some(maps) = space.input_maps() {
        let mut rows = obs.view_mut();
        for (map, mut row) in maps.iter().zip(rows.numbers().rows_mut()) {
            map.map(row.as_slice_mut().unwrap());
        }
    }
    (obs, frames)
}

/// What our own policy does, a list each; numbers as the environment takes them.
fn greedy(checkpoint: &Checkpoint, obs: &ObsBuffer, squash: bool) -> Vec<Vec<f64>> {
    let Checkpoint { spec, network, state, .. } = checkpoint;
    let mut policy = Policy::new(0, network, &spec.actions, Arithmetic::with(Simd::detect()), N, 0);
    policy.params_mut().copy_from_slice(&state.params);
    let mut actions = ActionBuffer::zeros(&spec.actions, N);
    policy.greedy(obs.view(), actions.view_mut());
    let of_frame = |frame: usize| match &spec.actions {
        ActionSpace::Box { low, high } => {
            let taken = |(k, &drawn): (usize, &f32)| {
                f64::from(ActionMap::of([low[k], high[k]], squash).taken(drawn))
            };
            actions.view().numbers().column(frame).iter().enumerate().map(taken).collect()
        }
        _ => actions.view().indices().column(frame).iter().map(|&index| f64::from(index)).collect(),
    };
    (0..N).map(of_frame).collect()
}

const ACT: &str = "
import json, sys
import numpy as np
from impala_shm import Policy
policy = Policy('policy.safetensors')
shape = json.loads(sys.argv[1])
obs = np.array(json.load(open('obs.json')), np.float32).reshape([-1, *shape])
together = policy.predict(obs)
apart = np.stack([policy.predict(one) for one in obs])
np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)
if len(shape) == 3:
    np.testing.assert_array_equal(together, policy.predict(obs.transpose(0, 2, 3, 1)))
drawn = policy.predict(obs, sampled=True, rng=np.random.default_rng(1))
assert drawn.shape == together.shape and (drawn != together).any()
print(json.dumps(together.reshape(len(obs), -1).tolist()))
";

#[test]
fn its_policies_act_as_ours_do() {
    let Some(python) = python() else { return };
    let mlp = || Torso::Mlp { hidden: vec![16, 12] };
    let bounded = || ObsSpace::bounded(&[[-1.2, 0.6], [-0.07, 0.07], [0.0, 2.0]]);
    let numbers =
        || ActionSpace::Box { low: vec![-2.0, 0.0, f32::MIN], high: vec![2.0, 6.0, f32::MAX] };
    let planes = || ObsSpace::planes(4, 10, 10);
    let cases = [
        (spec(ObsSpace::vector(4), ActionSpace::Discrete(3)), mlp(), false),
        (spec(bounded(), ActionSpace::MultiDiscrete(vec![3, 2, 4])), mlp(), false),
        (spec(bounded(), numbers()), mlp(), false),
        (spec(bounded(), numbers()), mlp(), true),
        (spec(planes(), ActionSpace::Discrete(5)), mlp(), false),
        (spec(planes(), ActionSpace::Discrete(5)), Torso::Minatar, false),
    ];
    for (spec, torso, squash) in cases {
        let folder = tempfile::tempdir().unwrap();
        let shape = match &spec.obs {
            ObsSpace::Vector { len, .. } => json!([len]),
            ObsSpace::Image { shape, .. } => json!(shape),
        };
        let (obs, frames) = observations(&spec.obs);
        let checkpoint = untrained(spec, torso, squash);
        checkpoint.save(&folder.path().join("policy.safetensors")).unwrap();
        std::fs::write(folder.path().join("obs.json"), json!(frames).to_string()).unwrap();
        let acted = run(&python, ACT, folder.path(), &[&shape.to_string()]);
        let acted: Vec<Vec<f64>> = serde_json::from_str(&acted).unwrap();
        let ours = greedy(&checkpoint, &obs, squash);
        let what = &checkpoint.spec.actions;
        for (theirs, ours) in acted.iter().zip(&ours) {
            approx::assert_relative_eq!(theirs[..], ours[..], max_relative = 1e-4, epsilon = 1e-5);
        }
        assert_eq!(acted.len(), N);
        assert!(ours.iter().any(|action| *action != ours[0]), "a constant would pass too: {what}");
    }
}

const TRAIN: &str = "
import json, sys
import numpy as np
import impala_shm
run = impala_shm.train('CartPole-v1', frames=200_000, run_dir='run', actors={'count': 2}, report={'eval_episodes': 0})
metrics = run.metrics()
policy = run.policy()
print(json.dumps({
    'frames': run.summary['frames'], 'last_row': metrics['frames'][-1], 'columns': len(metrics),
    'actors': run.settings['actors']['count'], 'report': run.report.is_file(),
    'action': int(policy.predict(np.zeros(4))), 'score': run.evaluate(episodes=20)['mean'],
}))
try:
    impala_shm.train('CartPole-v1', frames=0)
except impala_shm.ImpalaError as error:
    assert error.status == 2 and 'frames' in str(error), error
else:
    raise AssertionError('0 frames were taken')
";

#[test]
fn it_trains_reads_the_run_and_raises_what_the_command_says() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let said: Value = serde_json::from_str(&run(&python, TRAIN, folder.path(), &[])).unwrap();
    let number = |key: &str| said[key].as_f64().unwrap();
    assert!(number("frames") >= 200_000.0, "{said}");
    assert_eq!(number("frames"), number("last_row"), "{said}");
    assert!(number("columns") > 20.0 && number("actors") == 2.0, "{said}");
    assert!(said["report"] == true && number("score") > 50.0, "{said}");
}
