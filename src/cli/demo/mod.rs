//! `--demo`: a demonstration of the whole program without the internet.
//!
//! A server on loopback stands in for the host of the tutorial ([`server`]), with a drawn picture for each of its URLs
//! ([`pictures`]). The program then executes the command line that it shows, and compares the files with what the
//! server sent.

mod pictures;
mod server;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{panic, thread};

use tempfile::TempDir;

use self::server::{FIRST_BYTE_DELAY, Server};
use super::args::Args;
use super::{execute, parse, print_error, print_lines};
use crate::record::{BoxError, Exit};
use crate::util::shell::quoted;

/// The list of the tutorial, embedded so that an installed program needs no checkout.
const LIST: &str = include_str!("../../../urls.txt");
const ORIGIN: &str = "https://codeflex.co";
const HOST: &str = "codeflex.co";
/// Not the folder that the README uses for the real images: a later run there would take the drawn pictures for them.
const OUTPUT: &str = "demo_images";

/// One file on the server.
struct Picture {
    /// Path of its URL.
    path: String,
    content_type: &'static str,
    file: Vec<u8>,
}

impl Picture {
    /// Draws the picture for line `number` of the list, in the format that the extension of `path` names.
    fn draw(number: usize, path: &str) -> Result<Self, BoxError> {
        let canvas = pictures::draw(number);
        let is_png = Path::new(path).extension().is_some_and(|extension| extension == "png");
        let (content_type, file) = if is_png { ("image/png", canvas.png()?) } else { ("image/jpeg", canvas.jpeg()?) };
        Ok(Self { path: path.to_owned(), content_type, file })
    }

    /// Name of the downloaded file.
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Runs the demonstration. `command_line` is the one with `--demo`, and `typed` its parsed form.
pub fn run(command_line: Vec<OsString>, typed: &Args) -> Exit {
    if let Some(input) = typed.input.first() {
        let input = input.display();
        let sentence =
            format!("--demo brings its own list; leave out {input}, or leave out --demo to fetch what it lists");
        return print_error(&sentence, Exit::Usage);
    }
    let demo = match Demo::start() {
        Ok(demo) => demo,
        Err(error) => return print_error(&format!("the demonstration cannot start: {error}"), Exit::Aborted),
    };
    let command_line = demo.command_line(command_line, typed);
    let args = match parse(command_line.iter().cloned()) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    let announce = |text: &str| {
        if !typed.quiet {
            print_lines(text);
        }
    };
    let (address, wait) = (demo.server.address, FIRST_BYTE_DELAY.as_millis());
    announce(&format!("A server on loopback ({address}) plays {HOST}; each of its answers waits {wait} ms."));
    announce(&format!(
        "$ {}\n\n",
        command_line.iter().map(|word| quoted(&word.to_string_lossy()).into_owned()).collect::<Vec<_>>().join(" ")
    ));

    let output = keeps_files_as_sent(&args).then(|| args.output.clone());
    let exit = execute(args);
    let Some(output) = output.filter(|_| exit == Exit::Clean) else { return exit };
    let differences = differences(&demo.pictures, &output);
    if !differences.is_empty() {
        return print_error(&differences.join("\n"), Exit::SomeFailed);
    }
    let count = demo.pictures.len();
    announce(&format!("\nAll {count} files in {} are byte for byte what the server sent.", output.display()));
    exit
}

/// The running server, and the files that a run needs to fetch from it.
struct Demo {
    pictures: Arc<[Picture]>,
    server: Server,
    /// Holds the list and the certificate of the server. Removed when dropped.
    folder: TempDir,
}

impl Demo {
    fn start() -> Result<Self, BoxError> {
        let folder = tempfile::Builder::new().prefix("fetchimg-demo-").tempdir()?;
        let pictures: Arc<[Picture]> = draw_all()?.into();
        let server = Server::start(Arc::clone(&pictures))?;
        let demo = Self { pictures, server, folder };
        fs::write(demo.list(), LIST)?;
        fs::write(demo.certificate(), &demo.server.certificate)?;
        Ok(demo)
    }

