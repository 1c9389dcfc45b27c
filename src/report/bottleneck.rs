//! What held a run back, in one paragraph, from the run's own figures.
//!
//! Owns the judgement and its thresholds. Pure: a [`Summary`] and a number of cores in, a
//! [`Diagnosis`] out. Used by the page and by whoever prints a summary.

use std::fmt;

use super::advice::{Advice, Advisor, Change, LAG_COSTS_FRAMES, WORTH};
use super::loops::{finite, ratio};
use super::shares::{Cores, Shares};
use super::units::{counted, micros, percent, seconds, three_digits};
use crate::telemetry::{LagSummary, Summary};

/// What a run could not have more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub enum Limit {
    /// Too little was measured to say.
    Unknown,
    /// Other programs had the cores that it wanted.
    Others,
    /// All cores had work of this run all the time.
    Cores,
    /// The actors waited for the learner.
    Learner,
    /// The learner waited for the actors.
    Actors,
    /// Neither waited for the other to speak of.
    Balanced,
    /// Each waited for the other, because that was asked for, or there is room for one batch only.
    Turns,
    /// Each waited for the other much of the time, though neither had to.
    HandOver,
}

/// The judgement; displayed, it is one paragraph.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// What limited the run.
    pub limit: Limit,
    /// The same as a sentence.
    pub verdict: String,
    /// Sentences with the figures it rests on.
    pub evidence: String,
    /// The single change that would help most, as a sentence.
    pub advice: String,
    /// The same as settings, where it is a change of settings.
    pub change: Option<Change>,
}

/// Others took the cores from this share on: of what the run wanted of them, and of the time in which it
/// stood still for want of one. Everything else that was measured is then theirs as much as the run's.
const OTHERS: f64 = 0.25;

/// A loop that waits less than this has nothing to gain from a faster partner that the noise between two
/// runs would not hide.
const WAITS: f64 = WORTH;

/// Who waits this much of its time is not what the other one waits for.
const WAITS_MUCH: f64 = 0.4;

/// Judges a run. `n_cores` is the number of cores it had, if known.
pub fn diagnose(summary: &Summary, n_cores: Option<usize>) -> Diagnosis {
    let shares = Shares::of(summary, n_cores);
    let limit = limit(summary, &shares);
    let verdict = verdict(limit, summary, &shares);
    let advisor = Advisor { summary, shares: &shares };
    let Advice { text: advice, change } = advice(limit, &advisor);
    let evidence = match limit {
        Limit::Unknown => String::new(),
        _ => evidence(&advisor),
    };
    Diagnosis { limit, verdict, evidence, advice, change }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Diagnosis { verdict, evidence, advice, .. } = self;
        f.write_str(format!("{verdict} {evidence} {advice}").trim_end())
    }
}

fn limit(summary: &Summary, shares: &Shares) -> Limit {
    let (waiting, blocked, cores) = (shares.waiting(), shares.blocked(), &shares.cores);
    let both_wait = |share| waiting >= share && blocked >= share;
    let takes_turns = summary.deterministic || summary.ring_batches == 1;
    if shares.largest.is_none() {
        Limit::Unknown
    } else if cores.lost.min(ratio(cores.taken, cores.used + cores.taken)) >= OTHERS {
        Limit::Others
    } else if cores.room() < 1.0 + WORTH {
        Limit::Cores
    } else if waiting < WAITS && blocked < WAITS {
        Limit::Balanced
    } else if takes_turns && both_wait(WAITS) {
        Limit::Turns
    } else if both_wait(WAITS_MUCH) {
        Limit::HandOver
    } else if waiting > blocked {
        Limit::Actors
    } else {
        Limit::Learner
    }
}

fn verdict(limit: Limit, summary: &Summary, shares: &Shares) -> String {
    let Cores { used, without, taken, .. } = shares.cores;
    match limit {
        Limit::Unknown => {
            "Too little was measured to say what limited this run: the learner made no timed update.".into()
        }
        Limit::Others => format!(
            "Other programs took the cores: its threads had work and no core {} of the time that they wanted \
             one, while others used {} of its cores.",
            percent(ratio(without, used + without)),
            three_digits(summary.cores_of_others.unwrap_or(taken))
        ),
        Limit::Cores => "The processor cores limited this run.".into(),
        Limit::Learner => "The learner limited this run: the actors waited for it.".into(),
        Limit::Actors => "The actors limited this run: the learner waited for them.".into(),
        Limit::Balanced => "Learner and actors kept pace; neither limited the other much.".into(),
        Limit::Turns if summary.deterministic => {
            "Learner and actors took turns, as a deterministic run must: nobody collects while the learner \
             updates."
                .into()
        }
        Limit::Turns => {
            "Learner and actors took turns: all rings together hold a single batch, so that nobody collects \
             while the learner updates."
                .into()
        }
        Limit::HandOver => {
            "Learner and actors each waited for the other much of the time, so that neither limited the run: \
             handing over did."
                .into()
        }
    }
}

