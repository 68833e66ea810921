//! Forgetting what is older than the configuration wants kept.

use crate::{
    config::Retention,
    hub::Hub,
    model::{Kind, Log, Stamp, UserKey},
    relay::Input,
    store::StoreError,
};
use std::time::Duration;

/// How long after the start, and how often after that, the store is gone through.
const ROUND: Duration = Duration::from_secs(600);
/// Mailboxes or logs looked up at once.
const STEP: usize = 100;
const DAY_US: u64 = 86_400_000_000;

/// Goes through the store now and then, for ever.
pub(super) async fn run(hub: Hub, retention: Retention) {
    if [retention.private, retention.system, retention.mailbox] == [0, 0, 0] {
        return;
    }
    loop {
        tokio::time::sleep(ROUND).await;
        if let Err(error) = sweep(&hub, &retention, hub.now()).await {
            tracing::error!(%error, "retention cannot go through the store; it tries again later");
        }
    }
}

/// Goes through the store once; `now` is what days are counted back from.
pub(super) async fn sweep(hub: &Hub, retention: &Retention, now: Stamp) -> Result<(), StoreError> {
    let cutoff = |days: u32| (days > 0).then(|| Stamp(now.0.saturating_sub(u64::from(days) * DAY_US)));
    if let Some(cutoff) = cutoff(retention.mailbox) {
        mailboxes(hub, cutoff).await?;
    }
    for (kind, days) in [(Kind::Private, retention.private), (Kind::System, retention.system)] {
        if let Some(cutoff) = cutoff(days) {
            logs(hub, kind, cutoff).await?;
        }
    }
    Ok(())
}

async fn mailboxes(hub: &Hub, cutoff: Stamp) -> Result<(), StoreError> {
    let mut resume: Option<UserKey> = None;
    loop {
        let from = resume.take();
        let found = hub.read(move |store| store.expired_mailboxes(cutoff, from.as_ref(), STEP)).await?;
        let Some((last, _)) = found.last() else { return Ok(()) };
        resume = Some(last.clone());
        let trims = found.into_iter().map(|(user, upto)| Input::Trim { user, upto }).collect();
        if hub.submit(trims).await.is_err() {
            return Ok(());
        }
    }
}

async fn logs(hub: &Hub, kind: Kind, cutoff: Stamp) -> Result<(), StoreError> {
    let mut resume: Option<Log> = None;
    loop {
        let from = resume.take();
        let found = hub.read(move |store| store.expired_logs(kind, cutoff, from.as_ref(), STEP)).await?;
        let Some((last, _)) = found.last() else { return Ok(()) };
        resume = Some(last.clone());
        let trims = found.into_iter().map(|(log, upto)| Input::TrimLog { log, upto }).collect();
        if hub.submit(trims).await.is_err() {
            return Ok(());
        }
    }
}
