//! The compared programs and their command lines.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::Result;
use crate::{limit, workloads::Ask};

/// A program with its setting.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What the table calls it.
    pub name: String,
    kind: Kind,
    /// It is so slow that it runs for one round only.
    pub slow: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Fetchimg(&'static [&'static str]),
    /// Another build of fetchimg.
    OtherBuild,
    /// The number of connections.
    Limit(usize),
    /// The number of concurrent downloads, and further flags.
    Curl(u32, &'static [&'static str]),
    Aria2(u32),
    /// The number of threads, and whether it knows the flag for retries after an error status.
    Wget2(u32, bool),
    XargsWget,
    Tutorial(&'static str),
}

/// A command and what it reads.
pub struct Line {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Its standard input.
    pub input: Option<PathBuf>,
}

/// The flag of wget2 2 and later for retries after the status of a busy server.
const RETRY_ON_503: &str = "--retry-on-http-error=503";

/// Another build of fetchimg, of which the variable `FETCHIMG_OTHER` is the path.
fn other_build() -> Option<String> {
    std::env::var("FETCHIMG_OTHER").ok()
}

/// The curl to compare with: that of the variable `CURL`, or the installed one.
fn curl() -> String {
    std::env::var("CURL").unwrap_or_else(|_| "curl".to_owned())
}

/// The wget2 to compare with: that of the variable `WGET2`, or the installed one.
fn wget2() -> String {
    std::env::var("WGET2").unwrap_or_else(|_| "wget2".to_owned())
}

/// Whether a program is installed and succeeds with these arguments.
fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let tried = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// All installed peers. `many` says that the list is long, so that some of them would take minutes.
pub fn all(many: bool) -> Vec<Peer> {
    let peer = |name: &str, kind, slow| Peer { name: name.to_owned(), kind, slow };
    let mut peers = vec![
        peer("fetchimg", Kind::Fetchimg(&[]), false),
        peer("fetchimg-64k", Kind::Fetchimg(&["--chunk-size", "64KiB"]), false),
        peer("fetchimg-h1", Kind::Fetchimg(&["--http1.1"]), false),
        peer("limit", Kind::Limit(32), false),
        peer("limit-64", Kind::Limit(64), false),
    ];
    if other_build().is_some() {
        peers.push(peer("fetchimg-other", Kind::OtherBuild, false));
    }
    if succeeds(&curl(), &["--version"]) {
        peers.extend([16, 50, 300].map(|at_once| peer(&format!("curl-{at_once}"), Kind::Curl(at_once, &[]), false)));
        peers.extend(
            [16, 50].map(|at_once| peer(&format!("curl-h1-{at_once}"), Kind::Curl(at_once, &["--http1.1"]), false)),
        );
    }
    if succeeds(&wget2(), &["--version"]) {
        // 1.99 does not know the flag, and would end at once.
        let knows = succeeds(&wget2(), &[RETRY_ON_503, "--version"]);
        peers.extend([5, 16, 64].map(|threads| peer(&format!("wget2-{threads}"), Kind::Wget2(threads, knows), false)));
    }
    if succeeds("aria2c", &["--version"]) {
        peers.push(peer("aria2-16", Kind::Aria2(16), many));
    }
    if succeeds("wget", &["--version"]) {
        peers.push(peer("xargs-wget", Kind::XargsWget, many));
    }
    if succeeds("python3", &["--version"]) {
        peers.push(peer("tutorial-seq", Kind::Tutorial("sequential"), many));
        if succeeds("python3", &["-c", "import aiohttp"]) {
            peers.push(peer("tutorial-conc", Kind::Tutorial("concurrent"), many));
        }
    }
    peers
}

impl Peer {
    /// The name and version that the program prints, without the rest of the line.
    pub fn version(&self) -> String {
        let program = match self.kind {
            Kind::Fetchimg(_) => env!("CARGO_BIN_EXE_fetchimg").to_owned(),
            Kind::OtherBuild => other_build().unwrap_or_default(),
            Kind::Limit(_) => return String::new(),
            Kind::Curl(..) => curl(),
            Kind::Wget2(..) => wget2(),
            Kind::Aria2(_) => "aria2c".to_owned(),
            Kind::XargsWget => "wget".to_owned(),
            Kind::Tutorial(_) => "python3".to_owned(),
        };
        let output = Command::new(program).arg("--version").stderr(Stdio::null()).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let words = text.lines().next().unwrap_or_default().split_whitespace();
        let is_number = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
        let mut ended = false;
        words.take_while(|word| !std::mem::replace(&mut ended, is_number(word))).collect::<Vec<_>>().join(" ")
    }

