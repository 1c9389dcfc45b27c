//! Worker processes: fork, the child's first and last steps, death seen through a pidfd.
//!
//! The only place that forks, and only where the process has one thread: a child of a threaded parent
//! may find a lock held by a thread that it does not have. Called by the supervisor, and for the final
//! evaluation; `program.rs` uses the same steps for children that become other programs.

use std::ffi::CString;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, killpg, raise, signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, setpgid};
use rustix::fs::Mode;
use rustix::process::{PidfdFlags, Resource, getrlimit, pidfd_open, setrlimit, umask};

/// Exit status of a worker that ended with an error; it has said why on stderr.
pub const EXIT_ERROR: i32 = 1;
/// Exit status of a worker that found the shared segment damaged.
pub const EXIT_SEGMENT: i32 = 3;
/// Exit status of a learner whose updates were not finite too often in a row.
pub const EXIT_DIVERGED: i32 = 4;
/// Exit status of a worker that panicked, as Rust's own.
pub const EXIT_PANIC: i32 = 101;

/// Descriptors of a worker in the supervisor's hands: its process, and the pipe that it talks through.
const DESCRIPTORS_A_WORKER: u64 = 2;

/// Descriptors beside the workers': segment, channel, signals, standard streams, the run's files, and
/// room for what is opened for a moment.
const SPARE_DESCRIPTORS: u64 = 32;

/// The limit of open files is below what a run needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a run with {n_workers} workers needs {needed} file descriptors, the limit is {limit}; raise it \
     (`ulimit -n {needed}`) or choose fewer actors"
)]
pub struct TooFewDescriptors {
    /// Workers of the run.
    pub n_workers: u64,
    /// Descriptors that it needs.
    pub needed: u64,
    /// The hard limit, which only an administrator raises.
    pub limit: u64,
}

/// Lets this process and its children open what a run of `n_workers` needs, so that none of them meets
/// the limit in the middle of it.
///
/// # Errors
/// If the hard limit is below that.
pub fn allow_descriptors(n_workers: usize) -> Result<(), TooFewDescriptors> {
    let n_workers = n_workers as u64;
    let needed = DESCRIPTORS_A_WORKER * n_workers + SPARE_DESCRIPTORS;
    let mut limits = getrlimit(Resource::Nofile);
    if limits.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let limit = limits.maximum.unwrap_or(needed);
    limits.current = Some(needed);
    // A refusal of the system means that the hard limit is lower, which the error says.
    match setrlimit(Resource::Nofile, limits) {
        Ok(()) if needed <= limit => Ok(()),
        _ => Err(TooFewDescriptors { n_workers, needed, limit }),
    }
}

/// From now on a file that grows beyond what `ulimit -f` allows is an error of its write, as on a full disk,
/// for this process and its children. By default it would be a death, which leaves everything half done.
pub fn survive_large_files() {
    // SAFETY: no handler is installed; to ignore a signal touches nothing of ours.
    let ignored = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    // Refused only for signals that do not exist or cannot be ignored, of which this is none.
    debug_assert!(ignored.is_ok());
}

/// Makes sure that this process can ask how its children ended. A parent that ignores SIGCHLD has its children's
/// children vanish unasked. A handler that there is stays.
fn hear_of_children() {
    if is_ignored(Signal::SIGCHLD) {
        // SAFETY: no handler is installed, and the default one does nothing.
        let restored = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
        // Refused only for signals that do not exist or cannot be ignored, of which this is none.
        debug_assert!(restored.is_ok());
    }
}

/// From now on signals reach this process, whatever mask it was started with: that is what the fork of its
/// parent happened to have, and nobody's wish. Who wants a signal ignored says so, and is heeded.
pub fn unblock_signals() {
    // Refused only for an operation that does not exist.
    let _ = SigSet::all().thread_unblock();
}

/// Whether this process ignores a signal, as one that `nohup` or a script's `&` started does.
pub fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one to where it is told, which is
    // memory of ours of that size.
    let status = unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the call has written it, for it has not failed.
    status == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Ends this process as `ending` would have done, so that whoever started it sees what ended it: a shell
/// leaves its loop, `make` and batch systems take the job for interrupted and not for done.
pub fn end_by(ending: Signal) -> ! {
    // SAFETY: no handler is installed.
    let _ = unsafe { signal(ending, SigHandler::SigDfl) };
    let _ = SigSet::from(ending).thread_unblock();
    let _ = raise(ending);
    // The signal has ended the process, unless it is one that ends none; then its number has to do.
    std::process::exit(128 + ending as i32)
}

