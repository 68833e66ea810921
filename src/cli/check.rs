//! `hongyan check`: is the configuration good, and what does it say?

use super::output;
use crate::config::{Loaded, changed};

pub(super) fn run(loaded: &Loaded) -> anyhow::Result<()> {
    let apps = loaded.config.all_apps()?.len();
    let mut lines = vec![format!("The configuration is good. Apps: {apps}.")];
    for (key, value) in changed(&loaded.config) {
        let origin = loaded.origins.get(key).cloned().unwrap_or_default();
        lines.push(format!("{key} = {value}  ({origin})"));
    }
    output::line(&lines.join("\n"))?;
    Ok(())
}
