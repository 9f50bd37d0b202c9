//! Sets of shards in an object store: what is there, what happens when it fails, and what it says of wrong settings.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use crate::common::s3::{ACCESS_KEY, BEARER_TOKEN, Fault, S3, SECRET_KEY, SESSION_TOKEN, What};
use crate::common::sets::{table, tar_entries};
use crate::common::{ClosedPort, Program, Run, Server, TestDir, fetchimg};

const SET: [&str; 6] = ["-o", "s3://bucket/a/set", "--output-format", "webdataset", "--scratch", "scratch"];

fn lines(server: &Server, rows: usize) -> Vec<String> {
    (0..rows).map(|n| server.url(&format!("/png/{}/{n}.png", 200 + n))).collect()
}

/// A run that makes a set in the store.
fn make(store: &S3, dir: &TestDir, urls: &[String]) -> Program {
    store.known_to(fetchimg().in_dir(dir).lines(urls).args(SET).args(["--shard-size", "10"]))
}

fn verify(store: &S3, dir: &TestDir) -> Run {
    store.known_to(fetchimg().in_dir(dir).args(["--verify-output", "-o", "s3://bucket/a/set"])).run()
}

/// What is left in the scratch folder.
fn scratch(dir: &TestDir) -> Vec<String> {
    let mut left = Vec::new();
    for folder in fs::read_dir(dir.join("scratch")).into_iter().flatten().flatten() {
        for below in fs::read_dir(folder.path().join("shards")).into_iter().flatten().flatten() {
            left.push(below.file_name().to_string_lossy().into_owned());
        }
    }
    left.sort();
    left
}

/// Asserts that the set holds each of the URLs once, with its image, and that all is as the markers say.
#[track_caller]
fn assert_whole(store: &S3, server: &Server, dir: &TestDir, urls: &[String]) {
    let verified = verify(store, dir);
    assert_eq!(verified.status, Some(0), "{verified}");
    let mut found = Vec::new();
    for key in store.objects().iter().filter(|key| key.ends_with(".parquet")) {
        let tar = tar_entries(&store.object(&key.replace(".parquet", ".tar")));
        for row in table(store.object(key)).1 {
            let url = row["url"].as_str().unwrap();
            let name = format!("{}.png", row["key"].as_str().unwrap());
            let (_, image) = tar.iter().find(|(file, _)| *file == name).unwrap();
            assert!(*image == server.body(&url[url.find("/png").unwrap()..]), "{url}");
            found.push(url.to_owned());
        }
    }
    found.sort();
    let mut expected = urls.to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(store.open_uploads(), 0);
    let left = fs::read_dir(dir.join("scratch")).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    assert_eq!(left, [""; 0].map(std::path::PathBuf::from), "nothing is left in the scratch folder");
}

