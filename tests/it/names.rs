//! Which file a URL becomes: names from URLs and servers, extensions, collisions, nasty names, templates.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::common::{Run, Server, TestDir, fetchimg};

/// A header as the value of a query.
fn encoded(header: &str) -> String {
    utf8_percent_encode(header, NON_ALPHANUMERIC).to_string()
}

/// All 64 digits of the hash that goes before the extension of a name that is taken.
fn hash64(url: &str) -> String {
    let url = url::Url::parse(url).expect("a URL");
    let sent = &url[..url::Position::AfterQuery];
    Sha256::digest(sent.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes everything");
        hex
    })
}

/// The first digits of it, which are enough in most cases.
fn hash8(url: &str) -> String {
    hash64(url)[..8].to_owned()
}

/// The paths of all rows, in list order; every row must be saved with exactly the bytes of its target.
#[track_caller]
fn saved(run: &Run, server: &Server, targets: &[&str]) -> Vec<String> {
    assert_eq!(run.status, Some(0), "{run}");
    let paths: Vec<String> = (0..)
        .zip(targets)
        .map(|(index, target)| {
            let record = run.record(index);
            assert_eq!(record["status"], "saved", "{record}\n{run}");
            let path = record["path"].as_str().expect("a saved row has a path");
            assert!(run.file(path) == server.body(target), "{path} is not {target}\n{run}");
            path.to_owned()
        })
        .collect();
    let mut sorted = paths.clone();
    sorted.sort();
    assert_eq!(run.files(), sorted, "one file for each row\n{run}");
    paths
}

fn urls(server: &Server, targets: &[&str]) -> Vec<String> {
    targets.iter().map(|target| server.url(target)).collect()
}

#[test]
fn the_last_segment_of_the_path_is_the_name() {
    let server = Server::start();
    for (target, name) in [
        ("/png/300/cat.png", "cat.png"),
        ("/png/300/deep/er/cat.png", "cat.png"),
        ("/png/300/cat.png?width=30&name=dog.gif", "cat.png"),
        ("/png/300/cat.png#dog.gif", "cat.png"),
        ("/png/300/cat.png;v=1", "cat.png;v=1.png"),
        ("/png/300/two%20words.png", "two words.png"),
        ("/png/300/na%C3%AFve.png", "naïve.png"),
        ("/png/300/naïve.png", "naïve.png"),
        ("/png/300/e%CC%81.png", "é.png"),
        ("/png/300/a%2Bb+c.png", "a+b+c.png"),
        ("/png/300/100%25.png", "100%.png"),
        ("/png/300/CAT.PNG", "CAT.PNG"),
        ("/png/300/-rf.png", "-rf.png"),
    ] {
        let run = fetchimg().lines([server.url(target)]).run();
        assert_eq!(saved(&run, &server, &[target]), [name], "{run}");
    }
}

#[test]
fn a_redirect_does_not_rename() {
    let server = Server::start();
    let target = "/redirect/302/2/png/300/cat.png";
    let elsewhere = server.redirect_to(&server.url("/png/300/other.png"));
    let run = fetchimg().lines([server.url(target), elsewhere]).run();

    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved cat.png", "saved redirect-to.png"], "{run}");
    assert_eq!(run.file("redirect-to.png"), server.body("/png/300/other.png"), "{run}");
}

#[test]
fn a_url_without_a_name_is_an_image() {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/")]).run();
    assert_eq!(saved(&run, &server, &["/png/300/"]), ["image.png"]);

    let targets = ["/jpeg/", "/png/300/", "/png/400/?id=3"];
    let run = fetchimg().lines(urls(&server, &targets)).run();
    let paths = saved(&run, &server, &targets);
    assert_eq!(paths[0], "image.jpg", "{run}");
    for (path, target) in paths[1..].iter().zip(&targets[1..]) {
        assert_eq!(*path, format!("image-{}.png", hash8(&server.url(target))), "{run}");
    }
}

