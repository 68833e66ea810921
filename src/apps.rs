//! The apps that this service serves: key and secret of each.

use crate::model::{BadId, check_id};
use parking_lot::RwLock;
use std::{collections::HashMap, fmt, sync::Arc};

/// An app's secret. [`fmt::Debug`] does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The secret itself: for signatures, never for logs.
    #[must_use]
    pub const fn reveal(&self) -> &Arc<str> {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// One app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its key: 1 to 64 bytes without control characters. Public.
    pub key: Arc<str>,
    /// Its secret; signs server API calls and user tokens. Must not be empty.
    pub secret: Secret,
    /// Locked: its calls are refused and its tokens do not connect.
    pub disabled: bool,
}

impl App {
    /// An app that is not locked.
    #[must_use]
    pub fn new(key: &str, secret: &str) -> Self {
        Self { key: key.into(), secret: secret.into(), disabled: false }
    }
}

/// What is wrong with a list of apps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppProblem {
    /// A key that is not an id.
    #[error("app key {key:?} {why}")]
    BadKey {
        /// The key.
        key: Arc<str>,
        /// What is wrong with it.
        why: BadId,
    },
    /// No secret: anybody could sign.
    #[error("app {key:?} has an empty secret")]
    NoSecret {
        /// The app's key.
        key: Arc<str>,
    },
    /// The same key twice.
    #[error("app {key:?} is there twice")]
    Twice {
        /// The app's key.
        key: Arc<str>,
    },
}

/// All apps, by key.
#[derive(Clone, Debug, Default)]
pub struct Apps(HashMap<Arc<str>, App>);

impl Apps {
    /// Takes the configured list.
    ///
    /// # Errors
    /// Every problem found.
    pub fn new(list: impl IntoIterator<Item = App>) -> Result<Self, Vec<AppProblem>> {
        let mut apps = HashMap::new();
        let mut problems = Vec::new();
        for app in list {
            let key = app.key.clone();
            if let Err(why) = check_id(&key) {
                problems.push(AppProblem::BadKey { key: key.clone(), why });
            }
            if app.secret.0.is_empty() {
                problems.push(AppProblem::NoSecret { key: key.clone() });
            }
            if apps.insert(key.clone(), app).is_some() {
                problems.push(AppProblem::Twice { key });
            }
        }
        if problems.is_empty() { Ok(Self(apps)) } else { Err(problems) }
    }

    /// The app with this key, locked or not.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&App> {
        self.0.get(key)
    }

    /// The secret of the app with this key; `None` when it is unknown or locked. Made for [`crate::token::verify`].
    #[must_use]
    pub fn secret(&self, key: &str) -> Option<Arc<str>> {
        self.get(key).filter(|app| !app.disabled).map(|app| app.secret.0.clone())
    }

    /// The apps, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &App> {
        self.0.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// All apps, for everyone who needs them; replaced as a whole when the list changes.
#[derive(Clone, Debug, Default)]
pub struct SharedApps(Arc<RwLock<Arc<Apps>>>);

impl SharedApps {
    /// Shares `apps`.
    #[must_use]
    pub fn new(apps: Apps) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(apps))))
    }

    /// The apps as they are now.
    #[must_use]
    pub fn now(&self) -> Arc<Apps> {
        self.0.read().clone()
    }

    /// Puts `apps` in the place of what was there.
    pub fn replace(&self, apps: Apps) {
        *self.0.write() = Arc::new(apps);
    }

    /// See [`Apps::secret`].
    #[must_use]
    pub fn secret(&self, key: &str) -> Option<Arc<str>> {
        self.0.read().secret(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let apps = Apps::new([App::new("app1", "s3cr3t")]).unwrap();
        let text = format!("{apps:?} {apps:#?}");
        assert!(text.contains("app1") && !text.contains("s3cr3t"), "{text}");
    }

    #[test]
    fn a_locked_app_is_known_but_gives_no_secret() {
        let locked = App { disabled: true, ..App::new("b", "two") };
        let apps = Apps::new([App::new("a", "one"), locked]).unwrap();
        assert_eq!(apps.secret("a").as_deref(), Some("one"));
        assert_eq!(apps.secret("b"), None);
        assert_eq!(apps.secret("c"), None);
        assert!(apps.get("b").is_some());
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let bad = [App::new("a", "x"), App::new("a", "y"), App::new("b", ""), App::new("", "z")];
        assert_eq!(Apps::new(bad).unwrap_err().len(), 3);
    }
}
