//! Validation: images that are refused by their size, or because they are corrupt.

use crate::common::{Run, Server, fetchimg};

/// The outcomes of the rows, in list order: the kind of error, or the file.
fn outcomes(run: &Run) -> Vec<String> {
    let mut records = run.records();
    records.sort_by_key(|record| record["index"].as_u64());
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    records.iter().map(|record| text(&record["error"]).or(text(&record["path"])).unwrap_or_default()).collect()
}

#[test]
fn records_tell_the_size_in_pixels() {
    let server = Server::start();
    let targets = ["/sized/300/200/a.png", "/jpeg/b.jpg", "/gif/c.gif", "/webp/d.webp", "/bmp/e.bmp", "/svg/f.svg"];
    let targets = targets.into_iter().chain(["/avif/g.avif", "/etag-cut/1/700000/h.png"]);
    let run = fetchimg().lines(targets.map(|target| server.url(target))).run();
    assert_eq!(run.status, Some(0), "{run}");
    let sizes = [(300, 200), (16, 8), (1, 1), (1, 1), (1, 1), (8, 4), (1, 1), (1, 1)];
    for (index, (width, height)) in (0..).zip(sizes) {
        let record = run.record(index);
        assert_eq!((record["width"].as_u64(), record["height"].as_u64()), (Some(width), Some(height)), "{run}");
        assert!(record["frames"].is_null() && record["orientation"].is_null(), "{run}");
    }
}

#[test]
fn images_are_held_to_bounds() {
    let server = Server::start();
    let sizes = [(100, 100), (99, 100), (100, 99), (400, 100), (401, 100), (250, 200), (300, 300)];
    let urls = sizes.map(|(width, height)| server.url(&format!("/sized/{width}/{height}/{width}x{height}.png")));
    let bounds = ["--min-width", "100", "--min-height", "100", "--max-pixels", "50000", "--max-aspect", "4"];
    let run = fetchimg().lines(&urls).args(bounds).run();
    assert_eq!(run.status, Some(0), "{run}");
    let expected =
        ["100x100.png", "too_small", "too_small", "400x100.png", "not_accepted", "250x200.png", "not_accepted"];
    assert_eq!(outcomes(&run), expected, "{run}");
    assert_eq!(run.record(1)["message"], "the image has 99 x 100 pixels (--min-width 100)", "{run}");
    assert_eq!(run.record(4)["message"], "the image has 401 x 100 pixels (--max-aspect 4)", "{run}");
    assert_eq!((&run.record(1)["retryable"], &run.record(1)["attempts"]), (&false.into(), &1.into()), "{run}");
    assert!(run.leftovers().is_empty(), "{run}");
}

#[test]
fn what_is_too_small_is_not_read_to_its_end() {
    let server = Server::start();
    // It never ends, and its header says one pixel.
    let run = fetchimg().lines([server.url("/endless/a.png")]).args(["--min-width", "2"]).run();
    assert_eq!(outcomes(&run), ["too_small"], "{run}");
}

#[test]
fn small_files_are_refused_by_what_they_announce_and_by_what_they_have() {
    let server = Server::start();
    let urls = ["/png/999/a.png", "/png/1000/b.png", "/chunked/999/c.png", "/chunked/1000/d.png"];
    let run = fetchimg().lines(urls.map(|target| server.url(target))).args(["--min-bytes", "1000"]).run();
    assert_eq!(outcomes(&run), ["too_small", "b.png", "too_small", "d.png"], "{run}");
    assert_eq!(run.record(0)["message"], "999 B of at least 1000 B (--min-bytes)", "{run}");
}

#[test]
fn what_is_no_image_to_its_end_is_corrupt() {
    let server = Server::start();
    let kinds = ["png/4000/a.png", "png/900000/b.png", "jpeg/c.jpg", "gif/d.gif", "webp/e.webp"];
    let urls = kinds.map(|kind| server.url(&format!("/half/{kind}")));
    let run = fetchimg().lines(&urls).run();
    assert_eq!(outcomes(&run), ["corrupt_image"; 5], "{run}");
    assert!(run.files().is_empty() && run.leftovers().is_empty(), "{run}");
    assert!(run.stderr.contains("--verify none saves it as it came"), "{run}");
    let message = run.record(0)["message"].to_string();
    assert!(message.starts_with("\"the image is corrupt: "), "{run}");

    let run = fetchimg().lines(&urls).args(["--verify", "none"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body("/half/png/4000/a.png"), "{run}");
}

#[test]
fn anything_means_anything() {
    let server = Server::start();
    let urls = ["/half/png/4000/a.png", "/page/b.html", "/sized/3/2/c.png"].map(|target| server.url(target));
    let run = fetchimg().lines(&urls).args(["--accept", "any"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.record(2)["width"], 3, "{run}");
    let run = fetchimg().lines(&urls).args(["--accept", "any", "--min-width", "3"]).run();
    assert_eq!(outcomes(&run), ["too_small", "not_accepted", "c.png"], "{run}");
}

#[test]
fn bounds_that_make_no_sense_are_mistakes_on_the_command_line() {
    for (arguments, hint) in [
        (["--max-pixels", "0"], "50000000"),
        (["--max-pixels", "many"], "50000000"),
        (["--max-aspect", "0.5"], "never below 1"),
        (["--max-aspect", "nan"], "never below 1"),
        (["--min-bytes", "some"], "10MiB"),
        (["--verify", "hope"], "structure"),
        (["--min-width", "-1"], "--min-width"),
    ] {
        let run = fetchimg().arg("list").args(arguments).run();
        assert_eq!(run.status, Some(2), "{run}");
        assert!(run.stderr.contains(hint), "{run}");
    }
}
