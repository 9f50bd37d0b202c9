//! The table of faults that servers have, and what the program makes of each. `tests/FAULTS.md` shows it to people.
//!
//! This is a program of its own, because it asks how much memory the largest of its child processes used. Every fault is a
//! host of its own (`{name}.test`), so that nothing is shared with another but the run: cases that want the same options
//! share one. All runs go at once.

mod cases;
#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use cases::{Body, Case, Outcome, SECTIONS, Where};
use common::faults::raw;
use common::{Program, Run, Running, Server, fetchimg};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

/// What every case is run with; its own flags come later and count.
const FLAGS: [&str; 8] = ["--retries", "1", "--retry-wait", "0.01", "--stall-timeout", "8", "--timeout", "12"];

/// No run takes longer, whatever is endless in it.
const LONGEST: Duration = Duration::from_secs(20);

/// No run takes more memory, in bytes, whatever is endless in it.
const MOST_MEMORY: u64 = 64 << 20;

/// No message is longer, whatever it quotes.
const LONGEST_MESSAGE: usize = 1000;

/// The image that is fetched beside every fault.
const GOOD: &str = "/png/300/good.png";

/// Cases that are fetched in one run, and their servers, which stay until the end.
struct Group {
    cases: Vec<(Case, String)>,
    lines: Vec<String>,
    arguments: Vec<String>,
    /// The servers that belong to one case alone, by its name.
    own: BTreeMap<&'static str, Server>,
}

impl Group {
    fn new(flags: &[&str]) -> Self {
        let arguments = FLAGS.iter().chain(flags).map(ToString::to_string).collect();
        Self { cases: Vec::new(), lines: Vec::new(), arguments, own: BTreeMap::new() }
    }

    fn add(&mut self, case: &Case, common: &Server) {
        let host = format!("{}.test", case.name);
        let own = match case.at {
            Where::Path(_) | Where::Nameless(_) | Where::TlsOnPlain => None,
            Where::Greeting(name) | Where::GreetingTls(name) => Some(Server::start_greeting(name)),
            Where::Tls(certificate, ..) => Some(Server::start_tls_with(certificate)),
            Where::Http2(_) => Some(Server::start_http2()),
            Where::TlsUnknown | Where::PlainOnTls => Some(Server::start_tls()),
        };
        let server = own.as_ref().unwrap_or(common);
        let mut url = server.url_for_host(&host, &case.target());
        match case.at {
            Where::Tls(..) | Where::Http2(_) => {
                let host = case.host().unwrap_or(&host);
                url = server.url_for_host(host, &case.target());
                self.arguments.extend(["--resolve".into(), server.resolve(host)]);
                self.arguments.extend(["--cacert".into(), server.ca_pem_file().to_string_lossy().into_owned()]);
            }
            Where::TlsOnPlain | Where::GreetingTls(_) => url = url.replace("http:", "https:"),
            Where::PlainOnTls => url = url.replace("https:", "http:"),
            _ => {}
        }
        self.arguments.extend(["--resolve".into(), server.resolve(&host)]);
        self.lines.push(url.clone());
        if case.next {
            self.lines.push(server.url_for_host(case.host().unwrap_or(&host), &next(case)));
        }
        self.cases.push((*case, url));
        self.own.extend(own.map(|server| (case.name, server)));
    }

    fn program(&self, good: &Server) -> Program {
        fetchimg().lines(&self.lines).lines([good.url(GOOD)]).args(&self.arguments)
    }

    /// What is not as it should be.
    fn complaints(&self, run: &Run, common: &Server, good: &Server) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut expected_files = vec!["good.png".to_owned()];
        let mut some_failed = false;
        for (case, url) in &self.cases {
            let server = self.own.get(case.name).unwrap_or(common);
            let about = run.records().into_iter().filter(|record| record["url"] == **url).collect::<Vec<_>>();
            let [record] = about.as_slice() else {
                complaints.push(format!("{}: {} records", case.name, about.len()));
                continue;
            };
            let told = told(record);
            if told != case.told() {
                complaints.push(format!("{}: {told}\n    instead of {}", case.name, case.told()));
            }
            let message = record["message"].as_str().unwrap_or_default();
            if !message.contains(case.says) || message.chars().any(char::is_control) {
                complaints.push(format!("{}: {message:?}\n    does not say {:?}", case.name, case.says));
            }
            if message.len() > LONGEST_MESSAGE {
                complaints.push(format!("{}: a message of {} bytes", case.name, message.len()));
            }
            let asked = match case.at {
                Where::Greeting(_) | Where::GreetingTls(_) => server.connections(),
                _ => server
                    .requests()
                    .iter()
                    .filter(|request| request.path() != next(case) && is_about(request, case))
                    .count(),
            };
            if case.requests.is_some_and(|requests| requests != asked) {
                complaints.push(format!("{}: {asked} requests instead of {:?}", case.name, case.requests));
            }
            match case.outcome {
                Outcome::Failed { .. } => some_failed = true,
                Outcome::Refused { .. } => {}
                Outcome::Saved { name, body } => {
                    let name = if name.is_empty() { format!("{}.png", case.name) } else { name.to_owned() };
                    let expected = expected(body, case, url, server);
                    match std::fs::read(run.output().join(&name)) {
                        Ok(bytes) if bytes == expected => {}
                        Ok(bytes) => complaints.push(format!(
                            "{}: {name} holds {} bytes that are not the {} expected",
                            case.name,
                            bytes.len(),
                            expected.len()
                        )),
                        Err(error) => complaints.push(format!("{}: {name}: {error}", case.name)),
                    }
                    expected_files.push(name);
                }
            }
            if case.next {
                let name = format!("{}-next.png", case.name);
                if std::fs::read(run.output().join(&name)).ok() != Some(server.body(&next(case))) {
                    complaints.push(format!("{}: the next image of the host is not right", case.name));
                }
                expected_files.push(name);
            }
        }
        if run.file("good.png") != good.body(GOOD) {
            complaints.push("the good image is not right".into());
        }
        expected_files.sort();
        if run.files() != expected_files {
            complaints.push(format!("the files are {:?}\n    instead of {expected_files:?}", run.files()));
        }
        if !run.leftovers().is_empty() {
            complaints.push(format!("left over: {:?}", run.leftovers()));
        }
        if run.status != Some(i32::from(some_failed)) {
            complaints.push(format!("exit status {:?}", run.status));
        }
        if run.elapsed > LONGEST {
            complaints.push(format!("took {:?}", run.elapsed));
        }
        complaints
    }
}

