//! The command-line program: flags, logging, signals and the exit status. The library works without this folder.
//!
//! [`main`] is the whole program: it parses the command line (`args`), turns it into options (`config`), and starts
//! `crate::run` with them.

mod args;
mod command_line;
mod config;
mod demo;
mod fd_limit;
mod habits;
mod logging;
mod signals;

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::Arc;

use console::Term;

use self::args::Args;
use self::config::{Config, LogOptions};
use self::logging::Levels;
use self::signals::Signals;
use crate::progress::{Display, Screen, TerminalStyle};
use crate::record::{Exit, RunError};
use crate::run::shutdown::Stop;
use crate::run::{self, dry_run, status, verify};
use crate::util::redact::escaped;
use crate::util::wrap::wrapped;

/// Runs the program for a command line, whose first word is the program's name, and returns the exit status.
#[must_use]
pub fn main(command_line: Vec<OsString>) -> Exit {
    match parse(command_line.iter().cloned()) {
        Ok(args) if args.demo => demo::run(command_line, &args),
        Ok(args) if args.retry_failed => match config::with_flags_of_set(command_line, &args).map(parse) {
            Ok(Ok(args)) => execute(args),
            Ok(Err(exit)) => exit,
            Err(error) => print_error(&error, Exit::Aborted),
        },
        Ok(args) => execute(args),
        Err(exit) => exit,
    }
}

/// Parses the command line. When it asks for help or is wrong, prints that and returns the exit status as the error.
fn parse(command_line: impl IntoIterator<Item = OsString>) -> Result<Args, Exit> {
    Args::parse_line(command_line).map_err(|error| {
        error.print();
        if error.is_mistake() { Exit::Usage } else { Exit::Clean }
    })
}

/// Executes a command line: prints a document, or runs.
fn execute(args: Args) -> Exit {
    match args.document() {
        Ok(None) => {}
        Ok(Some(document)) => return print_document(&document),
        Err(error) => return print_error(&RunError::System(error), Exit::Aborted),
    }
    if args.verify_output {
        let verified = config::existing_output(&args).map(|output| verify::run(&output, args.state.as_deref()));
        return match verified {
            Ok(Ok(exit)) => exit,
            Ok(Err(error)) => print_error(&error, Exit::Aborted),
            Err(error) => print_error(&error, Exit::Usage),
        };
    }
    if args.status {
        return show_status(&args);
    }
    let mut config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => return print_error(&error, Exit::Usage),
    };
    let LogOptions { verbosity, format, progress, heartbeat } = config.log;
    let groups_failures = !config.dry_run && logging::groups_failures(verbosity, progress, format);
    let style = TerminalStyle::of_locale(logging::colours());
    let screen = Screen::new(progress, style).grouping_failures(groups_failures).beating(heartbeat);
    let levels = Levels::of(verbosity, progress, heartbeat.is_some());
    logging::start(levels, groups_failures, format, screen.clone());
    if let Err(error) = screen.beat() {
        return print_error(&RunError::System(error), Exit::Aborted);
    }
    if !config.dry_run {
        fd_limit::apply(&mut config.run);
    }
    supervise(config, &screen).unwrap_or_else(|error| print_error(&RunError::System(error), Exit::Aborted))
}

/// Shows what is there now (`--status`).
fn show_status(args: &Args) -> Exit {
    match config::status_options(args) {
        Ok(options) => status::status(&options).unwrap_or_else(|error| print_error(&error, Exit::Aborted)),
        Err(error) => print_error(&error, Exit::Usage),
    }
}

/// Runs until the run ends or a second signal arrives. The run may be blocked in a write to a pipe that is no longer
/// read, and a second signal has to end the program even then. So this thread waits for signals in a runtime of its
/// own.
///
/// The run itself is a task in the runtime of the downloads. A download and the run can then exchange data on one
/// thread, without a wake-up of another thread.
fn supervise(config: Config, screen: &Screen) -> io::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let signal_runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = Arc::new(Stop::default());
    let ended = signal_runtime.block_on(async {
        let signals = Signals::catch()?;
        let run = runtime.spawn({
            let (stop, screen) = (Arc::clone(&stop), screen.clone());
            async move {
                if config.dry_run {
                    dry_run::run(&config.run, &stop).await
                } else {
                    run::run(&config.run, &Display::Screen(screen), &stop).await
                }
            }
        });
        Ok::<_, io::Error>(tokio::select! {
            ended = run => match ended {
                Ok(Ok(exit)) => exit,
                Ok(Err(error)) => print_error(&error, Exit::Aborted),
                // The run panicked; the panic hook has printed why.
                Err(_) => Exit::Aborted,
            },
            exit = signals.end_run(&stop) => exit,
        })
    });
    screen.close();
    // Blocking threads may still be busy, with a lookup by the system's resolver or a write of the log. Do not wait for
    // them.
    runtime.shutdown_background();
    signal_runtime.shutdown_background();
    ended
}

/// Prints a document on standard output.
fn print_document(document: &[u8]) -> Exit {
    let mut stdout = io::stdout();
    match stdout.write_all(document).and_then(|()| stdout.flush()) {
        // A closed pipe means that the reader does not want the rest.
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            print_error(&RunError::Output { path: "standard output".into(), source }, Exit::Aborted)
        }
        _ => Exit::Clean,
    }
}

/// Prints an error and returns `exit`. The text may quote input; control characters are escaped.
fn print_error(error: &dyn std::fmt::Display, exit: Exit) -> Exit {
    print_lines(&format!("fetchimg: {error}"));
    exit
}

/// Prints lines on standard error, broken at blanks where that is a terminal. The text may quote input; control characters
/// are escaped.
fn print_lines(text: &str) {
    let columns = Term::stderr().size_checked().map(|(_, width)| usize::from(width).max(MIN_COLUMNS));
    for line in text.lines() {
        let line = escaped(line);
        // A command is there to be copied, and what is indented is laid out.
        let is_laid_out = line.starts_with(['$', ' ']);
        let is_long = |columns: &usize| line.chars().count() > *columns && !is_laid_out;
        let text = match columns.filter(is_long) {
            Some(columns) => wrapped(&line, columns, "", 2).join("\n"),
            None => line.into_owned(),
        };
        // There is no other place to report that standard error is closed.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// A terminal with fewer columns breaks lines itself.
const MIN_COLUMNS: usize = 20;
