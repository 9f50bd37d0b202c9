//! The requests to a store.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::path::Path as Key;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    Result,
};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::environment::{self, Patience};
use super::failure::{self, Context};
use super::{Creation, StoreUrl};
use crate::util::lock;

/// The bytes of a part of an upload, if the file is not too long for parts of this size. Smaller files are put as a whole.
const PART_BYTES: u64 = 8 << 20;

/// Parts of an upload, at most: S3 takes 10,000.
const MAX_PARTS: u64 = 9_000;

/// Parts and whole files of [`PART_BYTES`] that are in memory at the same time, over all uploads.
const MAX_PARTS_IN_MEMORY: u32 = 4;

/// Attempts at the creation of an object, which the client library does not repeat by itself.
const MAX_ATTEMPTS: u32 = 5;

/// The time after which such an attempt is the last one.
const CREATION_TIMEOUT: Duration = Duration::from_secs(180);

/// The time in which an upload is aborted.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Attempts at a whole upload.
const MAX_UPLOADS: u32 = 10;

/// The time before the second attempt. It doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest time before another upload.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// A prefix of a bucket, or all of it.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    url: StoreUrl,
    /// Gives up soon: until a first answer has come, what is wrong is the configuration and not the weather.
    hasty: Arc<dyn ObjectStore>,
    /// Made when it is needed.
    patient: OnceLock<Arc<dyn ObjectStore>>,
    has_answered: AtomicBool,
    prefix: Arc<str>,
    context: Context,
    room: Arc<Semaphore>,
    /// Whether nobody waits for answers any more.
    is_given_up: watch::Sender<bool>,
    /// The threads of the requests; `None` only while the last clone is dropped.
    runtime: Option<Runtime>,
}

