"""tools/libtorch.py against a checkout of its own, wheels of a few bytes and every way to go wrong.

Needs pip, and no network: pip is pointed at a folder of wheels, or at a port where nobody listens.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
sys.path.insert(0, str(TOOLS))
import libtorch  # noqa: E402  (the path has to be set first)

VERSION = "2.11.0"
WHEELS = {
    f"torch-{VERSION}-cp311-cp311-manylinux_2_28_x86_64.whl": [
        "torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1", "torch/lib/libtorch_cuda.so",
        "torch/include/torch/headeronly/version.h", f"torch-{VERSION}.dist-info/licenses/LICENSE",
    ],
    "nvidia_cuda_runtime-13.0.1-py3-none-manylinux2014_x86_64.whl": ["nvidia/cu13/lib/libcudart.so.13"],
    "nvidia_cuda_cupti-13.0.2-py3-none-manylinux_2_25_x86_64.whl": ["nvidia/cu13/lib/libcupti.so.13"],
}
MADE = {
    "build-version", "cargo.toml", "libtorch.txt", "include/torch/headeronly/version.h",
    f"licenses/torch-{VERSION}/LICENSE", "lib/libtorch.so", "lib/libtorch_cpu.so", "lib/libc10.so",
    "lib/libgomp.so.1", "lib/libcudart.so.13", "lib/libcupti.so.13",
}


def make_wheel(path, members):
    """A wheel pip accepts, whose members hold their own names."""
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for member in members:
            wheel.writestr(member, member)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n")
        wheel.writestr(f"{info}/RECORD", "")


class TestProgress(unittest.TestCase):
    def test_figures_say_how_much_how_fast_and_how_long(self):
        progress = libtorch.Progress("downloading", 400)
        figures = progress.figures(100, 10)
        self.assertTrue(figures.endswith("100 of 400 MB, 10.0 MB/s, 30 s left"), figures)
        self.assertNotIn("left", progress.figures(0, 0))


class Checkout(unittest.TestCase):
    """A checkout with the tool, wheels beside it, and pins that fit the wheels."""

    def setUp(self):
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.third_party, self.wheels = self.root / "third_party", self.root / "wheels"
        self.home = self.third_party / "libtorch"
        for folder in (self.root / "tools", self.wheels):
            folder.mkdir()
        shutil.copy(TOOLS / "libtorch.py", self.root / "tools")
        for name, members in WHEELS.items():
            make_wheel(self.wheels / name, members)
        self.pin()

    def pin(self):
        lines = []
        for name in WHEELS:
            digest = hashlib.sha256((self.wheels / name).read_bytes()).hexdigest()
            package, version = name.replace("_cuda_", "-cuda-").split("-manylinux")[0].rsplit("-", 2)[0].rsplit("-", 1)
            lines.append(f"{package}=={version} --hash=sha256:{digest}\n")
        (self.root / "tools" / "libtorch.txt").write_text("".join(lines))

    def command(self, *arguments, **settings):
        """What to run, and in which environment: this one without its settings, and settings."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("LIBTORCH", "PIP_", "VIRTUAL_ENV"))}
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)}
        return ([sys.executable, str(self.root / "tools" / "libtorch.py"), *arguments],
                {**environ, **offline, **settings})

    def run_tool(self, *arguments, **settings):
        command, environ = self.command(*arguments, **settings)
        return subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True)

    def assert_ends(self, done, status, *words):
        self.assertEqual(done.returncode, status, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr + done.stdout)

    def made(self):
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file()}

    def left(self):
        """What lies in third_party, apart from the lock file."""
        return {path.name for path in self.third_party.iterdir()} - {libtorch.LOCK.name}


