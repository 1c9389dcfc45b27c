//! What a process role did: its samples counted by stack and by function.
//!
//! Owns the counting. Knows nothing of how samples are taken, and nothing of how results are shown.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use super::samples::Sample;

/// One function's part in a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Samples taken in it.
    pub self_samples: u64,
    /// Samples taken in it or in what it called.
    pub total_samples: u64,
}

/// Samples, counted.
#[derive(Default)]
pub struct Profile {
    n_samples: u64,
    /// How often each stack was seen; functions outermost first, between semicolons.
    stacks: BTreeMap<String, u64>,
    /// Self and total samples of each function.
    functions: HashMap<String, (u64, u64)>,
}

impl Profile {
    /// Counts these samples.
    pub fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut profile = Profile::default();
        samples.into_iter().for_each(|sample| profile.add(&sample.stack));
        profile
    }

    fn add(&mut self, stack: &[String]) {
        self.n_samples += 1;
        *self.stacks.entry(stack.join(";")).or_default() += 1;
        // A recursive function is in the stack several times, and was busy once.
        for function in stack.iter().collect::<HashSet<_>>() {
            self.functions.entry(function.clone()).or_default().1 += 1;
        }
        if let Some(innermost) = stack.last() {
            self.functions.entry(innermost.clone()).or_default().0 += 1;
        }
    }

    /// Number of samples.
    pub fn n_samples(&self) -> u64 {
        self.n_samples
    }

    /// Folded stacks, `outermost;…;innermost count`, in the order of the alphabet.
    pub fn folded(&self) -> Vec<String> {
        self.stacks.iter().map(|(stack, count)| format!("{stack} {count}")).collect()
    }

    /// The `n` functions with the most samples of their own, in falling order, names deciding ties.
    pub fn top(&self, n: usize) -> Vec<Function> {
        let function = |(name, &(self_samples, total_samples)): (&String, &(u64, u64))| Function {
            name: name.clone(),
            self_samples,
            total_samples,
        };
        let mut functions: Vec<Function> = self.functions.iter().map(function).collect();
        functions.retain(|function| function.self_samples > 0);
        functions.sort_by(|a, b| (b.self_samples, &a.name).cmp(&(a.self_samples, &b.name)));
        functions.truncate(n);
        functions
    }
}
