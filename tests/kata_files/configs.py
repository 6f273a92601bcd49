"""Reads configurations as Kata's runtimes and containerd read them."""

import glob
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KATA = ROOT / "kata"


def toml(path):
    """The file's content as nested dicts."""
    with open(path, "rb") as file:
        return tomllib.load(file)


def merge(base, over):
    """`base` with the keys of `over`; tables are merged, other values replaced."""
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            value = merge(merged[key], value)
        merged[key] = value
    return merged


def kata_configuration(path):
    """Kata's configuration file with the drop-ins beside it, in their order.

    The runtimes read every entry of `config.d`, whatever its name: a directory
    or a backup there is an error, as it is for them.
    """
    config = toml(path)
    for entry in sorted(Path(path).parent.joinpath("config.d").iterdir()):
        config = merge(config, toml(entry))
    return config


def containerd_configuration(root, path="/etc/containerd/config.toml", default=()):
    """containerd 2's configuration on the host `root` with its imports merged.

    `default` are the imports of a containerd whose file says nothing of them.
    A fragment of a higher version than the file's is an error.
    """
    file = Path(f"{root}{path}")
    config = toml(file) if file.exists() else {"version": 3}
    for pattern in config.get("imports", list(default)):
        found = sorted(glob.glob(f"{root}{pattern}"))
        if not found and "*" not in pattern:
            raise FileNotFoundError(f"containerd imports {pattern}, which is missing")
        for fragment in found:
            part = toml(fragment)
            if part["version"] > config["version"]:
                raise ValueError(f"{fragment} has a higher version than {file}")
            config = merge(config, {k: v for k, v in part.items() if k != "imports"})
    return config
