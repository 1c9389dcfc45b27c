//! What held a run back, in one paragraph, from the run's own figures.
//!
//! Owns the judgement and its thresholds. Pure: a [`Summary`] and a number of cores in, a
//! [`Diagnosis`] out. Used by the page and by whoever prints a summary.

use std::fmt;

use super::loops::{StageTime, actor_loop_s, finite, learner_loop_s, learner_stages, ratio};
use super::units::{micros, percent, seconds, three_digits};
use crate::base::latency::Stage;
use crate::telemetry::{ActorSummary, LagSummary, Summary};

/// What a run could not have more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Too little was measured to say.
    Unknown,
    /// All cores had work all the time.
    Cores,
    /// The actors waited for the learner.
    Learner,
    /// The learner waited for the actors.
    Actors,
    /// Neither waited for the other to speak of.
    Balanced,
    /// Each waited for the other, because there is room for one batch only.
    Turns,
}

/// The judgement; displayed, it is one paragraph.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// What limited the run.
    pub limit: Limit,
    /// The same as a sentence.
    pub verdict: &'static str,
    /// Sentences with the figures it rests on.
    pub evidence: String,
    /// The single change that would help most, as a sentence.
    pub advice: String,
}

/// From this much of all cores at work, more work for one process is less for another. Below 1,
/// because kernel, supervisor and the time-keeping itself take their part.
const CORES_EXHAUSTED: f64 = 0.95;

/// A loop that waits less than this has nothing to gain from a faster partner that the noise between
/// two runs (about 10 %) would not hide.
const WAITS: f64 = 0.1;

/// Mean policy lag, in updates, from which CartPole-v1 took noticeably more frames to solve in
/// simulation (lag 0: 127k frames, 4: 183k, 8: 230k; at 16 learning broke).
const LAG_COSTS_FRAMES: f64 = 5.0;

/// Judges a run. `n_cores` is the number of cores it had, if known.
pub fn diagnose(summary: &Summary, n_cores: Option<usize>) -> Diagnosis {
    let figures = Figures::of(summary, n_cores);
    let limit = figures.limit();
    let verdict = limit.verdict();
    if limit == Limit::Unknown {
        return Diagnosis { limit, verdict, evidence: String::new(), advice: String::new() };
    }
    let lag = lag(&summary.policy_lag);
    let evidence = [figures.waiting(), figures.largest_stage(), figures.cores(), lag].join(" ");
    Diagnosis { limit, verdict, evidence, advice: figures.advice(limit) }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Diagnosis { verdict, evidence, advice, .. } = self;
        f.write_str(format!("{verdict} {evidence} {advice}").trim_end())
    }
}

impl Limit {
    fn verdict(self) -> &'static str {
        match self {
            Limit::Unknown => {
                "Too little was measured to say what limited this run: the learner made no timed update."
            }
            Limit::Cores => "The processor cores limited this run.",
            Limit::Learner => "The learner limited this run: the actors waited for it.",
            Limit::Actors => "The actors limited this run: the learner waited for them.",
            Limit::Balanced => "Learner and actors kept pace; neither limited the other much.",
            Limit::Turns => {
                "Learner and actors took turns: all rings together hold a single batch, so that nobody \
                 collects while the learner updates."
            }
        }
    }
}

/// The figures the judgement rests on.
struct Figures {
    n_actors: usize,
    n_learner_threads: usize,
    may_have_more_threads: bool,
    /// Whether all rings together hold one batch only.
    is_single_batch: bool,
    n_cores: Option<usize>,
    /// Time of the learner's loops, waiting included, s.
    learner_s: f64,
    learner_wait_s: f64,
    /// Time of all actors' loops, s.
    actors_s: f64,
    actors_blocked_s: f64,
    act_s: f64,
    env_s: f64,
    /// Time in which all loops together had work to do, s.
    busy_s: f64,
    /// Mean number of processes that had work to do at one time.
    n_busy: f64,
    collected_during_updates: f64,
    /// The learner's most expensive stage in which it works.
    largest: Option<StageTime>,
}

