//! HTTP: the client, its redirects and deadlines, retries, TLS and DNS. The only folder that names reqwest.
//!
//! [`Client`] answers one question: what is the response for this URL, within these deadlines? Redirects are followed
//! here, one at a time, because what may be sent to another host is decided here. The errors of other crates are sorted
//! into [`crate::record::ErrorKind`]s in `classify` and nowhere else. Whether to retry is data: [`retry::Policy`].

mod classify;
mod client;
mod content_encoding;
mod cookies;
mod deadline;
pub mod disposition;
mod ip_scope;
mod objects;
mod options;
mod pool;
mod proxy;
mod range;
mod request;
mod resolver;
mod response;
pub mod retry;
mod same_host;
mod suspension;
mod tls;
mod url_faults;

pub use client::{Client, Options};
pub use deadline::{BeforeRequest, Deadline, GiveUpCheck};
pub use options::{
    DEFAULT_ATTEMPT_TIMEOUT, DEFAULT_CONNECT_TIMEOUT, DEFAULT_MAX_REDIRECTS, DEFAULT_RETRIES, DEFAULT_RETRY_WAIT,
    DEFAULT_STALL_TIMEOUT, USER_AGENT,
};
pub use pool::Connections;
pub use range::{ContentRange, Resume};
pub use request::{Credentials, Identity};
pub use reqwest::header::{HeaderName, HeaderValue};
pub use resolver::{Family, Pinned};
pub use response::Response;
pub use url_faults::fault_of;
