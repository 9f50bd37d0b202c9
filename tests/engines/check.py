#!/usr/bin/env python3
"""Runs the examples with the engines that they are for, on machines that fail (see unreliable.py), and checks the sets.

    tests/engines/check.py PROGRAM [spark | ray | slurm | kubernetes | parallel | ENGINE@store | all ...]

Each engine writes to a folder, and `ENGINE@store` to an S3 server on this machine; without names, some do both.
`.ci/engines` installs what it needs. Slurm and Kubernetes are stood in for: by what sets their variables, kills and requeues.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path

from server import Server
from store import BUCKET, Store

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXAMPLES = ROOT / "examples"

# The longest time for one engine, in seconds.
TIME_LIMIT = 600


class World:
    """A list on a disk, a server of its pictures, and machines that fail."""

    def __init__(self, program, folder, server, shares, store=None):
        self.program, self.folder, self.server, self.store = program, folder, server, store
        self.state, temporary = folder / "state", folder / "temporary"
        self.state.mkdir()
        temporary.mkdir()
        # Where the set is to be.
        self.output = str(folder / "set") if store is None else store.place(folder.name)
        self.rows, self.urls = [], []
        self.environment = {
            **os.environ,
            **({} if store is None else store.environment),
            # Where unfinished shards of a store wait.
            "TMPDIR": str(temporary),
            "PYTHONPATH": str(ROOT / "python" / "src"),
            "FETCHIMG_BINARY": str(folder / "bin" / "fetchimg"),
            "UNRELIABLE_PROGRAM": program,
            "UNRELIABLE_STATE": str(self.state),
            **{f"UNRELIABLE_{what}": str(share) for what, share in shares.items()},
        }
        # The shell scripts find the same program by its name. It runs with this Python, which may be another one than `env`
        # finds, and starts sooner.
        programs = folder / "bin"
        programs.mkdir()
        stand_in = programs / "fetchimg"
        stand_in.write_text((HERE / "unreliable.py").read_text().replace("/usr/bin/env python3", sys.executable, 1))
        stand_in.chmod(0o755)
        self.environment["PATH"] = f"{programs}:{self.environment['PATH']}"

    def write_list(self, count):
        """A list of `count` rows, each 50th of which has no picture."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.urls = [self.server.url("missing" if n % 50 == 7 else "png", n) for n in range(count)]
        table = pa.table({"url": self.urls, "TEXT": [f"caption {n}" for n in range(count)], "number": list(range(count))})
        path = self.folder / "list.parquet"
        pq.write_table(table, path)
        return path

    def listed(self, path):
        """The list where the set is, for programs that read both by the same rules."""
        if self.store is None:
            return str(path)
        self.store.client.upload_file(str(path), BUCKET, path.name)
        return self.store.place(path.name)

    def run(self, *line, status=0, **more):
        ended = subprocess.run(
            [str(word) for word in line],
            env={**self.environment, **more},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIME_LIMIT,
        )
        assert ended.returncode == status, f"{line}: status {ended.returncode}\n{ended.stdout[-6000:]}"
        return ended.stdout

    def events(self, kind):
        return sum(path.name.startswith(f"{kind}-") for path in self.state.iterdir())

    def set_here(self):
        """The folder of the set, or of a copy of it."""
        if self.store is None:
            return Path(self.output)
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        self.store.copy(self.folder.name, copy)
        return copy

    def check(self):
        """The set is whole, and each row is there once, with its image where there is one."""
        import pyarrow.parquet as pq

        line = [self.program, "--verify-output", "-o", self.output]
        said = subprocess.run(line, env=self.environment, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr
        output = self.set_here()
        seen, keys = Counter(), Counter()
        for path in sorted(output.glob("*.parquet")):
            columns = pq.read_table(path, columns=["url", "key", "status", "number", "caption"]).to_pylist()
            members = set()
            with tarfile.open(path.with_suffix(".tar")) as tar:
                for member in tar:
                    assert member.name not in members, member.name
                    members.add(member.name)
            for row in columns:
                seen[row["url"]] += 1
                keys[row["key"]] += 1
                assert row["url"].endswith(f"/{row['number']}.png") and row["caption"] == f"caption {row['number']}", row
                is_missing = "/missing/" in row["url"]
                assert row["status"] == ("failed_to_download" if is_missing else "success"), row
                assert (f"{row['key']}.png" in members) != is_missing, row
            images = sum(name.endswith(".png") for name in members)
            assert images == sum(row["status"] == "success" for row in columns), path
        assert seen == Counter(self.urls), f"{sum(seen.values())} rows of {len(self.urls)}"
        assert max(keys.values()) == 1, keys.most_common(3)
        left = [name for name in os.listdir(output) if not re.fullmatch(r"\w+(\.tar|\.parquet|_stats\.json)|\..*", name)]
        assert not left, left
        return f"{len(self.urls)} rows once in {len(list(output.glob('*.tar')))} shards"

    def failures(self):
        return f"{self.events('killed')} runs killed, {self.events('twice')} units made by two at once"


def spark(world):
    conf = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        # A query may not put several units into one task, and count them as small.
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    words = [word for pair in conf.items() for word in ("--conf", f'"{"=".join(pair)}"')]
    arguments = f"--master local[2,4] {' '.join(words)} pyspark-shell"
    source, output, written = world.write_list(1500), world.output, world.folder / "records"
    more = {"PYSPARK_SUBMIT_ARGS": arguments, "PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    line = [sys.executable, EXAMPLES / "spark.py", source, output, "100", "caption_column=TEXT", f"records={written}"]
    said = world.run(*line, **more)
    # What Spark has of it: each row, failed ones too.
    for row in (r"saved *\|NULL *\|1470", r"failed *\|http_status *\|30"):
        assert re.search(rf"\|{row} *\|", said), said
    assert world.events("killed") > 0 and world.events("twice") > 0, world.failures()
    checked = world.check()
    import pyarrow.parquet as pq

    records = pq.read_table(written).to_pylist()
    assert Counter(record["url"] for record in records) == Counter(world.urls)
    assert {record["unit"] for record in records} == {path.stem for path in world.set_here().glob("*.tar")}
    return checked


RAY = """
import runpy, sys, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="warning")
context = ray.data.DataContext.get_current()
context.enable_progress_bars = False
# A process for each partition takes longer than the work here.
context.default_hash_shuffle_parallelism = 2
example, source, output = sys.argv[1:]
for line in ([example, source, output, "15", "caption_column=TEXT"], [example, source]):
    sys.argv = line
    runpy.run_path(example, run_name="__main__")
"""


def ray(world):
    source, output = world.write_list(1500), world.output
    said = world.run(sys.executable, "-c", RAY, EXAMPLES / "ray_data.py", source, output)
    assert "saved 1470" in said and "failed 30" in said, said
    assert world.events("killed") > 0 and world.events("twice") > 0, world.failures()
    sums = [re.match(r"(\d+) of (\d+) images", line) for line in said.splitlines()]
    images = sum(int(found[1]) for found in sums if found)
    rows = sum(int(found[2]) for found in sums if found)
    assert (images, rows) == (1470, 1500), said
    return f"{world.check()}; {images} of {rows} as a column"


def slurm(world):
    """What Slurm does with an array: variables, signals, and another turn for what was killed or asked for one."""
    source, output, tasks = world.write_list(1500), world.output, 5
    scontrol = world.folder / "bin" / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$*" >> "{world.folder}/requeued"\n')
    scontrol.chmod(0o755)
    header = re.findall(r"^#SBATCH --(\S+)", (EXAMPLES / "slurm.sh").read_text(), re.M)
    assert "requeue" in header and "signal=B:TERM@60" in header, header
    more = {
        "LIST": world.listed(source),
        "OUTPUT": output,
        "FLAGS": "--shard-size 100 --caption-column TEXT --per-host 4",
        "SLURM_ARRAY_JOB_ID": "77",
        "SLURM_ARRAY_TASK_COUNT": str(tasks),
        "SLURM_ARRAY_TASK_MIN": "0",
        "SLURM_ARRAY_TASK_MAX": str(tasks - 1),
        "SLURM_ARRAY_TASK_STEP": "1",
    }

    def start(task):
        environment = {**world.environment, **more, "SLURM_ARRAY_TASK_ID": str(task)}
        return subprocess.Popen(
            ["sh", str(EXAMPLES / "slurm.sh")],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    running = {task: start(task) for task in range(tasks)}
    # One gets its signal before the time limit, another one is lost with its node: all of its processes.
    wait_for(lambda: world.server.count() > 100, "the first pictures")
    running[1].send_signal(signal.SIGTERM)
    os.killpg(running[2].pid, signal.SIGKILL)
    # And one is not lost at all, though Slurm thinks so and starts it again.
    twin = start(3)
    statuses = {task: process.wait(TIME_LIMIT) for task, process in running.items()}
    statuses["twin"] = twin.wait(TIME_LIMIT)
    assert (statuses[1], statuses[2]) == (143, -9), statuses
    assert all(statuses[task] == 0 for task in (0, 3, 4)), statuses
    assert (world.folder / "requeued").read_text() == "requeue 77_1\n"
    for task in (1, 2):
        assert start(task).wait(TIME_LIMIT) == 0, task
    # A repair by hand, with other variables, finds nothing to do.
    before = world.server.count()
    more.update(SLICE="3/5", SLURM_ARRAY_TASK_COUNT="1", SLURM_ARRAY_TASK_MIN="3")
    assert start(3).wait(TIME_LIMIT) == 0 and world.server.count() == before
    return f"{world.check()}; one task ended by its signal, one lost, one started twice"


def kubernetes(world):
    """What Kubernetes does with an indexed Job: the variables of the manifest, the index, and another pod for one that dies."""
    import kubernetes_validate
    import yaml

    job = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
    # The first version that knows all of it without a feature gate, and the newest one.
    for version in ("1.29", "1.37"):
        kubernetes_validate.validate(job, version, strict=True)
    spec = job["spec"]
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    assert spec["completionMode"] == "Indexed" and pod["restartPolicy"] == "Never", spec
    source, output = world.write_list(1500), world.output
    # The volume is a folder here.
    mounts = {"/data/laion.parquet": world.listed(source), "/data/laion": output}
    variables = {variable["name"]: mounts[variable["value"]] for variable in container["env"]}
    expand = lambda word: re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], word)
    line = [expand(word) for word in container["command"] + container["args"]]
    line += ["--shard-size", "50", "--caption-column", "TEXT"]
    attempts = Counter()

    def start(index):
        attempts[index] += 1
        assert attempts[index] <= spec["backoffLimitPerIndex"] + 1, f"index {index} has failed too often"
        environment = {**world.environment, **variables, "JOB_COMPLETION_INDEX": str(index)}
        return subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    waiting, running = list(range(spec["completions"])), {}
    fatal = spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
    end = time.monotonic() + TIME_LIMIT
    while waiting or running:
        assert time.monotonic() < end, "the Job takes too long"
        while waiting and len(running) < spec["parallelism"]:
            index = waiting.pop(0)
            running[index] = start(index)
        time.sleep(0.01)
        for index, process in list(running.items()):
            if process.poll() is not None:
                del running[index]
                assert process.returncode not in fatal, process.returncode
                if process.returncode != 0:
                    waiting.append(index)
    assert world.events("killed") > 0 and world.events("twice") > 0, world.failures()
    return world.check()


def parallel(world):
    source, output = world.write_list(1500), world.output
    line = ["sh", EXAMPLES / "parallel.sh", world.listed(source), output, "10", "--shard-size", "50", "--caption-column", "TEXT"]
    world.run(*line)
    assert world.events("killed") > 0 and world.events("twice") > 0, world.failures()
    checked, before = world.check(), world.server.count()
    # Again, with nothing to do.
    world.run(*line)
    assert world.server.count() == before
    return checked


def wait_for(condition, what):
    end = time.monotonic() + TIME_LIMIT
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


# For each engine, what happens to shares of its units (unreliable.py).
ENGINES = {
    spark: {"KILL": 0.2, "WORKER": 0.14, "TWICE": 0.2},
    ray: {"KILL": 0.2, "WORKER": 0.14, "TWICE": 0.2},
    slurm: {},
    kubernetes: {"KILL": 0.25, "TWICE": 0.25},
    parallel: {"KILL": 0.25, "TWICE": 0.25},
}

# Those that write to a store, too, unless names are given.
IN_STORE = {spark, kubernetes}


def main():
    program, names = shutil.which(sys.argv[1]), sys.argv[2:]
    for engine, in_store in itertools.product(ENGINES, (False, True)):
        name = engine.__name__ + ("@store" if in_store else "")
        is_wanted = not {name, "all"}.isdisjoint(names) if names else not in_store or engine in IN_STORE
        if not is_wanted:
            continue
        begin = time.monotonic()
        with contextlib.ExitStack() as ends:
            folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
            server = ends.enter_context(Server(delay=0.005))
            store = ends.enter_context(Store()) if in_store else None
            world = World(os.path.abspath(program), folder, server, ENGINES[engine], store)
            result = engine(world)
            print(f"{name}: {result}; {world.failures()} ({time.monotonic() - begin:.1f} s)", flush=True)


main()
