//! Proxies: which hosts are reached without one, and what a proxy that gives no tunnel says.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::common::{Program, Run, Server, fetchimg};

/// A proxy that answers the requests for tunnels as the test says.
struct Tunnels {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    /// `answer`: the bytes for the head of a request and the number of requests before it; `None` gives a tunnel to this
    /// machine.
    fn start(answer: impl Fn(&str, usize) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (seen, answer) = (Arc::clone(&heads), Arc::new(answer));
        // It ends with the tests.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || {
                    // A client may leave at any time.
                    let _ = attend(client, &seen, &*answer);
                });
            }
        });
        Self { address, heads }
    }

    /// The same answer for all.
    fn answering(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::start(move |_, _| Some(answer.clone()))
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no thread panics with it").clone()
    }
}

fn attend(
    mut client: TcpStream,
    seen: &Mutex<Vec<String>>,
    answer: &dyn Fn(&str, usize) -> Option<String>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let earlier = {
        let mut seen = seen.lock().expect("no thread panics with it");
        seen.push(head.clone());
        seen.len() - 1
    };
    if let Some(answer) = answer(&head, earlier) {
        client.write_all(answer.as_bytes())?;
        client.shutdown(Shutdown::Write)?;
        return client.read_to_end(&mut Vec::new()).map(drop);
    }
    let port = head.split([':', ' ']).nth(2).and_then(|port| port.parse::<u16>().ok()).unwrap_or(443);
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || io::copy(&mut from_server, &mut to_client));
    io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Write)
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\nContent-Length: 6\r\n\r\nsorry\n")
}

/// A run of one image over TLS, which takes a tunnel.
fn secure(server: &Server, proxy: &str) -> Program {
    let program = fetchimg().lines([server.url_for_host("images.test", "/png/300/a.png")]);
    program.arg("--cacert").arg(server.ca_pem_file()).args(["-x", proxy, "--retry-wait", "0.01"])
}

#[track_caller]
fn message(run: &Run) -> String {
    run.record(0)["message"].as_str().expect("a message").to_owned()
}

