//! Sends and recalls.

use crate::backend::{Backend, Event, user};
use hongyan::{
    model::{Change, Conversation, Flags, Kind, Message, Stamp, What},
    relay::{Answer, Command},
};
use serde_json::json;
use std::sync::Arc;

const HI: &str = "objectName=RC:TxtMsg&content=%7B%22content%22%3A%22hi%22%7D";

async fn messages(backend: &Backend, id: &str) -> Vec<Arc<Message>> {
    let entries = backend.mailbox(id).await.into_iter();
    entries
        .filter_map(|entry| match entry.what {
            What::Message { message, .. } => Some(message),
            _ => None,
        })
        .collect()
}

async fn unread(backend: &Backend, id: &str) -> u64 {
    match backend.hub.ask(user(id), Command::Unread).await {
        Ok(Answer::Unread(count)) => count,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_private_send_reaches_each_receiver_and_no_one_else() {
    let backend = Backend::new().await;
    let mut device = backend.connect("bo", Stamp::ZERO).await.unwrap();
    let form =
        format!("fromUserId=ann&toUserId=bo&toUserId=cy&toUserId=bo&{HI}&pushContent=Hi&pushData=%7B%7D");
    let sent = backend.ok("message/private/publish", form).await;
    let Event::Entry(entry) = device.next().await else { panic!("no entry") };
    let What::Message { message, .. } = entry.what else { panic!("no message") };
    assert_eq!(message.content.text(), r#"{"content":"hi"}"#);
    assert_eq!((message.from.id(), &*message.to, message.kind), ("ann", "bo", Kind::Private));
    assert_eq!(message.push.as_ref().unwrap().text, "Hi");
    assert!(device.silent(), "once, though named twice");

    let uids = sent["messageUIDs"].as_array().unwrap();
    assert_eq!((uids.len(), &uids[0]["userId"], &uids[1]["userId"]), (2, &json!("bo"), &json!("cy")));
    assert_eq!(uids[0]["messageUID"], message.id.to_string());
    assert_eq!(uids[0]["sentTime"], message.at.millis());
    assert_eq!(messages(&backend, "cy").await[0].id.to_string(), uids[1]["messageUID"]);
    assert_ne!(uids[0]["messageUID"], uids[1]["messageUID"]);
    assert_eq!(messages(&backend, "ann").await, []);
    assert_eq!((unread(&backend, "bo").await, unread(&backend, "ann").await), (1, 0));
}

#[tokio::test]
async fn the_sender_gets_a_copy_when_asked_for() {
    let backend = Backend::new().await;
    backend.ok("message/publish", format!("fromUserId=ann&toUserId=bo&{HI}&isIncludeSender=1")).await;
    let (mine, theirs) = (messages(&backend, "ann").await, messages(&backend, "bo").await);
    assert_eq!((mine.len(), mine), (1, theirs));
    assert_eq!(unread(&backend, "ann").await, 0);
}

#[tokio::test]
async fn a_send_says_how_it_is_kept() {
    let backend = Backend::new().await;
    for more in ["isPersisted=0", "isCounted=0", "isCounted=&isPersisted="] {
        backend.ok("message/private/publish", format!("fromUserId=ann&toUserId=bo&{HI}&{more}")).await;
    }
    let flags: Vec<u8> = messages(&backend, "bo").await.iter().map(|message| message.flags.0).collect();
    let (stored, counted, alone) = (Flags::STORED.0, Flags::COUNTED.0, Flags::NO_SENDER_COPY.0);
    assert_eq!(flags, [alone, stored | alone, stored | counted | alone]);
    assert_eq!(unread(&backend, "bo").await, 1);
}

#[tokio::test]
async fn a_system_send_stands_under_its_sender() {
    let backend = Backend::new().await;
    backend.ok("message/system/publish", format!("fromUserId=__system__&toUserId=bo&{HI}")).await;
    let received = messages(&backend, "bo").await;
    let want = Conversation { kind: Kind::System, target: "__system__".into() };
    assert_eq!(received[0].conversation(&user("bo")), want);
}

#[tokio::test]
async fn a_blacklist_counts_only_on_demand_and_drops_in_silence() {
    let backend = Backend::new().await;
    backend.ok("user/blacklist/add", "userId=bo&blackUserId=ann").await;
    let form = format!("fromUserId=ann&toUserId=bo&toUserId=cy&{HI}");
    let sent = backend.ok("message/private/publish", format!("{form}&verifyBlacklist=1")).await;
    assert_eq!(sent["messageUIDs"].as_array().unwrap().len(), 1);
    assert_eq!(messages(&backend, "bo").await.len(), 0);
    assert_eq!(messages(&backend, "cy").await.len(), 1);
    backend.ok("message/private/publish", form).await;
    assert_eq!(messages(&backend, "bo").await.len(), 1);
}

#[tokio::test]
async fn a_blocked_user_can_still_be_spoken_for() {
    let backend = Backend::new().await;
    backend.ok("user/block", "userId=ann&minute=1").await;
    backend.ok("message/private/publish", format!("fromUserId=ann&toUserId=bo&{HI}")).await;
    assert_eq!(messages(&backend, "bo").await.len(), 1);
}

#[tokio::test]
async fn a_status_message_is_for_who_is_there() {
    let backend = Backend::new().await;
    let mut device = backend.connect("bo", Stamp::ZERO).await.unwrap();
    let form = "fromUserId=ann&toUserId=bo&toUserId=cy&objectName=RC:TypSts&content={}";
    let sent = backend.ok("message/private/publish", form).await;
    assert_eq!(sent["messageUIDs"].as_array().unwrap().len(), 2);
    assert!(matches!(device.next().await, Event::Passed(message) if &*message.class == "RC:TypSts"));
    assert_eq!((messages(&backend, "bo").await, messages(&backend, "cy").await), (vec![], vec![]));
}

#[tokio::test]
async fn one_call_may_have_a_thousand_receivers() {
    let backend = Backend::new().await;
    let mut form = format!("fromUserId=ann&{HI}&isIncludeSender=1");
    for i in 0..1_000 {
        form.push_str(&format!("&toUserId=user-{i}"));
    }
    let sent = backend.ok("message/private/publish", form.clone()).await;
    assert_eq!(sent["messageUIDs"].as_array().unwrap().len(), 1_000);
    assert_eq!(messages(&backend, "ann").await.len(), 1_000);
    assert_eq!(messages(&backend, "user-999").await.len(), 1);
    form.push_str("&toUserId=one-more");
    assert_eq!(backend.refused("/message/private/publish.json", form).await, (400, 1002));
}

#[tokio::test]
async fn a_sender_takes_a_message_back() {
    let backend = Backend::new().await;
    for (path, kind) in [("message/private/publish", 1), ("message/system/publish", 6)] {
        let sent = backend.ok(path, format!("fromUserId=ann&toUserId=bo&{HI}")).await;
        let (uid, at) = (&sent["messageUIDs"][0]["messageUID"], &sent["messageUIDs"][0]["sentTime"]);
        let uid = uid.as_str().unwrap();
        let recall = |from: &str, to: &str| {
            format!(
                "fromUserId={from}&targetId={to}&messageUID={uid}&sentTime={at}&conversationType={kind}&extra=sorry"
            )
        };
        if kind == 1 {
            assert_eq!(backend.refused("/message/recall.json", recall("bo", "ann")).await, (400, 1002));
        }
        for _ in 0..2 {
            backend.ok("message/recall", recall("ann", "bo")).await;
        }
        let entries = backend.mailbox("bo").await;
        let recalls: Vec<_> = entries
            .iter()
            .filter_map(|entry| match &entry.what {
                What::Change(Change::Recall { id, by, extra, .. }) => Some((id.to_string(), &**by, &**extra)),
                _ => None,
            })
            .filter(|(id, ..)| id == uid)
            .collect();
        assert_eq!(recalls, [(uid.to_owned(), "ann", "sorry")], "once");
        let gone = messages(&backend, "bo").await;
        let gone = gone.iter().find(|message| message.id.to_string() == uid).unwrap();
        assert!(gone.flags.has(Flags::RECALLED) && !gone.content.text().contains("hi"));
    }
}

#[tokio::test]
async fn what_is_not_known_is_taken_back_without_complaint() {
    let backend = Backend::new().await;
    for kind in [1, 2, 3, 4, 6, 10] {
        for uid in ["5GSB-RPM1-KP8H-9JHF", "01HF7YAT000000000000000000"] {
            let form = format!(
                "fromUserId=ann&targetId=bo&messageUID={uid}&sentTime=1519444243981&conversationType={kind}"
            );
            backend.ok("message/recall", form).await;
        }
    }
}
