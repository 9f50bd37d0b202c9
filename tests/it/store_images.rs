//! Images that are objects of stores (`--store-urls`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fetchimg::{Job, Options, Outcome, Run as LibraryRun};
use futures::{StreamExt as _, stream};
use serde_json::json;

use crate::common::s3::{self, ACCESS_KEY, Fault, S3, SECRET_KEY, SESSION_TOKEN, What};
use crate::common::sets::tar_entries;
use crate::common::{Program, Run, Server, TestDir, fetchimg, images};

/// A run over these rows, with the environment for this store.
fn fetch<T: AsRef<str>>(store: &S3, lines: impl IntoIterator<Item = T>) -> Program {
    store.known_to(fetchimg().lines(lines).arg("--store-urls"))
}

/// Asserts that nothing which the run has left or said holds a secret.
#[track_caller]
fn assert_no_secret(run: &Run, secrets: &[&str]) {
    let mut texts =
        vec![("standard error".to_owned(), run.stderr.clone()), ("standard output".to_owned(), run.stdout.clone())];
    let mut folders = vec![run.dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            // The list itself is that of the user.
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("list.txt") {
                let content = fs::read(&path).expect("a file");
                texts.push((path.display().to_string(), String::from_utf8_lossy(&content).into_owned()));
            }
        }
    }
    for (what, text) in texts {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {what}\n{run}");
        }
    }
}

#[track_caller]
fn message(run: &Run, index: u64) -> String {
    run.record(index)["message"].as_str().unwrap_or_else(|| panic!("no message of {index}\n{run}")).to_owned()
}

/// A line feed is needed behind the last row, as in every list.
fn odd_keys() -> [&'static str; 7] {
    [
        "a/cat.png",
        "a b%20c?d#e.png",
        "a//ä+&'.png",
        "/b.png",
        "%2e%2e/c.png",
        "a?token=x#y",
        "x:y@z/http://a.example/d.png",
    ]
}

#[test]
fn the_stand_in_checks_signatures_as_s3_does() {
    // The example of a GET of AWS, "Authenticating Requests: Using the Authorization Header".
    let signed = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    let headers = [
        ("host", "examplebucket.s3.amazonaws.com"),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("x-amz-date", "20130524T000000Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=?",
        ),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    assert_eq!(s3::signature("GET", "/test.txt", &headers, secret).as_deref(), Some(signed));
}

#[test]
fn objects_are_read_with_a_flag_alone() {
    let store = S3::start();
    store.put("cat.png", images::png(300, 1));
    let rows = ["s3://bucket/cat.png", "S3a://bucket/cat.png", "gs://bucket/cat.png", "az://bucket/cat.png"];
    let run = store.known_to(fetchimg().lines(rows)).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.outcomes(), ["failed bad_url"; 4], "{run}");
    assert!(message(&run, 0).ends_with("s3: URLs are read only with --store-urls"), "{run}");
    assert!(message(&run, 1).ends_with("S3a: URLs are read only with --store-urls"), "{run}");
    assert_eq!((store.heads().len(), run.record(0)["retryable"].clone()), (0, json!(false)), "{run}");

    // The rows were none before, so nothing that an earlier run has recorded keeps them out.
    let run = fetch(&store, &rows[..2]).in_dir(&run.dir).arg("--skip-permanent").run();
    assert_eq!(
        run.outcomes(),
        ["saved cat.png", "skipped duplicate_url cat.png", "failed bad_url", "failed bad_url"],
        "{run}"
    );
}

