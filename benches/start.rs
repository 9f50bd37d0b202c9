//! Measures the time from the start of the program to its first request, and from the last received byte to its end.
//!
//! ```text
//! cargo bench --bench start                                # 50 rounds
//! cargo bench --bench start -- 9                           # 9 rounds
//! cargo bench --bench start -- 50 --beside PROGRAM         # another build of fetchimg takes turns
//! ```
//!
//! A listener in the benchmark takes the time when a connection is opened, when its first byte arrives (with TLS, that
//! of the `ClientHello`) and when the first request has been read, which it answers with one picture. The time begins
//! just before the program is started, so it includes the system's part of a start (a new process, its libraries). If
//! curl is installed, it fetches the same; the order of the programs changes from round to round. The first round warms
//! up and is not counted.
//!
//! `https, system` trusts the certificates of the system. That of the listener is not among them, so no request comes,
//! and the time of the `ClientHello` counts. `https, system and one` reads the same certificates from a file to which
//! that of the listener was added, and fetches the picture.
//!
//! The exit status is 1 if a claim does not hold.

#![expect(clippy::print_stdout, reason = "a benchmark talks")]

#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};

use common::corpus::Corpus;
use common::{Result, certificates, spread};

/// The file of all certificates of a system (Debian, Fedora, openSUSE, Alpine and macOS).
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The folder of the certificates of a system, one file each.
const FOLDER: &str = "/etc/ssl/certs";

/// Environment variables that are not passed on to the programs under test.
const UNWANTED_VARIABLES: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "RUST_LOG",
];

/// Which protocol and certificates the picture is fetched with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Http,
    Given,
    System,
    SystemAndOne,
}

impl Way {
    const ALL: [Self; 4] = [Self::Http, Self::Given, Self::System, Self::SystemAndOne];

    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Given => "https, --cacert",
            Self::System => "https, system",
            Self::SystemAndOne => "https, system and one",
        }
    }

    /// The claimed maximum of the time to the first request, or to the `ClientHello` if no request comes, in
    /// milliseconds.
    const fn max_ms(self) -> f64 {
        match self {
            Self::Http => 15.0,
            _ => 30.0,
        }
    }
}

/// The times of one run in milliseconds, from the start of the program unless said otherwise.
#[derive(Clone, Copy)]
struct Times {
    connection: f64,
    first_byte: f64,
    request: Option<f64>,
    /// From the last byte of the response to the end of the program.
    leaving: Option<f64>,
    whole: f64,
}

struct Bench {
    folder: tempfile::TempDir,
    corpus: Corpus,
    picture: Vec<u8>,
    certificates: certificates::Files,
    tls: Arc<ServerConfig>,
    bundle: PathBuf,
}

