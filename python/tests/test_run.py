"""The module against the program that FETCHIMG_BINARY names, and a server on loopback."""

import doctest
import gc
import hashlib
import itertools
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import wait_until

import fetchimg


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_records_come_with_the_columns_of_their_rows(server, tmp_path):
    rows = [{"url": server.url("png", n), "caption": f"Number {n}, “ä”", "rank": n} for n in range(20)]
    rows += [server.url("missing", 1), "no URL at all"]
    downloads = fetchimg.download(rows, output=tmp_path / "images", hash=["sha256", "md5"])
    records = {record["index"]: record for record in downloads}
    assert downloads.status == 1 and len(records) == 22
    for n in range(20):
        record = records[n]
        assert record["status"] == "saved" and record["extra"] == {"caption": f"Number {n}, “ä”", "rank": n}
        body = (tmp_path / "images" / record["path"]).read_bytes()
        assert body == server.png(n)
        assert record["sha256"] == hashlib.sha256(body).hexdigest() and record["md5"] == hashlib.md5(body).hexdigest()
    assert [records[n]["error"] for n in (20, 21)] == ["http_status", "bad_url"]
    # The same call again has nothing to fetch.
    before = len(server.requests)
    again = list(fetchimg.download(rows[:20], output=tmp_path / "images"))
    assert {record["reason"] for record in again} == {"already_saved"} and len(server.requests) == before


def test_rows_are_read_while_records_are_taken(server, tmp_path, caplog):
    """An endless generator: the first records come although the rows never end, and memory does not fill with rows."""
    taken = itertools.count()

    def rows():
        for n in itertools.count():
            next(taken)
            yield server.url("png", n)

    with fetchimg.download(rows(), output=tmp_path / "images") as records:
        first = [next(records) for _ in range(50)]
        pid = records._child.process.pid
    assert all(record["status"] == "saved" for record in first)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert not is_running(pid)
    with pytest.raises(StopIteration):
        next(records)


def test_a_row_can_depend_on_the_record_before_it(server, tmp_path):
    """Nothing is buffered on the way in or out."""
    ended = threading.Semaphore(1)

    def rows():
        for n in range(3):
            assert ended.acquire(timeout=60)
            yield server.url("png", n)

    indices = []
    for record in fetchimg.download(rows(), output=tmp_path / "images"):
        indices.append(record["index"])
        ended.release()
    assert indices == [0, 1, 2]


def test_a_stream_has_the_bytes_of_each_image_and_a_record_of_each_failure(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"url": server.url("png", n), "label": n % 3} for n in range(300)]
    rows[7:7] = [{"url": server.url("missing", 1), "label": None}]
    images = fetchimg.stream(rows)
    pairs = {record["index"]: (record, image) for record, image in images}
    assert images.status == 1 and len(pairs) == 301
    record, image = pairs.pop(7)
    assert (record["error"], record["http_status"], image) == ("http_status", 404, None)
    for record, image in pairs.values():
        number = int(record["url"].rsplit("/", 1)[1].split(".")[0])
        assert image == server.png(number) and record["extra"]["label"] == number % 3
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_is_closed_ends_the_program(server):
    rows = (server.url("png", n) for n in itertools.count())
    images = fetchimg.stream(rows)
    assert next(images)[1] is not None
    pid = images._child.process.pid
    images.close()
    assert not is_running(pid)
    with pytest.raises(StopIteration):
        next(images)


@pytest.mark.parametrize("kind", ["download", "stream"])
def test_an_iterator_that_is_collected_ends_the_program(server, tmp_path, kind):
    rows = (server.url("png", n) for n in itertools.count())
    arguments = {"output": tmp_path / "images"} if kind == "download" else {}
    records = getattr(fetchimg, kind)(rows, **arguments)
    next(records)
    pid = records._child.process.pid
    del records
    gc.collect()
    wait_until(lambda: not is_running(pid), "the end of the program")


def test_wrong_flags_are_errors_with_the_sentence_of_the_program(tmp_path):
    with pytest.raises(fetchimg.UsageError, match="--resize") as caught:
        list(fetchimg.download([], output=tmp_path / "images", resize="large"))
    assert caught.value.status == 2
    with pytest.raises(ValueError, match="no_such_flag|no-such-flag"):
        list(fetchimg.stream([], no_such_flag=True))
    with pytest.raises(TypeError, match="manifest"):
        fetchimg.download([], output=tmp_path / "images", manifest="records.jsonl")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.status) == (str(caught.value), 2)


