//! A partly received body, and how the rest of it is requested.

use url::Url;

use super::Options;
use super::validate::BodyValidator;
use crate::http::{HeaderValue, Response, Resume};
use crate::record::Job;
use crate::sink::{Body, Sink};

/// A partly received body. A retry, or a later run, can request the rest of it.
pub(super) struct PartialBody<'a> {
    pub body: Body<'a>,
    /// The checks of the bytes received so far.
    pub validation: BodyValidator<'a>,
    /// The strong entity tag or date of the version that is being received (RFC 9110, section 8.8).
    pub validator: Option<HeaderValue>,
    /// A hash of the URL that it comes from; see [`source`].
    pub source: u64,
    /// The length of the whole body in bytes, if that is known.
    pub total: Option<u64>,
}

/// A hash of the URL that a body comes from: scheme, host, port and path. The query is left out, because it often holds
/// a signature that changes with every redirect.
pub(super) fn source(url: &Url) -> u64 {
    let words = [url.scheme(), &url[url::Position::BeforeHost..url::Position::AfterPort], url.path()];
    xxhash_rust::xxh3::xxh3_64(words.join(" ").as_bytes())
}

impl<'a> PartialBody<'a> {
    /// The partial body that an earlier run has left, if it can be continued. If not, it is discarded.
    pub fn of_earlier_run(sink: &'a Sink, job: &'a Job, options: &'a Options) -> Option<Self> {
        let body = sink.unfinished(&job.url)?;
        let mut validation = BodyValidator::new(&options.wanted, job.checksum.as_deref());
        // The options may have changed since. A body that they refuse is requested anew, and fails with its error then.
        let is_wanted =
            body.each_block(|block| validation.feed(block, options.chunk_size).is_ok()).is_ok_and(|wanted| wanted);
        let origin = body.origin().filter(|_| is_wanted && body.length() <= options.max_bytes);
        let known = origin.map(|origin| (HeaderValue::from_bytes(&origin.validator).ok(), origin.source, origin.total));
        if let Some((Some(validator), source, total)) = known {
            return Some(Self { body, validation, validator: Some(validator), source, total });
        }
        body.discard();
        None
    }

    /// The range to request. `None` if no validator is known, so that the rest could be of another version.
    pub fn resume(&self) -> Option<Resume> {
        let validator = self.validator.clone()?;
        Some(Resume { from: self.body.length(), validator })
    }

    /// Gives the body up: it is not continued, by a later run either.
    pub fn discard(self) {
        self.body.discard();
    }

    /// Whether a 206 response carries exactly the missing rest of the same version (RFC 9110, section 15.3.7).
    pub fn is_continued_by(&self, response: &Response) -> bool {
        let same_body = response.validator == self.validator && source(&response.final_url) == self.source;
        // If no response has said how long the body is, the range may end before the body does.
        response.range.is_some_and(|range| {
            let is_whole = |total: Option<u64>| total.is_none_or(|total| total == range.end);
            let total_is_known = self.total.or(range.total).is_some();
            same_body && range.first == self.body.length() && total_is_known && is_whole(self.total)
        })
    }
}
