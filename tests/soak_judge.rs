//! The judge behind `make soak`, on made-up runs: what grows or decays is named, and nothing else is.

#[path = "../bench/soak/judge.rs"]
mod judge;
#[path = "../bench/soak/sample.rs"]
mod sample;
#[path = "../bench/common/statistics.rs"]
mod statistics;

use judge::{FEWEST_SAMPLES, judge};
use sample::{Process, Sample};

/// Samples of a run that stays as it is but for noise of a few per cent.
const N_SAMPLES: u64 = 200;

fn flat() -> Vec<Sample> {
    let mut frames = 0;
    let sample = |k: u64| {
        // A small multiplicative generator: noise that is the same every time.
        let noise = (k * 7_919 % 101) as f64 / 101.0 - 0.5;
        frames += (10e6 * (1.0 + 0.06 * noise)) as u64;
        let process = |name: &str, pss_bytes: u64| Process {
            name: name.into(),
            pss_bytes: pss_bytes.saturating_add_signed((noise * 8192.0) as i64),
            descriptors: 9,
        };
        Sample {
            time_s: 5.0 * k as f64,
            frames,
            cpu_s: 9.0 * k as f64,
            yardstick: 3e6,
            policy_lag: 3.0 + noise,
            restarts: 0,
            load: 2.0,
            processes: vec![process("supervisor", 2_000_000), process("learner", 4_000_000)],
        }
    };
    (0..N_SAMPLES).map(sample).collect()
}

/// Names of the quantities that fail in a run that was changed by `change(sample, share of the run)`.
fn failing(mut change: impl FnMut(&mut Sample, f64)) -> Vec<String> {
    let mut samples = flat();
    for (k, sample) in samples.iter_mut().enumerate() {
        change(sample, k as f64 / N_SAMPLES as f64);
    }
    let judgements = judge(&samples);
    assert!(judgements.len() > 6);
    judgements.into_iter().filter(|j| !j.holds).map(|j| j.quantity).collect()
}

#[test]
fn a_run_that_stays_as_it_is_passes() {
    assert_eq!(failing(|_, _| ()), [""; 0]);
}

#[test]
fn a_leak_is_found_in_its_process() {
    let leak = |sample: &mut Sample, share| {
        sample.processes[0].pss_bytes += (400_000.0 * share) as u64;
    };
    assert_eq!(failing(leak), ["memory (PSS), all processes", "memory (PSS), supervisor"]);
    let small = |sample: &mut Sample, share| {
        sample.processes[0].pss_bytes += (150_000.0 * share) as u64;
    };
    assert_eq!(failing(small), [""; 0], "below the bound");
}

#[test]
fn memory_that_shrinks_or_jumps_for_a_moment_is_no_leak() {
    let shrink = |sample: &mut Sample, share| {
        sample.processes[1].pss_bytes -= (1_000_000.0 * share) as u64;
    };
    assert_eq!(failing(shrink), [""; 0]);
    // Late in a run a spike pulls a mean of slopes up.
    for begin in [0.5, 0.85] {
        let spike = |sample: &mut Sample, share| {
            let is_spike = (begin..begin + 0.1).contains(&share);
            sample.processes[1].pss_bytes += if is_spike { 50_000_000 } else { 0 };
        };
        assert_eq!(failing(spike), [""; 0], "from {begin}");
    }
}

/// What came in the first tenth does not count; what came after it stays just within the bound.
#[test]
fn growth_at_the_start_is_left_out() {
    let start = |sample: &mut Sample, share: f64| {
        let at_start = 50_000_000.0 * (share / 0.09).min(1.0);
        sample.processes[0].pss_bytes += (at_start + 2_850_000.0 * share) as u64;
    };
    assert_eq!(failing(start), [""; 0]);
}

#[test]
fn one_descriptor_that_stays_open_is_found() {
    let leak = |sample: &mut Sample, share| {
        sample.processes[1].descriptors += u64::from(share > 0.5);
    };
    assert_eq!(failing(leak), ["descriptors, learner"]);
}

#[test]
fn decay_is_judged_by_processor_time() {
    let per_cpu = "frames per CPU second, of the yardstick's";
    // Each interval takes more processor time than the one before: half as much again at the end.
    let decay = |sample: &mut Sample, share| sample.cpu_s *= 1.0 + 0.25 * share;
    assert_eq!(failing(decay), [per_cpu]);
    // Twice as long for everything, in the second half: others use the machine.
    let crowded = |sample: &mut Sample, share| {
        sample.time_s += if share > 0.5 { 1_000.0 * (share - 0.5) } else { 0.0 };
    };
    assert_eq!(failing(crowded), [""; 0]);
    // Half as much again for everything at the end, and for the yardstick too: the machine is slower.
    let slower = |sample: &mut Sample, share| {
        sample.cpu_s *= 1.0 + 0.25 * share;
        sample.yardstick /= 1.0 + 0.5 * share;
    };
    assert_eq!(failing(slower), [""; 0]);
    let faster = |sample: &mut Sample, share| sample.cpu_s *= 1.0 - 0.25 * share;
    assert_eq!(failing(faster), [""; 0]);
}

/// Others take nearly all of the machine in the second half; what little is left goes into cold caches.
#[test]
fn moments_of_processor_time_are_no_measure_of_speed() {
    let (mut frames, mut cpu_s) = (0, 0.0);
    let starved = |sample: &mut Sample, share| {
        if share < 0.5 {
            (frames, cpu_s) = (sample.frames, sample.cpu_s);
        } else {
            (frames, cpu_s) = (frames + 5_000, cpu_s + 0.01);
            (sample.frames, sample.cpu_s) = (frames, cpu_s);
        }
    };
    assert_eq!(failing(starved), [""; 0]);
}

#[test]
fn a_worker_that_was_replaced_is_told() {
    let replaced = |sample: &mut Sample, share| sample.restarts = u64::from(share > 0.9);
    assert_eq!(failing(replaced), ["workers replaced"]);
}

#[test]
fn too_few_samples_are_not_judged() {
    assert!(judge(&flat()[..FEWEST_SAMPLES - 1]).is_empty());
    assert!(judge(&[]).is_empty());
}
