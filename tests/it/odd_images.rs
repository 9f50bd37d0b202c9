//! Images of kinds that programs read wrongly: camera raw, sizes that are not where they are expected, files that lack
//! nothing but their end, and drawings behind a long prolog.

use fetchimg::internals::image::{InspectOptions, Recogniser, Recognition, recognise};
use fetchimg::internals::record::{Format, Measures};
use serde_json::{Value, json};

use crate::common::odd_images::{RAW, file};
use crate::common::{Run, Server, fetchimg};
use crate::inspected::inspected;

const EVERYTHING: InspectOptions = InspectOptions { structure: true, exif: true };

/// What became of the rows, in list order: the error, or format, width and height.
fn outcomes(run: &Run) -> Vec<String> {
    let mut records = run.records();
    records.sort_by_key(|record| record["index"].as_u64());
    let outcome = |record: &Value| match record["error"].as_str() {
        Some(error) => error.to_owned(),
        None => format!("{} {}x{}", record["format"].as_str().unwrap_or("?"), record["width"], record["height"]),
    };
    records.iter().map(outcome).collect()
}

fn urls(server: &Server, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| server.url(&format!("/odd/{name}"))).collect()
}

#[test]
fn raw_files_are_recognised_however_they_are_cut() {
    for (name, format, orientation) in RAW {
        let body = file(name);
        let Recognition::Image(first) = recognise(&body, true) else { panic!("{name} is an image") };
        let precise = Format::from_name(format).expect("a format");
        assert!(first == precise || (first == Format::Tiff && precise.begins_as_tiff()), "{name}");
        let measures = Measures { width: Some(200), height: Some(150), frames: None, orientation };
        for cuts in [&[usize::MAX][..], &[1], &[3, 1, 30]] {
            let found = inspected(first, &body, EVERYTHING, cuts).unwrap_or_else(|what| panic!("{name}: {what}"));
            assert_eq!(found.measures, measures, "{name}");
            assert_eq!(found.format.unwrap_or(first), precise, "{name}");
            let mut recogniser = Recogniser::default();
            for piece in body.chunks(cuts[0].min(body.len())) {
                recogniser.feed(piece);
            }
            assert_eq!(recogniser.end(), Recognition::Image(first), "{name}");
        }
        // What is cut lacks a directory or data. But some writers leave out the offset after the last directory, so a
        // cut within one of the four bytes goes unseen, once in each directory of a chain.
        let is_sound = |end: &usize| inspected(first, &body[..*end], EVERYTHING, &[512]).is_ok();
        let unseen = (0..body.len()).filter(is_sound).collect::<Vec<_>>();
        assert!(unseen.len() <= 12, "{name}, cut at {unseen:?} of {}", body.len());
        for end in 0..body.len() {
            let unchecked = inspected(first, &body[..end], InspectOptions::default(), &[512]);
            assert!(unchecked.is_ok(), "{name}, cut at {end}: its structure is not checked");
        }
    }
    let versions = inspected(Format::Tiff, &file("versions.tif"), EVERYTHING, &[512]).expect("sound");
    assert_eq!((versions.format, versions.measures.width), (None, Some(40)), "it is no raw file");
}

#[test]
fn raw_files_keep_their_names_and_are_not_decoded() {
    let server = Server::start();
    let names = RAW.map(|(name, ..)| name);
    let run = fetchimg().lines(urls(&server, &names)).run();
    assert_eq!(run.status, Some(0), "{run}");
    let formats = RAW.map(|(_, format, _)| format!("{format} 200x150"));
    assert_eq!(outcomes(&run), formats, "{run}");
    let mut stored = names.to_vec();
    stored.sort_unstable();
    assert_eq!(run.files(), stored, "{run}");
    assert!(run.records().iter().all(|record| record["extension_mismatch"].is_null()), "{run}");

    // Named by what it is where the URL does not say it, and never as a TIFF.
    let run = fetchimg().lines(urls(&server, &["photo.nef"])).args(["--name", "{index}"]).run();
    assert_eq!(run.files(), ["0.nef"], "{run}");

    let run = fetchimg().lines(urls(&server, &names)).args(["--encode", "png"]).run();
    assert_eq!(outcomes(&run), names.map(|_| "not_accepted"), "{run}");
    for (index, (_, format, _)) in (0..).zip(RAW) {
        let message = format!("the image cannot be worked on: camera raw ({format}) cannot be decoded here");
        assert_eq!(run.record(index)["message"], message, "{run}");
    }
}

