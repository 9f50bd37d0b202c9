"""Makes sets with the built program in a real S3 server and in one of Azure, behind a proxy that fails, and looks at them with
clients of their own.

    check.py PROGRAM AZURITE
"""

import base64
import collections
import email.utils
import hashlib
import hmac
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

from servers import Moto, Process

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
    """Passes on what comes, but for every tenth request, which gets 503, and every 25th, whose answer is lost. Each server has a
    class of its own."""

    protocol_version = "HTTP/1.1"
    upstream = None
    count = 0
    faults = collections.Counter()
    lock = threading.Lock()

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.lock:
            type(self).count += 1
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
        # An upload whose name is lost can be aborted by nobody.
        if number % 25 == 0 and not (self.command == "POST" and "uploads" in self.path):
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

    @classmethod
    def of(cls, upstream):
        return type(cls.__name__, (cls,), {"upstream": upstream, "faults": collections.Counter()})


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


class Azurite(Process):
    """With the account and the key that everybody knows."""

    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, program):
        self.program = program

    def line(self, port):
        return self.program, "--blobPort", port, "--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"

    def ask(self, method, path, query=()):
        """Sends a request that is signed with the key. Returns the body of the answer."""
        fields = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
        lines = [f"{name}:{value}" for name, value in fields.items()]
        lines += [f"/{self.account}/{self.account}/{path}", *(f"{name}:{value}" for name, value in query)]
        text = "\n".join([method] + [""] * 11 + lines)
        digest = hmac.digest(base64.b64decode(self.key), text.encode(), "sha256")
        fields["Authorization"] = f"SharedKey {self.account}:{base64.b64encode(digest).decode()}"
        connection = http.client.HTTPConnection(*self.address)
        parameters = "&".join(f"{name}={value}" for name, value in query)
        connection.request(method, f"/{self.account}/{path}?{parameters}", headers=fields)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status < 300, (method, path, answer.status, body)
        return body


def url(address):
    return f"http://{address[0]}:{address[1]}"


# What keys hold that URLs cannot hold as it is.
ODD = ("", " b", "%20", "?d", "#e", "+&=", "ä", "/", "//x", "~(1)")


def check_rows(client, run, folder, proxy):
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
    count = proxy.count
    run("rows.txt", *flags, status=1)
    assert proxy.count - count < 50, "what is saved is not fetched again"


class Runs:
    """Starts the program in a folder."""

    def __init__(self, program, folder, variables):
        self.program, self.folder = str(pathlib.Path(program).resolve()), folder
        others = ("AWS_", "AZURE_", "GOOGLE_")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(others)} | variables

    def start(self, *arguments, **variables):
        return subprocess.Popen(
            [self.program, *arguments], cwd=self.folder, env=self.environment | variables, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )

    def end(self, process, status=0):
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, f"{process.args}: status {process.returncode}\n{out}\n{err}"
        return out, err

    def several(self, *arguments):
        """Four runs of the same at once, of which two are killed."""
        runs = [self.start(*arguments, "--scratch", f"scratch-{number}") for number in range(4)]
        time.sleep(0.3)
        for run in runs[:2]:
            run.kill()
            run.communicate()
        for run in runs[2:]:
            self.end(run)


KIND = ["--output-format", "webdataset"]


def check_shards(objects, read):
    """That the objects are a set with each row once. `read` gives the content of one."""
    seen = collections.Counter()
    for name in objects:
        if name.endswith("_stats.json"):
            stored = json.loads(read(name))["fetchimg"]["data"]
            data = read(stored["name"])
            assert (len(data), hashlib.sha256(data).hexdigest()) == (stored["bytes"], stored["sha256"]), name
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


