//! What the end of a run tells about the list and about wishes that were not met.

use serde_json::{Value, json};

use crate::common::{Run, Server, TestDir, fetchimg};

/// The sentences of advice.
#[track_caller]
fn advice(run: &Run) -> Vec<String> {
    let advice = run.report()["advice"].clone();
    serde_json::from_value(advice).unwrap_or_else(|error| panic!("{error}\n{run}"))
}

#[test]
fn rows_that_seem_to_be_mistakes_are_told_once_with_an_example() {
    let server = Server::start();
    let (a, b) = (server.url("/png/300/a.png"), server.url("/png/300/b.png"));
    let lines = [
        format!("{a} {b}"),
        format!("{b},{a}"),
        format!("{b} # the second"),
        format!("{b}?w=1&amp;h=2"),
        a.clone(),
        format!("{a}?from=http://a.example/1.png"),
    ];
    let flags = ["--sequential", "--json", "--retries", "0"];
    let run = fetchimg().lines(&lines).args(flags).run();
    assert_eq!(run.records().len(), 6, "they are fetched as given\n{run}");
    let asked = server.requests().iter().map(|request| request.target.clone()).collect::<Vec<_>>();
    assert!(asked.iter().any(|target| target.ends_with("/b.png?w=1&amp;h=2")), "{asked:?}");
    let told = run.report()["modes"][0]["suspicious_urls"].clone();
    let counts = told.as_array().expect("kinds").iter().map(|kind| json!([kind["kind"], kind["count"]]));
    assert_eq!(counts.collect::<Value>(), json!([["two_urls", 2], ["comment", 1], ["html", 1]]), "{run}");
    let sentences = advice(&run);
    assert_eq!(sentences.len(), 3, "{run}");
    let encoded = lines[0].replace(' ', "%20");
    assert!(sentences[0].starts_with("2 rows have a second http in the URL") && sentences[0].ends_with(&encoded));
    assert!(sentences[1].contains("1 row has a # behind the URL"), "{run}");
    assert!(sentences[2].contains("&amp; in the URL, which is & in HTML"), "{run}");

    let run = fetchimg().in_dir(&TestDir::new()).lines(&lines).args(["--retries", "0"]).run();
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 80), "{run}");
    assert_eq!(run.stdout.matches("second http").count(), 1, "{run}");
    let run = fetchimg().in_dir(&TestDir::new()).lines(&lines[4..]).arg("--json").run();
    assert_eq!(advice(&run), Vec::<String>::new(), "{run}");
}

#[test]
fn wishes_that_are_not_met_are_counted_and_told() {
    let server = Server::start();
    let list = [
        "url,caption".to_owned(),
        format!("{},cat", server.url("/sized/300/200/a.jpg")),
        format!("{},", server.url("/sized/20/20/b.png")),
        format!("{},", server.url("/sized/30/20/c.png")),
    ];
    let run = |more: &[&str]| {
        let flags = ["--input-format", "csv", "--name", "{col.caption}-{basename}", "--json"];
        fetchimg().stdin(list.join("\n")).args(flags).args(more.iter().copied()).run()
    };
    let plain = run(&[]);
    let mode = plain.report()["modes"][0].clone();
    assert_eq!(json!([mode["extension_mismatches"], mode["smaller_than_box"]]), json!([1, 0]), "{plain}");
    assert_eq!(mode["empty_columns"], json!({"caption": 2}), "{plain}");
    let told = advice(&plain);
    assert!(told[0].contains("(1) hold another format") && told[0].contains("--fix-extension"), "{plain}");
    assert!(
        told[1].starts_with("The column caption is empty in 2 rows: their names have none, _ or nothing"),
        "{plain}"
    );

    let resized = run(&["--resize", "100"]);
    assert_eq!(resized.report()["modes"][0]["smaller_than_box"], 2, "{resized}");
    assert!(
        advice(&resized)[0].starts_with("2 images had fewer pixels than --resize asks for; --enlarge"),
        "{resized}"
    );
    let enlarged = run(&["--resize", "100", "--enlarge"]);
    assert!(advice(&enlarged).iter().all(|sentence| !sentence.contains("--enlarge")), "{enlarged}");

    let dry = run(&["--dry-run"]);
    assert_eq!(dry.report()["empty_columns"], json!({"caption": 2}), "{dry}");

    // Each column that is empty is told.
    let two = ["--name", "{col.caption}/{col.class}-{index}", "--json", "--input-format", "csv"];
    let two = fetchimg().stdin(format!("url,caption,class\n{},,\n", server.url("/png/300/x.png"))).args(two).run();
    assert_eq!(two.report()["modes"][0]["empty_columns"], json!({"caption": 1, "class": 1}), "{two}");
    assert!(advice(&two)[0].starts_with("The column caption is empty in 1 row: its name has none, _ or"), "{two}");

    // Rows that were saved before are no news.
    let again = fetchimg().in_dir(&plain.dir).stdin(list.join("\n"));
    let again = again.args(["--input-format", "csv", "--name", "{col.caption}-{basename}", "--json"]).run();
    assert_eq!((again.status, advice(&again)), (Some(0), Vec::new()), "{again}");
    let text =
        fetchimg().stdin(list.join("\n")).args(["--input-format", "csv", "--name", "{col.caption}-{index}"]).run();
    assert!(text.stdout.contains("  empty columns     caption in 2 rows\n"), "{text}");
}

#[test]
fn a_url_with_two_labels_is_told_where_the_names_have_the_label() {
    let server = Server::start();
    let [a, b, c] = ["/png/300/a.png", "/png/301/b.png", "/png/302/c.png"].map(|target| server.url(target));
    let list = format!("url,label\n{a},cat\n{a},dog\n{b},cat\n{b},cat\n{c},cat\n{a},cat\n{c},\n");
    let run = |dir: &TestDir, more: &[&str]| {
        let flags = ["--input-format", "csv", "--name", "{col.label}/{basename}", "--json"];
        fetchimg().in_dir(dir).stdin(list.clone()).args(flags).args(more.iter().copied()).run()
    };
    let dir = TestDir::new();
    // The second run knows these rows from the journal alone.
    for mode in [&["--sequential"][..], &[]] {
        let told = run(&dir, mode);
        assert_eq!(told.report()["modes"][0]["relabelled_duplicates"], json!({"label": 2}), "{told}");
        let sentence = "2 rows have the URL of an earlier row and another label, and no file; --keep-duplicates gives";
        assert!(advice(&told).iter().any(|advice| advice.starts_with(sentence)), "{told}");
    }
    let told = run(&TestDir::new(), &[]);
    assert_eq!(told.report()["modes"][0]["relabelled_duplicates"], json!({"label": 2}), "{told}");
    let all = run(&TestDir::new(), &["--keep-duplicates"]);
    assert_eq!(all.report()["modes"][0].get("relabelled_duplicates"), None, "{all}");
    assert_eq!(all.files().iter().filter(|file| file.starts_with("dog/")).count(), 1, "{all}");
}
