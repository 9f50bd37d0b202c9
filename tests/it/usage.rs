//! Command lines that are wrong, places that cannot be written, and questions that are answered without a run.

use std::fs;

use crate::common::{Run, Server, TestDir, fetchimg};

/// The command line is refused with a hint, no file is created, and no request is sent.
#[track_caller]
fn assert_refused(run: &Run, hint: &str) {
    assert_eq!(run.status, Some(2), "{run}");
    assert!(run.stderr.contains(hint), "{hint:?} is missing in\n{run}");
    assert_eq!(run.stdout, "", "{run}");
    assert!(!run.output().exists(), "{run}");
}

#[test]
fn help_tells_what_can_be_typed() {
    for flag in ["--help", "-h"] {
        let run = fetchimg().arg(flag).run();
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "{run}");
        for part in [
            "Usage: fetchimg [OPTIONS] [INPUT]...",
            "--output",
            "--name",
            "--overwrite",
            "--skip-permanent",
            "--fix-extension",
            "--fsync",
            "--accept",
            "--chunk-size",
            "--max-bytes",
            "--manifest",
            "--sequential",
            "--compare",
            "--concurrency",
            "--per-host",
            "--retries",
            "--retry-wait",
            "--connect-timeout",
            "--stall-timeout",
            "--timeout",
            "--header",
            "--user-agent",
            "--referer",
            "--cookie",
            "--user",
            "--netrc",
            "--proxy",
            "--cacert",
            "--insecure",
            "--resolve",
            "--ipv4",
            "--ipv6",
            "--http1.1",
            "--max-redirs",
            "--quiet",
            "--verbose",
            "--progress",
            "--log-format",
            "--report",
            "--json",
            "--demo",
            "interrupted",
        ] {
            assert!(run.stdout.contains(part), "{part} is missing in\n{run}");
        }
    }
}