impl Figures {
    fn of(summary: &Summary, n_cores: Option<usize>) -> Figures {
        let stages = learner_stages(summary);
        let learner_s = learner_loop_s(summary);
        let learner_wait_s = finite(summary.learner_wait_s).min(learner_s);
        let sum = |part: fn(&ActorSummary) -> f64| {
            summary.actors.iter().map(|a| finite(part(a))).sum::<f64>()
        };
        let (act_s, env_s) = (sum(|a| a.act_s), sum(|a| a.env_s));
        let turn_s: f64 = stages.iter().filter(|s| s.stage == Stage::Turn).map(|s| s.total_s).sum();
        let busy_s =
            learner_s - learner_wait_s - turn_s + act_s + env_s + sum(|a| a.read_weights_s);
        let train_s = finite(summary.train_s);
        Figures {
            n_actors: summary.actors.len(),
            n_learner_threads: summary.learner_threads,
            may_have_more_threads: summary.learner_threads < summary.max_learner_threads,
            is_single_batch: summary.ring_batches == 1,
            n_cores,
            learner_s,
            learner_wait_s,
            actors_s: summary.actors.iter().map(|a| actor_loop_s(a, train_s)).sum(),
            actors_blocked_s: sum(|a| a.blocked_s),
            act_s,
            env_s,
            busy_s,
            n_busy: ratio(busy_s, train_s),
            collected_during_updates: summary.collected_during_updates,
            largest: largest(&stages),
        }
    }

    fn wait_share(&self) -> f64 {
        ratio(self.learner_wait_s, self.learner_s)
    }

    fn blocked_share(&self) -> f64 {
        ratio(self.actors_blocked_s, self.actors_s)
    }

    fn limit(&self) -> Limit {
        let (wait, blocked) = (self.wait_share(), self.blocked_share());
        if self.largest.is_none() {
            Limit::Unknown
        } else if self.n_cores.is_some_and(|n| self.n_busy >= CORES_EXHAUSTED * n as f64) {
            Limit::Cores
        } else if wait < WAITS && blocked < WAITS {
            Limit::Balanced
        } else if wait >= WAITS && blocked >= WAITS && self.is_single_batch {
            Limit::Turns
        } else if wait > blocked {
            Limit::Actors
        } else {
            Limit::Learner
        }
    }

    fn waiting(&self) -> String {
        format!(
            "The learner waited for rollouts {} of its time ({} of {}), the {} waited on full \
             rings {} of theirs ({} of {}); while the learner updated, at least one actor was \
             collecting {} of the time.",
            percent(self.wait_share()),
            seconds(self.learner_wait_s),
            seconds(self.learner_s),
            actors(self.n_actors),
            percent(self.blocked_share()),
            seconds(self.actors_blocked_s),
            seconds(self.actors_s),
            percent(self.collected_during_updates),
        )
    }

    fn largest_stage(&self) -> String {
        let Some(largest) = self.largest else {
            return String::new();
        };
        format!(
            "The learner's largest stage was {}: {} of its time, {} µs an update in the mean.",
            largest.stage.tag(),
            percent(ratio(largest.total_s, self.learner_s)),
            micros(largest.mean_us),
        )
    }

    fn cores(&self) -> String {
        let machine = match self.n_cores {
            Some(n) => format!("the machine gave them {n}"),
            None => "how many cores they had is not known".to_owned(),
        };
        format!(
            "On average {} processes had work to do at one time; {machine}{}.",
            three_digits(self.n_busy),
            if self.n_cores == Some(1) {
                " core"
            } else if self.n_cores.is_some() {
                " cores"
            } else {
                ""
            },
        )
    }

    /// The one change that would help most.
    fn advice(&self, limit: Limit) -> String {
        match limit {
            Limit::Unknown => String::new(),
            Limit::Cores => format!(
                "What would help most: more cores, or less computing for each frame, first of all in {}; \
                 more actors would only share the same cores.",
                self.largest_consumer()
            ),
            Limit::Learner if self.has_free_core() && self.may_have_more_threads => format!(
                "What would help most: one more learner thread (`--learner-threads {}`), since {} cores had \
                 nothing to do; more actors would only wait longer.",
                self.n_learner_threads + 1,
                three_digits(self.n_free().unwrap_or(0.0))
            ),
            Limit::Learner => format!(
                "What would help most: {}; more actors would only wait longer.",
                self.halve_largest()
            ),
            Limit::Actors if self.has_free_core() => format!(
                "What would help most: one more actor, since {} cores had nothing to do.",
                three_digits(self.n_free().unwrap_or(0.0))
            ),
            Limit::Actors => format!(
                "What would help most: a cheaper {}, which took {} of the actors' busy time.",
                self.actor_part(),
                percent(ratio(self.act_s.max(self.env_s), self.act_s + self.env_s))
            ),
            Limit::Turns => "What would help most: room for a second batch, with twice as many slots an \
                 actor (`--set actors.slots_per_actor=N`) or a batch half as large (`--batch-slots N`)."
                .to_owned(),
            Limit::Balanced => format!(
                "What would help most: {}, with as much saved in the actors.",
                self.halve_largest()
            ),
        }
    }

