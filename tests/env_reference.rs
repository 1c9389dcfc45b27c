//! Every registered environment against recorded Gymnasium, bit for bit.
//!
//! `tests/reference/<id>.jsonl` holds one episode a line, from `make_gymnasium_golden.py` beside it;
//! `CartPole-v1.vector.jsonl` holds a vector with autoreset, from `make_vector_golden.py`. An environment
//! in the registry without a recording fails here.

use std::path::PathBuf;

use impala::env::{EnvArgs, Registry, StepBuffer, VecEnv};
use impala::rollout::StepKind;
use impala::space::Actions;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// One episode as Gymnasium played it; T steps.
#[derive(Deserialize)]
struct Recording {
    seed: u64,
    /// `[T+1][D]`
    obs: Vec<Vec<f32>>,
    /// The last four: `[T]`
    action: Vec<i32>,
    reward: Vec<f32>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    /// First observations of the episodes that follow on the same generator, `[3][D]`
    next_resets: Vec<Vec<f32>>,
}

/// First line of the vector's recording.
#[derive(Deserialize)]
struct VectorSettings {
    env: String,
    n_envs: usize,
    seed: u32,
    n_steps: usize,
    /// `[E][D]`
    obs: Vec<Vec<f32>>,
}

/// A row on which an episode ended or began.
#[derive(Deserialize)]
struct VectorEvent {
    t: usize,
    e: usize,
    kind: String,
    reward: f32,
    obs: Vec<f32>,
    length: u32,
}

/// A vector with the buffers of one step.
struct Player {
    envs: Box<dyn VecEnv>,
    room: StepBuffer,
}

impl Player {
    fn new(id: &str, n_envs: usize, seed: u64) -> Self {
        let registry = Registry::default();
        let envs = registry.make_vec(id, &EnvArgs::default(), n_envs, seed).unwrap();
        let room = StepBuffer::new(envs.spec(), n_envs);
        Self { envs, room }
    }

    fn reset(&mut self) {
        self.room.reset(&mut *self.envs).unwrap();
    }

    /// Steps; returns and lengths of the episodes that ended, in the order of the environments.
    fn step(&mut self, actions: &[i32]) -> Vec<(f32, u32)> {
        self.room.step(&mut *self.envs, Actions::of_indices(actions)).unwrap();
        self.room.episodes().collect()
    }

    fn obs(&self, e: usize) -> Vec<f32> {
        self.room.obs.view().frame(e)
    }

    fn assert_obs(&self, e: usize, expected: &[f32], what: &str) {
        let bits =
            |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        let obs = self.obs(e);
        assert_eq!(bits(&obs), bits(expected), "{what}: {obs:?}, Gymnasium has {expected:?}");
    }
}

fn lines(file: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(file);
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}; record it first", path.display()));
    text.lines().map(str::to_owned).collect()
}

fn parsed<T: DeserializeOwned>(line: &str) -> T {
    serde_json::from_str(line).unwrap()
}

fn expected_kind(terminated: bool, truncated: bool) -> StepKind {
    match (terminated, truncated) {
        (true, _) => StepKind::TERMINATED,
        (false, true) => StepKind::TRUNCATED,
        (false, false) => StepKind::ORDINARY,
    }
}

/// A policy under which CartPole lives to the time limit; `obs` is one observation.
fn balance(obs: &[f32]) -> i32 {
    i32::from(obs[2] + 0.5 * obs[3] + 0.05 * obs[0] + 0.1 * obs[1] > 0.0)
}

