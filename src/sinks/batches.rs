//! A file that only ever grows by whole batches, so that a full disk leaves no half of one.
//!
//! Owns one open file. Does not know what a batch means. The sinks that write logs use it.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A log under construction.
pub struct BatchFile {
    path: PathBuf,
    file: File,
    /// Length of the file up to the end of the last complete batch.
    complete_bytes: u64,
}

impl BatchFile {
    /// A new, empty file in place of what may be there.
    ///
    /// # Errors
    /// The system's, where the file cannot be made.
    pub fn create(path: &Path) -> io::Result<BatchFile> {
        Ok(BatchFile { path: path.to_owned(), file: File::create(path)?, complete_bytes: 0 })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends all of a batch or nothing. A full disk takes a part; that part is cut off again, since
    /// the half of a record would spoil the first one of the next batch as well.
    ///
    /// # Errors
    /// The system's; the file then ends with the batch before.
    pub fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(batch) {
            // Cutting needs no space; where even that fails, readers skip what is broken.
            let _ = self.file.set_len(self.complete_bytes);
            let _ = self.file.seek(SeekFrom::Start(self.complete_bytes));
            return Err(error);
        }
        self.complete_bytes += batch.len() as u64;
        Ok(())
    }
}
