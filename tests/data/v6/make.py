#!/usr/bin/env python3
"""Makes the images of this directory out of the tree that ../v5/tree.py makes.

usage: make.py NYDUS-IMAGE TREE OUTPUT

What release 2.2.0 of nydus-image can make, it makes. The other forms (encrypted, batch with
table of contents, tarfs with compact inodes) are written here, from the description of the
format and with other libraries than Tidegate's: `pip install cryptography zstandard`.
"""

import hashlib
import os
import shutil
import stat
import struct
import subprocess
import sys
import tarfile

import zstandard
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

SUPER, EXTENDED, SLOTS = 1024, 1152, 1408
CHUNK = 4096


def put(data, at, form, *values):
    struct.pack_into("<" + form, data, at, *values)


def get(data, at, form):
    return struct.unpack_from("<" + form, data, at)


class Image:
    """A plain image with one blob, taken apart."""

    def __init__(self, path):
        self.boot = bytearray(open(f"{path}/bootstrap", "rb").read())
        (name,) = os.listdir(f"{path}/blobs")
        self.blob = open(f"{path}/blobs/{name}", "rb").read()
        _, self.entry, size, _, self.table, length = get(self.boot, EXTENDED, "QQIIQQ")
        assert size == 256
        self.records = range(self.table, self.table + length, 80)

    def chunks(self):
        """Records by index: (position, flags, stored length, length, stored offset, offset)."""
        found = {}
        for at in self.records:
            _, flags, stored, length, stored_at, offset = get(self.boot, at + 32, "IIIIQQ")
            found[get(self.boot, at + 72, "I")[0]] = (at, flags, stored, length, stored_at, offset)
        return [found[index] for index in sorted(found)]

    def write(self, path, blob):
        name = hashlib.sha256(blob).hexdigest()
        os.makedirs(f"{path}/blobs")
        self.boot[self.entry : self.entry + 64] = name.encode()
        self.boot[SLOTS : SLOTS + 64] = name.encode()
        put(self.boot, self.entry + 88, "Q", len(blob))
        open(f"{path}/blobs/{name}", "wb").write(blob)
        open(f"{path}/bootstrap", "wb").write(self.boot)


def header(features, compressor, chunks, place, contexts=(0, 0, 0)):
    data = bytearray(4096)
    put(data, 0, "IIII", 0xB10BB10B, features, compressor, chunks)
    put(data, 16, "QQQ", *place)
    put(data, 40, "QQI", *contexts)
    put(data, 4092, "I", 0xB10BB10B)
    return bytes(data)


def record(flags, offset, length, stored_at, stored, data):
    return struct.pack(
        "<QQQ", flags << 56 | (length - 1) << 32 | offset >> 12, stored << 40 | stored_at, data
    )


def encrypted(plain, path):
    image = Image(plain)
    key, iv = bytes(range(100, 132)), bytes(range(200, 216))

    def encrypt(piece):
        if len(piece) < 16:
            piece = piece + bytes([16 - len(piece)]) * (16 - len(piece)) + b"\x78\x90"
        it = Cipher(algorithms.AES(key), modes.XTS(iv)).encryptor()
        return it.update(piece) + it.finalize()

    blob, table = b"", b""
    for at, flags, stored, length, stored_at, offset in image.chunks():
        piece = encrypt(image.blob[stored_at : stored_at + stored])
        put(image.boot, at + 36, "II", flags | 4, len(piece))
        put(image.boot, at + 48, "Q", len(blob))
        table += record((flags & 1) | 8, offset, length, len(blob), len(piece), 0)
        blob += piece
    features = 0x40000105
    small = zstandard.compress(table)
    place = (len(blob), len(small), len(table))
    count = len(table) // 24
    blob += encrypt(small) + encrypt(header(features, 3, count, place))
    put(image.boot, EXTENDED, "Q", get(image.boot, EXTENDED, "Q")[0] | 0x02000000)
    put(image.boot, image.entry + 84, "I", features)
    put(image.boot, image.entry + 108, "IQQQ", 3, *place)
    image.boot[image.entry + 168 : image.entry + 200] = key
    image.boot[image.entry + 200 : image.entry + 216] = iv
    put(image.boot, image.entry + 216, "I", 1)
    image.write(path, blob)


