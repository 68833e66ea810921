//! Messages between two people, and what is told about them.

use crate::common::{Device, TestNode, texts};
use serde_json::{Value, json};

#[tokio::test]
async fn two_people_chat_in_order_and_each_message_comes_once() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    for i in 0..30 {
        ann.say("bo", &format!("question {i}")).await;
        assert_eq!(bo.hears().await, format!("question {i}"));
        bo.say("ann", &format!("answer {i}")).await;
        assert_eq!(ann.hears().await, format!("answer {i}"));
    }
    ann.quiet().await;
    bo.quiet().await;
    let at = |entries: &[Value]| -> Vec<u64> {
        entries.iter().map(|entry| entry["m"]["at"].as_u64().or(entry["at"].as_u64()).unwrap()).collect()
    };
    assert_eq!(at(&ann.entries), at(&bo.entries), "both sides have the same times");
}

#[tokio::test]
async fn contents_arrive_as_they_were_written() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let contents = [
        "{ \"a\" : 1.50, \"b\":[ ],\"ü\":\"\\u00fc 鸿雁 \\\" \\\\ 🦢\" , \"a\":2}",
        "[1,  2,{}]",
        "\"just text, {not} json \\n\"",
        "{}",
    ];
    for (i, content) in contents.into_iter().enumerate() {
        let send = format!(
            "{{\"t\":\"send\",\"r\":{i},\"id\":\"{i}\",\"kind\":1,\"target\":\"bo\",\"type\":\"app:thing\",\"content\":{content},\
             \"push\":{{\"text\":\"ding\",\"data\":\"x\"}}}}"
        );
        ann.line.send_text(send).await.unwrap();
        let ok = ann.answer(i as u64).await;
        assert_eq!(ok["t"], "ok", "{ok}");
        let m = bo.frame("msg").await["m"].clone();
        assert_eq!(m["content"], serde_json::from_str::<Value>(content).unwrap());
        assert_eq!((&m["id"], &m["at"], &m["type"]), (&ok["id"], &ok["at"], &json!("app:thing")));
        assert_eq!(m["push"], json!({ "text": "ding", "data": "x" }));
        assert!(m.get("cid").is_none(), "the send id is the sender's own");
    }
}

#[tokio::test]
async fn a_status_message_reaches_who_is_there_and_nobody_later() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let typing =
        json!({ "t": "send", "id": "s1", "kind": 1, "target": "bo", "type": "RC:TypSts", "content": {} });
    let ok = ann.request(typing.clone()).await;
    assert!(ok.get("pos").is_none() && ok["at"].is_u64(), "{ok}");
    let came = bo.frame("msg").await;
    assert!(came.get("pos").is_none() && came["m"]["status"] == true, "{came}");
    let bo = bo.leave().await;
    ann.request(typing).await;
    ann.say("bo", "a real one").await;
    let mut bo = bo.connect().await;
    assert_eq!(bo.hears().await, "a real one");
    bo.quiet().await;
    let history = bo.request(json!({ "t": "history", "kind": 1, "target": "ann" })).await;
    assert_eq!(texts(history["messages"].as_array().unwrap()), ["a real one"]);
}

#[tokio::test]
async fn what_came_while_away_is_there_on_return_in_order() {
    let node = TestNode::start().await;
    let bo = node.connect("bo").await.leave().await;
    let mut ann = node.connect("ann").await;
    let sent: Vec<_> = (0..40).map(|i| format!("letter {i}")).collect();
    for text in &sent {
        ann.say("bo", text).await;
    }
    let mut bo = bo.connect().await;
    assert_eq!(bo.welcome["resumed"], true);
    assert_eq!(bo.texts(), sent);
    ann.say("bo", "and live").await;
    bo.expect("the live one", |frame| frame["m"]["content"]["content"] == "and live").await;
}

#[tokio::test]
async fn another_device_gets_copies_of_what_its_user_sends() {
    let node = TestNode::start().await;
    let mut phone = node.device("ann", "phone").connect().await;
    let mut web = node.device("ann", "web").connect().await;
    let mut bo = node.connect("bo").await;
    let ok = phone.say("bo", "from the phone").await;
    assert_eq!(bo.hears().await, "from the phone");
    let copy = web.frame("msg").await;
    assert_eq!(copy["pos"], ok["pos"]);
    let m = &copy["m"];
    assert_eq!((&m["from"], &m["cid"], &m["id"]), (&json!("ann"), &json!("from the phone"), &ok["id"]));
    bo.say("ann", "to both").await;
    assert_eq!((phone.hears().await, web.hears().await), ("to both".into(), "to both".into()));
    assert_eq!(phone.at, web.at);
    phone.quiet().await;
    web.quiet().await;
}

async fn unread(device: &mut Device) -> u64 {
    device.request(json!({ "t": "unread" })).await["unread"].as_u64().unwrap()
}

