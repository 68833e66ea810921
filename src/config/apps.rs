//! Apps in the configuration: what one looks like and what is wrong with a list of them.

use super::{Origin, Problem};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// An app: a tenant with users of its own.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct App {
    /// App key, public. 1 to 64 letters, digits, `-`, `_`, `.`.
    pub key: String,
    /// App secret: signs tokens and server API calls. 8 to 128 printable ASCII characters, no blanks.
    pub secret: String,
    /// For people. At most 64 bytes, no control characters.
    pub name: String,
    /// Whether its users and its back end are refused.
    pub disabled: bool,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("key", &self.key)
            .field("name", &self.name)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

impl From<&App> for crate::apps::App {
    fn from(app: &App) -> Self {
        Self { disabled: app.disabled, ..Self::new(&app.key, &app.secret) }
    }
}

impl App {
    /// What is wrong with it; the words name no secret.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut problems = Vec::new();
        if !is_name(&self.key) {
            problems.push(("key", "must be 1 to 64 letters, digits, - _ ."));
        }
        if !(8..=128).contains(&self.secret.len()) || !self.secret.bytes().all(|b| b.is_ascii_graphic()) {
            problems.push((
                "secret",
                "must be 8 to 128 printable ASCII characters without blanks (not shown here)",
            ));
        }
        if self.name.len() > 64 || self.name.chars().any(char::is_control) {
            problems.push(("name", "must be at most 64 bytes without control characters"));
        }
        problems
    }
}

/// 1 to 64 letters, digits, `-`, `_`, `.`: safe in addresses, files, metrics and variables.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// What is wrong with a list of apps, each given with its place.
pub(super) fn problems<'a>(apps: impl IntoIterator<Item = (&'a App, Origin)>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<&str, Origin> = BTreeMap::new();
    for (number, (app, origin)) in apps.into_iter().enumerate() {
        // In a file the line says which one, elsewhere the number.
        let named = |field: &str| match origin {
            Origin::File { .. } => format!("apps.{field}"),
            _ => format!("apps[{number}].{field}"),
        };
        for (field, why) in app.problems() {
            let value = match field {
                "key" => Some(toml::Value::String(app.key.clone())),
                "name" => Some(toml::Value::String(app.name.clone())),
                _ => None,
            };
            problems.push(Problem::of(named(field), value.as_ref(), why).placed(origin.clone()));
        }
        if let Some(first) = seen.insert(&app.key, origin.clone()).filter(|_| !app.key.is_empty()) {
            let value = toml::Value::String(app.key.clone());
            let why = match first {
                Origin::File { .. } => format!("there is another app with this key at {first}"),
                _ => "there is another app with this key".into(),
            };
            problems.push(Problem::of(named("key"), Some(&value), why).placed(origin));
        }
    }
    problems
}

/// The apps of the configuration and those of `apps.toml` together; where both have a key, the
/// configuration's counts.
#[must_use]
pub fn merged(fixed: &[App], file: Vec<App>) -> Vec<App> {
    let mut all = fixed.to_vec();
    all.extend(file.into_iter().filter(|app| fixed.iter().all(|other| other.key != app.key)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(key: &str, secret: &str) -> App {
        App { key: key.into(), secret: secret.into(), ..App::default() }
    }

    #[test]
    fn every_problem_of_every_app_is_named_and_no_secret_is_shown() {
        let list =
            [app("a b", "long-enough"), app("a", "short"), app("b", "long-enough"), app("b", "long-enough")];
        let found = problems(list.iter().map(|app| (app, Origin::Default)));
        let text: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 3, "{text:?}");
        assert!(text[0].starts_with("apps[0].key = \"a b\": "));
        assert!(text[1].starts_with("apps[1].secret: "));
        assert!(text[2].starts_with("apps[3].key = \"b\": there is another"));
        assert!(!format!("{text:?}{list:?}").contains("short"));
    }

    #[test]
    fn the_configuration_beats_the_file() {
        let both = merged(&[app("a", "fixed")], vec![app("a", "file"), app("b", "file")]);
        assert_eq!(both, [app("a", "fixed"), app("b", "file")]);
    }
}
