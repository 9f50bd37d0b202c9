//! Options of HTTP: headers, credentials, proxies, certificates and addresses, and which of them are never shown.

use std::fs;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::common::{Program, Request, Run, Server, TestDir, fetchimg};

/// Fetches `/echo/a.png` with these options and returns the request that the server received.
#[track_caller]
fn request_with<const N: usize>(arguments: [&str; N]) -> Request {
    let server = Server::start();
    let run = fetchimg().lines([server.url("/echo/a.png")]).args(arguments).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body("/echo/a.png"), "{run}");
    let mut requests = server.requests();
    assert_eq!(requests.len(), 1, "{run}");
    requests.remove(0)
}

/// Everything that a run wrote: every file below its folder except the list, and both streams.
fn traces(run: &Run) -> Vec<(String, Vec<u8>)> {
    let mut traces = vec![
        ("standard output".to_owned(), run.stdout.clone().into_bytes()),
        ("standard error".to_owned(), run.stderr.clone().into_bytes()),
    ];
    let mut folders = vec![run.dir.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the test").flatten() {
            let path = entry.path();
            traces.push((path.display().to_string(), path.display().to_string().into_bytes()));
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("list.txt") && !path.ends_with(".netrc") {
                traces.push((path.display().to_string(), fs::read(&path).expect("a file of the test")));
            }
        }
    }
    traces
}

/// None of these secrets is in what the run wrote.
#[track_caller]
fn keeps_secret(run: &Run, secrets: &[&str]) {
    for (place, content) in traces(run) {
        let content = String::from_utf8_lossy(&content);
        for secret in secrets {
            assert!(!content.contains(secret), "{place} tells {secret}\n{run}");
        }
    }
}

/// Every place where a URL may be shown.
const EVERYWHERE: [&str; 7] =
    ["-v", "--manifest", "records.jsonl", "--report", "report.json", "--report", "report.txt"];

#[test]
fn the_user_agent_is_sent_and_unsupported_codings_are_not_accepted() {
    let request = request_with([]);
    let agent = request.header("user-agent").expect("it has a name").to_owned();
    assert!(agent.starts_with(&format!("fetchimg/{} (+http", env!("CARGO_PKG_VERSION"))), "{agent}");
    assert!(agent.ends_with(')'), "{agent}");
    let encodings = request.header("accept-encoding");
    assert!(encodings.is_none_or(|value| value == "identity"), "{encodings:?}");
    for name in ["authorization", "cookie", "referer", "range", "if-range"] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.method, "GET");
}

#[test]
fn headers_are_sent_as_given() {
    let request = request_with(["-H", "X-Key: a: b", "--header", "X-Twice: 1", "-H", "X-Twice: 2", "-H", "X-Empty;"]);
    assert_eq!(request.header("x-key"), Some("a: b"));
    assert_eq!(request.header("x-empty"), Some(""));
    let twice = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-twice"));
    assert_eq!(twice.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn a_header_takes_the_place_of_what_would_be_sent() {
    let request = request_with(["-H", "User-Agent: mine", "-H", "Accept: image/webp", "-H", "Host: images.example"]);
    for (name, value) in [("user-agent", "mine"), ("accept", "image/webp"), ("host", "images.example")] {
        let sent = request.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        assert_eq!(sent.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), [value], "{name}");
    }
}

#[test]
fn a_header_without_value_is_not_sent() {
    assert_eq!(request_with(["-H", "User-Agent:"]).header("user-agent"), None);
    assert_eq!(request_with(["-b", "a=1", "-H", "Cookie:"]).header("cookie"), None);
}

#[test]
fn an_accept_header_is_always_sent() {
    assert_eq!(request_with(["-H", "Accept: image/webp"]).header("accept"), Some("image/webp"));
    let run = fetchimg().args(["http://127.0.0.1:1/a.png", "-H", "Accept:"]).run();
    assert_eq!(run.status, Some(2), "{run}");
    assert!(run.stderr.contains("give it a value"), "{run}");
}

#[test]
fn agent_referer_and_cookie_are_sent_as_given() {
    let request = request_with(["-A", "tester/1", "-e", "http://from.example/page", "-b", "a=1; b=2"]);
    assert_eq!(request.header("user-agent"), Some("tester/1"));
    assert_eq!(request.header("referer"), Some("http://from.example/page"));
    assert_eq!(request.header("cookie"), Some("a=1; b=2"));
    let request = request_with(["--user-agent", "t", "--referer", "http://r.example/", "--cookie", "c=3"]);
    assert_eq!(request.header("user-agent"), Some("t"));
    assert_eq!(request.header("referer"), Some("http://r.example/"));
    assert_eq!(request.header("cookie"), Some("c=3"));
}

#[test]
fn a_user_opens_what_is_locked_and_stays_unknown() {
    let server = Server::start();
    let target = "/auth/ann/gehe%3Aim/300/a.png";
    let run = fetchimg().lines([server.url(target)]).args(["-u", "ann:gehe:im"]).args(EVERYWHERE).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body(target), "{run}");
    keeps_secret(&run, &["gehe:im", &BASE64_STANDARD.encode(b"ann:gehe:im")]);
    let run = fetchimg().lines([server.url(target)]).args(["-u", "ann:wrong"]).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.record(0)["http_status"], 401, "{run}");
    assert_eq!(run.record(0)["attempts"], 1, "{run}");
}

