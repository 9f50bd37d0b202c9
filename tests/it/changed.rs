//! Images of earlier runs that were made with other wishes: they are told, made anew (`--remake`) and renamed (`--rename`).

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::{Run, Server, TestDir, fetchimg};

/// Every file of a run with its bytes.
fn contents(run: &Run) -> BTreeMap<String, Vec<u8>> {
    run.files().into_iter().map(|file| (file.clone(), run.file(&file))).collect()
}

/// What a run into an empty folder makes.
fn fresh(urls: &[String], flags: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let run = fetchimg().in_dir(&TestDir::in_memory()).lines(urls).args(flags).run();
    contents(&run)
}

fn urls<const N: usize>(server: &Server, targets: [&str; N]) -> Vec<String> {
    targets.iter().map(|target| server.url(target)).collect()
}

fn again(run: &Run, urls: &[String], flags: &[&str]) -> Run {
    fetchimg().in_dir(&run.dir).lines(urls).args(flags).run()
}

/// What the report says of changed wishes.
fn changed(run: &Run, urls: &[String], flags: &[&str]) -> Value {
    let run = fetchimg().in_dir(&run.dir).lines(urls).args(flags).args(["--json", "--progress", "none"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    run.report()["modes"][0]["changed"].clone()
}

fn journal(run: &Run) -> PathBuf {
    run.output().join(".fetchimg.jsonl")
}

/// Makes the records those of a version that did not record its wishes.
fn forget_wishes(run: &Run) {
    let lines = run.records().into_iter().map(|mut record| {
        record.as_object_mut().unwrap().remove("made_with");
        format!("{record}\n")
    });
    fs::write(journal(run), lines.collect::<String>()).unwrap();
}

const THREE: [&str; 3] = ["/sized/80/40/a.png", "/sized/30/20/b.png", "/photo/200/100/c.jpg"];

#[test]
fn a_record_has_the_wishes_that_are_not_the_defaults() {
    let server = Server::start();
    let urls = urls(&server, THREE);
    let plain = fetchimg().lines(&urls).args(["-j", "3", "--retries", "1"]).run();
    assert!(plain.records().iter().all(|record| record.get("made_with").is_none()), "{plain}");

    let flags = ["--resize", "40x30", "--resize-mode", "border", "--encode", "webp", "--quality", "80"];
    let others = ["--verify", "decode", "--hash", "sha256,md5", "--phash", "--exif", "--accept", "png,jpeg"];
    let filters = ["--min-width", "10", "--max-aspect", "4.5", "--min-bytes", "1K", "--name", "{index:06}"];
    let run = fetchimg().lines(&urls[..1]).args(flags).args(others).args(filters[..4].iter()).run();
    let expected = json!({
        "resize": "40x30", "resize_mode": "border", "encode": "webp", "quality": 80, "verify": "decode",
        "hash": ["md5", "sha256"], "phash": true, "exif": true, "accept": "jpeg,png", "min_width": 10, "max_aspect": 4.5,
    });
    assert_eq!(run.record(0)["made_with"], expected, "{run}");
    let run = fetchimg().lines(&urls[2..]).args(&filters[4..]).args(["--fix-extension", "--max-bytes", "1M"]).run();
    let expected = json!({"min_bytes": 1024, "max_bytes": 1_048_576, "name": "{index:06}", "fix_extension": true});
    assert_eq!(run.record(0)["made_with"], expected, "{run}");
}

#[test]
fn images_that_were_made_with_other_wishes_are_told_and_stay() {
    let server = Server::start();
    let urls = urls(&server, THREE);
    let first = fetchimg().lines(&urls).run();
    let before = contents(&first);
    assert_eq!(changed(&first, &urls, &[]), Value::Null);

    let told = again(&first, &urls, &["--resize", "40", "--hash", "blake3"]);
    let sentence = "3 images were made without --hash blake3; 2 without --resize 40; --remake makes them anew.";
    assert!(told.stdout.replace("\n  ", " ").contains(sentence), "{told}");
    assert_eq!((told.status, server.requests().len(), contents(&told)), (Some(0), 3, before), "{told}");
    // An image that fits into the box would stay as it is.
    assert_eq!(
        changed(&first, &urls, &["--resize", "40", "--encode", "png"]),
        json!({
            "images": 2,
            "wishes": [
                {"flag": "--resize 40", "made": "without", "images": 2},
                {"flag": "--encode png", "made": "without", "images": 1},
            ],
            "refused": 0, "refused_by": {}, "names": 0, "names_kept": 0, "remade": 0, "remade_from_files": 0, "removed": 0, "renamed": 0,
        })
    );

    let second = fetchimg().lines(&urls).args(["--resize", "40", "--quality", "70"]).run();
    assert_eq!(changed(&second, &urls, &["--resize", "40", "--quality", "70"]), Value::Null);
    for (flags, images, wishes) in [
        (&["--resize", "40"][..], 1, json!([["--quality 90", "without", 1]])),
        (&["--resize", "50"], 2, json!([["--resize 50", "without", 2]])),
        (
            &["--resize", "40", "--resize-mode", "border", "--quality", "70"],
            3,
            json!([["--resize-mode border", "without", 2], ["--resize 40", "without", 1],]),
        ),
        (&[], 2, json!([["--resize", "with", 2]])),
    ] {
        let told = changed(&second, &urls, flags);
        let of = |wish: &Value| json!([wish["flag"], wish["made"], wish["images"]]);
        let listed = told["wishes"].as_array().unwrap().iter().map(of).collect::<Vec<_>>();
        assert_eq!((&told["images"], Value::from(listed)), (&json!(images), wishes), "{flags:?} {told}");
    }
    assert_eq!(server.requests().len(), 6, "nothing is fetched again");
}

#[test]
fn of_records_without_wishes_only_what_they_show_is_told() {
    let server = Server::start();
    let urls = urls(&server, THREE);
    let flags = ["--resize", "40", "--encode", "webp"];
    let made = fetchimg().lines(&urls).args(flags).run();
    forget_wishes(&made);
    assert_eq!(changed(&made, &urls, &flags), Value::Null, "they may be as they should");
    assert_eq!(changed(&made, &urls, &["--resize", "50"]), Value::Null, "the size that was asked for is not known");
    let told = changed(&made, &urls, &["--encode", "jpeg"]);
    assert_eq!(told["wishes"][0], json!({"flag": "--encode jpeg", "made": "without", "images": 3}));
    let told = changed(&made, &urls, &[]);
    assert_eq!(told["wishes"][0], json!({"flag": "--resize or --encode", "made": "with", "images": 3}));

    let received = fetchimg().lines(&urls).args(["--name", "{index}"]).run();
    forget_wishes(&received);
    let told = changed(&received, &urls, &["--resize", "40", "--name", "{index}"]);
    assert_eq!((&told["images"], &told["names"]), (&json!(2), &json!(0)), "{told}");
}

#[test]
fn what_was_stored_as_received_is_made_anew_without_a_request() {
    let ways = [
        &["--resize", "40"][..],
        &["--resize", "40", "--encode", "webp"],
        &["--encode", "jpeg", "--quality", "50", "--verify", "decode", "--phash", "--hash", "sha256"],
        &["--resize", "100", "--resize-mode", "border", "--fsync"],
        &["--encode", "png", "--sequential"],
        &["--encode", "png", "--keep-duplicates"],
        &["--encode", "webp", "--dedupe"],
        &["--encode", "webp", "--name", "{sha256}"],
    ];
    for flags in ways {
        let server = Server::start();
        let urls =
            urls(&server, ["/sized/80/40/a.png", "/sized/30/20/b.png", "/photo/200/100/c", "/sized/80/40/d.png"]);
        let own: Vec<&str> =
            flags.iter().copied().filter(|flag| ["--keep-duplicates", "--dedupe"].contains(flag)).collect();
        let named = if flags.contains(&"--name") { &flags[2..] } else { &[] };
        let first = fetchimg().lines(&urls).args(&own).args(named).args(["--hash", "md5"]).run();
        assert_eq!((first.status, server.requests().len()), (Some(0), 4), "{first}");
        let remade = again(&first, &urls, &[flags, &["--remake", "--hash", "md5"]].concat());
        let expected = fresh(&urls, flags);
        // The run into an empty folder makes four requests. A row that has the file of another one is fetched.
        let shared = usize::from(flags.contains(&"--name"));
        assert_eq!(server.requests().len(), 8 + shared, "{flags:?}\n{remade}");
        assert_eq!((remade.status, contents(&remade)), (Some(0), expected), "{flags:?}\n{remade}");
        assert_eq!(remade.leftovers(), [""; 0], "{flags:?}\n{remade}");
        let mut records = remade.records().into_iter().rev();
        let record = records.find(|record| record["status"] == "saved" && record["attempts"] == 0).unwrap();
        assert_eq!((&record["final_url"], &record["http_status"]), (&record["url"], &200.into()), "{remade}");
        assert!(record["content_type"].as_str().is_some_and(|text| text.starts_with("image/")), "{remade}");
        // Then there is nothing to do any more.
        let asked = server.requests().len();
        let skipped =
            again(&first, &urls, &[flags, &["--remake", "--hash", "md5", "--json", "--progress", "none"]].concat());
        let mode = &skipped.report()["modes"][0];
        assert_eq!((&mode["saved"], server.requests().len()), (&0.into(), asked), "{flags:?}\n{skipped}");
        assert_eq!(mode.get("changed"), None, "{flags:?}\n{skipped}");
    }
}

#[test]
fn what_was_made_of_other_pixels_is_fetched() {
    let server = Server::start();
    let urls = urls(&server, THREE);
    let first = fetchimg().lines(&urls).args(["--resize", "40", "--encode", "webp"]).run();
    assert_eq!(first.files(), ["a.webp", "b.webp", "c.webp"], "{first}");
    let remade = again(&first, &urls, &["--resize", "50", "--remake", "--json", "--progress", "none"]);
    assert_eq!(server.requests().len(), 6, "{remade}");
    let expected = fresh(&urls, &["--resize", "50"]);
    assert_eq!((remade.status, contents(&remade)), (Some(0), expected), "{remade}");
    let changed = &remade.report()["modes"][0]["changed"];
    assert_eq!(
        (&changed["remade"], &changed["remade_from_files"], &changed["images"]),
        (&3.into(), &0.into(), &0.into())
    );
    let as_received = again(&first, &urls, &["--remake"]);
    assert!(as_received.stdout.contains("made anew         2 images, all of them fetched again"), "{as_received}");
    assert_eq!(contents(&as_received), fresh(&urls, &[]), "{as_received}");
}

#[test]
fn only_the_rows_that_differ_are_made_anew() {
    let server = Server::start();
    let mut list = urls(&server, THREE);
    let first = fetchimg().lines(&list).args(["--resize", "40"]).run();
    list.extend(urls(&server, ["/sized/90/90/new.png"]));
    fs::remove_file(first.output().join("b.png")).unwrap();
    let inode = |name: &str| fs::metadata(first.output().join(name)).unwrap().ino();
    let before = inode("a.png");
    let run = again(&first, &list, &["--resize", "40", "--remake"]);
    assert_eq!((run.status, server.requests().len(), inode("a.png")), (Some(0), 5, before), "{run}");
    assert_eq!(run.outcomes()[..2], ["skipped already_saved a.png", "saved b.png"], "{run}");
}

#[test]
fn digests_and_checks_are_made_without_touching_the_file() {
    let server = Server::start();
    let urls = urls(&server, THREE);
    let first = fetchimg().lines(&urls).run();
    let before = fs::metadata(first.output().join("a.png")).unwrap();
    let flags = ["--hash", "sha256,blake3", "--verify", "decode", "--phash", "--exif", "--remake"];
    let run = again(&first, &urls, &flags);
    let after = fs::metadata(run.output().join("a.png")).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()), "{run}");
    assert_eq!((run.status, server.requests().len()), (Some(0), 3), "{run}");
    let expected = fetchimg().lines(&urls).args(&flags[..6]).run();
    for index in 0..3 {
        let (record, expected) = (run.record(index), expected.record(index));
        for field in ["sha256", "blake3", "verified", "phash", "bytes", "width", "path", "made_with"] {
            assert_eq!(record[field], expected[field], "{field}\n{run}");
        }
    }
    assert_eq!(changed(&run, &urls, &flags), Value::Null);
}

