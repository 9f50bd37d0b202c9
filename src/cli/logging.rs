//! The log on standard error: `2026-03-30T19:21:02.370Z  INFO fetchimg: Downloaded: URL`.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::time::ChronoUtc;

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
        Ok(wanted) if !wanted.is_empty() => EnvFilter::new(wanted),
        // hickory warns of every packet that is not what it should be, in words from outside; it counts for nothing.
        _ if verbosity < 2 => {
            EnvFilter::new(format!("warn,hickory_net=off,hickory_proto=off,hickory_resolver=off,fetchimg={level}"))
        }
        _ => EnvFilter::new("trace"),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(screen)
        .with_ansi(colours())
        // Nobody has to read the log; it must not complain about that to the same place.
        .log_internal_errors(false)
        .with_timer(ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".into()));
    // A program that embeds this one may have a log already; then it is used.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Colours on a terminal that has some, unless `NO_COLOR` forbids or `CLICOLOR_FORCE` asks for them anywhere.
#[must_use]
pub fn colours() -> bool {
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    let forbidden = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    !forbidden && (set("CLICOLOR_FORCE") || (io::stderr().is_terminal() && !is_dumb))
}
