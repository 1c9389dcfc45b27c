//! Environments in processes of their own: those of Gymnasium equal the engine's own bit for bit, every kind of
//! space passes, faults of every kind are seen and leave nothing behind, a program in C is trained.
//!
//! One process with one thread, because who steps such environments forks. Skipped, loudly, where
//! `tools/gymnasium.py` has not made its virtual environment; with `CI=true` its absence is a failure.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use impala::env::outside::Launch;
use impala::env::{EnvArgs, EnvError, Registry, StepBuffer, VecEnv};
use impala::play::render::{HEIGHT_PX, WIDTH_PX};
use impala::rollout::{FrameStack, StepKind};
use impala::space::{ActionBuffer, ActionSpace, Actions, ActionsMut, Spec};
use impala::state::checkpoint::Checkpoint;
use impala::telemetry::{Exit, ProcessSample, Summary};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;
use tempfile::TempDir;

/// Marks every process of a training, wherever in the tree it is.
const MARK: &str = "IMPALA_TEST_OF";

/// A loop gone wild would wait for ever.
const WATCHDOG: u32 = 1200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn python() -> PathBuf {
    root().join("third_party/gymnasium/bin/python")
}

fn launch(wrappers: &[&str]) -> Launch {
    Launch {
        python: python().to_str().unwrap().into(),
        wrappers: wrappers.iter().map(|wrapper| (*wrapper).into()).collect(),
        ..Launch::default()
    }
}

/// Arguments of an environment, from TOML.
fn args(toml: &str) -> EnvArgs {
    toml::from_str(toml).unwrap()
}

fn make(id: &str, toml: &str, wrappers: &[&str], n_envs: usize, seed: u64) -> Box<dyn VecEnv> {
    let registry = Registry::default().launching(launch(wrappers));
    registry.make_vec(id, &args(toml), n_envs, seed).unwrap_or_else(|error| panic!("{error}"))
}

fn spec(id: &str, toml: &str) -> Result<Spec, EnvError> {
    Registry::default().launching(launch(&[])).spec(id, &args(toml))
}

fn refusal(id: &str, toml: &str) -> String {
    spec(id, toml).unwrap_err().to_string()
}

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

/// Everything that a step yields but returns, each number by its bits.
type Seen = (Vec<u32>, Vec<u32>, Vec<StepKind>, Vec<u32>);

fn seen(room: &StepBuffer, n_envs: usize) -> Seen {
    let obs = (0..n_envs).flat_map(|e| room.obs.view().frame(e)).map(f32::to_bits);
    let rewards = room.rewards.iter().map(|reward| reward.to_bits());
    let lengths = room.episodes().map(|(_, length)| length);
    (obs.collect(), rewards.collect(), room.kinds.clone(), lengths.collect())
}

/// Indices of the space, or numbers from -2 to 2.
fn random_actions(rng: &mut SplitMix64, spec: &Spec, n_envs: usize) -> ActionBuffer {
    let mut actions = ActionBuffer::zeros(&spec.actions, n_envs);
    match (actions.view_mut(), &spec.actions) {
        (ActionsMut::Indices(mut rows), ActionSpace::Discrete(n)) => {
            rows.mapv_inplace(|_| (rng.next_u64() % *n as u64) as i32);
        }
        (ActionsMut::Numbers(mut rows), _) => {
            rows.mapv_inplace(|_| (rng.next_u64() >> 40) as f32 / (1 << 22) as f32 - 2.0);
        }
        _ => panic!("{spec}"),
    }
    actions
}

fn gymnasiums_environments_and_the_engines_own_are_the_same_bit_for_bit() {
    const N_ENVS: usize = 3;
    // Freeway ends 2,501 steps after the reset in the middle; a last bit of Acrobot's state takes as long to be seen.
    const N_STEPS: usize = 3300;
    let registry = Registry::default();
    // Two have no original.
    let originals = registry.ids().filter(|id| !["PixelCatch-v0", "TMaze-v0"].contains(id));
    for id in originals.collect::<Vec<_>>() {
        for seed in [7, (1 << 61) + 5] {
            let outside = Registry::default().launching(launch(&[]));
            let mut own = registry.make_inputs(id, 0, &EnvArgs::default(), N_ENVS, seed).unwrap();
            let gym = format!("gym:{id}");
            let mut gym = outside.make_inputs(&gym, 0, &EnvArgs::default(), N_ENVS, seed).unwrap();
            let (one, other) = (own.spec().clone(), gym.spec().clone());
            assert_eq!(Spec { id: one.id.clone(), ..other }, one);
            let mut rooms = [StepBuffer::new(&one, N_ENVS), StepBuffer::new(&one, N_ENVS)];
            let mut rng = SplitMix64::seed_from_u64(seed);
            let mut n_ends = 0;
            for step in 0..N_STEPS {
                let actions = random_actions(&mut rng, &one, N_ENVS);
                for (room, envs) in rooms.iter_mut().zip([&mut own, &mut gym]) {
                    match step {
                        // Also all at once in the middle of their episodes.
                        0 | 700 => room.reset(&mut **envs).unwrap(),
                        300 => envs.reset_one(1, room.obs.view_mut().frames(1..2)).unwrap(),
                        _ => room.step(&mut **envs, actions.view()).unwrap(),
                    }
                }
                // Sums of rewards as either side has them: f32 here, f64 there.
                for ((own, _), (gym, _)) in rooms[0].episodes().zip(rooms[1].episodes()) {
                    approx::assert_relative_eq!(own, gym, max_relative = 1e-6);
                }
                let [own, gym] = [seen(&rooms[0], N_ENVS), seen(&rooms[1], N_ENVS)];
                n_ends += own.2.iter().filter(|kind| kind.ends_episode()).count();
                assert_eq!(own, gym, "{id}, seed {seed}, step {step}");
            }
            assert!(n_ends >= N_ENVS, "{id}: {n_ends}");
        }
    }
}

