"""Who is measured: the peers, each with its environment, driver and what is counted, and our own binary.

To add a peer: a driver in drivers/, its packages in a file of locks/, an entry in PEERS.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import environments
from drivers.training import DEFAULT_ENV
from environments import GYMNASIUM, JAX, SAMPLE_FACTORY, Environment, Unavailable
from talking import say
from trainer import DrivenTrainer, EngineTrainer

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = Path(__file__).resolve().parent / "drivers"
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute() / "release" / "impala"
# So long may importing a peer's packages take, from a cold and slow disk.
IMPORT_S = 600


@dataclass(frozen=True)
class Peer:
    """A trainer of others, run by a driver in an environment of its own."""

    name: str
    title: str
    environment: Environment
    driver: str
    arguments: tuple
    packages: tuple  # that its versions are told of
    settings: str
    env: str = DEFAULT_ENV
    is_ours: bool = False

    def prepare(self):
        """Makes the environment and imports all of it once, so that no run measures a cold disk."""
        self.environment.prepare()
        say(f"{self.name}: importing its packages")
        command = [self.environment.python, "-c", f"import {self.driver}"]
        try:
            done = subprocess.run(command, cwd=DRIVERS, env=environ(DRIVERS), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=IMPORT_S)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"importing its packages took longer than {IMPORT_S} s")
        if done.returncode != 0:
            reason = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
            raise Unavailable(f"its packages cannot be imported: {reason}")

    def version(self):
        return ", ".join(f"{package} {self.environment.version(package)}" for package in self.packages)

    def start(self, seed, folder):
        command = [str(self.environment.python), str(DRIVERS / f"{self.driver}.py"), *self.arguments,
                   f"--env={self.env}", f"--seed={seed}"]
        return DrivenTrainer(command, folder, environ(folder))


@dataclass(frozen=True)
class Engine:
    """Our own binary."""

    name: str
    title: str
    settings: str
    # More than any machine learns from within the time; a row of metrics.csv every half per cent of it.
    frames: int = 200_000_000
    env: str = DEFAULT_ENV
    arguments: tuple = ()
    environment: Optional[Environment] = None  # of its environments, where these are Python's
    is_ours: bool = True

    def prepare(self):
        if self.environment is not None:
            self.environment.prepare()
        if not BINARY.exists():
            raise Unavailable(f"there is no {BINARY}: make build")

    def version(self):
        done = subprocess.run([BINARY, "--version"], stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()

    def start(self, seed, folder):
        command = [str(BINARY), "train", f"--seed={seed}", f"--frames={self.frames}", *self.arguments]
        if self.environment is not None:
            command.append(f"--python={self.environment.python}")
        return EngineTrainer(command, folder, environ(folder))


def environ(scratch):
    """The settings that trainers start with: ours, less what would bring other packages or a GPU in."""
    unwanted = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    # Caches of their libraries then stay within the checkout, and everything else in the run's own folder.
    return {**kept, "HOME": str(environments.HOME), "TMPDIR": str(scratch), "CUDA_VISIBLE_DEVICES": ""}


PEERS = (
    Peer("sb3-ppo", "Stable-Baselines3 PPO", GYMNASIUM, "sb3", ("--algorithm=ppo",),
         ("stable-baselines3", "torch", "gymnasium"),
         "one process and thread, 8 environments, networks 64-64, the RL Zoo's settings for CartPole. "
         "Frames: of rollouts learned from"),
    Peer("sb3-a2c", "Stable-Baselines3 A2C", GYMNASIUM, "sb3", ("--algorithm=a2c",),
         ("stable-baselines3", "torch", "gymnasium"),
         "one process and thread, 8 environments, networks 64-64, its defaults. "
         "Frames: of rollouts learned from"),
    Peer("sample-factory-appo", "Sample Factory APPO, V-trace", SAMPLE_FACTORY, "sample_factory_appo", (),
         ("sample-factory", "torch", "gymnasium"),
         "asynchronous, 4 workers × 20 environments, its network 512-512, rollouts of 32, batches of 512, learning "
         "rate 1e-3. Frames: as its learner reports them; score: its own mean of the last 100 episodes"),
    Peer("rllib-impala", "RLlib IMPALA", GYMNASIUM, "rllib_impala", (),
         ("ray", "torch", "gymnasium"),
         "4 runners × 16 environments, 1 learner process, its network 256-256, its tuned example for CartPole. "
         "Frames: those its learner trained on; score: its own mean return over 100 episodes"),
    Peer("torchrl-impala", "TorchRL IMPALA", GYMNASIUM, "torchrl_impala", (),
         ("torchrl", "torch", "gymnasium"),
         "4 collectors, networks 64-64, batches of 640, its parts put together as in its IMPALA example. "
         "Frames: of batches learned from"),
    Peer("rejax-ppo", "rejax PPO", JAX, "rejax_ppo", ("--envs=128", "--epochs=4"),
         ("rejax", "gymnax", "jax"),
         "one process, all of it compiled by XLA, 128 environments, networks 64-64, 4 epochs. "
         "Frames: of iterations done; score: mean of each environment's last episode"),
    Peer("rejax-ppo-wide", "rejax PPO, for throughput", JAX, "rejax_ppo", ("--envs=1024", "--epochs=1"),
         ("rejax", "gymnax", "jax"),
         "the same with 1,024 environments and 1 epoch: more frames a second, less learned from each"),
    Engine("impala-shm", "impala-shm",
           "its defaults: 4 actors × 32 environments, 1 learner process, network 64-64. "
           "Frames: learned from, rows that only reset an environment among them; solved: as summary.json says"),
    Peer("sb3-ppo", "Stable-Baselines3 PPO", GYMNASIUM, "sb3", ("--algorithm=ppo",),
         ("stable-baselines3", "torch", "gymnasium", "box2d"),
         "one process and thread, 16 environments, networks 64-64, the RL Zoo's settings for LunarLander, 1 M frames. "
         "Frames: of rollouts learned from", env="LunarLander-v3"),
    # Nothing is evaluated, as nothing is of the others.
    Engine("impala-shm", "impala-shm", "4 actors × 8 environments in Python, 1 learner process, network 64-64, 1 M "
           "frames, all else as `--preset few-frames` has it. Frames: learned from; solved: as summary.json says",
           frames=1_000_000, env="LunarLander-v3", environment=GYMNASIUM,
           arguments=("--env=gym:LunarLander-v3", "--preset=few-frames", "--set=report.eval_episodes=0")),
)
