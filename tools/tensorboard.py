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

# Owns third_party/tensorboard. Called by people and by `make`; the tests look for its Python. Standard
# library only, because it runs before anything is set up.

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "tensorboard.txt"
HOME = ROOT / "third_party" / "tensorboard"
LOCK = ROOT / "third_party" / ".tensorboard.lock"
# A copy of the pins, written last: without it the folder is unfinished. It cannot be renamed into place when
# done, as the programs in a virtual environment hold its path.
FINISHED = HOME / PINS.name

READY, NOT_AS_PINNED, NOT_MADE = 0, 1, 3

# How soon a new run is seen, s: TensorBoard itself looks every five.
LOOK_AGAIN = 5


class Problem(Exception):
    """An end other than READY: the exit code and what to tell the user."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def is_ready():
    """Whether HOME holds what PINS asks for, and its Python still starts (the system's may be gone)."""
    try:
        if FINISHED.read_bytes() != PINS.read_bytes():
            return False
        return subprocess.run([HOME / "bin" / "python", "-c", ""], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def make():
    """Makes HOME. One run at a time does; a second one waits, and then finds it made."""
    LOCK.parent.mkdir(exist_ok=True)
    with open(LOCK, "w") as lock:  # The system drops the lock with the process, however that ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_ready():
            return
        say("installing TensorBoard into third_party/tensorboard; this takes a minute")
        shutil.rmtree(HOME, ignore_errors=True)
        run([sys.executable, "-m", "venv", HOME],
            "cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)")
        run([HOME / "bin" / "python", "-m", "pip", "install", "--require-hashes", "--only-binary=:all:", "--no-deps",
             "--no-input", "--disable-pip-version-check", "--progress-bar=off", f"--requirement={PINS}"],
            "pip could not fetch the packages. It needs a network to the Python package index, or PIP_INDEX_URL of a "
            "mirror, or PIP_NO_INDEX=1 PIP_FIND_LINKS=/folder/of/wheels")
        shutil.copyfile(PINS, FINISHED)


def run(command, what_failed):
    """Runs a step in silence; where it fails, says what failed and the end of what it said."""
    environ = {"PIP_RETRIES": "2", **os.environ}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ,
                          universal_newlines=True)
    if done.returncode == 0:
        return
    said = "\n".join("  " + line.strip()[:300] for line in done.stdout.splitlines()[-8:] if line.strip())
    if "DO NOT MATCH THE HASHES" in done.stdout:
        raise Problem(NOT_AS_PINNED, "what the package index served is not what tools/tensorboard.txt pins. Run this "
                      "again in case the download was damaged; if it stays so, the index or a proxy on the way serves "
                      f"another file. pip said:\n{said}")
    raise Problem(NOT_MADE, f"{what_failed}. It said:\n{said}")


def show(runs):
    """Runs TensorBoard on links to the runs, until it ends; returns its exit code.

    On the folder itself it would list the link `latest` as a run of its own, since it follows links.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="impala-tensorboard-") as links:
        link_runs(Path(runs), Path(links))
        board = subprocess.Popen([HOME / "bin" / "tensorboard", "--logdir", links])
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


def say(message):
    print(f"tensorboard: {message}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", metavar="RUNS", help="then start TensorBoard on this folder of runs")
    arguments = parser.parse_args()
    try:
        if not is_ready():
            make()
    except Problem as problem:
        say(problem)
        return problem.status
    except OSError as error:
        say(f"could not write below {HOME.parent}: {error}. Mend that, then run this again.")
        return NOT_MADE
    except KeyboardInterrupt:
        say("stopped; the next run begins anew")
        return 130
    if arguments.show is not None:
        return show(arguments.show)
    print(f"TensorBoard is ready: {HOME}")
    return READY


if __name__ == "__main__":
    sys.exit(main())