fn every_kind_of_observation_passes() {
    let rows = |n: usize| (0..n).map(|i| i as f32).collect::<Vec<_>>();
    // The channels of each pixel stand together there, and here all pixels of a channel.
    let planes = |n_pictures: usize| {
        let numbers = rows(n_pictures * 60);
        let pixel = |p: usize, c: usize, at: usize| numbers[p * 60 + at * 3 + c];
        let channels = (0..n_pictures).flat_map(|p| (0..3).map(move |c| (p, c)));
        channels.flat_map(|(p, c)| (0..20).map(move |at| pixel(p, c, at))).collect::<Vec<_>>()
    };
    let eye = (0..6).flat_map(|_| (0..16).map(|i| f32::from(u8::from(i % 4 == i / 4))));
    for (obs, line, numbers) in [
        ("numbers", "f32 [6]", rows(6)),
        ("unbounded", "f32 [2]", rows(2)),
        ("bytes", "f32 [3]", rows(3)),
        ("channels last", "u8 [3, 4, 5]", planes(1)),
        ("channels first", "u8 [2, 4, 5]", rows(40)),
        ("grey", "u8 [1, 4, 5]", rows(20)),
        ("stacked", "u8 [6, 4, 5]", planes(2)),
        ("planes", "u8 [6, 4, 4] of 0 to 1", eye.collect()),
        ("discrete", "f32 [3]", vec![0.0, 1.0, 0.0]),
        ("several", "f32 [5]", vec![0.0, 1.0, 1.0, 0.0, 0.0]),
        ("bits", "f32 [3]", vec![1.0, 0.0, 1.0]),
        ("tuple", "f32 [4]", vec![0.0, 1.0, 3.0, 4.0]),
        ("dict", "f32 [3]", vec![1.0, 0.0, 5.0]),
    ] {
        let mut envs = make("environments:Shown", &format!("obs = \"{obs}\""), &[], 2, 0);
        let mut room = StepBuffer::new(envs.spec(), 2);
        room.reset(&mut *envs).unwrap();
        assert_eq!(envs.spec().obs.to_string(), line, "{obs}");
        assert_eq!(room.obs.view().frame(1), numbers, "{obs}: first observation");
        room.step(&mut *envs, Actions::of_indices(&[0, 2])).unwrap();
        assert_eq!(room.obs.view().frame(0), numbers, "{obs}: after a step");
        assert_eq!(room.rewards, [-1.0, 1.0], "actions begin at -1");
    }
}

fn bounds_are_told_where_all_have_some() {
    let bounds = |obs: &str| {
        let spec = spec("environments:Shown", &format!("obs = \"{obs}\"")).unwrap();
        serde_json::to_value(spec.obs).unwrap()["vector"]["bounds"].to_string()
    };
    assert_eq!(bounds("bytes"), "[[0.0,255.0],[0.0,255.0],[0.0,255.0]]");
    assert_eq!(bounds("unbounded"), "null");
    assert_eq!(bounds("discrete"), "null");
}

fn every_kind_of_action_passes() {
    let step = |action: &str, fill: &dyn Fn(ActionsMut)| {
        let mut envs = make("environments:Shown", &format!("action = \"{action}\""), &[], 2, 0);
        let spec = envs.spec().clone();
        let mut room = StepBuffer::new(&spec, 2);
        room.reset(&mut *envs).unwrap();
        let mut actions = ActionBuffer::zeros(&spec.actions, 2);
        fill(actions.view_mut());
        let stepped = room.step(&mut *envs, actions.view());
        (spec.actions.to_string(), stepped.map(|()| room.rewards))
    };
    let indices = |values: [[i32; 2]; 2]| {
        move |room: ActionsMut| match room {
            ActionsMut::Indices(mut rows) => rows.assign(&ndarray::arr2(&values)),
            ActionsMut::Numbers(_) => panic!("indices"),
        }
    };
    let (name, rewards) = step("several", &indices([[1, 0], [2, 1]]));
    assert_eq!((&*name, rewards.unwrap()), ("MultiDiscrete [2, 3]", vec![3.0, 1.0]));
    let (name, rewards) = step("bits", &indices([[1, 0], [1, 0]]));
    assert_eq!((&*name, rewards.unwrap()), ("MultiDiscrete [2, 2]", vec![2.0, 0.0]));
    let (name, rewards) = step("real", &|room| match room {
        // 9 is above the first number's bound, which is 2.
        ActionsMut::Numbers(mut rows) => rows.assign(&ndarray::arr2(&[[0.5, 9.0], [100.0, -7.0]])),
        ActionsMut::Indices(_) => panic!("numbers"),
    });
    assert_eq!((&*name, rewards.unwrap()), ("Box [2]", vec![100.5, -5.0]));
    for wrong in [[[1, 0], [3, 1]], [[1, 0], [-1, 1]]] {
        let refused = step("several", &indices(wrong)).1.unwrap_err().to_string();
        assert_has(&refused, &["in environment 0 is not in MultiDiscrete [2, 3]"]);
    }
}

fn what_is_no_fixed_number_of_numbers_is_refused_by_name() {
    let shown = |toml: &str| refusal("environments:Shown", toml);
    assert_has(&shown("obs = \"text\""), &["observations are Text", "--env-wrapper"]);
    assert_has(&shown("obs = \"hidden text\""), &["observations['a'][1] are Text"]);
    assert_has(&shown("obs = \"graph\""), &["observations are Graph"]);
    assert_has(&shown("obs = \"sequence\""), &["observations are Sequence"]);
    assert_has(&shown("action = \"tuple\""), &["actions Tuple(Discrete(2)) are none of Discrete"]);
    assert_has(&shown("action = \"whole\""), &["actions Box(0, 3, (2,), int32) are none of"]);
}

