#!/usr/bin/env python3
"""Compares fetchimg inside Ray with Ray's own download, and with Daft's, side by side in one run.

    benches/engines.py PROGRAM [ROWS [ROUNDS]]        # 2000 URLs, 5 rounds

The server answers after 20 ms with pictures of 25 KB; 2 % of the URLs are 404. Each round runs all ways, in changing order, and
the medians count. Ray's session is warm: its start, and a first small job, are outside of the times. What needs a process of
its own (Daft, the program alone) is timed with the start of that process. Processor time is that of the process and of its
children, and for Ray of all that it has started and that still run; it leaves out the server. Memory is the largest of one process.

Packages: tests/engines/requirements.txt, and daft==0.7.26.
"""

import logging
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python" / "src"), str(ROOT / "tests" / "engines")]

from server import Server  # noqa: E402

# What the tables of the project ask for.
BARS = "Ray's own download takes at least 5 times the wall time of fetchimg in Ray; fetchimg takes at most Daft's wall time, and 0.6 of its processor time"

DAFT = """
import sys, daft
urls = open(sys.argv[1]).read().split()
df = daft.from_pydict({"url": urls})
df = df.with_column("image", daft.col("url").download(on_error="null"))
images = df.to_pydict()["image"]
print(sum(image is not None for image in images), sum(image is None for image in images))
"""

MODULE = """
import sys, fetchimg
urls = open(sys.argv[1]).read().split()
pairs = list(fetchimg.stream(urls))
print(sum(image is not None for _, image in pairs), sum(image is None for _, image in pairs))
"""


def cpu_of_ray():
    """The processor time of this process and all below it, in seconds. The raylet does not wait for its workers."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        pid = int(stat.parent.name)
        parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))

    def is_ours(pid):
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    return sum(ticks[pid] for pid in parents if is_ours(pid)) / os.sysconf("SC_CLK_TCK")


def peak_of(pid):
    """The largest resident memory of a process so far, in MiB. That of wait4 begins with what its parent has."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        found = None
    return int(found[1]) / 1024 if found else 0.0


def timed_process(line, expected):
    begin = time.monotonic()
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peaks, ended = [0.0], threading.Event()

    def sample():
        while not ended.wait(0.005):
            peaks.append(peak_of(process.pid))

    threading.Thread(target=sample, daemon=True).start()
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begin
    ended.set()
    if expected is not None:
        assert said.split() == [str(count) for count in expected], f"status {process.returncode}: {said}"
    # wait4 counts the process and those of its children that it has waited for. The first samples are from before the exec.
    return wall, usage.ru_utime + usage.ru_stime, max(peaks[2:], default=0.0)


def main():
    program, numbers = os.path.abspath(sys.argv[1]), [int(word) for word in sys.argv[2:]]
    rows, rounds = (numbers + [2000, 5][len(numbers) :])[:2]
    os.environ["FETCHIMG_BINARY"] = program
    os.environ["PYTHONPATH"] = sys.path[0]
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    import fetchimg.ray
    from ray.data.expressions import col, download

    with Server(delay=0.02, size=25_000) as server, tempfile.TemporaryDirectory() as folder:
        urls = [server.url("missing" if n % 50 == 7 else "png", n) for n in range(rows)]
        missing = sum("/missing/" in url for url in urls)
        expected = (rows - missing, missing)
        listed = Path(folder, "list.txt")
        listed.write_text("\n".join(urls))

        def dataset(urls):
            return ray.data.from_items([{"url": url} for url in urls], override_num_blocks=2)

        def of_ray(make):
            before, begin = cpu_of_ray(), time.monotonic()
            counts = [0, 0]
            for batch in make(dataset(urls)).iter_batches(batch_format="pyarrow", batch_size=None):
                nulls = batch.column("image").null_count
                counts[0] += len(batch) - nulls
                counts[1] += nulls
            wall = time.monotonic() - begin
            assert tuple(counts) == expected, counts
            return wall, cpu_of_ray() - before, 0.0

        def own(ds):
            return ds.with_column("image", download("url"))

        def ours(ds):
            return fetchimg.ray.download(ds, batch_size=max(1, rows // 2))

        def program_alone():
            output = tempfile.mkdtemp(dir=folder)
            return timed_process([program, str(listed), "-o", output, "--quiet", "--retries", "0"], None)

        ways = {
            "Ray, its own download": lambda: of_ray(own),
            "Ray, fetchimg.ray.download": lambda: of_ray(ours),
            "Daft, download": lambda: timed_process([sys.executable, "-c", DAFT, str(listed)], expected),
            "fetchimg.stream": lambda: timed_process([sys.executable, "-c", MODULE, str(listed)], expected),
            "fetchimg, to files": program_alone,
        }
        # Workers and their imports are there before the first time is taken.
        for make in (own, ours):
            list(make(dataset(urls[:20])).iter_batches(batch_format="pyarrow"))
        taken = {name: [] for name in ways}
        for number in range(rounds):
            for name in list(ways) if number % 2 == 0 else reversed(ways):
                taken[name].append(ways[name]())
        print(f"{rows} URLs, {missing} of them 404, {rounds} rounds; medians (least to most)")
        for name, results in taken.items():
            walls, cpus, peaks = ([result[at] for result in results] for at in range(3))
            memory = f", {max(peaks):4.0f} MiB" if max(peaks) else ""
            print(
                f"{name:28} {statistics.median(walls):6.2f} s ({min(walls):.2f} to {max(walls):.2f}), "
                f"processor {statistics.median(cpus):6.2f} s{memory}"
            )
        median = {name: [statistics.median(values) for values in zip(*results)] for name, results in taken.items()}
        own, ours, daft, stream, files = median.values()
        print(f"Ray: {own[0] / ours[0]:.1f} times the wall time of fetchimg in it")
        print(f"fetchimg beside Daft: wall {files[0] / daft[0]:.2f}, processor {files[1] / daft[1]:.2f}, memory {files[2] / daft[2]:.2f}; with Python {stream[0] / daft[0]:.2f}, {stream[1] / daft[1]:.2f}")
        print(BARS)


main()
