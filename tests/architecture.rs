//! House rules that the compiler does not know, checked on the source tree itself.
//!
//! A rule is a function from files to breaches, each breach one line: where, what, and what to do. Each
//! test finds no breach in the repository and one in a made-up file, so that no rule can go blind.

#[path = "architecture/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use source::{
    Source, between, code_spans, documents, fenced, functions, has_heading, is_path, is_word,
    paths_after, prose, read, root, sources,
};

/// Words of the library's code that may stand in some files only.
struct WordRule {
    words: &'static [&'static str],
    allowed_in: &'static [&'static str],
    because: &'static str,
}

const WORD_RULES: [WordRule; 11] = [
    WordRule {
        words: &["unsafe"],
        allowed_in: &[
            "src/shm/",
            "src/os/process.rs",
            "src/kernels/",
            "src/learner/cluster/mpi.rs",
        ],
        because: "whoever audits memory safety reads four places",
    },
    WordRule {
        words: &["Mutex", "RwLock", "Condvar"],
        allowed_in: &["src/base/sync.rs", "src/learner/", "src/kernels/share.rs"],
        because: "a lock's owner can be killed: none between processes. The learner's threads die with \
                  theirs; sync.rs uses loom's to model the kernel's futex",
    },
    WordRule {
        words: &["thread"],
        allowed_in: &[
            "src/base/sync.rs",
            "src/os/cores.rs",
            "src/os/process.rs",
            "src/shm/tests.rs",
            "src/learner/mod.rs",
        ],
        because: "a process with threads must not fork: only the learner, which forks nobody, has any",
    },
    WordRule {
        words: &["rayon"],
        allowed_in: &["src/learner/mod.rs", "src/kernels/share.rs"],
        because: "asked by a thread that belongs to no pool, it starts one for the whole process",
    },
    WordRule {
        words: &["sleep", "sleep_until", "nanosleep"],
        allowed_in: &[],
        because: "whoever waits sleeps on what it waits for: a doorbell, a poll",
    },
    WordRule {
        words: &["yield_now"],
        allowed_in: &["src/base/sync.rs", "src/shm/doorbell.rs"],
        because: "whoever lets others run does so a few times before it sleeps, and there is one place for it",
    },
    WordRule {
        words: &["SystemTime", "Instant", "Timestamp"],
        allowed_in: &["src/run/meta.rs", "src/run/dir.rs", "src/sinks/", "src/cli/"],
        because: "times are compared across processes: latency::monotonic_ns is their one clock",
    },
    WordRule {
        words: &["ROUTER", "AsyncReceiver", "enable_steady_tick"],
        allowed_in: &[],
        because: "they start a thread, and a process with threads must not fork",
    },
    WordRule {
        words: &["tch", "torch_sys"],
        allowed_in: &["src/network/torch/"],
        because: "the supervisor must never call libtorch: a child forked after its threads hangs",
    },
    WordRule {
        words: &["tracing"],
        allowed_in: &["src/supervisor", "src/train.rs", "src/cli/"],
        because: "who watches may log; a hot loop counts, and never logs",
    },
    WordRule {
        words: &["todo", "unimplemented", "dbg"],
        allowed_in: &[],
        because: "what is there works",
    },
];

/// What stands for work put off, wherever it is written. In halves, or this file would hold them.
const PUT_OFF: [&str; 5] = [
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
    concat!("allow(dead", "_code"),
    concat!("allow(unu", "sed"),
];

/// The longest function, in lines: what names every field of a long table needs as many. Any other is shorter.
const MAX_FUNCTION_LINES: usize = 45;

/// A SYNC comment stands at most this many lines above its ordering.
const SYNC_LINES: usize = 8;

#[test]
fn modules_import_from_lower_ranks_only() {
    assert_clean(upward_imports(&sources("src")));
    let upward = |path, code| upward_imports(&[Source::new(path, code)]);
    assert_eq!(upward("src/env/vector.rs", "use crate::shm::Segment;").len(), 1, "upwards");
    assert_eq!(upward("src/actor/mod.rs", "fn f() { crate::learner::g() }").len(), 1, "sideways");
    assert_eq!(upward("src/learner/pass.rs", "use super::super::train::g;").len(), 1, "by super");
    assert_eq!(upward("src/train.rs", "use crate::{env, shm};").len(), 1, "hidden in braces");
    assert_eq!(upward("src/newcomer.rs", "").len(), 1, "without a rank");
    assert_eq!(upward("src/shm/ring.rs", "use super::layout; // crate::train"), [""; 0]);
}

