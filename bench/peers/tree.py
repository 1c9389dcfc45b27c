"""The processes below one process: what they use, and how none of them outlives its run.

Reads /proc alone, so that measuring needs nothing installed. Linux only. Called by run.py.
"""

import contextlib
import ctypes
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SHARED_MEMORY = Path("/dev/shm")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the name in brackets, which may itself hold blanks and brackets.
STATE, PARENT, USER_TICKS, SYSTEM_TICKS, START_TICKS = 0, 1, 11, 12, 19


@dataclass(frozen=True)
class Sample:
    """What a tree of processes had at one moment."""

    at_s: float  # time.monotonic()
    cpu_s: float  # used so far, by those that have ended too
    pss_mb: float  # each shared page counted once
    n_processes: int


class Tree:
    """A process and its descendants, watched from outside."""

    def __init__(self, root):
        self.root = root
        self.cpu_s = {}

    def sample(self):
        members = descendants(self.root, with_root=True)
        for pid, stat in members.items():
            # A number can be given again, but not together with the same start.
            used = (int(stat[USER_TICKS]) + int(stat[SYSTEM_TICKS])) / TICKS_PER_S
            self.cpu_s[pid, stat[START_TICKS]] = used
        n_running = sum(stat[STATE] != "Z" for stat in members.values())
        return Sample(time.monotonic(), sum(self.cpu_s.values()), sum(map(pss_mb, members)), n_running)


def adopt_orphans():
    """Makes this process the parent of descendants whose parents have ended, so that it still finds them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def end_all():
    """Kills every descendant of this process by its own number; how many were still running.

    Needs adopt_orphans. Goes round until there is none, because a process can fork before it is killed.
    """
    n_running = None
    while True:
        members = descendants(os.getpid())
        if n_running is None:
            n_running = sum(stat[STATE] != "Z" for stat in members.values())
        if not members:
            return n_running
        for pid, stat in members.items():
            kill(pid, stat[START_TICKS])
            with contextlib.suppress(ChildProcessError):  # Not ours yet: its own parent is still dying.
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def kill(pid, start_ticks):
    """Kills this very process, and not one that has been given its number since."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            if stat_of(pid)[START_TICKS] == start_ticks:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except FileNotFoundError:
            pass  # It has ended.
        finally:
            os.close(descriptor)


def descendants(root, with_root=False):
    """The stat fields of each process below root, by number."""
    stats = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # It has ended meanwhile.
                stats[int(entry.name)] = stat_of(entry.name)
    found, frontier = {}, {root}
    while frontier:
        frontier = {pid for pid, stat in stats.items() if int(stat[PARENT]) in frontier and pid not in found}
        found.update((pid, stats[pid]) for pid in frontier)
    if with_root and root in stats:
        found[root] = stats[root]
    return found


def shared_files():
    """The named files of shared memory that descendants of this process have mapped.

    A process that is killed cannot unlink them, and they would fill memory until the next boot. Found by
    inode, because the C library makes a semaphore under another name than the one it then has.
    """
    inodes = set()
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):  # It has ended.
            maps = Path(f"/proc/{pid}/maps").read_text()
            inodes.update(map(int, re.findall(r" (\d+) +/dev/shm/", maps)))
    return {path for path in SHARED_MEMORY.iterdir() if inode_of(path) in inodes}


def inode_of(path):
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino
    return None


def stat_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def pss_mb(pid):
    """Proportional set size; 0 for a process that has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def machine_busy_s():
    """Processor seconds that all cores together have spent on work, and those stolen by the hypervisor."""
    user, nice, system, _idle, _wait, irq, soft_irq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + soft_irq) / TICKS_PER_S, steal / TICKS_PER_S
