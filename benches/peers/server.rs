//! A server that waits and fails on purpose. It runs in a second process of the benchmark.
//!
//! `/{run}/{name}` is the file of that name. Whether a file has a fault depends only on its name. Only the first request
//! for it in each run gets the fault, so a program that retries gets all files.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::common::Result;

/// The first argument that makes the program the server.
pub const WORD: &str = "serve-pictures";

/// How the server behaves.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Milliseconds before the first byte of each answer.
    pub wait: u64,
    /// Whether 5 % of the files answer 503, 2 % go silent and 1 % are cut in their middle, the first time.
    pub rough: bool,
}

/// The running server, stopped when dropped.
pub struct Server {
    process: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Serves the files of a folder.
    pub fn start(folder: &Path, manner: Manner) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .arg(folder)
            .arg(manner.wait.to_string())
            .arg(manner.rough.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no standard output")?).read_line(&mut line)?;
        Ok(Self { process, port: line.trim().parse()? })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Shared {
    files: HashMap<String, Vec<u8>>,
    manner: Manner,
    /// The paths that were requested before.
    requested: Mutex<HashSet<String>>,
}

enum Fault {
    Busy,
    Silence,
    Cut,
}

impl Shared {
    /// The fault of a file, the first time.
    fn fault(&self, path: &str, name: &str) -> Option<Fault> {
        let number = name.split('.').next().and_then(|digits| digits.parse::<u64>().ok()).unwrap_or(0);
        // Spread over the list, and the same in every run.
        let fault = match number.wrapping_mul(2_654_435_761) / 7 % 100 {
            0..5 => Fault::Busy,
            5..7 => Fault::Silence,
            7 => Fault::Cut,
            _ => return None,
        };
        let is_first = self.requested.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
        (self.manner.rough && is_first).then_some(fault)
    }
}

/// Runs the server: prints its port and does not return.
pub fn serve(mut words: impl Iterator<Item = String>) -> Result<()> {
    let mut word = || words.next().ok_or("too few arguments");
    let folder = word()?;
    let manner = Manner { wait: word()?.parse()?, rough: word()?.parse()? };
    let mut files = HashMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?);
    }
    let shared = Arc::new(Shared { files, manner, requested: Mutex::default() });
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(attend(stream, Arc::clone(&shared)));
        }
    })
}

/// Answers the requests of one connection. An error means that the client has closed it, which it may do.
async fn attend(mut stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::with_capacity(4096);
    loop {
        let end = loop {
            if let Some(at) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        };
        let head = received.drain(..end).collect::<Vec<_>>();
        let head = String::from_utf8_lossy(&head);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(shared.manner.wait)).await;
        let Some(body) = shared.files.get(name) else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await?;
            continue;
        };
        let start = format!("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n", body.len());
        match shared.fault(path, name) {
            None => {
                stream.write_all(start.as_bytes()).await?;
                stream.write_all(body).await?;
            }
            Some(Fault::Busy) => {
                stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await?;
            }
            Some(fault) => {
                stream.write_all(start.as_bytes()).await?;
                stream.write_all(&body[..body.len() / 2]).await?;
                if matches!(fault, Fault::Silence) {
                    // Until the client closes the connection.
                    while stream.read_buf(&mut received).await? > 0 {}
                }
                return Ok(());
            }
        }
        if head.to_ascii_lowercase().contains("\r\nconnection: close") {
            return stream.shutdown().await;
        }
    }
}
