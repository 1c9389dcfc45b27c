"""Stable-Baselines3's PPO or A2C: one process, environments in turn.

PPO with the settings that the RL Zoo tuned for the environment. For CartPole it decays its rates over 1e5 steps, after
which they are held here, so that a run may go on; for LunarLander it ends after the Zoo's 1e6. A2C with
Stable-Baselines3's defaults. Frames are those of rollouts that training used, scores its own monitor's.
"""

import argparse

import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import training

DECAY_FRAMES = 1e5


class Watch(BaseCallback):
    """Tells of each step, and ends training."""

    def __init__(self, told):
        super().__init__()
        self.told = told

    def _on_step(self):
        for info in self.locals["infos"]:
            if "episode" in info:
                self.told.episode(info["episode"]["r"])
        return not self.told.is_over()

    def _on_rollout_start(self):
        # A new rollout starts after the last one has been learned from.
        self.told.frames(self.num_timesteps)


def decayed(start, floor, told):
    """A rate that falls linearly with the frames and then stays."""
    return lambda _progress: max(floor, start * (1 - told.n_frames / DECAY_FRAMES))


def ppo_cartpole(told):
    return dict(n_steps=32, batch_size=256, gae_lambda=0.8, gamma=0.98, n_epochs=20, ent_coef=0.0,
                learning_rate=decayed(1e-3, 1e-4, told), clip_range=decayed(0.2, 0.02, told))


def ppo_lunar_lander(_told):
    return dict(n_steps=1024, batch_size=64, gae_lambda=0.98, gamma=0.999, n_epochs=4, ent_coef=0.01)


# How many environments, for how many frames at most, and PPO's settings.
ZOO = {"CartPole-v1": (8, 10**9, ppo_cartpole), "LunarLander-v3": (16, 10**6, ppo_lunar_lander)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--algorithm", choices=["ppo", "a2c"], required=True)
    arguments, told = training.parse(parser)
    torch.set_num_threads(1)
    n_envs, n_frames, ppo_settings = ZOO[arguments.env]
    environments = make_vec_env(arguments.env, n_envs=n_envs, seed=arguments.seed)
    algorithm, settings = (PPO, ppo_settings(told)) if arguments.algorithm == "ppo" else (A2C, {})
    model = algorithm("MlpPolicy", environments, seed=arguments.seed, device="cpu", **settings)
    model.learn(total_timesteps=n_frames, callback=Watch(told))


if __name__ == "__main__":
    main()
