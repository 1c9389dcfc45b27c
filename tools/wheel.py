#!/usr/bin/env python3
"""Build the wheel: the command and its Python package, for `pip install`.

It is written to target/wheels, or below CARGO_TARGET_DIR. maturin, which builds it, is installed into
third_party/maturin, pinned in tools/maturin.txt. With `--into DIR` the wheel is then installed into a fresh virtual
environment there, with the packages that tools/wheel.txt pins.

exit codes:
  0  built; the path is printed
  1  it could not be built, or what was downloaded is not what is pinned
  3  maturin could not be had; the message says why
"""

# Owns third_party/maturin. Called by people and by `make wheel` and `make test-wheel`.

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pinned import READY, ROOT, Environment

MATURIN = Environment("maturin", "maturin")


def build():
    """Builds it; its path."""
    wheels = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)  # What is found there afterwards is what was built.
    maturin = MATURIN.home / "bin" / "maturin"
    subprocess.run([maturin, "build", "--release", "--locked", "--out", wheels], cwd=ROOT, check=True)
    wheel, = wheels.glob("*.whl")
    return wheel


def install(wheel, home):
    """Makes a virtual environment with the wheel in it, anew."""
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    needs = ROOT / "tools" / "wheel.txt"
    subprocess.run([*pip, "--require-hashes", "--only-binary=:all:", f"--requirement={needs}"], check=True)
    subprocess.run([*pip, "--no-deps", wheel], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", metavar="DIR", type=Path, help="then install it into a virtual environment, made anew")
    arguments = parser.parse_args()
    status = MATURIN.provide()
    if status != READY:
        return status
    try:
        wheel = build()
        if arguments.into is not None:
            install(wheel, arguments.into.resolve())
    except subprocess.CalledProcessError as failed:
        return f"wheel: {failed.cmd[0]} failed with status {failed.returncode}; what it said is above"
    print(wheel)
    return READY


if __name__ == "__main__":
    sys.exit(main())
