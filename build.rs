//! What only the build knows: facts for a run's `meta.json`, and where libtorch and MPI lie.
//!
//! Owns the `IMPALA_*` variables that `env!` reads in the library and the binary, and the run path of
//! libtorch in every executable of the feature `torch`. Knows nothing of what either is used for.
//! Runs again when a source file or the commit changes, and not otherwise.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What the library and the binary are compiled from; a change elsewhere does not make a build "dirty".
const SOURCES: [&str; 5] = ["Cargo.toml", "Cargo.lock", "build.rs", "src", "bin"];

fn main() {
    if variable("CARGO_CFG_TARGET_OS") != "linux" {
        println!(
            "cargo::error=Linux only: the engine is built on futex, pidfd and PR_SET_PDEATHSIG. \
             Build it on Linux, or in a container or virtual machine that runs Linux."
        );
        return;
    }
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    export("IMPALA_GIT_COMMIT", &git_commit().unwrap_or_else(|| "unknown".to_owned()));
    let rustc_version = output_of(Command::new(variable("RUSTC")).arg("--version"));
    export("IMPALA_RUSTC_VERSION", rustc_version.as_deref().unwrap_or("unknown"));
    export("IMPALA_TARGET", &variable("TARGET"));
    export("IMPALA_PROFILE", &variable("PROFILE"));
    link_run_path_of_libtorch();
    #[cfg(feature = "mpi")]
    mpi::link();
}

/// A variable that cargo sets for every build script.
fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: build.rs is run by cargo"))
}

fn export(name: &str, value: &str) {
    println!("cargo::rustc-env={name}={value}");
}

/// The commit the sources are of, with "-dirty" if they differ from it; `None` outside a git checkout.
fn git_commit() -> Option<String> {
    // A copy of the sources inside another project's checkout has no commit: the prefix is not empty.
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    watch_commit();
    let commit = git(&["rev-parse", "HEAD"])?;
    let status = ["--no-optional-locks", "status", "--porcelain", "--"];
    let changes = git(&[&status[..], &SOURCES[..]].concat())?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

/// Runs the script again after a commit, a checkout or a reset: each of them appends to the log of HEAD.
///
/// Asked of git, because in a linked worktree `.git` is a file. HEAD itself is watched where no log is
/// kept. Only files that exist may be named: cargo takes a missing one as changed at every build.
fn watch_commit() {
    let existing = ["logs/HEAD", "HEAD"]
        .into_iter()
        .filter_map(|file| git(&["rev-parse", "--git-path", file]))
        .find(|path| Path::new(path).exists());
    if let Some(path) = existing {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    output_of(Command::new("git").args(arguments))
}

/// What a command prints, trimmed; `None` if it cannot be run or fails.
fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Lets every executable find libtorch where it was linked, so that no `LD_LIBRARY_PATH` is needed.
///
/// torch-sys says where that is to the packages that depend on it directly; without it there is nothing
/// to do.
fn link_run_path_of_libtorch() {
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB") else { return };
    // The path comes with detours (`.cargo/..`), which must not be needed at run time.
    let lib = fs::canonicalize(&lib).unwrap_or_else(|_| lib.into());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
}

/// The learner's calls of MPI, compiled and linked as the machine's own compiler for MPI does.
#[cfg(feature = "mpi")]
mod mpi {
    use std::env;
    use std::process::Command;

    const SOURCE: &str = "src/learner/cluster/mpi.c";

    pub fn link() {
        println!("cargo::rerun-if-env-changed=MPICC");
        let mpicc = env::var("MPICC").unwrap_or_else(|_| "mpicc".to_owned());
        // Open MPI and MPICH both answer this with the command that they would run.
        let Some(shown) = super::output_of(Command::new(&mpicc).arg("-show")) else {
            println!(
                "cargo::error=the feature mpi needs a compiler for MPI, and `{mpicc} -show` fails; run `tools/mpi.sh`, \
                 or `apt install libopenmpi-dev openmpi-bin`, or name one in MPICC"
            );
            return;
        };
        cc::Build::new().compiler(&mpicc).file(SOURCE).warnings(true).compile("impala_mpi");
        for word in shown.split_whitespace() {
            if let Some(folder) = word.strip_prefix("-L") {
                println!("cargo::rustc-link-search=native={folder}");
            } else if let Some(library) = word.strip_prefix("-l") {
                println!("cargo::rustc-link-lib={library}");
            } else if word.starts_with("-Wl,-rpath") {
                println!("cargo::rustc-link-arg={word}");
            }
        }
    }
}