fn a_mistake_is_told_in_pythons_words_with_what_to_do() {
    let typo = refusal("gym:CartPool-v1", "");
    assert_has(&typo, &["Environment `CartPool` doesn't exist. Did you mean: `CartPole`?"]);
    assert!(!typo.contains("Traceback"), "{typo}");
    let missing = refusal("gym:HalfCheetah-v5", "");
    assert_has(&missing, &["MuJoCo is not installed", "pip install"]);
    assert_has(
        &refusal("enviroments:Five", ""),
        &["No module named 'enviroments'", "looks for it in"],
    );
    assert_has(&refusal("environments:Six", ""), &["environments has no Six"]);
    assert_has(&refusal("environments:Old", ""), &["a gymnasium.Env is needed", "shimmy"]);
    let broken = refusal("environments:broken_in_make", "");
    assert_has(&broken, &["RuntimeError: no such level", "in broken_in_make"]);
    assert_has(&refusal("gym:CartPole-v1", "size = 7"), &["unexpected keyword argument 'size'"]);
    let with = |launch| Registry::default().launching(launch).spec("gym:CartPole-v1", &args(""));
    let without = with(Launch { python: "/nowhere/python".into(), ..launch(&[]) });
    assert_has(
        &without.unwrap_err().to_string(),
        &["there is no Python /nowhere/python", "--python"],
    );
    let wrapper = with(launch(&["gymnasium.wrappers:FlaterObservation"]));
    assert_has(&wrapper.unwrap_err().to_string(), &["gymnasium.wrappers has no FlaterObservation"]);
    let bare = bare_python();
    let bare = with(Launch { python: bare.1.to_str().unwrap().into(), ..launch(&[]) });
    assert_has(
        &bare.unwrap_err().to_string(),
        &["has no module gymnasium", "-m pip install 'gymnasium"],
    );
    let unknown = Registry::default().spec("CartPool-v1", &args("")).unwrap_err().to_string();
    assert_has(&unknown, &["did you mean \"CartPole-v1\"", "gym:ID"]);
}

/// A Python without any package, as a script.
fn bare_python() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("python");
    fs::write(&path, format!("#!/bin/sh\nexec {} -I -S \"$@\"\n", python().display())).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    (folder, path)
}

/// Kinds, rewards and episodes of 13 steps of one environment.
fn played(id: &str, toml: &str, wrappers: &[&str]) -> (Vec<StepKind>, Vec<f32>, Vec<(f32, u32)>) {
    let mut envs = make(id, toml, wrappers, 1, 0);
    let mut room = StepBuffer::new(envs.spec(), 1);
    room.reset(&mut *envs).unwrap();
    let (mut kinds, mut rewards, mut episodes) = (vec![], vec![], vec![]);
    for _ in 0..13 {
        // An action of a step that resets must not reach the environment, which takes 1 alone.
        let is_reset = kinds.last().is_some_and(|kind: &StepKind| kind.ends_episode());
        let action = [if is_reset { 0 } else { 1 }];
        room.step(&mut *envs, Actions::of_indices(&action)).unwrap();
        kinds.push(room.kinds[0]);
        rewards.push(room.rewards[0]);
        episodes.extend(room.episodes());
    }
    (kinds, rewards, episodes)
}

fn episodes_are_the_environments_own_and_resets_steps_of_their_own() {
    const O: StepKind = StepKind::ORDINARY;
    const E: StepKind = StepKind::TERMINATED;
    const C: StepKind = StepKind::TRUNCATED;
    const R: StepKind = StepKind::RESET;
    let (kinds, rewards, episodes) = played("environments:Five", "", &[]);
    assert_eq!(kinds, [O, O, O, O, E, R, O, O, O, O, E, R, O]);
    assert_eq!(rewards, [1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 1.0]);
    assert_eq!(episodes, [(15.0, 5), (15.0, 5)]);
    let (kinds, _, _) = played("environments:Five", "is_cut = true", &[]);
    assert_eq!(kinds[..6], [O, O, O, O, C, R]);

    // A life ends, the game does not, and its true score is told when it does.
    let life = ["environments:Life={\"scale\": 0.1}"];
    let (kinds, rewards, episodes) = played("environments:Five", "", &life);
    assert_eq!(kinds, [O, E, R, O, E, R, E, R, O, E, R, O, E]);
    assert_eq!(rewards[..8], [0.1, 0.2, 0.0, 0.3, 0.4, 0.0, 0.5, 0.0].map(|x| x as f32));
    assert_eq!(episodes, [(15.0, 5)]);

    // A wrapper cuts the episode: it is told with the reset that drops it.
    let limit = ["gymnasium.wrappers:TimeLimit={\"max_episode_steps\": 3}"];
    let (kinds, _, episodes) = played("environments:Five", "", &limit);
    assert_eq!(kinds, [O, O, C, R, O, O, C, R, O, O, C, R, O]);
    assert_eq!(episodes, [(6.0, 3); 3]);
}

fn who_is_never_reset_begins_with_that() {
    let mut envs = make("environments:Five", "", &[], 2, 0);
    let mut room = StepBuffer::new(envs.spec(), 2);
    room.step(&mut *envs, Actions::of_indices(&[0, 0])).unwrap();
    assert_eq!(
        (&room.kinds[..], room.obs.view().frame(1)),
        (&[StepKind::RESET; 2][..], vec![10.0])
    );
    room.step(&mut *envs, Actions::of_indices(&[1, 1])).unwrap();
    assert_eq!(room.obs.view().frame(1), [11.0]);
}

fn old_generators_are_given_seeds_that_they_take() {
    let mut envs = make("environments:Old32", "", &[], 1, (1 << 61) + 3);
    StepBuffer::new(envs.spec(), 1).reset(&mut *envs).unwrap();
}

