//! What every integration test needs: the program in a new folder, and a web server with many faults.
//!
//! ```ignore
//! let server = Server::start();
//! let run = fetchimg().lines([server.url("/png/500/cat.png"), server.url("/status/404")]).run();
//!
//! assert_eq!(run.status, Some(1), "{run}");
//! assert_eq!(run.files(), ["cat.png"], "{run}");
//! assert_eq!(run.file("cat.png"), server.body("/png/500/cat.png"), "{run}");
//! ```

#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

pub mod closed_port;
pub mod dns;
pub mod faults;
pub mod images;
pub mod jpegs;
pub mod odd_images;
pub mod outcomes;
pub mod s3;
pub mod server;
pub mod sets;
pub mod terminal;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use closed_port::ClosedPort;
pub use dns::{Dns, Kind, Reply};
pub use s3::S3;
pub use server::{Certificate, Request, Server};
pub use terminal::Picture;

/// The time after which a run is killed and its test fails. Every run is far shorter, even if other programs
/// use all processors.
pub const TIME_LIMIT: Duration = Duration::from_secs(180);

/// The time between two checks of an awaited condition.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Environment variables that are not passed on to the program.
const UNWANTED_VARIABLES: [&str; 24] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NETRC",
    "LOCALDOMAIN",
    "RES_OPTIONS",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "XDG_CONFIG_HOME",
    "CI",
    "LC_ALL",
    "LC_CTYPE",
    "LANG",
];

/// The journal, in an output folder.
pub const JOURNAL: &str = ".fetchimg.jsonl";

/// The times of earlier runs, in an output folder.
pub const RUNS: &str = ".fetchimg.runs.jsonl";

/// The program, to be run in a new folder.
pub fn fetchimg() -> Program {
    Program::new(env!("CARGO_BIN_EXE_fetchimg"))
}

