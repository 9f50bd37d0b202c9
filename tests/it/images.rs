//! Real files of every format, compared with what other programs say about them. `tests/images` says how they were
//! made.

#![allow(clippy::print_stderr, reason = "says what could not be compared")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fetchimg::internals::image::{InspectOptions, Inspection, Inspector, Recogniser, Recognition, recognise};
use fetchimg::internals::record::{Format, Measures};
use serde_json::{Value, json};

use crate::inspected::inspected;

const EVERYTHING: InspectOptions = InspectOptions { structure: true, exif: true };

/// Name, width, height, frames and orientation, as identify (`ImageMagick` 6.9.11), exiftool (12.57), file (5.44),
/// ffprobe (5.1) and jxlinfo (0.7) said when the files were made: each file was shown to all of those that know its
/// format, and they agreed. Sizes are as stored; only `turned.avif` identify describes as it is displayed.
type Row = (&'static str, u32, u32, Option<u32>, Option<u8>);

const FILES: [Row; 43] = [
    ("animation.gif", 24, 16, Some(4), None),
    ("animation.png", 22, 18, Some(3), None),
    ("animation.webp", 28, 20, Some(5), None),
    ("arithmetic-progressive.jpg", 65, 47, None, None),
    ("arithmetic.jpg", 64, 48, None, None),
    ("big.tiff", 38, 29, None, None),
    ("core.bmp", 34, 15, None, None),
    ("drawing.svg", 60, 40, None, None),
    ("grey.jpg", 40, 30, None, None),
    ("icons.ico", 48, 48, None, None),
    ("indexed.png", 43, 21, None, None),
    ("lossless.webp", 46, 34, None, None),
    ("lossy.webp", 45, 33, None, None),
    ("pages.tiff", 36, 27, Some(3), None),
    // Its Exif block has an orientation, which is ignored in HEIF (ISO/IEC 23008-12, A.2.1).
    ("photo.heic", 64, 48, None, None),
    ("photo.jpg", 64, 48, None, Some(6)),
    ("photo.jxl", 64, 48, None, Some(6)),
    ("plain.png", 41, 19, None, None),
    ("plain.ppm", 11, 7, None, None),
    ("progressive.jpg", 65, 47, None, None),
    ("sequence.avif", 32, 24, Some(3), None),
    ("still.avif", 52, 38, None, None),
    ("still.bmp", 33, 15, None, None),
    ("still.dds", 24, 20, None, None),
    ("still.exr", 30, 14, None, None),
    ("still.gif", 31, 17, None, None),
    ("still.hdr", 35, 25, None, None),
    ("still.heic", 56, 42, None, None),
    ("still.j2k", 59, 45, None, None),
    ("still.jp2", 58, 44, None, None),
    ("still.jxl", 57, 43, None, None),
    ("still.pam", 14, 10, None, None),
    ("still.pbm", 19, 9, None, None),
    ("still.pgm", 13, 8, None, None),
    ("still.ppm", 12, 7, None, None),
    ("still.psd", 27, 12, None, None),
    ("still.qoi", 29, 13, None, None),
    ("still.tga", 25, 11, None, None),
    ("tiles.tiff", 39, 30, None, None),
    ("turned.avif", 54, 40, None, Some(5)),
    ("turned.png", 26, 14, None, Some(8)),
    ("turned.tiff", 37, 28, None, Some(6)),
    ("turned.webp", 47, 35, None, Some(3)),
];

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "images", name].iter().collect()
}