#[test]
fn a_set_in_a_store_is_that_of_a_folder_and_is_not_made_twice() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 23);
    let more = ["--sequential", "--manifest", "first.jsonl", "-vv"];
    let run = make(&store, &dir, &urls).args(more).env("AWS_SESSION_TOKEN", SESSION_TOKEN).run();
    assert_eq!(run.status, Some(0), "{run}");
    let names = ["00000", "00001", "00002"];
    let files =
        names.iter().flat_map(|name| [".parquet", ".tar", "_stats.json"].map(|end| format!("a/set/{name}{end}")));
    let expected = files.chain(["a/set/.fetchimg.set.json".to_owned()]).collect::<BTreeSet<_>>();
    assert_eq!(store.objects().into_iter().collect::<BTreeSet<_>>(), expected, "{run}");
    let flags = ["-o", "set", "--output-format", "webdataset", "--shard-size", "10", "--sequential"];
    let folder = fetchimg().in_dir(&dir).lines(&urls).args(flags).run();
    let images = |tar: &[u8]| {
        let entries = tar_entries(tar).into_iter();
        entries.filter(|(name, _)| name.ends_with("png")).collect::<Vec<_>>()
    };
    for name in names {
        let tar = store.object(&format!("a/set/{name}.tar"));
        assert!(images(&tar) == images(&folder.file(&format!("{name}.tar"))), "{name}");
    }
    assert_whole(&store, &server, &dir, &urls);
    for (what, text) in [("stderr", &run.stderr), ("stdout", &run.stdout)] {
        assert!(!text.contains(SECRET_KEY) && !text.contains(SESSION_TOKEN), "{what}\n{run}");
    }
    // Again: nothing is fetched or written, and the manifest has the records.
    let (hits, puts) = (server.hits_in_all(), store.requests("PUT", ".tar"));
    let again = make(&store, &dir, &urls).args(["--manifest", "second.jsonl"]).run();
    assert_eq!((again.status, server.hits_in_all(), store.requests("PUT", ".tar")), (Some(0), hits, puts), "{again}");
    assert!(again.stdout.contains("23 shard_exists"), "{again}");
    let rows = |name: &str| {
        let text = String::from_utf8(dir.read(name)).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let rows =
            lines.map(|record| (record["url"].to_string(), record["path"].to_string(), record["sha256"].to_string()));
        rows.collect::<BTreeSet<_>>()
    };
    assert_eq!(rows("first.jsonl"), rows("second.jsonl"));
    let plan = make(&store, &dir, &urls).arg("--dry-run").run();
    assert_eq!((plan.status, server.hits_in_all()), (Some(0), hits), "{plan}");
    // Other rows and other options are refused; --overwrite makes all anew, and removes what is too much.
    let other = make(&store, &dir, &urls[1..]).run();
    assert_eq!(other.status, Some(3), "{other}");
    assert!(other.stderr.contains("s3://bucket/a/set/00000.tar: it was made from other rows"), "{other}");
    let other = make(&store, &dir, &urls).args(["--encode", "jpeg"]).run();
    assert_eq!((other.status, server.hits_in_all()), (Some(3), hits), "{other}");
    assert!(other.stderr.contains("s3://bucket/a/set: its shards were made without --encode"), "{other}");
    let anew = make(&store, &dir, &urls[1..10]).arg("--overwrite").run();
    assert_eq!(anew.status, Some(0), "{anew}");
    assert_whole(&store, &server, &dir, &urls[1..10]);
    assert_eq!(store.objects().len(), 4);
}

#[test]
fn what_failed_is_tried_again_in_the_store() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = ["/png/300/0.png", "/flaky/503/1/300/1.png", "/png/300/2.png"].map(|target| server.url(target));
    let first = make(&store, &dir, &urls).args(["--retries", "0"]).run();
    assert_eq!(first.status, Some(1), "{first}");
    let retry = fetchimg().in_dir(&dir).args(["--retry-failed", "-o", "s3://bucket/a/set", "--scratch", "scratch"]);
    let second = store.known_to(retry).run();
    assert_eq!(second.status, Some(0), "{second}");
    assert_eq!(server.hits_in_all(), 4, "{second}");
    let verified = verify(&store, &dir);
    assert_eq!(verified.status, Some(0), "{verified}");
    assert!(verified.stdout.contains("2 shards with 3 samples of 4 rows"), "{verified}");
}

#[test]
fn images_inside_parquet_go_to_the_store_too() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 4);
    let flags = ["-o", "s3://bucket", "--output-format", "parquet", "--scratch", "scratch"];
    let run = store.known_to(fetchimg().in_dir(&dir).lines(&urls).args(flags)).run();
    assert_eq!(run.status, Some(0), "{run}");
    let rows = table(store.object("00000.parquet")).1;
    assert_eq!(rows[3]["image"]["bytes"], server.body("/png/203/3.png").len());
    assert_eq!(store.objects(), [".fetchimg.set.json", "00000.parquet", "00000_stats.json"]);
}

#[test]
fn requests_that_are_refused_broken_or_unanswered_are_repeated() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 60);
    let row = |method, every, what| Fault { method, holds: "/", every, times: usize::MAX, what };
    store.fault(row("PUT", 3, What::Refuse(503, "SlowDown")));
    store.fault(row("PUT", 5, What::LoseAnswer));
    store.fault(row("GET", 4, What::Break));
    let run = make(&store, &dir, &urls).arg("-v").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.stderr.contains("503 Service Unavailable, backing off"), "{run}");
    assert_whole(&store, &server, &dir, &urls);
    assert_eq!(server.hits_in_all(), 60, "nothing was fetched twice\n{run}");
    let hits = server.hits_in_all();
    let again = make(&store, &dir, &urls).run();
    assert_eq!((again.status, server.hits_in_all()), (Some(0), hits), "{again}");
}