    /// Amdahl's law for a learner that never waits.
    fn halve_largest(&self) -> String {
        let Some(largest) = self.largest else {
            return String::new();
        };
        let share = ratio(largest.total_s, self.learner_s);
        let gain = 1.0 / (1.0 - share / 2.0) - 1.0;
        format!(
            "a cheaper {} (half its cost would let the learner do {} more updates)",
            largest.stage.tag(),
            percent(gain)
        )
    }

    fn largest_consumer(&self) -> String {
        let stage = self.largest.map_or(("the learner", 0.0), |s| (s.stage.tag(), s.total_s));
        let parts = [("the actors' forward passes", self.act_s), ("the environments", self.env_s)];
        let (name, total_s) =
            parts.into_iter().fold(stage, |best, part| if part.1 > best.1 { part } else { best });
        let name =
            if name == stage.0 { format!("the learner's {name} stage") } else { name.to_owned() };
        format!("{name} ({} of all busy time)", percent(ratio(total_s, self.busy_s)))
    }

    fn actor_part(&self) -> &'static str {
        if self.act_s >= self.env_s { "forward pass" } else { "environment" }
    }

    fn n_free(&self) -> Option<f64> {
        self.n_cores.map(|n| n as f64 - self.n_busy)
    }

    fn has_free_core(&self) -> bool {
        self.n_free().is_some_and(|n| n >= 1.0)
    }
}

/// Waiting is no work, neither for rollouts nor for another thread's turn.
fn largest(stages: &[StageTime]) -> Option<StageTime> {
    let is_work = |s: &&StageTime| !matches!(s.stage, Stage::Wait | Stage::Turn);
    let busy = stages.iter().filter(is_work).filter(|s| s.total_s > 0.0);
    busy.max_by(|a, b| a.total_s.total_cmp(&b.total_s)).copied()
}

