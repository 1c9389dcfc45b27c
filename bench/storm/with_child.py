"""A wrapper for `make storm`: the first environment of a process starts another one, as simulators and browsers do."""

import subprocess

import gymnasium as gym


class WithChild(gym.Wrapper):
    child = None

    def __init__(self, env):
        super().__init__(env)
        if WithChild.child is None:
            WithChild.child = subprocess.Popen(["sleep", "100000"])

    def close(self):
        WithChild.child.kill()
        super().close()
