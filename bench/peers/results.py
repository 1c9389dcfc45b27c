"""The rows measured so far: kept as JSON, shown as a Markdown table. Called by main.py.

A run may measure some peers only. Their rows replace the older ones; rows of another machine are thrown
away, because a table of two machines compares nothing.
"""

import json
import os
from pathlib import Path

import setting
from drivers.training import DEFAULT_ENV, THRESHOLDS
from picture import draw
from talking import say

# What stands in a row of the table: heading, and the text of a row's summary.
COLUMNS = (
    ("frames/s", lambda s: figure(s["frames_per_s"])),
    ("frames per CPU s", lambda s: figure(s["frames_per_cpu_s"])),
    ("cores busy", lambda s: figure(s["cores"])),
    ("first frames after", lambda s: seconds(s["first_frames_s"])),
    ("solved after", lambda s: seconds(s["solved_s"])),
    ("solved after, frames", lambda s: figure(s["solved_frames"])),
    ("seeds solved", lambda s: f"{s['n_solved']} of {s['n_runs']}"),
    ("memory (PSS)", lambda s: f"{figure(s['memory_mb'])} MB"),
    ("processes", lambda s: f"{s['n_processes']:.0f}"),
)


class Results:
    """All rows, by peer, and the machine they were measured on."""

    def __init__(self, folder, peers, env=DEFAULT_ENV):
        stem = "peers" if env == DEFAULT_ENV else f"peers-{env}"
        self.env = env
        self.json, self.markdown, self.picture = (folder / f"{stem}.{kind}" for kind in ("json", "md", "svg"))
        self.order = [peer.name for peer in peers]
        self.machine = setting.machine()
        self.rows = {}

    def load(self):
        """Takes over the rows of earlier runs on this machine."""
        try:
            earlier = json.loads(self.json.read_text())
        except FileNotFoundError:
            return
        if earlier["machine"] == self.machine:
            self.rows = earlier["peers"]
        else:
            say(f"{self.json.name} is of another machine: its rows are left out")

    def add(self, name, row):
        self.rows[name] = row

    def save(self):
        self.json.parent.mkdir(parents=True, exist_ok=True)
        data = {"machine": self.machine, "peers": {name: self.rows[name] for name in self.names()}}
        replace(self.json, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        replace(self.markdown, self.table())
        replace(self.picture, draw([self.rows[name] for name in self.names()], figure))

    def names(self):
        return [name for name in self.order if name in self.rows]

    def table(self):
        rows = [self.rows[name] for name in self.names()]
        parts = [f"# {self.env}, trained by others and by us", machine_line(self.machine), figures_table(rows),
                 meaning(THRESHOLDS[self.env]), settings_table(rows), conditions_table(rows)]
        return "\n\n".join(parts) + "\n"


def meaning(threshold):
    """What the figures are."""
    return f"""\
Everyone is measured from outside, in the same way. *Frames/s*: frames consumed by learning, from some seconds
after the first ones on. *Frames per CPU s*: the same, per second of processor time of all processes. *First
frames after*: from the start of the process, Python's imports and compilation included, to the first frames
learned from (ours: to the beginning of the first rollout). *Solved after*: from the start of the process until
the mean of the last 100 finished training episodes is {threshold:.0f} or more; a dash says that the end came first.
*Memory*: the largest sum over all processes, a shared page counted once. Medians over the seeds."""


def machine_line(machine):
    return f"{machine['cpu']}, {machine['n_cores']} cores, {machine['memory_gb']} GB, Linux {machine['kernel']}."


def figures_table(rows):
    headings = ["trainer", *(heading for heading, _ in COLUMNS)]
    return table(headings, [[row["title"], *cells(row)] for row in rows])


def cells(row):
    """The figures of a row, or why there are none."""
    if "summary" in row and row["summary"]["n_failed"] < row["summary"]["n_runs"]:
        return [text(row["summary"]) for _, text in COLUMNS]
    return [f"failed: {failure(row)}"] + [""] * (len(COLUMNS) - 1)


def failure(row):
    """Why a row has no figures, on one line and without what a table would take for a border."""
    reason = row.get("error") or next(run["error"] for run in row["runs"] if run["error"])
    return " ".join(reason.replace("|", "/").split())


def settings_table(rows):
    return table(["trainer", "versions", "settings, and what is counted"],
                 [[row["title"], row["version"], row["settings"]] for row in rows])


def conditions_table(rows):
    headings = ["trainer", "measured", "commit", "seeds", "cap", "load before", "busy with others", "stolen"]
    return table(headings, [[row["title"], *conditions(row)] for row in rows])


def conditions(row):
    runs = row.get("runs", [])
    worst = [f"{100 * max(run[name] for run in runs):.0f} % of a core" if runs else "–"
             for name in ("others_cores", "stolen_cores")]
    seeds = ", ".join(str(run["seed"]) for run in runs) or "–"
    return [row["started"], row["commit"], seeds, seconds(row["cap_s"]), f"{row['load_before']:.2f}", *worst]


def table(headings, rows):
    lines = [headings, ["---", *["---:" if len(headings) > 3 else "---"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figure(value):
    """Three significant digits."""
    if value is None:
        return "–"
    digits = next((digits for limit, digits in ((100, 0), (10, 1), (1, 2)) if abs(value) >= limit), 3)
    return f"{float(f'{value:.3g}'):,.{digits}f}"


def seconds(value):
    return "–" if value is None else f"{figure(value)} s"


def replace(path, text):
    """Whole or not at all."""
    aside = Path(f"{path}.part")
    aside.write_text(text)
    os.replace(aside, path)
