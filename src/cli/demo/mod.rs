//! `--demo`: the whole program at work, with no internet.
//!
//! A server on loopback plays the host of the tutorial ([`server`]), with one drawn picture for each of its URLs
//! ([`pictures`]). The program then does what it does for the command line that is shown, and the files it leaves are
//! compared with what the server sent.

mod pictures;
mod server;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{panic, thread};

use tempfile::TempDir;

use self::server::{FIRST_BYTE_AFTER, Server};
use super::args::Args;
use super::{carry_out, complain, parse, say};
use crate::record::{BoxError, Exit};

/// The list of the tutorial. It is in the program, which then needs no checkout.
const LIST: &str = include_str!("../../../urls.txt");
const ORIGIN: &str = "https://codeflex.co";
const HOST: &str = "codeflex.co";
/// Not the folder of the real run in the README: its images would be taken for saved ones there.
const OUTPUT: &str = "demo_images";

/// One file of the site.
struct Picture {
    /// The path of its URL.
    path: String,
    content_type: &'static str,
    file: Vec<u8>,
}

impl Picture {
    fn draw(number: usize, path: &str) -> Result<Self, BoxError> {
        let canvas = pictures::draw(number);
        let is_png = Path::new(path).extension().is_some_and(|extension| extension == "png");
        let (content_type, file) = if is_png { ("image/png", canvas.png()?) } else { ("image/jpeg", canvas.jpeg()?) };
        Ok(Self { path: path.to_owned(), content_type, file })
    }

    /// The name of the file that it becomes.
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Runs the demonstration. `line` is the command line that asked for it, `typed` what it says.
pub fn demonstrate(line: Vec<OsString>, typed: &Args) -> Exit {
    if let Some(input) = typed.input.first() {
        let input = input.display();
        let sentence =
            format!("--demo brings its own list; leave out {input}, or leave out --demo to fetch what it lists");
        return complain(&sentence, Exit::Usage);
    }
    let demo = match Demo::start() {
        Ok(demo) => demo,
        Err(error) => return complain(&format!("the demonstration cannot start: {error}"), Exit::Aborted),
    };
    let line = demo.command_line(line, typed);
    let args = match parse(line.iter().cloned()) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    let tell = |text: &str| {
        if !typed.quiet {
            say(text);
        }
    };
    let (address, wait) = (demo.server.address, FIRST_BYTE_AFTER.as_millis());
    tell(&format!("A server on loopback ({address}) plays {HOST}; each of its answers waits {wait} ms."));
    tell(&format!("$ {}\n\n", line.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")));

    let output = keeps_files_as_sent(&args).then(|| args.output.clone());
    let exit = carry_out(args);
    let Some(output) = output.filter(|_| exit == Exit::Clean) else { return exit };
    let differences = differences(&demo.pictures, &output);
    if !differences.is_empty() {
        return complain(&differences.join("\n"), Exit::SomeFailed);
    }
    let count = demo.pictures.len();
    tell(&format!("\nAll {count} files in {} are byte for byte what the server sent.", output.display()));
    exit
}

/// The server, and the files that a run needs to fetch from it.
struct Demo {
    pictures: Arc<[Picture]>,
    server: Server,
    /// Holds the list and the certificate of the server; removed at the end.
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

    /// What a user would type to fetch the list from this server, with all that was typed beside `--demo` at its end.
    fn command_line(&self, line: Vec<OsString>, typed: &Args) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["fetchimg".into(), self.list().into()];
        if !typed.output_is_given {
            words.extend(["-o".into(), OUTPUT.into()]);
        }
        let another_mode = typed.sequential || typed.concurrency_is_given || typed.dry_run || typed.sample.is_some();
        if !another_mode {
            words.push("--compare".into());
        }
        let address = self.server.address;
        let resolve = format!("{HOST}:443:{}:{}", address.ip(), address.port());
        words.extend(["--overwrite".into(), "--resolve".into(), resolve.into()]);
        words.extend(["--cacert".into(), self.certificate().into()]);
        // A proxy that the environment names does not reach this loopback.
        words.push("--proxy=".into());
        words.extend(line.into_iter().skip(1).filter(|word| word != "--demo"));
        words
    }
}

/// Draws a picture for each line of the list, all at the same time.
fn draw_all() -> Result<Vec<Picture>, BoxError> {
    let paths = LIST.lines().filter_map(|line| line.strip_prefix(ORIGIN));
    thread::scope(|scope| {
        let threads: Vec<_> =
            paths.enumerate().map(|(number, path)| scope.spawn(move || Picture::draw(number, path))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|defect| panic::resume_unwind(defect))).collect()
    })
}

/// An argument as a shell reads it.
fn quoted(argument: &OsStr) -> String {
    let text = argument.to_string_lossy();
    let is_plain = |character: char| character.is_alphanumeric() || "-_./:=,@%+".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Whether every picture becomes a file with its name and its bytes.
fn keeps_files_as_sent(args: &Args) -> bool {
    let is_made_anew = args.resize.is_some() || args.encode.is_some();
    let is_a_part = args.dry_run || args.sample.is_some();
    args.name == "{basename}" && !is_made_anew && !is_a_part
}

/// One sentence for each file in `folder` that is not what the server sent.
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
    fn files_are_compared_where_they_ought_to_be_what_the_server_sent() {
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

    #[test]
    fn the_command_line_that_is_shown_can_be_typed() {
        for (argument, word) in [
            ("--proxy=", "--proxy="),
            ("", "''"),
            ("Accept: a/b", "'Accept: a/b'"),
            ("{stem}", "'{stem}'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(OsStr::new(argument)), word);
        }
    }
}