def test_a_run_that_cannot_go_on_is_an_error(server, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(fetchimg.FetchimgError, match="file") as caught:
        list(fetchimg.download([server.url("png", 1)], output=tmp_path / "file"))
    assert caught.value.status == 3


def test_a_program_that_is_killed_is_an_error_with_its_last_words(server, tmp_path):
    records = fetchimg.download([server.url("png", 1), server.url("slow", 2)], output=tmp_path / "images")
    assert next(records)["status"] == "saved"
    records._child.process.kill()
    with pytest.raises(fetchimg.FetchimgError, match="SIGKILL") as caught:
        next(records)
    assert caught.value.status == -signal.SIGKILL
    images = fetchimg.stream([server.url("png", 1), server.url("slow", 2)])
    next(images)
    images._child.process.kill()
    with pytest.raises(fetchimg.FetchimgError, match="SIGKILL"):
        next(images)


def test_a_program_that_crashes_says_its_last_words(tmp_path, monkeypatch):
    script = tmp_path / "fetchimg"
    script.write_text("#!/bin/sh\necho 'thread main panicked at the disco' >&2\nkill -ABRT $$\n")
    script.chmod(0o755)
    monkeypatch.setenv("FETCHIMG_BINARY", str(script))
    with pytest.raises(fetchimg.FetchimgError, match="SIGABRT.*panicked at the disco"):
        list(fetchimg.download(["http://a.example/"], output=tmp_path / "images"))


def test_an_error_of_the_rows_is_raised_where_records_are_taken(server, tmp_path):
    def rows():
        yield server.url("png", 1)
        raise LookupError("no more rows")

    with pytest.raises(LookupError, match="no more rows"):
        list(fetchimg.download(rows(), output=tmp_path / "images"))
    with pytest.raises(TypeError, match="a row is a URL or a mapping"):
        list(fetchimg.download([3], output=tmp_path / "images"))
    with pytest.raises(LookupError, match="no more rows"):
        list(fetchimg.stream(rows()))


def test_what_the_program_says_is_logged(server, tmp_path, caplog):
    caplog.set_level(logging.DEBUG, logger="fetchimg")
    rows = [server.url("png", 1), server.url("missing", 2)]
    list(fetchimg.download(rows, output=tmp_path / "images", progress="log"))
    levels = {record.getMessage().split(":")[0]: record.levelno for record in caplog.records}
    # A failed row has a record, so its line is no error here.
    assert levels["Failed"] == logging.INFO and levels["Downloaded"] == logging.INFO
    event = next(record.fetchimg for record in caplog.records if record.getMessage().startswith("Failed"))
    assert event["http_status"] == 404


def texts_with_examples():
    """The docstrings of the module that have an example, and those of the engines, which need them, not."""
    modules = [fetchimg, sys.modules[fetchimg.download.__module__]]
    found = [test for module in modules for test in doctest.DocTestFinder().find(module) if test.examples]
    return [pytest.param(test.docstring, id=test.name.rsplit(".", 1)[1] if "." in test.name else test.name) for test in found]


@pytest.mark.parametrize("text", texts_with_examples())
def test_the_examples_of_docstrings_are_true(server, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    photos = server.url("large", 0).removesuffix("0.png")
    trained = []
    names = {
        "fetchimg": fetchimg,
        "urls": [{"url": f"{photos}a.jpg", "label": 7}],
        "train": lambda image, label: trained.append((image[:2], label)),
    }
    text = text.replace("  # doctest: +SKIP", "").replace("https://photos.example/", photos)
    text = text.replace("'/home/me/venv/bin/fetchimg'", repr(fetchimg.find_binary()))
    said = []
    test = doctest.DocTestParser().get_doctest(text, names, "example", None, 0)
    result = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(test, out=said.append)
    assert result.failed == 0 and result.attempted > 0, "".join(said)
    assert "train(" not in text or trained == [(b"\xff\xd8", 7)]


def test_the_example_of_the_readme_is_true(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    photos = server.url("large", 0).removesuffix("0.png")
    code = readme.split("```python\n")[1].split("```")[0].replace("https://photos.example/", photos)
    exec(code, {"urls": [server.url("png", 1)]})
    assert capsys.readouterr().out == f"saved {photos}a.jpg a.jpg\n"


def test_what_an_iterator_shows_of_itself(server, tmp_path):
    with fetchimg.download([server.url("png", 1)], output=tmp_path / "images") as records:
        assert repr(records) == "<fetchimg.Downloads: its records wait to be taken>"
    assert repr(records) == "<fetchimg.Downloads: it has ended>"


CTRL_C = """
import sys, fetchimg
try:
    with fetchimg.{call} as records:
        first = next(records)
        print(records._child.process.pid, flush=True)
        for record in records:
            pass
except KeyboardInterrupt:
    print("interrupted", records._child.process.poll(), flush=True)
"""


@pytest.mark.parametrize("call", ["download(sys.argv[1:], output='images')", "stream(sys.argv[1:])"])
def test_ctrl_c_ends_the_program_too(server, tmp_path, call):
    urls = [server.url("png", 1), *(server.url("slow", n) for n in range(2, 5))]
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C.format(call=call), *urls],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    pid = int(process.stdout.readline())
    wait_until(lambda: len([path for path in server.requests if "slow" in path]) == 3, "slow downloads")
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    # The program was ended by its own status for an interrupt, not by force.
    assert process.stdout.readline() == "interrupted 130\n"
    process.stdout.close()
    assert process.wait(60) == 0 and not is_running(pid)
    assert time.monotonic() - begin < 30
    if "download" in call:
        # What is complete stays, with its record.
        assert (tmp_path / "images/1.png").exists() and (tmp_path / "images/.fetchimg.jsonl").exists()


def test_shards_are_made_and_read_back(server, tmp_path):
    rows = [{"url": server.url("png", n), "text": f"caption {n}"} for n in range(25)]
    flags = {"output": tmp_path / "set", "output_format": "webdataset", "shard": "000123", "caption_column": "text"}
    records = list(fetchimg.download(rows, **flags))
    assert {record["shard"] for record in records} == {"000123"}
    assert (tmp_path / "set/000123_stats.json").exists()
    before = len(server.requests)
    again = list(fetchimg.download(iter(rows), **flags))
    assert len(again) == 25 and len(server.requests) == before


CUT_OFF = """
import json, os, signal, sys, time, fetchimg
urls, how, flags = json.loads(sys.argv[1])
def rows():
    for n, url in enumerate(urls):
        if n == 30:
            # What was written before is read.
            while not os.path.exists("go"):
                time.sleep(0.01)
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif how == "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(60)
            elif how == "raise":
                raise LookupError("no more rows")
            else:
                sys.exit("this ends a thread, and not the process")
        yield url
records = fetchimg.download(rows(), output="set", output_format="webdataset", **flags)
print(records._child.process.pid, flush=True)
seen = 0
for record in records:
    seen += 1
    if seen == 25:
        open("go", "w").close()
"""


@pytest.mark.parametrize("how", ["kill", "interrupt", "raise", "exit"])
@pytest.mark.parametrize("flags", [{"shard": "000123"}, {"shard_size": 20}, {}])
def test_a_shard_whose_rows_are_cut_off_is_not_made(server, tmp_path, how, flags):
    """The engine kills a worker, or the rows fail: some of the rows of a shard must not become that shard, which the next
    attempt would find."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    urls = [server.url("png", n) for n in range(50)]
    line = [sys.executable, "-c", CUT_OFF, json.dumps([urls, how, flags])]
    process = subprocess.Popen(line, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    pid = int(process.stdout.readline())
    status = process.wait(60)
    assert status == {"kill": -signal.SIGKILL, "interrupt": -signal.SIGINT}.get(how, 1)
    process.stdout.close()
    wait_until(lambda: not is_running(pid), "the end of the program")
    shards = {path.name for path in (tmp_path / "set").glob("*_stats.json")}
    assert shards == ({"00000_stats.json"} if flags.get("shard_size") else set())
    # All of it, in the next attempt.
    records = list(fetchimg.download(urls, output=tmp_path / "set", output_format="webdataset", **flags))
    assert sorted(record["url"] for record in records) == sorted(urls)
    counts = [json.loads(path.read_text())["successes"] for path in (tmp_path / "set").glob("*_stats.json")]
    assert sum(counts) == 50 and len(server.requests) < 75, "what was complete is not fetched again"


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_process_that_was_forked_does_not_keep_the_list_open(server, tmp_path):
    """Loaders fork workers in the middle of a run, and with them all pipes."""
    forked = []

    def rows():
        for n in range(3):
            yield server.url("png", n)
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        forked.append(pid)

    try:
        assert len(list(fetchimg.download(rows(), output=tmp_path / "images"))) == 3
        assert os.waitpid(forked[0], os.WNOHANG) == (0, 0), "it is still there"
    finally:
        os.kill(forked[0], signal.SIGKILL)
        os.waitpid(forked[0], 0)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_process_that_was_forked_does_not_end_the_run(server, tmp_path):
    """As workers of loaders do that have an iterator in their data set."""
    records = fetchimg.download([server.url("png", 1), server.url("slow", 2)], output=tmp_path / "images")
    assert next(records)["status"] == "saved"
    pid = os.fork()
    if pid == 0:
        try:
            records.close()
            del records
            gc.collect()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    server.released.set()
    assert [record["status"] for record in records] == ["saved"] and records.status == 0


def test_the_module_finds_the_program(tmp_path, monkeypatch):
    binary = tmp_path / "fetchimg"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setenv("FETCHIMG_BINARY", "/somewhere/fetchimg")
    assert fetchimg.find_binary() == "/somewhere/fetchimg"
    monkeypatch.delenv("FETCHIMG_BINARY")
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path / "nowhere"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fetchimg.find_binary() == str(binary)
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    assert fetchimg.find_binary() == str(binary)
    monkeypatch.setattr("sysconfig.get_path", lambda *_: "/nowhere")
    with pytest.raises(fetchimg.FetchimgError, match="FETCHIMG_BINARY"):
        fetchimg.find_binary()


def test_the_module_is_the_command_too():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, "-m", "fetchimg", "--version"], capture_output=True, text=True, env=environment)
    assert said.returncode == 0 and said.stdout.startswith("fetchimg ")