#[test]
fn credentials_come_from_netrc_when_asked_for() {
    let server = Server::start();
    let target = "/auth/ann/geheim/300/a.png";
    let entry = "machine 127.0.0.1 login ann password geheim\n";

    let dir = TestDir::new();
    dir.write(".netrc", entry);
    let run = fetchimg().in_dir(&dir).lines([server.url(target)]).arg("--netrc").args(EVERYWHERE).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body(target), "{run}");
    for (place, content) in traces(&run) {
        let redacted = String::from_utf8_lossy(&content).replace(target, "");
        assert!(!redacted.contains("geheim"), "{place}\n{run}");
    }

    let dir = TestDir::new();
    let file = dir.write("credentials", entry);
    let run = fetchimg().in_dir(&dir).lines([server.url(target)]).arg("--netrc").env("NETRC", &file).run();
    assert_eq!(run.status, Some(0), "{run}");

    let dir = TestDir::new();
    dir.write(".netrc", entry);
    let run = fetchimg().in_dir(&dir).lines([server.url(target)]).run();
    assert_eq!(run.record(0)["http_status"], 401, "netrc is not read without its flag\n{run}");

    let dir = TestDir::new();
    dir.write(".netrc", "machine other.test login ann password geheim\n");
    let run = fetchimg().in_dir(&dir).lines([server.url("/echo/b.png")]).arg("--netrc").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(server.requests_for("/echo/b.png")[0].header("authorization"), None, "another host's\n{run}");
}

#[test]
fn user_info_in_a_url_is_used_and_redacted() {
    let server = Server::start();
    let with = |info: &str, target: &str| server.url(target).replace("http://", &format!("http://{info}@"));
    let locked = "/auth/ann/ge%20heim/300/a.png";
    let lines = [
        with("ann:ge%20heim", "/png/300/ok.png"),
        with("ann:ge%20heim", "/status/404/x.png"),
        with("ann:ge%20heim", "/cut/5000/10/y.png"),
        with("t0k3n", "/echo/z.png"),
        with("ann:ge%20heim", "/redirect/302/1/png/300/r.png"),
        with("ann:ge%20heim", "/bad-location"),
    ];
    let run = fetchimg().lines(&lines).args(["--retries", "1", "--retry-wait", "0.01"]).args(EVERYWHERE).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.files(), ["ok.png", "r.png", "z.png"], "{run}");
    let basic = format!("Basic {}", BASE64_STANDARD.encode(b"ann:ge heim"));
    for request in server.requests().iter().filter(|request| request.path() != "/echo/z.png") {
        assert_eq!(request.header("authorization"), Some(&*basic), "{}\n{run}", request.target);
        assert!(!request.host.contains('@') && !request.target.contains('@'), "{run}");
    }
    let alone = format!("Basic {}", BASE64_STANDARD.encode(b"t0k3n:"));
    assert_eq!(server.requests_for("/echo/z.png")[0].header("authorization"), Some(&*alone), "{run}");
    assert_eq!(run.record(0)["url"], with("ann:***", "/png/300/ok.png"), "{run}");
    assert_eq!(run.record(3)["url"], with("***", "/echo/z.png"), "{run}");
    assert!(run.stderr.contains("ann:***@"), "{run}");
    keeps_secret(&run, &["ge%20heim", "ge heim", "t0k3n", &BASE64_STANDARD.encode(b"ann:ge heim")]);

    let run = fetchimg().lines([with("ann:ge%20heim", locked)]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body(locked), "{run}");
}

