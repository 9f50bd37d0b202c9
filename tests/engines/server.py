#!/usr/bin/env python3
"""A quick server of pictures on loopback, for engines that ask for many.

    tests/engines/server.py [DELAY [BYTES]]

prints its port, and answers until its standard input ends: /png/N.png after DELAY seconds with a picture of about BYTES
bytes that no other N has, /missing/N.png with 404. /count is the number of requests for pictures so far.
"""

import asyncio
import os
import struct
import subprocess
import sys
import threading
import zlib


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


HEAD = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
TAIL = chunk(b"IDAT", zlib.compress((b"\0" + bytes((90, 120, 30)) * 8) * 8)) + chunk(b"IEND", b"")


def picture(name, size):
    text = b"Comment\0" + name + b" " * max(0, size - len(HEAD) - len(TAIL) - len(name) - 20)
    return HEAD + chunk(b"tEXt", text) + TAIL


class Pictures(asyncio.Protocol):
    requests = 0

    def __init__(self, delay, size):
        self.delay, self.size, self.rest, self.due = delay, size, b"", 0

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        *heads, self.rest = (self.rest + data).split(b"\r\n\r\n")
        for head in heads:
            method, target, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
            kind, _, name = target.strip(b"/").partition(b"/")
            if kind == b"count":
                self.answer(b"200 OK", str(Pictures.requests).encode(), b"text/plain", method)
                continue
            Pictures.requests += 1
            answer = (b"404 Not Found", b"", b"image/png", method)
            if kind == b"png":
                answer = (b"200 OK", picture(name, self.size), b"image/png", method)
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self.answer, *answer)
            else:
                self.answer(*answer)

    def answer(self, status, body, content_type, method):
        if self.transport.is_closing():
            return
        head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (status, content_type, len(body))
        self.transport.write(head if method == b"HEAD" else head + body)


async def serve(delay, size):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Pictures(delay, size), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


class Server:
    """The server as a process of its own, for the program that tests."""

    def __init__(self, delay=0.0, size=1000):
        line = [sys.executable, os.path.abspath(__file__), str(delay), str(size)]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def url(self, kind, number):
        return f"http://127.0.0.1:{self.port}/{kind}/{number}.png"

    def count(self):
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/count") as answer:
            return int(answer.read())


if __name__ == "__main__":
    words = [float(word) for word in sys.argv[1:]]
    asyncio.run(serve(words[0] if words else 0.0, int(words[1]) if len(words) > 1 else 1000))
