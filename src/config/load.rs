//! From defaults, file, variables and flags to one [`Config`].
//!
//! Algorithm: every source becomes a list of leaves (full key name, value, place). Each leaf is judged alone by
//! the table of keys, so that one bad value hides no other. The good ones are laid over each other, later
//! sources over earlier ones, and become a [`Config`], whose values are then judged together.

use super::{
    App, Config, Origin, Problem, Problems, apps,
    keys::{KEYS, Key, nearest},
    source,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::PathBuf,
};
use toml::{Table, Value};

/// What a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Path of the configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// The process's environment, or what stands for it; only names that begin with `HONGYAN_` count.
    pub environment: Vec<(OsString, OsString)>,
    /// Settings of the command line; where a key comes twice, the later counts.
    pub flags: Vec<Setting>,
}

/// A setting of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// How the user wrote it, such as `--listen` or `--set limits.content`.
    pub flag: String,
    /// Full name of the key.
    pub key: String,
    /// The value as text.
    pub value: String,
}

/// A configuration and where its values come from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration, judged.
    pub config: Config,
    /// Where each key stands that is not left at its default.
    pub origins: BTreeMap<String, Origin>,
}

/// A value with its place.
pub(super) struct Leaf {
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What one source gave.
#[derive(Default)]
pub(super) struct Found {
    pub(super) leaves: Vec<Leaf>,
    /// The source's apps, each with its place; `None` when it has no word on apps.
    pub(super) apps: Option<Vec<(App, Origin)>>,
    pub(super) problems: Vec<Problem>,
}

/// Reads and judges a configuration.
///
/// # Errors
/// Every problem of all sources.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let parts = [
        sources.file.as_deref().map(source::file).unwrap_or_default(),
        source::environment(&sources.environment),
        source::flags(&sources.flags),
    ];
    let mut problems = Vec::new();
    let mut bad = BTreeSet::new();
    let mut good: BTreeMap<String, (Value, Origin)> = BTreeMap::new();
    let mut apps = Vec::new();
    for part in parts {
        problems.extend(part.problems);
        for Leaf { key, value, origin } in part.leaves {
            match judge(&key, &value) {
                Ok(()) => {
                    good.insert(key, (value, origin));
                }
                Err(problem) => {
                    bad.insert(key);
                    problems.push(problem.placed(origin));
                }
            }
        }
        if let Some(list) = part.apps {
            problems.extend(apps::problems(
                list.iter().map(|(app, origin)| (app, origin.clone())),
            ));
            apps = list;
        }
    }
    let mut config = built(&good).unwrap_or_else(|why| {
        problems.push(Problem::at(Origin::Default, why));
        Config::default()
    });
    let mut origins: BTreeMap<_, _> = good.into_iter().map(|(key, (_, origin))| (key, origin)).collect();
    if let Some((_, origin)) = apps.first() {
        origins.insert("apps".into(), origin.clone());
    }
    config.local = sources.file.is_none() && apps.is_empty();
    config.apps = apps.into_iter().map(|(app, _)| app).collect();
    for clash in config.clashes() {
        let Problem { key, .. } = &clash.problem;
        // A bad value was left out, so what stands in its place says nothing.
        if !bad.contains(key) && !bad.contains(clash.other) {
            let origin = origins.get(key).or_else(|| origins.get(clash.other)).cloned();
            problems.push(clash.problem.placed(origin.unwrap_or_default()));
        }
    }
    if problems.is_empty() {
        Ok(Loaded { config, origins })
    } else {
        Err(Problems(problems))
    }
}

/// Judges one value alone.
fn judge(name: &str, value: &Value) -> Result<(), Problem> {
    let Some(key) = Key::find(name) else {
        return Err(Problem::of(name, None, unknown(name)));
    };
    if key.kind.allows(value) {
        return Ok(());
    }
    Err(Problem::of(
        name,
        Some(value),
        format!("must be {}", key.kind.allowed()),
    ))
}

fn unknown(name: &str) -> String {
    let inside = format!("{name}.");
    if KEYS.iter().any(|key| key.name.starts_with(&inside)) {
        return format!("is a table: write [{name}] and its keys below");
    }
    match nearest(name, KEYS.iter().map(|key| key.name)) {
        Some(name) => format!("no such key; did you mean {name}?"),
        None => "no such key".into(),
    }
}

/// A configuration with these values laid over the defaults.
fn built(values: &BTreeMap<String, (Value, Origin)>) -> Result<Config, String> {
    let mut table = Table::new();
    for (name, (value, _)) in values {
        match name.split_once('.') {
            None => {
                table.insert(name.clone(), value.clone());
            }
            Some((outer, inner)) => {
                let inside = table.entry(outer).or_insert_with(|| Value::Table(Table::new()));
                if let Value::Table(inside) = inside {
                    inside.insert(inner.to_owned(), value.clone());
                }
            }
        }
    }
    table.try_into().map_err(|e| e.to_string())
}

/// All values of a configuration by full name, lists whole.
pub(super) fn leaves(config: &Config) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    // It fails only on a path that is not text, which no source can give; such a key then has no value.
    for (name, value) in Table::try_from(config).unwrap_or_default() {
        match value {
            Value::Table(inside) => {
                leaves.extend(
                    inside
                        .into_iter()
                        .map(|(inner, value)| (format!("{name}.{inner}"), value)),
                );
            }
            value => {
                leaves.insert(name, value);
            }
        }
    }
    leaves
}

/// The values of a configuration that differ from the defaults, in the order of the documentation, as TOML.
#[must_use]
pub fn changed(config: &Config) -> Vec<(&'static str, String)> {
    let (values, defaults) = (leaves(config), leaves(&Config::default()));
    let differs = |key: &&Key| values.get(key.name) != defaults.get(key.name);
    let shown = |key: &Key| values.get(key.name).map(|value| (key.name, value.to_string()));
    KEYS.iter().filter(differs).filter_map(shown).collect()
}