#[test]
fn a_file_that_is_not_what_was_received_is_fetched() {
    let server = Server::start();
    let urls = urls(&server, ["/sized/80/40/a.png", "/sized/81/40/b.png"]);
    let first = fetchimg().lines(&urls).args(["--hash", "sha256"]).run();
    // Of the same size, and an image still.
    let mut bytes = first.file("a.png");
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(first.output().join("a.png"), &bytes).unwrap();
    let run = again(&first, &urls, &["--hash", "sha256", "--encode", "webp", "--remake"]);
    assert_eq!(
        (run.status, server.hits("/sized/80/40/a.png"), server.hits("/sized/81/40/b.png")),
        (Some(0), 2, 1),
        "{run}"
    );
    assert_eq!(contents(&run), fresh(&urls, &["--encode", "webp"]), "{run}");
}

#[test]
fn a_row_that_cannot_be_made_anew_keeps_its_file() {
    let server = Server::start();
    let urls = urls(&server, ["/spoilt/a.png", "/sized/80/40/b.png", "/svg/c.svg"]);
    let first = fetchimg().lines(&urls).run();
    assert_eq!(first.status, Some(0), "{first}");
    let before = contents(&first);
    let run = again(&first, &urls, &["--encode", "webp", "--remake"]);
    assert_eq!((run.status, run.files().len()), (Some(1), 3), "{run}");
    for file in ["a.png", "c.svg"] {
        assert_eq!(before.get(file), contents(&run).get(file), "{run}");
    }
    assert_eq!(run.outcomes()[1], "saved b.webp", "{run}");
    // It was fetched, because the file might have been damaged since.
    assert_eq!(server.hits("/spoilt/a.png"), 2, "{run}");
    let plain = again(&first, &urls, &["--encode", "webp"]);
    assert_eq!((plain.status, server.hits("/spoilt/a.png")), (Some(0), 2), "{plain}");
}

