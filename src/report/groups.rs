//! Runs that are compared, in groups of equal settings.
//!
//! Owns the grouping, the groups' names, and what the runs of a group measured together. Does not draw,
//! and writes no page.

use std::collections::BTreeSet;
use std::path::Path;

use super::compared::Compared;
use super::palette::{Colour, SERIES};
use super::points::is_drawable;
use super::spread::Spread;
use super::units::DASH;
use super::{Step, Watch};
use crate::run::dir::RunDir;
use crate::telemetry::Summary;

/// Runs read back, and how they fall into groups.
pub struct Groups {
    /// In the order in which they were named.
    pub runs: Vec<Compared>,
    /// Settings in which the runs differ, the seed apart.
    pub differing: Vec<String>,
    /// In the order in which they first appear.
    pub groups: Vec<Group>,
}

/// Runs of equal settings.
pub struct Group {
    /// What legends and tables call it.
    pub name: String,
    /// Of its line and band in every plot.
    pub colour: Colour,
    /// Values of the differing settings, in their order.
    pub values: Vec<String>,
    /// Indices of its runs.
    members: Vec<usize>,
}

/// The settings in which the runs of a group may differ.
pub const APART: [&str; 3] = ["seed", "name", "tags"];

/// Runs of different values here play different games.
const ENV: &str = "env";

impl Groups {
    /// Reads runs for a page that will lie in `folder`.
    pub fn read(runs: &[RunDir], folder: &Path, watch: Watch) -> Groups {
        let total = runs.len() as u64;
        let read_one = |(run, done)| {
            let run = Compared::read(run, folder);
            watch(Step { task: "reading", unit: "runs", done, total });
            run
        };
        let runs: Vec<Compared> = runs.iter().zip(1..).map(read_one).collect();
        let differing = differing(&runs);
        let mut groups = grouped(&runs, &differing);
        let names = names(&groups, &differing, &runs);
        groups.iter_mut().zip(names).for_each(|(group, name)| group.name = name);
        Groups { runs, differing, groups }
    }

    /// The runs of a group.
    pub fn members(&self, group: &Group) -> impl Iterator<Item = &Compared> {
        group.members.iter().map(|&i| &self.runs[i])
    }

    /// The group of a run.
    pub fn group_of(&self, i: usize) -> Option<&Group> {
        self.groups.iter().find(|group| group.members.contains(&i))
    }

    /// Summaries of the runs that left one.
    pub fn summaries(&self) -> impl Iterator<Item = &Summary> {
        self.runs.iter().filter_map(|run| run.data.summary.as_ref())
    }

    /// Whether all play one environment, so that scores and frames can be compared at all.
    pub fn play_one_env(&self) -> bool {
        !self.differing.iter().any(|key| key == ENV)
    }

    /// Median, lowest and highest of a figure over a group's runs that have it.
    pub fn spread(&self, group: &Group, figure: fn(&Summary) -> Option<f64>) -> Option<Spread> {
        let summaries = self.members(group).filter_map(|run| run.data.summary.as_ref());
        Spread::of(summaries.filter_map(figure).filter(|value| is_drawable(*value)).collect())
    }

