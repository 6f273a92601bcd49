#!/usr/bin/env python3
"""Makes a directory tree of everything that is hard to carry (needs root).

usage: tree.py [--small] [--huge-file] [--entries N] DIRECTORY

The content is the same at every run. --small leaves out large files and directories;
--huge-file adds a sparse file of 5 GiB; --entries sets the size of the large directory.
"""

import argparse
import os
import random
import socket
import stat
import struct

MIB = 1 << 20
NS = 1_000_000_000


class Maker:
    """Makes nodes below one directory; times are set at the end, deepest first."""

    def __init__(self, root):
        self.root = os.fsencode(root)
        self.random = random.Random(7)
        self.times = {}

    def at(self, name):
        return os.path.join(self.root, os.fsencode(name))

    def directory(self, name, mode=0o755):
        os.makedirs(self.at(name), exist_ok=True)
        os.chmod(self.at(name), mode)

    def file(self, name, content=b"", mode=0o644, owner=(0, 0), mtime=None):
        path = self.at(name)
        with open(path, "wb") as out:
            out.write(content)
        os.chown(path, *owner)
        os.chmod(path, mode)
        if mtime is not None:
            self.times[path] = mtime

    def sparse(self, name, size, parts):
        with open(self.at(name), "wb") as out:
            out.truncate(size)
            for offset, content in parts:
                out.seek(offset)
                out.write(content)

    def node(self, name, kind, device=0, mode=0o600):
        os.mknod(self.at(name), kind | mode, device)

    def xattr(self, name, key, value):
        os.setxattr(self.at(name), key, value, follow_symlinks=False)

    def finish(self):
        """One time for all but those that were asked for, directories behind their content."""
        number = 0
        for base, names, files in os.walk(self.root, topdown=False):
            for name in sorted(files) + sorted(n for n in names if os.path.islink(os.path.join(base, n))):
                number += 1
                self.touch(os.path.join(base, name), number)
            self.touch(base, 0)

    def touch(self, path, number):
        when = self.times.get(path, 1_600_000_000 * NS + number * 1_001)
        os.utime(path, ns=(when, when), follow_symlinks=False)


