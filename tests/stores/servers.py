"""Servers of object stores on this machine, each on a port that is free. What stores, engines and benchmarks are tested with."""

import pathlib
import socket
import subprocess
import sys
import time

# How long a server may take to start, in seconds.
TIME_LIMIT = 60


class Process:
    """A server. `line` gives its command line for a port."""

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = free.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        line = [*map(str, self.line(self.address[1]))]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + TIME_LIMIT
        while True:
            try:
                socket.create_connection(self.address).close()
                return self
            except OSError:
                assert time.monotonic() < until and self.process.poll() is None, "the server does not start"
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Moto(Process):
    """moto, which speaks the protocol of S3."""

    def line(self, port):
        return pathlib.Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", port
