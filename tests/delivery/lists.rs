//! Conversation lists, unread counts, blacklists, presence, history.

use crate::common::{Device, TestNode, texts};
use serde_json::{Value, json};

async fn list(device: &mut Device) -> Vec<(String, u64)> {
    let answer = device.request(json!({ "t": "conversations" })).await;
    let conversations = answer["conversations"].as_array().unwrap();
    conversations
        .iter()
        .map(|one| (one["target"].as_str().unwrap().to_owned(), one["unread"].as_u64().unwrap()))
        .collect()
}

fn pairs(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(target, unread)| ((*target).to_owned(), *unread)).collect()
}

#[tokio::test]
async fn unread_counts_and_the_list_survive_a_restart_of_the_node() {
    let node = TestNode::start().await;
    let mut bo = node.connect("bo").await;
    for (from, count) in [("ann", 2), ("cy", 3)] {
        let mut device = node.connect(from).await;
        for i in 0..count {
            device.say("bo", &format!("{from} {i}")).await;
        }
        device.request(json!({ "t": "send", "id": "n", "kind": 1, "target": "bo", "type": "RC:InfoNtf", "content": {} })).await;
        device.leave().await;
    }
    for _ in 0..7 {
        bo.frame("msg").await;
    }
    let first_of_cy = bo.entries[3]["pos"].clone();
    bo.request(json!({ "t": "read", "kind": 1, "target": "cy", "upto": first_of_cy })).await;
    let before = list(&mut bo).await;
    assert_eq!(before, pairs(&[("cy", 2), ("ann", 2)]), "newest first; notices do not count");
    let bo = bo.again();
    let node = node.restart().await;
    let mut bo = bo.at(node.address).connect().await;
    assert_eq!(list(&mut bo).await, before);
    assert_eq!(bo.request(json!({ "t": "unread" })).await["unread"], 4);
    assert_eq!(bo.entries.len(), 0, "nothing comes twice");
}

#[tokio::test]
async fn a_conversation_taken_off_the_list_comes_back_with_the_next_message() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let mut other = node.device("bo", "other").connect().await;
    ann.say("bo", "one").await;
    bo.hears().await;
    bo.request(json!({ "t": "remove", "kind": 1, "target": "ann" })).await;
    assert_eq!(list(&mut bo).await, []);
    assert_eq!(bo.request(json!({ "t": "unread" })).await["unread"], 0);
    assert_eq!(other.frame("read").await["removed"], true);
    let history = bo.request(json!({ "t": "history", "kind": 1, "target": "ann" })).await;
    assert_eq!(texts(history["messages"].as_array().unwrap()), ["one"]);
    ann.say("bo", "two").await;
    bo.hears().await;
    assert_eq!(list(&mut bo).await, pairs(&[("ann", 1)]));
    let unknown = json!({ "t": "conversation", "kind": 1, "target": "nobody" });
    assert_eq!(bo.request(unknown).await["conversation"], Value::Null);
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let node = TestNode::start().await;
    let mut ann = node.connect("ann").await;
    for i in 0..12 {
        ann.say(&format!("friend-{i}"), &format!("hi {i}")).await;
    }
    let mut before = None;
    let mut targets = Vec::new();
    loop {
        let mut ask = json!({ "t": "conversations", "limit": 5 });
        if let Some(before) = &before {
            ask["before"] = Value::clone(before);
        }
        let page = ann.request(ask).await;
        let conversations = page["conversations"].as_array().unwrap();
        targets.extend(conversations.iter().map(|one| one["target"].as_str().unwrap().to_owned()));
        before = conversations.last().map(|last| last["pos"].clone());
        if page["more"] == false {
            break;
        }
    }
    let want: Vec<_> = (0..12).rev().map(|i| format!("friend-{i}")).collect();
    assert_eq!(targets, want);
}

#[tokio::test]
async fn who_is_on_the_blacklist_cannot_write_until_taken_off() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    bo.request(json!({ "t": "block", "user": "ann" })).await;
    bo.request(json!({ "t": "block", "user": "cy" })).await;
    assert_eq!(bo.request(json!({ "t": "blocks" })).await["users"], json!(["cy", "ann"]));
    assert_eq!(bo.request(json!({ "t": "blocked", "user": "ann" })).await["blocked"], true);
    let letter = |id: &str| json!({ "t": "send", "id": id, "kind": 1, "target": "bo", "type": "RC:TxtMsg", "content": { "content": id } });
    assert_eq!(ann.refused(letter("no")).await, "rejected_by_blacklist");
    bo.say("ann", "but I can write to you").await;
    ann.hears().await;
    let bo = bo.leave().await;
    let node = node.restart().await;
    let mut ann = ann.again().at(node.address).connect().await;
    assert_eq!(ann.refused(letter("still no")).await, "rejected_by_blacklist");
    let mut bo = bo.at(node.address).connect().await;
    bo.request(json!({ "t": "unblock", "user": "ann" })).await;
    ann.request(letter("yes")).await;
    assert_eq!(bo.hears().await, "yes");
    bo.quiet().await;
}

