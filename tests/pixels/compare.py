#!/usr/bin/env python3
"""Compares the pixels that fetchimg stores with those that other programs see.

    compare.py PROGRAM [NAME ...]

Makes odd pictures of every format, serves them on loopback, lets the built program make each anew as PNG, and compares the
result with what Pillow (libjpeg-turbo, libpng, libwebp, libtiff), djpeg and libvips make of the same file. Needs Pillow,
numpy and pyvips; cjpeg and djpeg (libjpeg-turbo-progs). With names, only these cases run.
"""

import functools
import http.server
import io
import json
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from pathlib import Path

import numpy
import pyvips
from PIL import Image, ImageCms, PngImagePlugin

# Decoders round the cosine transform and the interpolation of colours in their own ways.
CLOSE = (1.5, 48)
EXACT = (0.0, 0)

CASES = []


def case(name, expected, tolerance=EXACT, flags=()):
    """A picture, the bytes of which the decorated function returns, and what must become of it: a picture, or an error."""

    def add(make):
        CASES.append((name, make, expected, tolerance, flags))
        return make

    return add


def picture(width=97, height=61, mode="RGB"):
    """A gradient of three colours with an edge and some grain: wrong rows, wrong colours and shifts all show."""
    y, x = numpy.mgrid[0:height, 0:width].astype(float)
    grain = numpy.random.default_rng(7).integers(-6, 7, (height, width))
    red = 255 * x / width
    green = 255 * y / height
    blue = numpy.where((x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2, 220, 40)
    rgb = numpy.stack([red, green, blue], axis=2) + grain[:, :, None]
    return Image.fromarray(rgb.clip(0, 255).astype("uint8"), "RGB").convert(mode)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def run(*command, stdin):
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def pillow(data, mode="RGBA"):
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "I;16":
            values = numpy.array(image).astype(float) * 255 / 65535
            image = Image.fromarray(values.round().astype("uint8"))
        return image.convert(mode)


def djpeg(data):
    # Status 2 stands for warnings, such as the one about a missing end marker.
    done = subprocess.run(["djpeg"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return Image.open(io.BytesIO(done.stdout)).convert("RGBA")


# JPEG


def cjpeg(*flags, mode="RGB"):
    ppm = saved(picture(mode=mode), "PPM")
    return run("cjpeg", "-quality", "92", *flags, stdin=ppm)


def segments(data):
    """The segments before the picture's data, as (marker, payload), and all the rest."""
    at, found = 2, []
    while data[at + 1] != 0xDA:
        length = struct.unpack(">H", data[at + 2 : at + 4])[0]
        found.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return found, data[at:]


def joined(found, rest):
    head = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload for marker, payload in found)
    return b"\xff\xd8" + head + rest


for sampling in ["1x1", "2x1", "1x2", "2x2", "4x1", "1x1,2x2,2x2", "2x1,1x2,1x1", "2x2,2x1,1x2"]:
    for kind in ["", "-progressive", "-restart 1"]:
        name = f"jpeg {sampling} {kind}".strip()
        case(name, djpeg, CLOSE)(functools.partial(cjpeg, "-sample", sampling, *kind.split()))

for script in ["0;1;2;", "0,1;2;", "1;0,2;", "2;1;0;"]:

    @case(f"jpeg scans {script}", djpeg, CLOSE)
    def scans(script=script):
        with tempfile.NamedTemporaryFile("w", suffix=".scans") as file:
            file.write(script)
            file.flush()
            return cjpeg("-sample", "2x2", "-scans", file.name)


case("jpeg arithmetic", djpeg, CLOSE)(lambda: cjpeg("-arithmetic"))
case("jpeg arithmetic progressive", djpeg, CLOSE)(lambda: cjpeg("-arithmetic", "-progressive"))
case("jpeg grey", djpeg, CLOSE)(lambda: cjpeg("-grayscale"))
case("jpeg grey sampled 2x2", djpeg, CLOSE)(lambda: cjpeg("-grayscale", "-sample", "2x2"))
case("jpeg rgb", djpeg, CLOSE)(lambda: cjpeg("-rgb"))


def cmyk(data):
    return pillow(data, "RGBA")


case("jpeg cmyk", cmyk, CLOSE)(lambda: saved(picture(mode="CMYK"), "JPEG", quality=92))


@case("jpeg without end marker, with a trailer", djpeg, CLOSE)
def no_end():
    return cjpeg()[:-2] + b"\0\0MakerTrailer" + bytes(500)


case("jpeg without end marker", djpeg, CLOSE)(lambda: cjpeg()[:-2])
case("jpeg with a trailer", djpeg, CLOSE)(lambda: cjpeg() + b"more" * 99)


def standard_tables_left_out(*flags):
    found, rest = segments(cjpeg(*flags))
    return joined([(marker, payload) for marker, payload in found if marker != 0xC4], rest)


def with_tables(data):
    found, rest = segments(data)
    tables = [segment for segment in segments(cjpeg())[0] if segment[0] == 0xC4]
    return djpeg(joined(found + tables, rest))


case("jpeg without Huffman tables", with_tables, CLOSE)(standard_tables_left_out)


def adobe(transform, length=12):
    return 0xEE, (b"Adobe\0\x64\0\0\0\0" + bytes([transform]))[:length]


@case("jpeg with JFIF and Adobe's transform 0", lambda data: djpeg(cjpeg()), CLOSE)
def jfif_wins():
    found, rest = segments(cjpeg())
    return joined(found[:1] + [adobe(0)] + found[1:], rest)


for length in [5, 7, 11]:

    @case(f"jpeg with a short Adobe segment of {length}", lambda data: djpeg(cjpeg()), CLOSE)
    def short_adobe(length=length):
        found, rest = segments(cjpeg())
        return joined(found[:1] + [adobe(1, length)] + found[1:], rest)


@case("jpeg Adobe transform 0 alone", lambda data: djpeg(cjpeg("-rgb")), CLOSE)
def adobe_rgb():
    found, rest = segments(cjpeg("-rgb"))
    return joined([segment for segment in found if segment[0] != 0xEE] + [adobe(0)], rest)


for share in [0.3, 0.6, 0.9]:
    for kind in ["", "-progressive", "-restart 1"]:

        @case(f"jpeg cut at {share} {kind} and ended", "corrupt_image")
        def cut(share=share, kind=kind):
            data = cjpeg(*kind.split())
            return data[: int(len(data) * share)] + b"\xff\xd9"


@case("jpeg zeroed from the middle", "corrupt_image")
def zeroed():
    data = cjpeg()
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2 - 2) + b"\xff\xd9"


# PNG


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


for mode in ["1", "L", "LA", "P", "RGB", "RGBA"]:
    case(f"png {mode}", pillow)(lambda mode=mode: saved(picture(mode=mode), "PNG"))


@case("png of 16 bits", pillow)
def grey_16():
    values = numpy.linspace(0, 65535, 97 * 61).reshape(61, 97).astype("uint16")
    return saved(Image.fromarray(values), "PNG")


case("png without IEND", lambda data: pillow(data + chunk(b"IEND", b"")))(lambda: saved(picture(), "PNG")[:-12])
case("png without IEND, with a trailer", lambda data: picture().convert("RGBA"))(
    lambda: saved(picture(), "PNG")[:-12] + bytes(100)
)


@case("png cut in half", "corrupt_image")
def half_png():
    data = saved(picture(), "PNG")
    return data[: len(data) // 2]


@case("png interlaced", lambda data: picture().convert("RGBA"))
def interlaced():
    return pyvips.Image.new_from_buffer(saved(picture(), "PNG"), "").write_to_buffer(".png", interlace=True)


# WebP

case("webp lossy", pillow, CLOSE)(lambda: saved(picture(), "WEBP", quality=90))
case("webp lossless", pillow)(lambda: saved(picture(), "WEBP", lossless=True))
case("webp with alpha", pillow, CLOSE)(lambda: saved(transparent(), "WEBP", quality=90))
case("webp lossless with alpha", pillow)(lambda: saved(transparent(), "WEBP", lossless=True, exact=True))


def transparent():
    image = picture(mode="RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def extended(flags, data=None):
    """A WebP with the header VP8X, which promises what is not there."""
    data = data or saved(picture(), "WEBP", quality=90)
    size = bytes([flags, 0, 0, 0]) + struct.pack("<I", 97 - 1)[:3] + struct.pack("<I", 61 - 1)[:3]
    chunks = b"VP8X" + struct.pack("<I", 10) + size + data[12:]
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


for name, flag in [("Exif", 8), ("XMP", 4), ("a profile", 0x20)]:
    case(f"webp that promises {name}", pillow, CLOSE)(lambda flag=flag: extended(flag))


@case("webp whose container is too long by one", "corrupt_image")
def long_riff():
    data = saved(picture(), "WEBP", quality=90)
    return data[:4] + struct.pack("<I", len(data) - 8 + 1) + data[8:]


@case("webp cut", "corrupt_image")
def cut_webp():
    data = saved(picture(), "WEBP", quality=90)
    return data[: len(data) * 2 // 3]


@case("webp animated, the first frame", pillow, CLOSE)
def animated():
    frames = [picture(), picture().rotate(180)]
    return saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], quality=90)


# GIF


case("gif", pillow)(lambda: saved(picture(mode="P"), "GIF"))


def gif(screen, place):
    """A GIF with a logical screen of one size and a frame of another."""
    head = saved(picture(mode="P"), "GIF")
    at = 13 + 3 * 2 ** ((head[10] & 7) + 1)
    while head[at] == 0x21:
        at += 2
        while head[at]:
            at += head[at] + 1
        at += 1
    frame = struct.pack("<HHHH", *place) + head[at + 9 :]
    return head[:6] + struct.pack("<HH", *screen) + head[10:at] + b"\x2c" + frame


@case("gif whose frame is larger than its screen", lambda data: picture(mode="P").convert("RGBA"))
def large_frame():
    return gif((40, 30), (0, 0, 97, 61))


# BMP and icons


def bmp_rows(image, order="BGRA"):
    array = numpy.array(image.convert("RGBA"))[::-1]
    return array[:, :, [2, 1, 0, 3]].tobytes()


def bmp(alpha, header=124, masks=True):
    image = picture(40, 30, "RGBA")
    image.putalpha(alpha)
    rows = bmp_rows(image)
    fields = struct.pack("<IiiHHIIiiII", header, 40, 30, 1, 32, 3 if masks else 0, len(rows), 2835, 2835, 0, 0)
    fields += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(header - 60)
    fields = fields[:header]
    return b"BM" + struct.pack("<IHHI", 14 + header + len(rows), 0, 0, 14 + header) + fields + rows


def opaque(data):
    return picture(40, 30, "RGB").convert("RGBA")


case("bmp v5 with alpha 0 everywhere", opaque)(lambda: bmp(0))
case("bmp v4 with alpha 0 everywhere", opaque)(lambda: bmp(0, 108))
case("bmp v5 with alpha", lambda data: with_alpha(90))(lambda: bmp(90))


def with_alpha(alpha):
    image = picture(40, 30, "RGBA")
    image.putalpha(alpha)
    return image


def icon(alpha, mask, kind=1):
    image = picture(32, 32, "RGBA")
    image.putalpha(alpha)
    rows = bmp_rows(image)
    bits = bytes([0xF0, 0, 0, 0] if mask else [0, 0, 0, 0]) * 32
    dib = struct.pack("<IiiHHIIiiII", 40, 32, 64, 1, 32, 0, len(rows) + len(bits), 0, 0, 0, 0) + rows + bits
    return struct.pack("<HHH", 0, kind, 1) + struct.pack("<BBBBHHII", 32, 32, 0, 0, 1, 32, len(dib), 22) + dib


def masked(columns):
    image = picture(32, 32, "RGBA")
    alpha = numpy.full((32, 32), 255, "uint8")
    alpha[:, :columns] = 0
    image.putalpha(Image.fromarray(alpha))
    return image


case("ico with alpha 0 everywhere", lambda data: masked(0))(lambda: icon(0, False))
case("ico with alpha 0 everywhere and a mask", lambda data: masked(4))(lambda: icon(0, True))
case("cur with alpha 0 everywhere", lambda data: masked(0))(lambda: icon(0, False, 2))


@case("bmp of OS/2 2.x", lambda data: picture(40, 30).convert("RGBA"))
def os2():
    array = numpy.array(picture(40, 30))[::-1, :, ::-1].tobytes()
    fields = struct.pack("<IIIHH", 64, 40, 30, 1, 24) + bytes(48)
    return b"BM" + struct.pack("<IHHI", 14 + 64 + len(array), 0, 0, 78) + fields + array


@case("bmp of OS/2 2.x, short", lambda data: picture(40, 30).convert("RGBA"))
def os2_short():
    array = numpy.array(picture(40, 30))[::-1, :, ::-1].tobytes()
    fields = struct.pack("<IIIHH", 16, 40, 30, 1, 24)
    return b"BM" + struct.pack("<IHHI", 14 + 16 + len(array), 0, 0, 30) + fields + array


# TIFF


def tiff(extra, pixel):
    """A TIFF of four channels, 4 x 4, all of one value."""
    data = bytes(pixel) * 16
    entries = [
        (256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 4, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8),
        (277, 3, 1, 4), (278, 3, 1, 4), (279, 4, 1, len(data)), (338, 3, 1, extra),
    ]
    bits_at = 8 + len(data)
    ifd_at = bits_at + 8
    ifd = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack("<I", bits_at) if count > 1 else struct.pack("<HH" if kind == 3 else "<I", *([value, 0] if kind == 3 else [value]))
        ifd += struct.pack("<HHI", tag, kind, count) + packed
    return b"II*\0" + struct.pack("<I", ifd_at) + data + struct.pack("<HHHH", 8, 8, 8, 8) + ifd + bytes(4)


def uniform(*pixel):
    return lambda data: Image.new("RGBA", (4, 4), pixel)


case("tiff with associated alpha", uniform(127, 63, 127, 64), (1.0, 1))(lambda: tiff(1, (32, 16, 32, 64)))
case("tiff with unassociated alpha", uniform(32, 16, 32, 64))(lambda: tiff(2, (32, 16, 32, 64)))
case("tiff with an extra channel that is no alpha", uniform(32, 16, 32, 255))(lambda: tiff(0, (32, 16, 32, 64)))

for compression in ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"]:
    case(f"tiff {compression}", pillow, CLOSE if compression == "jpeg" else EXACT)(
        lambda compression=compression: saved(picture(), "TIFF", compression=compression)
    )
case("tiff group 4", pillow)(lambda: saved(picture(mode="1"), "TIFF", compression="group4"))


# Colour: what a program that knows colours shows


def shown(data):
    """The picture as a screen shows it: by its profile, or by its gAMA (PNG, third edition, section 13.13)."""
    with Image.open(io.BytesIO(data)) as image:
        profile, gamma = image.info.get("icc_profile"), image.info.get("gamma")
        if profile:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            mode = image.mode if image.mode in ("L", "RGB") else "RGB"
            try:
                image = ImageCms.profileToProfile(
                    image.convert(mode), profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
                )
            except ImageCms.PyCMSError:
                # A grey profile in a picture of colours, which browsers pass over.
                pass
        elif gamma and "srgb" not in image.info:
            light = (numpy.array(image.convert("RGB")) / 255) ** (1 / gamma)
            encoded = numpy.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
            image = Image.fromarray((encoded * 255).round().astype("uint8"))
        return image.convert("RGBA")


def half_as_shown(data):
    """The picture as it is shown, 150 pixels wide, scaled in the values that the file has."""
    with Image.open(io.BytesIO(data)) as image:
        gamma = image.info["gamma"]
        image = image.convert("RGB").resize((150, 94), Image.Resampling.LANCZOS)
    return shown(saved(image, "PNG")[:33] + chunk(b"gAMA", struct.pack(">I", int(gamma * 100000))) + saved(image, "PNG")[33:])


def grey_profile():
    """A grey profile with a gamma of 1.8 (ICC.1)."""
    def tag(kind, data):
        return kind + bytes(4) + data

    white = tag(b"XYZ ", struct.pack(">iii", 63190, 65536, 54061))
    curve = tag(b"curv", struct.pack(">IH", 1, int(1.8 * 256)) + bytes(2))
    text = tag(b"desc", struct.pack(">I", 5) + b"grey\0" + bytes(79))
    copyright_ = tag(b"text", b"none\0\0\0\0")
    parts, at, table = [], 128 + 4 + 4 * 12, b""
    for name, data in [(b"wtpt", white), (b"kTRC", curve), (b"desc", text), (b"cprt", copyright_)]:
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", at, len(data))
        parts.append(data)
        at += len(data)
    head = struct.pack(">I", at) + bytes(4) + struct.pack(">I", 0x02200000) + b"mntrGRAYXYZ " + bytes(12) + b"acsp"
    head += bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", 4) + table + b"".join(parts)


for kind in ["png", "jpeg", "webp"]:

    @case(f"jpeg grey with a grey profile, as {kind}", shown, (3.0, 48), ("--encode", kind))
    def grey_jpeg():
        return saved(picture(mode="L"), "JPEG", quality=95, icc_profile=grey_profile())

    for gamma in [1.0, 0.55]:

        @case(f"png with a gamma of {gamma}, smaller, as {kind}", half_as_shown, (3.0, 96), ("--encode", kind, "--resize", "150x150"))
        def gamma_png(gamma=gamma):
            image = picture(200, 125)
            data = saved(image, "PNG")
            return data[:33] + chunk(b"gAMA", struct.pack(">I", int(gamma * 100000))) + data[33:]


def thumbnail(data):
    """What libvips makes of it."""
    image = pyvips.Image.thumbnail_buffer(data, 64, height=64)
    return Image.fromarray(image.colourspace("srgb").numpy()).convert("RGBA")


for source in ["JPEG", "PNG", "WEBP"]:
    for mode in ["L", "RGB", "RGBA"]:
        if (source, mode) != ("JPEG", "RGBA"):

            @case(f"{source.lower()} {mode} made smaller", thumbnail, (4.0, 90), ("--encode", "png", "--resize", "64"))
            def smaller(source=source, mode=mode):
                return saved(picture(640, 400, mode), source, quality=92)


def compare(expected, got, tolerance):
    if expected.size != got.size:
        return f"{got.size[0]} x {got.size[1]} instead of {expected.size[0]} x {expected.size[1]}"
    one, other = (numpy.array(image).astype(int) for image in (expected, got))
    # The colour of what cannot be seen does not matter.
    hidden = one[:, :, 3] == 0
    one[hidden, :3] = other[hidden, :3]
    difference = numpy.abs(one - other)
    mean, most = difference.mean(), difference.max()
    if mean <= tolerance[0] and most <= tolerance[1]:
        return None
    return f"differs by {mean:.2f} on average, {most} at most (allowed {tolerance[0]}, {tolerance[1]})"


def main():
    program, *names = sys.argv[1:]
    cases = [one for one in CASES if not names or any(name in one[0] for name in names)]
    files = {f"/{number}": make() for number, (_, make, *_) in enumerate(cases)}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            data = files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        groups = {}
        for number, (*_, flags) in enumerate(cases):
            groups.setdefault(flags, []).append(number)
        records = {}
        for number, (flags, numbers) in enumerate(groups.items()):
            output = Path(folder) / str(number)
            urls = "".join(f"http://127.0.0.1:{port}/{n}\n" for n in numbers)
            command = [program, "-o", output, "--name", "{index}", "-q", "--manifest", output / "records.jsonl"]
            output.mkdir()
            subprocess.run([*command, *(flags or ("--encode", "png"))], input=urls.encode(), check=False)
            for line in (output / "records.jsonl").read_text().splitlines():
                record = json.loads(line)
                records[numbers[record["index"]]] = (output, record)
        for number, (name, _, expected, tolerance, flags) in enumerate(cases):
            output, record = records[number]
            if isinstance(expected, str):
                got = record.get("error") or record["status"]
                problem = None if got == expected else f"{got} instead of {expected}"
            elif record["status"] != "saved":
                problem = f"{record.get('error')}: {record.get('message')}"
            else:
                data = (output / record["path"]).read_bytes()
                see = shown if expected in (shown, half_as_shown) else pillow
                problem = compare(expected(files[f"/{number}"]), see(data), tolerance)
            failures += problem is not None
            print(f"{'FAILED' if problem else 'ok'}  {name}{': ' + problem if problem else ''}")
    print(f"{len(cases) - failures} passed, {failures} failed")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
