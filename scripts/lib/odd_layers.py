"""Writes two layers that hold what layers can do to each other.

usage: odd_layers.py FIRST.tar SECOND.tar

FIRST is laid over a Debian tree, SECOND over FIRST.
"""
import io
import sys
import tarfile


class Layer:
    def __init__(self, path):
        self.tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT, encoding="utf-8",
                                errors="surrogateescape")

    def put(self, name, data=b"", kind=tarfile.REGTYPE, mode=0o644, link="", mtime=1000,
            uid=1, gid=2, xattrs=()):
        entry = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
        entry.type, entry.mode, entry.linkname, entry.mtime = kind, mode, link, mtime
        entry.uid, entry.gid = uid, gid
        entry.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in xattrs}
        if kind == tarfile.REGTYPE:
            entry.size = len(data)
        self.tar.addfile(entry, io.BytesIO(data))

    def directory(self, name, **options):
        self.put(name, kind=tarfile.DIRTYPE, mode=options.pop("mode", 0o755), **options)

    def link(self, name, target):
        self.put(name, kind=tarfile.LNKTYPE, link=target)

    def symlink(self, name, target):
        self.put(name, kind=tarfile.SYMTYPE, mode=0o777, link=target)


def first(layer):
    layer.directory(b"odd")
    for name in (b"odd/gone", b"odd/opaque", b"odd/replaced", b"odd/links", b"odd/latin"):
        layer.directory(name)
    layer.put(b"odd/gone/file", b"1")
    layer.directory(b"odd/opaque/deep")
    layer.put(b"odd/opaque/deep/file", b"2")
    layer.put(b"odd/opaque/file", b"3")
    layer.put(b"odd/latin/\xe9t\xe9", b"4")
    layer.put(b"odd/latin/kept", b"5", mtime=1.5)
    layer.put(b"odd/replaced/a", b"6")
    layer.put(b"odd/file", b"7", xattrs=[("user.one", "1"), ("user.two", "2")])
    layer.put(b"odd/links/a", b"linked", xattrs=[("user.x", "y")])
    layer.put(b"odd/links/deleted", b"deleted")
    layer.put(b"odd/links/changed", b"old")
    layer.symlink(b"odd/links/symlink", "a")
    layer.put(b"odd/links/fifo", kind=tarfile.FIFOTYPE)
    layer.directory(b"odd/real")
    layer.symlink(b"odd/way", "real")
    layer.symlink(b"odd/absolute", "/odd/real")
    layer.symlink(b"odd/outside", "../../../../../odd/real")
    layer.put(b"odd/large", bytes(range(256)) * 8192)


def second(layer):
    # Whiteouts before and behind what the layer itself brings.
    layer.put(b"odd/.wh.gone")
    layer.directory(b"odd/opaque", mode=0o750, xattrs=[("user.dir", "v")])
    layer.put(b"odd/opaque/new", b"8")
    layer.put(b"odd/opaque/.wh..wh..opq")
    layer.put(b"odd/latin/.wh.\xe9t\xe9")
    layer.put(b"odd/latin/\xff\xfe", b"9")
    layer.put(b"odd/replaced", b"now a file")
    layer.directory(b"odd/file", mode=0o700)
    layer.put(b"odd/file/in", b"10")
    # Hard links to what lower layers have.
    layer.link(b"odd/links/b", "odd/links/a")
    layer.link(b"odd/links/second-symlink", "odd/links/symlink")
    layer.link(b"odd/links/second-fifo", "odd/links/fifo")
    layer.link(b"odd/links/still-there", "odd/links/deleted")
    layer.put(b"odd/links/.wh.deleted")
    layer.link(b"odd/links/old", "odd/links/changed")
    layer.put(b"odd/links/changed", b"new")
    # Through symbolic links, and back from outside.
    layer.put(b"odd/way/through", b"11")
    layer.put(b"odd/absolute/too", b"12")
    layer.put(b"odd/outside/as-well", b"13")
    layer.put(b"../../odd/climbed", b"14")
    layer.put(b"/odd/from-the-root", b"15")
    # The same data and the last of two.
    layer.put(b"odd/copy", bytes(range(256)) * 8192)
    layer.put(b"odd/twice", b"first", mode=0o600)
    layer.put(b"odd/twice", b"second", mode=0o640)
    layer.directory(b"odd", mode=0o711, mtime=2000.25)


def main(paths):
    if len(paths) != 2:
        sys.exit(__doc__)
    for path, fill in zip(paths, (first, second)):
        layer = Layer(path)
        fill(layer)
        layer.tar.close()


main(sys.argv[1:])