fn a_vector_of_gymnasiums_own_is_stepped_as_one() {
    let mut envs = make("vec:CartPole-v1", "", &[], 4, 1 << 60);
    let spec = envs.spec().clone();
    let mut room = StepBuffer::new(&spec, 4);
    room.reset(&mut *envs).unwrap();
    let mut rng = SplitMix64::seed_from_u64(1);
    let (mut sums, mut ended, mut n_episodes) = ([0.0; 4], [false; 4], 0);
    for step in 0..400 {
        if step == 200 {
            envs.reset_one(2, room.obs.view_mut().frames(2..3)).unwrap();
            (sums[2], ended[2]) = (0.0, false);
        }
        let actions = random_actions(&mut rng, &spec, 4);
        room.step(&mut *envs, actions.view()).unwrap();
        let mut expected = vec![];
        for e in 0..4 {
            assert_eq!(room.kinds[e] == StepKind::RESET, ended[e], "step {step}");
            sums[e] = if ended[e] { 0.0 } else { sums[e] + room.rewards[e] };
            ended[e] = room.kinds[e].ends_episode();
            if ended[e] {
                expected.push((sums[e], sums[e] as u32));
            }
        }
        n_episodes += expected.len();
        assert!(room.episodes().eq(expected), "step {step}");
    }
    assert!(n_episodes > 20, "{n_episodes}");
    let wrapped = Registry::default().launching(launch(&["environments:Life"]));
    let refused = wrapped.spec("vec:CartPole-v1", &args("")).unwrap_err().to_string();
    assert_has(&refused, &["takes no --env-wrapper"]);
}

fn other_packages_environments_are_found() {
    let line = |id: &str, wrappers: &[&str]| {
        Registry::default().launching(launch(wrappers)).spec(id, &args("")).unwrap().spaces()
    };
    assert_eq!(line("vec:ALE/Pong-v5", &[]), "observations u8 [4, 84, 84], actions Discrete(6)");
    let minigrid = line("gym:MiniGrid-Empty-5x5-v0", &["minigrid.wrappers:ImgObsWrapper"]);
    assert_eq!(minigrid, "observations u8 [3, 7, 7], actions Discrete(7)");
    assert_eq!(line("gym:LunarLander-v3", &[]), "observations f32 [8], actions Discrete(4)");
    let raw = Registry::default().launching(launch(&[])).notes("gym:ALE/Pong-v5", &args(""));
    assert_has(&raw.unwrap().join(" "), &["vec:ALE/Pong-v5"]);
    let mut envs = make("vec:ALE/Pong-v5", "", &[], 2, u64::MAX >> 2);
    let mut room = StepBuffer::new(envs.spec(), 2);
    room.reset(&mut *envs).unwrap();
    for _ in 0..30 {
        room.step(&mut *envs, Actions::of_indices(&[2, 3])).unwrap();
    }
    assert_ne!(room.obs.view().frame(0), room.obs.view().frame(1));
}

/// Of steps of random actions: kinds, rewards, episodes.
type Course = Vec<(Vec<StepKind>, Vec<f32>, Vec<(f32, u32)>)>;

/// Atari's games as they are played by random actions, the same ones each time; `look` sees each step.
fn games(id: &str, toml: &str, n_steps: usize, mut look: impl FnMut(&StepBuffer)) -> Course {
    const N_ENVS: usize = 3;
    let common = "repeat_action_probability = 0.0\n";
    let mut envs = make(id, &(common.to_owned() + toml), &[], N_ENVS, 11);
    let spec = envs.spec().clone();
    let mut room = StepBuffer::new(&spec, N_ENVS);
    let mut rng = SplitMix64::seed_from_u64(3);
    room.reset(&mut *envs).unwrap();
    room.kinds.fill(StepKind::RESET);
    look(&room);
    let step = |_| {
        let actions = random_actions(&mut rng, &spec, N_ENVS);
        room.step(&mut *envs, actions.view()).unwrap();
        look(&room);
        (room.kinds.clone(), room.rewards.clone(), room.episodes().collect())
    };
    (0..n_steps).map(step).collect()
}

fn a_stack_of_the_engine_is_the_emulators_own() {
    let mut own = Vec::new();
    games("vec:ALE/Breakout-v5", "stack_num = 4", 400, |room| {
        own.push(room.obs.view().pixels().to_owned());
    });
    let mut stack = FrameStack::new(4, 84 * 84, 3);
    let mut own = own.into_iter();
    games("vec:ALE/Breakout-v5", "stack_num = 1", 400, |room| {
        stack.push(room.obs.view(), &room.kinds);
        assert_eq!(stack.view().pixels(), own.next().unwrap());
    });
    assert_eq!(own.count(), 0);
}

fn a_lost_life_ends_no_game() {
    let lives = |told: bool| {
        let toml = format!("life_loss_info = {told}");
        games("vec:ALE/Breakout-v5", &toml, 1200, |_| {})
    };
    let (told, untold) = (lives(true), lives(false));
    let mut n_lost = [0; 3];
    for (step, (told, untold)) in told.iter().zip(&untold).enumerate() {
        for (env, n_lost) in n_lost.iter_mut().enumerate() {
            let is_lost = told.0[env] == StepKind::LIFE_LOST;
            let expected = if is_lost { StepKind::ORDINARY } else { told.0[env] };
            assert_eq!(expected, untold.0[env], "step {step} of environment {env}");
            *n_lost += u32::from(is_lost);
            if told.0[env] == StepKind::TERMINATED {
                // The fifth life ends the game.
                assert_eq!(std::mem::take(n_lost), 4);
            }
        }
        assert_eq!((&told.1, &told.2), (&untold.1, &untold.2), "step {step}");
    }
    let n_games = told.iter().map(|step| step.2.len()).sum::<usize>();
    assert!(n_games >= 6, "{n_games}");
    let scored = |step: &(_, Vec<f32>, Vec<(f32, u32)>)| step.1.iter().sum::<f32>();
    assert!(told.iter().map(scored).sum::<f32>() > 3.0);
}