class Fetching(Checkout):
    def test_makes_the_folder_torch_sys_expects_and_nothing_else(self):
        self.assert_ends(self.run_tool(), 0, f"libtorch {VERSION} is ready")
        self.assertEqual(self.made(), MADE)
        self.assertEqual(self.left(), {"libtorch"})
        self.assertEqual((self.home / "lib/libtorch.so").read_text(), "INPUT(libtorch_cpu.so)\n")
        self.assertEqual((self.home / "build-version").read_text().strip(), VERSION)
        self.assertEqual((self.home / "lib/libc10.so").read_text(), "torch/lib/libc10.so")

    def test_second_run_touches_nothing(self):
        self.run_tool()
        before = self.home.stat()
        shutil.rmtree(self.wheels)
        self.assert_ends(self.run_tool(), 0)
        self.assertEqual((self.home.stat().st_ino, self.home.stat().st_mtime_ns), (before.st_ino, before.st_mtime_ns))

    def test_other_pins_or_a_lost_library_mean_fetching_anew(self):
        self.run_tool()
        (self.home / "lib/libc10.so").unlink()
        self.assert_ends(self.run_tool("--check"), 3, "make libtorch")
        self.assert_ends(self.run_tool(), 0)
        self.assertEqual(self.made(), MADE)
        with open(self.root / "tools" / "libtorch.txt", "a") as pins:
            pins.write("# other\n")
        self.assert_ends(self.run_tool("--check"), 3)
        self.assert_ends(self.run_tool(), 0)

    def test_check_fetches_nothing(self):
        self.assert_ends(self.run_tool("--check"), 3, "make libtorch")
        self.assertFalse(self.third_party.exists())

    def test_the_link_to_a_shared_libtorch_is_replaced_and_its_target_kept(self):
        shared = self.root / "shared"
        shared.mkdir()
        (shared / "mine").write_text("")
        self.third_party.mkdir()
        self.home.symlink_to(shared)
        self.assert_ends(self.run_tool(), 0)
        self.assertFalse(self.home.is_symlink())
        self.assertTrue((shared / "mine").exists())


class Failing(Checkout):
    def assert_nothing_left(self):
        self.assertEqual(self.left(), set())

    def test_no_network(self):
        done = self.run_tool(PIP_NO_INDEX="", PIP_FIND_LINKS="", PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="1")
        self.assert_ends(done, 3, "network", "PIP_INDEX_URL", "Connection refused")
        self.assert_nothing_left()

    def test_no_such_wheel(self):
        next(self.wheels.glob("nvidia_cuda_cupti*")).unlink()
        self.assert_ends(self.run_tool(), 3, "nvidia-cuda-cupti==13.0.2")
        self.assert_nothing_left()

    def test_another_content_than_pinned(self):
        name = next(iter(WHEELS))
        make_wheel(self.wheels / name, WHEELS[name] + ["torch/lib/more.so"])
        self.assert_ends(self.run_tool(), 1, "not what tools/libtorch.txt pins", "Expected sha256")
        self.assert_nothing_left()

    def test_a_pinned_wheel_without_a_library(self):
        name = next(iter(WHEELS))
        make_wheel(self.wheels / name, WHEELS[name][1:])
        self.pin()
        self.assert_ends(self.run_tool(), 1, "lib/libtorch_cpu.so")
        self.assert_nothing_left()

    def test_a_failed_run_keeps_what_was_there(self):
        self.run_tool()
        (self.home / "lib/libc10.so").unlink()
        shutil.rmtree(self.wheels)
        self.wheels.mkdir()
        self.assert_ends(self.run_tool(), 3)
        self.assertEqual(self.made(), MADE - {"lib/libc10.so"})

    def test_no_pip(self):
        bare = self.root / "bare"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
        command, environ = self.command()
        done = subprocess.run([str(bare / "bin/python"), *command[1:]], env=environ, stderr=subprocess.PIPE,
                              stdout=subprocess.PIPE, universal_newlines=True)
        self.assert_ends(done, 3, "has no pip", "ensurepip")

    def test_a_killed_run_leaves_no_libtorch_and_the_next_one_cleans_up(self):
        for sent in (signal.SIGTERM, signal.SIGKILL):
            self.interrupt(sent)
            self.assertFalse(self.home.exists())
        self.assertEqual(self.left(), {libtorch.PART.name})
        self.assert_ends(self.run_tool(), 0)
        self.assertEqual((self.made(), self.left()), (MADE, {"libtorch"}))

    def interrupt(self, sent):
        """Sends a signal to the tool as soon as it has begun to write."""
        command, environ = self.command()
        running = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        part = self.third_party / libtorch.PART.name
        while not (part / "pip.log").exists() and running.poll() is None:
            time.sleep(0.001)
        running.send_signal(sent)
        self.assertNotEqual(running.wait(timeout=60), 0)
        if sent == signal.SIGTERM:
            self.assert_nothing_left()


