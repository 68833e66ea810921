//! This program once more, as a child, and where its data goes.

use crate::config::{Config, changed};
use anyhow::{Context as _, anyhow};
use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    mem::{self, ManuallyDrop},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process,
};

/// A folder that goes when this does.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes a new folder in `parent`, for this user only, whose name says what it is for.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn below(parent: &Path, purpose: &str) -> anyhow::Result<Self> {
        let path = parent.join(format!("hongyan-{purpose}-{}-{}", process::id(), random()?));
        fs::create_dir_all(parent).with_context(|| format!("no folder {}", parent.display()))?;
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("no folder {}", path.display()))?;
        Ok(Self(fs::canonicalize(&path)?))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Lets it stay. Gives where it is.
    pub(super) fn keep(self) -> PathBuf {
        mem::take(&mut ManuallyDrop::new(self).0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("hongyan: {} is left behind: {error}", self.0.display());
        }
    }
}

/// Eight random hexadecimal digits.
///
/// # Errors
/// When the system has no random bytes.
pub(super) fn random() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_err(|e| anyhow!("no random numbers: {e}"))?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}

/// Where this program is.
///
/// # Errors
/// When it does not know.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program does not know where it is")
}

/// Variables that a child must not see: what they set, it is given as flags.
pub(super) fn hidden() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.to_string_lossy().starts_with("HONGYAN_"))
}

/// The settings of `config` as flags, but for those that the child gets of its own.
pub(super) fn flags(config: &Config, own: &[(&str, String)]) -> Vec<String> {
    let of_own = |key: &str| own.iter().any(|(own, _)| *own == key);
    let given = changed(config).into_iter().filter(|(key, _)| !of_own(key));
    let given = given.map(|(key, value)| format!("{key}={}", plain(&value)));
    let own = own.iter().map(|(key, value)| format!("{key}={value}"));
    given.chain(own).flat_map(|setting| ["--set".to_owned(), setting]).collect()
}

/// A value of a configuration as `--set` takes it.
fn plain(value: &str) -> String {
    let Ok(table) = toml::from_str::<toml::Table>(&format!("value = {value}")) else {
        return value.to_owned();
    };
    match table.get("value") {
        Some(toml::Value::String(text)) => text.clone(),
        Some(toml::Value::Array(list)) => {
            list.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
        }
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_given_on_as_flags_take_them() {
        assert_eq!(plain("5"), "5");
        assert_eq!(plain("\"a b\""), "a b");
        assert_eq!(plain("[\"a\", \"b\"]"), "a,b");
        let config = Config { node: "x".into(), region: "eu".into(), ..Config::default() };
        let flags = flags(&config, &[("node", "y".into())]);
        assert_eq!(flags, ["--set", "region=eu", "--set", "node=y"]);
    }

    #[test]
    fn a_folder_goes_with_what_is_in_it() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::below(parent.path(), "test").unwrap();
        fs::write(folder.path().join("x"), "y").unwrap();
        drop(folder);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        let kept = Folder::below(parent.path(), "test").unwrap().keep();
        assert!(kept.is_dir());
    }
}
