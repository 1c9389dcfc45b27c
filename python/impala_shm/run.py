"""A finished run, by its folder."""

import csv
import json
import tomllib
from pathlib import Path

import numpy as np

from . import command
from .policy import Policy


class Run:
    """What a run left in its folder; docs/metrics.md defines each file and each figure."""

    def __init__(self, folder):
        self.folder = Path(folder)
        if not (self.folder / "meta.json").is_file():
            raise FileNotFoundError(f"{self.folder} is no folder of a run: it has no meta.json")

    def __repr__(self):
        return f"Run({str(self.folder)!r})"

    @property
    def summary(self):
        """The figures of `summary.json`, a dictionary."""
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def settings(self):
        """Every setting of the run, nested dictionaries."""
        return tomllib.loads((self.folder / "config.toml").read_text())

    @property
    def report(self):
        """The path of the report, a page of HTML."""
        return self.folder / "report.html"

    def metrics(self):
        """The columns of `metrics.csv`: a dictionary of arrays of f64, one number a row, NaN where there is none."""
        with open(self.folder / "metrics.csv", newline="") as file:
            names, *rows = csv.reader(file)
        columns = zip(*rows) if rows else [()] * len(names)
        return {name: np.array([float(cell) if cell else np.nan for cell in column])
                for name, column in zip(names, columns)}

    def policy(self, which="newest"):
        """The trained policy: the newest one, or the "best" by score."""
        places = {"newest": "checkpoint.safetensors", "best": "checkpoints/best.safetensors"}
        if which not in places:
            raise ValueError(f"which is {which!r}; it is one of {', '.join(map(repr, places))}")
        return Policy(self.folder / places[which])

    def evaluate(self, episodes=100, *, sampled=False):
        """Plays whole episodes with the newest policy; what `impala eval --json` finds, a dictionary."""
        arguments = ["eval", self.folder, "--json", "--episodes", episodes]
        return json.loads(command.run(arguments + ["--sampled"] * sampled))
