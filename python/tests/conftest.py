"""A server of pictures on loopback, for all tests."""

import http.server
import struct
import threading
import time
import zlib

import pytest


def png(seed: int, width: int = 6, height: int = 6) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + bytes([seed % 256, seed // 256 % 256, 9]) * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Handler(http.server.BaseHTTPRequestHandler):
    """/png/N.png is a picture, /missing/N.png is none, /slow/N.png waits for the end of the test, /large/NAME is 300 pixels wide."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind, name = self.path.strip("/").split("/")
        with self.server.lock:
            self.server.requests.append(self.path)
        if kind == "slow":
            self.server.released.wait(60)
        if kind == "large":
            status, body = 200, png(1, 300, 200)
        else:
            status, body = (404, b"") if kind == "missing" else (200, png(int(name.split(".")[0])))
        try:
            self.send_response(status)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.requests: list = []
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, kind: str, number: int) -> str:
        return f"http://127.0.0.1:{self.server_port}/{kind}/{number}.png"

    def png(self, number: int) -> bytes:
        return png(number)


@pytest.fixture()
def server():
    server = Server()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


def wait_until(condition, what: str, limit: float = 60) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)
