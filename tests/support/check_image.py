#!/usr/bin/env python3
"""Checks the integrity section of an image from its description in docs/format.md alone.

usage: check_image.py BOOTSTRAP [--blobs DIR] [--root sha256:HEX] [--manifest]

Walks the EROFS tree, computes every digest from the names, inodes and chunk records, and compares
all that the section stores with it. Prints `root sha256:...` of the tree (on standard error with
--manifest) and one line per fault on standard error; exits with 1 if there is a fault, else with 0.
--blobs checks the chunks of each blob, read from DIR/<blob id>, against their digests as well.
--manifest prints the tree as one JSON line per entry, like `manifest.py --full` (needs --blobs).
Needs Python 3.11; the modules zstandard, lz4 and blake3 are used where they can be imported.
"""
import argparse
import hashlib
import json
import os
import stat
import struct
import subprocess
import sys
from collections import deque

try:
    import blake3
except ImportError:
    blake3 = None
try:
    import zstandard
except ImportError:
    zstandard = None
try:
    import lz4.block
except ImportError:
    lz4 = None

BLOCK = 4096
FANOUT = 128
NO_HASH = bytes(32)
FILE, LINK, DIRECTORY, CHAR, BLOCK_DEVICE = 8, 10, 4, 2, 6
DIRENT_TYPES = {1: 8, 2: 4, 3: 2, 4: 6, 5: 1, 6: 12, 7: 10}
XATTR_PREFIXES = {1: b"user.", 2: b"system.posix_acl_access", 3: b"system.posix_acl_default",
                  4: b"trusted.", 6: b"security."}


class Bad(Exception):
    """What stops the check of one structure."""


# Hashes: section 2 of the page.


def tag(name):
    return name.encode().ljust(16, b"\0")


def string(raw):
    return struct.pack("<I", len(raw)) + raw


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def merkle(kind, items):
    """The top hash of a list and its stored levels, a list of lists of hashes."""
    if not items:
        return NO_HASH, []
    levels, nodes, height = [], items, 0
    while True:
        groups = [nodes[i:i + FANOUT] for i in range(0, len(nodes), FANOUT)]
        nodes = [sha(tag(kind), struct.pack("<II", height, len(g)), *g) for g in groups]
        if len(nodes) == 1:
            return nodes[0], levels
        levels.append(nodes)
        height = 1


def list_digest(kind, count, directories, name_bytes, top):
    return sha(tag(kind), struct.pack("<IQQQ", 2, count, directories, name_bytes), top)


def node_digest(kind, mode, uid, gid, mtime, mtime_ns, nlink, rdev, xattrs, content):
    """The hash of a node; `xattrs` maps full names to values."""
    return sha(tag("tidegate.node"),
               struct.pack("<BIIIqIII", kind, mode, uid, gid, mtime, mtime_ns, nlink, rdev),
               struct.pack("<I", len(xattrs)),
               *(string(name) + string(xattrs[name]) for name in sorted(xattrs)), content)


def link_digest(path):
    return sha(tag("tidegate.link"), string(path))


def entry_item(name, kind, digest):
    return string(name) + bytes([kind]) + digest


def chunk_item(digest, length):
    return digest + struct.pack("<I", length)


def layout_item(digest, length, offset, stored_length, stored_offset, compressed):
    return digest + struct.pack("<IQIQB", length, offset, stored_length, stored_offset, compressed)


def root_digest(version, must_understand, chunk_size, algorithm, node):
    return sha(tag("tidegate.root"),
               struct.pack("<IQII", version, must_understand, chunk_size, algorithm), node)


# The RAFS v6 image.


def show(raw):
    return "".join(chr(c) if 32 <= c < 127 and c != 92 else "\\x%02x" % c for c in raw)


