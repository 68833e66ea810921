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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::HubOptions,
        model::{Content, Conversation, Flags},
        relay::{Answer, Command, Limits, Outgoing},
        store::{Page, Store, memory::MemoryStore},
    };
    use std::sync::Arc;
    use tokio_util::task::TaskTracker;

    #[tokio::test]
    async fn what_is_too_old_goes_and_a_device_that_missed_it_will_be_told() {
        let store = Arc::new(MemoryStore::default());
        let options = HubOptions::alone(64, Limits::default());
        let tracker = TaskTracker::new();
        let (hub, _end) = Hub::start(store.clone(), options, Arc::default(), &tracker).await.unwrap();
        let ann = UserKey::new("app", "ann").unwrap();
        let bo = UserKey::new("app", "bo").unwrap();
        let out = Outgoing {
            cid: "1".into(),
            kind: Kind::Private,
            to: "bo".into(),
            class: "RC:TxtMsg".into(),
            content: Content::empty(),
            flags: Flags::STORED,
            push: None,
            check_blacklist: true,
            again: false,
        };
        let sent = hub.ask(ann.clone(), Command::Send(out)).await.unwrap();
        let Answer::Sent { at, .. } = sent else { panic!("{sent:?}") };
        let keep = Retention { private: 3, system: 0, mailbox: 1 };
        let log = Conversation::new(Kind::Private, "bo").unwrap().log(&ann);
        let bodies = || store.history(&log, Page::After(Stamp::ZERO), 10, &|_| true).unwrap().0.len();

        // After a day and a half the mailbox rows go, the history stays; after four days that goes too.
        sweep(&hub, &keep, Stamp(at.0 + DAY_US * 3 / 2)).await.unwrap();
        hub.ask(ann.clone(), Command::Block("cy".into())).await.unwrap(); // durable, and so is all before it
        assert_eq!((store.rows(&ann).len(), store.rows(&bo).len(), bodies()), (0, 0, 1));
        assert_eq!(store.mailbox(&bo).unwrap().unwrap().trimmed, at);
        sweep(&hub, &keep, Stamp(at.0 + DAY_US * 4)).await.unwrap();
        hub.ask(ann, Command::Block("di".into())).await.unwrap();
        assert_eq!(bodies(), 0);
    }
}
