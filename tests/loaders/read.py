#!/usr/bin/env python3
"""Reads a folder of classes, as the built program leaves it, with loaders of image folders.

    read.py fetch PROGRAM FOLDER    serves pictures of two classes on loopback, and lets the program fetch them
    read.py torchvision FOLDER      reads them with torchvision.datasets.ImageFolder
    read.py datasets FOLDER         reads them with load_dataset("imagefolder") of Hugging Face datasets

Each needs nothing but Python and the loader that it names.
"""

import http.server
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from pathlib import Path

CLASSES = {"cats": 3, "dogs": 4}
COLOURS = {"cats": (200, 120, 40), "dogs": (40, 120, 200)}


def png(colour, width=24, height=16):
    """A picture of one colour."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + bytes(colour) * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Pictures(http.server.BaseHTTPRequestHandler):
    """Answers /cats/1.png with a picture of the colour of cats."""

    def do_GET(self):
        body = png(COLOURS[self.path.split("/")[1]])
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def fetch(program, folder):
    folder.mkdir(parents=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows = [f"http://127.0.0.1:{server.server_port}/{name}/{n}.png,{name}" for name, count in CLASSES.items() for n in range(count)]
    (folder / "list.csv").write_text("url,class\n" + "\n".join(rows) + "\n")
    line = [program, "list.csv", "-o", "photos/train", "--name", "{col.class}/{basename}", "-q"]
    # The second run has a journal to read.
    for _ in range(2):
        subprocess.run(line, cwd=folder, check=True)
    hidden = sorted(path.name for path in (folder / "photos/train").iterdir() if path.name.startswith("."))
    assert hidden == [".fetchimg.jsonl", ".fetchimg.runs.jsonl"], hidden


def names_and_counts(labels, names):
    return {name: labels.count(number) for number, name in enumerate(names)}


def read_by_torchvision(folder):
    import torch
    import torchvision

    pictures = torchvision.datasets.ImageFolder(folder / "photos/train")
    assert pictures.classes == list(CLASSES), pictures.classes
    assert names_and_counts(pictures.targets, pictures.classes) == CLASSES
    for picture, label in pictures:
        assert picture.getpixel((3, 3)) == COLOURS[pictures.classes[label]], picture
    # It takes a hidden folder for a class, which is why none may be left.
    with tempfile.TemporaryDirectory() as other:
        shutil.copytree(folder / "photos", Path(other) / "photos")
        (Path(other) / "photos/train/.fetchimg").mkdir()
        try:
            torchvision.datasets.ImageFolder(Path(other) / "photos/train")
        except FileNotFoundError as error:
            assert ".fetchimg" in str(error), error
        else:
            raise AssertionError("a hidden folder is no class")
    return f"torchvision {torchvision.__version__} (torch {torch.__version__})", len(pictures)


def read_by_datasets(folder):
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(HF_HOME=cache, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", HF_DATASETS_DISABLE_PROGRESS_BARS="1")
        import datasets

        for data_dir in ["photos", "photos/train"]:
            pictures = datasets.load_dataset("imagefolder", data_dir=str(folder / data_dir), split="train")
            names = pictures.features["label"].names
            assert names == list(CLASSES), names
            assert set(pictures.column_names) == {"image", "label"}, pictures.column_names
            assert names_and_counts(pictures["label"][:], names) == CLASSES
            for row in pictures:
                assert row["image"].convert("RGB").getpixel((3, 3)) == COLOURS[names[row["label"]]], row
        return f"datasets {datasets.__version__}", len(pictures)


def main():
    match sys.argv[1:]:
        case ["fetch", program, folder]:
            fetch(Path(program).resolve(), Path(folder))
        case [("torchvision" | "datasets") as loader, folder]:
            read = {"torchvision": read_by_torchvision, "datasets": read_by_datasets}[loader]
            name, count = read(Path(folder).resolve())
            print(f"{name} reads {count} pictures of {len(CLASSES)} classes")
        case _:
            sys.exit(__doc__)


main()