/// Leaves this process the user's own rights to the files that it makes, whatever mask it was started with;
/// what others may is for that mask to say.
pub fn keep_own_rights() {
    let inherited = umask(Mode::empty());
    umask(inherited & (Mode::RWXG | Mode::RWXO));
}

/// This process has threads that a forked child would lack, with whatever locks they hold.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "training forks, which a process with one thread alone can do safely, and this one has {n_threads}; train \
     before others are started, or in a process of its own, as `impala train` does"
)]
pub struct TooManyThreads {
    /// Threads of this process.
    pub n_threads: usize,
}

/// Makes sure that this process may fork workers.
///
/// # Errors
/// If it has more than one thread.
pub fn check_one_thread() -> Result<(), TooManyThreads> {
    // Where the kernel does not tell, the caller's word has to do.
    let n_threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if n_threads > 1 { Err(TooManyThreads { n_threads }) } else { Ok(()) }
}

/// Cores that this process and its children may run on.
pub fn n_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// When a process was started, in the kernel's ticks since it began itself: of two processes that had one
/// number, this tells which is meant. `None` for one that has ended, though nobody may have reaped it yet.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, which stands in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X");
    let ticks = fields.nth(18)?.parse().ok()?;
    (!has_ended).then_some(ticks)
}

/// The processes that descend from one. None where there is no such process, or the kernel does not tell.
pub fn descendants(pid: u32) -> Vec<u32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let of_task = |task: std::fs::DirEntry| {
        // A thread may end between the listing and the look at it.
        std::fs::read_to_string(task.path().join("children")).unwrap_or_default()
    };
    let children: String = tasks.flatten().map(of_task).collect();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children.flat_map(|child| std::iter::once(child).chain(descendants(child))).collect()
}

/// A running child process.
#[derive(Debug)]
pub struct Worker {
    pid: Pid,
    pidfd: OwnedFd,
    words: PipeReader,
    /// The beginning of a line whose end has not come yet.
    heard: Vec<u8>,
    last_words: Vec<String>,
}

/// A worker's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub death: Death,
    /// What it had to say about that; empty where it was killed before it could.
    pub last_words: String,
}

/// Longest line of words, bytes: a pipe takes as many whole or not at all.
const MAX_WORDS_BYTES: usize = 4096;

/// Where a worker speaks to its supervisor; empty in the supervisor.
static WORDS: OnceLock<PipeWriter> = OnceLock::new();

/// What a line of words is; its first byte.
#[derive(Clone, Copy)]
enum Words {
    /// Said by a worker that goes on.
    Remark = b'+' as isize,
    /// Why it ends.
    Last = b'!' as isize,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It returned this exit status.
    Exited(i32),
    /// This signal killed it.
    Killed(Signal),
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Death::Exited(EXIT_PANIC) => write!(f, "panicked (exit status {EXIT_PANIC})"),
            Death::Exited(status) => write!(f, "exited with status {status}"),
            Death::Killed(signal) => write!(f, "was killed by {signal}"),
        }
    }
}

