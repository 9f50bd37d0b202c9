//! The limit on open files (`RLIMIT_NOFILE`): it is raised, and a run that it does not allow is made smaller.

use std::num::NonZeroUsize;

use crate::run;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A download has a connection and a file, and may leave two idle connections behind.
const PER_DOWNLOAD: u64 = 4;

/// Standard streams, the list, the journal, the runtime's own.
const RESERVE: u64 = 32;

/// Lets a run have as many downloads at once as the limit on open files allows, and says when these are fewer.
pub fn apply(options: &mut run::Options) {
    let wanted = options.concurrency;
    let window = allow(wanted);
    if window < wanted {
        tracing::warn!(target: "fetchimg", "Downloading {window} at once, not {wanted}: the limit on open files is low (ulimit -n)");
    }
    options.concurrency = window;
    options.http.concurrency = window.get();
}

/// Raises the soft limit on open files to the hard one, and says how many downloads at once that allows: `wanted`, or
/// fewer.
fn allow(wanted: NonZeroUsize) -> NonZeroUsize {
    let limit = getrlimit(Resource::Nofile);
    let needed = PER_DOWNLOAD.saturating_mul(wanted.get() as u64).saturating_add(RESERVE);
    // No limit at all, or room enough already.
    let Some(soft) = limit.current.filter(|soft| *soft < needed) else { return wanted };
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let available = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // macOS says unlimited and means less.
        Err(_) => Some(soft),
    };
    let fits = available.map_or(u64::MAX, |files| files.saturating_sub(RESERVE) / PER_DOWNLOAD).max(1);
    match usize::try_from(fits).ok().and_then(NonZeroUsize::new) {
        Some(fits) if fits < wanted => fits,
        _ => wanted,
    }
}
