//! JPEG files of unusual kinds look as other programs show them, and what is missing from one is noticed.

#![allow(clippy::print_stderr, reason = "says what could not be compared")]

use std::process::Command;

use fetchimg::internals::image::transform::{
    Encoding, Image, Limits, Resize, ResizeMode, TransformError, TransformOptions, transform,
};
use fetchimg::internals::record::Format;
use image::RgbImage;
use serde_json::{Value, json};

use crate::common::jpegs::{self, KINDS, SIZE, closed_at, inserted, reframed, scan_start, sound, unended};
use crate::common::{Server, fetchimg, images};

/// The pixels of a file as it is stored anew in a lossless format.
fn pixels(file: &[u8], resize: Option<u32>) -> Result<RgbImage, TransformError> {
    let side = |side| std::num::NonZeroU32::new(side).expect("a side");
    let resize = resize.map(|size| Resize {
        width: side(size),
        height: side(size),
        mode: ResizeMode::KeepRatio,
        enlarge: false,
    });
    let options = TransformOptions { target: Some(Encoding::Png), resize, ..TransformOptions::default() };
    match transform(file, Format::Jpeg, None, &options)?.image {
        Image::New { bytes, .. } => Ok(image::load_from_memory(&bytes).expect("a PNG").into_rgb8()),
        Image::Unchanged => panic!("it is in another format now"),
    }
}

fn verified(file: &[u8]) -> Result<(), TransformError> {
    let options = TransformOptions { verify: true, ..TransformOptions::default() };
    transform(file, Format::Jpeg, None, &options).map(drop)
}

/// The largest difference of a value from that of the scene.
fn difference(picture: &RgbImage, is_grey: bool) -> u8 {
    let of = |(x, y, pixel): (u32, u32, &image::Rgb<u8>)| {
        let expected = jpegs::pixel(x as usize, y as usize);
        let light = |[red, green, blue]: [u8; 3]| {
            u8::try_from((299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue)) / 1000)
                .expect("a byte")
        };
        if is_grey {
            light(pixel.0).abs_diff(light(expected))
        } else {
            pixel.0.iter().zip(expected).map(|(value, expected)| value.abs_diff(expected)).max().unwrap_or_default()
        }
    };
    picture.enumerate_pixels().map(of).max().unwrap_or_default()
}

#[test]
fn every_kind_shows_the_scene() {
    for kind in KINDS {
        let file = sound(kind);
        assert_eq!(verified(&file), Ok(()), "{kind}");
        let picture = pixels(&file, None).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!((picture.width() as usize, picture.height() as usize), SIZE, "{kind}");
        let difference = difference(&picture, kind == "grey");
        assert!(difference <= 12, "{kind} differs by {difference}");
    }
}

#[test]
fn what_is_scaled_in_the_decoder_looks_as_what_is_not() {
    for kind in KINDS {
        let file = sound(kind);
        let whole = image::DynamicImage::ImageRgb8(pixels(&file, None).expect("sound"));
        // Decoded at a quarter, at a half, and whole.
        for side in [12, 20, 25, 40, 60] {
            let small = pixels(&file, Some(side)).expect("sound");
            assert_eq!(small.width(), side, "{kind}");
            let (width, height) = small.dimensions();
            let other = whole.resize_exact(width, height, image::imageops::FilterType::Lanczos3).into_rgb8();
            let sum: u32 = small.iter().zip(other.iter()).map(|(one, other)| u32::from(one.abs_diff(*other))).sum();
            let mean = f64::from(sum) / f64::from(3 * width * height);
            assert!(mean < 2.5, "{kind} at {side} differs by {mean} on average");
        }
    }
}

#[test]
fn a_picture_that_is_cut_and_closed_is_corrupt_wherever_it_is_cut() {
    for kind in KINDS {
        let file = sound(kind);
        let data = scan_start(&file) + 14;
        // The last byte but one holds more than padding.
        let last = file.len() - 2 - 3;
        for end in (data..last).step_by((last - data) / 40 + 1).chain([last]) {
            let closed = closed_at(&file, end);
            for result in [verified(&closed), pixels(&closed, None).map(drop), pixels(&closed, Some(20)).map(drop)] {
                assert!(matches!(result, Err(TransformError::Corrupt(_))), "{kind}, cut at {end}: {result:?}");
            }
        }
    }
}

#[test]
fn a_hole_in_the_data_is_found_where_it_is_felt() {
    // Zeros are codes, too: they decode to something, so the picture is too long or too short for its data in the end.
    for kind in ["plain", "subsampled", "restarts", "progressive", "one-scan-each"] {
        let file = sound(kind);
        let data = scan_start(&file) + 14;
        let mut holes = file.clone();
        let end = holes.len() - 2;
        holes[usize::midpoint(data, end)..end].fill(0);
        let result = verified(&holes);
        assert!(matches!(result, Err(TransformError::Corrupt(_))), "{kind}: {result:?}");
    }
}

