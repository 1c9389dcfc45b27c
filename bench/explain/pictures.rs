//! The document's pictures: how each method works, and what it is worth.

use anyhow::{Context, Result};
use plotters::prelude::RGBColor;

use super::bars::{Bar, Bars, GREEN, PADDING, WIDTH};
use super::document::{Document, EXCHANGED, ONE_THREAD, SETTINGS, STAGES};
use super::figure::figure;
use super::ink::BLUE;
use super::results::{Case, Machine};
use super::roofline;
use super::sketch::{Mark, ORANGE, PALE, Sketch};

/// Every picture by its file's name.
///
/// # Errors
/// If something was not measured.
pub fn all(document: &Document) -> Result<Vec<(&'static str, Sketch)>> {
    let now = &document.now;
    let engine = "default: the engine's methods";
    let speeds = |title, group, names: &[&str]| {
        let blocks = document.machines().map(|machine| speeds(machine, title, group, names));
        blocks.collect::<Result<Vec<_>>>()
    };
    let envs = "scaling: environments an actor, E";
    let asynchronous = speeds("both ways", EXCHANGED, &[engine, "lockstep, not asynchronous"])?;
    let copies = [engine, "slots copied, not read in place", "rollouts: messages, not rings"];
    let weights = [engine, "weights: mutex, not seqlock", "weights: messages, not seqlock"];
    let waiting =
        [engine, "waiting: futex at once", "waiting: yield, not futex", "waiting: spin, not futex"];
    let slots = ["default", "2 slots an actor, not 1", "4 slots an actor, not 1"];
    Ok(vec![
        ("vectorised", Sketch::of(speeds("environments an actor", envs, &["8", "32", "128"])?)),
        ("asynchronous", Sketch { bars: asynchronous, ..timelines(now)? }),
        ("slots", Sketch { bars: speeds("one copy more", EXCHANGED, &copies[..2])?, ..path() }),
        ("kernels", Sketch::of(vec![kernels(now)?])),
        ("seqlock", Sketch { bars: speeds("weights", EXCHANGED, &weights)?, ..cells() }),
        (
            "ring",
            Sketch { bars: speeds("rollouts", EXCHANGED, &[copies[0], copies[2]])?, ..ring() },
        ),
        ("waiting", Sketch::of(waits(now, &waiting)?)),
        ("in-flight", Sketch::of(in_flight(now, &slots)?)),
        ("threads", Sketch { bars: vec![threads(now)?], ..lanes(now)? }),
        ("roofline", Sketch::of(vec![rungs(now)?])),
        ("stages", Sketch::of(vec![stages(now)?])),
    ])
}

fn case<'a>(machine: &'a Machine, group: &str, name: &str) -> Result<&'a Case> {
    machine.case(group, name).with_context(|| format!("no case {group}: {name}"))
}

fn colour(machine: &Machine) -> RGBColor {
    if machine.simd() == "avx2" { BLUE } else { GREEN }
}

fn speeds(machine: &Machine, title: &str, group: &str, names: &[&str]) -> Result<Bars> {
    let bar = |name: &&str| {
        let speed = case(machine, group, name)?.m_frames_per_s;
        Ok(Bar {
            name: (*name).into(),
            median: speed.median,
            range: Some([speed.min, speed.max]),
            words: format!("{} M frames/s", figure(speed.median)),
            colour: colour(machine),
        })
    };
    let title = format!("{title}: frames learned per second, {}", machine.label);
    Ok(Bars { title, bars: names.iter().map(bar).collect::<Result<_>>()?, level: None })
}

/// Speed, and what it costs in processor time.
fn waits(machine: &Machine, names: &[&str]) -> Result<Vec<Bars>> {
    let cost = |name: &&str| {
        let cpu = case(machine, EXCHANGED, name)?.cpu_s_per_m_frames;
        Ok(plain(name, cpu.median, "CPU s", ORANGE))
    };
    let title = "processor time of all processes for a million frames".into();
    let costs = Bars { title, bars: names.iter().map(cost).collect::<Result<_>>()?, level: None };
    Ok(vec![speeds(machine, "waiting", EXCHANGED, names)?, costs])
}

/// Speed, and how old the policy is that collected.
fn in_flight(machine: &Machine, names: &[&str]) -> Result<Vec<Bars>> {
    let lag = |name: &&str| {
        let lag = case(machine, SETTINGS, name)?.policy_lag;
        Ok(plain(name, lag.median, "updates", ORANGE))
    };
    let title = "policy lag, mean".into();
    let lags = Bars { title, bars: names.iter().map(lag).collect::<Result<_>>()?, level: None };
    Ok(vec![speeds(machine, "slots an actor", SETTINGS, names)?, lags])
}