#[test]
fn keys_are_literal_and_records_are_as_for_other_rows() {
    let store = S3::start();
    let keys = odd_keys();
    for (number, key) in keys.iter().enumerate() {
        store.put(key, images::png(300 + number, number as u64));
    }
    let rows = keys.map(|key| format!("s3://bucket/{key}"));
    let user = ["-u", "ann:pass", "-b", "a=cookie", "-e", "http://referer.example/", "-H", "X-Key: mine", "-H"];
    let run = fetch(&store, &rows)
        .args(user)
        .args(["Authorization: Bearer mine", "-A", "agent/1", "--hash", "sha256", "-vv"])
        .args([
            "--report",
            "report.html",
            "--report",
            "report.json",
            "--metrics",
            "metrics.json",
            "--manifest",
            "m.jsonl",
        ])
        .env("AWS_SESSION_TOKEN", SESSION_TOKEN)
        .env("AWS_REQUEST_PAYER", "requester")
        .run();

    assert_eq!(run.status, Some(0), "{run}");
    let record = run.record(0);
    for (field, value) in [
        ("url", json!("s3://bucket/a/cat.png")),
        ("final_url", json!("s3://bucket/a/cat.png")),
        ("path", json!("cat.png")),
        ("http_status", json!(200)),
        ("attempts", json!(1)),
        ("bytes", json!(300)),
        ("format", json!("png")),
    ] {
        assert_eq!(record[field], value, "{field}\n{run}");
    }
    assert!(record.get("url_hash").is_none(), "{run}");
    for (number, row) in rows.iter().enumerate() {
        let record = run.record(number as u64);
        assert_eq!(record["bytes"], json!(300 + number), "{run}");
        let shown = row.replace("token=x", "token=***");
        assert_eq!((&record["url"], &record["final_url"]), (&json!(shown), &json!(shown)), "{run}");
    }
    let names = [1, 2, 3, 4, 6].map(|number| run.record(number)["path"].as_str().expect("a path").to_owned());
    assert_eq!(names, ["a b%20c_d#e.png", "ä+&'.png", "b.png", "c.png", "d.png"], "{run}");
    let secrets = [SECRET_KEY, SESSION_TOKEN, ACCESS_KEY, "AWS4-HMAC", "Signature=", "X-Amz-"];
    assert_no_secret(&run, &secrets);
    for head in store.heads() {
        assert!(head["authorization"].starts_with("AWS4-HMAC-SHA256 Credential="), "{head:?}");
        assert_eq!((&*head["user-agent"], &*head["x-amz-security-token"]), ("agent/1", SESSION_TOKEN), "{head:?}");
        assert_eq!(head["x-amz-request-payer"], "requester", "{head:?}");
        let signed = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-request-payer;x-amz-security-token,";
        assert!(head["authorization"].contains(signed), "what others may change is not signed: {head:?}");
        let others = ["cookie", "referer", "x-key"].map(|name| head.get(name));
        assert_eq!(others, [None; 3], "{head:?}");
    }

    let again = fetch(&store, &rows).in_dir(&run.dir).args(["--hash", "sha256"]).run();
    assert_eq!((again.status, store.heads().len()), (Some(0), keys.len()), "{again}");
    assert!((0..7).all(|index| again.record(index)["reason"] == "already_saved"), "{again}");
    let dry = fetch(&store, &rows).in_dir(&run.dir).args(["--dry-run", "-o", "other"]).run();
    assert!(dry.stdout.contains("to fetch          7, from 1 host"), "{dry}");
    // What the records say is a list again.
    let manifest = fetch(&store, [""; 0]).in_dir(&run.dir).args(["m.jsonl", "-o", "third"]).run();
    let failed = manifest.records().iter().filter(|record| record["status"] != "saved").count();
    assert_eq!(failed, 1, "but the one with a secret\n{manifest}");
}

#[test]
fn what_names_no_object_is_said() {
    let store = S3::start();
    let rows = ["s3://bucket", "s3://bucket/", "s3://key:secret@bucket/a.png", "s3://bucket/a/../b.png", "s3://"];
    let run = fetch(&store, rows).run();
    assert_eq!(run.outcomes(), ["failed bad_url"; 5], "{run}");
    for (index, part) in
        [(0, "s3://BUCKET/KEY"), (1, "s3://BUCKET/KEY"), (2, "AWS_ENDPOINT_URL"), (3, "two dots"), (4, "no bucket")]
    {
        assert!(message(&run, index).contains(part), "{index}\n{run}");
    }
    assert_no_secret(&run, &["secret"]);
}