#[test]
fn signatures_are_sent_and_never_shown() {
    let server = Server::start();
    let signed = [
        ("/png/300/a.png", "X-Amz-Signature", "5e6f01"),
        ("/status/404/b.png", "sig", "s3cr%2Bt"),
        ("/cut/5000/10/c.png", "token", "t0k3n"),
        ("/page/d.png", "Signature", "s1gn4ture"),
        ("/redirect/302/1/png/300/e.png", "X-Amz-Security-Token", "s3cur1ty"),
        ("/png/300/f.png", "X-Amz-Credential", "AKIA77%2Fus"),
        ("/png/300/g.png", "X-Goog-Signature", "g00g1e"),
        ("/png/300/h.png", "hm", "d15c0rd"),
        ("/png/300/i.png", "amp;upload_token", "4mp3r5and"),
        ("/png/300/j.png", "u=http%3A%2F%2Fc.example%2Fx%3Fapi_key", "n35ted"),
    ];
    let targets = signed.map(|(path, name, value)| format!("{path}?w=640&{name}={value}&h=480"));
    let run = fetchimg()
        .lines(targets.iter().map(|target| server.url(target)))
        .args(["--retries", "1", "--retry-wait", "0.01"])
        .args(EVERYWHERE)
        .run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.files(), ["a.png", "e.png", "f.png", "g.png", "h.png", "i.png", "j.png"], "{run}");
    for ((path, name, _), (index, target)) in signed.iter().zip((0..).zip(&targets)) {
        assert!(server.hits(target) > 0, "the server gets all of {target}\n{run}");
        assert_eq!(run.record(index)["url"], server.url(&format!("{path}?w=640&{name}=***&h=480")), "{run}");
    }
    keeps_secret(&run, &signed.map(|(_, _, value)| value));
    let again = fetchimg().in_dir(&run.dir).lines(targets.iter().map(|target| server.url(target))).run();
    assert_eq!(again.record(0)["reason"], "already_saved", "a redacted URL is known again\n{again}");
    keeps_secret(&again, &signed.map(|(_, _, value)| value));
}

#[test]
fn secrets_of_lines_that_are_no_urls_are_redacted_too() {
    let lines = [
        "ftp://ann:geheim@files.example/a.png",
        "http://ann:geheim@exa mple.test/a.png",
        "https://ann:geheim@[zz/a.png",
        "ftp://files.example/a.png?w=1&token=t0k3n",
    ];
    let run = fetchimg().lines(lines).args(EVERYWHERE).run();
    assert_eq!(run.status, Some(1), "{run}");
    assert_eq!(run.records().len(), 4, "{run}");
    assert!(run.records().iter().all(|record| record["error"] == "bad_url"), "{run}");
    keeps_secret(&run, &["geheim", "t0k3n"]);
}

