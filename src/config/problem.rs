//! What is wrong with a configuration, and where.

use std::{fmt, path::PathBuf};

/// Where a value stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// In the program.
    #[default]
    Default,
    /// In the configuration file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, from 1; 0 is the file as a whole.
        line: usize,
    },
    /// In an environment variable of this name.
    Variable(String),
    /// On the command line, such as `--listen`.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Full name of the key; empty when it is about no single key.
    pub key: String,
    /// The value, as TOML; `None` when there is none, or when it is a secret.
    pub value: Option<String>,
    /// Where it stands.
    pub origin: Origin,
    /// What is wrong and what would be right.
    pub why: String,
}

impl Problem {
    /// A problem about a place, not a key.
    pub fn at(origin: Origin, why: impl Into<String>) -> Self {
        Self { key: String::new(), value: None, origin, why: why.into() }
    }

    /// A problem about a key; the origin is [`Origin::Default`] until it is known.
    pub fn of(key: impl Into<String>, value: Option<&toml::Value>, why: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.map(shown), origin: Origin::Default, why: why.into() }
    }

    /// The same, with its place.
    #[must_use]
    pub fn placed(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}

/// A value on one line, cut where it is long.
fn shown(value: &toml::Value) -> String {
    const MOST: usize = 80;
    let text = match value {
        toml::Value::Table(_) => "a table".into(),
        value => value.to_string().replace('\n', "\\n"),
    };
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST).chain(['…']).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            return write!(f, "{}: {}", self.origin, self.why);
        }
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        if self.origin != Origin::Default {
            write!(f, " ({})", self.origin)?;
        }
        write!(f, ": {}", self.why)
    }
}

/// All that is wrong; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 problem in the configuration")?,
            n => write!(f, "{n} problems in the configuration")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}
