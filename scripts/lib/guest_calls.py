"""Makes system calls in a directory and prints what came of each, a line a call.

usage: guest_calls.py DIRECTORY

Needs root. Lines are the same wherever the file system does the same; numbers
that differ from run to run are not printed.
"""

import array
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_FDCWD = -100
PUNCH_HOLE, ZERO_RANGE, COLLAPSE_RANGE = 3, 0x10, 8


def call(name, work):
    """Prints the name and what `work` returns, or its errno."""
    try:
        result = work()
    except OSError as error:
        result = errno.errorcode.get(error.errno, error.errno)
    print(f"{name}: {result}")


def write(path, data=b"0123456789" * 1000, mode=0o644):
    with open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode), "wb") as file:
        file.write(data)


def checked(result):
    """The result of a call of libc."""
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def rename(old, new, flags):
    return checked(LIBC.renameat2(AT_FDCWD, old.encode(), AT_FDCWD, new.encode(), flags))


def as_user(uid, gid, groups, work):
    """What `work` returns as somebody else, in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            told = str(work())
        except OSError as error:
            told = errno.errorcode[error.errno]
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as pipe:
        return pipe.read()


def maps():
    write("mapped")
    for cut in ("shared", "private"):
        flag = getattr(mmap, f"MAP_{cut.upper()}")

        def read():
            with open("mapped", "r+b") as file:
                seen = mmap.mmap(file.fileno(), 0, flag, mmap.PROT_READ)
                before = bytes(seen[:4])
                os.pwrite(file.fileno(), b"new!", 0)
                after = bytes(seen[:4])
                os.pwrite(file.fileno(), b"0123", 0)
                return before, after

        def change():
            with open("mapped", "r+b") as file:
                seen = mmap.mmap(file.fileno(), 0, flag, mmap.PROT_READ | mmap.PROT_WRITE)
                seen[100:104] = b"map!"
                seen.flush()
                return os.pread(file.fileno(), 4, 100)

        call(f"map {cut} for reading", read)
        call(f"map {cut} for writing", change)

    def program():
        write("program", open("/bin/true", "rb").read(), 0o755)
        return os.spawnv(os.P_WAIT, "./program", ["program"])

    call("run a program", program)

    def direct():
        file = os.open("mapped", os.O_RDONLY | os.O_DIRECT)
        room = mmap.mmap(-1, 4096)
        return os.readv(file, [room]), room[:4]

    call("O_DIRECT", direct)


def space():
    write("space", b"x" * 65536)
    file = os.open("space", os.O_RDWR)
    for name, mode in (("punch", PUNCH_HOLE), ("zero", ZERO_RANGE), ("collapse", COLLAPSE_RANGE)):
        call(
            f"fallocate {name}",
            lambda: checked(
                LIBC.fallocate(file, mode, ctypes.c_long(8192), ctypes.c_long(4096))
            ),
        )
    call("size", lambda: os.fstat(file).st_size)
    call("fallocate beyond", lambda: os.posix_fallocate(file, 100_000, 5))
    call("size", lambda: os.fstat(file).st_size)
    call("hole", lambda: os.lseek(file, 0, os.SEEK_HOLE))
    call("data", lambda: os.lseek(file, 8192, os.SEEK_DATA))
    call("no data", lambda: os.lseek(file, 1 << 40, os.SEEK_DATA))
    other = os.open("copy", os.O_CREAT | os.O_RDWR)
    call("copy_file_range", lambda: os.copy_file_range(file, other, 5000, 1, 2))
    call("copied", lambda: os.fstat(other).st_size)
    call("far", lambda: os.pwrite(file, b"x", (1 << 43) - 1))
    call("too far", lambda: os.pwrite(file, b"x", (1 << 63) - 1))
    call("FICLONE", lambda: fcntl.ioctl(other, 0x40049409, file))
    flags = array.array("l", [0])
    call("FS_IOC_GETFLAGS", lambda: fcntl.ioctl(file, 0x80086601, flags))
    call("fsync", lambda: os.fsync(file))
    call("fsync of a directory", lambda: os.fsync(os.open(".", os.O_RDONLY)))
    call("lockf", lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
    call("flock", lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))


def names():
    for name in ("one", "two", "three"):
        write(name, name.encode())
    call("rename, not over", lambda: rename("one", "two", RENAME_NOREPLACE))
    call("exchange", lambda: rename("one", "two", RENAME_EXCHANGE))
    call("exchanged", lambda: open("one").read())
    call("whiteout", lambda: rename("one", "four", RENAME_WHITEOUT))
    call("left", lambda: stat.filemode(os.lstat("one").st_mode))
    file = os.open("three", os.O_RDWR)
    call("unlink", lambda: os.unlink("three"))
    call("write without a name", lambda: os.pwrite(file, b"abc", 7))
    call("truncate without a name", lambda: os.ftruncate(file, 5))
    call("without a name", lambda: (os.fstat(file).st_nlink, os.fstat(file).st_size))
    call("link by descriptor", lambda: os.link(f"/proc/self/fd/{file}", "back"))
    os.makedirs("a/b/c")
    call("into itself", lambda: os.rename("a", "a/b/d"))
    call("not empty", lambda: os.rmdir("a"))
    call("directory moved", lambda: os.rename("a/b", "b"))
    call("links of a directory", lambda: (os.stat("a").st_nlink, os.stat("b").st_nlink))
    call("long", lambda: os.mkdir("n" * 256))
    call("link of a link", lambda: (os.symlink("b", "l"), os.link("l", "m", follow_symlinks=False)))
    call("types", lambda: sorted((e.name, e.is_dir(follow_symlinks=False), e.is_symlink()) for e in os.scandir(".")))
    call("socket", lambda: os.mknod("socket", stat.S_IFSOCK | 0o600))
    call("device", lambda: os.mknod("device", stat.S_IFCHR | 0o600, os.makedev(259, 70000)))
    call("number", lambda: os.lstat("device").st_rdev == os.makedev(259, 70000))


def attributes():
    write("attr")
    os.symlink("attr", "attr-link")
    for path in ("attr", ".", "attr-link"):
        for name in ("user.a", "trusted.a", "security.a", "system.a", "odd.a"):
            call(
                f"{name} of {path}",
                lambda: (
                    os.setxattr(path, name, b"value", follow_symlinks=False),
                    os.getxattr(path, name, follow_symlinks=False),
                ),
            )
        call(f"names of {path}", lambda: sorted(os.listxattr(path, follow_symlinks=False)))
    call("large", lambda: os.setxattr("attr", "user.large", b"x" * 3000))
    call("too large", lambda: os.setxattr("attr", "user.large", b"x" * 70000))
    call("none", lambda: os.getxattr("attr", "user.none"))
    call("remove", lambda: os.removexattr("attr", "user.a"))
    call("times", lambda: (os.utime("attr", ns=(1_000_000_001, -5_000_000_001)), os.stat("attr").st_mtime_ns))
    write("ids", mode=0o777)
    for bits in (0o6777, 0o6767, 0o2767):
        os.chmod("ids", bits)
        call(f"write to {bits:o}", lambda: as_user(1000, 1000, [], lambda: os.pwrite(os.open("ids", os.O_WRONLY), b"x", 0)))
        call("left", lambda: oct(os.stat("ids").st_mode))
        os.chmod("ids", bits)
        call(f"cut {bits:o}", lambda: as_user(1000, 1000, [], lambda: os.truncate("ids", 3)))
        call("left", lambda: oct(os.stat("ids").st_mode))
        os.chmod("ids", bits)
        call(f"open {bits:o} anew", lambda: as_user(1000, 1000, [], lambda: os.close(os.open("ids", os.O_WRONLY | os.O_TRUNC))))
        call("left", lambda: oct(os.stat("ids").st_mode))
        os.chmod("ids", bits)
        call(f"chown {bits:o}", lambda: os.chown("ids", 0, 1000))
        call("left", lambda: oct(os.stat("ids").st_mode))
    write("of", b"another")
    for name, work in (
        ("allocate", lambda: os.posix_fallocate(os.open("ids", os.O_WRONLY), 0, 9000)),
        ("copy", lambda: os.copy_file_range(os.open("of", os.O_RDONLY), os.open("ids", os.O_WRONLY), 7)),
    ):
        os.chown("ids", 0, 0)
        os.chmod("ids", 0o6777)
        call(f"{name} 6777", lambda: as_user(1000, 1000, [], work))
        call(f"left by {name}", lambda: oct(os.stat("ids").st_mode))
    cap = struct.pack("<5I", 0x02000000, 0x2000, 0, 0, 0)
    call("capability", lambda: os.setxattr("ids", "security.capability", cap))
    call("write", lambda: as_user(1000, 1000, [], lambda: os.pwrite(os.open("ids", os.O_WRONLY), b"x", 0)))
    call("capability", lambda: os.getxattr("ids", "security.capability"))


def groups():
    os.mkdir("group")
    os.chown("group", 0, 777)
    os.chmod("group", 0o2777)

    def make(name):
        os.umask(0)
        os.close(os.open(f"group/{name}", os.O_CREAT | os.O_WRONLY, 0o2755))
        os.mkdir(f"group/{name}-dir", 0o755)
        os.mknod(f"group/{name}-pipe", stat.S_IFIFO | 0o2755)
        os.symlink("x", f"group/{name}-link")
        return "made"

    call("in the group", lambda: as_user(1000, 1000, [777], lambda: make("in")))
    call("not in it", lambda: as_user(1000, 1000, [5], lambda: make("out")))
    call("root", lambda: make("root"))
    for name in sorted(os.listdir("group")):
        there = os.lstat(f"group/{name}")
        print(f"{name}: {stat.filemode(there.st_mode)} {there.st_uid} {there.st_gid}")
    os.mkdir("private", 0o750)
    os.chown("private", 0, 777)
    write("private/file", b"for the group", 0o640)
    os.chown("private/file", 0, 777)
    for member in ([777], []):
        call(f"read with {member}", lambda: as_user(1000, 1000, member, lambda: open("private/file").read()))


def lists():
    """Access control lists."""
    name = "system.posix_acl_"

    def acl(*entries):
        return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)

    nobody = 0xFFFFFFFF
    own = acl((1, 6, nobody), (2, 6, 1000), (4, 4, nobody), (0x10, 6, nobody), (0x20, 0, nobody))
    write("listed", b"listed", 0o600)
    call("set", lambda: os.setxattr("listed", f"{name}access", own))
    call("get", lambda: os.getxattr("listed", f"{name}access"))
    call("mode", lambda: oct(os.stat("listed").st_mode))
    call("listed user", lambda: as_user(1000, 1000, [], lambda: open("listed").read()))
    call("another", lambda: as_user(1001, 1001, [], lambda: open("listed").read()))
    call("chmod", lambda: os.chmod("listed", 0o640))
    call("get", lambda: os.getxattr("listed", f"{name}access"))
    call("listed user", lambda: as_user(1000, 1000, [], lambda: os.open("listed", os.O_WRONLY) and "opened"))
    os.mkdir("below", 0o755)
    default = acl((1, 7, nobody), (2, 7, 1000), (4, 5, nobody), (0x10, 7, nobody), (0x20, 0, nobody))
    call("set default", lambda: os.setxattr("below", f"{name}default", default))
    os.umask(0o022)
    call("inherit", lambda: (write("below/file", b"", 0o666), os.mkdir("below/dir", 0o777)))
    for path in ("below/file", "below/dir"):
        call(path, lambda: oct(os.stat(path).st_mode))
        call(path, lambda: os.getxattr(path, f"{name}access"))
    call("below/dir", lambda: os.getxattr("below/dir", f"{name}default"))
    os.umask(0)


def mapped():
    """A mount that shows owners as others, 10,000 higher."""
    os.mkdir("plain", 0o777)
    os.mkdir("shown")
    write("plain/roots")
    ready, wait = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        checked(LIBC.unshare(0x10000000))
        os.write(ready[1], b".")
        os.read(wait[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    for kind in ("uid", "gid"):
        with open(f"/proc/{child}/{kind}_map", "w") as ids:
            ids.write("0 10000 60000")
    namespace = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
    tree = checked(LIBC.syscall(428, AT_FDCWD, b"plain", 1))
    idmap = struct.pack("<4Q", 0x100000, 0, 0, namespace)

    def mount():
        checked(LIBC.syscall(442, tree, b"", 0x1000, idmap, len(idmap)))
        checked(LIBC.syscall(429, tree, b"", AT_FDCWD, b"shown", 4))

    call("mount with other owners", mount)
    os.write(wait[1], b".")
    os.waitpid(child, 0)
    if not os.path.exists("shown/roots"):
        return

    def make():
        write("shown/made")
        os.mkdir("shown/dir")
        os.symlink("x", "shown/link")
        os.link("shown/made", "shown/linked")
        os.rename("shown/made", "shown/renamed")
        os.chmod("shown/renamed", 0o600)
        return open("shown/renamed").read(5)

    call("make", lambda: as_user(11000, 12000, [], make))
    call("give away", lambda: os.chown("shown/dir", 11001, 11002))
    call("out of range", lambda: os.chown("shown/dir", 5, 5))
    for base in ("plain", "shown"):
        for name in sorted(os.listdir(base)):
            there = os.lstat(f"{base}/{name}")
            print(f"{base}/{name}: {there.st_uid} {there.st_gid}")
    call("nobody's", lambda: as_user(0, 0, [], lambda: write("shown/unknown")))
    LIBC.umount2(b"shown", 2)


def main():
    os.chdir(sys.argv[1])
    os.chmod(".", 0o755)
    os.umask(0)
    for part in (maps, space, names, attributes, groups, mapped, lists):
        os.mkdir(part.__name__)
        os.chdir(part.__name__)
        print(f"-- {part.__name__}")
        part()
        os.chdir("..")


main()
