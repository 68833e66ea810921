//! Frames that are too large, no JSON, of the wrong shape, or in the wrong place.

use crate::common::{Closed, Line, TestNode};
use serde_json::{Value, json};
use std::time::Duration;

/// How a fresh connection ends after this one text; the code of its `err` or `kick`.
async fn first_words(node: &TestNode, text: String) -> (u16, String) {
    let mut line = Line::ws(node.address).await.unwrap();
    // A text that is too large may be cut off while it is sent.
    let _ = line.send_text(text).await;
    end(&mut line).await
}

async fn end(line: &mut Line) -> (u16, String) {
    let mut word = String::new();
    loop {
        match line.next().await {
            Ok(frame) if matches!(frame["t"].as_str(), Some("err" | "kick")) => {
                assert!(frame["msg"].is_string());
                word = frame["code"].as_str().unwrap().to_owned();
            }
            Ok(_) => {}
            Err(closed) => return (closed.code(), word),
        }
    }
}

fn bad(code: u16, word: &str) -> (u16, String) {
    (code, word.to_owned())
}

const NO_FRAMES: [&str; 10] = [
    "",
    "hello",
    "{",
    "{\"t\":\"ping\"",
    "[{\"t\":\"ping\"},]",
    "17",
    "null",
    "[1]",
    "[[\"ping\"]]",
    "{\"t\":\"\\ud800\"}",
];

#[tokio::test]
async fn what_is_no_frame_ends_the_connection_before_and_after_hello() {
    let node = TestNode::start().await;
    for text in NO_FRAMES {
        assert_eq!(first_words(&node, text.into()).await, bad(4400, "bad_frame"), "{text:?}");
        let mut ann = node.connect("ann").await;
        ann.line.send_text(text.into()).await.unwrap();
        assert_eq!(end(&mut ann.line).await, bad(4400, "bad_frame"), "{text:?}");
    }
}

#[tokio::test]
async fn a_hello_has_to_be_a_good_one_and_alone() {
    let node = TestNode::start().await;
    let good = node.device("ann", "web").frame();
    let with = |field: &str, value: Value| {
        let mut hello = good.clone();
        hello[field] = value;
        hello
    };
    let long = "d".repeat(65);
    let cases = [
        (json!({ "t": "ping" }), 4400, "bad_frame"),
        (json!([good, { "t": "ping" }]), 4400, "bad_frame"),
        (json!([]), 4400, "bad_frame"),
        (with("v", json!(2)), 4406, "unsupported_version"),
        (with("v", json!("1")), 4400, "bad_frame"),
        (with("v", Value::Null), 4400, "bad_frame"),
        (with("device", json!("")), 4400, "bad_frame"),
        (with("device", json!(long)), 4400, "bad_frame"),
        (with("device", json!("a\u{7}b")), 4400, "bad_frame"),
        (with("window", json!(0)), 4400, "bad_frame"),
        (with("window", json!(1025)), 4400, "bad_frame"),
        (with("window", json!(-1)), 4400, "bad_frame"),
        (with("cursor", json!(-1)), 4400, "bad_frame"),
        (with("cursor", json!(1.5)), 4400, "bad_frame"),
    ];
    for (hello, code, word) in cases {
        assert_eq!(first_words(&node, hello.to_string()).await, bad(code, word), "{hello}");
    }
    let mut fine = good.clone();
    fine["later"] = json!({ "unknown": [1] });
    let mut line = Line::ws(node.address).await.unwrap();
    line.send(&fine).await.unwrap();
    assert_eq!(line.next().await.unwrap()["t"], "welcome");
}

