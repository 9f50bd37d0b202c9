//! fetchimg as a library: `Run` in this process, and the example as a program of its own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fetchimg::{ErrorKind, Job, Options, Outcome, Record, Run};
use futures::{Stream, StreamExt, stream};
use tokio::time::timeout;

use crate::common::{Program, Server, TestDir, fetchimg};

/// What a run may take before the test fails: it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

fn options(dir: &TestDir) -> Options {
    let mut options = Options { output: dir.join("images"), ..Options::default() };
    // A proxy that the environment names does not reach the test server.
    options.http.proxy = Some(String::new());
    options.fetch.policy.retries = 0;
    options
}

fn jobs(urls: impl IntoIterator<Item = String>) -> impl Stream<Item = Job> + Send + 'static {
    let urls = urls.into_iter().collect::<Vec<_>>();
    stream::iter(urls).enumerate().map(|(index, url)| Job::new(index as u64, url.parse().expect("a URL")))
}

fn outcomes(records: &[Record]) -> Vec<(u64, &'static str)> {
    let name = |outcome: &Outcome| match outcome {
        Outcome::Saved(_) => "saved",
        Outcome::Failed(_) => "failed",
        Outcome::Refused(_) => "refused",
        Outcome::Skipped(_) => "skipped",
    };
    let mut outcomes = records.iter().map(|record| (record.index, name(&record.outcome))).collect::<Vec<_>>();
    outcomes.sort_unstable();
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_gets_its_record_and_the_command_goes_on_from_there() {
    let (server, dir) = (Server::start(), TestDir::new());
    let urls = ["/png/100/a.png", "/status/404/b.png", "/png/100/a.png"].map(|path| server.url(path));
    let mut records = Run::new(options(&dir)).expect("a run").records(jobs(urls.clone()));
    let mut read = Vec::new();
    while let Some(record) = timeout(PATIENCE, records.next()).await.expect("in time") {
        read.push(record);
    }
    assert_eq!(outcomes(&read), [(0, "saved"), (1, "failed"), (2, "skipped")]);
    let failed = read.iter().find_map(|record| match &record.outcome {
        Outcome::Failed(failed) => Some(failed),
        _ => None,
    });
    assert_eq!(failed.map(|failed| &*failed.error), Some(ErrorKind::HttpStatus(404).name()));
    let summary = records.finish().await.expect("a summary");
    assert_eq!((summary.rows, summary.saved, summary.failed, summary.skipped), (3, 1, 1, 1));
    assert!(dir.join("images/a.png").is_file());

    let run = fetchimg().lines(&urls[..1]).args(["-o", "images", "--manifest", "-"]).in_dir(&dir).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert!(run.stdout.contains("already_saved"), "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_reads_slowly_loses_nothing() {
    const JOBS: usize = 1500;
    let (server, dir) = (Server::start(), TestDir::in_memory());
    let urls = (0..JOBS).map(|row| server.url(&format!("/png/70/{row}.png"))).collect::<Vec<_>>();
    let mut records = Run::new(options(&dir)).expect("a run").records(jobs(urls));
    let mut count = 0;
    while timeout(PATIENCE, records.next()).await.expect("in time").is_some() {
        count += 1;
        if count % 500 == 0 {
            // In the meantime more records come than may wait.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert_eq!(count, JOBS);
    assert_eq!(records.finish().await.expect("a summary").saved, JOBS as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_can_be_ended_though_its_jobs_never_end() {
    let (server, dir) = (Server::start(), TestDir::new());
    let url = server.url("/png/70/");
    let endless =
        stream::iter(0_u64..).map(move |row| Job::new(row, format!("{url}{row}.png").parse().expect("a URL")));
    let mut records = Run::new(options(&dir)).expect("a run").records(endless);
    let first = timeout(PATIENCE, records.next()).await.expect("in time").expect("a record");
    records.stop();
    let mut read = vec![first.index];
    while let Some(record) = timeout(PATIENCE, records.next()).await.expect("in time") {
        read.push(record.index);
    }
    let summary = timeout(PATIENCE, records.finish()).await.expect("in time").expect("a summary");
    assert!(summary.saved >= 1);
    read.sort_unstable();
    read.dedup();
    assert_eq!(read.len() as u64, summary.rows, "every job that was begun has its record: {read:?}");
    // The output is free for the next run.
    let again = Run::new(options(&dir)).expect("the output is free again").records(stream::empty());
    assert_eq!(again.finish().await.expect("a summary").rows, 0);
}

#[tokio::test]
async fn an_output_that_cannot_be_one_is_an_error_at_once() {
    let dir = TestDir::new();
    dir.write("images", "a file");
    let error = Run::new(options(&dir)).err().expect("no run").to_string();
    assert!(error.contains("it is a file, not a folder"), "{error}");
}

#[test]
fn the_example_prints_records_as_they_come() {
    let (server, dir) = (Server::start(), TestDir::new());
    let example = Path::new(env!("CARGO_BIN_EXE_fetchimg")).with_file_name("examples/library");
    if !example.exists() {
        // `cargo test` has built it; `cargo test --test it` has not.
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--example", "library"]).status();
        assert!(built.is_ok_and(|status| status.success()), "the example does not build");
    }
    let urls = ["/png/100/a.png", "/status/404/b.png"].map(|path| server.url(path));
    let run = Program::new(example).args(urls).in_dir(&dir).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.stdout.lines().count(), 2, "{run}");
    assert!(run.stdout.contains(r#""status":"saved","path":"a.png""#), "{run}");
    assert!(run.stdout.contains(r#""error":"http_status","http_status":404"#), "{run}");
    assert!(run.stderr.ends_with("1 saved, 1 failed\n"), "{run}");
}
