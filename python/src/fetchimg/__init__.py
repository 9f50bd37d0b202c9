"""fetchimg turns a list of image URLs into verified images: fast, complete, polite, resumable.

This module runs the program of the same name. Rows are given to it while they come, and records are given back while rows
end, so that neither end has to hold the whole list:

    >>> import fetchimg
    >>> for record in fetchimg.download(["https://photos.example/a.jpg"], output="images"):  # doctest: +SKIP
    ...     print(record["status"], record["url"], record.get("path"))
    saved https://photos.example/a.jpg a.jpg

What the program says on standard error goes to the logger ``fetchimg``.
"""

from ._run import Downloads, FetchimgError, Record, Row, Stream, UsageError, download, find_binary, stream

__all__ = [
    "Downloads",
    "FetchimgError",
    "Record",
    "Row",
    "Stream",
    "UsageError",
    "download",
    "find_binary",
    "stream",
]