#[test]
fn the_front_page_declares_every_folder_of_the_map_in_rank_order() {
    let front_page = read("src/lib.rs");
    let declared: Vec<&str> = declared_modules(&front_page).collect();
    assert!(declared.is_sorted_by_key(|module| rank(module)), "src/lib.rs: by rank: {declared:?}");
    let mapped: BTreeSet<&str> = ranks().keys().map(String::as_str).collect();
    assert_eq!(
        BTreeSet::from_iter(declared),
        mapped,
        "src/lib.rs and the map name the same modules"
    );
}

#[test]
fn files_of_a_folder_refer_to_one_another_in_one_direction() {
    assert_clean(circles(&sources("src")));
    let there = Source::new("src/report/axis.rs", "use super::chart::draw;");
    let back = Source::new("src/report/chart.rs", "use super::axis::Axis;");
    assert_eq!(circles(&[there, back]).len(), 1);
}

#[test]
fn words_stand_only_where_they_may() {
    assert_clean(misplaced_words(&sources("src")));
    for rule in WORD_RULES {
        for word in rule.words {
            let code = format!("x!({word}::y)");
            assert_eq!(
                misplaced_words(&[Source::new("src/actor/mod.rs", &code)]).len(),
                1,
                "{word}"
            );
        }
    }
    let words = "// unsafe\nf(\"unsafe\", 'u', unsafer);";
    assert_eq!(misplaced_words(&[Source::new("src/actor/mod.rs", words)]), [""; 0]);
}

#[test]
fn every_ordering_names_its_partner() {
    assert_clean(silent_orderings(&sources("src")));
    let far = format!("// SYNC: far\n{}x.load(Ordering::Acquire)", "\n".repeat(SYNC_LINES));
    for code in ["x.load(Ordering::SeqCst)", "use std::sync::atomic::Ordering::*;", &far] {
        assert_eq!(silent_orderings(&[Source::new("src/a.rs", code)]).len(), 1, "{code}");
    }
    let told = "// SYNC: partner\nx.load(Ordering::Acquire); y.load(Ordering::Relaxed)";
    assert_eq!(silent_orderings(&[Source::new("src/a.rs", told)]), [""; 0]);
}

#[test]
fn nothing_is_put_off() {
    let everywhere = ["src", "bin", "bench", "tests"].map(sources);
    assert_clean(put_off(&everywhere.concat()));
    for phrase in PUT_OFF {
        assert_eq!(
            put_off(&[Source::new("src/a.rs", &format!("// {phrase}"))]).len(),
            1,
            "{phrase}"
        );
    }
}

#[test]
fn functions_fit_a_screen() {
    assert_clean(long_functions(&[sources("src"), sources("bin")].concat()));
    let long = format!("fn f() -> [u8; 3] {{\n{}}}", "g(\"{\");\n".repeat(MAX_FUNCTION_LINES - 1));
    assert_eq!(long_functions(&[Source::new("src/a.rs", &long)]).len(), 1);
    let just = long.replacen("g(\"{\");\n", "", 1);
    assert_eq!(long_functions(&[Source::new("src/a.rs", &just)]), [""; 0]);
}

#[test]
fn every_source_file_says_what_it_is_for() {
    assert_clean(silent_files(&sources("src")));
    assert_eq!(silent_files(&[Source::new("src/learner/newcomer.rs", "use std::fmt;")]).len(), 1);
}

#[test]
fn the_map_is_short_enough_to_be_read() {
    let map = read("ARCHITECTURE.md");
    let n_words =
        map.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
    assert!(n_words < 3000, "ARCHITECTURE.md has {n_words} words");
}

#[test]
fn links_and_paths_in_documents_lead_somewhere() {
    assert_clean(dead_links(&documents()));
    let dead = |text| dead_links(&[Source::new("docs/a.md", text)]).len();
    assert_eq!(dead("[x](nowhere.md)"), 1, "no such file");
    assert_eq!(dead("[x](metrics.md#nothing)"), 1, "no such heading");
    assert_eq!(dead("see `src/nothing.rs`"), 1, "no such source");
    assert_eq!(dead("[x](metrics.md#metricscsv) [y](https://a.b/c) `src/<name>.rs`"), 0);
}

#[test]
fn make_targets_in_documents_exist() {
    assert_clean(unknown_targets(&documents()));
    let unknown = |text| unknown_targets(&[Source::new("a.md", text)]).len();
    assert_eq!(unknown("run `make bread` or make do"), 1);
    assert_eq!(unknown("```\nmake bread FLOUR=1\n```\nmake do"), 1);
}