#[test]
fn a_refused_tunnel_tells_the_status_and_is_retried_as_the_status_of_a_server_is() {
    let server = Server::start_tls();
    for (line, code, retryable) in [
        ("403 Forbidden", 403, false),
        ("403 Nobody reads this", 403, false),
        ("404 Not Found", 404, false),
        ("405 Method Not Allowed", 405, false),
        ("407 Proxy Authentication Required", 407, false),
        ("302 Found", 302, false),
        ("429 Too Many Requests", 429, true),
        ("500 Internal Server Error", 500, true),
        ("502 Bad Gateway", 502, true),
        ("503 Service Unavailable", 503, true),
        ("504 Gateway Timeout", 504, true),
    ] {
        let proxy = Tunnels::answering(&status(line));
        let run = secure(&server, &proxy.url()).args(["--retries", "0"]).run();
        assert_eq!(run.status, Some(1), "{run}");
        let record = run.record(0);
        assert_eq!(
            (record["error"].as_str(), record["http_status"].as_u64()),
            (Some("http_status"), Some(code)),
            "{run}"
        );
        assert_eq!(record["retryable"].as_bool(), Some(retryable), "{line}\n{run}");
        let name = if line.contains("Nobody") { "403 Forbidden" } else { line };
        let expected = format!("the proxy {} answered {name} to CONNECT", proxy.url());
        assert!(message(&run).starts_with(&expected), "{line}\n{run}");
        let target = format!("CONNECT images.test:{} HTTP/1.1\r\n", server.port());
        assert!(proxy.heads().iter().all(|head| head.starts_with(&target)), "{:?}\n{run}", proxy.heads());
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_tunnel_that_is_given_later_saves_the_row() {
    let server = Server::start_tls();
    // Each refusal is asked for once more, for its status.
    for (answer, retries) in [
        (status("502 Bad Gateway"), "1"),
        (status("403 Forbidden").replace("Content-Length", "Retry-After: 1\r\nContent-Length"), "1"),
        (String::new(), "2"),
        ("what is this\r\n\r\n".into(), "2"),
    ] {
        let first = answer.clone();
        let proxy = Tunnels::start(move |_, earlier| (earlier < 2).then(|| first.clone()));
        let run = secure(&server, &proxy.url()).args(["--retries", retries]).run();
        assert_eq!(run.status, Some(0), "{answer:?}\n{run}");
        assert_eq!(run.file("a.png"), server.body("/png/300/a.png"), "{run}");
        assert!(run.record(0)["attempts"].as_u64() >= Some(2), "{run}");
    }
    // A refusal that is none when it is asked for again is a connection that failed.
    let proxy = Tunnels::start(|_, earlier| (earlier == 0).then(|| status("403 Forbidden")));
    let run = secure(&server, &proxy.url()).args(["--retries", "1"]).run();
    assert_eq!(run.status, Some(0), "{run}");
}

#[test]
fn answers_that_are_none_are_failures_to_connect() {
    let server = Server::start_tls();
    for answer in ["", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 403"] {
        let proxy = Tunnels::answering(answer);
        let run = secure(&server, &proxy.url()).args(["--retries", "0"]).run();
        let record = run.record(0);
        assert_eq!((record["error"].as_str(), record["retryable"].as_bool()), (Some("connect"), Some(true)), "{run}");
        let expected = format!("through the proxy {}: cannot connect to images.test:", proxy.url());
        assert!(message(&run).starts_with(&expected), "{answer:?}\n{run}");
    }
}

#[test]
fn what_is_wrong_behind_a_tunnel_is_not_asked_of_the_proxy() {
    let server = Server::start_tls();
    let proxy = Tunnels::start(|_, _| None);
    let run = fetchimg().lines([server.url_for_host("images.test", "/png/300/a.png")]).args(["-x", &proxy.url()]).run();
    assert_eq!(run.record(0)["error"], "tls", "{run}");
    assert!(message(&run).starts_with(&format!("through the proxy {}: no trusted connection", proxy.url())), "{run}");
    assert_eq!(proxy.heads().len(), 1, "{run}");
}

#[test]
fn a_proxy_that_wants_credentials_says_where_they_go() {
    let server = Server::start_tls();
    let refusal = || Tunnels::answering(&status("407 Proxy Authentication Required"));
    let proxy = refusal();
    let run = secure(&server, &proxy.url()).run();
    assert!(message(&run).ends_with("it wants credentials, as in --proxy http://USER:PASSWORD@HOST:PORT"), "{run}");

    let proxy = refusal();
    let given = proxy.url().replace("http://", "http://ann:geheim@");
    for by_variable in [false, true] {
        let program = if by_variable {
            let program = fetchimg().lines([server.url_for_host("images.test", "/png/300/a.png")]);
            program.env("https_proxy", &given).arg("--cacert").arg(server.ca_pem_file())
        } else {
            secure(&server, &given)
        };
        let run = program.args(["-vv", "--manifest", "-", "--report", "r.html"]).run();
        assert!(message(&run).contains("does not accept the user and password"), "{run}");
        for text in [&run.stdout, &run.stderr, &String::from_utf8_lossy(&run.dir.read("r.html")).into_owned()] {
            assert!(!text.contains("geheim") && !text.contains("YW5uOmdlaGVpbQ"), "{run}");
        }
    }
    // The question for the status has the credentials, too.
    let credentials =
        |head: &String| head.to_lowercase().contains("\r\nproxy-authorization: basic yw5uomdlagvpbq==\r\n");
    assert_eq!(proxy.heads().len(), 4);
    assert!(proxy.heads().iter().all(credentials), "{:?}", proxy.heads());

    // One that knows them gives the tunnel.
    let proxy = Tunnels::start(|head, _| {
        (!head.contains("YW5uOmdlaGVpbQ==")).then(|| status("407 Proxy Authentication Required"))
    });
    let run = secure(&server, &proxy.url().replace("http://", "http://ann:geheim@")).run();
    assert_eq!(run.status, Some(0), "{run}");
}

#[test]
fn a_proxy_behind_tls_tells_its_status_too() {
    // To this server it is a path that does not exist.
    let proxy = Server::start_tls();
    for host in ["127.0.0.1", "localhost"] {
        let run = fetchimg()
            .lines(["https://images.example/a.png"])
            .args(["-x", &proxy.url_for_host(host, ""), "--cacert"])
            .arg(proxy.ca_pem_file())
            .run();
        assert!(message(&run).contains("answered 404 Not Found to CONNECT"), "{run}");
        assert_eq!(run.record(0)["http_status"], 404, "{run}");
    }
}

#[test]
fn hosts_that_need_no_proxy_are_reached_without_one() {
    let (server, proxy) = (Server::start(), Server::start());
    let port = server.port();
    let urls = ["img.example.com", "IMG.Example.Com.", "127.0.0.1"]
        .map(|host| server.url_for_host(host, &format!("/png/300/{}.png", host.len())));
    let pins = [server.resolve("img.example.com"), server.resolve("img.example.com.")];
    // For each value, whether the name and the address go past the proxy.
    for (list, name, address) in [
        ("example.com".to_owned(), true, false),
        (".example.com".into(), true, false),
        ("*.example.com".into(), true, false),
        ("*.img.example.com".into(), false, false),
        ("Example.COM.".into(), true, false),
        (" other.test , IMG.example.com. ".into(), true, false),
        (format!("example.com:{port}"), true, false),
        (format!("example.com:{}", port ^ 1), false, false),
        ("mple.com,img.example.com.test".into(), false, false),
        ("127.0.0.0/8".into(), false, true),
        ("128.0.0.0/8, fd00::/8".into(), false, false),
        (format!("127.0.0.1:{port}\t, 10.0.0.0/8"), false, true),
        ("*".into(), true, true),
        (String::new(), false, false),
    ] {
        for (variable, by_flag) in [("no_proxy", true), ("NO_PROXY", false)] {
            let (direct, proxied) = (server.hits_in_all(), proxy.hits_in_all());
            let program = fetchimg().lines(&urls).env(variable, &list);
            let program = program.args(["--resolve", &pins[0], "--resolve", &pins[1]]);
            let run = if by_flag {
                program.args(["-x", &proxy.url("")]).run()
            } else {
                program.env("http_proxy", proxy.url("")).run()
            };
            assert_eq!(run.status, Some(0), "{variable}={list}\n{run}");
            let expected = 2 * usize::from(name) + usize::from(address);
            assert_eq!(server.hits_in_all() - direct, expected, "{variable}={list:?}\n{run}");
            assert_eq!(proxy.hits_in_all() - proxied, 3 - expected, "{variable}={list:?}\n{run}");
        }
    }
}

#[test]
fn each_hop_of_a_redirect_is_judged_by_itself() {
    let (server, proxy) = (Server::start(), Server::start());
    let inner = server.url("/png/300/a.png");
    let outer = format!("http://other.test{}", &proxy.redirect_to(&inner)[proxy.url("").len()..]);
    let run = fetchimg().lines([outer]).args(["-x", &proxy.url("")]).env("no_proxy", "127.0.0.0/8").run();
    assert_eq!(run.status, Some(0), "{run}");
    assert_eq!((server.hits_in_all(), proxy.hits_in_all()), (1, 1), "{run}");
}

#[test]
fn a_proxy_that_cannot_be_used_ends_the_run_before_a_request() {
    let (server, elsewhere) = (Server::start(), "127.0.0.1:1");
    let urls = [server.url("/png/300/a.png")];
    for (proxy, said) in [
        (format!("socks://{elsewhere}"), "socks: is no kind of proxy; write a URL such as"),
        (format!("ftp://{elsewhere}"), "ftp: is no kind of proxy"),
        (format!("http:{elsewhere}"), "it is no URL"),
        (format!("http://{elsewhere} "), "it is no URL"),
        (format!("http://me:hush hush@{elsewhere}"), "%20"),
        (format!("http://me:hush#hush@{elsewhere}"), "write %23 for #"),
        (format!("http://me:hush/hush@{elsewhere}"), "%2F for /"),
    ] {
        let variables = ["http_proxy", "HTTPS_PROXY", "all_proxy"].map(Some);
        for variable in variables.into_iter().chain([None]) {
            let program = fetchimg().lines(&urls);
            let (program, name, status) = match variable {
                Some(name) => (program.env(name, &proxy), name, 3),
                None => (program.args(["-x", &proxy]), "--proxy", 2),
            };
            let run = program.run();
            assert_eq!(run.status, Some(status), "{proxy} {name}\n{run}");
            assert!(run.stderr.contains(&format!("{name}: ")) && run.stderr.contains(said), "{proxy}\n{run}");
            assert!(!run.stderr.contains("hush"), "the password is shown\n{run}");
        }
    }
    assert_eq!(server.hits_in_all(), 0);
    let run = fetchimg().lines(&urls).env("all_proxy", "").env("http_proxy", "").run();
    assert_eq!(run.status, Some(0), "empty variables name no proxy\n{run}");
}

#[test]
fn a_proxy_without_an_address_is_not_taken_for_the_host_of_the_url() {
    let server = Server::start();
    let proxy = "http://no-such-proxy.invalid:3128";
    let run = fetchimg().lines([server.url("/png/300/a.png")]).args(["-x", proxy, "--retries", "0"]).run();
    assert_eq!(run.record(0)["error"], "dns", "{run}");
    let expected = format!("through the proxy {proxy}: cannot resolve no-such-proxy.invalid");
    assert!(message(&run).starts_with(&expected), "{run}");
}
