//! Measures what a command takes: wall time, processor time and memory.
//!
//! The system adds up the usage of all children of a process, and the sum cannot be reset. So every command is run by a
//! second process of the benchmark, whose only child is the command.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::Result;

/// The first argument that makes the benchmark run as that second process.
pub const WORD: &str = "measure-a-command";

/// What a command took.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Taken {
    /// From its start to its end, in seconds.
    pub wall: f64,
    /// Processor time in user mode, in seconds, its own children included.
    pub user: f64,
    /// Processor time in the kernel on its behalf, in seconds.
    pub system: f64,
    /// The largest resident set of any of its processes, in bytes.
    pub peak: u64,
    /// Its exit status; none if it was killed, by the time limit for instance.
    pub status: Option<i32>,
}

impl Taken {
    /// Processor time in all, in seconds.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// Runs a command until it ends, or kills it at the limit. `input` is the file for its standard input. Its output is
/// discarded.
pub fn measure(command: &[String], input: Option<&Path>, limit: Duration) -> Result<Taken> {
    let input = input.map_or_else(|| Ok(Stdio::null()), |path| File::open(path).map(Stdio::from))?;
    result(start(command, input, limit, MIN_TOUCHED_BYTES)?)
}

/// Like [`measure`], with a pipe for standard input, which `feed` writes to. `memory` is the number of bytes that the
/// command needs, including the files that it creates.
pub fn measure_fed(
    command: &[String],
    limit: Duration,
    memory: usize,
    feed: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<Taken> {
    let mut process = start(command, Stdio::piped(), limit, memory.max(MIN_TOUCHED_BYTES))?;
    if let Some(pipe) = process.stdin.take() {
        let mut pipe = BufWriter::with_capacity(1 << 16, pipe);
        // The command may close the pipe early. Its exit status shows whether that is an error.
        let _ = feed(&mut pipe).and_then(|()| pipe.flush());
    }
    result(process)
}

fn start(command: &[String], input: Stdio, limit: Duration, memory: usize) -> Result<Child> {
    // In this process, because in the second one the memory would be counted for the command.
    touch_memory(memory);
    let mut process = Command::new(std::env::current_exe()?);
    process.args([WORD, &limit.as_secs().to_string()]).args(command);
    Ok(process.stdin(input).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?)
}

/// Reads the result that the second process prints.
fn result(process: Child) -> Result<Taken> {
    Ok(serde_json::from_slice(&process.wait_with_output()?.stdout)?)
}

/// The memory that is touched before every run, in bytes. It is more than the files of most lists need.
const MIN_TOUCHED_BYTES: usize = 512 << 20;

/// Uses memory and frees it. In a virtual machine, memory that has not been used for a while has to be provided by the
/// host again. That takes several times as long as a download needs to use it, and would be counted for the first run
/// only.
fn touch_memory(bytes: usize) {
    let mut memory = vec![0_u8; bytes];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
}

/// The other side of [`measure`].
pub fn child(mut words: impl Iterator<Item = String>) -> Result<()> {
    let limit = Duration::from_secs(words.next().ok_or("no limit")?.parse()?);
    let program = words.next().ok_or("no command")?;
    let begin = Instant::now();
    let mut process = Command::new(&program)
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let id = process.id();
    let (done, watched) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if watched.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // Processes that it has started are not killed; they end by themselves.
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        }
    });
    let status = process.wait()?;
    let wall = begin.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    drop(done);
    let _ = watch.join();
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let taken = Taken {
        wall,
        user: seconds(usage.user_time()),
        system: seconds(usage.system_time()),
        peak: u64::try_from(usage.max_rss())? * 1024,
        status: status.code(),
    };
    serde_json::to_writer(std::io::stdout(), &taken)?;
    Ok(())
}

/// What is seen of a command by looking at it every few milliseconds.
pub struct Watched {
    /// From its start to its end, in seconds.
    pub wall: f64,
    /// How it ended.
    pub status: ExitStatus,
    /// The most open files that were seen.
    pub most_open: usize,
    /// The largest resident set, in bytes.
    pub peak_bytes: u64,
}

/// Runs a command until it ends, and looks at its open files and memory every few milliseconds.
pub fn watch(command: &mut Command) -> Result<Watched> {
    let begin = Instant::now();
    let mut process = command.spawn()?;
    let proc = PathBuf::from(format!("/proc/{}", process.id()));
    let (mut most_open, mut peak_bytes) = (0, 0);
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break status;
        }
        most_open = most_open.max(fs::read_dir(proc.join("fd")).map_or(0, Iterator::count));
        peak_bytes = peak_bytes.max(high_water_mark(&proc).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    };
    Ok(Watched { wall: begin.elapsed().as_secs_f64(), status, most_open, peak_bytes })
}

/// The largest resident set so far (`VmHWM`), in bytes.
fn high_water_mark(proc: &Path) -> Option<u64> {
    let status = fs::read_to_string(proc.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}
