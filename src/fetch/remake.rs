//! Makes an image anew from the file that an earlier run stored (`--remake`), without a request.
//!
//! Only a file that was stored as it was received can be used: pixels that were made once already would lose more each
//! time. The file is read like a body that comes from a server, and everything after it is the same. If its bytes are not
//! those of its record, or it is refused where a server's body would be, the row is fetched.

use std::io::Read as _;
use std::time::Instant;

use bytes::Bytes;

use super::partial::PartialBody;
use super::validate::BodyValidator;
use super::{Answer, AttemptState, Ended, Fetcher, Work};
use crate::record::{Algorithm, Digester, ErrorKind, FetchError};
use crate::util::redact::{escaped, redacted};

/// The number of bytes that are read at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// The file of an earlier run that is as it was received, and what its record says of the response.
#[derive(Clone, Debug)]
pub struct StoredImage {
    /// Relative to the output folder.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// A digest of its bytes, if the record has one.
    pub digest: Option<(Algorithm, String)>,
    /// The `Content-Type` that the server sent.
    pub content_type: Option<String>,
    /// The status of the response.
    pub http_status: u16,
    /// The URL after all redirects, its secrets redacted.
    pub final_url: String,
    /// The file with the same bytes to which it is a hard link.
    pub same_as: Option<String>,
}

impl Fetcher {
    /// Makes the image of a row anew from its stored file. `None` if the row has to be fetched.
    ///
    /// # Errors
    /// When the image cannot be read or stored, because of a defect or of the disk.
    pub(super) async fn remake(
        &self,
        work: &Work,
        stored: &StoredImage,
        state: &mut AttemptState,
    ) -> Result<Option<Ended>, FetchError> {
        // Each of them holds a body, and reads and writes without waiting for a network.
        let turn = self.remakes.acquire();
        let Ok(_turn) = self.unless_finishing(turn).await? else { return Ok(None) };
        state.began = Some(Instant::now());
        state.from_earlier_run = stored.bytes;
        match self.remake_now(work, stored, state).await {
            Ok(ended) => Ok(Some(ended)),
            Err(error) if matches!(error.kind(), ErrorKind::Disk | ErrorKind::Internal) => Err(error),
            Err(error) => {
                let (path, url) = (escaped(&stored.path), redacted(&work.job.url));
                tracing::debug!(target: "fetchimg", "Fetching, because {path} is not used: {}: {error}", escaped(&url));
                *state = AttemptState::default();
                Ok(None)
            }
        }
    }

    async fn remake_now(
        &self,
        work: &Work,
        stored: &StoredImage,
        state: &mut AttemptState,
    ) -> Result<Ended, FetchError> {
        let validation = BodyValidator::new(&self.options.wanted, work.job.checksum.as_deref());
        let body = self.sink.body(Some(stored.bytes), None);
        let mut received = PartialBody { body, validation, validator: None, source: 0, total: None };
        let read = self.read(stored, &mut received);
        if let Err(error) = read {
            received.discard();
            return Err(error);
        }
        let answer = Answer {
            filename: None,
            content_type: stored.content_type.clone(),
            status: stored.http_status,
            final_url: stored.final_url.clone(),
        };
        self.finish(work, state, received, answer).await
    }

    /// Reads the file like a body that is received.
    fn read(&self, stored: &StoredImage, received: &mut PartialBody<'_>) -> Result<(), FetchError> {
        let changed = || FetchError::new(ErrorKind::Checksum, "its bytes are not those of its record");
        // The file may be gone. Then it is fetched, and what is wrong with the disk is found there.
        let mut file = self.sink.open(&stored.path).map_err(|_| changed())?;
        let mut digester = Digester::new(stored.digest.as_ref().map(|(algorithm, _)| *algorithm));
        loop {
            let mut block = vec![0; BLOCK_BYTES];
            let length = file.read(&mut block).map_err(|_| changed())?;
            if length == 0 {
                break;
            }
            block.truncate(length);
            let block = Bytes::from(block);
            digester.update(&block);
            received.validation.feed(&block, self.options.chunk_size)?;
            received.body.write(&block).map_err(|error| self.disk("cannot write", error))?;
        }
        let digests = digester.finish();
        let is_same = |(algorithm, digest): &(Algorithm, String)| digests.get(*algorithm) == Some(digest);
        if received.body.length() != stored.bytes || !stored.digest.as_ref().is_none_or(is_same) {
            return Err(changed());
        }
        Ok(())
    }
}
