//! The workloads: lists of images with their servers, and the measured runs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::common::corpus::Corpus;
use crate::common::measure::{Taken, measure};
use crate::common::nginx::Nginx;
use crate::common::{Result, megabytes};
use crate::peers::{self, Peer};
use crate::server::{Manner, Server};

/// The time after which a run is killed.
const MAX_RUN_TIME: Duration = Duration::from_secs(240);

/// The type of a file system in memory (`TMPFS_MAGIC`, statfs(2)).
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// A list and its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Five pictures, 150 ms before the first byte of each.
    Tutorial,
    /// Five pictures, at once.
    Five,
    /// 10,000 pictures of 25 KB.
    Small,
    /// 20,000 of 2 KB.
    Tiny,
    /// 20 of 10 MB.
    Large,
    /// 2,000 of 25 KB, 50 ms before the first byte of each.
    Latency,
    /// 2,000 over 200 host names.
    Hosts,
    /// 5,000 over TLS.
    Tls,
    /// 2,000 of which 5 % answer 503, 2 % go silent and 1 % are cut, the first time.
    Rough,
}

/// What the command lines of the peers depend on, in addition to the list.
#[derive(Debug, Default)]
pub struct Ask {
    /// The certificate to trust.
    pub authority: Option<PathBuf>,
    /// `HOST:PORT:ADDRESS` of names that no name server knows.
    pub hosts: Vec<String>,
    /// Faults are to be expected.
    pub rough: bool,
    /// Files of megabytes.
    pub large: bool,
    /// Milliseconds before the first byte.
    pub wait: u64,
}

/// The results of a workload.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Its name.
    pub workload: &'static str,
    /// What it is, in a sentence.
    pub about: String,
    /// How many files there were to fetch.
    pub files: usize,
    /// The runs of each peer.
    pub peers: Vec<Runs>,
}

/// The runs of a peer.
#[derive(Debug, Serialize)]
pub struct Runs {
    /// The name of the peer.
    pub peer: String,
    /// The counted runs, in order.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Run {
    /// The round.
    pub round: usize,
    /// Time and memory.
    #[serde(flatten)]
    pub taken: Taken,
    /// How many files were identical to their originals.
    pub right: usize,
}

impl Measured {
    /// Whether fetchimg got everything in every run.
    pub fn fetchimg_is_right(&self) -> bool {
        let ours = self.peers.iter().filter(|runs| runs.peer.starts_with("fetchimg"));
        ours.flat_map(|runs| &runs.runs).all(|run| run.right == self.files && run.taken.status == Some(0))
    }
}

impl Workload {
    /// Every one, the quick ones first.
    pub const ALL: [Self; 9] = [
        Self::Five,
        Self::Tutorial,
        Self::Large,
        Self::Hosts,
        Self::Latency,
        Self::Tls,
        Self::Small,
        Self::Tiny,
        Self::Rough,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Tutorial => "tutorial",
            Self::Five => "five",
            Self::Small => "small",
            Self::Tiny => "tiny",
            Self::Large => "large",
            Self::Latency => "latency",
            Self::Hosts => "hosts",
            Self::Tls => "tls",
            Self::Rough => "rough",
        }
    }

    /// The one of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|workload| workload.name() == name)
    }

    fn corpus(self, folder: &Path) -> Result<Corpus> {
        match self {
            Self::Tutorial | Self::Five => Corpus::of_size(folder, 5, 70_000.0),
            Self::Small => Corpus::of_the_web(folder, 10_000, 25_000.0),
            Self::Tiny => Corpus::of_size(folder, 20_000, 2_000.0),
            Self::Large => Corpus::of_size(folder, 20, 10_000_000.0),
            Self::Latency | Self::Hosts | Self::Rough => Corpus::of_the_web(folder, 2_000, 25_000.0),
            Self::Tls => Corpus::of_the_web(folder, 5_000, 25_000.0),
        }
    }

    /// Runs all peers, round by round.
    pub fn measure(self, rounds: usize, only: &[String]) -> Result<Measured> {
        let folder = tempfile::tempdir()?;
        // nginx's workers run as another user when it is started by root.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let corpus = self.corpus(&folder.path().join("corpus"))?;
        let manner = match self {
            Self::Tutorial => Some(Manner { wait: 150, rough: false }),
            Self::Latency => Some(Manner { wait: 50, rough: false }),
            Self::Rough => Some(Manner { wait: 0, rough: true }),
            _ => None,
        };
        let server = manner.map(|manner| Server::start(&corpus.folder, manner)).transpose()?;
        // nginx has no faults, so its URLs need no first segment that tells the runs apart.
        let nginx = Nginx::start(folder.path(), &corpus.folder)?;
        let mut ask = Ask {
            rough: self == Self::Rough,
            large: self == Self::Large,
            wait: manner.map_or(0, |manner| manner.wait),
            ..Ask::default()
        };
        if self == Self::Hosts {
            ask.hosts = (0..200).map(|host| format!("h{host:03}.test:{}:127.0.0.1", nginx.port)).collect();
        }
        if self == Self::Tls {
            ask.authority = Some(nginx.authority.clone());
        }
        let url = |run: &str, index: usize, name: &str| match (self, &server) {
            (_, Some(server)) => format!("http://127.0.0.1:{}/{run}/{name}", server.port),
            (Self::Hosts, _) => format!("http://h{:03}.test:{}/{name}", index % 200, nginx.port),
            (Self::Tls, _) => format!("https://localhost:{}/{name}", nginx.tls_port),
            _ => format!("http://127.0.0.1:{}/{name}", nginx.port),
        };
        let in_memory = rustix::fs::statfs(folder.path())?.f_type == TMPFS;
        let many = corpus.files.len() > 1000;
        let suitable = peers::all(many).into_iter().filter(|peer| peer.suits(&ask));
        let is_chosen = |peer: &Peer| only.is_empty() || only.contains(&peer.name);
        let peers = suitable.filter(is_chosen).collect::<Vec<_>>();
        let mut all = peers.iter().map(|peer| Runs { peer: peer.name.clone(), runs: Vec::new() }).collect::<Vec<_>>();
        for round in 0..=rounds {
            for (peer, runs) in peers.iter().zip(&mut all) {
                // Slow peers run once, without a warm-up.
                if peer.slow && round != 1 {
                    continue;
                }
                let run = format!("{}-{round}", peer.name);
                let mut text = String::new();
                for (index, (name, _)) in corpus.files.iter().enumerate() {
                    writeln!(text, "{}", url(&run, index, name))?;
                }
                let list = folder.path().join(format!("{run}.txt"));
                fs::write(&list, text)?;
                let output = folder.path().join(format!("out-{run}"));
                let line = peer.line(&ask, &list, &output, &folder.path().join(format!("{run}.conf")))?;
                let taken = measure(&line.words, line.input.as_deref(), MAX_RUN_TIME)?;
                let right = corpus.right_in(&output)?;
                if in_memory {
                    // The next run then gets memory that the machine has already provided. On a disk the files stay,
                    // because creating files soon after removing many is slow on ext4.
                    fs::remove_dir_all(&output)?;
                }
                if round > 0 {
                    eprintln!("{:<9} round {round}  {run:<18} {:7.3} s  {right} right", self.name(), taken.wall);
                    runs.runs.push(Run { round, taken, right });
                }
            }
        }
        let about = format!("{} files, {:.0} MB", corpus.files.len(), megabytes(corpus.bytes()));
        Ok(Measured { workload: self.name(), about, files: corpus.files.len(), peers: all })
    }
}