#[test]
fn the_version_is_told() {
    for flag in ["--version", "-V"] {
        let run = fetchimg().arg(flag).run();
        assert_eq!((run.status, run.stderr.as_str()), (Some(0), ""), "{run}");
        assert_eq!(run.stdout, format!("fetchimg {}\n", env!("CARGO_PKG_VERSION")), "{run}");
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let help = fetchimg().arg("--help").run().stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for (flag, default) in [
        ("--output", "images"),
        ("--name", "{basename}"),
        ("--accept", "image"),
        ("--chunk-size", "512"),
        ("--max-bytes", "256MiB"),
        ("--concurrency", "256"),
        ("--per-host", "auto"),
        ("--retries", "3"),
        ("--retry-wait", "0.5"),
        ("--connect-timeout", "10"),
        ("--stall-timeout", "20"),
        ("--timeout", "300"),
        ("--max-redirs", "10"),
        ("--progress", "auto"),
        ("--log-format", "text"),
    ] {
        let (_, about) = help.split_once(&format!("{flag} <")).unwrap_or_else(|| panic!("{flag} is missing"));
        let (_, shown) = about.split_once("[default: ").unwrap_or_else(|| panic!("{flag} has no default"));
        assert!(shown.starts_with(&format!("{default}]")), "{flag}: {}", &shown[..40.min(shown.len())]);
    }
}

#[test]
fn an_unknown_flag_is_refused() {
    assert_refused(&fetchimg().args(["list.txt", "--paralel"]).run(), "--paralel");
    assert_refused(&fetchimg().args(["list.txt", "-Z"]).run(), "-Z");
    assert_refused(&fetchimg().args(["list.txt", "--ouput", "x"]).run(), "--output");
}

#[test]
fn flags_of_other_programs_are_answered_by_the_one_that_does_it_here() {
    for (flag, hint) in [
        ("--jobs=4", "there is no --jobs; many downloads at once are the default; -j N"),
        ("--threads", "-j N"),
        ("--thread_count", "-j N"),
        ("--resume", "the same command again"),
        ("--continue", "the same command again"),
        ("--input", "fetchimg LIST"),
        ("--quiet-errors", "-q logs only errors"),
        ("-L", "--max-redirs N"),
    ] {
        assert_refused(&fetchimg().args(["list.txt", flag]).run(), hint);
    }
    let run = fetchimg().args(["list.txt", "--retries", "many"]).run();
    assert_refused(&run, "fetchimg: --retries many is no number that it takes; write one such as 3\n");
}

#[test]
fn an_address_in_place_of_a_list_is_answered_as_one() {
    for (argument, hint) in [
        ("example.com/a.png", "if it is the URL of an image, write https://example.com/a.png"),
        ("127.0.0.1:9/a.png", "write https://127.0.0.1:9/a.png"),
        ("ftp://a.example/list.txt", "ftp: URLs are not fetched; fetchimg fetches http: and https: URLs"),
        ("data:image/png;base64,AAAA", "a data: URL holds the image itself"),
        ("file:///tmp/none.txt", "name a list by its path, as in /tmp/none.txt"),
    ] {
        let run = fetchimg().args([argument, "-o", "images"]).run();
        assert_eq!((run.status, run.stdout.as_str()), (Some(3), ""), "{run}");
        assert!(run.stderr.starts_with("fetchimg: cannot read the list ") && run.stderr.contains(hint), "{run}");
        assert_eq!((run.stderr.lines().count(), run.output().exists()), (1, false), "{run}");
    }
    // A file of that name is a list.
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("example.com/a.png", server.url("/png/300/b.png"));
    let run = fetchimg().in_dir(&dir).args(["example.com/a.png"]).run();
    assert_eq!(run.outcomes(), ["saved b.png"], "{run}");
}

#[test]
fn a_flag_without_its_value_is_refused() {
    for flag in ["--name", "-j", "--per-host", "--report", "--chunk-size"] {
        assert_refused(&fetchimg().args(["list.txt", flag]).run(), "value");
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let server = Server::start();
    for (flag, values) in [
        ("--concurrency", &["-1", "many", "1.5", "99999999999999999999999"][..]),
        ("--per-host", &["0", "-1", "many", ""]),
        ("--retries", &["-1", "many"]),
        ("--retry-wait", &["-1", "soon", "nan"]),
        ("--connect-timeout", &["0", "-1", "long", "nan"]),
        ("--stall-timeout", &["0", "-1"]),
        ("--timeout", &["0", "-1", "nan"]),
        ("--max-redirs", &["-1", "x"]),
        ("--chunk-size", &["0", "-1", "big", "", "1.5.2k", "12 apples"]),
        ("--max-bytes", &["big", "-5", "", "10 bananas"]),
        ("--progress", &["fancy", ""]),
        ("--log-format", &["xml"]),
    ] {
        for value in values {
            let run = fetchimg().lines([server.url("/png/300/a.png")]).arg(format!("{flag}={value}")).run();
            assert_refused(&run, flag);
        }
    }
    assert_refused(&fetchimg().lines([server.url("/png/300/a.png")]).args(["-j", "0"]).run(), "-j 1");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn sizes_may_have_units() {
    let server = Server::start();
    for (size, outcome) in [("299", "refused too_large")]
        .into_iter()
        .chain(["300", "1k", "1KiB", "1kB", "10MiB", "2G"].map(|size| (size, "saved a.png")))
    {
        let run = fetchimg().lines([server.url("/png/300/a.png")]).args(["--max-bytes", size]).run();
        assert_eq!((run.status, run.outcomes()), (Some(0), vec![outcome.to_owned()]), "{run}");
    }
    let run = fetchimg().lines([server.url("/png/1010/a.png")]).args(["--max-bytes", "1kB"]).run();
    assert_eq!(run.outcomes(), ["refused too_large"], "1kB is 1000 bytes\n{run}");
    let run = fetchimg().lines([server.url("/png/1024/a.png")]).args(["--max-bytes", "1k"]).run();
    assert_eq!(run.outcomes(), ["saved a.png"], "1k is 1024 bytes, as in curl\n{run}");
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for (flags, hint) in [
        (&["--sequential", "--compare"][..], "--compare"),
        (&["-q", "-v"], "--quiet"),
        (&["-4", "-6"], "--ipv6"),
        (&["--manifest", "-", "--json"], "--json"),
    ] {
        assert_refused(&fetchimg().lines(["http://127.0.0.1:9/a.png"]).args(flags).run(), hint);
    }
    assert_refused(&fetchimg().args(["-", "-"]).run(), "standard input");
}

#[test]
fn values_that_are_none_are_refused_with_an_example() {
    for (arguments, hint) in [
        (["--accept", "jpeg,doc"], "doc"),
        (["--accept", ""], "image"),
        (["--report", "run.docx"], ".json"),
        (["--report", "run"], ".json"),
        (["--resolve", "example.org:127.0.0.1"], "HOST:PORT:ADDRESS"),
        (["-H", "nonsense"], "Name: value"),
        (["-H", "na me: value"], "na me"),
        (["-A", "line\nfeed"], "--user-agent"),
        (["-b", "nonsense"], "NAME=VALUE"),
        (["-x", "::"], "--proxy"),
    ] {
        assert_refused(&fetchimg().lines(["http://127.0.0.1:9/a.png"]).args(arguments).run(), hint);
    }
}

/// The run cannot start: one sentence, no report, no request.
#[track_caller]
fn assert_not_started(run: &Run, server: &Server, sentence: &str) {
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.starts_with(&format!("fetchimg: {sentence}")), "{run}");
    assert_eq!((run.stderr.lines().count(), run.stdout.as_str()), (1, ""), "{run}");
    assert_eq!(server.requests().len(), 0, "{run}");
}

#[test]
fn an_output_that_cannot_be_a_folder_is_refused() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("file", "my own");
    for folder in ["file", "file/sub", "file/sub/deeper"] {
        let run = fetchimg().in_dir(&dir).lines([server.url("/png/300/a.png")]).args(["-o", folder]).run();
        assert_not_started(&run, &server, &format!("cannot write {folder}: "));
        assert_eq!(dir.read("file"), b"my own", "{run}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_refused() {
    let server = Server::start();
    // Nothing can be created there, not even by root.
    let run = fetchimg().lines([server.url("/png/300/a.png")]).args(["-o", "/proc/fetchimg"]).run();
    assert_not_started(&run, &server, "cannot write /proc/fetchimg: ");
}

#[cfg(unix)]
#[test]
fn an_output_without_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;

    let server = Server::start();
    let dir = TestDir::new();
    fs::create_dir(dir.join("locked")).expect("a folder can be made");
    fs::set_permissions(dir.join("locked"), fs::Permissions::from_mode(0o555)).expect("it is ours");
    if fs::write(dir.join("locked/probe"), "").is_ok() {
        return; // root may write everywhere
    }
    let run = fetchimg().in_dir(&dir).lines([server.url("/png/300/a.png")]).args(["-o", "locked"]).run();
    assert_not_started(&run, &server, "cannot write locked");
}

#[test]
fn a_private_folder_that_is_something_else_is_refused() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("one/.fetchimg", "a file");
    dir.write("two/.fetchimg.jsonl/file", "in a folder");
    // As an older version would have it.
    dir.write("three/.fetchimg/manifest.jsonl/file", "in a folder");
    for folder in ["one", "two", "three"] {
        let run = fetchimg().in_dir(&dir).lines([server.url("/png/300/a.png")]).args(["-o", folder]).run();
        assert_not_started(&run, &server, &format!("cannot write {folder}/.fetchimg"));
    }
    assert_eq!(dir.read("one/.fetchimg"), b"a file");
}

#[test]
fn certificates_that_cannot_be_read_are_refused() {
    let server = Server::start();
    let dir = TestDir::new();
    dir.write("empty.pem", "");
    dir.write("nonsense.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n");
    for file in ["missing.pem", "empty.pem", "nonsense.pem"] {
        let run = fetchimg().in_dir(&dir).lines([server.url("/png/300/a.png")]).args(["--cacert", file]).run();
        assert!(matches!(run.status, Some(2 | 3)), "{run}");
        assert!(run.stderr.contains(file), "{run}");
        assert_eq!((run.stderr.lines().count(), server.requests().len()), (1, 0), "{run}");
    }
}

#[test]
fn every_help_tells_every_exit_status_and_the_version_is_that_of_the_manual() {
    for flag in ["-h", "--help", "--man"] {
        let text = fetchimg().arg(flag).run().stdout;
        let (_, statuses) = text.rsplit_once(if flag == "--man" { "EXIT STATUS" } else { "Exit status" }).expect(flag);
        let numbers = statuses.split(|character: char| !character.is_ascii_digit()).collect::<Vec<_>>();
        for status in ["0", "1", "2", "3", "129", "130", "143"] {
            assert!(numbers.contains(&status), "{status} in {flag}\n{statuses}");
        }
    }
    for page in ["README.md", "src/manual/options.md"] {
        let text = fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).expect("a page");
        assert!(text.contains("| 129, 130, 143 |"), "{page}");
    }
    let version = fetchimg().arg("--version").run();
    assert_eq!(version.stdout, format!("fetchimg {}\n", env!("CARGO_PKG_VERSION")), "{version}");
    // The manual tells of versions before this one.
    assert!(version.stdout.starts_with("fetchimg 0.2."), "{version}");
}

