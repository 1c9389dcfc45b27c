"""IMPALA in shared memory, from Python.

    import impala_shm

    run = impala_shm.train("gym:LunarLander-v3", frames=500_000, loss={"batch_slots": 2})
    print(run.summary["score_last100"])
    action = run.policy().predict(observation)

Training is the command `impala train`, which this package brings. Settings, files and figures are those of
the command; `impala config` prints every setting.
"""

from .command import ImpalaError
from .policy import Policy
from .run import Run
from .training import train

__all__ = ["ImpalaError", "Policy", "Run", "train"]
