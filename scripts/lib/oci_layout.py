"""Makes an OCI image layout of layers as they are.

usage: oci_layout.py DIR TAG LAYER…      (tar archives, gzip or plain, lowest first)
"""

import gzip
import hashlib
import json
import pathlib
import sys

OCI = "application/vnd.oci.image."


def main():
    directory, tag, *layers = sys.argv[1:]
    directory = pathlib.Path(directory)
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(kind, data):
        name = hashlib.sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {"mediaType": OCI + kind, "digest": "sha256:" + name, "size": len(data)}

    descriptors, ids = [], []
    for layer in layers:
        data = pathlib.Path(layer).read_bytes()
        packed = data.startswith(b"\x1f\x8b")
        descriptors.append(put("layer.v1.tar" + ("+gzip" if packed else ""), data))
        plain = gzip.decompress(data) if packed else data
        ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
    config = {"architecture": "amd64", "os": "linux", "config": {},
              "rootfs": {"type": "layers", "diff_ids": ids}}
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                "config": put("config.v1+json", json.dumps(config).encode()),
                "layers": descriptors}
    entry = put("manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    index = {"schemaVersion": 2, "manifests": [entry]}
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


main()
