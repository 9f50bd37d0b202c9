//! `--overwrite` with lists and templates that change: the names are those of a new folder, and every row keeps a picture.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::common::{Run, Server, TestDir, fetchimg, images};

/// Where the file of each URL is, by the last record that says so.
fn living(run: &Run) -> HashMap<String, String> {
    let mut living = HashMap::new();
    for record in run.records() {
        let is_naming = record["status"] == "saved" || record["reason"] == "duplicate_content";
        if let (true, Some(path)) = (is_naming, record["path"].as_str()) {
            living.insert(record["url"].as_str().unwrap().to_owned(), path.to_owned());
        }
    }
    living
}

/// The files that the URLs have, sorted.
fn files_of(living: &HashMap<String, String>, urls: &[String]) -> Vec<String> {
    let mut files = urls.iter().filter_map(|url| living.get(url).cloned()).collect::<Vec<_>>();
    files.sort();
    files.dedup();
    files
}

#[test]
fn the_names_are_those_of_a_new_folder_whatever_order_and_template_were_before() {
    const TEMPLATES: [&str; 8] = [
        "{basename}",
        "{index}",
        "{index:02}/{stem}",
        "{index/3}/{basename}",
        "{sha256}",
        "{sha256:0:1}/{basename}",
        "x{index}-{host}.{ext}",
        "{ext}/{index/2}",
    ];
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let server = Server::start();
    let mut targets = (0..6).map(|n| format!("/png/{}/{n}.png", 300 + n)).collect::<Vec<_>>();
    targets.extend((0..3).map(|n| format!("/png/{}/{n}/same.png", 400 + n)));
    targets.extend(
        ["/png/500/plain", "/png/501/1.png", "/jpeg/one.jpg", "/jpeg/two.jpg", "/gif/b.png"].map(str::to_owned),
    );
    let urls = targets.iter().map(|target| server.url(target)).collect::<Vec<_>>();
    let bodies = urls.iter().cloned().zip(targets.iter().map(|target| server.body(target))).collect::<HashMap<_, _>>();

    let dir = TestDir::in_memory();
    let mut before = HashMap::new();
    for step in 0..14 {
        // Rows change places, and in some runs some are missing.
        let mut list = urls.clone();
        random.shuffle(&mut list);
        if step % 3 == 2 {
            list.truncate(random.usize(urls.len() / 2..=urls.len()));
        }
        let template = TEMPLATES[random.usize(..TEMPLATES.len())];
        let what = format!("seed {seed}, step {step}, {template}");
        // In some runs the larger images are refused.
        let limit = if step % 4 == 3 { "400" } else { "1M" };
        let flags = ["--name", template, "--max-bytes", limit, "--overwrite"];
        let mode = if random.bool() { "--sequential" } else { "-q" };
        let run = fetchimg().in_dir(&dir).lines(&list).args(flags).arg(mode).run();
        let fresh = fetchimg().in_dir(&TestDir::in_memory()).lines(&list).args(["--name", template]).run();
        assert_eq!((run.status, fresh.status), (Some(0), Some(0)), "{what}\n{run}");
        assert_eq!(run.leftovers(), [""; 0], "{what}\n{run}");

        let (now, expected) = (living(&run), living(&fresh));
        // A row that is not in the list keeps its name, so another row may have to do without it.
        let unlisted = urls.iter().filter(|url| !list.contains(url)).collect::<Vec<_>>();
        for url in &unlisted {
            assert_eq!(now.get(*url), before.get(*url), "{what}: {url} is not in the list\n{run}");
        }
        if unlisted.is_empty() {
            for url in list.iter().filter(|url| limit == "1M" || bodies[*url].len() <= 400) {
                assert_eq!(now[url], expected[url], "{what}: {url}\n{run}");
            }
        }
        // Every picture that was ever saved is there, under the name that its record says, and nothing else is.
        assert_eq!(run.files(), files_of(&now, &urls), "{what}\n{run}");
        for (url, path) in &now {
            assert!(run.file(path) == bodies[url], "{what}: {path} is not {url}\n{run}");
        }
        let mut known = list.iter().filter(|url| now.contains_key(*url)).collect::<Vec<_>>();
        known.sort();
        let asked = server.requests().len();
        let again = fetchimg().in_dir(&dir).lines(&known).run();
        assert_eq!((again.status, server.requests().len()), (Some(0), asked), "{what}: nothing is fetched\n{again}");
        before = now;
    }
}

