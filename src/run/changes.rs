//! Compares the images that earlier runs saved with what this run would make, row by row.
//!
//! Nothing is made anew because a wish has changed: what is saved is skipped, and the report tells how many images were
//! made with other wishes. With `--remake`, just these are made anew.
//!
//! The records of versions before 0.2 do not state their wishes, and look like those of a run without any. What can be told
//! of them is what they show: an image that has an `original` was resized or encoded, though it is not known how, so it is
//! told only where this run asks for neither, or for another format. One without was stored as it was received.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use memchr::memmem::Finder;

use super::earlier::{EarlierRecord, EarlierWishes, Received};
use super::{Options, wishes};
use crate::fetch::{self, Exclusion, StoredImage, Verify};
use crate::journal::{Journal, Key, StoredFile};
use crate::naming::{Content, NameMatch, Namer, PlannedName, with_format, with_suffix};
use crate::record::{Algorithm, FetchError, Format, Job, MadeWith, RunError, Wishes, url_hash};
use crate::report::{Changed, ChangedWish, MAX_NAMES_LISTED, Made, NameChange};
use crate::sink::OnConflict;
use crate::sink::folder::names::NameCounts;

/// What is to happen to a row whose image is saved.
#[derive(Debug)]
pub enum Verdict {
    /// The image stays as it is.
    Keep,
    /// It is made anew.
    Remake(Remake),
    /// It is removed, because a filter refuses it.
    Refuse(FetchError),
}

/// How an image is made anew.
#[derive(Debug)]
pub struct Remake {
    /// Its name, which may have another extension than before.
    pub name: PlannedName,
    /// What happens when there is a file of that name.
    pub on_conflict: OnConflict,
    /// The stored file, if the image can be made from it.
    pub stored: Option<Box<StoredImage>>,
}

/// The row of an image that is saved.
#[derive(Clone, Copy)]
pub struct SavedRow<'a> {
    pub job: &'a Job,
    pub key: Key,
    pub file: &'a StoredFile,
    /// Its record, as a line of the journal.
    pub line: &'a [u8],
}

/// The formats of an image before and after it is made anew, if these differ.
#[derive(Clone, Copy, Debug)]
struct FormatChange(Option<(Format, Format)>);

impl FormatChange {
    /// The path with the extension of the format after, if its extension is of the one before.
    fn rename(self, path: &str) -> Option<String> {
        self.0.and_then(|(from, to)| with_format(path, from, to))
    }
}

/// What the record of the row says for which a file was stored that other rows have too.
#[derive(Clone, Debug)]
struct Owner {
    /// The offset of the record in the journal.
    offset: u64,
    format: Option<Format>,
    sha256: Option<Box<str>>,
    /// The file is not the image as it was received.
    is_made: bool,
}

impl Owner {
    fn of(line: &[u8], offset: u64) -> Option<Self> {
        let record = EarlierRecord::read(line)?;
        let sha256 = record.digest(Algorithm::Sha256).map(Into::into);
        Some(Self { offset, format: record.format, sha256, is_made: record.original.is_some() })
    }

    /// What names depend on.
    fn content(&self, fix_extension: bool) -> Content<'_> {
        Content { format: self.format, sha256: self.sha256.as_deref(), fix_extension: fix_extension || self.is_made }
    }
}

/// Compares saved images with the wishes of this run, and counts those that differ.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the run")]
pub struct Changes {
    wishes: Wishes,
    /// What the records of this run have of their wishes, or, if these are the defaults, what no such record has.
    fields: Vec<Finder<'static>>,
    fetch: fetch::Options,
    depends_on_row: bool,
    remakes: bool,
    renames: bool,
    /// Names are reserved for all rows, saved ones too (see [`Changes::planning`]).
    reserves_all: bool,
    /// Nothing is done.
    is_plan: bool,
    /// The records that name each file, where new names are compared with them in a plan.
    named: Option<NameCounts>,
    hasher: RandomState,
    /// Names of images that this run fetches or gives another extension, where images are made anew.
    claimed: HashSet<u64>,
    /// Names of images that several rows have and that are made anew, and their formats before and after, if these differ.
    shared: HashMap<u64, FormatChange>,
    /// Names of images that several rows have, where files are renamed, and what the record of the row says for which each
    /// was stored.
    owners: HashMap<u64, Owner>,
    remaking: HashSet<Key>,
    /// New rows whose names have a suffix that they would not have in an empty folder.
    suffixed: HashSet<Key>,
    /// Saved images with such a name. They are told where others would get other names, too: else the names without a suffix
    /// are those of rows that are not in the list.
    suffixed_images: u64,
    counted: BTreeMap<(String, Made), u64>,
    changed: Changed,
}

