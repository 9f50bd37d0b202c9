//! Who may import whom. The table is that of the design; a new arrow is a decision, and is made here.
//!
//! What is read are the paths that begin in `crate::`, and in as many `super::` as lead out of a folder, in imports and in
//! the middle of the code; comments and strings do not count. Unit tests are held to the same table, but for [`IN_TESTS`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a part of the crate may import beside itself.
enum Allowed {
    /// Everything in these folders.
    Folders(&'static [&'static str]),
    /// `run`, `record` and `util`, and of the other folders types and constants, of which options are made. Functions, which
    /// do the work, are for `run`.
    RunAndOptions,
    /// Everything: it re-exports.
    All,
}

use Allowed::{All, Folders, RunAndOptions};

/// Every entry of `src`.
const TABLE: [(&str, Allowed); 17] = [
    ("util", Folders(&[])),
    ("record", Folders(&["util"])),
    ("limiter", Folders(&["record", "util"])),
    ("http", Folders(&["record", "util"])),
    ("image", Folders(&["record", "util"])),
    ("input", Folders(&["record", "util"])),
    ("naming", Folders(&["record", "util"])),
    ("journal", Folders(&["record", "util"])),
    ("progress", Folders(&["record", "util"])),
    ("report", Folders(&["record", "util"])),
    ("sink", Folders(&["record", "util"])),
    ("fetch", Folders(&["limiter", "http", "image", "naming", "sink", "progress", "record", "util"])),
    (
        "run",
        Folders(&[
            "fetch", "limiter", "http", "image", "input", "naming", "journal", "progress", "report", "sink", "record",
            "util",
        ]),
    ),
    ("cli", RunAndOptions),
    ("main", Folders(&["cli"])),
    ("lib", All),
    // Text alone.
    ("manual", Folders(&[])),
];

/// What unit tests in a file may import besides, and why.
const IN_TESTS: [(&str, &str, &str); 2] = [
    ("http/same_host.rs", "limiter", "holds both to one idea of what a host is, which neither takes from the other"),
    (
        "limiter/queue.rs",
        "run",
        "lets the scheduler that the queue is written for draw from it, with thousands of rows",
    ),
];

/// A path that leads from one part of the crate into it again.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    line: usize,
    /// The segments after `crate`.
    path: Vec<String>,
}

#[test]
fn imports_follow_the_table() {
    let files = sources();
    assert!(files.len() > 50, "only {} files were read", files.len());
    let complaints = files.iter().flat_map(|(path, text)| complaints(path, text)).collect::<Vec<_>>();
    assert!(complaints.is_empty(), "{} forbidden imports:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn a_forbidden_import_is_found_wherever_it_stands() {
    for (file, text, expected) in [
        ("util/redact.rs", "use crate::record::Job;", "src/util/redact.rs:1: util imports crate::record::Job"),
        (
            "http/mod.rs",
            "//! Uses [`crate::fetch`].\nuse std::io;\nuse crate::{\n    limiter::Options,\n    record::{Job, Record},\n};",
            "src/http/mod.rs:4: http imports crate::limiter::Options",
        ),
        (
            "image/png.rs",
            "fn f() { let x = \"crate::http\"; crate::http::get(x) }",
            ":1: image imports crate::http::get",
        ),
        ("sink/folder/wal.rs", "use super::super::super::journal::Journal;", "sink imports crate::journal::Journal"),
        ("sink/mod.rs", "mod tests {\n    use super::super::fetch;\n}", ":2: sink imports crate::fetch"),
        ("run/mod.rs", "use crate::cli::Args;", "run imports crate::cli::Args"),
        ("cli/args.rs", "use crate::http::{Options, retry};", "cli imports crate::http::retry"),
        (
            "cli/args.rs",
            "use crate::http::{self, Options};\nfn f() { http::get(1) }",
            ":2: cli imports crate::http::get",
        ),
        ("naming/mod.rs", "use crate::Exit;", "naming imports crate::Exit"),
        ("drawer/mod.rs", "", "src/drawer/mod.rs: the table says nothing of drawer"),
        ("main.rs", "fn main() { fetchimg::run::start() }", "main imports crate::run::start"),
    ] {
        let found = complaints(file, text);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}\n{found:?}");
    }
    for (file, text) in [
        ("util/redact.rs", "// crate::record\n/* crate::run /* */ crate::run */ const C: char = '\"'; // crate::fetch"),
        ("http/client.rs", "pub(in crate::http) use super::retry; use crate::http::pool; use crate::record::Job;"),
        ("sink/folder/wal.rs", "use super::super::body::Body;\nmod tests {\n    use super::super::super::body;\n}"),
        ("cli/args.rs", "use crate::http::{MAX_REDIRECTS, Options}; use crate::run::start;"),
        ("cli/args.rs", "use crate::http::{self, retry}; fn f() { (http::Options::default(), retry::Policy) }"),
        ("http/same_host.rs", "#[cfg(test)]\nmod tests {\n    use crate::limiter::HostKey;\n}"),
        ("lib.rs", "pub use crate::run::Options;"),
        ("main.rs", "fn main() { fetchimg::cli::main() }"),
    ] {
        assert_eq!(complaints(file, text), [""; 0], "{text}");
    }
}

