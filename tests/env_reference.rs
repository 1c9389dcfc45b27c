//! Every registered environment against its recorded original, bit for bit.
//!
//! `tests/reference/<id>.jsonl` holds one episode a line, from `make_gymnasium_golden.py` beside it;
//! `CartPole-v1.vector.jsonl` holds a vector with autoreset, from `make_vector_golden.py`;
//! `MinAtar-<game>.jsonl` and `MinAtar-<game>-rare.jsonl` hold a run of many episodes a line, from
//! `make_minatar_golden.py` and `make_minatar_rare.py`. An environment in the registry without a recording fails
//! here. Without an original are PixelCatch-v0, whose every picture a test of its own expects, and TMaze-v0, which is
//! walked by a test of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use flate2::Crc;
use impala::env::{EnvArgs, NumpyRng, Registry, StepBuffer, VecEnv};
use impala::rollout::StepKind;
use impala::space::{ActionSpace, Actions, Obs, ObsSpace};
use ndarray::ArrayView2;
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Value;

/// One episode as Gymnasium played it; T steps.
#[derive(Deserialize)]
struct Recording {
    seed: u64,
    /// `[T+1][D]`
    obs: Vec<Vec<f32>>,
    /// The last four: `[T]`
    action: Vec<RecordedAction>,
    reward: Vec<f32>,
    terminated: Vec<bool>,
    truncated: Vec<bool>,
    /// First observations of the episodes that follow on the same generator, `[3][D]`
    next_resets: Vec<Vec<f32>>,
}

/// An index, or the numbers of a Box, some of them beyond its bounds.
#[derive(Deserialize)]
#[serde(untagged)]
enum RecordedAction {
    Index(i32),
    Numbers(Vec<f32>),
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

/// Many episodes of one of MinAtar's games, as its package played them.
#[derive(Deserialize)]
struct Run {
    seed: u64,
    /// The version's moves by their first letters, in the order of their indices.
    actions: Vec<char>,
    /// `[C, 10, 10]`
    shape: [usize; 3],
    /// The first observation, its bits packed, as hex.
    first: String,
    step: Vec<RunStep>,
    /// Some whole observations by the index of their step, as `first`.
    full: BTreeMap<usize, String>,
}

/// A step of a [`Run`], with the CRC-32 of the packed observation as hex.
#[derive(Deserialize)]
#[serde(untagged)]
enum RunStep {
    /// Action, reward, whether the game is over.
    Ordinary(usize, f32, bool, String),
    /// The word "reset".
    Reset(String, String),
}

/// A vector with the buffers of one step.
struct Player {
    envs: Box<dyn VecEnv>,
    room: StepBuffer,
}

impl Player {
    fn new(id: &str, n_envs: usize, seed: u64) -> Self {
        Self::with_args(id, &EnvArgs::default(), n_envs, seed)
    }

