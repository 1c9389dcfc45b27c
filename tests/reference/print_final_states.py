"""Print digests of the float64 states in which CartPole-v1 episodes end, for src/env/classic/cartpole.rs.

Usage: python print_final_states.py
Needs: pip install gymnasium==1.4.0

Observations are float32 and hide a difference in the last bits of the state for long. A long episode
carries it to its final state; the fast falls of many short ones reach the terms that hardly count near
the balance. First the long ones: seed, lean, steps, digest. The policy pushes to where the pole falls
from a wanted lean: none lives to the time limit, one to a side runs off the track on that side. Then the
digest of all final states of episodes with nothing but action 1, seeds 0..999. A digest takes each
number's bits in turn: it is rotated left by one bit, then XORed with them.
"""
import gymnasium as gym


def play(seed, act):
    env = gym.make("CartPole-v1")
    obs, _ = env.reset(seed=seed)
    steps, over = 0, False
    while not over:
        obs, _, terminated, truncated, _ = env.step(act(obs))
        steps, over = steps + 1, terminated or truncated
    return steps, env.unwrapped.state.view("u8").tolist()


def digest(states):
    word = 0
    for state in states:
        for bits in state:
            word = ((word << 1 | word >> 63) & (2**64 - 1)) ^ bits
    return f"{word:#018x}"


def main():
    for seed, lean in (0, 0.0), (1, -0.05), (2, 0.05):
        steps, state = play(seed, lambda obs: int(obs[2] + 0.5 * obs[3] > lean))
        print(seed, lean, steps, digest([state]))
    print(digest(play(seed, lambda _obs: 1)[1] for seed in range(1000)))


main()
