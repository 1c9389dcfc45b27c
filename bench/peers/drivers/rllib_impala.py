"""RLlib's IMPALA: four runner processes of 16 environments, one learner process.

With the settings of its own tuned example for CartPole. Frames are those the learner says it trained on;
the score is its own mean return, smoothed over 100 episodes.
"""

import logging
import os
import warnings

os.environ["RAY_worker_niceness"] = "0"  # Its workers are niced by 15 otherwise, in RLlib's disfavour.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # A benchmark sends nothing anywhere.
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
warnings.filterwarnings("ignore")

import ray  # noqa: E402  (its settings have to be there first)
from ray.rllib.algorithms.impala import IMPALAConfig  # noqa: E402
from ray.rllib.connectors.env_to_module.mean_std_filter import MeanStdFilter  # noqa: E402
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig  # noqa: E402

import training  # noqa: E402

N_RUNNERS = 4
N_ENVS = 16  # of a runner
# What Ray is told that there is, so that runners and learner all find a place on a small machine.
N_CPUS = 16
OBJECT_STORE_BYTES = 1 << 30
ITERATION_S = 1.0


def settings(seed):
    config = IMPALAConfig().environment("CartPole-v1")
    config = config.env_runners(
        num_env_runners=N_RUNNERS, num_envs_per_env_runner=N_ENVS,
        env_to_module_connector=lambda env=None, spaces=None, device=None: MeanStdFilter())
    config = config.learners(num_learners=1, num_gpus_per_learner=0)
    config = config.training(train_batch_size_per_learner=500, grad_clip=40.0, grad_clip_by="global_norm", lr=5e-4,
                             vf_loss_coeff=0.05, entropy_coeff=0.0)
    config = config.rl_module(model_config=DefaultModelConfig(vf_share_layers=True))
    return config.reporting(min_time_s_per_iteration=ITERATION_S).debugging(seed=seed)


def tell(told, result):
    runners = result.get("env_runners", {})
    learner = result.get("learners", {}).get("__all_modules__", {})
    told.frames(learner.get("num_env_steps_trained_lifetime", told.n_frames))
    score = runners.get("episode_return_mean")
    if runners.get("num_episodes_lifetime", 0) >= training.WINDOW_EPISODES and score is not None and score == score:
        told.score(score)


def main():
    arguments, told = training.parse()
    ray.init(num_cpus=N_CPUS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
             object_store_memory=OBJECT_STORE_BYTES, _temp_dir=os.environ.get("TMPDIR"))
    algorithm = settings(arguments.seed).build_algo()
    while not told.is_over():
        tell(told, algorithm.train())
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
