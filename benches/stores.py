#!/usr/bin/env python3
"""Compares the commit of a shard to an S3 server with copying the same files with that server's own client, in one run.

    benches/stores.py PROGRAM [ROUNDS [MIB...]]        # 7 rounds of 15 and of 256 MiB

The server is moto, on loopback. The images are files of this machine (`--file-urls`), so what is timed is the commit alone:
the tar file, the table and the marker. boto3 copies the same three files, one after the other, with `upload_file` and its
default settings. It sends checksums, which fetchimg does with AWS_CHECKSUM_ALGORITHM=sha256. Both have asked the server
something before. Which of the two begins changes from round to round. The ratio is that of each round; the median and the
range of it are printed. The processor time is that of the client in the same span: of boto3, that of this process;
fetchimg's is that of the whole run, less that of a run to a folder.

    benches/stores.py PROGRAM verify [ROUNDS [MIB...]]

Times `--verify-output` of such a set, in the server and in a folder, and a second program beside it, if `FETCHIMG_OTHER`
names one.

    benches/stores.py PROGRAM memory [SHARDS]

Makes 1400 shards of five images of 100 KB in the server, checks them, and prints how much resident memory the program has
meanwhile.

Packages: tests/stores/requirements.txt.
"""

import hashlib
import os
import pathlib
import re
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib

import boto3
from botocore.config import Config

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests/stores"))

from servers import Moto  # noqa: E402

BUCKET = "bkt"
KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


def picture(number, kib):
    """A PNG of `kib` KiB that cannot be compressed, another one for each number."""
    width, lines = 96, kib * 1024 // 289
    seed = hashlib.shake_256(b"%d" % number).digest(288 * lines)
    rows = b"".join(b"\0" + seed[288 * n : 288 * (n + 1)] for n in range(lines))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, lines, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


class Bench:
    def __init__(self, program, moto, folder):
        self.program, self.moto, self.folder = program, moto, pathlib.Path(folder)
        config = Config(s3={"addressing_style": "path"})
        self.client = boto3.client("s3", endpoint_url=moto.url, config=config, **KEYS)
        self.client.create_bucket(Bucket=BUCKET)
        kept = "AWS_CHECKSUM_ALGORITHM"
        environment = {name: value for name, value in os.environ.items() if name == kept or not name.startswith("AWS_")}
        environment |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        self.environment = environment | {"AWS_ENDPOINT_URL": moto.url}

    def make_list(self, mib):
        """A list of images that make a shard of so many MiB."""
        kib = 25 if mib < 64 else 256
        images = self.folder / f"images-{mib}"
        images.mkdir()
        rows = []
        for number in range(mib * 1024 // kib):
            path = images / f"{number}.png"
            path.write_bytes(picture(number, kib))
            rows.append(path.as_uri())
        listed = self.folder / f"list-{mib}.txt"
        listed.write_text("\n".join(rows))
        return listed

    def run(self, *arguments, program=None):
        """Runs the program. Returns what it said, and the time and the processor time that it took, in seconds."""
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [program or self.program, *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, cwd=self.folder, text=True, capture_output=True)
        wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.stderr, wall, cpu

    def make(self, listed, output):
        kind = ["--output-format", "webdataset", "--shard-size", 1_000_000, "--file-urls"]
        return self.run(listed, "-o", output, *kind, "-v", "--progress", "none")

    def commit(self, listed, prefix):
        said, _, cpu = self.make(listed, f"s3://{BUCKET}/{prefix}")
        return float(re.search(r"put into the store in ([0-9.]+) s", said)[1]), cpu

    def copy(self, files, prefix):
        before, begin = time.process_time(), time.monotonic()
        for path in files:
            self.client.upload_file(str(path), BUCKET, f"{prefix}/{path.name}")
        return time.monotonic() - begin, time.process_time() - before

    def forget(self, prefix):
        """The server keeps its objects in memory."""
        for entry in self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]:
            self.client.delete_object(Bucket=BUCKET, Key=entry["Key"])


def shown(name, values, unit=" s"):
    return f"{name} {statistics.median(values):.3f}{unit} ({min(values):.3f} to {max(values):.3f})"


