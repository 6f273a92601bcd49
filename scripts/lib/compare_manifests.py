"""Compares manifests (one JSON object per line) with the first one.

usage: compare_manifests.py [--fields A,B,…] [--except PATH:FIELD] REFERENCE OTHER...

--fields limits the comparison, for readers that keep only some attributes;
--except leaves one field of one entry out.
The link count of a directory is never compared: it belongs to the file system
that the tree lies on (overlayfs and btrfs always say 1), not to the tree.
Exit status: 0 equal, 1 different (the first differences are printed).
"""
import json
import stat
import sys

SHOWN = 20


def load(path, fields, exception):
    entries = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            name = entry.pop("path")
            if stat.S_ISDIR(int(entry["mode"], 8)):
                entry.pop("nlink", None)
            if name == exception[0]:
                entry.pop(exception[1], None)
            if fields:
                entry = {k: v for k, v in entry.items() if k in fields}
            entries[name] = entry
    return entries


def differences(reference, other):
    for name in sorted(reference.keys() | other.keys()):
        if name not in other:
            yield f"{name}: missing"
        elif name not in reference:
            yield f"{name}: not in the reference"
        elif reference[name] != other[name]:
            a, b = reference[name], other[name]
            for field in sorted(a.keys() | b.keys()):
                if a.get(field) != b.get(field):
                    yield f"{name}: {field} is {b.get(field)}, should be {a.get(field)}"


def main(arguments):
    fields = None
    exception = (None, None)
    while len(arguments) > 2 and arguments[0].startswith("--"):
        if arguments[0] == "--fields":
            fields = set(arguments[1].split(","))
        elif arguments[0] == "--except":
            exception = tuple(arguments[1].rsplit(":", 1))
        else:
            sys.exit(__doc__)
        arguments = arguments[2:]
    if len(arguments) < 2:
        sys.exit(__doc__)
    reference = load(arguments[0], fields, exception)
    if not reference:
        sys.exit(f"{arguments[0]}: the reference manifest is empty")
    failed = False
    for path in arguments[1:]:
        found = list(differences(reference, load(path, fields, exception)))
        if found:
            failed = True
            print(f"{path}: {len(found)} differences from {arguments[0]}")
            print(*(f"  {line}" for line in found[:SHOWN]), sep="\n")
        else:
            print(f"{path}: {len(reference)} entries equal")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
