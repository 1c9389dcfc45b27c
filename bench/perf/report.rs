//! The results of a recording: tables and flame graphs.
//!
//! Owns their form. Knows nothing of how samples are taken.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use impala::base::stages::Stage;
use impala::telemetry::Summary;
use inferno::flamegraph::color::{MultiPalette, Palette};
use inferno::flamegraph::{self, Options};
use serde::Serialize;

use super::common::{Setting, save};
use super::profile::{Function, Profile};
use super::samples::{Role, Sample};

/// Rows of a table of functions.
const N_FUNCTIONS: usize = 15;

/// Under which conditions samples were taken.
#[derive(Serialize)]
pub struct Conditions {
    /// The machine and the program.
    pub setting: Setting,
    /// Processor time that the host gave to others meanwhile, s, all cores.
    pub steal_s: f64,
    /// Which learner ran.
    pub learner: String,
    /// Further flags of `impala train`.
    pub train_flags: String,
    /// What triggered samples.
    pub event: &'static str,
    /// Samples asked for, a second and core.
    pub frequency_hz: u32,
    /// Recorded time, s.
    pub seconds: f64,
}

/// All that is known of a recording.
pub struct Report {
    conditions: Conditions,
    summary: Summary,
    by_role: BTreeMap<Role, Profile>,
    /// All roles, each stack beginning with its role.
    all: Profile,
    /// Actors taken together.
    actors: Profile,
    n_strangers: usize,
}

/// The file `perf.json`.
#[derive(Serialize)]
struct Json<'a> {
    conditions: &'a Conditions,
    frames_per_s: f64,
    n_samples: u64,
    roles: Vec<RoleJson>,
}

#[derive(Serialize)]
struct RoleJson {
    role: String,
    samples: u64,
    /// Of one core.
    core_percent: f64,
    functions: Vec<Function>,
}

impl Report {
    /// Counts the samples of a run that came to `summary`.
    pub fn new(conditions: Conditions, samples: &[Sample], summary: Summary) -> Self {
        let mut of_roles: BTreeMap<Role, Vec<&Sample>> = BTreeMap::new();
        for sample in samples {
            if let Some(role) = sample.role {
                of_roles.entry(role).or_default().push(sample);
            }
        }
        let is_actor = |sample: &&Sample| matches!(sample.role, Some(Role::Actor(_)));
        let rooted: Vec<Sample> = samples.iter().filter_map(rooted).collect();
        Report {
            conditions,
            summary,
            actors: Profile::of(samples.iter().filter(is_actor)),
            n_strangers: samples.len() - rooted.len(),
            all: Profile::of(&rooted),
            by_role: of_roles
                .into_iter()
                .map(|(role, samples)| (role, Profile::of(samples)))
                .collect(),
        }
    }

    /// The roles that samples were taken in.
    pub fn roles(&self) -> Vec<Role> {
        self.by_role.keys().copied().collect()
    }

    /// Writes every file of the report into `folder`, in place of an earlier one's.
    pub fn write(&self, folder: &Path) -> Result<()> {
        // Else actors of an earlier recording with more of them would stay.
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        save(folder, "perf", &self.json(), &self.markdown())?;
        self.draw(folder, "all", &self.all)?;
        self.by_role
            .iter()
            .try_for_each(|(role, profile)| self.draw(folder, &role.to_string(), profile))
    }

    fn draw(&self, folder: &Path, title: &str, profile: &Profile) -> Result<()> {
        let path = folder.join(title.replace(' ', "-") + ".svg");
        let mut options = Options::default();
        options.title = format!("impala train, {} learner: {title}", self.conditions.learner);
        options.subtitle = Some(format!("{} samples; click to zoom", profile.n_samples()));
        options.colors = Palette::Multi(MultiPalette::Rust);
        options.image_width = Some(1200);
        // Equal recordings give equal pictures.
        options.deterministic = true;
        let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
        let folded = profile.folded();
        let lines = folded.iter().map(String::as_str);
        Ok(flamegraph::from_lines(&mut options, lines, std::io::BufWriter::new(file))?)
    }

