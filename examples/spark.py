#!/usr/bin/env python3
"""Makes a set of shards from a list, with Spark.

    spark-submit examples/spark.py LIST OUTPUT [ROWS_PER_UNIT [FLAG=VALUE ...]]
    spark-submit examples/spark.py /shared/laion.parquet /shared/laion 10000 url_column=URL caption_column=TEXT resize=256
    spark-submit examples/spark.py s3a://bkt/laion.parquet s3://bkt/laion 10000 url_column=URL records=s3a://bkt/laion-records

LIST is Parquet, CSV with a header, or JSON Lines. Spark writes the records, to OUTPUT-records unless told otherwise: its names of
stores are those of its own connectors. `pip install fetchimg` on each worker brings the program. Tasks may fail,
run twice, or run at the same time on two machines: each row is in the set once. Run it again to continue.
"""

import sys
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

import fetchimg.spark


def main() -> None:
    source, output, *rest = sys.argv[1:]
    rows_per_unit = int(rest[0]) if rest else 10_000
    flags: dict[str, Any] = dict(word.split("=", 1) for word in rest[1:])
    written = flags.pop("records", f"{output.rstrip('/')}-records")
    spark = SparkSession.builder.appName("fetchimg").getOrCreate()
    read = {".csv": lambda path: spark.read.csv(path, header=True), ".jsonl": spark.read.json}
    df = read.get(Path(source).suffix, spark.read.parquet)(source)

    # Nothing has happened before the first action; with the records written, no later one runs it again.
    records = fetchimg.spark.download(df, output, rows_per_unit=rows_per_unit, **flags)
    records.drop("record").write.mode("overwrite").parquet(written)
    records = spark.read.parquet(written)
    records.groupBy("status", "error").count().orderBy("status", "error").show(truncate=False)
    spark.stop()


if __name__ == "__main__":
    main()
