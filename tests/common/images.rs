//! Small valid images as bytes.
//!
//! [`png`] is the one most tests use: it has exactly the size asked for, and a shifted, lost or repeated byte
//! anywhere in it shows when it is compared.

use std::fmt::Write as _;
use std::io::Cursor;
use std::sync::LazyLock;

use image::{DynamicImage, ImageFormat, Luma, RgbImage};

/// The size of the smallest file [`png`] makes.
pub const SMALLEST_PNG: usize = 70;

/// The size from which on [`png`] pads by a chunk; below, it makes the picture a few pixels wider.
const SMALLEST_PADDED_PNG: usize = SMALLEST_PNG + 12;

const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// An ancillary, private chunk that may be copied: every decoder skips it.
const PADDING_CHUNK: [u8; 4] = *b"paDd";

/// A valid PNG of exactly `size` bytes (at least [`SMALLEST_PNG`]), one pixel high; another `seed`, another content.
pub fn png(size: usize, seed: u64) -> Vec<u8> {
    let size = size.max(SMALLEST_PNG);
    let padded = size >= SMALLEST_PADDED_PNG;
    let width = if padded { 1 } else { size - SMALLEST_PNG + 1 };
    let mut file = Vec::with_capacity(size);
    file.extend(PNG_SIGNATURE);
    push_chunk(&mut file, *b"IHDR", &png_header(width));
    if padded {
        push_chunk(&mut file, PADDING_CHUNK, &pattern(size - SMALLEST_PADDED_PNG, seed));
    }
    let mut row = vec![0]; // no filter
    row.extend(pattern(width, seed));
    push_chunk(&mut file, *b"IDAT", &stored_zlib(&row));
    push_chunk(&mut file, *b"IEND", &[]);
    file
}

/// The beginning of a PNG that looks right for its first two gigabytes.
pub fn png_start() -> Vec<u8> {
    let mut file = PNG_SIGNATURE.to_vec();
    push_chunk(&mut file, *b"IHDR", &png_header(1));
    file.extend(0x7fff_ffff_u32.to_be_bytes());
    file.extend(PADDING_CHUNK);
    file
}

/// A PNG with a valid structure, whose pixels cannot be decompressed.
pub fn png_spoilt() -> Vec<u8> {
    png_of(1, 1, b"these are no pixels")
}

/// A PNG that says it has 50,000 by 50,000 pixels.
pub fn png_bomb() -> Vec<u8> {
    png_of(50_000, 50_000, &stored_zlib(&[0; 1000]))
}

/// A PNG that really has 50,000 by 50,000 black pixels: 2.5 GB in 2.5 MB.
pub fn png_bomb_of_pixels() -> Vec<u8> {
    const SIDE: usize = 50_000;
    static FILE: LazyLock<Vec<u8>> =
        LazyLock::new(|| png_of(50_000, 50_000, &zeros_zlib(1000, SIDE * (SIDE + 1) / 1000)));
    FILE.clone()
}

/// A PNG of one pixel with a colour profile of a gigabyte.
pub fn png_bomb_of_profile() -> Vec<u8> {
    let mut file = PNG_SIGNATURE.to_vec();
    push_chunk(&mut file, *b"IHDR", &png_header(1));
    push_chunk(&mut file, *b"iCCP", &[b"zeros\0\0".as_slice(), &zeros_zlib(1000, 1_000_000)].concat());
    push_chunk(&mut file, *b"IDAT", &stored_zlib(&[0, 0]));
    push_chunk(&mut file, *b"IEND", &[]);
    file
}

/// A GIF of 100,000 frames of one pixel each on a screen of 400 by 300.
pub fn gif_of_many_frames() -> Vec<u8> {
    let frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0";
    [b"GIF89a\x90\x01\x2c\x01\x80\0\0\0\0\0\xff\xff\xff".as_slice(), &frame.repeat(100_000), b";"].concat()
}

/// A GIF whose header and first frame say one pixel, with a second frame of nine million.
pub fn gif_larger_inside() -> Vec<u8> {
    static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut file = Vec::new();
        let mut encoder = gif::Encoder::new(&mut file, 1, 1, &[0, 0, 0, 255, 255, 255]).expect("a head");
        let first = gif::Frame { width: 1, height: 1, buffer: vec![0].into(), ..gif::Frame::default() };
        encoder.write_frame(&first).expect("a picture");
        let buffer = vec![0; 9_000_000].into();
        let frame = gif::Frame { width: 3000, height: 3000, buffer, ..gif::Frame::default() };
        encoder.write_frame(&frame).expect("a picture");
        drop(encoder);
        file
    });
    FILE.clone()
}

