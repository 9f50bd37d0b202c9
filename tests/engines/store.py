"""An S3 server on loopback, which engines write their sets to."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "stores"))

from servers import Moto  # noqa: E402

BUCKET = "bkt"


class Store(Moto):
    def __enter__(self):
        super().__enter__()
        # What machines of an engine know of it.
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        import boto3

        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], **keys)
        self.client.create_bucket(Bucket=BUCKET)
        return self

    def place(self, prefix):
        return f"s3://{BUCKET}/{prefix}"

    def copy(self, prefix, folder):
        """Copies what is below the prefix into a folder."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        for entry in (entry for page in pages for entry in page.get("Contents", [])):
            path = folder / entry["Key"].removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file(BUCKET, entry["Key"], str(path))
