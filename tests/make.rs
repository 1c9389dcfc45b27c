//! Where the Makefile's targets build: in the folder that `CARGO_TARGET_DIR` names, all of them.

use std::fs;
use std::path::Path;
use std::process::Command;

const MAKEFILE: &str = include_str!("../Makefile");

/// A folder that is nowhere: nothing is built in this test.
const ELSEWHERE: &str = "/elsewhere/build";

/// The names that have a recipe of their own.
fn targets() -> Vec<&'static str> {
    let names = MAKEFILE.lines().filter_map(|line| Some(line.split_once(':')?.0));
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    names.filter(|name| !name.is_empty()).filter(is_name).collect()
}

/// What a target would run.
fn recipe(target: &str, learner: &str) -> String {
    let mut make = Command::new("make");
    let make =
        make.args(["--dry-run", "--always-make", target]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = make.env("CARGO_TARGET_DIR", ELSEWHERE).env("LEARNER", learner).output().unwrap();
    assert!(output.status.success(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Folders named `target` that are not below [`ELSEWHERE`].
fn own_folders(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| c.is_whitespace() || "=\"'".contains(c));
    words
        .filter(|word| {
            *word == "target" || word.split('/').rev().skip(1).any(|part| part == "target")
        })
        .collect()
}

#[test]
fn every_target_builds_where_it_is_told_to() {
    let targets = targets();
    assert!(targets.len() > 25, "{targets:?}");
    let mut n_folders = 0;
    for (target, learner) in
        targets.iter().flat_map(|target| [(target, "native"), (target, "torch")])
    {
        let recipe = recipe(target, learner);
        n_folders += recipe.matches(ELSEWHERE).count();
        assert_eq!(own_folders(&recipe), [""; 0], "make {target}: {recipe}");
    }
    assert!(n_folders > 5, "{n_folders}");
}

/// Whoever names the folder by itself names the variable first.
#[test]
fn scripts_ask_where_the_build_is() {
    let scripts =
        ["fuzz/run.sh", "tests/model/run.sh", "tests/model/mutants.py", "tests/under_load.sh"];
    let scripts =
        scripts.into_iter().chain(["tools/ab_actors.py", "bench/peers/peers.py", ".ci/run"]);
    let mut n_found = 0;
    for script in scripts {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(script)).unwrap();
        for line in
            text.lines().filter(|line| !own_folders(line).is_empty() && line.contains("release"))
        {
            assert!(line.contains("CARGO_TARGET_DIR"), "{script}: {line}");
            n_found += 1;
        }
        for line in text.lines().filter(|line| line.contains("CARGO_TARGET_DIR=")) {
            assert!(line.contains("${CARGO_TARGET_DIR:-"), "{script}: {line}");
            n_found += 1;
        }
    }
    assert!(n_found >= 5, "{n_found}");
}
