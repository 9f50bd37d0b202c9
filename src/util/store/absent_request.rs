//! Stands in place of the requests for objects where the feature `object-store` is off.

use std::convert::Infallible;

use http::HeaderMap;
use url::Url;

use super::IS_ABSENT;

/// Makes none without the feature `object-store`.
#[derive(Debug, Default)]
pub struct Requests(());

/// There is none without the feature `object-store`.
#[derive(Debug)]
pub struct ObjectRequest(Infallible);

/// Why there is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// What is missing.
    pub sentence: String,
    /// Whether another attempt may succeed.
    pub may_pass: bool,
}

/// What an answer means that is not the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A clause.
    pub clause: String,
    /// Whether it is the credentials or the region of the environment that are wrong, whatever the status is.
    pub is_of_settings: bool,
}

#[allow(missing_docs, clippy::missing_docs_in_private_items, reason = "none of it can be called")]
#[allow(clippy::missing_errors_doc, clippy::unused_async, reason = "it is as that of the feature")]
impl Requests {
    pub async fn object(&self, _: &Url) -> Result<ObjectRequest, RequestError> {
        Err(RequestError { sentence: IS_ABSENT.to_owned(), may_pass: false })
    }
}

#[allow(missing_docs, clippy::missing_docs_in_private_items, reason = "none of it can be called")]
#[allow(clippy::missing_errors_doc, reason = "it is as that of the feature")]
impl ObjectRequest {
    pub fn url(&self) -> &Url {
        match self.0 {}
    }

    pub fn authorize(&self, _: &mut HeaderMap) -> Result<Url, String> {
        match self.0 {}
    }

    pub fn explain(&self, _: u16, _: Option<&str>, _: &str) -> Option<Refusal> {
        match self.0 {}
    }
}
