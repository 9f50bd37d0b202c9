#!/usr/bin/env python3
"""Downloads images with Ray Data: into the dataset, or into a set of shards.

    examples/ray_data.py LIST                               # a dataset with the bytes of each image, for training
    examples/ray_data.py LIST OUTPUT [UNITS [FLAG=VALUE ...]]  # shards that all workers write into OUTPUT

LIST is Parquet with a column `url`. `pip install fetchimg` on each worker brings the program. Tasks may fail, run twice, or
run at the same time on two machines: each row is in the set once. Run it again to continue.
"""

import sys
from typing import Any

import ray

import fetchimg.ray


def main() -> None:
    source, *rest = sys.argv[1:]
    ds = ray.data.read_parquet(source)
    if not rest:
        images = fetchimg.ray.download(ds, batch_size=500)
        for batch in images.iter_batches(batch_size=100, batch_format="pyarrow"):
            # In place of this: decode, and train.
            sizes = [len(image) for image in batch["image"].to_pylist() if image is not None]
            print(f"{len(sizes)} of {len(batch)} images, {sum(sizes)} bytes")
        return
    output = rest[0]
    units = int(rest[1]) if len(rest) > 1 else None
    flags: dict[str, Any] = dict(word.split("=", 1) for word in rest[2:])
    records = fetchimg.ray.download(ds, output, units=units, **flags)
    for row in records.groupby("status").count().take_all():
        print(row["status"], row["count()"])


if __name__ == "__main__":
    main()
