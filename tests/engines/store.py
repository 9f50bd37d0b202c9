"""An S3 server on loopback, which engines write their sets to."""

import socket
import subprocess
import sys
import time
from pathlib import Path

BUCKET = "bkt"

# How long the server may take to start, in seconds.
TIME_LIMIT = 60


class Store:
    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        line = [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + TIME_LIMIT
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert time.monotonic() < end and self.process.poll() is None, "the server does not start"
                time.sleep(0.05)
        # What machines of an engine know of it.
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        import boto3

        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], **keys)
        self.client.create_bucket(Bucket=BUCKET)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def url(self, prefix):
        return f"s3://{BUCKET}/{prefix}"

    def copy(self, prefix, folder):
        """Copies what is below the prefix into a folder."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        for entry in (entry for page in pages for entry in page.get("Contents", [])):
            path = folder / entry["Key"].removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file(BUCKET, entry["Key"], str(path))