impl Worker {
    /// Forks a child that runs `body` and ends with the status it returns.
    ///
    /// The child dies with its parent, is deaf to the terminal's Ctrl-C (its supervisor tells it
    /// when to stop) and never returns from this call.
    ///
    /// # Errors
    /// [`TooManyThreads`]; what `fork` or `pidfd_open` report, such as a process limit reached.
    pub fn spawn(body: impl FnOnce() -> i32) -> io::Result<Worker> {
        let (words, writer) = io::pipe()?;
        // A grandchild might keep the other end open: nobody waits for its words.
        rustix::io::ioctl_fionbio(&words, true)?;
        let parent = getpid();
        match fork_alone()? {
            ForkResult::Parent { child } => {
                let pidfd = watch(child)?;
                Ok(Worker { pid: child, pidfd, words, heard: Vec::new(), last_words: Vec::new() })
            }
            ForkResult::Child => {
                drop(words);
                run_child(parent, writer, body)
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// A descriptor that polls readable once the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether it has ended. Never waits.
    pub fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(self.pidfd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|n_ended| n_ended > 0)
    }

    /// Ends it at once, whatever it does.
    pub fn kill(&self) -> io::Result<()> {
        Ok(kill(self.pid, Signal::SIGKILL)?)
    }

    /// Has it stand still until it is told to go on.
    pub fn pause(&self) -> io::Result<()> {
        Ok(kill(self.pid, Signal::SIGSTOP)?)
    }

    /// Has it go on.
    pub fn go_on(&self) -> io::Result<()> {
        Ok(kill(self.pid, Signal::SIGCONT)?)
    }

    /// Waits for its end and clears it from the process table. What it had started dies with it.
    pub fn reap(mut self) -> io::Result<Ended> {
        let death = reap_with_group(self.pid)?;
        // Whoever wants the remarks of a dead worker has heard them before.
        self.hear();
        Ok(Ended { death, last_words: self.last_words.join("; ") })
    }

    /// What it has remarked since the last call. Never waits.
    pub fn hear(&mut self) -> Vec<String> {
        let mut bytes = [0; MAX_WORDS_BYTES];
        // Words that cannot be read are words that were not said.
        while let Ok(n_bytes @ 1..) = self.words.read(&mut bytes) {
            self.heard.extend_from_slice(&bytes[..n_bytes]);
        }
        let Some(end) = self.heard.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let lines: Vec<u8> = self.heard.drain(..=end).collect();
        let mut remarks = Vec::new();
        for line in String::from_utf8_lossy(&lines).lines() {
            match line.split_at_checked(1) {
                Some(("+", words)) => remarks.push(words.to_owned()),
                Some((_, words)) => self.last_words.push(words.to_owned()),
                None => {}
            }
        }
        remarks
    }
}

/// Forks, where this process has one thread.
///
/// # Errors
/// [`TooManyThreads`]; what `fork` reports, such as a process limit reached.
pub(super) fn fork_alone() -> io::Result<ForkResult> {
    check_one_thread().map_err(io::Error::other)?;
    hear_of_children();
    // Whatever is buffered now would be written twice, by the parent and by the child. A stream that
    // takes nothing is no reason not to go on.
    let _ = io::stdout().flush();
    // SAFETY: this process has one thread, as was just checked as far as the kernel tells, so that the
    // child may use everything its copy of the memory holds, locks and the allocator included.
    Ok(unsafe { fork() }?)
}

/// A descriptor that polls readable once the child has ended. One that cannot be watched does not live on.
pub(super) fn watch(child: Pid) -> io::Result<OwnedFd> {
    let raw = rustix::process::Pid::from_raw(child.as_raw());
    let pid = raw.expect("fork returns a positive process id to the parent");
    pidfd_open(pid, PidfdFlags::empty()).or_else(|error| {
        kill(child, Signal::SIGKILL)?;
        waitpid(child, None)?;
        Err(error.into())
    })
}

/// Ties this process, a child of `parent`, to its parent's life.
pub(super) fn die_with(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // Else the parent died before the line above took effect.
    if getppid() == parent { Ok(()) } else { Err(io::Error::other("the parent is gone")) }
}

/// Waits for a child's end, says how it came, and clears the child from the process table.
pub(super) fn reap(pid: Pid) -> io::Result<Death> {
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(Death::Exited(status)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Death::Killed(signal)),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The same of the leader of a group, whose other processes are killed: nobody else would end a game's server
/// that an environment has started. The group's number is free for others only once its leader is reaped.
fn reap_with_group(leader: Pid) -> io::Result<Death> {
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    while waitid(Id::Pid(leader), ended) == Err(Errno::EINTR) {}
    // Refused where nobody is left, which is the rule.
    let _ = killpg(leader, Signal::SIGKILL);
    reap(leader)
}

/// Gives an open descriptor a number of the caller's choice, which the next program inherits. For a child that
/// is about to become that program: what had the number is lost.
pub(super) fn place_descriptor(fd: BorrowedFd, number: RawFd) -> io::Result<()> {
    // SAFETY: nothing of this process uses what had the number: it ends here, or becomes another program.
    Errno::result(unsafe { libc::dup2(fd.as_raw_fd(), number) })?;
    Ok(())
}

/// Keeps all descriptors from `first` on from the next program. Before Linux 5.11 those alone are kept from it
/// that were opened so, as this program opens its own.
pub(super) fn keep_descriptors_from(first: u32) {
    // SAFETY: only a flag of descriptors is set, which does nothing before this process becomes another program.
    let _ = unsafe { libc::close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) };
}

/// Ends this process without running the parent's destructors or exit handlers.
pub(super) fn leave(status: i32) -> ! {
    // SAFETY: they belong to the parent; all of the child's own resources are the kernel's to free.
    unsafe { libc::_exit(status) }
}

/// Names this process as `ps`, `top` and `perf` show it, so that workers can be told apart.
///
/// # Panics
/// If the name holds a zero byte.
pub fn set_process_name(name: &str) {
    // What the kernel keeps; it would cut a longer name without a word.
    debug_assert!(name.len() <= 15, "{name} is longer than 15 bytes");
    let name = CString::new(name).expect("a process name holds no zero byte");
    // Fails for unreadable memory only. A name is a help to the reader, nothing depends on it.
    let _ = prctl::set_name(&name);
}

/// Says why this worker ends, on stderr and to its supervisor.
pub fn leave_words(words: &str) {
    // A closed stderr takes nothing away from the supervisor's copy.
    let _ = writeln!(io::stderr(), "impala: {words}");
    tell_supervisor(Words::Last, words);
}

/// Ends this worker at once, whatever its other threads do, and says why.
pub fn end_worker(words: &str) -> ! {
    leave_words(words);
    leave(EXIT_ERROR)
}

/// From now on this process is asked to end when the one that started it has died: a launcher that is killed can no
/// longer pass on that the job shall end.
pub fn end_with_launcher() {
    // Refused only for a signal that does not exist.
    let _ = prctl::set_pdeathsig(Signal::SIGTERM);
}

/// Remarks something to the supervisor, which tells the user, while this worker goes on. Never waits: where
/// nobody has listened for long the words are lost. Outside a worker nobody listens.
pub fn remark(words: &str) {
    tell_supervisor(Words::Remark, words);
}

fn tell_supervisor(kind: Words, words: &str) {
    let Some(mut pipe) = WORDS.get() else { return };
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = [&[kind as u8], words.as_bytes()].concat();
    line.truncate(MAX_WORDS_BYTES - 1);
    line.push(b'\n');
    // A supervisor that is gone needs no words.
    let _ = pipe.write(&line);
}

/// The whole life of a child.
fn run_child(parent: Pid, words: PipeWriter, body: impl FnOnce() -> i32) -> ! {
    // A worker must not wait for a supervisor that stands still; without this it only might.
    let _ = rustix::io::ioctl_fionbio(&words, true);
    // Set once: a child forks no child of this kind.
    let _ = WORDS.set(words);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        tell_supervisor(Words::Last, &panic.to_string());
    }));
    let status = match prepare_child(parent) {
        // Nothing of the parent's that the closure borrows is used after an unwind: the process ends.
        Ok(()) => catch_unwind(AssertUnwindSafe(body)).unwrap_or(EXIT_PANIC),
        Err(_) => EXIT_ERROR,
    };
    // A failed flush has nowhere to be reported: the standard streams themselves are gone.
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
    leave(status)
}

