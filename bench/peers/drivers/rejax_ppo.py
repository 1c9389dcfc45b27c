"""rejax's PPO on gymnax: acting, environments and learning are one program that XLA compiles; one process.

Several of its iterations run in one call. The score is the mean, over the environments, of each one's
last finished training episode; there are at least 100 environments.
"""

import argparse
import os

os.environ["JAX_PLATFORMS"] = "cpu"

import gymnax  # noqa: E402  (the platform has to be chosen first)
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from gymnax.wrappers.purerl import LogWrapper  # noqa: E402
from rejax import PPO  # noqa: E402

import training  # noqa: E402

N_ITERATIONS = 4  # in one call


class Log(LogWrapper):
    """rejax copies the environment deeply, which LogWrapper's __getattr__ cannot bear."""

    def __deepcopy__(self, memo):
        return self


def make(arguments):
    environment, parameters = gymnax.make("CartPole-v1")
    agent = dict(activation="tanh", hidden_layer_sizes=(64, 64))
    algorithm = PPO.create(
        env=environment, env_params=parameters, num_envs=arguments.envs, num_steps=32, num_epochs=arguments.epochs,
        num_minibatches=4, learning_rate=2.5e-3, gamma=0.99, gae_lambda=0.95, ent_coef=0.0, max_grad_norm=0.5,
        agent_kwargs=agent, skip_initial_evaluation=True)
    return algorithm.replace(env=Log(environment))


def compiled(algorithm, state):
    """The call that trains, and a state that fits it: a first step turns some integers into floats."""

    def several(state):
        state = jax.lax.fori_loop(0, N_ITERATIONS, lambda _, state: algorithm.train_iteration(state), state)
        return state, state.env_state.returned_episode_returns.mean(), state.global_step

    like = jax.eval_shape(several, state)[0]
    state = jax.tree.map(lambda value, shape: jnp.asarray(value, shape.dtype), state, like)
    return jax.jit(several, donate_argnums=0).lower(state).compile(), state


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--envs", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    arguments, told = training.parse(parser)
    algorithm = make(arguments)
    train, state = compiled(algorithm, jax.jit(algorithm.init_state)(jax.random.PRNGKey(arguments.seed)))
    while not told.is_over():
        state, score, n_frames = train(state)
        told.frames(n_frames)
        told.score(score)


if __name__ == "__main__":
    main()