fn read(name: &str) -> Vec<u8> {
    fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn format(name: &str) -> Format {
    let (_, extension) = name.rsplit_once('.').expect("an extension");
    Format::from_extension(extension).expect("an extension of an image")
}

#[test]
fn files_are_what_other_programs_say_that_they_are() {
    for (name, width, height, frames, orientation) in FILES {
        let (format, body) = (format(name), read(name));
        assert_eq!(recognise(&body, true), Recognition::Image(format), "{name}");
        let measures = Measures { width: Some(width), height: Some(height), frames, orientation };
        for wanted in [InspectOptions::default(), EVERYTHING] {
            let whole = inspected(format, &body, wanted, &[usize::MAX]).unwrap_or_else(|what| panic!("{name}: {what}"));
            assert_eq!(whole.measures, measures, "{name}");
            for cuts in [&[1][..], &[3, 1, 30], &[512]] {
                assert_eq!(inspected(format, &body, wanted, cuts).as_ref(), Ok(&whole), "{name}");
            }
        }
    }
    let all = fs::read_dir(path("")).expect("the folder").flatten().count();
    assert_eq!(all, FILES.len() + 2, "every file is in the table, but for the README and how they were made");
    // Camera raw is written by the tests themselves (`odd_images`): that of cameras is large.
    for format in Format::ALL.iter().filter(|format| !format.is_raw()) {
        assert!(FILES.iter().any(|(name, ..)| self::format(name) == *format), "there is no {format}");
    }
}

/// Recognises and inspects a body in pieces, whose format is not known beforehand.
#[test]
fn a_recogniser_and_an_inspector_take_turns() {
    for (name, width, height, ..) in FILES {
        let body = read(name);
        let (mut recogniser, mut inspector) = (Recogniser::default(), None::<Inspector>);
        for piece in body.chunks(5) {
            if let Some(inspector) = &mut inspector {
                inspector.feed(piece).expect("sound");
            } else if let Recognition::Image(format) = recogniser.feed(piece) {
                let mut new = Inspector::new(format, EVERYTHING);
                new.feed(recogniser.head()).expect("sound");
                new.feed(piece).expect("sound");
                inspector = Some(new);
            }
        }
        assert_eq!(recogniser.end(), Recognition::Image(format(name)), "{name}");
        let inspector = inspector.unwrap_or_else(|| {
            assert_eq!(name, "still.tga", "everything else is detected by its beginning");
            let mut inspector = Inspector::new(Format::Tga, EVERYTHING);
            inspector.feed(recogniser.head()).expect("sound");
            inspector
        });
        // Headers of variable length are parsed at intervals, and when a small file is complete.
        assert!(inspector.size_is_final() || body.len() < 512, "{name}");
        let found = inspector.end(|| Ok(std::io::Cursor::new(&body))).expect("sound");
        assert_eq!((found.measures.width, found.measures.height), (Some(width), Some(height)), "{name}");
    }
}

#[test]
fn files_that_are_cut_or_filled_with_zeros_are_not_sound() {
    // Formats whose missing end is not detected: they state no length, and their end has no mark.
    let no_length =
        ["still.exr", "still.hdr", "still.j2k", "still.jxl", "still.psd", "still.dds", "still.qoi", "still.tga"];
    for (name, ..) in FILES {
        let (format, body) = (format(name), read(name));
        let at = |end| inspected(format, &body[..end], EVERYTHING, &[512]);
        if !no_length.contains(&name) {
            let half = at(body.len() / 2).map(|found| found.doubt.is_some());
            assert!(half.unwrap_or(true), "{name}, its first half");
        }
        assert!(at(2).is_err() || matches!(format, Format::Avif | Format::Heic), "{name}, its first two bytes");
        // The four formats of nearly all images on the web are cut at every byte.
        if !matches!(format, Format::Jpeg | Format::Png | Format::Gif | Format::Webp) {
            continue;
        }
        for end in 0..body.len() {
            // Between two frames of a GIF, or before its trailer, a cut cannot be detected. Behind the beginning of the
            // data of a PNG and of a GIF, decoding tells.
            let is_sound = format == Format::Gif;
            let is_open = |found: Inspection| found.doubt.is_some();
            assert!(
                at(end).is_ok_and(is_open) || at(end).is_err() || is_sound,
                "{name}, cut at {end} of {}",
                body.len()
            );
            let mut filled = body.clone();
            filled[end..].fill(0);
            let filled_in = inspected(format, &filled, EVERYTHING, &[512]);
            // The picture data of a WebP are not inspected, so a hole in them is not detected.
            let is_noticed = filled_in.map_or(true, |found| found.doubt.is_some());
            assert!(is_noticed || filled == body || format == Format::Webp, "{name}, filled from {end} on");
        }
    }
}

#[test]
fn what_a_camera_notes_down_is_told() {
    let noted = json!({
        "description": "Teal and orange",
        "camera_make": "Kodalux",
        "camera_model": "K 7",
        "orientation": 6,
        "software": "make.sh 1.0",
        "artist": "Ann Example",
        "copyright": "CC0",
        "exposure_seconds": 0.004,
        "f_number": 2.8,
        "iso": 200,
        "exposure_bias": -0.33,
        "focal_length_mm": 50.0,
        "focal_length_35mm": 75,
        "lens_model": "50 mm f/1.8",
        "taken_at": "2024-05-04T03:02:01+02:00",
        "flash": true,
        "modified_at": "2024-05-05T10:00:00",
        "gps_latitude": 48.858_370_1,
        "gps_longitude": -2.294_481_3,
        "gps_altitude": 35.5,
        "gps_at": "2024-05-04T01:02:01Z",
    });
    let exif = |name: &str, wanted| {
        let found: Inspection = inspected(format(name), &read(name), wanted, &[512]).expect("sound");
        Value::Object(found.exif)
    };
    assert_eq!(exif("photo.jpg", EVERYTHING), noted);
    assert_eq!(exif("photo.heic", EVERYTHING), noted, "it has been copied from the JPEG");
    assert_eq!(exif("turned.png", EVERYTHING)["orientation"], 8);
    assert_eq!(exif("turned.webp", EVERYTHING)["orientation"], 3);
    assert_eq!(exif("turned.tiff", EVERYTHING)["orientation"], 6);
    assert_eq!(exif("plain.png", EVERYTHING), json!({}));
    assert_eq!(exif("photo.jpg", InspectOptions { exif: false, ..EVERYTHING }), json!({}), "it is not asked for");
}

#[test]
fn identify_says_the_same() {
    if let Err(error) = Command::new("identify").arg("-version").output() {
        eprintln!("NOT COMPARED: identify (ImageMagick) cannot be started: {error}");
        return;
    }
    let mut compared = Vec::new();
    for (name, width, height, frames, orientation) in FILES {
        let identify =
            Command::new("identify").args(["-format", "%w %h %n\n"]).arg(path(name)).output().expect("started");
        let said = String::from_utf8_lossy(&identify.stdout);
        let pictures = said
            .lines()
            .map(|line| line.split(' ').map(|number| number.parse::<u32>().expect("a number")).collect::<Vec<_>>())
            .collect::<Vec<_>>();
        if pictures.is_empty() {
            eprintln!("NOT COMPARED: {name}: {}", String::from_utf8_lossy(&identify.stderr).trim());
            continue;
        }
        // The largest of an icon, the canvas of an animation.
        let largest = pictures.iter().map(|picture| (picture[0], picture[1])).max().expect("one at least");
        // It applies the rotation of HEIF pictures.
        let is_displayed = matches!(format(name), Format::Avif | Format::Heic) && orientation >= Some(5);
        assert_eq!(largest, if is_displayed { (height, width) } else { (width, height) }, "{name}");
        // It knows no animated PNG, no sequence, and counts the layers of a PSD and the sizes of an icon.
        if matches!(format(name), Format::Gif | Format::Webp | Format::Tiff) {
            assert_eq!(pictures[0][2], frames.unwrap_or(1), "{name}");
        }
        compared.push(format(name));
    }
    for format in
        [Format::Jpeg, Format::Png, Format::Gif, Format::Bmp, Format::Tiff, Format::Pnm, Format::Ico, Format::Psd]
    {
        assert!(compared.contains(&format), "identify says nothing about {format}");
    }
}
