//! What an error of a store means, in one sentence.
//!
//! The errors of the library carry whole documents of XML, and addresses; what matters of them are the status, the code in
//! the document, and the kind of a broken connection. The type that has the first two is private, so they are taken from
//! the text.

use std::error::Error as _;
use std::io;

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::Scheme;

/// What sentences about a store say.
#[derive(Clone, Debug)]
pub struct Context {
    /// The protocol.
    pub scheme: Scheme,
    /// The bucket.
    pub bucket: String,
    /// The host that is asked.
    pub endpoint: String,
}

/// The parts of an error that matter.
struct Parts {
    text: String,
    status: Option<u16>,
    code: String,
    transport: Option<(HttpErrorKind, String)>,
}

impl Parts {
    fn of(error: &Error) -> Self {
        let text = error.to_string();
        let status = text.rsplit_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse().ok());
        let code = between(&text, "<Code>", "</Code>").unwrap_or_default().to_owned();
        let mut transport = None;
        let mut source = error.source();
        while let Some(error) = source {
            if let Some(http) = error.downcast_ref::<HttpError>() {
                transport = Some((http.kind(), root_cause(http)));
                break;
            }
            source = error.source();
        }
        Self { text, status, code, transport }
    }

    /// The document that came with the status.
    fn body(&self) -> &str {
        let body = self.text.rsplit_once("status code: ").map_or("", |(_, rest)| rest);
        body.split_once(": ").map_or("", |(_, body)| body.trim())
    }

    /// Whether it was the search for credentials on the network of a cloud that failed.
    fn is_of_credentials(&self) -> bool {
        ["169.254.", "/latest/", "metadata.google.internal", "/metadata/identity", "oauth2"]
            .iter()
            .any(|sign| self.text.contains(sign))
    }
}

pub(super) fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    text.split_once(begin)?.1.split_once(end).map(|(found, _)| found)
}

/// What lies below an error of the connection: "connection refused" and the like.
fn root_cause(error: &HttpError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string().to_lowercase()
}

/// Whether an error is the answer of a store, and not the want of one.
pub fn is_answer(error: &Error) -> bool {
    let parts = Parts::of(error);
    !parts.code.is_empty() && !parts.is_of_credentials() && !matches!(parts.status, Some(500..))
}

/// Whether it cannot be known what became of a request.
pub fn is_lost(error: &Error) -> bool {
    let transport = Parts::of(error).transport;
    transport.is_some_and(|(kind, _)| matches!(kind, HttpErrorKind::Timeout | HttpErrorKind::Interrupted))
}

/// Whether another request for the same object was being processed.
pub fn is_conflict(error: &Error) -> bool {
    matches!(&*Parts::of(error).code, "ConditionalRequestConflict" | "OperationAborted")
}

/// Whether the store cannot create an object where there is none.
pub fn is_unsupported(error: &Error) -> bool {
    let Parts { status, code, .. } = Parts::of(error);
    status == Some(501) || code == "NotImplemented" || (code == "InvalidArgument" && status == Some(400))
}

/// Whether the store does not know the upload, because it is complete or was aborted, or does not know its parts: Azure forgets
/// those of all uploads of an object when one of them is completed.
pub fn is_unknown_upload(error: &Error) -> bool {
    matches!(&*Parts::of(error).code, "NoSuchUpload" | "InvalidBlockList")
}

impl Context {
    /// The error as a sentence. It never has more than that of what the store has sent.
    pub fn explain(&self, error: &Error) -> io::Error {
        let (kind, sentence) = self.sentence(&Parts::of(error), error);
        io::Error::new(kind, sentence)
    }

