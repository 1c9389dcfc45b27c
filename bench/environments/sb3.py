"""Stable-Baselines3's A2C or PPO with its defaults, on environments in processes of their own.

    python sb3.py ALGORITHM ID WORKERS SECONDS

Prints frames learned from a second. Called by `make bench-environments`.
"""

import sys
import time

import ale_py
import gymnasium
import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack

gymnasium.register_envs(ale_py)  # Here, so that the processes of the environments, which import this file, know them.


class Watch(BaseCallback):
    """Counts whole rollouts, of which the first is warming up, and ends training."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds, self.start, self.first, self.last, self.end = seconds, None, 0, 0, 0.0

    def _on_rollout_start(self):
        # A new rollout starts after the last one has been learned from.
        if self.start is None and self.num_timesteps > 0:
            self.start, self.first = time.monotonic(), self.num_timesteps
        self.last, self.end = self.num_timesteps, time.monotonic()

    def _on_step(self):
        return self.start is None or time.monotonic() - self.start < self.seconds or self.last == self.first


def main():
    algorithm, id, workers, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(1)
    if id.startswith("ALE/"):
        games = make_atari_env(id.replace("ALE/", "").replace("-v5", "NoFrameskip-v4"), n_envs=workers,
                               vec_env_cls=SubprocVecEnv)
        environments, policy = VecFrameStack(games, n_stack=4), "CnnPolicy"
    else:
        environments, policy = make_vec_env(id, n_envs=workers, vec_env_cls=SubprocVecEnv), "MlpPolicy"
    model = {"a2c": A2C, "ppo": PPO}[algorithm](policy, environments, device="cpu")
    watch = Watch(seconds)
    model.learn(total_timesteps=10**9, callback=watch)
    print((watch.last - watch.first) / (watch.end - watch.start))


if __name__ == "__main__":
    main()
