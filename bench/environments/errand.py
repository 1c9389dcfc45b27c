"""An environment of one's own for `make bench-environments ARGS=--kinds`: it shows a Dict and takes several choices."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SIDE = 5


class Errand(gym.Env):
    """Walks on a square to a place, against a wind that it is told of. Each step costs one."""

    observation_space = spaces.Dict(
        at=spaces.MultiDiscrete([SIDE, SIDE]),
        to=spaces.Discrete(SIDE * SIDE),
        wind=spaces.Dict(is_strong=spaces.MultiBinary(1), towards=spaces.Box(-1, 1, (2,), np.float64)),
    )
    action_space = spaces.MultiDiscrete([3, 3])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.to = self.np_random.integers(0, SIDE, (2, 2))
        self.wind, self.is_strong = self.np_random.integers(-1, 2, 2), self.np_random.integers(0, 2)
        self.n_steps = 0
        return self.observe(), {}

    def observe(self):
        wind = {"is_strong": np.array([self.is_strong], np.int8), "towards": self.wind.astype(np.float64)}
        return {"at": self.at, "to": SIDE * self.to[0] + self.to[1], "wind": wind}

    def step(self, action):
        self.n_steps += 1
        blown = self.wind if self.is_strong and self.n_steps % 3 == 0 else 0
        self.at = np.clip(self.at + action - 1 + blown, 0, SIDE - 1)
        return self.observe(), -1.0, bool((self.at == self.to).all()), self.n_steps == 50, {}