class OwnLibtorch(Checkout):
    def own(self, header="2 11 0", build_version=None):
        """A folder as LIBTORCH may name it."""
        own = self.root / "own"
        for name in ("lib/libtorch.so", "lib/libtorch_cpu.so", "lib/libc10.so"):
            (own / name).parent.mkdir(parents=True, exist_ok=True)
            (own / name).write_text("")
        version = own / "include/torch/headeronly/version.h"
        version.parent.mkdir(parents=True)
        parts = zip(("MAJOR", "MINOR", "PATCH"), header.split())
        version.write_text("".join(f"#define TORCH_VERSION_{part} {value}\n" for part, value in parts))
        if build_version:
            (own / "build-version").write_text(build_version)
        return str(own)

    def assert_refused(self, *words, **settings):
        for arguments in ([], ["--check"]):
            self.assert_ends(self.run_tool(*arguments, **settings), 2, *words)
        self.assertFalse(self.third_party.exists())

    def test_right_one_is_used_and_nothing_is_fetched(self):
        own = self.own(build_version=VERSION + "+cpu\n")
        self.assert_ends(self.run_tool(LIBTORCH=own), 0, own)
        self.assertFalse(self.third_party.exists())

    def test_wrong_version_is_named_with_the_right_one(self):
        self.assert_refused("2.10.1", VERSION, "LIBTORCH", LIBTORCH=self.own("2 10 1"))

    def test_wrong_build_version_is_named_although_the_headers_fit(self):
        self.assert_refused("2.9.0", VERSION, LIBTORCH=self.own(build_version="2.9.0+cu129"))

    def test_version_check_can_be_bypassed_as_in_torch_sys(self):
        own = self.own("2 10 1")
        self.assert_ends(self.run_tool(LIBTORCH=own, LIBTORCH_BYPASS_VERSION_CHECK="1"), 0, own)

    def test_folder_that_is_no_libtorch(self):
        self.assert_refused("is no libtorch", LIBTORCH=str(self.wheels))
        self.assert_refused("absolute", LIBTORCH="")
        self.assert_refused("absolute", LIBTORCH="third_party/libtorch")

    def test_libraries_chosen_without_the_rest(self):
        self.assert_refused("LIBTORCH_LIB", LIBTORCH_LIB=self.own())

    def test_the_folder_of_this_tool_counts_as_not_chosen(self):
        self.assert_ends(self.run_tool(LIBTORCH=str(self.home)), 0)
        self.assertEqual(self.made(), MADE)

    def python_that(self, body):
        """Settings under which torch-sys would ask a python3 that does no more than this."""
        script = self.root / "bin/python3"
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
        return {"LIBTORCH_USE_PYTORCH": "0", "PATH": f"{script.parent}:{os.environ['PATH']}"}

    def test_pytorch_is_used_and_comes_before_a_folder(self):
        done = self.run_tool(LIBTORCH="/wrong", **self.python_that(f"echo {VERSION}+cu130"))
        self.assert_ends(done, 0, str(self.root / "bin/python3"))
        self.assertFalse(self.third_party.exists())

    def test_pytorch_of_another_version_or_none(self):
        self.assert_refused("LIBTORCH_USE_PYTORCH=0", "2.5.1", VERSION, **self.python_that("echo 2.5.1+cpu"))
        self.assert_refused("LIBTORCH_USE_PYTORCH=0", "no torch", **self.python_that("echo no torch >&2; exit 1"))


class Pins(unittest.TestCase):
    def test_the_pinned_torch_is_the_one_the_pinned_tch_wants(self):
        manifest = (TOOLS.parent / "Cargo.toml").read_text()
        self.assertIn('torch-sys = { version = "=0.24.0"', manifest)
        self.assertEqual(libtorch.pinned_version(), VERSION)


if __name__ == "__main__":
    unittest.main()
