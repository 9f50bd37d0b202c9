//! Counts of instructions and system calls, which hardly vary from run to run. They are taken in runs of their own, whose
//! times are not used.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::common::Result;
use crate::peers::Line;

/// What counts instructions in user mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Counter {
    /// The processor, asked by `perf stat`.
    Perf,
    /// A simulator, which takes fifty times as long.
    Callgrind,
}

/// What can be counted on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    instructions: Option<Counter>,
    system_calls: bool,
}

/// What a program does for each picture, on average. Its start and its end are included.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Counts {
    /// Instructions in user mode.
    pub instructions: Option<f64>,
    /// What counted them.
    pub counted_by: Option<Counter>,
    /// Calls of the kernel, including those that failed.
    pub system_calls: Option<f64>,
}

impl Counters {
    /// Looks for the programs. `callgrind` asks for the simulator.
    pub fn of_this_machine(callgrind: bool) -> Result<Self> {
        let perf = output("perf", &["stat", "-x", ",", "-e", "instructions:u", "true"]);
        let has_perf = perf.is_some_and(|text| text.contains("instructions:u") && !text.contains("<not "));
        let instructions = match (callgrind, has_perf) {
            (true, _) if output("valgrind", &["--version"]).is_some() => Some(Counter::Callgrind),
            (true, _) => return Err("--callgrind needs valgrind; install the package valgrind".into()),
            (false, true) => Some(Counter::Perf),
            (false, false) => None,
        };
        Ok(Self { instructions, system_calls: output("strace", &["-c", "-o", "/dev/null", "true"]).is_some() })
    }

    /// What is missing, in a sentence.
    pub fn missing(self) -> Option<String> {
        let instructions = "instructions are not counted: perf finds no hardware counters (--callgrind simulates them)";
        let system_calls = "system calls are not counted: strace does not run here";
        let missing = [(self.instructions.is_none(), instructions), (!self.system_calls, system_calls)];
        let missing = missing.into_iter().filter_map(|(is_missing, text)| is_missing.then_some(text));
        Some(missing.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
    }

    /// Runs the commands that `line` makes, one for each count. `aside` is where the results go first; `pictures` is
    /// the number of pictures that a command fetches.
    pub fn count(self, mut line: impl FnMut(&str) -> Result<Line>, aside: &Path, pictures: usize) -> Result<Counts> {
        #[expect(clippy::cast_precision_loss, reason = "counts")]
        let per_picture = |count: u64| count as f64 / pictures as f64;
        let file = aside.join("counts");
        let text = file.display().to_string();
        let instructions = match self.instructions {
            None => None,
            Some(Counter::Perf) => {
                run(&["perf", "stat", "-x", ",", "-e", "instructions:u", "-o", &text], &line("perf")?)?;
                first_number(&fs::read_to_string(&file)?, "instructions:u")
            }
            Some(Counter::Callgrind) => {
                let (log, discarded) = (format!("--log-file={text}"), "--callgrind-out-file=/dev/null");
                run(&["valgrind", "--tool=callgrind", "--trace-children=yes", &log, discarded], &line("callgrind")?)?;
                collected(&fs::read_to_string(&file)?)
            }
        };
        let system_calls = if self.system_calls {
            run(&["strace", "-f", "-q", "-c", "-o", &text], &line("strace")?)?;
            total_calls(&fs::read_to_string(&file)?)
        } else {
            None
        };
        Ok(Counts {
            instructions: instructions.map(per_picture),
            counted_by: instructions.and(self.instructions),
            system_calls: system_calls.map(per_picture),
        })
    }
}

/// The output of a command that succeeds, errors included.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    output.status.success().then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Runs a command under another one. Its status does not matter: it was looked at in the runs that count.
fn run(under: &[&str], line: &Line) -> Result<()> {
    let input = line.input.as_ref().map_or_else(|| Ok(Stdio::null()), |path| File::open(path).map(Stdio::from))?;
    let mut command = Command::new(under[0]);
    command.args(&under[1..]).args(&line.words).stdin(input).stdout(Stdio::null()).stderr(Stdio::null());
    command.status()?;
    Ok(())
}

/// The first field of the line that names the event, in the format of `perf stat -x ,`.
fn first_number(text: &str, event: &str) -> Option<u64> {
    text.lines().find(|line| line.contains(event))?.split(',').next()?.parse().ok()
}

/// What callgrind says at the end of each process: `Collected : 123456`.
fn collected(text: &str) -> Option<u64> {
    let numbers = text.lines().filter_map(|line| line.split_once("Collected :")?.1.trim().parse::<u64>().ok());
    numbers.reduce(|sum, number| sum + number)
}

/// The calls in the last line of `strace -c`: share, seconds, microseconds for each call, calls, errors, and `total`.
fn total_calls(text: &str) -> Option<u64> {
    let total = text.lines().rfind(|line| line.trim_end().ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}
