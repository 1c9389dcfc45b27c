"""One trainer, one seed: started, watched, ended with all its processes. Called by main.py."""

import contextlib
import shutil
import tempfile
import time
from pathlib import Path

import tree
from figures import Figures, as_json
from talking import say

LOOK_S = 0.2  # between two looks for reports
SAMPLE_S = 2.0  # between two looks at the process tree, which cost processor time themselves
TELL_S = 10.0
GRACE_S = 20.0  # for an end in order, before all that is left is killed
GRACE_INTERRUPTED_S = 3.0


def run(peer, seed, limits):
    """The figures of one run as plain data; `error` says why they do not count."""
    folder, leftovers = Path(tempfile.mkdtemp(prefix="peer-")), Leftovers(f"{peer.name}, seed {seed}")
    try:
        disturbance = Disturbance()
        watch = Watch(f"{peer.name}, seed {seed}", peer.start(seed, folder), limits)
        with ended(watch, leftovers):
            watch.until_over()
            disturbed = disturbance.since(watch.samples[-1].cpu_s)
        figures = Figures.of(watch.reports, watch.samples, watch.trainer.started_s, limits)
        return {"seed": seed, "error": watch.error(), **as_json(figures), **disturbed}
    finally:
        leftovers.remove()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def ended(watch, leftovers):
    """Lets the trainer end in order, for less time if nobody waits for its figures any more."""
    grace_s = GRACE_INTERRUPTED_S
    try:
        yield
        grace_s = GRACE_S
    finally:
        leftovers.note()
        watch.reports += watch.trainer.finish(grace_s)


class Leftovers:
    """What a trainer leaves behind that does not end in order: processes, and files in shared memory."""

    def __init__(self, name):
        self.name = name
        self.others = set(tree.SHARED_MEMORY.iterdir())
        self.files = set()

    def note(self):
        """To be called while all processes live: what the dead had mapped, nobody can tell."""
        self.files |= tree.shared_files() - self.others

    def remove(self):
        self.note()
        n_killed = tree.end_all()
        files = [path for path in self.files if path.exists()]
        for path in files:
            path.unlink()
        if n_killed or files:
            say(f"{self.name}: did not end in order: killed {n_killed} processes, removed {len(files)} files of "
                "shared memory")


class Watch:
    """What is known of a running trainer."""

    def __init__(self, name, trainer, limits):
        self.name, self.trainer, self.limits = name, trainer, limits
        self.reports = []
        self.tree = tree.Tree(trainer.process.pid)
        self.samples = [self.tree.sample()]
        self.told_s = trainer.started_s
        self.status = None

    def until_over(self):
        """Returns when the run is solved and measured, at its cap, or when the trainer ends by itself."""
        while True:
            self.status = self.trainer.process.poll()
            self.reports += self.trainer.new_reports()
            now_s = time.monotonic()
            if self.status is not None:
                return
            is_over = now_s - self.trainer.started_s >= self.limits.cap_s or self.limits.is_enough(self.reports)
            if is_over or now_s - self.samples[-1].at_s >= SAMPLE_S:
                self.samples.append(self.tree.sample())
            if is_over:
                return
            self.tell(now_s)
            time.sleep(LOOK_S)

    def tell(self, now_s):
        if now_s - self.told_s < TELL_S:
            return
        self.told_s = now_s
        frames, score = (self.reports[-1].frames, self.reports[-1].score) if self.reports else (0, None)
        score = "no score yet" if score is None else f"mean score {score:.0f}"
        wall_s = now_s - self.trainer.started_s
        say(f"{self.name}: {wall_s:.0f} of at most {self.limits.cap_s:.0f} s, {frames:,} frames, {score}")

    def error(self):
        """What went wrong, in words; None for a run that counts."""
        wall_s = self.samples[-1].at_s - self.trainer.started_s
        if self.status:
            return f"ended after {wall_s:.0f} s with status {self.status}: {self.trainer.last_words()}"
        if not any(report.frames for report in self.reports):
            return f"learned from no frame within {wall_s:.0f} s: {self.trainer.last_words()}"
        return None


class Disturbance:
    """What else the processors did meanwhile."""

    def __init__(self):
        self.started_s = time.monotonic()
        self.busy_s, self.stolen_s = tree.machine_busy_s()

    def since(self, own_cpu_s):
        took_s = max(time.monotonic() - self.started_s, 1e-3)
        busy_s, stolen_s = tree.machine_busy_s()
        others, stolen = (busy_s - self.busy_s - own_cpu_s) / took_s, (stolen_s - self.stolen_s) / took_s
        return {"others_cores": round(max(others, 0.0), 3), "stolen_cores": round(stolen, 3)}
