"""The peers' virtual environments: third_party/peers/NAME holds exactly what locks/NAME.txt pins.

Made with pip at first use, checked by hash, and left for the next time; to undo it, delete
third_party/peers. Knows nothing of what is trained in them. Called by main.py, and by `make test-pytorch`, which
wants the path of one environment's Python.
"""

import argparse
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

from talking import say

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
from libtorch import bytes_below  # noqa: E402  (the path has to be set first)

LOCKS = Path(__file__).resolve().parent / "locks"
HOME = Path(__file__).resolve().parents[2] / "third_party" / "peers"
# What locks/*.txt were resolved for, and the newest one that all of their wheels exist for.
PYTHONS = ((3, 11), (3, 12))
OLDEST_PIP = (22, 3)  # The first with --python.


class Unavailable(Exception):
    """Why an environment cannot be had, and what to do about it."""


@dataclass(frozen=True)
class Environment:
    """One virtual environment, possibly standing on the packages of another."""

    name: str
    on: "Environment | None" = None
    needed_disk_mb: int = 2_000

    @property
    def folder(self):
        return HOME / self.name

    @property
    def lock(self):
        return LOCKS / f"{self.name}.txt"

    @property
    def python(self):
        return self.folder / "bin" / "python"

    @property
    def packages(self):
        return self.folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    def version(self, package):
        """The version of a package that this environment pins."""
        return re.search(rf"^{re.escape(package)}==(\S+)", self.lock.read_text(), re.MULTILINE).group(1)

    def is_ready(self):
        """Whether the folder holds what the lock file asks for. The copy of the lock is written last."""
        try:
            is_these_pins = (self.folder / self.lock.name).read_bytes() == self.lock.read_bytes()
        except FileNotFoundError:
            return False
        return is_these_pins and self.python.exists() and self.packages.is_dir() and (
            self.on is None or self.on.is_ready())

    def prepare(self):
        """Makes the environment unless it is there. One run at a time does; a second one waits for it."""
        if self.is_ready():
            return
        check_python()
        HOME.mkdir(parents=True, exist_ok=True)
        with open(HOME / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # The system drops it with the process, however that ends.
            self.make()

    def make(self):
        if self.is_ready():
            return
        if self.on is not None:
            self.on.make()
        check_disk(self.name, self.needed_disk_mb)
        shutil.rmtree(self.folder, ignore_errors=True)
        venv.create(self.folder, with_pip=False, symlinks=True)
        if self.on is not None:
            # After the own packages on the path: a layer may pin another version than its ground.
            (self.packages / "ground.pth").write_text(f"{self.on.packages}\n")
        self.install()
        shutil.copyfile(self.lock, self.folder / self.lock.name)

    def install(self):
        """Lets pip install what the lock pins; what the ground holds at that very version counts as there."""
        scratch = self.folder / "tmp"
        scratch.mkdir()
        # Without its cache, which would be gigabytes left behind outside this checkout.
        command = [sys.executable, "-m", "pip", f"--python={self.python}", "install", "--no-deps", "--require-hashes",
                   "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check",
                   "--progress-bar=off", f"--requirement={self.lock}"]
        log = self.folder / "pip.log"
        with open(log, "w") as output:
            pip = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env={**os.environ, "TMPDIR": str(scratch)})
            try:
                self.wait_for(pip)
            finally:
                pip.kill()
                pip.wait()
        shutil.rmtree(scratch)
        if pip.returncode != 0:
            raise Unavailable(f"pip could not install {self.name}: {last_complaint(log)} (all of it: {log})")

    def wait_for(self, pip):
        """Says every ten seconds how far pip has come."""
        say(f"installing the environment {self.name} into {self.folder}")
        started = time.monotonic()
        while True:
            try:
                pip.wait(timeout=10)
                return
            except subprocess.TimeoutExpired:
                say(f"installing {self.name}: {time.monotonic() - started:.0f} s, "
                    f"{bytes_below(self.folder) // 1_000_000:,} MB so far")


TORCH = Environment("torch", needed_disk_mb=9_000)
GYMNASIUM = Environment("gymnasium", on=TORCH)
# What the lines of docs/checkpoints.md need.
PYTORCH = Environment("pytorch", on=TORCH)
SAMPLE_FACTORY = Environment("sample-factory", on=TORCH)
JAX = Environment("jax")


def check_python():
    """Names a Python or pip that cannot work, which would otherwise end in a riddle."""
    if sys.version_info[:2] not in PYTHONS or platform.machine() != "x86_64":
        raise Unavailable("the pinned wheels are for CPython 3.11 or 3.12 on x86_64; this is Python "
                          f"{platform.python_version()} on {platform.machine()}. Choose one: make bench-peers "
                          "PYTHON=python3.11")
    done = subprocess.run([sys.executable, "-m", "pip", "--version"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    found = re.match(r"pip (\d+)\.(\d+)", done.stdout)
    if found is None or tuple(map(int, found.groups())) < OLDEST_PIP:
        raise Unavailable(f"{sys.executable} needs pip {OLDEST_PIP[0]}.{OLDEST_PIP[1]} or newer and has "
                          f"{found.group(0) if found else 'none'}: {sys.executable} -m pip install --upgrade pip")


def check_disk(name, needed_mb):
    """Says early that the disk is too full, instead of after some gigabytes."""
    free_mb = shutil.disk_usage(HOME).free // 1_000_000
    if free_mb < needed_mb:
        raise Unavailable(f"{HOME} has {free_mb:,} MB free, and installing {name} takes up to {needed_mb:,} MB: "
                          "make room there")


def last_complaint(log):
    """The line of pip's output that says what went wrong."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    complaints = [line for line in lines if line.startswith("ERROR")]
    return (complaints or lines or ["it said nothing"])[-1][:300]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made = {made.name: made for made in vars().values() if isinstance(made, Environment)}
    parser.add_argument("name", choices=made, help="the environment to make; the path of its Python is printed")
    environment = made[parser.parse_args().name]
    try:
        environment.prepare()
    except Unavailable as reason:
        sys.exit(str(reason))
    print(environment.python)