/// The hash of a URL in a name that is taken.
fn short_hash(url: &str) -> String {
    fetchimg::internals::record::url_hash(&url.parse().unwrap())[..8].to_owned()
}

#[test]
fn two_rows_change_places_in_one_run() {
    let server = Server::start();
    let targets = ["/png/300/a.png", "/png/400/b.png", "/png/500/c.png"];
    let [a, b, c] = targets.map(|target| server.url(target));
    let names = ["--name", "{index}.png"];
    for flags in [&[][..], &["--sequential"], &["--fsync"], &["--dedupe"], &["--compare"]] {
        let first = fetchimg().lines([&a, &b, &c]).args(names).run();
        assert_eq!(first.files(), ["0.png", "1.png", "2.png"], "{first}");
        let swapped =
            fetchimg().in_dir(&first.dir).lines([&c, &a, &b]).args(names).arg("--overwrite").args(flags).run();
        assert_eq!((swapped.status, swapped.files().len()), (Some(0), 3), "{flags:?}\n{swapped}");
        for (file, target) in [("0.png", 2), ("1.png", 0), ("2.png", 1)] {
            assert!(swapped.file(file) == server.body(targets[target]), "{flags:?} {file}\n{swapped}");
        }
        assert_eq!(swapped.leftovers(), [""; 0], "{flags:?}\n{swapped}");
    }
}

#[test]
fn a_row_without_a_new_picture_keeps_its_own_and_one_that_is_not_listed_its_name() {
    let server = Server::start();
    let targets = ["/png/300/a.png", "/png/900/large.png", "/png/310/unlisted.png"];
    let [a, large, unlisted] = targets.map(|target| server.url(target));
    let names = ["--name", "{index}.png"];
    let first = fetchimg().lines([&large, &unlisted, &a]).args(names).run();
    assert_eq!(first.files(), ["0.png", "1.png", "2.png"], "{first}");
    let second = server.url("/png/320/d.png");
    let flags = ["--overwrite", "--max-bytes", "500"];
    for _ in 0..2 {
        let run = fetchimg().in_dir(&first.dir).lines([&a, &second, &large]).args(names).args(flags).run();
        assert_eq!((run.status, run.stdout.contains("refused           1: 1 too_large")), (Some(0), true), "{run}");
        let other = [format!("0-{}.png", short_hash(&large)), format!("1-{}.png", short_hash(&second))];
        let mut expected = ["0.png".to_owned(), "1.png".to_owned(), other[0].clone(), other[1].clone()];
        expected.sort();
        assert_eq!(run.files(), expected, "{run}");
        for (file, target) in
            ["0.png", "1.png", &other[0], &other[1]].iter().zip([targets[0], targets[2], targets[1], "/png/320/d.png"])
        {
            assert!(run.file(file) == server.body(target), "{file}\n{run}");
        }
        assert_eq!(run.leftovers(), [""; 0], "{run}");
        let asked = server.requests().len();
        let plain = fetchimg().in_dir(&first.dir).lines([&a, &second, &large, &unlisted]).run();
        assert_eq!((plain.status, server.requests().len()), (Some(0), asked), "all is there\n{plain}");
    }
    // When all are listed and fetched again, the names are those of the list.
    let run =
        fetchimg().in_dir(&first.dir).lines([&second, &large, &unlisted, &a]).args(names).arg("--overwrite").run();
    let expected = (0..4).map(|n| format!("{n}.png")).collect::<Vec<_>>();
    assert_eq!((run.status, run.files()), (Some(0), expected), "{run}");
}

/// What a run leaves that is killed when it has set `0.png` aside, and has perhaps put another picture in its place.
fn killed(server: &Server, is_replaced: bool) -> (Run, Vec<String>) {
    let urls = ["/png/300/a.png", "/png/400/b.png"].map(|target| server.url(target));
    let first = fetchimg().lines(&urls).args(["--name", "{index}.png"]).run();
    assert_eq!(first.status, Some(0), "{first}");
    let journal = first.journal();
    let end = fs::metadata(&journal).unwrap().len();
    let aside = first.output().join(format!(".fetchimg/aside/{end}"));
    fs::create_dir_all(&aside).unwrap();
    fs::hard_link(first.output().join("0.png"), aside.join("0.png")).unwrap();
    if is_replaced {
        fs::remove_file(first.output().join("0.png")).unwrap();
        fs::rename(first.output().join("1.png"), first.output().join("0.png")).unwrap();
        let moved = first.record(1).to_string().replace("1.png", "0.png");
        fs::write(&journal, fs::read_to_string(&journal).unwrap() + &moved + "\n").unwrap();
    }
    (first, urls.to_vec())
}