#[test]
fn what_filters_refuse_now_is_told_and_removed() {
    let server = Server::start();
    let urls = urls(&server, THREE);
    let first = fetchimg().lines(&urls).run();
    let told = again(&first, &urls, &["--min-width", "100"]);
    assert!(
        told.stdout.contains("2 images would be refused now, by --min-width 100; --remake removes them."),
        "{told}"
    );
    assert_eq!((told.status, told.files().len()), (Some(0), 3), "{told}");
    let both = changed(&first, &urls, &["--min-width", "50", "--accept", "png"]);
    assert_eq!(both["refused_by"], json!({"--min-width 50": 1, "--accept png": 1}));
    // What was resized is judged as it was received.
    let thumbs = fetchimg().lines(&urls).args(["--resize", "20"]).run();
    assert_eq!(changed(&thumbs, &urls, &["--resize", "20", "--min-width", "50"])["refused"], 1);

    let run = again(&first, &urls, &["--min-width", "100", "--remake"]);
    assert_eq!((run.files(), server.requests().len()), (vec!["c.jpg".to_owned()], 6), "{run}");
    assert_eq!(run.outcomes(), ["refused too_small", "refused too_small", "skipped already_saved c.jpg"], "{run}");
    assert_eq!((run.status, &run.record(0)["removed"]), (Some(0), &json!("a.png")), "{run}");
    assert!(run.stdout.contains("2 files of earlier runs were removed"), "{run}");
    let verified = fetchimg().in_dir(&first.dir).arg("--verify-output").run();
    assert_eq!(verified.status, Some(0), "{verified}");
    assert!(run.record(0)["message"].as_str().unwrap().contains("80 x 40 pixels (--min-width 100)"), "{run}");
    // No later run asks for them again, whatever comes of the journal.
    for _ in 0..2 {
        let later = again(&first, &urls, &["--min-width", "100"]);
        assert_eq!((later.status, server.requests().len()), (Some(0), 6), "{later}");
    }
    let loosened = again(&first, &urls, &[]);
    assert_eq!((loosened.files(), server.requests().len()), (first.files(), 8), "under their names again\n{loosened}");
}