#[test]
fn the_source_folder_is_a_table_of_contents() {
    let entries = fs::read_dir(source_folder()).expect("src is there").flatten().collect::<Vec<_>>();
    assert!(entries.len() <= 17, "src has {} entries", entries.len());
    for entry in entries {
        let path = entry.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(TABLE.iter().any(|(part, _)| *part == name), "the table says nothing of src/{name}");
        if path.is_dir() && name != "manual" {
            let door = fs::read_to_string(path.join("mod.rs")).unwrap_or_default();
            let first = door.lines().next().unwrap_or_default();
            assert!(first.starts_with("//! ") && first.len() > 20, "src/{name}/mod.rs opens with {first:?}");
        }
    }
}

#[test]
fn the_private_folder_is_named_once() {
    let (mut places, mut files) = (Vec::new(), BTreeSet::new());
    for (path, text) in sources() {
        let code = Code::of(&text);
        let is_code = |start: usize| !code.is_comment[start] && !code.is_in_test(line_of(&text, start));
        if text.match_indices("\".fetchimg").any(|(start, _)| is_code(start)) {
            files.insert(path.clone());
        }
        for (start, _) in text.match_indices("\".fetchimg\"") {
            if !code.is_comment[start] && !code.is_in_test(line_of(&text, start)) {
                places.push(format!("src/{}:{}", path.display(), line_of(&text, start)));
            }
        }
    }
    assert_eq!(places.len(), 1, "\".fetchimg\" should be written in one place: {places:?}");
    assert_eq!(files, BTreeSet::from([Path::new("util/private_file.rs").to_owned()]), "one file names what is hidden");
}

/// The forbidden imports of a file below `src`, as they are told to people.
fn complaints(file: impl AsRef<Path>, text: &str) -> Vec<String> {
    let file = file.as_ref();
    let part = part_of(file);
    let Some((_, allowed)) = TABLE.iter().find(|(other, _)| *other == part) else {
        return vec![format!("src/{}: the table says nothing of {part}", file.display())];
    };
    let code = Code::of(text);
    let mut found = code.imports(file, text);
    if matches!(allowed, RunAndOptions) {
        found = found.iter().flat_map(|import| code.uses_of(text, import)).collect();
    }
    let is_excepted = |import: &Import| {
        let mut exceptions = IN_TESTS.iter().filter(|(other, ..)| Path::new(other) == file);
        code.is_in_test(import.line) && exceptions.any(|(_, folder, _)| *folder == import.path[0])
    };
    found
        .into_iter()
        .filter(|import| !is_allowed(&part, allowed, &import.path) && !is_excepted(import))
        .map(|import| {
            let path = import.path.join("::");
            format!("src/{}:{}: {part} imports crate::{path}, {}", file.display(), import.line, in_words(allowed))
        })
        .collect()
}

