"""TorchRL's parts put together as its own IMPALA example is, at the size of CartPole.

An asynchronous collector with four processes, A2C's loss over V-trace's advantages, RMSProp. Frames are
those of batches that have been learned from; scores are the collected episodes'.
"""

import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl import collectors
from torchrl.envs import DoubleToFloat, GymEnv, RewardSum, StepCounter, TransformedEnv
from torchrl.modules import OneHotCategorical, ProbabilisticActor, ValueOperator
from torchrl.objectives import A2CLoss
from torchrl.objectives.value import VTrace

import training

N_WORKERS = 4
BATCH_FRAMES = 640  # that a worker hands over at a time
N_HIDDEN = 64


def make_environment():
    environment = TransformedEnv(GymEnv("CartPole-v1", device="cpu"))
    for transform in (DoubleToFloat(), RewardSum(), StepCounter()):
        environment.append_transform(transform)
    return environment


def network(n_outputs):
    return nn.Sequential(nn.Linear(4, N_HIDDEN), nn.Tanh(), nn.Linear(N_HIDDEN, N_HIDDEN), nn.Tanh(),
                         nn.Linear(N_HIDDEN, n_outputs))


class Learner:
    """Actor, critic and one step of learning for both."""

    def __init__(self):
        logits = TensorDictModule(network(2), in_keys=["observation"], out_keys=["logits"])
        self.actor = ProbabilisticActor(logits, in_keys=["logits"], spec=make_environment().action_spec,
                                        distribution_class=OneHotCategorical, return_log_prob=True)
        critic = ValueOperator(network(1), in_keys=["observation"])
        self.vtrace = VTrace(gamma=0.99, value_network=critic, actor_network=self.actor, average_adv=False)
        self.loss = A2CLoss(actor_network=self.actor, critic_network=critic, loss_critic_type="l2",
                            entropy_coeff=0.005, critic_coeff=0.5)
        self.optimizer = torch.optim.RMSprop(self.loss.parameters(), lr=1e-3, eps=1e-5, alpha=0.99)

    def learn(self, batch):
        with torch.no_grad():
            batch = self.vtrace(batch)
        losses = self.loss(batch)
        self.optimizer.zero_grad()
        sum(value for name, value in losses.items() if name.startswith("loss")).backward()
        nn.utils.clip_grad_norm_(self.loss.parameters(), 40.0)
        self.optimizer.step()


def main():
    arguments, told = training.parse()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    learner = Learner()
    collector = collectors.MultiAsyncCollector(
        [make_environment] * N_WORKERS, learner.actor, frames_per_batch=BATCH_FRAMES, total_frames=-1, device="cpu",
        storing_device="cpu", max_frames_per_traj=-1, update_at_each_batch=True)
    for batch in collector:
        learner.learn(batch)
        told.frames(told.n_frames + batch.numel())
        ended = batch["next", "done"].squeeze(-1)
        for score in batch["next", "episode_reward"].squeeze(-1)[ended].tolist():
            told.episode(score)
        if told.is_over():
            break
    collector.shutdown()


if __name__ == "__main__":
    main()
