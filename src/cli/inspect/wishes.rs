//! What the user of the screen wants, by a key or by a signal; or that there is no user any more.
//!
//! Owns the terminal's input. Keys are read here and not through crossterm, whose reader never returns
//! once the terminal is gone: it takes the end of the input, or the error that stands for it, as no key
//! yet, and tries again for ever. `screen.rs` asks.

use std::fs::File;
use std::io::{self, IsTerminal, Read, stdin};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::os::signals::asking_to_end;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Tells that the terminal has a new size.
const RESIZED: Signal = Signal::SIGWINCH;

/// The byte of the Escape key, with which those of other keys begin.
const ESCAPE: u8 = 0x1b;

/// The byte of Ctrl-C where it is not made a signal.
const CTRL_C: u8 = 0x03;

/// What came of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing but that the screen be up to date, also in a new size.
    Go,
    /// To see the processes that stand so many lines below, or above where it is negative.
    Scroll(i32),
    /// The user wants to leave.
    Leave,
    /// There is no terminal any more to show anything on.
    Gone,
}

/// The terminal's keys, and the process's signals.
pub struct Wishes {
    keys: File,
    signals: SignalFd,
}

impl Wishes {
    /// Listens from now on.
    pub fn listen() -> io::Result<Wishes> {
        // They are read, so that they cannot end the process on a changed terminal.
        let mut listened = asking_to_end();
        // A new size of the terminal is a signal too.
        listened.add(RESIZED);
        listened.thread_block()?;
        let signals =
            SignalFd::with_flags(&listened, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let keys = match stdin().is_terminal() {
            true => stdin().as_fd().try_clone_to_owned()?.into(),
            false => File::open("/dev/tty")?,
        };
        Ok(Wishes { keys, signals })
    }

    /// Waits for a wish, no longer than this.
    pub fn wait(&mut self, longest: Duration) -> io::Result<Wish> {
        let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
        let polled = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut polled = [polled(self.keys.as_fd()), polled(self.signals.as_fd())];
        poll(&mut polled, timeout)?;
        // A terminal that hangs up is readable too: what is read says so.
        let has_keys = polled[0].any().unwrap_or(true);
        let leaves =
            self.signals.read_signal()?.is_some_and(|signal| signal.ssi_signo != RESIZED as u32);
        match leaves {
            true => Ok(Wish::Leave),
            false if has_keys => self.read_keys(),
            false => Ok(Wish::Go),
        }
    }

    fn read_keys(&mut self) -> io::Result<Wish> {
        let mut bytes = [0; 64];
        match self.keys.read(&mut bytes) {
            Ok(0) => Ok(Wish::Gone),
            Ok(n_read) => Ok(wish_of(&bytes[..n_read])),
            Err(error) if is_gone(&error) => Ok(Wish::Gone),
            Err(error) => Err(error),
        }
    }
}

/// Whether this is how a system call on a terminal fails that has disappeared.
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EIO as i32)
}

/// Keys that scroll, as a terminal sends them in either of its modes, and by how many lines.
const SCROLLING: [(&[u8], i32); 8] = [
    (b"\x1b[A", -1),
    (b"\x1bOA", -1),
    (b"k", -1),
    (b"\x1b[B", 1),
    (b"\x1bOB", 1),
    (b"j", 1),
    (b"\x1b[5~", -10),
    (b"\x1b[6~", 10),
];

/// q, Ctrl-C, or Escape on its own leaves: with more behind it, it is the beginning of another key.
fn wish_of(bytes: &[u8]) -> Wish {
    let leaves = match bytes {
        [ESCAPE, more @ ..] => more.is_empty(),
        keys => keys.contains(&b'q') || keys.contains(&CTRL_C),
    };
    match lines_of(bytes) {
        _ if leaves => Wish::Leave,
        0 => Wish::Go,
        n_lines => Wish::Scroll(n_lines),
    }
}

/// By how many lines these keys scroll: one that is held down comes several times at once.
fn lines_of(mut bytes: &[u8]) -> i32 {
    let mut n_lines = 0;
    while let [_, rest @ ..] = bytes {
        let key = SCROLLING.iter().find_map(|(key, n)| Some((bytes.strip_prefix(*key)?, n)));
        (bytes, n_lines) = key.map_or((rest, n_lines), |(rest, n)| (rest, n_lines + n));
    }
    n_lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_keys_leave_and_no_others() {
        assert_eq!([&b"q"[..], b"\x1b", b"\x03", b"xq"].map(wish_of), [Wish::Leave; 4]);
        assert_eq!([&b"x"[..], b"\x1b[C", b"\x1b[24;3q", b" "].map(wish_of), [Wish::Go; 4]);
    }

    #[test]
    fn arrows_and_pages_scroll_as_often_as_they_come() {
        for (bytes, n_lines) in
            [(&b"\x1b[A"[..], -1), (b"\x1bOB", 1), (b"jjk", 1), (b"\x1b[6~\x1b[6~\x1b[A", 19)]
        {
            assert_eq!(wish_of(bytes), Wish::Scroll(n_lines), "{bytes:?}");
        }
    }
}
