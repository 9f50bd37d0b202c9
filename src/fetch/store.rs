//! A complete body becomes a file, and its record.

use std::fs::Metadata;
use std::io::{self, Read as _};

use bytes::Bytes;

use super::validate::Found;
use super::{AttemptState, Ended, Fetched, Fetcher, PartialBody, Work, file_exists};
use crate::http::Response;
use crate::image::transform::{self, Image, Panicked, TransformError, TransformOptions, Transformed};
use crate::naming::{FinalName, may_be_one};
use crate::record::{
    Algorithm, Digester, ErrorKind, FetchError, Format, Measures, Original, Outcome, Reason, Record, Saved, Skipped,
};
use crate::sink::folder::wal::{Mark, WalEntry};
use crate::sink::{Body, Linked, OnConflict, Published};
use crate::util::redact::{self, escaped, redacted};

/// How a body came to be stored, or did not.
enum Stored {
    /// As a file of its own.
    Own,
    /// As another name of this file, which has the same bytes.
    Linked,
    /// Not at all: this file has the same bytes, and cannot have two names.
    Same(Box<str>),
    /// Not at all: there is another file of that name.
    NameTaken,
}

/// The note on a file that is about to appear, with its record.
#[derive(Default)]
struct Note {
    line: Vec<u8>,
    entry: Option<WalEntry>,
    record: Option<Record>,
}