/// Ties the child's life to its parent's and gives it signals of its own.
fn prepare_child(parent: Pid) -> io::Result<()> {
    die_with(parent)?;
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    offer_to_be_killed();
    // Of a terminal that stops who writes in the background (`stty tostop`) it wants its last words said.
    // SAFETY: no handler is installed; to ignore a signal touches nothing of ours.
    unsafe { signal(Signal::SIGTTOU, SigHandler::SigIgn) }?;
    // The supervisor blocks the signals it reads from a descriptor; a child inherits the mask.
    Ok(SigSet::all().thread_unblock()?)
}

/// Where memory runs out the kernel kills whom this number is highest of: a worker can be replaced, its
/// supervisor cannot. Half of the scale: what was set for all of a run, to spare or to offer it, still counts.
fn offer_to_be_killed() {
    const FILE: &str = "/proc/self/oom_score_adj";
    let more = || {
        let adjusted: i32 = std::fs::read_to_string(FILE).ok()?.trim().parse().ok()?;
        std::fs::write(FILE, (adjusted + 500).min(1000).to_string()).ok()
    };
    // A system without that file chooses by size, as it would have.
    let _ = more();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_and_its_child_descend_from_this_process() {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "sleep 600 & echo; wait"]).stdout(std::process::Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut line = [0];
        shell.stdout.take().unwrap().read_exact(&mut line).unwrap();
        let found = descendants(std::process::id());
        let child = descendants(shell.id());
        assert!(found.contains(&shell.id()) && child.len() == 1, "{found:?} {child:?}");
        assert!(found.contains(&child[0]), "{found:?}");
        kill(Pid::from_raw(child[0] as i32), Signal::SIGKILL).unwrap();
        shell.wait().unwrap();
        assert!(descendants(shell.id()).is_empty());
    }

    /// The harness runs each test on a thread of its own.
    #[test]
    fn a_process_with_threads_is_not_forked() {
        let error = Worker::spawn(|| 0).unwrap_err();
        assert!(error.to_string().contains("a process with one thread alone"), "{error}");
    }
}