#[test]
fn a_server_names_what_its_url_does_not() {
    let server = Server::start();
    for (header, name) in [
        ("attachment; filename=cat.png", "cat.png"),
        ("inline; filename=\"cat one.png\"", "cat one.png"),
        ("attachment; filename=\"x.png\"; filename*=UTF-8''na%C3%AFve.png", "naïve.png"),
        ("attachment; filename=photo", "photo.png"),
        ("attachment; filename=\"../../etc/cat.png\"", "cat.png"),
        ("attachment; filename=\"..\"", "image.png"),
        ("attachment", "image.png"),
    ] {
        let target = format!("/disposition/300/?header={}", encoded(header));
        let run = fetchimg().lines([server.url(&target)]).run();
        assert_eq!(saved(&run, &server, &[&target]), [name], "{header}\n{run}");
    }
}

#[test]
fn a_server_does_not_rename_what_has_a_name() {
    let server = Server::start();
    let header = encoded("attachment; filename=other.png");
    let target = format!("/disposition/300/cat.png?header={header}");
    let run = fetchimg().lines([server.url(&target)]).run();
    assert_eq!(saved(&run, &server, &[&target]), ["cat.png"]);
}

#[test]
fn a_name_from_a_server_does_not_replace_another() {
    let server = Server::start();
    let from_server = |k: u32| format!("/disposition/30{k}/?header={}", encoded("attachment; filename=cat.png"));
    let targets = [from_server(0), from_server(1), "/png/400/cat.png".to_owned()];
    let targets = targets.iter().map(String::as_str).collect::<Vec<_>>();
    for mode in ["--sequential", "--concurrency=8"] {
        let run = fetchimg().lines(urls(&server, &targets)).arg(mode).run();
        let mut names = saved(&run, &server, &targets);
        names.sort();
        assert_eq!(names.len(), 3, "{run}");
        assert_eq!(names.iter().filter(|name| *name == "cat.png").count(), 1, "{run}");
        assert!(
            names.iter().filter(|name| name.starts_with("cat-") && name.len() == "cat-01234567.png".len()).count() == 2,
            "{run}"
        );
    }
}

#[test]
fn the_content_gives_a_missing_extension() {
    let server = Server::start();
    let targets = [
        "/png/300/photo",
        "/png/300/photo.php",
        "/png/300/v1.2",
        "/jpeg/j",
        "/gif/g",
        "/webp/w",
        "/bmp/b",
        "/svg/s",
        "/avif/a",
    ];
    let names = ["photo.png", "photo.php.png", "v1.2.png", "j.jpg", "g.gif", "w.webp", "b.bmp", "s.svg", "a.avif"];
    let run = fetchimg().lines(urls(&server, &targets)).run();
    assert_eq!(saved(&run, &server, &targets), names);
}

#[test]
fn an_extension_that_contradicts_the_bytes_is_kept_and_counted() {
    let server = Server::start();
    let targets = ["/jpeg/a.png", "/png/300/b.jpg", "/jpeg/c.jpeg", "/png/300/d.png"];
    let run = fetchimg().lines(urls(&server, &targets)).arg("--json").run();
    assert_eq!(saved(&run, &server, &targets), ["a.png", "b.jpg", "c.jpeg", "d.png"]);
    assert_eq!(run.report()["modes"][0]["extension_mismatches"], 2, "{run}");
    assert_eq!((run.record(0)["format"].as_str(), run.record(1)["format"].as_str()), (Some("jpeg"), Some("png")));

    let run = fetchimg().lines(urls(&server, &targets)).run();
    assert!(run.stdout.contains("--fix-extension"), "the way out is told\n{run}");
}