// The clients know the credentials.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Inner {
    fn patient(&self) -> &Arc<dyn ObjectStore> {
        self.patient.get_or_init(|| {
            // The environment is that with which the other one was made.
            let built = environment::build(&self.url, Patience::Patient);
            built.map_or_else(|_| Arc::clone(&self.hasty), |(patient, _)| patient)
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // It may be dropped within another runtime, which must not wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Bytes of an object that are on their way. They are given up when this is dropped.
#[derive(Debug)]
pub struct ComingRange {
    receiver: mpsc::Receiver<Result<Bytes>>,
    task: AbortHandle,
    context: Context,
}

impl ComingRange {
    /// Waits for the bytes.
    ///
    /// # Errors
    /// When they cannot be read, or the object is another version.
    pub fn wait(self) -> io::Result<Bytes> {
        let got = self.receiver.recv().map_err(|_| io::Error::other("a request to the store has panicked"))?;
        got.map_err(|error| match error {
            Error::Precondition { .. } => io::Error::other("it was replaced while it was read"),
            error => self.context.explain(&error),
        })
    }
}

impl Drop for ComingRange {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Store {
    /// A connection to a store. Nothing is sent yet.
    ///
    /// # Errors
    /// When the configuration of the environment is not complete or contradicts itself.
    pub fn connect(url: &StoreUrl) -> io::Result<Self> {
        // The library makes its TLS settings from that of the process. A program that has chosen one keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let invalid = |sentence: String| io::Error::new(io::ErrorKind::InvalidInput, sentence);
        let (hasty, context) = environment::build(url, Patience::Hasty).map_err(invalid)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // A part of an upload is signed, which takes its digest, while another one is sent.
            .worker_threads(2)
            .max_blocking_threads(2)
            .thread_name("store")
            .enable_all()
            .build()?;
        let room = Arc::new(Semaphore::new(MAX_PARTS_IN_MEMORY as usize));
        let (has_answered, prefix) = (AtomicBool::new(false), url.path().into());
        // Not a clone, which would hold this connection.
        let url = StoreUrl { store: Arc::default(), ..url.clone() };
        let (patient, runtime) = (OnceLock::new(), Some(runtime));
        let is_given_up = watch::Sender::new(false);
        let inner = Inner { url, hasty, patient, has_answered, prefix, context, room, is_given_up, runtime };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The content of an object.
    ///
    /// # Errors
    /// When it is not there ([`io::ErrorKind::NotFound`]), or cannot be read.
    pub fn get(&self, name: &str) -> io::Result<Vec<u8>> {
        let key = self.key(name)?;
        let got = self.ask(|store| Box::pin(async move { store.get(&key).await?.bytes().await }));
        got.map(Vec::from).map_err(|error| self.explained(&error))
    }

    /// The size of an object in bytes, and the entity tag of its version.
    ///
    /// # Errors
    /// When it is not there ([`io::ErrorKind::NotFound`]), or cannot be read.
    pub fn look_at(&self, name: &str) -> io::Result<(u64, Option<String>)> {
        let key = self.key(name)?;
        let found = self.ask(|store| Box::pin(async move { store.head(&key).await }));
        match found.map_err(|error| self.explained(&error)) {
            Ok(found) => Ok((found.size, found.e_tag)),
            // The answer to HEAD has no document that says what is missing: it may be the bucket.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let read = self.begin_range(name, 0..1, None)?.wait();
                Err(read.err().unwrap_or(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Begins to fetch some of the bytes of an object, if it is still that version.
    ///
    /// # Errors
    /// When the name is none of an object.
    pub fn begin_range(&self, name: &str, range: Range<u64>, version: Option<&str>) -> io::Result<ComingRange> {
        let key = self.key(name)?;
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: version.map(str::to_owned),
            ..GetOptions::default()
        };
        let (sender, receiver) = mpsc::sync_channel(1);
        let this = self.clone();
        let task = self.runtime().spawn(async move {
            let get = |store: Arc<dyn ObjectStore>| async move { store.get_opts(&key, options).await?.bytes().await };
            // Who does not wait for it any more has given it up.
            let _ = sender.send(this.answer(get).await);
        });
        Ok(ComingRange { receiver, task: task.abort_handle(), context: self.inner.context.clone() })
    }

    /// The names of the objects right below the prefix.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let prefix = Key::parse(&*self.inner.prefix).map_err(io::Error::other)?;
        let listed = self.ask(|store| Box::pin(async move { store.list_with_delimiter(Some(&prefix)).await }));
        let objects = listed.map_err(|error| self.explained(&error))?.objects;
        Ok(objects.into_iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect())
    }

    /// Creates an object where there is none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(&self, name: &str, content: Vec<u8>) -> io::Result<Creation> {
        let key = self.key(name)?;
        let payload = PutPayload::from(content);
        let began = Instant::now();
        let mut wait = FIRST_WAIT;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let (key, payload) = (key.clone(), payload.clone());
            let put = self.ask(|store| Box::pin(async move { store.put_opts(&key, payload, options).await }));
            let Err(error) = put else { return Ok(Creation::New) };
            // The library does not repeat it when an answer is lost, because the object may be there already. That is for
            // the caller to find out.
            let is_to_be_repeated = failure::is_conflict(&error) || failure::is_lost(&error);
            match error {
                _ if is_to_be_repeated && attempt < MAX_ATTEMPTS && began.elapsed() < CREATION_TIMEOUT => {
                    std::thread::sleep(wait);
                    wait *= 2;
                }
                Error::AlreadyExists { .. } | Error::Precondition { .. } => return Ok(Creation::Exists),
                Error::NotImplemented { .. } | Error::NotSupported { .. } => return Ok(Creation::Unsupported),
                error if failure::is_unsupported(&error) => return Ok(Creation::Unsupported),
                error => return Err(self.explained(&error)),
            }
        }
    }

    /// Puts an object, in place of the one that is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, name: &str, content: Vec<u8>) -> io::Result<()> {
        let key = self.key(name)?;
        let put = self.ask(|store| Box::pin(async move { store.put(&key, content.into()).await }));
        put.map(drop).map_err(|error| self.explained(&error))
    }

    /// Puts a file as an object, in place of the one that is there: in parts, if it is long, of which only a few are in
    /// memory. Returns the entity tag of the version that it has become, if the store says it.
    ///
    /// # Errors
    /// When the file cannot be read, or the object cannot be written. Then nothing of it is left in the store, unless the
    /// store does not answer at all.
    pub fn put_file(&self, name: &str, path: &Path) -> io::Result<Option<String>> {
        let key = self.key(name)?;
        let mut wait = FIRST_WAIT;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            let put = if length <= PART_BYTES {
                let _permit = self.room_for(1)?;
                let payload = read_part(&file, length)?;
                let key = key.clone();
                self.ask(|store| Box::pin(async move { store.put(&key, payload).await.map(|put| put.e_tag) }))
            } else {
                self.put_parts(&key, &file, length)?
            };
            match put {
                Ok(tag) => return Ok(tag),
                // The answer to the last request was lost, and the upload was complete when it was sent again; or another run
                // has completed one of the same object, as each of several may do before this one.
                Err(error) if failure::is_unknown_upload(&error) && attempt < MAX_UPLOADS => {
                    std::thread::sleep(wait.mul_f64(0.5 + fastrand::f64()));
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(error) => return Err(self.explained(&error)),
            }
        }
    }

    /// Puts a file in parts. The outer error is that of the file.
    fn put_parts(&self, key: &Key, file: &File, length: u64) -> io::Result<Result<Option<String>>> {
        let part_bytes = PART_BYTES.max(length.div_ceil(MAX_PARTS).next_multiple_of(1 << 20));
        let weight = u32::try_from(part_bytes.div_ceil(PART_BYTES)).unwrap_or(u32::MAX).min(MAX_PARTS_IN_MEMORY);
        let begun = {
            let key = key.clone();
            self.ask(|store| Box::pin(async move { store.put_multipart(&key).await }))
        };
        let mut upload = match begun {
            Ok(upload) => upload,
            Err(error) => return Ok(Err(error)),
        };
        let sent = self.send_parts(&mut *upload, file, (length, part_bytes), weight);
        let (upload, sent) = match sent {
            Ok(Ok(())) => self.wait(async move {
                let completed = upload.complete().await.map(|put| put.e_tag);
                (upload, completed)
            })?,
            Ok(Err(error)) => (upload, Err(error)),
            Err(error) => {
                self.abort(upload)?;
                return Err(error);
            }
        };
        if sent.is_err() {
            self.abort(upload)?;
        }
        Ok(sent)
    }

    /// Aborts an upload. What was given up would be kept, and paid for, unseen. A store that does not answer is not waited for.
    fn abort(&self, mut upload: Box<dyn MultipartUpload>) -> io::Result<()> {
        let aborted =
            self.wait_in_any_case(async move { tokio::time::timeout(ABORT_TIMEOUT, upload.abort()).await })?;
        let error = match aborted {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => self.explained(&error).to_string(),
            Err(elapsed) => elapsed.to_string(),
        };
        tracing::debug!(target: "fetchimg", "An upload that was given up may have left parts in the store: {error}");
        Ok(())
    }

    /// Sends the parts of an upload, some of them at the same time, and waits for all.
    fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        file: &File,
        (length, part_bytes): (u64, u64),
        weight: u32,
    ) -> io::Result<Result<()>> {
        let failure = Arc::<Mutex<Option<Error>>>::default();
        let mut parts = Vec::<JoinHandle<()>>::new();
        let mut left = length;
        let mut read = Ok(());
        while left > 0 && lock(&failure).is_none() {
            let permit = self.room_for(weight)?;
            let count = left.min(part_bytes);
            let payload = match read_part(file, count) {
                Ok(payload) => payload,
                Err(error) => {
                    read = Err(error);
                    break;
                }
            };
            left -= count;
            let (part, failure) = (upload.put_part(payload), Arc::clone(&failure));
            parts.retain(|part| !part.is_finished());
            parts.push(self.runtime().spawn(async move {
                if let Err(error) = part.await {
                    lock(&failure).get_or_insert(error);
                }
                drop(permit);
            }));
        }
        let tasks = parts.iter().map(JoinHandle::abort_handle).collect::<Vec<_>>();
        let ended = self.wait(async move {
            for part in parts {
                // A panic is found by its part that is missing when the upload is completed.
                let _ = part.await;
            }
        });
        if ended.is_err() {
            tasks.iter().for_each(AbortHandle::abort);
        }
        ended?;
        read?;
        Ok(lock(&failure).take().map_or(Ok(()), Err))
    }

    /// Waits until so many parts of [`PART_BYTES`] may be in memory.
    fn room_for(&self, parts: u32) -> io::Result<Option<OwnedSemaphorePermit>> {
        let room = Arc::clone(&self.inner.room);
        // The semaphore is never closed.
        self.wait(async move { room.acquire_many_owned(parts).await.ok() })
    }

    /// Removes an object, if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let key = self.key(name)?;
        match self.ask(|store| Box::pin(async move { store.delete(&key).await })) {
            Ok(()) => Ok(()),
            Err(error) => match self.explained(&error) {
                error if error.kind() == io::ErrorKind::NotFound => Ok(()),
                error => Err(error),
            },
        }
    }

    fn key(&self, name: &str) -> io::Result<Key> {
        let prefix = &self.inner.prefix;
        let key = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        Key::parse(key).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
    }

    /// Sends a request, and waits for its end.
    fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(Arc<dyn ObjectStore>) -> BoxFuture<'static, Result<T>> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        let answer = self.wait(async move { this.answer(request).await });
        answer.map_err(|error| Error::Generic { store: "store", source: error.into() })?
    }

    /// Sends a request.
    async fn answer<T, F: Future<Output = Result<T>>>(
        &self,
        request: impl FnOnce(Arc<dyn ObjectStore>) -> F,
    ) -> Result<T> {
        let inner = &self.inner;
        let has_answered = inner.has_answered.load(Ordering::Relaxed);
        let store = if has_answered { inner.patient() } else { &inner.hasty };
        let answer = request(Arc::clone(store)).await;
        if !has_answered && (answer.is_ok() || answer.as_ref().is_err_and(failure::is_answer)) {
            inner.has_answered.store(true, Ordering::Relaxed);
        }
        answer
    }

    /// Lets all requests end now, because the run ends: those that are waited for and all later ones fail. Uploads are still
    /// aborted.
    pub fn give_up(&self) {
        self.inner.is_given_up.send_replace(true);
    }

    /// Waits for a future that runs on the threads of the store.
    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        let mut is_given_up = self.inner.is_given_up.subscribe();
        let ended = self.wait_in_any_case(async move {
            tokio::select! {
                ended = future => Some(ended),
                // The sender lives as long as this does.
                _ = is_given_up.wait_for(|is_given_up| *is_given_up) => None,
            }
        })?;
        ended.ok_or_else(|| io::Error::other("the run has ended before the store has answered"))
    }

    /// The same, whether all else is given up or not.
    fn wait_in_any_case<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.runtime().spawn(async move {
            // The caller waits for it.
            let _ = sender.send(future.await);
        });
        receiver.recv().map_err(|_| io::Error::other("a request to the store has panicked"))
    }

    fn runtime(&self) -> &Runtime {
        // Only taken when the last clone is dropped.
        self.inner.runtime.as_ref().unwrap_or_else(|| unreachable!("the store is in use"))
    }

    fn explained(&self, error: &Error) -> io::Error {
        self.inner.context.explain(error)
    }
}

fn read_part(mut file: &File, count: u64) -> io::Result<PutPayload> {
    let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(Bytes::from(bytes).into())
}
