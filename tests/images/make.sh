#!/usr/bin/env bash
# Makes the sample images again, with Debian 12's packages imagemagick, libavif-bin, libheif-examples, libjxl-tools,
# webp, libtiff-tools, ffmpeg, netpbm, gifsicle, apngasm, libjpeg-turbo-progs and libimage-exiftool-perl. Every picture has a size of its own,
# so that none can be taken for another. The files are kept because encoders change; this says what they were.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# picture WIDTHxHEIGHT FILE [OPTION...]
picture() { /usr/bin/convert -size "$1" gradient:teal-orange -depth 8 "${@:3}" -strip "$2"; }
# frames NUMBER WIDTHxHEIGHT: pictures that differ, as frame-1.png and so on
frames() { for frame in $(seq "$1"); do picture "$2" "$work/frame-$frame.png" -fill white -draw "point $frame,1"; done; }

# JPEG: as a camera writes it, with a thumbnail, lying on its side; and progressive with restart markers, and grey.
picture 16x12 "$work/thumbnail.jpg" -quality 50
picture 64x48 photo.jpg -quality 75
exiftool -q -overwrite_original "-ThumbnailImage<=$work/thumbnail.jpg" -Make=Kodalux -Model='K 7' -LensModel='50 mm f/1.8' \
  -n -Orientation=6 -Software='make.sh 1.0' -Artist='Ann Example' -Copyright='CC0' -ImageDescription='Teal and orange' \
  -DateTimeOriginal='2024:05:04 03:02:01' -OffsetTimeOriginal='+02:00' -ModifyDate='2024:05:05 10:00:00' \
  -ExposureTime=0.004 -FNumber=2.8 -ISO=200 -ExposureCompensation=-0.33 -FocalLength=50 -FocalLengthIn35mmFormat=75 \
  -EXIF:Flash=1 -GPS:GPSLatitude=48.8583701 -GPSLatitudeRef=N -GPS:GPSLongitude=2.2944813 -GPSLongitudeRef=W \
  -GPS:GPSAltitude=35.5 -GPSAltitudeRef=0 -GPSDateStamp='2024:05:04' -GPSTimeStamp='01:02:01' photo.jpg
picture 65x47 progressive.jpg -interlace JPEG -quality 80
picture 40x30 grey.jpg -colorspace Gray
# The same coefficients as in those (libjpeg-turbo-progs).
jpegtran -arithmetic photo.jpg >arithmetic.jpg
jpegtran -arithmetic -progressive progressive.jpg >arithmetic-progressive.jpg

# PNG: plain, indexed and interlaced, animated, and with an Exif block.
picture 41x19 plain.png
picture 43x21 indexed.png -colors 16 -type Palette -interlace PNG
frames 3 22x18
(cd "$work" && apngasm animation.png frame-1.png frame-2.png frame-3.png) >/dev/null; mv "$work/animation.png" .
picture 26x14 turned.png
exiftool -q -overwrite_original -n -Orientation=8 turned.png

# GIF.
picture 31x17 still.gif
frames 4 24x16
/usr/bin/convert -delay 10 "$work"/frame-[1-4].png animation.gif

# WebP: lossy, lossless, animated, and with an Exif block.
picture 45x33 "$work/lossy.png"; cwebp -quiet -q 60 "$work/lossy.png" -o lossy.webp
picture 46x34 "$work/lossless.png"; cwebp -quiet -lossless "$work/lossless.png" -o lossless.webp
frames 5 28x20
img2webp -loop 0 "$work"/frame-[1-5].png -o animation.webp >/dev/null
picture 47x35 turned.webp
exiftool -q -overwrite_original -n -Orientation=3 turned.webp

# AVIF and HEIC: still, turned and mirrored, a sequence, and with the Exif block of the photograph.
picture 52x38 "$work/still.png"; avifenc --min 20 --max 30 "$work/still.png" still.avif >/dev/null
picture 54x40 "$work/turned.png"; avifenc --min 20 --max 30 --irot 1 --imir 0 "$work/turned.png" turned.avif >/dev/null
frames 3 32x24
avifenc --min 20 --max 30 "$work"/frame-[1-3].png sequence.avif >/dev/null
picture 56x42 "$work/still.png"; heif-enc -q 50 "$work/still.png" -o still.heic >/dev/null
heif-enc -q 50 photo.jpg -o photo.heic >/dev/null

# BMP: today's header, and that of OS/2.
picture 33x15 still.bmp
picture 34x15 BMP2:core.bmp

# TIFF: pages; the high byte first and lying on its side; BigTIFF; tiles.
frames 3 36x27
/usr/bin/convert "$work"/frame-[1-3].png -compress LZW -endian LSB pages.tiff
picture 37x28 turned.tiff -define tiff:endian=msb -compress Zip -orient RightTop
picture 38x29 "$work/plain.tiff" -compress None; tiffcp -8 "$work/plain.tiff" big.tiff
picture 39x30 "$work/plain.tiff" -compress None; tiffcp -t -w 16 -l 16 -c lzw "$work/plain.tiff" tiles.tiff

# Icons of three sizes, and a drawing.
/usr/bin/convert -size 48x48 gradient:teal-orange -strip -define icon:auto-resize=16,32,48 icons.ico
cat >drawing.svg <<'END'
<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<!-- Drawn by hand -->
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 20" width="60" height="40">
  <rect width="30" height="20" fill="teal"/>
</svg>
END

# JPEG XL: bare, and in boxes with the photograph's Exif block.
picture 57x43 "$work/still.png"; cjxl "$work/still.png" still.jxl 2>/dev/null
cjxl photo.jpg photo.jxl 2>/dev/null

# JPEG 2000: in boxes and bare.
picture 58x44 still.jp2 -quality 40
picture 59x45 still.j2k -quality 40

# What is left: QOI, EXR and TGA by ffmpeg (ImageMagick's TGA has no mark at its end).
picture 29x13 "$work/still.png"
ffmpeg -loglevel error -y -i "$work/still.png" still.qoi
picture 30x14 "$work/still.png"
ffmpeg -loglevel error -y -i "$work/still.png" -pix_fmt gbrpf32le still.exr
picture 11x7 "$work/still.ppm"
pnmtoplainpnm "$work/still.ppm" | sed '1a # a comment' >plain.ppm
picture 12x7 still.ppm
picture 13x8 still.pgm -colorspace Gray
picture 19x9 still.pbm -monochrome
picture 14x10 PAM:still.pam
picture 24x20 still.dds -define dds:compression=dxt1
picture 35x25 still.hdr
picture 27x12 still.psd
picture 25x11 "$work/still.png"
ffmpeg -loglevel error -y -i "$work/still.png" -pix_fmt bgr24 still.tga
