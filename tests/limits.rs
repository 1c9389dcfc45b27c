//! What a machine runs out of: shared memory, disk, descriptors, processes, a folder to write to. Training
//! goes on where it can; where it cannot, it ends with a message that says what was missing and what to
//! do, and leaves nothing behind. Each test starts the real binary.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

/// Bounds a hang; a loaded machine may take long for what takes a second.
const WATCHDOG_S: &str = "240";

/// Some fifty updates, each with a row of its own.
const SETTINGS: &str = "frames = 30_000\n[report]\nrows = 1_000\neval_episodes = 3\n";

/// A folder with settings in it, and a place for a run.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("settings.toml"), SETTINGS).unwrap();
        fs::create_dir(folder.path().join("mount")).unwrap();
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a shell script in which `$IMPALA` is the binary and `$TRAIN` a training, in this folder. By
    /// way of `wrapper`, if that is not empty.
    fn shell(&self, wrapper: &[&str], script: &str) -> Output {
        let impala = env!("CARGO_BIN_EXE_impala");
        let line =
            [&["timeout", "--kill-after=10", WATCHDOG_S], wrapper, &["sh", "-c", script]].concat();
        Command::new(line[0])
            .args(&line[1..])
            .current_dir(self.folder.path())
            .env("IMPALA", impala)
            .env("TRAIN", format!("{impala} train --config settings.toml"))
            .env("RUST_BACKTRACE", "0")
            .output()
            .unwrap()
    }

    /// The same as root of a user namespace, where mounts are ours alone; `None`, loudly, where the system
    /// does not permit that.
    fn with_mounts(&self, script: &str) -> Option<Output> {
        let unshare = ["unshare", "-rm"];
        let may_mount = self.shell(&unshare, "mount -t tmpfs tmpfs mount");
        if may_mount.status.success() {
            return Some(self.shell(&unshare, script));
        }
        println!("SKIPPED: mounting for a test needs `unshare -rm`, which is not permitted here");
        None
    }
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// The end had this status, no process of ours panicked, and the message has these parts.
fn assert_ended(output: &Output, status: i32, parts: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for part in parts {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn too_little_shared_memory_is_refused_before_anything_starts() {
    let place = Place::new();
    let script = "mount -t tmpfs -o size=200k tmpfs /dev/shm && $TRAIN --run-dir run; \
                  status=$?; ls -A /dev/shm; exit $status";
    let Some(output) = place.with_mounts(script) else { return };
    assert_ended(
        &output,
        2,
        &[
            "/dev/shm is too small",
            "204800 are free",
            "or choose fewer actors",
            "per_actor=19` fits",
        ],
    );
    assert!(output.stdout.is_empty(), "nothing is left in /dev/shm: {}", said(&output));
    assert!(!place.path("run").exists());
}

/// A disk with room for the first files of a run, which then fills: the run trains to its end and says
/// what it could not write.
#[test]
fn a_full_disk_costs_files_and_not_the_training() {
    let place = Place::new();
    let script = "mount -t tmpfs -o size=96k tmpfs mount && $TRAIN --run-dir mount/run; \
                  status=$?; cp mount/run/metrics.csv .; exit $status";
    let Some(output) = place.with_mounts(script) else { return };
    let warning = "No space left on device (os error 28); see whether the disk is full";
    let end = "not solved; ended because the frame budget was consumed";
    assert_ended(&output, 1, &[warning, "training goes on", end]);
    let said = said(&output);
    assert!(said.lines().last().unwrap().contains("not all of it is on disk: lost "), "{said}");
    let warnings = said.lines().filter(|line| line.contains("metrics.csv: No space")).count();
    assert!(warnings <= 3, "what is wrong again and again is said once a minute: {said}");
    let metrics = fs::read_to_string(place.path("metrics.csv")).unwrap();
    let columns: Vec<usize> = metrics.lines().map(|row| row.split(',').count()).collect();
    assert!(metrics.ends_with('\n') && columns.len() > 1, "{metrics}");
    assert!(columns.iter().all(|n| *n == columns[0]), "half a row is left: {metrics}");
}

/// Files that may not grow further, as on a full disk; and shared memory is a file too.
#[test]
fn a_limit_of_file_size_costs_files_and_not_the_training() {
    let place = Place::new();
    // A row of metrics each 80 frames, in small slots.
    let run = "--actors 1 --set actors.envs_per_actor=4 --frames 60000 --set report.rows=100000";
    let limited = format!("exec prlimit --fsize=200000 -- $TRAIN {run} --run-dir run");
    let output = place.shell(&[], &limited);
    assert_ended(&output, 1, &["metrics.csv: File too large", "training goes on", "60000 frames"]);
    let metrics = fs::read_to_string(place.path("run/metrics.csv")).unwrap();
    assert!(metrics.ends_with('\n') && metrics.lines().count() > 10, "whole rows stay");

    let before = shared_memory_names();
    let output =
        place.shell(&[], "exec prlimit --fsize=4096 -- $TRAIN --frames 2000 --run-dir small");
    assert_ended(&output, 1, &["cannot create shared memory", "`ulimit -f`"]);
    assert!(!place.path("small").exists());
    // Of runs beside this one a name is there for microseconds.
    let is_clean = |_| {
        sleep(Duration::from_millis(50));
        shared_memory_names().is_subset(&before)
    };
    assert!((0..100).any(is_clean), "a name is left in /dev/shm");
}

/// A disk that fills up in the middle of a run, and is freed again: training goes on, what was due meanwhile
/// is missing and counted, what comes later is written, and no half of a file is left.
#[test]
fn a_disk_that_is_full_for_a_while_costs_what_was_due_then() {
    let place = Place::new();
    let script = "mount -t tmpfs -o size=8m tmpfs mount; newest() { ls mount/run/checkpoints | tail -1; }; \
                  $TRAIN --frames 10000000000 --set report.rows=1000000 --set checkpoint.interval_s=0.2 \
                  --run-dir mount/run 2> said & run=$!; \
                  until [ -e mount/run/checkpoint.safetensors ]; do sleep 0.1; done; \
                  until grep -q 'safetensors: No space' said && grep -q 'metrics.csv: No space' said; do \
                  cat /dev/zero >> mount/filler 2> /dev/null; sleep 0.1; done; \
                  rm mount/filler; before=$(newest); \
                  until [ \"$(newest)\" != \"$before\" ]; do sleep 0.1; done; \
                  kill $run; wait $run; status=$?; cat said mount/run/summary.json; \
                  find mount -name '*.tmp'; exit $status";
    let Some(output) = place.with_mounts(script) else { return };
    assert_ended(
        &output,
        143,
        &["training goes on", "SIGTERM: stopping", "\"exit\": \"interrupted\""],
    );
    let said = said(&output);
    assert!(!said.contains("\"checkpoint_errors\": 0") && !said.contains(".tmp\n"), "{said}");
}

#[test]
fn a_results_folder_that_cannot_be_written_is_refused_before_anything_starts() {
    let place = Place::new();
    let script = "mount -t tmpfs -o ro tmpfs mount && $TRAIN --run-dir mount/run";
    let Some(output) = place.with_mounts(script) else { return };
    assert_ended(&output, 2, &["cannot create the folder mount/run", "Read-only file system"]);
    let script = "mount -t tmpfs -o ro tmpfs mount && cd mount && $IMPALA train";
    let Some(output) = place.with_mounts(script) else { return };
    assert_ended(&output, 2, &["cannot create the folder results", "that you may write to"]);
}

/// Every limit from far too few to enough: refused with the number that would do, or trained to the end.
#[test]
fn too_few_descriptors_are_refused_before_anything_starts() {
    let place = Place::new();
    let mut n_trained = 0;
    for limit in [8, 12, 14, 16, 24, 32, 41, 42, 64] {
        let run = format!("run{limit}");
        let script = format!("ulimit -n {limit} && exec $TRAIN --frames 2000 --run-dir {run}");
        let output = place.shell(&[], &script);
        if limit < 42 {
            let message = format!("needs 42 file descriptors, the limit is {limit}");
            assert_ended(&output, 2, &[&message, "`ulimit -n 42`", "fewer actors"]);
            assert!(!place.path(&run).exists());
        } else {
            assert_ended(&output, 0, &["report: "]);
            n_trained += 1;
        }
    }
    assert_eq!(n_trained, 2);
    let many =
        "ulimit -n 234 && exec $TRAIN --frames 2000 --actors 100 --envs-per-actor 1 --run-dir many";
    assert_ended(&place.shell(&[], many), 0, &["report: "]);
    let output = place.shell(&[], "ulimit -S -n 8 && exec $TRAIN --frames 2000 --run-dir raised");
    assert_ended(&output, 0, &["report: "]);
}

/// The limit of processes counts a user's, and does not bind root: root runs this as nobody.
#[test]
fn too_few_processes_end_the_run_with_its_reason() {
    let place = Place::new();
    for path in [place.path(""), place.path("mount")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let binary = place.path("impala");
    fs::copy(env!("CARGO_BIN_EXE_impala"), &binary).unwrap();
    // Some of the run's five workers can be had, the others cannot.
    let script =
        "exec prlimit --nproc=3 -- ./impala train --config settings.toml --run-dir mount/run";
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() { &as_nobody } else { &[] };
    if !place.shell(wrapper, "prlimit --nproc=3 -- ./impala --version").status.success() {
        println!("SKIPPED: running as nobody with a limit needs `setpriv` and `prlimit`");
        return;
    }
    let output = place.shell(wrapper, script);
    assert_ended(&output, 1, &["the operating system refused", "process: ", "`ulimit -u -n`"]);
    let meta = fs::read_to_string(place.path("mount/run/meta.json")).unwrap();
    assert!(meta.contains("\"exit\": \"failed\""), "{meta}");
    assert!(!is_running(&binary), "the workers that were started are ended");
}

/// A replacement that the system refuses is tried again after a pause, and comes once it can be had.
#[test]
fn a_replacement_that_cannot_be_forked_is_tried_again() {
    let place = Place::new();
    let binary = place.path("impala");
    fs::copy(env!("CARGO_BIN_EXE_impala"), &binary).unwrap();
    fs::write(
        place.path("settings.toml"),
        format!("{SETTINGS}[supervision]\nmax_restarts = 100\n"),
    )
    .unwrap();
    for path in [place.path(""), place.path("mount")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    // The limit comes when the run runs, and goes when the refusal has been said.
    let script = "prlimit --nproc=1000:1000 -- ./impala train --config settings.toml --frames 10000000000 \
                  --run-dir mount/run 2> mount/said & run=$!; \
                  until [ $(pgrep -P $run | wc -l) = 5 ]; do sleep 0.1; done; \
                  prlimit --pid $run --nproc=1:1000; \
                  kill -9 $(pgrep -P $run | tail -1); \
                  until grep -q 'cannot be started' mount/said; do sleep 0.1; done; \
                  prlimit --pid $run --nproc=1000:1000; \
                  until [ $(pgrep -P $run | wc -l) = 5 ]; do sleep 0.1; done; \
                  kill $run; wait $run; status=$?; cat mount/said; exit $status";
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() { &as_nobody } else { &[] };
    let needs = "prlimit --nproc=1000:1000 -- ./impala --version && pgrep -P 1 . ; [ $? -lt 2 ]";
    if !place.shell(wrapper, needs).status.success() {
        println!("SKIPPED: running as nobody with a limit needs `setpriv`, `prlimit` and `pgrep`");
        return;
    }
    let output = place.shell(wrapper, script);
    assert_ended(
        &output,
        143,
        &["was killed by SIGKILL; started again", "cannot be started", "started again in 0.1 s"],
    );
}

/// A limit of a control group, made up where the system has such groups mounted, in either version's file.
#[test]
fn too_little_memory_is_refused_before_anything_starts() {
    let place = Place::new();
    let points = "awk '{ for (i = 1; i < NF; i++) if ($i == \"-\" && ($(i+1) == \"cgroup2\" || \
                  ($(i+1) == \"cgroup\" && $NF ~ /(^|,)memory(,|$)/))) print $5 }' /proc/self/mountinfo";
    let limited = |bytes: u64, flags: &str| {
        place.with_mounts(&format!(
            "for point in $({points}); do mount -t tmpfs tmpfs $point && \
             echo {bytes} | tee $point/memory.max > $point/memory.limit_in_bytes && any=yes; done; \
             [ \"$any\" = yes ] || exit 77; exec $TRAIN --run-dir run{bytes} {flags}"
        ))
    };
    let Some(output) = limited(4_000_000, "") else { return };
    if output.status.code() == Some(77) {
        return println!("SKIPPED: no control groups of memory are mounted here");
    }
    let message =
        ["the run needs ", "4000000 are free of the 4000000 that ", "memory.", "raise that limit"];
    assert_ended(&output, 2, &message);
    assert!(!place.path("run4000000").exists());
    // The learner's activations of one rollout are larger than that, the segment is not.
    let wide = "--set network.hidden=[16,8192] --envs-per-actor 256";
    let output = limited(300_000_000, wide).unwrap();
    assert_ended(&output, 2, &["for the learner's activations", "of the 300000000 that"]);
    assert_ended(&limited(300_000_001, "").unwrap(), 0, &["report: "]);
}

/// Some file systems sync no folder. Files are as safe as they make them, and no run fails for that.
#[test]
fn a_folder_that_cannot_be_synced_costs_nothing() {
    let place = Place::new();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/limits/no_folder_sync.c");
    let built = place.shell(&[], &format!("cc -shared -fPIC -o no_folder_sync.so {source}"));
    assert!(built.status.success(), "{}", said(&built));
    let train = |errno: i32| {
        place.shell(&[], &format!(
            "FOLDER_SYNC_ERRNO={errno} LD_PRELOAD=$PWD/no_folder_sync.so exec $TRAIN --run-dir run{errno}"
        ))
    };
    for errno in [libc::EINVAL, libc::ENOTSUP] {
        assert_ended(&train(errno), 0, &["report: "]);
        let run = place.path(&format!("run{errno}"));
        for file in ["checkpoint.safetensors", "checkpoints/best.safetensors"] {
            assert!(run.join(file).exists(), "{errno}: no {file}");
        }
    }
    let lost = "lost the last checkpoint";
    assert_ended(&train(libc::EIO), 1, &[lost, "Input/output error"]);
}

/// Runs a training that never ends by itself, does something to its folder, and asks it to end.
fn meddled_with(place: &Place, wrapper: &[&str], train: &str, meddle: &str) -> Output {
    let script = format!(
        "{train} --frames 10000000000 --set checkpoint.interval_s=0.2 --run-dir mount/run 2> said & run=$!; \
         until [ -e mount/run/checkpoints/best.safetensors ]; do sleep 0.1; done; \
         {meddle}; kill $run; wait $run; status=$?; cat said; exit $status"
    );
    place.shell(wrapper, &script)
}

fn assert_last_line(output: &Output, parts: &[&str]) {
    let said = said(output);
    let last = said.lines().last().unwrap();
    assert!(parts.iter().all(|part| last.contains(part)), "{said}");
}

/// Whether it is deleted or renamed: nothing is put in its place that looks like a run.
#[test]
fn a_run_folder_that_is_gone_is_said_with_what_is_lost() {
    for meddle in ["rm -rf mount/run", "mv mount/run mount/elsewhere"] {
        let place = Place::new();
        let output = meddled_with(&place, &[], "$TRAIN", meddle);
        assert_ended(&output, 1, &["SIGTERM: stopping"]);
        let lost = ["lost the last checkpoint, summary.json, ", "mount/run was deleted or renamed"];
        assert_last_line(&output, &lost);
        assert!(!place.path("mount/run").exists(), "{meddle}");
    }
}

/// Root may write everywhere: it runs this as nobody.
#[test]
fn a_last_checkpoint_that_cannot_be_written_is_said() {
    let place = Place::new();
    for path in [place.path(""), place.path("mount")] {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::copy(env!("CARGO_BIN_EXE_impala"), place.path("impala")).unwrap();
    let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() { &as_nobody } else { &[] };
    if !place.shell(wrapper, "./impala --version").status.success() {
        return println!("SKIPPED: running as nobody needs `setpriv`");
    }
    // The run must have missed one before it is asked to end.
    let meddle = "chmod 555 mount/run/checkpoints; \
         for i in $(seq 300); do grep -q 'training goes on' said && break; sleep 0.1; done";
    let output = meddled_with(&place, wrapper, "./impala train --config settings.toml", meddle);
    assert_ended(&output, 1, &["SIGTERM: stopping", "training goes on"]);
    assert_last_line(&output, &["lost the last checkpoint", "Permission denied"]);
    // What lies elsewhere is of the run's end all the same.
    let summary = fs::read_to_string(place.path("mount/run/summary.json")).unwrap();
    let summary: impala::telemetry::Summary = serde_json::from_str(&summary).unwrap();
    let newest = place.path("mount/run/checkpoint.safetensors");
    let newest = impala::state::checkpoint::Checkpoint::load(&newest).unwrap();
    assert_eq!(newest.state.counters.frames, summary.frames);
}

/// Closed, full, or with a reader that has seen enough.
#[test]
fn no_stream_that_takes_nothing_costs_a_run() {
    let place = Place::new();
    let streams = ["2>/dev/full", "2>&-", "<&- >&- 2>&-", "2>&1 | head -2", "2>&1 | true"];
    for (number, stream) in streams.into_iter().enumerate() {
        for verbosity in ["-q", "", "-v"] {
            let run = format!("run{number}{verbosity}");
            let script = format!(
                "{{ $TRAIN {verbosity} --frames 5000 --run-dir {run}; echo $? > status; }} {stream}; cat status"
            );
            let output = place.shell(&[], &script);
            let status = fs::read_to_string(place.path("status")).unwrap();
            assert_eq!(status, "0\n", "{verbosity} {stream}: {}", said(&output));
            let summary = fs::read_to_string(place.path(&run).join("summary.json")).unwrap();
            let summary: impala::telemetry::Summary = serde_json::from_str(&summary).unwrap();
            let restarts = summary.actors.iter().map(|actor| actor.restarts).sum::<u64>();
            assert_eq!(
                (restarts, summary.reliability.learner_restarts),
                (0, 0),
                "{verbosity} {stream}"
            );
        }
    }
    for command in ["train --frames 5000 --run-dir full", "config", "completions bash", "runs ."] {
        let output = place.shell(&[], &format!("exec $IMPALA {command} > /dev/full"));
        assert_ended(&output, 1, &["cannot write to the standard output: No space left"]);
        let output = place.shell(&[], &format!("exec $IMPALA {command} > /dev/full 2>&1"));
        assert_ne!(output.status.code(), Some(101), "{command}");
    }
}

fn shared_memory_names() -> HashSet<OsString> {
    fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// Whether some process runs this program.
fn is_running(program: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap();
    let mut programs =
        processes.filter_map(|entry| fs::read_link(entry.ok()?.path().join("exe")).ok());
    programs.any(|exe| exe == program)
}
