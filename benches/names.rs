//! Measures a run over 20,000 images on 20,000 hosts: names from dnsmasq, images from nginx, both on loopback.
//!
//! ```text
//! cargo bench --bench names             # 20,000 names
//! cargo bench --bench names -- 100000   # 100,000 names
//! ```
//!
//! The list is fetched once to warm up and then three times, every run into a folder of its own; every file is compared
//! with the original, and a lookup that was lost and made again counts as a retry. dnsmasq and nginx have to be
//! installed; they are started on free ports and stopped at the end.

#![expect(clippy::print_stdout, reason = "a benchmark talks")]

#[path = "common/mod.rs"]
mod common;

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::Result;
use common::measure::{Watched, watch};
use common::server::{Server, free_port, wait_for};

const ROUNDS: usize = 3;

/// The smallest picture there is: one pixel.
const PICTURE: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

fn main() -> Result<()> {
    // Cargo passes `--bench`; the only other argument is the number of names.
    let names = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(20_000);
    let folder = tempfile::tempdir()?;
    // Servers run as another user when they are started by root.
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let (nginx, web) = nginx(folder.path())?;
    let (dnsmasq, dns) = dnsmasq(folder.path())?;
    println!("{names} pictures on {names} hosts; names from dnsmasq, pictures from nginx, on loopback");
    let list = folder.path().join("list.txt");
    let mut text = String::new();
    for index in 0..names {
        writeln!(text, "http://h{index:05}.example.test:{web}/{index:05}.gif")?;
    }
    fs::write(&list, text)?;
    for round in 0..=ROUNDS {
        let run = run(folder.path(), &list, dns, names, round)?;
        println!("{} {run}", if round == 0 { "warm-up" } else { "       " });
    }
    drop(nginx);
    println!("dnsmasq answered {} queries in all", answered(folder.path(), &dnsmasq)?);
    Ok(())
}

/// What one run of the program took.
struct Run {
    wall: f64,
    right: usize,
    failed: u64,
    retries: u64,
    most_open: usize,
    peak_bytes: u64,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wall, right, failed, retries, most_open, peak_bytes } = self;
        let memory = peak_bytes / 1_000_000;
        write!(
            f,
            "wall {wall:.3} s  right {right}  failed {failed}  retries {retries}  open files {most_open}  memory {memory} MB"
        )
    }
}

fn run(folder: &Path, list: &Path, dns: u16, names: usize, round: usize) -> Result<Run> {
    let output = folder.join(format!("out-{round}"));
    let mut program = Command::new(env!("CARGO_BIN_EXE_fetchimg"));
    program.arg(list).arg("-o").arg(&output).args(["-q", "--dns-servers", &format!("127.0.0.1:{dns}")]);
    let Watched { wall, most_open, peak_bytes, .. } = watch(&mut program)?;
    let right = (0..names)
        .filter(|index| fs::read(output.join(format!("{index:05}.gif"))).is_ok_and(|bytes| bytes == PICTURE))
        .count();
    let (mut failed, mut retries) = (0, 0);
    for line in fs::read_to_string(output.join(".fetchimg.jsonl"))?.lines() {
        let record = serde_json::from_str::<serde_json::Value>(line)?;
        failed += u64::from(record["status"] != "saved");
        retries += record["attempts"].as_u64().unwrap_or(1) - 1;
    }
    Ok(Run { wall, right, failed, retries, most_open, peak_bytes })
}

/// The number of queries that dnsmasq has answered. It writes them into its log when it gets SIGUSR1.
fn answered(folder: &Path, dnsmasq: &Server) -> Result<u64> {
    dnsmasq.signal("USR1")?;
    let mut answered = None;
    wait_for("dnsmasq", || {
        let log = fs::read_to_string(folder.join("dnsmasq.log")).unwrap_or_default();
        let figure = log.rsplit_once("queries answered locally ");
        let digits = figure.map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        answered = digits.and_then(|digits| digits.parse().ok());
        answered.is_some()
    })?;
    answered.ok_or_else(|| "dnsmasq tells no figures".into())
}

/// nginx with one picture for every path, and its port.
fn nginx(folder: &Path) -> Result<(Server, u16)> {
    fs::write(folder.join("picture.gif"), PICTURE)?;
    let port = free_port()?;
    let file = folder.join("nginx.conf");
    let configuration = format!(
        "daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off;\n\
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
         server {{ listen 127.0.0.1:{port} backlog=4096; root {folder}; rewrite ^ /picture.gif break; }} }}\n",
        folder = folder.display(),
    );
    fs::write(&file, configuration)?;
    let nginx = Server::start("nginx", &["-c", &file.to_string_lossy()])?;
    wait_for("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    Ok((nginx, port))
}

/// dnsmasq, which gives every name below `test` the address of this machine, and its port.
fn dnsmasq(folder: &Path) -> Result<(Server, u16)> {
    let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let file = folder.join("dnsmasq.conf");
    let configuration = format!(
        "keep-in-foreground\nport={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\npid-file=\n\
         address=/test/127.0.0.1\nlocal-ttl=60\nlog-facility={folder}/dnsmasq.log\n",
        folder = folder.display(),
    );
    fs::write(&file, configuration)?;
    let dnsmasq = Server::start("dnsmasq", &["-C", &file.to_string_lossy()])?;
    // A query for the address of `a.test` (RFC 1035, section 4.1).
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
    wait_for("dnsmasq", || {
        let ask = || -> std::io::Result<usize> {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(("127.0.0.1", port))?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            socket.send(query)?;
            socket.recv(&mut [0; 512])
        };
        ask().is_ok_and(|length| length > query.len())
    })?;
    Ok((dnsmasq, port))
}
