//! Images of kinds that programs read wrongly, written byte by byte: camera raw, files whose end or header is unusual,
//! and drawings behind a long prolog.
//!
//! Pillow 13.0.0, exiftool 12.57, libwebp 1.2.4 and libheif 1.15.1 were shown files of the same kinds.

use super::images;

/// The file with this name.
pub fn file(name: &str) -> Vec<u8> {
    match name {
        "no-iend.png" => without_end(&images::png_sized(30, 20), 12),
        "trailer-for-iend.png" => [without_end(&images::png_sized(30, 20), 12), vec![0xFF; 300]].concat(),
        "half-no-iend.png" => without_end(&images::sample("plain.png"), 150),
        "no-block-end.gif" => without_end(&images::sample("still.gif"), 2),
        "junk-for-trailer.gif" => [without_end(&images::sample("still.gif"), 1), b"<html>".to_vec()].concat(),
        "half.gif" => without_end(&images::sample("still.gif"), 100),
        "riff-too-long.webp" => riff_too_long(),
        "flag-without-exif.webp" => flag_without_exif(),
        "larger-than-screen.gif" => larger_than_screen(),
        "os2-16.bmp" => os2_bitmap(16),
        "os2-64.bmp" => os2_bitmap(64),
        "long-prolog.svg" => long_prolog(),
        "utf-16le.svg" => utf16_drawing(u16::to_le_bytes),
        "utf-16be.svg" => utf16_drawing(u16::to_be_bytes),
        _ => raw(name),
    }
}

fn without_end(file: &[u8], length: usize) -> Vec<u8> {
    file[..file.len() - length].to_vec()
}

fn riff_too_long() -> Vec<u8> {
    let mut file = images::sample("lossy.webp");
    let length = u32::from_le_bytes([file[4], file[5], file[6], file[7]]) + 1;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    file
}

/// An extended WebP of 45 by 33 pixels that promises an Exif chunk.
fn flag_without_exif() -> Vec<u8> {
    let picture = images::sample("lossy.webp");
    let canvas = b"VP8X\x0A\0\0\0\x08\0\0\0\x2C\0\0\x20\0\0";
    let length = u32::try_from(4 + canvas.len() + picture.len() - 12).expect("a small file");
    [b"RIFF".as_slice(), &length.to_le_bytes(), b"WEBP", canvas, &picture[12..]].concat()
}

/// A GIF of 31 by 17 pixels on a screen of 10 by 8.
fn larger_than_screen() -> Vec<u8> {
    let mut file = images::sample("still.gif");
    (file[6], file[8]) = (10, 8);
    file
}

/// A bitmap of 33 by 15 pixels with a header of OS/2 2.x.
fn os2_bitmap(header: u8) -> Vec<u8> {
    let windows = images::sample("still.bmp");
    let start = usize::from(windows[10]) + 256 * usize::from(windows[11]);
    let mut fields = windows[18..54].to_vec();
    fields.resize(usize::from(header) - 4, 0);
    let pixels = 14 + u32::from(header);
    [&windows[..10], &pixels.to_le_bytes(), &[header, 0, 0, 0], &fields, &windows[start..]].concat()
}