    fn sentence(&self, parts: &Parts, error: &Error) -> (io::ErrorKind, String) {
        use io::ErrorKind::{InvalidInput, NotConnected, NotFound, Other, PermissionDenied, TimedOut};
        let Self { bucket, endpoint, .. } = self;
        if parts.is_of_credentials() {
            return (PermissionDenied, self.no_credentials());
        }
        let sentence = match (&*parts.code, parts.status) {
            ("NoSuchBucket" | "ContainerNotFound" | "InvalidBucketName", _) => {
                return (
                    InvalidInput,
                    format!("there is no bucket {bucket} at {endpoint}; make it, or name another one"),
                );
            }
            ("InvalidAccessKeyId", _) => {
                return (PermissionDenied, format!("{endpoint} does not know the access key; see AWS_ACCESS_KEY_ID"));
            }
            ("SignatureDoesNotMatch", _) => {
                let sentence = "the secret key does not belong to the access key; see AWS_SECRET_ACCESS_KEY";
                return (PermissionDenied, format!("{endpoint} refuses the signature: {sentence}"));
            }
            ("RequestTimeTooSkewed" | "RequestExpired", _) => {
                return (
                    PermissionDenied,
                    format!("the clock of this machine is not that of {endpoint}; set the clock"),
                );
            }
            ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => {
                let sentence = "the session token has expired or is not valid; get another one (AWS_SESSION_TOKEN)";
                return (PermissionDenied, sentence.to_owned());
            }
            ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException", _) => {
                self.other_region(between(&parts.text, "<Region>", "</Region>"))
            }
            _ if parts.text.contains("redirect without LOCATION") => self.other_region(None),
            ("NoSuchKey" | "NoSuchVersion" | "BlobNotFound", _) => {
                return (NotFound, format!("it is not in the bucket {bucket}"));
            }
            ("", Some(404)) if parts.body().is_empty() => {
                return (NotFound, format!("it is not in the bucket {bucket}"));
            }
            ("AccessDenied" | "AllAccessDisabled" | "AuthorizationFailure" | "AuthenticationFailed", _)
            | ("", Some(401 | 403)) => {
                let sentence = format!(
                    "{endpoint} forbids it: the credentials must allow to list, read, write and delete in the bucket {bucket}"
                );
                return (PermissionDenied, sentence);
            }
            ("NotImplemented", Some(status)) => format!("{endpoint} answers {status} NotImplemented"),
            ("SlowDown" | "ServiceUnavailable" | "InternalError" | "ServerBusy", status)
            | ("", status @ Some(500..)) => {
                let status = status.map(|status| format!("{status} ")).unwrap_or_default();
                let code = if parts.code.is_empty() { "it" } else { &parts.code };
                format!("{endpoint} has answered {status}({code}) to every attempt; run the command again later")
                    .replace("(it) ", "")
            }
            ("", Some(status)) => self.no_store(&format!("status {status}")),
            (code, Some(status)) => format!("{endpoint} answers {status} {code}"),
            ("", None) => match &parts.transport {
                Some((HttpErrorKind::Timeout, _)) => {
                    return (TimedOut, format!("{endpoint} does not answer in time"));
                }
                // Of the TLS library, for what is no TLS.
                Some((HttpErrorKind::Connect, cause)) if cause.contains("invalidcontenttype") => {
                    let sentence = "it does not speak TLS; is it an endpoint that begins with http://?";
                    return (NotConnected, format!("no connection to {endpoint}: {sentence}"));
                }
                Some((HttpErrorKind::Connect, cause)) => {
                    return (NotConnected, format!("no connection to {endpoint}: {cause}"));
                }
                Some((_, cause)) => format!("the connection to {endpoint} broke: {cause}"),
                None => match error {
                    Error::Generic { .. } if is_odd_answer(&parts.text) => self.no_store("something else"),
                    _ => first_line(&parts.text),
                },
            },
            (code, None) => format!("{endpoint} answers {code}"),
        };
        (Other, sentence)
    }

    /// That no credentials were found.
    pub fn no_credentials(&self) -> String {
        match self.scheme {
            Scheme::S3 => {
                "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or \
                 AWS_SKIP_SIGNATURE=true for what everybody may read"
            }
            Scheme::Gs => "there are no credentials: set GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_BEARER_TOKEN",
            Scheme::Az => {
                "there are no credentials: set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or \
                 AZURE_STORAGE_CONNECTION_STRING"
            }
        }
        .to_owned()
    }

    pub(super) fn other_region(&self, region: Option<&str>) -> String {
        let plain = |text: &&str| text.len() < 40 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let region = region.filter(plain);
        let set = region.map_or("set AWS_REGION".to_owned(), |region| format!("set AWS_REGION={region}"));
        format!("the bucket {} is in another region; {set}", self.bucket)
    }

    /// That the endpoint is something else than a store.
    pub fn no_store(&self, answer: &str) -> String {
        let variable = match self.scheme {
            Scheme::S3 => "; see AWS_ENDPOINT_URL",
            Scheme::Gs => "; see GOOGLE_BASE_URL",
            Scheme::Az => "; see AZURE_STORAGE_ENDPOINT",
        };
        format!("{} does not answer as an object store does, but with {answer}{variable}", self.endpoint)
    }
}

