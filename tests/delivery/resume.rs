//! Streams that cannot go on from where the device was, and nodes that go away.

use crate::common::{Serving, TestNode, http, until, user};
use hongyan::{model::Stamp, relay::Input};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_new_device_starts_where_the_others_have_got_to() {
    let node = TestNode::start().await;
    let mut ann = node.connect("ann").await;
    let first = node.connect("bo").await;
    assert_eq!((&first.welcome["resumed"], &first.welcome["why"]), (&json!(false), &json!("new_device")));
    assert_eq!(first.welcome["cursor"], 0);
    let mut first = first;
    ann.say("bo", "seen").await;
    first.hears().await;
    let at = first.at;
    first.leave().await;
    ann.say("bo", "not seen").await;
    let second = node.device("bo", "second").connect().await;
    assert_eq!((&second.welcome["why"], &second.welcome["cursor"]), (&json!("new_device"), &json!(at)));
    assert_eq!(second.texts(), ["not seen"]);
    // From now on it is known: without a cursor it goes on from what it acked.
    let mut hello = second.leave().await;
    hello.cursor = None;
    let again = hello.connect().await;
    assert_eq!((&again.welcome["resumed"], again.entries.len()), (&json!(true), 0));
}

#[tokio::test]
async fn a_cursor_older_than_what_is_kept_is_told_so() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let mut positions = Vec::new();
    for text in ["one", "two", "three"] {
        ann.say("bo", text).await;
        positions.push(bo.frame("msg").await["pos"].as_u64().unwrap());
    }
    bo.leave().await;
    let trim = Input::Trim { user: user("bo"), upto: Stamp(positions[1]) };
    node.hub.submit(vec![trim]).await.unwrap();
    let late = node.device("bo", "web").cursor(positions[0]).connect().await;
    assert_eq!((&late.welcome["resumed"], &late.welcome["why"]), (&json!(false), &json!("trimmed")));
    assert_eq!(late.welcome["cursor"], positions[1]);
    assert_eq!(late.texts(), ["three"]);
    let exact = node.device("bo", "web").cursor(positions[1]).connect().await;
    assert_eq!((&exact.welcome["resumed"], exact.texts()), (&json!(true), vec!["three".to_owned()]));
    // And after a restart still.
    let node = node.restart().await;
    let late = node.device("bo", "web").cursor(positions[0]).connect().await;
    assert_eq!((&late.welcome["why"], late.texts()), (&json!("trimmed"), vec!["three".to_owned()]));
}

#[tokio::test]
async fn a_cursor_from_another_mailbox_is_told_so() {
    let node = TestNode::start().await;
    let mut ann = node.connect("ann").await;
    let mut bo = node.connect("bo").await;
    ann.say("bo", "hi").await;
    bo.hears().await;
    let at = bo.at;
    bo.leave().await;
    for cursor in [at + 1, (1 << 53) - 1, u64::MAX] {
        let lost = node.device("bo", "web").cursor(cursor).connect().await;
        assert_eq!((&lost.welcome["resumed"], &lost.welcome["why"]), (&json!(false), &json!("ahead")));
        assert_eq!((&lost.welcome["cursor"], lost.entries.len()), (&json!(at), 0));
    }
    let fresh = node.device("bo", "other").cursor(at + 1).connect().await;
    assert_eq!((&fresh.welcome["why"], fresh.texts()), (&json!("ahead"), vec!["hi".to_owned()]));
}

#[tokio::test]
async fn sigterm_sends_everybody_elsewhere_and_loses_nothing() {
    let mut serving = Serving::start("[limits]\nsends_per_second = 0\nframes_per_second = 0\n");
    let bo = serving.device("bo", "web").connect().await.leave().await;
    let mut ann = serving.device("ann", "web").connect().await;
    let mut polls = serving.device("cy", "web").polling().connect().await;
    for r in 1..=300 {
        let send = json!({ "t": "send", "r": r, "id": format!("c{r}"), "kind": 1, "target": "bo",
            "type": "RC:TxtMsg", "content": { "content": format!("c{r}") } });
        ann.line.send(&send).await.unwrap();
        if r == 200 {
            serving.terminate();
        }
    }
    let start = Instant::now();
    let mut acked = Vec::new();
    let (mut moved, mut end) = (None, None);
    while end.is_none() {
        match ann.line.next().await {
            Ok(frame) if frame["t"] == "ok" => acked.push(frame["r"].as_u64().unwrap()),
            Ok(frame) if frame["t"] == "move" => moved = Some(frame),
            Ok(_) => {}
            Err(closed) => end = Some(closed),
        }
    }
    assert!(moved.is_some_and(|moved| moved["after"].as_u64().is_some_and(|ms| ms < 10_000)));
    assert_eq!(end.unwrap().code(), 1001);
    let moved = polls.frame("move").await;
    assert!(moved["after"].is_u64());
    assert_eq!(polls.closed().await.code(), 404);
    assert_eq!(serving.ended().await.code(), Some(0), "{}", serving.log());
    assert!(start.elapsed() < Duration::from_secs(10));
    serving.restart();
    let bo = bo.at(serving.address).connect().await;
    let got = bo.texts();
    for r in acked {
        assert_eq!(got.iter().filter(|text| **text == format!("c{r}")).count(), 1, "c{r}");
    }
}

#[tokio::test]
async fn a_draining_node_takes_nobody_in() {
    let node = TestNode::with(|config| config.sessions.drain_timeout = Duration::from_secs(5)).await;
    let silent = node.device("ann", "web").polling().connect().await; // holds the drain up: it never asks
    node.drain();
    until("the node drains", async || node.device("bo", "web").attempt().await.is_err()).await;
    let refused =
        http(node.address, "POST /v1/poll", &[], node.device("bo", "web").frame().to_string()).await;
    assert!(refused.is_none_or(|answer| answer.status == 503), "the door is shut, or the node says why");
    drop(silent);
    node.stop().await.unwrap();
}
