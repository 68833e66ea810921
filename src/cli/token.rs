//! `hongyan token`: a user token for trying things out and for scripts.
//!
//! Tokens are signed, not stored, so no node need run. Only a name or portrait needs one, which is then asked
//! over its server API, as an app's back end would.

use super::{Usage, http, output};
use crate::{
    config::{App, Config},
    model::{Stamp, UserKey},
    token::{Claims, issue},
};
use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use sha1::{Digest as _, Sha1};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_US: u64 = 86_400_000_000;

/// Whose token.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// App key; may be left out when there is one app only
    #[arg(long, value_name = "KEY")]
    app: Option<String>,
    /// User id
    #[arg(long, value_name = "ID")]
    user: String,
    /// Register the user under this name; needs the node to run
    #[arg(long)]
    name: Option<String>,
    /// Address of the user's picture
    #[arg(long, value_name = "URL", requires = "name")]
    portrait: Option<String>,
    /// Days until it expires, 0 for never; else what tokens.lifetime says
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=36_500))]
    days: Option<u32>,
}

pub(super) fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<()> {
    let apps = config.all_apps()?;
    let app = chosen(&apps, arguments.app.as_deref())?;
    let user = UserKey::new(&app.key, &arguments.user).map_err(|why| Usage(format!("--user {why}")))?;
    let age = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    let now = Stamp::from_millis(u64::try_from(age.as_millis())?);
    if let Some(name) = &arguments.name {
        register(config, app, now, &arguments.user, name, arguments.portrait.as_deref())?;
    }
    let days = arguments.days.unwrap_or(config.tokens.lifetime);
    let expires = (days != 0).then(|| Stamp(now.0.saturating_add(u64::from(days) * DAY_US)));
    let claims = Claims { user, issued: now, expires };
    output::line(&issue(&app.secret, &claims))?;
    Ok(())
}

/// The app that is meant.
fn chosen<'a>(apps: &'a [App], key: Option<&str>) -> anyhow::Result<&'a App> {
    let app = match (key, apps) {
        (Some(key), apps) => apps.iter().find(|app| app.key == key).ok_or_else(|| {
            anyhow!(Usage(format!("there is no app {key}; `hongyan app list` shows those there are")))
        })?,
        (None, [only]) => only,
        (None, []) => bail!(Usage("there is no app yet; make one: hongyan app create".into())),
        (None, _) => bail!(Usage("there are several apps; choose one with --app KEY".into())),
    };
    if app.disabled {
        bail!("the app {} is disabled; its tokens would not connect", app.key);
    }
    Ok(app)
}

/// Registers the user with a running node: the server API's `user/getToken`, signed as back ends sign.
fn register(
    config: &Config,
    app: &App,
    now: Stamp,
    user: &str,
    name: &str,
    portrait: Option<&str>,
) -> anyhow::Result<()> {
    if config.tls_files().is_some() {
        bail!(
            "--name and --portrait ask the node over plain HTTP, but it has tls on; use its server API or leave them out"
        );
    }
    let address = http::reachable(config.listen);
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|e| anyhow!("no random numbers: {e}"))?;
    let nonce = u64::from_ne_bytes(random).to_string();
    let timestamp = now.millis().to_string();
    let signature = signature(&app.secret, &nonce, &timestamp);
    let headers = [
        ("App-Key", app.key.as_str()),
        ("Nonce", &nonce),
        ("Timestamp", &timestamp),
        ("Signature", &signature),
    ];
    let form = [("userId", user), ("name", name), ("portraitUri", portrait.unwrap_or_default())];
    let fields = if portrait.is_some() { &form[..] } else { &form[..2] };
    let answer = http::post(address, "/user/getToken.json", &headers, fields).with_context(|| {
        format!("--name and --portrait need the node to run, and there is none at {address} (a token alone needs none)")
    })?;
    if answer.status != 200 {
        bail!("the node at {address} did not register the user: {} {}", answer.status, answer.body.trim());
    }
    Ok(())
}

/// Hexadecimal SHA-1 of secret, nonce and timestamp, as the server API wants it.
fn signature(secret: &str, nonce: &str, timestamp: &str) -> String {
    let digest = Sha1::new().chain_update(secret).chain_update(nonce).chain_update(timestamp).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_that_back_ends_make() {
        assert_eq!(
            signature("s3cr3t-example", "14314", "1700000000"),
            "60d37e517e914040b7a60632692ef15dfd7bcd0c"
        );
    }

    #[test]
    fn one_app_is_chosen_by_itself_and_several_are_not() {
        let app = |key: &str| App { key: key.into(), secret: "s3cr3t-example".into(), ..App::default() };
        assert_eq!(chosen(&[app("a")], None).unwrap().key, "a");
        assert_eq!(chosen(&[app("a"), app("b")], Some("b")).unwrap().key, "b");
        for (apps, key) in [(vec![], None), (vec![app("a"), app("b")], None), (vec![app("a")], Some("b"))] {
            assert!(chosen(&apps, key).unwrap_err().is::<Usage>());
        }
        let locked = App { disabled: true, ..app("a") };
        assert!(!chosen(&[locked], None).unwrap_err().is::<Usage>());
    }
}
