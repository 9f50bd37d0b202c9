//! The last steps of a download: a complete body is checked, transformed, named and stored, and its record is made.

#[cfg(not(feature = "transform"))]
use std::time::Duration;

use super::partial::PartialBody;
use super::validate::InspectedBody;
#[cfg(not(feature = "transform"))]
use super::validate::corrupt;
use super::{Answer, AttemptState, Ended, Fetched, Fetcher, Work, file_exists};
use crate::naming::FinalName;
use crate::record::{Algorithm, FetchError, Outcome, Reason, Record, Saved, Skipped};
#[cfg(not(feature = "transform"))]
use crate::sink::Body;
use crate::sink::{Entry, Receipt, Stored};
use crate::util::lock;

impl Fetcher {
    /// Checks a complete body, transforms its pixels if the options ask for it, names it, and hands it to the sink.
    ///
    /// # Errors
    /// When the image is not accepted or corrupt, its pixels cannot be transformed, or it cannot be stored.
    pub(super) async fn finish(
        &self,
        work: &Work,
        state: &mut AttemptState,
        partial: PartialBody<'_>,
        answer: Answer,
    ) -> Result<Ended, FetchError> {
        let PartialBody { mut body, validation, .. } = partial;
        let unreadable = |error| self.disk("cannot read back what was stored", error);
        let inspected = match validation.finish(body.length(), || body.reader(), unreadable) {
            // Boxed, because every download would be moved with room for it.
            Ok(inspected) if self.works_on_pixels() || inspected.doubt.is_some() => {
                Box::pin(self.transform_pixels(&mut body, inspected, &mut state.waited_for_processor)).await
            }
            inspected => inspected,
        };
        let inspected = match inspected {
            Ok(inspected) => inspected,
            Err(error) => {
                body.discard();
                return Err(error);
            }
        };
        let planned = answer.filename.as_deref().filter(|_| work.name.awaits_server_name()).and_then(|filename| {
            let mut namer = lock(&self.namer);
            namer.reserve_from_server(&work.job, filename)
        });
        let planned = planned.as_ref().unwrap_or(&work.name);
        let name =
            planned.finish(inspected.format, self.options.fix_extension, inspected.digests.get(Algorithm::Sha256));
        let bytes = body.length();
        let is_content_addressed = planned.is_content_addressed();
        let from_file = work.stored.as_ref().filter(|_| state.attempts == 0);
        let kept = from_file.filter(|stored| inspected.original.is_none() && name.path == stored.path);
        let mut saved = self.saved(state, inspected, &name, (bytes, answer));
        if let Some(kept) = kept {
            // Only the record is made anew: the file has the same bytes and the same name.
            body.discard();
            saved.same_as.clone_from(&kept.same_as);
            let record = Record::of(&work.job, Outcome::Saved(saved));
            return Ok(Ended::Saved(Box::new(Fetched { record, line: None, receipt: Receipt::None })));
        }
        let entry = Entry {
            record: Record::of(&work.job, Outcome::Saved(saved)),
            path: &name.path,
            on_conflict: work.on_conflict,
            replaces: work.replaces.as_deref(),
            is_content_addressed,
            began: state.began,
        };
        let stored = self.sink.store(entry, body).await;
        match stored.map_err(|error| self.disk(&format!("cannot store {}", name.path), error))? {
            Stored::New { record, line, receipt } => {
                Ok(Ended::Saved(Box::new(Fetched { record, line: Some(line), receipt })))
            }
            Stored::Exists => Ok(Ended::Skipped(file_exists(name.path))),
            Stored::Duplicate { of } => {
                Ok(Ended::Skipped(Skipped { bytes: Some(bytes), ..Skipped::new(Reason::DuplicateContent, Some(of)) }))
            }
        }
    }

    /// Whether images wait for the CPU pool.
    pub(super) const fn works_on_pixels(&self) -> bool {
        #[cfg(feature = "transform")]
        let works = self.options.plan.is_some();
        #[cfg(not(feature = "transform"))]
        let works = {
            let _ = self;
            false
        };
        works
    }

    /// Without the feature `transform`, images are stored as they were received, and one is corrupt that would have to
    /// be decoded to see that it is not.
    #[cfg(not(feature = "transform"))]
    #[expect(clippy::unused_async, reason = "with the feature, this waits for the CPU pool")]
    async fn transform_pixels(
        &self,
        _: &mut Body<'_>,
        inspected: InspectedBody,
        _: &mut Duration,
    ) -> Result<InspectedBody, FetchError> {
        // Nothing here can tell whether the picture is whole.
        inspected.doubt.map_or(Ok(inspected), |corruption| Err(corrupt(corruption)))
    }

    /// The part of the record about the image. The sink fills in what is known only when the image is stored.
    fn saved(
        &self,
        state: &AttemptState,
        inspected: InspectedBody,
        name: &FinalName,
        (bytes, answer): (u64, Answer),
    ) -> Saved {
        Saved {
            path: name.path.clone(),
            bytes,
            format: inspected.format,
            measures: inspected.measures,
            verified: inspected.verified,
            content_type: answer.content_type,
            http_status: answer.status,
            final_url: answer.final_url,
            attempts: state.attempts,
            resumed_from: state.resumed_from,
            timing: self.timing(state).unwrap_or_default(),
            exif: inspected.exif,
            digests: inspected.digests,
            phash: inspected.phash,
            original: inspected.original,
            same_as: None,
            extension_mismatch: name.mismatch,
            smaller_than_box: inspected.smaller_than_box,
            made_with: self.made_with.clone(),
            from_earlier_run: state.from_earlier_run,
        }
    }
}
