//! Default options of the HTTP client, which the command line shows as its own.

use std::time::Duration;

use super::retry::Policy;
use super::{HeaderValue, Identity, Options};

/// `--connect-timeout`: the longest time to connect, TLS included.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// `--stall-timeout`: the longest time without a byte.
pub const DEFAULT_STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// `--timeout`: the longest time for one attempt with its redirects and its body.
pub const DEFAULT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(300);

/// `--max-redirs`: redirects that one attempt follows.
pub const DEFAULT_MAX_REDIRECTS: u32 = 10;

/// `--retries`: attempts after the first one.
pub const DEFAULT_RETRIES: u32 = 3;

/// `--retry-wait`: the wait before the second attempt.
pub const DEFAULT_RETRY_WAIT: Duration = Duration::from_millis(500);

/// The `User-Agent` (RFC 9110, section 10.1.5), with a way to reach the people who wrote the program.
pub const USER_AGENT: &str = concat!("fetchimg/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")");

impl Default for Options {
    fn default() -> Self {
        Self {
            identity: Identity { user_agent: Some(HeaderValue::from_static(USER_AGENT)), ..Identity::default() },
            proxy: None,
            cacert: None,
            insecure: false,
            pinned: Vec::new(),
            dns_servers: Vec::new(),
            family: None,
            public_only: false,
            http1_only: false,
            max_redirects: DEFAULT_MAX_REDIRECTS,
            allow_downgrade: false,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            lookup_timeout: None,
            stall_timeout: DEFAULT_STALL_TIMEOUT,
            small_windows: false,
            attempt_timeout: DEFAULT_ATTEMPT_TIMEOUT,
            concurrency: 256,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self { retries: DEFAULT_RETRIES, first_wait: DEFAULT_RETRY_WAIT }
    }
}