def acl(*entries):
    """A POSIX ACL in the kernel's xattr form: version 2, then (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ANY = 0xFFFFFFFF
ACL = acl((0x01, 6, ANY), (0x02, 4, 1000), (0x04, 4, ANY), (0x10, 6, ANY), (0x20, 4, ANY))
# Version 2 capability set: effective, permitted CAP_NET_BIND_SERVICE.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def files(make):
    make.directory("files")
    make.file("files/empty")
    make.file("files/hello", b"hello, guest\n")
    make.file("files/page", bytes(range(256)) * 16)
    make.file("files/page-and-one", bytes(range(256)) * 16 + b"!")
    make.file("files/setuid", b"#!", mode=0o4755)
    make.file("files/setgid-sticky", b"#!", mode=0o3711, owner=(1, 2))
    make.file("files/no-access", b"secret", mode=0)
    make.file("files/uid-70000", b"u", owner=(70_000, 70_001))
    make.file("files/gid-4e9", b"g", owner=(4_000_000_001, 4_000_000_000))
    make.file("files/before-1970", b"old", mtime=-1_000_000_001 * NS + 123_456_789)
    make.file("files/just-before-1970", b"old", mtime=-1)
    make.file("files/epoch", b"0", mtime=0)
    make.file("files/nanoseconds", b"ns", mtime=1_234_567_890 * NS + 987_654_321)
    make.file("files/after-2038", b"late", mtime=5_000_000_000 * NS + 1)


def large_files(make, huge):
    noise = make.random.randbytes(2 * MIB)
    make.file("files/random-2m", noise)
    make.file("files/random-2m-again", noise)
    words = [b"inode", b"chunk", b"blob", b"window", b"queue", b"tide", b"gate"]
    text = b" ".join(make.random.choice(words) for _ in range(800_000))
    make.file("files/text-4m", (text + b"\n" * 4 * MIB)[: 4 * MIB])
    make.sparse("files/sparse-3m", 3 * MIB, [(MIB + 5, b"island")])
    make.sparse("files/hole-only", 3 * MIB + 7, [])
    if huge:
        make.sparse("files/sparse-5g", 5 << 30, [(0, b"first"), (4 << 30, b"middle"), ((5 << 30) - 4, b"last")])


def links(make):
    make.directory("links/a")
    make.directory("links/b")
    make.file("links/a/file", b"one inode, three names\n")
    os.link(make.at("links/a/file"), make.at("links/b/file"))
    os.link(make.at("links/a/file"), make.at("links/third-name"))
    os.symlink(b"../a/file", make.at("links/b/symlink"))
    os.link(make.at("links/b/symlink"), make.at("links/a/symlink"), follow_symlinks=False)
    make.node("links/a/fifo", stat.S_IFIFO)
    os.link(make.at("links/a/fifo"), make.at("links/b/fifo"))
    os.symlink(b"x/" * 155 + b"y", make.at("links/target-of-311-bytes"))
    os.symlink(b"not\xffutf-8\n", make.at("links/target-not-utf-8"))
    os.symlink(b"/", make.at("links/to-root"))


def specials(make):
    make.directory("specials", 0o1777)
    make.node("specials/char", stat.S_IFCHR, os.makedev(1, 3), 0o666)
    make.node("specials/char-large-numbers", stat.S_IFCHR, os.makedev(4095, 1_048_575))
    make.node("specials/whiteout", stat.S_IFCHR, os.makedev(0, 0))
    make.node("specials/block", stat.S_IFBLK, os.makedev(259, 300))
    make.node("specials/fifo", stat.S_IFIFO)
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(make.at("specials"))
    listener.bind("socket")
    os.chdir(here)
    listener.close()


def xattrs(make):
    make.directory("xattrs/directory", 0o775)
    make.file("xattrs/file", b"with four attributes\n")
    make.xattr("xattrs/file", "user.comment", b"plain")
    make.xattr("xattrs/file", "security.capability", CAPABILITY)
    make.xattr("xattrs/file", "trusted.overlay.origin", bytes(range(64)))
    make.xattr("xattrs/file", "system.posix_acl_access", ACL)
    make.file("xattrs/empty-value", b"")
    make.xattr("xattrs/empty-value", "user.empty", b"")
    make.file("xattrs/long-value", b"")
    make.xattr("xattrs/long-value", "user.long", bytes(1500))
    make.xattr("xattrs/directory", "user.where", b"on a directory")
    make.xattr("xattrs/directory", "trusted.overlay.opaque", b"y")
    make.xattr("xattrs/directory", "system.posix_acl_default", ACL)
    os.symlink(b"file", make.at("xattrs/symlink"))
    make.xattr("xattrs/symlink", "trusted.of-the-link", b"itself")


def names(make):
    make.directory("names")
    for name in (b"\xff", b"new\nline", b"\x01", b" ", b"back\\slash", b'quo"te', b"-rf", b"...", b"n" * 255):
        make.file(b"names/" + name, name)
    make.directory("names/" + "d" * 255)
    make.directory("names/empty-directory")
    deep = "names/deep"
    for level in range(60):
        deep += f"/level-{level}"
    make.directory(deep)
    make.file(deep + "/bottom", b"sixty levels down\n")


def many(make, count):
    make.directory("many")
    for number in range(count):
        make.file(f"many/entry-{number:06}", b"" if number % 10 else str(number).encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--huge-file", action="store_true")
    parser.add_argument("--entries", type=int, default=3000)
    parser.add_argument("directory")
    options = parser.parse_args()
    os.umask(0)
    make = Maker(options.directory)
    os.makedirs(make.root, exist_ok=True)
    os.chmod(make.root, 0o755)
    for part in (files, links, specials, xattrs, names):
        part(make)
    if not options.small:
        large_files(make, options.huge_file)
        many(make, options.entries)
    make.finish()


if __name__ == "__main__":
    main()
