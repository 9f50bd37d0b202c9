//! The log on standard error: `2026-03-30T19:21:02.370Z  INFO fetchimg: Downloaded: URL`.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::time::ChronoUtc;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::args::LogFormat;
use crate::progress::{ProgressMode, Screen};

/// Starts the log. `verbosity`: -1 only failures, 0 what happens, 1 and more details. `RUST_LOG` has the last word.
pub fn start(verbosity: i8, show: ProgressMode, format: LogFormat, screen: Screen) {
    let level = match (verbosity, show) {
        (..=-1, _) => LevelFilter::ERROR,
        // The bar tells what a line for each image would.
        (0, ProgressMode::Bar | ProgressMode::Off) => LevelFilter::WARN,
        (0, ProgressMode::Log) => LevelFilter::INFO,
        (1, _) => LevelFilter::DEBUG,
        (2.., _) => LevelFilter::TRACE,
    };
    // Details are our own; those of the libraries come with -vv.
    let filter = match env::var("RUST_LOG") {
        Ok(wanted) if !wanted.is_empty() => directives(&wanted),
        // hickory warns of every malformed packet, in words from outside; such packets do no harm.
        _ if verbosity < 2 => Targets::new()
            .with_default(LevelFilter::WARN)
            .with_targets(["hickory_net", "hickory_proto", "hickory_resolver"].map(|name| (name, LevelFilter::OFF)))
            .with_target("fetchimg", level),
        _ => Targets::new().with_default(LevelFilter::TRACE),
    };
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(screen)
        .with_ansi(colours())
        // If the log cannot be written, a complaint about that cannot be written either.
        .log_internal_errors(false)
        .with_timer(ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".into()));
    let registry = tracing_subscriber::registry().with(filter);
    // A log that was started before is used as it is.
    let _ = match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
}

/// What `RUST_LOG` asks for: a level, or `target=level`, several of them between commas. What cannot be read is left out.
fn directives(wanted: &str) -> Targets {
    let parsed = wanted.split(',').filter_map(|directive| directive.trim().parse::<Targets>().ok());
    let mut filter = Targets::new();
    for targets in parsed {
        if let Some(level) = targets.default_level() {
            filter = filter.with_default(level);
        }
        filter = filter.with_targets(targets);
    }
    filter
}

/// Colours on a terminal that has some, unless `NO_COLOR` forbids or `CLICOLOR_FORCE` asks for them anywhere.
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
        for (wanted, ours, theirs) in [
            ("debug", true, true),
            ("fetchimg=debug", true, false),
            ("info,fetchimg=debug", true, false),
            ("off", false, false),
            ("nonsense[,fetchimg=debug", true, false),
        ] {
            let filter = directives(wanted);
            let enabled = ["fetchimg", "hyper"].map(|target| filter.would_enable(target, &Level::DEBUG));
            assert_eq!(enabled, [ours, theirs], "{wanted}");
        }
    }
}