fn advice(limit: Limit, advisor: &Advisor) -> Advice {
    match limit {
        Limit::Unknown => Advice::default(),
        Limit::Others => advisor.on_others(),
        Limit::Cores => advisor.on_cores(),
        Limit::Learner => advisor.on_learner(),
        Limit::Actors => advisor.on_actors(),
        Limit::Balanced => advisor.on_balance(),
        Limit::Turns => advisor.on_turns(),
        Limit::HandOver => advisor.on_hand_over(),
    }
}

fn evidence(advisor: &Advisor) -> String {
    let Advisor { summary, shares } = advisor;
    let sentences = [
        waiting(summary, shares),
        largest_stage(shares),
        cores(&shares.cores),
        summary.policy_lag.as_ref().map(|of_run| lag(of_run, advisor)).unwrap_or_default(),
    ];
    sentences.join(" ").trim_end().to_owned()
}

fn waiting(summary: &Summary, shares: &Shares) -> String {
    format!(
        "The learner waited for rollouts {} of its time ({} of {}), the {} waited on full \
         rings {} of theirs ({} of {}); while the learner updated, at least one actor was \
         collecting {} of the time.",
        percent(shares.waiting()),
        seconds(shares.learner_wait_s),
        seconds(shares.learner_s),
        actors(summary.actors.len()),
        percent(shares.blocked()),
        seconds(shares.actors_blocked_s),
        seconds(shares.actors_s),
        percent(summary.collected_during_updates),
    )
}

fn largest_stage(shares: &Shares) -> String {
    let Some(largest) = shares.largest else {
        return String::new();
    };
    format!(
        "The learner's largest stage was {}: {} of its time, {} µs an update in the mean.",
        largest.stage.tag(),
        percent(ratio(largest.total_s, shares.learner_s)),
        micros(largest.mean_us),
    )
}

fn cores(cores: &Cores) -> String {
    let of = match cores.n_cores {
        Some(n) => format!("of {}", counted(n as u64, "core")),
        None => "of a number of cores that is not known".to_owned(),
    };
    let used = three_digits(cores.used);
    if !cores.is_measured {
        return format!("On average {used} {of} had work of this run, if nobody else had them.");
    }
    format!(
        "On average its threads used {used} {of}, {} had work and no core, and other programs used {} in \
         their place.",
        three_digits(cores.without),
        three_digits(cores.taken),
    )
}

fn lag(lag: &LagSummary, advisor: &Advisor) -> String {
    let LagSummary { mean, p99, max, .. } = lag;
    let judgement = if finite(advisor.summary.policy_lag_batches()) < LAG_COSTS_FRAMES {
        "low enough to cost few frames".to_owned()
    } else {
        format!("enough to cost frames in learning: {}", advisor.against_lag())
    };
    format!(
        "The policy lag was {} updates in the mean (p99 {p99}, largest {max}), {judgement}.",
        three_digits(finite(*mean))
    )
}

