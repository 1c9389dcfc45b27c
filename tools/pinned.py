"""Virtual environments below third_party/ that hold what a file of tools/ pins, made with pip, once.

Owns how one is made and when it is finished. Called by tensorboard.py and gymnasium.py. Standard library only,
because they run before anything is set up.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

READY, NOT_AS_PINNED, NOT_MADE = 0, 1, 3


class Problem(Exception):
    """An end other than READY: the exit code and what to tell the user."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Environment:
    """third_party/NAME with the packages of tools/NAME.txt; `title` is what people call it."""

    def __init__(self, name, title):
        self.name, self.title = name, title
        self.pins = ROOT / "tools" / f"{name}.txt"
        self.home = ROOT / "third_party" / name
        self.lock = ROOT / "third_party" / f".{name}.lock"
        # A copy of the pins, written last: without it the folder is unfinished. It cannot be renamed into place
        # when done, as the programs in a virtual environment hold its path.
        self.finished = self.home / self.pins.name

    def is_ready(self):
        """Whether it holds what is pinned, and its Python still starts (the system's may be gone)."""
        try:
            if self.finished.read_bytes() != self.pins.read_bytes():
                return False
            python = [self.home / "bin" / "python", "-c", ""]
            return subprocess.run(python, stderr=subprocess.DEVNULL).returncode == 0
        except OSError:
            return False

    def provide(self):
        """Makes it where it is not ready; the exit code. Says what is wrong."""
        try:
            if not self.is_ready():
                self.make()
        except Problem as problem:
            self.say(problem)
            return problem.status
        except OSError as error:
            self.say(f"could not write below {self.home.parent}: {error}. Mend that, then run this again.")
            return NOT_MADE
        except KeyboardInterrupt:
            self.say("stopped; the next run begins anew")
            return 130
        return READY

    def make(self):
        """Makes it. One run at a time does; a second one waits, and then finds it made."""
        self.lock.parent.mkdir(exist_ok=True)
        with open(self.lock, "w") as lock:  # The system drops the lock with the process, however that ends.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.is_ready():
                return
            self.say(f"installing {self.title} into third_party/{self.name}; this takes a minute")
            shutil.rmtree(self.home, ignore_errors=True)
            self.run([sys.executable, "-m", "venv", self.home],
                     "cannot make a virtual environment (Debian, Ubuntu: apt install python3-venv)")
            self.run([self.home / "bin" / "python", "-m", "pip", "install", "--require-hashes",
                      "--only-binary=:all:", "--no-deps", "--no-input", "--disable-pip-version-check",
                      "--progress-bar=off", f"--requirement={self.pins}"],
                     "pip could not fetch the packages. It needs a network to the Python package index, or "
                     "PIP_INDEX_URL of a mirror, or PIP_NO_INDEX=1 PIP_FIND_LINKS=/folder/of/wheels")
            shutil.copyfile(self.pins, self.finished)

    def run(self, command, what_failed):
        """Runs a step in silence; where it fails, says what failed and the end of what it said."""
        environ = {"PIP_RETRIES": "2", **os.environ}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ,
                              universal_newlines=True)
        if done.returncode == 0:
            return
        said = "\n".join("  " + line.strip()[:300] for line in done.stdout.splitlines()[-8:] if line.strip())
        if "DO NOT MATCH THE HASHES" in done.stdout:
            raise Problem(NOT_AS_PINNED, f"what the package index served is not what tools/{self.pins.name} pins. Run "
                          "this again in case the download was damaged; if it stays so, the index or a proxy on the "
                          f"way serves another file. pip said:\n{said}")
        raise Problem(NOT_MADE, f"{what_failed}. It said:\n{said}")

    def say(self, message):
        print(f"{self.name}: {message}", file=sys.stderr, flush=True)