/// Puts everything that fetchimg keeps in an output folder to where versions before 0.2 have it.
pub fn make_older(output: &Path) {
    let older = output.join(".fetchimg");
    fs::create_dir_all(older.join("parts")).expect("a folder can be made");
    fs::write(older.join("lock"), "").expect("a file can be written");
    for (name, older_name) in [(JOURNAL, "manifest.jsonl"), (RUNS, "runs.jsonl")] {
        match fs::rename(output.join(name), older.join(older_name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{name}: {error}"),
            _ => {}
        }
    }
}

/// Waits until a condition holds. Panics with its name if it does not within the time limit of a run.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < TIME_LIMIT, "waited in vain for {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// A folder that is removed when its last owner is dropped.
#[derive(Debug, Clone)]
pub struct TestDir(Arc<TempDir>);

impl TestDir {
    /// A new empty folder.
    pub fn new() -> Self {
        Self(Arc::new(TempDir::new().expect("a temporary folder")))
    }

    /// The same in memory, if there is such a file system: ext4 creates files many times more slowly after many were
    /// removed.
    pub fn in_memory() -> Self {
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        Self(Arc::new(dir.expect("a temporary folder")))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of something in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file into it, with the folders above, and returns its path.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        let parent = path.parent().expect("a file has a folder");
        fs::create_dir_all(parent).expect("folders can be made in a temporary folder");
        fs::write(&path, content).expect("a file can be written in a temporary folder");
        path
    }

    /// The content of a file in it.
    #[track_caller]
    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl Default for TestDir {
    fn default() -> Self {
        Self::new()
    }
}

/// The standard input of the program.
enum Input {
    Nothing,
    Bytes(Vec<u8>),
    Pipe,
}

/// A command line that is being built.
#[must_use = "nothing happens before run or start"]
pub struct Program {
    executable: OsString,
    arguments: Vec<OsString>,
    list: Option<String>,
    environment: Vec<(OsString, OsString)>,
    input: Input,
    dir: Option<TestDir>,
    terminal: Option<(u16, u16)>,
    time_limit: Duration,
}

impl Program {
    /// Any program; [`fetchimg`] is the one to test.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            executable: program.into(),
            arguments: Vec::new(),
            list: None,
            environment: Vec::new(),
            input: Input::Nothing,
            dir: None,
            terminal: None,
            time_limit: TIME_LIMIT,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds lines to `list.txt`, which is written into the folder and becomes the first argument.
    pub fn lines(mut self, lines: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let list = self.list.get_or_insert_default();
        for line in lines {
            list.push_str(line.as_ref());
            list.push('\n');
        }
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Gives the program these bytes on standard input; without this and [`Self::stdin_pipe`] there are none.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Runs it in a folder that is there already, for example that of an earlier run.
    pub fn in_dir(mut self, dir: &TestDir) -> Self {
        self.dir = Some(dir.clone());
        self
    }

    /// Makes its standard error a terminal of this number of columns and lines.
    pub fn terminal(mut self, columns: u16, lines: u16) -> Self {
        self.terminal = Some((columns, lines));
        self
    }

    /// Changes how long it may take.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Run {
        self.start().wait()
    }

    /// Starts it with a standard input the test writes to, by [`Running::write_line`].
    #[track_caller]
    pub fn stdin_pipe(mut self) -> Running {
        self.input = Input::Pipe;
        self.start()
    }

    /// Starts it.
    #[track_caller]
    pub fn start(mut self) -> Running {
        let dir = self.dir.take().unwrap_or_default();
        if let Some(list) = &self.list {
            dir.write("list.txt", list);
            self.arguments.insert(0, "list.txt".into());
        }
        let mut command = Command::new(&self.executable);
        command.args(&self.arguments).current_dir(dir.path());
        for name in UNWANTED_VARIABLES {
            command.env_remove(name);
        }
        // A store is only the one that the test names.
        let of_stores = |name: &str| ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_stores)) {
            command.env_remove(name);
        }
        command.env("HOME", dir.path()).env("TERM", "xterm").envs(self.environment);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let terminal = self.terminal.map(|(columns, lines)| {
            let (ours, its) = terminal::open(columns, lines);
            command.stderr(its);
            ours
        });
        command.stdin(match self.input {
            Input::Nothing => Stdio::null(),
            Input::Bytes(_) | Input::Pipe => Stdio::piped(),
        });
        let start = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.executable.display()));
        let mut stdin = child.stdin.take();
        if let Input::Bytes(bytes) = self.input {
            let mut stdin = stdin.take().expect("standard input is a pipe");
            // A program that does not want all of it may close it.
            std::thread::spawn(move || stdin.write_all(&bytes));
        }
        let stdout = Listener::new(child.stdout.take().expect("standard output is a pipe"));
        // Only the program may hold the other end of the terminal, or reading from it would never end.
        drop(command);
        let stderr = match &terminal {
            Some(terminal) => Listener::new(terminal.try_clone().expect("a handle can be copied")),
            None => Listener::new(child.stderr.take().expect("standard error is a pipe")),
        };
        Running {
            command: command_line(&self.executable, &self.arguments),
            output: dir.join(output_folder(&self.arguments)),
            child,
            stdin,
            stdout,
            stderr,
            terminal,
            dir,
            start,
            time_limit: self.time_limit,
        }
    }
}

/// A program that has been started; dropping it kills it.
pub struct Running {
    pub child: Child,
    command: String,
    output: PathBuf,
    stdin: Option<ChildStdin>,
    stdout: Listener,
    stderr: Listener,
    terminal: Option<fs::File>,
    dir: TestDir,
    start: Instant,
    time_limit: Duration,
}

impl Running {
    /// The folder it runs in.
    pub fn dir(&self) -> &TestDir {
        &self.dir
    }