/// Whether an answer was none that a store gives.
fn is_odd_answer(text: &str) -> bool {
    ["header", "Header", "invalid list response", "invalid multipart response", "metadata"]
        .iter()
        .any(|sign| text.contains(sign))
}

/// The beginning of a text from outside.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context { scheme: Scheme::S3, bucket: "b".into(), endpoint: "s3.example".into() }
    }

    fn error(text: &str) -> Error {
        Error::Generic { store: "S3", source: text.to_owned().into() }
    }

    #[test]
    fn errors_become_sentences_without_documents() {
        let status = |status: &str, code: &str| {
            error(&format!(
                "Error performing PUT http://s3.example/b/a in 3ms - Server returned non-2xx status code: {status}: \
                 <?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>long</Message><Region>eu-1</Region></Error>"
            ))
        };
        for (error, expected) in [
            (status("404 Not Found", "NoSuchBucket"), "there is no bucket b at s3.example"),
            (status("403 Forbidden", "AccessDenied"), "forbids it"),
            (status("403 Forbidden", "SignatureDoesNotMatch"), "AWS_SECRET_ACCESS_KEY"),
            (status("403 Forbidden", "InvalidAccessKeyId"), "AWS_ACCESS_KEY_ID"),
            (status("403 Forbidden", "RequestTimeTooSkewed"), "set the clock"),
            (status("400 Bad Request", "ExpiredToken"), "AWS_SESSION_TOKEN"),
            (status("400 Bad Request", "AuthorizationHeaderMalformed"), "set AWS_REGION=eu-1"),
            (status("503 Service Unavailable", "SlowDown"), "answered 503 (SlowDown) to every attempt"),
            (status("418 I'm a teapot", "Tea"), "s3.example answers 418 Tea"),
            (error("status code: 404 Not Found: <html>none</html>"), "does not answer as an object store does"),
            (error("status code: 500 Internal Server Error: oops"), "s3.example has answered 500 to every attempt"),
            (error("status code: 405 Method Not Allowed: "), "with status 405; see AWS_ENDPOINT_URL"),
            (error("PUT http://169.254.169.254/latest/api/token"), "there are no credentials"),
            (error("Received redirect without LOCATION, this"), "set AWS_REGION"),
        ] {
            let explained = context().explain(&error);
            let sentence = explained.to_string();
            assert!(sentence.contains(expected) && !sentence.contains('<'), "{error}: {sentence}");
            assert_ne!(explained.kind(), io::ErrorKind::NotFound, "{sentence}");
        }
        for missing in [status("404 Not Found", "NoSuchKey"), error("status code: 404 Not Found: ")] {
            assert_eq!(context().explain(&missing).kind(), io::ErrorKind::NotFound, "{missing}");
        }
    }
}
