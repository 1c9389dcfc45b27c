"""Environments of Gymnasium for tests/outside_env.rs: of every kind of space, with episodes that are known, and with
faults."""

import ctypes
import os
import signal
import subprocess
import sys
import time

import gymnasium as gym
import numpy as np
from gymnasium import spaces


def counted(space):
    """0, 1, 2, ... in the space's shape."""
    return np.arange(np.prod(space.shape)).reshape(space.shape).astype(space.dtype)


def box(shape, low=0, high=255, dtype=np.uint8):
    space = spaces.Box(low, high, shape, dtype)
    return space, counted(space)


OBSERVATIONS = {
    "numbers": lambda: box((2, 3), -2, 8, np.float64),
    "unbounded": lambda: box((2,), -np.inf, np.inf, np.float32),
    "bytes": lambda: box((3,)),
    "channels last": lambda: box((4, 5, 3)),
    "channels first": lambda: box((2, 4, 5)),
    "grey": lambda: box((4, 5)),
    "stacked": lambda: box((2, 4, 5, 3)),
    "planes": lambda: (spaces.Box(0, 1, (4, 4, 6), bool), np.eye(4, dtype=bool)[:, :, None].repeat(6, 2)),
    "discrete": lambda: (spaces.Discrete(3, start=-1), 0),
    "several": lambda: (spaces.MultiDiscrete([2, 3]), np.array([1, 0])),
    "bits": lambda: (spaces.MultiBinary(3), np.array([1, 0, 1], np.int8)),
    "tuple": lambda: (spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 9, (2,))]), (1, np.array([3, 4], np.float32))),
    "dict": lambda: (spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(0, 9, (1,))),
                     {"b": np.array([5], np.float32), "a": 0}),
    "text": lambda: (spaces.Text(5), "hello"),
    "hidden text": lambda: (spaces.Dict(a=spaces.Tuple([spaces.Discrete(2), spaces.Text(5)])), {"a": (0, "hello")}),
    "graph": lambda: (spaces.Graph(spaces.Discrete(2), None), None),
    "sequence": lambda: (spaces.Sequence(spaces.Discrete(2)), ()),
}

ACTIONS = {
    "one": lambda: spaces.Discrete(3, start=-1),
    "several": lambda: spaces.MultiDiscrete([2, 3]),
    "bits": lambda: spaces.MultiBinary(2),
    "real": lambda: spaces.Box(np.array([-1, -np.inf]), np.array([2, np.inf]), dtype=np.float64),
    "tuple": lambda: spaces.Tuple([spaces.Discrete(2)]),
    "whole": lambda: spaces.Box(0, 3, (2,), np.int32),
}


class Shown(gym.Env):
    """Shows always the same, and gives as reward the sum of the action that it was told."""

    def __init__(self, obs="unbounded", action="one"):
        self.observation_space, self.observation = OBSERVATIONS[obs]()
        self.action_space = ACTIONS[action]()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation, {}

    def step(self, action):
        assert self.action_space.contains(action), action
        return self.observation, np.array([np.sum(action)]), False, False, {}


class Five(gym.Env):
    """Episodes of five steps whose rewards are 1, 2, 3, 4, 5, and which must be told to do 1."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, is_cut=False):
        self.is_cut, self.n_steps, self.n_episodes = is_cut, 0, 0

    def observe(self):
        return np.array([10 * self.n_episodes + self.n_steps], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps, self.n_episodes = 0, self.n_episodes + 1
        return self.observe(), {}

    def step(self, action):
        assert action == 1
        self.n_steps += 1
        is_over = self.n_steps == 5
        return self.observe(), self.n_steps, is_over and not self.is_cut, is_over and self.is_cut, {}


class Life(gym.Wrapper):
    """Ends an episode after every two steps, and begins the next where it was, as those do that end with a life."""

    def __init__(self, env, scale=1.0):
        super().__init__(env)
        self.scale, self.n_steps, self.is_over = scale, 0, True

    def reset(self, **options):
        self.n_steps = 0
        if self.is_over:
            self.is_over = False
            return self.env.reset(**options)
        return self.env.unwrapped.observe(), {}

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.n_steps += 1
        self.is_over = terminated or truncated
        return observation, self.scale * reward, terminated or self.n_steps == 2, truncated, info


class Old:
    """As the older gym had them."""

    def reset(self):
        return 0


class Old32(Five):
    """Takes seeds of 32 bits, as NumPy's older generators do."""

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            np.random.RandomState(seed)
        return super().reset()


def broken_in_make():
    raise RuntimeError("no such level")


class Faulty(gym.Env):
    """Episodes of ten steps; once, in one process of all, something goes wrong in the middle of one."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, fault, folder):
        self.fault, self.folder, self.n_steps, self.n_episodes = fault, folder, 0, 0
        if fault == "slow start":
            time.sleep(1)
        if fault == "slow actors" and not self.is_first("probed"):
            time.sleep(600)

    def is_first(self, what="once"):
        """Whether nobody has asked so before."""
        try:
            os.close(os.open(os.path.join(self.folder, what), os.O_CREAT | os.O_EXCL))
            return True
        except FileExistsError:
            return False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps, self.n_episodes = 0, self.n_episodes + 1
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action):
        self.n_steps += 1
        observation = np.full(2, 0.1 * self.n_steps, np.float32)
        if self.fault == "flood":
            print("x" * 50_000)
            print("y" * 50_000, file=sys.stderr)
        elif self.n_steps == 5 and self.n_episodes == 3 and self.is_first():
            observation = getattr(self, self.fault.replace(" ", "_"), lambda right: right)(observation)
        return observation, float(action), False, self.n_steps == 10, {}

    def exception(self, _):
        raise ValueError("broken on purpose")

    def system_exit(self, _):
        sys.exit("no licence")

    def shape(self, observation):
        return observation[:1]

    def type(self, observation):
        return np.array(["a", "b"])

    def nan(self, observation):
        return observation * np.nan

    def segfault(self, _):
        print("these are the last words", file=sys.stderr)
        ctypes.string_at(0)

    def abort(self, _):
        os.abort()

    def exit(self, _):
        os._exit(7)

    def hang(self, _):
        time.sleep(600)

    def killed(self, _):
        os.kill(os.getpid(), signal.SIGKILL)

    def actor_killed(self, _):
        subprocess.Popen(["sleep", "600"])
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)

    def heir(self, _):
        """Ends while a child of its own still holds the socket."""
        if os.fork() == 0:
            time.sleep(600)
        os._exit(7)


class Unseeded(Five):
    """Heeds no seed."""

    def reset(self, *, seed=None, options=None):
        _, info = super().reset()
        return np.random.default_rng().random(1, np.float32), info

    def step(self, action):
        return super().step(1)


class Wild(gym.Env):
    """Episodes of ten steps; the numbers of the fifth are what the kind says."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, kind):
        self.kind, self.n_steps = kind, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n_steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.n_steps += 1
        number, reward = {"nan obs": (np.nan, 0), "huge": (1e30, 0), "nan reward": (0, np.nan),
                          "huge reward": (0, -1e30)}.get(self.kind if self.n_steps == 5 else "", (0, 1))
        if self.kind == "hang" and self.n_steps == 5:
            time.sleep(600)
        return np.full(2, number, np.float32), reward, False, self.n_steps == 10, {}