    /// Settings that all runs share, the seed apart.
    pub fn common(&self) -> Vec<(String, String)> {
        let Some(first) = self.runs.first() else {
            return Vec::new();
        };
        let shared = first.settings.iter().filter(|(key, value)| {
            !APART.contains(&key.as_str())
                && self.runs.iter().all(|run| run.settings.get(*key) == Some(value))
        });
        shared.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

fn differing(runs: &[Compared]) -> Vec<String> {
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let differs =
        |key: &String| runs.windows(2).any(|w| w[0].settings.get(key) != w[1].settings.get(key));
    let counts = |key: &&String| !APART.contains(&key.as_str()) && differs(key);
    keys.into_iter().filter(counts).cloned().collect()
}

fn grouped(runs: &[Compared], differing: &[String]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let value = |key| run.settings.get(key).cloned().unwrap_or_else(|| DASH.to_owned());
        let values: Vec<String> = differing.iter().map(value).collect();
        if let Some(group) = groups.iter_mut().find(|group| group.values == values) {
            group.members.push(i);
            continue;
        }
        let colour = SERIES[groups.len() % SERIES.len()];
        groups.push(Group { name: String::new(), colour, values, members: vec![i] });
    }
    groups
}

/// A longer name would fill a legend.
const MAX_LETTERS: usize = 48;

/// Of a longer value the middle is left out.
const MAX_VALUE_LETTERS: usize = 20;

/// Groups are called by the settings that make them where a legend has room for that; else by their
/// environments where each has one of its own; else by as few of the settings as tell them apart. A table has
/// all settings.
fn names(groups: &[Group], differing: &[String], runs: &[Compared]) -> Vec<String> {
    if differing.is_empty() {
        return vec!["all runs".to_owned(); groups.len()];
    }
    let keys: Vec<&str> = differing.iter().map(|key| short_key(key, runs)).collect();
    let all: Vec<usize> = (0..keys.len()).collect();
    let by_all = names_by(groups, &keys, &all, str::to_owned);
    if by_all.iter().all(|name| name.chars().count() <= MAX_LETTERS) {
        return by_all;
    }
    let env = differing.iter().position(|key| key == ENV);
    let env_of = |group: &Group| Some(group.values[env?].trim_matches('"').to_owned());
    let envs: BTreeSet<String> = groups.iter().filter_map(env_of).collect();
    if envs.len() == groups.len() {
        return groups.iter().filter_map(env_of).collect();
    }
    told_apart(names_by(groups, &keys, &telling(groups), shortened))
}

/// Names of these of the settings, with their values as `write` has them.
fn names_by(
    groups: &[Group],
    keys: &[&str],
    chosen: &[usize],
    write: fn(&str) -> String,
) -> Vec<String> {
    let name = |group: &Group| {
        let pair = |&k: &usize| format!("{} {}", keys[k], write(&group.values[k]));
        chosen.iter().map(pair).collect::<Vec<_>>().join(", ")
    };
    groups.iter().map(name).collect()
}

/// As few settings as tell all groups apart: one after the other the one that tells most of them apart.
fn telling(groups: &[Group]) -> Vec<usize> {
    let n_told = |chosen: &[usize]| {
        let values = |group: &Group| chosen.iter().map(|&k| group.values[k].clone()).collect();
        groups.iter().map(values).collect::<BTreeSet<Vec<String>>>().len()
    };
    let n_keys = groups.first().map_or(0, |group| group.values.len());
    let mut chosen: Vec<usize> = Vec::new();
    while n_told(&chosen) < groups.len() && chosen.len() < n_keys {
        let others = (0..n_keys).filter(|k| !chosen.contains(k));
        // Of equally good ones the first.
        let best = others.rev().max_by_key(|&k| n_told(&[&chosen[..], &[k]].concat()));
        chosen.extend(best);
    }
    chosen.sort_unstable();
    chosen
}

fn shortened(value: &str) -> String {
    let letters: Vec<char> = value.chars().collect();
    if letters.len() <= MAX_VALUE_LETTERS {
        return value.to_owned();
    }
    let n_kept = MAX_VALUE_LETTERS / 2;
    let ends = [&letters[..n_kept - 1], &['…'], &letters[letters.len() - n_kept..]];
    ends.concat().into_iter().collect()
}

/// Names that shortening has made alike get a number.
fn told_apart(names: Vec<String>) -> Vec<String> {
    let is_alone = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
    let number = |i: usize| names[..=i].iter().filter(|other| **other == names[i]).count();
    let told = |(i, name): (usize, &String)| match is_alone(name) {
        true => name.clone(),
        false => format!("{name} ({})", number(i)),
    };
    names.iter().enumerate().map(told).collect()
}

/// As much of a setting's dotted name as no other setting ends in: `discount`, `entropy_cost.start`.
fn short_key<'a>(key: &'a str, runs: &[Compared]) -> &'a str {
    let starts = key.rmatch_indices('.').map(|(dot, _)| dot + 1).chain([0]);
    let is_unique = |tail: &str| {
        let others = runs.iter().flat_map(|run| run.settings.keys()).filter(|other| *other != key);
        let mut same = others.filter(|o| *o == tail || o.ends_with(&format!(".{tail}")));
        same.next().is_none()
    };
    starts.map(|start| &key[start..]).find(|tail| is_unique(tail)).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::super::read::RunData;
    use super::*;

    fn run(settings: &[(&str, &str)]) -> Compared {
        let settings = settings.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Compared { data: RunData::default(), settings: settings.collect(), report: String::new() }
    }

    #[test]
    fn a_group_is_named_by_what_tells_it_from_the_others() {
        let two = |a: &[(&str, &str)], b: &[(&str, &str)]| {
            let runs = [run(a), run(b)];
            let differing = differing(&runs);
            names(&grouped(&runs, &differing), &differing, &runs)
        };
        assert_eq!(two(&[("seed", "1")], &[("seed", "2")]), ["all runs"]);
        assert_eq!(
            two(&[("loss.c_bar", "1"), ("a.b", "3")], &[("loss.c_bar", "2"), ("a.b", "3")]),
            ["c_bar 1", "c_bar 2"]
        );
        let rates = |start| [("x.rate.start", start), ("x.cost.start", "5")];
        assert_eq!(two(&rates("1"), &rates("2")), ["rate.start 1", "rate.start 2"]);
        let long = "a name that is longer than any legend has room for";
        assert_eq!(
            two(&[("env", "\"A\""), ("b", long)], &[("env", "\"B\""), ("b", "")]),
            ["A", "B"]
        );
        assert_eq!(
            two(&[("b", long)], &[("b", &long[1..])]),
            ["b a name th…s room for", "b  name tha…s room for"]
        );
        let alike =
            [format!("same begin {long} same end"), format!("same begin of {long} same end")];
        assert_eq!(
            two(&[("b", &alike[0])], &[("b", &alike[1])]),
            ["b same begi…r same end (1)", "b same begi…r same end (2)"]
        );
    }

    /// Eight groups of three settings each of which the names would be too long.
    #[test]
    fn many_groups_are_named_by_what_differs_and_by_no_number() {
        let of = |slots: usize, hidden: &str| {
            let slots = slots.to_string();
            let wide = format!("[{hidden}, {hidden}, {hidden}, {hidden}, {hidden}, {hidden}]");
            run(&[("actors.slots", &slots), ("network.hidden", &wide), ("network.copy", &wide)])
        };
        let runs: Vec<_> =
            (1..=4).flat_map(|slots| ["64", "256"].map(|hidden| of(slots, hidden))).collect();
        let differing = differing(&runs);
        let names = names(&grouped(&runs, &differing), &differing, &runs);
        assert_eq!(names[0], "slots 1, copy [64, 64, …4, 64, 64]");
        assert_eq!(names[7], "slots 4, copy [256, 256… 256, 256]");
        assert!(names.iter().all(|name| !name.contains("group")), "{names:?}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 8);
    }
}
