"""Sample Factory's APPO on environments in processes of their own.

    python appo.py ID WORKERS SECONDS

Prints frames learned from a second, as steps of the agent. atari_... has the settings of Sample Factory's Atari example,
any other environment those of `make bench-peers`. Called by `make bench-environments`.
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from ale_py.registration import register_v0_v4_envs
from sample_factory.algo.runners.runner import AlgoObserver
from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
from sample_factory.envs.env_utils import register_env
from sample_factory.train import make_runner
from sf_examples.atari.atari_params import atari_override_defaults
from sf_examples.atari.train_atari import register_atari_components

sys.path.append(str(Path(__file__).resolve().parents[1] / "peers" / "drivers"))
import sample_factory_appo as peer  # noqa: E402  (mends what fails with V-trace, also in the processes that are spawned)

register_v0_v4_envs()  # ale_py itself does so for newer versions of Gymnasium alone.

WARM_UP_S = 5.0  # until queues are full
PATIENCE_S = 180.0  # beyond what is measured: where a process of its own fails, it waits for ever
ALWAYS = {"experiment": "bench", "device": "cpu", "train_for_env_steps": 10**10, "save_every_sec": 10**5,
          "summaries_use_frameskip": False, "log_to_file": False, "with_wandb": False}


class Watch(AlgoObserver):
    """Counts what was learned from after the warm-up, and ends training."""

    def __init__(self, seconds):
        self.seconds, self.begin, self.first, self.speed = seconds, None, None, 0.0

    def on_training_step(self, runner, training_iteration_since_resume):
        now, n_frames = time.monotonic(), sum(runner.env_steps.values())
        self.begin = self.begin or now
        if self.first is None and now - self.begin >= WARM_UP_S:
            self.first = now, n_frames
        elif self.first is not None and now - self.first[0] >= self.seconds and n_frames > self.first[1]:
            self.speed = (n_frames - self.first[1]) / (now - self.first[0])
            runner.cfg.train_for_env_steps = 0


def parsed(id, flags):
    parser, _ = parse_sf_args(argv=flags)
    if is_atari(id):
        atari_override_defaults(id, parser)
    return parse_full_cfg(parser, flags)


def is_atari(id):
    return id.startswith("atari_")


def give_up():
    for child in psutil.Process().children(recursive=True):
        child.kill()
    print("it did not come to an end", file=sys.stderr, flush=True)
    os._exit(1)


def main():
    id, workers, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    watchdog = threading.Timer(PATIENCE_S + seconds, give_up)
    watchdog.daemon = True
    watchdog.start()
    register_atari_components()
    if not is_atari(id):
        register_env(id, peer.make_environment)
    with tempfile.TemporaryDirectory() as folder:
        settings = {**({} if is_atari(id) else peer.SETTINGS), **ALWAYS, "env": id, "num_workers": workers,
                    "train_dir": folder}
        _, runner = make_runner(parsed(id, [f"--{name}={value}" for name, value in settings.items()]))
        watch = Watch(seconds)
        runner.register_observer(watch)
        runner.init()
        runner.run()
    print(watch.speed)


if __name__ == "__main__":
    main()
