"""Steps environments of Gymnasium for one actor of impala, which starts this and says what to do.

    python worker.py SOURCE ARGUMENTS [WRAPPER[=ARGUMENTS] ...]

SOURCE is gym:ID (environments one after the other), vec:ID (the id's own vector) or MODULE:CALLABLE (what
makes one). ARGUMENTS is a JSON object of keyword arguments. WRAPPER is MODULE:CLASS, the innermost first.

Descriptor 3 is a socket of messages, descriptor 4 the memory that numbers pass through;
docs/environment-protocol.md says what is said. What environments print goes to the actor's log.
"""

import faulthandler
import importlib
import json
import math
import mmap
import os
import signal
import socket
import sys
import traceback

SOCKET, MEMORY = 3, 4
PROTOCOL = "1"
MAX_MESSAGE_BYTES = 60_000  # below what a socket takes in one piece

# What a row of FLAGS says.
TERMINATED, TRUNCATED, EPISODE, RESET, GOES_ON = 1, 2, 4, 8, 16

# Bounds beyond this are none: environments write the largest float for "any number".
LARGEST_BOUND = 1e6
# More bounds than these do not fit into one message.
MAX_BOUNDS = 1000

# Environments that Gymnasium knows only once their package was imported.
REGISTERED_BY = {"ALE/": "ale_py", "MinAtar/": "minatar.gym", "MiniGrid-": "minigrid", "BabyAI-": "minigrid"}

# What pip calls the packages of some modules.
PACKAGES = {"gymnasium": "gymnasium[classic-control]", "numpy": "numpy", "ale_py": "ale-py", "minatar": "minatar",
            "minigrid": "minigrid", "Box2D": "gymnasium[box2d]", "pygame": "gymnasium[classic-control]",
            "mujoco": "gymnasium[mujoco]", "cv2": "opencv-python-headless"}

actor = socket.socket(fileno=SOCKET)
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor to hear.
faulthandler.enable()  # A crash in C leaves Python's stack in the log.
sys.stdout.reconfigure(line_buffering=True)
sys.path[:] = [os.getcwd(), *(path for path in sys.path if path != "/")]  # This file seems to lie in "/",
del __file__  # and processes that an environment starts would look for it there.


class Unfit(Exception):
    """What the engine cannot train and what to do about it; no fault in anybody's code."""


def refuse(error, where=""):
    """Says what went wrong, and ends."""
    is_plain = isinstance(error, (Unfit, ModuleNotFoundError)) or (
        not is_running and type(error).__module__ == "gymnasium.error")
    text = f"{where}{type(error).__name__}: {error}"
    if isinstance(error, Unfit):
        text = f"{where}{error}"
    elif isinstance(error, ModuleNotFoundError):
        text = missing(error)
    if not is_plain:
        text += "\n" + traceback.format_exc()
    actor.send(b"!" + text.encode(errors="replace")[:MAX_MESSAGE_BYTES])
    sys.stdout.flush()
    os._exit(1)  # Threads of an environment might keep another end waiting.


def missing(error):
    name = (error.name or "").split(".")[0]
    if name in PACKAGES:
        return (f"{sys.executable} has no module {name}; install it with: {sys.executable} -m pip install "
                f"'{PACKAGES[name]}'")
    return f"{error}: {sys.executable} looks for it in {os.getcwd()} and where its packages are"


is_running = False
try:
    import gymnasium as gym
    import numpy as np
    from gymnasium import spaces

    if int(gym.__version__.split(".")[0]) < 1:
        raise Unfit(f"{sys.executable} has gymnasium {gym.__version__}, 1.0 or later is needed; install it with: "
                    f"{sys.executable} -m pip install 'gymnasium>=1.0'")
except BaseException as problem:
    refuse(problem)