#[test]
fn fix_extension_names_by_content() {
    let server = Server::start();
    let targets = ["/jpeg/a.png", "/png/300/b.JPG", "/jpeg/c.jpeg", "/png/300/d.png"];
    let run = fetchimg().lines(urls(&server, &targets)).args(["--fix-extension", "--json"]).run();
    assert_eq!(saved(&run, &server, &targets), ["a.jpg", "b.png", "c.jpeg", "d.png"]);
    assert_eq!(run.report()["modes"][0]["extension_mismatches"], 0, "{run}");

    let again = fetchimg().lines(urls(&server, &targets)).in_dir(&run.dir).arg("--fix-extension").run();
    assert_eq!(again.status, Some(0), "{again}");
    let kept = ["a.jpg", "b.png", "c.jpeg", "d.png"].map(|name| format!("skipped already_saved {name}"));
    assert_eq!(again.outcomes(), kept, "{again}");
}

#[test]
fn a_fixed_extension_hits_no_other_file() {
    let server = Server::start();
    let targets = ["/png/300/one/a.jpg", "/png/400/two/a.png"];
    let run = fetchimg().lines(urls(&server, &targets)).arg("--fix-extension").run();
    let paths = saved(&run, &server, &targets);
    assert_eq!(paths, ["a.png".to_owned(), format!("a-{}.png", hash8(&server.url(targets[1])))]);
}

#[test]
fn an_extension_fixed_later_hits_no_other_file() {
    let server = Server::start();
    let targets = ["/png/300/one/a.jpg", "/png/400/two/a.png"];
    let run = fetchimg().lines(urls(&server, &targets)).run();
    assert_eq!(saved(&run, &server, &targets), ["a.jpg", "a.png"]);
    std::fs::remove_file(run.output().join("a.jpg")).expect("it is there");

    let run = fetchimg().lines(urls(&server, &targets)).in_dir(&run.dir).arg("--fix-extension").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes()[1], "skipped already_saved a.png", "{run}");
    assert_eq!(run.file("a.png"), server.body(targets[1]), "the other image is still there\n{run}");
    let path = run.record(0)["path"].as_str().expect("a saved row has a path").to_owned();
    assert_eq!(run.file(&path), server.body(targets[0]), "{run}");
}

#[test]
fn the_first_in_the_list_keeps_the_plain_name() {
    let server = Server::start();
    let targets = ["/slow/300/200/x.png", "/png/300/x.png", "/png/400/x.png?v=2#part"];
    let run = fetchimg().lines(urls(&server, &targets)).run();
    let paths = saved(&run, &server, &targets);
    let later = |target: &str| format!("x-{}.png", hash8(&server.url(target)));
    assert_eq!(paths, ["x.png".to_owned(), later(targets[1]), later(targets[2])], "{run}");

    for arguments in [&["--sequential"][..], &["-j", "1"], &[]] {
        let other = fetchimg().lines(urls(&server, &targets)).args(arguments).args(["-o", "elsewhere"]).run();
        assert_eq!(saved(&other, &server, &targets), paths, "{other}");
    }
}

#[test]
fn a_name_that_waits_for_its_extension_is_taken() {
    let server = Server::start();
    let targets = ["/slow/200/300/x", "/png/300/x.png", "/jpeg/x.jpg", "/png/400/y.png", "/slow/100/300/y"];
    let run = fetchimg().lines(urls(&server, &targets)).run();
    let paths = saved(&run, &server, &targets);
    assert_eq!((paths[0].as_str(), paths[3].as_str()), ("x.png", "y.png"), "{run}");
    assert_eq!(paths[1], format!("x-{}.png", hash8(&server.url(targets[1]))), "{run}");
    assert_eq!(paths[4], format!("y-{}.png", hash8(&server.url(targets[4]))), "{run}");
}

#[test]
fn a_failed_row_keeps_its_name_from_the_others() {
    let server = Server::start();
    let (missing, there) = (server.url("/status/404/x.png"), server.url("/png/300/x.png"));
    let run = fetchimg().lines([&missing, &there]).run();
    assert_eq!(run.status, Some(1), "{run}");
    let later = format!("saved x-{}.png", hash8(&there));
    assert_eq!(run.outcomes(), ["failed http_status 404", &later], "{run}");
}