#[test]
fn a_marker_whose_answer_was_lost_is_known_as_our_own() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 10);
    store.fault(Fault::once("PUT", "_stats.json", What::LoseAnswer));
    let run = make(&store, &dir, &urls).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(store.requests("PUT", "_stats.json") >= 2, "{run}");
    assert_eq!(store.requests("PUT", ".tar"), 1, "the data is not put again\n{run}");
    assert_whole(&store, &server, &dir, &urls);
}

#[test]
fn the_last_of_two_runs_leaves_a_marker_that_is_true() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 10);
    let other = make(&store, &dir, &urls[..9]).run();
    assert_eq!(other.status, Some(0), "{other}");
    let foreign = store.object("a/set/00000_stats.json");
    store.remove("a/set/00000_stats.json");
    // The other run ends between our data and our marker.
    let marker = "a/set/00000_stats.json";
    store.fault(Fault::once("PUT", "_stats.json", What::Foreign(marker, foreign)));
    let puts = store.requests("PUT", ".tar");
    let run = make(&store, &dir, &urls).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(store.requests("PUT", ".tar") - puts, 2, "its own data once more, then its own marker\n{run}");
    assert_whole(&store, &server, &dir, &urls);
}

#[test]
fn one_shard_may_be_made_twice_at_once() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 40);
    dir.write("list.txt", urls.join("\n"));
    let start = |scratch: &str| {
        let flags =
            ["-o", "s3://bucket/a/set", "--output-format", "webdataset", "--shard", "unit", "--scratch", scratch];
        store.known_to(fetchimg().in_dir(&dir).arg("list.txt").args(flags).args(["-j", "4"])).start()
    };
    // On one machine and on another one.
    for run in [start("scratch"), start("scratch"), start("elsewhere")].map(crate::common::Running::wait) {
        assert_eq!(run.status, Some(0), "{run}");
    }
    assert_whole(&store, &server, &dir, &urls);
}

#[test]
fn long_files_are_put_in_parts_and_uploads_that_are_given_up_are_aborted() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = (0..10).map(|n| server.url(&format!("/png/2000000/{n}.png"))).collect::<Vec<_>>();
    store.fault(Fault::always("PUT", "partNumber=2", What::Refuse(503, "SlowDown")));
    let run = make(&store, &dir, &urls).env("AWS_MAX_ATTEMPTS", "2").run();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("has answered 503 (SlowDown) to every attempt"), "{run}");
    assert!(!run.stderr.contains('<'), "{run}");
    assert_eq!((store.open_uploads(), store.objects().len()), (0, 1), "{run}");
    assert!(scratch(&dir).contains(&"00000.tar".to_owned()), "{run}");
    // The next run goes on: nothing is fetched again.
    store.heal();
    store.fault(Fault { every: 2, ..Fault::always("PUT", "partNumber=2", What::Break) });
    store.fault(Fault::once("POST", "uploadId=", What::LoseAnswer));
    let again = make(&store, &dir, &urls).run();
    assert_eq!(again.status, Some(0), "{again}");
    assert_eq!(server.hits_in_all(), 10, "{again}");
    assert_whole(&store, &server, &dir, &urls);
}

#[test]
fn a_signal_ends_a_run_whose_store_does_not_answer() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = (0..24).map(|n| server.url(&format!("/png/1000000/{n}.png"))).collect::<Vec<_>>();
    store.fault(Fault::always("PUT", "partNumber=2", What::Stall(Duration::from_secs(300))));
    let mut run = make(&store, &dir, &urls).args(["--shard-size", "24"]).start();
    store.wait_for_request("PUT", ".tar", 3, Duration::from_secs(60));
    let asked = Instant::now();
    run.kill("INT");
    let interrupted = run.wait();
    assert_eq!(interrupted.status, Some(130), "{interrupted}");
    assert!(asked.elapsed() < Duration::from_secs(60), "{:?}\n{interrupted}", asked.elapsed());
    assert!(interrupted.stderr.contains("The store has not taken all shards in time"), "{interrupted}");
    assert!(interrupted.stderr.contains("scratch"), "{interrupted}");
    assert_eq!((store.objects().len(), store.open_uploads()), (1, 0), "the upload is aborted\n{interrupted}");
    store.heal();
    let again = make(&store, &dir, &urls).args(["--shard-size", "24"]).run();
    assert_eq!((again.status, server.hits_in_all()), (Some(0), 24), "{again}");
    assert_whole(&store, &server, &dir, &urls);
}