#[test]
fn files_that_a_run_writes_are_different_ones() {
    let (server, dir) = (Server::start(), TestDir::new());
    let url = server.url("/png/300/a.png");
    dir.write("there.json", "kept");
    dir.write("below/.keep", "");
    std::os::unix::fs::symlink("there.json", dir.join("link.json")).expect("a link");
    fs::hard_link(dir.join("there.json"), dir.join("hard.json")).expect("a link");
    for (flags, which) in [
        (["--manifest", "m.jsonl", "--metadata", "m.jsonl"], "m.jsonl: --manifest and --metadata"),
        (["--manifest", "m.json", "--report", "m.json"], "m.json: --manifest and --report"),
        (["--manifest", "mm", "--metrics", "mm"], "mm: --manifest and --metrics"),
        (["--report", "r.html", "--report", "./below/../r.html"], "r.html: --report and --report"),
        (["--metrics", "images/m.csv", "--metadata", "images/m.csv"], "m.csv: --metadata and --metrics"),
        (["--report", "link.json", "--manifest", "there.json"], "link.json: --manifest and --report"),
        (["--report", "hard.json", "--manifest", "there.json"], "hard.json: --manifest and --report"),
    ] {
        for more in [&[][..], &["--output-format", "webdataset"]] {
            if more.is_empty() || !flags.contains(&"--metadata") {
                let run = fetchimg().arg(&url).args(flags).args(more).in_dir(&dir).run();
                assert_refused(&run, &format!("{which} would both go there; give each a file of its own\n"));
            }
        }
    }
    assert_eq!(dir.read("there.json"), b"kept");
    assert_eq!(server.requests().len(), 0);
    // What is no file takes any number of them.
    std::os::unix::fs::symlink("/dev/null", dir.join("null.json")).expect("a link");
    let flags = ["--manifest", "null.json", "--report", "null.json", "--report", "a.md", "--report", "b.md"];
    let run = fetchimg().arg(&url).args(flags).in_dir(&dir).run();
    assert_eq!(run.status, Some(0), "{run}");
}

#[test]
fn files_are_never_written_among_those_of_fetchimg() {
    let (server, dir) = (Server::start(), TestDir::new());
    let url = server.url("/png/300/a.png");
    for path in ["images/.fetchimg/r.json", "state/r.json", "images/.fetchimg.r.json"] {
        for flag in ["--report", "--manifest", "--metrics"] {
            for state in [&[][..], &["--state", "state"]] {
                if path.starts_with("state") && state.is_empty() {
                    continue;
                }
                // At once, and not only when the file is there.
                let run = fetchimg().arg(&url).args([flag, path]).args(state).in_dir(&dir).run();
                assert_eq!(run.status, Some(3), "{run}");
                let sentence = format!("cannot write {path}: fetchimg keeps its own records there\n");
                assert!(run.stderr.ends_with(&sentence), "{run}");
                assert!(!dir.join("images").exists() && !dir.join("state").exists(), "{run}");
            }
        }
    }
    assert_eq!(server.requests().len(), 0);
}
