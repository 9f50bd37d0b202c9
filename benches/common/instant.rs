//! A server that answers every request at once with the same bytes. It runs in a second process of the benchmark.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Result;

/// The first argument that makes the benchmark run as the server.
pub const WORD: &str = "answer-at-once";

/// The running server, stopped when dropped.
pub struct Instant {
    process: Child,
    /// The port at which every path is the picture.
    pub pictures: u16,
    /// The port at which every path is a 404.
    pub nothing: u16,
}

impl Instant {
    /// Starts it on free ports.
    pub fn start() -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?).arg(WORD).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no standard output")?).read_line(&mut line)?;
        let (pictures, nothing) = line.trim().split_once(' ').ok_or("no ports")?;
        Ok(Self { process, pictures: pictures.parse()?, nothing: nothing.parse()? })
    }
}

impl Drop for Instant {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What it serves: a valid PNG file of about a thousand bytes.
pub fn picture() -> Vec<u8> {
    super::corpus::png(1000, &mut fastrand::Rng::with_seed(7))
}

/// Runs the server: prints its ports and does not return.
#[expect(clippy::print_stdout, reason = "the ports")]
pub fn serve() -> Result<()> {
    let (_, hard_limit) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard_limit, hard_limit)?;
    let picture = picture();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n", picture.len());
    let answers =
        [[head.into_bytes(), picture].concat(), b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()];
    let [picture, nothing] = answers.map(|answer| &*answer.leak());
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (pictures, nothings) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        println!("{} {}", pictures.local_addr()?.port(), nothings.local_addr()?.port());
        loop {
            let (stream, answer) = tokio::select! {
                accepted = pictures.accept() => (accepted?.0, picture),
                accepted = nothings.accept() => (accepted?.0, nothing),
            };
            // An error means that the client has closed the connection.
            tokio::spawn(async move { drop(attend(stream, answer).await) });
        }
    })
}

/// Answers each request of a connection, as soon as its end is found.
async fn attend(mut stream: TcpStream, answer: &'static [u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::with_capacity(4096);
    while stream.read_buf(&mut received).await? > 0 {
        if received.ends_with(b"\r\n\r\n") {
            // The program sends one request at a time on a connection.
            received.clear();
            stream.write_all(answer).await?;
        }
    }
    Ok(())
}
