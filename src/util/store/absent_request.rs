//! Stands in place of the requests for objects where the feature `object-store` is off.

use std::convert::Infallible;
use std::future::{Ready, ready};

use http::HeaderMap;
use url::Url;

use super::{IS_ABSENT, Refusal, RequestError};

/// Makes none without the feature `object-store`.
#[derive(Debug, Default)]
pub struct Requests(());

/// There is none without the feature `object-store`.
#[derive(Debug)]
pub struct ObjectRequest(Infallible);

// None of it can be called but `object`, which is documented with the feature.
#[doc(hidden)]
impl Requests {
    pub fn object(&self, _: &Url) -> Ready<Result<ObjectRequest, RequestError>> {
        ready(Err(RequestError { sentence: IS_ABSENT.to_owned(), may_pass: false }))
    }
}

#[doc(hidden)]
impl ObjectRequest {
    #[must_use]
    pub fn url(&self) -> &Url {
        match self.0 {}
    }

    pub fn authorize(&self, _: &mut HeaderMap) -> Result<Url, String> {
        match self.0 {}
    }

    #[must_use]
    pub fn explain(&self, _: u16, _: Option<&str>, _: &str) -> Option<Refusal> {
        match self.0 {}
    }
}