#[test]
fn a_suffix_that_is_taken_is_not_used_twice() {
    let server = Server::start();
    let second = "/png/400/x.png";
    let decoy = format!("/png/500/x-{}.png", hash8(&server.url(second)));
    for targets in [["/png/300/x.png", second, &decoy], [&decoy, "/png/300/x.png", second]] {
        let run = fetchimg().lines(urls(&server, &targets)).run();
        saved(&run, &server, &targets);
    }
}

#[test]
fn names_that_differ_in_case_alone_are_one_name() {
    let server = Server::start();
    let targets = ["/png/300/Cat.png", "/png/400/cat.png", "/png/500/CAT.PNG", "/png/600/%C3%9C.png", "/png/700/ü.png"];
    let run = fetchimg().lines(urls(&server, &targets)).run();
    let paths = saved(&run, &server, &targets);
    assert_eq!(paths[0], "Cat.png", "{run}");
    assert_eq!(paths[1], format!("cat-{}.png", hash8(&server.url(targets[1]))), "{run}");
    assert_eq!(paths[2], format!("CAT-{}.PNG", hash8(&server.url(targets[2]))), "{run}");
    assert_eq!(paths[3], "Ü.png", "{run}");
    assert_eq!(paths[4], format!("ü-{}.png", hash8(&server.url(targets[4]))), "{run}");
}

