"""Makes sets with the built program in a real S3 server, behind a proxy that fails, and looks at them with its own client.

    check.py PROGRAM
"""

import collections
import hashlib
import http.client
import http.server
import io
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zlib

import boto3
from botocore.config import Config

ROWS = 600
BUCKET = "bkt"


def picture(number):
    """The PNG of a row: 26 KB that cannot be compressed."""
    rows = b"".join(b"\0" + hashlib.sha256(b"%d %d" % (number, n)).digest() * 9 for n in range(90))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 96, 90, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


class Images(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hits = collections.Counter()

    def do_GET(self):
        number = int(self.path.strip("/").split(".")[0])
        self.hits[number] += 1
        body = picture(number)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Proxy(http.server.BaseHTTPRequestHandler):
    """Passes on what comes, but for every tenth request, which gets 503, and every 25th, whose answer is lost."""

    protocol_version = "HTTP/1.1"
    upstream = None
    count = 0
    faults = collections.Counter()
    lock = threading.Lock()

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.lock:
            Proxy.count += 1
            number = self.count
        if number % 10 == 0:
            self.faults["503"] += 1
            text = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            self.send_response(503)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
            return
        upstream = http.client.HTTPConnection(*self.upstream)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if number % 25 == 0:
            self.faults["lost"] += 1
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        length = answer.getheader("Content-Length", "0") if is_head else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if not is_head:
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        # Runs are killed on purpose, and leave connections behind.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*_)


def serve(handler):
    server = Server(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address


class Moto:
    """The server, on a port that is free."""

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = free.getsockname()
        program = pathlib.Path(sys.executable).with_name("moto_server")
        arguments = [program, "-H", "127.0.0.1", "-p", str(self.address[1])]
        self.process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
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


def url(address):
    return f"http://{address[0]}:{address[1]}"


# What keys hold that URLs cannot hold as it is.
ODD = ("", " b", "%20", "?d", "#e", "+&=", "ä", "/", "//x", "~(1)")


def check_rows(client, run, folder):
    """Images that are objects: the client of the server has put them under odd keys."""
    keys = {f"rows/{number}{ODD[number % len(ODD)]}.png": number for number in range(ROWS)}
    for key, number in keys.items():
        client.put_object(Bucket=BUCKET, Key=key, Body=picture(number))
    lines = [f"s3://{BUCKET}/{key}" for key in keys] + [f"s3://{BUCKET}/rows/none.png", "s3://other/a.png"]
    pathlib.Path(folder, "rows.txt").write_text("\n".join(lines))
    # Every 25th answer is lost, and every tenth is a 503.
    flags = ["--store-urls", "-o", "rows", "--manifest", "rows.jsonl", "--retry-wait", "0.1", "--retries", "9"]
    said = "".join(run("rows.txt", *flags, status=1))
    records = [json.loads(line) for line in pathlib.Path(folder, "rows.jsonl").read_text().splitlines()]
    assert len(records) == len(lines) and {record["url"] for record in records} == set(lines), said
    for record in records:
        key = record["url"].removeprefix(f"s3://{BUCKET}/")
        if key in keys:
            assert record["status"] == "saved", record
            assert pathlib.Path(folder, "rows", record["path"]).read_bytes() == picture(keys[key]), record
        else:
            assert record["http_status"] == 404, record
    assert "it is not in the bucket bkt" in said and "there is no bucket other" in said, said
    count = Proxy.count
    run("rows.txt", *flags, status=1)
    assert Proxy.count - count < 50, "what is saved is not fetched again"


def main(program):
    program = str(pathlib.Path(program).resolve())
    images = url(serve(Images))
    with Moto() as moto, tempfile.TemporaryDirectory() as folder:
        Proxy.upstream = moto.address
        proxy = url(serve(Proxy))
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=url(moto.address), config=Config(s3={"addressing_style": "path"}), **keys)
        client.create_bucket(Bucket=BUCKET)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}

        def start(*arguments, endpoint=proxy):
            command = [program, *arguments]
            return subprocess.Popen(
                command, cwd=folder, env=environment | {"AWS_ENDPOINT_URL": endpoint}, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )

        def end(process, status=0):
            out, err = process.communicate(timeout=300)
            assert process.returncode == status, f"{process.args}: status {process.returncode}\n{out}\n{err}"
            return out, err

        rows = [f"{images}/{number}.png" for number in range(ROWS)]
        pathlib.Path(folder, "list.txt").write_text("\n".join(rows))
        kind = ["--output-format", "webdataset"]

        def objects(prefix):
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", [])}

        def check(prefix, shards):
            found = objects(prefix)
            assert len(found) == 3 * shards + 1, found
            seen = collections.Counter()
            for key in found:
                if key.endswith("_stats.json"):
                    marker = json.loads(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
                    stored = marker["fetchimg"]["data"]
                    data = client.get_object(Bucket=BUCKET, Key=f"{prefix}/{stored['name']}")["Body"].read()
                    assert (len(data), hashlib.sha256(data).hexdigest()) == (stored["bytes"], stored["sha256"]), key
                    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                        for member in tar:
                            if member.name.endswith(".json"):
                                record = json.load(tar.extractfile(member))
                            else:
                                image = tar.extractfile(member).read()
                                continue
                            number = int(record["url"].rsplit("/", 1)[1].split(".")[0])
                            assert image == picture(number), record["url"]
                            seen[number] += 1
            assert seen == collections.Counter(range(ROWS)), "each row once"
            assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET), "uploads are left"
            out, _ = end(start("--verify-output", "-o", f"s3://{BUCKET}/{prefix}"))
            assert "all is as the records say" in out, out

        # Twelve shards through the proxy; a shard of 15 MB, in parts.
        for prefix, size in (("small", 50), ("large", ROWS)):
            Images.hits.clear()
            end(start("list.txt", "-o", f"s3://{BUCKET}/{prefix}", *kind, "--shard-size", str(size)))
            check(prefix, -(-ROWS // size))
            assert set(Images.hits.values()) == {1}, "a row was fetched twice"
        # The same again: nothing is fetched.
        Images.hits.clear()
        end(start("list.txt", "-o", f"s3://{BUCKET}/small", *kind, "--shard-size", "50"))
        assert not Images.hits
        # A unit by four runs at once, of which two are killed.
        arguments = ["list.txt", "-o", f"s3://{BUCKET}/unit", *kind, "--shard", "unit"]
        runs = [start(*arguments, "--scratch", f"scratch-{number}") for number in range(4)]
        time.sleep(0.3)
        for run in runs[:2]:
            run.kill()
            run.communicate()
        for run in runs[2:]:
            end(run)
        check("unit", 1)
        assert Proxy.faults["503"] > 10 and Proxy.faults["lost"] > 3, Proxy.faults
        _, said = end(start("list.txt", "-o", "s3://other/set", *kind), 3)
        assert "there is no bucket other" in said, said

        check_rows(client, lambda *arguments, status: end(start(*arguments), status), folder)

        # How long the commit of a shard takes, against the server's own client with the same bytes.
        arguments = ["list.txt", "-o", f"s3://{BUCKET}/direct", *kind, "-v", "--progress", "none"]
        _, said = end(start(*arguments, endpoint=url(moto.address)))
        put = float(re.search(r"put into the store in ([0-9.]+) s", said)[1])
        local = pathlib.Path(folder, "copy.tar")
        client.download_file(BUCKET, "direct/00000.tar", str(local))
        begin = time.monotonic()
        client.upload_file(str(local), BUCKET, "copy.tar")
        copied = time.monotonic() - begin
        print(f"{local.stat().st_size >> 20} MiB: put by fetchimg in {put:.2f} s, by boto3 in {copied:.2f} s")
        print(f"stores: {Proxy.count} requests through the proxy, {dict(Proxy.faults)}")


main(sys.argv[1])