def commits(bench, rounds, mib):
    listed = bench.make_list(mib)
    set_folder = bench.folder / f"set-{mib}"
    _, _, cpu_to_folder = bench.make(listed, set_folder)
    files = [set_folder / f"00000{end}" for end in (".tar", ".parquet", "_stats.json")]
    ours, theirs = [], []
    for number in range(rounds):
        ways = [(ours, lambda: bench.commit(listed, "ours")), (theirs, lambda: bench.copy(files, "theirs"))]
        for results, way in ways if number % 2 == 0 else reversed(ways):
            results.append(way())
        bench.forget("ours")
        bench.forget("theirs")
    walls, copies = [wall for wall, _ in ours], [wall for wall, _ in theirs]
    ratios = [ours / theirs for ours, theirs in zip(walls, copies)]
    print(f"{files[0].stat().st_size / 2**20:.0f} MiB, {rounds} rounds: {shown('commit', walls)}, {shown('boto3', copies)}")
    print(f"  {shown('ratio', ratios, '')}, of the sums {sum(walls) / sum(copies):.3f}; at most 1.2 is asked for")
    cpu = statistics.median(cpu for _, cpu in ours) - cpu_to_folder
    print(f"  processor time: about {cpu:.2f} s beyond a run to a folder, boto3 {statistics.median(cpu for _, cpu in theirs):.2f} s")


def verifications(bench, rounds, mib):
    listed = bench.make_list(mib)
    set_folder = bench.folder / f"set-{mib}"
    bench.make(listed, set_folder)
    bench.commit(listed, "set")
    other = os.environ.get("FETCHIMG_OTHER")
    for place in (f"s3://{BUCKET}/set", set_folder):
        taken = {program: [] for program in [bench.program, other] if program}
        for number in range(rounds):
            for program in list(taken) if number % 2 == 0 else reversed(taken):
                taken[program].append(bench.run("--verify-output", "-o", place, program=program)[1:])
        for program, results in taken.items():
            name = "this one" if program == bench.program else "the other"
            print(f"{mib} MiB in {'a folder' if place == set_folder else 'the server'}, {name}: {shown('wall', [wall for wall, _ in results])}, {shown('processor', [cpu for _, cpu in results])}")
    bench.forget("set")


def memory(bench, shards):
    images = bench.folder / "images"
    images.mkdir()
    for number in range(40):
        (images / f"{number}.png").write_bytes(picture(number, 100))
    listed = bench.folder / "list.txt"
    # The same images again and again, as other rows.
    rows = [f"{(images / f'{number % 40}.png').as_uri()}#{number}" for number in range(5 * shards)]
    listed.write_text("\n".join(rows))
    kind = ["--output-format", "webdataset", "--shard-size", "5", "--file-urls", "--keep-duplicates", "-q"]
    place = ["-o", f"s3://{BUCKET}/many"]
    for name, arguments in (("made", [str(listed), *place, *kind]), ("checked", ["--verify-output", *place])):
        process = subprocess.Popen([bench.program, *arguments], env=bench.environment, cwd=bench.folder, stdout=subprocess.DEVNULL)
        samples = []
        while process.poll() is None:
            try:
                found = re.search(r"VmRSS:\s*(\d+) kB", pathlib.Path(f"/proc/{process.pid}/status").read_text())
            except OSError:
                found = None
            samples += [int(found[1]) / 1024] if found else []
            time.sleep(0.05)
        assert process.returncode == 0, process.returncode
        parts = [samples[len(samples) * tenth // 10] for tenth in (1, 3, 5, 7, 9)]
        shown = ", ".join(f"{part:.0f}" for part in parts)
        print(f"{shards} shards {name}: {shown} MiB after a tenth, three, five, seven and nine tenths of the time; {max(samples):.0f} at most")


def main():
    program, *words = sys.argv[1:]
    work = commits
    if words[:1] == ["verify"]:
        work, words = verifications, words[1:]
    if words[:1] == ["memory"]:
        with Moto() as moto, tempfile.TemporaryDirectory() as folder:
            memory(Bench(os.path.abspath(program), moto, folder), int((words[1:] or [1400])[0]))
        return
    rounds, *sizes = map(int, words or [7])
    with Moto() as moto, tempfile.TemporaryDirectory() as folder:
        bench = Bench(os.path.abspath(program), moto, folder)
        for mib in sizes or [15, 256]:
            work(bench, rounds, mib)


main()