/// The image that is fetched from the same host afterwards.
fn next(case: &Case) -> String {
    format!("/png/300/{}-next.png", case.name)
}

fn is_about(request: &common::Request, case: &Case) -> bool {
    let host = request.host.split(':').next().unwrap_or_default();
    host == format!("{}.test", case.name) || case.host() == Some(host)
}

/// The part of a record that programs act on, as [`Case::told`] says it.
fn told(record: &Value) -> String {
    match record["status"].as_str() {
        Some(status @ ("failed" | "refused")) => {
            json!([status, record["error"], record["http_status"], record["retryable"], record["attempts"]]).to_string()
        }
        _ => json!([record["status"], record["attempts"]]).to_string(),
    }
}

/// What the file should hold.
fn expected(body: Body, case: &Case, url: &str, server: &Server) -> Vec<u8> {
    match body {
        Body::Whole => {
            let target = url.splitn(4, '/').last().unwrap_or_default();
            server.body(&format!("/{target}"))
        }
        Body::Of(target) => server.body(target),
        Body::Sent => {
            let image = expected(Body::Whole, case, url, server);
            let asked = raw::Asked { body: &image, host: "", turn: 0 };
            let steps = raw::answer(case.name, &asked).expect("an answer of that name");
            let Some(raw::Step::Send(bytes)) = steps.into_iter().next() else { panic!("{} says nothing", case.name) };
            let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
            bytes[head + 4..].to_vec()
        }
    }
}

#[test]
fn every_fault_has_its_outcome() {
    let (common, good) = (Server::start(), Server::start());
    let mut shared: BTreeMap<&[&str], Group> = BTreeMap::new();
    let mut groups = Vec::new();
    for case in cases() {
        // A run trusts one authority, so a fault with an authority of its own runs alone.
        if case.host().is_some() {
            let mut group = Group::new(case.flags);
            group.add(case, &common);
            groups.push(group);
        } else {
            shared.entry(case.flags).or_insert_with(|| Group::new(case.flags)).add(case, &common);
        }
    }
    groups.extend(shared.into_values());
    let runs = groups.iter().map(|group| group.program(&good).start()).collect::<Vec<_>>();
    let mut complaints = Vec::new();
    for (group, run) in groups.iter().zip(runs.into_iter().map(Running::wait)) {
        let found = group.complaints(&run, &common, &good);
        if !found.is_empty() {
            complaints.push(run.to_string());
        }
        complaints.extend(found);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let most = getrusage(UsageWho::RUSAGE_CHILDREN).expect("a process knows what its children used").max_rss();
    // Linux counts in KiB, macOS in bytes.
    let most = u64::try_from(most).expect("a size") * if cfg!(target_os = "macos") { 1 } else { 1024 };
    assert!(most < MOST_MEMORY, "{most} bytes of memory");
}

#[test]
fn names_are_unique_and_many() {
    let mut names = cases().map(|case| case.name).collect::<Vec<_>>();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count > 60, "{count}");
    for name in names {
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)),
            "{name}"
        );
    }
}

fn cases() -> impl Iterator<Item = &'static Case> {
    SECTIONS.iter().flat_map(|(_, cases)| cases.iter())
}

#[test]
fn the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/FAULTS.md");
    let rendered = rendered();
    if std::env::var_os("WRITE_FAULTS").is_some() {
        std::fs::write(&path, &rendered).expect("the document can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == rendered, "tests/FAULTS.md is out of date; its first lines say how to write it anew");
}

fn rendered() -> String {
    let mut text = format!(
        "# What servers do, and what fetchimg does\n\n\
         Written by `WRITE_FAULTS=1 cargo test --test faults` from the table in\n\
         `tests/faults/cases.rs`; change that, not this. Each of these {} faults is played to the built\n\
         program by a server on loopback, and the outcome is checked: the record (kind of error, status, whether another\n\
         run may succeed, tries), the number of requests, every byte that was saved, and the name it was saved under.\n\n\
         Whatever a server does: there is one record for the row, a failed row leaves nothing behind under any name, the\n\
         other rows of the list are saved all the same, the exit status is 1 when a row failed and 0 when none did, no\n\
         message carries control characters, and no run takes more than {} seconds or {} MiB, however endless the answer.\n\n\
         The table is played with one retry, which is *tried again*. Deadlines and limits that a line names stand for the\n\
         longer defaults.\n",
        cases().count(),
        LONGEST.as_secs(),
        MOST_MEMORY >> 20
    );
    for (title, cases) in SECTIONS {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {title}\n\n| name | what the server does | what fetchimg does |\n|---|---|---|\n");
        for case in *cases {
            let _ = writeln!(text, "| `{}` | {} | {} |", case.name, case.does, case.outcome_in_words());
        }
    }
    text
}
