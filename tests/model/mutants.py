#!/usr/bin/env python3
"""Break the protocols in one place each; loom must notice every time.

A test that passes with its subject broken is worse than none. Each mutant is one replacement in a copy of
the sources; the loom tests must fail there. Exits 1 if a mutant survives, or if the table no longer fits
the sources.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "tests/model/target")) / "mutants"
SHM = ["ring", "cells", "weights", "doorbell", "state", "board", "layout"]
FILES = ["src/base/sync.rs", "src/base/finite.rs", "src/base/span.rs", "src/space/number.rs", "src/state/learner.rs"] + [f"src/shm/{noun}.rs" for noun in SHM]
TIME_LIMIT_S = 120  # ten times a passing run; a mutant that is merely slow counts as survivor

# (name, file, old text, new text). A name begins with the scenarios that must fail: the state's cells are
# those of cells.rs, and what a viewer reads of a ring is in ring.rs.
MUTANTS = [
    ("ring: publish relaxed", "ring.rs",
     "head.index.store(self.head, Ordering::Release)", "head.index.store(self.head, Ordering::Relaxed)"),
    ("ring: take relaxed", "ring.rs",
     "let head = self.state.head.index.load(Ordering::Acquire)",
     "let head = self.state.head.index.load(Ordering::Relaxed)"),
    ("ring: release relaxed", "ring.rs",
     "tail.index.store(self.tail, Ordering::Release)", "tail.index.store(self.tail, Ordering::Relaxed)"),
    ("ring: claim relaxed", "ring.rs",
     "let tail = self.state.tail.index.load(Ordering::Acquire)",
     "let tail = self.state.tail.index.load(Ordering::Relaxed)"),
    ("ring: takes one slot too many", "ring.rs",
     "self.head - self.seen_tail == self.n_slots", "self.head - self.seen_tail == self.n_slots + 1"),
    ("ring: take releases at once", "ring.rs",
     "        self.next += 1;\n        Some(self.next - 1)",
     "        self.next += 1;\n        self.release(self.next - 1);\n        Some(self.next - 1)"),
    ("ring: an early release overtakes the older slots", "ring.rs",
     "        while std::mem::take(self.early(self.tail)) {\n            self.tail += 1;\n        }",
     "        self.tail = index + 1;"),
    ("ring: new producer starts one further", "ring.rs",
     "Ok(RingProducer { state, n_slots, head,", "Ok(RingProducer { state, n_slots, head: head + head.min(1),"),
    ("cells: no release fence in the writer", "cells.rs",
     "fence(Ordering::Release);", ""),
    ("cells: no acquire fence in the reader", "cells.rs",
     "fence(Ordering::Acquire);", ""),
    ("cells: end of a write relaxed", "cells.rs",
     "sequence.store(self.even_after, Ordering::Release)", "sequence.store(self.even_after, Ordering::Relaxed)"),
    ("cells: start of a write relaxed", "cells.rs",
     "sequence.store(even + 1, Ordering::Release)", "sequence.store(even + 1, Ordering::Relaxed)"),
    ("cells: any mark is damage", "cells.rs",
     "self.current() == cell && look.is_as_before()", "true"),
    ("cells: the mark of a write that ended is damage", "cells.rs",
     "self.current() == cell && look.is_as_before()", "self.current() == cell"),
    ("cells: start of a read relaxed", "cells.rs",
     "let before = head.sequence.load(Ordering::Acquire)", "let before = head.sequence.load(Ordering::Relaxed)"),
    ("cells: sequence never odd", "cells.rs",
     "head.sequence.store(even + 1, Ordering::Release);", ""),
    ("cells: new writer does not round up", "cells.rs",
     "load(Ordering::Relaxed).next_multiple_of(2);", "load(Ordering::Relaxed);"),
    ("cells: writer fills the cell in use", "cells.rs",
     "let hidden = 1 - self.current;", "let hidden = self.current;"),
    ("cells: index flipped first", "cells.rs",
     "head.version.store(version, Ordering::Relaxed);",
     "head.version.store(version, Ordering::Relaxed);\n"
     "        self.region.state.current.cell.store(hidden as u64, Ordering::Release);"),
    ("cells: index stored relaxed", "cells.rs",
     "current.cell.store(self.hidden as u64, Ordering::Release)",
     "current.cell.store(self.hidden as u64, Ordering::Relaxed)"),
    ("cells: index loaded relaxed", "cells.rs",
     "state.current.cell.load(Ordering::Acquire)", "state.current.cell.load(Ordering::Relaxed)"),
    ("cells: reader does not look twice", "cells.rs",
     "!self.is_being_written() && self.is_as_before()", "!self.is_being_written() || self.is_as_before()"),
    ("cells: reader takes any other version", "cells.rs",
     "if version <= self.version {", "if version == self.version {"),
    ("cells: poll forgets what was read", "cells.rs",
     "return Ok(version.max(self.version));", "return Ok(version);"),
    ("weights: reader believes what it saw first", "weights.rs",
     "            copy_params(look, params);",
     "            if params == [0.0; 3] {\n                copy_params(look, params);\n            }"),
    ("doorbell: ring relaxed", "doorbell.rs",
     "fetch_update(Ordering::Release, Ordering::Relaxed,", "fetch_update(Ordering::Relaxed, Ordering::Relaxed,"),
    ("doorbell: ticket relaxed", "doorbell.rs",
     "load(Ordering::Acquire) | 1", "load(Ordering::Relaxed) | 1"),
    ("doorbell: sleeper does not announce itself", "doorbell.rs",
     "compare_exchange(even, odd, Ordering::Relaxed, Ordering::Relaxed)",
     "compare_exchange(even, even, Ordering::Relaxed, Ordering::Relaxed)"),
    ("doorbell: ringing keeps the number", "doorbell.rs",
     "(bell | 1).wrapping_add(1)", "bell & !1"),
    ("doorbell: ticket drawn after looking", "doorbell.rs",
     "        let ticket = self.ticket();\n        look().or_else(|| {",
     "        look().or_else(|| {\n            let ticket = self.ticket();"),
    ("state: no release fence in the writer", "cells.rs",
     "fence(Ordering::Release);", ""),
    ("state: no acquire fence in the reader", "cells.rs",
     "fence(Ordering::Acquire);", ""),
    ("state: end of a write relaxed", "cells.rs",
     "sequence.store(self.even_after, Ordering::Release)", "sequence.store(self.even_after, Ordering::Relaxed)"),
    ("state: sequence never odd", "cells.rs",
     "head.sequence.store(even + 1, Ordering::Release);", ""),
    ("state: new writer does not round up", "cells.rs",
     "load(Ordering::Relaxed).next_multiple_of(2);", "load(Ordering::Relaxed);"),
    ("state: every write is the first version", "state.rs",
     "map_or(0, |version| version + 1)", "map_or(0, |version| version.max(1))"),
    ("state: reader believes what it saw first", "state.rs",
     "            cell.clear();\n            cell.extend(look.words(0));",
     "            if cell.is_empty() {\n                cell.extend(look.words(0));\n            }"),
    ("state: saved after the weights are shown", "../../tests/model/tests/state.rs",
     "        self.save(update);\n        WeightsWriter::attach(self.weights.borrow(), N_PARAMS)\n"
     "            .publish(update, &state(update).params);",
     "        WeightsWriter::attach(self.weights.borrow(), N_PARAMS)\n"
     "            .publish(update, &state(update).params);\n        self.save(update);"),
    ("board: a counter is emptied before it is set", "board.rs",
     "self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);",
     "let total = self.get();\n        self.0.store(0, Ordering::Relaxed);\n"
     "        self.0.store(total + n, Ordering::Relaxed);"),
    ("board: a counter forgets its total", "board.rs",
     "self.0.load(Ordering::Relaxed).wrapping_add(n)", "n"),
    ("board: a glance mistakes the indices", "ring.rs",
     "(self.head.index.load(Ordering::Relaxed), self.tail.index.load(Ordering::Relaxed))",
     "(self.tail.index.load(Ordering::Relaxed), self.head.index.load(Ordering::Relaxed))"),
]


def copy_sources(into):
    for name in FILES:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, into / name)
    model = into / "tests/model"
    shutil.copytree(ROOT / "tests/model", model, dirs_exist_ok=True, ignore=shutil.ignore_patterns("target"))
    return model


def run_loom(model, tests=""):
    """'passed', or the first of `tests` (a prefix) that failed."""
    env = {**os.environ, "RUSTFLAGS": "--cfg loom", "CARGO_TARGET_DIR": str(TARGET), "RUST_BACKTRACE": "0"}
    build = ["cargo", "test", "--quiet", "--locked", "--tests"]
    subprocess.run(build + ["--no-run"], cwd=model, env=env, check=True, capture_output=True)
    # One thread prints the name of a test before it runs: also of one that aborts the process.
    command = build + [tests, "--", "--test-threads=1", "--format=pretty"]
    try:
        run = subprocess.run(command, cwd=model, env=env, capture_output=True, text=True, timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        return "passed (too slow)"
    if run.returncode == 0:
        return "passed"
    return re.findall(r"^test (\w+) \.\.\. (?!ok$)", run.stdout, re.MULTILINE)[0]


def mutate(into, name, file, old, new):
    path = into / "src/shm" / file
    text = path.read_text()
    assert text.count(old) == 1, f"{name}: its text occurs {text.count(old)} times in {file}"
    path.write_text(text.replace(old, new))


def main():
    n_survivors = 0
    with tempfile.TemporaryDirectory(prefix="shm-mutants-") as folder:
        into = pathlib.Path(folder)
        model = copy_sources(into)
        outcome = run_loom(model)
        assert outcome == "passed", f"the unbroken protocols fail: {outcome}"
        print(f"{'mutant':<50} {'caught by':<60} s")
        for name, file, old, new in MUTANTS:
            started = time.monotonic()
            copy_sources(into)
            mutate(into, name, file, old, new)
            outcome = run_loom(model, tests=name.split(":")[0] + "_")
            n_survivors += outcome.startswith("passed")
            caught_by = "SURVIVED" if outcome.startswith("passed") else outcome
            print(f"{name:<50} {caught_by:<60} {time.monotonic() - started:.0f}", flush=True)
    print(f"\n{len(MUTANTS)} mutants, {n_survivors} survived")
    sys.exit(n_survivors > 0)


if __name__ == "__main__":
    main()