    fn list(&self) -> PathBuf {
        self.folder.path().join("urls.txt")
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// The command line that fetches the list from this server. All other words of the one with `--demo` are added at
    /// its end.
    fn command_line(&self, original: Vec<OsString>, typed: &Args) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["fetchimg".into(), self.list().into()];
        if !typed.output_is_given {
            words.extend(["-o".into(), OUTPUT.into()]);
        }
        let other_mode = typed.sequential || typed.concurrency_is_given || typed.dry_run || typed.sample.is_some();
        if !other_mode {
            words.push("--compare".into());
        }
        let address = self.server.address;
        let resolve = format!("{HOST}:443:{}:{}", address.ip(), address.port());
        words.extend(["--overwrite".into(), "--resolve".into(), resolve.into()]);
        words.extend(["--cacert".into(), self.certificate().into()]);
        // A proxy from the environment could not reach this loopback server.
        words.push("--proxy=".into());
        words.extend(original.into_iter().skip(1).filter(|word| word != "--demo"));
        words
    }
}

/// Draws a picture for each line of the list, each in a thread of its own.
fn draw_all() -> Result<Vec<Picture>, BoxError> {
    let paths = LIST.lines().filter_map(|line| line.strip_prefix(ORIGIN));
    thread::scope(|scope| {
        let threads: Vec<_> =
            paths.enumerate().map(|(number, path)| scope.spawn(move || Picture::draw(number, path))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
            .collect()
    })
}

/// Whether the run stores every picture under its own name and with unchanged bytes.
fn keeps_files_as_sent(args: &Args) -> bool {
    let is_encoded_again = args.resize.is_some() || args.encode.is_some();
    let is_partial = args.dry_run || args.sample.is_some();
    args.name == "{basename}" && !is_encoded_again && !is_partial
}

/// One sentence for each file in `folder` that differs from what the server sent, or cannot be read.
fn differences(pictures: &[Picture], folder: &Path) -> Vec<String> {
    let compare = |picture: &Picture| {
        let path = folder.join(picture.name());
        match fs::read(&path) {
            Ok(bytes) if bytes == picture.file => None,
            Ok(_) => Some(format!("{} differs from what the server sent", path.display())),
            Err(error) => Some(format!("cannot read {}: {error}", path.display())),
        }
    };
    pictures.iter().filter_map(compare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_url_of_the_list_has_a_picture_like_those_of_the_tutorial() {
        let pictures = draw_all().expect("pictures");
        assert_eq!(pictures.len(), LIST.lines().count());
        for picture in &pictures {
            let bytes = picture.file.len();
            assert!((40_000..=110_000).contains(&bytes), "{}: {bytes} bytes", picture.name());
        }
    }

    #[test]
    fn a_file_that_is_not_what_the_server_sent_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let picture = |name: &str| Picture { path: format!("/a/{name}"), content_type: "image/png", file: vec![1, 2] };
        fs::write(folder.path().join("same"), [1, 2]).expect("written");
        fs::write(folder.path().join("other"), [1, 3]).expect("written");
        let differences = differences(&["same", "other", "missing"].map(picture), folder.path());
        assert_eq!(differences.len(), 2, "{differences:?}");
        assert!(differences[0].ends_with("other differs from what the server sent"), "{differences:?}");
        assert!(differences[1].contains("missing: "), "{differences:?}");
    }

    #[test]
    fn files_are_compared_only_when_the_run_keeps_names_and_bytes() {
        for (line, compared) in [
            ("--demo", true),
            ("--demo --sequential -o elsewhere --hash sha256", true),
            ("--demo --name {index}.{ext}", false),
            ("--demo --resize 256", false),
            ("--demo --encode webp", false),
            ("--demo --dry-run", false),
            ("--demo --sample 2", false),
        ] {
            let words = ["fetchimg"].into_iter().chain(line.split_whitespace()).map(OsString::from);
            let args = Args::parse_line(words).expect("a command line");
            assert_eq!(keeps_files_as_sent(&args), compared, "{line}");
        }
    }
}
