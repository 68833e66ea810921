//! An app's back end and its users.

use crate::common::{TestNode, texts};
use serde_json::{Value, json};

const TEXT: &str = "{\"content\":\"from the shop\"}";

fn publish<'a>(from: &'a str, to: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("fromUserId", from), ("toUserId", to), ("objectName", "RC:TxtMsg"), ("content", TEXT)]
}

#[tokio::test]
async fn a_message_from_the_back_end_reaches_those_who_are_there_and_those_who_come_later() {
    let node = TestNode::start().await;
    let mut bo = node.connect("bo").await;
    let mut ann = node.connect("ann").await;
    let mut form = publish("ann", "bo");
    form.extend([("toUserId", "late"), ("pushContent", "ding"), ("pushData", "{}")]);
    let answer = node.api().post("message/private/publish", &form).await;
    let uids = answer["messageUIDs"].as_array().unwrap();
    assert_eq!(uids.len(), 2);
    let m = bo.frame("msg").await["m"].clone();
    assert_eq!((&m["from"], &m["kind"], &m["id"]), (&json!("ann"), &json!(1), &uids[0]["messageUID"]));
    assert_eq!(m["push"], json!({ "text": "ding", "data": "{}" }));
    let late = node.device("late", "web").connect().await;
    assert_eq!(late.texts(), ["from the shop"]);
    ann.quiet().await; // she is not included
    let history = ann.request(json!({ "t": "history", "kind": 1, "target": "bo" })).await;
    assert_eq!(history["messages"], json!([]));
}

#[tokio::test]
async fn the_sender_has_a_copy_when_the_back_end_says_so() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let mut form = publish("ann", "bo");
    form.push(("isIncludeSender", "1"));
    node.api().post("message/private/publish", &form).await;
    assert_eq!((ann.hears().await, bo.hears().await), ("from the shop".into(), "from the shop".into()));
    for (device, target) in [(&mut ann, "bo"), (&mut bo, "ann")] {
        let history = device.request(json!({ "t": "history", "kind": 1, "target": target })).await;
        assert_eq!(texts(history["messages"].as_array().unwrap()), ["from the shop"]);
    }
    assert_eq!(ann.request(json!({ "t": "unread" })).await["unread"], 0);
    assert_eq!(bo.request(json!({ "t": "unread" })).await["unread"], 1);
}

#[tokio::test]
async fn a_message_of_the_back_end_to_its_own_sender_is_in_that_ones_history() {
    let node = TestNode::start().await;
    let mut ann = node.connect("ann").await;
    node.api().post("message/private/publish", &publish("ann", "ann")).await;
    assert_eq!(ann.hears().await, "from the shop");
    let history = ann.request(json!({ "t": "history", "kind": 1, "target": "ann" })).await;
    assert_eq!(texts(history["messages"].as_array().unwrap()), ["from the shop"]);
}

#[tokio::test]
async fn the_back_end_passes_blacklists_unless_it_asks_to_keep_them() {
    let node = TestNode::start().await;
    let mut bo = node.connect("bo").await;
    bo.request(json!({ "t": "block", "user": "ann" })).await;
    node.api().post("message/private/publish", &publish("ann", "bo")).await;
    assert_eq!(bo.hears().await, "from the shop");
    let mut form = publish("ann", "bo");
    form.push(("verifyBlacklist", "1"));
    let answer = node.api().post("message/private/publish", &form).await;
    assert_eq!(answer["messageUIDs"], json!([]));
    bo.quiet().await;
    let listed = node.api().post("user/blacklist/query", &[("userId", "bo")]).await;
    assert_eq!(listed["users"], json!(["ann"]));
    node.api().post("user/blacklist/remove", &[("userId", "bo"), ("blackUserId", "ann")]).await;
    node.api().post("message/private/publish", &form).await;
    bo.hears().await;
}

#[tokio::test]
async fn system_messages_make_a_conversation_with_their_sender() {
    let node = TestNode::start().await;
    let mut bo = node.connect("bo").await;
    node.api().post("message/system/publish", &publish("__system__", "bo")).await;
    let m = bo.frame("msg").await["m"].clone();
    assert_eq!((&m["kind"], &m["from"], &m["to"]), (&json!(6), &json!("__system__"), &json!("bo")));
    let list = bo.request(json!({ "t": "conversations" })).await;
    let one = &list["conversations"][0];
    assert_eq!((&one["kind"], &one["target"], &one["unread"]), (&json!(6), &json!("__system__"), &json!(1)));
    let history = bo.request(json!({ "t": "history", "kind": 6, "target": "__system__" })).await;
    assert_eq!(texts(history["messages"].as_array().unwrap()), ["from the shop"]);
    assert_eq!(bo.request(json!({ "t": "read", "kind": 6, "target": "__system__" })).await["unread"], 0);
    let send =
        json!({ "t": "send", "id": "x", "kind": 6, "target": "ann", "type": "RC:TxtMsg", "content": {} });
    assert_eq!(bo.refused(send).await, "not_supported");
}

#[tokio::test]
async fn the_back_end_takes_a_message_back() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let ok = ann.say("bo", "a slip").await;
    bo.hears().await;
    let sent = (ok["at"].as_u64().unwrap() / 1_000).to_string();
    let id = ok["id"].as_str().unwrap();
    let recall = |from: &'static str, target: &'static str| {
        vec![
            ("fromUserId", from.to_owned()),
            ("targetId", target.to_owned()),
            ("messageUID", id.to_owned()),
            ("sentTime", sent.clone()),
            ("conversationType", "1".to_owned()),
        ]
    };
    let theirs = recall("bo", "ann");
    let theirs: Vec<_> = theirs.iter().map(|(key, value)| (*key, &**value)).collect();
    let answer = node.api().call("message/recall", &theirs, &crate::common::Backend::signed()).await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(1002)));
    let own = recall("ann", "bo");
    let own: Vec<_> = own.iter().map(|(key, value)| (*key, &**value)).collect();
    for _ in 0..2 {
        node.api().post("message/recall", &own).await;
    }
    for device in [&mut ann, &mut bo] {
        assert_eq!(device.frame("recall").await["id"], ok["id"]);
        device.quiet().await;
    }
    let page = bo.request(json!({ "t": "history", "kind": 1, "target": "ann" })).await;
    assert_eq!(
        (&page["messages"][0]["recalled"], &page["messages"][0]["content"]),
        (&json!(true), &json!({}))
    );
}

#[tokio::test]
async fn the_back_end_sees_who_is_online() {
    let node = TestNode::start().await;
    let online = async || -> Value {
        node.api().post("user/checkOnline", &[("userId", "bo")]).await["status"].clone()
    };
    assert_eq!(online().await, "0");
    let bo = node.connect("bo").await;
    assert_eq!(online().await, "1");
    let bo = bo.leave().await.polling().connect().await;
    assert_eq!(online().await, "1");
    bo.leave().await;
    assert_eq!(online().await, "0");
}

#[tokio::test]
async fn a_token_of_the_back_end_connects_and_registers_the_user() {
    let node = TestNode::start().await;
    let answer = node.api().post("user/getToken", &[("userId", "dö + @=;"), ("name", "Dö")]).await;
    let token = answer["token"].as_str().unwrap().to_owned();
    assert!((1..=256).contains(&token.len()));
    let mut hello = node.device("ann", "web");
    hello.token = token;
    let device = hello.connect().await;
    assert_eq!((&device.welcome["user"], &device.welcome["name"]), (&json!("dö + @=;"), &json!("Dö")));
}
