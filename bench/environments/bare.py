"""Steps environments of Gymnasium in Python's own loop, with nobody on the other side: what a worker could at most.

    python bare.py SOURCE N SECONDS

SOURCE is gym:ID or vec:ID as in `impala train --env`. Prints environment steps a second, steps that only reset
included, as the engine counts them. Called by `make bench-environments`.
"""

import sys
import time

import gymnasium as gym
import numpy as np

CHUNK = 100  # Vector steps between two looks at the clock.


def single(id, n):
    """A function that steps n environments one after the other, each reset on the step after its end."""
    envs = [gym.make(id) for _ in range(n)]
    ended = [False] * n
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
    actions = np.random.default_rng(0).integers(0, envs[0].action_space.n, (CHUNK, n)).tolist()

    def chunk():
        for row in actions:
            for e, action in enumerate(row):
                if ended[e]:
                    envs[e].reset()
                    ended[e] = False
                else:
                    _, _, terminated, truncated, _ = envs[e].step(action)
                    ended[e] = terminated or truncated
    return chunk


def vector(id, n):
    if id.startswith("ALE/"):
        import ale_py
        gym.register_envs(ale_py)
    arguments = {"num_threads": 1, "reward_clipping": False, "stack_num": 1} if id.startswith("ALE/") else {}
    envs = gym.make_vec(id, n, vectorization_mode="vector_entry_point", **arguments)
    envs.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, envs.single_action_space.n, (CHUNK, n))

    def chunk():
        for row in actions:
            envs.step(row)
    return chunk


def main():
    source, n, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    kind, _, id = source.partition(":")
    chunk = (vector if kind == "vec" else single)(id, n)
    chunk()
    start, n_steps = time.monotonic(), 0
    while n_steps == 0 or time.monotonic() - start < seconds:
        chunk()
        n_steps += CHUNK * n
    print(n_steps / (time.monotonic() - start))


if __name__ == "__main__":
    main()