fn is_allowed(part: &str, allowed: &Allowed, path: &[String]) -> bool {
    let [folder, rest @ ..] = path else { return true };
    if folder == part {
        return true;
    }
    match allowed {
        All => true,
        Folders(folders) => folders.contains(&folder.as_str()),
        RunAndOptions if ["run", "record", "util"].contains(&folder.as_str()) => true,
        RunAndOptions => {
            let is_a_folder = TABLE.iter().any(|(other, _)| other == folder);
            is_a_folder && rest.iter().any(|name| name.starts_with(|letter: char| letter.is_uppercase()))
        }
    }
}

fn in_words(allowed: &Allowed) -> String {
    match allowed {
        All => "which may import everything".to_owned(),
        Folders([]) => "which may import nothing of ours".to_owned(),
        Folders(folders) => format!("which may import {}", folders.join(", ")),
        RunAndOptions => "which may import run, record, util, and types of the other folders".to_owned(),
    }
}

/// The first component of a path below `src`, without extension.
fn part_of(file: &Path) -> String {
    let first = file.components().next().expect("a file has a name");
    Path::new(first.as_os_str()).with_extension("").to_string_lossy().into_owned()
}

/// The text of a file taken apart as far as it matters here.
struct Code<'a> {
    /// Identifiers and signs outside of comments and strings, with their positions.
    words: Vec<(usize, &'a str)>,
    /// Of each byte, whether it stands in a comment.
    is_comment: Vec<bool>,
    /// The first and the last line of modules within the file, and whether they are compiled for tests alone.
    modules: Vec<(usize, usize, bool)>,
}

impl<'a> Code<'a> {
    fn of(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut words = Vec::new();
        let mut is_comment = vec![false; bytes.len()];
        let mut at = 0;
        while at < bytes.len() {
            let rest = &text[at..];
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                block_comment(rest)
            } else if let Some(length) = Some(rest).filter(|_| b"\"'rb".contains(&bytes[at])).and_then(string) {
                length
            } else if rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_') {
                let length = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
                words.push((at, &rest[..length]));
                length
            } else if rest.starts_with("::") {
                words.push((at, "::"));
                2
            } else {
                let length = rest.chars().next().map_or(1, char::len_utf8);
                if !rest.starts_with(char::is_whitespace) {
                    words.push((at, &rest[..length]));
                }
                length
            };
            if rest.starts_with("//") || rest.starts_with("/*") {
                is_comment[at..at + length].fill(true);
            }
            at += length;
        }
        Self { words, is_comment, modules: modules(text) }
    }

    /// All paths in a file that lead to the root of the crate.
    fn imports(&self, file: &Path, text: &str) -> Vec<Import> {
        // `src/a/mod.rs` is one level below the root, `src/a/b.rs` two; `src/main.rs` is another crate.
        let is_door =
            file.file_stem().is_some_and(|stem| ["mod", "lib", "main"].map(Into::into).contains(&stem.to_owned()));
        let depth = file.components().count() - usize::from(is_door);
        let mut found = Vec::new();
        let mut position = 0;
        while position < self.words.len() {
            let (start, word) = self.words[position];
            position += 1;
            let climbs = match word {
                "crate" => usize::MAX,
                "fetchimg" if part_of(file) == "main" => usize::MAX,
                "super" => {
                    let mut count = 1;
                    while let [(_, "::"), (_, "super"), ..] = self.words[position..] {
                        count += 1;
                        position += 2;
                    }
                    count
                }
                _ => continue,
            };
            let level = depth + usize::from(self.is_in_module(line_of(text, start)));
            if climbs >= level && matches!(self.words.get(position), Some((_, "::"))) {
                position += 1;
                position += self.read_paths(text, position, &[], &mut found);
            }
        }
        found
    }

    /// What is taken from an imported module in the rest of the file; of everything else, the import itself.
    fn uses_of(&self, text: &str, import: &Import) -> Vec<Import> {
        let path = import.path.iter().filter(|name| *name != "self").cloned().collect::<Vec<_>>();
        let Some(module) = path.last().filter(|name| name.starts_with(|letter: char| letter.is_lowercase())) else {
            return vec![Import { line: import.line, path }];
        };
        let mut found = Vec::new();
        for position in 0..self.words.len() {
            let is_whole = position == 0 || self.words[position - 1].1 != "::";
            if is_whole && matches!(self.words[position..], [(_, word), (_, "::"), ..] if word == module) {
                self.read_paths(text, position + 2, &path, &mut found);
            }
        }
        // Nothing is taken: then it is no module, but a function.
        if found.is_empty() { vec![Import { line: import.line, path }] } else { found }
    }

    fn is_in_module(&self, line: usize) -> bool {
        self.modules.iter().any(|(first, last, _)| (*first..=*last).contains(&line))
    }

    fn is_in_test(&self, line: usize) -> bool {
        self.modules.iter().any(|(first, last, is_test)| *is_test && (*first..=*last).contains(&line))
    }

    /// Reads one path, or several in braces, and says how many words they took.
    fn read_paths(&self, text: &str, start: usize, before: &[String], found: &mut Vec<Import>) -> usize {
        let mut path = before.to_vec();
        let mut position = start;
        let mut line = None;
        loop {
            match self.words.get(position) {
                Some((_, "{")) => {
                    position += 1;
                    while !matches!(self.words.get(position), None | Some((_, "}"))) {
                        position += self.read_paths(text, position, &path, found).max(1);
                        if matches!(self.words.get(position), Some((_, ","))) {
                            position += 1;
                        }
                    }
                    return position + 1 - start;
                }
                Some((at, word)) => {
                    line.get_or_insert_with(|| line_of(text, *at));
                    path.push((*word).to_owned());
                    position += 1;
                }
                None => break,
            }
            if !matches!(self.words.get(position), Some((_, "::"))) {
                break;
            }
            position += 1;
        }
        // `a as b`
        if matches!(self.words.get(position), Some((_, "as"))) {
            position += 2;
        }
        found.extend(line.map(|line| Import { line, path }));
        position - start
    }
}

