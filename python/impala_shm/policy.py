"""A trained policy in NumPy: what the engine's own arithmetic does, read from a checkpoint.

Owns the way from an observation to an action. docs/checkpoints.md says what a checkpoint holds.
"""

import json
import re
import tomllib

import numpy as np
from safetensors import safe_open

# Beyond this a bound of an action is none, as in src/space/raw.rs.
WIDEST_BOUND = 1e6

# Strides of the convolutions of the torsos that are a chain of layers, as src/network/torso.rs draws them.
STRIDES = {"mlp": [], "minatar": [1], "nature": [4, 2, 1], "impala_shallow": [4, 2]}


class Policy:
    """The policy of a checkpoint.

    Its network is one that is a chain of layers: mlp, minatar, nature, impala-shallow.
    """

    def __init__(self, path):
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if "spec" not in metadata or "network" not in metadata:
                raise ValueError(f"{path} is no checkpoint of this version: its metadata has no spec")
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        network = json.loads(metadata["network"])
        self._obs = _Observations(json.loads(metadata["spec"])["obs"], network, tensors)
        self._torso = _Torso(network, tensors)
        squash = tomllib.loads(metadata["settings"]).get("squash_actions", False)
        self._head = _head(json.loads(metadata["spec"])["actions"], tensors, squash)
        self.env = json.loads(metadata["spec"])["id"]

    def predict(self, obs, *, sampled=False, rng=None):
        """The action for an observation, or actions for several along a first axis.

        obs      numbers [D], or a picture [C, H, W] or [H, W, C]; spaces of other kinds as the engine flattens
                 them (`impala env check` prints how). With frame_stack, the last pictures one behind the other
        sampled  draw from the distribution, with `rng` (a numpy.random.Generator), instead of its most likely one

        An index for Discrete actions, K indices for MultiDiscrete ones, K numbers within the bounds for Box.
        """
        frames, is_one = self._obs.frames(obs)
        rng = (rng or np.random.default_rng()) if sampled else None
        actions = self._head(self._torso(frames), rng)
        return actions[0] if is_one else actions


class _Observations:
    """What a network sees of observations."""

    def __init__(self, space, network, tensors):
        (self.kind, self.space), = space.items()
        self.shape = (self.space["len"],) if self.kind == "vector" else tuple(network["pixels"]["shape"])
        self.statistics = None
        if network.get("normalizes", False):
            self.statistics = tensors["observations.mean"], tensors["observations.variance"]

    def frames(self, obs):
        """Several frames as the network takes them; and whether it was one."""
        obs = np.asarray(obs, np.float32)
        is_one = obs.ndim == len(self.shape)
        frames = obs[None] if is_one else obs
        if self.kind == "image" and frames.shape[1:] != self.shape:
            frames = np.moveaxis(frames, -1, 1) if frames.ndim == 4 else frames
        if frames.shape[1:] != self.shape:
            raise ValueError(f"observations are {list(obs.shape)}; one is {list(self.shape)}, several [N, ...]")
        if self.kind == "image":
            return frames / np.float32(self.space["high"]), is_one
        if self.space["bounds"] is not None:
            low, high = np.array(self.space["bounds"], np.float32).T
            frames = (frames - (low + high) / 2) * (2 / (high - low))
        return self.normalized(frames), is_one

    def normalized(self, frames):
        """By the statistics that stand among the parameters, as src/network/normalized.rs does."""
        if self.statistics is None:
            return frames
        mean, variance = self.statistics
        return ((frames - mean) / np.sqrt(variance + np.float32(1e-8))).clip(-10, 10)


class _Torso:
    """From frames to features, [N, F]."""

    def __init__(self, network, tensors):
        torso = network["torso"]
        name = torso if isinstance(torso, str) else next(iter(torso))
        others = sorted(set(network) - {"n_inputs", "pixels", "normalizes", "torso", "n_action_params", "n_free", "n_values", "scales_values"})
        if network["n_values"] > 1:
            others.append("policy of several tasks")
        if name not in STRIDES or others:
            what = name if name not in STRIDES else ", ".join(others)
            raise NotImplementedError(f"this package has no {what}; `impala eval` plays every policy")
        self.activation = np.tanh if name == "mlp" else lambda x: np.maximum(x, 0)
        matches = [re.fullmatch(r"torso\.(\d+)\.weight", key) for key in tensors]
        layers = sorted(int(match[1]) for match in matches if match)
        self.layers = [(tensors[f"torso.{k}.weight"], tensors[f"torso.{k}.bias"]) for k in layers]
        self.strides = STRIDES[name]
        # A dense layer alone takes pixels as they lie; behind convolutions channels are innermost.
        self.has_convolutions = bool(self.strides)

    def __call__(self, x):
        strides = iter(self.strides)
        for weight, bias in self.layers:
            if weight.ndim == 4:
                x = self.activation(_convolution(x, weight, next(strides)) + bias[:, None, None])
                continue
            if x.ndim == 4:
                x = (x.transpose(0, 2, 3, 1) if self.has_convolutions else x).reshape(len(x), -1)
            x = self.activation(x @ weight.T + bias)
        return x


def _convolution(x, weight, stride):
    """[N, C, H, W] by [O, C, K, K], without padding."""
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows[:, :, ::stride, ::stride], weight, optimize=True)


def _head(space, tensors, squash):
    """From features to actions; `rng` draws them, None takes the most likely."""
    weight, bias = tensors["policy.weight"], tensors["policy.bias"]
    (kind, size), = space.items()
    if kind == "box":
        to_env = _to_bounds(size, squash)
        deviation = np.exp(tensors["log_std"])

        def act(features, rng):
            drawn = features @ weight.T + bias
            if rng is not None:
                drawn = drawn + deviation * rng.standard_normal(drawn.shape, np.float32)
            return to_env(drawn)

        return act
    choices = [size] if kind == "discrete" else size

    def act(features, rng):
        logits = features @ weight.T + bias
        if rng is not None:  # The largest of logits with Gumbel noise is a draw from their softmax.
            logits = logits + rng.gumbel(size=logits.shape)
        each = np.split(logits, np.cumsum(choices)[:-1], axis=1)
        indices = np.stack([part.argmax(axis=1) for part in each], axis=1)
        return indices[:, 0] if kind == "discrete" else indices

    return act


def _to_bounds(space, squash):
    """From numbers as they are drawn to those that an environment takes, as src/space/raw.rs says."""
    low, high = np.array(space["low"]), np.array(space["high"])
    is_bounded = (np.abs(low) <= WIDEST_BOUND) & (np.abs(high) <= WIDEST_BOUND)
    half = np.where(is_bounded, (high - low) / 2, 1)
    centre = np.where(is_bounded, low + half, 0)

    def to_env(drawn):
        share = np.where(is_bounded, np.tanh(drawn), drawn) if squash else drawn
        return np.clip(centre + half * share, low, high).astype(np.float32)

    return to_env