    /// Writes a line to its standard input, if it was started by [`Program::stdin_pipe`].
    #[track_caller]
    pub fn write_line(&mut self, line: impl AsRef<str>) {
        let stdin = self.stdin.as_mut().expect("started by stdin_pipe, and not closed since");
        writeln!(stdin, "{}", line.as_ref()).expect("the program reads its standard input");
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Gives its terminal another size.
    #[track_caller]
    pub fn resize(&self, columns: u16, lines: u16) {
        terminal::resize(self.terminal.as_ref().expect("started with a terminal"), columns, lines);
    }

    /// Waits until its standard error contains a text.
    #[track_caller]
    pub fn wait_for_stderr(&self, text: &str) {
        wait_until(&format!("{text:?} on standard error"), || self.stderr().contains(text));
    }

    /// Waits for its end, and returns its peak memory in bytes.
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn wait_and_weigh(mut self) -> (Run, u64) {
        let status = format!("/proc/{}/status", self.child.id());
        let mut most = 0;
        while self.is_running() {
            // For a moment after it was started, it has the name and the memory of this program.
            let text = fs::read_to_string(&status).unwrap_or_default();
            let own = if text.starts_with("Name:\tfetchimg\n") { &*text } else { "" };
            let line = own.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
            let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
            most = most.max(kilobytes * 1024);
            std::thread::sleep(POLL_INTERVAL);
        }
        (self.wait(), most)
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Stops the program (SIGSTOP), and waits until none of its threads runs any more.
    #[cfg(target_os = "linux")]
    pub fn stop(&mut self) {
        self.kill("STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        wait_until("the program to stop", || {
            let state = |task: fs::DirEntry| {
                let text = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                // The name before it is in parentheses (proc_pid_stat(5)).
                text.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
            };
            fs::read_dir(&tasks).is_ok_and(|tasks| tasks.flatten().all(state))
        });
    }

    /// Sends it a signal by its name, as in `kill("INT")`.
    #[track_caller]
    pub fn kill(&mut self, signal: &str) {
        if self.is_running() {
            let command = format!("kill -s {signal} {}", self.child.id());
            let sent = Command::new("sh").args(["-c", &command]).status().expect("a shell can be run");
            assert!(sent.success() || !self.is_running(), "{command}: {sent}");
        }
    }

    /// Closes its standard input and waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Run {
        self.close_stdin();
        let deadline = self.start + self.time_limit;
        let mut in_time = true;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if Instant::now() >= deadline {
                in_time = false;
                self.child.kill().expect("a child can be killed");
                break self.child.wait().expect("a child can be waited for");
            }
            std::thread::sleep(POLL_INTERVAL);
        };
        let elapsed = self.start.elapsed();
        let run = Run {
            status: status.code(),
            signal: signal_of(status),
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
            dir: self.dir.clone(),
            elapsed,
            command: self.command.clone(),
            output: self.output.clone(),
        };
        assert!(in_time, "killed, because it took longer than {:?}\n{run}", self.time_limit);
        run
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.is_running() {
            // It may end by itself between the check and the signal.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A program that has ended, and what it left behind.
#[derive(Debug, Clone)]
pub struct Run {
    /// The exit status, unless a signal ended it.
    pub status: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// The folder it ran in.
    pub dir: TestDir,
    pub elapsed: Duration,
    command: String,
    output: PathBuf,
}

impl Run {
    /// The output folder: `images`, or what `-o` said.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// The path of the journal.
    pub fn journal(&self) -> PathBuf {
        self.output.join(JOURNAL)
    }

    /// Everything in the output folder, hidden or not, as sorted relative paths.
    pub fn all_files(&self) -> Vec<String> {
        files_below(&self.output)
    }

    /// The files in the output folder, as sorted relative paths; only what fetchimg keeps for itself is left out.
    pub fn files(&self) -> Vec<String> {
        let mut files = files_below(&self.output);
        files.retain(|file| !file.starts_with(".fetchimg/") && file != JOURNAL && file != RUNS);
        files
    }

    /// The content of a file in the output folder.
    #[track_caller]
    pub fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.output.join(name)).unwrap_or_else(|error| panic!("{name}: {error}\n{self}"))
    }

