//! Files that anybody may have written: read whole, or refused before their size can do harm.
//!
//! Owns the bound on what is read. Knows nothing of what a file means; each reader names the largest
//! size that its format can need. Called by everything that reads a configuration, a checkpoint or the
//! files of a run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The bytes of a reader that has `max_bytes` at most. A pipe or a device is read no further than that.
///
/// # Errors
/// What the reader says, or that there is more to read.
pub fn read_at_most(reader: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= max_bytes {
        return Ok(bytes);
    }
    Err(io::Error::other(format!(
        "it has more than the {max_bytes} bytes that such a file can need"
    )))
}

/// As [`read_at_most`], of UTF-8.
///
/// # Errors
/// What the reader says, that there is more to read, or that it is not UTF-8.
pub fn read_text_at_most(reader: impl Read, max_bytes: u64) -> io::Result<String> {
    String::from_utf8(read_at_most(reader, max_bytes)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("byte {at} of it is not UTF-8"))
    })
}

/// Opens a file that must be an ordinary one: opening a pipe would wait for a writer that never comes.
///
/// # Errors
/// What the system says, or that it is something else than a file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        return File::open(path);
    }
    Err(io::Error::other("it is not an ordinary file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_file_is_refused_at_the_bound() {
        let error = read_at_most(File::open("/dev/zero").unwrap(), 1000).unwrap_err();
        assert!(error.to_string().contains("more than the 1000 bytes"), "{error}");
        assert_eq!(read_at_most(&[7; 1000][..], 1000).unwrap(), [7; 1000]);
    }

    #[test]
    fn text_that_is_none_says_where() {
        let error = read_text_at_most(&b"abc\xff"[..], 10).unwrap_err();
        assert!(error.to_string().contains("byte 3"), "{error}");
        assert_eq!(read_text_at_most(&b"abc"[..], 10).unwrap(), "abc");
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            assert!(open_regular(path).is_err(), "{}", path.display());
        }
        assert!(open_regular(Path::new("Cargo.toml")).is_ok());
    }
}
