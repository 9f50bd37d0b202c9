#!/usr/bin/env python3
"""Stands in for fetchimg on machines that fail: kills it in the middle, or runs it twice at once.

FETCHIMG_BINARY names this program. Its environment says what happens to a unit (`--shard NAME` or `--slice I/N`) when it is
run for the first time:

    UNRELIABLE_PROGRAM  the program
    UNRELIABLE_STATE    a folder for what has happened, one file for each event: killed-NAME, twice-NAME, and peak-NAME.*
                        with the resident memory of each process in KiB
    UNRELIABLE_KILL     the share of units whose first run is killed, as soon as its shard has some bytes
    UNRELIABLE_WORKER   the share of units in whose first run the process that has started this one is killed, at the same
                        moment, while fetchimg goes on: a machine that is lost, and not lost
    UNRELIABLE_TWICE    the share of units that two processes make at once
"""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PROGRAM = os.environ["UNRELIABLE_PROGRAM"]
STATE = Path(os.environ["UNRELIABLE_STATE"])


def value_of(flag):
    for at, word in enumerate(sys.argv):
        if word == flag:
            return sys.argv[at + 1]
        if word.startswith(f"{flag}="):
            return word.split("=", 1)[1]
    return None


def note(event):
    """Notes that something happens for the first time; false if it has happened before."""
    try:
        (STATE / event).open("x").close()
    except FileExistsError:
        return False
    return True


def chance(name):
    """A number from 0 to 1 that follows from the name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def start(given):
    process = subprocess.Popen([PROGRAM, *sys.argv[1:]], stdin=None if given is None else subprocess.PIPE)

    def feed():
        try:
            process.stdin.write(given)
            process.stdin.close()
        except BrokenPipeError:
            pass

    if given is not None:
        threading.Thread(target=feed, daemon=True).start()
    return process


def scratch_bytes(output):
    """The bytes of shards that are being made. Files may be gone again."""
    total = 0
    # Those of a store are in the folder for what is temporary.
    places = Path(tempfile.gettempdir()).glob("fetchimg-*") if "://" in output else [os.path.join(output, ".fetchimg")]
    for place in places:
        for folder, _, names in os.walk(place):
            for name in names:
                try:
                    total += os.stat(os.path.join(folder, name)).st_size
                except OSError:
                    pass
    return total


def reap(process, name):
    """Waits for a process, and notes its memory."""
    _, status, usage = os.wait4(process.pid, 0)
    (STATE / f"peak-{name}.{process.pid}").write_text(str(usage.ru_maxrss))
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode


def main():
    # Pods of a Job have the same words, and an index each.
    words = [value_of("--shard") or value_of("--slice"), os.environ.get("JOB_COMPLETION_INDEX")]
    name = "-".join(word.replace("/", "-of-") for word in words if word)
    if not name:
        os.execv(PROGRAM, [PROGRAM, *sys.argv[1:]])
    number = chance(name)
    kill, worker, twice = (float(os.environ.get(f"UNRELIABLE_{what}", "0")) for what in ("KILL", "WORKER", "TWICE"))
    if number < kill and note(f"killed-{name}"):
        output = value_of("--output") or value_of("-o")
        before = scratch_bytes(output)
        # Standard input is passed on.
        process = subprocess.Popen([PROGRAM, *sys.argv[1:]])
        while process.poll() is None and scratch_bytes(output) <= before + 20_000:
            time.sleep(0.002)
        if number < worker:
            os.kill(os.getppid(), signal.SIGKILL)
        else:
            # Nothing of the program is left, and nothing is said.
            process.kill()
        if process.returncode is None:
            reap(process, name)
        os.kill(os.getpid(), signal.SIGKILL)
    if 1 - number < twice and note(f"twice-{name}"):
        # The engine hears of one of them.
        given = sys.stdin.buffer.read() if "-" in sys.argv else None
        # The twin is another machine, which has in common with this one what is in a store.
        elsewhere = STATE / f"elsewhere-{name}"
        elsewhere.mkdir()
        twin = subprocess.Popen(
            [PROGRAM, *sys.argv[1:]],
            stdin=subprocess.PIPE if given is not None else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(elsewhere)},
        )
        if given is not None:
            threading.Thread(target=lambda: (twin.stdin.write(given), twin.stdin.close()), daemon=True).start()
        status = reap(start(given), name)
        other = reap(twin, name)
        sys.exit(status if status not in (0, 1) else other)
    process = subprocess.Popen([PROGRAM, *sys.argv[1:]])
    # What asks this program to end, asks the other.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: process.send_signal(number))
    sys.exit(reap(process, name) % 256)


main()
