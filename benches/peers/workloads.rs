//! The workloads: lists of images with their servers, and the measured runs.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tempfile::TempDir;

use crate::common::corpus::Corpus;
use crate::common::measure::{Taken, measure};
use crate::common::nginx::Nginx;
use crate::common::{Result, megabytes};
use crate::counts::{Counters, Counts};
use crate::peers::{self, Line, Peer};
use crate::place::{Place, Room};
use crate::server::{Manner, Server};

/// The time after which a run is killed.
const MAX_RUN_TIME: Duration = Duration::from_secs(240);

/// What to measure.
#[derive(Debug)]
pub struct Plan {
    /// The counted rounds.
    pub rounds: usize,
    /// The names of the peers; empty for all.
    pub only: Vec<String>,
    /// The most files of a list.
    pub files: usize,
    /// What counts instructions and system calls, if anything does.
    pub counters: Option<Counters>,
}

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
    /// Where the files were written.
    pub place: Place,
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
    /// What the program says of its version.
    pub version: String,
    /// The counted runs, in order.
    #[serde(rename = "runs")]
    pub counted: Vec<Run>,
    /// Instructions and system calls, from runs of their own.
    pub counts: Option<Counts>,
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
        ours.flat_map(|runs| &runs.counted).all(|run| run.right == self.files && run.taken.status == Some(0))
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

    /// The files of the list, at most this number.
    fn corpus(self, folder: &Path, most: usize) -> Result<Corpus> {
        match self {
            Self::Tutorial | Self::Five => Corpus::of_size(folder, most.min(5), 70_000.0),
            Self::Small => Corpus::of_the_web(folder, most.min(10_000), 25_000.0),
            Self::Tiny => Corpus::of_size(folder, most.min(20_000), 2_000.0),
            Self::Large => Corpus::of_size(folder, most.min(20), 10_000_000.0),
            Self::Latency | Self::Hosts | Self::Rough => Corpus::of_the_web(folder, most.min(2_000), 25_000.0),
            Self::Tls => Corpus::of_the_web(folder, most.min(5_000), 25_000.0),
        }
    }

    const fn manner(self) -> Option<Manner> {
        match self {
            Self::Tutorial => Some(Manner { wait: 150, rough: false }),
            Self::Latency => Some(Manner { wait: 50, rough: false }),
            Self::Rough => Some(Manner { wait: 0, rough: true }),
            _ => None,
        }
    }

    /// Runs all peers, round by round, each run into a folder of its own at that place.
    pub fn measure(self, plan: &Plan, place: Place) -> Result<Measured> {
        let served = Served::start(self, plan.files)?;
        let corpus = &served.corpus;
        let suitable = peers::all(corpus.files.len() > 1000).into_iter().filter(|peer| peer.suits(&served.ask));
        let is_chosen = |peer: &Peer| plan.only.is_empty() || plan.only.contains(&peer.name);
        let peers = suitable.filter(is_chosen).collect::<Vec<_>>();
        // One more round warms up, and two runs count.
        let runs = (peers.len() * (plan.rounds + 3)) as u64;
        let room = Room::new(place, corpus.bytes() * runs, corpus.files.len() as u64 * runs)?;
        let series = Series { served: &served, room: &room, place };
        let new =
            |peer: &Peer| Runs { peer: peer.name.clone(), version: peer.version(), counted: vec![], counts: None };
        let mut all = peers.iter().map(new).collect::<Vec<_>>();
        for round in 0..=plan.rounds {
            for (peer, runs) in peers.iter().zip(&mut all) {
                // Slow peers run once, without a warm-up.
                if peer.slow && round != 1 {
                    continue;
                }
                let run = series.run(peer, round)?;
                if round > 0 {
                    let (name, wall, right) = (self.name(), run.taken.wall, run.right);
                    eprintln!("{name:<9} round {round}  {:<16} {wall:7.3} s  {right} right", peer.name);
                    runs.counted.push(run);
                }
            }
        }
        if let Some(counters) = plan.counters {
            for (peer, runs) in peers.iter().zip(&mut all).filter(|(peer, _)| !peer.slow) {
                let line = |by: &str| series.line(peer, by);
                runs.counts = Some(counters.count(line, served.folder.path(), corpus.files.len())?);
                for by in ["perf", "callgrind", "strace"] {
                    series.clear(&series.output(peer, by))?;
                }
            }
        }
        let about = format!("{} files, {:.0} MB", corpus.files.len(), megabytes(corpus.bytes()));
        Ok(Measured { workload: self.name(), place, about, files: corpus.files.len(), peers: all })
    }
}

