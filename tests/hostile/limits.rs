//! Too fast, too many, the same twice, silent.

use crate::common::{Closed, TestNode, until};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn sends_over_the_rate_are_refused_with_a_time_and_the_session_goes_on() {
    let node = TestNode::with(|config| {
        config.limits.sends_per_second = 20;
        config.limits.sends_burst = 30;
    })
    .await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let sends: Vec<Value> = (1..=60)
        .map(|r| {
            json!({ "t": "send", "r": r, "id": format!("{r}"), "kind": 1, "target": "bo", "type": "RC:TxtMsg",
                "content": { "content": format!("{r}") } })
        })
        .collect();
    ann.line.send(&sends.clone().into()).await.unwrap();
    let (mut sent, mut again) = (Vec::new(), Vec::new());
    for r in 1..=60 {
        let answer = ann.answer(r).await;
        if answer["t"] == "ok" {
            sent.push(r);
        } else {
            assert_eq!(answer["code"], "rate_limited");
            let wait = answer["retry_after"].as_u64().unwrap();
            assert!((1..=1_000).contains(&wait), "{wait}");
            again.push(r);
        }
    }
    assert!((30..=35).contains(&sent.len()), "{sent:?}");
    // Whoever waits as told is taken.
    let first = again[0] as usize;
    until("the rate allows it", async || {
        let r = ann.ask(sends[first - 1].clone()).await;
        let answer = ann.answer(r).await;
        if answer["t"] == "err" {
            tokio::time::sleep(Duration::from_millis(answer["retry_after"].as_u64().unwrap())).await;
        }
        answer["t"] == "ok"
    })
    .await;
    for r in sent.iter().chain([&again[0]]) {
        assert_eq!(bo.hears().await, format!("{r}"));
    }
    bo.quiet().await;
}

#[tokio::test]
async fn frames_over_the_rate_are_refused_and_acks_still_count() {
    let node = TestNode::with(|config| config.limits.frames_per_second = 10).await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    bo.acks = false;
    ann.say("bo", "one").await;
    bo.hears().await;
    bo.line.send(&vec![json!({ "t": "ping" }); 100].into()).await.unwrap();
    let err = bo.frame("err").await;
    assert_eq!((&err["code"], err.get("r")), (&json!("rate_limited"), None));
    assert!(err["retry_after"].as_u64().is_some_and(|ms| (1..=1_000).contains(&ms)));
    bo.line.send(&json!({ "t": "ack", "pos": bo.at })).await.unwrap();
    bo.line.send(&json!({ "t": "bye" })).await.unwrap();
    let mut hello = bo.again();
    hello.cursor = None;
    let bo = hello.connect().await;
    assert_eq!((&bo.welcome["resumed"], bo.texts()), (&json!(true), Vec::new()));
}

#[tokio::test]
async fn who_never_slows_down_is_sent_away() {
    let node = TestNode::with(|config| config.limits.frames_per_second = 1).await;
    let mut ann = node.connect("ann").await;
    // One of them is within the rate in each second that passes between.
    for _ in 0..6 {
        let _ = ann.line.send(&vec![json!({ "t": "ping", "r": 1 }); 1_000].into()).await;
    }
    let kick = ann.frame("kick").await;
    assert_eq!(kick["code"], "too_many");
    assert_eq!(ann.closed().await, Closed::Code(4429, "too_many".into()));
}

#[tokio::test]
async fn sessions_of_a_user_are_bounded() {
    let node = TestNode::with(|config| config.limits.sessions_per_user = 2).await;
    let (one, mut two) =
        (node.device("ann", "1").connect().await, node.device("ann", "2").polling().connect().await);
    let too_many = node.device("ann", "3").attempt().await.err().unwrap();
    assert_eq!(too_many, Closed::Code(4429, "too_many".into()));
    let too_many = node.device("ann", "3").polling().attempt().await.err().unwrap();
    assert_eq!(too_many, Closed::Code(429, "too_many".into()));
    node.connect("bo").await; // others may come
    let one = one.again().connect().await; // and the same device again
    drop(one);
    until("there is room again", async || node.device("ann", "3").attempt().await.is_ok()).await;
    two.quiet().await;
}

#[tokio::test]
async fn sessions_of_an_address_are_bounded() {
    let node = TestNode::with(|config| config.limits.sessions_per_address = 2).await;
    let (_one, _two) = (node.connect("ann").await, node.connect("bo").await);
    let too_many = node.device("cy", "web").attempt().await.err().unwrap();
    assert_eq!(too_many, Closed::Code(4429, "too_many".into()));
}

#[tokio::test]
async fn a_device_that_comes_twice_replaces_itself_over_any_transport() {
    let node = TestNode::start().await;
    let mut bo = node.connect("bo").await;
    bo.request(json!({ "t": "watch", "users": ["ann"] })).await;
    let mut first = node.connect("ann").await;
    assert_eq!(bo.frame("presence").await["online"], true);
    let mut second = node.device("ann", "web").polling().connect().await;
    assert_eq!(first.frame("kick").await["code"], "replaced");
    assert_eq!(first.closed().await, Closed::Code(4409, "replaced".into()));
    let mut third = node.connect("ann").await;
    assert_eq!(second.frame("kick").await["code"], "replaced");
    assert_eq!(second.closed().await, Closed::Code(404, "session_gone".into()));
    bo.say("ann", "hi").await;
    assert_eq!(third.hears().await, "hi");
    bo.quiet().await; // ann was never away
}

#[tokio::test]
async fn a_second_hello_is_refused_and_changes_nothing() {
    let node = TestNode::start().await;
    let mut ann = node.connect("ann").await;
    let hello = node.device("bo", "web").frame();
    assert_eq!(ann.refused(hello).await, "bad_frame");
    ann.line.send(&node.device("bo", "web").frame()).await.unwrap();
    assert_eq!(ann.frame("err").await["code"], "bad_frame");
    ann.quiet().await;
    assert_eq!(node.api().post("user/checkOnline", &[("userId", "bo")]).await["status"], "0");
}
