//! The state folder (`--state`): what would be hidden in the output folder is in it instead.
//!
//! It serves one output folder, because the journal names images by their paths in that folder. So the path of the output
//! folder is kept in it, and a run with another output folder is refused.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::record::RunError;
use crate::util::{private_file, real_path};

/// The journal.
pub(super) const JOURNAL: &str = "journal.jsonl";

/// The times of earlier runs.
pub(super) const RUNS: &str = "runs.jsonl";

/// The file with the path of the output folder.
const OUTPUT: &str = "output";

/// Checks whether a folder can be the state folder of this output folder. Neither need exist.
pub(super) fn check(state: &Path, root: &Path) -> Result<(), RunError> {
    let fail = |source| RunError::Output { path: state.to_owned(), source };
    let (real_state, real_root) = (real_path(state).map_err(fail)?, real_path(root).map_err(fail)?);
    if real_state == real_root || real_state.starts_with(real_root.join(private_file::FOLDER)) {
        let sentence = "it is the output folder, which holds the journal without --state; name another one";
        return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, sentence)));
    }
    if real_state.starts_with(&real_root) {
        let sentence =
            "it is inside the output folder, where loaders would look for images in it; name one beside that";
        return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, sentence)));
    }
    match output_of(state).map_err(fail)? {
        Some(other) if other != real_root => {
            let sentence = format!(
                "it is the state of the output folder {}, and each output folder needs one of its own; if that folder has \
                 moved, remove {}",
                other.display(),
                state.join(OUTPUT).display()
            );
            Err(fail(io::Error::new(io::ErrorKind::InvalidInput, sentence)))
        }
        _ => Ok(()),
    }
}

/// Makes a folder, which is there, the state folder of this output folder, unless it is that already.
pub(super) fn claim(state: &Path, root: &Path) -> Result<(), RunError> {
    let path = state.join(OUTPUT);
    let claimed = || {
        if output_of(state)?.is_some() {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(state)?;
        file.write_all(real_path(root)?.as_os_str().as_bytes())?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        Ok(())
    };
    claimed().map_err(|source| RunError::Output { path: path.clone(), source })
}

/// Makes it the state folder of none. The caller knows that nothing else is in it.
pub(super) fn release(state: &Path) {
    let _ = fs::remove_file(state.join(OUTPUT));
}

/// The output folder that a state folder serves. `None` if it serves none yet.
pub(super) fn output_of(state: &Path) -> io::Result<Option<PathBuf>> {
    let mut path = Vec::new();
    match private_file::open(File::options().read(true), &state.join(OUTPUT)) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        opened => opened?.read_to_end(&mut path)?,
    };
    path.pop_if(|last| *last == b'\n');
    // A loss of power may leave an empty file.
    Ok(Some(PathBuf::from(OsString::from_vec(path))).filter(|path| !path.as_os_str().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_serves_one_output_folder_whatever_it_is_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let [state, images, others] = ["state", "images", "others"].map(|name| folder.path().join(name));
        check(&state, &images).expect("nothing is there yet");
        for name in [&state, &images] {
            fs::create_dir(name).expect("a folder");
        }
        claim(&state, &images).expect("claimed");
        claim(&state, &images).expect("claimed already");
        std::os::unix::fs::symlink(&images, folder.path().join("link")).expect("a link");
        for same in ["images", "images/", "./images", "images/../images", "link"] {
            check(&state, &folder.path().join(same)).expect(same);
        }
        for other in [&others, &state.join("below"), &images.join("below")] {
            let error = check(&state, other).expect_err("another folder").to_string();
            assert!(error.contains("it is the state of the output folder") && error.contains("images,"), "{error}");
        }
        for own in [&images, &images.join(".fetchimg"), &images.join(".fetchimg/x"), &folder.path().join("link")] {
            let error = check(own, &images).expect_err("the output itself").to_string();
            assert!(error.contains("name another one"), "{error}");
        }
        for inside in [images.join("state"), images.join(".state/below"), folder.path().join("link/state")] {
            let error = check(&inside, &images).expect_err("inside the output").to_string();
            assert!(error.contains("it is inside the output folder"), "{error}");
        }
        // The file was emptied by a loss of power.
        fs::write(state.join(OUTPUT), "").expect("write");
        check(&state, &others).expect("it serves none");
    }
}