def unlz4(data, size):
    """Decodes one raw LZ4 block."""
    out, at = bytearray(), 0

    def extended(length):
        nonlocal at
        while length >= 15:
            length += (byte := data[at])
            at += 1
            if byte != 255:
                break
        return length

    while at < len(data):
        token = data[at]
        at += 1
        literals = extended(token >> 4)
        out += data[at:at + literals]
        at += literals
        if at >= len(data):
            break
        distance = data[at] | data[at + 1] << 8
        at += 2
        length = extended(token & 15) + 4
        if not 0 < distance <= len(out) or len(out) + length > size:
            raise Bad("bad LZ4 block")
        start = len(out) - distance
        while length:
            part = out[start:start + length]
            out += part
            length -= len(part)
    return bytes(out)


def decompress(compressor, data, size):
    if compressor == 1:
        return lz4.block.decompress(data, uncompressed_size=size) if lz4 else unlz4(data, size)
    if compressor == 3 and zstandard:
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    if compressor == 3:
        return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
    raise Bad(f"unknown compressor {compressor}")


class Node:
    """An inode with what its digest needs."""

    def __init__(self):
        self.paths = []  # of this node, in the order of the walk
        self.entries = []  # directories: (name, node number, dirent type)
        self.before = []  # directories: entries in front of each block
        self.chunks = []  # files: (blob, chunk index, block)
        self.items = []  # files: (digest, length)
        self.target = b""
        self.digest = NO_HASH