def footer(name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.GNU_FORMAT)[:512]


def batch(plain, path, limit=2048):
    """Chunks shorter than a chunk share batches; a table of contents proves the tables."""
    image = Image(plain)
    blob, table, digests, contexts, raw, waiting = b"", [], b"", b"", b"", []

    def close():
        nonlocal blob, contexts, raw, waiting
        if not waiting:
            return
        small = zstandard.compress(raw)
        stored = small if len(small) < len(raw) else raw
        for position, where, offset, length in waiting:
            data = len(contexts) // 40 << 32 | where
            table[position] = record(5, offset, length, len(blob), 0, data)
        contexts += struct.pack("<II", len(stored), len(raw)) + bytes(32)
        blob, raw, waiting = blob + stored, b"", []

    for at, flags, stored, length, stored_at, offset in image.chunks():
        piece = image.blob[stored_at : stored_at + stored]
        digests += image.boot[at : at + 32]
        if length == CHUNK:
            close()
            put(image.boot, at + 48, "Q", len(blob))
            table.append(record(flags & 1, offset, length, len(blob), stored, 0))
            blob += piece
            continue
        plain_bytes = zstandard.decompress(piece, max_output_size=length) if flags & 1 else piece
        if len(raw) + length > limit:
            close()
        waiting.append((len(table), len(raw), offset, length))
        table.append(b"")
        raw += plain_bytes
        put(image.boot, at + 36, "II", flags & ~1, 0)
        put(image.boot, at + 48, "Q", 0)
    close()
    table = b"".join(table)
    whole = table + contexts
    small = zstandard.compress(whole)
    data_end = len(blob)
    blob += footer("image.blob", blob)
    place = (len(blob), len(small), len(whole))
    count = (len(table), len(contexts), len(contexts) // 40)
    features = 0x700000A5
    head = header(features, 3, len(table) // 24, place, count)
    meta_at = len(blob)
    blob += small + head + footer("blob.meta", small + head)
    digests_at = len(blob)
    blob += digests + footer("blob.digest", digests)

    def entry(name, flags, content, at, stored, size):
        data = bytearray(128)
        put(data, 0, "I", flags)
        data[8 : 8 + len(name)] = name.encode()
        data[24:56] = hashlib.sha256(content).digest()
        put(data, 56, "QQQ", at, stored, size)
        return bytes(data)

    toc = entry("image.blob", 1, blob[: data_end + 512], 0, data_end, image.chunks()[-1][5] + CHUNK)
    toc += entry("blob.meta", 2, whole, meta_at, len(small), len(whole))
    toc += entry("blob.meta.header", 1, head, meta_at + len(small), 4096, 4096)
    toc += entry("blob.digest", 1, digests, digests_at, len(digests), len(digests))
    toc += footer("rafs.blob.toc", toc)
    blob += toc
    put(image.boot, image.entry + 84, "I", features)
    put(image.boot, image.entry + 104, "IIQQQ", len(toc), 3, *place)
    image.boot[image.entry + 136 : image.entry + 168] = hashlib.sha256(toc).digest()
    put(image.boot, EXTENDED, "Q", get(image.boot, EXTENDED, "Q")[0] | 0x100)
    image.write(path, blob)


def tarfs(archive, path):
    """Every inode is a compact one; blocks have 512 bytes."""
    data = open(archive, "rb").read()
    nodes = {"": {"mode": stat.S_IFDIR | 0o755, "children": {}}}
    with tarfile.open(archive) as members:
        for member in members:
            name = member.name.removeprefix("./").strip("/")
            if name in ("", "."):
                continue
            kind = stat.S_IFREG if member.isreg() else stat.S_IFLNK if member.issym() else stat.S_IFDIR
            node = {"mode": kind | member.mode, "member": member}
            if kind == stat.S_IFDIR:
                node["children"] = {}
            nodes[name] = node
            parent, _, leaf = name.rpartition("/")
            nodes[parent]["children"][leaf] = name
    meta = 8192
    at, places = 32, {}  # no inode has the number 0

    def directory(name, number):
        parent = name.rpartition("/")[0]
        entries = {".": name, "..": parent} | nodes[name]["children"]
        blocks, block, size = [], [], 0
        for leaf in sorted(entries, key=os.fsencode):
            need = 12 + len(os.fsencode(leaf))
            if size + need > 512:
                blocks.append(block)
                block, size = [], 0
            block.append((leaf, entries[leaf]))
            size += need
        blocks.append(block)
        out = b""
        for block in blocks:
            where, heads, names = 12 * len(block), b"", b""
            for leaf, target in block:
                kind = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFLNK: 7}[
                    stat.S_IFMT(nodes[target]["mode"])
                ]
                heads += struct.pack("<QHBB", number(target), where, kind, 0)
                names += os.fsencode(leaf)
                where += len(os.fsencode(leaf))
            out += heads + names
            if block is not blocks[-1]:
                out += bytes(-len(out) % 512)
        return out

    # First the lengths, then the places, then the bytes.
    for name, node in nodes.items():
        at += -at % 32
        if "children" in node:
            length = len(directory(name, lambda _: 0))
        elif stat.S_ISLNK(node["mode"]):
            length = len(os.fsencode(node["member"].linkname))
        else:
            length = node["member"].size
        node["size"] = length
        tail = length % 512
        if stat.S_ISREG(node["mode"]):
            places[name], node["start"] = at, 0
            at += 32 + 8 * -(-length // CHUNK)
            continue
        if at % 512 + 32 + tail > 512:
            at += -at % 512
        places[name] = at
        at += 32 + tail
        if length >= 512:
            at += -at % 512
            node["start"] = (meta + at) // 512
            at += length - tail
        else:
            node["start"] = 0
    out = bytearray(meta + at)
    number = lambda name: places[name] // 32
    for index, (name, node) in enumerate(nodes.items(), 1):
        here = meta + places[name]
        regular = stat.S_ISREG(node["mode"])
        links = 2 + sum("children" in nodes[c] for c in node.get("children", {}).values())
        put(out, here, "HHHHI", (4 if regular else 2) << 1, 0, node["mode"], links if "children" in node else 1, node["size"])
        start = 0x20 | 3 if regular else node["start"]
        member = node.get("member")
        put(out, here + 16, "IIHH", start, index, member.uid if member else 0, member.gid if member else 0)
        if regular:
            for position in range(-(-node["size"] // CHUNK)):
                block = (member.offset_data + position * CHUNK) // 512
                put(out, here + 32 + 8 * position, "HHI", index & 0xFFFF, 1, block)
            continue
        content = directory(name, number) if "children" in node else os.fsencode(member.linkname)
        full = len(content) - len(content) % 512
        at = node["start"] * 512
        out[at : at + full] = content[:full]
        out[here + 32 : here + 32 + len(content) - full] = content[full:]
    # Superblocks, one device, one blob.
    put(out, SUPER, "III", 0xE0F5E1E2, 0, 0x40000000)
    out[SUPER + 12] = 9
    put(out, SUPER + 14, "HQ", number(""), len(nodes))
    put(out, SUPER + 36, "II", len(data) // 512, meta // 512)
    put(out, SUPER + 80, "IHHH", 0xC, 0, 1, 11)
    put(out, EXTENDED, "QQIIQQ", 0x1000219, 4096, 256, CHUNK, 0, 0)
    name = hashlib.sha256(data).hexdigest().encode()
    for at in (SLOTS, 4096):
        out[at : at + 64] = name
    put(out, SLOTS + 64, "I", len(data) // 512)
    put(out, 4096 + 64, "IIIIII", 0, CHUNK, len(nodes), 0, 1, 0x40000040)
    put(out, 4096 + 88, "QQ", len(data), len(data))
    out += bytes(-len(out) % 4096)
    os.makedirs(f"{path}/blobs")
    open(f"{path}/bootstrap", "wb").write(out)
    shutil.copy(archive, f"{path}/blobs/{name.decode()}")


def main():
    tool, tree, output = sys.argv[1:]
    for name in os.listdir(output):
        if os.path.isdir(f"{output}/{name}"):
            shutil.rmtree(f"{output}/{name}")

    def create(name, *options, source=tree, kind="directory"):
        os.makedirs(f"{output}/{name}/blobs")
        line = [tool, "create", "--fs-version", "6", "--chunk-size", "0x1000", "--type", kind]
        subprocess.run([*line, "-D", f"{output}/{name}/blobs", *options, source], check=True)

    boot = lambda name: ("-B", f"{output}/{name}/bootstrap")
    create("plain", *boot("plain"))
    create("toc", "--features", "blob-toc", "--digester", "sha256", "--compressor", "lz4_block", *boot("toc"))
    create("inline", "--blob-inline-meta")
    create("inline-toc", "--blob-inline-meta", "--features", "blob-toc")
    encrypted(f"{output}/plain", f"{output}/encrypted")
    batch(f"{output}/plain", f"{output}/batch")
    # Archives: what the tool's tar reader knows.
    def known(member):
        path = member.name
        odd = path.startswith(("./odd", "./new\n", "./n" + "n" * 50, "./fifo", "./blk", "./null"))
        member.mtime, member.pax_headers = 0, {}
        member.uid, member.gid = member.uid % 1000, member.gid % 1000
        return None if odd or member.islnk() else member

    for name, mode in (("layer.tar", "w"), ("layer.tar.gz", "w:gz")):
        with tarfile.open(f"{output}/{name}", mode, format=tarfile.GNU_FORMAT) as out:
            out.add(tree, ".", filter=known)
    create("zran", *boot("zran"), source=f"{output}/layer.tar.gz", kind="targz-ref")
    layer = open(f"{output}/layer.tar.gz", "rb").read()
    open(f"{output}/zran/blobs/{hashlib.sha256(layer).hexdigest()}", "wb").write(layer)
    tarfs(f"{output}/layer.tar", f"{output}/tarfs")
    manifest = [sys.executable, f"{os.path.dirname(os.path.abspath(__file__))}/../../support/manifest.py"]

    def describe(name, directory):
        with open(f"{output}/{name}.manifest", "wb") as out:
            subprocess.run([*manifest, "--full", directory], stdout=out, check=True)
        shutil.rmtree(directory)

    os.makedirs(f"{output}/layer")
    subprocess.run(["tar", "-C", f"{output}/layer", "-xpf", f"{output}/layer.tar"], check=True)
    describe("layer", f"{output}/layer")
    # A tree with one more file, whose other chunks are those of the first image.
    more = f"{output}/more"
    shutil.copytree(tree, more, symlinks=True, ignore=shutil.ignore_patterns("fifo", "sock", "null", "blk"))
    open(f"{more}/more", "w").write("one more")
    create("dict", "--chunk-dict", f"bootstrap={output}/plain/bootstrap", *boot("dict"), source=more)
    (blob,) = os.listdir(f"{output}/plain/blobs")
    shutil.copy(f"{output}/plain/blobs/{blob}", f"{output}/dict/blobs/{blob}")
    os.utime(more, (0, 0))
    describe("dict", more)
    for name in ("layer.tar", "layer.tar.gz"):
        os.remove(f"{output}/{name}")


main()
