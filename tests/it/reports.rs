//! The report in HTML and Markdown: the same numbers as in JSON, and all text from outside is escaped.
//!
//! `tests/browser/page.mjs` opens the page in a browser; `.ci/run` runs it.

use crate::common::{Run, Server, fetchimg};

/// All formats of the report of one run.
const FORMS: [&str; 8] = ["--report", "run.html", "--report", "run.md", "--report", "run.json", "--report", "run.txt"];

fn text(run: &Run, name: &str) -> String {
    String::from_utf8(run.dir.read(name)).expect("UTF-8")
}

/// The text of a page, without its tags and its style.
fn words(page: &str) -> String {
    let body = page.split_once("<body>").map_or(page, |(_, body)| body);
    let pieces = body.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    pieces.collect::<String>()
}

#[test]
fn all_forms_of_a_report_say_the_same() {
    let server = Server::start();
    let mut lines = (0..30).map(|number| server.url(&format!("/png/3000/{number}.png"))).collect::<Vec<_>>();
    lines.extend((0..7).map(|number| server.url(&format!("/status/404/{number}.png"))));
    lines.push(server.url("/page/page.png"));
    let run = fetchimg().lines(lines).args(["--compare", "--json"]).args(FORMS).run();
    assert_eq!(run.status, Some(1), "{run}");
    let report = run.report();
    let (page, markdown) = (text(&run, "run.html"), text(&run, "run.md"));
    let words = words(&page);

    let last = &report["modes"][1];
    assert_eq!((&last["saved"], &last["failed"]), (&30.into(), &8.into()), "{run}");
    for said in ["30saved, ", "8failed", "7 × http_status 404", "1 × not_an_image", "page.png: "] {
        assert!(words.contains(said), "{said} is not in the page\n{words}");
    }
    for mode in [0, 1] {
        let wall = format!("{:.3} s", report["modes"][mode]["wall_seconds"].as_f64().expect("a time"));
        assert!(words.contains(&wall) && markdown.contains(&wall), "{wall}\n{words}\n{markdown}");
    }
    let speed_up = format!("{:.1}", report["comparison"]["speed_up"].as_f64().expect("a number"));
    assert!(words.contains(&format!("{speed_up} ×speed-up (measured)")), "{speed_up}\n{words}");
    assert!(markdown.contains(&format!("Speed-up: **{speed_up} times** (measured)")), "{markdown}");
    assert!(text(&run, "run.txt").contains("Speed-up:"), "{run}");

    // The numbers that follow from the records.
    let host = &last["hosts"][0];
    assert_eq!((&host["saved"], &host["failed"], &host["requests"]), (&30.into(), &8.into(), &38.into()), "{run}");
    assert_eq!(last["hosts_met"], 1, "{run}");
    assert_eq!(last["failures"][0]["kind"], "http_status 404", "{run}");
    assert_eq!(last["failures"][0]["count"], 7, "{run}");
    assert_eq!(last["failures"][0]["examples"].as_array().map(Vec::len), Some(3), "{run}");
    let durations = last["durations"].as_array().expect("buckets").iter();
    assert_eq!(durations.filter_map(|bucket| bucket["count"].as_u64()).sum::<u64>(), 30, "{run}");
    let bytes = last["timeline"]["bytes"].as_array().expect("bins").iter().filter_map(serde_json::Value::as_f64);
    let (came, saved) = (bytes.sum::<f64>(), last["bytes"].as_f64().expect("bytes"));
    assert!((came - saved).abs() < 70.0, "{came} bytes over time, {saved} in all");
    let advice = report["advice"].as_array().expect("sentences");
    assert!(advice[0].as_str().is_some_and(|said| said.starts_with("18 % of the rows (7) are gone")), "{advice:?}");
    let drawn = markdown.split("```").nth(1).expect("a drawing");
    let marked = drawn.lines().filter(|line| line.trim_end().ends_with('x')).count();
    assert_eq!(marked, 2 * 8, "a failure is seen in each mode\n{markdown}");
    // One bar for each download of each mode, and a link to each image, relative to the page.
    assert_eq!(page.matches("<tr><th scope=\"row\" title=").count(), 2 * 38, "{page}");
    assert_eq!(page.matches("loading=\"lazy\"").count(), 30, "{page}");
    assert!(page.contains("src=\"images/29.png\""), "{page}");
}

