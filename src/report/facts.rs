//! Names with their values: the task, the settings, what went wrong, the machine.
//!
//! Owns which there are and their order. The page lays them out as tables.

use super::read::RunData;
use super::resolved::resolved;
use super::task;
use super::units::{DASH, grouped, percent};
use crate::os::cores::MachineLoad;
use crate::telemetry::{ActorSummary, Summary};

/// A name with its value.
pub struct Fact {
    /// Of what.
    pub name: String,
    /// What it is.
    pub value: String,
}

impl Fact {
    fn new(name: &str, value: impl Into<String>) -> Fact {
        Fact { name: name.to_owned(), value: value.into() }
    }

    /// The value as a cell of a Markdown table: on one line, without markup of its own.
    pub fn cell(&self) -> String {
        self.value.replace(['\n', '\r'], " ").replace('<', "&lt;").replace('|', "\\|")
    }
}

/// The environment and the network.
pub fn task_facts(run: &RunData) -> Vec<Fact> {
    let learner = run.summary.as_ref().map(|summary| summary.learner.as_str());
    let facts = |(spec, network)| task::facts(spec, network, learner);
    let facts = run.trained.as_ref().map(|(spec, network)| facts((spec, network)));
    facts.into_iter().flatten().map(|(name, value)| Fact::new(name, value)).collect()
}

/// One table of the settings file.
pub struct SettingGroup {
    /// The table's name, with dots.
    pub name: String,
    /// Its settings.
    pub facts: Vec<Fact>,
}

/// Heading of the settings outside any table, which come first.
const TOP_LEVEL: &str = "general";

/// All settings, table by table, and what `auto` became.
pub fn settings(config: &toml::Table, summary: Option<&Summary>) -> Vec<SettingGroup> {
    let mut groups = vec![SettingGroup { name: TOP_LEVEL.to_owned(), facts: Vec::new() }];
    collect_settings(config, 0, &mut groups);
    for (name, ran) in summary.into_iter().flat_map(resolved) {
        let (table, key) = name.rsplit_once('.').unwrap_or((TOP_LEVEL, name));
        let facts =
            groups.iter_mut().filter(|group| group.name == table).flat_map(|g| &mut g.facts);
        let stated = facts.into_iter().find(|fact| fact.name == key && fact.value != ran);
        stated.into_iter().for_each(|fact| fact.value = format!("{ran} (set: {})", fact.value));
    }
    groups.retain(|group| !group.facts.is_empty());
    groups
}

fn collect_settings(table: &toml::Table, group: usize, groups: &mut Vec<SettingGroup>) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => {
                let outer = &groups[group].name;
                let name = if group == 0 { key.clone() } else { format!("{outer}.{key}") };
                groups.push(SettingGroup { name, facts: Vec::new() });
                collect_settings(inner, groups.len() - 1, groups);
            }
            toml::Value::String(text) => groups[group].facts.push(Fact::new(key, text)),
            other => groups[group].facts.push(Fact::new(key, other.to_string())),
        }
    }
}

/// What was saved, and what went wrong and was mended.
pub fn troubles(summary: &Summary) -> Vec<Fact> {
    let of_actors =
        |count: fn(&ActorSummary) -> u64| -> u64 { summary.actors.iter().map(count).sum() };
    let reliability = &summary.reliability;
    let counts = [
        ("checkpoints written", reliability.checkpoints),
        ("checkpoints that could not be written", reliability.checkpoint_errors),
        ("times the learner was started again", reliability.learner_restarts),
        ("times an actor was started again", of_actors(|actor| actor.restarts)),
        ("workers killed because they hung", reliability.hangs),
        ("times the shared segment was damaged and made anew", reliability.segment_resets),
        ("rollouts dropped for a number that is not finite", of_actors(|actor| actor.bad_rollouts)),
        ("rollouts dropped because their policy was too old", summary.rollouts_dropped),
        ("updates skipped because they were not finite", reliability.skipped_updates),
        ("times training went back to earlier weights", reliability.rollbacks),
    ];
    counts.into_iter().map(|(what, count)| Fact::new(what, grouped(count))).collect()
}

/// The machine, the build and the times.
pub fn system(run: &RunData) -> Vec<Fact> {
    let Some(meta) = &run.meta else {
        return Vec::new();
    };
    let ended = meta.ended.map_or_else(|| DASH.to_owned(), |ended| ended.to_string());
    let from = meta.resumed_from.as_ref().map(|from| Fact::new("goes on from", from));
    let facts = [
        Fact::new("started", meta.started.to_string()),
        Fact::new("ended", ended),
        Fact::new("ended because", meta.exit_reason.as_deref().unwrap_or(DASH)),
        Fact::new("command", meta.command.join(" ")),
        Fact::new("version", &meta.version),
        Fact::new("commit", &meta.git_commit),
        Fact::new("compiler", &meta.rustc),
        Fact::new("processor", &meta.cpu_model),
        Fact::new("cores", meta.n_cores.to_string()),
        Fact::new("load at the start", machine_load(&meta.load_at_start)),
        Fact::new("load at the end", meta.load_at_end.as_ref().map_or(DASH.into(), machine_load)),
        Fact::new("kernel", &meta.kernel),
        Fact::new("host", &meta.host),
    ];
    from.into_iter().chain(facts).collect()
}

/// How busy a machine was, its run included.
fn machine_load(load: &MachineLoad) -> String {
    let average = load.load_average.map_or_else(
        || DASH.to_owned(),
        |[last, five, fifteen]| format!("{last} (1 min), {five} (5 min), {fifteen} (15 min)"),
    );
    let pressure = load
        .cpu_pressure_percent
        .map_or_else(|| DASH.to_owned(), |share| percent(share / 100.0) + " of the last 10\u{a0}s");
    format!(
        "threads that ran or wanted to: {average}; some thread wanted a core and had none: {pressure}"
    )
}