fn lcg_next(state: u32) -> u32 {
    state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

fn replay(id: &str, recording: &Recording) {
    let mut player = Player::new(id, 1, recording.seed);
    player.reset();
    player.assert_obs(0, &recording.obs[0], "first observation");
    for (t, &action) in recording.action.iter().enumerate() {
        let what = format!("{id}, seed {}, step {t}", recording.seed);
        player.step(&[action]);
        player.assert_obs(0, &recording.obs[t + 1], &what);
        assert_eq!(player.room.rewards[0].to_bits(), recording.reward[t].to_bits(), "{what}");
        assert_eq!(
            player.room.kinds[0],
            expected_kind(recording.terminated[t], recording.truncated[t]),
            "{what}"
        );
    }
    for first in &recording.next_resets {
        player.reset();
        player.assert_obs(0, first, "a later reset");
    }
}

#[test]
fn every_registered_environment_replays_its_recordings() {
    for id in Registry::default().ids() {
        let recordings = lines(&format!("{id}.jsonl"));
        assert!(!recordings.is_empty(), "{id} has no recording");
        let recordings: Vec<Recording> = recordings.iter().map(|line| parsed(line)).collect();
        recordings.iter().for_each(|recording| replay(id, recording));
        let truncated = |recording: &Recording| recording.truncated.last() == Some(&true);
        assert!(recordings.iter().any(truncated), "no recording of {id} reaches the time limit");
    }
}

#[test]
fn a_vector_ends_and_resets_on_the_rows_on_which_gymnasium_does() {
    let file = lines("CartPole-v1.vector.jsonl");
    let settings: VectorSettings = parsed(&file[0]);
    let mut events = file[1..].iter().map(|line| parsed::<VectorEvent>(line)).peekable();
    let mut player = Player::new(&settings.env, settings.n_envs, settings.seed.into());
    player.reset();
    for (e, obs) in settings.obs.iter().enumerate() {
        player.assert_obs(e, obs, "first observation");
    }
    let mut lcg = settings.seed;
    for t in 0..settings.n_steps {
        let actions = vector_actions(&player, &mut lcg);
        let mut episodes = player.step(&actions).into_iter();
        for e in 0..settings.n_envs {
            let event = events.next_if(|event| (event.t, event.e) == (t, e));
            assert_row(&player, t, e, event.as_ref(), &mut episodes);
        }
        assert_eq!(episodes.next(), None, "step {t}: episodes that Gymnasium does not have");
    }
    assert_eq!(events.count(), 0, "events that were never reached");
}

/// As `make_vector_golden.py`: even environments at random, odd ones balance.
fn vector_actions(player: &Player, lcg: &mut u32) -> Vec<i32> {
    let act = |e: usize| {
        *lcg = lcg_next(*lcg);
        if e.is_multiple_of(2) { (*lcg >> 31) as i32 } else { balance(&player.obs(e)) }
    };
    (0..player.envs.n_envs()).map(act).collect()
}

fn assert_row(
    player: &Player,
    t: usize,
    e: usize,
    event: Option<&VectorEvent>,
    episodes: &mut impl Iterator<Item = (f32, u32)>,
) {
    let what = format!("step {t} of environment {e}");
    let Some(event) = event else {
        assert_eq!(player.room.kinds[e], StepKind::ORDINARY, "{what}");
        return;
    };
    player.assert_obs(e, &event.obs, &what);
    assert_eq!(player.room.rewards[e], event.reward, "{what}");
    match event.kind.as_str() {
        "reset" => assert_eq!(player.room.kinds[e], StepKind::RESET, "{what}"),
        kind => {
            assert_eq!(
                player.room.kinds[e],
                expected_kind(kind == "terminated", kind == "truncated"),
                "{what}"
            );
            assert_eq!(episodes.next(), Some((event.length as f32, event.length)), "{what}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_balanced_pole_is_truncated_at_exactly_the_500th_step(seed in any::<u64>()) {
        let mut player = Player::new("CartPole-v1", 1, seed);
        player.reset();
        for episode in 0..3 {
            for step in 1..=500 {
                let episodes = player.step(&[balance(&player.obs(0))]);
                let last = step == 500;
                let kind = if last { StepKind::TRUNCATED } else { StepKind::ORDINARY };
                prop_assert_eq!(player.room.kinds[0], kind, "episode {}, step {}", episode, step);
                prop_assert_eq!(episodes, if last { vec![(500.0, 500)] } else { vec![] });
            }
            prop_assert_eq!(player.step(&[0]), vec![]);
            prop_assert_eq!((player.room.kinds[0], player.room.rewards[0]), (StepKind::RESET, 0.0));
            prop_assert!(player.obs(0).iter().all(|number| number.abs() <= 0.05));
        }
    }
}
