//! The example file and the documentation say what the program does.

use hongyan::config::{self, Config, Sources, keys::KEYS};
use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A key's default, as TOML.
fn default_of(name: &str) -> String {
    let mut value = &toml::Value::try_from(Config::default()).unwrap();
    for part in name.split('.') {
        value = &value[part];
    }
    value.to_string()
}

#[test]
fn the_example_has_every_key_at_its_default() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/local.toml");
    let loaded = config::load(&Sources { file: Some(file), ..Sources::default() });
    let loaded = loaded.unwrap();
    assert_eq!(loaded.config, Config::default());
    for key in KEYS {
        assert!(loaded.origins.contains_key(key.name), "{} is missing", key.name);
    }
}

#[test]
fn the_commented_app_of_the_example_is_a_good_one() {
    let text = read("config/local.toml");
    let commented = text.split_once("# [[apps]]").unwrap().1.replace("\n# ", "\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hongyan.toml");
    std::fs::write(&file, format!("[[apps]]{commented}")).unwrap();
    let loaded = config::load(&Sources { file: Some(file), ..Sources::default() });
    assert_eq!(loaded.unwrap().config.apps[0].key, "my-app");
}

#[test]
fn the_documentation_has_a_row_for_every_key() {
    let text = read("docs/configuration.md");
    for key in KEYS {
        let row = format!(
            "| `{}` | `{}` | `{}` | {} | ",
            key.name,
            key.variable(),
            default_of(key.name),
            key.kind.allowed()
        );
        assert!(text.lines().any(|line| line.starts_with(&row)), "no row that starts with\n{row}");
    }
    let rows = text.lines().filter(|line| line.contains("` | `HONGYAN_")).count();
    assert_eq!(rows, KEYS.len(), "a row is about no key");
}

#[test]
fn the_examples_of_three_regions_load_and_name_each_other() {
    let load = |region: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/region-{region}.toml"));
        let loaded = config::load(&Sources { file: Some(file), ..Sources::default() });
        loaded.unwrap_or_else(|problems| panic!("region-{region}.toml: {problems}")).config
    };
    let regions = ["eu", "us", "ap"];
    let configs = regions.map(load);
    let addresses = configs.each_ref().map(|config| config.mesh.advertise.clone());
    for (config, region) in configs.iter().zip(regions) {
        assert_eq!((config.node.clone(), config.region.as_str()), (format!("{region}-1"), region));
        assert_eq!(config.mesh.advertise, format!("{region}.example.com:7400"));
        assert_eq!(config.mesh.public_url, format!("https://{region}.example.com"));
        assert_eq!((&config.mesh.seeds[..], &config.apps), (&addresses[..], &configs[0].apps));
        assert!(!config.apps.is_empty() && !config.dev_login_on());
        assert!(config.mesh.listen.is_some() && config.admin_listen.unwrap().ip().is_loopback());
    }
}

#[test]
fn the_commented_certificate_of_a_region_is_complete() {
    let text =
        read("config/region-eu.toml").replace("# [tls]", "[tls]").replace("# certificate =", "certificate =");
    let text = text.replace("# key = \"/etc", "key = \"/etc");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hongyan.toml");
    std::fs::write(&file, text).unwrap();
    let problems = config::load(&Sources { file: Some(file), ..Sources::default() }).unwrap_err();
    let text = problems.to_string();
    assert_eq!(problems.0.len(), 2, "{text}");
    assert!(text.matches("cannot be read").count() == 2, "the files are nobody's: {text}");
}
