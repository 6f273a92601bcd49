"""kata/install.sh on pretended hosts."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from configs import KATA, containerd_configuration, kata_configuration

BINARY = os.environ["TIDEGATE_BIN"]
FRAGMENT = "/etc/containerd/conf.d/85-tidegate.toml"
CRI = "io.containerd.cri.v1.runtime"
SHIMS = ["qemu", "clh", "qemu-runtime-rs", "clh-runtime-rs"]

QEMU = """
# Kata's own comment
[hypervisor.qemu]
path = "/opt/kata/bin/qemu-system-x86_64"
shared_fs = "virtio-fs"
virtio_fs_daemon = "/opt/kata/libexec/virtiofsd"
valid_virtio_fs_daemon_paths = ["/opt/kata/libexec/virtiofsd"]
virtio_fs_extra_args = ["--thread-pool-size=1", "--announce-submounts"]
virtio_fs_cache = "auto"

[runtime]
enable_debug = false
"""


def setUpModule():
    """A program without debugging information is copied in a tenth of the time."""
    global BINARY
    if shutil.which("strip"):
        directory = tempfile.mkdtemp(prefix="tidegate-kata-")
        unittest.addModuleCleanup(shutil.rmtree, directory)
        subprocess.run(["strip", "-o", f"{directory}/tidegate", BINARY], check=True)
        BINARY = f"{directory}/tidegate"


def tree(root):
    """What lies below `root`: type, mode, owner and content of each entry."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = None
        name = str(path.relative_to(root))
        found[name] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return found


def times(root):
    """Inode and time of change of each file below `root`."""
    files = (path for path in Path(root).rglob("*") if not path.is_dir())
    return {str(path): (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in files}


class Host:
    """A root directory with Kata as kata-deploy leaves it."""

    def __init__(self, root, containerd="version = 3\n"):
        self.root = root
        defaults = "/opt/kata/share/defaults/kata-containers"
        self.write(f"{defaults}/runtimes/qemu/configuration-qemu.toml", QEMU)
        self.write(
            f"{defaults}/runtimes/qemu/config.d/50-memory.toml",
            "[hypervisor.qemu]\ndefault_memory = 4096\nvirtio_fs_daemon = '/elsewhere'\n",
        )
        link = Path(f"{root}{defaults}/configuration-qemu.toml")
        link.symlink_to("runtimes/qemu/configuration-qemu.toml")
        self.write(f"{defaults}/configuration-clh.toml", QEMU.replace("qemu]", "clh]"))
        rust = f"{defaults}/runtime-rs/configuration-"
        self.write(f"{rust}qemu-runtime-rs.toml", QEMU)
        self.write(f"{rust}clh-runtime-rs.toml", QEMU.replace("qemu]", "clh]"))
        for directory in ("bin", "runtime-rs/bin"):
            self.write(f"/opt/kata/{directory}/containerd-shim-kata-v2", "#!/bin/sh\n", 0o755)
        self.write("/opt/kata/VERSION", "4.1.0\n")
        self.write("/usr/local/bin/containerd-nydus-grpc", "#!/bin/sh\n", 0o755)
        if containerd is not None:
            self.write("/etc/containerd/config.toml", containerd, 0o640)

    def path(self, path):
        return Path(f"{self.root}{path}")

    def write(self, path, text, mode=0o644):
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text)
        self.path(path).chmod(mode)

    def install(self, *options, version="2.1.4", check=True, binary=None):
        """Runs the installer; --force, since the program may be one that serves
        no directories."""
        line = [KATA / "install.sh", "--root", self.root, "--force", "--binary", binary or BINARY]
        line += ["--containerd-version", version, *options]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"install.sh {options}: {done.stderr}")
        return done

    def containerd(self, **options):
        return containerd_configuration(self.root, **options)


