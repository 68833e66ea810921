//! The three sources of settings: file, variables, flags.

use super::{
    App, Origin, Problem,
    keys::{KEYS, Key, nearest},
    load::Setting,
};
use serde::Deserialize as _;
use std::{ffi::OsString, ops::Range, path::Path};
use toml::{
    Spanned, Value,
    de::{DeTable, DeValue},
};

/// Prefix of the variables.
const PREFIX: &str = "HONGYAN_";
/// Variables that are no keys: the configuration file, the apps, and short for `log.filter`.
const SPECIAL: [&str; 3] = ["HONGYAN_CONFIG", "HONGYAN_APPS", "HONGYAN_LOG"];
const APP_FIELDS: [&str; 4] = ["key", "secret", "name", "disabled"];

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

/// Reads the configuration file.
pub(super) fn file(path: &Path) -> Found {
    let place = |line| Origin::File { path: path.to_owned(), line };
    let mut found = Found::default();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => {
            found.problems.push(Problem::at(place(0), format!("cannot be read: {e}")));
            return found;
        }
    };
    let line = |span: Range<usize>| place(line_of(&text, span.start));
    let (table, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        // What the parser made of the rest is a guess, so nothing is said about it.
        found
            .problems
            .extend(errors.iter().map(|e| Problem::at(e.span().map_or(place(0), line), e.message().trim())));
        found.problems.dedup();
        return found;
    }
    for (name, value) in table.into_inner() {
        let (name, at) = (name.get_ref().to_string(), name.span());
        match value.get_ref() {
            DeValue::Array(list) if name == "apps" => {
                let apps = list.iter().filter_map(|item| app(item, &line, &mut found.problems));
                found.apps = Some(apps.collect());
            }
            _ if name == "apps" => {
                let why = "must be tables: write [[apps]] before the key and secret of each";
                found.problems.push(Problem::of(name, None, why).placed(line(at)));
            }
            DeValue::Table(inside) if !inside.is_empty() && Key::find(&name).is_none() => {
                for (inner, value) in inside.clone() {
                    let key = format!("{name}.{}", inner.get_ref());
                    found.leaf(key, value, line(inner.span()));
                }
            }
            DeValue::Table(_) if KEYS.iter().any(|key| key.name.starts_with(&format!("{name}."))) => {}
            _ => found.leaf(name, value, line(at)),
        }
    }
    found
}

impl Found {
    fn leaf(&mut self, key: String, value: Spanned<DeValue<'_>>, origin: Origin) {
        match plain(value) {
            Ok(value) => self.leaves.push(Leaf { key, value, origin }),
            Err(why) => self.problems.push(Problem::of(key, None, why).placed(origin)),
        }
    }
}

fn plain(value: Spanned<DeValue<'_>>) -> Result<Value, String> {
    Value::deserialize(toml::de::ValueDeserializer::from(value)).map_err(|e| e.message().to_owned())
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&b| b == b'\n').count()
}

/// Reads one `[[apps]]`, saying all that is wrong with its fields' names and types.
fn app(
    item: &Spanned<DeValue<'_>>,
    line: &impl Fn(Range<usize>) -> Origin,
    problems: &mut Vec<Problem>,
) -> Option<(App, Origin)> {
    let origin = line(item.span());
    let DeValue::Table(fields) = item.get_ref() else {
        let why = "must be a table with key and secret";
        problems.push(Problem::of("apps", None, why).placed(origin));
        return None;
    };
    let mut app = App::default();
    let before = problems.len();
    for (name, value) in fields {
        let wrong = match (name.get_ref().as_ref(), value.get_ref()) {
            ("key", DeValue::String(text)) => {
                app.key = text.to_string();
                continue;
            }
            ("secret", DeValue::String(text)) => {
                app.secret = text.to_string();
                continue;
            }
            ("name", DeValue::String(text)) => {
                app.name = text.to_string();
                continue;
            }
            ("disabled", DeValue::Boolean(yes)) => {
                app.disabled = *yes;
                continue;
            }
            ("disabled", _) => "must be true or false".into(),
            ("key" | "secret" | "name", _) => "must be a text in quotes".into(),
            (other, _) => match nearest(other, APP_FIELDS) {
                Some(near) => format!("no such key; did you mean apps.{near}?"),
                None => "no such key; an app has key, secret, name, disabled".into(),
            },
        };
        problems.push(Problem::of(format!("apps.{}", name.get_ref()), None, wrong).placed(line(name.span())));
    }
    // What is missing because it was misspelt need not be told twice.
    (problems.len() == before).then_some((app, origin))
}