    fn json(&self) -> Json<'_> {
        let role = |(role, profile): (&Role, &Profile)| RoleJson {
            role: role.to_string(),
            samples: profile.n_samples(),
            core_percent: self.core_percent(profile),
            functions: profile.top(N_FUNCTIONS),
        };
        Json {
            conditions: &self.conditions,
            frames_per_s: self.summary.frames_per_s,
            n_samples: self.all.n_samples(),
            roles: self.by_role.iter().map(role).collect(),
        }
    }

    /// Share of one core that samples stand for, by the frequency asked for.
    fn core_percent(&self, profile: &Profile) -> f64 {
        let Conditions { frequency_hz, seconds, .. } = self.conditions;
        100.0 * profile.n_samples() as f64 / (f64::from(frequency_hz) * seconds)
    }

    /// The tables, for people.
    pub fn markdown(&self) -> String {
        let mut text = self.head();
        text += "\n## Processes\n\n| process | samples | % of a core | most in |\n|---|---:|---:|---|\n";
        for (role, profile) in &self.by_role {
            let most = profile.top(1).pop().map_or(String::new(), |function| function.name);
            let (samples, percent) = (profile.n_samples(), self.core_percent(profile));
            // Here and below: writing to a String cannot fail.
            let _ = writeln!(text, "| {role} | {samples} | {percent:.1} | `{most}` |");
        }
        let none = Profile::default();
        let of = |role| self.by_role.get(&role).unwrap_or(&none);
        add_functions(&mut text, "Learner", of(Role::Learner));
        add_functions(&mut text, "Actors, together", &self.actors);
        add_functions(&mut text, "Supervisor", of(Role::Supervisor));
        self.add_stages(&mut text);
        text
    }

    fn head(&self) -> String {
        let Conditions { setting, steal_s, learner, train_flags, event, frequency_hz, seconds } =
            &self.conditions;
        let mut text = format!(
            "# Where the time goes: {learner} learner\n\n`impala train --learner {learner} {train_flags}`: \
             {seconds} s recorded with `{event}` at {frequency_hz} Hz, {} samples; {:.2} M frames/s \
             while recorded.\n\n{}; steal {steal_s:.2} s\n",
            self.all.n_samples(),
            self.summary.frames_per_s / 1e6,
            setting.line(),
        );
        if self.n_strangers > 0 {
            let _ =
                writeln!(text, "\n{} samples of other processes are left out.", self.n_strangers);
        }
        text
    }

    /// The same run as it timed itself: samples say where processors were busy, stages who waited.
    fn add_stages(&self, text: &mut String) {
        let head = "\n## Stages, µs\n\n| stage | mean | p50 | p99 |\n|---|---:|---:|---:|\n";
        text.push_str(head);
        for stage in Stage::ALL {
            if let Some(latency) = self.summary.latency_us.get(stage.tag()) {
                let (mean, p50, p99) = (latency.mean, latency.p50, latency.p99);
                let _ = writeln!(text, "| {} | {mean:.1} | {p50:.1} | {p99:.1} |", stage.tag());
            }
        }
    }
}

fn rooted(sample: &Sample) -> Option<Sample> {
    let root = std::iter::once(sample.role?.to_string());
    Some(Sample { role: sample.role, stack: root.chain(sample.stack.iter().cloned()).collect() })
}

fn add_functions(text: &mut String, title: &str, profile: &Profile) {
    let n_samples = profile.n_samples();
    let _ = write!(
        text,
        "\n## {title}: {n_samples} samples\n\n| self | samples | with callees | function |\n|---:|---:|---:|---|\n"
    );
    for Function { name, self_samples, total_samples } in profile.top(N_FUNCTIONS) {
        let percent = |samples| 100.0 * samples as f64 / n_samples as f64;
        let (own, total) = (percent(self_samples), percent(total_samples));
        let _ = writeln!(text, "| {own:.1} % | {self_samples} | {total:.1} % | `{name}` |");
    }
}
