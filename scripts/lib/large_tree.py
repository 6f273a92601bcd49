"""Writes a tar archive of a million entries: /large with 100,000 files, and
9,000 directories of 99 files each behind it.

usage: large_tree.py ARCHIVE
"""
import sys
import tarfile

LARGE = 100_000
DIRECTORIES = 9_000
FILES = 99


def entry(name, kind):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = 1_700_000_000
    return info.tobuf(tarfile.USTAR_FORMAT)


with open(sys.argv[1], "wb") as out:
    out.write(entry("large", tarfile.DIRTYPE))
    for number in range(LARGE):
        out.write(entry(f"large/file-{number:06}", tarfile.REGTYPE))
    for directory in range(DIRECTORIES):
        out.write(entry(f"d{directory:05}", tarfile.DIRTYPE))
        for number in range(FILES):
            out.write(entry(f"d{directory:05}/file-{number:03}", tarfile.REGTYPE))
    out.write(bytes(1024))