#[test]
fn a_picture_without_its_end_marker_is_whole_whatever_follows() {
    let second = sound("plain");
    let tails: [&[u8]; 8] = [
        b"",
        &[0; 1000],
        b"\xFF",
        b"\0\0\0\0",
        b"\0\0SEFHk\0\0\0\x01\xFF\x12SEFT",
        b"\xFF\xE1\0\0",
        b"\xFF\xDA\0\x08\x01",
        &second,
    ];
    for kind in KINDS {
        let file = sound(kind);
        let expected = pixels(&file, None).expect("sound");
        for tail in tails {
            let open = [unended(&file), tail].concat();
            assert_eq!(verified(&open), Ok(()), "{kind}, {}", tail.escape_ascii());
            assert_eq!(pixels(&open, None).as_ref(), Ok(&expected), "{kind}, {}", tail.escape_ascii());
        }
        let half = &file[..usize::midpoint(scan_start(&file), file.len())];
        for tail in [&b""[..], &[0; 8000]] {
            let half = [half, tail].concat();
            assert!(matches!(verified(&half), Err(TransformError::Corrupt(_))), "{kind}");
        }
    }
}

#[test]
fn scans_that_are_missing_are_missed() {
    // Cut before each marker behind the first scan, and closed: nothing in the data says that there was more.
    for kind in ["one-scan-each", "one-scan-each-backwards", "progressive", "progressive-one-scan-each"] {
        let file = sound(kind);
        let begins = |at: &usize| matches!(file[*at..], [0xFF, 0xDA | 0xC4, ..]);
        let scans = (scan_start(&file) + 2..file.len() - 2).filter(begins).collect::<Vec<_>>();
        assert!(scans.len() >= 2, "{kind} has {} places to cut", scans.len());
        for end in scans {
            let cut = [&file[..end], b"\xFF\xD9"].concat();
            let result = verified(&cut);
            let Err(TransformError::Corrupt(what)) = &result else { panic!("{kind}, cut at {end}: {result:?}") };
            assert!(what.contains("missing"), "{kind}: {what}");
        }
    }
}

#[test]
fn what_cannot_be_decoded_is_not_corrupt() {
    for (code, bits, what) in [
        (0xC3, 8, "lossless"),
        (0xC5, 8, "hierarchical"),
        (0xCF, 8, "lossless"),
        (0xC1, 12, "12 bits"),
        (0xC0, 16, "16 bits"),
    ] {
        let file = reframed(code, bits);
        for result in [verified(&file), pixels(&file, None).map(drop)] {
            let Err(TransformError::Unsupported(said)) = &result else { panic!("{code:X}, {bits}: {result:?}") };
            assert!(said.contains(what), "{said}");
        }
    }
}

#[test]
fn arithmetic_coding_is_decoded() {
    // The same coefficients (`jpegtran -arithmetic`), so the same pixels.
    for (arithmetic, plain) in [("arithmetic.jpg", "photo.jpg"), ("arithmetic-progressive.jpg", "progressive.jpg")] {
        let file = images::sample(arithmetic);
        assert_eq!(verified(&file), Ok(()), "{arithmetic}");
        assert_eq!(pixels(&file, None), pixels(&images::sample(plain), None), "{arithmetic}");
    }
}

#[test]
fn more_scans_than_anybody_writes_are_too_many() {
    let many = jpegs::of_many_scans(600);
    for result in [verified(&many), pixels(&many, None).map(drop)] {
        assert!(matches!(&result, Err(TransformError::TooLarge(what)) if what.contains("scans")), "{result:?}");
    }
}