fn threads(machine: &Machine) -> Result<Bars> {
    speeds(machine, "learner threads", "scaling: learner threads", &["1", "2", "4"])
}

fn plain(name: &str, value: f64, unit: &str, colour: RGBColor) -> Bar {
    let words = format!("{} {unit}", figure(value));
    Bar { name: name.into(), median: value, range: None, words, colour }
}

fn kernels(machine: &Machine) -> Result<Bars> {
    let set = machine.widest().context("no kernels were measured")?;
    let timed = set.of_size(roofline::HIDDEN, 672).filter(|kernel| kernel.flops_per_frame > 0);
    let bar = |kernel: &super::results::Kernel| {
        plain(&kernel.name, kernel.percent_of_peak, "% of peak", colour(machine))
    };
    let title = format!("kernels over a slot, {}: of one core's peak", machine.label);
    Ok(Bars { title, bars: timed.map(bar).collect(), level: Some(100.0) })
}

fn rungs(machine: &Machine) -> Result<Bars> {
    let ladder = roofline::ladder(machine)?;
    let bar = |rung: &roofline::Rung| {
        plain(rung.name, rung.m_frames_per_s, "M frames/s", colour(machine))
    };
    let title = "from the arithmetic to the engine".into();
    Ok(Bars { title, bars: ladder.iter().map(bar).collect(), level: None })
}

fn stages(machine: &Machine) -> Result<Bars> {
    let mean = |stage: &&str| mean_us(machine, stage).map(|mean| plain(stage, mean, "µs", BLUE));
    let title = "one update of the learner, mean time of each stage".into();
    Ok(Bars { title, bars: STAGES.iter().map(mean).collect::<Result<_>>()?, level: None })
}

fn mean_us(machine: &Machine, stage: &str) -> Result<f64> {
    let row = machine.row(ONE_THREAD, &format!("{stage}, mean"));
    row.map(|row| row.median).with_context(|| format!("no stage {stage}"))
}

/// Of one rollout and of one update, µs.
fn durations(machine: &Machine) -> Result<[f64; 2]> {
    let sum =
        |stages: &[&str]| stages.iter().map(|stage| mean_us(machine, stage)).sum::<Result<f64>>();
    Ok([sum(&["actor_act", "actor_env"])?, sum(&STAGES[1..])?])
}

const LANE_HEIGHT: i32 = 44;
const LEFT: i32 = 190;

/// Boxes one after another in a lane, to scale.
fn lane(y: i32, name: &str, scale: f64, pieces: &[(f64, f64, RGBColor, &str)]) -> Vec<Mark> {
    let x = |us: f64| LEFT + (us * scale) as i32;
    let piece = |(from, until, colour, word): &(f64, f64, RGBColor, &str)| {
        let width = x(*until) - x(*from) - 3;
        Mark::Box([x(*from), y, width, LANE_HEIGHT - 10], *colour, (*word).into())
    };
    let words = Mark::Words((PADDING, y + LANE_HEIGHT / 2 - 5), name.into());
    std::iter::once(words).chain(pieces.iter().map(piece)).collect()
}

/// Four rollouts collected and learned from, in turns and at the same time.
fn timelines(machine: &Machine) -> Result<Sketch> {
    let [collect, update] = durations(machine)?;
    let round = 2.0 * collect + 4.0 * update;
    let scale = f64::from(WIDTH - LEFT - PADDING) / round;
    let actor = |from: f64, name| (from, from + collect, GREEN, name);
    let learner = |from: f64| (from, from + update, BLUE, "update");
    let updates = |from: f64| Vec::from_iter((0..4).map(|k| learner(from + f64::from(k) * update)));
    let mut marks = vec![Mark::Words(
        (PADDING, 20),
        "one learner thread, in turns: one core idles while the other learns".into(),
    )];
    let mut first = vec![actor(0.0, "actor 0"), actor(collect, "2")];
    first.extend(updates(2.0 * collect));
    marks.extend(lane(42, "core 1", scale, &first));
    let idle = (2.0 * collect, round, PALE, "idle");
    let second = [actor(0.0, "actor 1"), actor(collect, "3"), idle];
    marks.extend(lane(42 + LANE_HEIGHT, "core 2", scale, &second));
    let below = 42 + 2 * LANE_HEIGHT + 34;
    let words = "one learner thread, asynchronously: it hardly ever waits, actors wait for room";
    marks.push(Mark::Words((PADDING, below - 20), words.into()));
    let mut together = updates(0.0);
    together.push((4.0 * update, round, BLUE, "next"));
    marks.extend(lane(below, "core 1", scale, &together));
    let names = ["actor 0", "actor 1", "actor 2", "actor 3"];
    let beside: Vec<_> = (0..4).map(|k| actor(f64::from(k) * update, names[k as usize])).collect();
    marks.extend(lane(below + LANE_HEIGHT, "core 2", scale, &beside));
    Ok(Sketch { height: below + 2 * LANE_HEIGHT + PADDING, marks, bars: Vec::new() })
}

