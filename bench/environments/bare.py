"""Steps environments of Gymnasium with nobody on the other side, and prints environment steps a second.

    python bare.py LOOP SOURCE ARGUMENTS N SECONDS

LOOP is plain, Python's own loop over environments, or worker, the loop of the engine's worker, which also writes all
results where an actor would read them. SOURCE is gym:ID or vec:ID as in `impala train --env`, ARGUMENTS a JSON object
of what to make it with. Steps that only reset are counted, as the engine counts them. Called by `make
bench-environments`.
"""

import fcntl
import json
import os
import socket
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

CHUNK = 100  # Vector steps between two looks at the clock.
WORKER = Path(__file__).resolve().parents[2] / "src" / "env" / "outside"


def single(id, arguments, n):
    """A function that steps n environments one after the other, each reset on the step after its end."""
    envs = [gym.make(id, **arguments) for _ in range(n)]
    ended = [False] * n
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
    actions = chosen(envs[0].action_space, n).tolist()

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


def vector(id, arguments, n):
    if id.startswith("ALE/"):
        import ale_py
        gym.register_envs(ale_py)
        arguments = {"num_threads": 1, "reward_clipping": False, **arguments}
    envs = gym.make_vec(id, n, vectorization_mode="vector_entry_point", **arguments)
    envs.reset(seed=0)
    actions = chosen(envs.single_action_space, n)

    def chunk():
        for row in actions:
            envs.step(row)
    return chunk


def worker(source, arguments, n):
    """The same in the engine's worker, which gets its actions and leaves its results in memory that is nobody's."""
    worker = worker_module()
    envs = worker.make(source, arguments, [], n)
    spec = worker.describe(source, envs)
    envs.first(0)
    places = {"rewards": 0, "stats": 8 * n, "flags": 24 * n, "actions": 32 * n, "obs": 64 * n}
    size = places["obs"] + 4 * n * int(np.prod(envs.observation_space.shape))
    os.ftruncate(worker.MEMORY, size)
    memory = worker.Memory(spec, n, size, **places)
    actions = chosen(envs.action_space, n)[..., None]

    def chunk():
        for row in actions:
            memory.actions[:] = row
            envs.step(memory)
    return chunk


def worker_module():
    """The worker's code, which expects its socket and its memory at descriptors of their own."""
    sockets = [end.detach() for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
    memory = os.memfd_create("bare")
    # Copies above both numbers first, so that neither is written over by the other's.
    copies = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in (sockets[1], memory)]
    for number, copy in zip((3, 4), copies):
        os.dup2(copy, number)
    sys.path.insert(0, str(WORKER))
    sys.dont_write_bytecode = True
    import worker
    return worker


def chosen(space, n):
    return np.random.default_rng(0).integers(0, space.n, (CHUNK, n))


def main():
    loop, source, arguments, n, seconds = sys.argv[1:]
    arguments, n, seconds = json.loads(arguments), int(n), float(seconds)
    kind, _, id = source.partition(":")
    if loop == "worker":
        chunk = worker(source, arguments, n)
    else:
        chunk = (vector if kind == "vec" else single)(id, arguments, n)
    chunk()
    start, n_steps = time.monotonic(), 0
    while n_steps == 0 or time.monotonic() - start < seconds:
        chunk()
        n_steps += CHUNK * n
    print(n_steps / (time.monotonic() - start))


if __name__ == "__main__":
    main()