#[test]
fn a_killed_run_goes_on_with_its_scratch() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 40);
    let mut run = make(&store, &dir, &urls).args(["--shard-size", "40", "--sequential", "--rate", "50"]).start();
    server.wait_for_hits_in_all(20, Duration::from_secs(60));
    run.kill("KILL");
    let killed = run.wait();
    assert!(killed.signal.is_some(), "{killed}");
    let hits = server.hits_in_all();
    let again = make(&store, &dir, &urls).args(["--shard-size", "40"]).run();
    assert_eq!(again.status, Some(0), "{again}");
    assert!(server.hits_in_all() <= hits + 21, "{hits} and {}\n{again}", server.hits_in_all());
    assert_whole(&store, &server, &dir, &urls);
}

#[test]
fn only_one_run_of_a_machine_makes_a_set() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let slow = [server.url("/gated/300/a.png")];
    let first = make(&store, &dir, &slow).start();
    server.wait_for_hits_in_all(1, Duration::from_secs(60));
    let second = make(&store, &dir, &slow).run();
    assert_eq!(second.status, Some(3), "{second}");
    assert!(second.stderr.contains("s3://bucket/a/set"), "{second}");
    drop(first);
}

/// A fault of the store, variables, the output, and what is said.
type WrongSetting<'a> = (Option<Fault>, &'a [(&'a str, &'a str)], &'a str, &'a str);

#[test]
fn wrong_settings_are_said_in_a_sentence_before_anything_is_fetched() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = lines(&server, 3);
    let closed = ClosedPort::new();
    let closed_url = closed.url("");
    let refuse = |status, code| Some(Fault::always("", "", What::Refuse(status, code)));
    let cases: [WrongSetting<'_>; 15] = [
        (None, &[], "s3://other/set", "there is no bucket other at 127.0.0.1:"),
        (None, &[("AWS_ACCESS_KEY_ID", "AKIDOTHER")], "s3://bucket/set", "does not know the access key"),
        (None, &[("AWS_SKIP_SIGNATURE", "true")], "s3://bucket/set", "forbids it"),
        (refuse(403, "SignatureDoesNotMatch"), &[], "s3://bucket/set", "AWS_SECRET_ACCESS_KEY"),
        (refuse(403, "RequestTimeTooSkewed"), &[], "s3://bucket/set", "the clock of this machine"),
        (refuse(400, "ExpiredToken"), &[], "s3://bucket/set", "the session token has expired"),
        (refuse(400, "AuthorizationHeaderMalformed"), &[], "s3://bucket/set", "another region; set AWS_REGION"),
        (Some(Fault::always("PUT", "", What::Refuse(403, "AccessDenied"))), &[], "s3://bucket/set", "forbids it"),
        (
            Some(Fault::always("", "", What::Page(404))),
            &[],
            "s3://bucket/set",
            "does not answer as an object store does",
        ),
        (
            Some(Fault::always("", "", What::Page(200))),
            &[],
            "s3://bucket/set",
            "does not answer as an object store does",
        ),
        (refuse(503, "SlowDown"), &[], "s3://bucket/set", "has answered 503 (SlowDown) to every attempt"),
        (None, &[("AWS_ENDPOINT_URL", &closed_url)], "s3://bucket/set", "no connection to 127.0.0.1:"),
        (None, &[("AWS_ENDPOINT_URL", "store.example")], "s3://bucket/set", "neither with https:// nor with http://"),
        (
            Some(Fault::always("", "", What::Stall(Duration::from_secs(15)))),
            &[("AWS_MAX_ATTEMPTS", "1")],
            "s3://bucket/set",
            "does not answer in time",
        ),
        (None, &[("AWS_MAX_ATTEMPTS", "x")], "s3://bucket/set", "no number of attempts"),
    ];
    for (fault, variables, output, expected) in cases {
        let store = S3::start();
        if let Some(fault) = fault {
            store.fault(fault);
        }
        let flags = ["-o", output, "--output-format", "webdataset", "--scratch", "scratch"];
        let program = store.known_to(fetchimg().in_dir(&dir).lines(&urls).args(flags));
        let run = variables.iter().fold(program, |program, (name, value)| program.env(name, value)).run();
        assert_eq!(run.status, Some(3), "{expected}\n{run}");
        assert!(run.stderr.contains(expected), "{expected}\n{run}");
        assert!(!run.stderr.contains('<') && !run.stderr.contains(SECRET_KEY), "{run}");
        assert_eq!(run.stderr.lines().count(), 1, "{run}");
        assert!(run.elapsed < Duration::from_secs(30), "{run}");
    }
    // Nothing says who asks.
    let flags = ["-o", "s3://bucket/set", "--output-format", "webdataset", "--scratch", "scratch"];
    let run = fetchimg().in_dir(&dir).lines(&urls).args(flags).env("AWS_EC2_METADATA_DISABLED", "true").run();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("there are no credentials: set AWS_ACCESS_KEY_ID"), "{run}");
    let metadata = closed.url("");
    let run = fetchimg().in_dir(&dir).lines(&urls).args(flags).env("AWS_METADATA_ENDPOINT", metadata).run();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("there are no credentials: set AWS_ACCESS_KEY_ID"), "{run}");
    let profile = fetchimg().in_dir(&dir).lines(&urls).args(flags).env("AWS_PROFILE", "work").run();
    assert!(profile.stderr.contains("there is no profile work"), "{profile}");
    assert_eq!(server.hits_in_all(), 0);
}