#[test]
fn a_store_that_refuses_says_why() {
    let store = S3::start();
    store.put("archived.png", images::png(300, 1));
    store.fault(Fault::always("GET", "forbidden", What::Refuse(403, "AccessDenied")));
    store.fault(Fault::always("GET", "archived", What::Refuse(403, "InvalidObjectState")));
    store.fault(Fault::always("GET", "clock", What::Refuse(403, "RequestTimeTooSkewed")));
    store.fault(Fault::always("GET", "token", What::Refuse(400, "ExpiredToken")));
    store.fault(Fault::always("GET", "moved", What::OtherRegion(301, "PermanentRedirect")));
    store.fault(Fault::always("GET", "away", What::OtherRegion(307, "TemporaryRedirect")));
    store.fault(Fault::always("GET", "region", What::OtherRegion(400, "AuthorizationHeaderMalformed")));
    store.fault(Fault::always("GET", "page", What::Page(404)));
    let cases = [
        ("bucket/missing.png", 404, "404 Not Found from the store: it is not in the bucket bucket"),
        ("nowhere/a.png", 404, "there is no bucket nowhere at 127.0.0.1"),
        ("bucket/forbidden.png", 403, "the credentials must allow to read in the bucket bucket"),
        ("bucket/archived.png", 403, "it is archived, and must be restored"),
        ("bucket/clock.png", 403, "set the clock"),
        ("bucket/token.png", 403, "AWS_SESSION_TOKEN"),
        ("bucket/moved.png", 403, "the bucket bucket is in another region; set AWS_REGION=ap-south-1"),
        ("bucket/away.png", 403, "set AWS_REGION=ap-south-1"),
        ("bucket/region.png", 403, "set AWS_REGION=ap-south-1"),
        ("bucket/page.png", 404, "does not answer as an object store does, but with a page; see AWS_ENDPOINT_URL"),
    ];
    let run = fetch(&store, cases.map(|(row, ..)| format!("s3://{row}"))).run();
    assert_eq!(run.status, Some(1), "{run}");
    for (index, (row, status, part)) in (0..).zip(cases) {
        let record = run.record(index);
        assert_eq!((&record["error"], &record["http_status"]), (&json!("http_status"), &json!(status)), "{row}\n{run}");
        assert_eq!((&record["retryable"], &record["attempts"]), (&json!(false), &json!(1)), "{row}\n{run}");
        let message = message(&run, index);
        assert!(message.contains(part) && !message.contains('<'), "{row}: {message}\n{run}");
    }
    assert_eq!(store.heads().len(), cases.len(), "no redirect is followed\n{run}");

    for (variable, value, status, part) in [
        ("AWS_SECRET_ACCESS_KEY", "other", 403, "see AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", "OTHER", 403, "does not know the access key; see AWS_ACCESS_KEY_ID"),
        ("AWS_SKIP_SIGNATURE", "true", 403, "the requests carry no credentials"),
        ("AWS_ENDPOINT_URL", "nonsense", 401, "begins neither with https:// nor with http://"),
        ("AWS_ACCESS_KEY_ID", "no\nkey", 401, "cannot be sent"),
    ] {
        let run = fetch(&store, ["s3://bucket/cat.png"]).env(variable, value).run();
        assert_eq!(run.outcomes(), [format!("failed http_status {status}")], "{run}");
        assert!(message(&run, 0).contains(part), "{part}\n{run}");
        assert!(!run.stderr.contains("--netrc") && !run.stderr.contains("referer"), "the advice is for stores\n{run}");
    }
}

#[test]
fn without_credentials_each_row_fails_at_once() {
    let rows = (0..200).map(|number| format!("s3://bucket/{number}.png"));
    let program = fetchimg().lines(rows).args(["--store-urls", "--retries", "5", "--report", "report.html"]);
    let run = program.env("AWS_EC2_METADATA_DISABLED", "true").run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.records().len(), 200, "{run}");
    for record in run.records() {
        assert_eq!((&record["http_status"], &record["retryable"]), (&json!(401), &json!(false)), "{run}");
    }
    let report = String::from_utf8(run.dir.read("report.html")).expect("text");
    assert!(
        report.contains("failed with http_status 401: stores are asked with the credentials of the environment"),
        "{run}"
    );
    assert!(
        message(&run, 7).starts_with("no request to the store: there are no credentials: set AWS_ACCESS_KEY_ID"),
        "{run}"
    );
}