fn a_game_is_cut_at_its_limit_even_where_a_life_is_lost() {
    let limit = "life_loss_info = true\nmax_num_frames_per_episode = 400\nnoop_max = 1";
    let course = games("vec:ALE/Breakout-v5", limit, 1300, |_| {});
    let mut age = [0; 3];
    let mut n_cut = 0;
    for (step, (kinds, ..)) in course.iter().enumerate() {
        for (age, kind) in age.iter_mut().zip(kinds) {
            *age = if *kind == StepKind::RESET { 0 } else { *age + 1 };
            assert!(*age <= 100, "step {step}");
            assert_eq!(kind.ends_episode(), *age == 100, "step {step}: {kind:?} after {age}");
            n_cut += usize::from(*kind == StepKind::TRUNCATED);
        }
    }
    assert!(n_cut >= 20, "{n_cut}");
}

fn the_preset_of_atari_trains_and_counts_frames_of_both_kinds() {
    let folder = TempDir::new().unwrap();
    let sizes = ["--actors", "1", "--envs-per-actor", "2", "--frames", "400", "--run-dir", "run"];
    // A network that needs no libtorch; the preset's own does.
    let network = ["--set", "network.torso=mlp", "--set", "network.hidden=[8]"];
    let short = ["--set", "report.eval_episodes=1", "--set", "report.eval_max_steps=50"];
    let train = [&["train", "--env", "vec:ALE/Pong-v5"][..], &sizes, &network, &short].concat();
    let output = impala(folder.path(), &train);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_has(
        &String::from_utf8_lossy(&output.stdout),
        &["400 frames (1600 frames of the emulator"],
    );
    let summary = summary_of(&folder.path().join("run"));
    assert_eq!((summary.frames, summary.emulator_frames), (400, Some(1600)));
    assert_eq!(summary.eval.unwrap().cut, 1);
    let report = fs::read_to_string(folder.path().join("run/report.md")).unwrap();
    assert_has(
        &report.replace('\u{a0}', " "),
        &["(1,600 of the emulator)", "the network sees the last 4"],
    );
    let settings = fs::read_to_string(folder.path().join("run/config.toml")).unwrap();
    assert_has(&settings, &["frame_stack = 4", "reward_clip = 1", "life_loss_info = true"]);
    let eval = ["eval", "run", "--episodes", "2", "--max-steps", "20", "--gif", "pong.gif"];
    let eval = impala(folder.path(), &eval);
    assert_eq!(eval.status.code(), Some(0), "{}", said(&eval));
    assert!(folder.path().join("pong.gif").is_file());
    let check = impala(folder.path(), &["env", "check", "vec:ALE/Pong-v5"]);
    let told = ["u8 [1, 84, 84]", "a step is 4 frames of the emulator"];
    assert_has(&String::from_utf8_lossy(&check.stdout), &told);
}

fn a_program_that_speaks_badly_is_told_so() {
    let liar = |how: &str| {
        let envs = || -> Result<(), EnvError> {
            let args = args(&format!("how = \"{how}\""));
            let mut envs = Registry::default().make_vec("exec:./liar.py", &args, 2, 5)?;
            let mut room = StepBuffer::new(envs.spec(), 2);
            room.reset(&mut *envs)?;
            room.step(&mut *envs, Actions::of_indices(&[1, 0]))
        };
        envs().map_or_else(|error| error.to_string(), |()| String::new())
    };
    assert_eq!(liar("speaks well"), "");
    // Standard streams, socket, memory, the worker's source: nothing else of this process.
    assert_has(&liar("looks around"), &["exec:./liar.py: [0, 1, 2, 3, 4, 5, 6]"]);
    assert_has(&liar("nonsense"), &["said \"good day\" where `spec`", "environment-protocol.md"]);
    assert_has(&liar("no spec"), &["wrong specification: an observation with no number in it"]);
    assert_has(&liar("huge"), &["no side is above"]);
    assert_has(&liar("changes"), &["f32 [2]", "f32 [3]", "start anew"]);
    assert_has(&liar("talks"), &["said \"done\" where `.`"]);
    assert_has(&liar("cuts"), &["refused memory"]);
    let mute = ["exited with status 0", "/bin/true must be a program that speaks"];
    assert_has(&refusal("exec:/bin/true", ""), &mute);
    assert_has(&refusal("exec:./environments.py", ""), &["`chmod +x ./environments.py`"]);
    assert_has(&refusal("exec:./nothing", ""), &["there is no program ./nothing"]);
}

/// A training with an environment of `environments.py`, and the folder that it may use.
struct Training {
    folder: TempDir,
    mark: String,
}

