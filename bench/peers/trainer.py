"""A running trainer: its process and what it reports. Two kinds: a peer's driver, and our own binary."""

import csv
import json
import os
import signal
import subprocess
import time

from figures import Report

LOG = "log"


class Trainer:
    """A process whose output goes to a file, in a session of its own so that Ctrl-C reaches us alone."""

    def __init__(self, command, folder, environ, inherited=()):
        self.log = folder / LOG
        with open(self.log, "w") as output:
            self.started_s = time.monotonic()
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                            cwd=folder, env=environ, pass_fds=inherited, start_new_session=True)

    def new_reports(self):
        """The reports made since the last call."""
        raise NotImplementedError

    def finish(self, grace_s):
        """Asks the process to end and waits for it so long; its last reports."""
        raise NotImplementedError

    def wait(self, grace_s):
        try:
            self.process.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            pass  # Whoever watches kills what is left.

    def last_words(self):
        """The last line of its output."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return (lines or ["it said nothing"])[-1][:300]


class DrivenTrainer(Trainer):
    """Runs a driver, which writes its reports to a pipe and ends once the pipe is closed."""

    def __init__(self, command, folder, environ):
        self.pipe, far_end = os.pipe()
        os.set_blocking(self.pipe, False)
        self.unfinished = b""
        try:
            super().__init__([*command, f"--pipe={far_end}"], folder, environ, inherited=[far_end])
        finally:
            os.close(far_end)

    def new_reports(self):
        reports = []
        for line in self.new_lines():
            report = json.loads(line)
            reports.append(Report(report["at_s"] - self.started_s, report["frames"], report["score"]))
        return reports

    def new_lines(self):
        """Whole lines; the beginning of another one is kept for the next call."""
        try:
            while True:
                read = os.read(self.pipe, 1 << 16)
                if not read:
                    break
                self.unfinished += read
        except BlockingIOError:
            pass
        *lines, self.unfinished = self.unfinished.split(b"\n")
        return lines

    def finish(self, grace_s):
        reports = self.new_reports()
        os.close(self.pipe)
        self.wait(grace_s)
        return reports


class EngineTrainer(Trainer):
    """Runs `impala train` and reads the files it writes anyway."""

    def __init__(self, command, folder, environ):
        self.run_dir = folder / "run"
        self.n_read = 0
        super().__init__([*command, f"--run-dir={self.run_dir}"], folder, environ)

    def new_reports(self):
        try:
            with open(self.run_dir / "metrics.csv", newline="") as file:
                rows = [row for row in csv.DictReader(file) if is_whole(row)]
        except FileNotFoundError:
            return []
        new, self.n_read = rows[self.n_read:], len(rows)
        return [Report(float(row["time_s"]), int(row["frames"]), number(row["score_last100"])) for row in new]

    def finish(self, grace_s):
        reports = self.new_reports()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.wait(grace_s)
        return reports + self.summary()

    def summary(self):
        """What the rows of metrics.csv are too coarse for: the first rollout's beginning, and the solution."""
        try:
            summary = json.loads((self.run_dir / "summary.json").read_text())
        except FileNotFoundError:
            return []
        reports = [Report(summary["startup_s"], 0, None)]
        if summary["solved"]:
            reports.append(Report(summary["solved_s"], summary["solved_frames"], summary["score_threshold"]))
        return reports


def is_whole(row):
    """Not the beginning of a row that is being written."""
    return None not in row.values()


def number(cell):
    """A cell of metrics.csv; empty where nothing was measured."""
    return float(cell) if cell else None
