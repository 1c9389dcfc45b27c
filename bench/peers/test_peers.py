"""The bookkeeping of bench-peers, with trainers of a few lines: no network, no peer, nothing to install.

Trainers are real processes; how long anything takes decides nothing here.
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import environments  # noqa: E402  (the path has to be set first)
import figures  # noqa: E402
import peers  # noqa: E402
import results  # noqa: E402
import run  # noqa: E402
import tree  # noqa: E402
from figures import Limits, Report  # noqa: E402
from trainer import DrivenTrainer, EngineTrainer  # noqa: E402

# Solved at once, and no wait for a speed.
AT_ONCE = Limits(cap_s=60.0, warm_up_s=0.0, window_s=0.0)


class Scripted:
    """A peer whose driver is a script given here."""

    name = "scripted"

    def __init__(self, script):
        self.script = textwrap.dedent(script)

    def start(self, seed, folder):
        driver = folder / "driver.py"
        driver.write_text("import os, subprocess, sys, time\nimport training\n" + self.script)
        environ = {**os.environ, "PYTHONPATH": str(HERE / "drivers")}
        return DrivenTrainer([sys.executable, str(driver), f"--seed={seed}"], folder, environ)


class OnceScored(Limits):
    """Ends a run at the first score, whatever it is."""

    def is_enough(self, reports):
        return any(report.score is not None for report in reports)


class Running(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        tree.adopt_orphans()

    def setUp(self):
        said = contextlib.redirect_stderr(io.StringIO())
        self.said = said.__enter__()
        self.addCleanup(said.__exit__, None, None, None)
        self.scratch, self.elsewhere = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.scratch)
        self.addCleanup(shutil.rmtree, self.elsewhere)
        self.set(tempfile, "tempdir", str(self.scratch))

    def set(self, module, name, value):
        self.addCleanup(setattr, module, name, getattr(module, name))
        setattr(module, name, value)

    def run_of(self, script, limits=AT_ONCE, seed=1):
        figures_of_run = run.run(Scripted(script), seed, limits)
        self.assertEqual(tree.descendants(os.getpid()), {}, "a process outlived its run")
        self.assertEqual(list(self.scratch.iterdir()), [], "a folder outlived its run")
        return figures_of_run

    def test_a_trainer_that_solves_ends_in_order_and_its_seed_arrives(self):
        done = self.run_of(f"""
            arguments, told = training.parse()
            for episode in range(100):
                told.frames(640 * (episode + 1))
                told.episode(470 + arguments.seed)
            while not told.is_over():
                told.frames(told.n_frames + 1)
            open({str(self.elsewhere / "in-order")!r}, "w").close()
            """, seed=7)
        self.assertEqual((done["error"], done["seed"], done["best_score"]), (None, 7, 477.0))
        self.assertEqual(done["solved_frames"], 64_000)
        self.assertTrue((self.elsewhere / "in-order").exists())
        self.assertNotIn("in order", self.said.getvalue())

    def test_a_driver_tells_at_once_of_the_environment_that_it_was_given(self):
        done = self.run_of("""
            sys.argv.append("--env=LunarLander-v3")
            _, told = training.parse()
            told.frames(1)
            told.score(201)
            while not told.is_over():
                told.frames(told.n_frames + 1)
            """, Limits(cap_s=60.0, warm_up_s=0.0, window_s=0.0, threshold=200.0))
        self.assertEqual((done["error"], done["solved_frames"], done["best_score"]), (None, 1, 201.0))

    def test_a_trainer_below_the_threshold_is_not_solved(self):
        done = self.run_of("""
            _, told = training.parse()
            while not told.is_over():
                told.score(474.9)
                told.frames(told.n_frames + 1)
            """, OnceScored())
        self.assertEqual((done["error"], done["solved_s"], done["best_score"]), (None, None, 474.9))

    def test_a_trainer_that_dies_is_a_row_with_its_last_words(self):
        done = self.run_of("sys.exit('out of luck')")
        self.assertRegex(done["error"], r"ended after \d+ s with status 1: out of luck")

    def test_a_trainer_that_learns_nothing_is_ended_at_the_cap(self):
        self.set(run, "GRACE_S", 0.1)
        done = self.run_of("training.parse()\ntime.sleep(600)", Limits(cap_s=0.3))
        self.assertRegex(done["error"], r"learned from no frame within \d+ s: it said nothing")
        self.assertGreaterEqual(done["wall_s"], 0.3)

    def test_what_hangs_or_hides_is_killed(self):
        # One ignores every request to end; two have left the session, and one of them its parent too.
        self.set(run, "GRACE_S", 0.1)
        done = self.run_of("""
            import signal
            _, told = training.parse()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.run(["sh", "-c", "setsid sleep 600 &"])
            subprocess.Popen(["setsid", "sleep", "600"])
            told.frames(1)
            told.score(500)
            time.sleep(600)
            """)
        self.assertIsNone(done["error"])
        self.assertRegex(self.said.getvalue(), "killed 3 processes, removed 0 files")

    def test_shared_memory_that_is_left_is_removed_and_nobody_else_s(self):
        theirs, mine = (Path(f"/dev/shm/test-peers-{whose}-{os.getpid()}") for whose in ("theirs", "mine"))
        mine.write_bytes(bytes(4096))
        self.addCleanup(mine.unlink)
        self.addCleanup(theirs.unlink, missing_ok=True)
        done = self.run_of(f"""
            import mmap, multiprocessing.resource_tracker
            _, told = training.parse()
            files = [open({str(theirs)!r}, "w+"), open({str(mine)!r}, "r+")]
            files[0].truncate(4096)
            mapped = [mmap.mmap(file.fileno(), 4096) for file in files]
            semaphore = multiprocessing.get_context("spawn").Semaphore()
            multiprocessing.resource_tracker.unregister(semaphore._semlock.name, "semaphore")
            told.frames(1)
            told.score(500)
            while not told.is_over():
                told.frames(told.n_frames + 1)
            os._exit(0)  # Without unlinking anything.
            """)
        self.assertIsNone(done["error"])
        self.assertRegex(self.said.getvalue(), "removed 2 files of shared memory")
        self.assertFalse(theirs.exists())
        self.assertTrue(mine.exists())

    def test_the_whole_tree_is_measured_and_the_dead_stay_counted(self):
        burn = "x = bytearray(30_000_000)\nwhile time.process_time() < 0.2: pass\nprint('burnt', flush=True)\n"
        child = f"import time\n{burn}time.sleep(600)"
        parent = f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n{child}"
        root = subprocess.Popen(["sh", "-c", '"$0" -c "$1"; true', sys.executable, parent], stdout=subprocess.PIPE)
        self.addCleanup(tree.end_all)
        self.assertEqual([root.stdout.readline() for _ in range(2)], [b"burnt\n"] * 2)
        root.stdout.close()
        watched = tree.Tree(root.pid)
        alive = watched.sample()
        self.assertEqual(alive.n_processes, 3)
        self.assertGreaterEqual(alive.cpu_s, 0.35)  # of 0.4: the kernel counts in ticks
        self.assertGreater(alive.pss_mb, 60)
        [(leaf, stat)] = [(pid, stat) for pid, stat in tree.descendants(root.pid).items()
                          if int(stat[tree.PARENT]) != root.pid]
        tree.kill(leaf, stat[tree.START_TICKS])
        while tree.stat_of(leaf)[tree.STATE] != "Z":
            time.sleep(0.01)
        survived = watched.sample()
        self.assertEqual(survived.n_processes, 2)
        self.assertLess(survived.pss_mb, alive.pss_mb)
        self.assertGreaterEqual(survived.cpu_s, alive.cpu_s)

    def test_interrupting_leaves_no_process(self):
        script = self.scratch / "interrupted.py"
        script.write_text(textwrap.dedent(f"""
            import signal, sys
            # Whatever started the tests may have been told to ignore it, which its children inherit.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.path.insert(0, {str(HERE)!r})
            import test_peers, run, tree
            tree.adopt_orphans()
            run.GRACE_INTERRUPTED_S = 0.2
            peer = test_peers.Scripted('''
            _, told = training.parse()
            worker = subprocess.Popen(["setsid", "sleep", "60"])
            told.frames(1)
            print(worker.pid, flush=True)
            time.sleep(60)
            ''')
            run.run(peer, 1, test_peers.Limits())
            """))
        running = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL,
                                   env={**os.environ, "TMPDIR": str(self.scratch)})
        while not (logs := [log for log in self.scratch.glob("peer-*/log") if log.read_text()]):
            self.assertIsNone(running.poll())
            time.sleep(0.01)
        worker = int(logs[0].read_text())
        running.send_signal(signal.SIGINT)
        self.assertNotEqual(running.wait(timeout=60), 0)
        self.assertFalse(Path(f"/proc/{worker}").exists())
        self.assertEqual(list(self.scratch.glob("peer-*")), [])


class OurOwn(unittest.TestCase):
    def test_rows_and_summary_become_reports(self):
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        trainer = EngineTrainer(["true"], folder, os.environ)
        trainer.process.wait()
        self.assertEqual(trainer.new_reports(), [])
        trainer.run_dir.mkdir()
        rows = trainer.run_dir / "metrics.csv"
        rows.write_text("time_s,frames,score_last100,report_us\n0.5,1000,,1\n1.5,3000,480.0,1\n2.5,50")
        self.assertEqual(trainer.new_reports(), [Report(0.5, 1000, None), Report(1.5, 3000, 480.0)])
        rows.write_text(rows.read_text() + "00,500.0,1\n")
        self.assertEqual(trainer.new_reports(), [Report(2.5, 5000, 500.0)])
        summary = {"startup_s": 0.01, "solved": True, "solved_s": 0.05, "solved_frames": 200, "score_threshold": 475.0}
        (trainer.run_dir / "summary.json").write_text(json.dumps(summary))
        self.assertEqual(trainer.finish(0), [Report(0.01, 0, None), Report(0.05, 200, 475.0)])


class Figuring(unittest.TestCase):
    def sample(self, at_s, cpu_s, pss_mb=1.0, n=1):
        return tree.Sample(at_s, cpu_s, pss_mb, n)

    def test_speed_counts_from_the_warm_up_on(self):
        reports = [Report(1.0, 10, None), Report(3.0, 20, 100.0), Report(4.0, 120, 480.0), Report(8.0, 520, 470.0)]
        samples = [self.sample(100.0, 0.0), self.sample(104.0, 4.0, pss_mb=7.0, n=3), self.sample(108.0, 12.0)]
        of_run = figures.Figures.of(reports, samples, started_s=100.0, limits=Limits(warm_up_s=2.0))
        self.assertEqual((of_run.frames_per_s, of_run.cores, of_run.frames_per_cpu_s), (100.0, 9 / 5, 500 / 9))
        self.assertEqual((of_run.first_frames_s, of_run.solved_s, of_run.solved_frames), (1.0, 4.0, 120))
        self.assertEqual((of_run.frames, of_run.best_score, of_run.memory_mb, of_run.n_processes), (520, 480.0, 7.0, 3))

    def test_late_reports_of_early_times_are_put_in_order(self):
        reports = [Report(2.0, 2000, 500.0), Report(0.1, 150, 475.0)]
        of_run = figures.Figures.of(reports, [self.sample(0.0, 0.0)], 0.0, Limits())
        self.assertEqual((of_run.solved_s, of_run.solved_frames), (0.1, 150))

    def test_too_short_a_run_has_no_speed(self):
        for reports in ([], [Report(1.0, 10, None)], [Report(1.0, 10, None), Report(1.5, 20, None)]):
            of_run = figures.Figures.of(reports, [self.sample(0.0, 0.0)], 0.0, Limits(warm_up_s=1.0))
            self.assertIsNone(of_run.frames_per_s)

    def test_a_run_is_enough_when_solved_and_measured(self):
        limits = Limits(warm_up_s=2.0, window_s=3.0)
        self.assertFalse(limits.is_enough([]))
        self.assertFalse(limits.is_enough([Report(1.0, 1, None), Report(9.0, 9, 474.0)]))
        self.assertFalse(limits.is_enough([Report(1.0, 1, None), Report(5.9, 9, 480.0)]))
        self.assertTrue(limits.is_enough([Report(1.0, 1, None), Report(3.0, 9, 480.0), Report(6.0, 9, 400.0)]))

    def test_every_environment_has_a_threshold_of_its_own(self):
        limits = Limits(warm_up_s=0.0, window_s=0.0, threshold=200.0)
        reports = [Report(1.0, 10, 190.0), Report(2.0, 20, 201.0), Report(3.0, 30, 150.0)]
        self.assertTrue(limits.is_enough(reports))
        self.assertFalse(limits.is_enough(reports[:1]))
        of_run = figures.Figures.of(reports, [self.sample(0.0, 0.0)], 0.0, limits)
        self.assertEqual((of_run.solved_s, of_run.solved_frames), (2.0, 20))

    def test_the_summary_leaves_failed_runs_out_and_counts_them(self):
        known = {name: 1.0 for name in figures.Figures.__dataclass_fields__}
        runs = [{**known, "error": None, "solved_s": value} for value in (3.0, None, 5.0)] + [{**known, "error": "no"}]
        said = figures.summary(runs)
        self.assertEqual((said["solved_s"], said["n_solved"], said["n_failed"], said["n_runs"]), (4.0, 2, 1, 4))


class Keeping(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def results(self, *names):
        return results.Results(self.folder, [Named(name) for name in names])

    def row(self, title="Somebody", **changes):
        known = {name: 1234.5 for name in figures.Figures.__dataclass_fields__}
        runs = [{**known, "seed": 1, "error": None, "others_cores": 0.5, "stolen_cores": 0.0, **changes}]
        return {"title": title, "settings": "s", "version": "v", "cap_s": 5.0, "is_ours": False, "commit": "c",
                "started": "t", "load_before": 0.1, "summary": figures.summary(runs), "runs": runs}

    def test_a_new_row_replaces_its_own_and_the_others_stay_in_order(self):
        first = self.results("a", "b")
        first.add("b", self.row("B"))
        first.add("a", self.row("A"))
        first.save()
        second = self.results("a", "b")
        second.load()
        second.add("b", self.row("B anew"))
        second.save()
        table = (self.folder / "peers.md").read_text()
        self.assertEqual(re.findall(r"^\| (A|B|B anew) \|", table, re.MULTILINE)[:2], ["A", "B anew"])
        self.assertIn("| 1,230 |", table)
        self.assertEqual({path.name for path in self.folder.iterdir()}, {"peers.json", "peers.md", "peers.svg"})

    def test_another_environment_has_files_and_words_of_its_own(self):
        kept = results.Results(self.folder, [Named("a")], "LunarLander-v3")
        kept.add("a", self.row())
        kept.save()
        table = (self.folder / "peers-LunarLander-v3.md").read_text()
        self.assertTrue(table.startswith("# LunarLander-v3, trained by others and by us"))
        self.assertIn("episodes is 200 or more", table)

    def test_rows_of_another_machine_are_left_out(self):
        first = self.results("a")
        first.machine = {**first.machine, "cpu": "another"}
        first.add("a", self.row())
        first.save()
        second = self.results("a")
        with contextlib.redirect_stderr(io.StringIO()):
            second.load()
        self.assertEqual(second.rows, {})

    def test_a_failure_is_a_row_that_says_why(self):
        kept = self.results("a", "b")
        failed_run = self.row("A", error="ended with\nstatus 1 | really")
        not_installed = {key: value for key, value in self.row("B").items() if key not in ("summary", "runs")}
        kept.add("a", failed_run)
        kept.add("b", {**not_installed, "error": "no network"})
        kept.save()
        table = (self.folder / "peers.md").read_text()
        self.assertIn("| A | failed: ended with status 1 / really |", table)
        self.assertIn("| B | failed: no network |", table)
        for block in re.findall(r"(?:^\|.*\n)+", table, re.MULTILINE):
            self.assertEqual(len({line.count("|") for line in block.splitlines()}), 1, block)
        self.assertEqual((self.folder / "peers.svg").read_text().count(">failed<"), 4)

    def test_what_was_not_reached_is_a_dash(self):
        kept = self.results("a")
        kept.add("a", self.row("A", solved_s=None, solved_frames=None))
        self.assertIn("| – | – | 0 of 1 |", kept.table())


class Named:
    def __init__(self, name):
        self.name = name


class Installing(unittest.TestCase):
    def test_a_wrong_python_is_named_with_the_right_one(self):
        self.addCleanup(setattr, environments, "PYTHONS", environments.PYTHONS)
        environments.PYTHONS = ((2, 7),)
        with self.assertRaisesRegex(environments.Unavailable, "PYTHON=python3.11"):
            environments.check_python()

    def test_pip_s_complaint_is_found(self):
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        log = folder / "pip.log"
        outputs = {"Looking\nERROR: no wheel\n\n": "ERROR: no wheel", "killed\n": "killed", "": "nothing"}
        for output, complaint in outputs.items():
            log.write_text(output)
            self.assertIn(complaint, environments.last_complaint(log))

    def test_every_peer_has_its_driver_and_pins_what_it_tells_of(self):
        for peer in peers.PEERS:
            if peer.is_ours:
                continue
            self.assertTrue((peers.DRIVERS / f"{peer.driver}.py").is_file(), peer.name)
            self.assertEqual(peer.version().count(","), len(peer.packages) - 1, peer.name)

    def test_no_two_peers_of_an_environment_share_a_name(self):
        names = [(peer.env, peer.name) for peer in peers.PEERS]
        self.assertEqual(len(set(names)), len(names))

    def test_layers_pin_the_very_packages_of_their_ground(self):
        ground = pins(environments.TORCH)
        for layer in (environments.GYMNASIUM, environments.SAMPLE_FACTORY):
            self.assertEqual({name: pins(layer)[name] for name in ground}, ground, layer.name)

    def test_torch_is_the_one_our_own_learner_uses(self):
        ours = (peers.ROOT / "tools" / "libtorch.txt").read_text()
        self.assertIn(f"torch=={environments.TORCH.version('torch')} ", ours)

    def test_every_pin_has_a_hash(self):
        for lock in environments.LOCKS.glob("*.txt"):
            for entry in re.split(r"\n(?=\w)", lock.read_text())[1:]:
                self.assertRegex(entry, r"^\S+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", lock.name)


def pins(environment):
    return dict(re.findall(r"^(\S+)==(\S+)", environment.lock.read_text(), re.MULTILINE))


if __name__ == "__main__":
    unittest.main()
