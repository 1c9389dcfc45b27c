#!/usr/bin/env python3
"""Fetch libtorch into third_party/libtorch, once, for `cargo build --features torch`.

The libtorch learner needs the C++ libraries and headers of PyTorch 2.11.0. This tool downloads the
three wheels pinned in tools/libtorch.txt with pip (544 MB), keeps the part that runs on a CPU (497 MB)
and throws the rest away. Nothing is installed, nothing outside this checkout is touched; to undo it,
delete third_party/libtorch. Run it as often as you like: where all is in place it does nothing.

Your own libtorch comes first, and is checked instead of fetching one:
  LIBTORCH=/abs/path         a folder with lib/ and include/
  LIBTORCH_USE_PYTORCH=1     the PyTorch that python3 (in a virtual environment: python) imports

Without a network: fetch the three wheels elsewhere, then run this with
PIP_NO_INDEX=1 PIP_FIND_LINKS=/folder/of/the/wheels. Mirrors and proxies: pip's own settings count.

exit codes:
  0  ready
  1  what was downloaded is not what tools/libtorch.txt pins
  2  a setting of yours is wrong; the message says which, and what would be right
  3  not there (--check), or it could not be fetched; the message says why
"""

# Owns third_party/libtorch. Called by people and by `make`; knows nothing of the Rust code beyond what
# torch-sys's build script looks for. Standard library only, because it runs before anything is set up.

import argparse
import contextlib
import fcntl
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "tools" / "libtorch.txt"
HOME = ROOT / "third_party" / "libtorch"
# Everything unfinished lives here, beside HOME: the same file system, so that a rename finishes it.
PART = ROOT / "third_party" / ".libtorch.part"
LOCK = ROOT / "third_party" / ".libtorch.lock"

# The tags of the pinned wheels. pip then takes the same files under every Python.
WHEEL_TAGS = (
    "--python-version=3.11 --implementation=cp --abi=cp311 --platform=manylinux_2_28_x86_64"
    " --platform=manylinux_2_25_x86_64 --platform=manylinux2014_x86_64"
).split()
OLDEST_PIP = 21  # The first major version whose `download` takes several --platform.

# What `readelf -d` says libtorch_cpu.so needs, apart from the C and C++ run time.
LIBRARIES = (
    "torch/lib/libtorch_cpu.so",
    "torch/lib/libc10.so",
    "torch/lib/libgomp.so.1",
    "nvidia/cu13/lib/libcudart.so.13",
    "nvidia/cu13/lib/libcupti.so.13",
)

DOWNLOAD_MB = 544
# pip's temporary copy and the wheels at once, then the wheels and what is unpacked from them.
NEEDED_DISK_MB = 1_150

BAR_CHARS = 24  # As wide as the bars of `impala`.

# .cargo/config.toml includes this file from HOME when it exists. Cargo takes the path as relative to
# the folder above the one the file lies in, so HOME may be copied or moved.
CARGO_CONFIG = '[env]\nLIBTORCH = { value = "libtorch", relative = true }\n'

READY, NOT_AS_PINNED, WRONG_SETTING, NOT_FETCHED = range(4)


