//! What is typed at a terminal: the command line, the log, signals, and the exit status. The library does without it.
//!
//! [`main`] is the whole program: it reads the command line (`args`), makes of it what is meant (`config`), and lets
//! [`crate::run`] do it.

mod args;
mod config;
mod demo;
mod fd_limit;
mod logging;
mod signals;

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::Arc;

use self::args::Args;
use self::config::{Config, Log};
use self::signals::Signals;
use crate::progress::{Display, Screen, TerminalStyle};
use crate::record::{Exit, RunError};
use crate::run::shutdown::Stop;
use crate::run::{self, dry_run};
use crate::util::redact::escaped;

/// The whole program: a command line, the program's name first, to an exit status.
#[must_use]
pub fn main(line: Vec<OsString>) -> Exit {
    match parse(line.iter().cloned()) {
        Ok(args) if args.demo => demo::demonstrate(line, &args),
        Ok(args) => carry_out(args),
        Err(exit) => exit,
    }
}

/// The command line as [`Args`]. Where it asks for help or is wrong, that is printed, and the exit for it comes back.
fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Args, Exit> {
    Args::parse_line(line).map_err(|error| {
        error.print();
        if error.is_mistake() { Exit::Usage } else { Exit::Clean }
    })
}

/// Does what was asked for: prints a document, or runs.
fn carry_out(args: Args) -> Exit {
    match args.document() {
        Ok(None) => {}
        Ok(Some(document)) => return print(&document),
        Err(error) => return complain(&RunError::System(error), Exit::Aborted),
    }
    let mut config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => return complain(&error, Exit::Usage),
    };
    let Log { verbosity, format, show } = config.log;
    let screen = Screen::new(show, TerminalStyle::of_locale(logging::colours()));
    logging::start(verbosity, show, format, screen.clone());
    if !config.dry_run {
        fd_limit::apply(&mut config.run);
    }
    supervise(config, &screen).unwrap_or_else(|error| complain(&RunError::System(error), Exit::Aborted))
}

/// Lets the run go on and waits for it or for a second signal, whichever comes first: a run may be stuck in a write to
/// somebody who has stopped reading, and has to be left all the same. So signals have a thread of their own, this one.
///
/// The run itself is a task among those of the downloads: what a download hands over, it takes on the same thread, and
/// nobody has to be woken for that.
fn supervise(config: Config, screen: &Screen) -> io::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let watch = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = Arc::new(Stop::default());
    let ended = watch.block_on(async {
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
                Ok(Err(error)) => complain(&error, Exit::Aborted),
                // A defect, which has told about itself.
                Err(_) => Exit::Aborted,
            },
            exit = signals.end_run(&stop) => exit,
        })
    });
    screen.close();
    // A lookup by the system's resolver may still hold a thread, or the reader of a log; nobody waits for them any more.
    runtime.shutdown_background();
    watch.shutdown_background();
    ended
}

/// Prints a document that was asked for.
fn print(document: &[u8]) -> Exit {
    let mut stdout = io::stdout();
    match stdout.write_all(document).and_then(|()| stdout.flush()) {
        // Whoever has closed the pipe does not want the rest.
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => {
            complain(&RunError::Output { path: "standard output".into(), source }, Exit::Aborted)
        }
        _ => Exit::Clean,
    }
}

/// The last word. It may quote what was typed or read.
fn complain(error: &dyn std::fmt::Display, exit: Exit) -> Exit {
    say(&format!("fetchimg: {error}"));
    exit
}

/// Prints on standard error. The text may quote what was typed or read.
fn say(text: &str) {
    for line in text.lines() {
        // Whoever has closed standard error does not want to know.
        let _ = writeln!(io::stderr(), "{}", escaped(line));
    }
}
