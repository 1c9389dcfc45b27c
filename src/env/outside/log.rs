//! What the process of some environments prints.
//!
//! Goes to a file and never into a pipe, where a process that prints more than somebody reads would wait for
//! ever. Owns the bound on its length.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::base::input::read_at_most;

/// A log that has grown beyond this begins anew.
const MAX_LOG_BYTES: u64 = 1 << 20;

/// The end of a log, of so many bytes, is told where a process died.
const END_BYTES: u64 = 4096;

/// Where a process prints.
#[derive(Debug)]
pub struct Log(File);

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
            return Ok(Log(file.into()));
        };
        let name = prctl::get_name()?;
        let name = name.to_string_lossy();
        let who = name.strip_prefix("impala-").unwrap_or(&name);
        let path = folder.join(format!("env-{who}.log"));
        Ok(Log(OpenOptions::new().create(true).append(true).read(true).open(path)?))
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.0
    }

    /// Begins anew, if it has grown too long. A log that cannot be cut is no reason to stop.
    pub fn cut(&self) {
        if self.0.metadata().is_ok_and(|file| file.len() > MAX_LOG_BYTES) {
            let _ = self.0.set_len(0);
        }
    }

    /// Its end; nothing where it cannot be read.
    pub fn end(&self) -> String {
        let mut file = &self.0;
        let mut read = || {
            let start = file.metadata()?.len().saturating_sub(END_BYTES);
            file.seek(SeekFrom::Start(start))?;
            read_at_most(file, MAX_LOG_BYTES)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
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
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
