//! The same again: sends after lost answers, sessions over other transports.

use crate::common::{TestNode, texts};
use serde_json::{Value, json};

fn letter(text: &str) -> Value {
    json!({ "t": "send", "id": "cid-1", "kind": 1, "target": "bo", "type": "RC:TxtMsg", "content": { "content": text } })
}

fn same(first: &Value, again: &Value) {
    assert_eq!((&again["id"], &again["at"], &again["dup"]), (&first["id"], &first["at"], &json!(true)));
}

#[tokio::test]
async fn a_send_under_the_same_id_is_the_same_message_live_after_reconnect_and_after_restart() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let first = ann.request(letter("hi")).await;
    same(&first, &ann.request(letter("hi")).await);
    let mut ann = ann.again().connect().await;
    same(&first, &ann.request(letter("hi")).await);
    let mut phone = node.device("ann", "phone").connect().await;
    same(&first, &phone.request(letter("hi")).await);
    let node = node.restart().await;
    let mut ann = ann.again().at(node.address).connect().await;
    same(&first, &ann.request(letter("hi")).await);
    assert_eq!(bo.hears().await, "hi");
    let mut bo = bo.again().at(node.address).connect().await;
    bo.quiet().await;
    let history = bo.request(json!({ "t": "history", "kind": 1, "target": "ann" })).await;
    assert_eq!(texts(history["messages"].as_array().unwrap()), ["hi"]);
    // Another's send of that id is another message.
    let mut cy = node.connect("cy").await;
    let other = cy.request(letter("from cy")).await;
    assert!(other.get("dup").is_none() && other["id"] != first["id"]);
    assert_eq!(bo.hears().await, "from cy");
}

#[tokio::test]
async fn the_same_id_many_times_at_once_is_one_message() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let frames: Vec<_> = (1..=50)
        .map(|r| {
            let mut frame = letter("hi");
            frame["r"] = r.into();
            frame
        })
        .collect();
    ann.line.send(&frames.into()).await.unwrap();
    let first = ann.answer(1).await;
    assert!(first.get("dup").is_none());
    for r in 2..=50 {
        same(&first, &ann.answer(r).await);
    }
    assert_eq!(bo.hears().await, "hi");
    bo.quiet().await;
}

#[tokio::test]
async fn one_cursor_goes_from_websocket_to_polling_and_back_without_loss() {
    let node = TestNode::start().await;
    let mut ann = node.connect("ann").await;
    let mut bo = node.connect("bo").await;
    let mut sent = Vec::new();
    let mut got = Vec::new();
    for round in 0..6 {
        for i in 0..5 {
            let text = format!("{round}.{i}");
            ann.say("bo", &text).await;
            sent.push(text);
        }
        // Leaves in the middle of the stream, whatever it has by then.
        bo.hears().await;
        bo.hears().await;
        got.extend(bo.texts());
        let mut hello = bo.again();
        hello.polling = round % 2 == 0;
        bo = hello.connect().await;
        assert_eq!(bo.welcome["resumed"], true);
    }
    got.extend(bo.texts());
    assert_eq!(got, sent);
    bo.quiet_after_entries().await;
}

trait QuietAfterEntries {
    async fn quiet_after_entries(&mut self);
}

impl QuietAfterEntries for crate::common::Device {
    /// Nothing more than the entries that came before going live.
    async fn quiet_after_entries(&mut self) {
        self.untaken();
        self.quiet().await;
    }
}

#[tokio::test]
async fn a_polling_client_sends_reads_and_gets_like_any_other() {
    let node = TestNode::start().await;
    let mut ann = node.device("ann", "web").polling().connect().await;
    let mut bo = node.connect("bo").await;
    for i in 0..5 {
        ann.say("bo", &format!("ping {i}")).await;
        assert_eq!(bo.hears().await, format!("ping {i}"));
        bo.say("ann", &format!("pong {i}")).await;
        assert_eq!(ann.hears().await, format!("pong {i}"));
    }
    ann.quiet().await;
    ann.leave().await;
}
