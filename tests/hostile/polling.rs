//! Long polling: lost answers, wrong numbers, two at once.

use crate::common::{Answer, Device, TestNode, http, soon, texts, until};
use serde_json::json;
use std::time::{Duration, Instant};

async fn get(node: &TestNode, sid: &str, query: &str) -> Answer {
    let path = format!("GET /v1/poll/{sid}?{query}");
    let asked = http(node.address, &path, &[], "");
    soon("an answer to a poll", asked).await.unwrap()
}

fn gone(answer: &Answer) {
    let body = answer.json();
    assert_eq!((answer.status, &body["t"], &body["code"]), (404, &json!("err"), &json!("session_gone")));
}

/// A live polling session of ann, and bo.
async fn start(node: &TestNode) -> (Device, Device) {
    (node.device("ann", "web").polling().connect().await, node.connect("bo").await)
}

#[tokio::test]
async fn a_lost_answer_is_given_again_and_only_the_last() {
    let node = TestNode::start().await;
    let (ann, mut bo) = start(&node).await;
    let (sid, seq) = (ann.line.sid().to_owned(), ann.line.seq());
    bo.say("ann", "one").await;
    let first = get(&node, &sid, &format!("wait=10&seq={seq}")).await;
    assert_eq!(first.json()["seq"], seq + 1);
    assert_eq!(first.json()["frames"][0]["m"]["content"]["content"], "one");
    bo.say("ann", "two").await;
    for _ in 0..3 {
        assert_eq!(get(&node, &sid, &format!("wait=0&seq={seq}")).await.json(), first.json());
    }
    let second = get(&node, &sid, &format!("wait=10&seq={}", seq + 1)).await.json();
    assert_eq!(
        (&second["seq"], &second["frames"][0]["m"]["content"]["content"]),
        (&json!(seq + 2), &json!("two"))
    );
    for wrong in [seq, 0, seq + 3, u64::MAX] {
        let answer = get(&node, &sid, &format!("wait=0&seq={wrong}")).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("bad_frame")), "{wrong}");
    }
    assert_eq!(get(&node, &sid, &format!("wait=0&seq={}", seq + 1)).await.json(), second);
}

#[tokio::test]
async fn an_answer_whose_connection_broke_is_not_lost() {
    let node = TestNode::start().await;
    let (ann, mut bo) = start(&node).await;
    let (sid, seq) = (ann.line.sid().to_owned(), ann.line.seq());
    let mut seq = seq;
    for i in 0..10 {
        // Asks, and hangs up before there is an answer.
        let path = format!("GET /v1/poll/{sid}?wait=30&seq={seq}");
        let asked = http(node.address, &path, &[], "");
        assert!(tokio::time::timeout(Duration::from_millis(20), asked).await.is_err());
        bo.say("ann", &format!("{i}")).await;
        let answer = get(&node, &sid, &format!("wait=10&seq={seq}")).await.json();
        seq += 1;
        assert_eq!(answer["seq"], seq);
        let frames = answer["frames"].as_array().unwrap();
        assert_eq!(texts(frames.iter().map(|frame| &frame["m"])), [i.to_string()]);
    }
}

#[tokio::test]
async fn after_bye_a_session_is_gone_whatever_still_waited() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = start(&node).await;
    bo.say("ann", "unheard").await;
    ann.line.send(&json!({ "t": "bye" })).await.unwrap();
    gone(&get(&node, ann.line.sid(), &format!("wait=10&seq={}", ann.line.seq())).await);
    assert_eq!(ann.again().connect().await.texts(), ["unheard"]);
}

#[tokio::test]
async fn nothing_to_tell_is_an_empty_answer_after_the_wait() {
    let node = TestNode::start().await;
    let (ann, _bo) = start(&node).await;
    let start = Instant::now();
    let answer = get(&node, ann.line.sid(), &format!("wait=1&seq={}", ann.line.seq())).await.json();
    assert_eq!(answer, json!({ "seq": ann.line.seq(), "frames": [] }));
    assert!(start.elapsed() >= Duration::from_millis(990));
}

