//! What the process of some environments prints.
//!
//! Goes to a file and never into a pipe, where a process that prints more than somebody reads would wait for
//! ever. Owns the bound on its length.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::base::input::read_at_most;

/// A log that has grown beyond this begins anew.
const MAX_LOG_BYTES: u64 = 1 << 20;

/// The end of a log, of so many bytes, is told where a process died.
const END_BYTES: u64 = 4096;

/// Where a process prints.
#[derive(Debug)]
pub struct Log {
    file: File,
    /// `None` in memory.
    path: Option<PathBuf>,
}

impl Log {
    /// A log of this process's environments in a folder, named after what this process is, or in memory.
    ///
    /// # Errors
    /// If the system refuses it.
    pub fn create(folder: Option<&Path>) -> io::Result<Log> {
        let Some(folder) = folder else {
            let file = memfd_create("impala-env-log", MemfdFlags::CLOEXEC)?;
            // Else what is printed after a cut would lie where it lay before.
            fcntl(file.as_fd(), FcntlArg::F_SETFL(OFlag::O_APPEND))?;
            return Ok(Log { file: file.into(), path: None });
        };
        // Not nix's `prctl::get_name`, which compiled for speed returns zeros.
        let name = fs::read_to_string("/proc/self/comm")?;
        let name = name.trim_end();
        let who = name.strip_prefix("impala-").unwrap_or(name);
        let path = folder.join(format!("env-{who}.log"));
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
        Ok(Log { file, path: Some(path) })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Begins anew, if it has grown too long. A log that cannot be cut is no reason to stop.
    pub fn cut(&self) {
        if self.n_bytes() > MAX_LOG_BYTES {
            let _ = self.file.set_len(0);
        }
    }

    fn n_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |file| file.len())
    }

    /// Its end; nothing where it cannot be read.
    pub fn end(&self) -> String {
        let mut file = &self.file;
        let mut read = || {
            file.seek(SeekFrom::Start(self.n_bytes().saturating_sub(END_BYTES)))?;
            read_at_most(file, MAX_LOG_BYTES)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }
}

impl Drop for Log {
    /// A file in which nothing stands is of use to nobody.
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|_| self.n_bytes() == 0) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_long_log_begins_anew_and_its_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        for log in [Log::create(None).unwrap(), Log::create(Some(folder.path())).unwrap()] {
            let line = [b'x'; 1000];
            for _ in 0..2000 {
                log.file().write_all(&line).unwrap();
                log.cut();
            }
            log.file().write_all(b"the end").unwrap();
            assert!(log.file().metadata().unwrap().len() <= MAX_LOG_BYTES + 2000);
            let end = log.end();
            assert!(end.ends_with("xthe end") && end.len() as u64 == END_BYTES, "{}", end.len());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let folder = tempfile::tempdir().unwrap();
        drop(Log::create(Some(folder.path())).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was printed");
    }
}
