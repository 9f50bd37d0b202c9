//! Measures how much a failing host delays other hosts, and how well the limiter finds the limit of a host.
//!
//! ```text
//! cargo bench --bench hosts             # 3 rounds
//! cargo bench --bench hosts -- 9        # 9 rounds
//! ```
//!
//! A small server in a process of its own answers at 127.0.0.1 to 127.0.0.130, each a host for the program, which runs
//! with its default flags unless others are named. Compared runs alternate, every run writes into a folder of its own,
//! and every file is compared with the original. `TMPDIR=/dev/shm` keeps the disk out of the figures. The exit status
//! is 1 if a claim does not hold.

#![expect(clippy::print_stdout, reason = "a benchmark talks")]

use std::collections::HashSet;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The time that the server takes for each answer.
const LATENCY_MS: u64 = 20;
/// The time after which a run is killed.
const MAX_RUN_TIME: Duration = Duration::from_secs(300);

fn main() -> Result<ExitCode> {
    if std::env::args().any(|word| word == "--serve") {
        return serve().map(|()| ExitCode::SUCCESS);
    }
    // Cargo passes `--bench`; the only other argument is the number of rounds.
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(3);
    let bench = Bench { server: Server::start()?, folder: tempfile::tempdir()?, runs: AtomicUsize::new(0), rounds };
    let claims =
        [bench.too_many_requests()?, bench.sorted()?, bench.crowded()?, bench.stalled()?, bench.redirecting_crowd()?];
    Ok(if claims.into_iter().all(|holds| holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Bench {
    server: Server,
    folder: tempfile::TempDir,
    runs: AtomicUsize,
    rounds: usize,
}

/// The result of one run.
struct Run {
    wall: f64,
    /// The time until the last image of the route `ok` was there, in seconds.
    served: f64,
    saved: usize,
    /// The number of requests that brought no image.
    refused: usize,
}

impl Bench {
    fn urls(&self, hosts: std::ops::RangeInclusive<u8>, each: usize, route: &str) -> Vec<String> {
        let port = self.server.port;
        let of = |host: u8| (0..each).map(move |n| format!("http://127.0.0.{host}:{port}/{route}/{host}-{n:05}.png"));
        hosts.flat_map(of).collect()
    }

    /// 1. A host that answers nothing but 429 delays ten others by less than 5 %.
    fn too_many_requests(&self) -> Result<bool> {
        println!("1. 5,000 images of ten hosts, alone and beside 250 rows of a host that answers 429 to everything");
        let healthy = self.urls(1..=10, 500, &format!("ok/{LATENCY_MS}"));
        let beside = [healthy.clone(), self.urls(11..=11, 250, "no")].concat();
        let ratios = self.ratios(|| {
            let (beside, alone) =
                (self.until_served(&shuffled(&beside), 5000)?, self.until_served(&shuffled(&healthy), 5000)?);
            Ok((beside, alone))
        })?;
        Ok(claim("beside / alone, until the last image", &ratios, 1.05))
    }

    /// 2. A list sorted by host takes as long as a shuffled one.
    fn sorted(&self) -> Result<bool> {
        println!("2. 5,000 images of ten hosts, sorted by host and shuffled");
        let sorted = self.urls(1..=10, 500, &format!("ok/{LATENCY_MS}"));
        let ratios =
            self.ratios(|| Ok((self.all(&sorted, 5000, &[])?.wall, self.all(&shuffled(&sorted), 5000, &[])?.wall)))?;
        Ok(claim("sorted / shuffled, wall", &ratios, 1.15))
    }

    /// 3. The limit of a host is found.
    fn crowded(&self) -> Result<bool> {
        println!("3. 2,000 images of a host that serves 8 at once and answers 503 beyond");
        let list = self.urls(1..=1, 2000, &format!("crowded/8/{LATENCY_MS}"));
        let mut shares = Vec::new();
        let ratios = self.ratios(|| {
            let auto = self.all(&list, 2000, &[])?;
            #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
            shares.push(auto.refused as f64 / (auto.saved + auto.refused) as f64);
            let mut best = (f64::INFINITY, "");
            let mut text = String::new();
            for limit in ["4", "6", "8", "12", "16"] {
                // With too high a limit, some rows fail.
                let fixed = self.run(&list, &["--per-host", limit])?;
                write!(text, "  {limit}: {:.2} s, {} refused", fixed.wall, fixed.refused)?;
                if fixed.saved == 2000 && fixed.wall < best.0 {
                    best = (fixed.wall, limit);
                }
            }
            println!("   auto: {:.2} s, {} refused{text}; best: {}", auto.wall, auto.refused, best.1);
            Ok((auto.wall, best.0))
        })?;
        let is_quick = claim("auto / best fixed number, wall", &ratios, 1.20);
        Ok(claim("share of requests refused", &shares, 0.03) && is_quick)
    }

    /// 4. Rows that stall for ever end at their deadlines, and do not delay the others.
    fn stalled(&self) -> Result<bool> {
        println!("4. 10,000 rows of which a tenth are never answered, --stall-timeout 2 --retries 1");
        let flags = ["--stall-timeout", "2", "--retries", "1"];
        let healthy = self.urls(1..=1, 9000, "ok/5");
        let elsewhere = shuffled(&[healthy.clone(), self.urls(11..=20, 100, "silent")].concat());
        let here = shuffled(&[healthy.clone(), self.urls(1..=1, 1000, "silent")].concat());
        let alone = self.all(&healthy, 9000, &flags)?;
        let (elsewhere, here) = (self.all(&elsewhere, 9000, &flags)?, self.all(&here, 9000, &flags)?);
        for (what, run) in [("none stalls", &alone), ("at hosts of their own", &elsewhere), ("at the same host", &here)]
        {
            println!("   {what:<22} last image after {:.2} s, end after {:.2} s", run.served, run.wall);
        }
        // The two attempts of one row, a request that is in flight then, and a second for the machine.
        let own = alone.served.max(2.0 * 2.0 + 0.5) + 2.0 + 1.0;
        // A thousand first attempts and a thousand second ones, with 64 permits of one host; then as above.
        let same = alone.served + 1000.0 * 2.0 * 2.0 / 64.0 + own;
        let within = claim("hosts of their own: end / deadlines", &[elsewhere.wall / own], 1.0);
        let same = claim("the same host: end / deadlines", &[here.wall / same], 1.0);
        Ok(claim("hosts of their own: last image / alone", &[elsewhere.served / alone.served], 1.15) && within && same)
    }

    /// 5. A hundred hosts that all redirect to one image host: it gets no more requests at once than any other host, and
    ///    ten healthy hosts are not delayed.
    fn redirecting_crowd(&self) -> Result<bool> {
        println!(
            "5. 5,000 images of ten hosts, alone and beside 500 rows of 100 hosts that redirect to one slow image host"
        );
        let healthy = self.urls(1..=10, 500, &format!("ok/{LATENCY_MS}"));
        let crowd = self.urls(31..=130, 5, "to/20/200");
        let beside = shuffled(&[healthy.clone(), crowd].concat());
        let healthy = shuffled(&healthy);
        let mut peaks = Vec::new();
        let ratios = self.ratios(|| {
            self.server.peak()?;
            let with = self.all(&beside, 5500, &[])?;
            let peak = self.server.peak()?;
            let without = self.all(&healthy, 5000, &[])?;
            println!(
                "   the image host had {peak} requests at once; the healthy hosts' last image came after {:.2} s with the \
                 crowd and {:.2} s without it; the end with it after {:.2} s",
                with.served, without.served, with.wall
            );
            peaks.push(f64::from(peak));
            Ok((with.served, without.served))
        })?;
        let is_bounded = claim("requests at once at the image host", &peaks, 64.0);
        Ok(claim("healthy hosts with the crowd / without it, last image", &ratios, 1.25) && is_bounded)
    }

    fn ratios(&self, mut round: impl FnMut() -> Result<(f64, f64)>) -> Result<Vec<f64>> {
        let mut ratios = Vec::new();
        for number in 0..=self.rounds {
            let (one, other) = round()?;
            // The first round only warms up.
            if number > 0 {
                println!("   round {number}: {one:.3} s and {other:.3} s");
            }
            ratios.push(one / other);
        }
        ratios.remove(0);
        Ok(ratios)
    }

    /// Runs the list, which must give this number of images.
    fn all(&self, list: &[String], images: usize, flags: &[&str]) -> Result<Run> {
        let run = self.run(list, flags)?;
        if run.saved == images { Ok(run) } else { Err(format!("{} images instead of {images}", run.saved).into()) }
    }

    fn run(&self, list: &[String], flags: &[&str]) -> Result<Run> {
        let (output, mut program) = self.start(list, flags)?;
        let begin = Instant::now();
        while program.try_wait()?.is_none() {
            if begin.elapsed() > MAX_RUN_TIME {
                program.kill()?;
                return Err("it hangs".into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        outcome(&output, begin.elapsed().as_secs_f64())
    }

    /// Runs the list until this number of images is there, and interrupts it. Returns when the last image was there.
    fn until_served(&self, list: &[String], images: usize) -> Result<f64> {
        let (output, mut program) = self.start(list, &[])?;
        let begin = Instant::now();
        let are_there = || fs::read_dir(&output).map_or(0, Iterator::count) > images;
        while !are_there() && program.try_wait()?.is_none() && begin.elapsed() < MAX_RUN_TIME {
            std::thread::sleep(Duration::from_millis(20));
        }
        Command::new("kill").args(["-s", "INT", &program.id().to_string()]).status()?;
        program.wait()?;
        let run = outcome(&output, begin.elapsed().as_secs_f64())?;
        if run.saved == images { Ok(run.served) } else { Err(format!("{} of {images} images", run.saved).into()) }
    }

    fn start(&self, list: &[String], flags: &[&str]) -> Result<(PathBuf, Child)> {
        let output = self.folder.path().join(self.runs.fetch_add(1, Ordering::Relaxed).to_string());
        let file = output.with_extension("txt");
        fs::write(&file, list.join("\n"))?;
        let mut program = Command::new(env!("CARGO_BIN_EXE_fetchimg"));
        program.arg(&file).arg("-o").arg(&output).args(flags).args(["-q", "--progress", "none"]);
        Ok((output, program.stderr(Stdio::null()).spawn()?))
    }
}

/// Reads the records, compares the files, and removes them.
fn outcome(output: &Path, wall: f64) -> Result<Run> {
    let mut run = Run { wall, served: 0.0, saved: 0, refused: 0 };
    let mut names = HashSet::new();
    for line in fs::read_to_string(output.join(".fetchimg.jsonl"))?.lines() {
        let record = serde_json::from_str::<Value>(line)?;
        let attempts = usize::try_from(record["attempts"].as_u64().unwrap_or(0))?;
        if record["status"] == "saved" {
            let ended = [&record["start_ms"], &record["total_ms"]].into_iter().filter_map(Value::as_f64).sum::<f64>();
            if record["url"].as_str().is_some_and(|url| url.contains("/ok/")) {
                run.served = run.served.max(ended / 1e3);
            }
            run.saved += 1;
            run.refused += attempts - 1;
            let name = record["path"].as_str().unwrap_or_default().to_owned();
            if fs::read(output.join(&name))? != picture() {
                return Err(format!("{name} differs from the original").into());
            }
            names.insert(name);
        } else {
            run.refused += attempts;
        }
    }
    fs::remove_dir_all(output)?;
    if names.len() == run.saved { Ok(run) } else { Err("two rows share a file".into()) }
}

/// Prints the ratios of the rounds next to the maximum that is promised. Returns whether the median is within it.
fn claim(what: &str, values: &[f64], max: f64) -> bool {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let (median, low, high) = (values[values.len() / 2], values[0], values[values.len() - 1]);
    let holds = median <= max;
    let verdict = if holds { "PASS" } else { "FAIL" };
    println!("{verdict} {what}: {median:.3} (from {low:.3} to {high:.3}), at most {max}");
    holds
}

fn shuffled(list: &[String]) -> Vec<String> {
    let mut list = list.to_vec();
    fastrand::Rng::with_seed(7).shuffle(&mut list);
    list
}

/// A GIF of one pixel, with a comment that makes it about a thousand bytes long.
fn picture() -> Vec<u8> {
    let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF".to_vec();
    for _ in 0..4 {
        gif.extend(b"!\xFE\xFA");
        gif.extend([b' '; 250]);
        gif.push(0);
    }
    gif.extend(b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;");
    gif
}

/// A second process of this benchmark, run as a server. It is stopped when this is dropped.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?).arg("--serve").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
        Ok(Self { process, port: line.trim().parse()? })
    }

    /// The most requests that the image host had at once since the last call.
    fn peak(&self) -> Result<u32> {
        let mut stream = std::net::TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)))?;
        stream.write_all(b"GET /peak HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        Ok(answer.lines().find_map(|line| line.strip_prefix("Peak: ")).ok_or("no peak")?.trim().parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The requests at the image host: now, and the most at once.
static AT_IMAGE_HOST: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

fn serve() -> Result<()> {
    static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (stream, _) = listener.accept().await?;
            // An error means that the client has left.
            tokio::spawn(async move { drop(attend(stream, &IN_FLIGHT).await) });
        }
    })
}

/// `/ok/{ms}/…`, `/no/…`, `/crowded/{limit}/{ms}/…`, `/silent/…`, `/to/{host}/{ms}/…` redirects to `/image/{ms}/…` at
/// 127.0.0.{host}; `/peak` says how many requests that had at once, and forgets it.
async fn attend(mut stream: TcpStream, in_flight: &AtomicUsize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let picture = picture();
    let port = stream.local_addr()?.port();
    let mut received = Vec::new();
    loop {
        let end = loop {
            match received.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if stream.read_buf(&mut received).await? == 0 => return Ok(()),
                None => {}
            }
        };
        let head = received.drain(..end).collect::<Vec<_>>();
        let target = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
        let number = |text: &str| text.parse().unwrap_or(0);
        let mut field = String::new();
        let status = match target.split('/').skip(1).collect::<Vec<_>>()[..] {
            ["ok", ms, ..] => {
                tokio::time::sleep(Duration::from_millis(number(ms))).await;
                "200 OK"
            }
            ["crowded", limit, ms, ..] => {
                let before = in_flight.fetch_add(1, Ordering::SeqCst);
                let is_served = (before as u64) < number(limit);
                if is_served {
                    tokio::time::sleep(Duration::from_millis(number(ms))).await;
                }
                in_flight.fetch_sub(1, Ordering::SeqCst);
                if is_served { "200 OK" } else { "503 Service Unavailable" }
            }
            ["to", host, ms, name] => {
                field = format!("Location: http://127.0.0.{host}:{port}/image/{ms}/{name}\r\n");
                "302 Found"
            }
            ["image", ms, ..] => {
                let [now, peak] = &AT_IMAGE_HOST;
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(number(ms))).await;
                now.fetch_sub(1, Ordering::SeqCst);
                "200 OK"
            }
            ["peak"] => {
                field = format!("Peak: {}\r\n", AT_IMAGE_HOST[1].swap(0, Ordering::SeqCst));
                "204 No Content"
            }
            ["silent", ..] => {
                stream.read_buf(&mut received).await?;
                return Ok(());
            }
            _ => "429 Too Many Requests",
        };
        let body = if status == "200 OK" { &picture[..] } else { b"" };
        let mut answer = format!("HTTP/1.1 {status}\r\n{field}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend(body);
        stream.write_all(&answer).await?;
    }
}
