//! Raises the limit on open files (`RLIMIT_NOFILE`), and reduces the concurrency of a run that needs more of them.

use std::num::NonZeroUsize;

use crate::run;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors per download: a connection, a file, and up to two idle connections.
const FDS_PER_DOWNLOAD: u64 = 4;

/// File descriptors for the standard streams, the list, the journal and the runtime.
const RESERVED_FDS: u64 = 32;

/// Reduces the concurrency of a run to what the limit on open files allows, with a warning.
pub fn apply(options: &mut run::Options) {
    let wanted = options.concurrency;
    let allowed = raise(wanted);
    if allowed < wanted {
        tracing::warn!(target: "fetchimg", "Downloading {allowed} at once, not {wanted}: the limit on open files is low (ulimit -n)");
    }
    options.concurrency = allowed;
    options.http.concurrency = allowed.get();
}

/// Raises the soft limit on open files to the hard one if `wanted` downloads at once need that. Returns how many
/// downloads at once the limit allows: `wanted`, or fewer.
fn raise(wanted: NonZeroUsize) -> NonZeroUsize {
    let limit = getrlimit(Resource::Nofile);
    let needed = FDS_PER_DOWNLOAD.saturating_mul(wanted.get() as u64).saturating_add(RESERVED_FDS);
    // There is no limit, or it is high enough already.
    let Some(soft) = limit.current.filter(|soft| *soft < needed) else { return wanted };
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let available = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // macOS reports an unlimited hard limit, but refuses to set it.
        Err(_) => Some(soft),
    };
    let fits = available.map_or(u64::MAX, |files| files.saturating_sub(RESERVED_FDS) / FDS_PER_DOWNLOAD).max(1);
    match usize::try_from(fits).ok().and_then(NonZeroUsize::new) {
        Some(fits) if fits < wanted => fits,
        _ => wanted,
    }
}
