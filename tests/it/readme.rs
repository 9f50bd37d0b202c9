//! The README and the manual say what the program says, and their links lead to files that are there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use fetchimg::internals::record::ErrorKind;

use crate::common::fetchimg;

const README: &str = include_str!("../../README.md");
const OPTIONS: &str = include_str!("../../src/manual/options.md");
const RECORDS: &str = include_str!("../../src/manual/records.md");
const MANUAL_MODULE: &str = include_str!("../../src/manual/mod.rs");

/// A page that people read, and where it is.
struct Page {
    path: PathBuf,
    text: String,
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, text }
    }

    /// Its lines without those of its code blocks.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut is_code = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
    }

    /// The targets of its links: `[text](target)` and `[label]: target`.
    fn targets(&self) -> impl Iterator<Item = &str> {
        let inline = self.prose().flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
        inline.chain(self.definitions().map(|(_, target)| target))
    }

    fn definitions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.prose().filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
    }

    /// The labels that its links name: `[text][label]`.
    fn labels(&self) -> impl Iterator<Item = &str> {
        self.prose().flat_map(|line| line.split("][").skip(1).filter_map(|rest| rest.split(']').next()))
    }
}

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn manual() -> Vec<Page> {
    let files = fs::read_dir(at_root("src/manual")).expect("the manual").map(|entry| entry.expect("a file").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).map(Page::read).collect()
}

/// `WRITE_HELP=1` writes the help into the manual instead of comparing the two.
#[test]
fn the_manual_shows_the_help() {
    const OPEN: &str = "```text\n";
    let run = fetchimg().arg("-h").run();
    assert_eq!(run.status, Some(0), "{run}");
    let help = run.stdout.trim();
    let (before, rest) = OPTIONS.split_once(OPEN).expect("a block with the help");
    let (shown, after) = rest.split_once("\n```").expect("its end");
    if env::var_os("WRITE_HELP").is_some() {
        fs::write(at_root("src/manual/options.md"), format!("{before}{OPEN}{help}\n```{after}")).expect("write");
    } else {
        assert_eq!(shown, help, "WRITE_HELP=1 cargo test --test it the_manual_shows_the_help");
    }
}

#[test]
fn every_exit_status_and_every_error_is_listed() {
    let run = fetchimg().arg("--help").run();
    for status in ["| 0 |", "| 1 |", "| 2 |", "| 3 |", "| 129, 130, 143 |"] {
        assert!(README.contains(status) && OPTIONS.contains(status), "{status}");
    }
    assert!(run.stdout.contains("129") && run.stdout.contains("130") && run.stdout.contains("143"), "{run}");
    let kinds = ErrorKind::WITHOUT_STATUS.map(ErrorKind::name);
    for kind in kinds.iter().chain(&["http_status"]) {
        assert!(RECORDS.contains(&format!("| `{kind}` |")), "{kind}");
    }
}

#[test]
fn every_flag_is_explained_in_the_readme_or_the_manual() {
    let run = fetchimg().arg("--help").run();
    let mut pages = manual();
    pages.push(Page::read(at_root("README.md")));
    // Words in code, such as `--rate N` or `-q`, and not those of the help itself.
    let prose = pages.iter().flat_map(Page::prose).flat_map(|line| line.split('`').skip(1).step_by(2));
    let said = prose.flat_map(|code| code.split([' ', ','])).collect::<BTreeSet<_>>();
    let flags = run.stdout.lines().map(str::trim_start).filter(|line| line.starts_with('-')).collect::<Vec<_>>();
    assert!(flags.len() > 60, "{run}");
    for line in flags {
        // `-v, --verbose...`, `-o, --output <DIR>`
        let names = line.split([' ', ',']).take_while(|name| name.is_empty() || name.starts_with('-'));
        let mut names = names.map(|name| name.trim_end_matches("..."));
        assert!(names.any(|name| !name.is_empty() && said.contains(name)), "{line}");
    }
}

#[test]
fn the_readme_is_short() {
    assert!(README.lines().count() <= 250, "{} lines", README.lines().count());
    for line in README.lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
}

#[test]
fn the_readme_links_to_every_page_of_the_manual() {
    let manual = manual();
    assert!(manual.len() > 8, "{} pages", manual.len());
    for page in manual {
        let name = page.path.file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(README.contains(&format!("| [{name}](src/manual/{name}.md) |")), "{name}");
        assert!(MANUAL_MODULE.contains(&format!("//! - [`{name}`]: ")), "{name}");
    }
}

#[test]
fn every_link_leads_to_a_file() {
    let mut pages = manual();
    let others = ["README.md", "benches/README.md", "tests/FAULTS.md", "tests/images/README.md"];
    pages.extend(others.map(|path| Page::read(at_root(path))));
    for page in &pages {
        let shown = page.path.display();
        for target in page.targets().filter(|target| !target.starts_with("https://")) {
            let file = page.path.with_file_name(target);
            assert!(file.is_file(), "{shown}: {target}");
        }
        let definitions = page.definitions().map(|(label, _)| label).collect::<BTreeSet<_>>();
        for label in page.labels() {
            assert!(definitions.contains(label), "{shown}: [{label}]");
        }
        // rustdoc does not show the files beside each other, so each definition has another one there.
        if page.path.starts_with(at_root("src/manual")) {
            for label in definitions {
                assert!(MANUAL_MODULE.contains(&format!("\"[{label}]: ")), "{shown}: [{label}]");
            }
        }
    }
}

#[test]
fn the_texts_of_the_licences_are_there() {
    assert!(README.contains("[MIT](LICENSE-MIT) or [Apache-2.0](LICENSE-APACHE)"));
    for (file, words) in
        [("LICENSE-MIT", "Permission is hereby granted"), ("LICENSE-APACHE", "Version 2.0, January 2004")]
    {
        assert!(Page::read(at_root(file)).text.contains(words), "{file}");
    }
}

#[test]
fn the_list_is_the_tutorials() {
    let list = include_str!("../../urls.txt");
    assert_eq!(list.lines().count(), 5);
    assert!(list.lines().all(|line| line.starts_with("https://codeflex.co/wp-content/uploads/")));
}
