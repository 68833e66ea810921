//! The real program, run as a user runs it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// Runs `hongyan` in `folder` with nothing but these variables.
fn hongyan(folder: &TempDir, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hongyan"))
        .current_dir(folder.path())
        .env_clear()
        .envs(variables.iter().copied())
        .args(arguments)
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn folder(file: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hongyan.toml"), file).unwrap();
    folder
}

#[test]
fn all_problems_of_file_variables_and_flags_come_at_once_with_exit_code_2() {
    let folder = folder("lisen = \"127.0.0.1:1\"\n[limits]\ncontent = 5\n");
    let variables = [("HONGYAN_SESSIONS_PING", "often"), ("HONGYAN_NOED", "x")];
    for command in ["serve", "check", "token"] {
        let mut arguments = vec!["--config", "hongyan.toml", "--set", "limits.queue=many", command];
        if command == "token" {
            arguments.extend(["--user", "ann"]);
        }
        let output = hongyan(&folder, &variables, &arguments);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(out(&output), "");
        let lines = [
            "hongyan: 5 problems in the configuration",
            "  lisen (hongyan.toml:1): no such key; did you mean listen?",
            "  limits.content = 5 (hongyan.toml:3): must be 1024 to 1048576 bytes",
            "  HONGYAN_NOED: no such variable; did you mean HONGYAN_NODE?",
            "  sessions.ping = \"often\" (HONGYAN_SESSIONS_PING): must be 1 to 3600 seconds",
            "  limits.queue = \"many\" (--set limits.queue): must be 64 to 1048576 inputs",
        ];
        let text = err(&output);
        assert_eq!(text.lines().count(), lines.len(), "{text}");
        for line in lines {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
    }
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_help_is_0() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--nonsense"][..], &["--set", "x"], &["fly"], &["token"]] {
        assert_eq!(hongyan(&folder, &[], arguments).status.code(), Some(2), "{arguments:?}");
    }
    let help = hongyan(&folder, &[], &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(out(&help).contains("serve") && out(&help).contains("--config <FILE>"));
    let version = hongyan(&folder, &[], &["--version"]);
    assert_eq!(out(&version), format!("hongyan {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn flags_beat_variables_beat_the_file_and_check_says_where_each_comes_from() {
    let folder = folder("node = \"file\"\nregion = \"file\"\ndata = \"file\"\n");
    let variables =
        [("HONGYAN_CONFIG", "hongyan.toml"), ("HONGYAN_REGION", "variable"), ("HONGYAN_DATA", "variable")];
    let output = hongyan(&folder, &variables, &["check", "--data", "flag"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    for line in [
        "node = \"file\"  (hongyan.toml:1)",
        "region = \"variable\"  (HONGYAN_REGION)",
        "data = \"flag\"  (--data)",
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
    }
    assert_eq!(text.lines().count(), 4, "{text}");
}

#[test]
fn dev_login_on_an_open_address_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = hongyan(&folder, &[], &["check", "--listen", "0.0.0.0:8080", "--dev-login"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("dev_login = true (--dev-login): would let anybody"));
    let output = hongyan(&folder, &[], &["check", "--listen", "0.0.0.0:8080", "--dev-login=false"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

/// Makes an app and gives its key.
fn create(folder: &TempDir, arguments: &[&str]) -> String {
    let output = hongyan(folder, &[], &[&["app", "create"][..], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    text.lines().next().unwrap().strip_prefix("App key     ").unwrap().to_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn apps_are_made_kept_private_and_listed_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let empty = hongyan(&folder, &[], &["app", "list"]);
    assert_eq!((empty.status.code(), out(&empty).as_str()), (Some(0), ""));
    let first = create(&folder, &["--name", "Shop 雁"]);
    let second = create(&folder, &["--key", "news"]);
    assert_eq!(second, "news");
    let data = folder.path().join("data");
    assert_eq!((mode(&data), mode(&data.join("apps.toml"))), (0o700, 0o600));
    let file: toml::Table = fs::read_to_string(data.join("apps.toml")).unwrap().parse().unwrap();
    let secret = file["apps"][0]["secret"].as_str().unwrap();

    let variables = [("HONGYAN_APPS", "fixed:s3cr3t-example")];
    let list = hongyan(&folder, &variables, &["app", "list"]);
    let text = out(&list);
    assert!(
        text.contains(&first) && text.contains("Shop 雁") && text.contains("news") && text.contains("fixed")
    );
    assert!(!text.contains(secret) && !text.contains("s3cr3t-example"), "{text}");
    let shown = out(&hongyan(&folder, &variables, &["app", "list", "--show-secret"]));
    assert!(shown.contains(secret) && shown.contains("s3cr3t-example"));

    let taken = hongyan(&folder, &variables, &["app", "create", "--key", "news"]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(err(&taken).contains("there is an app with the key news already"));
    let taken = hongyan(&folder, &variables, &["app", "create", "--key", "fixed"]);
    assert_eq!(taken.status.code(), Some(1));
    let wrong = hongyan(&folder, &[], &["app", "create", "--key", "a b"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(err(&wrong).contains("the app's key must be 1 to 64 letters"), "{}", err(&wrong));
}

#[test]
fn a_token_is_all_that_stands_on_standard_output_and_it_is_good() {
    use hongyan::{model::Stamp, token::verify};
    let folder = tempfile::tempdir().unwrap();
    let none = hongyan(&folder, &[], &["token", "--user", "ann"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(err(&none).contains("hongyan app create"));

    let variables = [("HONGYAN_APPS", "a:s3cr3t-example")];
    let output = hongyan(&folder, &variables, &["token", "--user", "ann", "--days", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    let secret = |key: &str| (key == "a").then(|| "s3cr3t-example".into());
    let claims = verify(text.strip_suffix('\n').unwrap(), Stamp(1), secret).unwrap();
    assert_eq!((claims.user.app(), claims.user.id()), ("a", "ann"));
    assert_eq!(claims.expires.unwrap().0 - claims.issued.0, 86_400_000_000);

    let lasting = [variables[0], ("HONGYAN_TOKENS_LIFETIME", "2")];
    let text = out(&hongyan(&folder, &lasting, &["token", "--app", "a", "--user", "ann"]));
    let claims = verify(text.trim(), Stamp(1), secret).unwrap();
    assert_eq!(claims.expires.unwrap().0 - claims.issued.0, 2 * 86_400_000_000);

    for arguments in [["--app", "b", "--user", "ann"], ["--app", "a", "--user", ""]] {
        let output = hongyan(&folder, &variables, &[&["token"][..], &arguments].concat());
        assert_eq!((output.status.code(), out(&output).as_str()), (Some(2), ""));
    }
}

#[test]
fn a_name_needs_the_node_and_its_absence_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("HONGYAN_APPS", "a:s3cr3t-example"), ("HONGYAN_LISTEN", "127.0.0.1:1")];
    let output = hongyan(&folder, &variables, &["token", "--user", "ann", "--name", "Ann"]);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), ""));
    assert!(
        err(&output).contains("need the node to run, and there is none at 127.0.0.1:1"),
        "{}",
        err(&output)
    );
}

#[test]
fn health_of_nobody_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let output = hongyan(&folder, &[], &["health", "--admin-listen", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("no healthy node at 127.0.0.1:1"));
    assert_eq!(hongyan(&folder, &[], &["health", "--admin-listen", "off"]).status.code(), Some(2));
}

#[test]
fn a_file_of_apps_that_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    create(&folder, &[]);
    fs::write(folder.path().join("data/apps.toml"), "[[apps]]\nkey = \"a\"\nsecret = \"short\"\n").unwrap();
    for command in ["serve", "check"] {
        let output = hongyan(&folder, &[], &[command]);
        assert_eq!(output.status.code(), Some(2));
        let text = err(&output);
        assert!(text.contains("apps.secret (./data/apps.toml:1): must be 8 to 128"), "{text}");
        assert!(!text.contains("\"short\""));
    }
}

#[test]
fn certificates_are_made_once_and_wrong_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let certs = |arguments: &[&str]| hongyan(&folder, &[], &[&["certs"], arguments].concat());
    let early = certs(&["issue", "--node", "eu-1"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(err(&early).contains("hongyan certs init"), "{}", err(&early));
    assert_eq!(certs(&["init"]).status.code(), Some(0));
    let again = certs(&["init"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("ca.pem is there already"), "{}", err(&again));
    assert_eq!(certs(&["issue", "--node", "eu 1"]).status.code(), Some(2));
    let made = certs(&["issue", "--node", "eu-1", "--host", "eu.example.com", "--host", "192.0.2.1"]);
    assert_eq!(made.status.code(), Some(0), "{}", err(&made));
    for (file, mode) in [("ca.key", 0o600), ("eu-1.key", 0o600), ("eu-1.pem", 0o644), ("ca.pem", 0o644)] {
        let path = folder.path().join("certs").join(file);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{file}");
        assert!(out(&made).contains(file) || file.starts_with("ca."), "{}", out(&made));
    }
}