    /// Whether it can run the workload, and its flags make sense for it.
    pub fn suits(&self, ask: &Ask) -> bool {
        match &self.kind {
            Kind::Fetchimg(flags) => match flags.first() {
                None => true,
                Some(&"--http1.1") => ask.authority.is_some(),
                Some(_) => ask.large,
            },
            Kind::OtherBuild => true,
            // Where the server waits, the number of connections alone says how long the list must take.
            Kind::Limit(connections) => {
                ask.authority.is_none() && ask.hosts.is_empty() && !ask.rough && (*connections == 64) == (ask.wait > 0)
            }
            Kind::Curl(_, flags) => flags.is_empty() || ask.authority.is_some(),
            // They cannot be told the address of a host.
            Kind::Wget2(threads, _) => ask.hosts.is_empty() && (*threads < 64 || ask.wait > 0),
            Kind::Aria2(_) => ask.hosts.is_empty(),
            // Nor the certificate to trust, nor to try again.
            Kind::XargsWget | Kind::Tutorial(_) => ask.hosts.is_empty() && ask.authority.is_none() && !ask.rough,
        }
    }

    /// The command for a list of URLs in a file, into a folder. `aside`: where it may need a file of its own.
    pub fn line(&self, ask: &Ask, list: &Path, output: &Path, aside: &Path) -> Result<Line> {
        let (list_text, output_text) = (list.display().to_string(), output.display().to_string());
        let mut words = Vec::<String>::new();
        let mut say = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        let authority = ask.authority.as_ref().map(|path| path.display().to_string());
        let mut input = None;
        match &self.kind {
            Kind::Fetchimg(_) | Kind::OtherBuild => {
                match &self.kind {
                    Kind::Fetchimg(flags) => {
                        say(&[env!("CARGO_BIN_EXE_fetchimg")]);
                        say(flags);
                    }
                    _ => say(&[&other_build().unwrap_or_default()]),
                }
                say(&[&list_text, "-o", &output_text, "-q"]);
                if let Some(file) = &authority {
                    say(&["--cacert", file]);
                }
                for host in &ask.hosts {
                    say(&["--resolve", host]);
                }
            }
            Kind::Limit(connections) => {
                let program = std::env::current_exe()?.display().to_string();
                say(&[&program, limit::WORD, &list_text, &output_text, &connections.to_string()]);
            }
            Kind::Curl(at_once, flags) => {
                // With a list of URLs alone it would name files after them, which --remote-name-all does as well; a
                // file of settings is how long lists are given to it.
                let mut settings = String::new();
                for url in fs::read_to_string(list)?.lines() {
                    writeln!(settings, "url = \"{url}\"")?;
                }
                fs::write(aside, settings)?;
                say(&[&curl(), "-s", "-f", "-Z", "--parallel-max", &at_once.to_string(), "--remote-name-all"]);
                say(&["--create-dirs", "--output-dir", &output_text, "-K", &aside.display().to_string()]);
                say(flags);
                if let Some(file) = &authority {
                    say(&["--cacert", file]);
                }
                for host in &ask.hosts {
                    say(&["--resolve", host]);
                }
                if ask.rough {
                    say(&["--retry", "3", "--retry-all-errors", "--speed-limit", "1", "--speed-time", "20"]);
                }
            }
            Kind::Aria2(at_once) => {
                say(&["aria2c", "-q", "-i", &list_text, "-d", &output_text, "-j", &at_once.to_string()]);
                say(&["--file-allocation=none", "--auto-file-renaming=false"]);
                if let Some(file) = &authority {
                    say(&[&format!("--ca-certificate={file}")]);
                }
                if ask.rough {
                    say(&["--max-tries=4", "--retry-wait=1", "--timeout=20"]);
                }
            }
            Kind::Wget2(threads, knows) => {
                say(&[&wget2(), "-q", "-i", &list_text, "-P", &output_text, &format!("--max-threads={threads}")]);
                say(&["--no-robots"]);
                if let Some(file) = &authority {
                    say(&[&format!("--ca-certificate={file}")]);
                }
                if ask.rough {
                    // It would wait for up to ten seconds by itself.
                    say(&["--tries=4", "--timeout=20", "--waitretry=1"]);
                    say(if *knows { &[RETRY_ON_503] } else { &[] });
                }
            }
            Kind::XargsWget => {
                say(&["xargs", "-n", "50", "-P", "8", "wget", "-q", "-P", &output_text]);
                input = Some(list.to_owned());
            }
            Kind::Tutorial(mode) => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/tutorial.py");
                say(&["python3", script, mode, &list_text, &output_text]);
            }
        }
        Ok(Line { words, input })
    }
}
