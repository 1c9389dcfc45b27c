"""Starting a run."""

import json
import os
import time
from pathlib import Path

from . import command
from .run import Run


def train(env="CartPole-v1", *, run_dir=None, show=False, **settings):
    """Trains an agent and returns its Run, when it is over.

    env       what `impala train --env` takes: "CartPole-v1", "gym:LunarLander-v3", "my_module:make_env", ...
    run_dir   a folder for the run's files, new or empty; by default a new one below results/
    show      whether progress is shown, on stderr
    settings  any of `impala config`, by name. Tables are dictionaries: loss={"batch_slots": 2}. Dotted names
              do as well: **{"loss.batch_slots": 2}

    Raises ImpalaError where a setting is wrong or the run fails.
    """
    folder = Path(run_dir) if run_dir is not None else _new_folder()
    arguments = ["train", "--env", env, "--run-dir", folder]
    for name, value in _dotted(settings):
        arguments += ["--set", f"{name}={json.dumps(value)}"]
    command.run(arguments, show=show)
    return Run(folder)


def _new_folder():
    began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return Path("results") / f"python-{began}-{os.getpid()}-{time.monotonic_ns() % 1_000_000:06}"


def _dotted(settings, prefix=""):
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