#[test]
fn a_profile_in_several_segments_is_kept() {
    let mut profile = vec![7; 100_000];
    profile[16..20].copy_from_slice(b"RGB ");
    let parts = profile.chunks(40_000).enumerate().map(|(index, part)| {
        let length = u16::try_from(part.len() + 16).expect("a segment").to_be_bytes();
        let number = u8::try_from(index + 1).expect("a few");
        [b"\xFF\xE2".as_slice(), &length, b"ICC_PROFILE\0", &[number, 3], part].concat()
    });
    let mut parts = parts.collect::<Vec<_>>();
    parts.reverse();
    let options = TransformOptions { target: Some(Encoding::Png), ..TransformOptions::default() };
    let profile_of = |file: &[u8], options: &TransformOptions| match transform(file, Format::Jpeg, None, options) {
        Ok(done) => match done.image {
            Image::New { bytes, .. } => {
                use image::ImageDecoder as _;
                let reader =
                    image::ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format().expect("memory");
                reader.into_decoder().expect("an image").icc_profile().expect("sound")
            }
            Image::Unchanged => panic!("it is made anew"),
        },
        Err(error) => panic!("{error}"),
    };
    let whole = inserted(&sound("plain"), &parts.concat());
    assert_eq!(profile_of(&whole, &options).as_ref(), Some(&profile));
    let side = std::num::NonZeroU32::new(20).expect("a side");
    let resize = Resize { width: side, height: side, mode: ResizeMode::KeepRatio, enlarge: false };
    let smaller = TransformOptions { resize: Some(resize), ..TransformOptions::default() };
    assert_eq!(profile_of(&whole, &smaller).as_ref(), Some(&profile), "in a JPEG again");
    // One that is not whole is left out.
    assert_eq!(profile_of(&inserted(&sound("plain"), &parts[..2].concat()), &options), None);
}