#[test]
fn what_everybody_may_read_needs_no_signature() {
    let store = S3::start();
    store.make_public();
    store.put("a b.png", images::png(300, 1));
    let run = fetchimg()
        .lines(["s3://bucket/a b.png"])
        .arg("--store-urls")
        .env("AWS_ENDPOINT_URL", store.endpoint())
        .env("AWS_SKIP_SIGNATURE", "true")
        .run();
    assert_eq!(run.outcomes(), ["saved a b.png"], "{run}");
    assert!(store.heads().iter().all(|head| !head.contains_key("authorization")), "{run}");
}

#[test]
fn certificates_of_the_endpoint_are_for_the_store_alone() {
    let server = Server::start_tls();
    let rows = ["s3://png/300/a.png".to_owned(), server.url("/png/300/b.png")];
    let run = |flags: &[&str], bundle: &std::path::Path| {
        let program = fetchimg().lines(&rows).args(["--store-urls", "--retries", "0"]).args(flags);
        let program = program.env("AWS_ENDPOINT_URL", server.url("")).env("AWS_SKIP_SIGNATURE", "true");
        program.env("AWS_CA_BUNDLE", bundle).run()
    };
    let trusting = run(&[], server.ca_pem_file());
    assert_eq!(trusting.outcomes(), ["saved a.png", "failed tls"], "{trusting}");
    let insecure = run(&["-k"], server.ca_pem_file());
    assert_eq!(insecure.outcomes(), ["saved a.png", "saved b.png"], "{insecure}");
    let missing = run(&[], "/none/ca.pem".as_ref());
    assert!(message(&missing, 0).contains("AWS_CA_BUNDLE /none/ca.pem: "), "{missing}");
    let private = run(&["-k", "--public-only"], server.ca_pem_file());
    assert_eq!(private.outcomes(), ["failed forbidden_address"; 2], "{private}");
}

/// A service that gives credentials of S3 to programs in containers, with these statuses and until then; the last answer is
/// repeated. It counts how often it is asked.
fn serve_credentials(answers: &'static [(&'static str, &'static str)]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1/credentials", listener.local_addr().expect("an address"));
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let number = count.fetch_add(1, Ordering::Relaxed);
            let (status, until) = answers[number.min(answers.len() - 1)];
            let _ = stream.read(&mut [0; 4096]);
            let keys = json!({"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": SESSION_TOKEN, "Expiration": until});
            let body = keys.to_string();
            let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (url, asked)
}

#[test]
fn credentials_are_fetched_once_for_all_rows() {
    let (store, dir) = (S3::start(), TestDir::new());
    let token = dir.write("token", "the-token");
    let rows = (0..60).map(|number| format!("s3://bucket/{number}.png")).collect::<Vec<_>>();
    for row in &rows {
        store.put(&row["s3://bucket/".len()..], images::png(300, 1));
    }
    let run = |url: &str| {
        let program =
            fetchimg().in_dir(&dir).lines(&rows).arg("--store-urls").env("AWS_ENDPOINT_URL", store.endpoint());
        let program = program.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
        program.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token).run()
    };
    let (url, asked) = serve_credentials(&[("403 Forbidden", "2100-01-01T00:00:00Z")]);
    let refused = run(&url);
    assert_eq!((refused.status, store.heads().len()), (Some(1), 0), "{refused}");
    assert!(refused.records().iter().all(|record| record["http_status"] == 401), "{refused}");
    assert_eq!(asked.load(Ordering::Relaxed), 1, "one row asks, and the others know\n{refused}");
    let (url, asked) = serve_credentials(&[("200 OK", "2100-01-01T00:00:00Z")]);
    let run = run(&url);
    assert_eq!((run.status, asked.load(Ordering::Relaxed)), (Some(0), 1), "{run}");
    assert!(store.heads().iter().all(|head| head["x-amz-security-token"] == SESSION_TOKEN), "{run}");
    assert_no_secret(&run, &[SECRET_KEY, SESSION_TOKEN]);
}

