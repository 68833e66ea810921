//! From defaults, file, variables and flags to one [`Config`].
//!
//! Algorithm: every source becomes a list of leaves (full key name, value, place). Each leaf is judged alone by
//! the table of keys, so that one bad value hides no other. The good ones are laid over each other, later
//! sources over earlier ones, and become a [`Config`], whose values are then judged together.

use super::{
    Config, Origin, Problem, Problems, apps,
    keys::{KEYS, Key, nearest},
    source::{self, Leaf},
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
            problems.extend(apps::problems(list.iter().map(|(app, origin)| (app, origin.clone()))));
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
    if problems.is_empty() { Ok(Loaded { config, origins }) } else { Err(Problems(problems)) }
}

/// Judges one value alone.
fn judge(name: &str, value: &Value) -> Result<(), Problem> {
    let Some(key) = Key::find(name) else {
        return Err(Problem::of(name, None, unknown(name)));
    };
    if key.kind.allows(value) {
        return Ok(());
    }
    Err(Problem::of(name, Some(value), format!("must be {}", key.kind.allowed())))
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
                leaves.extend(inside.into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DevLogin;
    use std::path::Path;

    fn sources(
        file: Option<&str>,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> (tempfile::TempDir, Sources) {
        let folder = tempfile::tempdir().unwrap();
        let path = file.map(|text| {
            let path = folder.path().join("hongyan.toml");
            std::fs::write(&path, text).unwrap();
            path
        });
        let setting = |&(key, value): &(&str, &str)| Setting {
            flag: format!("--set {key}"),
            key: key.into(),
            value: value.into(),
        };
        let sources = Sources {
            file: path,
            environment: environment.iter().map(|&(name, value)| (name.into(), value.into())).collect(),
            flags: flags.iter().map(setting).collect(),
        };
        (folder, sources)
    }

    #[test]
    fn nothing_given_is_local_mode_with_the_defaults() {
        let loaded = load(&Sources::default()).unwrap();
        let local = Config { local: true, ..Config::default() };
        assert_eq!(loaded.config, local);
        assert!(local.dev_login_on());
        assert!(!Config { listen: "0.0.0.0:1".parse().unwrap(), ..local }.dev_login_on());
        assert!(!Config::default().dev_login_on());
    }

    #[test]
    fn flags_beat_variables_and_variables_beat_the_file() {
        let file = "region = \"file\"\nnode = \"file\"\n[limits]\nqueue = 100\nwindow = 8\ncontent = 2_000\n";
        let (_folder, given) = sources(
            Some(file),
            &[
                ("HONGYAN_NODE", "variable"),
                ("HONGYAN_LIMITS_QUEUE", "200"),
                ("HONGYAN_REGION", ""),
                ("HOME", "/"),
            ],
            &[("limits.queue", "300"), ("sessions.ping", "0.5e1"), ("dev_login", "false")],
        );
        let Loaded { config, origins } = load(&given).unwrap();
        assert_eq!((config.region.as_str(), config.node.as_str()), ("file", "variable"));
        assert_eq!((config.limits.queue, config.limits.window, config.limits.content), (300, 8, 2_000));
        assert_eq!(config.sessions.ping.as_secs(), 5);
        assert_eq!(config.dev_login, DevLogin::Off);
        assert!(!config.local);
        assert_eq!(origins["limits.queue"], Origin::Flag("--set limits.queue".into()));
        assert_eq!(origins["node"], Origin::Variable("HONGYAN_NODE".into()));
        assert!(matches!(&origins["limits.window"], Origin::File { line: 5, .. }));
        assert!(!origins.contains_key("listen"));
    }

    #[test]
    fn every_problem_of_every_source_is_told_with_its_place() {
        let file = "lisen = 5\nlimits = 3\n[limit]\nx = 1\n[tls]\nkey = 5\n[sessions]\nping = \"often\"\n\
                    [[apps]]\nkey = \"a\"\nsekret = \"s3cr3t-example\"\n[[apps]]\nkey = \"b\"\nsecret = \"geheim\"\n";
        let (_folder, given) = sources(
            Some(file),
            &[("HONGYAN_LIMITS_CONTNT", "5"), ("HONGYAN_DEV_LOGIN", "maybe")],
            &[("limits.content", "1"), ("nonsense", "1")],
        );
        let found = load(&given).unwrap_err();
        let text = found.to_string().replace(given.file.as_deref().and_then(Path::to_str).unwrap(), "FILE");
        for line in [
            "lisen (FILE:1): no such key; did you mean listen?",
            "limits (FILE:2): is a table: write [limits] and its keys below",
            "limit.x (FILE:4): no such key",
            "tls.key = 5 (FILE:6): must be a path, or nothing",
            "sessions.ping = \"often\" (FILE:8): must be 1 to 3600 seconds",
            "apps.sekret (FILE:11): no such key; did you mean apps.secret?",
            "apps.secret (FILE:12): must be 8 to 128 printable ASCII characters without blanks (not shown here)",
            "HONGYAN_LIMITS_CONTNT: no such variable; did you mean HONGYAN_LIMITS_CONTENT?",
            "dev_login = \"maybe\" (HONGYAN_DEV_LOGIN): must be true, false or auto",
            "limits.content = 1 (--set limits.content): must be 1024 to 1048576 bytes",
            "nonsense (--set nonsense): no such key",
        ] {
            assert!(text.lines().any(|l| l.trim() == line), "no line {line:?} in\n{text}");
        }
        assert!(text.starts_with("11 problems"), "{text}");
        assert!(!text.contains("geheim"));
    }

    #[test]
    fn a_clash_is_told_where_it_was_made_and_not_about_a_bad_value() {
        let (_folder, given) = sources(None, &[("HONGYAN_LISTEN", "0.0.0.0:80")], &[("dev_login", "true")]);
        let text = load(&given).unwrap_err().to_string();
        assert!(text.contains("dev_login = true (--set dev_login): would let anybody"), "{text}");
        let (_folder, given) = sources(None, &[], &[("limits.frame", "x"), ("limits.content", "500000")]);
        assert_eq!(load(&given).unwrap_err().0.len(), 1);
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_with_its_line() {
        let (_folder, given) =
            sources(Some("listen = \"127.0.0.1:1\"\nnode = \n[limits]\nqueue = = 3\n"), &[], &[]);
        let text = load(&given).unwrap_err().to_string();
        assert!(text.contains("hongyan.toml:2: ") && text.contains("hongyan.toml:4: "), "{text}");
        let missing = Sources { file: Some("no/such.toml".into()), ..Sources::default() };
        assert!(load(&missing).unwrap_err().to_string().contains("no/such.toml: cannot be read"));
    }

    #[test]
    fn variables_of_kubernetes_are_not_ours_and_apps_come_as_a_list() {
        let (_folder, given) = sources(
            None,
            &[
                ("HONGYAN_SERVICE_HOST", "10.0.0.1"),
                ("HONGYAN_PORT", "tcp://10.0.0.1:80"),
                ("HONGYAN_EAST_PORT_80_TCP_ADDR", "10.0.0.1"),
                ("HONGYAN_LOG", "debug"),
                ("HONGYAN_APPS", "a:s3cr3t-a, b:s3cr3t:b"),
            ],
            &[],
        );
        let config = load(&given).unwrap().config;
        let apps: Vec<_> = config.apps.iter().map(|app| (app.key.as_str(), app.secret.as_str())).collect();
        assert_eq!(apps, [("a", "s3cr3t-a"), ("b", "s3cr3t:b")]);
        assert_eq!((config.log.filter.as_str(), config.local), ("debug", false));
    }
}
