"""Runs the program: rows go to its standard input, records come from its standard output."""

from __future__ import annotations

import collections
import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Optional, Union, cast

__all__ = ["Downloads", "FetchimgError", "Record", "Row", "Stream", "UsageError", "download", "find_binary", "stream"]

Row = Union[str, Mapping[str, Any]]
"""A URL, or a mapping with the key ``url`` (or what ``url_column`` names) and others that are kept."""

Record = dict[str, Any]
"""What became of a row; https://github.com/fetchimg/fetchimg/blob/main/src/manual/records.md has its fields."""

logger = logging.getLogger("fetchimg")

# How long a run that is asked to end may take for downloads in flight and its records, in seconds. The program gives
# downloads five of them.
_GRACE_PERIOD = 8.0

# Lines of standard error that an exception has.
_LAST_WORDS = 20

# Records and images that wait to be taken, at most.
_MAX_UNREAD = 64

# The line behind the last row, which is no row of JSON. If this process is killed, or the rows raise an exception, the pipe ends
# without it, and what was written is not taken for the whole list.
_END_LINE = "end of list"

# Flags that this module gives itself, or that print something else than records.
_OWN_FLAGS = frozenset(
    "completions demo dry_run end_line format help input_format json log_format man manifest output sample status"
    " verify_output version".split()
)

_LEVELS = {
    "ERROR": logging.ERROR,
    "WARN": logging.WARNING,
    "INFO": logging.INFO,
    "DEBUG": logging.DEBUG,
    "TRACE": logging.DEBUG,
}

# Events that records tell, too.
_ROW_EVENTS = {"failed", "refused", "saved", "skipped"}


