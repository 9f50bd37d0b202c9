"""Downloads the images of a Spark DataFrame into shards.

Each unit of rows becomes one shard. Which rows belong to which unit follows from their URLs alone, so it does not matter how
often, where or in which order Spark runs the tasks: a unit that is there already is left as it is, and the records of its
rows are read back. ``examples/spark.py`` of the repository is this module as a program.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any, Optional

from ._run import Record
from ._run import download as _download

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["download"]

# The columns of the result, with the fields of the records that they hold.
_SCHEMA = (
    "url string, unit string, key string, status string, error string, message string, reason string, http_status int, "
    "bytes bigint, format string, width int, height int, sha256 string, record string"
)


def download(
    df: DataFrame,
    output: str,
    *,
    url_column: str = "url",
    rows_per_unit: int = 10_000,
    units: Optional[int] = None,
    output_format: str = "webdataset",
    **flags: Any,
) -> DataFrame:
    """Downloads the images of ``df`` into the shards of ``output``, a folder or object store that all workers reach, and
    returns a DataFrame with a row for each row of ``df``: what became of it, and its whole record as JSON.

    As with all DataFrames, nothing happens before an action such as ``write``. ``units`` is the number of shards; by default
    it follows from ``rows_per_unit``, and the rows are counted. It has to be the same where a job is run again.
    All columns of ``df`` become columns of the shards' tables. Other ``flags`` are those of the command.

        >>> records = fetchimg.spark.download(spark.read.parquet("laion"), "/shared/laion", resize=256)  # doctest: +SKIP
        >>> records.where("status = 'failed'").groupBy("error").count().show()  # doctest: +SKIP
    """
    from pyspark.sql import functions as f

    if units is None:
        units = max(1, -(-df.count() // rows_per_unit))
    # The row as JSON is what the program reads. Sorted by it, a unit is the same list of rows in each attempt.
    rows = df.select(
        f.pmod(f.xxhash64(f.col(url_column)), f.lit(units)).cast("int").alias("unit"),
        f.to_json(f.struct(*df.columns), {"ignoreNullFields": "false"}).alias("row"),
    )
    rows = rows.repartition(units, "unit").sortWithinPartitions("unit", "row")
    flags = {**flags, "url_column": url_column, "output_format": output_format}

    def run(partition: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        for unit, of_unit in groupby(partition, key=lambda row: row["unit"]):
            lines, name = (json.loads(row["row"]) for row in of_unit), f"{unit:06}"
            for record in _download(lines, output, shard=name, **flags):
                yield _columns(record, name)

    return rows.sparkSession.createDataFrame(rows.rdd.mapPartitions(run), _SCHEMA)


def _columns(record: Record, unit: str) -> tuple[Any, ...]:
    names = ["key", "status", "error", "message", "reason", "http_status", "bytes", "format", "width", "height", "sha256"]
    return (record["url"], unit, *map(record.get, names), json.dumps(record, ensure_ascii=False))
