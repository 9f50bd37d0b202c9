//! One connection of the test server: reads requests, and sends responses byte for byte.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::Request;
use crate::common::faults::raw::Step;

/// The response to bytes that are no request.
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// What happens to the connection after a response.
pub enum After {
    /// The next request may come.
    Open,
    /// It is closed properly.
    Close,
    /// It is closed in the middle of something, over TLS without `close_notify`.
    Cut,
    /// It is reset.
    Reset,
}

pub enum Wire {
    Plain(TcpStream),
    Secure(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

pub struct Connection {
    wire: Wire,
    received: Vec<u8>,
    /// The number of requests that were answered on it.
    pub answered: usize,
}

impl Connection {
    pub fn new(wire: Wire) -> Self {
        Self { wire, received: Vec::new(), answered: 0 }
    }

    /// The next request, or `None` when the client has closed the connection. The body of a request is dropped.
    pub async fn read_request(&mut self, number: u64) -> io::Result<Option<Request>> {
        let end = loop {
            let found = self.received.windows(4).position(|four| four == b"\r\n\r\n");
            match found {
                Some(position) => break position + 4,
                // A client that speaks TLS would wait for ever. Like web servers, this one answers in plain HTTP.
                None if self.received.first().is_some_and(|byte| !byte.is_ascii_uppercase()) => {
                    self.write(BAD_REQUEST).await?;
                    return Ok(None);
                }
                None if self.receive().await? == 0 => return Ok(None),
                None => {}
            }
        };
        let head: Vec<u8> = self.received.drain(..end).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            self.write(BAD_REQUEST).await?;
            return Ok(None);
        };
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut request = Request {
            method: method.to_owned(),
            target: target.to_owned(),
            host: String::new(),
            headers,
            connection: number,
            at: Instant::now(),
        };
        request.host = request.header("host").unwrap_or_default().to_owned();
        let length = request.header("content-length").and_then(|text| text.parse().ok());
        self.skip(length.unwrap_or(0)).await?;
        Ok(Some(request))
    }

    async fn skip(&mut self, length: usize) -> io::Result<()> {
        while self.received.len() < length {
            if self.receive().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.received.drain(..length);
        Ok(())
    }

    async fn receive(&mut self) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.read_buf(&mut self.received).await,
            Wire::Secure(stream) => stream.read_buf(&mut self.received).await,
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Plain(stream) => stream.write_all(bytes).await,
            Wire::Secure(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Takes the steps one after the other.
    pub async fn play(&mut self, steps: Vec<Step>) -> io::Result<After> {
        for step in steps {
            match step {
                Step::Send(bytes) => self.write(&bytes).await?,
                Step::Drip(bytes, pause) => {
                    for byte in bytes {
                        sleep(pause).await;
                        self.write(&[byte]).await?;
                    }
                }
                Step::Flood(bytes) => loop {
                    self.write(&bytes).await?;
                },
                Step::Trickle(bytes) => loop {
                    self.write(&bytes).await?;
                    sleep(Duration::from_millis(2)).await;
                },
                Step::Deaf => std::future::pending().await,
                Step::Stay => {
                    self.client_leaves().await;
                    return Ok(After::Cut);
                }
                Step::Close => return Ok(After::Close),
                Step::Cut => return Ok(After::Cut),
                Step::Reset => return Ok(After::Reset),
            }
        }
        Ok(After::Open)
    }

    pub async fn end(self, after: After) {
        match after {
            After::Open | After::Close => self.close().await,
            After::Cut => self.cut().await,
            After::Reset => self.reset(),
        }
    }

    /// Waits until the client closes the connection.
    pub async fn client_leaves(&mut self) {
        while self.receive().await.is_ok_and(|count| count > 0) {}
    }

    /// Closes the sending side, and gives the client time to read everything.
    async fn close(mut self) {
        let said = match &mut self.wire {
            Wire::Plain(stream) => stream.shutdown().await,
            Wire::Secure(stream) => stream.shutdown().await,
        };
        if said.is_ok() {
            // It makes no difference whether the client closes the connection in time.
            let _ = timeout(Duration::from_secs(1), self.client_leaves()).await;
        }
    }

    /// Closes the connection in the middle of a response.
    async fn cut(mut self) {
        let stream = match &mut self.wire {
            Wire::Plain(stream) => stream,
            Wire::Secure(stream) => stream.get_mut().0,
        };
        // The client may have closed the connection already.
        let _ = stream.shutdown().await;
    }

    fn reset(self) {
        let stream = match &self.wire {
            Wire::Plain(stream) => stream,
            Wire::Secure(stream) => stream.get_ref().0,
        };
        stream.set_zero_linger().expect("a socket can be told to reset when closed");
    }
}