#[test]
fn secrets_of_a_location_that_leads_nowhere_are_redacted() {
    let server = Server::start();
    let locations = ["http://ann:geheim@exa mple.test/x.png", "ftp://ann:geheim@files.example/x.png?sig=s1gn"];
    for location in locations {
        // Hidden from the list's own URL, which the log shows.
        let url = server.redirect_to(location);
        let run = fetchimg().lines([&url]).args(EVERYWHERE).run();
        assert_eq!(run.record(0)["error"], "redirect", "{run}");
        for (place, content) in traces(&run) {
            let content = String::from_utf8_lossy(&content).replace(&url, "");
            assert!(!content.contains("geheim") && !content.contains("s1gn"), "{place}\n{run}");
        }
    }
}

#[test]
fn the_most_talkative_log_tells_no_secrets() {
    let server = Server::start();
    let url = server.url("/png/300/a.png?sig=s1gn4ture").replace("http://", "http://ann:geheim@");
    let run = fetchimg().lines([url]).args(["-vv", "-b", "session=c00kie", "-H", "X-Key: k3y5"]).run();
    assert_eq!(run.status, Some(0), "{run}");
    keeps_secret(&run, &["geheim", "s1gn4ture", &BASE64_STANDARD.encode(b"ann:geheim"), "c00kie", "k3y5"]);
}

#[test]
fn a_proxy_is_asked_for_the_whole_url() {
    let proxy = Server::start();
    let run = fetchimg().lines(["http://images.example/png/300/a.png?x=1"]).args(["-x", &proxy.url("")]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), proxy.body("/png/300/a.png?x=1"), "{run}");
    let requests = proxy.requests();
    assert_eq!(requests.len(), 1, "{run}");
    assert_eq!(requests[0].target, "http://images.example/png/300/a.png?x=1", "{run}");
    assert_eq!(requests[0].host, "images.example", "{run}");
}

#[test]
fn the_password_of_a_proxy_is_used_and_not_shown() {
    let proxy = Server::start();
    let with_password = proxy.url("").replace("http://", "http://ann:geheim@");
    let run =
        fetchimg().lines(["http://images.example/png/300/a.png"]).args(["-x", &with_password]).args(EVERYWHERE).run();
    assert_eq!(run.status, Some(0), "{run}");
    let basic = format!("Basic {}", BASE64_STANDARD.encode(b"ann:geheim"));
    assert_eq!(proxy.requests()[0].header("proxy-authorization"), Some(&*basic), "{run}");
    assert_eq!(proxy.requests()[0].header("authorization"), None, "{run}");
    keeps_secret(&run, &["geheim", &BASE64_STANDARD.encode(b"ann:geheim")]);

    drop(proxy);
    let run = fetchimg()
        .lines(["http://images.example/png/300/a.png"])
        .args(["-x", &with_password, "--retries", "0"])
        .args(EVERYWHERE)
        .run();
    assert_eq!(run.record(0)["error"], "connect", "{run}");
    keeps_secret(&run, &["geheim"]);
    let run = fetchimg().lines(["http://a.example/"]).args(["-x", "http://ann:geheim@:notaport/"]).run();
    assert_eq!(run.status, Some(2), "{run}");
    keeps_secret(&run, &["geheim"]);
}

#[test]
fn the_environment_names_a_proxy() {
    let proxy = Server::start();
    let run = fetchimg().lines(["http://images.example/png/300/a.png"]).env("http_proxy", proxy.url("")).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(proxy.requests()[0].target, "http://images.example/png/300/a.png", "{run}");
    let run = fetchimg().lines(["http://images.example/png/300/b.png"]).env("ALL_PROXY", proxy.url("")).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(proxy.requests()[1].target, "http://images.example/png/300/b.png", "{run}");
}

#[test]
fn an_empty_proxy_and_no_proxy_lead_past_the_environment() {
    let proxy = Server::start();
    let server = Server::start();
    let url = server.url("/png/300/a.png");
    let run = fetchimg().lines([&url]).env("http_proxy", proxy.url("")).args(["-x", ""]).run();
    assert_eq!(run.status, Some(0), "{run}");
    let run = fetchimg().lines([&url]).env("http_proxy", proxy.url("")).env("no_proxy", "127.0.0.1").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(server.requests().len(), 2, "{run}");
    assert_eq!(proxy.connections(), 0, "{run}");
}