#[test]
fn nothing_from_outside_means_anything_in_a_report() {
    let server = Server::start();
    let hostile = [
        "/png/500/%3Cscript%3Ealert(1)%3C%2Fscript%3E.png",
        "/png/500/%22%20onerror%3D%22alert(1).png",
        "/png/500/'%3E%3Cimg%20src%3Dx%3E.png",
        "/png/500/%60%7C%5Bx%5D(javascript:alert(1)).png",
        "/status/404/%3Cb%3E.png?a=<b>&password=1",
    ];
    let mut lines = hostile.map(|target| server.url(target)).to_vec();
    lines.push("<script>alert(1)</script>".to_owned());
    lines.push("`|<img src=x>".to_owned());
    let run = fetchimg().lines(lines).args(FORMS).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.files().len(), 4, "{run}");
    let page = text(&run, "run.html");
    for mark in ["<script", "<img src=x", " onerror=\"", "<b>.", "password=1"] {
        assert!(!page.contains(mark), "{mark} has got through\n{page}");
    }
    // It is in the page as text.
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert!(page.contains("src=\"images/"), "{page}");
    // Every image of the gallery is a file: what its link says, decoded, is its path.
    for link in page.split("<img src=\"images/").skip(1) {
        let link = link.split('"').next().expect("an end");
        let name = percent_decoded(link);
        assert!(run.files().contains(&name), "{name} is no file of {:?}", run.files());
    }
    let markdown = text(&run, "run.md");
    for line in markdown.lines() {
        // Outside of code, no tag begins.
        let outside = line.split('`').step_by(2).collect::<String>();
        assert!(!outside.contains('<') || line.contains("```"), "{line}\n{markdown}");
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(&after[..2], 16).expect("two digits"));
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_page_of_many_rows_stays_small_and_says_that_it_shows_a_part() {
    let server = Server::start();
    let lines = (0..1500).map(|number| server.url(&format!("/png/300/{number}.png")));
    let run = fetchimg().lines(lines).args(["--report", "run.html", "-q"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let page = text(&run, "run.html");
    let bars = page.matches("<tr><th scope=\"row\" title=").count();
    assert!((25..=100).contains(&bars), "{bars} bars");
    assert!(words(&page).contains(&format!("{bars} of 1,500 downloads, picked evenly from the list.")), "{page}");
    assert!(words(&page).contains("60 of 1,500, among the first that came."), "{page}");
    assert!(page.len() < 300_000, "{} bytes", page.len());
}

#[test]
fn a_run_that_saved_nothing_has_a_page_too() {
    let server = Server::start();
    for lines in [vec![], vec![server.url("/status/404/a.png")], vec!["nonsense".to_owned()]] {
        let run = fetchimg().lines(lines).args(FORMS).run();
        let page = text(&run, "run.html");
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        assert!(!text(&run, "run.md").contains("NaN"), "{run}");
    }
}

#[test]
fn waits_between_attempts_are_told_apart() {
    let server = Server::start();
    let lines = [server.url("/flaky/503/1/500/a.png"), server.url("/png/500/b.png")];
    let run = fetchimg().lines(lines).args(["--retry-wait", "0.2"]).args(FORMS).run();
    assert_eq!(run.status, Some(0), "{run}");
    let waited = run.record(0)["waited_ms"].as_f64().expect("a wait");
    let total = run.record(0)["total_ms"].as_f64().expect("a time");
    assert!(waited >= 100.0 && waited <= total, "{waited} of {total}\n{run}");
    assert!(run.record(1)["waited_ms"].is_null(), "{run}");
    assert!(
        words(&text(&run, "run.html")).contains(&format!(", waited {:.3} s to try again", waited / 1000.0)),
        "{run}"
    );
}