#[tokio::test]
async fn reading_on_one_device_is_seen_on_the_other_and_by_the_sender() {
    let node = TestNode::start().await;
    let mut ann = node.connect("ann").await;
    let mut phone = node.device("bo", "phone").connect().await;
    let mut web = node.device("bo", "web").connect().await;
    for text in ["one", "two", "three"] {
        ann.say("bo", text).await;
    }
    let mut came = Vec::new();
    for _ in 0..3 {
        came.push(phone.frame("msg").await);
        web.frame("msg").await;
    }
    assert_eq!(unread(&mut phone).await, 3);
    let second = came[1]["pos"].as_u64().unwrap();
    let read = json!({ "t": "read", "kind": 1, "target": "ann", "upto": second });
    assert_eq!(phone.request(read.clone()).await["unread"], 1);
    let told = web.frame("read").await;
    assert_eq!((&told["kind"], &told["target"], &told["upto"]), (&json!(1), &json!("ann"), &json!(second)));
    assert_eq!(unread(&mut web).await, 1);
    let receipt = ann.frame("receipt").await;
    assert_eq!((&receipt["what"], &receipt["at"]), (&json!("read"), &came[1]["m"]["at"]));

    // Older or again: nothing changes and nobody is told.
    let first = json!({ "t": "read", "kind": 1, "target": "ann", "upto": came[0]["pos"] });
    assert_eq!(web.request(first).await["unread"], 1);
    assert_eq!(web.request(read).await["unread"], 1);
    assert_eq!(web.request(json!({ "t": "read", "kind": 1, "target": "ann" })).await["unread"], 0);
    let receipt = ann.frame("receipt").await;
    assert_eq!(receipt["at"], came[2]["m"]["at"]);
    phone.frame("read").await;
    for device in [&mut ann, &mut phone, &mut web] {
        device.quiet().await;
    }
    let seen = ann.request(json!({ "t": "conversation", "kind": 1, "target": "bo" })).await;
    assert_eq!(seen["conversation"]["peer_read"], came[2]["m"]["at"]);
}

#[tokio::test]
async fn a_position_of_another_conversation_cannot_be_read_up_to() {
    let node = TestNode::start().await;
    let (mut ann, mut cy, mut bo) =
        (node.connect("ann").await, node.connect("cy").await, node.connect("bo").await);
    ann.say("bo", "from ann").await;
    cy.say("bo", "from cy").await;
    bo.hears().await;
    let of_cy = bo.frame("msg").await["pos"].clone();
    let wrong = json!({ "t": "read", "kind": 1, "target": "ann", "upto": of_cy });
    assert_eq!(bo.refused(wrong).await, "not_found");
    assert_eq!(unread(&mut bo).await, 2);
}

#[tokio::test]
async fn a_sender_hears_of_deliveries_when_it_wants_to() {
    let node = TestNode::start().await;
    let wants = json!({ "delivered": true });
    let mut ann = node.device("ann", "web").with(wants).connect().await;
    let mut silent = node.device("ann", "other").connect().await;
    let bo = node.connect("bo").await.leave().await;
    ann.say("bo", "one").await;
    let last = ann.say("bo", "two").await;
    ann.quiet().await;
    let mut bo = bo.connect().await;
    let told =
        ann.expect("delivery", |frame| frame["what"] == "delivered" && frame["at"] == last["at"]).await;
    assert!(told.get("pos").is_none() && told["target"] == "bo" && told["kind"] == 1, "{told}");
    let state = ann.request(json!({ "t": "conversation", "kind": 1, "target": "bo" })).await;
    assert!(state["conversation"]["peer_delivered"].as_u64() >= last["at"].as_u64());
    bo.untaken();
    for _ in 0..2 {
        silent.frame("msg").await;
    }
    silent.quiet().await;
}

#[tokio::test]
async fn a_message_taken_back_is_gone_on_both_sides_and_in_history() {
    let node = TestNode::start().await;
    let (mut ann, mut bo) = (node.connect("ann").await, node.connect("bo").await);
    let mut other = node.device("ann", "other").connect().await;
    ann.say("bo", "stays").await;
    let ok = ann.say("bo", "a slip").await;
    bo.hears().await;
    bo.hears().await;
    let recall =
        json!({ "t": "recall", "kind": 1, "target": "bo", "id": ok["id"], "at": ok["at"], "extra": "oops" });

    let mut theirs = recall.clone();
    theirs["target"] = "ann".into();
    assert_eq!(bo.refused(theirs.clone()).await, "not_allowed");
    theirs["id"] = "00000000000000000000000007".into();
    assert_eq!(bo.refused(theirs).await, "not_found");

    let done = ann.request(recall.clone()).await;
    assert!(done["pos"].is_u64());
    for (device, target) in [(&mut bo, "ann"), (&mut other, "bo")] {
        let told = device.frame("recall").await;
        assert_eq!((&told["id"], &told["at"], &told["by"]), (&ok["id"], &ok["at"], &json!("ann")));
        assert_eq!((&told["target"], &told["extra"]), (&json!(target), &json!("oops")));
        let history = device.request(json!({ "t": "history", "kind": 1, "target": target })).await;
        let messages = history["messages"].as_array().unwrap();
        assert_eq!(texts(messages), ["stays", ""]);
        assert_eq!((&messages[1]["recalled"], &messages[1]["content"]), (&json!(true), &json!({})));
    }
    ann.request(recall).await;
    bo.quiet().await;

    // Nothing of it is left for a device that comes later, nor in the list.
    let late = node.device("bo", "late").cursor(0).connect().await;
    assert_eq!(late.texts(), ["stays", ""]);
    assert_eq!(late.entries[1]["m"]["recalled"], true);
    let list = bo.request(json!({ "t": "conversations" })).await;
    assert_eq!(list["conversations"][0]["last"]["recalled"], true);
}

#[tokio::test]
async fn somebody_can_write_to_oneself() {
    let node = TestNode::start().await;
    let mut ann = node.connect("ann").await;
    let mut other = node.device("ann", "other").connect().await;
    ann.say("ann", "a note").await;
    assert_eq!(other.hears().await, "a note");
    assert_eq!(unread(&mut ann).await, 0);
    let history = ann.request(json!({ "t": "history", "kind": 1, "target": "ann" })).await;
    assert_eq!(texts(history["messages"].as_array().unwrap()), ["a note"]);
    ann.quiet().await;
    other.quiet().await;
}
