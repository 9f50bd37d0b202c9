//! Sets up the log on standard error.
//!
//! What is logged are events with fields (`event`, `url`, `host` and so on). As JSON a line has all of them; as text it is
//! their message, which is a sentence made of them.

use std::io::{self, IsTerminal};
use std::{env, fmt};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{ChronoUtc, FormatTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::args::LogFormat;
use crate::progress::{HEARTBEAT_TARGET, ProgressMode, Screen};
use crate::run::ROW_FAILED;

/// How much is logged.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    /// Of fetchimg's own log.
    own: LevelFilter,
    /// Of the line that says that the run goes on.
    heartbeat: LevelFilter,
}

impl Levels {
    /// The levels for this verbosity (see [`level`]). With `beats`, the heartbeat is logged whatever else is.
    #[must_use]
    pub const fn of(verbosity: i8, progress: ProgressMode, beats: bool) -> Self {
        let own = level(verbosity, progress);
        Self { own, heartbeat: if beats { LevelFilter::INFO } else { own } }
    }
}

/// The level of fetchimg's own log. `verbosity` is -1 for errors only, 0 for the usual log, 1 for details and 2 for each
/// request and its answer.
const fn level(verbosity: i8, progress: ProgressMode) -> LevelFilter {
    match (verbosity, progress) {
        (..=-1, _) => LevelFilter::ERROR,
        // The bar replaces the log line of each image.
        (0, ProgressMode::Bar | ProgressMode::Off) => LevelFilter::WARN,
        (0, ProgressMode::Log) => LevelFilter::INFO,
        (1, _) => LevelFilter::DEBUG,
        (2.., _) => LevelFilter::TRACE,
    }
}

/// Whether failures are summed up by host and kind at the end of the run instead of row by row: on a terminal, unless
/// something asks for the log.
#[must_use]
pub fn groups_failures(verbosity: i8, progress: ProgressMode, format: LogFormat) -> bool {
    let is_log = progress == ProgressMode::Log || verbosity > 0 || format == LogFormat::Json || directives().is_some();
    io::stderr().is_terminal() && !is_log
}

/// Starts the log. `RUST_LOG` overrides the level, and is the only way to the log of the libraries. With
/// `leaves_out_failures`, failed rows have no lines.
pub fn start(levels: Levels, leaves_out_failures: bool, format: LogFormat, screen: Screen) {
    let filter = match directives() {
        Some(list) => parse_directives(&list),
        // hickory warns about every malformed packet, which is harmless, and quotes text from outside.
        None => Targets::new()
            .with_default(LevelFilter::WARN)
            .with_targets(["hickory_net", "hickory_proto", "hickory_resolver"].map(|name| (name, LevelFilter::OFF)))
            // It says which requests to a store are repeated, and why.
            .with_target(
                "object_store",
                if levels.own >= LevelFilter::DEBUG { LevelFilter::INFO } else { LevelFilter::WARN },
            )
            .with_target(TARGET, levels.own)
            .with_target(HEARTBEAT_TARGET, levels.heartbeat),
    };
    let is_wanted = filter_fn(move |event| !leaves_out_failures || event.name() != ROW_FAILED);
    let timer = ChronoUtc::new("%Y-%m-%dT%H:%M:%S%.3fZ".into());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(screen)
        .with_ansi(colours())
        // An error of a write to the log cannot be logged either.
        .log_internal_errors(false)
        .with_timer(timer.clone());
    let registry = tracing_subscriber::registry().with(filter).with(is_wanted);
    // This fails when a log has been started before; that one is used then.
    let _ = match format {
        LogFormat::Text => registry.with(layer.map_event_format(|others| TextFormat { timer, others })).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
}

/// The value of `RUST_LOG`, if there is one.
fn directives() -> Option<String> {
    env::var("RUST_LOG").ok().filter(|list| !list.is_empty())
}

/// The target of all events of this program.
const TARGET: &str = "fetchimg";

/// Events as lines of text: `2026-03-30T19:21:02.370Z  INFO fetchimg: Downloaded: URL -> images/a.jpg`. The message of an
/// event of this program says what its fields say; those of the libraries are shown with their fields.
struct TextFormat<F> {
    timer: ChronoUtc,
    /// The format of the libraries' events.
    others: F,
}

impl<S, N, F> FormatEvent<S, N> for TextFormat<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        if ![TARGET, HEARTBEAT_TARGET].contains(&metadata.target()) {
            return self.others.format_event(context, writer, event);
        }
        let (dim, plain) = if writer.has_ansi_escapes() { ("\u{1b}[2m", "\u{1b}[0m") } else { ("", "") };
        writer.write_str(dim)?;
        self.timer.format_time(&mut writer)?;
        let level = *metadata.level();
        let colour = match level {
            _ if dim.is_empty() => "",
            Level::ERROR => "\u{1b}[31m",
            Level::WARN => "\u{1b}[33m",
            Level::INFO => "\u{1b}[32m",
            Level::DEBUG => "\u{1b}[34m",
            _ => "\u{1b}[35m",
        };
        write!(writer, "{plain} {colour}{level:>5}{plain} {dim}{TARGET}{plain}{dim}:{plain} ")?;
        let mut message = Message { writer: &mut writer, result: Ok(()) };
        event.record(&mut message);
        message.result?;
        writeln!(writer)
    }
}

/// Writes the message of an event.
struct Message<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for Message<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.result = write!(self.writer, "{value:?}");
        }
    }
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