class Image:
    def __init__(self, raw, blobs):
        self.raw, self.blob_dir, self.faults, self.files = raw, blobs, [], {}
        self.proved = set()
        self.superblock()
        self.tables()

    def fault(self, text):
        self.faults.append(text)

    def expect(self, what, found, wanted):
        if found != wanted:
            text = [v.hex() if isinstance(v, bytes) else str(v) for v in (found, wanted)]
            self.fault(f"{what}: found {text[0]}, expected {text[1]}")

    def at(self, fmt, offset):
        size = struct.calcsize("<" + fmt)
        if not 0 <= offset <= len(self.raw) - size:
            raise Bad(f"offset {offset} is outside the bootstrap")
        return struct.unpack_from("<" + fmt, self.raw, offset)

    def bytes(self, offset, size):
        return self.at(f"{size}s", offset)[0]

    def superblock(self):
        magic, checksum, compat, bits, _, root = self.at("IIIBBH", 1024)
        if (magic, compat & 0x40000000, bits) != (0xE0F5E1E2, 0x40000000, 12):
            raise Bad("no RAFS v6 superblock with blocks of 4096 bytes")
        self.root = root
        self.meta, xattr_block = self.at("II", 1024 + 40)
        self.expect("superblock checksum", checksum, 0)
        self.expect("shared xattr block", xattr_block, 0)
        self.expect("incompatible features", self.at("I", 1024 + 80)[0], 0xC)
        devices, slot = self.at("HH", 1024 + 86)
        (flags, self.blob_table, blob_bytes, self.chunk_size, self.chunk_table, self.chunk_bytes,
         _, _) = self.at("QQIIQQQI", 1152)
        if flags & 0xC not in (4, 8):
            raise Bad(f"superblock flags {flags:#x} name no single digest algorithm")
        if (flags & 0xC3).bit_count() != 1:
            raise Bad(f"superblock flags {flags:#x} name no single compressor")
        self.algorithm = 0 if flags & 4 else 1
        if self.chunk_size & (self.chunk_size - 1) or not 0x1000 <= self.chunk_size <= 0x1000000:
            raise Bad(f"chunk size {self.chunk_size}")
        self.expect("blob table size", blob_bytes, 256 * devices)
        self.blobs = []
        for i in range(devices):
            name, index, size, count, compressor, algorithm, features, stored, raw = self.at(
                "64sIIIIIIQQ", self.blob_table + 256 * i)
            self.expect(f"blob {i}: index", index, i)
            self.expect(f"blob {i}: chunk size", size, self.chunk_size)
            self.expect(f"blob {i}: digest algorithm", algorithm, self.algorithm)
            self.expect(f"blob {i}: features", features, 0x40000001)
            device, blocks = self.at("64sI", slot * 128 + 128 * i)
            self.expect(f"blob {i}: device name", device, name)
            self.expect(f"blob {i}: device blocks", blocks, raw // BLOCK)
            name = name.rstrip(b"\0")
            if len(name) != 64 or name.strip(b"0123456789abcdef"):
                raise Bad(f"blob {i}: name {show(name)!r}")
            self.blobs.append((name.decode(), count, compressor, stored))

    def tables(self):
        """The chunk table: sorted by blob and index, with all chunks of every blob."""
        self.first, self.records = [], []
        for i in range(self.chunk_bytes // 80):
            self.records.append(self.at("32sIIIIQQQII", self.chunk_table + 80 * i))
        self.expect("chunk table size", self.chunk_bytes, 80 * sum(b[1] for b in self.blobs))
        at = 0
        for i, (_, count, compressor, _) in enumerate(self.blobs):
            self.first.append(at)
            for k, r in enumerate(self.records[at:at + count]):
                self.expect(f"chunk record {at + k}: blob and index", (r[1], r[8]), (i, k))
                if compressor == 0:
                    self.expect(f"blob {i} chunk {k}: place", r[5], r[6])
                if r[2] > 1:
                    self.fault(f"blob {i} chunk {k}: flags {r[2]:#x}")
                if r[6] % BLOCK or not 0 < r[4] <= self.chunk_size:
                    self.fault(f"blob {i} chunk {k}: offset {r[6]}, length {r[4]}")
            at += count

    def inode(self, nid):
        n, at = Node(), self.meta * BLOCK + 32 * nid
        (form, icount, mode, _, n.size, u, n.ino, n.uid, n.gid, n.mtime, n.mtime_ns,
         n.nlink) = self.at("HHHHQIIIIqII", at)
        if form not in (1, 5, 9):
            raise Bad(f"inode format {form:#x}")
        n.kind, n.mode = mode >> 12, mode & 0o7777
        if n.kind not in DIRENT_TYPES.values():
            raise Bad(f"mode {mode:#o}")
        n.rdev = u if n.kind in (CHAR, BLOCK_DEVICE) else 0
        end = at + 64 + (12 + 4 * (icount - 1) if icount else 0)
        n.xattrs = self.xattrs(at + 64, end)
        if n.kind == FILE:
            self.file(n, form, u, (end + 7) // 8 * 8)
        elif n.kind in (DIRECTORY, LINK):
            data = self.data(n, form, u, end)
            if n.kind == LINK:
                n.target = data
            else:
                self.directory(n, nid, data)
        return n

    def xattrs(self, at, end):
        found = {}
        if at < end and (shared := self.bytes(at, 12)[4]):
            raise Bad(f"{shared} shared xattrs")
        at += 12
        while at < end:
            length, prefix, size = self.at("BBH", at)
            name = XATTR_PREFIXES.get(prefix, b"?%d?" % prefix) + self.bytes(at + 4, length)
            if name in found:
                self.fault(f"xattr {show(name)} twice")
            found[name] = self.bytes(at + 4 + length, size)
            at += (4 + length + size + 3) // 4 * 4
            if at > end:
                raise Bad("xattrs end behind their area")
        return found

    def data(self, n, form, u, tail):
        """The content of a directory or link, plain or with its tail behind the inode."""
        if form == 1:
            return self.bytes(u * BLOCK, n.size)
        if form != 5:
            raise Bad(f"data layout {form >> 1}")
        whole = n.size // BLOCK * BLOCK
        head = self.bytes(u * BLOCK, whole) if whole else b""
        return head + self.bytes(tail, n.size - whole)

    def file(self, n, form, u, at):
        if form != 9 or u & ~0x1F != 0x20:
            raise Bad(f"file with inode format {form:#x} and chunk format {u:#x}")
        count = -(-n.size // self.chunk_size)
        if count * 8 > len(self.raw):
            raise Bad(f"size {n.size}")
        for k in range(count):
            low, high, block = self.at("HHI", at + 8 * k)
            blob, index = (high & 0xFF) - 1, high >> 8 << 16 | low
            if not 0 <= blob < len(self.blobs) or index >= self.blobs[blob][1]:
                raise Bad(f"chunk {k} is chunk {index} of blob {blob}, which is not there")
            r = self.records[self.first[blob] + index]
            if r[4] != min(self.chunk_size, n.size - k * self.chunk_size) or r[6] != block * BLOCK:
                self.fault(f"chunk {k}: the record's length {r[4]} or offset {r[6]} is wrong")
            n.chunks.append((blob, index, block))
            n.items.append((r[0], r[4]))
        step = BLOCK << (u & 0x1F)
        for k, (blob, _, block) in enumerate(n.chunks):  # what a reader of the chunk bits sees
            of = n.chunks[k * self.chunk_size // step]
            place = of[2] + k * self.chunk_size % step // BLOCK
            if step < self.chunk_size or (blob, block) != (of[0], place):
                self.fault(f"chunk {k}: chunk format {u:#x} leads elsewhere")
                break

    def directory(self, n, nid, data):
        names = []
        for start in range(0, len(data), BLOCK):
            block = data[start:start + BLOCK]
            n.before.append(len(n.entries))
            if len(block) < 12:
                raise Bad("short directory block")
            begin = struct.unpack_from("<H", block, 8)[0]
            if begin < 12 or begin % 12 or begin > len(block):
                raise Bad(f"first name of a directory block at {begin}")
            heads = [struct.unpack_from("<QHB", block, i) for i in range(0, begin, 12)]
            for (child, at, kind), (_, end, _) in zip(heads, heads[1:] + [(0, len(block), 0)]):
                if not begin <= at < end <= len(block):
                    raise Bad(f"name at {at} to {end} of a directory block")
                name = block[at:end].split(b"\0")[0]
                if not 0 < len(name) <= 255 or b"/" in name:
                    raise Bad(f"name {show(name)!r}")
                names.append(name)
                if name not in (b".", b".."):
                    n.entries.append((name, child, kind))
                elif kind != 2 or name == b"." and child != nid:
                    self.fault(f"entry {show(name)} of a directory leads to {child}")
                else:
                    n.parent = child
        if any(a >= b for a, b in zip(names, names[1:])):
            raise Bad("directory is not sorted")
        if names.count(b".") + names.count(b"..") != 2:
            self.fault("directory without . and ..")

    def walk(self):
        """Reads all nodes; returns {node number: node} in breadth-first order."""
        nodes, queue = {}, deque([(self.root, b"", self.root, 2)])
        while queue:
            nid, path, parent, kind = queue.popleft()
            if nid not in nodes:
                seen = len(self.faults)
                try:
                    nodes[nid] = self.inode(nid)
                except Bad as e:
                    raise Bad(f"/{show(path)}: {e}") from None
                self.faults[seen:] = [f"/{show(path)}: {f}" for f in self.faults[seen:]]
                for name, child, t in nodes[nid].entries:
                    queue.append((child, path + b"/" + name if path else name, nid, t))
                if nodes[nid].kind == DIRECTORY:
                    self.expect(f"/{show(path)}: entry ..", nodes[nid].parent, parent)
            elif nodes[nid].kind == DIRECTORY:
                raise Bad(f"/{show(path)}: directory with a second name")
            self.expect(f"/{show(path)}: type", DIRENT_TYPES.get(kind), nodes[nid].kind)
            nodes[nid].paths.append(path)
        if nodes[self.root].kind != DIRECTORY:
            raise Bad("the root is no directory")
        return nodes

    def chunk(self, blob, index):
        """The bytes of a chunk, from the blob, checked against its record."""
        name, _, compressor, _ = self.blobs[blob]
        r = self.records[self.first[blob] + index]
        if blob not in self.files:
            self.files[blob] = open(os.path.join(self.blob_dir, name), "rb")
        self.files[blob].seek(r[5])
        data = self.files[blob].read(r[3])
        what = f"blob {blob} chunk {index}"
        if r[2] & 1:
            try:
                data = decompress(compressor, data, r[4])
            except Exception as e:  # each decompressor has its own
                raise Bad(f"{what}: {e}") from None
        if (blob, index) not in self.proved:
            self.proved.add((blob, index))
            self.expect(f"{what}: length", len(data), r[4])
            if self.algorithm == 1:
                self.expect(f"{what}: digest", hashlib.sha256(data).digest(), r[0])
            elif blake3:
                self.expect(f"{what}: digest", blake3.blake3(data).digest(), r[0])
        return data


# The integrity section: section 3 of the page.


class Section:
    def __init__(self, image, nodes):
        self.image, self.nodes, self.claims = image, nodes, {}
        raw = image.raw
        if len(raw) % BLOCK:
            image.fault(f"bootstrap of {len(raw)} bytes, not a multiple of {BLOCK}")
        (magic, self.version, size, self.must, self.may, self.base, self.length,
         self.root_record, self.root_node, self.blob_records, self.trace, self.used,
         zero) = image.at("8sIIQQQQQ32sQQQ16s", len(raw) - 128)
        if (magic, self.version, size) != (b"TIDEGATE", 1, 128):
            raise Bad("no trailer of version 1")
        image.expect("must-understand bits", self.must, 0)
        image.expect("may-ignore bits", self.may, (self.trace != 0) | (self.used != 0) << 1)
        image.expect("end of the trailer", zero, bytes(16))
        if self.base + self.length > len(raw) - 128 or self.base % 8:
            raise Bad("the section is not in front of the trailer")
        if self.base < image.chunk_table + image.chunk_bytes:
            image.fault("the section is not behind the chunk table")
        gap = raw[self.base + self.length:-128]
        image.expect("bytes behind the section", gap.count(0), len(gap))
        image.expect("section header", self.take("header", 0, 16, True),
                     b"TIDEGATE" + struct.pack("<II", self.version, 0))

    def take(self, kind, offset, size, header=False):
        """Bytes of the section, remembered for the search for overlaps."""
        if offset == 0 and not header:
            raise Bad(f"{kind} is missing")
        if offset % 8:
            self.image.fault(f"{kind} at {offset}, which is not a multiple of 8")
        if offset + size > self.length:
            raise Bad(f"{kind} at {offset} with {size} bytes ends behind the section")
        self.claims.setdefault((offset, offset + size), kind)
        return self.image.bytes(self.base + offset, size)

    def levels(self, what, offset, levels):
        if not levels:
            return self.image.expect(f"{what}: offset of levels", offset, 0)
        wanted = b"".join(h for level in levels for h in level)
        found = self.take(f"{what}: levels", offset, len(wanted))
        for k in range(len(wanted) // 32):
            self.image.expect(f"{what}: stored hash {k}", found[32 * k:32 * k + 32],
                              wanted[32 * k:32 * k + 32])

    def digests(self):
        """Computes the digest of every node from the leaves of the tree up."""
        for n in sorted(self.nodes.values(), key=lambda n: n.kind == DIRECTORY):
            n.canonical = min(n.paths)
            if n.kind != DIRECTORY:
                self.image.expect(f"/{show(n.canonical)}: nlink", n.nlink, len(n.paths))
                self.digest(n, len(n.paths))
        for n in reversed(self.nodes.values()):
            if n.kind == DIRECTORY:
                self.digest(n, 0)

    def digest(self, n, nlink):
        content = b""
        if n.kind == LINK:
            content = string(n.target)
        elif n.kind == FILE:
            top, n.levels = merkle("tidegate.chunks", [chunk_item(*i) for i in n.items])
            content = struct.pack("<Q", n.size) + list_digest(
                "tidegate.chunks", len(n.items), 0, 0, top)
        elif n.kind == DIRECTORY:
            n.records, items, n.directories = [], [], 0
            for name, nid, _ in n.entries:
                child = self.nodes[nid]
                path = n.paths[0] + b"/" + name if n.paths[0] else name
                later = path != child.canonical
                digest = link_digest(child.canonical) if later else child.digest
                n.records.append((path, child, later, digest))
                n.directories += child.kind == DIRECTORY
                items.append(entry_item(name, child.kind | (0x80 if later else 0), digest))
            n.name_bytes = sum(len(name) for name, _, _ in n.entries)
            top, n.levels = merkle("tidegate.entries", items)
            content = list_digest("tidegate.entries", len(items), n.directories, n.name_bytes, top)
            self.image.expect(f"/{show(n.paths[0])}: nlink", n.nlink, 2 + n.directories)
        n.digest = node_digest(n.kind, n.mode, n.uid, n.gid, n.mtime, n.mtime_ns, nlink, n.rdev,
                               n.xattrs, content)

    def compare(self):
        """Compares what is stored, from the root down."""
        root = self.nodes[self.image.root]
        self.image.expect("trailer: node digest of the root", self.root_node, root.digest)
        queue = deque([(root, self.root_record)])
        while queue:
            node, offset = queue.popleft()
            try:
                queue.extend(self.directory(node, offset))
            except Bad as e:
                self.image.fault(f"/{show(node.canonical)}: {e}")
        for part in (self.layouts, self.trace_hint, self.used_hint):
            try:
                part()
            except Bad as e:
                self.image.fault(str(e))
        last, end = "the start", 0
        for (start, stop), kind in sorted(self.claims.items()):
            if start < end:
                self.image.fault(f"{kind} at {start} overlaps {last}")
            elif any(self.image.raw[self.base + end:self.base + start]) or start - end > 7:
                self.image.fault(f"{start - end} unused bytes of the section at {end}")
            last, end = kind, max(end, stop)
        if self.length - end > 7:
            self.image.fault(f"{self.length - end} unused bytes at the end of the section")

    def trace_hint(self):
        """The runs of chunks that are needed first: each chunk of the image at most once."""
        if not self.trace:
            return
        count = struct.unpack("<Q", self.take("trace", self.trace, 8))[0]
        raw = self.take("trace", self.trace, 8 + 12 * count)
        self.claims.pop((self.trace, self.trace + 8))
        seen = set()
        for i in range(count):
            blob, first, length = struct.unpack_from("<III", raw, 8 + 12 * i)
            if blob >= len(self.image.blobs) or not 0 < length <= self.image.blobs[blob][1] - first:
                raise Bad(f"trace: run {i} leads out of blob {blob}")
            run = {(blob, first + k) for k in range(length)}
            if seen & run:
                self.image.fault(f"trace: run {i} repeats a chunk")
            seen |= run

    def used_hint(self):
        """The maps of the chunks that the image uses."""
        if not self.used:
            return
        used = {(b, k) for n in self.nodes.values() for b, k, _ in n.chunks}
        raw = self.take("used chunks", self.used, 8 * len(self.image.blobs))
        for b, (_, count, _, _) in enumerate(self.image.blobs):
            wanted = [(b, k) in used for k in range(count)]
            offset = struct.unpack_from("<Q", raw, 8 * b)[0]
            if all(wanted):
                self.image.expect(f"map of blob {b}", offset, 0)
                continue
            found = self.take(f"map of blob {b}", offset, -(-count // 8))
            packed = bytearray(-(-count // 8))
            for k, bit in enumerate(wanted):
                packed[k // 8] |= bit << k % 8
            self.image.expect(f"map of blob {b}", found, bytes(packed))

    def directory(self, n, offset):
        what, image = f"/{show(n.canonical)}", self.image
        if not n.entries:
            image.expect(f"{what}: record of an empty directory", offset, 0)
            return []
        raw = self.take(f"{what}: record", offset, 40 + 40 * len(n.entries))
        count, directories, name_bytes, levels, index = struct.unpack_from("<QQQQQ", raw)
        image.expect(f"{what}: counts", (count, directories, name_bytes),
                     (len(n.entries), n.directories, n.name_bytes))
        self.levels(what, levels, n.levels)
        if len(n.before) == 1:
            image.expect(f"{what}: offset of the block index", index, 0)
        else:
            found = self.take(f"{what}: block index", index, 4 * len(n.before))
            image.expect(f"{what}: block index", struct.unpack(f"<{len(n.before)}I", found),
                         tuple(n.before))
        below = []
        for k, (path, child, later, digest) in enumerate(n.records):
            stored, link = struct.unpack_from("<32sQ", raw, 40 + 40 * k)
            name, at = f"/{show(path)}", link & ~(1 << 63)
            image.expect(f"{name}: digest", stored, digest)
            image.expect(f"{name}: mark of a later name", link >> 63, int(later))
            if later:
                wanted = string(child.canonical)
                image.expect(f"{name}: canonical path",
                             self.take(f"{name}: path", at, len(wanted)), wanted)
            elif child.kind == DIRECTORY:
                below.append((child, at))
            else:
                self.levels(name, at, child.levels if child.kind == FILE else [])
        return below

    def layouts(self):
        image = self.image
        if not image.blobs:
            return image.expect("offset of the blob records", self.blob_records, 0)
        raw = self.take("blob records", self.blob_records, 48 * len(image.blobs))
        for i, (_, count, _, _) in enumerate(image.blobs):
            items = [layout_item(r[0], r[4], r[6], r[3], r[5], r[2] & 1)
                     for r in image.records[image.first[i]:image.first[i] + count]]
            top, levels = merkle("tidegate.layout", items)
            digest, at, first = struct.unpack_from("<32sQQ", raw, 48 * i)
            image.expect(f"blob {i}: layout digest", digest,
                         list_digest("tidegate.layout", count, 0, 0, top))
            image.expect(f"blob {i}: first record", first, image.first[i])
            self.levels(f"blob {i}: layout", at, levels)


def manifest(image, nodes):
    lines = []
    for n in nodes.values():
        e = {"mode": oct(n.kind << 12 | n.mode), "uid": n.uid, "gid": n.gid,
             "mtime": n.mtime * 10**9 + n.mtime_ns, "nlink": n.nlink}
        if n.kind == FILE:
            data = hashlib.sha256()
            for blob, index, _ in n.chunks:
                data.update(image.chunk(blob, index))
            e |= {"sha256": data.hexdigest(), "size": n.size}
        elif n.kind == LINK:
            e |= {"target": show(n.target), "size": len(n.target)}
        elif n.kind in (CHAR, BLOCK_DEVICE):
            e["rdev"] = [n.rdev >> 8 & 0xFFF, n.rdev & 0xFF | n.rdev >> 12 & 0xFFF00]
        if n.xattrs:
            e["xattrs"] = {os.fsdecode(k): v.hex() for k, v in n.xattrs.items()}
        lines += [(b"/" + path, e) for path in n.paths]
    for path, e in sorted(lines, key=lambda line: line[0]):
        print(json.dumps({"path": show(path)} | e, sort_keys=True))


def main():
    parser = argparse.ArgumentParser(description="Checks the integrity section of an image.")
    parser.add_argument("bootstrap")
    parser.add_argument("--blobs", help="directory with the blobs; checks their chunks")
    parser.add_argument("--root", help="the root digest that the image must have")
    parser.add_argument("--manifest", action="store_true", help="print the tree as JSON lines")
    args = parser.parse_args()
    if args.manifest and not args.blobs:
        parser.error("--manifest needs --blobs")
    faults = []
    try:
        with open(args.bootstrap, "rb") as f:
            image = Image(f.read(), args.blobs)
        faults = image.faults
        nodes = image.walk()
        section = Section(image, nodes)
        section.digests()
        root = "sha256:" + root_digest(section.version, section.must, image.chunk_size,
                                       image.algorithm, nodes[image.root].digest).hex()
        print("root", root, file=sys.stderr if args.manifest else sys.stdout)
        if args.root:
            image.expect("root digest", root, args.root)
        section.compare()
        if args.blobs:
            if image.algorithm == 0 and not blake3:
                print("note: no module blake3; only lengths of chunks checked", file=sys.stderr)
            for blob, (_, count, _, _) in enumerate(image.blobs):
                for index in range(count):
                    image.chunk(blob, index)
        if args.manifest:
            manifest(image, nodes)
    except (Bad, OSError) as e:
        faults.append(str(e))
    for fault in faults[:100]:
        print(fault, file=sys.stderr)
    if len(faults) > 100:
        print(f"and {len(faults) - 100} more", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
