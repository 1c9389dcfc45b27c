//! The launcher of a parallel job, by the variables that it sets for each process that it starts.
//!
//! Owns which launcher says what in which variable: mpirun of Open MPI, mpiexec of MPICH and its relatives, srun.
//! Talks to none of them. Called by `impala train`, before anything else exists.

use std::fmt;

/// Which of a job's processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// From 0.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

/// Variables that hold number and count. What starts the processes of another one comes later: mpirun within a job
/// of Slurm is started by srun.
const VARIABLES: [[&str; 2]; 3] = [
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    ["PMI_RANK", "PMI_SIZE"],
    // A batch script has SLURM_PROCID too, and is no step.
    ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"],
];

impl Rank {
    /// What the launcher says; that of a process alone where none does.
    pub fn launched() -> Rank {
        Rank::told_by(|name| std::env::var(name).ok())
    }

    fn told_by(variable: impl Fn(&str) -> Option<String>) -> Rank {
        let number = |name| variable(name)?.parse().ok();
        let told = VARIABLES.into_iter().filter_map(|[rank, size]| {
            Some(Rank { number: number(rank)?, of: number(size)? })
                .filter(|rank| rank.number < rank.of)
        });
        { told }.next().unwrap_or_default()
    }

    /// Whether there is no other.
    pub fn is_alone(self) -> bool {
        self.of == 1
    }

    /// Whether it is the one that speaks and writes for all.
    pub fn is_first(self) -> bool {
        self.number == 0
    }
}

impl Default for Rank {
    fn default() -> Self {
        Rank { number: 0, of: 1 }
    }
}

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "rank {} of {}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, &str)]) -> Rank {
        let find = |name: &str| variables.iter().find(|(of, _)| *of == name);
        Rank::told_by(|name| find(name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn each_launcher_is_understood() {
        let third = Rank { number: 2, of: 4 };
        assert_eq!(told(&[("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "4")]), third);
        assert_eq!(told(&[("PMI_RANK", "2"), ("PMI_SIZE", "4")]), third);
        let srun = [("SLURM_PROCID", "2"), ("SLURM_STEP_NUM_TASKS", "4")];
        assert_eq!(told(&srun), third);
        let within = [&srun[..], &[("OMPI_COMM_WORLD_RANK", "5"), ("OMPI_COMM_WORLD_SIZE", "8")]];
        assert_eq!(told(&within.concat()), Rank { number: 5, of: 8 }, "mpirun within a Slurm job");
    }

    #[test]
    fn who_was_started_by_none_is_alone() {
        for variables in [
            &[][..],
            &[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")],
            &[("PMI_RANK", "2")],
            &[("PMI_RANK", "two"), ("PMI_SIZE", "4")],
            &[("PMI_RANK", "4"), ("PMI_SIZE", "4")],
        ] {
            assert_eq!(told(variables), Rank::default(), "{variables:?}");
        }
    }
}
