"""Times mounts of the image that large_tree.py describes, from the start of the
process to a mount, and then the first lookups in /large.

usage: time_mounts.py RUNS MOUNTPOINT TIDEGATE OPTION…
"""
import os
import random
import signal
import subprocess
import sys
import time

runs, mountpoint, program, *options = sys.argv[1:]
os.makedirs(mountpoint, exist_ok=True)
outside = os.stat(mountpoint).st_dev
figures = {name: [] for name in ("exec to mounted", "first lookup of /large", "first lookup in /large",
                                 "second lookup in /large", "lookup of a missing name")}


def timed(name, path):
    begin = time.perf_counter()
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    figures[name].append(time.perf_counter() - begin)


for _ in range(int(runs)):
    begin = time.perf_counter()
    daemon = subprocess.Popen([program, "mount", mountpoint, *options], stderr=subprocess.DEVNULL)
    while os.stat(mountpoint).st_dev == outside:
        time.sleep(0.0002)
    figures["exec to mounted"].append(time.perf_counter() - begin)
    names = random.sample(range(100_000), 2)
    timed("first lookup of /large", f"{mountpoint}/large")
    timed("first lookup in /large", f"{mountpoint}/large/file-{names[0]:06}")
    timed("second lookup in /large", f"{mountpoint}/large/file-{names[1]:06}")
    timed("lookup of a missing name", f"{mountpoint}/large/file-{names[0]:06}x")
    daemon.send_signal(signal.SIGTERM)
    daemon.wait()

for name, values in figures.items():
    values.sort()
    print(f"{name:26} median {values[len(values) // 2] * 1e3:8.3f} ms"
          f"   {values[0] * 1e3:8.3f} to {values[-1] * 1e3:8.3f} ms")