#[tokio::test]
async fn a_watched_friend_is_seen_coming_and_going() {
    let node = TestNode::start().await;
    let mut ann = node.connect("ann").await;
    let watch = json!({ "t": "watch", "users": ["bo", "cy"] });
    assert_eq!(ann.request(watch.clone()).await["online"], json!([]));
    let bo = node.connect("bo").await;
    assert_eq!(ann.frame("presence").await, json!({ "t": "presence", "user": "bo", "online": true }));
    let second = node.device("bo", "second").connect().await;
    bo.leave().await;
    assert_eq!(ann.request(watch).await["online"], json!(["bo"]));
    drop(second); // without a word
    assert_eq!(ann.frame("presence").await, json!({ "t": "presence", "user": "bo", "online": false }));
    ann.request(json!({ "t": "watch", "users": [] })).await;
    let _bo = node.connect("bo").await;
    ann.quiet().await;
}

#[tokio::test]
async fn history_is_paged_both_ways_without_gap_or_overlap() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let mut want = Vec::new();
    for i in 0..23 {
        let text = format!("{i}");
        if i % 3 == 0 {
            bo.say("ann", &text).await
        } else {
            ann.say("bo", &text).await
        };
        want.push(text);
    }
    for (device, target) in [(&mut ann, "bo"), (&mut bo, "ann")] {
        let mut back = Vec::new();
        let mut edge = None;
        loop {
            let mut ask = json!({ "t": "history", "kind": 1, "target": target, "limit": 5 });
            if let Some(at) = &edge {
                ask["before"] = Value::clone(at);
            }
            let page = device.request(ask).await;
            let messages = page["messages"].as_array().unwrap();
            back.splice(0..0, texts(messages));
            edge = messages.first().map(|first| first["at"].clone());
            if page["more"] == false {
                break;
            }
        }
        assert_eq!(back, want);
        let (mut on, mut edge) = (Vec::new(), json!(0));
        loop {
            let ask = json!({ "t": "history", "kind": 1, "target": target, "limit": 4, "after": edge });
            let page = device.request(ask).await;
            let messages = page["messages"].as_array().unwrap();
            on.extend(texts(messages));
            if page["more"] == false {
                break;
            }
            edge = messages.last().unwrap()["at"].clone();
        }
        assert_eq!(on, want);
    }
    let both = json!({ "t": "history", "kind": 1, "target": "bo", "before": 1, "after": 1 });
    assert_eq!(ann.refused(both).await, "bad_frame");
    let many = json!({ "t": "history", "kind": 1, "target": "bo", "limit": 101 });
    assert_eq!(ann.refused(many).await, "bad_frame");
    let nothing = json!({ "t": "history", "kind": 1, "target": "nobody" });
    let page = ann.request(nothing).await;
    assert_eq!((&page["messages"], &page["more"]), (&json!([]), &json!(false)));
}

#[tokio::test]
async fn names_and_portraits_are_those_that_the_back_end_gave() {
    let node = TestNode::start().await;
    let api = node.api();
    api.post("user/getToken", &[("userId", "bo"), ("name", "Bo"), ("portraitUri", "http://x/bo.png")]).await;
    let mut ann = node.connect("ann").await;
    let ask = json!({ "t": "users", "ids": ["bo", "nobody"] });
    let users = ann.request(ask.clone()).await["users"].clone();
    assert_eq!(users, json!([{ "id": "bo", "name": "Bo", "portrait": "http://x/bo.png" }]));
    api.post("user/refresh", &[("userId", "bo"), ("name", "Bobby")]).await;
    assert_eq!(ann.request(ask).await["users"][0]["name"], "Bobby");
    let bo = node.connect("bo").await;
    assert_eq!((&bo.welcome["name"], &bo.welcome["portrait"]), (&json!("Bobby"), &json!("http://x/bo.png")));
}
