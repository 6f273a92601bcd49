"""Puts results of pjdfstest beside each other.

usage: pjdfstest_table.py control FILE ours FILE [theirs FILE]

Prints the cases that not all pass or skip, and the numbers. Status 1 if ours fails a case
that theirs passes; without theirs, that the control passes.
"""

import re
import sys

LINE = re.compile(r"^(\S+::\S+)\s+(ok|FAILED|skipped)$")
COLUMN = {"control": "host", "ours": "Tidegate", "theirs": "virtiofsd"}


def results(path):
    """Name to result, in the order of the file."""
    lines = open(path, errors="replace").read().splitlines()
    found = {m[1]: m[2] for m in map(LINE.match, lines) if m}
    if not any(line.startswith("Summary") for line in lines):
        sys.exit(f"{path} is not a whole run of pjdfstest")
    return found


def main():
    arguments = [argument for argument in sys.argv[1:] if argument]
    runs = {name: results(path) for name, path in zip(arguments[::2], arguments[1::2])}
    cases = list(dict.fromkeys(case for run in runs.values() for case in run))
    width = max(map(len, cases), default=0)

    def row(first, cells):
        print(f"{first:<{width}}", *(f"{cell:>10}" for cell in cells))

    row("", (COLUMN[name] for name in runs))
    for case in cases:
        told = [run.get(case, "missing") for run in runs.values()]
        if set(told) - {"ok", "skipped"}:
            row(case, told)
    for result in ("ok", "FAILED", "skipped"):
        row(f"({result})", ([*run.values()].count(result) for run in runs.values()))

    measure = runs.get("theirs", runs["control"])
    ours = runs["ours"]
    # What cannot be tried is skipped by the suite itself, and is in the numbers.
    fails = [case for case in cases if ours.get(case) not in ("ok", "skipped")]
    worse = [case for case in fails if measure.get(case) == "ok"]
    if worse:
        sys.exit(f"Only Tidegate fails: {' '.join(worse)}")


main()