    /// All records of the journal, in its order; those of earlier runs in the same folder come first.
    #[track_caller]
    pub fn records(&self) -> Vec<Value> {
        let journal = self.file(JOURNAL);
        let journal = String::from_utf8(journal).unwrap_or_else(|error| panic!("the journal: {error}\n{self}"));
        journal
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}\n{self}")))
            .collect()
    }

    /// The last record of a row.
    #[track_caller]
    pub fn record(&self, index: u64) -> Value {
        let mut records = self.records().into_iter().rev();
        records.find(|record| record["index"] == index).unwrap_or_else(|| panic!("no record of row {index}\n{self}"))
    }

    /// The report that `--json` put on standard output.
    #[track_caller]
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("standard output: {error}\n{self}"))
    }

    /// The files in `.fetchimg` that are not meant to stay, such as unfinished bodies. If the run has ended by itself and
    /// there are none, the folder must be gone as well.
    #[track_caller]
    pub fn leftovers(&self) -> Vec<String> {
        let folder = self.output.join(".fetchimg");
        let mut files = files_below(&folder);
        if self.signal.is_none() {
            assert!(!files.is_empty() || !folder.exists(), "an empty folder is left\n{self}");
        } else {
            files.retain(|file| file != "lock");
        }
        files
    }
}

impl fmt::Display for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "$ {}", self.command)?;
        let status = match (self.status, self.signal) {
            (Some(status), _) => format!("status {status}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "no status".to_owned(),
        };
        writeln!(out, "{status} after {:.3} s", self.elapsed.as_secs_f64())?;
        writeln!(out, "--- standard output\n{}", self.stdout.trim_end())?;
        writeln!(out, "--- standard error\n{}", self.stderr.trim_end())?;
        writeln!(out, "--- files")?;
        for file in files_below(self.dir.path()) {
            let size = fs::symlink_metadata(self.dir.join(&file)).map_or(0, |metadata| metadata.len());
            writeln!(out, "{size:>10}  {file}")?;
        }
        if !self.output.starts_with(self.dir.path()) {
            writeln!(out, "--- and {}", self.output.display())?;
            for file in files_below(&self.output) {
                writeln!(out, "{file}")?;
            }
        }
        Ok(())
    }
}

/// Reads a stream in a thread and keeps its text, so that the program never waits for a reader.
struct Listener {
    heard: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn new(mut stream: impl Read + Send + 'static) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notebook = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            let mut piece = [0; 8192];
            while let Ok(count @ 1..) = stream.read(&mut piece) {
                notebook.lock().expect("no reader panics").extend_from_slice(&piece[..count]);
            }
        });
        Self { heard, thread: Some(thread) }
    }

    /// The text so far.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().expect("no reader panics")).into_owned()
    }

    /// The text until the end of the stream.
    fn all(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no reader panics");
        }
        self.text()
    }
}

/// The folder that `-o` or `--output` names, or the default.
fn output_folder(arguments: &[OsString]) -> PathBuf {
    let mut arguments = arguments.iter();
    let mut folder = PathBuf::from("images");
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == "--" {
            break;
        } else if text == "-o" || text == "--output" {
            folder = arguments.next().map(PathBuf::from).unwrap_or_default();
        } else if let Some(value) = text.strip_prefix("--output=") {
            folder = PathBuf::from(value);
        } else if let Some(value) = text.strip_prefix("-o") {
            folder = PathBuf::from(value.strip_prefix('=').unwrap_or(value));
        }
    }
    folder
}

/// All files below a folder, as sorted relative paths with `/`.
fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(current) = folders.pop() {
        // A folder that does not exist, or no longer exists, counts as empty.
        for entry in fs::read_dir(&current).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(folder) {
                let parts: Vec<_> = relative.iter().map(OsStr::to_string_lossy).collect();
                files.push(parts.join("/"));
            }
        }
    }
    files.sort();
    files
}

/// The command, almost as it would be typed.
fn command_line(program: &OsStr, arguments: &[OsString]) -> String {
    let name = Path::new(program).file_name().unwrap_or(program);
    let mut line = name.to_string_lossy().into_owned();
    for argument in arguments {
        let text = argument.to_string_lossy();
        let plain = |letter: char| letter.is_alphanumeric() || "-_=./:,@%+".contains(letter);
        line.push(' ');
        if !text.is_empty() && text.chars().all(plain) {
            line.push_str(&text);
        } else {
            line.push('\'');
            line.push_str(&text.replace('\'', "'\\''"));
            line.push('\'');
        }
    }
    line
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal_of(_status: ExitStatus) -> Option<i32> {
    None
}