impl Changes {
    /// Compares with what a run with these options makes.
    pub fn new(options: &Options) -> Self {
        let wishes = wishes::of(options);
        let made_with = MadeWith::of(&wishes);
        let finder = |field: String| Finder::new(&field).into_owned();
        let fields = match made_with.json() {
            Some(json) => vec![finder(format!("\"{}\":{}", MadeWith::FIELD, json.get()))],
            None => [MadeWith::FIELD, "original"].map(|field| finder(format!("\"{field}\":"))).into(),
        };
        Self {
            wishes,
            fields,
            fetch: options.fetch.clone(),
            depends_on_row: options.template.depends_on_row(),
            remakes: options.remake,
            renames: options.rename,
            reserves_all: false,
            is_plan: false,
            named: None,
            hasher: RandomState::default(),
            claimed: HashSet::new(),
            shared: HashMap::new(),
            owners: HashMap::new(),
            remaking: HashSet::new(),
            suffixed: HashSet::new(),
            suffixed_images: 0,
            counted: BTreeMap::new(),
            changed: Changed::default(),
        }
    }

    /// Whether images are made anew (`--remake`).
    #[must_use]
    pub const fn remakes(&self) -> bool {
        self.remakes
    }

    /// For a dry run: with `--rename`, rows get the names that the list gives now, whether they are saved or not. `named`
    /// has the records that name each file then.
    #[must_use]
    pub fn planning(mut self, named: Option<NameCounts>) -> Self {
        (self.reserves_all, self.is_plan, self.named) = (self.renames, true, named);
        self
    }

