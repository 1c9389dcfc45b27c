//! A table of settings as a flat list: each value by its dotted name, as `--set` takes it.
//!
//! Owns the naming alone. Called by whoever compares settings: the report of many runs, a run that is
//! resumed.

use std::collections::BTreeMap;

use toml::{Table, Value};

/// Every value of a table and of the tables in it, as TOML writes it, by its dotted name.
pub fn dotted(table: &Table) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    collect("", table, &mut values);
    values
}

fn collect(prefix: &str, table: &Table, into: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        match value {
            Value::Table(inner) => collect(&format!("{prefix}{key}."), inner, into),
            other => drop(into.insert(format!("{prefix}{key}"), other.to_string())),
        }
    }
}
