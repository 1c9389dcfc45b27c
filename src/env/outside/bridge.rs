//! The process of some environments, and the way to it: a socket for words, memory for numbers.
//!
//! The memory is read and written by system calls and never mapped here: whatever an environment does to it,
//! nothing changes under the reader, and a file cut short is a short read. Owns the process, which ends with
//! it, and what it prints. Knows no word but the refusal. Driven by `vector.rs` and by the probe in `mod.rs`.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, preadv};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use super::super::EnvArgs;
use super::Launch;
use super::error::OutsideError;
use super::log::Log;
use super::protocol::MAX_MESSAGE_BYTES;
use super::source::Source;
use crate::os::program::{FIRST_DESCRIPTOR, Program};

/// The engine's own worker for environments of Python.
pub const WORKER: &str = include_str!("worker.py");

/// Descriptor of the process through which a Python reads [`WORKER`]: after those of socket and memory.
const WORKER_DESCRIPTOR: i32 = FIRST_DESCRIPTOR + 2;

/// How often somebody who waits for the process looks around.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// How long a process may take to close its environments, or to end after its last word.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// So many messages pass between two looks at the length of the log.
const MESSAGES_A_CUT: u32 = 64;

/// How a message that is a refusal begins.
const REFUSAL: u8 = b'!';

/// A process and the way to it.
#[derive(Debug)]
pub struct Bridge {
    /// `None` once the process was told that no more will be asked.
    socket: Option<OwnedFd>,
    memory: File,
    log: Log,
    program: Program,
    /// What was run, and what that has to be.
    run: (PathBuf, &'static str),
    message: Box<[u8]>,
    n_messages: u32,
}

impl Bridge {
    /// Starts the process of a source; nothing is said yet. Forks.
    ///
    /// # Errors
    /// [`OutsideError`] for a source that is not there, or where the system refuses.
    pub fn start(
        source: Source,
        args: &EnvArgs,
        launch: &Launch,
        logs: Option<&Path>,
    ) -> Result<Bridge, OutsideError> {
        let worker = format!("/proc/self/fd/{WORKER_DESCRIPTOR}");
        let mut command = source.command(Path::new(&worker), args, launch)?;
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(refused("a socket"))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(LOOK_AROUND))
            .map_err(refused("a socket"))?;
        let memory = memory("impala-env").map_err(refused("memory"))?;
        let code = memory_with(WORKER).map_err(refused("memory"))?;
        let log = Log::create(logs).map_err(|source| system("a log", source))?;
        let descriptors = [theirs.as_fd(), memory.as_fd(), code.as_fd()];
        let program = Program::start(&mut command, log.file(), &descriptors);
        Ok(Bridge {
            socket: Some(socket),
            memory,
            log,
            run: (command.get_program().into(), source.must_be()),
            program: program.map_err(|source| system("a process", source))?,
            message: vec![0; MAX_MESSAGE_BYTES].into(),
            n_messages: 0,
        })
    }

    /// Sends a message. A process that is gone is met by [`Bridge::hear`], which knows why.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn say(&mut self, message: &[u8]) -> Result<(), OutsideError> {
        let Some(socket) = &self.socket else { return Ok(()) };
        match send(socket, message, SendFlags::NOSIGNAL) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(refused("a message")(errno)),
        }
    }

    /// Waits for the next message, as long as `goes_on` says so, which is asked every 50 ms; `None` where it
    /// did not.
    ///
    /// # Errors
    /// [`OutsideError::Told`] for a refusal, [`OutsideError::Died`] where the process ended.
    pub fn hear(
        &mut self,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<&[u8]>, OutsideError> {
        let mut is_over = false;
        let n_bytes = loop {
            match self.receive() {
                Ok(0) => return Err(self.death()),
                Ok(n_bytes) => break n_bytes,
                Err(Errno::AGAIN) if is_over => return Err(self.death()),
                Err(Errno::AGAIN) => {
                    self.log.cut();
                    // Its own children may hold the socket of a process that is gone.
                    is_over = self.program.ends_within(Duration::ZERO);
                }
                // It ended before it read what we said; its last words are still to come.
                Err(Errno::CONNRESET | Errno::INTR) => {}
                Err(errno) => return Err(refused("a message")(errno)),
            }
            if !goes_on() {
                return Ok(None);
            }
        };
        self.n_messages = self.n_messages.wrapping_add(1);
        if self.n_messages.is_multiple_of(MESSAGES_A_CUT) {
            self.log.cut();
        }
        match &self.message[..n_bytes] {
            [REFUSAL, text @ ..] => {
                Err(OutsideError::Told(String::from_utf8_lossy(text).trim_end().to_owned()))
            }
            _ => Ok(Some(&self.message[..n_bytes])),
        }
    }

    fn receive(&mut self) -> Result<usize, Errno> {
        let Some(socket) = &self.socket else { return Ok(0) };
        recv(socket, &mut self.message[..], RecvFlags::empty()).map(|(n_bytes, _)| n_bytes)
    }

    /// Gives the memory its length.
    ///
    /// # Errors
    /// If there is not so much.
    pub fn lay_out(&self, n_bytes: usize) -> Result<(), OutsideError> {
        self.memory.set_len(n_bytes as u64).map_err(|source| system("memory", source))
    }

    /// Writes bytes into the memory from `offset` on.
    ///
    /// # Errors
    /// If there is not so much.
    pub fn write(&self, bytes: &[u8], offset: usize) -> Result<(), OutsideError> {
        let written = self.memory.write_all_at(bytes, offset as u64);
        written.map_err(|source| system("memory", source))
    }

    /// Reads the memory from `offset` on into two rooms, one behind the other.
    ///
    /// # Errors
    /// If it has been cut short.
    pub fn read(&self, rooms: [&mut [u8]; 2], offset: usize) -> Result<(), OutsideError> {
        let n_bytes: usize = rooms.iter().map(|room| room.len()).sum();
        match preadv(&self.memory, &mut rooms.map(IoSliceMut::new), offset as u64) {
            Ok(n_read) if n_read == n_bytes => Ok(()),
            Ok(_) => Err(system("memory", io::ErrorKind::UnexpectedEof.into())),
            Err(errno) => Err(refused("memory")(errno)),
        }
    }

    #[cold]
    fn death(&mut self) -> OutsideError {
        // One that has closed its socket is of no use, and may still be writing its last words.
        self.program.ends_within(CLOSE_GRACE);
        match self.program.end() {
            Ok(death) if self.n_messages == 0 => {
                let (program, must) = self.run.clone();
                OutsideError::Mute { death, program, must, printed: self.log.end() }
            }
            Ok(death) => OutsideError::Died { death, printed: self.log.end() },
            Err(source) => system("the end of a process", source),
        }
    }
}

impl Drop for Bridge {
    /// Lets the environments be closed, for a moment.
    fn drop(&mut self) {
        self.socket = None;
        self.program.ends_within(CLOSE_GRACE);
    }
}

fn memory(name: &str) -> Result<File, Errno> {
    memfd_create(name, MemfdFlags::CLOEXEC).map(File::from)
}

fn memory_with(text: &str) -> Result<File, Errno> {
    let file = memory("impala-env-worker")?;
    file.write_all_at(text.as_bytes(), 0).map_err(|_| Errno::NOMEM)?;
    Ok(file)
}

fn refused(what: &'static str) -> impl Fn(Errno) -> OutsideError {
    move |errno| system(what, errno.into())
}

fn system(what: &'static str, source: io::Error) -> OutsideError {
    OutsideError::System { what, source }
}