#[test]
fn a_proxy_on_the_command_line_beats_that_of_the_environment() {
    let (proxy, other) = (Server::start(), Server::start());
    let run = fetchimg()
        .lines(["http://images.example/png/300/a.png"])
        .env("http_proxy", other.url(""))
        .args(["-x", &proxy.url("")])
        .run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(proxy.requests().len(), 1, "{run}");
    assert_eq!(other.connections(), 0, "{run}");
}

/// A list of one image from a server that speaks TLS.
fn secure(server: &Server) -> Program {
    fetchimg().lines([server.url("/png/300/a.png")])
}

#[test]
fn an_authority_can_be_named() {
    let server = Server::start_tls();
    let run = secure(&server).arg("--cacert").arg(server.ca_pem_file()).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
    assert_eq!(run.record(0)["final_url"], server.url("/png/300/a.png"), "{run}");

    let other = Server::start_tls();
    let run = secure(&server).arg("--cacert").arg(other.ca_pem_file()).run();
    assert_eq!(run.status, Some(1), "another server's authority\n{run}");
    assert_eq!(run.record(0)["error"], "tls", "{run}");
}

/// On other systems the authorities are not in files.
#[cfg(target_os = "linux")]
#[test]
fn the_authorities_of_the_system_are_read_before_a_certificate_is_believed() {
    let server = Server::start_tls();
    let urls = (0..40).map(|number| server.url(&format!("/png/300/{number}.png"))).collect::<Vec<_>>();
    let run = fetchimg().lines(&urls).env("SSL_CERT_FILE", server.ca_pem_file()).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.files().len(), urls.len(), "{run}");

    let run = fetchimg().lines(&urls).env("SSL_CERT_FILE", "/dev/null").run();
    assert_eq!(run.status, Some(1), "{run}");
    for index in 0..40 {
        assert_eq!(run.record(index)["error"], "tls", "{run}");
    }
    let message = run.record(0)["message"].to_string();
    assert!(message.contains("No CA certificates"), "{message}");
}

#[test]
fn certificates_can_be_left_unchecked() {
    let server = Server::start_tls();
    for flag in ["-k", "--insecure"] {
        let run = secure(&server).arg(flag).run();
        assert_eq!(run.status, Some(0), "{run}");
        assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
    }
    let url = server.url_for_host("other.test", "/png/300/a.png");
    let run = fetchimg().lines([url]).args(["-k", "--resolve", &server.resolve("other.test")]).run();
    assert_eq!(run.status, Some(0), "a certificate for another name\n{run}");
}

#[test]
fn a_file_without_certificates_is_refused_with_a_sentence() {
    let dir = TestDir::new();
    dir.write("empty.pem", "");
    dir.write("words.pem", "no certificate at all\n");
    dir.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for file in ["missing.pem", "empty.pem", "words.pem", "broken.pem"] {
        let run = fetchimg().in_dir(&dir).lines(["https://127.0.0.1:1/a.png"]).args(["--cacert", file]).run();
        assert!(matches!(run.status, Some(2 | 3)), "{run}");
        assert!(run.stderr.starts_with("fetchimg: ") && run.stderr.contains(file), "{run}");
        assert_eq!(run.stderr.lines().count(), 1, "{run}");
        assert_eq!(run.files(), [""; 0], "{run}");
    }
}

#[test]
fn a_name_can_be_led_to_an_address() {
    let server = Server::start();
    let url = server.url_for_host("Images.Test", "/png/300/a.png");
    let run = fetchimg().lines([url]).args(["--resolve", &server.resolve("images.test")]).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(server.requests()[0].host, format!("images.test:{}", server.port()), "{run}");

    let pinned = format!("images.test:80:{}", server.address());
    let run = fetchimg().lines(["http://images.test/png/300/a.png"]).args(["--resolve", &pinned]).run();
    assert_eq!(run.status, Some(0), "the address carries a port of its own\n{run}");
    assert_eq!(server.requests()[1].host, "images.test", "{run}");
    assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
}