fn png_of(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
    let mut file = PNG_SIGNATURE.to_vec();
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    push_chunk(&mut file, *b"IHDR", &[&*size, &[8, 0, 0, 0, 0]].concat());
    push_chunk(&mut file, *b"IDAT", pixels);
    push_chunk(&mut file, *b"IEND", &[]);
    file
}

/// A JPEG of hills in front of a bright sky, the same picture at any size.
pub fn photo(width: u32, height: u32) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let hill = 0.6 + 0.15 * (7.0 * x).sin() + 0.05 * (23.0 * x + 1.0).cos();
        let sun = 255.0 / (1.0 + 40.0 * ((x - 0.8).powi(2) + (y - 0.2).powi(2)));
        let [red, green, blue] =
            if y > hill { [60.0, 40.0 + 120.0 * y, 30.0] } else { [120.0 + sun / 2.0, 150.0 + sun / 3.0, 230.0] };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        image::Rgb([red as u8, green as u8, blue as u8])
    });
    encoded(&DynamicImage::ImageRgb8(picture), ImageFormat::Jpeg)
}

/// A file of `tests/images`.
pub fn sample(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A valid grey PNG of this size in pixels.
pub fn png_sized(width: u32, height: u32) -> Vec<u8> {
    let picture = image::ImageBuffer::from_pixel(width, height, Luma([99_u8]));
    encoded(&DynamicImage::ImageLuma8(picture), ImageFormat::Png)
}

/// A valid JPEG of 16 by 8 pixels.
pub fn jpeg() -> Vec<u8> {
    jpeg_sized(16, 8)
}

/// A valid JPEG of this size in pixels.
pub fn jpeg_sized(width: u32, height: u32) -> Vec<u8> {
    let picture = RgbImage::from_pixel(width, height, image::Rgb([200, 30, 60]));
    encoded(&DynamicImage::ImageRgb8(picture), ImageFormat::Jpeg)
}

/// A valid GIF of one pixel.
pub fn gif() -> Vec<u8> {
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\
      \x00\x01\x00\x00\x02\x01D\x00;"
        .to_vec()
}

/// A valid lossy WebP of one pixel.
pub fn webp() -> Vec<u8> {
    b"RIFF\"\x00\x00\x00WEBPVP8 \x16\x00\x00\x000\x01\x00\x9d\x01*\x01\x00\x01\x00\x0e\xc0\xfe%\xa4\x00\x03p\x00\x00\
      \x00\x00"
        .to_vec()
}

/// A valid BMP of one white pixel.
pub fn bmp() -> Vec<u8> {
    let mut file = b"BM".to_vec();
    for field in [58_u32, 0, 54, 40, 1, 1] {
        file.extend(field.to_le_bytes()); // file size, reserved, start of the pixels, header size, width, height
    }
    file.extend([1, 0, 24, 0]); // planes, bits per pixel
    for field in [0_u32, 4, 2835, 2835, 0, 0] {
        file.extend(field.to_le_bytes()); // compression, size of the pixels, resolutions, colours
    }
    file.extend([255, 255, 255, 0]);
    file
}

/// A valid SVG of 8 by 4 user units.
pub fn svg() -> Vec<u8> {
    b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"8\" height=\"4\">\
      <rect width=\"8\" height=\"4\" fill=\"teal\"/></svg>\n"
        .to_vec()
}

/// An AVIF of one pixel.
pub fn avif() -> Vec<u8> {
    let mut file = Vec::new();
    push_box(&mut file, *b"ftyp", b"avif\0\0\0\0avifmif1miafMA1B");
    push_box(&mut file, *b"meta", &avif_meta());
    push_box(
        &mut file,
        *b"mdat",
        b"\x12\0\x0a\x08\x18\0\x06\x88\x10\x10\x34\x20\x32\x09\x10\0\0\0\x07\xc7\x52\x2d\xf2",
    );
    file
}

/// A web page of about five thousand bytes.
pub fn page() -> Vec<u8> {
    let mut text = String::from("<!DOCTYPE html>\n<html><head><title>Not here</title></head><body>\n");
    for paragraph in 0..100 {
        writeln!(text, "<p>Paragraph {paragraph}: there is no image here.</p>").expect("a string takes everything");
    }
    text.push_str("</body></html>\n");
    text.into_bytes()
}

/// Bytes without repetition: the hashes of a counter.
pub fn pattern(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 8);
    let mut counter = seed;
    while bytes.len() < size {
        counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut hash = counter;
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((hash ^ (hash >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A number that differs for different texts.
pub fn seed_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).expect("a small picture can be encoded");
    file.into_inner()
}

/// The content of IHDR: one row, eight bits of grey per pixel, not interlaced.
fn png_header(width: usize) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(length_of(width).to_be_bytes());
    header.extend(1_u32.to_be_bytes());
    header.extend([8, 0, 0, 0, 0]);
    header
}

fn push_chunk(file: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) {
    file.extend(length_of(content.len()).to_be_bytes());
    let start = file.len();
    file.extend(kind);
    file.extend(content);
    let checksum = crc32fast::hash(&file[start..]);
    file.extend(checksum.to_be_bytes());
}

fn push_box(file: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) {
    file.extend(length_of(content.len() + 8).to_be_bytes());
    file.extend(kind);
    file.extend(content);
}

/// The `meta` box of an AVIF with one item.
fn avif_meta() -> Vec<u8> {
    let mut properties = Vec::new();
    push_box(&mut properties, *b"ispe", b"\0\0\0\0\0\0\0\x01\0\0\0\x01");
    push_box(&mut properties, *b"pixi", b"\0\0\0\0\x03\x08\x08\x08");
    push_box(&mut properties, *b"av1C", b"\x81\0\x0c\0");
    push_box(&mut properties, *b"colr", b"nclx\0\x02\0\x02\0\x06\x80");
    let mut all_properties = Vec::new();
    push_box(&mut all_properties, *b"ipco", &properties);
    push_box(&mut all_properties, *b"ipma", b"\0\0\0\0\0\0\0\x01\0\x01\x04\x01\x02\x83\x04");
    let mut item = vec![0, 0, 0, 0, 0, 1];
    push_box(&mut item, *b"infe", b"\x02\0\0\0\0\x01\0\0av01Color\0");

    let mut meta = vec![0; 4];
    push_box(&mut meta, *b"hdlr", b"\0\0\0\0\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0libavif\0");
    push_box(&mut meta, *b"pitm", b"\0\0\0\0\0\x01");
    push_box(&mut meta, *b"iloc", b"\0\0\0\0\x44\0\0\x01\0\x01\0\0\0\x01\0\0\x01\x1a\0\0\0\x17");
    push_box(&mut meta, *b"iinf", &item);
    push_box(&mut meta, *b"iprp", &all_properties);
    meta
}

/// A zlib stream of one stored block, eleven bytes longer than its content.
fn stored_zlib(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("one block holds a row");
    let mut stream = vec![0x78, 0x01, 0x01];
    stream.extend(length.to_le_bytes());
    stream.extend((!length).to_le_bytes());
    stream.extend(content);
    let (low, high) = content.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    stream.extend(((high << 16) | low).to_be_bytes());
    stream
}

/// A zlib stream of zeros, made of equal blocks: one block is compressed, and its compressed form is repeated.
fn zeros_zlib(times: usize, length: usize) -> Vec<u8> {
    let mut packer = flate2::Compress::new(flate2::Compression::best(), false);
    let mut once = Vec::with_capacity(length / 500 + 1000);
    packer.compress_vec(&vec![0; length], &mut once, flate2::FlushCompress::Full).expect("zeros can be packed");
    assert_eq!(packer.total_in(), length as u64, "the buffer is large enough");
    // The Adler-32 checksum of zeros depends only on their number (RFC 1950).
    let sum = u32::try_from(times * length % 65_521).expect("a remainder");
    let end = [b"\x01\0\0\xff\xff".as_slice(), &((sum << 16) | 1).to_be_bytes()].concat();
    [b"\x78\xda".as_slice(), &once.repeat(times), &end].concat()
}

fn length_of(size: usize) -> u32 {
    u32::try_from(size).expect("a length fits into four bytes")
}
