//! A body of which not everything has come, and how the rest of it is requested.

use url::Url;

use super::Options;
use super::validate::BodyValidator;
use crate::http::{HeaderValue, Response, Resume};
use crate::record::Job;
use crate::sink::{Body, Sink};

/// A body of which not everything has come.
pub(super) struct PartialBody<'a> {
    pub body: Body<'a>,
    pub checks: BodyValidator<'a>,
    /// The strong entity tag or date of the version that is being received (RFC 9110, section 8.8).
    pub validator: Option<HeaderValue>,
    /// A hash of where it comes from; see [`source`].
    pub source: u64,
    /// Its length in bytes, if that is known.
    pub total: Option<u64>,
}

/// A hash of the place that a body comes from: scheme, host, port and path. The query is left out, since it often holds a
/// signature that is another one every time.
pub(super) fn source(url: &Url) -> u64 {
    let words = [url.scheme(), &url[url::Position::BeforeHost..url::Position::AfterPort], url.path()];
    xxhash_rust::xxh3::xxh3_64(words.join(" ").as_bytes())
}

impl<'a> PartialBody<'a> {
    /// What an earlier run has left of a body. `None` if there is nothing, or nothing of use.
    pub fn of_earlier_run(sink: &'a Sink, job: &'a Job, options: &'a Options) -> Option<Self> {
        let body = sink.unfinished(&job.url)?;
        let mut checks = BodyValidator::new(&options.wanted, job.checksum.as_deref());
        // If the image is not wanted by the options of this run, requesting it anew says so.
        let is_wanted =
            body.each_block(|block| checks.feed(block, options.chunk_size).is_ok()).is_ok_and(|wanted| wanted);
        let origin = body.origin().filter(|_| is_wanted && body.length() <= options.max_bytes);
        let known = origin.map(|origin| (HeaderValue::from_bytes(&origin.validator).ok(), origin.source, origin.total));
        if let Some((Some(validator), source, total)) = known {
            return Some(Self { body, checks, validator: Some(validator), source, total });
        }
        body.discard();
        None
    }

    /// What to ask for, if the rest can be asked for.
    pub fn resume(&self) -> Option<Resume> {
        let validator = self.validator.clone()?;
        Some(Resume { from: self.body.length(), validator })
    }

    /// Nothing more is to come of it.
    pub fn discard(self) {
        self.body.discard();
    }

    /// Whether the answer carries exactly what is missing, of the very same body (RFC 9110, section 15.3.7).
    pub fn is_continued_by(&self, response: &Response) -> bool {
        let same_body = response.validator == self.validator && source(&response.final_url) == self.source;
        // Where no answer has said how long the body is, it cannot be known that this is all of it.
        response.range.is_some_and(|range| {
            let is_whole = |total: Option<u64>| total.is_none_or(|total| total == range.end);
            let total_is_known = self.total.or(range.total).is_some();
            same_body && range.first == self.body.length() && total_is_known && is_whole(self.total)
        })
    }
}
