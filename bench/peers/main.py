#!/usr/bin/env python3
"""Train CartPole-v1 or LunarLander-v3 with other engines and with ours, one after another, and compare.

Each peer gets pinned packages in a virtual environment below third_party/peers (made at first use; all of
them take 7 GB and a network), is run once a seed in a fresh process until it is solved and its speed
is measured, and is ended with all its processes. A peer that fails is a row that says why. After each peer
the table so far is written to results/bench/peers.md, .json and .svg (peers-LunarLander-v3.md and so on);
--quick writes nothing.

examples:
  make bench-peers                                          all, 3 seeds, up to 5 minutes each
  make bench-peers ARGS='--seeds 1 --cap 120'               about ten minutes
  make bench-peers ARGS='--only sb3-ppo --only impala-shm'  two rows, the others stay
  make bench-peers ARGS='--env LunarLander-v3 --seeds 3'    half an hour
  make bench-peers ARGS='--quick'                           does everybody run? prints only

exit codes: 0 the table was written, whatever is in it; 2 a flag is wrong; 130 interrupted
"""

# Standard library only, because it runs before anything is set up.

import argparse
import math
import signal
import sys

import setting
import tree
from drivers.training import DEFAULT_ENV, THRESHOLDS
from environments import Unavailable
from figures import Limits, summary
from peers import PEERS, ROOT
from results import Results
from run import run
from talking import say

RESULTS = ROOT / "results" / "bench"
# That a seed may take: of LunarLander as long as its slowest trainer needs for its frames.
CAPS_S = {"CartPole-v1": 300.0, "LunarLander-v3": 900.0}


def main():
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    tree.adopt_orphans()
    results = Results(RESULTS, arguments.all_peers, arguments.env)
    if not arguments.quick:
        results.load()
    try:
        for peer in arguments.peers:
            results.add(peer.name, row(peer, arguments.seeds, arguments.limits))
            if not arguments.quick:
                results.save()
    except KeyboardInterrupt:
        say("stopped; nothing was left running, rows measured before are kept")
        return 128 + signal.SIGINT
    print(results.table(), end="")
    if not arguments.quick:
        say(f"written to {results.markdown}, {results.json.name} and {results.picture.name}")
    return 0


def row(peer, seeds, limits):
    """All that is known of one peer: its figures, or why there are none."""
    known = {"title": peer.title, "settings": peer.settings, "version": "–", "cap_s": limits.cap_s,
             "is_ours": peer.is_ours}
    try:
        known["version"] = peer.version()
        peer.prepare()
        known.update(setting.circumstances(ROOT))
        runs = [told(peer, run(peer, seed, limits)) for seed in seeds]
        return {**known, "summary": summary(runs), "runs": runs}
    except (Unavailable, OSError) as error:
        say(f"{peer.name}: failed: {error}")
        return {**known, **setting.circumstances(ROOT), "error": str(error)}


def told(peer, figures):
    """Says what a run came to."""
    solved_s, speed, best = figures["solved_s"], figures["frames_per_s"], figures["best_score"]
    learned = "too short to tell its speed" if speed is None else f"{speed:,.0f} frames/s"
    best = "no score" if best is None else f"best mean score {best:.0f}"
    solved = f"not solved, {best}" if solved_s is None else f"solved after {solved_s:.2f} s"
    said = f"failed: {figures['error']}" if figures["error"] else f"{learned}, {solved}"
    say(f"{peer.name}, seed {figures['seed']}: {said}")
    return figures


def parse():
    parser = argparse.ArgumentParser(prog="bench-peers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=THRESHOLDS, default=DEFAULT_ENV, help="what is learned [%(default)s]")
    names = list(dict.fromkeys(peer.name for peer in PEERS))
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", default=[],
                        help="measure this one; may be given several times. " + ", ".join(names))
    parser.add_argument("--seeds", type=positive(int), metavar="N", help="seeds 1 to N [3; with --quick 1]")
    parser.add_argument("--cap", type=positive(float), metavar="SECONDS",
                        help="that a seed may take, from the start of its process [300, of LunarLander-v3 900; with "
                             "--quick a tenth of that]")
    parser.add_argument("--quick", action="store_true", help="short runs that only show whether everybody works")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.all_peers = [peer for peer in PEERS if peer.env == arguments.env]
    arguments.peers = [peer for peer in arguments.all_peers if peer.name in arguments.only or not arguments.only]
    if not arguments.peers:
        parser.error(f"--only: {arguments.env} has {', '.join(peer.name for peer in arguments.all_peers)}")
    arguments.seeds = range(1, 1 + (arguments.seeds or (1 if quick else 3)))
    cap_s = arguments.cap or CAPS_S[arguments.env] / (10.0 if quick else 1.0)
    span = {"warm_up_s": 2.0, "window_s": 3.0} if quick else {}
    arguments.limits = Limits(cap_s, threshold=THRESHOLDS[arguments.env], **span)
    return arguments


def positive(kind):
    """Reads a number above zero."""

    def read(text):
        value = kind(text)
        if not (value > 0 and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    read.__name__ = kind.__name__
    return read


if __name__ == "__main__":
    sys.exit(main())
