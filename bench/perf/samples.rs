//! Samples of `perf script`, each with the process role it was taken in.
//!
//! Owns the text format that [`FIELDS`] asks for and the names that workers give themselves. Knows
//! nothing of files, processes or tables.

use std::fmt;

/// The fields to ask `perf script` for: one line for the thread, one for each frame, an empty one.
pub const FIELDS: &str = "comm,pid,ip,sym,dso";

/// What a process of a run is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The process that was started; forks and watches the others.
    Supervisor,
    /// The process that learns.
    Learner,
    /// The process that collects in this place.
    Actor(usize),
}

impl Role {
    /// The role of a thread's process by the thread's name. `None` for a stranger.
    ///
    /// A worker counts as the supervisor, whose name it inherits, until it has named itself: for some
    /// microseconds after the fork. The learner's further threads have names of their own.
    pub fn of_thread(name: &str) -> Option<Role> {
        match name {
            "impala" => Some(Role::Supervisor),
            "impala-learner" => Some(Role::Learner),
            _ => {
                let number = |prefix| name.strip_prefix(prefix)?.parse::<usize>().ok();
                let learner = number("impala-lane").or_else(|| number("impala-batch"));
                let learner = learner.map(|_| Role::Learner);
                learner.or_else(|| number("impala-actor").map(Role::Actor))
            }
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Role::Supervisor => write!(f, "supervisor"),
            Role::Learner => write!(f, "learner"),
            Role::Actor(place) => write!(f, "actor {place}"),
        }
    }
}

/// Where one process was at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The process's role; `None` for a stranger.
    pub role: Option<Role>,
    /// Function names, outermost first; those of the kernel end in [`KERNEL_MARK`].
    pub stack: Vec<String>,
}

/// Ends the name of a kernel function. Flame graphs colour such names differently.
pub const KERNEL_MARK: &str = "_[k]";

/// All samples in the output of `perf script -F comm,pid,ip,sym,dso`.
pub fn parse(text: &str) -> Vec<Sample> {
    text.split("\n\n").filter_map(parse_sample).collect()
}

/// One sample; `None` if it shows no function at all.
fn parse_sample(block: &str) -> Option<Sample> {
    let mut lines = block.lines().filter(|line| !line.trim().is_empty());
    let (name, _pid) = lines.next()?.trim().rsplit_once(char::is_whitespace)?;
    let mut stack: Vec<String> = lines.filter_map(parse_frame).collect();
    stack.reverse();
    // What the supervisor did before the fork is no part of a worker's life.
    if let Some(fork) = stack.iter().rposition(|function| function.ends_with("process::run_child"))
    {
        stack.drain(..=fork);
    }
    (!stack.is_empty()).then(|| Sample { role: Role::of_thread(name.trim()), stack })
}

/// The function of a frame: `address symbol (object)`, where symbols may hold spaces and parentheses.
///
/// `None` for an address outside every object: what a function without frame pointers left there.
fn parse_frame(line: &str) -> Option<String> {
    let (_address, rest) = line.trim().split_once(' ')?;
    // An object is a path or a name in square brackets.
    let object_start = rest.rfind(" (/").max(rest.rfind(" (["))?;
    let (symbol, object) = (&rest[..object_start], rest[object_start + 2..].strip_suffix(')')?);
    let in_kernel = object.starts_with("[kernel");
    let symbol = symbol.trim();
    match (symbol, object) {
        ("[unknown]", "[unknown]") => None,
        ("[unknown]", _) if in_kernel => Some(format!("[kernel]{KERNEL_MARK}")),
        ("[unknown]", _) => Some(format!("[{}]", object.rsplit('/').next().unwrap_or(object))),
        _ if in_kernel => Some(format!("{symbol}{KERNEL_MARK}")),
        // A folded stack separates functions by semicolons; a Rust array type has one too.
        _ => Some(without_trait(symbol).replace(';', ",")),
    }
}

/// `<path::Type as path::Trait>::method` as `Type::method`, which fits into a flame graph; other names
/// as they are.
fn without_trait(symbol: &str) -> String {
    let parts = || {
        let (implementer, rest) = symbol.strip_prefix('<')?.split_once(" as ")?;
        // The method's path begins after the bracket that closes the first one.
        let mut depth = 1_i32;
        let end = rest.find(|letter| {
            depth += i32::from(letter == '<') - i32::from(letter == '>');
            depth == 0
        })?;
        Some((implementer, &rest[end + 1..]))
    };
    let Some((implementer, method)) = parts() else { return symbol.to_owned() };
    let path_end = implementer.find('<').unwrap_or(implementer.len());
    let type_start = implementer[..path_end].rfind("::").map_or(0, |at| at + 2);
    format!("{}{method}", &implementer[type_start..])
}