/// Reads the variables.
pub(super) fn environment(all: &[(OsString, OsString)]) -> Found {
    let mut found = Found::default();
    let ours = all.iter().filter_map(|(name, value)| Some((name.to_str()?, value)));
    let mut ours: Vec<_> = ours.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    // The short form first, so that the long one counts where both are given.
    ours.sort_unstable_by_key(|(name, _)| (*name != "HONGYAN_LOG", *name));
    for (name, value) in ours {
        let origin = Origin::Variable(name.to_owned());
        let Some(value) = value.to_str() else {
            found.problems.push(Problem::at(origin, "is not UTF-8"));
            continue;
        };
        let key = match name {
            "HONGYAN_LOG" => Key::find("log.filter"),
            name => KEYS.iter().find(|key| key.variable() == name),
        };
        match key {
            // Empty counts as not set: that is what `${NAME:-}` in a compose file gives.
            _ if value.is_empty() => {}
            Some(key) => {
                found.leaves.push(Leaf { key: key.name.to_owned(), value: key.kind.read(value), origin });
            }
            None if name == "HONGYAN_APPS" => {
                let (apps, problems) = listed_apps(value, &origin);
                found.apps = Some(apps);
                found.problems.extend(problems);
            }
            None if SPECIAL.contains(&name) || is_service_link(name) => {}
            None => {
                let variables: Vec<_> = KEYS.iter().map(Key::variable).collect();
                let why = match nearest(name, variables.iter().map(String::as_str).chain(SPECIAL)) {
                    Some(near) => format!("no such variable; did you mean {near}?"),
                    None => "no such variable".into(),
                };
                found.problems.push(Problem::at(origin, why));
            }
        }
    }
    found
}

/// Apps as `key:secret,key2:secret2`.
fn listed_apps(text: &str, origin: &Origin) -> (Vec<(App, Origin)>, Vec<Problem>) {
    let mut apps = Vec::new();
    let mut problems = Vec::new();
    for (number, part) in text.split(',').map(str::trim).enumerate() {
        match part.split_once(':') {
            Some((key, secret)) => {
                let app = App { key: key.into(), secret: secret.into(), ..App::default() };
                apps.push((app, origin.clone()));
            }
            None => {
                let why = "must be key:secret,key2:secret2 (not shown here)";
                problems.push(Problem::of(format!("apps[{number}]"), None, why).placed(origin.clone()));
            }
        }
    }
    (apps, problems)
}

/// Whether Kubernetes made this variable, which it does in every pod for a service whose name begins with
/// `hongyan`: `HONGYAN_SERVICE_HOST`, `HONGYAN_PORT`, `HONGYAN_EAST_PORT_8080_TCP_ADDR` …
fn is_service_link(name: &str) -> bool {
    let port_of = |rest: &str| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.split_once("_PORT_").is_some_and(|(_, rest)| port_of(rest))
}

/// Reads the settings of the command line.
pub(super) fn flags(all: &[Setting]) -> Found {
    let leaf = |setting: &Setting| Leaf {
        key: setting.key.clone(),
        value: match Key::find(&setting.key) {
            Some(key) => key.kind.read(&setting.value),
            None => Value::String(setting.value.clone()),
        },
        origin: Origin::Flag(setting.flag.clone()),
    };
    Found { leaves: all.iter().map(leaf).collect(), ..Found::default() }
}
