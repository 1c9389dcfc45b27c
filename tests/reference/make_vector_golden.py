"""Record the ends and resets of a Gymnasium vector as JSON lines, to hold the native vector against.

Usage: python make_vector_golden.py > CartPole-v1.vector.jsonl
Needs: pip install gymnasium==1.4.0

The first line holds the settings and the first observations. Every further line is one row (step t of
environment e) on which an episode ended or a new one began: kind, reward, the observation after the
step (float32 written so that it reads back exactly), and for ends the episode's length. Even
environments act at random, odd ones balance; float32 arithmetic throughout, so that others can repeat it.
"""
import json

import gymnasium as gym
import numpy as np

ENV_ID, N_ENVS, SEED, N_STEPS = "CartPole-v1", 4, 7, 1100


def act(e, row, lcg):
    if e % 2 == 0:
        return lcg >> 31
    return int(row[2] + 0.5 * row[3] + 0.05 * row[0] + 0.1 * row[1] > 0)


def numbers(row):
    return [float(x) for x in row]


def main():
    mode = gym.vector.AutoresetMode.NEXT_STEP
    envs = gym.make_vec(ENV_ID, N_ENVS, "sync", vector_kwargs={"autoreset_mode": mode})
    obs, _ = envs.reset(seed=SEED)
    settings = dict(env=ENV_ID, n_envs=N_ENVS, seed=SEED, n_steps=N_STEPS, obs=[numbers(row) for row in obs])
    print(json.dumps(settings, separators=(",", ":")))
    lcg, ended, length = SEED, [False] * N_ENVS, [0] * N_ENVS
    for t in range(N_STEPS):
        actions = []
        for e in range(N_ENVS):
            lcg = (lcg * 1664525 + 1013904223) % 2**32
            actions.append(act(e, obs[e], lcg))
        obs, rewards, terminated, truncated, _ = envs.step(np.array(actions))
        for e in range(N_ENVS):
            kind = "reset" if ended[e] else "terminated" if terminated[e] else "truncated" if truncated[e] else None
            length[e] = 0 if ended[e] else length[e] + 1
            ended[e] = bool(terminated[e] or truncated[e])
            if kind:
                row = dict(t=t, e=e, kind=kind, reward=float(rewards[e]), obs=numbers(obs[e]), length=length[e])
                print(json.dumps(row, separators=(",", ":")))


main()