#[test]
fn what_a_killed_run_set_aside_is_found_by_the_next_one() {
    for is_replaced in [false, true] {
        for flags in [&[][..], &["--overwrite", "--max-bytes", "1"], &["--overwrite", "--name", "{index}.png"]] {
            let server = Server::start();
            let (first, urls) = killed(&server, is_replaced);
            let run = fetchimg().in_dir(&first.dir).lines(&urls).args(flags).run();
            let fails = flags.contains(&"1");
            assert_eq!(run.status, Some(0), "{is_replaced} {flags:?}\n{run}");
            let asked = if flags.is_empty() { 2 } else { 4 };
            assert_eq!(server.requests().len(), asked, "{is_replaced} {flags:?}\n{run}");
            let files = match (is_replaced, flags.len()) {
                (true, 0 | 3) if fails || flags.is_empty() => {
                    [format!("0-{}.png", short_hash(&urls[0])), "0.png".into()]
                }
                _ => ["0.png".to_owned(), "1.png".into()],
            };
            assert_eq!(run.files(), files, "{is_replaced} {flags:?}\n{run}");
            assert_eq!(run.leftovers(), [""; 0], "{run}");
            for (url, path) in living(&run) {
                let target = url.splitn(4, '/').last().unwrap();
                assert!(run.file(&path) == server.body(&format!("/{target}")), "{url} {path}\n{run}");
            }
        }
    }
}