class Problem(Exception):
    """An end other than READY: the exit code and what to tell the user."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def pinned_version():
    """The libtorch version that the pinned torch wheel holds."""
    return re.search(r"^torch==(\S+)", PINS.read_text(), re.MULTILINE).group(1)


# --- The user's own libtorch ---------------------------------------------------------------------


def users_libtorch():
    """The libtorch that the environment chooses, checked, in words; None if it chooses none."""
    environ = os.environ
    # In the order of torch-sys's build script, which takes any value of this one, "0" too, as yes.
    if "LIBTORCH_USE_PYTORCH" in environ:
        return checked_pytorch()
    chosen = environ.get("LIBTORCH")
    if chosen is not None and os.path.realpath(chosen) != os.path.realpath(HOME):
        return checked_folder(chosen)
    for name in ("LIBTORCH_INCLUDE", "LIBTORCH_LIB"):
        if name in environ:
            raise Problem(WRONG_SETTING, f"{name} is set and LIBTORCH is not: the build would mix two libtorches. "
                          f"Set LIBTORCH too, or unset {name}.")
    return None


def checked_folder(chosen):
    """Holds a folder named by LIBTORCH against what torch-sys needs of it."""
    if not os.path.isabs(chosen):
        raise Problem(WRONG_SETTING, f"LIBTORCH={chosen!r} is not an absolute path, and cargo builds each crate in "
                      "a folder of its own. Write the whole path, or unset LIBTORCH and run this again to fetch one.")
    include = Path(os.environ.get("LIBTORCH_INCLUDE", chosen), "include")
    lib = Path(os.environ.get("LIBTORCH_LIB", chosen), "lib")
    headers = [include / "torch/headeronly/version.h", include / "torch/csrc/api/include/torch/version.h"]
    header = next((path for path in headers if path.is_file()), headers[0])
    for path in (header, lib / "libtorch.so", lib / "libtorch_cpu.so", lib / "libc10.so"):
        if not path.is_file():
            raise Problem(WRONG_SETTING, f"LIBTORCH={chosen} is no libtorch: there is no {path}. Point LIBTORCH at a "
                          f"libtorch {pinned_version()}, or unset it and run this again to fetch one.")
    check_version(f"LIBTORCH={chosen}", header_version(header))
    build_version = Path(chosen, "build-version")
    if build_version.is_file():
        check_version(f"{build_version}", build_version.read_text())
    return chosen


def header_version(header):
    """The version that PyTorch's version.h defines, or what stands there instead of one."""
    text = header.read_text()
    parts = (re.search(rf"define TORCH_VERSION_{part} +(\w+)", text) for part in ("MAJOR", "MINOR", "PATCH"))
    return ".".join(part.group(1) if part else "?" for part in parts)


