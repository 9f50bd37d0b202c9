"""The tutorial's two programs, written anew: pictures one after the other with urllib, and one coroutine per URL.

    python3 tutorial.py sequential|concurrent LIST FOLDER
"""

import asyncio
import os
import sys
import urllib.request

PIECE = 512


def path_of(folder, url):
    return os.path.join(folder, url.rsplit("/", 1)[1])


def sequential(urls, folder):
    for url in urls:
        with urllib.request.urlopen(url) as answer, open(path_of(folder, url), "wb") as file:
            file.write(answer.read())


async def fetch(session, url, folder):
    async with session.get(url) as answer:
        with open(path_of(folder, url), "wb") as file:
            async for piece in answer.content.iter_chunked(PIECE):
                file.write(piece)


async def concurrent(urls, folder):
    import aiohttp

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(fetch(session, url, folder) for url in urls))


def main():
    mode, name, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    with open(name) as file:
        urls = file.read().split()
    if mode == "sequential":
        sequential(urls, folder)
    else:
        asyncio.run(concurrent(urls, folder))


main()