fn main() -> Result<ExitCode> {
    let mut rounds = 50;
    let mut programs = vec![("fetchimg".to_owned(), env!("CARGO_BIN_EXE_fetchimg").to_owned())];
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match &*word {
            // What cargo adds.
            "--bench" => {}
            "--beside" => {
                let program = words.next().ok_or("--beside wants a program")?;
                programs.push((format!("beside-{}", programs.len()), program));
            }
            number => rounds = number.parse()?,
        }
    }
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        programs.push(("curl".to_owned(), "curl".to_owned()));
    }
    let bench = Bench::new()?;
    let mut holds = true;
    for way in Way::ALL {
        let mut all = vec![Vec::new(); programs.len()];
        for round in 0..=rounds {
            for turn in 0..programs.len() {
                // A program that runs after itself, or after another build of it, finds its pages in the cache.
                let at = (round + if round % 2 == 0 { turn } else { programs.len() - turn }) % programs.len();
                let (name, program) = &programs[at];
                let taken = bench.run(way, program, name == "curl")?;
                if round > 0 {
                    all[at].push(taken);
                }
            }
        }
        println!("\n### {}: milliseconds, median (range) of {rounds}\n", way.name());
        println!("| who | to the connection | to its first byte | to the first request | last byte to end | in all |");
        println!("|---|---|---|---|---|---|");
        for ((name, _), times) in programs.iter().zip(&all) {
            println!("{}", row(name, times));
        }
        let (median, _, _) = spread(all[0].iter().map(|times| times.request.unwrap_or(times.first_byte)).collect());
        let verdict = if median <= way.max_ms() { "holds" } else { "DOES NOT HOLD" };
        println!("\nat most {} ms: {median:.1} ms, {verdict}", way.max_ms());
        holds &= median <= way.max_ms();
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(name: &str, times: &[Times]) -> String {
    let of = |figure: fn(&Times) -> Option<f64>| {
        let figures = times.iter().filter_map(figure).collect::<Vec<_>>();
        if figures.is_empty() {
            return "-".to_owned();
        }
        let (middle, low, high) = spread(figures);
        format!("{middle:.1} ({low:.1}-{high:.1})")
    };
    format!(
        "| {name} | {} | {} | {} | {} | {} |",
        of(|times| Some(times.connection)),
        of(|times| Some(times.first_byte)),
        of(|times| times.request),
        of(|times| times.leaving),
        of(|times| Some(times.whole)),
    )
}

impl Bench {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let corpus = Corpus::of_size(&folder.path().join("corpus"), 1, 20_000.0)?;
        let certificates = certificates::make(folder.path())?;
        let chain = vec![CertificateDer::from_pem_file(&certificates.certificate)?];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&certificates.key)?)?;
        let mut all = BUNDLES.iter().find_map(|path| fs::read(path).ok()).unwrap_or_default();
        all.extend(fs::read(&certificates.authority)?);
        let bundle = folder.path().join("bundle.pem");
        fs::write(&bundle, all)?;
        let picture = fs::read(corpus.folder.join(&corpus.files[0].0))?;
        Ok(Self { folder, corpus, picture, certificates, tls: Arc::new(tls), bundle })
    }

    fn run(&self, way: Way, program: &str, is_curl: bool) -> Result<Times> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let output = self.folder.path().join("output");
        let mut command = self.command(way, program, is_curl, address.port(), &output)?;

        let begin = Instant::now();
        let mut process = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        // When the program has ended, a connection wakes the listener, which may still wait for one.
        let ending = std::thread::spawn(move || {
            let status = process.wait();
            let end = Instant::now();
            let _ = TcpStream::connect(address);
            (status, end)
        });
        let (mut stream, _) = listener.accept()?;
        let connection = Instant::now();
        stream.peek(&mut [0])?;
        let first_byte = Instant::now();
        let served = match way {
            Way::Http => Some(self.serve(&mut stream)?),
            _ => self.serve_securely(&mut stream, way)?,
        };
        drop(stream);
        let (status, end) = ending.join().map_err(|_| "the thread that waited has panicked")?;
        check(way, program, status?)?;
        if way != Way::System && self.corpus.right_in(&output)? != 1 {
            return Err(format!("{}: {program} has not written the picture", way.name()).into());
        }
        fs::remove_dir_all(&output)?;
        let since = |later: Instant| (later - begin).as_secs_f64() * 1e3;
        Ok(Times {
            connection: since(connection),
            first_byte: since(first_byte),
            request: served.map(|(request, _)| since(request)),
            leaving: served.map(|(_, last_byte)| (end - last_byte).as_secs_f64() * 1e3),
            whole: since(end),
        })
    }

    /// Answers one request. Returns when it came, and when the last byte of the response was sent.
    fn serve(&self, stream: &mut (impl std::io::Read + std::io::Write)) -> std::io::Result<(Instant, Instant)> {
        let mut head = Vec::new();
        let mut request = None;
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            let mut piece = [0; 2048];
            let length = stream.read(&mut piece)?;
            request.get_or_insert_with(Instant::now);
            if length == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            head.extend_from_slice(&piece[..length]);
        }
        let start =
            format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n", self.picture.len());
        stream.write_all(&[start.as_bytes(), &self.picture].concat())?;
        stream.flush()?;
        let last_byte = Instant::now();
        Ok((request.unwrap_or(last_byte), last_byte))
    }

    fn serve_securely(&self, stream: &mut TcpStream, way: Way) -> Result<Option<(Instant, Instant)>> {
        let mut connection = ServerConnection::new(Arc::clone(&self.tls))?;
        let served = self.serve(&mut Stream::new(&mut connection, stream));
        match served {
            // The certificate is refused.
            Err(_) if way == Way::System => Ok(None),
            served => Ok(Some(served?)),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a run differs from the others in each of them")]
    fn command(&self, way: Way, program: &str, is_curl: bool, port: u16, output: &Path) -> Result<Command> {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        for name in UNWANTED_VARIABLES {
            command.env_remove(name);
        }
        let name = &self.corpus.files[0].0;
        let url = match way {
            Way::Http => format!("http://127.0.0.1:{port}/{name}"),
            _ => format!("https://localhost:{port}/{name}"),
        };
        if is_curl {
            command.args(["-s", "-f", "-O", "--create-dirs", "--output-dir"]).arg(output).arg(url);
            // curl does not create the folder if it gets no response.
            fs::create_dir(output)?;
        } else {
            // As on a command line: a list in a file, and the usual log.
            let list = self.folder.path().join("list.txt");
            fs::write(&list, url)?;
            command.arg(list).arg("-o").arg(output);
        }
        match way {
            Way::Http | Way::System => {}
            Way::Given => {
                command.arg("--cacert").arg(&self.certificates.authority);
            }
            // curl has a variable of its own for the file, and uses that of OpenSSL for the folder.
            Way::SystemAndOne => {
                command.env("SSL_CERT_FILE", &self.bundle).env("CURL_CA_BUNDLE", &self.bundle);
                if Path::new(FOLDER).is_dir() {
                    command.env("SSL_CERT_DIR", FOLDER);
                }
            }
        }
        Ok(command)
    }
}

/// Checks that the program succeeded, or failed if the certificate is not trusted.
fn check(way: Way, program: &str, status: ExitStatus) -> Result<()> {
    if status.success() == (way == Way::System) {
        return Err(format!("{}: {program} ended with {status}", way.name()).into());
    }
    Ok(())
}