#[tokio::test]
async fn who_does_not_say_hello_is_sent_away_in_time() {
    let node = TestNode::with(|config| config.sessions.hello_timeout = Duration::from_millis(300)).await;
    let mut line = Line::ws(node.address).await.unwrap();
    assert_eq!(end(&mut line).await, bad(4408, "timeout"));
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_connection_and_one_at_the_limit_does_not() {
    let node = TestNode::with(|config| {
        config.limits.frame = 8_192;
        config.limits.content = 4_096;
    })
    .await;
    let padded = |frame: Value, len: usize| {
        let mut text = frame.to_string();
        text.insert_str(1, &format!("\"pad\":\"{}\",", "x".repeat(len - text.len() - 9)));
        assert_eq!(text.len(), len);
        text
    };
    let mut ann = node.connect("ann").await;
    ann.line.send_text(padded(json!({ "t": "ping", "r": 1 }), 8_192)).await.unwrap();
    ann.frame("pong").await;
    ann.line.send_text(padded(json!({ "t": "ping", "r": 2 }), 8_193)).await.unwrap();
    assert_eq!(end(&mut ann.line).await, bad(1009, "too_large"));
    assert_eq!(first_words(&node, padded(json!({ "t": "ping" }), 100_000)).await.0, 1009);

    let mut bo = node.connect("bo").await;
    let send = |len: usize| json!({ "t": "send", "id": "big", "kind": 1, "target": "ann", "type": "app:x", "content": "y".repeat(len - 2) });
    assert_eq!(bo.refused(send(4_097)).await, "too_large");
    bo.request(send(4_096)).await;
}

#[tokio::test]
async fn a_binary_message_ends_the_connection() {
    let node = TestNode::start().await;
    let mut line = Line::ws(node.address).await.unwrap();
    line.send_binary(b"{}").await;
    assert_eq!(end(&mut line).await, bad(4400, "bad_frame"));
    let mut ann = node.connect("ann").await;
    ann.line.send_binary(b"{\"t\":\"ping\"}").await;
    assert_eq!(end(&mut ann.line).await, bad(4400, "bad_frame"));
}

#[tokio::test]
async fn a_wrong_field_is_answered_and_the_session_goes_on() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let good = json!({ "t": "send", "id": "x", "kind": 1, "target": "bo", "type": "app:x", "content": {} });
    let without = |field: &str| {
        let mut frame = good.clone();
        frame.as_object_mut().unwrap().remove(field);
        frame
    };
    let with = |field: &str, value: Value| {
        let mut frame = good.clone();
        frame[field] = value;
        frame
    };
    let long = "ü".repeat(32) + "x"; // 65 bytes
    let id = "00000000000000000000000007";
    let cases = [
        without("id"),
        without("kind"),
        without("target"),
        without("type"),
        without("content"),
        with("id", json!(7)),
        with("id", json!("")),
        with("id", json!(long)),
        with("id", json!("a\nb")),
        with("kind", json!("1")),
        with("kind", json!(0)),
        with("kind", json!(7)),
        with("kind", json!(-1)),
        with("target", json!(["bo"])),
        with("target", json!(long)),
        with("target", json!("\u{0}")),
        with("type", json!("")),
        with("type", json!(long)),
        with("content", json!(5)),
        with("content", json!(true)),
        with("content", Value::Null),
        with("counted", json!("yes")),
        with("push", json!("ding")),
        with("push", json!({ "text": "x".repeat(4_097) })),
        json!({ "t": "nonsense" }),
        json!({ "t": 5 }),
        json!({ "t": Value::Null }),
        json!({}),
        json!({ "t": "hello", "v": 1 }),
        json!({ "t": "welcome" }),
        json!({ "t": "read", "kind": 1, "target": "bo", "upto": "5" }),
        json!({ "t": "recall", "kind": 1, "target": "bo", "id": "no id", "at": 1 }),
        json!({ "t": "recall", "kind": 1, "target": "bo", "id": id }),
        json!({ "t": "history", "kind": 1, "target": "bo", "limit": 0 }),
        json!({ "t": "history", "kind": 1, "target": "bo", "before": -5 }),
        json!({ "t": "conversations", "limit": 501 }),
        json!({ "t": "watch", "users": "bo" }),
        json!({ "t": "watch", "users": ["ok", long] }),
        json!({ "t": "watch", "users": vec!["u"; 201] }),
        json!({ "t": "users", "ids": vec!["u"; 101] }),
        json!({ "t": "users" }),
        json!({ "t": "block", "user": "" }),
        json!({ "t": "blocked", "user": long }),
    ];
    for case in cases {
        assert_eq!(ann.refused(case.clone()).await, "bad_frame", "{case}");
    }
    for kind in [2, 3, 4, 5, 6] {
        assert_eq!(ann.refused(with("kind", json!(kind))).await, "not_supported", "{kind}");
    }
    for (frame, code) in [
        (json!({ "t": "ack" }), "bad_frame"),
        (json!({ "t": "unread" }), "bad_frame"),
        (json!({ "t": "unread", "r": -1 }), "bad_frame"),
        (json!({ "t": "unread", "r": 1.5 }), "bad_frame"),
    ] {
        ann.line.send(&frame).await.unwrap();
        let err = ann.frame("err").await;
        assert_eq!((&err["code"], err.get("r")), (&json!(code), None), "{frame}");
    }
    // In one message, the good ones among the bad are taken.
    let mix = json!([{ "t": "nonsense", "r": 901 }, { "t": "unread", "r": 902 }, { "t": 5, "r": 903 }]);
    ann.line.send(&mix).await.unwrap();
    let codes = [ann.answer(901).await, ann.answer(902).await, ann.answer(903).await];
    assert_eq!(codes.map(|answer| answer["t"].clone()), ["err", "ok", "err"]);
    ann.quiet().await;
    ann.say("bo", "still here").await;
    assert_eq!(bo.hears().await, "still here");
    bo.quiet().await;
}

