//! The files of a shard that is being made.
//!
//! Two of them wait in the private folder until the shard is complete: the tar file, and a log with the records of rows that
//! have no sample. Samples are appended one after the other, so a killed run leaves at most the last one incomplete. The next
//! run walks over the tar file, cuts that end off, and knows from the records inside which rows are there. So there is no
//! index that could differ from the file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::sample::{Sample, SampleLayout};
use super::tar::{self, TarEnd};
use crate::record::hex;
use crate::sink::body::Body;
use crate::util::private_file::{self, remove_if_there};
use crate::util::run_id;

/// Lines of the log are written once they have this many bytes, if they are not flushed earlier.
const LOG_BUFFER_BYTES: usize = 64 * 1024;

/// The paths of the files.
#[derive(Debug)]
pub struct Scratch {
    /// The tar file.
    pub tar: PathBuf,
    /// The log of the rows without a sample.
    pub log: PathBuf,
    /// For the table of the shard.
    pub table: PathBuf,
}

impl Scratch {
    /// The files of the shard `name` in a folder.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let path = |extension: &str| folder.join(format!("{name}.{extension}"));
        Self { tar: path("tar"), log: path("jsonl"), table: path("parquet") }
    }

    /// What to do so that the shard `name` of a folder begins anew, as the clause of a message.
    pub fn remedy(folder: &Path, name: &str) -> String {
        let files = folder.join(format!("{name}.*"));
        format!("remove {}, and the same command begins this shard anew", files.display())
    }

    /// Removes the files. The log is the last, because it tells that there are others.
    ///
    /// # Errors
    /// When a file is there and cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        [&self.tar, &self.table, &self.log].into_iter().try_for_each(|path| remove_if_there(path))
    }
}

/// Removes what killed runs have left of a shard that is complete, unless a run that goes on holds it.
pub fn remove_abandoned(folder: &Path, name: &str) {
    let is_of_shard = |stem: &str| match stem.strip_prefix(name) {
        Some("") => true,
        // The identifier of a run that made the shard at the same time as another one.
        Some(rest) => {
            rest.strip_prefix('-').is_some_and(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        }
        None => false,
    };
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_of_shard(stem)) else {
            continue;
        };
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        // What cannot be removed does no harm: the shard is complete.
        if private_file::open(OpenOptions::new().read(true), &path).is_ok_and(|log| log.try_lock().is_ok()) {
            let _ = Scratch::new(folder, stem).remove();
        }
    }
}

/// The first line of a log.
#[derive(Debug, Serialize, Deserialize)]
pub struct LogHeader {
    /// The name of the shard.
    pub shard: String,
    /// The digest of the options that decide what is in the shard.
    pub settings: String,
    /// The boot of the machine, or a word that stands for any if files are flushed to the disk.
    pub boot: String,
}

/// Where the parts of a sample are in the tar file.
#[derive(Clone, Copy, Debug)]
pub struct SamplePosition {
    /// Where the image begins.
    pub image: u64,
    /// The bytes of the image.
    pub image_length: u64,
    record: u64,
    record_length: u32,
}

/// Where a record is in the log.
#[derive(Clone, Copy, Debug)]
pub struct LogPosition {
    offset: u64,
    length: u32,
}

/// Which of the files holds the record of a row.
#[derive(Clone, Copy, Debug)]
pub enum RecordPlace {
    /// The tar file, with the image.
    Tar(SamplePosition),
    /// The log.
    Log(LogPosition),
}

/// A row that a killed run has settled.
#[derive(Debug)]
pub struct Settled {
    /// Its number in the list.
    pub index: u64,
    /// The SHA-256 of its image, if it is known.
    pub sha256: Option<String>,
    /// Where its record is.
    pub place: RecordPlace,
}

/// The fields of a record that say which row it is about, and how it ended.
#[derive(Deserialize)]
struct LineFields {
    index: u64,
    status: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    retryable: bool,
    #[serde(default)]
    sha256: Option<String>,
}

/// The files, open.
#[derive(Debug)]
pub struct ScratchFiles {
    tar: File,
    /// The bytes of complete samples.
    tar_length: u64,
    tar_digest: Sha256,
    log: File,
    log_length: u64,
    unwritten: Vec<u8>,
}

/// The files of a complete shard.
#[derive(Debug)]
pub struct FinishedFiles {
    /// The tar file.
    pub tar: File,
    /// Its size.
    pub tar_bytes: u64,
    /// Its digest.
    pub tar_sha256: String,
    log: File,
}

impl FinishedFiles {
    /// The record of a sample, as a line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn record(&self, position: &SamplePosition) -> io::Result<Vec<u8>> {
        read_at(&self.tar, position.record, position.record_length)
    }

    /// A record of the log, as a line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn logged(&self, position: LogPosition) -> io::Result<Vec<u8>> {
        read_at(&self.log, position.offset, position.length)
    }
}