def load(path):
    module, _, name = path.partition(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise Unfit(f"{found.__name__} has no {part}; name what is there as MODULE:NAME")
        found = getattr(found, part)
    return found


def register(id):
    """Imports the package that tells Gymnasium of this id, where that is known."""
    for start, package in REGISTERED_BY.items():
        if id.startswith(start):
            getattr(importlib.import_module(package), "register_envs", lambda: None)()


# Spaces: what the engine is told, and how values pass.


def observer(space):
    """What the engine is told of observations, and a function from one to its numbers in a row."""
    if isinstance(space, spaces.Box) and is_picture(space):
        return picture(space)
    shape, kinds = space.shape, "fiub"
    flat, is_row = None, len(shape or ()) == 1
    if not isinstance(space, spaces.Box):
        check_flat(space, "observations")
        flat, shape, is_row = space, spaces.flatten_space(space).shape, True
    elif space.dtype.kind not in kinds:
        raise Unfit(f"observations {space} are no numbers")

    def numbers(observation):
        row = np.asarray(observation if flat is None else spaces.flatten(flat, observation))
        if row.shape != shape:  # NumPy would spread a smaller one without a word.
            raise ValueError(f"an observation has shape {row.shape}, its space {shape}")
        if row.dtype.kind not in kinds:
            raise TypeError(f"an observation holds {row.dtype}, its space {space}")
        return row if is_row else row.ravel()

    return {"vector": {"len": math.prod(shape), "bounds": bounds(space)}}, numbers


def is_picture(space):
    return len(space.shape) in (2, 3, 4) and space.dtype in (np.uint8, np.bool_)


def picture(space):
    """Channels come first for the engine; several pictures behind one another are as many channels."""
    shape = space.shape
    is_channels_last = len(shape) == 4 or len(shape) == 3 and not is_channels_first(shape)
    *_, height, width = shape[:-1] if is_channels_last else shape

    def pixels(observation):
        row = np.asarray(observation)
        if row.shape != shape:
            raise ValueError(f"an observation has shape {row.shape}, its space {shape}")
        if row.dtype != space.dtype:
            raise TypeError(f"an observation holds {row.dtype}, its space {space.dtype}")
        return (np.moveaxis(row, -1, -3) if is_channels_last else row).reshape(-1)

    n_channels = math.prod(shape) // (height * width)
    high = 1 if space.dtype == np.bool_ else max(1, int(space.high.max()))
    return {"image": {"shape": [n_channels, height, width], "high": high}}, pixels


def is_channels_first(shape):
    """A square tells height and width; else there are fewer channels than pixels in a row."""
    first, second, third = shape
    return first != second and (second == third or first < third)


def bounds(space):
    """Bounds of each number, where all have some."""
    if not isinstance(space, spaces.Box) or math.prod(space.shape) > MAX_BOUNDS:
        return None
    low, high = (np.ravel(bound).astype(np.float32) for bound in (space.low, space.high))
    is_bounded = (np.abs(low) <= LARGEST_BOUND) & (np.abs(high) <= LARGEST_BOUND) & (low < high)
    return np.stack([low, high], axis=1).tolist() if is_bounded.all() else None


def check_flat(space, place):
    """Refuses, by name, what is no fixed number of numbers."""
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            check_flat(part, f"{place}[{name!r}]")
    elif isinstance(space, spaces.Tuple):
        for number, part in enumerate(space.spaces):
            check_flat(part, f"{place}[{number}]")
    elif not isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        raise Unfit(f"{place} are {type(space).__name__}, which is no fixed number of numbers; a wrapper must make "
                    "them a Box (--env-wrapper MODULE:CLASS, such as minigrid.wrappers:ImgObsWrapper)")


def chooser(space):
    """What the engine is told of actions, and a function from the numbers of one to the action."""
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return {"discrete": int(space.n)}, lambda row: row[0] + start
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        choices = np.ravel(getattr(space, "nvec", np.full(space.shape, 2)))
        start = getattr(space, "start", 0)
        return ({"multi_discrete": choices.tolist()},
                lambda row: (np.array(row).reshape(space.shape) + start).astype(space.dtype))
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        largest = float(np.finfo(np.float32).max)
        low, high = (np.clip(np.ravel(bound), -largest, largest).tolist() for bound in (space.low, space.high))
        return ({"box": {"low": low, "high": high}},
                lambda row: np.array(row, dtype=space.dtype).reshape(space.shape))
    raise Unfit(f"actions {space} are none of Discrete, MultiDiscrete, MultiBinary and a Box of reals; a wrapper must "
                "make them one (--env-wrapper MODULE:CLASS)")


def number(reward):
    return reward if isinstance(reward, (float, int)) else np.asarray(reward).item()


# Environments.


class Episodes(gym.Wrapper):
    """Adds up the environment's own episodes, whatever wrappers around this make of them."""

    def __init__(self, env):
        super().__init__(env)
        self.total, self.length, self.finished = 0.0, 0, None

    def finish(self):
        self.finished = self.total, self.length
        self.total, self.length = 0.0, 0

    def reset(self, **options):
        if self.length > 0:  # A wrapper has cut it.
            self.finish()
        return self.env.reset(**options)

    def step(self, action):
        result = self.env.step(action)
        self.total += number(result[1])
        self.length += 1
        if result[2] or result[3]:
            self.finish()
        return result


class List:
    """Environments one after the other, each reset on the step after its end."""

    def __init__(self, make, wrappers, n):
        self.at_work, self.envs, self.episodes = 0, [], []
        self.ended = [False] * n
        for self.at_work in range(n):
            env = make()
            if not isinstance(env, gym.Env):
                raise Unfit(f"a gymnasium.Env is needed, this is {type(env)}; for one of the older gym there is the "
                            "package shimmy")
            self.episodes.append(Episodes(env))
            self.envs.append(wrapped(self.episodes[-1], wrappers))
        self.at_work, env = None, self.envs[0]
        self.spec, self.observation_space, self.action_space = env.spec, env.observation_space, env.action_space

    def first(self, seed):
        """Observations after the first reset of each."""
        observations = []
        for self.at_work, env in enumerate(self.envs):
            observations.append(self.observe(seeded(env, seed + self.at_work)))
        return observations

    def reset_one(self, e, memory):
        self.at_work = e
        memory.obs[e] = self.observe(self.envs[e].reset()[0])
        self.ended[e], self.episodes[e].finished = False, None

    def step(self, memory):
        obs, rewards, flags, observe, choose = memory.obs, memory.rewards, memory.flags, self.observe, self.choose
        for e, row in enumerate(memory.actions.tolist()):
            self.at_work = e
            env, episode, flag = self.envs[e], self.episodes[e], 0
            if self.ended[e]:
                obs[e], rewards[e] = observe(env.reset()[0]), 0.0
                flag, self.ended[e] = RESET, False
            else:
                observation, reward, terminated, truncated, _ = env.step(choose(row))
                obs[e], rewards[e] = observe(observation), number(reward)
                if terminated or truncated:
                    flag, self.ended[e] = TERMINATED * bool(terminated) | TRUNCATED * bool(truncated), True
            if episode.finished:
                memory.stats[e], episode.finished = episode.finished, None
                flag |= EPISODE
            flags[e] = flag

    def draw(self):
        """What the first one looks like, if it was made to show that."""
        env = self.envs[0]
        return np.asarray(env.render()) if env.render_mode == "rgb_array" else None

    def close(self):
        for env in self.envs:
            env.close()


def wrapped(env, wrappers):
    for wrapper in wrappers:
        path, _, arguments = wrapper.partition("=")
        env = load(path)(env, **json.loads(arguments or "{}"))
    return env


def seeded(env, seed):
    """The first observation. Old generators take 32 bits."""
    try:
        return env.reset(seed=seed)[0]
    except (ValueError, OverflowError, TypeError):
        if seed < 2**31:
            raise
        return env.reset(seed=seed % 2**31)[0]


class Vector:
    """A vector that steps its environments itself, and resets each on the step after its end.

    An emulator's may tell of a lost life as of an end, and go on with the game all the same.
    """

    def __init__(self, vector, n, tells_lives):
        mode = vector.metadata.get("autoreset_mode")
        if mode is not gym.vector.AutoresetMode.NEXT_STEP:
            raise Unfit(f"the vector resets by {mode}; AutoresetMode.NEXT_STEP is needed")
        self.vector, self.n, self.at_work = vector, n, None
        self.spec, self.observation_space = vector.spec, vector.single_observation_space
        self.action_space = vector.single_action_space
        if not isinstance(self.observation_space, spaces.Box):
            raise Unfit(f"observations of a vector must be a Box, not {self.observation_space}")
        self.returns, self.lengths, self.ended = np.zeros(n), np.zeros(n), np.zeros(n, bool)
        self.tells_lives, self.lives = tells_lives, np.zeros(n, int)
        self.max_steps = max_steps(vector.spec)

    def first(self, seed):
        observations, infos = self.vector.reset(seed=seed % (2**31 - self.n))  # Emulators take 31 bits, each its own.
        self.lives = np.array(infos.get("lives", self.lives))
        return [self.observe(observation) for observation in observations]

    def reset_one(self, e, memory):
        mask = np.arange(self.n) == e
        observations, infos = self.vector.reset(options={"reset_mask": mask})
        memory.obs[e] = self.observe(observations[e])
        self.lives = np.array(infos.get("lives", self.lives))
        self.returns[e] = self.lengths[e] = self.ended[e] = 0

    def going_on(self, terminated, infos):
        """Whose end is that of a life, but neither of the game nor of its time."""
        if not self.tells_lives:
            return np.zeros(self.n, bool)
        before, self.lives = self.lives, np.array(infos["lives"])
        return terminated & (0 < self.lives) & (self.lives < before) & (self.lengths < self.max_steps)

    def step(self, memory):
        actions = np.array([self.choose(row) for row in memory.actions.tolist()])
        observations, rewards, terminated, truncated, infos = self.vector.step(actions)
        for e, observation in enumerate(observations):
            memory.obs[e] = self.observe(observation)
        memory.rewards[:] = rewards
        self.returns += rewards
        self.lengths += 1
        goes_on = self.going_on(terminated, infos)
        memory.flags[:] = (TERMINATED * terminated | TRUNCATED * truncated | RESET * self.ended
                           | GOES_ON * goes_on)
        memory.rewards[self.ended] = self.returns[self.ended] = self.lengths[self.ended] = 0
        self.ended = (terminated | truncated) & ~goes_on
        memory.flags[self.ended] |= EPISODE
        memory.stats[:, 0], memory.stats[:, 1] = self.returns, self.lengths

    def draw(self):
        return None

    def close(self):
        self.vector.close()


def make(source, arguments, wrappers, n):
    kind, _, id = source.partition(":")
    if kind == "vec":
        if wrappers:
            raise Unfit(f"{source} takes no --env-wrapper: a vector steps its environments itself")
        return Vector(make_vector(id, arguments, n), n, tells_lives=bool(arguments.get("life_loss_info")))
    if kind != "gym":
        return List(lambda: load(source)(**arguments), wrappers, n)
    register(id)
    # Gymnasium's checker fails with the step after a seed that was refused, and warns where nobody looks.
    arguments = {"disable_env_checker": True, **arguments}
    return List(lambda: gym.make(id, **arguments), wrappers, n)


def make_vector(id, arguments, n):
    register(id)
    if id.startswith("ALE/"):
        # A pool of all cores in every actor otherwise; and rewards are for the engine to scale, scores the true ones.
        arguments = {"num_threads": 1, "reward_clipping": False, **arguments}
    return gym.make_vec(id, n, vectorization_mode="vector_entry_point", **arguments)


# The conversation.


class Memory:
    """The numbers that pass, as the actor has laid them out."""

    def __init__(self, spec, n, size, obs, rewards, flags, stats, actions, picture=None):
        pages = mmap.mmap(MEMORY, size)

        def room(dtype, shape, offset):
            return np.frombuffer(pages, dtype, math.prod(shape), offset).reshape(shape)

        (kind, told), = spec["obs"].items()
        length = told["len"] if kind == "vector" else math.prod(told["shape"])
        self.obs = room("f4" if kind == "vector" else "u1", (n, length), obs)
        self.rewards, self.flags = room("f8", (n,), rewards), room("u1", (n,), flags)
        self.stats = room("f8", (n, 2), stats)
        (kind, told), = spec["actions"].items()
        length = 1 if kind == "discrete" else len(told["low"] if kind == "box" else told)
        self.actions = room("f4" if kind == "box" else "i4", (n, length), actions)
        if picture is not None:
            self.picture = room("u1", (spec["picture"]["height"], spec["picture"]["width"], 3), picture)


def notes(source, envs):
    """What a user should know of an environment that can be trained."""
    said = []
    if source.startswith("gym:ALE/") and len(envs.observation_space.shape or ()) > 1:
        said.append(f"these are raw screens; vec:{source[4:]} shows four grey ones of 84x84 and is faster")
    if isinstance(envs.observation_space, spaces.Dict) and "action_mask" in envs.observation_space.spaces:
        said.append("action_mask is seen as numbers; no action is ruled out by it")
    return said


def drawn(envs):
    """What the engine is told of pictures that environments draw of themselves."""
    picture = envs.draw()
    if picture is None:
        return None
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise Unfit(f"render() gives {picture.dtype} {picture.shape}, no picture of red, green and blue bytes")
    fps = getattr(envs.envs[0], "metadata", {}).get("render_fps")
    return {"height": picture.shape[0], "width": picture.shape[1], "fps": fps and float(fps)}


def frames_per_step(registered):
    """Of the emulator of a game; some ids draw it anew for each step."""
    frames = getattr(registered, "kwargs", {}).get("frameskip", 1)
    return frames if isinstance(frames, int) else 1


def max_steps(registered):
    """Steps after which an emulator cuts a game."""
    frames = getattr(registered, "kwargs", {}).get("max_num_frames_per_episode")
    return math.inf if frames is None else math.ceil(frames / frames_per_step(registered))


def describe(source, envs):
    obs, envs.observe = observer(envs.observation_space)
    actions, envs.choose = chooser(envs.action_space)
    registered = envs.spec
    return {"obs": obs, "actions": actions,
            "max_episode_steps": getattr(registered, "max_episode_steps", None),
            "reward_threshold": getattr(registered, "reward_threshold", None),
            "frames_per_step": frames_per_step(registered), "notes": notes(source, envs)}


def serve(source, arguments, wrappers):
    global envs, is_running
    word, version, n, seed = hear().split()
    if (word, version) != ("hello", PROTOCOL):
        raise Unfit(f"this worker speaks protocol {PROTOCOL}, the engine says {word} {version}")
    envs = make(source, json.loads(arguments), wrappers, int(n))
    spec = describe(source, envs)
    first = envs.first(int(seed))
    spec["picture"] = drawn(envs)
    actor.send(b"spec " + json.dumps(spec, allow_nan=False).encode())
    words = hear().split()
    if not words:
        return  # That was all that was to be known.
    memory = Memory(spec, int(n), *map(int, words[1:]))
    for e, observation in enumerate(first):
        memory.obs[e] = observation
    is_running = True
    while True:
        actor.send(b".")
        message = hear()
        if not message:
            return
        if message == "s":
            envs.step(memory)
        elif message == "d":
            memory.picture[:] = envs.draw()
        else:
            envs.reset_one(int(message.split()[1]), memory)


def hear():
    """The actor's next message; empty where it wants no more."""
    return actor.recv(4096).decode()


envs = None
if __name__ == "__main__":  # The benchmark of environments imports this.
    try:
        serve(sys.argv[1], sys.argv[2], sys.argv[3:])
        envs.close()
    except BaseException as problem:  # An environment may also exit.
        at_work = getattr(envs, "at_work", None)
        refuse(problem, "" if at_work is None else f"environment {at_work}: ")