#[test]
fn a_run_without_a_row_leaves_nothing_in_the_store_and_binds_no_later_one() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    dir.write("list.csv", format!("number,link\n1,{}\n", server.url("/png/300/a.png")));
    let make = |column: &str| {
        store.known_to(fetchimg().in_dir(&dir).args(["list.csv", "--url-column", column]).args(SET)).run()
    };
    let run = make("image");
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("list.csv has no column image"), "{run}");
    assert_eq!(store.objects(), [""; 0], "{run}");
    // The column is one of the options that the set is made with.
    let run = make("link");
    assert_eq!(run.status, Some(0), "{run}");
    assert!(store.objects().iter().any(|key| key.ends_with("00000_stats.json")), "{run}");
    let run = make("number");
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("--url-column link"), "{run}");
}

#[test]
fn settings_come_from_profiles_too_and_a_public_bucket_needs_none() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 3);
    fs::create_dir(dir.join(".aws")).unwrap();
    dir.write(
        ".aws/credentials",
        format!("[work]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"),
    );
    dir.write(".aws/config", format!("[profile work]\nregion = eu-north-1\nendpoint_url = {}\n", store.endpoint()));
    let run = fetchimg().in_dir(&dir).lines(&urls).args(SET).env("AWS_PROFILE", "work").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_whole(&store, &server, &dir, &urls);
    let public = S3::start();
    public.make_public();
    let run = fetchimg().in_dir(&dir).lines(&urls).args(SET).env("AWS_ENDPOINT_URL_S3", public.endpoint());
    let run = run.env("AWS_SKIP_SIGNATURE", "true").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(public.objects().len(), 4, "{run}");
}

#[test]
fn a_store_without_conditions_is_warned_of() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 3);
    store.ignore_conditions();
    let run = make(&store, &dir, &urls).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.stderr.contains("this store does not keep to"), "{run}");
    assert_whole(&store, &server, &dir, &urls);
    let refusing = S3::start();
    refusing.fault(Fault::always("PUT", "", What::Refuse(501, "NotImplemented")));
    let run = make(&refusing, &dir, &urls).run();
    assert_eq!(run.status, Some(3), "it can write nothing at all\n{run}");
    assert!(run.stderr.contains("answers 501 NotImplemented"), "{run}");
}

#[test]
fn damage_in_the_store_is_named() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 30);
    let run = make(&store, &dir, &urls).run();
    assert_eq!(run.status, Some(0), "{run}");
    let mut tar = store.object("a/set/00000.tar");
    tar[600] ^= 1;
    store.put("a/set/00000.tar", tar);
    store.remove("a/set/00001.parquet");
    store.remove("a/set/00002_stats.json");
    let damaged = verify(&store, &dir);
    assert_eq!(damaged.status, Some(1), "{damaged}");
    for line in [
        "00000: 00000.tar is not what was written: its SHA-256 is another one",
        "00001: 00001.parquet is missing",
        "00002.tar: it has no marker",
    ] {
        assert!(damaged.stdout.contains(line), "{line}\n{damaged}");
    }
    for flag in ["--verify-output", "--retry-failed"] {
        let nothing = store.known_to(fetchimg().args([flag, "-o", "s3://bucket/none"])).run();
        assert_eq!(nothing.status, Some(3), "{nothing}");
        assert!(nothing.stderr.contains("s3://bucket/none: there is no set in it"), "{nothing}");
        let other = store.known_to(fetchimg().args([flag, "-o", "s3://other/set"])).run();
        assert_eq!(other.status, Some(3), "{other}");
        assert!(other.stderr.contains("there is no bucket other"), "{other}");
    }
}

