//! How much memory this process and its children may still take: control groups, and the machine.
//!
//! Owns where the kernel says so, in both versions of control groups and at every level of theirs that can
//! be seen from here. Does not know who needs how much. `train.rs` asks before it starts anything.

use std::fs;
use std::path::{Path, PathBuf};

/// A limit at or above this is none: version 1 writes the largest number of pages that there is.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// Files in which a version of control groups says what it knows of memory.
struct Names {
    limit: &'static str,
    usage: &'static str,
    /// What the kernel keeps of files and gives away before it kills anybody.
    cache: [&'static str; 2],
}

const VERSION_1: Names = Names {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: ["total_inactive_file", "total_active_file"],
};

const VERSION_2: Names =
    Names { limit: "memory.max", usage: "memory.current", cache: ["inactive_file", "active_file"] };

/// A limit on the memory of this process, its children and maybe others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Where it stands: a file of a control group, or the machine.
    pub place: String,
    /// The limit.
    pub limit_bytes: u64,
    /// What of it nobody has taken yet.
    pub free_bytes: u64,
}

/// What leaves this process and its children the least memory; `None` where the system does not tell.
pub fn tightest_memory_limit() -> Option<MemoryLimit> {
    let root = Path::new("/");
    let groups = limits_of_groups(root).into_iter().flatten();
    groups.chain(limit_of_machine(root)).min_by_key(|limit| limit.free_bytes)
}

/// What `/proc/meminfo` counts as available, and what can be swapped out.
fn limit_of_machine(root: &Path) -> Option<MemoryLimit> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let bytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let free_bytes = bytes("MemAvailable")? + bytes("SwapFree").unwrap_or(0);
    Some(MemoryLimit { place: "the machine".into(), limit_bytes: bytes("MemTotal")?, free_bytes })
}

/// The limits of the group that this process is in and of all groups above it.
fn limits_of_groups(root: &Path) -> Option<Vec<MemoryLimit>> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let limits = groups.lines().filter_map(|group| {
        // Number of the hierarchy, its controllers (none in version 2), the group.
        let mut fields = group.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        let names = match controllers {
            "" => VERSION_2,
            some if some.split(',').any(|controller| controller == "memory") => VERSION_1,
            _ => return None,
        };
        let (mount_point, group) = mounts
            .lines()
            .find_map(|mount| place_in_mount(mount, controllers.is_empty(), group))?;
        let mount_point = root.join(mount_point.strip_prefix("/").ok()?);
        Some(limits_up_from(&mount_point, &group, &names))
    });
    Some(limits.flatten().collect())
}

/// Where a line of mounts has the memory groups of a version mounted, and the group as seen from there.
fn place_in_mount(mount: &str, is_version_2: bool, group: &str) -> Option<(PathBuf, PathBuf)> {
    let (place, kind) = mount.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let (file_system, options) = (kind.next()?, kind.nth(1)?);
    let is_it = match is_version_2 {
        true => file_system == "cgroup2",
        false => file_system == "cgroup" && options.split(',').any(|option| option == "memory"),
    };
    let mut place = place.split(' ').skip(3);
    let (mounted, mount_point) = (place.next()?, place.next()?);
    // In a container only its own group may be mounted, or the names may be another namespace's: what is
    // mounted is then the only group that can be seen.
    let group = Path::new(group).strip_prefix(mounted).unwrap_or(Path::new(""));
    is_it.then(|| (mount_point.into(), group.into()))
}

fn limits_up_from(mount_point: &Path, group: &Path, names: &Names) -> Vec<MemoryLimit> {
    group.ancestors().filter_map(|level| limit_in(&mount_point.join(level), names)).collect()
}

fn limit_in(folder: &Path, names: &Names) -> Option<MemoryLimit> {
    let number = |file: &str| {
        let text = fs::read_to_string(folder.join(file)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // Version 2 writes `max` where there is none.
    let limit_bytes = number(names.limit).filter(|limit| *limit < NO_LIMIT_BYTES)?;
    let statistics = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = |line: &str| {
        let (key, bytes) = line.split_once(' ')?;
        names.cache.contains(&key).then(|| bytes.parse::<u64>().ok()).flatten()
    };
    let cache_bytes: u64 = statistics.lines().filter_map(cached).sum();
    let taken_bytes = number(names.usage).unwrap_or(0).saturating_sub(cache_bytes);
    Some(MemoryLimit {
        place: folder.join(names.limit).display().to_string(),
        limit_bytes,
        free_bytes: limit_bytes.saturating_sub(taken_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A made-up system with these files.
    fn system(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    /// Limit and free bytes of each level, from the process's own up.
    fn levels(files: &[(&str, &str)]) -> Vec<(u64, u64)> {
        let root = system(files);
        let limits = limits_of_groups(root.path()).unwrap_or_default();
        limits.iter().map(|limit| (limit.limit_bytes, limit.free_bytes)).collect()
    }

    const MOUNT_2: &str = "25 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";

    #[test]
    fn every_level_of_version_2_counts() {
        let files = [
            ("proc/self/cgroup", "0::/jobs/mine\n"),
            ("proc/self/mountinfo", MOUNT_2),
            ("sys/fs/cgroup/jobs/mine/memory.max", "max\n"),
            ("sys/fs/cgroup/jobs/memory.max", "1000\n"),
            ("sys/fs/cgroup/jobs/memory.current", "900\n"),
            ("sys/fs/cgroup/jobs/memory.stat", "anon 1\ninactive_file 200\nactive_file 100\n"),
            ("sys/fs/cgroup/memory.max", "5000\n"),
        ];
        assert_eq!(levels(&files), [(1000, 400), (5000, 5000)]);
    }

    #[test]
    fn version_1_is_found_beside_version_2() {
        let mounts = "30 1 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 1 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      32 1 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "sys/fs/cgroup/memory/job";
        let files = [
            ("proc/self/cgroup", "4:memory:/job\n1:cpu:/\n0::/\n"),
            ("proc/self/mountinfo", mounts),
            (&format!("{own}/memory.limit_in_bytes"), "3000\n"),
            (&format!("{own}/memory.usage_in_bytes"), "2000\n"),
            (&format!("{own}/memory.stat"), "inactive_file 9\ntotal_inactive_file 500\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        assert_eq!(levels(&files), [(3000, 1500)]);
    }

    /// As in a container: only its own group is mounted.
    #[test]
    fn a_group_is_found_below_what_is_mounted_of_it() {
        let mount = "31 1 0:27 /docker/1f2e /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        for group in ["0::/docker/1f2e\n", "0::/../../elsewhere\n"] {
            let files = [
                ("proc/self/cgroup", group),
                ("proc/self/mountinfo", mount),
                ("sys/fs/cgroup/memory.max", "7000\n"),
            ];
            assert_eq!(levels(&files), [(7000, 7000)], "{group}");
        }
    }

    #[test]
    fn a_machine_without_groups_has_what_is_available() {
        let files = [("proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 60 kB\nSwapFree: 5 kB\n")];
        let root = system(&files);
        let machine = limit_of_machine(root.path()).unwrap();
        assert_eq!((machine.limit_bytes, machine.free_bytes), (100 << 10, 65 << 10));
        assert_eq!(limits_of_groups(root.path()), None);
        assert_eq!(limit_of_machine(&root.path().join("nothing")), None);
    }
}
