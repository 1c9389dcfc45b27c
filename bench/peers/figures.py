"""From what a trainer reported and what its processes used to the figures of one run, and of several.

Pure functions of plain data. Called by run.py and results.py.
"""

import statistics
from dataclasses import asdict, dataclass
from typing import Optional

from drivers.training import DEFAULT_ENV, THRESHOLDS


@dataclass(frozen=True)
class Report:
    """What a trainer had done at one moment."""

    at_s: float  # since the start of its process
    frames: int  # learned from
    score: Optional[float]  # mean over the last 100 finished training episodes


@dataclass(frozen=True)
class Limits:
    """How long a run lasts: until solved and measured, but no longer than the cap."""

    cap_s: float = 300.0  # since the start of the process
    warm_up_s: float = 8.0  # since the first frames: compilation, filling of queues
    window_s: float = 15.0  # over which the speed is measured, at least
    threshold: float = THRESHOLDS[DEFAULT_ENV]  # mean score from which a run is solved

    def is_enough(self, reports):
        is_solved = solved(reports, self.threshold) is not None
        return is_solved and reports[-1].at_s - first_s(reports) >= self.warm_up_s + self.window_s


@dataclass(frozen=True)
class Figures:
    """Of one run. None: not measured, or not reached within the cap."""

    wall_s: float
    frames: int
    frames_per_s: Optional[float]
    frames_per_cpu_s: Optional[float]
    cores: Optional[float]
    first_frames_s: Optional[float]
    solved_s: Optional[float]
    solved_frames: Optional[int]
    best_score: Optional[float]
    memory_mb: float
    n_processes: int

    @staticmethod
    def of(reports, samples, started_s, limits):
        """Reports by time since started_s, samples by the same clock's own time."""
        reports = sorted(reports, key=lambda report: report.at_s)
        speed = speeds(reports, samples, started_s, limits.warm_up_s)
        solution = solved(reports, limits.threshold)
        scores = [report.score for report in reports if report.score is not None]
        return Figures(
            wall_s=samples[-1].at_s - started_s,
            frames=max((report.frames for report in reports), default=0),
            **speed,
            first_frames_s=first_s(reports),
            solved_s=solution and solution.at_s,
            solved_frames=solution and solution.frames,
            best_score=max(scores, default=None),
            memory_mb=max(sample.pss_mb for sample in samples),
            n_processes=max(sample.n_processes for sample in samples),
        )


def solved(reports, threshold):
    """The first report of a solved task."""
    return next((report for report in reports if report.score is not None and report.score >= threshold), None)


def first_s(reports):
    """When there was something to report for the first time: frames learned from, or about to be."""
    return min((report.at_s for report in reports), default=None)


def speeds(reports, samples, started_s, warm_up_s):
    """Frames a second of wall clock and of processor time, between warm-up and end."""
    unknown = {"frames_per_s": None, "frames_per_cpu_s": None, "cores": None}
    window = [report for report in reports if report.at_s >= first_s(reports) + warm_up_s]
    if len(window) < 2 or window[-1].at_s == window[0].at_s:
        return unknown
    n_frames = window[-1].frames - window[0].frames
    wall_s = window[-1].at_s - window[0].at_s
    cpu_s = cpu_at(samples, started_s + window[-1].at_s) - cpu_at(samples, started_s + window[0].at_s)
    return {
        "frames_per_s": n_frames / wall_s,
        "frames_per_cpu_s": n_frames / cpu_s if cpu_s > 0 else None,
        "cores": cpu_s / wall_s,
    }


def cpu_at(samples, at_s):
    """Processor seconds used by then; between two samples in proportion."""
    before = samples[0]
    for after in samples:
        if after.at_s >= at_s > before.at_s:
            share = (at_s - before.at_s) / (after.at_s - before.at_s)
            return before.cpu_s + share * (after.cpu_s - before.cpu_s)
        before = after
    return samples[-1].cpu_s if at_s > samples[-1].at_s else samples[0].cpu_s


def summary(runs):
    """Over the seeds: the median of each figure among the runs that have it, and how many were solved."""
    figures = [run for run in runs if run.get("error") is None]
    names = [name for name in Figures.__dataclass_fields__]
    medians = {name: median(run[name] for run in figures) for name in names}
    return {**medians, "n_runs": len(runs), "n_failed": len(runs) - len(figures),
            "n_solved": sum(run["solved_s"] is not None for run in figures)}


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def as_json(figures):
    """Plain numbers, rounded to what they are worth."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(figures).items()}
