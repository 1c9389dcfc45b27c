"""Record runs of MinAtar's five games from given action lists, as JSON lines like those of make_minatar_golden.py.

Usage: python make_minatar_rare.py FILE.jsonl > AGAIN.jsonl
Needs: pip install minatar==1.0.15 gymnasium==1.4.0 numpy

FILE holds a JSON object a line with env, seed and step; of the entries of `step` only the actions are used. A recording
is such a file: MinAtar-*-rare.jsonl comes out as it went in. Its action lists were found by a search that looks ahead
in a model of the games' rules, for what the policies of make_minatar_golden.py seldom or never reach (policy is
"rare"). Fields as there, but `full` holds every 50th observation and those around each end.
"""
import json
import sys
import zlib

import gymnasium as gym
import minatar.gym
import numpy as np

NAMES = ["n", "l", "u", "r", "d", "f"]


def packed(obs):
    return np.packbits(np.moveaxis(np.asarray(obs, dtype=bool), -1, 0).reshape(-1)).tobytes()


minatar.gym.register_envs()
for line in open(sys.argv[1]):
    given = json.loads(line)
    env = gym.make(given["env"], disable_env_checker=True).unwrapped
    obs = env.reset(seed=given["seed"])[0]
    row = dict(env=given["env"], seed=given["seed"], policy="rare", actions=[NAMES[i] for i in env.action_set],
               shape=[obs.shape[2], 10, 10], first=packed(obs).hex(), step=[], full={})
    for t, action in enumerate(e[0] for e in given["step"] if e[0] != "reset"):
        obs, reward, terminated, truncated, _ = env.step(action)
        assert not truncated
        bits = packed(obs)
        row["step"].append([action, float(reward), bool(terminated), f"{zlib.crc32(bits):08x}"])
        if terminated or t % 50 == 0:
            row["full"][len(row["step"]) - 1] = bits.hex()
        if terminated:
            bits = packed(env.reset()[0])
            row["step"].append(["reset", f"{zlib.crc32(bits):08x}"])
            row["full"][len(row["step"]) - 1] = bits.hex()
    print(json.dumps(row, separators=(",", ":")))