class Install(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="tidegate-kata-")
        self.addCleanup(shutil.rmtree, self.root)

    def test_each_runtime_gets_a_configuration_that_starts_tidegate(self):
        host = Host(self.root)
        host.install()
        for shim in SHIMS:
            config = kata_configuration(host.path(f"/opt/tidegate/kata/{shim}/configuration.toml"))
            section = config["hypervisor"]["clh" if shim.startswith("clh") else "qemu"]
            self.assertEqual(section["shared_fs"], "virtio-fs-nydus", shim)
            self.assertEqual(section["virtio_fs_daemon"], "/opt/tidegate/bin/nydusd", shim)
            self.assertEqual(section["virtio_fs_extra_args"], [], shim)
            self.assertEqual(section["path"], "/opt/kata/bin/qemu-system-x86_64", shim)
            self.assertFalse(config["runtime"]["enable_debug"], shim)
        qemu = kata_configuration(host.path("/opt/tidegate/kata/qemu/configuration.toml"))
        self.assertEqual(qemu["hypervisor"]["qemu"]["default_memory"], 4096)
        daemon = host.path("/opt/tidegate/bin/nydusd")
        self.assertEqual(daemon.resolve().read_bytes(), Path(BINARY).read_bytes())

    def test_containerd_knows_the_handlers_and_their_snapshotter(self):
        host = Host(self.root)
        host.install()
        config = host.containerd()
        runtimes = config["plugins"][CRI]["containerd"]["runtimes"]
        images = config["plugins"]["io.containerd.cri.v1.images"]
        self.assertEqual(sorted(runtimes), sorted(f"kata-tidegate-{shim}" for shim in SHIMS))
        for name, runtime in runtimes.items():
            self.assertTrue(host.path(runtime["options"]["ConfigPath"]).is_file(), name)
            self.assertTrue(os.access(host.path(runtime["runtime_path"]), os.X_OK), name)
            self.assertIn(runtime["snapshotter"], config["proxy_plugins"])
            self.assertEqual(images["runtime_platforms"][name]["snapshotter"], runtime["snapshotter"])
        self.assertFalse(images["disable_snapshot_annotations"])

    def test_a_second_run_changes_nothing(self):
        host = Host(self.root)
        host.install("--units")
        before = times(self.root)
        again = host.install("--units")
        self.assertEqual(times(self.root), before)
        self.assertIn("Nothing to do", again.stderr)

    def test_uninstall_restores_the_host_byte_for_byte(self):
        for containerd in (
            "version = 3\n",
            '# ours\nversion = 3\nimports = ["/opt/kata/containerd/config.d/kata-deploy.toml"]\n[debug]\nlevel = "info"\n',
            'version = 3\nimports = [\n  "/opt/other/*.toml", # of others\n]\n',
            None,
        ):
            with self.subTest(containerd=containerd):
                shutil.rmtree(self.root)
                os.mkdir(self.root)
                host = Host(self.root, containerd)
                host.write("/opt/kata/containerd/config.d/kata-deploy.toml", "version = 3\n")
                host.write("/etc/tidegate/nydusd.json", '{"of": "somebody else"}\n', 0o600)
                before = tree(self.root)
                host.install("--units")
                self.assertNotEqual(tree(self.root), before)
                host.containerd()
                host.install("--uninstall")
                self.assertEqual(tree(self.root), before)

    def test_a_dry_run_says_everything_and_does_nothing(self):
        host = Host(self.root)
        before = tree(self.root)
        said = host.install("--dry-run").stderr
        self.assertEqual(tree(self.root), before)
        host.install()
        for path in set(tree(self.root)) - set(before):
            if host.path(f"/{path}").is_file() and not path.startswith("opt/tidegate/state"):
                self.assertIn(f"/{path}", said)

    def test_imports_stay_a_list_of_all_that_was_there(self):
        for containerd, version, wanted in (
            ("version = 3\n", "2.1.4", [FRAGMENT]),
            ("version = 3\n", "v2.2.0", None),
            ("version = 3\nimports = []\n", "2.2.0", [FRAGMENT]),
            ('version = 3\nimports = ["/a/*.toml", "/b.toml"]\n', "2.1.4", [FRAGMENT, "/a/*.toml", "/b.toml"]),
            ("version = 3\nimports = [\n'/a/*.toml',\n]\n", "2.1.4", [FRAGMENT, "/a/*.toml"]),
            ('version = 3\nimports = ["/etc/containerd/conf.d/*.toml"]\n', "2.0.1", ["/etc/containerd/conf.d/*.toml"]),
        ):
            with self.subTest(containerd=containerd, version=version):
                shutil.rmtree(self.root)
                os.mkdir(self.root)
                host = Host(self.root, containerd)
                host.write("/b.toml", "version = 3\n")
                host.install(version=version)
                config = host.containerd(default=["/etc/containerd/conf.d/*.toml"])
                self.assertEqual(config.get("imports"), wanted)
                self.assertEqual(len(config["plugins"][CRI]["containerd"]["runtimes"]), 4)

    def test_a_configuration_of_version_2_gets_a_fragment_of_version_2(self):
        host = Host(self.root, "version = 2\n")
        host.install()
        plugin = host.containerd()["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]
        self.assertFalse(plugin["disable_snapshot_annotations"])
        self.assertEqual(plugin["runtimes"]["kata-tidegate-clh"]["snapshotter"], "nydus-tidegate")

    def test_containerd_1_is_left_alone_and_says_what_to_do(self):
        host = Host(self.root, "version = 2\n")
        done = host.install(version="1.7.20")
        self.assertIn("version-2.toml", done.stderr)
        self.assertEqual(host.path("/etc/containerd/config.toml").read_text(), "version = 2\n")
        self.assertFalse(host.path(FRAGMENT).exists())

    def test_only_what_is_there_and_wanted_is_registered(self):
        host = Host(self.root)
        host.path("/opt/kata/runtime-rs/bin/containerd-shim-kata-v2").unlink()
        host.install("--no-snapshotter")
        config = host.containerd()
        runtimes = config["plugins"][CRI]["containerd"]["runtimes"]
        self.assertEqual(sorted(runtimes), ["kata-tidegate-clh", "kata-tidegate-qemu"])
        self.assertNotIn("snapshotter", runtimes["kata-tidegate-qemu"])
        self.assertNotIn("proxy_plugins", config)
        self.assertFalse(host.path("/etc/tidegate").exists())
        host.install("--shims", "qemu", "--no-snapshotter")
        self.assertFalse(host.path("/opt/tidegate/kata/clh/configuration.toml").exists())
        self.assertEqual(list(host.containerd()["plugins"][CRI]["containerd"]["runtimes"]), ["kata-tidegate-qemu"])

    def test_a_new_kata_is_taken_over_and_old_drop_ins_go(self):
        host = Host(self.root)
        host.install()
        base = "/opt/kata/share/defaults/kata-containers/runtimes/qemu"
        host.write(f"{base}/configuration-qemu.toml", QEMU + "new_in_this_version = true\n")
        host.path(f"{base}/config.d/50-memory.toml").unlink()
        host.install()
        config = kata_configuration(host.path("/opt/tidegate/kata/qemu/configuration.toml"))
        self.assertTrue(config["runtime"]["new_in_this_version"])
        self.assertNotIn("default_memory", config["hypervisor"]["qemu"])

    def test_paths_follow_the_options(self):
        host = Host(self.root)
        host.path("/opt/kata").rename(host.path("/usr/kata"))
        host.install("--prefix", "/srv/tg", "--kata", "/usr/kata")
        runtime = host.containerd()["plugins"][CRI]["containerd"]["runtimes"]["kata-tidegate-qemu"]
        self.assertEqual(runtime["runtime_path"], "/usr/kata/bin/containerd-shim-kata-v2")
        config = kata_configuration(host.path(runtime["options"]["ConfigPath"]))
        self.assertEqual(config["hypervisor"]["qemu"]["virtio_fs_daemon"], "/srv/tg/bin/nydusd")
        for path in host.path("/srv/tg").rglob("*.toml"):
            self.assertNotIn("/opt/tidegate", path.read_text(), path)

    def test_virtiofs_mode_puts_tidegate_in_virtiofsds_place(self):
        host = Host(self.root)
        host.install("--mode", "virtiofs")
        config = kata_configuration(host.path("/opt/tidegate/kata/clh/configuration.toml"))
        section = config["hypervisor"]["clh"]
        self.assertEqual(section["shared_fs"], "virtio-fs")
        self.assertEqual(section["virtio_fs_daemon"], "/opt/tidegate/bin/virtiofsd")
        self.assertTrue(host.path("/opt/tidegate/bin/virtiofsd").exists())
        self.assertNotIn("proxy_plugins", host.containerd())

    def test_what_was_changed_since_is_kept_by_uninstall(self):
        host = Host(self.root)
        host.install()
        mine = host.path("/opt/tidegate/kata/qemu/config.d/85-tidegate.toml")
        mine.write_text("# mine\n")
        config = host.path("/etc/containerd/config.toml")
        config.write_text(config.read_text() + "[debug]\nlevel = 'debug'\n")
        host.install("--uninstall")
        self.assertEqual(Path(f"{mine}.changed").read_text(), "# mine\n")
        self.assertEqual(config.read_text(), "version = 3\n[debug]\nlevel = 'debug'\n")
        self.assertFalse(host.path(FRAGMENT).exists())

    def test_hosts_and_programs_that_do_not_fit_are_refused(self):
        host = Host(self.root)
        before = tree(self.root)
        script = host.path("/tmp-program")
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        foreign = bytearray(Path(BINARY).read_bytes()[:64])
        foreign[18:20] = (40).to_bytes(2, "little")
        other = host.path("/tmp-foreign")
        other.write_bytes(foreign)
        for options, text in (
            ({"binary": script}, "no ELF program"),
            ({"binary": other}, "of another kind"),
            ({"version": "unknown"}, "--containerd-version"),
        ):
            done = host.install("--dry-run", check=False, **options)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(text, done.stderr)
        script.unlink()
        other.unlink()
        for options in (["--mode", "9p"], ["--prefix", "relative"], ["--shims", "fc"], ["--unknown"]):
            self.assertEqual(host.install(*options, check=False).returncode, 2, options)
        self.assertEqual(tree(self.root), before)
        host.write("/opt/kata/VERSION", "2.5.2\n")
        self.assertIn("too old", host.install(check=False).stderr)
        shutil.rmtree(host.path("/opt/kata"))
        self.assertIn("No Kata Containers", host.install(check=False).stderr)

    def test_without_force_the_program_must_do_what_kata_needs(self):
        host = Host(self.root)
        before = tree(self.root)
        line = [KATA / "install.sh", "--root", self.root, "--binary", BINARY, "--containerd-version", "2.1.0"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            self.assertTrue(host.path("/opt/tidegate/bin/nydusd").exists())
        else:
            self.assertRegex(done.stderr, "cannot stand in|serves no directories")
            self.assertEqual(tree(self.root), before)

    def test_uninstall_of_nothing_is_an_error(self):
        host = Host(self.root)
        done = host.install("--uninstall", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Nothing of Tidegate", done.stderr)


if __name__ == "__main__":
    unittest.main()