def of_azure(program, azurite, images):
    """Sets in a server of Azure Blob Storage."""
    with Azurite(azurite) as server, tempfile.TemporaryDirectory() as folder:
        server.ask("PUT", BUCKET, [("restype", "container")])
        Faults = Proxy.of(server.address)
        endpoint = f"{url(serve(Faults))}/{server.account}"
        connection = f"AccountName={server.account};AccountKey={server.key};BlobEndpoint={endpoint}"
        runs = Runs(program, folder, {"AZURE_STORAGE_CONNECTION_STRING": connection})
        rows = [f"{images}/{number}.png" for number in range(ROWS)]
        pathlib.Path(folder, "list.txt").write_text("\n".join(rows))

        def check(prefix, shards):
            query = [("comp", "list"), ("prefix", prefix + "/"), ("restype", "container")]
            listed = server.ask("GET", BUCKET, query).decode()
            names = [name.rsplit("/", 1)[1] for name in re.findall("<Name>([^<]+)</Name>", listed)]
            assert len(names) == 3 * shards + 1, names
            check_shards(names, lambda name: server.ask("GET", f"{BUCKET}/{prefix}/{name}"))
            out, _ = runs.end(runs.start("--verify-output", "-o", f"az://{BUCKET}/{prefix}"))
            assert "all is as the records say" in out, out

        for prefix, size in (("small", 50), ("large", ROWS)):
            set_of = ["-o", f"az://{BUCKET}/{prefix}", *KIND, "--shard-size", str(size)]
            runs.end(runs.start("list.txt", *set_of))
            check(prefix, -(-ROWS // size))
        # The same again: nothing is fetched. Then all anew.
        Images.hits.clear()
        runs.end(runs.start("list.txt", *set_of))
        assert not Images.hits
        runs.end(runs.start("list.txt", *set_of, "--overwrite"))
        check("large", 1)
        runs.several("list.txt", "-o", f"az://{BUCKET}/unit", *KIND, "--shard", "unit")
        check("unit", 1)
        assert Faults.faults["503"] > 10 and Faults.faults["lost"] > 3, Faults.faults
        _, said = runs.end(runs.start("list.txt", "-o", "az://other/set", *KIND), 3)
        assert "there is no bucket other" in said, said
        print(f"Azure: {Faults.count} requests through the proxy, {dict(Faults.faults)}")


def of_s3(program, images):
    """Sets in a server of S3."""
    with Moto() as moto, tempfile.TemporaryDirectory() as folder:
        Faults = Proxy.of(moto.address)
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=url(moto.address), config=Config(s3={"addressing_style": "path"}), **keys)
        client.create_bucket(Bucket=BUCKET)
        variables = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        runs = Runs(program, folder, variables | {"AWS_ENDPOINT_URL": url(serve(Faults))})
        start, end = runs.start, runs.end
        rows = [f"{images}/{number}.png" for number in range(ROWS)]
        pathlib.Path(folder, "list.txt").write_text("\n".join(rows))

        def objects(prefix):
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            return [entry["Key"].rsplit("/", 1)[1] for page in pages for entry in page.get("Contents", [])]

        def check(prefix, shards, leaves_uploads=False):
            found = objects(prefix + "/")
            assert len(found) == 3 * shards + 1, found
            check_shards(found, lambda name: client.get_object(Bucket=BUCKET, Key=f"{prefix}/{name}")["Body"].read())
            assert leaves_uploads or "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET), "uploads are left"
            out, _ = end(start("--verify-output", "-o", f"s3://{BUCKET}/{prefix}"))
            assert "all is as the records say" in out, out

        # Twelve shards through the proxy; a shard of 15 MB, in parts.
        for prefix, size in (("small", 50), ("large", ROWS)):
            Images.hits.clear()
            end(start("list.txt", "-o", f"s3://{BUCKET}/{prefix}", *KIND, "--shard-size", str(size)))
            check(prefix, -(-ROWS // size))
            assert set(Images.hits.values()) == {1}, "a row was fetched twice"
        # The same again: nothing is fetched.
        Images.hits.clear()
        end(start("list.txt", "-o", f"s3://{BUCKET}/small", *KIND, "--shard-size", "50"))
        assert not Images.hits
        runs.several("list.txt", "-o", f"s3://{BUCKET}/unit", *KIND, "--shard", "unit")
        # Those that were killed could not abort theirs.
        check("unit", 1, leaves_uploads=True)
        assert Faults.faults["503"] > 10 and Faults.faults["lost"] > 3, Faults.faults
        _, said = end(start("list.txt", "-o", "s3://other/set", *KIND), 3)
        assert "there is no bucket other" in said, said
        check_rows(client, lambda *arguments, status: end(start(*arguments), status), folder, Faults)
        print(f"S3: {Faults.count} requests through the proxy, {dict(Faults.faults)}")


def main(program, azurite):
    images = url(serve(Images))
    of_s3(program, images)
    of_azure(program, azurite, images)


main(*sys.argv[1:])
