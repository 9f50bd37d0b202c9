//! What pieces of 512 bytes cost beside pieces of 64 KiB: 10,000 pictures from nginx on loopback.
//!
//! ```text
//! cargo bench --bench pieces            # 5 rounds
//! cargo bench --bench pieces -- 9       # 9 rounds
//! ```
//!
//! The two sizes take turns, every run writes into a folder of its own, and every file is compared with the original.
//! Printed are wall time, processor time, the largest memory and the most open files of each run, and the ratio of the
//! two sizes round by round. nginx has to be installed; it is started on a free port and stopped at the end.

#![expect(clippy::print_stdout, reason = "a benchmark talks")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const IMAGES: usize = 10_000;
const MEDIAN_BYTES: f64 = 25_000.0;

fn main() -> Result<()> {
    // Cargo passes `--bench`; the only other argument is the number of rounds.
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir()?;
    let bytes = make_corpus(&folder.path().join("corpus"))?;
    println!("{IMAGES} pictures, {:.0} MB, from nginx on loopback; {rounds} rounds, sizes in turn", megabytes(bytes));
    let nginx = Nginx::start(folder.path())?;
    let list = folder.path().join("list.txt");
    let mut text = String::new();
    for index in 0..IMAGES {
        writeln!(text, "http://127.0.0.1:{}/{}", nginx.port, name(index))?;
    }
    fs::write(&list, text)?;

    let mut sizes = [("512", Vec::new()), ("65536", Vec::new())];
    for round in 0..=rounds {
        for (size, runs) in &mut sizes {
            let run = run(folder.path(), &list, size, round)?;
            // The first round only warms up memory and the page cache.
            if round > 0 {
                println!("round {round}  --chunk-size {size:<6} {run}");
                runs.push(run);
            }
        }
    }
    let [(_, small), (_, large)] = &sizes;
    for (what, figure) in [("wall", (|run| run.wall) as fn(&Run) -> f64), ("cpu", |run| run.cpu)] {
        let mut ratios =
            small.iter().zip(large).map(|(small, large)| figure(small) / figure(large)).collect::<Vec<_>>();
        ratios.sort_by(f64::total_cmp);
        let (median, low, high) = (ratios[ratios.len() / 2], ratios[0], ratios[ratios.len() - 1]);
        println!("512 / 65536, {what}: {median:.3} (from {low:.3} to {high:.3})");
    }
    Ok(())
}

/// What one run of the program took.
struct Run {
    wall: f64,
    cpu: f64,
    most_open: usize,
    peak_bytes: u64,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let memory = megabytes(self.peak_bytes);
        write!(
            f,
            "wall {:.3} s  cpu {:.3} s  memory {memory:.0} MB  open files {}",
            self.wall, self.cpu, self.most_open
        )
    }
}

fn run(folder: &Path, list: &Path, size: &str, round: usize) -> Result<Run> {
    let output = folder.join(format!("out-{size}-{round}"));
    let before = processor_time()?;
    let begin = Instant::now();
    let mut program = Command::new(env!("CARGO_BIN_EXE_fetchimg"))
        .arg(list)
        .arg("-o")
        .arg(&output)
        .args(["-q", "--chunk-size", size])
        .spawn()?;
    let (mut most_open, mut peak_bytes) = (0, 0);
    let status = loop {
        if let Some(status) = program.try_wait()? {
            break status;
        }
        let proc = PathBuf::from(format!("/proc/{}", program.id()));
        most_open = most_open.max(fs::read_dir(proc.join("fd")).map_or(0, Iterator::count));
        peak_bytes = peak_bytes.max(high_water_mark(&proc).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = begin.elapsed().as_secs_f64();
    let cpu = processor_time()? - before;
    if !status.success() {
        return Err(format!("fetchimg ended with {status}").into());
    }
    for index in 0..IMAGES {
        let name = name(index);
        if fs::read(output.join(&name))? != fs::read(folder.join("corpus").join(&name))? {
            return Err(format!("{name} differs from the original").into());
        }
    }
    Ok(Run { wall, cpu, most_open, peak_bytes })
}

/// The largest resident set so far (`VmHWM`), in bytes.
fn high_water_mark(proc: &Path) -> Option<u64> {
    let status = fs::read_to_string(proc.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Processor time of all children that have ended, in seconds.
fn processor_time() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark")]
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

#[expect(clippy::cast_precision_loss, reason = "shown")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn name(index: usize) -> String {
    format!("{index:05}.png")
}

/// Valid PNG files whose sizes are spread as those of pictures on the web are, with bytes that do not repeat.
fn make_corpus(folder: &Path) -> Result<u64> {
    fs::create_dir(folder)?;
    let mut random = fastrand::Rng::with_seed(7);
    let mut total = 0;
    for index in 0..IMAGES {
        // The sum of uniform numbers is nearly normal; its exponential spreads sizes as a log-normal does.
        let spread = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 2,000 and 300,000")]
        let size = (MEDIAN_BYTES * (0.8 * spread).exp()).clamp(2_000.0, 300_000.0) as usize;
        let png = png(size, &mut random);
        total += png.len() as u64;
        fs::write(folder.join(name(index)), png)?;
    }
    Ok(total)
}

/// One white pixel, and a private chunk that fills the file up to about `size` bytes.
fn png(size: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let pixel: &[u8] = &[0x78, 0x01, 0x01, 0x02, 0, 0xFD, 0xFF, 0, 0xFF, 0x01, 0x01, 0x01, 0];
    let header = [0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0];
    let mut padding = vec![0; size];
    random.fill(&mut padding);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", &header[..]), (b"prVt", &padding), (b"IDAT", pixel), (b"IEND", &[])] {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        file.extend(length.to_be_bytes());
        let from = file.len();
        file.extend(kind);
        file.extend(data);
        let check = crc32(&file[from..]);
        file.extend(check.to_be_bytes());
    }
    file
}

/// The checksum of PNG chunks (PNG, annex D), a byte at a time by table.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            #[expect(clippy::cast_possible_truncation, reason = "below 256")]
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize] ^ (crc >> 8))
}

/// nginx on a free port, stopped when dropped.
struct Nginx {
    process: Child,
    port: u16,
}

impl Nginx {
    fn start(folder: &Path) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let root = folder.join("corpus");
        let configuration = format!(
            "daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000;\n\
             open_file_cache max=20000 inactive=600s; open_file_cache_valid 600s;\n\
             client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n\
             uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }} }}\n",
            folder = folder.display(),
            root = root.display(),
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration)?;
        // Workers run as another user when nginx is started by root, and have to reach the pictures.
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let process = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("nginx cannot be started ({error}); install it with the package manager"))?;
        let nginx = Self { process, port };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > Duration::from_secs(10) {
                return Err("nginx does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM lets the master stop its workers; SIGKILL would leave them behind.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}