#[test]
fn a_check_reads_each_object_once_and_goes_on_over_pages_of_names() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = (0..24).map(|n| server.url(&format!("/png/1000000/{n}.png"))).collect::<Vec<_>>();
    let run = make(&store, &dir, &urls).args(["--shard-size", "24"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let all = store.objects().iter().map(|key| store.object(key).len() as u64).sum::<u64>();
    assert!(all > 20_000_000, "{all}");
    let before = store.bytes_out();
    let verified = verify(&store, &dir);
    assert_eq!(verified.status, Some(0), "{verified}");
    let read = store.bytes_out() - before;
    // What the set says of itself is small, and read by several.
    assert!(read <= all + 4096, "{read} of {all} bytes\n{verified}");
    // The store gives three names at a time.
    let strays = (1..40).map(|n| format!("{n:05}.tar")).collect::<Vec<_>>();
    for name in &strays {
        store.put(&format!("a/set/{name}"), "x");
    }
    let damaged = verify(&store, &dir);
    let missed = strays.iter().filter(|name| !damaged.stdout.contains(&format!("{name}: it has no marker"))).count();
    assert_eq!((damaged.status, missed), (Some(1), 0), "{damaged}");
}

#[test]
fn a_set_lies_in_the_store_of_google_too() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let mut urls = lines(&server, 28);
    urls.push(server.url("/flaky/503/99/a.png"));
    // This shard is put in parts.
    urls.extend((0..9).map(|n| server.url(&format!("/png/1000000/{n}.png"))));
    store.put("lists/part-1.txt", urls.join("\n"));
    let set = ["-o", "gs://bucket/a/set", "--scratch", "scratch", "--retries", "0"];
    let program = |arguments: &[&str]| store.known_to_google(fetchimg().in_dir(&dir).args(set).args(arguments));
    let make = ["gs://bucket/lists/*.txt", "--output-format", "webdataset", "--shard-size", "10", "-v"];
    store.fault(Fault::once("PUT", "00000_stats.json", What::LoseAnswer));
    store.fault(Fault { every: 5, ..Fault::always("PUT", "", What::Refuse(503, "SlowDown")) });
    store.fault(Fault { every: 7, ..Fault::always("GET", "", What::Break) });
    let run = program(&make).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!((store.objects().len(), store.open_uploads()), (14, 0), "{run}");
    let hits = server.hits_in_all();
    let again = program(&make).run();
    assert_eq!((again.status, server.hits_in_all()), (Some(0), hits), "{again}");
    let verified = program(&["--verify-output"]).run();
    assert_eq!(verified.status, Some(0), "{verified}");
    assert!(verified.stdout.contains("4 shards with 37 samples of 38 rows: all is as the records say"), "{verified}");
    // A row that fails is tried again, in a shard of its own.
    let retried = program(&["--retry-failed"]).run();
    assert_eq!(retried.status, Some(1), "{retried}");
    assert_eq!(store.objects().len(), 17, "{retried}");
    // Another run ends in between, and another one makes all anew.
    let foreign = store.object("a/set/00001_stats.json");
    store.remove("a/set/00000_stats.json");
    store.fault(Fault::once("PUT", "00000_stats.json", What::Foreign("a/set/00000_stats.json", foreign)));
    let mended = program(&make).run();
    assert_eq!(mended.status, Some(0), "{mended}");
    let anew = program(&make).arg("--overwrite").run();
    assert_eq!(anew.status, Some(1), "{anew}");
    let verified = program(&["--verify-output"]).run();
    assert_eq!(verified.status, Some(0), "{verified}");
    for run in [run, again, retried, mended, anew, verified] {
        assert!(!run.stderr.contains("does not keep to"), "{run}");
        assert!(!format!("{run}").contains(BEARER_TOKEN), "{run}");
    }
    // Who may not.
    let refused = program(&make).env("GOOGLE_BEARER_TOKEN", "another").run();
    assert_eq!(refused.status, Some(3), "{refused}");
    let other = program(&["gs://other/list.txt", "--output-format", "webdataset"]).run();
    assert_eq!(other.status, Some(3), "{other}");
    assert!(other.stderr.contains("there is no bucket other at 127.0.0.1:"), "{other}");
}