#[tokio::test]
async fn a_newer_poll_ends_the_older_and_gets_the_news() {
    let node = TestNode::start().await;
    let (ann, mut bo) = start(&node).await;
    let (address, sid, seq) = (node.address, ann.line.sid().to_owned(), ann.line.seq());
    let ask = move |sid: String, seq: u64| async move {
        http(address, &format!("GET /v1/poll/{sid}?wait=30&seq={seq}"), &[], "").await.unwrap().json()
    };
    // Again and again: which of the two is woken first is chance.
    for round in seq..seq + 12 {
        let older = tokio::spawn(ask(sid.clone(), round));
        until("the first poll waits", async || node.hub.metrics().polls_waiting.get() == 1).await;
        let newer = tokio::spawn(ask(sid.clone(), round));
        let ended = soon("the older poll's end", older).await.unwrap();
        assert_eq!(ended, json!({ "seq": round, "frames": [] }));
        bo.say("ann", &format!("for the newer {round}")).await;
        let news = soon("the newer poll's answer", newer).await.unwrap();
        assert_eq!(news["frames"][0]["m"]["content"]["content"], format!("for the newer {round}"));
        until("nobody waits", async || node.hub.metrics().polls_waiting.get() == 0).await;
    }
}

#[tokio::test]
async fn unknown_and_ended_sessions_are_gone() {
    let node = TestNode::start().await;
    gone(&get(&node, "0123456789abcdef0123456789abcdef", "wait=0&seq=1").await);
    gone(&get(&node, "%00", "wait=0&seq=1").await);
    let (mut ann, _bo) = start(&node).await;
    let (sid, seq) = (ann.line.sid().to_owned(), ann.line.seq());
    let address = node.address;
    let waits = tokio::spawn({
        let path = format!("GET /v1/poll/{sid}?wait=30&seq={seq}");
        async move { http(address, &path, &[], "").await.unwrap() }
    });
    until("the poll waits", async || node.hub.metrics().polls_waiting.get() == 1).await;
    let deleted = http(node.address, &format!("DELETE /v1/poll/{sid}"), &[], "").await.unwrap();
    assert_eq!(deleted.status, 204);
    gone(&soon("the waiting poll's end", waits).await.unwrap());
    gone(&get(&node, &sid, &format!("wait=0&seq={seq}")).await);
    assert!(ann.line.send(&json!({ "t": "ping" })).await.is_err());
    gone(&http(node.address, &format!("DELETE /v1/poll/{sid}"), &[], "").await.unwrap());
    assert_eq!(node.api().post("user/checkOnline", &[("userId", "ann")]).await["status"], "0");
}

#[tokio::test]
async fn wrong_requests_are_answered_with_their_status() {
    let node = TestNode::start().await;
    let (ann, _bo) = start(&node).await;
    let sid = ann.line.sid();
    let post =
        async |path: String, body: String| http(node.address, &path, &[], body).await.map(|a| a.status);
    assert_eq!(get(&node, sid, "wait=0").await.status, 400);
    assert_eq!(get(&node, sid, "wait=x&seq=1").await.status, 400);
    for body in ["", "nonsense", "[1]", "{\"t\""] {
        assert_eq!(post(format!("POST /v1/poll/{sid}"), body.into()).await, Some(400), "{body}");
        assert_eq!(post("POST /v1/poll".into(), body.into()).await, Some(400), "{body}");
    }
    let large = "x".repeat(300_000);
    for path in [format!("POST /v1/poll/{sid}"), "POST /v1/poll".into()] {
        // Sent away with 413, or hung up on in the middle of the body.
        assert!(matches!(post(path, large.clone()).await, Some(413) | None));
    }
    let mut hello = node.device("ann", "x").frame();
    hello["v"] = json!(9);
    assert_eq!(post("POST /v1/poll".into(), hello.to_string()).await, Some(406));
    let mut ann = ann;
    ann.quiet().await;
}

#[tokio::test]
async fn a_polling_session_that_asks_nothing_is_ended_and_the_user_is_offline() {
    let node = TestNode::with(|config| {
        config.sessions.idle_timeout = Duration::from_secs(1);
        config.sessions.ping = Duration::from_millis(900);
    })
    .await;
    let ann = node.device("ann", "web").polling().connect().await;
    until("it is ended", async || {
        node.api().post("user/checkOnline", &[("userId", "ann")]).await["status"] == "0"
    })
    .await;
    drop(ann);
}