fn actors(n: usize) -> String {
    if n == 1 { "actor".to_owned() } else { format!("{n} actors") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stages::Stage;
    use crate::telemetry::{ActorSummary, Exit, LatencySummary};

    /// Ten seconds of a learner with these µs a stage of 10,000 updates, and of equal actors.
    fn run(stages_us: &[(Stage, f64)], actors: usize, actor: ActorSummary) -> Summary {
        let latency = |us: f64| LatencySummary { count: 10_000, mean: us, ..Default::default() };
        let wait_us = stages_us.iter().find(|(s, _)| *s == Stage::Wait).map_or(0.0, |(_, us)| *us);
        Summary {
            kernels: "avx2".to_owned(),
            env: "CartPole-v1".to_owned(),
            seed: 1,
            learner: "native".to_owned(),
            learner_threads: 1,
            batch_threads: 1,
            max_learner_threads: 4,
            ring_batches: 4,
            clip: None,
            slots_per_actor: 1,
            batch_slots: 1,
            epochs: 1,
            deterministic: false,
            real_actions: false,
            exit: Exit::Finished,
            signal: None,
            wall_s: 10.5,
            startup_s: 0.1,
            train_s: 10.0,
            frames: 6_400_000,
            emulator_frames: None,
            frames_before: 0,
            frames_produced: 6_400_000,
            updates: 10_000,
            frames_per_s: 640_000.0,
            solved: false,
            solved_frames: None,
            solved_s: None,
            score_last100: None,
            tasks: Vec::new(),
            normalized_score: None,
            score_threshold: None,
            eval: None,
            latency_us: stages_us
                .iter()
                .map(|(s, us)| (s.tag().to_owned(), latency(*us)))
                .collect(),
            policy_lag: Some(LagSummary { mean: 2.1, p50: 2, p99: 5, max: 9 }),
            gradient_lag: Some(LagSummary::default()),
            rho: Default::default(),
            memory: None,
            actors: vec![actor; actors],
            learner_wait_s: wait_us / 100.0,
            learner_cores: None,
            cores_of_others: None,
            collected_during_updates: 0.875,
            rollouts_dropped: 0,
            reliability: Default::default(),
            ranks: Vec::new(),
        }
    }

    fn busy_actor(act_s: f64, env_s: f64, blocked_s: f64) -> ActorSummary {
        ActorSummary { act_s, env_s, blocked_s, ..Default::default() }
    }

    fn text(summary: &Summary, n_cores: Option<usize>) -> String {
        diagnose(summary, n_cores).to_string().replace('\u{a0}', " ")
    }

    /// A run in which the learner's stages took these shares of a millisecond, and each actor these seconds.
    fn scenario(name: &str) -> Summary {
        use Stage::{Backward, Forward, Turn, Wait};
        let learner = |wait, forward| {
            vec![(Wait, wait), (Forward, forward), (Backward, 1000.0 - wait - forward)]
        };
        let two_threads = || [learner(100.0, 500.0), vec![(Turn, 1000.0)]].concat();
        let (stages, n_actors, [act_s, env_s, blocked_s]) = match name {
            "learner" | "learner, one batch" => (learner(20.0, 300.0), 4, [2.0, 1.0, 7.0]),
            "environments" => (learner(600.0, 250.0), 4, [1.0, 9.0, 0.0]),
            "two threads" => (two_threads(), 2, [2.0, 1.0, 7.0]),
            "starved" => (learner(600.0, 250.0), 1, [8.0, 2.0, 0.0]),
            "starved, all actors" => (learner(600.0, 250.0), 256, [8.0, 2.0, 0.0]),
            "turns" | "deterministic" => (learner(500.0, 250.0), 1, [2.5, 2.0, 5.5]),
            "hand over" => (learner(500.0, 250.0), 4, [2.5, 2.0, 5.5]),
            _ => (learner(50.0, 450.0), 2, [5.0, 4.5, 0.5]),
        };
        let run = run(&stages, n_actors, busy_actor(act_s, env_s, blocked_s));
        let learner_threads = if name == "two threads" { 2 } else { 1 };
        let max_learner_threads = if name.ends_with("one batch") { 1 } else { n_actors };
        let deterministic = name == "deterministic";
        let ring_batches = if deterministic { 2 } else { n_actors };
        Summary { learner_threads, max_learner_threads, ring_batches, deterministic, ..run }
    }

    /// Scenario, its cores, the judgement, and a phrase that the paragraph must hold.
    #[rustfmt::skip]
    const DIAGNOSES: [(&str, Option<usize>, Limit, &str); 28] = [
        ("learner", Some(8), Limit::Learner, "waited for rollouts 2.0 % of its time (200 ms of 10 s)"),
        ("learner", Some(8), Limit::Learner, "full rings 70 % of theirs (28 s of 40 s)"),
        ("learner", Some(8), Limit::Learner, "collecting 88 % of the time"),
        ("learner", Some(8), Limit::Learner, "largest stage was backward: 68 % of its time, 680 µs an update"),
        ("learner", Some(8), Limit::Learner, "2.18 of 8 cores had work of this run, if nobody else had them"),
        ("learner", Some(8), Limit::Learner, "2.1 updates in the mean (p99 5, largest 9), low enough"),
        ("learner", Some(8), Limit::Learner, "thread (`--learner-threads 2`, up to 100 % more frames a second)"),
        ("learner", Some(3), Limit::Learner, "thread (`--learner-threads 2`, up to 38 % more frames a second)"),
        ("learner, one batch", Some(8), Limit::Learner, "half its cost would let the learner do 52 % more updates"),
        ("learner", Some(8), Limit::Learner, "more actors would only wait longer"),
        ("learner", None, Limit::Learner, "a number of cores that is not known"),
        ("learner", Some(2), Limit::Cores, "the actors' forward passes (37 % of all busy time)"),
        ("learner", Some(2), Limit::Cores, "more actors would only share the same cores"),
        ("environments", Some(4), Limit::Cores, "the environments (82 % of all busy time)"),
        ("environments", Some(5), Limit::Actors, "(`--actors 5`, up to 14 % more frames a second)"),
        ("starved", Some(8), Limit::Actors, "waited for rollouts 60 %"),
        ("starved", Some(8), Limit::Actors, "the actor waited on full rings 0 %"),
        ("starved", Some(8), Limit::Actors, "for which there are cores (`--actors 2`, up to 100 % more"),
        ("starved, all actors", Some(999), Limit::Actors, "a cheaper forward pass, which took 80 % of"),
        ("turns", Some(8), Limit::Turns, "hold a single batch"),
        ("turns", Some(8), Limit::Turns, "(`--set actors.slots_per_actor=2`, up to 100 % more frames a second)"),
        ("deterministic", Some(8), Limit::Turns, "as a deterministic run must"),
        ("deterministic", Some(8), Limit::Turns, "(`--set deterministic=false`, up to 100 % more"),
        ("hand over", Some(8), Limit::HandOver, "larger rings (`--set actors.slots_per_actor=2`, up to 100 % more"),
        ("two threads", Some(8), Limit::Learner, "a cheaper forward"),
        ("two threads", Some(1), Limit::Cores, "the learner's forward stage (33 % of all busy time)"),
        ("balanced", Some(4), Limit::Balanced, "kept pace"),
        ("balanced", Some(4), Limit::Balanced, "a cheaper backward"),
    ];

    #[test]
    fn each_kind_of_run_gets_its_diagnosis() {
        for (name, n_cores, limit, phrase) in DIAGNOSES {
            let summary = scenario(name);
            let text = text(&summary, n_cores);
            assert_eq!(diagnose(&summary, n_cores).limit, limit, "{name}: {text}");
            assert!(text.contains(phrase), "{name}: {phrase:?} not in {text}");
        }
    }

    #[test]
    fn high_lag_names_what_can_still_be_changed() {
        let mut summary = run(&[(Stage::Backward, 900.0)], 4, busy_actor(2.0, 1.0, 7.0));
        let lowered_by = |summary: &Summary| {
            let text = text(summary, Some(8));
            let (_, by) = text.split_once("to cost frames in learning: ").expect("a high lag");
            by.split_once(" would lower it").expect("what lowers it").0.to_owned()
        };
        summary.policy_lag = Some(LagSummary { mean: 8.4, ..LagSummary::default() });
        assert_eq!(lowered_by(&summary), "fewer actors");
        summary.slots_per_actor = 2;
        assert_eq!(lowered_by(&summary), "fewer slots for each actor");
        (summary.slots_per_actor, summary.actors) = (1, summary.actors[..1].to_vec());
        assert_eq!(lowered_by(&summary), "a larger batch");
        // Of four updates a batch, as many updates are two batches.
        summary.epochs = 4;
        assert!(text(&summary, Some(8)).contains("low enough to cost few frames"));
    }

    /// A setting at its limit is not named, nor a thread for which there is no core.
    #[test]
    fn no_advice_that_cannot_be_followed() {
        let mut turns = scenario("turns");
        turns.slots_per_actor = 1_024;
        assert!(!text(&turns, Some(8)).contains("--batch-slots"), "{}", text(&turns, Some(8)));
        assert!(!text(&turns, Some(8)).contains("slots_per_actor="), "{}", text(&turns, Some(8)));
        turns.batch_slots = 4;
        assert!(text(&turns, Some(8)).contains("`--batch-slots 2`"), "{}", text(&turns, Some(8)));
        let mut hand_over = scenario("hand over");
        hand_over.slots_per_actor = 1_024;
        assert!(!text(&hand_over, Some(8)).contains("slots_per_actor="));
        let learner = scenario("learner");
        for n_cores in 1..=2 {
            let text = text(&learner, Some(n_cores));
            assert!(!text.contains("more learner thread"), "{n_cores} cores: {text}");
        }
    }

    #[test]
    fn nothing_measured_is_said_and_nothing_is_not_a_number() {
        let empty = run(&[], 0, ActorSummary::default());
        assert_eq!(diagnose(&empty, Some(2)).limit, Limit::Unknown);
        let mut broken =
            run(&[(Stage::Backward, 900.0)], 1, busy_actor(f64::NAN, 1.0, f64::INFINITY));
        (broken.train_s, broken.learner_wait_s) = (f64::NAN, f64::NAN);
        broken.policy_lag = None;
        let text = text(&broken, Some(2));
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