#[test]
fn a_run_saves_what_is_whole_and_refuses_the_rest() {
    let server = Server::start();
    let url = |target: &str, kind: &str| server.url(&format!("{target}/odd-jpeg/{kind}/{kind}.jpg"));
    let kinds = ["subsampled", "restarts", "one-scan-each", "progressive"];
    let unended = kinds.map(|kind| url("/unended", kind));
    for arguments in [&[][..], &["--verify", "structure"], &["--verify", "decode"], &["--phash"]] {
        let run = fetchimg().lines(&unended).args(arguments).run();
        assert_eq!(run.status, Some(0), "{run}");
        for kind in kinds {
            let file = jpegs::unended(&sound(kind)).to_vec();
            assert_eq!(run.file(&format!("{kind}.jpg")), file, "as it came: {run}");
        }
    }
    let run = fetchimg().lines(&unended).args(["--resize", "20", "--encode", "png"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.record(0)["original"]["width"], SIZE.0, "{run}");

    // Cut anywhere, a file without an end marker is corrupt, also if only its structure is asked for.
    let halves = kinds.map(|kind| url("/half", kind));
    // Closed by an end marker, it is where pixels are looked at.
    let closed = kinds.map(|kind| url("/closed-half", kind));
    let pixels = [&["--verify", "decode"][..], &["--resize", "20"], &["--encode", "png"]];
    for (urls, arguments) in [(&halves, &[][..])].into_iter().chain(pixels.map(|arguments| (&closed, arguments))) {
        let run = fetchimg().lines(urls).args(arguments).run();
        assert_eq!(run.status, Some(1), "{run}");
        for index in 0..4 {
            assert_eq!(run.record(index)["error"], "corrupt_image", "{run}");
        }
        assert!(run.files().is_empty() && run.leftovers().is_empty(), "{run}");
    }
}

#[test]
fn a_run_says_what_it_cannot_decode_and_nothing_else() {
    let server = Server::start();
    let urls = ["lossless", "twelve-bits"].map(|kind| server.url(&format!("/odd-jpeg/{kind}/{kind}.jpg")));
    let run = fetchimg().lines(&urls).args(["--resize", "20"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    for (index, what) in [(0, "lossless JPEG"), (1, "12 bits")] {
        let record = run.record(index);
        assert_eq!(record["error"], "not_accepted", "{run}");
        assert!(record["message"].as_str().is_some_and(|message| message.contains(what)), "{run}");
    }
    // The library's errors are panics, which stay unseen.
    assert!(!run.stderr.contains("panic"), "{run}");
    let run = fetchimg().lines(&urls).args(["--verify", "decode"]).run();
    assert_eq!(run.status, Some(0), "{run}");
}

#[test]
fn a_bomb_costs_an_error() {
    let server = Server::start();
    for kind in ["bomb-progressive", "bomb-of-scans"] {
        for arguments in [["--verify", "decode"], ["--resize", "256"]] {
            let running = fetchimg().lines([server.url(&format!("/odd-jpeg/{kind}/a.jpg"))]).args(arguments).start();
            let (run, memory) = running.wait_and_weigh();
            assert_eq!(run.record(0)["error"], "too_large", "{run}");
            // Another limit on the bytes of the file would not help.
            assert!(
                run.stderr.contains("--max-pixels refuses such images") && !run.stderr.contains("--max-bytes"),
                "{run}"
            );
            assert!(memory < 64_000_000, "{memory} bytes of memory: {run}");
        }
    }
}

#[test]
fn a_large_picture_is_made_small_in_little_memory() {
    let server = Server::start();
    let running = fetchimg().lines([server.url("/odd-jpeg/large/a.jpg")]).args(["--resize", "256"]).start();
    let (run, memory) = running.wait_and_weigh();
    let record = run.record(0);
    assert_eq!((&record["width"], &record["height"]), (&json!(256), &json!(171)), "{run}");
    assert_eq!(record["original"]["width"], 9000, "{run}");
    // At full size, the pixels alone take 162 MB.
    assert!(memory < 64_000_000, "{memory} bytes of memory: {run}");
}

#[test]
fn the_hash_does_not_depend_on_what_else_is_done() {
    let server = Server::start();
    let url = server.url("/photo/640/480/a.jpg");
    let hash = |arguments: &[&str]| {
        let run = fetchimg().lines([&url]).arg("--phash").args(arguments).run();
        let hash = run.record(0)["phash"].clone();
        assert_ne!(hash, Value::Null, "{run}");
        hash
    };
    assert_eq!(hash(&[]), hash(&["--resize", "40"]));
}

#[test]
fn convert_shows_the_same() {
    if let Err(error) = Command::new("convert").arg("-version").output() {
        eprintln!("NOT COMPARED: convert (ImageMagick) cannot be started: {error}");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for kind in KINDS {
        let (from, to) = (folder.path().join("a.jpg"), folder.path().join("a.png"));
        std::fs::write(&from, sound(kind)).expect("written");
        // Without profiles, inks are ideal for it, too.
        let done = Command::new("convert").arg(&from).args(["-colorspace", "sRGB"]).arg(&to).output().expect("started");
        assert!(done.status.success(), "{kind}: {}", String::from_utf8_lossy(&done.stderr));
        let theirs = image::open(&to).expect("a PNG").into_rgb8();
        let ours = pixels(&sound(kind), None).expect("sound");
        let most = ours.iter().zip(theirs.iter()).map(|(one, other)| one.abs_diff(*other)).max();
        assert!(most <= Some(3), "{kind} differs by {most:?}");
    }
}

/// What the fuzz target does, with the mutations of this test; for longer with `FUZZ_SECONDS=300 cargo test --test it mutated`.
#[test]
fn mutated_files_are_decoded_or_refused() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(1);
    let seeds = KINDS.iter().map(|kind| sound(kind));
    let seeds = seeds.chain(["arithmetic.jpg", "arithmetic-progressive.jpg"].map(images::sample)).collect::<Vec<_>>();
    let begin = std::time::Instant::now();
    let mut random = fastrand::Rng::new();
    let (mut rounds, mut refused) = (0_u32, 0_u32);
    while begin.elapsed().as_secs() < seconds {
        let number = random.u64(..);
        let mut random = fastrand::Rng::with_seed(number);
        let file = mutated(&seeds, &mut random);
        let limits = Limits { max_pixels: 4_000_000, max_memory: 64 << 20, ..Limits::default() };
        let done = |options| transform(&file, Format::Jpeg, None, &TransformOptions { limits, ..options });
        let verified = done(TransformOptions { verify: true, ..TransformOptions::default() });
        let made = done(TransformOptions { target: Some(Encoding::Png), ..TransformOptions::default() });
        match (&verified, &made) {
            (_, Err(TransformError::TooLarge(_))) => {}
            (Err(why), Err(same)) => assert_eq!(why, same, "seed {number}"),
            _ => assert_eq!(verified.is_ok(), made.is_ok(), "seed {number}: {verified:?}"),
        }
        assert!(!matches!(verified, Err(TransformError::Internal(_))), "seed {number}: {verified:?}");
        (rounds, refused) = (rounds + 1, refused + u32::from(verified.is_err()));
    }
    eprintln!("{rounds} files, {refused} refused");
}

/// One of the files with some bytes changed, left out, repeated, or taken from another.
fn mutated(seeds: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut file = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..random.usize(1..6) {
        // Headers matter more than their length says.
        let end = if random.bool() { file.len() } else { file.len().min(700) };
        let from = random.usize(..end.max(1));
        let to = (from + random.usize(1..40)).min(file.len());
        match random.u8(..6) {
            0 => file[from] ^= 1 << random.u8(..8),
            1 => file[from] = [0, 1, 0x7F, 0x80, 0xFF, random.u8(..)][random.usize(..6)],
            2 => drop(file.drain(from..to)),
            3 => {
                let again = file[from..to].repeat(random.usize(1..4));
                file.splice(from..from, again);
            }
            4 => {
                let other = &seeds[random.usize(..seeds.len())];
                let at = random.usize(..other.len());
                file.splice(from..to, other[at..other.len().min(at + random.usize(1..300))].iter().copied());
            }
            _ => file.splice(from..from, [0xFF, random.u8(0xC0..)]).for_each(drop),
        }
        if file.is_empty() {
            file.push(0xFF);
        }
    }
    file
}