impl Fetcher {
    /// Stores a complete body, unless it turns out not to be wanted.
    pub(super) async fn store<'a>(
        &'a self,
        work: &Work,
        state: &AttemptState,
        body: PartialBody<'a>,
        response: Response<'_>,
    ) -> Result<Ended, FetchError> {
        let PartialBody { mut part, look, .. } = body;
        let unreadable = |error| self.disk("cannot read back what was stored", error);
        let found = match look.end(part.length(), || part.whole(), unreadable) {
            Ok(found) => self.transform(&mut part, found).await,
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                part.discard();
                return Err(error);
            }
        };
        let planned = response.filename.as_deref().filter(|_| work.name.asks_server()).and_then(|filename| {
            let mut namer = self.namer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            namer.reserve_from_server(&work.job, filename)
        });
        let planned = planned.as_ref().unwrap_or(&work.name);
        let name = planned.finish(found.format, self.options.fix_extension, found.digests.get(Algorithm::Sha256));
        let bytes = part.length();
        let mut note = Note::default();
        // Called with the file as the system sees it, just before it gets its name.
        let announce = |note: &mut Note, file: &Metadata, same_as: Option<&str>| {
            let saved = self.saved(state, &found, &name, bytes, &response, same_as);
            let record = Record::of(&work.job, Outcome::Saved(saved));
            note.line = redact::json(&record, false)?;
            if let Some(former) = note.entry.replace(self.wal.note(Mark::of(file), &note.line)?) {
                former.done();
            }
            note.record = Some(record);
            Ok(())
        };
        let stored = self
            .place(part, work, &found, &name, planned.is_addressed_by_content(), |file, same_as| {
                announce(&mut note, file, same_as)
            })
            .map_err(|error| self.disk(&format!("cannot store {}", name.path), error))?;
        let skipped = match stored {
            Stored::Own | Stored::Linked => None,
            Stored::Same(first) => {
                Some(Skipped { reason: Reason::DuplicateContent, path: Some(first.into()), bytes: Some(bytes) })
            }
            Stored::NameTaken => Some(file_exists(name.path.clone())),
        };
        if let Some(skipped) = skipped {
            note.entry.into_iter().for_each(WalEntry::done);
            return Ok(Ended::Skipped(skipped));
        }
        let Some(record) = note.record else {
            return Err(FetchError::new(ErrorKind::Internal, "a file appeared without a record"));
        };
        // What names itself by its content may be other rows' as well. And file systems that do not tell cases apart would
        // lose the new one.
        let is_gone = |old: &str| !planned.is_addressed_by_content() && !may_be_one(old, &name.path);
        if let Some((old, bytes)) = work.replaces.as_ref().filter(|(old, _)| is_gone(old))
            && let Err(error) = self.files.remove(old, *bytes)
        {
            // The image is there all the same.
            let (old, url) = (escaped(old), &record.url);
            tracing::warn!(target: "fetchimg", "Cannot remove {old}, which {url} had before: {error}");
        }
        Ok(Ended::Saved(Box::new(Fetched { record, line: Some(note.line), entry: note.entry })))
    }

    /// Works on the pixels, if that is wanted; `part` holds the image that is to be stored then.
    async fn transform<'a>(&'a self, part: &mut Body<'a>, found: Found) -> Result<Found, FetchError> {
        let Some((plan, format)) = self.options.plan.as_ref().zip(found.format) else { return Ok(found) };
        let size = found.measures.width.zip(found.measures.height);
        let (orientation, most) = (found.measures.orientation, plan.limits.max_memory);
        let expected = transform::memory_needed(format, size, plan);
        let mut transformed = self.transform_within(expected, part, format, orientation, plan).await?;
        // It is larger inside than its header says. It may be, when nothing else takes memory.
        if matches!(transformed, Err(TransformError::TooLarge(_))) && expected < most {
            transformed = self.transform_within(most, part, format, orientation, plan).await?;
        }
        let Transformed { image, hash } = match transformed {
            Ok(transformed) => transformed,
            // Nobody here can say whether it is sound or what it looks like, which is no reason to refuse it.
            Err(TransformError::Unsupported(_)) if plan.keeps_images() => return Ok(found),
            // Whoever takes what comes takes what has no hash.
            Err(_) if plan.keeps_images() && !self.options.wanted.asks_whether_sound() => return Ok(found),
            Err(error) => return Err(FetchError::new(error.kind(), error.to_string())),
        };
        let phash = hash.map(|hash| hash.to_string());
        let Image::New { bytes, format: target, width, height } = image else { return Ok(Found { phash, ..found }) };
        let original = Original { bytes: part.length(), format, measures: found.measures, digests: found.digests };
        let mut digester = Digester::new(self.options.wanted.digests.iter().copied());
        digester.update(&bytes);
        let bytes = Bytes::from(bytes);
        let mut other = self.files.begin(Some(bytes.len() as u64), None);
        other.write(&bytes).map_err(|error| self.disk("cannot write", error))?;
        std::mem::replace(part, other).discard();
        let mut exif = found.exif;
        // It stands upright now, and whoever went by this would turn it once more. The original has its own.
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

    /// Does what the plan says, in so many bytes of memory besides the file.
    async fn transform_within(
        &self,
        memory: u64,
        part: &mut Body<'_>,
        format: Format,
        orientation: Option<u8>,
        plan: &TransformOptions,
    ) -> Result<Result<Transformed, TransformError>, FetchError> {
        let unreadable = |error| self.disk("cannot read back what was stored", error);
        let mut plan = plan.clone();
        plan.limits.max_memory = memory;
        // What decoders stumble over is left out of a copy.
        let weight = memory.saturating_add(part.length().saturating_mul(2));
        let mut bytes = part.detached().map_err(unreadable)?;
        let work = move || {
            let mut image = Vec::new();
            bytes.read_to_end(&mut image)?;
            Ok::<_, io::Error>(transform::transform(&image, format, orientation, &plan))
        };
        let panicked = |error: Panicked| FetchError::new(ErrorKind::Internal, error.to_string());
        self.pool.run(weight, work).await.map_err(panicked)?.map_err(unreadable)
    }

    /// Gives the bytes their name: as a file of their own, or with `--dedupe` as another name of one that has them
    /// already. `announce` is told of the file, and of the name that it has already.
    fn place(
        &self,
        mut part: Body,
        work: &Work,
        found: &Found,
        name: &FinalName,
        is_addressed: bool,
        mut announce: impl FnMut(&Metadata, Option<&str>) -> io::Result<()>,
    ) -> io::Result<Stored> {
        let commit = |part: Body, announce: &mut dyn FnMut(&Metadata, Option<&str>) -> io::Result<()>| {
            let published = part.commit(&name.path, work.publish, |file| announce(file, None))?;
            Ok(if published == Published::Done { Stored::Own } else { Stored::NameTaken })
        };
        // The name itself says what the content is, so what has it already is the same.
        let may_be_there = is_addressed && work.publish == OnConflict::Keep;
        let asks = self.options.dedupe || may_be_there;
        let Some(sha256) = found.digests.get(Algorithm::Sha256).filter(|_| asks) else {
            return commit(part, &mut announce);
        };
        self.contents.store(sha256, |first| {
            if may_be_there && part.is_the_same_as(&name.path)? {
                part.discard();
                return Ok((Stored::Same(name.path.as_str().into()), None));
            }
            if let Some(first) = first.filter(|_| self.options.dedupe) {
                // What the row itself had before is no other file: it has this name, or goes when this one is there.
                let is_own =
                    first == name.path || work.replaces.as_ref().is_some_and(|(replaced, _)| first == replaced);
                let same_as = Some(first).filter(|_| !is_own);
                let linked = part.link(first, &name.path, work.publish, |file| announce(file, same_as))?;
                let stored = match linked {
                    Linked::Done => Some(Stored::Linked),
                    Linked::NameTaken => Some(Stored::NameTaken),
                    Linked::Impossible => Some(Stored::Same(first.into())),
                    Linked::Differs => None,
                };
                if let Some(stored) = stored {
                    part.discard();
                    let is_first = is_own && matches!(stored, Stored::Linked);
                    return Ok((stored, is_first.then(|| name.path.as_str().into())));
                }
            }
            let stored = commit(part, &mut announce)?;
            let is_first = self.options.dedupe && matches!(stored, Stored::Own);
            Ok((stored, is_first.then(|| name.path.as_str().into())))
        })
    }

    fn saved(
        &self,
        state: &AttemptState,
        found: &Found,
        name: &FinalName,
        bytes: u64,
        response: &Response<'_>,
        same_as: Option<&str>,
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
            exif: found.exif.clone(),
            digests: found.digests.clone(),
            phash: found.phash.clone(),
            original: found.original.clone(),
            same_as: same_as.map(str::to_owned),
            extension_mismatch: name.mismatch,
            from_earlier_run: state.from_before,
        }
    }
}