def checked_pytorch():
    """Holds the PyTorch that torch-sys would import against the version it needs."""
    python = "python" if "VIRTUAL_ENV" in os.environ else "python3"
    setting = f"LIBTORCH_USE_PYTORCH={os.environ['LIBTORCH_USE_PYTORCH']} (any value counts as yes)"
    script = "import torch; from torch.utils import cpp_extension; print(torch.__version__)"
    try:
        done = subprocess.run([python, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise Problem(WRONG_SETTING, f"{setting}, but {python} cannot import torch and its C++ headers ({reason}). "
                      f"Install torch=={pinned_version()} and setuptools there, or unset LIBTORCH_USE_PYTORCH and "
                      "run this again to fetch libtorch.")
    check_version(setting, done.stdout)
    return f"the PyTorch of {shutil.which(python)}"


def check_version(where, version):
    """Refuses another libtorch than the pinned one, by torch-sys's own rule: "+cpu" and such do not count."""
    version = version.strip().split("+")[0]
    if version != pinned_version() and "LIBTORCH_BYPASS_VERSION_CHECK" not in os.environ:
        raise Problem(WRONG_SETTING, f"{where} is libtorch {version}, but the tch crate in use needs exactly "
                      f"{pinned_version()}. Point it at that version, or unset it and run this again to fetch one.")


# --- Ours: third_party/libtorch ------------------------------------------------------------------


def is_ready():
    """Whether HOME holds what PINS asks for. HOME appears whole or not at all, so a look suffices."""
    try:
        pins_are_these = (HOME / PINS.name).read_bytes() == PINS.read_bytes()
    except FileNotFoundError:
        return False
    return pins_are_these and all((HOME / "lib" / Path(name).name).is_file() for name in LIBRARIES)


def fetch():
    """Makes HOME. One run at a time does; a second one waits, and then finds it made."""
    if platform.machine() != "x86_64":
        raise Problem(NOT_FETCHED, f"tools/libtorch.txt pins no wheels for {platform.machine()}, only for x86_64. "
                      f"Set LIBTORCH to a libtorch {pinned_version()} of your own, or LIBTORCH_USE_PYTORCH=1 where "
                      f"python3 has torch {pinned_version()}.")
    PART.parent.mkdir(exist_ok=True)
    with only_one_run():
        if is_ready():
            return
        try:
            remove(PART)  # Of a run that was killed: whoever holds the lock is alone.
            PART.mkdir()
            check_disk()
            unpack(download(), PART / "libtorch")
            remove(HOME)
            (PART / "libtorch").rename(HOME)
        except OSError as error:
            raise Problem(NOT_FETCHED, f"could not write below {PART.parent}: {error}. Mend that, then run this again.")
        finally:
            shutil.rmtree(PART, ignore_errors=True)


@contextlib.contextmanager
def only_one_run():
    """Holds the lock file. The system drops the lock with the process, however that ends."""
    with open(LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another run is fetching it; waiting for that one")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove(path):
    """Removes a folder, or a link to one (a libtorch shared between checkouts is not ours to empty)."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def check_disk():
    """Says early that the disk is too full, instead of after half a gigabyte."""
    free_mb = shutil.disk_usage(PART).free // 1_000_000
    if free_mb < NEEDED_DISK_MB:
        raise Problem(NOT_FETCHED, f"{PART.parent} has {free_mb} MB free, and unpacking takes {NEEDED_DISK_MB} MB for "
                      "a moment. Make room, or set LIBTORCH to a libtorch elsewhere.")


# --- Download ------------------------------------------------------------------------------------


def download():
    """Lets pip fetch the pinned wheels into PART and check their hashes; their paths."""
    check_pip()
    wheels, scratch = PART / "wheels", PART / "tmp"
    scratch.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:",
               # A wheel kept in pip's cache would be half a gigabyte left behind outside this checkout.
               "--no-cache-dir", "--no-input", "--disable-pip-version-check", "--progress-bar=off",
               f"--dest={wheels}", f"--requirement={PINS}", *WHEEL_TAGS]
    environ = {"PIP_RETRIES": "2", **os.environ, "TMPDIR": str(scratch)}
    log = PART / "pip.log"
    with open(log, "w") as output:
        pip = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environ)
        try:
            with Progress("downloading", DOWNLOAD_MB) as progress:
                while pip.poll() is None:
                    progress.show(bytes_below(PART))
                    time.sleep(0.2)
                if pip.returncode != 0:
                    raise refusal_of_pip(log.read_text(errors="replace"))
        finally:
            pip.kill()
            pip.wait()
    return sorted(wheels.glob("*.whl"))


def check_pip():
    """Names a missing or too old pip, which would otherwise fail with a riddle."""
    done = subprocess.run([sys.executable, "-m", "pip", "--version"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, universal_newlines=True)
    found = re.match(r"pip (\d+)", done.stdout)
    if found is None:
        raise Problem(NOT_FETCHED, f"{sys.executable} has no pip. Install it (Debian, Ubuntu: apt install python3-pip; "
                      "elsewhere: python3 -m ensurepip), then run this again.")
    if int(found.group(1)) < OLDEST_PIP:
        raise Problem(NOT_FETCHED, f"{done.stdout.split(' from')[0]} is too old, {OLDEST_PIP} or newer is needed: "
                      f"{sys.executable} -m pip install --user --upgrade pip, then run this again.")


def refusal_of_pip(log):
    """What pip's output means for the user."""
    complaints = [line for line in log.splitlines() if line.startswith(("ERROR", "WARNING"))]
    if "DO NOT MATCH THE HASHES" in log:
        return Problem(NOT_AS_PINNED, "what the package index served is not what tools/libtorch.txt pins, so it was "
                       "thrown away. Run this again in case the download was damaged; if it stays so, the index or "
                       "a proxy on the way serves another file. pip said:\n" + indented(log.splitlines()[-8:]))
    return Problem(NOT_FETCHED, "pip could not fetch the wheels. It needs a network to the Python package index, or "
                   "PIP_INDEX_URL of a mirror, or PIP_NO_INDEX=1 PIP_FIND_LINKS=/folder/of/wheels; or set LIBTORCH "
                   f"to a libtorch {pinned_version()} you have. pip said:\n" + indented(complaints[-3:]))


def indented(lines):
    return "\n".join("  " + line.strip()[:300] for line in lines if line.strip())


def bytes_below(folder):
    """The size of all files in a folder that another process is filling."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


# --- Unpack --------------------------------------------------------------------------------------


def unpack(wheels, home):
    """Fills a folder as torch-sys expects LIBTORCH to be, from the wheels, and deletes them."""
    members = [(wheel, info, place(info.filename)) for wheel in wheels for info in zipfile.ZipFile(wheel).infolist()]
    members = [member for member in members if member[2] is not None]
    missing = {f"lib/{Path(name).name}" for name in LIBRARIES} - {target for _, _, target in members}
    if missing:
        raise Problem(NOT_AS_PINNED, f"the pinned wheels do not hold {', '.join(sorted(missing))}: "
                      "tools/libtorch.txt and tools/libtorch.py do not fit together.")
    written = 0
    with Progress("unpacking", sum(info.file_size for _, info, _ in members) // 1_000_000) as progress:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for info, target in ((info, target) for of, info, target in members if of == wheel):
                    extract(archive, info, home / target)
                    written += info.file_size
                    progress.show(written)
            wheel.unlink()
    # torch-sys links `-ltorch`, which in the wheel pulls in CUDA; the linker takes this line instead.
    (home / "lib/libtorch.so").write_text("INPUT(libtorch_cpu.so)\n")
    (home / "build-version").write_text(pinned_version() + "\n")
    (home / "cargo.toml").write_text(CARGO_CONFIG)
    shutil.copyfile(PINS, home / PINS.name)
    os.sync()  # Before the rename that declares it whole: a power cut must not leave empty files there.


def place(member):
    """Where a file of a wheel goes below HOME; None for what is left out."""
    if member.endswith("/"):
        return None
    if member in LIBRARIES:
        return f"lib/{Path(member).name}"
    if member.startswith("torch/include/"):
        return member[len("torch/"):]
    licence = re.match(r"([\w.-]+)\.dist-info/licenses/(.+)", member)
    return f"licenses/{licence.group(1)}/{licence.group(2)}" if licence else None


def extract(archive, info, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)


# --- Talking -------------------------------------------------------------------------------------


def say(text):
    print(f"libtorch: {text}", file=sys.stderr, flush=True)


class Progress:
    """A line that grows on a terminal; elsewhere a plain line at the start, every 10 s and at the end."""

    def __init__(self, verb, total_mb):
        self.verb, self.total_mb = verb, total_mb
        self.interval_s = 0.2 if sys.stderr.isatty() else 10.0
        self.started = self.shown = time.monotonic()

    def __enter__(self):
        say(f"{self.verb} {self.total_mb} MB")
        return self

    def show(self, n_bytes):
        """Tells of so many bytes, if it is time to."""
        now = time.monotonic()
        if now - self.shown < self.interval_s:
            return
        self.shown = now
        # pip copies what it has downloaded, so for a moment there is more than there will be.
        line = f"libtorch: {self.verb} {self.figures(min(n_bytes / 1e6, self.total_mb), now - self.started)}"
        print(f"\r\033[K{line}" if sys.stderr.isatty() else line, end="" if sys.stderr.isatty() else "\n",
              file=sys.stderr, flush=True)

    def figures(self, done_mb, seconds):
        """A bar (on a terminal), how much is done, how fast, and how long the rest will take at that speed."""
        n_full = int(BAR_CHARS * done_mb / max(self.total_mb, 1))
        bar = "█" * n_full + "░" * (BAR_CHARS - n_full) + " " if sys.stderr.isatty() else ""
        left = f", {(self.total_mb - done_mb) * seconds / done_mb:.0f} s left" if done_mb > 0 else ""
        return f"{bar}{done_mb:.0f} of {self.total_mb} MB, {done_mb / max(seconds, 1e-3):.1f} MB/s{left}"

    def __exit__(self, failed, *_):
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        if failed is None:
            say(f"{self.verb} took {time.monotonic() - self.started:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether libtorch is ready; fetch nothing")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        own = users_libtorch()
        if own is None and not is_ready():
            if arguments.check:
                raise Problem(NOT_FETCHED, f"{HOME} is not there. To fetch it: make libtorch")
            fetch()
    except Problem as problem:
        say(problem)
        return problem.status
    except KeyboardInterrupt:
        say("stopped; nothing was left behind")
        return 128 + signal.SIGINT
    print(f"libtorch {pinned_version()} is ready: {own or HOME}")
    return READY


if __name__ == "__main__":
    sys.exit(main())