#[test]
fn nothing_is_lost_with_the_journal() {
    let server = Server::start();
    let (first, urls) = killed(&server, true);
    fs::remove_file(first.journal()).unwrap();
    let run = fetchimg().in_dir(&first.dir).lines(&urls).run();
    let there = run.files().iter().map(|file| run.file(file)).collect::<Vec<_>>();
    for target in ["/png/300/a.png", "/png/400/b.png"] {
        assert!(there.contains(&server.body(target)), "{run}");
    }
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

#[test]
fn a_thousand_rows_change_places() {
    let server = Server::start();
    let mut urls = (0..1000).map(|n| server.url(&format!("/png/{}/{n}.png", 300 + n % 50))).collect::<Vec<_>>();
    let names = ["-q", "--name", "{index/100}/{index}.png"];
    let first = fetchimg().lines(&urls).args(names).run();
    assert_eq!(first.status, Some(0), "{first}");
    let files = first.files();
    urls.reverse();
    let second = fetchimg().in_dir(&first.dir).lines(&urls).args(names).arg("--overwrite").run();
    assert_eq!((second.status, second.files()), (Some(0), files), "{second}");
    assert_eq!(second.leftovers(), [""; 0], "{second}");
    let record: Value = second.records().into_iter().rev().find(|record| record["index"] == 0).unwrap();
    assert_eq!((&record["path"], &record["url"]), (&"0/0.png".into(), &urls[0].as_str().into()));
    assert!(second.file("0/0.png") == server.body("/png/349/999.png"));
    assert!(Path::new(second.output()).join("9/999.png").exists());
}

#[test]
fn a_name_that_changes_in_case_alone_leaves_no_file_behind() {
    let server = Server::start();
    let targets = ["/png/300/a.png", "/png/400/b.png"];
    let [a, b] = targets.map(|target| server.url(target));
    let list = |names: [&str; 2]| format!("url,n\n{a},{}\n{b},{}\n", names[0], names[1]);
    for flags in [&[][..], &["--sequential"], &["--compare"], &["--state", "state"], &["--fsync"]] {
        // The other row gets the name of this one, in other letters.
        for (before, after) in [(["cat", "dog"], ["Cat", "dog"]), (["cat", "dog"], ["fox", "Cat"])] {
            let dir = TestDir::new();
            let what = format!("{flags:?} {after:?}");
            let run = |names: [&str; 2], more: &[&str]| {
                dir.write("list.csv", list(names));
                let line = ["list.csv", "--name", "{col.n}.{ext}"];
                let run = fetchimg().in_dir(&dir).args(line).args(flags).args(more).run();
                assert_eq!((run.status, run.leftovers()), (Some(0), vec![]), "{what}\n{run}");
                run
            };
            run(before, &[]);
            let second = run(after, &["--overwrite"]);
            let mut files = after.map(|name| format!("{name}.png"));
            for (file, target) in files.iter().zip(targets) {
                assert!(second.file(file) == server.body(target), "{what} {file}\n{second}");
            }
            files.sort();
            // On a file system that ignores case, a file that is replaced keeps the letters of its name.
            let ignores_case = dir.join("LIST.CSV").exists();
            let there = second.files();
            assert!(there == files || (ignores_case && there.len() == 2), "{what}: {there:?}\n{second}");
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    fetchimg::internals::record::hex(&Sha256::digest(bytes))
}

/// The names of the files of images, given as content and extension.
fn digest_names<const N: usize>(images: [(&[u8], &str); N]) -> Vec<String> {
    let mut names = images.map(|(bytes, ext)| format!("{}.{ext}", digest(bytes)));
    names.sort();
    names.to_vec()
}

#[test]
fn a_name_that_is_made_of_the_content_goes_with_it() {
    let dir = TestDir::new();
    let (one, two, new) = (images::png_sized(20, 10), images::png_sized(20, 20), images::png_sized(20, 30));
    let urls = ["1.png", "2.png"].map(|name| format!("file://{}", dir.join(name).display()));
    let flags = ["--file-urls", "--name", "{sha256}.{ext}"];
    let run = |lines: &[String], more: &[&str]| {
        let run = fetchimg().in_dir(&dir).lines(lines).args(flags).args(more).run();
        assert_eq!((run.status, run.leftovers()), (Some(0), vec![]), "{run}");
        for (url, path) in living(&run) {
            assert!(run.files().contains(&path), "{url} {path}\n{run}");
        }
        run
    };
    dir.write("1.png", &one);
    dir.write("2.png", &two);
    assert_eq!(run(&urls, &[]).files(), digest_names([(&one, "png"), (&two, "png")]));
    dir.write("1.png", &new);
    let compared = run(&urls, &["--compare"]);
    assert_eq!(compared.files(), digest_names([(&new, "png"), (&two, "png")]), "{compared}");

    // Two rows with one content: the file goes with the second.
    dir.write("1.png", &two);
    assert_eq!(run(&urls, &["--compare"]).files(), digest_names([(&*two, "png")]));
    dir.write("1.png", &one);
    assert_eq!(run(&urls, &["--compare"]).files(), digest_names([(&one, "png"), (&two, "png")]));
    dir.write("2.png", &new);
    assert_eq!(run(&urls, &["--compare"]).files(), digest_names([(&one, "png"), (&new, "png")]));

    // A row that is fetched again because the list asks for another digest.
    dir.write("1.png", &two);
    dir.write("list.csv", format!("url,sha256\n{},{}\n{},{}\n", urls[0], digest(&two), urls[1], digest(&new)));
    let column = ["--checksum-column", "sha256"];
    let checked = fetchimg().in_dir(&dir).arg("list.csv").args(flags).args(column).run();
    assert_eq!((checked.status, checked.leftovers()), (Some(0), vec![]), "{checked}");
    assert_eq!(checked.files(), digest_names([(&two, "png"), (&new, "png")]), "{checked}");
}

#[test]
fn a_name_that_is_made_of_the_content_has_the_extension_of_the_new_format() {
    let dir = TestDir::new();
    let pictures = [images::png_sized(20, 10), images::png_sized(20, 20)];
    let urls = ["1", "2"].map(|name| format!("file://{}", dir.join(name).display()));
    dir.write("1", &pictures[0]);
    dir.write("2", &pictures[1]);
    let run = |more: &[&str]| {
        let flags = ["--file-urls", "--name", "{sha256}.{ext}"];
        let run = fetchimg().in_dir(&dir).lines(&urls).args(flags).args(more).run();
        assert_eq!((run.status, run.leftovers()), (Some(0), vec![]), "{run}");
        run
    };
    let encoded = run(&["--encode", "jpeg"]).files();
    assert!(encoded.len() == 2 && encoded.iter().all(|name| name.contains(".jpg")), "{encoded:?}");
    let compared = run(&["--compare"]);
    let expected = digest_names([(&pictures[0], "png"), (&pictures[1], "png")]);
    assert_eq!(compared.files(), expected, "{compared}");
    assert_eq!(run(&["--compare", "--encode", "jpeg"]).files(), encoded);
    // So it has where the file is gone.
    fs::remove_file(compared.output().join(&encoded[0])).unwrap();
    let fetched = run(&[]);
    assert_eq!(fetched.files().iter().filter(|name| expected.contains(name)).count(), 1, "{fetched}");
}
