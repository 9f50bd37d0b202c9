//! Measures what the live view on a terminal costs, compared with a silent run on the same terminal.
//!
//! ```text
//! TMPDIR=/dev/shm cargo bench --bench progress             # 15 rounds of 10,000 images
//! … -- 9 --images 100000                                   # 9 rounds of 100,000 images
//! ```
//!
//! A server in a process of its own answers every request at once with a picture of a kilobyte. Each round runs the
//! program once with each set of flags, into a new folder, on a terminal of 80 columns and 24 lines whose text is read
//! as fast as it comes. The order changes from round to round, and the ratios within a round count. `every image` logs
//! two lines for each image above the view (`-v`), which is the most that the program can write to a terminal.
//!
//! The exit status is 1 if the claim does not hold.

#![expect(clippy::print_stdout, reason = "a benchmark talks")]

#[path = "common/mod.rs"]
mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::pty::{Winsize, openpty};
use nix::sys::resource::{UsageWho, getrusage};

use common::instant::{self, Instant as Server};
use common::{Result, spread};

/// The compared sets of flags, with their names.
const WAYS: [(&str, &[&str]); 3] = [
    ("silence", &["-q", "--progress", "none"]),
    ("live view", &["--progress", "bar"]),
    ("live view, every image", &["--progress", "bar", "-v"]),
];

/// The claimed maximum of the ratio of the wall times with the view and without.
const MAX_RATIO: f64 = 1.02;

/// What a run took.
#[derive(Clone, Copy)]
struct Taken {
    /// Seconds.
    wall: f64,
    /// Processor time in seconds.
    cpu: f64,
    /// Bytes that the terminal was sent.
    sent: usize,
}

fn main() -> Result<ExitCode> {
    let (mut rounds, mut images) = (15, 10_000);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match &*word {
            instant::WORD => return instant::serve().map(|()| ExitCode::SUCCESS),
            // What cargo adds.
            "--bench" => {}
            "--images" => images = words.next().ok_or("--images wants a number")?.parse()?,
            number => rounds = number.parse()?,
        }
    }
    let folder = tempfile::tempdir()?;
    let server = Server::start()?;
    let list = folder.path().join("list.txt");
    let mut file = File::create(&list)?;
    (0..images).try_for_each(|image| writeln!(file, "http://127.0.0.1:{}/{image:06}.png", server.pictures))?;

    let mut all = [const { Vec::new() }; WAYS.len()];
    for round in 0..=rounds {
        for turn in 0..WAYS.len() {
            // The order changes, so that no set always runs after the same one.
            let way = (round + if round % 2 == 0 { turn } else { WAYS.len() - turn }) % WAYS.len();
            let taken = run(WAYS[way].1, &list, &folder.path().join("output"), images)?;
            // The first round warms up.
            if round > 0 {
                all[way].push(taken);
            }
        }
    }
    println!("| {images} images, {rounds} rounds | wall, s | to silence | processor time, s | to silence | sent |");
    println!("|---|---|---|---|---|---|");
    let mut view = f64::INFINITY;
    for ((name, _), runs) in WAYS.iter().zip(&all) {
        let ratio =
            |of: fn(&Taken) -> f64| spread(runs.iter().zip(&all[0]).map(|(run, none)| of(run) / of(none)).collect());
        let figure = |of: fn(&Taken) -> f64| spread(runs.iter().map(of).collect());
        let shown = |(middle, low, high): (f64, f64, f64)| format!("{middle:.3} ({low:.3}-{high:.3})");
        let (wall, cpu) = (ratio(|taken| taken.wall), ratio(|taken| taken.cpu));
        let (seconds, cpu_seconds) = (shown(figure(|taken| taken.wall)), shown(figure(|taken| taken.cpu)));
        let sent = runs.iter().map(|taken| taken.sent).max().unwrap_or_default();
        println!("| {name} | {seconds} | {} | {cpu_seconds} | {} | {sent} bytes |", shown(wall), shown(cpu));
        if *name == WAYS[1].0 {
            view = wall.0;
        }
    }
    let holds = view <= MAX_RATIO;
    println!(
        "\nat most {MAX_RATIO} times the wall time of silence: {view:.3}, {}",
        if holds { "holds" } else { "DOES NOT HOLD" }
    );
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(flags: &[&str], list: &Path, output: &Path, images: usize) -> Result<Taken> {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_fetchimg"));
    command.arg(list).arg("-o").arg(output).args(flags).env("TERM", "xterm").env("LANG", "C.UTF-8");
    command.env_remove("CI").env_remove("RUST_LOG").env_remove("LC_ALL");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal.slave);
    let mut ours = File::from(terminal.master);
    let before = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let begin = Instant::now();
    let mut process = command.spawn()?;
    // From here on only the program holds the other end of the terminal, so that reading ends when it does.
    drop(command);
    let reader = std::thread::spawn(move || {
        let (mut piece, mut sent) = (vec![0; 1 << 16], 0);
        while let Ok(length @ 1..) = ours.read(&mut piece) {
            sent += length;
        }
        sent
    });
    let status = process.wait()?;
    let wall = begin.elapsed().as_secs_f64();
    let after = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let sent = reader.join().map_err(|_| "the thread that read has panicked")?;
    let is_image = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    let there = fs::read_dir(output)?.flatten().filter(is_image).count();
    if !status.success() || there != images {
        return Err(format!("{flags:?}: {status}, {there} of {images} images").into());
    }
    fs::remove_dir_all(output)?;
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = [after, before].map(|usage| seconds(usage.user_time()) + seconds(usage.system_time()));
    Ok(Taken { wall, cpu: cpu[0] - cpu[1], sent })
}