/// A drawing of 8 by 4 behind 50 KB of comments, instructions and a document type.
fn long_prolog() -> Vec<u8> {
    let licence = "<!-- Licensed to you; it's <svg> free. -->\n<?note no root?>\n".repeat(900);
    let kind = "<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" 'x' [\n<!ENTITY a \"]>\">\n<!-- ]> -->\n]>";
    format!("<?xml version='1.0'?>\n{licence}{kind}\n<svg xmlns='http://www.w3.org/2000/svg' width='8' height='4'/>\n")
        .into_bytes()
}

/// A drawing of 8 by 4, with a byte order mark.
fn utf16_drawing(unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let text = "\u{FEFF}<?xml version=\"1.0\" encoding=\"UTF-16\"?>\n<!-- Grüße 🐟 -->\n<svg xmlns=\
                \"http://www.w3.org/2000/svg\" width=\"8\" height=\"4\"><title>ä</title></svg>\n";
    text.encode_utf16().flat_map(unit).collect()
}

/// Camera raw files: the name, the format, and the orientation. The photo has 200 by 150 pixels in all of them, as
/// exiftool says, and most have a smaller picture in front of it.
pub const RAW: [(&str, &str, Option<u8>); 15] = [
    ("photo.dng", "dng", None),
    ("linear.dng", "dng", None),
    ("photo.nef", "nef", Some(8)),
    ("photo.cr2", "cr2", None),
    ("photo.cr3", "cr3", Some(6)),
    ("photo.arw", "arw", None),
    ("photo.orf", "orf", None),
    ("old.orf", "orf", None),
    ("photo.rw2", "rw2", None),
    ("photo.pef", "pef", None),
    ("photo.srw", "srw", None),
    ("photo.raf", "raf", None),
    ("photo.3fr", "raw", None),
    ("photo.iiq", "raw", None),
    ("photo.raw", "raw", None),
];

const COLOUR_FILTER: u32 = 32_803;
const LINEAR: u32 = 34_892;

fn raw(name: &str) -> Vec<u8> {
    let [little, big] = [b"II\x2A\0", b"MM\0\x2A"];
    let sensor = |kind| Directory::new(200, 150).with(254, &[0]).with(262, &[kind]);
    let small = || Directory::new(40, 30).with(254, &[1]).with(262, &[2]);
    let preview = || Directory::new(240, 180).with(254, &[1]).with(262, &[6]);
    match name {
        "photo.dng" => {
            small().text(50_706, b"\x01\x04\0\0", 1).inside(preview()).inside(sensor(COLOUR_FILTER)).file(*little)
        }
        "linear.dng" => small().text(50_706, b"\x01\x04\0\0", 1).inside(sensor(LINEAR)).file(*big),
        "photo.nef" => small()
            .make(b"NIKON CORPORATION\0")
            .with(274, &[8])
            .inside(preview())
            .inside(sensor(COLOUR_FILTER))
            .file(*big),
        "photo.cr2" => Directory { gap: b"CR\x02\0\0\0\0\0", ..Directory::new(200, 150).make(b"Canon\0") }
            .then(Directory::new(66, 43))
            .then(Directory::default())
            .file(*little),
        "photo.arw" => Directory::default()
            .with(254, &[1])
            .make(b"SONY\0")
            .inside(sensor(COLOUR_FILTER))
            .then(small())
            .file(*little),
        "photo.orf" => sensor(COLOUR_FILTER).make(b"OLYMPUS IMAGING CORP.\0").file(*b"IIRO"),
        "old.orf" => Directory::new(200, 150).make(b"OLYMPUS\0").file(*b"MMOR"),
        "photo.rw2" => Directory::default()
            .with(2, &[212])
            .with(3, &[160])
            .with(4, &[4])
            .with(5, &[8])
            .with(6, &[154])
            .with(7, &[208])
            .file(*b"II\x55\0"),
        "photo.pef" => sensor(COLOUR_FILTER).make(b"PENTAX\0").then(small()).then(preview()).file(*big),
        "photo.srw" => small().make(b"SAMSUNG\0").inside(preview()).inside(sensor(COLOUR_FILTER)).file(*little),
        "photo.3fr" => small().make(b"Hasselblad\0").inside(sensor(COLOUR_FILTER)).file(*little),
        "photo.iiq" => Directory { gap: b"IIIItarw", ..sensor(COLOUR_FILTER) }.file(*little),
        "photo.raw" => sensor(COLOUR_FILTER).file(*big),
        // A drawing program's versions of one picture are no raw file.
        "versions.tif" => Directory::new(40, 30).with(262, &[2]).inside(Directory::new(200, 150)).file(*little),
        "photo.raf" => fujifilm(),
        "photo.cr3" => canon_boxes(),
        _ => panic!("there is no {name}"),
    }
}

fn fujifilm() -> Vec<u8> {
    let jpeg = images::jpeg();
    let pair = |high: u16, low: u16| [high.to_be_bytes(), low.to_be_bytes()].concat();
    // The sensor, a corner, and the photo, each behind its number and its length. Heights come first.
    let list = [
        vec![0, 0, 0, 3],
        [pair(0x100, 4), pair(160, 212)].concat(),
        [pair(0x110, 4), pair(4, 8)].concat(),
        [pair(0x111, 4), pair(150, 200)].concat(),
    ]
    .concat();
    let mut file = b"FUJIFILMCCD-RAW 0201FF393101FinePix X1".to_vec();
    file.resize(84, 0);
    let mut at = 108;
    for length in [jpeg.len(), list.len(), 40] {
        for number in [at, length] {
            file.extend(u32::try_from(number).expect("a small file").to_be_bytes());
        }
        at += length;
    }
    [file, jpeg, list, vec![7; 40]].concat()
}

fn canon_boxes() -> Vec<u8> {
    let boxed = |kind: &[u8; 4], content: &[u8]| {
        let length = u32::try_from(8 + content.len()).expect("a small file").to_be_bytes();
        [length.as_slice(), kind, content].concat()
    };
    let uuid = b"\x85\xC0\xB6\x87\x82\x0F\x11\xE0\x81\x11\xF4\xCE\x46\x2B\x6A\x48";
    let first = Directory::new(200, 150).with(274, &[6]).make(b"Canon\0").file(*b"II\x2A\0");
    let maker = [uuid.as_slice(), &boxed(b"CNCV", b"CanonCR3_001/00.09.00/00.00.00"), &boxed(b"CMT1", &first)].concat();
    let movie = [boxed(b"uuid", &maker), boxed(b"mvhd", &[0; 100])].concat();
    let kind = boxed(b"ftyp", b"crx \0\0\0\x01crx isom");
    [kind, boxed(b"moov", &movie), boxed(b"uuid", &[1; 40]), boxed(b"mdat", &[7; 40])].concat()
}

/// A directory of a TIFF file, with some bytes of data, those under its `SubIFDs`, and the next ones.
#[derive(Clone, Default)]
struct Directory {
    /// Tag, type (1: bytes, 2: text, 4: numbers) and value.
    values: Vec<(u16, u16, Vec<u8>, Vec<u32>)>,
    inside: Vec<Self>,
    next: Vec<Self>,
    /// What stands behind the header of the file.
    gap: &'static [u8],
}

impl Directory {
    fn new(width: u32, height: u32) -> Self {
        Self::default().with(256, &[width]).with(257, &[height])
    }

    fn with(mut self, tag: u16, numbers: &[u32]) -> Self {
        self.values.push((tag, 4, Vec::new(), numbers.to_vec()));
        self
    }

    fn text(mut self, tag: u16, bytes: &[u8], kind: u16) -> Self {
        self.values.push((tag, kind, bytes.to_vec(), Vec::new()));
        self
    }

    fn make(self, name: &[u8]) -> Self {
        self.text(271, name, 2)
    }

    fn inside(mut self, other: Self) -> Self {
        self.inside.push(other);
        self
    }

    fn then(mut self, other: Self) -> Self {
        self.next.push(other);
        self
    }

    /// The whole file, in the byte order that its first bytes say.
    fn file(self, mark: [u8; 4]) -> Vec<u8> {
        let is_little = mark[0] == b'I';
        let four = |number: u32| if is_little { number.to_le_bytes() } else { number.to_be_bytes() };
        let two = |number: u16| if is_little { number.to_le_bytes() } else { number.to_be_bytes() };
        let mut file = [mark.as_slice(), &[0; 4], self.gap].concat();
        // Where the offset of the next directory stands.
        let mut link = 4;
        for directory in std::iter::once(&Self { next: Vec::new(), ..self.clone() }).chain(&self.next) {
            let at = directory.write(&mut file, &four, &two);
            file[link..link + 4].copy_from_slice(&four(at));
            link = file.len() - 4;
        }
        file
    }

    fn write(&self, file: &mut Vec<u8>, four: &dyn Fn(u32) -> [u8; 4], two: &dyn Fn(u16) -> [u8; 2]) -> u32 {
        let offset = |file: &[u8]| u32::try_from(file.len()).expect("a small file");
        let mut values = self.values.clone();
        let inside = self.inside.iter().map(|directory| directory.write(file, four, two)).collect::<Vec<_>>();
        if !inside.is_empty() {
            values.push((330, 4, Vec::new(), inside));
        }
        values.push((273, 4, Vec::new(), vec![offset(file)]));
        values.push((279, 4, Vec::new(), vec![20]));
        file.extend([7; 20]);
        values.sort();
        let mut entries = Vec::new();
        for (tag, kind, bytes, numbers) in values {
            let count = u32::try_from(bytes.len().max(numbers.len())).expect("a few");
            let mut value = [bytes, numbers.into_iter().flat_map(four).collect()].concat();
            if value.len() > 4 {
                let at = offset(file);
                file.extend(&value);
                value = four(at).to_vec();
            }
            value.resize(4, 0);
            entries.extend([&two(tag)[..], &two(kind), &four(count), &value].concat());
        }
        let at = offset(file);
        file.extend(two(u16::try_from(entries.len() / 12).expect("a few")));
        file.extend(entries);
        file.extend([0; 4]);
        at
    }
}
