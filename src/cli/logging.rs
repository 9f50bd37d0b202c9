//! Sets up the log on standard error: `2026-03-30T19:21:02.370Z  INFO fetchimg: Downloaded: URL`.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::time::ChronoUtc;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::args::LogFormat;
use crate::progress::{ProgressMode, Screen};

/// Starts the log. `verbosity` is -1 for errors only, 0 for the usual log, 1 for details and 2 for everything.
/// `RUST_LOG` overrides it.
pub fn start(verbosity: i8, progress: ProgressMode, format: LogFormat, screen: Screen) {
    let level = match (verbosity, progress) {
        (..=-1, _) => LevelFilter::ERROR,
        // The bar replaces the log line of each image.
        (0, ProgressMode::Bar | ProgressMode::Off) => LevelFilter::WARN,
        (0, ProgressMode::Log) => LevelFilter::INFO,
        (1, _) => LevelFilter::DEBUG,
        (2.., _) => LevelFilter::TRACE,
    };
    // -v shows details of fetchimg itself; -vv also those of the libraries.
    let filter = match env::var("RUST_LOG") {
        Ok(list) if !list.is_empty() => parse_directives(&list),
        // hickory warns about every malformed packet, which is harmless, and quotes text from outside.
        _ if verbosity < 2 => Targets::new()
            .with_default(LevelFilter::WARN)
            .with_targets(["hickory_net", "hickory_proto", "hickory_resolver"].map(|name| (name, LevelFilter::OFF)))
            .with_target("fetchimg", level),
        _ => Targets::new().with_default(LevelFilter::TRACE),
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(screen)
        .with_ansi(colours())
        // An error of a write to the log cannot be logged either.
        .log_internal_errors(false)
        .with_timer(ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".into()));
    let registry = tracing_subscriber::registry().with(filter);
    // This fails when a log has been started before; that one is used then.
    let _ = match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
}

/// Parses `RUST_LOG`: a comma-separated list of levels and `target=level`. Invalid directives are ignored.
fn parse_directives(list: &str) -> Targets {
    let parsed = list.split(',').filter_map(|directive| directive.trim().parse::<Targets>().ok());
    let mut filter = Targets::new();
    for targets in parsed {
        if let Some(level) = targets.default_level() {
            filter = filter.with_default(level);
        }
        filter = filter.with_targets(targets);
    }
    filter
}

/// Whether the log has colours: on a terminal that shows them, and everywhere with `CLICOLOR_FORCE`; never with
/// `NO_COLOR`.
#[must_use]
pub fn colours() -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let forbidden = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    !forbidden && (set("CLICOLOR_FORCE") || (io::stderr().is_terminal() && !is_dumb))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn rust_log_names_levels_and_targets() {
        for (list, fetchimg, hyper) in [
            ("debug", true, true),
            ("fetchimg=debug", true, false),
            ("info,fetchimg=debug", true, false),
            ("off", false, false),
            ("nonsense[,fetchimg=debug", true, false),
        ] {
            let filter = parse_directives(list);
            let enabled = ["fetchimg", "hyper"].map(|target| filter.would_enable(target, &Level::DEBUG));
            assert_eq!(enabled, [fetchimg, hyper], "{list}");
        }
    }
}