    fn with_args(id: &str, args: &EnvArgs, n_envs: usize, seed: u64) -> Self {
        let envs = Registry::default().make_vec(id, args, n_envs, seed).unwrap();
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

    /// Steps the only environment.
    fn step_as_recorded(&mut self, action: &RecordedAction) {
        let numbers;
        let actions = match action {
            RecordedAction::Index(index) => Actions::of_indices(std::slice::from_ref(index)),
            RecordedAction::Numbers(action) => {
                numbers = ArrayView2::from_shape((action.len(), 1), action).unwrap();
                Actions::Numbers(numbers)
            }
        };
        self.room.step(&mut *self.envs, actions).unwrap();
    }

    fn obs(&self, e: usize) -> Vec<f32> {
        self.room.obs.view().frame(e)
    }

    fn n_actions(&self) -> usize {
        let ActionSpace::Discrete(n_actions) = self.envs.spec().actions else {
            panic!("{}", self.envs.spec())
        };
        n_actions
    }

    /// The pixels of all environments, `[E, C, H, W]`.
    fn pixels(&self) -> &[u8] {
        let Obs::Pixels(pixels) = self.room.obs.view() else { panic!("{}", self.envs.spec()) };
        pixels.to_slice().unwrap()
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
    for (t, action) in recording.action.iter().enumerate() {
        let what = format!("{id}, seed {}, step {t}", recording.seed);
        player.step_as_recorded(action);
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

/// Eight bits to a byte, the first one highest; the last byte is filled with zeros.
fn packed(bits: &[u8]) -> Vec<u8> {
    assert!(bits.iter().all(|bit| *bit <= 1), "a bit is 0 or 1");
    let byte = |bits: &[u8]| (0..8).fold(0, |byte, i| byte << 1 | bits.get(i).unwrap_or(&0));
    bits.chunks(8).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn crc32(bytes: &[u8]) -> String {
    let mut crc = Crc::new();
    crc.update(bytes);
    format!("{:08x}", crc.sum())
}

/// Replays a run of the game's own moves, whose indices are those of the same moves among `moves`.
fn replay_run(id: &str, moves: &[char], run: &Run) {
    let mut player = Player::new(id, 1, run.seed);
    assert_eq!(player.envs.spec().obs, ObsSpace::Image { shape: run.shape, high: 1 }, "{id}");
    assert_eq!(player.n_actions(), moves.len(), "{id}");
    player.reset();
    assert_eq!(hex(&packed(player.pixels())), run.first, "{id}, seed {}", run.seed);
    for (t, step) in run.step.iter().enumerate() {
        let what = format!("{id}, seed {}, step {t}", run.seed);
        let (action, reward, kind, crc) = match step {
            RunStep::Reset(word, crc) => {
                assert_eq!(word, "reset");
                (0, 0.0, StepKind::RESET, crc)
            }
            RunStep::Ordinary(action, reward, is_over, crc) => {
                let name = run.actions[*action];
                let action = moves.iter().position(|other| *other == name).unwrap();
                (action as i32, *reward, expected_kind(*is_over, false), crc)
            }
        };
        player.step(&[action]);
        let packed = packed(player.pixels());
        if let Some(full) = run.full.get(&t) {
            assert_eq!(&hex(&packed), full, "{what}");
        }
        assert_eq!(&crc32(&packed), crc, "{what}: {}", hex(&packed));
        assert_eq!((player.room.rewards[0], player.room.kinds[0]), (reward, kind), "{what}");
    }
}

/// Version 1 of a game takes its recorded moves by their indices, version 0 among all six.
fn replay_game(id: &str, game: &str, version: &str) {
    for file in [format!("MinAtar-{game}.jsonl"), format!("MinAtar-{game}-rare.jsonl")] {
        let runs: Vec<Run> = lines(&file).iter().map(|line| parsed(line)).collect();
        assert!(!runs.is_empty(), "{id} has no recording");
        for run in &runs {
            let moves = match version {
                "v1" => &run.actions[..],
                _ => &['n', 'l', 'u', 'r', 'd', 'f'],
            };
            replay_run(id, moves, run);
        }
    }
}

fn replay_episodes(id: &str) {
    let recordings = lines(&format!("{id}.jsonl"));
    assert!(!recordings.is_empty(), "{id} has no recording");
    let recordings: Vec<Recording> = recordings.iter().map(|line| parsed(line)).collect();
    recordings.iter().for_each(|recording| replay(id, recording));
    let truncated = |recording: &Recording| recording.truncated.last() == Some(&true);
    assert!(recordings.iter().any(truncated), "no recording of {id} reaches the time limit");
}

#[test]
fn every_registered_environment_replays_its_recordings() {
    for id in Registry::default().ids().filter(|id| !["PixelCatch-v0", "TMaze-v0"].contains(id)) {
        let game = id.strip_prefix("MinAtar/").and_then(|game| game.split_once('-'));
        match game {
            Some((game, version)) => replay_game(id, game, version),
            None => replay_episodes(id),
        }
    }
}

/// What a game shows first and after each of these actions.
fn shown(id: &str, args: &[(&str, Value)], seed: u64, actions: &[i32]) -> Vec<Vec<u8>> {
    let mut env_args = EnvArgs::default();
    args.iter().for_each(|(name, value)| env_args.set(name, value.clone()));
    let mut player = Player::with_args(id, &env_args, 1, seed);
    player.reset();
    let mut shown = vec![packed(player.pixels())];
    for action in actions {
        player.step(&[*action]);
        shown.push(packed(player.pixels()));
    }
    shown
}

#[test]
fn sticky_actions_are_drawn_whatever_their_probability() {
    for id in Registry::default().ids().filter(|id| id.starts_with("MinAtar/")) {
        let stick = |prob: f64| [("sticky_action_prob", prob.into())];
        let (idle, busy) = ([0; 600], std::array::from_fn::<i32, 600, _>(|t| t as i32 % 3));
        let expected = shown(id, &[], 7, &idle);
        assert_eq!(shown(id, &stick(0.0), 7, &idle), expected, "{id}: nothing is done either way");
        assert_eq!(shown(id, &stick(1.0), 7, &busy), expected, "{id}: what is done never changes");
        assert_ne!(shown(id, &stick(0.0), 7, &busy), expected, "{id}");
    }
    let mut args = EnvArgs::default();
    args.set("sticky_action_prob", 1.5.into());
    let message = Registry::default().spec("MinAtar/Freeway-v1", &args).unwrap_err().to_string();
    assert!(message.contains("sticky_action_prob = 1.5: must be 0 to 1"), "{message}");
}

#[test]
fn moves_that_a_game_does_not_know_do_nothing() {
    for (game, unknown) in [
        ("Breakout", &[2, 4, 5][..]),
        ("SpaceInvaders", &[2, 4]),
        ("Freeway", &[1, 3, 5]),
        ("Asterix", &[5]),
    ] {
        let id = format!("MinAtar/{game}-v0");
        let actions: Vec<i32> = (0..600).map(|t| unknown[t % unknown.len()]).collect();
        assert_eq!(shown(&id, &[], 7, &actions), shown(&id, &[], 7, &[0; 600]), "{id}");
    }
}

#[test]
fn three_games_grow_harder_unless_they_are_told_not_to() {
    let grow = ["Asterix", "Seaquest", "SpaceInvaders"];
    for game in ["Breakout", "Freeway"].iter().chain(&grow) {
        let id = format!("MinAtar/{game}-v1");
        let runs: Vec<Run> =
            lines(&format!("MinAtar-{game}-rare.jsonl")).iter().map(|line| parsed(line)).collect();
        let is_as_recorded = |ramping: bool| {
            runs.iter().all(|run| {
                let action = |step: &RunStep| match step {
                    RunStep::Ordinary(action, ..) => *action as i32,
                    RunStep::Reset(..) => 0,
                };
                let actions: Vec<i32> = run.step.iter().map(action).collect();
                let shown =
                    shown(&id, &[("difficulty_ramping", ramping.into())], run.seed, &actions);
                run.full.iter().all(|(t, full)| &hex(&shown[t + 1]) == full)
            })
        };
        assert!(is_as_recorded(true), "{id}");
        assert_eq!(is_as_recorded(false), !grow.contains(game), "{id}");
    }
}

/// The picture of PixelCatch-v0, pixel by pixel.
fn catch_picture(size: usize, ball: [usize; 2], paddle: usize) -> Vec<u8> {
    let cell = |pixel: usize| (10 * (pixel + 1)).div_ceil(size) - 1;
    let pixel = |i: usize| {
        let at = [cell(i % size), cell(i / size)];
        if at == ball || at == [paddle, 9] { 255 } else { 0 }
    };
    (0..size * size).map(pixel).collect()
}

#[test]
fn pixel_catch_shows_what_its_rules_say() {
    // NumPy's default_rng(0) draws 0.637 first.
    assert_eq!((10.0 * NumpyRng::new(0).random()) as usize, 6);
    for size in [24, 37, 84] {
        let mut args = EnvArgs::default();
        args.set("size", (size as i64).into());
        for (actions, reward) in [([1, 2, 2, 1, 0, 0, 0, 2, 2], 1.0), ([0; 9], -1.0)] {
            let mut player = Player::with_args("PixelCatch-v0", &args, 1, 0);
            player.reset();
            let mut paddle: i32 = 5;
            assert_eq!(player.pixels(), catch_picture(size, [6, 0], 5), "size {size}");
            for (step, action) in (1..).zip(actions) {
                let episodes = player.step(&[action]);
                paddle = (paddle + action - 1).max(0);
                let expected = catch_picture(size, [6, step], paddle as usize);
                assert_eq!(player.pixels(), expected, "size {size}, step {step}");
                let is_last = step == 9;
                assert_eq!(player.room.kinds[0], expected_kind(is_last, false), "step {step}");
                assert_eq!(player.room.rewards[0], if is_last { reward } else { 0.0 });
                assert_eq!(episodes, if is_last { vec![(reward, 9)] } else { vec![] });
            }
        }
    }
    for size in [23, 85] {
        let mut args = EnvArgs::default();
        args.set("size", size.into());
        let message = Registry::default().spec("PixelCatch-v0", &args).unwrap_err().to_string();
        assert!(message.contains(&format!("size = {size}: must be 24 to 84")), "{message}");
    }
}

/// The observations, rewards and kinds of walks through TMaze-v0, from its start.
fn walked(length: i64, seed: u64, actions: &[i32]) -> (Vec<Vec<f32>>, Vec<f32>, Vec<StepKind>) {
    let mut args = EnvArgs::default();
    args.set("length", length.into());
    let mut player = Player::with_args("TMaze-v0", &args, 1, seed);
    player.reset();
    let (mut obs, mut rewards, mut kinds) = (vec![player.obs(0)], Vec::new(), Vec::new());
    for action in actions {
        player.step(&[*action]);
        obs.push(player.obs(0));
        rewards.push(player.room.rewards[0]);
        kinds.push(player.room.kinds[0]);
    }
    (obs, rewards, kinds)
}

#[test]
fn a_t_maze_is_what_its_rules_say() {
    let (on, end, reset) = (StepKind::ORDINARY, StepKind::TERMINATED, StepKind::RESET);
    let [left, right] = [1.0, -1.0]
        .map(|signal| (0..).find(|seed| walked(2, *seed, &[]).0[0] == [signal, 0.0]).unwrap());
    for (seed, turn, reward) in [(left, 1, 4.0), (left, 2, -0.1), (right, 1, -0.1), (right, 2, 4.0)]
    {
        // Into the wall at the start, back at the start, on, back, on, on, on at the junction, the turn.
        let (obs, rewards, kinds) = walked(2, seed, &[1, 3, 0, 3, 0, 0, 0, turn, 0]);
        assert_eq!(rewards, [-0.1, -0.1, 0.0, -0.1, 0.0, 0.0, -0.1, reward, 0.0]);
        assert_eq!(kinds, [on, on, on, on, on, on, on, end, reset]);
        let junction: Vec<f32> = obs.iter().map(|obs| obs[1]).collect();
        assert_eq!(junction, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
        let signals: Vec<f32> = obs[1..9].iter().map(|obs| obs[0]).collect();
        assert_eq!(signals, [0.0; 8], "it is shown once");
        assert_eq!(obs[9][0].abs(), 1.0, "and again after the reset");
    }
    let (obs, rewards, kinds) = walked(10, left, &[0; 41]);
    assert_eq!(obs[10], [0.0, 1.0]);
    assert_eq!((rewards[9], rewards[10]), (0.0, -0.1));
    assert_eq!(kinds[39], StepKind::TRUNCATED, "the limit is four times the length");
    let n_left = (0..400).filter(|seed| walked(1, *seed, &[]).0[0][0] == 1.0).count();
    assert!((150..250).contains(&n_left), "{n_left} of 400 to the left");
    for length in [0, -1, 20_001] {
        let mut args = EnvArgs::default();
        args.set("length", length.into());
        let message = Registry::default().spec("TMaze-v0", &args).unwrap_err().to_string();
        assert!(message.contains("length") || message.contains("-1"), "{message}");
    }
}

#[test]
fn cartpole_without_velocities_is_the_same_but_for_what_is_seen() {
    let mut args = EnvArgs::default();
    args.set("hide_velocities", true.into());
    let mut all = Player::new("CartPole-v1", 3, 7);
    let mut half = Player::with_args("CartPole-v1", &args, 3, 7);
    assert_eq!(half.envs.spec().obs, ObsSpace::vector(2));
    all.reset();
    half.reset();
    for step in 0..500 {
        for env in 0..3 {
            let seen = all.obs(env);
            half.assert_obs(env, &[seen[0], seen[2]], "positions");
        }
        let actions = [0, step % 2, 1];
        assert_eq!(all.step(&actions), half.step(&actions));
        assert_eq!(all.room.kinds, half.room.kinds);
    }
    let of = |value: Value| {
        let mut args = EnvArgs::default();
        args.set("hide_velocities", value);
        Registry::default().spec("CartPole-v1", &args)
    };
    assert_eq!(of(false.into()).unwrap().obs, ObsSpace::vector(4));
    let message = of("yes".into()).unwrap_err().to_string();
    assert!(message.starts_with("CartPole-v1 cannot be made"), "{message}");
}

#[test]
fn random_play_catches_one_ball_of_ten() {
    let mut player = Player::new("PixelCatch-v0", 10, 1);
    player.reset();
    let (mut lcg, mut returns) = (1, Vec::new());
    while returns.len() < 20_000 {
        let mut action = || {
            lcg = lcg_next(lcg);
            (lcg >> 16) as i32 % 3
        };
        let actions: [i32; 10] = std::array::from_fn(|_| action());
        returns.extend(player.step(&actions).into_iter().map(|(score, _)| score));
    }
    let mean = returns.iter().sum::<f32>() / returns.len() as f32;
    assert!((mean + 0.8).abs() < 0.02, "{mean}");
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

    #[test]
    fn any_play_of_a_game_shows_bits_alone(
        game in any::<prop::sample::Index>(),
        seed in any::<u64>(),
        sticky in prop::sample::select(vec![0.0, 0.1, 1.0]),
        ramping in any::<bool>(),
        choices in prop::collection::vec(any::<u8>(), 2000),
    ) {
        let ids: Vec<_> =
            Registry::default().ids().filter(|id| id.starts_with("MinAtar/")).collect();
        let mut args = EnvArgs::default();
        args.set("sticky_action_prob", sticky.into());
        args.set("difficulty_ramping", ramping.into());
        let mut player = Player::with_args(ids[game.index(ids.len())], &args, 1, seed);
        player.reset();
        for choice in choices {
            player.step(&[i32::from(choice) % player.n_actions() as i32]);
            prop_assert!(player.pixels().iter().all(|pixel| *pixel <= 1));
        }
    }
}
