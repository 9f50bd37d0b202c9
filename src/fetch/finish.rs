//! A complete body becomes an image of the sink, and its record.

use std::io::{self, Read as _};

use bytes::Bytes;

use super::partial::PartialBody;
use super::validate::Found;
use super::{AttemptState, Ended, Fetched, Fetcher, Work, file_exists};
use crate::http::Response;
use crate::image::transform::{self, Image, Panicked, Plan, TransformError, Transformed};
use crate::naming::{FinalName, may_be_one};
use crate::record::{
    Algorithm, Digester, ErrorKind, FetchError, Format, Measures, Original, Outcome, Reason, Record, Saved, Skipped,
};
use crate::sink::{Body, Entry, Replaced, Stored};
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
            Ok(found) => self.transform(&mut body, found).await,
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                body.discard();
                return Err(error);
            }
        };
        let planned = response.filename.as_deref().filter(|_| work.name.asks_server()).and_then(|filename| {
            let mut namer = self.namer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            namer.reserve_from_server(&work.job, filename)
        });
        let planned = planned.as_ref().unwrap_or(&work.name);
        let name = planned.finish(found.format, self.options.fix_extension, found.digests.get(Algorithm::Sha256));
        let bytes = body.length();
        let is_content_addressed = planned.is_addressed_by_content();
        let replaces = work.replaces.as_ref().map(|(path, bytes)| Replaced {
            path,
            bytes: *bytes,
            // A content-addressed file may be other rows' as well, and a file system that ignores case would lose the
            // new file with the old one.
            remove: !is_content_addressed && !may_be_one(path, &name.path),
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

    /// Transforms the pixels, if that is wanted. `body` holds the image to be stored then.
    async fn transform<'a>(&'a self, body: &mut Body<'a>, found: Found) -> Result<Found, FetchError> {
        let Some((plan, format)) = self.options.plan.as_ref().zip(found.format) else { return Ok(found) };
        let size = found.measures.width.zip(found.measures.height);
        let (orientation, most) = (found.measures.orientation, plan.limits.max_memory);
        let expected = transform::weight(format, size, plan);
        let mut transformed = self.transform_within(expected, body, format, orientation, plan).await?;
        // The image is larger inside than its header says. It is decoded all the same, but with all memory to itself.
        if matches!(transformed, Err(TransformError::TooLarge(_))) && expected < most {
            transformed = self.transform_within(most, body, format, orientation, plan).await?;
        }
        let Transformed { image, hash } = match transformed {
            Ok(transformed) => transformed,
            // No decoder here can check it or hash it, which is no reason to refuse it.
            Err(TransformError::Unsupported(_)) if plan.keeps_images() => return Ok(found),
            // With `--verify none` an image without a hash is taken, too.
            Err(_) if plan.keeps_images() && !self.options.wanted.asks_whether_sound() => return Ok(found),
            Err(error) => return Err(FetchError::new(error.kind(), error.to_string())),
        };
        let phash = hash.map(|hash| hash.to_string());
        let Image::New { bytes, format: target, width, height } = image else { return Ok(Found { phash, ..found }) };
        let original = Original { bytes: body.length(), format, measures: found.measures, digests: found.digests };
        let mut digester = Digester::new(self.options.wanted.digests.iter().copied());
        digester.update(&bytes);
        let bytes = Bytes::from(bytes);
        let mut other = self.sink.body(Some(bytes.len() as u64), None);
        other.write(&bytes).map_err(|error| self.disk("cannot write", error))?;
        std::mem::replace(body, other).discard();
        let mut exif = found.exif;
        // The stored image stands upright now: a viewer that went by this field would turn it once more.
        exif.remove("orientation");
        Ok(Found {
            exif,
            format: Some(target),
            measures: Measures { width: Some(width), height: Some(height), ..Measures::default() },
            digests: digester.finish(),
            phash,
            original: Some(Box::new(original)),
        })
    }

    /// Carries out the plan on the CPU pool, with at most `memory` bytes besides the file.
    async fn transform_within(
        &self,
        memory: u64,
        body: &mut Body<'_>,
        format: Format,
        orientation: Option<u8>,
        plan: &Plan,
    ) -> Result<Result<Transformed, TransformError>, FetchError> {
        let unreadable = |error| self.disk("cannot read back what was stored", error);
        let mut plan = plan.clone();
        plan.limits.max_memory = memory;
        // Workarounds for decoders make a copy of the file.
        let weight = memory.saturating_add(body.length().saturating_mul(2));
        let mut bytes = body.owned().map_err(unreadable)?;
        let work = move || {
            let mut image = Vec::new();
            bytes.read_to_end(&mut image)?;
            Ok::<_, io::Error>(transform::transform(&image, format, orientation, &plan))
        };
        let panicked = |error: Panicked| FetchError::new(ErrorKind::Internal, error.to_string());
        self.pool.run(weight, work).await.map_err(panicked)?.map_err(unreadable)
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
