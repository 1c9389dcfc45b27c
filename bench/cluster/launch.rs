//! Jobs of Open MPI's mpirun, and the processes of one.
//!
//! Owns the flags with which jobs are started, and how a process is found by its rank. Used by the benchmark and by the
//! tests of several ranks.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::unistd::Pid;

/// An mpirun of so many ranks on this machine.
pub fn mpirun(n_ranks: usize) -> Command {
    let mut mpirun = Command::new("mpirun");
    mpirun.args(["-n", &n_ranks.to_string()]);
    with_flags(&mut mpirun);
    mpirun
}

/// How long a job that is asked to end has for it, s. Open MPI itself gives it 1, and waits the time out in full.
const GRACE_S: &str = "6";

/// Lets root start it, as in a container; leaves the cores to the processes; gives a job that is asked to end some time;
/// and has ranks that wait leave their core to others.
pub fn with_flags(mpirun: &mut Command) {
    for variable in ["OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] {
        mpirun.env(variable, "1");
    }
    mpirun.args(["--oversubscribe", "--bind-to", "none"]);
    mpirun.args([
        "--mca",
        "odls_base_sigkill_timeout",
        GRACE_S,
        "--mca",
        "mpi_yield_when_idle",
        "1",
    ]);
}

/// The processes of a rank with this name.
pub fn named(program: &str, run: &Path, rank: usize, name: &str) -> Vec<Pid> {
    let is_it = |pid: &Pid| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let of_rank = format!("OMPI_COMM_WORLD_RANK={rank}");
        String::from_utf8_lossy(&read("comm")).trim() == name
            && read("environ")
                .split(|byte| *byte == 0)
                .any(|variable| variable == of_rank.as_bytes())
    };
    processes(program, run).into_iter().filter(is_it).collect()
}

/// The processes of a program whose command line names the run.
pub fn processes(program: &str, run: &Path) -> Vec<Pid> {
    let run = run.as_os_str().as_encoded_bytes();
    let names_run = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        words.next() == Some(program.as_bytes()) && words.any(|word| word == run)
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(names_run).map(Pid::from_raw).collect()
}
