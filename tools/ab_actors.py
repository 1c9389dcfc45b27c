#!/usr/bin/env python3
"""Does it help to treat the actors otherwise? Trains in turns, with and without, and prints a table.

  tools/ab_actors.py 'chrt --batch --pid 0 {pid}'         all cores
  tools/ab_actors.py --cpus 0 'renice 5 {pid}'            everything on one core

COMMAND is run once for each actor process, 0.1 s after the start of every second run. Figures are
medians over the runs, from each run's summary.json and from the kernel's account of its processes.
Needs the binary (`make build`).
"""

# Owns the alternation and the table; knows of the engine only its command line, the order of its
# workers (the learner first) and its summary. Standard library only.

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute() / "release" / "impala"
# More frames than any run here consumes; it ends by a signal.
SETTINGS = "frames = 100_000_000_000\n[report]\nrows = 1_000_000\neval_episodes = 0\n"
SETTLING_S = 0.1


def figures(summary, before, after):
    """What one run showed: name and value, in the order of the table's rows."""
    updates = summary["updates"]
    latency = summary["latency_us"]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "M frames/s": summary["frames_per_s"] / 1e6,
        "`release`, p50, µs": latency["release"]["p50"],
        "`release`, mean, µs": latency["release"]["mean"],
        "`wait`, mean, µs": latency["wait"]["mean"],
        "involuntary context switches an update": (after.ru_nivcsw - before.ru_nivcsw) / updates,
        "processor time an update, all processes, µs": seconds / updates * 1e6,
        "policy lag, mean, updates": summary["policy_lag"]["mean"],
        "seconds to solved": summary["solved_s"] or float("nan"),
    }


def run(args, command):
    """Trains once; `command` is None or what to do to each actor."""
    with tempfile.TemporaryDirectory() as folder:
        config, run_dir = Path(folder, "settings.toml"), Path(folder, "run")
        config.write_text(SETTINGS)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        train = [BINARY, "train", "--config", config, "--run-dir", run_dir]
        pinned = ["taskset", "--cpu-list", args.cpus, *train] if args.cpus else train
        process = subprocess.Popen(pinned, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(SETTLING_S)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in children[1:] if command else []:
            subprocess.run(command.format(pid=pid).split(), check=True, stdout=subprocess.DEVNULL)
        time.sleep(args.seconds)
        process.send_signal(signal.SIGINT)
        process.wait()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = json.loads((run_dir / "summary.json").read_text())
        return figures(summary, before, after)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", metavar="COMMAND", help="what to do to each actor; {pid} is its id")
    parser.add_argument("--cpus", help="run everything on these cores, such as 0")
    parser.add_argument("--runs", type=int, default=8, help="runs of each kind (default 8)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run (default 2)")
    args = parser.parse_args()
    if not BINARY.exists():
        sys.exit(f"{BINARY.relative_to(ROOT)} is missing: run `make build`")
    without, treated = [], []
    for k in range(args.runs):
        print(f"pair {k + 1} of {args.runs}", file=sys.stderr)
        without.append(run(args, None))
        treated.append(run(args, args.command))
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    load = Path("/proc/loadavg").read_text().split()[0]
    print(f"{args.runs} runs each, in turns, {args.seconds:g} s a run, cores {args.cpus or 'all'};")
    print(f"commit {commit or 'unknown'}, load after {load}\n")
    print(f"| | as it is | `{args.command}` |\n|---|---:|---:|")
    for name in without[0]:
        cells = [[row[name] for row in rows] for rows in (without, treated)]
        shown = [f"{statistics.median(c):.2f} ({min(c):.2f} – {max(c):.2f})" for c in cells]
        print(f"| {name} | {shown[0]} | {shown[1]} |")


if __name__ == "__main__":
    main()