#[test]
fn a_resolved_name_is_led_astray_at_its_port_alone() {
    let server = Server::start();
    let url = server.url_for_host("images.invalid", "/png/300/a.png");
    let run = fetchimg().lines([url]).args(["--resolve", "images.invalid:1:127.0.0.1", "--retries", "0"]).run();
    assert_eq!(run.status, Some(1), "--resolve names port 1, the URL another\n{run}");
    assert_eq!(run.record(0)["error"], "dns", "{run}");
    assert_eq!(server.connections(), 0, "{run}");
}

#[test]
fn one_family_of_addresses_excludes_the_other() {
    let server = Server::start();
    let v6 = format!("http://[::1]:{}/png/300/a.png", server.port());
    let v4 = server.url("/png/300/a.png");
    let named = server.url_for_host("images.test", "/png/300/a.png");
    for (flag, url) in [("-4", &v6), ("-6", &v4), ("-6", &named)] {
        let run = fetchimg()
            .lines([url])
            .args([flag, "--retry-wait", "0.01", "--resolve", &server.resolve("images.test")])
            .run();
        assert_eq!(run.status, Some(1), "{run}");
        assert_eq!(run.files(), [""; 0], "{run}");
        assert!(matches!(run.record(0)["error"].as_str(), Some("connect" | "dns")), "{run}");
    }
    assert_eq!(server.connections(), 0);
    for url in [&v4, &named] {
        let run = fetchimg().lines([url]).args(["-4", "--resolve", &server.resolve("images.test")]).run();
        assert_eq!(run.status, Some(0), "{run}");
    }
}

#[test]
fn http_1_1_can_be_insisted_on() {
    let server = Server::start_tls();
    let run = secure(&server).arg("--http1.1").arg("--cacert").arg(server.ca_pem_file()).run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
    request_with(["--http1.1"]);
}

#[test]
fn the_folder_of_a_run_holds_no_traces_of_the_list_itself() {
    // This makes sure that `keeps_secret` looks at something.
    let server = Server::start();
    let run = fetchimg().lines([server.url("/png/300/a.png?x=seen")]).args(EVERYWHERE).run();
    let seen = traces(&run).into_iter().filter(|(_, content)| String::from_utf8_lossy(content).contains("x=seen"));
    let places =
        seen.map(|(place, _)| Path::new(&place).file_name().map(std::ffi::OsStr::to_owned)).collect::<Vec<_>>();
    for expected in ["standard error", ".fetchimg.jsonl", "records.jsonl"] {
        assert!(places.iter().flatten().any(|place| place == expected), "{expected}: {places:?}\n{run}");
    }
}

#[test]
fn only_public_addresses_are_connected_to_when_asked_for() {
    let server = Server::start();
    let urls = [
        server.url("/png/300/a.png"),
        server.url_for_host("images.test", "/png/300/b.png"),
        server.url_for_host("localhost", "/png/300/c.png"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://[::ffff:127.0.0.1]/d.png".to_owned(),
        "http://0x7f.1/e.png".to_owned(),
    ];
    let run = fetchimg().lines(&urls).args(["--public-only", "--resolve", &server.resolve("images.test")]).run();
    assert_eq!(run.status, Some(1), "{run}");
    for index in 0..urls.len() as u64 {
        let record = run.record(index);
        assert_eq!(record["error"], "forbidden_address", "{record}\n{run}");
        assert_eq!((record["attempts"].as_u64(), record["retryable"].as_bool()), (Some(1), Some(false)), "{record}");
        assert!(record["message"].as_str().expect("a message").contains("is not public"), "{record}");
    }
    assert_eq!(server.connections(), 0, "{run}");
    // A proxy from the environment could connect to such an address.
    let proxied = fetchimg().arg(&urls[0]).arg("--public-only").env("http_proxy", server.url("/")).run();
    assert_eq!((proxied.status, server.connections()), (Some(1), 0), "{proxied}");
}
