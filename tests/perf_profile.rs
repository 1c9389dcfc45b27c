//! The profile behind `make perf`: a piece of a real recording, parsed, split by role and counted.
//!
//! `tests/perf/script.txt` was recorded from a run of four actors, plus one sample of a stranger. The
//! recording itself is tested by the benchmark, run without `--bench`.

#[path = "../bench/perf/profile.rs"]
mod profile;
#[path = "../bench/perf/samples.rs"]
mod samples;

use impala::learner::lane::thread_name;
use profile::Profile;
use samples::{FIELDS, KERNEL_MARK, Role, Sample, parse};

const RECORDED: &str = include_str!("perf/script.txt");

fn stack(block: &str) -> Vec<String> {
    let [sample]: [Sample; 1] = parse(block).try_into().unwrap();
    sample.stack
}

#[test]
fn every_sample_has_the_role_of_its_process() {
    let samples = parse(RECORDED);
    let count = |role| samples.iter().filter(|sample| sample.role == role).count();
    assert_eq!(count(Some(Role::Learner)), 4);
    assert_eq!((0..4).map(|k| count(Some(Role::Actor(k)))).sum::<usize>(), 6);
    assert!((0..4).all(|k| count(Some(Role::Actor(k))) > 0));
    assert_eq!(count(Some(Role::Supervisor)), 2);
    assert_eq!(count(None), 1, "perf itself");
}

#[test]
fn names_give_roles() {
    assert_eq!(Role::of_thread("impala"), Some(Role::Supervisor));
    assert_eq!(Role::of_thread("impala-learner"), Some(Role::Learner));
    assert_eq!(Role::of_thread(&thread_name(1)), Some(Role::Learner));
    assert_eq!(Role::of_thread("impala-actor255"), Some(Role::Actor(255)));
    for stranger in
        ["perf", "impala-actor", "impala-actorx", "impala-actor-1", "impala-lanex", "impal", ""]
    {
        assert_eq!(Role::of_thread(stranger), None, "{stranger}");
    }
    assert_eq!(Role::Actor(3).to_string(), "actor 3");
}

#[test]
fn a_stack_begins_after_the_fork_and_ends_where_the_sample_was_taken() {
    let first = &parse(RECORDED)[0];
    let expected = [
        "impala::supervisor::Supervisor::learner_life",
        "impala::learner::pass::Pass::learn",
        "Native<K,R>::forward",
        "impala::mlp::Mlp<K>::forward",
        "Avx512::dense::compiled",
    ];
    assert_eq!(first.stack, expected);
    assert!(FIELDS.starts_with("comm,pid"), "the order that the parser counts on");
}

#[test]
fn the_kernel_is_marked() {
    let samples = parse(RECORDED);
    let preempted = samples.iter().find(|sample| sample.stack.last().unwrap().contains("switch"));
    let stack = &preempted.unwrap().stack;
    assert!(stack.last().unwrap().ends_with(KERNEL_MARK), "{stack:?}");
    assert!(!stack[0].ends_with(KERNEL_MARK), "{stack:?}");
}

#[test]
fn odd_frames_fold_into_harmless_names() {
    let block = "two words 12 \n\
        \tff00 [unknown] ([kernel.kallsyms])\n\
        \t12 [unknown] (/usr/lib/libm.so.6)\n\
        \t3ba8fbe6ba718a47 [unknown] ([unknown])\n\
        \t13 core::array::<impl [u8; 4]>::map (/opt/dir (old)/impala)\n\
        \t14 <a::B<c::D as e::F> as g::H<i::J>>::k::l (/opt/impala)\n\
        \t15 <a::B<c::D<x::Y>> as g::H>::k (/opt/impala)\n";
    let expected = [
        "B<c::D<x::Y>>::k",
        "<a::B<c::D as e::F> as g::H<i::J>>::k::l",
        "core::array::<impl [u8, 4]>::map",
        "[libm.so.6]",
        "[kernel]_[k]",
    ];
    let stack = stack(block);
    assert_eq!(stack[0], expected[0]);
    assert_eq!(stack[2..], expected[2..]);
    assert!(stack.iter().all(|function| !function.contains(';')), "{stack:?}");
}

#[test]
fn nothing_comes_of_nothing() {
    assert_eq!(parse(""), []);
    assert_eq!(parse("\n\n\n\nimpala 12 \n\n"), []);
    assert_eq!(parse("garbage"), []);
}

fn sample(stack: &[&str]) -> Sample {
    Sample { role: Some(Role::Learner), stack: stack.iter().map(|name| (*name).into()).collect() }
}

#[test]
fn equal_stacks_are_folded() {
    let samples = [sample(&["a", "b"]), sample(&["a"]), sample(&["a", "b"]), sample(&["a", "c"])];
    let profile = Profile::of(&samples);
    assert_eq!(profile.folded(), ["a 1", "a;b 2", "a;c 1"]);
    assert_eq!(profile.n_samples(), 4);
}

#[test]
fn a_recursive_function_is_busy_once() {
    let profile = Profile::of(&[sample(&["f", "f", "g"]), sample(&["f", "f"]), sample(&["f"])]);
    let counts = |k: usize| {
        let function = &profile.top(9)[k];
        (function.name.clone(), function.self_samples, function.total_samples)
    };
    assert_eq!(counts(0), ("f".into(), 2, 3));
    assert_eq!(counts(1), ("g".into(), 1, 1));
}

#[test]
fn the_table_is_sorted_cut_and_complete() {
    let recorded = parse(RECORDED);
    let actors = recorded.iter().filter(|sample| matches!(sample.role, Some(Role::Actor(_))));
    let profile = Profile::of(actors);
    let top = profile.top(usize::MAX);
    assert_eq!(top.iter().map(|function| function.self_samples).sum::<u64>(), profile.n_samples());
    assert!(top.is_sorted_by(|a, b| a.self_samples >= b.self_samples));
    assert_eq!(top[0].name, "Avx512::dense::compiled");
    assert_eq!(profile.top(1), top[..1]);
    // Every actor's stack passes through its loop.
    let recorded_loops = profile.folded().iter().filter(|fold| fold.contains("Actor::run")).count();
    assert_eq!(recorded_loops, profile.folded().len());
}