/// The length of a comment that begins here, and may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a string or a character that begins here.
fn string(text: &str) -> Option<usize> {
    let raw = text.trim_start_matches(['b', 'r']);
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    let prefix = text.len() - raw.len();
    let is_raw = prefix > 0 && prefix <= 2 && text[..prefix].ends_with('r') && raw[hashes..].starts_with('"');
    if is_raw {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix + hashes + 1;
        return Some(text[start..].find(&end).map_or(text.len(), |found| start + found + end.len()));
    }
    let quote = text.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    // A lifetime has no second quote right behind its first letter.
    if quote == '\'' && !text[1..].starts_with('\\') {
        let letter = text[1..].chars().next()?;
        let end = 1 + letter.len_utf8();
        return text[end..].starts_with('\'').then_some(end + 1);
    }
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if letter == '\\' {
            is_escaped = true;
        } else if letter == quote {
            return Some(at + 1);
        }
    }
    Some(text.len())
}

/// Modules within a file, which `cargo fmt` leaves at its left edge.
fn modules(text: &str) -> Vec<(usize, usize, bool)> {
    let lines = text.lines().collect::<Vec<_>>();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let opens = line.starts_with("mod ") || (line.starts_with("pub") && line.contains(" mod "));
        if opens && line.ends_with('{') {
            let length = lines[index..].iter().position(|line| *line == "}").unwrap_or(lines.len() - index - 1);
            let is_test = index > 0 && lines[index - 1].starts_with("#[cfg(test)]");
            found.push((index + 1, index + length + 1, is_test));
        }
    }
    found
}

/// The number of the line, from 1 on.
fn line_of(text: &str, position: usize) -> usize {
    text[..position].matches('\n').count() + 1
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All Rust files, by their path below `src`.
fn sources() -> Vec<(PathBuf, String)> {
    let root = source_folder();
    let mut found = Vec::new();
    let mut folders = BTreeSet::from([root.clone()]);
    while let Some(folder) = folders.pop_first() {
        for entry in fs::read_dir(&folder).expect("a folder of the sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.insert(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source code is text");
                let below = path.strip_prefix(&root).expect("it is below src").to_path_buf();
                found.push((below, text));
            }
        }
    }
    found.sort();
    found
}