fn lag(lag: &LagSummary) -> String {
    let LagSummary { mean, p99, max, .. } = lag;
    let judgement = if finite(*mean) < LAG_COSTS_FRAMES {
        "low enough to cost few frames"
    } else {
        "enough to cost frames in learning: fewer slots for each actor would lower it"
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
    use crate::telemetry::{Exit, LatencySummary};

    /// Ten seconds of a learner with these µs a stage of 10,000 updates, and of equal actors.
    fn run(stages_us: &[(Stage, f64)], actors: usize, actor: ActorSummary) -> Summary {
        let latency = |us: f64| LatencySummary { count: 10_000, mean: us, ..Default::default() };
        let wait_us = stages_us.iter().find(|(s, _)| *s == Stage::Wait).map_or(0.0, |(_, us)| *us);
        Summary {
            env: "CartPole-v1".to_owned(),
            seed: 1,
            learner: "native".to_owned(),
            learner_threads: 1,
            max_learner_threads: 4,
            ring_batches: 4,
            exit: Exit::Finished,
            signal: None,
            wall_s: 10.5,
            startup_s: 0.1,
            train_s: 10.0,
            frames: 6_400_000,
            frames_before: 0,
            frames_produced: 6_400_000,
            updates: 10_000,
            frames_per_s: 640_000.0,
            solved: false,
            solved_frames: None,
            solved_s: None,
            score_last100: None,
            score_threshold: None,
            eval: None,
            latency_us: stages_us
                .iter()
                .map(|(s, us)| (s.tag().to_owned(), latency(*us)))
                .collect(),
            policy_lag: LagSummary { mean: 2.1, p50: 2, p99: 5, max: 9 },
            gradient_lag: LagSummary::default(),
            rho: Default::default(),
            memory: None,
            actors: vec![actor; actors],
            learner_wait_s: wait_us / 100.0,
            collected_during_updates: 0.875,
            rollouts_dropped: 0,
            reliability: Default::default(),
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
            "learner" | "learner, deterministic" => (learner(20.0, 300.0), 4, [2.0, 1.0, 7.0]),
            "environments" => (learner(600.0, 250.0), 4, [1.0, 9.0, 0.0]),
            "two threads" => (two_threads(), 2, [2.0, 1.0, 7.0]),
            "starved" => (learner(600.0, 250.0), 1, [8.0, 2.0, 0.0]),
            "turns" => (learner(500.0, 250.0), 1, [2.5, 2.0, 5.5]),
            _ => (learner(50.0, 450.0), 2, [5.0, 4.5, 0.5]),
        };
        let run = run(&stages, n_actors, busy_actor(act_s, env_s, blocked_s));
        let learner_threads = if name == "two threads" { 2 } else { 1 };
        let max_learner_threads = if name.ends_with("deterministic") { 1 } else { n_actors };
        let ring_batches = n_actors;
        Summary { learner_threads, max_learner_threads, ring_batches, ..run }
    }

    /// Scenario, its cores, the judgement, and a phrase that the paragraph must hold.
    const DIAGNOSES: [(&str, Option<usize>, Limit, &str); 24] = [
        (
            "learner",
            Some(8),
            Limit::Learner,
            "waited for rollouts 2.0 % of its time (200 ms of 10 s)",
        ),
        ("learner", Some(8), Limit::Learner, "full rings 70 % of theirs (28 s of 40 s)"),
        ("learner", Some(8), Limit::Learner, "collecting 88 % of the time"),
        (
            "learner",
            Some(8),
            Limit::Learner,
            "largest stage was backward: 68 % of its time, 680 µs an update",
        ),
        (
            "learner",
            Some(8),
            Limit::Learner,
            "2.18 processes had work to do at one time; the machine gave them 8 cores",
        ),
        (
            "learner",
            Some(8),
            Limit::Learner,
            "2.1 updates in the mean (p99 5, largest 9), low enough",
        ),
        (
            "learner",
            Some(8),
            Limit::Learner,
            "one more learner thread (`--learner-threads 2`), since 5.82 cores had nothing to do",
        ),
        (
            "learner, deterministic",
            Some(8),
            Limit::Learner,
            "half its cost would let the learner do 52 % more updates",
        ),
        ("learner", Some(8), Limit::Learner, "more actors would only wait longer"),
        ("learner", None, Limit::Learner, "cores they had is not known"),
        ("learner", Some(2), Limit::Cores, "the actors' forward passes (37 % of all busy time)"),
        ("learner", Some(2), Limit::Cores, "more actors would only share the same cores"),
        ("environments", Some(4), Limit::Cores, "the environments (82 % of all busy time)"),
        ("environments", Some(5), Limit::Actors, "a cheaper environment, which took 90 % of"),
        ("starved", Some(8), Limit::Actors, "waited for rollouts 60 %"),
        ("starved", Some(8), Limit::Actors, "the actor waited on full rings 0 %"),
        ("starved", Some(8), Limit::Actors, "one more actor, since 6.6 cores had nothing to do"),
        ("turns", Some(8), Limit::Turns, "hold a single batch"),
        ("turns", Some(8), Limit::Turns, "--set actors.slots_per_actor=N"),
        ("two threads", Some(8), Limit::Learner, "stage was forward: 25 % of its time"),
        ("two threads", Some(8), Limit::Learner, "a cheaper forward"),
        (
            "two threads",
            Some(1),
            Limit::Cores,
            "the learner's forward stage (33 % of all busy time)",
        ),
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
    fn high_lag_is_said_to_cost_frames() {
        let mut summary = run(&[(Stage::Backward, 900.0)], 4, busy_actor(2.0, 1.0, 7.0));
        summary.policy_lag.mean = 8.4;
        assert!(text(&summary, Some(8)).contains("fewer slots for each actor"));
    }

    #[test]
    fn nothing_measured_is_said_and_nothing_is_not_a_number() {
        let empty = run(&[], 0, ActorSummary::default());
        assert_eq!(diagnose(&empty, Some(2)).limit, Limit::Unknown);
        let mut broken =
            run(&[(Stage::Backward, 900.0)], 1, busy_actor(f64::NAN, 1.0, f64::INFINITY));
        (broken.train_s, broken.learner_wait_s) = (f64::NAN, f64::NAN);
        broken.policy_lag.mean = f64::NAN;
        let text = text(&broken, Some(2));
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