#[tokio::test]
async fn numbers_at_their_ends_harm_nothing() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    for number in [0, 1, (1 << 53) - 1, 1 << 53, u64::MAX - 1, u64::MAX] {
        for frame in [
            json!({ "t": "history", "kind": 1, "target": "bo", "before": number }),
            json!({ "t": "history", "kind": 1, "target": "bo", "after": number }),
            json!({ "t": "conversations", "before": number }),
        ] {
            ann.request(frame).await;
        }
        let read = json!({ "t": "read", "kind": 1, "target": "bo", "upto": number });
        assert_eq!(ann.refused(read).await, "not_found");
        let recall = json!({ "t": "recall", "kind": 1, "target": "bo", "id": "00000000000000000000000007", "at": number });
        assert_eq!(ann.refused(recall).await, "not_found");
        ann.line.send(&json!({ "t": "unread", "r": number })).await.unwrap();
        ann.answer(number).await;
        ann.line.send(&json!({ "t": "ack", "pos": number })).await.unwrap();
    }
    // Acks of what was never sent move no cursor past the mailbox's end.
    bo.say("ann", "hi").await;
    assert_eq!(ann.hears().await, "hi");
    let mut hello = ann.leave().await;
    hello.cursor = None;
    bo.say("ann", "again").await;
    assert_eq!(hello.connect().await.texts(), ["again"]);
}

#[tokio::test]
async fn deep_contents_do_not_break_the_node() {
    let node = TestNode::start().await;
    let mut ann = node.connect("ann").await;
    let deep = "[".repeat(60_000) + &"]".repeat(60_000);
    let send = format!(
        "{{\"t\":\"send\",\"r\":7,\"id\":\"deep\",\"kind\":1,\"target\":\"bo\",\"type\":\"app:x\",\"content\":{deep}}}"
    );
    ann.line.send_text(send).await.unwrap();
    let answer = ann.answer(7).await;
    assert_eq!((&answer["t"], &answer["code"]), (&json!("err"), &json!("bad_frame")), "{answer}");
    let wrong = format!("{{\"t\":\"send\",\"r\":8,\"kind\":\"x\",\"content\":{deep}}}");
    ann.line.send_text(wrong).await.unwrap();
    assert!(matches!(ann.closed().await, Closed::Code(4400, _)));
    node.connect("ann").await;
}

#[tokio::test]
async fn many_frames_in_one_message_are_bounded() {
    let node = TestNode::with(|config| config.limits.frames_per_second = 0).await;
    let mut ann = node.connect("ann").await;
    let pings = |n: usize| Value::from(vec![json!({ "t": "ping" }); n]);
    ann.line.send(&pings(1_024)).await.unwrap();
    for _ in 0..1_024 {
        ann.frame("pong").await;
    }
    ann.line.send(&pings(1_025)).await.unwrap();
    assert_eq!(end(&mut ann.line).await, bad(4400, "bad_frame"));
}