#[test]
fn credentials_that_end_are_fetched_again_and_again() {
    // They end at once, and for the second row there are none for a moment.
    const PAST: &str = "2020-01-01T00:00:00Z";
    let (store, dir) = (S3::start(), TestDir::new());
    let token = dir.write("token", "the-token");
    let rows = ["1", "2", "3"].map(|name| format!("s3://bucket/{name}.png"));
    for row in &rows {
        store.put(&row["s3://bucket/".len()..], images::png(300, 1));
    }
    let (url, asked) = serve_credentials(&[("200 OK", PAST), ("403 Forbidden", PAST), ("200 OK", PAST)]);
    let program = fetchimg().in_dir(&dir).lines(&rows).args(["--store-urls", "--sequential", "--retry-wait", "2.5"]);
    let program = program.env("AWS_ENDPOINT_URL", store.endpoint()).env("AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    let run = program.env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token).run();
    assert_eq!(run.outcomes(), ["saved 1.png", "saved 2.png", "saved 3.png"], "{run}");
    assert_eq!(asked.load(Ordering::Relaxed), 4, "{run}");
    assert!(run.record(1)["attempts"].as_u64() >= Some(2), "{run}");
}

#[test]
fn a_busy_store_is_asked_again() {
    let store = S3::start();
    let rows = (0..20).map(|number| format!("s3://bucket/{number}.png")).collect::<Vec<_>>();
    for row in &rows {
        store.put(&row["s3://bucket/".len()..], images::png(300, 1));
    }
    store.fault(Fault { every: 4, times: 5, ..Fault::always("GET", "", What::Refuse(503, "SlowDown")) });
    let run = fetch(&store, &rows).args(["--retry-wait", "0.1", "-vv"]).run();
    assert_eq!((run.status, run.files().len()), (Some(0), 20), "{run}");
    assert!(run.stderr.contains("503 Service Unavailable from the store: SlowDown"), "{run}");
    assert_eq!(store.heads().len(), 25, "{run}");
    // Each is signed anew.
    let report = fetch(&store, &rows[..1]).in_dir(&run.dir).run();
    assert_eq!(report.status, Some(0), "{report}");
}

#[test]
fn a_body_that_breaks_off_is_continued() {
    let store = S3::start();
    let image = images::png(700_000, 1);
    store.put("a b.png", image.clone());
    store.fault(Fault::once("GET", "", What::Cut(300_000)));
    let run = fetch(&store, ["s3://bucket/a b.png"]).args(["--retry-wait", "0.1"]).run();
    assert_eq!((run.status, run.file("a b.png") == image), (Some(0), true), "{run}");
    let heads = store.heads();
    assert_eq!((heads.len(), heads[1].contains_key("if-range")), (2, true), "{run}");
    assert!(heads[1]["range"].starts_with("bytes="), "{run}");
    assert!(run.record(0)["resumed_from"].as_u64() > Some(0), "{run}");

    // By a later run, too; and not if it is another version.
    for (content, resumes) in [(image, true), (images::png(700_000, 2), false)] {
        store.put("c.png", images::png(700_000, 1));
        store.fault(Fault::once("GET", "", What::Cut(300_000)));
        let first = fetch(&store, ["s3://bucket/c.png"]).args(["--retries", "0"]).run();
        assert_eq!(first.outcomes(), ["failed cut_short"], "{first}");
        store.put("c.png", content.clone());
        let second = fetch(&store, ["s3://bucket/c.png"]).in_dir(&first.dir).run();
        assert_eq!((second.status, second.file("c.png") == content), (Some(0), true), "{second}");
        assert_eq!(second.record(0)["resumed_from"].as_u64() > Some(0), resumes, "{second}");
    }
}

#[test]
fn silence_is_waited_out_and_ctrl_c_ends_it() {
    let store = S3::start();
    store.put("a.png", images::png(300_000, 1));
    store.fault(Fault::once("GET", "", What::StallAfter(1000, Duration::from_secs(20))));
    let run = fetch(&store, ["s3://bucket/a.png"]).args(["--stall-timeout", "0.5", "--retry-wait", "0.1"]).run();
    assert_eq!((run.status, &run.record(0)["attempts"]), (Some(0), &json!(2)), "{run}");

    store.put("b.png", images::png(300_000, 1));
    store.fault(Fault::always("GET", "b.png", What::StallAfter(1000, Duration::from_secs(60))));
    let mut running = fetch(&store, ["s3://bucket/b.png"]).start();
    crate::common::wait_until("the body to begin", || store.requests("GET", "b.png") > 0);
    running.kill("INT");
    // The first signal leaves time for what is in flight.
    running.wait_for_stderr("Stopping");
    let began = Instant::now();
    running.kill("INT");
    let run = running.wait();
    assert_eq!((run.status, run.files()), (Some(130), Vec::new()), "{run}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn lists_filters_checksums_and_pixels_are_as_for_others() {
    let (store, server, dir) = (S3::start(), Server::start(), TestDir::new());
    store.put("cat, 1.png", images::png_sized(80, 40));
    store.put("small.png", images::png_sized(20, 20));
    store.put("other.png", images::png_sized(60, 60));
    let digest = "0".repeat(64);
    let rows = ["\"s3://bucket/cat, 1.png\",", "s3://bucket/small.png,", &format!("s3://bucket/other.png,{digest}")];
    dir.write("list.csv", format!("url,sum\n{}\n{},\n", rows.join("\n"), server.url("/png/3000/a.png")));
    let flags = ["list.csv", "--store-urls", "--checksum-column", "sum", "--min-width", "30", "--resize", "32"];
    let run = store.known_to(fetchimg().in_dir(&dir).args(flags).arg("--sequential")).run();
    let outcomes = ["saved cat, 1.png", "refused too_small", "failed checksum", "refused too_small"];
    assert_eq!(run.outcomes(), outcomes, "{run}");
    assert_eq!((&run.record(0)["width"], &run.record(0)["original"]["width"]), (&json!(32), &json!(80)), "{run}");

    let jsonl = json!({"url": "s3://bucket/small.png", "n": 1}).to_string();
    let run = store.known_to(fetchimg().stdin(jsonl).args(["-", "--store-urls"])).run();
    assert_eq!(
        (run.outcomes(), &run.record(0)["extra"]["n"]),
        (vec!["saved small.png".to_owned()], &json!(1)),
        "{run}"
    );
    // An argument is a list.
    store.put("list.txt", "s3://bucket/small.png\n");
    let run = store.known_to(fetchimg().args(["s3://bucket/list.txt", "--store-urls"])).run();
    assert_eq!(run.outcomes(), ["saved small.png"], "{run}");
}

#[test]
fn shards_take_them_and_try_again_what_failed() {
    let (store, dir) = (S3::start(), TestDir::new());
    let keys = ["a b%20c?d#e.png", "c.png", "d.png"];
    for (number, key) in keys.iter().enumerate() {
        store.put(key, images::png(3000, number as u64));
    }
    let rows = keys.map(|key| format!("s3://bucket/{key}"));
    let set = ["-o", "s3://bucket/set", "--output-format", "webdataset", "--retries", "0", "--scratch", "scratch"];
    store.fault(Fault::always("GET", "/a%20b", What::Refuse(503, "SlowDown")));
    let run = fetch(&store, &rows).in_dir(&dir).args(set).run();
    assert_eq!(run.status, Some(1), "{run}");
    store.heal();
    let again = ["--retry-failed", "-o", "s3://bucket/set", "--scratch", "scratch"];
    let without = store.known_to(fetchimg().in_dir(&dir).args(again)).run();
    assert_eq!(without.status, Some(3), "the author of a set does not decide what is read\n{without}");
    assert!(without.stderr.contains("--store-urls"), "{without}");
    let again = ["--retry-failed", "-o", "s3://bucket/set", "--store-urls", "--scratch", "scratch"];
    let retry = store.known_to(fetchimg().in_dir(&dir).args(again)).run();
    assert_eq!(retry.status, Some(0), "{retry}");
    let entries =
        store.objects().into_iter().filter(|key| key.ends_with("tar")).flat_map(|key| tar_entries(&store.object(&key)));
    let pictures = entries.filter(|(name, _)| name.ends_with("png")).collect::<BTreeMap<_, _>>();
    let expected = (0..3).map(|number| images::png(3000, number)).collect::<BTreeSet<_>>();
    assert_eq!(pictures.into_values().collect::<BTreeSet<_>>(), expected, "{retry}");
    assert_no_secret(&retry, &[SECRET_KEY]);
}

#[test]
fn what_failed_in_a_folder_is_tried_again_with_the_flag_alone() {
    let store = S3::start();
    store.put("a b.png", images::png(300, 1));
    store.fault(Fault::once("GET", "", What::Refuse(503, "SlowDown")));
    let run = fetch(&store, ["s3://bucket/a b.png"]).args(["--retries", "0"]).run();
    assert_eq!(run.outcomes(), ["failed http_status 503"], "{run}");
    let again = ["--retry-failed", "-o", "images"];
    let without = store.known_to(fetchimg().in_dir(&run.dir).args(again)).run();
    assert_eq!(without.status, Some(3), "{without}");
    assert!(without.stderr.contains("read only with --store-urls"), "{without}");
    let with = store.known_to(fetchimg().in_dir(&run.dir).args(again).arg("--store-urls")).run();
    assert_eq!(with.outcomes(), ["saved a b.png"], "{with}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_uses_the_library_asks_for_objects_too() {
    let dir = TestDir::new();
    for (text, allowed, expected) in [
        ("s3://b/a.png", false, "bad_url: s3: URLs are read only with --store-urls"),
        ("s3://b/a.png?b", true, "bad_url: a question mark"),
    ] {
        let mut options = Options { output: dir.join("images"), ..Options::default() };
        options.fetch.store_urls = allowed;
        let jobs = stream::iter([Job::new(0, text.parse().expect("a URL"))]);
        let mut records = LibraryRun::new(options).expect("a run").records(jobs);
        let record = records.next().await.expect("a record");
        records.finish().await.expect("a summary");
        let Outcome::Failed(failed) = record.outcome else { panic!("{record:?}") };
        let said = format!("{}: {}", failed.error, failed.message);
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn google_and_azure_are_asked_with_their_credentials() {
    let server = Server::start();
    let endpoint = server.url("");
    let run = fetchimg()
        .lines(["gs://png/300/a%20?.png"])
        .args(["--store-urls", "-u", "ann:pass", "-vv"])
        .env("GOOGLE_BASE_URL", &endpoint)
        .env("GOOGLE_BEARER_TOKEN", "ya29-SECRET")
        .run();
    assert_eq!(run.outcomes(), ["saved a%20_.png"], "{run}");
    let request = server.requests().pop().expect("a request");
    assert_eq!(
        (&*request.target, request.header("Authorization")),
        ("/png/300/a%2520%3F.png", Some("Bearer ya29-SECRET"))
    );
    assert_no_secret(&run, &["ya29-SECRET"]);

    let az = || {
        let program = fetchimg().lines(["az://png/300/a b.png"]).args(["--store-urls", "-u", "ann:pass", "-vv"]);
        program.env("AZURE_STORAGE_ENDPOINT", &endpoint).env("AZURE_STORAGE_ACCOUNT_NAME", "account")
    };
    let run = az().env("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0LWtleQ==").run();
    assert_eq!(run.outcomes(), ["saved a b.png"], "{run}");
    let request = server.requests().pop().expect("a request");
    let authorization = request.header("Authorization").expect("a signature");
    assert!(authorization.starts_with("SharedKey account:"), "{authorization}");
    assert!(request.target == "/png/300/a%20b.png" && request.header("x-ms-version").is_some(), "{}", request.target);
    assert_no_secret(&run, &["c2VjcmV0LWtleQ", authorization]);
    // The token is a part of the URL, which is not shown.
    let run = az().env("AZURE_STORAGE_SAS_TOKEN", "sv=2023&sig=SECRET%2Bx").run();
    assert_eq!(run.outcomes(), ["saved a b.png"], "{run}");
    let request = server.requests().pop().expect("a request");
    assert!(
        request.target.contains("sig=SECRET%2Bx") && request.header("Authorization").is_none(),
        "{}",
        request.target
    );
    assert_no_secret(&run, &["SECRET", "sv=2023"]);
}