class FetchimgError(RuntimeError):
    """The program could not start, could not go on, or was killed. Rows that fail are no error; they have records.

    ``status`` is the exit status, negative if a signal ended the program, and ``last_words`` are the last lines that it
    wrote to standard error.

        >>> try:  # doctest: +SKIP
        ...     list(fetchimg.download(urls, output="/dev/null"))
        ... except fetchimg.FetchimgError as error:
        ...     print(error, error.status)
        cannot write /dev/null: it is a file, not a folder 3
    """

    def __init__(self, message: str, status: Optional[int] = None, last_words: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.last_words = last_words

    def __reduce__(self) -> tuple[Any, ...]:
        # Engines send exceptions from one process to another.
        return (type(self), (*self.args, self.status, self.last_words))


class UsageError(FetchimgError, ValueError):
    """A flag is unknown, has a wrong value, or contradicts another one (exit status 2).

        >>> list(fetchimg.download([], output="images", resize="large"))  # doctest: +SKIP
        Traceback (most recent call last):
        fetchimg.UsageError: --resize large: write the pixels of a side, such as 256, or 320x240; 16383 at most
    """


def find_binary() -> str:
    """Finds the program: what ``FETCHIMG_BINARY`` names, else the one that was installed with this module, else that in
    ``PATH``.

        >>> fetchimg.find_binary()  # doctest: +SKIP
        '/home/me/venv/bin/fetchimg'
    """
    given = os.environ.get("FETCHIMG_BINARY")
    if given:
        return given
    schemes = [sysconfig.get_default_scheme() if hasattr(sysconfig, "get_default_scheme") else None, f"{os.name}_user"]
    scripts = [sysconfig.get_path("scripts", scheme) if scheme else sysconfig.get_path("scripts") for scheme in schemes]
    # `pip install --target`, and a virtual environment whose Python another one runs.
    package = Path(__file__).resolve().parent
    scripts += [str(package.parent / "bin"), *(str(parent / "bin") for parent in list(package.parents)[3:4])]
    for folder in scripts:
        path = os.path.join(folder, "fetchimg")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    found = shutil.which("fetchimg")
    if found is None:
        raise FetchimgError(
            "the program fetchimg is not there: neither beside this module nor in PATH; FETCHIMG_BINARY may name it"
        )
    return found


def _arguments(flags: Mapping[str, Any]) -> list[str]:
    """The flags of the command for keyword arguments."""
    arguments = []
    for name, value in flags.items():
        if name in _OWN_FLAGS:
            raise TypeError(f"{name} is not an argument: the module needs it for itself, or it gives no records")
        # The one flag with a dot.
        flag = "--http1.1" if name == "http1_1" else f"--{name.replace('_', '-')}"
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is True:
                arguments.append(flag)
            elif one is not None and one is not False:
                arguments.append(f"{flag}={os.fspath(one) if isinstance(one, os.PathLike) else one}")
    return arguments


def _line(row: Row, url_column: str) -> bytes:
    """A row as a line of JSON."""
    if isinstance(row, str):
        row = {url_column: row}
    elif not isinstance(row, Mapping):
        raise TypeError(f"a row is a URL or a mapping, and not {type(row).__name__}: {row!r:.100}")
    # Numbers of NumPy, dates and so on are no JSON.
    return json.dumps(dict(row), default=_plain, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _plain(value: Any) -> Any:
    """A value of a library as one that JSON has."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "shape", None) == () else str(value)


class _Child:
    """The program while it runs. Its threads know this object alone, so that what the caller holds can be collected."""

    def __init__(
        self, rows: Iterable[Row], arguments: list[str], flags: Mapping[str, Any], pass_fds: tuple[int, ...] = ()
    ) -> None:
        self.last_words: collections.deque[str] = collections.deque(maxlen=_LAST_WORDS)
        self.sentence: Optional[str] = None
        self.row_error: Optional[BaseException] = None
        self.is_stopped = False
        self._lock = threading.Lock()
        self._owner = os.getpid()
        url_column = str(flags.get("url_column") or "url")
        binary = find_binary()
        try:
            # A session of its own: Ctrl-C on a terminal must not reach the program past this module.
            self.process = subprocess.Popen(
                [binary, "-", "--input-format=jsonl", f"--end-line={_END_LINE}", "--log-format=json", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        except OSError as error:
            raise FetchimgError(f"cannot start {binary}: {error.strerror}") from error
        self._writer = threading.Thread(target=self._write, args=(rows, url_column), name="fetchimg rows", daemon=True)
        self._logger = threading.Thread(target=self._log, name="fetchimg log", daemon=True)
        self._writer.start()
        self._logger.start()

    @property
    def stdout(self) -> IO[bytes]:
        return cast(IO[bytes], self.process.stdout)

    def _write(self, rows: Iterable[Row], url_column: str) -> None:
        """Gives the rows to the program."""
        stdin = cast(IO[bytes], self.process.stdin)
        try:
            for row in rows:
                if self.is_stopped:
                    return
                stdin.write(_line(row, url_column))
                if not isinstance(rows, (list, tuple)):
                    # The next row may be long in coming.
                    stdin.flush()
            stdin.write(f"{_END_LINE}\n".encode())
            # A process that was forked in the meantime may have the pipe, too, so closing it need not end it.
            stdin.flush()
        except BrokenPipeError:
            # The program has ended, and its status says why.
            pass
        except BaseException as error:  # the rows are the caller's, and so is what they raise
            self.row_error = error
            self.signal(signal.SIGINT)
        finally:
            try:
                stdin.close()
            except OSError:
                pass

    def _log(self) -> None:
        """Logs what the program says."""
        with cast(IO[bytes], self.process.stderr) as stderr:
            self._log_lines(stderr)

    def _log_lines(self, lines: Iterable[bytes]) -> None:
        for raw in lines:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            try:
                event = json.loads(line)
                level, message = _LEVELS[event["level"]], str(event["message"])
            except (ValueError, KeyError, TypeError):
                # The second form is that of a command line that cannot be parsed, and more lines follow it.
                for lead in ("fetchimg: ", "error: "):
                    if line.startswith(lead) and self.sentence is None:
                        self.sentence = line[len(lead) :]
                self.last_words.append(line)
                logger.info("%s", line)
                continue
            if event.get("event") in _ROW_EVENTS or self.is_stopped or self.row_error is not None:
                # Records say the same, and a million rows that failed must not fill a notebook. A run that is ended from here
                # need not say so.
                level = min(level, logging.INFO)
            if event.get("event") not in _ROW_EVENTS:
                self.last_words.append(message)
            logger.log(level, "%s", message, extra={"fetchimg": event})

    def signal(self, number: int) -> None:
        with self._lock:
            if self.process.poll() is None:
                self.process.send_signal(number)

    def begin_stop(self) -> Optional[threading.Timer]:
        """Asks the program to end, and kills it after the grace period unless the timer is cancelled. None if that was done."""
        # A process that was forked has a copy of this object, and may collect it. The run is not its own.
        if self.is_stopped or os.getpid() != self._owner:
            return None
        self.is_stopped = True
        self.signal(signal.SIGINT)
        timer = threading.Timer(_GRACE_PERIOD, self.signal, [signal.SIGKILL])
        timer.daemon = True
        timer.start()
        return timer

    def stop(self) -> None:
        """Ends the program: gently first, then by force."""
        timer = self.begin_stop()
        if timer is None:
            return
        try:
            # Its last records have to go somewhere, or it waits for them to be read.
            while self.stdout.read1(65536):  # type: ignore[attr-defined]
                pass
            self.process.wait()
        except BaseException:  # a second Ctrl-C
            self.signal(signal.SIGKILL)
            self.process.wait()
            raise
        finally:
            timer.cancel()
            self.stdout.close()

    def finish(self) -> int:
        """Waits for the end of the program, after the end of its standard output. Returns the exit status 0 or 1, and
        raises what else it may be."""
        status = self.process.wait()
        self._logger.join(timeout=10)
        self.stdout.close()
        if self.row_error is not None:
            raise self.row_error
        if status in (0, 1):
            return status
        words = "\n".join(self.last_words)
        if status < 0:
            try:
                name = signal.Signals(-status).name
            except ValueError:
                name = f"signal {-status}"
            last = f"; its last words: {self.last_words[-1]}" if self.last_words else ", without a word"
            raise FetchimgError(f"fetchimg was ended by {name}{last}", status, words)
        sentence = self.sentence or (self.last_words[-1] if self.last_words else f"fetchimg ended with status {status}")
        raise (UsageError if status == 2 else FetchimgError)(sentence, status, words)


class _Iterator:
    """What both iterators have in common."""

    status: Optional[int] = None
    """The exit status of the program, when it has ended: 1 if rows failed, else 0."""

    _child: _Child
    _finalizer: Any

    def _begin(self, child: _Child) -> None:
        self._child = child
        # Also when the object is collected, and when the interpreter ends.
        self._finalizer = weakref.finalize(self, _Child.stop, child)

    def __repr__(self) -> str:
        state = "its records wait to be taken" if self._finalizer.alive else "it has ended"
        return f"<fetchimg.{type(self).__name__}: {state}>"

    def close(self) -> None:
        """Ends the program, if it has not ended: what is complete stays, and the same call goes on from there."""
        self._finalizer()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Downloads(_Iterator, Iterator[Record]):
    """The records of a run, in the order in which its rows end. See :func:`download`.

        >>> with fetchimg.download(urls, output="images") as records:  # doctest: +SKIP
        ...     first = next(records)
    """

    def __init__(self, rows: Iterable[Row], output: Union[str, os.PathLike[str]], flags: Mapping[str, Any]) -> None:
        arguments = [f"--output={os.fspath(output)}", "--manifest=-", *_arguments({"progress": "none", **flags})]
        self._begin(_Child(rows, arguments, flags))

    def __next__(self) -> Record:
        if not self._finalizer.alive:
            raise StopIteration
        try:
            line = self._child.stdout.readline()
            # A program that is killed may leave a part of a line.
            if line.endswith(b"\n"):
                return cast(Record, json.loads(line))
        except BaseException:  # Ctrl-C above all
            self.close()
            raise
        self._finalizer.detach()
        self.status = self._child.finish()
        raise StopIteration


class Stream(_Iterator, Iterator[tuple[Record, Optional[bytes]]]):
    """The records and images of a run, in the order in which its rows end. See :func:`stream`.

        >>> with fetchimg.stream(urls) as images:  # doctest: +SKIP
        ...     record, image = next(images)
    """

    def __init__(self, rows: Iterable[Row], flags: Mapping[str, Any]) -> None:
        # Images come as a tar stream on standard output, records of rows without one through another pipe.
        reading, writing = os.pipe()
        try:
            arguments = ["--output=-", "--output-format=webdataset", f"--manifest=/dev/fd/{writing}"]
            arguments += _arguments({"progress": "none", **flags})
            child = _Child(rows, arguments, flags, (writing,))
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        # Each of the two threads puts None at its end, or the exception that ended it.
        self._queue: queue.Queue[Any] = queue.Queue(_MAX_UNREAD)
        self._readers = 2
        for read, source in [(_read_records, os.fdopen(reading, "rb")), (_read_samples, child.stdout)]:
            target = (read, source, self._queue, child)
            threading.Thread(target=_forward, args=target, name="fetchimg images", daemon=True).start()
        self._begin(child)
        # The threads may wait for the queue: it is emptied while the program is asked to end.
        self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _stop_stream, child, self._queue)

    def __next__(self) -> tuple[Record, Optional[bytes]]:
        while self._finalizer.alive:
            try:
                item = self._queue.get()
            except BaseException:  # Ctrl-C above all
                self.close()
                raise
            if isinstance(item, tuple):
                return cast("tuple[Record, Optional[bytes]]", item)
            self._readers -= 1
            if isinstance(item, BaseException):
                self.close()
                raise item
            if self._readers == 0:
                self._finalizer.detach()
                self.status = self._child.finish()
        raise StopIteration


def _forward(read: Any, source: IO[bytes], items: queue.Queue[Any], child: _Child) -> None:
    """Puts what is read into the queue."""
    end: Optional[BaseException] = None
    try:
        with source:
            for item in read(source):
                items.put(item)
    except (OSError, EOFError, ValueError) as error:
        # A program that was killed leaves half a tar file; its status says so.
        if not child.is_stopped and child.process.wait() in (0, 1):
            end = FetchimgError(f"the stream of images is not whole: {error}")
    items.put(end)


def _read_records(source: IO[bytes]) -> Iterator[tuple[Record, None]]:
    """The records of rows without an image."""
    for line in source:
        if line.endswith(b"\n"):
            record = json.loads(line)
            if record["status"] != "saved":
                yield record, None


def _read_samples(source: IO[bytes]) -> Iterator[tuple[Record, bytes]]:
    """The records and images of a tar stream, whose samples are KEY.EXTENSION, KEY.txt and KEY.json."""
    image: Optional[bytes] = None
    for name, body in _read_members(source):
        if name.endswith(".json"):
            if image is None:
                raise ValueError(f"{name} belongs to no image")
            yield json.loads(body), image
            image = None
        elif image is None:
            image = body


def _read_members(source: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """The names and contents of a tar stream, each as soon as it is there. The module tarfile waits for whole blocks of
    many members, and takes ten times as long."""
    longer: dict[str, str] = {}
    while True:
        header = _read_exactly(source, 512)
        if header.count(0) == 512:
            # More zeros follow, and the program has to get rid of them.
            while source.read(65536):
                pass
            return
        name = header[345:500].rstrip(b"\0") + b"/" if header[345] else b""
        name += header[:100].split(b"\0")[0]
        size = int(longer.get("size", "0")) or int(header[124:136].strip(b" \0") or b"0", 8)
        body = _read_exactly(source, -(-size // 512) * 512)[:size]
        if header[156:157] == b"x":
            # What is too long for the header: records such as b"30 path=...\n", each with its length first.
            longer = {}
            while body:
                length = int(body.split(b" ")[0])
                key, value = body[:length].decode("utf-8").split(" ", 1)[1].rstrip("\n").split("=", 1)
                longer[key] = value
                body = body[length:]
            continue
        yield longer.get("path") or name.decode("utf-8"), body
        longer = {}


def _read_exactly(source: IO[bytes], size: int) -> bytes:
    read = source.read(size)
    if len(read) < size:
        raise EOFError("it ends too early")
    return read


def _stop_stream(child: _Child, items: queue.Queue[Any]) -> None:
    """Ends the program of a stream, whose standard output is read by a thread."""
    timer = child.begin_stop()
    if timer is None:
        return
    try:
        while child.process.poll() is None:
            try:
                items.get(timeout=0.02)
            except queue.Empty:
                pass
        # The threads read what is left, and end.
        while True:
            items.get(timeout=0.2)
    except queue.Empty:
        pass
    except BaseException:  # a second Ctrl-C
        child.signal(signal.SIGKILL)
        raise
    finally:
        timer.cancel()


def download(rows: Iterable[Row], output: Union[str, os.PathLike[str]] = "images", **flags: Any) -> Downloads:
    """Downloads images into ``output``, and gives back a record for each row while rows end.

    ``rows`` are URLs, or mappings with the key ``url`` and others that are kept in the record. They may be any iterable; it
    is read in a thread, no faster than the program takes rows. ``flags`` are those of the command, with ``_`` in place of
    ``-``: ``resize=256``, ``dedupe=True``, ``header=["Accept: image/webp"]``, ``output_format="webdataset"``.

    An exception of ``rows`` ends the run, and is raised here. The rows before it are kept, and no shard is completed without
    those behind it; the same is true if this process is killed.

    The program starts at once, and the run goes on while records are taken. Rows that fail have records with
    ``status == "failed"``. An exception means that the run could not start or go on. The same call again continues.

        >>> rows = [{"url": "https://photos.example/a.jpg", "caption": "A lighthouse"}]
        >>> for record in fetchimg.download(rows, output="images", resize=256, encode="jpeg"):  # doctest: +SKIP
        ...     print(record["status"], record["path"], record["width"], record["extra"]["caption"])
        saved a.jpg 256 A lighthouse
    """
    return Downloads(rows, output, flags)


def stream(rows: Iterable[Row], **flags: Any) -> Stream:
    """Downloads images without a disk: gives back pairs of a record and the bytes of the image, which are ``None`` for rows
    that failed, were refused or skipped.

    The arguments are those of :func:`download`. A caller that takes the images slowly slows the downloads down.

        >>> for record, image in fetchimg.stream(urls, resize=256, encode="jpeg"):  # doctest: +SKIP
        ...     if image is not None:
        ...         train(image, record["extra"]["label"])
    """
    return Stream(rows, flags)


if sys.platform == "win32":
    raise ImportError("fetchimg runs on Linux and macOS")
