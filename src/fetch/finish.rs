//! A complete body becomes an image of the sink, and its record.

use super::partial::PartialBody;
use super::validate::Found;
use super::{AttemptState, Ended, Fetched, Fetcher, Work, file_exists};
use crate::http::Response;
use crate::naming::{FinalName, may_be_same_file};
use crate::record::{Algorithm, FetchError, Outcome, Reason, Record, Saved, Skipped};
#[cfg(not(feature = "transform"))]
use crate::sink::Body;
use crate::sink::{Entry, Replaced, Stored};
use crate::util::lock;
use crate::util::redact::redacted;

impl Fetcher {
    /// Checks a complete body, transforms its pixels if that is wanted, names it, and hands it to the sink.
    pub(super) async fn finish(
        &self,
        work: &Work,
        state: &AttemptState,
        partial: PartialBody<'_>,
        response: Response<'_>,
    ) -> Result<Ended, FetchError> {
        let PartialBody { mut body, checks, .. } = partial;
        let unreadable = |error| self.disk("cannot read back what was stored", error);
        let found = match checks.finish(body.length(), || body.reader(), unreadable) {
            Ok(found) => self.transform_pixels(&mut body, found).await,
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                body.discard();
                return Err(error);
            }
        };
        let planned = response.filename.as_deref().filter(|_| work.name.awaits_server_name()).and_then(|filename| {
            let mut namer = lock(&self.namer);
            namer.reserve_from_server(&work.job, filename)
        });
        let planned = planned.as_ref().unwrap_or(&work.name);
        let name = planned.finish(found.format, self.options.fix_extension, found.digests.get(Algorithm::Sha256));
        let bytes = body.length();
        let is_content_addressed = planned.is_content_addressed();
        let replaces = work.replaces.as_ref().map(|(path, bytes)| Replaced {
            path,
            bytes: *bytes,
            // A content-addressed file may be other rows' as well, and a file system that ignores case would lose the
            // new file with the old one.
            remove: !is_content_addressed && !may_be_same_file(path, &name.path),
        });
        let entry = Entry {
            record: Record::of(&work.job, Outcome::Saved(self.saved(state, found, &name, (bytes, &response)))),
            path: &name.path,
            on_conflict: work.on_conflict,
            replaces,
            is_content_addressed,
            began: state.began,
        };
        let stored = self.sink.store(entry, body);
        match stored.map_err(|error| self.disk(&format!("cannot store {}", name.path), error))? {
            Stored::New { record, line, receipt } => {
                Ok(Ended::Saved(Box::new(Fetched { record, line: Some(line), receipt })))
            }
            Stored::Exists => Ok(Ended::Skipped(file_exists(name.path))),
            Stored::Duplicate { of } => {
                Ok(Ended::Skipped(Skipped { reason: Reason::DuplicateContent, path: Some(of), bytes: Some(bytes) }))
            }
        }
    }

    /// Without the feature `transform`, images are stored as they came.
    #[cfg(not(feature = "transform"))]
    #[expect(clippy::unused_async, reason = "it waits where there is something to do")]
    async fn transform_pixels(&self, _: &mut Body<'_>, found: Found) -> Result<Found, FetchError> {
        Ok(found)
    }

    /// What the record says of the image. The sink adds what only storing can tell.
    fn saved(
        &self,
        state: &AttemptState,
        found: Found,
        name: &FinalName,
        (bytes, response): (u64, &Response<'_>),
    ) -> Saved {
        Saved {
            path: name.path.clone(),
            bytes,
            format: found.format,
            measures: found.measures,
            content_type: response.content_type.clone(),
            http_status: response.status,
            final_url: redacted(&response.final_url).into_owned(),
            attempts: state.attempts,
            resumed_from: state.resumed_from,
            timing: self.timing(state).unwrap_or_default(),
            exif: found.exif,
            digests: found.digests,
            phash: found.phash,
            original: found.original,
            same_as: None,
            extension_mismatch: name.mismatch,
            from_earlier_run: state.from_before,
        }
    }
}
