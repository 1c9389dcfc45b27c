"""The machine and the commit that figures belong to. Called by main.py."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path


def machine():
    """What has to be the same for two rows to stand in one table."""
    return {"cpu": cpu_model(), "n_cores": len(os.sched_getaffinity(0)), "memory_gb": memory_gb(),
            "kernel": platform.release()}


def circumstances(root):
    """What may differ from row to row."""
    return {"commit": commit(root), "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "load_before": round(os.getloadavg()[0], 2)}


def cpu_model():
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def memory_gb():
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)


def commit(root):
    """The commit that is checked out; a + behind it stands for changes that are not committed.

    Changed results are none: every row but the first would have them.
    """
    try:
        head = git(root, "rev-parse", "HEAD")[:12]
        changes = git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results")
        return head + ("+" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def git(root, *arguments):
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    return done.stdout.strip()
