//! `apps.toml` in the data folder: apps made with `hongyan app create`, or by hand.
//!
//! Purpose: new apps without touching the configuration and without a restart.
//! Flow: [`create`] appends, [`load`] reads, [`watch`] tells a running node of changes.
//! Invariants: the file is only for its owner; it is replaced whole or not at all; what cannot be read never
//! replaces what was read before.

use super::{App, Problem, Problems, apps, source};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often [`watch`] looks.
const LOOK: Duration = Duration::from_secs(2);
const HEAD: &str = "# Apps of this node, besides those of its configuration. A running node takes up changes within seconds.\n";

/// Why the apps' file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppsFileError {
    /// The system said no.
    #[error("{}: {cause}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        cause: io::Error,
    },
    /// What stands in it is wrong.
    #[error(transparent)]
    Bad(#[from] Problems),
    /// A value of the app to be made is wrong.
    #[error("the app's {field} {why}")]
    Wrong {
        /// Which one.
        field: &'static str,
        /// What it must be.
        why: &'static str,
    },
    /// There is such an app already.
    #[error("there is an app with the key {0} already")]
    Exists(String),
}

/// Where the file is.
#[must_use]
pub fn path(data: &Path) -> PathBuf {
    data.join("apps.toml")
}

/// Reads the apps of the data folder; no file is no apps.
///
/// # Errors
/// When it cannot be read, or with every problem of what stands in it.
pub fn load(data: &Path) -> Result<Vec<App>, AppsFileError> {
    let path = path(data);
    match fs::metadata(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        _ => {}
    }
    let found = source::file(&path);
    let mut problems = found.problems;
    let stray =
        |leaf: source::Leaf| Problem::of(leaf.key, None, "only [[apps]] may stand here").placed(leaf.origin);
    problems.extend(found.leaves.into_iter().map(stray));
    let apps = found.apps.unwrap_or_default();
    problems.extend(apps::problems(apps.iter().map(|(app, origin)| (app, origin.clone()))));
    if problems.is_empty() {
        Ok(apps.into_iter().map(|(app, _)| app).collect())
    } else {
        Err(Problems(problems).into())
    }
}

/// Adds an app to the data folder's file; makes folder (mode 0700) and file (0600) when they are missing.
/// Runs of several processes wait for each other.
///
/// * `key`, `secret`: made from random bits where left out.
///
/// # Errors
/// When a value is wrong or the key is taken, or what the system said; nothing has changed then.
pub fn create(
    data: &Path,
    key: Option<&str>,
    secret: Option<&str>,
    name: &str,
) -> Result<App, AppsFileError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| AppsFileError::Io { path, cause }
    };
    let or_random = |given: Option<&str>, len| given.map_or_else(|| random(len), |text| Ok(text.to_owned()));
    let app = App {
        key: or_random(key, 13).map_err(failed(data))?,
        secret: or_random(secret, 32).map_err(failed(data))?,
        name: name.to_owned(),
        disabled: false,
    };
    if let Some((field, why)) = app.problems().into_iter().next() {
        return Err(AppsFileError::Wrong { field, why });
    }
    DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed(data))?;
    let folder = File::open(data).map_err(failed(data))?;
    folder.lock().map_err(failed(data))?; // until it is closed
    if load(data)?.iter().any(|other| other.key == app.key) {
        return Err(AppsFileError::Exists(app.key));
    }
    let path = path(data);
    let mut text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
        read => read.map_err(failed(&path))?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&table(&app));
    replace(&folder, &path, &text).map_err(failed(&path))?;
    Ok(app)
}

fn table(app: &App) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text = format!("\n[[apps]]\nkey = {}\nsecret = {}\n", quoted(&app.key), quoted(&app.secret));
    if !app.name.is_empty() {
        text.push_str(&format!("name = {}\n", quoted(&app.name)));
    }
    text
}

/// Random text of `len` characters, 5 bits each.
fn random(len: usize) -> io::Result<String> {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut bytes = vec![0_u8; len];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect())
}