#[test]
fn every_promise_names_tests_that_exist() {
    let promises = read("docs/reliability.md");
    assert_clean(unheld_promises(&promises));
    let cluster = read("docs/cluster.md");
    assert_clean(unknown_tests("docs/cluster.md", &cluster));
    let made_up = cluster.replacen("mpi::a_vote_of", "mpi::no_vote_of", 1);
    assert_eq!(unknown_tests("docs/cluster.md", &made_up).len(), 1, "no such test");
    let made_up = promises.replacen("::storm`", "::calm`", 1);
    assert_eq!(unheld_promises(&made_up).len(), 1, "no such test");
    let made_up = promises.replacen("| R17 |", "| Q17 |", 1);
    assert_eq!(unheld_promises(&made_up).len(), 1, "no such line");
    let made_up = promises.replacen("| R17 |", "| R16 |", 1);
    assert_eq!(unheld_promises(&made_up).len(), 2, "no such line, and one that stands twice");
}

/// Requirements of `docs/reliability.md`.
const N_PROMISES: usize = 45;

fn unheld_promises(document: &str) -> Vec<String> {
    let n_lines = |n: usize| document.matches(&format!("\n| R{n} | ")).count();
    let other = (1..=N_PROMISES).map(|n| (n, n_lines(n))).filter(|&(_, n_lines)| n_lines != 1);
    let other = other.map(|(n, n_lines)| format!("docs/reliability.md: R{n} has {n_lines} lines"));
    other.chain(unknown_tests("docs/reliability.md", document)).collect()
}

/// Tests that a document names and that do not exist.
fn unknown_tests(path: &str, document: &str) -> Vec<String> {
    let is_test = |span: &&str| {
        span.contains("::") && span.chars().all(|c| c == ':' || is_word(c) && !c.is_uppercase())
    };
    let prose = prose(document);
    let unknown = code_spans(&prose).filter(is_test).filter(|span| !is_function(span));
    unknown.map(|span| format!("{path}: there is no `{span}`")).collect()
}

/// Whether `file::name` is a function of a test or source file.
fn is_function(span: &str) -> bool {
    let (file, name) = span.rsplit_once("::").unwrap_or_default();
    let file = file.replace("::", "/");
    let places = ["tests/", "tests/model/tests/", "src/"];
    let files = places.iter().flat_map(|place| {
        [
            format!("{place}{file}.rs"),
            format!("{place}{file}/mod.rs"),
            format!("{place}{file}/tests.rs"),
        ]
    });
    let texts = files.filter_map(|file| std::fs::read_to_string(root().join(file)).ok());
    texts.into_iter().any(|text| text.contains(&format!("fn {name}(")))
}

fn upward_imports(sources: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in sources.iter().filter(|source| source.path != "src/lib.rs") {
        let module = source.module();
        let Some(own_rank) = rank(module) else {
            breaches.push(format!(
                "{}: give {module} a rank on the map of ARCHITECTURE.md",
                source.path
            ));
            continue;
        };
        for (line, import) in imports(source, sources) {
            let where_ = format!("{}:{line}: {module} (rank {own_rank})", source.path);
            match rank(import) {
                Some(rank) if rank < own_rank => {}
                Some(rank) => breaches.push(format!("{where_} imports {import} (rank {rank})")),
                None => breaches.push(format!("{where_} imports {import:?}: one `use` a module")),
            }
        }
    }
    breaches
}

/// Top-level modules that a file names, with their lines; an empty name is a brace after `crate::`.
fn imports<'a>(source: &'a Source, all: &'a [Source]) -> impl Iterator<Item = (usize, &'a str)> {
    let is_sibling = |name: &str| {
        all.iter().any(|other| other.module() == source.module() && other.leaf() == name)
    };
    let by_super = paths_after(&source.code, "super::")
        .filter(move |(_, name)| rank(name).is_some() && !is_sibling(name));
    // A macro names its own module by `$crate`, or it could not be used in the folders below.
    let in_own_macro = move |(line, name): &(usize, &str)| {
        *name == source.module()
            && source.code.lines().nth(line - 1).is_some_and(|text| text.contains("$crate::"))
    };
    paths_after(&source.code, "crate::").chain(by_super).filter(move |path| !in_own_macro(path))
}

