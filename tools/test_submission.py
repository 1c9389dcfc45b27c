"""tools/submission.py in a checkout of its own: what somebody finds who opens the archive."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parent

REPORT = ("report.html", "report.md", "plots/score_frames.svg", "plots/score_frames.png", "config.toml",
          "meta.json", "summary.json", "metrics.csv")


class Submission(unittest.TestCase):
    """A checkout with one commit, the page on throughput, and a run with a report."""

    def setUp(self):
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        (self.root / "tools").mkdir()
        shutil.copy(TOOLS / "submission.py", self.root / "tools")
        self.write("Cargo.toml", "[package]")
        self.write("src/lib.rs", "committed")
        self.write("run.sh", "#!/bin/sh").chmod(0o755)
        self.write("docs/throughput.md", "![](throughput/stages.svg)")
        self.write("docs/throughput/stages.svg", "<svg/>")
        self.git("init", "--quiet")
        self.git("add", ".")
        self.git("-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "-m", "all")
        for name in REPORT:
            self.write(f"results/run-1/{name}", f"{name} of the run")
        self.write("results/run-1/checkpoint.safetensors", "large")
        os.symlink("run-1", self.root / "results/latest")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def git(self, *arguments):
        subprocess.run(["git", *arguments], cwd=self.root, check=True, stdout=subprocess.DEVNULL)

    def make(self, *arguments):
        return subprocess.run([sys.executable, str(self.root / "tools/submission.py"), *arguments],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)

    def test_each_part_is_found_and_is_whole(self):
        done = self.make()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(Path(done.stdout.strip()), self.root / "results/submission-run-1.zip")
        with zipfile.ZipFile(done.stdout.strip()) as archive:
            self.assertIsNone(archive.testzip())
            names = set(archive.namelist())
            for name in REPORT:
                self.assertEqual(archive.read(f"submission/report/{name}").decode(), f"{name} of the run")
            for name in ("Cargo.toml", "src/lib.rs", "docs/throughput.md", "run.sh"):
                self.assertIn(f"submission/code/{name}", names)
            for name in ("throughput.md", "throughput/stages.svg"):
                self.assertIn(f"submission/docs/{name}", names)
            self.assertFalse([name for name in names if "checkpoint" in name or "results/" in name])
            mode = archive.getinfo("submission/code/run.sh").external_attr >> 16
            self.assertTrue(mode & 0o100, "what could be run still can")

    def test_what_is_not_committed_is_left_out_and_said(self):
        self.write("src/lib.rs", "changed")
        target = self.root / "mine.zip"
        done = self.make("--out", str(target), str(self.root / "results/run-1"))
        self.assertEqual(done.returncode, 0)
        self.assertIn("not committed", done.stderr)
        with zipfile.ZipFile(target) as archive:
            self.assertEqual(archive.read("submission/code/src/lib.rs"), b"committed")

    def test_a_run_without_a_report_is_refused_by_name(self):
        (self.root / "results/run-1/report.html").unlink()
        done = self.make()
        self.assertEqual(done.returncode, 2)
        self.assertIn("run-1 has no report.html", done.stderr)
        self.assertFalse(list(self.root.glob("results/*.zip*")))


if __name__ == "__main__":
    unittest.main()
