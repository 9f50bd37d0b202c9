"""Downloads the images of a Ray Dataset: into the dataset, or into shards.

``examples/ray_data.py`` of the repository is this module as a program.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from ._run import FetchimgError
from ._run import download as _download
from ._run import stream as _stream

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["download"]

# How often a program is started whose process was killed. Ray repeats the tasks of machines and processes that are lost, but an
# exception ends a whole job.
_MAX_ATTEMPTS = 4

# Partitions of a dataset by units, for each processor. A partition may have many units.
_PARTITIONS_PER_CPU = 2

# The columns that the result has, with the types of PyArrow by which they are made. Types must not differ between batches.
_COLUMNS = {
    "status": "string",
    "error": "string",
    "message": "string",
    "http_status": "int32",
    "format": "string",
    "width": "int32",
    "height": "int32",
    "record": "string",
}


def download(
    ds: Dataset,
    output: Optional[str] = None,
    *,
    url_column: str = "url",
    image_column: str = "image",
    batch_size: int = 1000,
    units: Optional[int] = None,
    rows_per_unit: int = 10_000,
    output_format: str = "webdataset",
    **flags: Any,
) -> Dataset:
    """Downloads the images of ``ds``.

    Without ``output``, the dataset gets a column ``image`` with the bytes, which are null where a row failed, and columns
    with what became of each row: ``status``, ``error``, ``message``, ``http_status``, ``format``, ``width``, ``height`` and
    the whole ``record`` as JSON. Nothing is written to a disk.

        >>> ds = fetchimg.ray.download(ray.data.read_parquet("laion"), resize=256)  # doctest: +SKIP
        >>> ds.filter(expr="status == 'saved'").iter_torch_batches()  # doctest: +SKIP

    With ``output``, a folder or object store that all workers reach, the images go into shards, one for each unit of
    ``rows_per_unit`` rows, and the result has the same columns without the images. Which rows belong to which unit follows
    from their URLs and from ``units``, their number, so a job that is run again leaves the shards that are there.

        >>> fetchimg.ray.download(ds, "/shared/laion", units=500).materialize()  # doctest: +SKIP

    Other ``flags`` are those of the command.
    """
    flags = {**flags, "url_column": url_column}
    if output is None:
        # Each row of a batch gets its image, also where a URL is there twice.
        flags = {**flags, "keep_duplicates": True}

        def add_images(batch: Any) -> Any:
            return _with_images(batch, image_column, flags)

        return ds.map_batches(add_images, batch_format="pyarrow", batch_size=batch_size)

    if units is None:
        units = max(1, -(-ds.count() // rows_per_unit))
    flags = {**flags, "output_format": output_format}

    def add_unit(batch: Any) -> Any:
        return _with_unit(batch, url_column, units)

    def make_shard(group: Any) -> Any:
        return _shard(group, output, flags)

    # Ray's default are 200 partitions, with a process for each of them.
    import ray

    partitions = min(units, max(1, int(_PARTITIONS_PER_CPU * ray.cluster_resources().get("CPU", 1))))
    grouped = ds.map_batches(add_unit, batch_format="pyarrow").groupby("unit", num_partitions=partitions)
    return grouped.map_groups(make_shard, batch_format="pyarrow")


def _ended(run: Callable[[], list[Any]]) -> list[Any]:
    """The result of a run, which is repeated if its process was killed, for instance because memory was short."""
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        try:
            return run()
        except FetchimgError as error:
            if attempt == _MAX_ATTEMPTS or error.status is None or error.status >= 0:
                raise
    raise AssertionError


def _with_images(batch: Any, image_column: str, flags: dict[str, Any]) -> Any:
    """A batch with its images and what became of its rows."""
    import pyarrow as pa

    rows = batch.to_pylist()
    pairs: list[Any] = [(None, None)] * len(rows)
    for record, image in _ended(lambda: list(_stream(rows, **flags))):
        pairs[record["index"]] = (record, image)
    batch = batch.append_column(image_column, pa.array([image for _, image in pairs], pa.large_binary()))
    return _with_records(batch, [record for record, _ in pairs])


def _with_records(batch: Any, records: list[Any]) -> Any:
    import pyarrow as pa

    for name, kind in _COLUMNS.items():
        values = [json.dumps(record, ensure_ascii=False) if name == "record" else record.get(name) for record in records]
        if name in batch.column_names:
            batch = batch.drop_columns([name])
        batch = batch.append_column(name, pa.array(values, pa.type_for_alias(kind)))
    return batch


def _with_unit(batch: Any, url_column: str, units: int) -> Any:
    """A batch with the number of each row's unit."""
    import zlib

    import pyarrow as pa

    urls: list[Union[str, None]] = batch.column(url_column).to_pylist()
    numbers = [zlib.crc32((url or "").encode()) % units for url in urls]
    return batch.append_column("unit", pa.array(numbers, pa.int64()))


def _shard(group: Any, output: str, flags: dict[str, Any]) -> Any:
    """Makes the shard of a unit."""
    unit = group.column("unit")[0].as_py()
    group = group.drop_columns(["unit"])
    # Sorted by what they hold, so that a unit is the same list of rows in each attempt.
    lines = sorted(json.dumps(row, default=str, ensure_ascii=False, sort_keys=True) for row in group.to_pylist())
    rows = [json.loads(line) for line in lines]
    records: list[Any] = [None] * len(rows)
    for record in _ended(lambda: list(_download(rows, output, shard=f"{unit:06}", **flags))):
        records[record["index"]] = record
    import pyarrow as pa

    table = pa.table({
        "url": pa.array([record["url"] for record in records], pa.string()),
        "unit": pa.array([f"{unit:06}"] * len(records), pa.string()),
        "key": pa.array([record.get("key") for record in records], pa.string()),
    })
    return _with_records(table, records)
