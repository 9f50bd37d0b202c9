#!/usr/bin/env python3
"""A rehearsal of a large job: many units through an engine whose machines fail.

    tests/engines/rehearsal.py PROGRAM [UNITS [ROWS [WORKERS]]]      # 1000 units of 1000 rows by 4 workers

The engine is a pool that runs each unit until it ends well. A tenth of the units are killed in the middle, a twentieth is made
by two processes at once (unreliable.py). In the end the set is verified, each row is in it once, and no process took more
memory than another one but for a few MiB. The exit status is 1 if one of that does not hold.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server import Server

HERE = Path(__file__).resolve().parent

# The most memory of a process, and the most beyond the median of all, in MiB.
MAX_MEMORY, MAX_SPREAD = 150, 40

# How often a unit may be tried.
MAX_ATTEMPTS = 4


def run_unit(unit, rows, output, environment):
    """Runs a unit until it ends well, as engines do. Returns the number of attempts."""
    lines = "".join(json.dumps({"url": url, "row": row}) + "\n" for row, url in rows)
    line = [sys.executable, str(HERE / "unreliable.py"), "-", "-o", output, "--output-format=webdataset", f"--shard={unit:06}"]
    line += ["--input-format=jsonl", "--end-line=end of list", "--manifest=-", "--quiet"]
    for attempt in range(1, MAX_ATTEMPTS + 1):
        # Rows without a picture would be said one by one.
        ended = subprocess.run(line, input=f"{lines}end of list\n".encode(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if ended.returncode in (0, 1):
            records = ended.stdout.count(b"\n")
            assert records == len(rows), f"unit {unit}: {records} records of {len(rows)}"
            return attempt
    raise RuntimeError(f"unit {unit} failed {MAX_ATTEMPTS} times; the last status was {ended.returncode}")


def check(program, output, units, rows):
    import pyarrow.parquet as pq

    begin = time.monotonic()
    said = subprocess.run([program, "--verify-output", "-o", output], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    verified = time.monotonic() - begin
    seen = Counter()
    for path in Path(output).glob("*.parquet"):
        table = pq.read_table(path, columns=["row", "status"])
        seen.update(table.column("row").to_pylist())
        assert set(table.column("status").to_pylist()) <= {"success", "failed_to_download"}, path
    assert len(seen) == units * rows and max(seen.values()) == 1, f"{len(seen)} rows, {seen.most_common(2)}"
    return verified


def main():
    program, numbers = os.path.abspath(sys.argv[1]), [int(word) for word in sys.argv[2:]]
    units, rows, workers = (numbers + [1000, 1000, 4][len(numbers) :])[:3]
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        output, state = f"{folder}/set", Path(folder, "state")
        state.mkdir()
        environment = {
            **os.environ,
            "UNRELIABLE_PROGRAM": program,
            "UNRELIABLE_STATE": str(state),
            "UNRELIABLE_KILL": "0.1",
            "UNRELIABLE_TWICE": "0.05",
        }
        begin = time.monotonic()

        def one(unit):
            # Each hundredth row has no picture.
            of_unit = range(unit * rows, (unit + 1) * rows)
            listed = [(row, server.url("missing" if row % 100 == 7 else "png", row)) for row in of_unit]
            attempts = run_unit(unit, listed, output, environment)
            if (unit + 1) % 50 == 0:
                print(f"{unit + 1} units after {time.monotonic() - begin:.0f} s", flush=True)
            return attempts

        with ThreadPoolExecutor(workers) as pool:
            attempts = list(pool.map(one, range(units)))
        wall = time.monotonic() - begin
        names = [path.name for path in state.iterdir()]
        killed, twice = (sum(name.startswith(f"{kind}-") for name in names) for kind in ("killed", "twice"))
        verified = check(program, output, units, rows)
        peaks = sorted(int(path.read_text()) / 1024 for path in state.glob("peak-*"))
        median = peaks[len(peaks) // 2]
        print(f"{units} units of {rows} rows by {workers} workers: {units * rows} rows once, verified in {verified:.0f} s")
        print(f"{killed} units killed, {twice} made by two at once, {sum(attempts)} attempts, {server.count()} requests")
        print(f"{wall:.0f} s, {units * rows / wall:.0f} rows a second")
        print(f"memory of {len(peaks)} processes: median {median:.0f} MiB, most {peaks[-1]:.0f} MiB")
        if peaks[-1] > MAX_MEMORY or peaks[-1] > median + MAX_SPREAD:
            sys.exit(1)


main()