impl ScratchFiles {
    /// Opens the files of the shard `name` in `folder`. `is_shared`: other runs may be making the same shard. Then each has
    /// files of its own.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub fn open(folder: &Path, name: &str, is_shared: bool) -> io::Result<(Scratch, Self)> {
        let (scratch, log) = open_log(folder, name, is_shared)?;
        let mut open = OpenOptions::new();
        let tar = private_file::open(open.create(true).truncate(false).read(true).write(true), &scratch.tar)?;
        let (tar_digest, unwritten) = (Sha256::new(), Vec::new());
        Ok((scratch, Self { tar, tar_length: 0, tar_digest, log, log_length: 0, unwritten }))
    }

    /// Opens what a killed run has left of the shard `name` in `folder`, without a change to it; `None` if that is nothing,
    /// or a run that goes on holds it.
    ///
    /// # Errors
    /// When a file is there and cannot be opened.
    pub fn look(folder: &Path, name: &str) -> io::Result<Option<Self>> {
        let scratch = Scratch::new(folder, name);
        let open = |path: &Path| match private_file::open(OpenOptions::new().read(true), path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        };
        let (Some(log), Some(tar)) = (open(&scratch.log)?, open(&scratch.tar)?) else { return Ok(None) };
        if matches!(log.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)) {
            return Ok(None);
        }
        // A run that begins meanwhile must not take it for one that is held.
        let _ = log.unlock();
        let (tar_digest, unwritten) = (Sha256::new(), Vec::new());
        Ok(Some(Self { tar, tar_length: 0, tar_digest, log, log_length: 0, unwritten }))
    }

    /// The header of the log that a killed run has left.
    pub fn read_header(&mut self) -> Option<LogHeader> {
        let mut line = String::new();
        // What is not UTF-8 is no header.
        let _ = BufReader::new(&self.log).read_line(&mut line);
        let header = serde_json::from_str(&line).ok().filter(|_| line.ends_with('\n'))?;
        self.log_length = line.len() as u64;
        Some(header)
    }

    /// Empties the files, and begins the log.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn begin(&mut self, header: &LogHeader) -> io::Result<()> {
        self.tar.set_len(0)?;
        self.log.set_len(0)?;
        self.log_length = 0;
        self.unwritten = serde_json::to_vec(header)?;
        self.unwritten.push(b'\n');
        self.flush()
    }

    /// Appends a sample.
    ///
    /// # Errors
    /// When it cannot be written. Nothing of it is in the file then.
    pub fn append(&mut self, sample: &Sample, body: &mut Body<'_>) -> io::Result<SamplePosition> {
        struct Digesting<'a>(&'a File, &'a mut Sha256);

        impl io::Write for Digesting<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let count = self.0.write(bytes)?;
                self.1.update(&bytes[..count]);
                Ok(count)
            }

            fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
                let count = self.0.write_vectored(slices)?;
                let mut left = count;
                for slice in slices {
                    let taken = left.min(slice.len());
                    self.1.update(&slice[..taken]);
                    left -= taken;
                }
                Ok(count)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let mut digest = self.tar_digest.clone();
        if let Err(error) = sample.write(body, &mut Digesting(&self.tar, &mut digest)) {
            // The next sample goes where this one began. What is left of this one is cut off by the next run otherwise.
            let _ = self.tar.set_len(self.tar_length);
            self.tar.seek(SeekFrom::Start(self.tar_length))?;
            return Err(error);
        }
        self.tar_digest = digest;
        let SampleLayout { image, image_length, record, record_length, length } = sample.layout();
        let begin = self.tar_length;
        self.tar_length += length;
        Ok(SamplePosition { image: begin + image, image_length, record: begin + record, record_length })
    }

    /// Appends a record to the log, without its line end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn log(&mut self, line: &[u8]) -> io::Result<LogPosition> {
        let offset = self.log_length + self.unwritten.len() as u64;
        self.unwritten.extend_from_slice(line);
        self.unwritten.push(b'\n');
        if self.unwritten.len() >= LOG_BUFFER_BYTES {
            self.flush()?;
        }
        Ok(LogPosition { offset, length: u32::try_from(line.len()).unwrap_or(u32::MAX) })
    }

    /// Writes the records that have come since the last call.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.log.seek(SeekFrom::Start(self.log_length))?;
        if let Err(error) = (&self.log).write_all(&self.unwritten) {
            let _ = self.log.set_len(self.log_length);
            return Err(error);
        }
        self.log_length += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Goes on with what a killed run has left: cuts off the incomplete ends, and finds the rows that are settled, those with
    /// a sample first. To be called behind [`ScratchFiles::read_header`].
    ///
    /// # Errors
    /// When a file cannot be read or cut.
    pub fn recover(&mut self) -> io::Result<Vec<Settled>> {
        let settled = self.find()?;
        self.log.set_len(self.log_length)?;
        self.tar.set_len(self.tar_length)?;
        self.tar.seek(SeekFrom::Start(0))?;
        let mut piece = vec![0; 1 << 18];
        loop {
            match self.tar.read(&mut piece)? {
                0 => break,
                count => self.tar_digest.update(&piece[..count]),
            }
        }
        Ok(settled)
    }

    /// Finds the rows that a killed run has settled, those with a sample first, and changes nothing. To be called behind
    /// [`ScratchFiles::read_header`].
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn find(&mut self) -> io::Result<Vec<Settled>> {
        let mut image = None;
        let mut samples = Vec::new();
        let length = self.tar.metadata()?.len();
        let end = tar::walk(&mut self.tar, length, |entry| {
            if entry.is_record() {
                if let Some((image, image_length)) = image.take() {
                    let record_length = u32::try_from(entry.length).unwrap_or(u32::MAX);
                    let position = SamplePosition { image, image_length, record: entry.offset, record_length };
                    samples.push((position, entry.end()));
                }
            } else if image.is_none() {
                image = Some((entry.offset, entry.length));
            }
        })?;
        let (TarEnd::Complete(_) | TarEnd::Torn(_)) = end;
        let mut settled = Vec::with_capacity(samples.len());
        for (position, end) in samples {
            let line = read_at(&self.tar, position.record, position.record_length)?;
            let Ok(fields) = serde_json::from_slice::<LineFields>(&line) else { break };
            settled.push(Settled { index: fields.index, sha256: fields.sha256, place: RecordPlace::Tar(position) });
            self.tar_length = end;
        }
        self.find_in_log(&mut settled)?;
        Ok(settled)
    }

    fn find_in_log(&mut self, settled: &mut Vec<Settled>) -> io::Result<()> {
        (&self.log).seek(SeekFrom::Start(self.log_length))?;
        let mut lines = BufReader::new(&self.log);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            let Some(text) = line.strip_suffix(b"\n") else { break };
            // A row that may succeed now is tried again.
            if let Ok(fields) = serde_json::from_slice::<LineFields>(text)
                && fields.status != "skipped"
                && !fields.retryable
            {
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                let place = RecordPlace::Log(LogPosition { offset: self.log_length, length });
                settled.push(Settled { index: fields.index, sha256: None, place });
            }
            self.log_length += line.len() as u64;
            line.clear();
        }
        Ok(())
    }

    /// The record of a sample, as a line.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn record(&self, position: &SamplePosition) -> io::Result<Vec<u8>> {
        read_at(&self.tar, position.record, position.record_length)
    }

    /// A record of the log, as a line.
    ///
    /// # Errors
    /// When the log cannot be written or read.
    pub fn logged(&mut self, position: LogPosition) -> io::Result<Vec<u8>> {
        self.flush()?;
        read_at(&self.log, position.offset, position.length)
    }

    /// Ends the tar file.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(mut self) -> io::Result<FinishedFiles> {
        self.flush()?;
        self.tar.write_all(&tar::END)?;
        self.tar_digest.update(tar::END);
        Ok(FinishedFiles {
            tar_bytes: self.tar_length + tar::END.len() as u64,
            tar_sha256: hex(&self.tar_digest.finalize()),
            tar: self.tar,
            log: self.log,
        })
    }
}

/// Opens the log of a shard, and locks it if other runs may be making the same shard: then each has files of its own.
fn open_log(folder: &Path, name: &str, is_shared: bool) -> io::Result<(Scratch, File)> {
    let mut own = name.to_owned();
    loop {
        let scratch = Scratch::new(folder, &own);
        let mut open = OpenOptions::new();
        let log = private_file::open(open.create(true).truncate(false).read(true).write(true), &scratch.log)?;
        if !is_shared {
            return Ok((scratch, log));
        }
        if matches!(log.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
            own = format!("{name}-{}", run_id::unique());
            continue;
        }
        // The run that had it locked may have removed it.
        if std::fs::symlink_metadata(&scratch.log)
            .is_ok_and(|there| log.metadata().is_ok_and(|own| own.ino() == there.ino()))
        {
            return Ok((scratch, log));
        }
    }
}

fn read_at(file: &File, at: u64, length: u32) -> io::Result<Vec<u8>> {
    let mut line = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut line, at)?;
    Ok(line)
}

/// The path in a record, if it is that of a saved image.
pub fn path_of(line: &[u8]) -> Option<String> {
    serde_json::from_slice::<LineFields>(line).ok().filter(|fields| fields.status == "saved")?.path
}