#[test]
fn nasty_names_land_safely_in_the_folder() {
    let server = Server::start();
    let long = "x".repeat(300);
    let segments = [
        "%2e%2e%2f%2e%2e%2fescape.png".to_owned(),
        "..%2Fescape.png".into(),
        "..%5C..%5Cescape.png".into(),
        "%2Fetc%2Fescape.png".into(),
        "C:%5Cescape.png".into(),
        "%2e%2e%2f".into(),
        "...".into(),
        "%2efetchimg".into(),
        ".fetchimg%2Flock".into(),
        ".fetchimg.jsonl".into(),
        ".hidden.png".into(),
        "con.png".into(),
        "NUL".into(),
        "Lpt1.tar.png".into(),
        "aux%20.png".into(),
        "a%00b.png".into(),
        "line%0Afeed%0D.png".into(),
        "red%1B%5B31m.png".into(),
        "csi%C2%9B31m.png".into(),
        "gnp%E2%80%AEexe.png".into(),
        "%FF%FE.png".into(),
        "%20%20.png%20".into(),
        "dots.png...".into(),
        "a:b%3Fc*d%7Ce%22f%3Cg%3E.png".into(),
        format!("{long}.png"),
        long.clone(),
        format!("{}.png", "ü".repeat(200)),
        format!("name.{long}"),
    ];
    let targets: Vec<String> = segments.iter().map(|segment| format!("/png/300/{segment}")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let dir = TestDir::new();
    let output = dir.join("deep/er/images");
    let run = fetchimg().in_dir(&dir).lines(urls(&server, &targets)).args(["-o", "deep/er/images"]).run();

    for path in saved(&run, &server, &targets) {
        assert!((1..=255).contains(&path.len()), "{path:?} has {} bytes", path.len());
        let forbidden = |letter: char| {
            letter.is_control() || "/\\<>:\"|?*".contains(letter) || ('\u{202a}'..='\u{202e}').contains(&letter)
        };
        assert!(!path.contains(forbidden), "{path:?}");
        assert!(!path.starts_with(['.', ' ']) && !path.ends_with(['.', ' ']), "{path:?}");
        let device = path.split('.').next().expect("a first part").trim().to_uppercase();
        assert!(!["CON", "NUL", "AUX", "LPT1"].contains(&device.as_str()), "{path:?}");
        assert!(path.to_lowercase().ends_with(".png"), "{path:?}");
    }
    let mut found: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    found.sort();
    assert_eq!(found, ["deep", "list.txt"], "nothing is outside\n{run}");
    for folder in ["deep", "deep/er"] {
        assert_eq!(std::fs::read_dir(dir.join(folder)).expect("a folder").count(), 1, "{folder}\n{run}");
    }
    assert_eq!(run.output(), output, "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

#[test]
fn long_names_that_end_alike_are_cut_and_told_apart() {
    let server = Server::start();
    let long = "x".repeat(300);
    let targets = [format!("/png/300/{long}.png"), format!("/png/400/{long}.png"), format!("/png/500/{long}y.png")];
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    let run = fetchimg().lines(urls(&server, &targets)).run();
    let paths = saved(&run, &server, &targets);
    assert_eq!(paths[0], format!("{}.png", "x".repeat(251)), "{run}");
    assert!(paths[1].ends_with(&format!("-{}.png", hash8(&server.url(targets[1])))), "{run}");
}

#[test]
fn a_template_makes_names_and_folders() {
    let server = Server::start();
    let targets = ["/png/300/cat.png", "/jpeg/Dog.JPEG", "/png/400/photo"];
    let hashes = targets.map(|target| hash64(&server.url(target)));
    let by_hash: Vec<String> = hashes.iter().zip(["png", "jpg", "png"]).map(|(h, ext)| format!("{h}.{ext}")).collect();
    for (template, names) in [
        ("{index}", ["0.png", "1.jpg", "2.png"]),
        ("{index:06}.{ext}", ["000000.png", "000001.JPEG", "000002.png"]),
        ("{index:06}-{basename}", ["000000-cat.png", "000001-Dog.JPEG", "000002-photo.png"]),
        ("{stem}_{index}.{ext}", ["cat_0.png", "Dog_1.JPEG", "photo_2.png"]),
        ("{host}/{basename}", ["127.0.0.1/cat.png", "127.0.0.1/Dog.JPEG", "127.0.0.1/photo.png"]),
        ("all/of/{stem}/{index}.{ext}", ["all/of/cat/0.png", "all/of/Dog/1.JPEG", "all/of/photo/2.png"]),
        ("{{{index}}}", ["{0}.png", "{1}.jpg", "{2}.png"]),
        ("{url_hash}", [&by_hash[0], &by_hash[1], &by_hash[2]].map(String::as_str)),
    ] {
        let run = fetchimg().lines(urls(&server, &targets)).args(["--name", template]).run();
        assert_eq!(saved(&run, &server, &targets), names, "{template}\n{run}");
    }
}

#[test]
fn rows_fan_out_over_folders() {
    let server = Server::start();
    let targets = (0..7).map(|k| format!("/png/{}/cat.png", 300 + k)).collect::<Vec<_>>();
    let targets = targets.iter().map(String::as_str).collect::<Vec<_>>();
    for (template, names) in [
        ("{index/3}/{index}", ["0/0.png", "0/1.png", "0/2.png", "1/3.png", "1/4.png", "1/5.png", "2/6.png"]),
        (
            "{index/5:03}-x/{index:02}.{ext}",
            [
                "000-x/00.png",
                "000-x/01.png",
                "000-x/02.png",
                "000-x/03.png",
                "000-x/04.png",
                "001-x/05.png",
                "001-x/06.png",
            ],
        ),
    ] {
        let run = fetchimg().lines(urls(&server, &targets)).args(["--name", template]).run();
        assert_eq!(saved(&run, &server, &targets), names, "{template}");
    }
    // A quotient does not make the names of rows different, and neither does a folder.
    let run = fetchimg().lines(urls(&server, &targets[..4])).args(["--name", "{index/2}"]).run();
    let later = |number: usize| hash8(&server.url(targets[number]));
    let names = ["0.png".to_owned(), format!("0-{}.png", later(1)), "1.png".into(), format!("1-{}.png", later(3))];
    assert_eq!(saved(&run, &server, &targets[..4]), names);
}

#[test]
fn a_slice_takes_a_part() {
    let server = Server::start();
    let targets = ["/png/300/kätzchen.png", "/png/400/kätzlein.png", "/jpeg/ab"];
    let hashes = targets.map(|target| hash64(&server.url(target)));
    let shards = [0, 1, 2].map(|k| format!("{}/{}/{k}", &hashes[k][..2], &hashes[k][2..4]));
    let ends = [0, 1, 2].map(|k| hashes[k][50..].to_owned());
    let second = hash8(&server.url(targets[1]));
    for (template, names) in [
        ("{url_hash:0:2}/{url_hash:2:4}/{index}", [0, 1, 2].map(|k| shards[k].clone() + [".png", ".png", ".jpg"][k])),
        ("{url_hash:50:64}.{ext}", [0, 1, 2].map(|k| format!("{}.{}", ends[k], ["png", "png", "jpg"][k]))),
        ("{stem:0:3}", ["kät.png".to_owned(), format!("kät-{second}.png"), "ab.jpg".into()]),
        ("{stem:2:200}.{ext}", ["tzchen.png", "tzlein.png", "_.jpg"].map(str::to_owned)),
        ("{host:0:3}/{stem:4:5}{index}", ["127/c0.png", "127/l1.png", "127/2.jpg"].map(str::to_owned)),
    ] {
        let run = fetchimg().lines(urls(&server, &targets)).args(["--name", template]).run();
        assert_eq!(saved(&run, &server, &targets), names, "{template}");
    }
}

#[test]
fn a_text_list_has_no_columns_for_names() {
    let server = Server::start();
    for arguments in [&[][..], &["--input-format", "text"]] {
        let run = fetchimg()
            .lines(urls(&server, &["/png/300/a.png"]))
            .args(["--name", "{col.class}/{index}"])
            .args(arguments)
            .run();
        assert_eq!((run.status, run.files().len()), (Some(3), 0), "{run}");
        let sentence = "fetchimg: list.txt has no column class, which --name asks for: it was taken for text";
        assert!(run.stderr.starts_with(sentence), "{run}");
    }
    assert_eq!(server.requests().len(), 0);
    // A URL on the command line is no list.
    let run = fetchimg().args([&*server.url("/png/300/a.png"), "--name", "{col.class}-{index}"]).run();
    assert_eq!(run.outcomes(), ["saved none-0.png"], "{run}");
}

#[test]
fn hosts_keep_their_pictures_apart() {
    let server = Server::start();
    let urls = ["one.test", "two.test"].map(|host| server.url_for_host(host, "/png/300/cat.png"));
    let resolve = ["one.test", "two.test"].map(|host| format!("--resolve={}", server.resolve(host)));
    let run = fetchimg().lines(&urls).args(resolve.clone()).args(["--name", "{host}/{basename}"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.outcomes(), ["saved one.test/cat.png", "saved two.test/cat.png"], "{run}");

    let run = fetchimg().lines(&urls).args(resolve).run();
    let second = format!("saved cat-{}.png", hash8(&urls[1]));
    assert_eq!(run.outcomes(), ["saved cat.png", &second], "{run}");
}

#[test]
fn a_template_without_difference_still_makes_a_file_for_each() {
    let server = Server::start();
    let targets = ["/png/300/a.png", "/png/400/b.png", "/jpeg/c.jpg"];
    let run = fetchimg().lines(urls(&server, &targets)).args(["--name", "all/same.{ext}"]).run();
    let paths = saved(&run, &server, &targets);
    assert_eq!(paths[0], "all/same.png", "{run}");
    assert_eq!(paths[1], format!("all/same-{}.png", hash8(&server.url(targets[1]))), "{run}");
}

#[test]
fn the_fields_of_a_template_cannot_lead_outside() {
    let server = Server::start();
    let targets = ["/png/300/%2e%2e%2f%2e%2e%2fescape.png", "/png/300/..%5Cescape"];
    for template in ["{stem}/{basename}", "sub/{stem}.{ext}", "{basename}/{index}"] {
        let dir = TestDir::new();
        let run =
            fetchimg().in_dir(&dir).lines(urls(&server, &targets)).args(["--name", template, "-o", "a/b/c"]).run();
        for path in saved(&run, &server, &targets) {
            assert!(path.split('/').all(|part| !part.is_empty() && !part.starts_with('.')), "{path:?}");
        }
        assert_eq!(std::fs::read_dir(dir.join("a")).expect("a folder").count(), 1, "{run}");
    }
}

#[test]
fn a_file_where_a_folder_should_be_is_a_failed_row() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("images/sub", "a file of the user's");
    let urls = [server.url("/png/300/a.png"), server.url("/png/400/b.png")];
    let run = fetchimg().in_dir(&dir).lines(urls).args(["--name", "sub/{basename}"]).run();

    assert!(matches!(run.status, Some(1 | 3)), "{run}");
    assert_eq!(run.outcomes(), ["failed disk", "failed disk"], "{run}");
    assert_eq!(run.file("sub"), b"a file of the user's", "{run}");
    assert_eq!(run.leftovers(), [""; 0], "{run}");
}

#[test]
fn a_wrong_template_is_refused_with_a_sentence() {
    let server = Server::start();
    for (template, hint) in [
        ("{nmae}", "{nmae}"),
        ("{basename", "without its }"),
        ("basename}", "without its {"),
        ("{index:6x}", "{index:6x}"),
        ("", "empty"),
        ("../{basename}", "inside the output folder"),
        ("/{basename}", "inside the output folder"),
        ("a//{basename}", "inside the output folder"),
        ("{basename}/", "inside the output folder"),
        (".fetchimg/{basename}", "inside the output folder"),
        ("a\\{basename}", "/"),
        ("{basename}\u{1b}[2J", "control character"),
        (
            "{index}-{nmae}",
            "there is no field {nmae}; there are {basename} {stem} {ext} {index} {host} {url_hash} {sha256} {col.NAME} (at character 9)",
        ),
        ("é{basename:0:8}", "{basename} is taken whole; a part of it is {stem:0:8} (at character 11)"),
        ("{url_hash:2:2}", "nothing is left of {url_hash} from 2 up to, but not including, 2 (at character 11)"),
        ("{sha256:4:2}/{basename}", "nothing is left of {sha256} from 4 up to, but not including, 2 (at character 9)"),
        ("{sha256:0:65}", "{sha256} has 64 digits (at character 11)"),
        ("{stem:8}", "a part of {stem} is two numbers, as in {stem:0:8} (at character 6)"),
        ("{index/0}/{basename}", "nothing can be divided by 0 (at character 8)"),
        ("{index/x}", "{index/x} is none of {index} {index:06} {index/1000} {index/1000:06} (at character 8)"),
        ("{col.}", "{col.NAME} needs the name of a column (at character 6)"),
        ("{col.a\u{1b}:2:1}", "nothing is left of {col.NAME} from 2 up to, but not including, 1 (at character 9)"),
        ("{host}-{sha256:0:8}-{stem}", "{sha256} must begin or end a folder's name or the file's"),
    ] {
        let run = fetchimg().lines([server.url("/png/300/a.png")]).args(["--name", template]).run();
        assert_eq!(run.status, Some(2), "{template}\n{run}");
        assert!(run.stderr.starts_with("fetchimg: --name ") && run.stderr.contains(hint), "{template}\n{run}");
        assert_eq!((run.stdout.as_str(), run.output().exists()), ("", false), "{run}");
    }
    assert_eq!(server.requests().len(), 0);
}
