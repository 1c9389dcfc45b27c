//! A run's claim on its folder: while one process writes there, no other run begins or goes on in it.
//!
//! The kernel holds the claim for as long as a process of the run lives, and drops it however that ends. So there is
//! no file that could be left behind.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use super::dir::RunDirError;

/// The claim; dropped with the last process that has it. Where the file system knows no locks there is none.
#[derive(Debug)]
pub struct Claim {
    _folder: Option<File>,
}

impl Claim {
    /// The claim on a folder, which is made where there is none.
    ///
    /// # Errors
    /// [`RunDirError::InUse`], [`RunDirError::Create`].
    pub fn on(path: &Path) -> Result<Claim, RunDirError> {
        let refused = |source| RunDirError::Create { path: path.to_owned(), source };
        if path.exists() && !path.is_dir() {
            // Whoever opens the run says what it is.
            return Ok(Claim { _folder: None });
        }
        fs::create_dir_all(path).map_err(refused)?;
        let folder = File::open(path).map_err(refused)?;
        match folder.try_lock() {
            Ok(()) => Ok(Claim { _folder: Some(folder) }),
            Err(TryLockError::WouldBlock) => Err(RunDirError::InUse(path.to_owned())),
            Err(TryLockError::Error(_)) => Ok(Claim { _folder: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_runs_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new/run");
        let claim = Claim::on(&path).unwrap();
        assert!(matches!(Claim::on(&path), Err(RunDirError::InUse(of)) if of == path));
        drop(claim);
        Claim::on(&path).unwrap();
    }
}
