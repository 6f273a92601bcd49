#!/usr/bin/env python3
"""Writes down what a directory tree looks like: one line of JSON for each path.

usage: manifest.py [--full] ROOT

Lines are sorted by path bytes; bytes that are not printable ASCII are written as \\xNN.
Without --full, modification times are whole seconds, extended attributes leave out
system.* and security.selinux, and directories have no link count. With it, times are
nanoseconds and nothing is left out.
"""

import argparse
import hashlib
import json
import os
import stat
import sys

BLOCK = 1 << 20


def printable(raw):
    """The bytes as ASCII, escaped where they are not."""
    return "".join(chr(b) if 0x20 <= b <= 0x7E and b != 0x5C else f"\\x{b:02x}" for b in raw)


def digest(path):
    """SHA-256 of a file's content."""
    sum256 = hashlib.sha256()
    with open(path, "rb", buffering=0) as content:
        while block := content.read(BLOCK):
            sum256.update(block)
    return sum256.hexdigest()


def attributes(path, full):
    """Extended attributes of a path itself, values in hex."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    wanted = [n for n in names if full or not n.startswith(("system.", "security.selinux"))]
    return {n: os.getxattr(path, n, follow_symlinks=False).hex() for n in wanted}


def describe(path, name, full):
    """The line of one path, and whether it is a directory."""
    info = os.lstat(path)
    kind = stat.S_IFMT(info.st_mode)
    line = {
        "path": printable(name),
        "mode": oct(info.st_mode),
        "uid": info.st_uid,
        "gid": info.st_gid,
        "mtime": info.st_mtime_ns if full else info.st_mtime_ns // 1_000_000_000,
    }
    if full or kind != stat.S_IFDIR:
        line["nlink"] = info.st_nlink
    if kind == stat.S_IFREG:
        line |= {"size": info.st_size, "sha256": digest(path)}
    elif kind == stat.S_IFLNK:
        line |= {"size": info.st_size, "target": printable(os.readlink(path))}
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        line["rdev"] = [os.major(info.st_rdev), os.minor(info.st_rdev)]
    if found := attributes(path, full):
        line["xattrs"] = found
    return line, kind == stat.S_IFDIR


def walk(root, full):
    """All paths below and including root, with their lines."""
    waiting = [(root, b"/")]
    while waiting:
        path, name = waiting.pop()
        line, is_directory = describe(path, name, full)
        yield name, line
        if is_directory:
            prefix = b"" if name == b"/" else name
            waiting += [(os.path.join(path, c), prefix + b"/" + c) for c in os.listdir(path)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="leave nothing out")
    parser.add_argument("root", type=os.fsencode)
    options = parser.parse_args()
    for _, line in sorted(walk(options.root, options.full), key=lambda pair: pair[0]):
        sys.stdout.write(json.dumps(line, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
