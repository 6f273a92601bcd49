"""The files in kata/ parse, and agree with each other and with the program."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
import unittest
import xml.etree.ElementTree
from pathlib import Path

import yaml
from configs import KATA, ROOT, toml

BINARY = os.environ["TIDEGATE_BIN"]
SHIMS = ["qemu", "clh", "qemu-runtime-rs", "clh-runtime-rs"]
HANDLERS = {f"kata-tidegate-{shim}" for shim in SHIMS}
# What the installer writes, under its default prefix.
INSTALLED = {
    "/opt/tidegate",
    "/opt/tidegate/bin/tidegate",
    "/opt/tidegate/bin/nydusd",
    "/opt/tidegate/bin/virtiofsd",
    "/opt/tidegate/libexec/tidegate-libvirt",
    "/opt/tidegate/state/record",
    *(f"/opt/tidegate/kata/{shim}/configuration.toml" for shim in SHIMS),
}
PAGES = [ROOT / "docs/kata-guide.md", ROOT / "docs/vmm.md"]


class UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is there twice, as Kubernetes does when it is strict."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.YAMLError(f"a key is there twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def files(suffix):
    found = sorted(KATA.rglob(f"*{suffix}"))
    assert found, f"no {suffix} in {KATA}"
    return found


def documents(path):
    return [d for d in yaml.load_all(path.read_text(), UniqueKeys) if d is not None]


def objects(kind):
    """Every Kubernetes object of that kind, with its file."""
    return [(p, d) for p in files(".yaml") for d in documents(p) if d["kind"] == kind]


def run(*line, name=None):
    return subprocess.run(
        [name or BINARY, *line], executable=BINARY, capture_output=True, text=True, check=False
    )


def options_of(*command, name=None):
    """The long options that --help of a command of the program lists."""
    done = run(*command, "--help", name=name)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"(--[a-z][a-z-]+)", done.stdout))


class Files(unittest.TestCase):
    def test_every_file_parses(self):
        for path in files(".toml"):
            self.assertTrue(toml(path), path)
        for path in files(".json"):
            self.assertTrue(json.loads(path.read_text()), path)
        for path in files(".xml"):
            self.assertEqual(xml.etree.ElementTree.parse(path).getroot().tag, "domain", path)
        for path in files(".yaml"):
            for document in documents(path):
                self.assertTrue({"apiVersion", "kind"} <= document.keys(), path)

    def test_paths_are_those_that_the_installer_writes(self):
        for path in KATA.rglob("*"):
            if not path.is_file():
                continue
            for found in re.findall(r"/opt/tidegate[A-Za-z0-9/._-]*", path.read_text()):
                self.assertIn(found.rstrip("/."), INSTALLED, path)

    def test_katas_fragments_name_the_daemon_that_fits_the_mode(self):
        for mode, kind, daemon in (
            ("nydus", "virtio-fs-nydus", "nydusd"),
            ("virtiofs", "virtio-fs", "virtiofsd"),
        ):
            found = {path.stem for path in (KATA / "config/kata" / mode).iterdir()}
            self.assertEqual(found, set(SHIMS))
            for shim in SHIMS:
                config = toml(KATA / f"config/kata/{mode}/{shim}.toml")
                self.assertEqual(list(config), ["hypervisor"])
                section = config["hypervisor"]["clh" if shim.startswith("clh") else "qemu"]
                self.assertEqual(len(config["hypervisor"]), 1)
                self.assertEqual(section["shared_fs"], kind)
                self.assertEqual(section["virtio_fs_daemon"], f"/opt/tidegate/bin/{daemon}")
                allowed = section.get("valid_virtio_fs_daemon_paths", [section["virtio_fs_daemon"]])
                self.assertEqual(allowed, [section["virtio_fs_daemon"]])
                self.assertEqual(section["virtio_fs_cache_size"], 0)

    def test_handlers_are_the_same_for_containerd_and_kubernetes(self):
        classes = {d["metadata"]["name"]: d["handler"] for _, d in objects("RuntimeClass")}
        self.assertEqual(set(classes), HANDLERS)
        self.assertEqual(set(classes.values()), HANDLERS)
        for version, plugin in ((2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.runtime")):
            config = toml(KATA / f"config/containerd/version-{version}.toml")
            self.assertEqual(config["version"], version)
            runtimes = config["plugins"][plugin]["containerd"]["runtimes"]
            self.assertEqual(set(runtimes), HANDLERS)
            for name, runtime in runtimes.items():
                shim = name.removeprefix("kata-tidegate-")
                self.assertEqual(runtime["options"]["ConfigPath"], f"/opt/tidegate/kata/{shim}/configuration.toml")
                self.assertEqual(runtime["runtime_type"], f"io.containerd.{name}.v2")
                self.assertEqual("runtime-rs" in runtime["runtime_path"], "runtime-rs" in name)
        for _, pod in objects("Pod"):
            self.assertIn(pod["spec"]["runtimeClassName"], HANDLERS)
            annotation = pod["metadata"]["annotations"]["io.containerd.cri.runtime-handler"]
            self.assertEqual(annotation, pod["spec"]["runtimeClassName"])

    def test_containerd_and_the_snapshotter_meet_at_one_socket(self):
        snapshotter = toml(KATA / "config/nydus/nydus-snapshotter.toml")
        self.assertEqual(snapshotter["version"], 1)
        self.assertTrue(snapshotter["snapshot"]["enable_nydus_overlayfs"])
        self.assertEqual(snapshotter["snapshot"]["nydus_overlayfs_path"], "nydus-overlayfs")
        for version in (2, 3):
            config = toml(KATA / f"config/containerd/version-{version}.toml")
            (plugin,) = config["proxy_plugins"].values()
            self.assertEqual(plugin["address"], snapshotter["address"])
        unit = (KATA / "systemd/tidegate-snapshotter.service").read_text()
        self.assertIn(f"RuntimeDirectory={Path(snapshotter['address']).parent.name}\n", unit)
        self.assertIn(f"StateDirectory={Path(snapshotter['root']).name}\n", unit)
        self.assertIn("--config /etc/tidegate/nydus-snapshotter.toml\n", unit)
        self.assertEqual(snapshotter["daemon"]["nydusd_config"], "/etc/tidegate/nydusd.json")

    def test_daemonsets_are_consistent(self):
        account = {(d["metadata"]["namespace"], d["metadata"]["name"]) for _, d in objects("ServiceAccount")}
        namespaces = {d["metadata"]["name"] for _, d in objects("Namespace")}
        found = objects("DaemonSet")
        self.assertEqual(len(found), 2)
        for path, daemonset in found:
            namespace, pod = daemonset["metadata"]["namespace"], daemonset["spec"]["template"]
            self.assertIn(namespace, namespaces)
            self.assertIn((namespace, pod["spec"]["serviceAccountName"]), account)
            selector = daemonset["spec"]["selector"]["matchLabels"]
            self.assertTrue(selector.items() <= pod["metadata"]["labels"].items(), path)
            volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
            (container,) = pod["spec"]["containers"]
            self.assertEqual({mount["name"] for mount in container["volumeMounts"]}, volumes)
            (image,) = [
                i for d in documents(path.parent / "kustomization.yaml") for i in d["images"]
            ]
            self.assertEqual(container["image"], image["name"])
            entrypoint = (KATA / "daemonset/entrypoint.sh").read_text()
            self.assertIn(f"\n{container['args'][0]})\n", entrypoint)
        for _, binding in objects("ClusterRoleBinding"):
            roles = {d["metadata"]["name"] for _, d in objects("ClusterRole")}
            self.assertIn(binding["roleRef"]["name"], roles)
            for subject in binding["subjects"]:
                self.assertIn((subject["namespace"], subject["name"]), account)
        for path, kustomization in objects("Kustomization"):
            for resource in kustomization["resources"]:
                self.assertTrue((path.parent / resource).is_file(), resource)

    def test_the_image_has_all_that_the_installer_reads(self):
        dockerfile = (KATA / "daemonset/Dockerfile").read_text()
        copied = re.findall(r"^COPY (\S+) ", dockerfile, re.MULTILINE)
        self.assertTrue(all((ROOT / source).exists() for source in copied if source.startswith("kata/")))
        scripts = "".join(p.read_text() for p in [KATA / "install.sh", *(KATA / "lib").iterdir()])
        read = {f"kata/{name}" for name in re.findall(r"\bfrom \"?([a-z]+)/", scripts)}
        read.add("kata/lib")
        self.assertTrue(read <= set(copied), read - set(copied))

    def test_nodes_are_chosen_by_the_label_that_the_installer_sets(self):
        entrypoint = (KATA / "daemonset/entrypoint.sh").read_text()
        self.assertIn("tidegate.dev/runtime", entrypoint)
        for path, item in objects("RuntimeClass"):
            self.assertEqual(item["scheduling"]["nodeSelector"], {"tidegate.dev/runtime": "installed"}, path)

    def test_the_libvirt_helper_is_what_descriptor_and_domain_name(self):
        descriptor = json.loads((KATA / "libvirt/vhost-user/90-tidegate.json").read_text())
        self.assertEqual(set(descriptor), {"description", "type", "binary"})
        self.assertEqual(descriptor["type"], "fs")
        domain = xml.etree.ElementTree.parse(KATA / "libvirt/domain-binary.xml")
        self.assertEqual(domain.find(".//filesystem/binary").get("path"), descriptor["binary"])
        for path in files(".xml"):
            domain = xml.etree.ElementTree.parse(path)
            self.assertEqual(domain.find(".//memoryBacking/access").get("mode"), "shared", path)
            self.assertEqual(domain.find(".//filesystem/driver").get("type"), "virtiofs", path)


class Program(unittest.TestCase):
    """What the files tell the program to do, it understands."""

    def setUp(self):
        self.work = Path(tempfile.mkdtemp(prefix="tidegate-kata-"))
        self.addCleanup(shutil.rmtree, self.work)
        tree = self.work / "tree"
        tree.mkdir()
        (tree / "file").write_text("content\n")
        built = run("build", str(tree), "--output", str(self.work / "image"))
        self.assertEqual(built.returncode, 0, built.stderr)
        self.root = re.search(r"root (sha256:[0-9a-f]{64})", built.stdout)[1]
        self.bootstrap = str(self.work / "image/image.boot")

    def inspect(self, *options):
        return run("inspect", "--bootstrap", self.bootstrap, *options)

    def configuration(self, name, **keys):
        config = json.loads((KATA / "config/nydus" / name).read_text())
        config.update(keys)
        # As the snapshotter fills it in.
        config["device"]["backend"]["config"].update(host="registry.example.com", repo="team/app")
        config["device"]["cache"].setdefault("config", {})["work_dir"] = str(self.work / "cache")
        path = self.work / name
        path.write_text(json.dumps(config))
        return str(path)

    def test_every_key_of_the_configurations_is_known(self):
        for name, keys in (("nydusd.json", {}), ("image.json", {"root": self.root})):
            done = self.inspect("--config", self.configuration(name, **keys))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("is not known", done.stderr)
            self.assertIn(self.root, done.stdout)

    def test_the_pin_in_the_configuration_counts(self):
        done = self.inspect("--config", self.configuration("image.json"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("is pinned; get the bootstrap again", done.stderr)

    def test_the_policy_refuses_all_but_what_it_lists(self):
        policy = json.loads((KATA / "config/policy.json").read_text())
        path = self.work / "policy.json"
        path.write_text(json.dumps(policy))
        done = self.inspect("--policy", str(path))
        self.assertEqual(done.returncode, 1)
        self.assertIn("The policy does not allow", done.stderr)
        policy["roots"] = [self.root]
        path.write_text(json.dumps(policy))
        self.assertEqual(self.inspect("--policy", str(path)).returncode, 0)

    def test_options_of_the_unit_and_the_helper_exist(self):
        serve = options_of("serve")
        unit = (KATA / "systemd/tidegate@.service").read_text()
        line = re.search(r"^ExecStart=\S+ serve (.*)$", unit, re.MULTILINE)[1]
        helper = (KATA / "libvirt/tidegate-libvirt").read_text()
        call = re.search(r"^exec .* serve (.*\n.*)$", helper, re.MULTILINE)[1]
        # The page says of this one that it is not in every version.
        coming = set(re.findall(r"\*\*Not yet\*\*[^)]* list `(--[a-z-]+)`", PAGES[1].read_text()))
        for option in re.findall(r"--[a-z-]+", line + call):
            self.assertIn(option, serve | coming)

    def test_commands_in_the_documentation_exist(self):
        """Each `tidegate COMMAND … --option` in an indented block of the pages."""
        checked = 0
        for page in PAGES:
            text = page.read_text().replace("\\\n", " ")
            for line in re.findall(r"^    +(?:\$ |sudo )?((?:tidegate|nydusd) .*)$", text, re.MULTILINE):
                words = line.split(" | ")[0].split("#")[0].split()
                name = "nydusd" if words[0] == "nydusd" else None
                known = options_of(words[1], name=name)
                for word in words[2:]:
                    if re.fullmatch("[a-z-]+", word) and run(words[1], word, "--help").returncode == 0:
                        known |= options_of(words[1], word)
                for word in words[2:]:
                    if word.startswith("--"):
                        self.assertIn(word.split("=")[0], known, f"{page.name}: {line}")
                        checked += 1
        self.assertGreater(checked, 10)

    def test_libvirts_options_become_tidegates(self):
        shutil.copy(self.bootstrap, self.work)
        odd = self.work / "a,b"
        shutil.copytree(self.work / "image", odd)
        (odd / "root").write_text(self.root + "\n")
        helper = [str(KATA / "libvirt/tidegate-libvirt")]
        environment = {**os.environ, "TIDEGATE_PROGRAM": "/bin/echo", "TIDEGATE_CACHE": "/cache"}

        def call(*options):
            return subprocess.run(
                [*helper, *options], env=environment, capture_output=True, text=True, check=False
            )

        source = str(odd).replace(",", ",,")
        done = call("--fd=7", "-o", f"source={source},cache=always,xattr", "--thread-pool-size=4")
        self.assertEqual(done.returncode, 0, done.stderr)
        wanted = (
            f"serve --fd 7 --exit-on-disconnect --bootstrap {odd}/image.boot --blobs {odd}/blobs"
            f" --cache /cache --root {self.root} --require-root\n"
        )
        self.assertEqual(done.stdout, wanted)
        for options, text in (
            (["-o", f"source={source}"], "--fd=N is missing"),
            (["--fd=7"], "source=DIR is missing"),
            (["--fd=7", "-o", "source=/nowhere"], "/nowhere/image.boot is missing"),
        ):
            done = call(*options)
            self.assertEqual(done.returncode, 2)
            self.assertIn(text, done.stderr)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is missing")
    def test_systemd_understands_the_units(self):
        for unit in files(".service"):
            text = unit.read_text()
            # It looks for the programs on this host.
            text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE)
            name = unit.name.replace("@", "@example")
            (self.work / name).write_text(text)
            line = ["systemd-analyze", "verify", "--man=no", str(self.work / name)]
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            ours = [line for line in done.stderr.splitlines() if name in line]
            self.assertEqual((done.returncode, ours), (0, []), done.stderr)


if __name__ == "__main__":
    unittest.main()
