//! The verdicts on recorded runs, of which it is known what limited them.
//!
//! Each line of `tests/verdict/recorded.jsonl` is the summary of a run that `impala train` made with those flags on
//! two AVX2 cores. Of those with `has_priority` the run went before all other programs (`nice -20`), which
//! had what it left: it is judged as if nobody had had that. Of the others compilers wanted both cores too.

use impala::report::bottleneck::{Limit, diagnose};
use impala::telemetry::Summary;
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    name: String,
    flags: String,
    n_cores: usize,
    has_priority: bool,
    limit: Limit,
    /// What the paragraph has to say.
    says: Vec<String>,
    /// What the advice must not.
    never: Vec<String>,
    summary: Summary,
}

fn recorded() -> Vec<Recorded> {
    let lines = include_str!("verdict/recorded.jsonl").lines();
    let mut runs: Vec<Recorded> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    let undisturbed = runs.iter_mut().filter(|run| run.has_priority);
    undisturbed.for_each(|run| run.summary.cores_of_others = Some(0.0));
    runs
}

#[test]
fn each_recorded_run_gets_the_verdict_that_is_known_to_be_right() {
    for run in recorded() {
        let diagnosis = diagnose(&run.summary, Some(run.n_cores));
        let text = diagnosis.to_string().replace('\u{a0}', " ");
        let about = format!("{} ({}): {text}", run.name, run.flags);
        assert_eq!(diagnosis.limit, run.limit, "{about}");
        for phrase in &run.says {
            assert!(text.contains(phrase), "{phrase:?} not in {about}");
        }
        for phrase in &run.never {
            assert!(!diagnosis.advice.contains(phrase), "{phrase:?} in {about}");
        }
    }
}

/// The same program twice, once with what the first run's report named: it promised as much as came, or more, since
/// it says "up to", and not several times as much.
#[test]
fn what_was_promised_came_within_reason() {
    let runs = recorded();
    let named = |name: &str| &runs.iter().find(|run| run.name == name).expect(name).summary;
    let promised = |summary| diagnose(summary, Some(2)).change.expect("a change of settings").gain;
    for (before, after) in [
        ("a slow learner", "a slow learner with two threads"),
        ("one actor", "one actor with two slots"),
        ("lockstep", "lockstep with two slots an actor"),
        ("two actors that sleep", "four actors that sleep"),
    ] {
        let gain = named(after).frames_per_s / named(before).frames_per_s - 1.0;
        let promise = promised(named(before));
        assert!(gain > promise / 3.0 && gain < promise + 0.2, "{before}: {gain}, not {promise}");
    }
}
