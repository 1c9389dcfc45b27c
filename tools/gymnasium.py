#!/usr/bin/env python3
"""Make third_party/gymnasium, a virtual environment with Gymnasium and some environments in it, once.

The packages pinned in tools/gymnasium.txt are installed with pip into a folder of this checkout (160 MB);
nothing else is touched. To undo it, delete third_party/gymnasium. Run it as often as you like: where all is
in place it does nothing. Afterwards `impala train --python third_party/gymnasium/bin/python --env
gym:LunarLander-v3` trains with it.

Without a network: PIP_NO_INDEX=1 PIP_FIND_LINKS=/folder/of/wheels. Mirrors and proxies: pip's own settings
count.

exit codes:
  0  ready
  1  what was downloaded is not what tools/gymnasium.txt pins
  3  it could not be made; the message says why
"""

# Owns third_party/gymnasium. Called by people and by `make`; the tests look for its Python.

import argparse
import sys

from pinned import READY, Environment

GYMNASIUM = Environment("gymnasium", "Gymnasium")


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    status = GYMNASIUM.provide()
    if status == READY:
        print(f"Gymnasium is ready: {GYMNASIUM.home}")
    return status


if __name__ == "__main__":
    sys.exit(main())
