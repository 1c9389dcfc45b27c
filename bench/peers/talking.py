"""One line of progress to the terminal. Called by everything here that takes time."""

import sys


def say(text):
    print(f"bench-peers: {text}", file=sys.stderr, flush=True)
