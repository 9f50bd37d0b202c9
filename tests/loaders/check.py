"""Makes sets with the built program, and reads them with the libraries that people load them with.

    check.py PROGRAM [IMG2DATASET]

With IMG2DATASET, the program of that name makes a set from the same list, and names and types of columns are compared.
"""

import hashlib
import http.server
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

CACHE = tempfile.TemporaryDirectory()
os.environ["HF_HOME"] = CACHE.name

import datasets
import duckdb
import polars
import pyarrow
import pyarrow.parquet
import webdataset
from PIL import Image

ROWS = 25
SHARD_ROWS = 10

# img2dataset 1.47: downloader.py adds these columns, with these types, to those of the list.
IMG2DATASET = {
    "key": pyarrow.string(),
    "url": pyarrow.string(),
    "caption": pyarrow.string(),
    "status": pyarrow.string(),
    "error_message": pyarrow.string(),
    "width": pyarrow.int32(),
    "height": pyarrow.int32(),
    "original_width": pyarrow.int32(),
    "original_height": pyarrow.int32(),
    "exif": pyarrow.string(),
    "sha256": pyarrow.string(),
}


def picture(number):
    """The PNG of a row."""
    out = io.BytesIO()
    Image.new("RGB", (20 + number, 30), (number, 2 * number, 255 - number)).save(out, "PNG")
    return out.getvalue()


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        number = int(self.path.strip("/").split(".")[0])
        body = picture(number) if number % 10 != 3 else b"gone"
        self.send_response(200 if number % 10 != 3 else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def is_there(number):
    return number % 10 != 3


def make(program, folder, kind, url):
    """A set of this kind, made from a Parquet list."""
    table = pyarrow.table({
        "id": pyarrow.array(range(ROWS), pyarrow.int32()),
        "score": pyarrow.array([number / 4 for number in range(ROWS)], pyarrow.float32()),
        "seen": pyarrow.array([1_700_000_000_000_000 + number for number in range(ROWS)], pyarrow.timestamp("us", "UTC")),
        "URL": [f"{url}/{number}.png" for number in range(ROWS)],
        "TEXT": [f"caption {number}" for number in range(ROWS)],
    })
    pyarrow.parquet.write_table(table, folder / "list.parquet")
    command = [program, "list.parquet", "-o", kind, "--output-format", kind, "--url-column", "URL", "--caption-column"]
    command += ["TEXT", "--shard-size", str(SHARD_ROWS), "-q"]
    assert subprocess.run(command, cwd=folder, check=False).returncode == 1
    return folder / kind


def compare_with_img2dataset(img2dataset, folder, ours):
    """Compares the tables and markers of a set with those that img2dataset makes from the same list."""
    # It cannot write a timestamp into the JSON of a sample.
    command = [img2dataset, "--url_list=list.parquet", "--input_format=parquet", "--url_col=URL", "--caption_col=TEXT"]
    command += ["--output_folder=theirs", "--output_format=webdataset", '--save_additional_columns=["id","score"]']
    command += [f"--number_sample_per_shard={SHARD_ROWS}", "--resize_mode=no", "--skip_reencode=True", "--encode_format=png"]
    command += ["--encode_quality=6", "--processes_count=1", "--thread_count=4", "--retries=0"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    theirs = folder / "theirs"
    tables = sorted(path.name for path in theirs.glob("*.parquet"))
    assert tables == sorted(path.name for path in ours.glob("*.parquet")), tables
    for name in tables:
        their_schema, our_schema = (pyarrow.parquet.read_schema(set_ / name) for set_ in (theirs, ours))
        their_types = {field.name: field.type for field in their_schema}
        assert set(IMG2DATASET) <= set(their_types), their_types
        for column, kind in their_types.items():
            # A column of theirs without any value has no type.
            if not pyarrow.types.is_null(kind):
                assert our_schema.field(column).type == kind, (name, column, kind, our_schema.field(column).type)
        columns = ["id", "url", "caption", "status", "sha256", "width", "height", "original_width", "original_height"]
        rows = (pyarrow.parquet.read_table(set_ / name, columns=columns).to_pylist() for set_ in (theirs, ours))
        for their_row, our_row in zip(*(sorted(table, key=lambda row: row["id"]) for table in rows), strict=True):
            assert their_row == our_row, (their_row, our_row)
        marker = name.replace(".parquet", "_stats.json")
        their_marker, our_marker = (json.loads((set_ / marker).read_text()) for set_ in (theirs, ours))
        assert set(their_marker) <= set(our_marker), (set(their_marker) - set(our_marker))
        for key in ["count", "successes", "failed_to_download", "failed_to_resize"]:
            assert their_marker[key] == our_marker[key], (key, their_marker, our_marker)


def check_types(path):
    schema = pyarrow.parquet.read_schema(path)
    assert schema.field("id").type == pyarrow.int32(), schema
    assert schema.field("score").type == pyarrow.float32(), schema
    assert schema.field("seen").type == pyarrow.timestamp("us", "UTC"), schema
    names = schema.names[3 : 3 + len(IMG2DATASET)]
    assert names == list(IMG2DATASET), names
    for name, kind in IMG2DATASET.items():
        assert schema.field(name).type == kind, (name, schema.field(name).type)
    table = pyarrow.parquet.read_table(path)
    first = int(pathlib.Path(path).stem) * SHARD_ROWS
    for row, values in enumerate(table.to_pylist()):
        number = first + row
        assert (values["id"], values["score"], values["caption"]) == (number, number / 4, f"caption {number}")
        assert (values["status"] == "success") == is_there(number), values
    return table


def check_webdataset(folder):
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    seen = set()
    for sample in webdataset.WebDataset(tars, shardshuffle=False).decode("pil"):
        number = sample["json"]["index"]
        seen.add(number)
        assert sample["__key__"] == f"{number // SHARD_ROWS:05}{number % SHARD_ROWS:04}", sample["__key__"]
        assert sample["png"].size == (20 + number, 30)
        assert sample["txt"] == f"caption {number}"
        assert sample["json"]["extra"]["id"] == number
    assert seen == {number for number in range(ROWS) if is_there(number)}, seen
    loaded = datasets.load_dataset("webdataset", data_files=tars, split="train")
    assert len(loaded) == len(seen)
    for row in loaded:
        assert row["png"].size == (20 + row["json"]["index"], 30)
    for path in sorted(folder.glob("*.parquet")):
        table = check_types(path)
        tar = path.with_suffix(".tar").read_bytes()
        for values in table.to_pylist():
            if values["status"] == "success":
                image = tar[values["offset"] : values["offset"] + values["length"]]
                assert hashlib.sha256(image).hexdigest() == values["sha256"]


def check_parquet(folder):
    paths = sorted(str(path) for path in folder.glob("*.parquet"))
    for path in paths:
        for values in check_types(path).to_pylist():
            number = values["id"]
            assert values["image"] is None if not is_there(number) else values["image"]["bytes"] == picture(number)
    loaded = datasets.load_dataset("parquet", data_files=paths, split="train")
    assert isinstance(loaded.features["image"], datasets.Image), loaded.features
    assert len(loaded) == ROWS
    for row in loaded:
        assert row["image"] is None if not is_there(row["id"]) else row["image"].size == (20 + row["id"], 30)
    frame = polars.read_parquet(paths)
    assert frame.height == ROWS and frame["id"].to_list() == list(range(ROWS))
    images = frame["image"].struct.field("bytes").to_list()
    assert images[0] == picture(0) and images[3] is None
    counts = duckdb.sql(f"SELECT count(*), count(image.bytes), sum(octet_length(image.bytes)) FROM read_parquet({paths})")
    sizes = [len(picture(number)) for number in range(ROWS) if is_there(number)]
    assert counts.fetchall() == [(ROWS, len(sizes), sum(sizes))]


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        made = make(program, folder, "webdataset", url)
        check_webdataset(made)
        if len(sys.argv) > 2:
            compare_with_img2dataset(str(pathlib.Path(sys.argv[2]).resolve()), folder, made)
        marker = json.loads((made / "00000_stats.json").read_text())
        assert (marker["count"], marker["successes"]) == (SHARD_ROWS, SHARD_ROWS - 1), marker
        check_parquet(make(program, folder, "parquet", url))
    print("webdataset, datasets, pyarrow, polars and duckdb read what was made")


if __name__ == "__main__":
    main()
