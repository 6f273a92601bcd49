"""Writes an image layout of tar archives, as builders do.

usage: make_layout.py LAYOUT TAG LAYER.tar…

Layers that are there already are used again; the configuration has one item of
history per layer and one without.
"""
import gzip
import hashlib
import json
import os
import sys


class Layout:
    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.join(path, "blobs", "sha256"), exist_ok=True)
        with open(os.path.join(path, "oci-layout"), "w") as file:
            file.write('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, data, kind):
        digest = hashlib.sha256(data).hexdigest()
        with open(os.path.join(self.path, "blobs", "sha256", digest), "wb") as file:
            file.write(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def document(self, value, kind):
        return self.blob(json.dumps(value).encode(), kind)

    def enter(self, descriptor, tag):
        path = os.path.join(self.path, "index.json")
        index = {"schemaVersion": 2, "manifests": []}
        if os.path.exists(path):
            with open(path) as file:
                index = json.load(file)
        descriptor = {**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}}
        index["manifests"].append(descriptor)
        with open(path, "w") as file:
            json.dump(index, file)


def main(arguments):
    if len(arguments) < 3:
        sys.exit(__doc__)
    path, tag, *archives = arguments
    layout = Layout(path)
    layers, ids, history = [], [], []
    for archive in archives:
        with open(archive, "rb") as file:
            data = file.read()
        ids.append("sha256:" + hashlib.sha256(data).hexdigest())
        data = gzip.compress(data, 6, mtime=0)
        layers.append(layout.blob(data, "application/vnd.oci.image.layer.v1.tar+gzip"))
        history.append({"created": "2020-01-01T00:00:00Z", "created_by": os.path.basename(archive)})
    history.append({"created_by": "ENV A=b", "empty_layer": True})
    config = {
        "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
        "config": {"Env": ["A=b"], "Entrypoint": ["/bin/sh"], "WorkingDir": "/srv"},
        "rootfs": {"type": "layers", "diff_ids": ids}, "history": history,
    }
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.document(config, "application/vnd.oci.image.config.v1+json"),
        "layers": layers, "annotations": {"org.example.note": "kept"},
    }
    layout.enter(layout.document(manifest, manifest["mediaType"]), tag)


main(sys.argv[1:])
