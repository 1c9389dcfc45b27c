"""The command `impala`, as a process.

Owns where its program is, how Ctrl-C reaches it, and what its failures become. Knows no subcommand.
"""

import os
import shutil
import signal
import subprocess
import sysconfig
from pathlib import Path


class ImpalaError(Exception):
    """The command failed; the text is what it said. `status` is its exit status: 2 for a mistake of the caller's."""

    def __init__(self, message, status):
        super().__init__(message)
        self.status = status


def program():
    """The path of `impala`: what IMPALA_BINARY names, else what came with this package, else what is on the PATH."""
    if chosen := os.environ.get("IMPALA_BINARY"):
        return Path(chosen)
    for scheme in (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")):
        installed = Path(sysconfig.get_path("scripts", scheme)) / "impala"
        if installed.is_file():
            return installed
    if found := shutil.which("impala"):
        return Path(found)
    raise FileNotFoundError("there is no program `impala`: install the wheel that `make wheel` builds, or set "
                            "IMPALA_BINARY to the program")


def run(arguments, *, show=False):
    """Runs the command to its end; what it printed as its result.

    With `show`, progress and warnings go to stderr as they come.

    Ctrl-C stops it in order, with all its files complete, and is then raised here. It is in a group of its own, so
    that a terminal's Ctrl-C reaches it once, from here: a second one would stop it without its files.

    Raises ImpalaError where it fails.
    """
    arguments = [str(program()), *map(str, arguments), *([] if show else ["--quiet"])]
    child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                             stderr=None if show else subprocess.PIPE, process_group=0)
    try:
        result, said = child.communicate()
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        child.communicate()
        raise
    if child.returncode != 0:
        raise ImpalaError((said or "see above").strip(), child.returncode)
    return result