/// Replaces the file, so that a reader sees the old or the new one, and a crash leaves one of them.
fn replace(folder: &File, path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("toml.new");
    let _ = fs::remove_file(&fresh); // left by a crash, perhaps
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    // Made by root for a node that runs as another user: it belongs to whom the folder does.
    let (owner, ours) = (folder.metadata()?, file.metadata()?);
    if owner.uid() != ours.uid() {
        chown(&fresh, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    folder.sync_all()
}

/// Looks after the file of the data folder until `stop`, every 2 s, and tells `changed` all apps of the node
/// (see [`super::merged`]): once at the start, then whenever the file has changed.
///
/// A file that vanished or went bad is logged, and the apps stay as they were.
///
/// * `fixed`: the apps of the configuration.
pub async fn watch(
    data: PathBuf,
    fixed: Vec<App>,
    stop: CancellationToken,
    changed: impl FnMut(Vec<App>) + Send,
) {
    watch_every(LOOK, data, fixed, stop, changed).await;
}

async fn watch_every(
    look: Duration,
    data: PathBuf,
    fixed: Vec<App>,
    stop: CancellationToken,
    mut changed: impl FnMut(Vec<App>) + Send,
) {
    let path = path(&data);
    let mut seen = None;
    loop {
        let stamp =
            tokio::fs::metadata(&path).await.ok().map(|m| (m.ino(), m.len(), m.mtime(), m.mtime_nsec()));
        if seen != Some(stamp) {
            // It is small, and it is read once for each change.
            let found = load(&data);
            let vanished = seen.is_some() && (stamp.is_none() || !path.exists());
            match found {
                _ if vanished => {
                    warn!(file = %path.display(), "the apps' file is gone; its apps stay until a restart");
                }
                Ok(apps) => {
                    if seen.is_some() {
                        info!(file = %path.display(), apps = apps.len(), "apps changed");
                    }
                    changed(super::merged(&fixed, apps));
                }
                Err(e) => warn!(file = %path.display(), "the apps stay as they were: {e}"),
            }
            seen = Some(stamp);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(look) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use tokio::sync::mpsc;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_app_is_kept_for_its_owner_only_and_what_was_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("new/data");
        assert_eq!(load(&data).unwrap(), []);
        let one = create(&data, None, None, "").unwrap();
        assert_eq!((one.key.len(), one.secret.len()), (13, 32));
        assert_eq!((mode(&data), mode(&path(&data))), (0o700, 0o600));
        fs::write(path(&data), fs::read_to_string(path(&data)).unwrap() + "# a note").unwrap();
        let two = create(&data, Some("shop"), Some("s3cr3t-example"), "Quote \" shop").unwrap();
        assert_eq!(load(&data).unwrap(), [one, two]);
        assert!(fs::read_to_string(path(&data)).unwrap().contains("# a note\n"));
        assert_eq!(mode(&path(&data)), 0o600);
    }

    #[test]
    fn a_taken_key_and_wrong_values_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        create(folder.path(), Some("shop"), None, "").unwrap();
        let before = fs::read(path(folder.path())).unwrap();
        assert!(matches!(create(folder.path(), Some("shop"), None, ""), Err(AppsFileError::Exists(_))));
        assert!(matches!(create(folder.path(), Some("a b"), None, ""), Err(AppsFileError::Wrong { .. })));
        assert!(matches!(create(folder.path(), None, Some("short"), ""), Err(AppsFileError::Wrong { .. })));
        assert_eq!(fs::read(path(folder.path())).unwrap(), before);
    }

    #[test]
    fn many_at_once_all_get_in() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| create(folder.path(), None, None, "").unwrap());
            }
        });
        assert_eq!(load(folder.path()).unwrap().len(), 8);
    }

    #[test]
    fn what_does_not_belong_there_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(path(folder.path()), "listen = \"x\"\n[[apps]]\nkee = \"a\"\n[[apps]]\nkey = \"b\"\n")
            .unwrap();
        let text = load(folder.path()).unwrap_err().to_string();
        for part in [
            "apps.toml:1): only [[apps]]",
            "apps.toml:3): no such key; did you mean apps.key?",
            "apps.toml:4): must be 8",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[tokio::test]
    async fn a_running_node_hears_of_new_apps_and_keeps_them_when_the_file_goes_bad() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_owned();
        let (tell, mut told) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let fixed = vec![App { key: "fixed".into(), ..App::default() }];
        let look = Duration::from_millis(5);
        let watching = watch_every(look, data.clone(), fixed, stop.clone(), move |apps| {
            tell.send(apps).unwrap();
        });
        let story = async {
            assert_eq!(told.recv().await.unwrap().len(), 1);
            create(&data, Some("one"), None, "").unwrap();
            assert_eq!(told.recv().await.unwrap().len(), 2);
            fs::write(path(&data), "nonsense").unwrap();
            tokio::time::sleep(look * 10).await;
            fs::remove_file(path(&data)).unwrap();
            tokio::time::sleep(look * 10).await;
            assert!(told.try_recv().is_err());
            create(&data, Some("two"), None, "").unwrap();
            assert_eq!(told.recv().await.unwrap()[1].key, "two");
            stop.cancel();
        };
        tokio::join!(watching, story);
    }
}
