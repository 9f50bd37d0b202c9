//! A downloader that does the least possible work, as an estimate of what the machine allows.
//!
//! It has two threads, each with an epoll loop and half of the connections. It parses only the end of a head and the
//! length in it, and checks nothing. A body is written in one call to an unnamed file, which is linked to its name. It
//! stands in for a program in C of the same structure.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};

use crate::common::Result;

/// The first argument that makes the program this one.
pub const WORD: &str = "limit-of-the-machine";

/// Fetches the URLs of a list, all on one numeric host, into a folder, over the given number of connections.
pub fn fetch(mut words: impl Iterator<Item = String>) -> Result<()> {
    let list = std::fs::read_to_string(words.next().ok_or("no list")?)?;
    let output = PathBuf::from(words.next().ok_or("no folder")?);
    let connections = words.next().ok_or("no number of connections")?.parse::<usize>()?;
    std::fs::create_dir_all(&output)?;
    let (mut host, mut paths) = (String::new(), Vec::new());
    for url in list.lines() {
        let (authority, path) = url.trim_start_matches("http://").split_once('/').ok_or("no path")?;
        authority.clone_into(&mut host);
        paths.push(path.to_owned());
    }
    let address = host.parse::<SocketAddr>()?;
    let paths = Mutex::new(paths);
    let failures = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| {
            scope.spawn(|| download(address, &paths, &output, connections / 2).map_err(|error| error.to_string()))
        });
        let ended = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a panic".to_owned())));
        ended.filter_map(std::result::Result::err).collect::<Vec<_>>()
    });
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}

struct Connection {
    stream: TcpStream,
    path: String,
    received: Vec<u8>,
    /// Where the body begins and ends, once the head is there.
    body: Option<(usize, usize)>,
}

/// The loop of one thread with this number of connections.
fn download(address: SocketAddr, paths: &Mutex<Vec<String>>, output: &Path, number: usize) -> Result<()> {
    let next = || paths.lock().map_or(None, |mut paths| paths.pop());
    let mut poll = Poll::new()?;
    let mut connections = HashMap::new();
    for token in 0..number {
        let Some(path) = next() else { break };
        let mut stream = TcpStream::connect(address)?;
        poll.registry().register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        connections.insert(Token(token), (Connection { stream, path, received: Vec::new(), body: None }, true));
    }
    let mut events = Events::with_capacity(number);
    while !connections.is_empty() {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Some((connection, is_new)) = connections.get_mut(&event.token()) else { continue };
            if *is_new && event.is_writable() {
                connection.ask(address)?;
                *is_new = false;
            }
            match connection.receive()? {
                Received::Some => continue,
                Received::End => {
                    // The server closes each connection after a number of requests.
                    connection.stream = TcpStream::connect(address)?;
                    poll.registry().register(
                        &mut connection.stream,
                        event.token(),
                        Interest::READABLE | Interest::WRITABLE,
                    )?;
                    *is_new = true;
                    continue;
                }
                Received::All => {}
            }
            connection.store(output)?;
            if let Some(path) = next() {
                connection.path = path;
                connection.ask(address)?;
            } else {
                connections.remove(&event.token());
            }
        }
    }
    Ok(())
}

enum Received {
    /// More is to come.
    Some,
    /// The body is complete.
    All,
    /// The connection was closed.
    End,
}

impl Connection {
    fn ask(&mut self, host: SocketAddr) -> Result<()> {
        self.received.clear();
        self.body = None;
        // In one write, because several could be delayed by Nagle's algorithm.
        let request = format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", self.path);
        Ok(self.stream.write_all(request.as_bytes())?)
    }

    /// Reads what is there.
    fn receive(&mut self) -> Result<Received> {
        loop {
            let from = self.received.len();
            self.received.resize((from + 65536).max(self.body.map_or(0, |(_, end)| end)), 0);
            match self.stream.read(&mut self.received[from..]) {
                Ok(0) => return Ok(Received::End),
                Ok(count) => self.received.truncate(from + count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.received.truncate(from);
                    return Ok(Received::Some);
                }
                Err(error) => return Err(error.into()),
            }
            if self.body.is_none()
                && let Some(at) = self.received.windows(4).position(|four| four == b"\r\n\r\n")
            {
                let head = String::from_utf8_lossy(&self.received[..at]);
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).ok_or("no length")?;
                self.body = Some((at + 4, at + 4 + length.parse::<usize>()?));
            }
            if self.body.is_some_and(|(_, end)| self.received.len() >= end) {
                return Ok(Received::All);
            }
        }
    }

    fn store(&self, output: &Path) -> Result<()> {
        let (begin, end) = self.body.ok_or("no body")?;
        let mut file = File::from(open(output, OFlags::TMPFILE | OFlags::WRONLY, Mode::from_raw_mode(0o666))?);
        file.write_all(&self.received[begin..end])?;
        let target = output.join(self.path.rsplit('/').next().unwrap_or_default());
        linkat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), CWD, target, AtFlags::SYMLINK_FOLLOW)?;
        Ok(())
    }
}
