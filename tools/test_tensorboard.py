"""tools/tensorboard.py against a checkout of its own and a wheel of a few bytes, without a network."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent


class Checkout(unittest.TestCase):
    """A checkout with the tool, one wheel beside it, and pins that fit the wheel."""

    def setUp(self):
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.home, self.wheels = self.root / "third_party/tensorboard", self.root / "wheels"
        self.wheel = self.wheels / "tensorboard-1.0-py3-none-any.whl"
        for folder in (self.root / "tools", self.wheels):
            folder.mkdir()
        for tool in ("tensorboard.py", "pinned.py"):
            shutil.copy(TOOLS / tool, self.root / "tools")
        self.make_wheel("it = 1")
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        self.pins = self.root / "tools/tensorboard.txt"
        self.pins.write_text(f"tensorboard==1.0 --hash=sha256:{digest}\n")

    def make_wheel(self, content):
        info = "tensorboard-1.0.dist-info"
        with zipfile.ZipFile(self.wheel, "w") as wheel:
            wheel.writestr("tensorboard.py", content)
            wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tensorboard\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\ntensorboard = tensorboard:main\n")
            wheel.writestr(f"{info}/RECORD", "")

    def run_tool(self, *arguments, **settings):
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "VIRTUAL_ENV"))}
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)}
        return subprocess.run([sys.executable, str(self.root / "tools/tensorboard.py"), *arguments],
                              env={**environ, **offline, **settings}, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True)

    def assert_ends(self, status, *words, **settings):
        done = self.run_tool(**settings)
        self.assertEqual(done.returncode, status, done.stdout)
        for word in words:
            self.assertIn(word, done.stdout)

    def imports_it(self):
        python = self.home / "bin/python"
        return python.exists() and subprocess.run([str(python), "-c", "import tensorboard"],
                                                  stderr=subprocess.DEVNULL).returncode == 0

    def test_makes_it_once_and_anew_when_the_pins_change(self):
        self.assert_ends(0, "installing", "is ready")
        self.assertTrue(self.imports_it())
        made = (self.home / "pyvenv.cfg").stat().st_mtime_ns
        self.assertNotIn("installing", self.run_tool().stdout)
        self.assertEqual((self.home / "pyvenv.cfg").stat().st_mtime_ns, made)
        self.pins.write_text(self.pins.read_text() + "# other\n")
        self.assert_ends(0, "installing", "is ready")

    def test_an_unfinished_one_is_made_anew(self):
        self.home.mkdir(parents=True)
        (self.home / "pyvenv.cfg").write_text("half")
        self.assert_ends(0, "installing", "is ready")
        self.assertTrue(self.imports_it())

    def test_another_content_than_pinned_is_refused(self):
        self.make_wheel("it = 2")
        self.assert_ends(1, "not what tools/tensorboard.txt pins")
        self.assertFalse(self.imports_it())
        self.assert_ends(1, "not what tools/tensorboard.txt pins")

    def test_each_run_is_shown_once_and_the_link_to_the_newest_is_none(self):
        for name in ("run-1", "run-2", "of-others/run-3"):
            (self.root / "results" / name).mkdir(parents=True)
            (self.root / "results" / name / "events.out.tfevents.1.impala").write_text("")
        (self.root / "results/no-run").mkdir()
        os.symlink("run-2", self.root / "results/latest")
        self.make_wheel("import os, sys\ndef main():\n"
                        "    walk = os.walk(sys.argv[2], followlinks=True)\n"
                        "    runs = sorted(os.path.relpath(at, sys.argv[2]) for at, _, files in walk if files)\n"
                        "    print('runs:', *runs)\n")
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        self.pins.write_text(f"tensorboard==1.0 --hash=sha256:{digest}\n")
        shown = self.run_tool("--show", str(self.root / "results"))
        self.assertIn("runs: of-others/run-3 run-1 run-2\n", shown.stdout)
        self.assertEqual(shown.returncode, 0)
        self.assertIn("runs: run-2\n", self.run_tool("--show", str(self.root / "results/latest")).stdout)

    def test_no_network(self):
        self.assert_ends(3, "network", "PIP_INDEX_URL", PIP_FIND_LINKS="", PIP_NO_INDEX="",
                         PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="0")


if __name__ == "__main__":
    unittest.main()