/// The list of a workload with its servers.
struct Served {
    workload: Workload,
    corpus: Corpus,
    ask: Ask,
    server: Option<Server>,
    nginx: Nginx,
    /// Holds the pictures and lists; removed last.
    folder: TempDir,
}

impl Served {
    fn start(workload: Workload, files: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // nginx's workers run as another user when it is started by root.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let corpus = workload.corpus(&folder.path().join("corpus"), files)?;
        let manner = workload.manner();
        let server = manner.map(|manner| Server::start(&corpus.folder, manner)).transpose()?;
        // nginx has no faults, so its URLs need no first segment that tells the runs apart.
        let nginx = Nginx::start(folder.path(), &corpus.folder)?;
        let hosts = if workload == Workload::Hosts { 200 } else { 0 };
        let ask = Ask {
            authority: (workload == Workload::Tls).then(|| nginx.authority.clone()),
            hosts: (0..hosts).map(|host| format!("h{host:03}.test:{}:127.0.0.1", nginx.port)).collect(),
            rough: workload == Workload::Rough,
            large: workload == Workload::Large,
            wait: manner.map_or(0, |manner| manner.wait),
        };
        Ok(Self { workload, corpus, ask, server, nginx, folder })
    }

    fn url(&self, run: &str, index: usize, name: &str) -> String {
        match (self.workload, &self.server) {
            (_, Some(server)) => format!("http://127.0.0.1:{}/{run}/{name}", server.port),
            (Workload::Hosts, _) => format!("http://h{:03}.test:{}/{name}", index % 200, self.nginx.port),
            (Workload::Tls, _) => format!("https://localhost:{}/{name}", self.nginx.tls_port),
            _ => format!("http://127.0.0.1:{}/{name}", self.nginx.port),
        }
    }
}

/// The runs of a workload at a place.
struct Series<'a> {
    served: &'a Served,
    room: &'a Room,
    place: Place,
}

impl Series<'_> {
    fn run(&self, peer: &Peer, round: usize) -> Result<Run> {
        let line = self.line(peer, &round.to_string())?;
        let taken = measure(&line.words, line.input.as_deref(), MAX_RUN_TIME)?;
        let output = self.output(peer, &round.to_string());
        let right = self.served.corpus.right_in(&output)?;
        self.clear(&output)?;
        Ok(Run { round, taken, right })
    }

    fn output(&self, peer: &Peer, run: &str) -> PathBuf {
        self.room.folder.join(format!("{}-{run}", peer.name))
    }

    /// The command of a run of that name, with its list.
    fn line(&self, peer: &Peer, run: &str) -> Result<Line> {
        let name = format!("{}-{run}", peer.name);
        let mut text = String::new();
        for (index, (file, _)) in self.served.corpus.files.iter().enumerate() {
            writeln!(text, "{}", self.served.url(&name, index, file))?;
        }
        let at = |suffix: &str| self.served.folder.path().join(format!("{name}.{suffix}"));
        fs::write(at("txt"), text)?;
        peer.line(&self.served.ask, &at("txt"), &self.output(peer, run), &at("conf"))
    }

    /// Makes the next run as good as the first: memory is given back, so that the next one gets what the machine has
    /// already provided. On a disk the files stay, because creating files soon after removing many is slow on ext4; but
    /// nothing is left to be written.
    fn clear(&self, output: &Path) -> Result<()> {
        match self.place {
            Place::Disk => self.room.settle(),
            Place::Memory if output.exists() => Ok(fs::remove_dir_all(output)?),
            Place::Memory => Ok(()),
        }
    }
}
