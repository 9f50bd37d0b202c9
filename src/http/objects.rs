//! Requests for objects of stores (`--store-urls`): an answer for each `s3://`, `gs://` or `az://` URL.
//!
//! They go out as all others do. Only what authorises them is another thing, and it is made anew for each.

use std::borrow::Cow;
use std::path::Path;

use reqwest::{Method, Request};
use url::Url;

use super::client::{Client, trace_request, trace_response};
use super::deadline::Deadline;
use super::range::Resume;
use super::response::Response;
use super::tls::Trust;
use crate::record::{ErrorKind, FetchError, THE_STORE};
use crate::util::store::ca_bundle;

/// The bytes of a document that says why there is no object. It has some hundreds.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024;

/// The field in which S3 names the region of a bucket.
const BUCKET_REGION: &str = "x-amz-bucket-region";

impl Client {
    /// Asks for an object, or for the rest of it. No redirect is followed: the signature is for one host alone.
    pub(super) async fn get_object<'a>(
        &self,
        url: &'a Url,
        resume: Option<&Resume>,
        deadline: Deadline<'a>,
    ) -> Result<Response<'a>, FetchError> {
        let unauthorized = |sentence: &str, may_pass: bool| {
            let message = format!("no request to {THE_STORE}{sentence}");
            FetchError::new(ErrorKind::HttpStatus(401), message).that_may_pass(may_pass)
        };
        // It may have to fetch credentials.
        let object = deadline.bound(self.objects.object(url)).await?;
        let object = object.map_err(|error| unauthorized(&error.sentence, error.may_pass))?;
        let mut headers = self.options.identity.object_headers();
        if let Some(resume) = resume {
            resume.set_headers(&mut headers);
        }
        let asked = object.authorize(&mut headers).map_err(|sentence| unauthorized(&sentence, false))?;
        let request = || {
            let mut request = Request::new(Method::GET, asked.clone());
            request.headers_mut().clone_from(&headers);
            request
        };
        let client = match ca_bundle().filter(|_| url.scheme().starts_with("s3") && self.uses_certificates_of_system())
        {
            Some(file) => self.trusting_bundle(&file).map_err(|sentence| unauthorized(sentence, false))?,
            None => self,
        };
        trace_request(url);
        let answer = client.send(object.url(), request, deadline).await?;
        trace_response(url, &answer);
        let region =
            answer.head.headers().get(BUCKET_REGION).and_then(|region| region.to_str().ok()).map(str::to_owned);
        let mut response = Response::new(answer, Cow::Borrowed(url))?;
        // 416 Range Not Satisfiable is for the caller, who asks again.
        if !matches!(response.status, 200..=299 | 416) {
            let document = response.beginning(MAX_DOCUMENT_BYTES).await;
            let document = String::from_utf8_lossy(&document);
            response.refusal = object.explain(response.status, region.as_deref(), &document);
        }
        Ok(response)
    }

    /// The client that trusts these certificates alone, as the AWS tools do. Certificates for stores are not for other
    /// servers.
    fn trusting_bundle(&self, file: &Path) -> Result<&Self, &str> {
        let make = || {
            let trust = Trust::only(file, "AWS_CA_BUNDLE").map_err(|error| error.to_string())?;
            Self::trusting(trust, self.options.clone()).map(Box::new).map_err(|error| error.to_string())
        };
        self.of_s3.get_or_init(make).as_deref().map_err(String::as_str)
    }

    /// Whether no flag says which certificates are trusted.
    const fn uses_certificates_of_system(&self) -> bool {
        self.options.cacert.is_none() && !self.options.insecure
    }
}