fn circles(sources: &[Source]) -> Vec<String> {
    let mut folders: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.leaf().is_empty()) {
        let siblings = paths_after(source.production(), "super::").map(|(_, leaf)| leaf);
        let others = siblings.filter(|sibling| *sibling != source.leaf()).collect();
        folders.entry(source.module()).or_default().insert(source.leaf(), others);
    }
    let mut breaches = Vec::new();
    for (folder, mut leaves) in folders {
        let is_free = |leaves: &BTreeMap<&str, BTreeSet<&str>>, leaf: &str| {
            leaves[leaf].iter().all(|sibling| !leaves.contains_key(sibling))
        };
        while let Some(leaf) = leaves.keys().copied().find(|leaf| is_free(&leaves, leaf)) {
            leaves.remove(leaf);
        }
        if !leaves.is_empty() {
            breaches.push(format!("src/{folder}: these go round in a circle: {:?}", leaves.keys()));
        }
    }
    breaches
}

fn misplaced_words(sources: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in sources {
        for WordRule { words, allowed_in, because } in WORD_RULES {
            if allowed_in.iter().any(|place| source.path.starts_with(place)) {
                continue;
            }
            for (line, word) in source.words().filter(|(_, word)| words.contains(word)) {
                breaches.push(format!("{}:{line}: `{word}`: {because}", source.path));
            }
        }
    }
    breaches
}

fn silent_orderings(sources: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().collect();
        for (line, ordering) in paths_after(&source.code, "Ordering::") {
            // An empty name is a `{` or a `*`, behind which an ordering could hide.
            let matters = ["Acquire", "Release", "AcqRel", "SeqCst", ""].contains(&ordering);
            let above = &lines[line.saturating_sub(1 + SYNC_LINES)..line];
            if matters && !above.iter().any(|line| line.contains("SYNC:")) {
                breaches.push(format!(
                    "{}:{line}: Ordering::{ordering} without a `// SYNC:` that names its partner",
                    source.path
                ));
            }
        }
    }
    breaches
}

fn put_off(sources: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            let found = PUT_OFF.iter().filter(|phrase| line.contains(**phrase));
            breaches
                .extend(found.map(|phrase| format!("{}:{}: {phrase}", source.path, number + 1)));
        }
    }
    breaches
}

fn long_functions(sources: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in sources {
        for (line, n_lines) in functions(source.production()) {
            if n_lines > MAX_FUNCTION_LINES {
                breaches.push(format!("{}:{line}: a function of {n_lines} lines", source.path));
            }
        }
    }
    breaches
}

fn silent_files(sources: &[Source]) -> Vec<String> {
    let silent = sources.iter().filter(|source| !source.text.starts_with("//! "));
    silent.map(|source| format!("{}: say first what the file is for (//!)", source.path)).collect()
}

fn dead_links(documents: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for document in documents {
        let folder = root().join(&document.path).parent().map(Path::to_owned).unwrap_or_default();
        let prose = prose(&document.text);
        for target in between(&prose, "](", ")").filter(|target| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path =
                if file.is_empty() { root().join(&document.path) } else { folder.join(file) };
            if !path.exists() || !(heading.is_empty() || has_heading(&path, heading)) {
                breaches.push(format!("{}: ({target}) leads nowhere", document.path));
            }
        }
        for path in code_spans(&prose).filter(|span| is_path(span)) {
            if !root().join(path).exists() {
                breaches.push(format!("{}: there is no `{path}`", document.path));
            }
        }
    }
    breaches
}

fn unknown_targets(documents: &[Source]) -> Vec<String> {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> =
        makefile.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    let mut breaches = Vec::new();
    for document in documents {
        let (prose, fenced) = (prose(&document.text), fenced(&document.text));
        let spans = code_spans(&prose).chain(fenced.lines());
        let named = spans.filter_map(|span| span.strip_prefix("make ")?.split_whitespace().next());
        let unknown = named.filter(|target| !targets.contains(target));
        breaches.extend(unknown.map(|target| format!("{}: make {target}?", document.path)));
    }
    breaches
}

/// Every folder of the library with its rank: the table of ARCHITECTURE.md. A folder imports from lower
/// ranks only, so that it can be read, tested and replaced knowing nothing of what stands above it.
fn ranks() -> &'static BTreeMap<String, usize> {
    static RANKS: LazyLock<BTreeMap<String, usize>> = LazyLock::new(|| {
        let map = read("ARCHITECTURE.md");
        let rows = map.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | `"));
        let entries = rows.filter_map(|(rank, rest)| {
            let name = rest.split_once('`')?.0.trim_end_matches('/').trim_end_matches(".rs");
            Some((name.to_owned(), rank.parse().ok()?))
        });
        entries.collect()
    });
    &RANKS
}

fn rank(module: &str) -> Option<usize> {
    ranks().get(module).copied()
}

fn declared_modules(lib: &str) -> impl Iterator<Item = &str> {
    lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
}

fn assert_clean(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}
