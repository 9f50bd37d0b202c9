//! Samples as one tar stream on standard output (`-o -`).
//!
//! A thread of its own writes, because a reader may pause for as long as it likes, and downloads in flight must not wait for
//! it on the threads of the network. What waits for the thread is bounded: a reader that is slow slows the run down.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc};

use super::sample::Sample;
use super::tar;
use crate::sink::body::Body;
use crate::util::lock;

/// The bytes of samples that may wait to be written. A larger sample waits alone.
const MAX_WAITING_BYTES: u32 = 16 << 20;

/// Bytes that wait to be written, and the permits that they hold.
type Piece = (Vec<u8>, u32);

/// A tar stream on standard output.
#[derive(Debug)]
pub struct TarStream {
    sender: Mutex<Option<mpsc::UnboundedSender<Piece>>>,
    room: Arc<Semaphore>,
    is_closed: Arc<AtomicBool>,
    /// Why it cannot be written, if its reader is still there.
    fault: Arc<OnceLock<(io::ErrorKind, String)>>,
    writer: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl TarStream {
    /// A stream to standard output.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn stdout() -> io::Result<Self> {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Piece>();
        let (room, is_closed) = (Arc::new(Semaphore::new(MAX_WAITING_BYTES as usize)), Arc::<AtomicBool>::default());
        let fault = Arc::<OnceLock<(io::ErrorKind, String)>>::default();
        // Not through the buffer of the standard library, which looks for the ends of lines.
        let mut out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let write = {
            let (room, is_closed, fault) = (Arc::clone(&room), Arc::clone(&is_closed), Arc::clone(&fault));
            move || {
                let mut result = Ok(());
                while let Some((bytes, weight)) = receiver.blocking_recv() {
                    if result.is_ok() {
                        result = out.write_all(&bytes);
                    }
                    match &result {
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                            is_closed.store(true, Ordering::Release);
                        }
                        Err(error) => _ = fault.set((error.kind(), error.to_string())),
                        Ok(()) => {}
                    }
                    room.add_permits(weight as usize);
                }
                result
            }
        };
        let writer = std::thread::Builder::new().name("stdout".into()).spawn(write)?;
        Ok(Self { sender: Mutex::new(Some(sender)), room, is_closed, fault, writer: Mutex::new(Some(writer)) })
    }

    /// Whether the reader has gone away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Writes a sample, when those before it are written.
    ///
    /// # Errors
    /// When its body cannot be read, the stream cannot be written, or its reader has gone away.
    pub async fn append(&self, sample: &Sample, body: &mut Body<'_>) -> io::Result<()> {
        let length = sample.layout().length;
        let weight = u32::try_from(length).unwrap_or(u32::MAX).min(MAX_WAITING_BYTES);
        let Ok(permit) = self.room.acquire_many(weight).await else { return Err(closed()) };
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        sample.write(body, &mut bytes)?;
        self.send(bytes, weight)?;
        // The thread gives it back.
        permit.forget();
        Ok(())
    }

    /// Ends the stream, and waits until all is written.
    ///
    /// # Errors
    /// When it cannot be written. That the reader has gone away is no error.
    pub fn finish(&self) -> io::Result<()> {
        // When it is closed, the end is not missed.
        let _ = self.send(tar::END.to_vec(), 0);
        *lock(&self.sender) = None;
        let writer = lock(&self.writer).take();
        match writer.map(JoinHandle::join) {
            Some(Ok(Err(error))) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            Some(Err(_)) => Err(io::Error::other("the thread that writes has panicked")),
            _ => Ok(()),
        }
    }

    fn send(&self, bytes: Vec<u8>, weight: u32) -> io::Result<()> {
        let sent = lock(&self.sender).as_ref().is_some_and(|sender| sender.send((bytes, weight)).is_ok());
        match self.fault.get() {
            Some((kind, message)) => Err(io::Error::new(*kind, message.clone())),
            None if sent && !self.is_closed() => Ok(()),
            None => Err(closed()),
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the reader of standard output has gone away")
}
