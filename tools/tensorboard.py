#!/usr/bin/env python3
"""Make third_party/tensorboard, a virtual environment with TensorBoard in it, once.

The packages pinned in tools/tensorboard.txt are installed with pip into a folder of this checkout (180 MB);
nothing else is touched. To undo it, delete third_party/tensorboard. Run it as often as you like: where all
is in place it does nothing. With `--show RUNS` it then starts TensorBoard on a folder of runs, each of them once.

Without a network: PIP_NO_INDEX=1 PIP_FIND_LINKS=/folder/of/wheels. Mirrors and proxies: pip's own settings
count.

exit codes:
  0  ready
  1  what was downloaded is not what tools/tensorboard.txt pins
  3  it could not be made; the message says why
"""

# Owns third_party/tensorboard. Called by people and by `make`; the tests look for its Python.

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from pinned import READY, Environment

TENSORBOARD = Environment("tensorboard", "TensorBoard")

# How soon a new run is seen, s: TensorBoard itself looks every five.
LOOK_AGAIN = 5


def show(runs):
    """Runs TensorBoard on links to the runs, until it ends; returns its exit code.

    On the folder itself it would list the link `latest` as a run of its own, since it follows links.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="impala-tensorboard-") as links:
        link_runs(Path(runs), Path(links))
        board = subprocess.Popen([TENSORBOARD.home / "bin" / "tensorboard", "--logdir", links])
        try:
            while True:
                try:
                    return board.wait(timeout=LOOK_AGAIN)
                except subprocess.TimeoutExpired:
                    link_runs(Path(runs), Path(links))
        except KeyboardInterrupt:  # TensorBoard had it too.
            return board.wait()
        finally:
            board.terminate()


def link_runs(runs, links):
    """Makes a link for each folder of events that has none. `os.walk` passes the links below `runs` over."""
    for folder, below, files in os.walk(runs):
        if not any(name.startswith("events.out.tfevents.") for name in files):
            continue
        below.clear()
        name = os.path.relpath(folder, runs)
        link = links / (runs.resolve().name if name == os.curdir else name)
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.abspath(folder), target_is_directory=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", metavar="RUNS", help="then start TensorBoard on this folder of runs")
    arguments = parser.parse_args()
    status = TENSORBOARD.provide()
    if status != READY:
        return status
    if arguments.show is not None:
        return show(arguments.show)
    print(f"TensorBoard is ready: {TENSORBOARD.home}")
    return READY


if __name__ == "__main__":
    sys.exit(main())