impl Training {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mark = folder.path().to_str().unwrap().to_owned();
        Training { folder, mark }
    }

    fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn command(&self, fault: &str, more: &[&str]) -> Command {
        let folder = format!("folder={}", self.folder.path().display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
        command.args(["train", "--env", "environments:Faulty", "--env-arg", &folder, "--env-arg"]);
        command.arg(format!("fault={fault:?}")).arg("--run-dir").arg(self.run_dir());
        // One actor: without it nothing goes on.
        let sizes = ["--actors", "1", "--envs-per-actor", "4", "--unroll", "10"];
        let sizes = sizes.into_iter().chain(["--set", "frames=12000", "--learner-threads", "1"]);
        command.args(sizes).args(["--set", "report.eval_episodes=0"]).args(more);
        command.arg("--python").arg(python()).env(MARK, &self.mark);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn summary(&self) -> Summary {
        serde_json::from_str(&fs::read_to_string(self.run_dir().join("summary.json")).unwrap())
            .unwrap()
    }

    /// Every process of it that is alive, with its name.
    fn left(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.mark);
        let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let is_ours = |process: &PathBuf| {
            let environ = fs::read(process.join("environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let name = |process: PathBuf| fs::read_to_string(process.join("cmdline")).ok();
        entries.filter(is_ours).filter_map(name).filter(|name| !name.is_empty()).collect()
    }

    /// What is killed with its parent goes a moment later.
    fn assert_nothing_left(&self, what: &str) {
        let is_gone = (0..WATCHDOG / 40).any(|_| self.left().is_empty() || nap());
        assert!(is_gone || self.left().is_empty(), "{what}: {:?}", self.left());
    }
}

/// A moment later nothing is so yet.
fn nap() -> bool {
    sleep(Duration::from_millis(50));
    false
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Trains with a fault that happens once, which must be told of, cost one actor at most, and leave nothing.
fn bears(fault: &str, n_restarts: u64, words: &[&str], more: &[&str]) {
    let training = Training::new();
    let output = training.command(fault, more).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{fault}: {said}");
    assert_has(&said, words);
    let summary = training.summary();
    assert_eq!(summary.exit, Exit::Finished, "{fault}");
    let restarts = summary.actors.iter().map(|actor| actor.restarts).sum::<u64>();
    assert_eq!(restarts, n_restarts, "{fault}: {said}");
    training.assert_nothing_left(fault);
}

fn faults_of_every_kind_cost_an_actor_at_most_and_leave_nothing() {
    let again = "; started again";
    bears("none", 0, &[], &[]);
    let told = ["environment ", "ValueError: broken on purpose", "in exception", again];
    bears("exception", 1, &told, &[]);
    bears("system exit", 1, &["SystemExit: no licence", again], &[]);
    bears("shape", 1, &["an observation has shape (1,), its space (2,)", again], &[]);
    bears("type", 1, &["an observation holds <U1, its space", again], &[]);
    bears("nan", 0, &["returned NaN as number 0 of its observation", "is dropped"], &[]);
    let crashed = ["was killed by SIGSEGV", "the last words", "environments.py", "in segfault"];
    bears("segfault", 1, &crashed, &[]);
    bears("abort", 1, &["was killed by SIGABRT", "in abort", again], &[]);
    bears("exit", 1, &["exited with status 7", again], &[]);
    bears("killed", 1, &["the process of the environments was killed by SIGKILL", again], &[]);
    bears("actor killed", 1, &["was killed by SIGKILL", again], &[]);
    bears("heir", 1, &["exited with status 7", again], &[]);
    let short = ["--set", "supervision.hang_timeout_s=1"];
    bears("hang", 1, &["gave no sign of life for 1 s", again], &short);
    bears("slow start", 0, &[], &short);
}

fn a_flood_of_words_is_kept_short() {
    let training = Training::new();
    let output = training.command("flood", &["--frames", "4000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let logs = fs::read_dir(training.run_dir()).unwrap().map(|entry| entry.unwrap().path());
    let logs: Vec<_> = logs.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    for log in logs {
        let text = fs::read(&log).unwrap();
        // Between two looks at its length 64 messages of 4 environments can pass.
        assert!(!text.is_empty() && text.len() < 64 << 20, "{}: {}", log.display(), text.len());
        assert!(text.len() < 4000 * 100_000, "it was cut");
    }
    assert!(said(&output).len() < 100_000, "nothing of it comes to the terminal");
}

fn one_that_does_not_start_in_time_is_refused_before_anything_starts() {
    let training = Training::new();
    let late = training.command("slow start", &["--set", "env_start_timeout_s=0.5"]).output();
    let late = late.unwrap();
    assert_eq!(late.status.code(), Some(2), "{}", said(&late));
    assert_has(&said(&late), &["was not ready after 0.5 s", "env_start_timeout_s"]);
    assert!(!training.run_dir().exists());
    training.assert_nothing_left("late");
}

/// Waits until something holds.
fn wait_for(child: &mut Child, what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..WATCHDOG {
        if holds() {
            return;
        }
        assert_eq!(child.try_wait().unwrap(), None, "{what}: it ended");
        nap();
    }
    panic!("{what}: never");
}

fn a_signal_ends_all_while_it_trains_and_while_it_starts() {
    for (fault, is_time) in [
        (
            "none",
            &(|training: &Training| training.run_dir().join("metrics.csv").exists())
                as &dyn Fn(&Training) -> bool,
        ),
        ("slow actors", &|training| {
            training.folder.path().join("probed").exists() && training.left().len() == 4
        }),
    ] {
        let training = Training::new();
        let long = ["--frames", "1000000000"];
        let mut child = training.command(fault, &long).spawn().unwrap();
        wait_for(&mut child, fault, || is_time(&training));
        sleep(Duration::from_millis(300));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.signal(), Some(Signal::SIGINT as i32), "{fault}: {said}");
        assert!(!said.contains("did not stop") && !said.contains("Traceback"), "{fault}: {said}");
        training.assert_nothing_left(fault);
    }
}

/// Also a process that hears of nothing because it hangs.
fn the_supervisors_death_takes_all_along() {
    for (fault, sign) in [("none", "run/metrics.csv"), ("hang", "once")] {
        let training = Training::new();
        let long = ["--frames", "1000000000", "--set", "supervision.hang_timeout_s=1000"];
        let mut child = training.command(fault, &long).spawn().unwrap();
        wait_for(&mut child, fault, || training.folder.path().join(sign).exists());
        child.kill().unwrap();
        child.wait().unwrap();
        training.assert_nothing_left(fault);
    }
}

fn impala(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
    command.args(args).current_dir(folder).env("IMPALA_PYTHON", python()).output().unwrap()
}

fn summary_of(run: &Path) -> Summary {
    serde_json::from_str(&fs::read_to_string(run.join("summary.json")).unwrap()).unwrap()
}

fn cart_pole_is_learned_through_python() {
    let folder = TempDir::new().unwrap();
    let train = ["train", "--env", "gym:CartPole-v1", "--stop-when-solved", "--run-dir", "run"];
    let output =
        impala(folder.path(), &[&train[..], &["--set", "report.eval_episodes=5"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let summary = summary_of(&folder.path().join("run"));
    assert_eq!((summary.exit, summary.env.as_str()), (Exit::Solved, "gym:CartPole-v1"));
    let samples = csv::Reader::from_path(folder.path().join("run/processes.csv")).unwrap();
    let samples: Vec<ProcessSample> = samples.into_deserialize().map(|row| row.unwrap()).collect();
    let of_actor = samples.iter().filter(|sample| sample.process == "actor0");
    let most = of_actor.map(|sample| sample.pss_bytes).max().unwrap();
    assert!(most > 10_000_000, "{most} bytes are an actor without its Python");
    let evaluated = impala(folder.path(), &["eval", "run", "--episodes", "5"]);
    assert_has(
        &String::from_utf8_lossy(&evaluated.stdout),
        &["gym:CartPole-v1: 5 greedy episodes"],
    );
}

/// Environments that are the same to the last bit, and a run in which nothing depends on who is faster.
fn a_deterministic_run_learns_the_same_weights_from_either() {
    let folder = TempDir::new().unwrap();
    let learned = |env: &str, run: &str| {
        let train = ["train", "--env", env, "--run-dir", run, "--deterministic"];
        let sizes = ["--frames", "30000", "--actors", "2", "--set", "report.eval_episodes=0"];
        let output = impala(folder.path(), &[train, sizes].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let path = folder.path().join(run).join("checkpoint.safetensors");
        Checkpoint::load(&path).unwrap().state.params
    };
    let (own, gym) = (learned("CartPole-v1", "own"), learned("gym:CartPole-v1", "gym"));
    assert!(own.len() > 1000 && own == gym);
    let drawn = impala(folder.path(), &["eval", "gym", "--episodes", "3", "--gif", "gym.gif"]);
    assert_eq!(drawn.status.code(), Some(0), "{}", said(&drawn));
    assert!(folder.path().join("gym.gif").is_file());
}

/// A program in a folder of its own that takes pixels as `ffmpeg` does, and writes them as they come.
fn would_be_ffmpeg() -> TempDir {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ffmpeg");
    let script =
        "[ \"$1\" = -version ] && exit; echo \"$@\" > words; for last; do :; done; cat > \"$last\"";
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

fn an_environment_draws_itself_for_a_film() {
    const SIZE: (u16, u16) = (600, 400);
    let folder = TempDir::new().unwrap();
    let train = |env: &str, run: &str| {
        let small = ["--actors", "1", "--envs-per-actor", "2", "--frames", "400"];
        let end = ["--set", "report.eval_episodes=0", "--run-dir", run];
        let output = impala(folder.path(), &[&["train", "--env", env][..], &small, &end].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    };
    train("gym:CartPole-v1", "gym");
    train("CartPole-v1", "own");
    let eval = |run: &str, film: &str, path: &str| {
        let args = ["eval", run, "--episodes", "1", "--max-steps", "5", "--video", film];
        let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
        let command = command.args(args).current_dir(folder.path()).env("PATH", path);
        command.env("IMPALA_PYTHON", python()).output().unwrap()
    };
    let usual = std::env::var("PATH").unwrap();
    let output = eval("gym", "cart.gif", &usual);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let film = fs::File::open(folder.path().join("cart.gif")).unwrap();
    let mut film = gif::DecodeOptions::new().read_info(film).unwrap();
    assert_eq!((film.width(), film.height()), SIZE);
    let n_pictures = std::iter::from_fn(|| film.read_next_frame().unwrap().map(drop)).count();
    assert_eq!(n_pictures, 6, "before each step and after the last");

    let without = eval("gym", "cart.mp4", "/nowhere");
    assert_eq!(without.status.code(), Some(2), "{}", said(&without));
    assert_has(&said(&without), &["cart.mp4", "needs the program ffmpeg", ".gif"]);
    let wrong = eval("gym", "cart.avi", &usual);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
    let ffmpeg = would_be_ffmpeg();
    let path = format!("{}:{usual}", ffmpeg.path().display());
    for (run, size) in [("gym", SIZE), ("own", (WIDTH_PX as u16, HEIGHT_PX as u16))] {
        let output = eval(run, "cart.mp4", &path);
        assert_eq!(output.status.code(), Some(0), "{run}: {}", said(&output));
        let pixels = fs::metadata(folder.path().join("cart.mp4")).unwrap().len();
        assert_eq!(pixels, 6 * 3 * u64::from(size.0) * u64::from(size.1), "{run}");
        let words = fs::read_to_string(folder.path().join("words")).unwrap();
        assert_has(&words, &[&format!("-video_size {}x{}", size.0, size.1), "-framerate "]);
    }
}

fn code_that_a_run_names_is_run_only_where_it_is_trusted() {
    let training = Training::new();
    let output = training.command("none", &["--log-slots"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let (run, more) = (training.run_dir(), training.folder.path().join("more"));
    let run = run.to_str().unwrap();
    let eval = ["eval", run, "--episodes", "2"];
    let resume =
        ["train", "--resume", run, "--frames", "14000", "--run-dir", more.to_str().unwrap()];
    for command in [&["replay", run][..], &eval, &resume] {
        let refused = impala(Path::new("."), command);
        assert_eq!(refused.status.code(), Some(2), "{command:?}: {}", said(&refused));
        assert_has(&said(&refused), &["env = environments:Faulty; python = ", "--trust"]);
        assert!(!more.exists());
        let trusted = impala(Path::new("."), &[command, &["--trust"]].concat());
        assert_eq!(trusted.status.code(), Some(0), "{command:?}: {}", said(&trusted));
    }
}

fn a_program_in_c_is_trained() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("corridor_env");
    let source = root().join("examples/corridor_env.c");
    let strict = ["-O2", "-Wall", "-Wextra", "-Werror", "-o"];
    let built = Command::new("cc").args(strict).arg(&program).arg(source).status().unwrap();
    assert!(built.success());
    let train = ["train", "--env", "exec:./corridor_env", "--stop-when-solved", "--run-dir", "run"];
    let output = impala(folder.path(), &train);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let summary = summary_of(&folder.path().join("run"));
    assert_eq!(summary.exit, Exit::Solved);
    assert!(summary.eval.unwrap().mean > -12.0);
}

fn a_check_says_what_an_environment_is_and_whether_it_can_be_trained() {
    let check = |args: &[&str]| impala(Path::new("."), &[&["env", "check"], args].concat());
    let good = check(&["gym:CartPole-v1"]);
    let text = String::from_utf8_lossy(&good.stdout).into_owned();
    assert_eq!(good.status.code(), Some(0), "{text}{}", said(&good));
    let lines = ["f32 [4]", "Discrete(2)", "at most 500 steps", "475", "steps/s", "the same"];
    assert_has(&text, &lines);
    assert_has(
        &text,
        &["terminal states", "It can be trained: impala train --env gym:CartPole-v1"],
    );
    for (env, kind) in [
        (&["gym:Pendulum-v1"][..], "Box [1]"),
        (&["environments:Shown", "--env-arg", "action=several"], "MultiDiscrete [2, 3]"),
        (&["environments:Shown", "--env-arg", "action=bits"], "MultiDiscrete [2, 2]"),
    ] {
        let text = String::from_utf8_lossy(&check(env).stdout).into_owned();
        assert_has(&text, &[kind, "It can be trained"]);
    }
    let tiny = check(&["environments:Shown", "--env-arg", "obs=grey"]);
    assert_eq!(tiny.status.code(), Some(2), "{}", said(&tiny));
    assert_has(&said(&tiny), &["it cannot be trained", "4 × 5 pixels"]);
    let unseeded = check(&["environments:Unseeded"]);
    assert_has(&String::from_utf8_lossy(&unseeded.stdout), &["it is not heeded"]);
    let typo = check(&["gym:CartPool-v1"]);
    assert_eq!(typo.status.code(), Some(2));
    assert_has(&said(&typo), &["Did you mean: `CartPole`?"]);
}

fn a_check_refuses_what_no_training_could_learn_from_and_warns_of_the_rest() {
    let check = |kind: &str, more: &[&str]| {
        let kind = format!("kind={kind}");
        let args = ["env", "check", "environments:Wild", "--env-arg", &kind];
        let output = impala(Path::new("."), &[&args[..], more].concat());
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), told, said(&output))
    };
    for (kind, bad) in [("nan reward", " rewards are NaN"), ("nan obs", " observations are NaN")] {
        let (status, told, said) = check(kind, &[]);
        assert_eq!(status, Some(2), "{told}{said}");
        assert_has(&said, &["it cannot be trained so: ", bad, "must be finite"]);
        assert!(!told.contains("It can be trained"), "{told}");
    }
    for (kind, warning) in [
        ("huge reward", "rewards are as large as 1e30"),
        ("huge", "observations are beyond the bounds"),
        ("tame", ""),
    ] {
        let (status, told, said) = check(kind, &[]);
        assert_eq!(status, Some(0), "{told}{said}");
        assert_has(&told, &[warning, "It can be trained"]);
        assert_eq!(told.contains("warning "), kind != "tame", "{told}");
    }
    let (status, _, said) = check("hang", &["--set", "supervision.hang_timeout_s=0.5"]);
    assert_eq!(status, Some(1), "{said}");
    assert_has(&said, &["did not answer for 0.5 s", "--set supervision.hang_timeout_s"]);
}

fn main() -> ExitCode {
    if !python().exists() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "run tools/gymnasium.py first");
        eprintln!("SKIPPED: environments of Gymnasium: run tools/gymnasium.py to install it here");
        return ExitCode::SUCCESS;
    }
    // Modules are looked for in the working directory.
    std::env::set_current_dir(root().join("tests/outside_env")).unwrap();
    macro_rules! run {
        ($($case:ident),+ $(,)?) => {
            let only = std::env::args().skip(1).find(|word| !word.starts_with('-'));
            $(if only.as_ref().is_none_or(|only| stringify!($case).contains(only.as_str())) {
                $case();
                println!("test {} ... ok", stringify!($case));
            })+
        };
    }
    run!(
        gymnasiums_environments_and_the_engines_own_are_the_same_bit_for_bit,
        every_kind_of_observation_passes,
        bounds_are_told_where_all_have_some,
        every_kind_of_action_passes,
        what_is_no_fixed_number_of_numbers_is_refused_by_name,
        a_mistake_is_told_in_pythons_words_with_what_to_do,
        episodes_are_the_environments_own_and_resets_steps_of_their_own,
        who_is_never_reset_begins_with_that,
        old_generators_are_given_seeds_that_they_take,
        a_vector_of_gymnasiums_own_is_stepped_as_one,
        other_packages_environments_are_found,
        a_stack_of_the_engine_is_the_emulators_own,
        a_lost_life_ends_no_game,
        a_game_is_cut_at_its_limit_even_where_a_life_is_lost,
        the_preset_of_atari_trains_and_counts_frames_of_both_kinds,
        a_program_that_speaks_badly_is_told_so,
        faults_of_every_kind_cost_an_actor_at_most_and_leave_nothing,
        a_flood_of_words_is_kept_short,
        one_that_does_not_start_in_time_is_refused_before_anything_starts,
        a_signal_ends_all_while_it_trains_and_while_it_starts,
        the_supervisors_death_takes_all_along,
        cart_pole_is_learned_through_python,
        an_environment_draws_itself_for_a_film,
        code_that_a_run_names_is_run_only_where_it_is_trusted,
        a_deterministic_run_learns_the_same_weights_from_either,
        a_program_in_c_is_trained,
        a_check_says_what_an_environment_is_and_whether_it_can_be_trained,
        a_check_refuses_what_no_training_could_learn_from_and_warns_of_the_rest,
    );
    ExitCode::SUCCESS
}
