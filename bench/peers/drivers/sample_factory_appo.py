"""Sample Factory's APPO with V-trace: four worker processes of 20 environments, one that infers, one that learns.

Frames are those its learner reports; the score is its own mean over the last 100 episodes.
"""

import os
import tempfile

import gymnasium
from sample_factory.algo.learning.learner import Learner
from sample_factory.algo.runners.runner import AlgoObserver
from sample_factory.cfg.arguments import parse_full_cfg, parse_sf_args
from sample_factory.envs.env_utils import register_env
from sample_factory.train import make_runner

import training

SETTINGS = {
    "algo": "APPO", "env": "CartPole-v1", "experiment": "peer", "device": "cpu", "use_rnn": False,
    "serial_mode": False, "async_rl": True, "num_workers": 4, "num_envs_per_worker": 20,
    "policy_workers_per_policy": 1, "with_vtrace": True, "normalize_returns": False, "rollout": 32, "recurrence": 32,
    "batch_size": 512, "num_epochs": 1, "learning_rate": 1e-3, "reward_scale": 0.1, "stats_avg": 100,
    "train_for_env_steps": 10**10, "save_every_sec": 10**5, "experiment_summaries_interval": 10,
    "log_to_file": False, "with_wandb": False,
}


def mend_summaries():
    """2.1.1 with V-trace dies at its first summary: it reads advantages, which V-trace does not make there."""
    record = Learner._record_summaries

    def mended(self, variables):
        if "advantages" not in variables.mb:
            variables.mb["advantages"] = variables.mb["values"]
        return record(self, variables)

    Learner._record_summaries = mended


mend_summaries()  # Here, so that the processes it spawns, which import this file, are mended too.


def make_environment(name, cfg=None, env_config=None, render_mode=None):
    return gymnasium.make(name)


class Watch(AlgoObserver):
    """Tells of each step of the learner, and ends training."""

    def __init__(self, told):
        self.told = told

    def on_training_step(self, runner, training_iteration_since_resume):
        self.told.frames(sum(runner.env_steps.values()))
        scores = runner.policy_avg_stats.get("reward")
        if scores and len(scores[0]) >= training.WINDOW_EPISODES:
            self.told.score(sum(map(float, scores[0])) / len(scores[0]))
        if self.told.is_over():
            runner.cfg.train_for_env_steps = 0


def main():
    arguments, told = training.parse()
    register_env("CartPole-v1", make_environment)
    folder = tempfile.mkdtemp(dir=os.environ.get("TMPDIR"))
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    flags += [f"--seed={arguments.seed}", f"--train_dir={folder}"]
    parser, _ = parse_sf_args(argv=flags)
    _, runner = make_runner(parse_full_cfg(parser, flags))
    runner.register_observer(Watch(told))
    runner.init()
    runner.run()


if __name__ == "__main__":
    main()