    /// With `--remake`, finds out which of the images will be made anew that rows have of other rows, because of the same
    /// content. The record of such a row does not tell how its image was made, and may come first in the list. With
    /// `--rename`, finds the records that tell it.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn find_shared(&mut self, journal: &mut Journal) -> Result<(), RunError> {
        if !self.remakes && !self.renames {
            return Ok(());
        }
        let mut shared = HashSet::new();
        journal.each_living(|file, _, _| {
            if !file.is_own {
                shared.insert(self.hash(&file.path));
            }
        })?;
        if shared.is_empty() {
            return Ok(());
        }
        let (mut remade, mut owners) = (HashMap::new(), HashMap::new());
        journal.each_living(|file, line, offset| {
            let hash = self.hash(&file.path);
            if !file.is_own || !shared.contains(&hash) {
                return;
            }
            if self.renames
                && let Some(owner) = Owner::of(line, offset)
            {
                owners.insert(hash, owner);
            }
            if self.remakes
                && let Some(formats) = self.formats_if_remade(line)
            {
                remade.insert(hash, formats);
            }
        })?;
        (self.shared, self.owners) = (remade, owners);
        Ok(())
    }

    /// The offset of the record of the row for which the file of this path was stored, if other rows have it too and files
    /// are renamed.
    #[must_use]
    pub fn owner_of(&self, path: &str) -> Option<u64> {
        self.owners.get(&self.hash(path)).map(|owner| owner.offset)
    }

    /// The formats of an image before and after, if these differ. `None` if it is not made anew.
    fn formats_if_remade(&self, line: &[u8]) -> Option<FormatChange> {
        if self.is_as_wished(line) {
            return None;
        }
        let record = EarlierRecord::read(line)?;
        let before = record.made_with()?;
        let is_refused = self.fetch.exclusion(record.received().seen(), None).is_some();
        let differs = is_refused || !self.differences(&record, &before).is_empty();
        differs.then(|| self.formats(&record))
    }

    /// The formats of an image before and after it is made anew, if these differ.
    fn formats(&self, record: &EarlierRecord) -> FormatChange {
        FormatChange(record.format.zip(self.target(&record.received())).filter(|(from, to)| from != to))
    }

    /// Takes a name of a row whose image is missing, where all names are reserved. It is fetched under the name that it
    /// had, if it had one.
    pub fn pass_by(&self, job: &Job, namer: &mut Namer) {
        if self.reserves_all {
            namer.reserve(job);
        }
    }

    /// Notes the name that a new row got, so that no image that is made anew gets it.
    pub fn note_reserved(&mut self, (job, key): (&Job, Key), name: &PlannedName, namer: &Namer) {
        if let Some(path) = name.known().filter(|_| self.remakes) {
            self.claimed.insert(self.hasher.hash_one(path.to_lowercase()));
        }
        if !self.renames && namer.has_needless_suffix(job, name) {
            self.suffixed.insert(key);
        }
    }

    /// Counts a saved row, and decides what is to happen to it. `is_free` says that no file has a path.
    pub fn judge(&mut self, row: SavedRow<'_>, namer: &mut Namer, is_free: impl Fn(&str) -> bool) -> Verdict {
        let SavedRow { job, file, line, .. } = row;
        let planned = self.reserves_all.then(|| namer.reserve(job));
        if !file.is_own {
            if let (Some(planned), Some(owner)) = (&planned, self.owners.get(&self.hash(&file.path))) {
                let new = new_name(planned, owner.content(self.fetch.fix_extension), namer);
                if let Some(new) = new.filter(|name| name.path != file.path) {
                    self.plan_rename(&file.path, new.path, &is_free);
                }
            }
            return self.judge_shared(row, namer, planned);
        }
        let is_as_wished = self.is_as_wished(line);
        // Nearly all rows of nearly all runs end here.
        if is_as_wished && !self.depends_on_row && planned.is_none() {
            return Verdict::Keep;
        }
        let Some(record) = EarlierRecord::read(line) else { return Verdict::Keep };
        // The wishes of a later version may mean anything.
        let Some(before) = record.made_with() else { return Verdict::Keep };
        let mut differences = Vec::new();
        if !is_as_wished {
            let received = record.received();
            let seen = received.seen();
            if let Some(Exclusion { flag, error }) = self.fetch.exclusion(seen, None) {
                return self.refuse(flag, error.by_wish(seen), &file.path);
            }
            differences = self.differences(&record, &before);
        }
        // What a run renames first.
        let mut path = file.path.clone();
        if let Some(planned) = &planned {
            let new = new_name(planned, self.content(&record), namer).filter(|name| name.path != file.path);
            if let Some(new) = new.and_then(|name| self.plan_rename(&file.path, name.path, &is_free)) {
                path = new;
            }
        } else {
            // Before a pass that renames, all files were moved that can be.
            let count = match (self.match_name(row, (&record, &before.wishes), namer), self.renames) {
                (NameMatch::Possible, _) | (NameMatch::Suffixed, true) => None,
                (NameMatch::Suffixed, false) => Some(&mut self.suffixed_images),
                (NameMatch::Other, true) => Some(&mut self.changed.names_kept),
                (NameMatch::Other, false) => Some(&mut self.changed.names),
            };
            if let Some(count) = count {
                *count += 1;
            }
        }
        if differences.is_empty() {
            return Verdict::Keep;
        }
        if self.remakes {
            let moved = &StoredFile { path, ..file.clone() };
            let remake = self.remake(SavedRow { file: moved, ..row }, &record, namer, is_free);
            self.plan_remake(&file.path, &remake.name);
            return Verdict::Remake(remake);
        }
        self.changed.images += 1;
        for wish in differences {
            *self.counted.entry(wish).or_default() += 1;
        }
        Verdict::Keep
    }

    /// Whether the record states the wishes of this run, without reading it as JSON. A column of the list may have the same
    /// text, and is taken for that.
    fn is_as_wished(&self, line: &[u8]) -> bool {
        let is_found = |finder: &Finder| finder.find(line).is_some();
        if self.fields.len() == 1 { is_found(&self.fields[0]) } else { !self.fields.iter().any(is_found) }
    }

    /// Decides about a row that has the file of another row, because that had the same content.
    fn judge_shared(&mut self, row: SavedRow<'_>, namer: &mut Namer, planned: Option<PlannedName>) -> Verdict {
        let path = &row.file.path;
        let Some(formats) = self.shared.get(&self.hash(path)).copied() else { return Verdict::Keep };
        let from = path.clone();
        let renamed = formats.rename(path);
        self.remaking.insert(row.key);
        let (name, on_conflict) = if namer.is_content_addressed() {
            (namer.reuse(renamed.unwrap_or_else(|| path.clone())), OnConflict::Replace)
        } else {
            (planned.unwrap_or_else(|| namer.reserve(row.job)), OnConflict::Keep)
        };
        self.plan_remake(&from, &name);
        // The other row may have a new file already.
        Verdict::Remake(Remake { name, on_conflict, stored: None })
    }

    /// Counts a file that would be renamed in a dry run. Returns the name that it would get, if it would get that one.
    fn plan_rename(&mut self, from: &str, to: String, is_free: impl Fn(&str) -> bool) -> Option<String> {
        // A file that no record names was not written by fetchimg, and stays.
        if !is_free(&to) && self.named.as_ref().is_some_and(|named| !named.is_named(&to)) {
            self.changed.names_kept += 1;
            return None;
        }
        let changed = &mut self.changed;
        changed.names += 1;
        changed.to_rename += 1;
        if changed.first_renamed.len() < MAX_NAMES_LISTED {
            changed.first_renamed.push(NameChange { from: from.to_owned(), to: to.clone() });
        }
        Some(to)
    }

    /// Counts an image that would be made anew in a dry run.
    fn plan_remake(&mut self, from: &str, to: &PlannedName) {
        if !self.is_plan {
            return;
        }
        let changed = &mut self.changed;
        changed.to_remake += 1;
        if changed.first_remade.len() < MAX_NAMES_LISTED {
            changed.first_remade.push(NameChange { from: from.to_owned(), to: to.preview().path });
        }
    }

    fn refuse(&mut self, flag: String, error: FetchError, path: &str) -> Verdict {
        if self.remakes {
            // A dry run removes nothing, and tells what would be.
            if self.is_plan {
                self.changed.to_remove += 1;
                if self.changed.first_removed.len() < MAX_NAMES_LISTED {
                    self.changed.first_removed.push(path.to_owned());
                }
            }
            return Verdict::Refuse(error);
        }
        self.changed.refused += 1;
        *self.changed.refused_by.entry(flag).or_default() += 1;
        Verdict::Keep
    }

    /// How an image differs from what this run would make: wishes as they are typed, and whether it was made with them.
    fn differences(&self, record: &EarlierRecord, before: &EarlierWishes) -> Vec<(String, Made)> {
        let now = &self.wishes;
        let mut wishes = self.differences_in_pixels(record, before);
        let before = &before.wishes;
        let is_image = record.format.is_some();
        match self.fetch.wanted.verify {
            // What no decoder supports is recorded as checked, too.
            Verify::Decode if record.verified.is_none() && is_image && before.verify != now.verify => {
                wishes.push(("--verify decode".into(), Made::Without));
            }
            Verify::Structure if before.verify.as_deref() == Some("none") => {
                wishes.push(("--verify none".into(), Made::With));
            }
            _ => {}
        }
        let lacks = |algorithm: &&Algorithm| !record.has_digest(**algorithm);
        let lacking = self.fetch.wanted.digests.iter().filter(lacks).map(|a| a.name()).collect::<Vec<_>>();
        if !lacking.is_empty() {
            wishes.push((format!("--hash {}", lacking.join(",")), Made::Without));
        }
        // An image without Exif data, and one that no decoder supports, has no such field, though it was asked for.
        if now.phash && !before.phash && record.phash.is_none() && is_image {
            wishes.push(("--phash".into(), Made::Without));
        }
        if now.exif && !before.exif && record.exif.is_none() && is_image {
            wishes.push(("--exif".into(), Made::Without));
        }
        wishes
    }

    /// The wishes because of which the file would have other bytes.
    fn differences_in_pixels(&self, record: &EarlierRecord, before: &EarlierWishes) -> Vec<(String, Made)> {
        let EarlierWishes { wishes: before, are_stated } = before;
        let now = &self.wishes;
        let encode = |to: &str| (format!("--encode {to}"), Made::Without);
        let has_format = |name: &str| record.format.is_some_and(|format| format.name() == name);
        let Some(original) = &record.original else { return self.differences_of_received(record) };
        if !are_stated {
            return match &now.encode {
                // The format shows that it was made otherwise.
                Some(to) if !has_format(to) => vec![encode(to)],
                None if now.resize.is_none() => vec![("--resize or --encode".into(), Made::With)],
                _ => Vec::new(),
            };
        }
        let mut wishes = Vec::new();
        match (&before.resize, &now.resize) {
            // One that fits into the box would be made as before.
            (None, Some(_)) if !self.would_resize(&record.received()) => {}
            (before, Some(now)) if before.as_ref() != Some(now) => {
                wishes.push((format!("--resize {now}"), Made::Without));
            }
            (Some(_), None) => wishes.push(("--resize".into(), Made::With)),
            (Some(_), Some(_)) => {
                if before.resize_mode != now.resize_mode {
                    let mode = now.resize_mode.as_deref().unwrap_or("keep-ratio");
                    wishes.push((format!("--resize-mode {mode}"), Made::Without));
                }
                // Others are not enlarged in any case.
                if before.enlarge != now.enlarge && record.smaller_than_box {
                    wishes.push(("--enlarge".into(), if now.enlarge { Made::Without } else { Made::With }));
                }
            }
            _ => {}
        }
        match (&before.encode, &now.encode) {
            (_, Some(to)) if !has_format(to) => wishes.push(encode(to)),
            (Some(_), None) if record.format != Some(original.format) => {
                wishes.push(("--encode".into(), Made::With));
            }
            _ => {}
        }
        let is_lossy = matches!(record.format, Some(Format::Jpeg | Format::Webp));
        if wishes.is_empty() && before.quality != now.quality && is_lossy {
            let quality = now.quality.map_or_else(|| "90".to_owned(), |quality| quality.to_string());
            wishes.push((format!("--quality {quality}"), Made::Without));
        }
        wishes
    }

    /// The wishes because of which an image that is stored as it was received would be stored otherwise. One that is as
    /// small as this run wants it would stay as it is.
    #[cfg(feature = "transform")]
    fn differences_of_received(&self, record: &EarlierRecord) -> Vec<(String, Made)> {
        use crate::image::transform::Encoding;

        let mut wishes = Vec::new();
        let received = record.received();
        let (Some(plan), Some(format)) = (&self.fetch.plan, received.format) else { return wishes };
        if let Some(resize) = self.wishes.resize.as_ref().filter(|_| self.would_resize(&received)) {
            wishes.push((format!("--resize {resize}"), Made::Without));
        }
        if let Some(target) = plan.target.filter(|target| Encoding::of(format) != Some(*target)) {
            wishes.push((format!("--encode {}", target.format().name()), Made::Without));
        }
        wishes
    }

    #[cfg(not(feature = "transform"))]
    #[expect(clippy::unused_self, reason = "with the feature, it has a plan")]
    fn differences_of_received(&self, _: &EarlierRecord) -> Vec<(String, Made)> {
        Vec::new()
    }

    /// Whether this run gives an image another size or shape.
    #[cfg(feature = "transform")]
    fn would_resize(&self, received: &Received) -> bool {
        use crate::image::transform::is_resized;

        let resizes = |size| self.fetch.plan.as_ref().is_some_and(|plan| is_resized(size, received.orientation, plan));
        received.size.is_some_and(resizes)
    }

    #[cfg(not(feature = "transform"))]
    #[expect(clippy::unused_self, reason = "with the feature, it has a plan")]
    const fn would_resize(&self, _: &Received) -> bool {
        false
    }

    /// The format in which this run stores an image.
    #[cfg(feature = "transform")]
    fn target(&self, received: &Received) -> Option<Format> {
        use crate::image::transform::stored_format;

        let (format, Some(plan)) = (received.format?, &self.fetch.plan) else { return received.format };
        Some(stored_format(format, self.would_resize(received), plan))
    }

    #[cfg(not(feature = "transform"))]
    #[expect(clippy::unused_self, reason = "with the feature, it has a plan")]
    const fn target(&self, received: &Received) -> Option<Format> {
        received.format
    }

    /// How the name of an image agrees with the one that the list gives now. Only names that no order of the rows would
    /// give are told: which of two rows with one basename has the plain name is known only if all names are remembered.
    fn match_name(
        &self,
        SavedRow { job, file, .. }: SavedRow<'_>,
        (record, before): (&EarlierRecord, &Wishes),
        namer: &Namer,
    ) -> NameMatch {
        let now = &self.wishes;
        let may_differ = self.depends_on_row || before.name != now.name || before.fix_extension != now.fix_extension;
        if may_differ { namer.match_name(job, &file.path, self.content(record)) } else { NameMatch::Possible }
    }

    /// What names depend on.
    pub fn content<'a>(&self, record: &'a EarlierRecord) -> Content<'a> {
        Content {
            format: record.format,
            sha256: record.digest(Algorithm::Sha256),
            // Images that were made anew have the extension of their format.
            fix_extension: self.fetch.fix_extension || record.original.is_some(),
        }
    }

    fn remake(
        &mut self,
        SavedRow { job, key, file, .. }: SavedRow<'_>,
        record: &EarlierRecord,
        namer: &mut Namer,
        is_free: impl Fn(&str) -> bool,
    ) -> Remake {
        let path = &file.path;
        let formats = self.formats(record);
        self.remaking.insert(key);
        let stored = record.stored_image(path);
        let renamed = formats.rename(path);
        if namer.is_content_addressed() {
            let name = if self.renames {
                namer.reserve(job)
            } else {
                namer.reuse(renamed.clone().unwrap_or_else(|| path.clone()))
            };
            if name.known().is_none() {
                return Remake { name, on_conflict: OnConflict::Replace, stored };
            }
        }
        let hash = url_hash(&job.url);
        let suffixed = |name: &String, length: usize| with_suffix(name, &hash[..length], true);
        let mut candidates = renamed.iter().flat_map(|name| {
            std::iter::once(name.clone()).chain([8, 16, 64].into_iter().map(|length| suffixed(name, length)))
        });
        let mut is_unclaimed =
            |name: &String| is_free(name) && self.claimed.insert(self.hasher.hash_one(name.to_lowercase()));
        let new = candidates.find(|name| is_unclaimed(name));
        let on_conflict = if new.is_some() { OnConflict::Keep } else { OnConflict::Replace };
        Remake { name: namer.reuse(new.unwrap_or_else(|| path.clone())), on_conflict, stored }
    }

    fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path)
    }

    /// To be called when a row has an image that was downloaded or made anew with this number of requests.
    pub fn note_saved(&mut self, key: Key, attempts: u32) {
        self.suffixed_images += u64::from(self.suffixed.remove(&key));
        if self.remaking.remove(&key) {
            self.changed.remade += 1;
            self.changed.remade_from_files += u64::from(attempts == 0);
        }
    }

    /// Counts a file that was removed, because a filter refuses its image.
    pub const fn note_removed(&mut self) {
        self.changed.removed += 1;
    }

    /// Counts a row that keeps the file of another one, because its own name belongs to another file.
    pub const fn note_name_kept(&mut self) {
        self.changed.names_kept += 1;
    }

    /// Counts files that got other names before the pass.
    pub const fn note_renamed(&mut self, files: u64) {
        self.changed.renamed += files;
    }

    /// What was counted.
    pub fn changed(&self) -> Changed {
        let wish = |((flag, made), images): (&(String, Made), &u64)| ChangedWish {
            flag: flag.clone(),
            made: *made,
            images: *images,
        };
        let mut wishes = self.counted.iter().map(wish).collect::<Vec<_>>();
        wishes.sort_by(|one, other| other.images.cmp(&one.images).then_with(|| one.cmp(other)));
        let names = match self.changed.names {
            0 => 0,
            names => names + self.suffixed_images,
        };
        Changed { wishes, names, ..self.changed.clone() }
    }
}

/// The name that the list gives to an image now. `None` if it is told only by the server, or by a digest that is not known.
pub fn new_name(planned: &PlannedName, content: Content<'_>, namer: &Namer) -> Option<crate::naming::FinalName> {
    let is_known = !planned.awaits_server_name() && (content.sha256.is_some() || !namer.wants_sha256());
    is_known.then(|| planned.finish(content.format, content.fix_extension, content.sha256))
}
