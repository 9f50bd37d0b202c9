//! Where the programs write: into memory, or onto a disk with a new file system of its own.
//!
//! The disk is a journaled ext4 in a file, mounted through a loop device with direct I/O, so that blocks are cached once
//! as on a real disk. It is made anew for every list and thrown away with all its files: creating files on ext4 soon
//! after many were removed is up to twenty times as slow. The file has no name once it is mounted, the loop device is
//! released with its mount, and the mount ends with the last process of the benchmark, which runs in a mount namespace of
//! its own: nothing is left behind if the benchmark fails or is interrupted.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;
use tempfile::TempDir;

use crate::common::Result;

/// The first argument of the benchmark in its own mount namespace.
pub const WORD: &str = "in-own-namespace";

/// A file system in memory of most Linux systems.
const MEMORY: &str = "/dev/shm";

/// Where the file with the ext4 is made: a folder for large files, which is not in memory.
const IMAGES: &str = "/var/tmp";

/// The type of a file system in memory (`TMPFS_MAGIC`, statfs(2)).
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// Where the programs write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A file system in memory.
    Memory,
    /// A new ext4 on a disk.
    Disk,
}

impl Place {
    /// Those of a word: `memory`, `disk`, or `both`.
    pub fn by_name(name: &str) -> Option<Vec<Self>> {
        match name {
            "memory" => Some(vec![Self::Memory]),
            "disk" => Some(vec![Self::Disk]),
            "both" => Some(vec![Self::Disk, Self::Memory]),
            _ => None,
        }
    }

    /// What the tables call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "in memory",
            Self::Disk => "on a disk (new ext4)",
        }
    }
}

/// Replaces this process by one in its own mount namespace. Returns only if that is not possible, with the reason.
pub fn enter_namespace() -> String {
    if !fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        return "only root can mount a file system".to_owned();
    }
    if let Err(error) = succeed("unshare", &["--mount", "true"]) {
        return error.to_string();
    }
    let Ok(program) = std::env::current_exe() else { return "the benchmark does not find itself".to_owned() };
    let arguments = std::env::args_os().skip(1);
    let failed = Command::new("unshare").args(["--mount", "--"]).arg(program).arg(WORD).args(arguments).exec();
    format!("unshare cannot be started ({failed})")
}

/// Makes a small disk, to see whether that is possible.
pub fn try_disk() -> Result<()> {
    Room::on_disk(16 << 20, 100).map(drop)
}

/// A folder for the files of a list, removed when dropped.
pub struct Room {
    /// The folder.
    pub folder: PathBuf,
    /// What is mounted there, which must go first.
    _mount: Option<Mount>,
    _home: TempDir,
}

impl Room {
    /// Room for this number of bytes in this number of files.
    pub fn new(place: Place, bytes: u64, files: u64) -> Result<Self> {
        match place {
            Place::Memory => Self::in_memory(),
            Place::Disk => Self::on_disk(bytes, files),
        }
    }

    fn in_memory() -> Result<Self> {
        let is_memory = |folder: &Path| rustix::fs::statfs(folder).is_ok_and(|system| system.f_type == TMPFS);
        let folders = [std::env::temp_dir(), MEMORY.into()];
        let folder = folders.iter().find(|folder| is_memory(folder)).unwrap_or(&folders[0]);
        let home = tempfile::tempdir_in(folder)?;
        Ok(Self { folder: home.path().to_owned(), _mount: None, _home: home })
    }

    fn on_disk(bytes: u64, files: u64) -> Result<Self> {
        // A file has at most one block that is not full, an inode, and its place in a folder. The journal takes up to a
        // gigabyte.
        let size = (bytes + files * 5000) * 9 / 8 + (1 << 30);
        let system = rustix::fs::statvfs(IMAGES)?;
        let free = system.f_bavail * system.f_frsize;
        if free < size {
            return Err(format!("{IMAGES} has {} MB free, and {} MB are needed", free >> 20, size >> 20).into());
        }
        let home = tempfile::tempdir()?;
        let image = tempfile::NamedTempFile::new_in(IMAGES)?;
        image.as_file().set_len(size)?;
        let path = image.path().to_string_lossy();
        let inodes = (files + 10_000).to_string();
        // All is written now; otherwise the kernel would do it while the programs run.
        let at_once = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        succeed("mkfs.ext4", &["-q", "-F", "-N", &inodes, "-E", at_once, &path])?;
        let device = succeed("losetup", &["--direct-io=on", "--show", "-f", &path])?;
        let device = device.trim();
        let folder = home.path().to_string_lossy();
        let mounted = succeed("mount", &["-t", "ext4", "-o", "noatime", device, &folder]);
        // From now on the device is there for its mount only, or it is gone.
        let detached = succeed("losetup", &["-d", device]);
        mounted?;
        let mount = Mount(home.path().to_owned());
        detached?;
        let folder = home.path().join("files");
        fs::create_dir(&folder)?;
        Ok(Self { folder, _mount: Some(mount), _home: home })
    }

    /// Waits until all files are on the disk, so that the next program does not wait for the files of this one.
    pub fn settle(&self) -> Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.folder)?)?)
    }
}

/// A mounted file system, unmounted when dropped.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Runs a command that must succeed, and returns its output.
fn succeed(program: &str, arguments: &[&str]) -> Result<String> {
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = ran.map_err(|error| format!("{program} cannot be started ({error})"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} failed ({})", message.lines().next().unwrap_or("without a message").trim()).into())
}