/// A Parquet list with a column that no record can hold, of so many bytes for each row.
fn parquet_list(urls: &[String], bytes: usize) -> Vec<u8> {
    let schema = "message list { required binary blob; required binary url (UTF8); required binary text (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer =
        SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::builder().build())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let blobs = urls.iter().map(|_| ByteArray::from((0..bytes).map(|_| fastrand::u8(..)).collect::<Vec<_>>()));
    let texts = urls.iter().map(|url| ByteArray::from(url.as_str()));
    for values in [blobs.collect::<Vec<_>>(), texts.clone().collect(), texts.collect()] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn lists_lie_in_the_store_and_of_parquet_only_what_is_needed_is_read() {
    let (server, store, dir) = (Server::start(), S3::start(), TestDir::new());
    let urls = lines(&server, 40);
    store.put("lists/part-2.parquet", parquet_list(&urls[10..20], 1_000_000));
    store.put("lists/part-1.parquet", parquet_list(&urls[..10], 1_000_000));
    store.put("lists/part-1.parquet.crc", "x");
    store.put("lists/deeper/part-3.parquet", "x");
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    compressed.write_all(format!("text,url\nt,{}\n", urls[20..30].join("\nt,")).as_bytes()).unwrap();
    store.put("lists/more.csv.gz", compressed.finish().unwrap());
    let rows = urls[30..].iter().map(|url| format!("{{\"url\":\"{url}\"}}")).collect::<Vec<_>>();
    store.put("lists/more.jsonl", rows.join("\n"));
    store.fault(Fault { every: 4, ..Fault::always("GET", "", What::Refuse(503, "SlowDown")) });
    let lists = ["s3://bucket/lists/part-*.parquet", "s3://bucket/lists/more.csv.gz", "s3://bucket/lists/more.jsonl"];
    let run = store.known_to(fetchimg().in_dir(&dir).args(lists)).run();
    assert_eq!(run.status, Some(0), "{run}");
    for index in [0, 9, 10, 19, 20, 30, 39] {
        assert_eq!(run.record(index)["url"], urls[usize::try_from(index).unwrap()], "in the order of the lists\n{run}");
    }
    assert_eq!(run.record(12)["extra"]["text"], urls[12], "{run}");
    assert!(store.bytes_out() < 6_000_000, "{} of 20 MB were read", store.bytes_out());
    // A set of them, and one list twice.
    let again = store.known_to(fetchimg().in_dir(&dir).arg(lists[0]).args(SET).args(["--shard-size", "20"])).run();
    assert_eq!(again.status, Some(0), "{again}");
    let (columns, rows) = table(store.object("a/set/00000.parquet"));
    assert_eq!((columns[0].as_str(), rows.len()), ("text", 20), "{again}");
}

#[test]
fn lists_that_are_not_in_the_store_are_said_in_a_sentence() {
    let (store, closed) = (S3::start(), ClosedPort::new());
    store.put("lists/a.parquet", "no Parquet");
    for (list, expected) in [
        ("s3://bucket/lists/none.csv", "cannot read the list s3://bucket/lists/none.csv: it is not in the bucket"),
        ("s3://bucket/lists/*.csv", "cannot read the list s3://bucket/lists/*.csv: no object is called so"),
        ("s3://other/lists/*.csv", "there is no bucket other"),
        ("s3://other/lists/a.csv", "there is no bucket other"),
        ("s3://bucket/lists/a.parquet", "s3://bucket/lists/a.parquet"),
    ] {
        let run = store.known_to(fetchimg().arg(list)).run();
        assert_eq!(run.status, Some(3), "{run}");
        assert!(run.stderr.contains(expected), "{expected}\n{run}");
    }
    let run = store.known_to(fetchimg().arg("s3://bucket/a.csv")).env("AWS_ENDPOINT_URL", closed.url("")).run();
    assert_eq!(run.status, Some(3), "{run}");
    assert!(run.stderr.contains("no connection to 127.0.0.1:"), "{run}");
}
