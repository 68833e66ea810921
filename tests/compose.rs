//! `compose.yaml` and the `Dockerfile` name what exists: variables, commands, folders.

use hongyan::config::{self, Config, Sources};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Output},
};

const REGIONS: [&str; 3] = ["eu", "us", "ap"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The lines of a service, without their first four blanks.
fn service(name: &str) -> Vec<String> {
    let text = read("compose.yaml");
    let lines = text.lines().skip_while(|line| *line != format!("  {name}:")).skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    let lines: Vec<_> = lines.map(|line| line.get(4..).unwrap_or_default().to_owned()).collect();
    assert!(!lines.is_empty(), "no service {name}");
    lines
}

/// What stands below a key of a service, as deep as its first line.
fn below(service: &[String], key: &str) -> Vec<String> {
    let lines = service.iter().skip_while(|line| **line != format!("{key}:")).skip(1);
    let lines = lines.take_while(|line| line.starts_with("  "));
    lines.map(|line| line.trim_start().to_owned()).collect()
}

/// The variables that the image sets.
fn image() -> BTreeMap<String, String> {
    let text = read("Dockerfile");
    let words = text.split_whitespace().filter(|word| word.starts_with("HONGYAN_"));
    let pairs = words.filter_map(|word| word.split_once('='));
    let set: BTreeMap<_, _> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(set["HONGYAN_DATA"], "/data");
    // Only in a sentence.
    set.into_iter().filter(|(name, _)| name != "HONGYAN_NODE").collect()
}

/// The configuration of a service, as its process sees it.
fn configuration(region: &str) -> Config {
    let mut variables = image();
    for line in below(&service(region), "environment") {
        let (name, value) = line.split_once(": ").unwrap();
        let value = match value.strip_prefix("${HONGYAN_APPS:?") {
            Some(_) => "my-app:s3cr3t-example",
            None => value.trim_matches('"'),
        };
        variables.insert(name.into(), value.into());
    }
    let environment = variables.into_iter().map(|(name, value)| (OsString::from(name), value.into()));
    config::load(&Sources { environment: environment.collect(), ..Sources::default() }).unwrap().config
}

#[test]
fn the_nodes_are_configured_well_and_find_each_other() {
    let configs = REGIONS.map(configuration);
    let addresses = configs.each_ref().map(|config| config.mesh.advertise.clone());
    for (config, region) in configs.iter().zip(REGIONS) {
        assert_eq!((config.node.clone(), config.region.as_str()), (format!("{region}-1"), region));
        assert_eq!((&config.apps, config.dev_login_on()), (&configs[0].apps, false));
        assert_eq!(config.mesh.seeds, addresses, "all name all");
        let port = config.mesh.listen.unwrap().port();
        assert_eq!(
            config.mesh.advertise,
            format!("{region}:{port}"),
            "its name within the network of the file"
        );
        let service = service(region);
        let page = config.mesh.public_url.strip_prefix("http://localhost:").unwrap();
        assert_eq!(below(&service, "ports"), [format!("- \"127.0.0.1:{page}:{}\"", config.listen.port())]);
        let (data, certs) = (config.data.display(), config.mesh.certs.display());
        assert_eq!(below(&service, "volumes"), [format!("- {region}:{data}"), format!("- certs:{certs}:ro")]);
        let grace = service.iter().find_map(|line| line.strip_prefix("stop_grace_period: ")).unwrap();
        let grace: u64 = grace.trim_end_matches('s').parse().unwrap();
        assert!(grace > config.sessions.drain_timeout.as_secs() + 5, "a drain would be cut off");
    }
    let pages: std::collections::BTreeSet<_> = configs.iter().map(|config| &config.mesh.public_url).collect();
    assert_eq!(pages.len(), 3);
}

#[test]
fn the_script_for_certificates_makes_what_the_nodes_need_and_keeps_the_authority_apart() {
    let script = below(&service("certs"), "command");
    assert_eq!(script[0], "- |");
    // /data is what belongs to the image's user, and the script's paths are those of these volumes.
    assert_eq!(below(&service("certs"), "volumes"), ["- authority:/data", "- certs:/certs"]);
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let script = script[1..].join("\n").replace("$$", "$");
    let script = script.replace("/data", &place("data")).replace("/certs", &place("certs"));
    for name in ["data", "certs"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_hongyan")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let run = || -> Output {
        Command::new("/bin/sh").args(["-euc", &script]).env_clear().env("PATH", &path).output().unwrap()
    };
    let first = run();
    assert!(first.status.success(), "{first:?}");
    let read = |name: &str| fs::read(folder.path().join("certs").join(name)).unwrap();
    let mut names: Vec<_> =
        fs::read_dir(folder.path().join("certs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    let mut wanted: Vec<OsString> = vec!["ca.pem".into()];
    for region in REGIONS {
        let node = configuration(region).node;
        wanted.extend([format!("{node}.key").into(), format!("{node}.pem").into()]);
    }
    wanted.sort();
    assert_eq!(names, wanted);
    let before = (read("ca.pem"), read("eu-1.pem"));
    let again = run();
    assert!(again.status.success(), "{again:?}");
    assert_eq!((read("ca.pem"), read("eu-1.pem")), before, "the next start changes nothing");
}

#[test]
fn the_image_has_the_folders_that_are_mounted() {
    let dockerfile = read("Dockerfile");
    let made = dockerfile.lines().find(|line| line.contains("install --directory")).unwrap();
    for region in REGIONS {
        for volume in below(&service(region), "volumes") {
            let folder = volume.split(':').nth(1).unwrap();
            assert!(made.split(' ').any(|word| word == folder), "{folder} of {region} would belong to root");
        }
    }
    let text = read("compose.yaml");
    let declared: Vec<_> = text.split_once("\nvolumes:\n").unwrap().1.lines().map(str::trim).collect();
    assert_eq!(declared, ["authority:", "certs:", "eu:", "us:", "ap:"]);
}