#[test]
fn an_image_that_gets_another_extension_takes_no_other_rows_name() {
    let server = Server::start();
    let urls = urls(&server, ["/sized/80/40/a.png", "/photo/200/100/a.jpg", "/webp/a.webp"]);
    let first = fetchimg().lines(&urls).run();
    assert_eq!(first.files(), ["a.jpg", "a.png", "a.webp"], "{first}");
    let foreign = first.output().join("a.jpg.txt");
    fs::write(&foreign, "the user's own").unwrap();
    let run = again(&first, &urls, &["--encode", "webp", "--remake"]);
    assert_eq!((run.status, server.requests().len(), run.files().len()), (Some(0), 3, 4), "{run}");
    assert_eq!(run.file("a.webp"), server.body("/webp/a.webp"), "{run}");
    let names = (0..3).map(|index| run.record(index)["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert!(names[..2].iter().all(|name| name.starts_with("a-") && name.contains(".webp")), "{names:?}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

#[test]
fn a_dry_run_tells_what_would_be_made_anew_and_moved() {
    let server = Server::start();
    let mut urls = urls(&server, THREE);
    let first = fetchimg().lines(&urls).args(["--name", "{index}"]).run();
    let before = contents(&first);
    urls.insert(0, server.url("/png/300/new.png"));
    let plan = |flags: &[&str]| {
        let dry = ["--name", "{index}", "--dry-run", "--json", "--progress", "none"];
        let run = fetchimg().in_dir(&first.dir).lines(&urls).args(dry).args(flags).run();
        assert_eq!(contents(&run), before, "{run}");
        run.report()
    };
    let told = plan(&["--resize", "40"]);
    assert_eq!((&told["changed"]["images"], &told["changed"]["names"]), (&2.into(), &3.into()), "{told}");
    let told = plan(&["--resize", "40", "--remake"]);
    assert_eq!((&told["to_remake"], &told["to_fetch"], &told["skipped"]), (&2.into(), &1.into(), &1.into()), "{told}");
    let told = plan(&["--rename"]);
    assert_eq!((&told["changed"]["names"], &told["first_names"]), (&3.into(), &json!(["0.{ext}"])), "{told}");
    let told = plan(&["--rename", "--remake", "--encode", "webp"]);
    assert_eq!(told["first_names"], json!(["0.{ext}", "1.webp", "2.webp", "3.webp"]), "{told}");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn wrong_combinations_are_refused() {
    for flags in [["--overwrite", "--remake"], ["--compare", "--rename"]] {
        let run = fetchimg().lines(["http://127.0.0.1:1/a.png"]).args(flags).run();
        assert_eq!((run.status, run.stderr.contains(flags[1])), (Some(2), true), "{run}");
    }
}

/// Where the file of each URL is, by the last record that says so.
fn living(run: &Run) -> HashMap<String, String> {
    let records = run.records().into_iter().filter(|record| record["status"] == "saved");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    records.map(|record| (text(&record["url"]), text(&record["path"]))).collect()
}

#[test]
fn an_inserted_row_is_told_and_the_files_move() {
    let server = Server::start();
    let mut urls = (0..5).map(|n| server.url(&format!("/png/{}/{n}.png", 300 + n))).collect::<Vec<_>>();
    let names = ["--name", "{index:03}.{ext}"];
    let first = fetchimg().lines(&urls).args(names).run();
    urls.insert(1, server.url("/png/400/new.png"));
    let told = again(&first, &urls[..1], &names);
    assert!(!told.stdout.contains("--rename"), "{told}");
    // The new row had to take another name, too; this run and later ones say so.
    for _ in 0..2 {
        let told = changed(&first, &urls, &names);
        assert_eq!((&told["names"], &told["images"]), (&5.into(), &0.into()), "{told}");
    }
    let dry = again(&first, &urls, &[&names[..], &["--rename", "--dry-run"]].concat());
    assert!(dry.stdout.contains("  to rename         5 images\n"), "{dry}");
    for flags in [&[][..], &["--fsync"], &["--sequential"]] {
        let asked = server.requests().len();
        let run = again(&first, &urls, &[&names[..], &["--rename"], flags].concat());
        assert_eq!((run.status, server.requests().len()), (Some(0), asked), "{run}");
        assert_eq!((contents(&run), run.leftovers()), (fresh(&urls, &names), vec![]), "{run}");
        let record = run.records().into_iter().rev().find(|record| record["status"] == "saved").unwrap();
        assert_eq!(record["made_with"], json!({"name": "{index:03}.{ext}"}), "{run}");
        assert_eq!(changed(&run, &urls, &names), Value::Null, "{run}");
        // The next one has to move all of them back.
        urls.rotate_left(1);
    }
}

#[test]
fn names_beside_those_of_another_list_are_not_told() {
    let server = Server::start();
    let (one, other) = (urls(&server, ["/png/300/a.png"]), urls(&server, ["/png/301/b.png", "/png/302/c.png"]));
    let names = ["--name", "{index}.png"];
    let first = fetchimg().lines(&one).args(names).run();
    // The list does not have the row whose name the first of these would have.
    for _ in 0..2 {
        assert_eq!(changed(&first, &other, &names), Value::Null);
    }
    let run = again(&first, &other, &[&names[..], &["--rename"]].concat());
    assert!(!run.stdout.contains("  renamed "), "{run}");
}

#[test]
fn renamed_files_have_the_names_of_a_new_folder_whatever_order_and_template_were_before() {
    const TEMPLATES: [&str; 7] = [
        "{basename}",
        "{index}",
        "{index:02}/{stem}",
        "{index/3}/{basename}",
        "{sha256}",
        "{sha256:0:1}/{basename}",
        "x{index}-{host}.{ext}",
    ];
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    let mut targets = (0..6).map(|n| format!("/png/{}/{n}.png", 300 + n)).collect::<Vec<_>>();
    targets.extend((0..3).map(|n| format!("/png/{}/{n}/same.png", 400 + n)));
    targets.extend(["/png/500/plain", "/png/501/1.png", "/jpeg/one.jpg", "/gif/b.png"].map(str::to_owned));
    let urls = targets.iter().map(|target| server.url(target)).collect::<Vec<_>>();
    let bodies = urls.iter().cloned().zip(targets.iter().map(|target| server.body(target))).collect::<HashMap<_, _>>();

    let dir = TestDir::in_memory();
    let hash = ["--hash", "sha256"];
    let mut before = HashMap::<String, String>::new();
    for step in 0..14 {
        let mut list = urls.clone();
        random.shuffle(&mut list);
        if step % 3 == 2 {
            list.truncate(random.usize(urls.len() / 2..=urls.len()));
        }
        let template = TEMPLATES[random.usize(..TEMPLATES.len())];
        let what = format!("seed {seed}, step {step}, {template}");
        let asked = server.requests().len();
        let flags = ["--name", template, "--rename"];
        let run = fetchimg().in_dir(&dir).lines(&list).args(flags).args(hash).run();
        let missing = list.iter().filter(|url| !before.contains_key(*url)).count();
        assert_eq!(server.requests().len(), asked + missing, "{what}: what is there is not fetched\n{run}");
        let fresh = fetchimg().in_dir(&TestDir::in_memory()).lines(&list).args(["--name", template]).run();
        assert_eq!((run.status, fresh.status, run.leftovers()), (Some(0), Some(0), vec![]), "{what}\n{run}");
        let (now, expected) = (living(&run), living(&fresh));
        for url in urls.iter().filter(|url| !list.contains(url)) {
            assert_eq!(now.get(url), before.get(url), "{what}: {url} is not in the list\n{run}");
        }
        if list.len() == urls.len() {
            for url in &list {
                assert_eq!(now[url], expected[url], "{what}: {url}\n{run}");
            }
        }
        let mut files = now.values().cloned().collect::<Vec<_>>();
        files.sort();
        assert_eq!(run.files(), files, "{what}\n{run}");
        for (url, path) in &now {
            assert!(run.file(path) == bodies[url], "{what}: {path} is not {url}\n{run}");
        }
        before = now;
    }
}

#[test]
fn no_file_that_fetchimg_did_not_write_is_replaced() {
    let server = Server::start();
    let urls = urls(&server, ["/png/300/a.png", "/png/301/b.png", "/png/302/c.png"]);
    let first = fetchimg().lines(&urls).run();
    fs::write(first.output().join("0.png"), "the user's own").unwrap();
    fs::create_dir(first.output().join("1.png")).unwrap();
    let run = again(&first, &urls, &["--name", "{index}.png", "--rename"]);
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files(), ["0.png", "2.png", "a.png", "b.png"], "{run}");
    assert_eq!(run.file("0.png"), b"the user's own", "{run}");
    let sentence = "2 images do not get the names that the list gives now: these belong to other files.";
    assert!(run.stdout.replace("\n  ", " ").contains(sentence), "{run}");
    assert_eq!((run.leftovers(), server.requests().len()), (vec![], 3), "{run}");
}

#[test]
fn a_file_whose_name_another_row_gets_is_counted_as_renamed_where_its_own_is_taken() {
    let server = Server::start();
    let mut list = urls(&server, ["/png/300/a.png", "/png/301/b.png", "/png/302/c.png"]);
    let names = ["--name", "{index}.png"];
    let first = fetchimg().lines(&list).args(names).run();
    list.insert(0, server.url("/png/303/new.png"));
    fs::write(first.output().join("3.png"), "the user's own").unwrap();
    let before = contents(&first);
    let dry = again(&first, &list, &[&names[..], &["--rename", "--dry-run"]].concat());
    assert!(dry.stdout.contains("  to rename         2 images\n"), "{dry}");
    for (from, to) in [("0.png", "1.png"), ("1.png", "2.png")] {
        assert!(dry.stdout.contains(&format!("\n                    {from} -> {to}\n")), "{dry}");
    }
    let sentence = "1 image does not get the name that the list gives now: it belongs to another file.";
    assert!(dry.stdout.contains(sentence) && !dry.stdout.contains("--rename"), "{dry}");
    assert_eq!(contents(&dry), before, "{dry}");

    let run = again(&first, &list, &[&names[..], &["--rename"]].concat());
    assert!(run.stdout.contains("  renamed           3 files\n"), "{run}");
    assert!(run.stdout.replace("\n  ", " ").contains(sentence), "{run}");
    let suffixed = run.files().into_iter().find(|file| file.starts_with("2-")).unwrap();
    assert_eq!(run.file(&suffixed), server.body("/png/302/c.png"), "{run}");
    assert_eq!(run.file("3.png"), b"the user's own", "{run}");
    // Now it has that name, and no other file is moved.
    let run = again(&first, &list, &[&names[..], &["--rename"]].concat());
    assert!(!run.stdout.contains("  renamed ") && run.stdout.replace("\n  ", " ").contains(sentence), "{run}");
}

#[test]
fn a_dry_run_lists_what_would_be_made_anew_and_removed() {
    let server = Server::start();
    let list = urls(&server, THREE);
    let first = fetchimg().lines(&list).run();
    let flags = ["--remake", "--encode", "webp", "--min-width", "50", "--dry-run"];
    let dry = again(&first, &list, &flags);
    for text in [
        "  to fetch          none\n",
        "  to make anew      2 images, from stored files, without a request\n                    a.png -> a.webp\n",
        "                    c.jpg -> c.webp\n",
        "  to remove         1 image\n                    b.png\n",
        "1 file would be removed: the filters refuse it.\n",
    ] {
        assert!(dry.stdout.contains(text), "{text}\n{dry}");
    }
    assert!(!dry.stdout.contains("--remake") && !dry.stdout.contains("first names"), "{dry}");
    let json = again(&first, &list, &[&flags[..], &["--json", "--progress", "none"]].concat()).report();
    let changed = &json["changed"];
    assert_eq!(changed["first_remade"][1], json!({"from": "c.jpg", "to": "c.webp"}), "{json}");
    assert_eq!((&changed["to_remake"], &changed["first_removed"]), (&json!(2), &json!(["b.png"])), "{json}");
    assert_eq!(first.files(), ["a.png", "b.png", "c.jpg"]);
}

#[test]
fn what_is_made_anew_from_files_is_no_download() {
    let server = Server::start();
    let list = urls(&server, THREE);
    let first = fetchimg().lines(&list).run();
    let run = again(&first, &list, &["--resize", "20", "--remake", "--report", "run.html", "--report", "run.md"]);
    assert_eq!((run.status, server.requests().len()), (Some(0), 3), "{run}");
    assert!(run.stdout.contains("  made anew         3 images, from stored files, without a request\n"), "{run}");
    for word in ["rate", "first byte", "Speed-up", "One after the other"] {
        assert!(!run.stdout.contains(word), "{word}\n{run}");
    }
    assert_eq!((run.stderr.matches(" Made anew: ").count(), run.stderr.contains("Downloaded")), (3, false), "{run}");
    for report in ["run.html", "run.md"] {
        let page = String::from_utf8(run.dir.read(report)).unwrap();
        assert!(page.contains("3 images made anew in ") && !page.contains("images/s"), "{page}");
    }
    let first = fetchimg().lines(&list).run();
    let one = again(&first, &list[..1], &["--resize", "10", "--remake", "--json", "--progress", "none"]);
    assert_eq!(one.report()["modes"][0]["images_per_second"], 0.0, "{one}");
    assert_eq!(one.report()["comparison"], Value::Null, "{one}");
    let single = fetchimg().in_dir(&first.dir).arg(&list[2]).args(["--resize", "10", "--remake"]).run();
    assert!(single.stdout.starts_with("made anew images/c.jpg, "), "{single}");
    // Beside downloads, it does not count among them.
    let more = [list, urls(&server, ["/sized/40/40/d.png"])].concat();
    let mixed = again(&first, &more, &["--encode", "webp", "--remake"]);
    assert!(mixed.stdout.contains("at once ") && !mixed.stdout.contains("Speed-up"), "{mixed}");
}

#[test]
fn a_file_that_is_gone_or_was_changed_is_fetched_and_no_other_is_lost() {
    let server = Server::start();
    let targets = (0..5).map(|n| format!("/png/{}/{n}.png", 300 + n)).collect::<Vec<_>>();
    let mut urls = targets.iter().map(|target| server.url(target)).collect::<Vec<_>>();
    let names = ["--name", "{index}.png"];
    let first = fetchimg().lines(&urls).args(names).run();
    fs::remove_file(first.output().join("2.png")).unwrap();
    fs::write(first.output().join("3.png"), "the user's own").unwrap();
    urls.insert(0, server.url("/png/400/new.png"));
    for _ in 0..3 {
        let run = again(&first, &urls, &[&names[..], &["--rename"]].concat());
        assert_eq!((run.status, run.files().len(), run.leftovers()), (Some(0), 6, vec![]), "{run}");
        for (url, path) in living(&run) {
            let target = format!("/{}", url.splitn(4, '/').last().unwrap());
            assert!(run.file(&path) == server.body(&target), "{url} {path}\n{run}");
        }
    }
    assert_eq!(contents(&again(&first, &urls, &names)), fresh(&urls, &names));
    assert_eq!(server.requests().len(), 5 + 3 + 6, "two files are fetched again, once, and the new one");
}

#[test]
fn rows_with_one_url_are_renamed_by_their_numbers() {
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let list = vec![url; 3];
    let first = fetchimg().lines(&list).arg("--keep-duplicates").run();
    let flags = ["--keep-duplicates", "--name", "{index}-{stem}"];
    assert_eq!(changed(&first, &list, &flags)["names"], 3);
    let run = again(&first, &list, &[&flags[..], &["--rename"]].concat());
    assert_eq!(
        (run.files(), server.requests().len()),
        (["0-a.png", "1-a.png", "2-a.png"].map(str::to_owned).to_vec(), 3),
        "{run}"
    );
    assert!(run.stdout.contains("renamed           3 files"), "{run}");
}

#[test]
fn links_to_one_content_are_renamed_one_by_one() {
    let server = Server::start();
    let urls = urls(&server, ["/jpeg/a.jpg", "/jpeg/b.jpg", "/jpeg/c.jpg"]);
    let first = fetchimg().lines(&urls).arg("--dedupe").run();
    let flags = ["--dedupe", "--name", "{index}"];
    let run = again(&first, &urls, &[&flags[..], &["--rename"]].concat());
    assert_eq!(
        (run.files(), server.requests().len()),
        (["0.jpg", "1.jpg", "2.jpg"].map(str::to_owned).to_vec(), 3),
        "{run}"
    );
    let inode = |name: &str| fs::metadata(run.output().join(name)).unwrap().ino();
    assert_eq!((inode("0.jpg"), inode("0.jpg")), (inode("1.jpg"), inode("2.jpg")), "{run}");
}

#[test]
fn rows_that_share_a_file_get_one_each() {
    let server = Server::start();
    let targets = ["/jpeg/a.jpg", "/png/300/b.png", "/jpeg/c.jpg", "/jpeg/d.jpg"];
    let list = urls(&server, targets);
    let digests = ["--name", "{sha256}.{ext}"];
    let known = |run: &Run| {
        let columns = ["file_name", "url", "width", "height", "format", "sha256"];
        let text = String::from_utf8(run.dir.read("m.jsonl")).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut rows = rows.map(|row| columns.map(|column| row[column].clone())).collect::<Vec<_>>();
        rows.sort_by_key(|row| row[0].to_string());
        rows
    };
    for sequential in [true, false] {
        let flags = if sequential { &["--sequential"][..] } else { &["--fsync"] };
        let first = fetchimg().lines(&list).args(digests).args(flags).run();
        assert_eq!((first.status, first.files().len()), (Some(0), 2), "{first}");
        let dry = again(&first, &list, &["--rename", "--dry-run"]);
        assert!(dry.stdout.contains("  to rename         4 images\n"), "{dry}");
        assert!(dry.stdout.contains(".jpg -> d.jpg\n"), "{dry}");
        let asked = server.requests().len();
        let run = again(&first, &list, &["--rename", "--metadata", "m.jsonl"]);
        assert!(run.stdout.contains("  renamed           4 files\n"), "{run}");
        assert_eq!(
            (run.files(), run.leftovers()),
            (["a.jpg", "b.png", "c.jpg", "d.jpg"].map(str::to_owned).to_vec(), vec![]),
            "{run}"
        );
        let living = living(&run);
        for (target, url) in targets.iter().zip(&list) {
            let path = &living[url];
            assert!(target.ends_with(path.as_str()) && run.file(path) == server.body(target), "{url} {path}\n{run}");
        }
        // All that is known of the file is known of each of them.
        let rows = known(&run);
        assert_eq!(rows.len(), 4, "{rows:?}");
        for row in rows {
            assert!(row.iter().all(|value| !value.is_null()), "{row:?}\n{run}");
        }
        // Nothing is left to do, and each file is that of its row alone.
        let run = again(&first, &list, &["--rename"]);
        assert!(!run.stdout.contains("renamed") && !run.stdout.contains("names"), "{run}");
        fs::remove_file(run.output().join("d.jpg")).unwrap();
        let run = again(&first, &list, &["--hash", "sha256"]);
        assert_eq!((run.files().len(), server.requests().len()), (4, asked + 1), "{run}");
        let back = again(&first, &list, &[&digests[..], &["--rename"]].concat());
        assert_eq!((back.files().len(), back.leftovers(), server.requests().len()), (2, vec![], asked + 1), "{back}");
    }
}

#[test]
fn a_shared_file_of_which_no_record_tells_stays() {
    let server = Server::start();
    let list = urls(&server, ["/jpeg/a.jpg", "/jpeg/b.jpg"]);
    let first = fetchimg().lines(&list).args(["--name", "{sha256}.{ext}", "--sequential"]).run();
    let digest = first.files()[0].clone();
    // As a version has left it that gave the file of the first row another name, and not that of the second.
    let moved = first.record(0).to_string().replace(&digest, "a.jpg");
    fs::copy(first.output().join(&digest), first.output().join("a.jpg")).unwrap();
    fs::write(journal(&first), fs::read_to_string(journal(&first)).unwrap() + &moved + "\n").unwrap();
    let run = again(&first, &list, &["--rename"]);
    let sentence = format!("Not renamed: {digest}: no record says for which row it was stored");
    assert_eq!(run.stderr.matches(&sentence).count(), 1, "{run}");
    assert_eq!((run.files(), server.requests().len()), (vec![digest, "a.jpg".to_owned()], 2), "{run}");
}

#[test]
fn a_row_that_shares_a_file_keeps_it_where_its_name_is_taken() {
    let server = Server::start();
    let list = urls(&server, ["/jpeg/a.jpg", "/jpeg/b.jpg"]);
    let first = fetchimg().lines(&list).args(["--name", "{sha256}.{ext}", "--sequential"]).run();
    let digest = first.files()[0].clone();
    fs::write(first.output().join("b.jpg"), "the user's own").unwrap();
    for step in 0..2 {
        let run = again(&first, &list, &["--rename"]);
        let mut expected = ["a.jpg", "b.jpg", &digest].map(str::to_owned);
        expected.sort();
        assert_eq!((run.status, run.files(), run.leftovers()), (Some(0), expected.to_vec(), vec![]), "{run}");
        assert_eq!(run.file("b.jpg"), b"the user's own", "{run}");
        let sentence = "1 image does not get the name that the list gives now: it belongs to another file.";
        assert!(step > 0 || run.stdout.replace("\n  ", " ").contains(sentence), "{run}");
    }
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn names_that_change_in_case_alone_are_moved() {
    let server = Server::start();
    let list = [server.url("/png/300/a.png")];
    let first = fetchimg().lines(&list).args(["--name", "x{index}"]).run();
    let run = again(&first, &list, &["--name", "X{index}", "--rename"]);
    assert_eq!((run.files(), server.requests().len()), (vec!["X0.png".to_owned()], 1), "{run}");
}

#[test]
fn files_are_made_anew_and_renamed_in_one_run() {
    let server = Server::start();
    let mut list = urls(&server, ["/sized/80/40/a.png", "/photo/200/100/b.jpg", "/sized/90/20/c.png"]);
    let first = fetchimg().lines(&list).args(["--name", "{index}"]).run();
    list.reverse();
    let flags = ["--name", "{index}", "--encode", "webp"];
    let run = again(&first, &list, &[&flags[..], &["--remake", "--rename"]].concat());
    assert_eq!((run.status, server.requests().len()), (Some(0), 3), "{run}");
    assert_eq!((contents(&run), run.leftovers()), (fresh(&list, &flags), vec![]), "{run}");
}