/// Two lanes of the learner, each with its own batch.
fn lanes(machine: &Machine) -> Result<Sketch> {
    let [collect, update] = durations(machine)?;
    let scale = f64::from(WIDTH - LEFT - PADDING) / (2.0 * (update + collect));
    let pieces = |first: bool| {
        let starts = if first { [0.0, update] } else { [collect, 0.0] };
        let [learn, act] = starts;
        let period = update + collect;
        let turn = |k: f64| {
            let (learn, act) = (learn + k * period, act + k * period);
            [(learn, learn + update, BLUE, "gradient"), (act, act + collect, GREEN, "actor")]
        };
        [turn(0.0), turn(1.0)].concat()
    };
    let mut marks = vec![Mark::Words(
        (PADDING, 20),
        "two lanes: whichever core has no rollout to collect computes a gradient".into(),
    )];
    marks.extend(lane(42, "core 1, lane 0", scale, &pieces(true)));
    marks.extend(lane(42 + LANE_HEIGHT, "core 2, lane 1", scale, &pieces(false)));
    Ok(Sketch { height: 42 + 2 * LANE_HEIGHT + PADDING, marks, bars: Vec::new() })
}

/// The way of a number from an environment to the kernels.
fn path() -> Sketch {
    let (y, height) = (60, 70);
    let marks = vec![
        Mark::Words((PADDING, 24), "one place for a rollout: written there, read there".into()),
        Mark::Box([PADDING, y, 330, height], GREEN, "environments and policy".into()),
        Mark::Arrow((PADDING + 340, y + height / 2), (520, y + height / 2)),
        Mark::Box([530, y, 330, height], ORANGE, "slot in shared memory".into()),
        Mark::Arrow((870, y + height / 2), (1036, y + height / 2)),
        Mark::Box([1046, y, 330, height], BLUE, "kernels, V-trace".into()),
        Mark::Words((400, y - 14), "stores".into()),
        Mark::Words((915, y - 14), "loads".into()),
    ];
    Sketch { height: y + height + PADDING, marks, bars: Vec::new() }
}

/// The writer fills the cell that nobody reads, then turns the index.
fn cells() -> Sketch {
    let marks = vec![
        Mark::Box([PADDING, 70, 250, 90], BLUE, "learner".into()),
        Mark::Arrow((284, 100), (470, 70)),
        Mark::Words((240, 40), "1. fills the hidden cell".into()),
        Mark::Box([480, 30, 330, 70], PALE, "cell 1: version 8, filling".into()),
        Mark::Box([480, 140, 330, 70], ORANGE, "cell 0: version 7, in use".into()),
        Mark::Arrow((1090, 115), (820, 175)),
        Mark::Words((830, 50), "actors copy the cell in use".into()),
        Mark::Box([1100, 70, 270, 90], GREEN, "actors".into()),
        Mark::Words((PADDING, 240), "2. turns the index to cell 1 with one store".into()),
    ];
    Sketch { height: 270, marks, bars: Vec::new() }
}

/// Slots go round; each belongs to one side at a time.
fn ring() -> Sketch {
    let marks = vec![
        Mark::Box([PADDING, 80, 250, 80], GREEN, "actor".into()),
        Mark::Arrow((284, 100), (520, 100)),
        Mark::Words((320, 74), "claim, fill".into()),
        Mark::Box([530, 80, 330, 80], ORANGE, "slots of one ring".into()),
        Mark::Arrow((870, 100), (1110, 100)),
        Mark::Words((890, 74), "publish: one store".into()),
        Mark::Box([1120, 80, 250, 80], BLUE, "learner".into()),
        Mark::Arrow((1110, 145), (870, 145)),
        Mark::Words((890, 180), "release: one store".into()),
        Mark::Words((PADDING, 24), "one ring an actor: one writer for either index".into()),
    ];
    Sketch { height: 210, marks, bars: Vec::new() }
}
