#!/usr/bin/env python3
"""Make one .zip of what there is to hand in: the code as committed, a run's report, its settings, the page on throughput.

    submission/
      code/              what `git archive` has of the newest commit
      report/            report.html, report.md, plots/, and the run's settings and figures
      docs/              throughput.md with its pictures

The run is a folder below results/ with a report in it; without one it is the newest. What is not committed is
not in the archive, and is said.

exit codes:
  0  made; the path is printed
  2  the run has no report, or this is no checkout
"""

# Called by `make submission` and by people. Standard library only, because git and Python are all that it needs.

import argparse
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOP = "submission"
# What says how the report came about. Without the first two there is nothing to hand in.
NEEDED = ("report.html", "report.md")
BESIDE = ("config.toml", "meta.json", "summary.json", "metrics.csv")

MADE, MISTAKE = 0, 2


class Mistake(Exception):
    """Something is missing that the user can bring about."""


def git(*arguments):
    """What git says about this checkout."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise Mistake(f"git cannot be started ({error}); install it")
    if done.returncode != 0:
        raise Mistake(f"git {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}; run this in a "
                      "checkout with a commit")
    return done.stdout


def committed():
    """Name, mode and content of each file of the newest commit."""
    with tarfile.open(fileobj=io.BytesIO(git("archive", "--format=tar", "HEAD"))) as archive:
        for member in archive:
            if member.isfile():
                yield f"code/{member.name}", member.mode, archive.extractfile(member).read()


def of_run(run):
    """The same of a run's report and of what it was made with."""
    lacking = [name for name in NEEDED if not (run / name).is_file()]
    if lacking:
        raise Mistake(f"{run} has no {' and no '.join(lacking)}; name the folder of a run, or make one with `make train`")
    pictures = sorted(path for path in (run / "plots").glob("*") if path.suffix in (".svg", ".png"))
    files = [run / name for name in NEEDED + BESIDE if (run / name).is_file()]
    for path in files + pictures:
        yield f"report/{path.relative_to(run)}", 0o644, path.read_bytes()


def of_throughput():
    """The same of the page on throughput and its pictures, as they stand beside each other in docs/."""
    docs = ROOT / "docs"
    for path in [docs / "throughput.md", *sorted((docs / "throughput").glob("*.svg"))]:
        yield f"docs/{path.relative_to(docs)}", 0o644, path.read_bytes()


def write(target, files):
    """Writes the archive aside and renames it: a broken one never has its name."""
    aside = target.with_name(target.name + ".part")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, mode, content in files:
                entry = zipfile.ZipInfo(f"{TOP}/{name}")
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = (0o100000 | mode) << 16
                archive.writestr(entry, content)
        aside.replace(target)
    finally:
        if aside.exists():
            aside.unlink()


def say(message):
    print(f"submission: {message}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, default=ROOT / "results" / "latest", help="the run's folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help="[default: results/submission-RUN.zip]")
    arguments = parser.parse_args()
    run = arguments.run.resolve()
    target = arguments.out or ROOT / "results" / f"submission-{run.name}.zip"
    try:
        files = [*of_run(run), *committed(), *of_throughput()]
        if git("status", "--porcelain", "--untracked-files=no").strip():
            say("there are changes that are not committed: they are not in the archive")
        write(target, files)
    except Mistake as mistake:
        say(mistake)
        return MISTAKE
    except OSError as error:
        say(f"{error}; see whether the file is there and you may write to {target.parent}")
        return MISTAKE
    print(target)
    return MADE


if __name__ == "__main__":
    sys.exit(main())