#[test]
fn accept_tells_raw_files_from_tiff() {
    let server = Server::start();
    let urls = urls(&server, &["photo.dng", "versions.tif", "photo.nef", "photo.cr3", "photo.raw"]);
    let (dng, tiff, nef) = ("dng 200x150", "tiff 40x30", "nef 200x150");
    let (cr3, raw, refused) = ("cr3 200x150", "raw 200x150", "not_accepted");
    for (accepted, expected) in [
        ("image", [dng, tiff, nef, cr3, raw]),
        ("raw", [dng, refused, nef, cr3, raw]),
        ("tiff", [refused, tiff, refused, refused, refused]),
        ("dng,cr3", [dng, refused, refused, cr3, refused]),
        ("jpeg", [refused; 5]),
    ] {
        let run = fetchimg().lines(&urls).args(["--accept", accepted]).run();
        assert_eq!(outcomes(&run), expected, "--accept {accepted}: {run}");
    }
}

#[test]
fn what_lacks_nothing_but_its_end_is_saved_and_half_a_picture_is_not() {
    let server = Server::start();
    let names = [
        "no-iend.png",
        "trailer-for-iend.png",
        "half-no-iend.png",
        "no-block-end.gif",
        "junk-for-trailer.gif",
        "half.gif",
        "riff-too-long.webp",
    ];
    let png = "png 30x20";
    let gif = "gif 31x17";
    let expected = [png, png, "corrupt_image", gif, gif, "corrupt_image", "corrupt_image"];
    for verify in ["structure", "decode"] {
        let run = fetchimg().lines(urls(&server, &names)).args(["--verify", verify]).run();
        assert_eq!(outcomes(&run), expected, "{run}");
        assert_eq!(run.record(2)["message"], "the image is corrupt: it ends before its IEND chunk", "{run}");
        assert_eq!(run.file("no-iend.png"), file("no-iend.png"), "{run}");
        assert!(run.leftovers().is_empty(), "{run}");
    }
    // Made anew, too.
    let run = fetchimg().lines(urls(&server, &names)).args(["--encode", "webp"]).run();
    let expected = expected.map(|outcome| outcome.replace("png ", "webp ").replace("gif ", "webp "));
    assert_eq!(outcomes(&run), expected, "{run}");
}

#[test]
fn sizes_are_those_that_browsers_show() {
    let server = Server::start();
    let names = [
        "larger-than-screen.gif",
        "os2-16.bmp",
        "os2-64.bmp",
        "flag-without-exif.webp",
        "long-prolog.svg",
        "utf-16le.svg",
        "utf-16be.svg",
    ];
    let (bmp, svg) = ("bmp 33x15", "svg 8x4");
    let expected = ["gif 31x17", bmp, bmp, "webp 45x33", svg, svg, svg];
    for arguments in [&[][..], &["--chunk-size", "1"], &["--verify", "decode"]] {
        let run = fetchimg().lines(urls(&server, &names)).args(arguments).run();
        assert_eq!(outcomes(&run), expected, "{run}");
        assert_eq!(run.status, Some(0), "{run}");
    }
    let run = fetchimg().lines(urls(&server, &names[..4])).args(["--encode", "png"]).run();
    assert_eq!(outcomes(&run), ["png 31x17", "png 33x15", "png 33x15", "png 45x33"], "{run}");
}

#[test]
fn a_record_says_whether_pixels_were_looked_at() {
    let server = Server::start();
    let samples = ["still.avif", "still.heic", "still.jxl", "still.jp2", "still.psd", "drawing.svg", "plain.png"];
    let mut urls = samples.map(|name| server.url(&format!("/sample/{name}"))).to_vec();
    urls.push(server.url("/odd/photo.dng"));
    let by_decoder = |run: &Run, index: usize| run.record(index as u64)["verified"].clone();
    let run = fetchimg().lines(&urls).args(["--verify", "decode"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    // What a decoder is there for is decoded; nothing is said to be that was not.
    for index in 0..urls.len() {
        assert!([json!("structure"), json!("decode")].contains(&by_decoder(&run, index)), "{run}");
    }
    for index in [1, 3, 4, 7] {
        assert_eq!(by_decoder(&run, index), "structure", "{run}");
    }
    assert_eq!(by_decoder(&run, 6), "decode", "{run}");

    // The journal keeps it when a later run adds to it.
    let more = server.url("/odd/no-iend.png");
    urls.push(more);
    let again = fetchimg().lines(&urls).args(["--verify", "decode"]).in_dir(&run.dir).run();
    let saved = |index: u64| {
        let mut records = again.records().into_iter().filter(|record| record["index"] == index);
        records.find(|record| record["status"] == "saved").map(|record| record["verified"].clone())
    };
    assert_eq!(
        (saved(3), saved(6), saved(8)),
        (Some(json!("structure")), Some(json!("decode")), Some(json!("decode")))
    );

    // It was not asked for.
    let run = fetchimg().lines(&urls).run();
    assert!(run.records().iter().all(|record| record["verified"].is_null()), "{run}");
}

#[test]
fn an_image_that_is_continued_says_it_too() {
    let server = Server::start();
    let url = server.url("/etag-cut/1/700000/a.png");
    let run = fetchimg().lines([&url]).args(["--verify", "decode"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.record(0)["resumed_from"].as_u64() > Some(0), "{run}");
    assert_eq!(run.record(0)["verified"], "decode", "{run}");
}
