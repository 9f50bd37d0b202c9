//! `--resize`, `--encode`, `--verify decode`, `--phash` and `--exif`: the transformation of pixels, and what is
//! recorded about them.

use fetchimg::internals::record::hex;
use image::{GenericImageView as _, ImageFormat};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::common::{Run, Server, fetchimg};

/// The format and the size of a stored file, as the decoder has it.
#[track_caller]
fn stored(run: &Run, name: &str) -> (ImageFormat, (u32, u32)) {
    let bytes = run.file(name);
    let format = image::guess_format(&bytes).expect("an image");
    (format, image::load_from_memory(&bytes).expect("a sound image").dimensions())
}

#[test]
fn images_are_fitted_into_a_box_and_stay_in_their_format() {
    let server = Server::start();
    let urls = ["/sized/800/400/a.png", "/sized/100/200/b.png", "/sized/30/20/c.png"].map(|target| server.url(target));
    let run = fetchimg().lines(&urls).args(["--resize", "80", "--hash", "sha256"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let sizes = ["a.png", "b.png", "c.png"].map(|name| stored(&run, name));
    assert_eq!(sizes, [(80, 40), (40, 80), (30, 20)].map(|size| (ImageFormat::Png, size)), "{run}");

    let record = run.record(0);
    assert_eq!((&record["width"], &record["height"]), (&json!(80), &json!(40)), "{run}");
    assert_eq!(record["bytes"], run.file("a.png").len(), "{run}");
    let digest = |bytes: &[u8]| hex(&Sha256::digest(bytes));
    assert_eq!(record["sha256"], digest(&run.file("a.png")), "{run}");
    let original = server.body("/sized/800/400/a.png");
    let expected =
        json!({"bytes": original.len(), "format": "png", "width": 800, "height": 400, "sha256": digest(&original)});
    assert_eq!(record["original"], expected, "{run}");

    // An image that fits already is stored unchanged, byte for byte.
    assert_eq!(run.file("c.png"), server.body("/sized/30/20/c.png"), "{run}");
    assert_eq!(run.record(2)["original"], Value::Null, "{run}");
    assert!(run.leftovers().is_empty(), "{run}");
}

#[test]
fn modes_say_what_becomes_of_the_proportions() {
    let server = Server::start();
    let url = server.url("/sized/400/200/a.png");
    for (arguments, size) in [
        (&["--resize", "100", "--resize-mode", "keep-ratio"][..], (100, 50)),
        (&["--resize", "100", "--resize-mode", "shortest"], (200, 100)),
        (&["--resize", "300", "--resize-mode", "shortest"], (400, 200)),
        (&["--resize", "300", "--resize-mode", "shortest", "--enlarge"], (600, 300)),
        (&["--resize", "100", "--resize-mode", "center-crop"], (100, 100)),
        // Smaller ones are padded, or enlarged.
        (&["--resize", "300", "--resize-mode", "center-crop"], (300, 300)),
        (&["--resize", "500x450", "--resize-mode", "center-crop"], (500, 450)),
        (&["--resize", "500x450", "--resize-mode", "center-crop", "--enlarge"], (500, 450)),
        (&["--resize", "500x450", "--resize-mode", "border"], (500, 450)),
        (&["--resize", "500x450", "--resize-mode", "border", "--enlarge"], (500, 450)),
        (&["--resize", "100x60", "--resize-mode", "border"], (100, 60)),
        (&["--resize", "1000"], (400, 200)),
        (&["--resize", "1000", "--enlarge"], (1000, 500)),
    ] {
        let run = fetchimg().lines([&url]).args(arguments).run();
        assert_eq!(stored(&run, "a.png"), (ImageFormat::Png, size), "{run}");
    }
}

#[test]
fn waiting_for_a_processor_is_no_download() {
    let server = Server::start();
    // Many more images at once than there are processors.
    let urls = (0..40).map(|number| server.url(&format!("/photo/300/250/{number}.jpg")));
    let run = fetchimg().lines(urls).args(["--resize", "100", "--json"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let sum = |name: &str| run.records().iter().filter_map(|record| record[name].as_f64()).sum::<f64>() / 1000.0;
    let (total, waited) = (sum("total_ms"), sum("processor_wait_ms"));
    assert!(waited > 0.0 && waited < total, "{waited} of {total} s\n{run}");
    let report = run.report();
    let seconds = |value: &Value| value.as_f64().expect("a number");
    let downloads = seconds(&report["modes"][0]["sum_of_downloads_seconds"]);
    assert!((downloads - (total - waited)).abs() < 0.01, "{downloads} is not {total} - {waited}");
    let wall = seconds(&report["modes"][0]["wall_seconds"]);
    let estimate = seconds(&report["comparison"]["sequential_seconds"]);
    assert!((estimate - downloads.max(wall)).abs() < 0.01, "{estimate}: {downloads}, {wall}");
}

#[test]
fn images_that_are_smaller_than_the_box_are_counted() {
    let server = Server::start();
    let urls = ["/sized/400/200/wide.png", "/sized/90/50/small.png", "/sized/100/100/same.png"];
    let urls = urls.map(|target| server.url(target));
    // What is smaller on one side alone is enlarged, or padded, where both sides have to be filled.
    for (mode, box_side, smaller) in [
        ("keep-ratio", "100", [false, true, false]),
        ("border", "300", [false, true, true]),
        ("center-crop", "300", [true, true, true]),
        ("shortest", "150", [false, true, true]),
    ] {
        for enlarge in [&[][..], &["--enlarge"]] {
            let flags = ["--resize", box_side, "--resize-mode", mode, "--json"];
            let run = fetchimg().lines(&urls).args(flags).args(enlarge).run();
            let counted = smaller.iter().filter(|smaller| **smaller).count();
            assert_eq!(run.report()["modes"][0]["smaller_than_box"], counted, "{run}");
            for (index, smaller) in (0..).zip(smaller) {
                let told = &run.record(index)["smaller_than_box"];
                assert_eq!(*told, if smaller { json!(true) } else { Value::Null }, "{mode} {index}: {run}");
            }
        }
    }
    let run = fetchimg().lines(&urls).args(["--resize", "100"]).run();
    assert!(run.stdout.contains("1 image had fewer pixels than the box of --resize"), "{run}");
    let run = fetchimg().lines(&urls).run();
    assert!(!run.stdout.contains("--resize"), "{run}");
    let padded = fetchimg().lines(&urls[1..2]).args(["--resize", "100", "--resize-mode", "center-crop"]).run();
    let pixels = image::load_from_memory(&padded.file("small.png")).expect("a picture").into_luma8();
    // The picture of 90 x 50 is in the middle, and white is around it.
    let shown = [(50, 50), (5, 25), (4, 50), (50, 24), (50, 75)].map(|(x, y)| pixels.get_pixel(x, y)[0]);
    assert_eq!((pixels.dimensions(), shown), ((100, 100), [99, 99, 255, 255, 255]), "{padded}");
}

#[test]
fn a_host_does_not_wait_for_work_on_pixels() {
    let server = Server::start();
    // Encoding such an image takes far longer than fetching it.
    let urls = ["/sized/1600/1200/a.png", "/sized/1600/1200/b.png"].map(|target| server.url(target));
    let run = fetchimg().lines(&urls).args(["--per-host", "1", "--encode", "webp"]).run();
    assert_eq!((run.status, run.files().len()), (Some(0), 2), "{run}");
    let time = |index: u64, name: &str| run.record(index)[name].as_f64().expect("a time");
    assert!(time(0, "total_ms") > 40.0, "there was nothing to wait for: {run}");
    assert!(time(1, "start_ms") < time(0, "start_ms") + time(0, "total_ms"), "{run}");
}

#[test]
fn images_are_encoded_anew_and_named_by_what_they_are() {
    let server = Server::start();
    let urls = ["/sized/60/40/a.png", "/jpeg/b.jpg", "/gif/c.gif"].map(|target| server.url(target));
    for (format, decoded, extension) in
        [("jpeg", ImageFormat::Jpeg, "jpg"), ("webp", ImageFormat::WebP, "webp"), ("png", ImageFormat::Png, "png")]
    {
        let run = fetchimg().lines(&urls).args(["--encode", format, "--quality", "80"]).run();
        assert_eq!(run.status, Some(0), "{run}");
        let names = ["a", "b", "c"].map(|stem| format!("{stem}.{extension}"));
        assert_eq!(run.files(), names, "{run}");
        for (name, size) in names.iter().zip([(60, 40), (16, 8), (1, 1)]) {
            let bytes = run.file(name);
            assert_eq!(image::guess_format(&bytes).ok(), Some(decoded), "{run}");
            let record = run.records().into_iter().find(|record| record["path"] == **name).expect("a record");
            assert_eq!((&record["width"], &record["height"]), (&json!(size.0), &json!(size.1)), "{run}");
            assert_eq!(record["format"], format, "{run}");
        }
        // A second run knows them by their size.
        let again = fetchimg().lines(&urls).args(["--encode", format]).in_dir(&run.dir).run();
        assert!(again.records()[3..].iter().all(|record| record["reason"] == "already_saved"), "{again}");
    }
}

#[test]
fn samples_of_every_format_that_can_be_decoded_are() {
    let server = Server::start();
    let names = [
        "photo.jpg",
        "progressive.jpg",
        "grey.jpg",
        "plain.png",
        "indexed.png",
        "animation.png",
        "animation.gif",
        "lossy.webp",
        "lossless.webp",
        "animation.webp",
        "still.bmp",
        "tiles.tiff",
        "icons.ico",
        "still.qoi",
        "still.pgm",
        "still.ppm",
        "still.tga",
        "still.hdr",
        "still.exr",
    ];
    let urls = names.map(|name| server.url(&format!("/sample/{name}")));
    let run =
        fetchimg().lines(&urls).args(["--verify", "decode", "--resize", "12", "--name", "{index:02}.{ext}"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    for (index, name) in (0..).zip(names) {
        let record = run.record(index);
        let sides = [&record["width"], &record["height"]].map(|side| side.as_u64().unwrap_or(0));
        assert_eq!(sides.into_iter().max(), Some(12), "{name}: {run}");
        let path = record["path"].as_str().expect("a path");
        assert_eq!(u64::from(stored(&run, path).1.0), sides[0], "{name}: {run}");
    }
}

#[test]
fn what_cannot_be_decoded_cannot_be_resized() {
    let server = Server::start();
    let urls = ["/avif/a.avif", "/sized/30/20/b.png"].map(|target| server.url(target));
    let run = fetchimg().lines(&urls).args(["--resize", "10"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.record(0)["error"], "not_accepted", "{run}");
    assert_eq!(run.files(), ["b.png"], "{run}");
    // No decoder supports it, so only its structure is checked.
    for arguments in [&["--verify", "decode"][..], &["--phash"]] {
        let run = fetchimg().lines(&urls).args(arguments).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.record(0)["phash"], Value::Null, "{run}");
    }
}

#[test]
fn decoding_finds_what_the_structure_does_not_tell() {
    let server = Server::start();
    // A valid chunk whose pixels cannot be decompressed.
    let url = server.url("/spoilt/a.png");
    let run = fetchimg().lines([&url]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let run = fetchimg().lines([&url, &server.url("/sized/30/20/b.png")]).args(["--verify", "decode"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.record(0)["error"], "corrupt_image", "{run}");
    assert_eq!(run.files(), ["b.png"], "{run}");
    assert_eq!(run.file("b.png"), server.body("/sized/30/20/b.png"), "{run}");
}

#[test]
fn a_bomb_costs_an_error() {
    let server = Server::start();
    let url = server.url("/png-bomb/a.png");
    assert!(server.body("/png-bomb/a.png").len() < 4_000_000);
    for arguments in [["--verify", "decode"], ["--resize", "256"], ["--encode", "jpeg"]] {
        let running = fetchimg().lines([&url]).args(arguments).start();
        let (run, memory) = running.wait_and_weigh();
        assert_eq!(run.record(0)["error"], "too_large", "{run}");
        assert!(memory < 64_000_000, "{memory} bytes of memory: {run}");
    }
}

/// A run on one image that may be expensive, and its peak memory.
fn weighed(server: &Server, target: &str, arguments: &[&str]) -> (Run, Value, u64) {
    let (run, memory) = fetchimg().lines([server.url(target)]).args(arguments).start().wait_and_weigh();
    let record = run.record(0);
    (run, record, memory)
}

#[test]
fn a_bomb_whose_pixels_are_all_there_costs_no_more() {
    let server = Server::start();
    let target = "/png-bomb-of-pixels/a.png";
    let size = server.body(target).len();
    assert!((2_000_000..4_000_000).contains(&size), "{size} bytes");
    // Its structure is valid; only decoding shows the fault.
    let (run, record, memory) = weighed(&server, target, &["--verify", "structure"]);
    assert_eq!((run.status, &record["width"], &record["height"]), (Some(0), &json!(50_000), &json!(50_000)), "{run}");
    assert_eq!(run.file("a.png"), server.body(target), "{run}");
    assert!(memory < 64_000_000, "{memory} bytes of memory: {run}");
    for arguments in [["--verify", "decode"], ["--resize", "256"]] {
        let (run, record, memory) = weighed(&server, target, &arguments);
        assert_eq!((run.status, &record["error"]), (Some(1), &json!("too_large")), "{run}");
        assert!(record["message"].to_string().contains("50000 x 50000 pixels"), "{run}");
        assert!(run.files().is_empty() && run.leftovers().is_empty(), "{run}");
        assert!(memory < 64_000_000, "{memory} bytes of memory: {run}");
    }
}

#[test]
fn a_profile_is_not_unpacked_without_end() {
    let server = Server::start();
    let target = "/png-bomb-of-profile/a.png";
    for (arguments, name) in [(["--verify", "decode"], "a.png"), (["--encode", "jpeg"], "a.jpg")] {
        let (run, _, memory) = weighed(&server, target, &arguments);
        assert_eq!((run.status, run.files()), (Some(0), vec![name.to_owned()]), "{run}");
        assert!(memory < 128_000_000, "{memory} bytes of memory: {run}");
    }
}

#[test]
fn an_animation_without_an_end_in_sight_is_not_decoded_to_it() {
    let server = Server::start();
    let target = "/gif-of-many-frames/a.gif";
    let (run, record, memory) = weighed(&server, target, &["--verify", "structure"]);
    assert_eq!((run.status, &record["frames"]), (Some(0), &json!(100_000)), "{run}");
    assert!(memory < 64_000_000, "{memory} bytes of memory: {run}");

    let (run, record, memory) = weighed(&server, target, &["--verify", "decode"]);
    assert_eq!((run.status, &record["error"]), (Some(1), &json!("too_large")), "{run}");
    assert!(record["message"].to_string().contains("100000 frames, more than 10000"), "{run}");
    assert!(memory < 64_000_000, "{memory} bytes of memory: {run}");

    // One frame is enough for resizing.
    let (run, record, memory) = weighed(&server, target, &["--resize", "256"]);
    assert_eq!(stored(&run, "a.png"), (ImageFormat::Png, (256, 192)), "{run}");
    assert_eq!((&record["frames"], &record["original"]["frames"]), (&Value::Null, &json!(100_000)), "{run}");
    assert!(memory < 64_000_000, "{memory} bytes of memory: {run}");
}

#[test]
fn an_image_that_is_larger_inside_than_it_says_is_decoded_all_the_same() {
    let server = Server::start();
    let (run, record, _) = weighed(&server, "/gif-larger-inside/a.gif", &["--verify", "decode"]);
    assert_eq!((run.status, &record["width"]), (Some(0), &json!(1)), "{run}");
}

#[test]
fn pictures_that_look_alike_have_hashes_that_are() {
    let server = Server::start();
    let urls =
        ["/photo/640/480/a.png", "/photo/320/240/b.png", "/sized/300/300/c.png"].map(|target| server.url(target));
    let run = fetchimg().lines(&urls).arg("--phash").run();
    let hash = |index| {
        let hash = run.record(index)["phash"].as_str().map(str::to_owned).expect("a hash");
        assert_eq!(hash.len(), 16, "{run}");
        u64::from_str_radix(&hash, 16).expect("hexadecimal digits")
    };
    let (a, b) = (hash(0), hash(1));
    assert!((a ^ b).count_ones() <= 6, "{run}");
    assert_eq!(run.file("a.png"), server.body("/photo/640/480/a.png"), "{run}");
    let without = fetchimg().lines(&urls).run();
    assert_eq!(without.record(0)["phash"], Value::Null, "{without}");
}

#[test]
fn what_is_taken_as_it_comes_is_taken_without_a_hash_too() {
    let server = Server::start();
    let urls = ["/half/png/4000/a.png", "/spoilt/b.png", "/page/c.html", "/sized/300/300/d.png"];
    let urls = urls.map(|target| server.url(target));
    for arguments in [["--accept", "any"], ["--verify", "none"]] {
        let run = fetchimg().lines(&urls).arg("--phash").args(arguments).run();
        for index in [0, 1, 3] {
            assert_eq!(run.record(index)["status"], "saved", "{run}");
            assert_eq!(run.record(index)["phash"].is_string(), index == 3, "{run}");
        }
    }
    // With verification, a file without a picture is no image.
    let run = fetchimg().lines(&urls[1..2]).arg("--phash").run();
    assert_eq!(run.record(0)["error"], "corrupt_image", "{run}");
}

#[test]
fn what_the_camera_noted_down_is_recorded_on_request() {
    let server = Server::start();
    let urls = ["/sample/photo.jpg", "/sized/30/20/b.png", "/sample/turned.webp"].map(|target| server.url(target));
    let run = fetchimg().lines(&urls).arg("--exif").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.record(0)["exif"].as_object().is_some_and(|exif| !exif.is_empty()), "{run}");
    assert_eq!(run.record(1)["exif"], Value::Null, "{run}");
    let without = fetchimg().lines(&urls).run();
    assert_eq!(without.record(0)["exif"], Value::Null, "{without}");
    assert!(without.record(2)["orientation"].as_u64() > Some(1), "{without}");

    // An upright image has no orientation to apply.
    let run = fetchimg().lines(&urls[..1]).args(["--exif", "--resize", "32"]).run();
    let record = run.record(0);
    assert_eq!((&record["width"], &record["height"]), (&json!(24), &json!(32)), "{run}");
    assert_eq!(record["exif"]["camera_make"], "Kodalux", "{run}");
    assert_eq!((&record["exif"]["orientation"], &record["orientation"]), (&Value::Null, &Value::Null), "{run}");
    assert_eq!(record["original"]["orientation"], 6, "{run}");
}

#[test]
fn what_contradicts_itself_is_a_mistake_on_the_command_line() {
    for (arguments, hint) in [
        (&["--resize", "0"][..], "such as 256"),
        (&["--resize", "256x"], "such as 256"),
        (&["--resize", "20000"], "16383"),
        (&["--resize-mode", "border"], "--resize 256"),
        (&["--enlarge"], "--resize 256"),
        (&["--quality", "80"], "--encode jpeg"),
        (&["--encode", "jpeg", "--quality", "0"], "from 1"),
        (&["--encode", "gif"], "webp"),
        (&["--encode", "png", "--accept", "any"], "leave it out"),
        (&["--verify", "decode", "--accept", "any"], "sound or not"),
    ] {
        let run = fetchimg().arg("list").args(arguments).run();
        assert_eq!(run.status, Some(2), "{run}");
        assert!(run.stderr.contains(hint), "{hint}: {run}");
    }
}
