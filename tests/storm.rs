//! Short storms: a run whose workers are killed and stopped at random breaks nothing, and a protocol that
//! is broken on purpose is reported. Wants the feature `faults` (`make test-faults`).

#[path = "../bench/storm/blows.rs"]
mod blows;
#[path = "../bench/common/children.rs"]
mod children;
#[path = "../bench/common/summary.rs"]
mod common;
#[path = "../bench/common/descriptors.rs"]
mod descriptors;
#[path = "../bench/common/endless.rs"]
mod endless;
#[path = "../bench/storm/traces.rs"]
mod traces;
#[path = "../bench/storm/trial.rs"]
mod trial;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use blows::{PAUSE_MS, PAUSE_WITH_PYTHON_MS, Plan};
use trial::{Outcome, trial};

/// One storm at a time: each looks at what is left in /dev/shm.
static TURN: Mutex<()> = Mutex::new(());

/// A storm of some seconds. Nobody is left standing: to find out takes as long as the time-out, which has to
/// be generous here, and is tested by itself.
fn storm(seconds: f64, python: Option<&Path>, environment: &[(&str, &str)]) -> Outcome {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let duration = Duration::from_secs_f64(seconds);
    let pause_ms = if python.is_some() { PAUSE_WITH_PYTHON_MS } else { PAUSE_MS };
    let plan = Plan { duration, seed: 5, pause_ms, left_standing_one_in: u64::MAX };
    let binary = Path::new(env!("CARGO_BIN_EXE_impala"));
    trial(binary, plan, 60.0, python, environment, |_, _| ()).unwrap()
}

#[test]
fn a_short_storm_breaks_nothing() {
    let outcome = storm(10.0, None, &[]);
    assert_eq!(outcome.violations(), [""; 0]);
    assert!(outcome.kills > 0 && outcome.stops > 0, "{} {}", outcome.kills, outcome.stops);
    assert!(outcome.checks.slots_checked > 0, "{:?}", outcome.checks);
}

#[test]
fn a_short_storm_over_environments_of_python_breaks_nothing() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("third_party/gymnasium/bin/python");
    if !python.exists() {
        eprintln!("SKIPPED: a storm over Python: run tools/gymnasium.py to install Gymnasium here");
        return;
    }
    let outcome = storm(30.0, Some(&python), &[]);
    assert_eq!(outcome.violations(), [""; 0]);
    assert!(outcome.env_kills > 0 && outcome.stops > 0, "{} {}", outcome.env_kills, outcome.stops);
    assert!(outcome.checks.slots_checked > 0, "{:?}", outcome.checks);
}

#[test]
fn a_storm_reports_slots_published_early() {
    let outcome = storm(1.0, None, &[(trial::BREAK, "publish-early")]);
    let violations = outcome.violations();
    assert!(violations.iter().any(|text| text.ends_with("slots were torn")), "{violations:?}");
}
