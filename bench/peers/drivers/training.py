"""What a driver tells the benchmark while its trainer trains. Standard library only.

A driver is a small program of one peer: it imports the peer, makes a Training, builds the trainer with
its seed, tells it of frames and scores, and ends once `is_over()`. The benchmark decides when that is,
and says so by closing the pipe that the reports go through; so a driver also ends if the benchmark dies.
"""

import argparse
import collections
import json
import os
import time

# An environment counts as solved when the mean of so many finished training episodes reaches its threshold.
WINDOW_EPISODES = 100
THRESHOLDS = {"CartPole-v1": 475.0, "LunarLander-v3": 200.0}
DEFAULT_ENV = "CartPole-v1"
INTERVAL_S = 0.1


class Training:
    """Frames learned from and the mean score, reported ten times a second and at once when solved."""

    def __init__(self, pipe, threshold):
        self.pipe, self.threshold = pipe, threshold
        os.set_inheritable(pipe, False)  # Else the trainer's workers would hold it open.
        self.n_frames = 0
        self.mean_score = None
        self.scores = collections.deque(maxlen=WINDOW_EPISODES)
        self.is_solved = False
        self.is_closed = False
        self.reported_s = 0.0

    def episode(self, score):
        """One training episode has finished."""
        self.scores.append(float(score))
        if len(self.scores) == WINDOW_EPISODES:
            self.score(sum(self.scores) / WINDOW_EPISODES)

    def score(self, mean):
        """The mean over the last finished episodes, from a trainer that keeps it itself."""
        self.mean_score = float(mean)
        if self.mean_score >= self.threshold and not self.is_solved:
            self.is_solved = True
            self.report()

    def frames(self, total):
        """So many environment steps have been learned from since the start."""
        self.n_frames = int(total)
        if time.monotonic() - self.reported_s >= INTERVAL_S:
            self.report()

    def report(self):
        self.reported_s = time.monotonic()
        report = {"at_s": self.reported_s, "frames": self.n_frames, "score": self.mean_score}
        try:
            os.write(self.pipe, json.dumps(report).encode() + b"\n")
        except BrokenPipeError:
            self.is_closed = True

    def is_over(self):
        return self.is_closed


def parse(parser=None):
    """The driver's arguments and its Training."""
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--env", choices=THRESHOLDS, default=DEFAULT_ENV)
    parser.add_argument("--pipe", type=int, default=1, help="descriptor for the reports")
    arguments = parser.parse_args()
    return arguments, Training(arguments.pipe, THRESHOLDS[arguments.env])
