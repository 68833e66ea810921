//! Many who say nothing, and those who do not read what they are sent.

use crate::common::{Device, Line, Serving, TestNode, soon};
use serde_json::{Value, json};
use std::io::ErrorKind;
use tokio::{net::TcpStream, task::JoinSet};

const LIMITS: &str = "[limits]\nsends_per_second = 0\nframes_per_second = 0\n";

/// Two people who chat, and each message comes once, in order.
async fn chat(a: &mut Device, b: &mut Device, rounds: std::ops::Range<u32>) {
    let name = |device: &Device| device.welcome["user"].as_str().unwrap().to_owned();
    for i in rounds {
        a.say(&name(b), &format!("there {i}")).await;
        assert_eq!(b.hears().await, format!("there {i}"));
        b.say(&name(a), &format!("back {i}")).await;
        assert_eq!(a.hears().await, format!("back {i}"));
    }
}

async fn hung_up(stream: &TcpStream) {
    let mut bytes = [0; 64];
    loop {
        stream.readable().await.unwrap();
        match stream.try_read(&mut bytes) {
            Ok(0) => return,
            Err(error) if error.kind() != ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_silent_connections_disturb_nobody_and_cost_little() {
    let serving = Serving::start(&format!("[sessions]\nhello_timeout = 4\n{LIMITS}"));
    let mut ann = serving.device("ann", "web").connect().await;
    let mut bo = serving.device("bo", "web").connect().await;
    chat(&mut ann, &mut bo, 0..5).await;
    let before = serving.memory();

    let (mut silent, mut lines, mut upgrading) = (Vec::new(), Vec::new(), JoinSet::new());
    for i in 0..1_000 {
        silent.push(TcpStream::connect(serving.address).await.unwrap());
        upgrading.spawn(Line::ws(serving.address));
        if i % 50 == 0 {
            chat(&mut ann, &mut bo, 1_000 + i..1_001 + i).await;
        }
        // A hundred at a time, as the door's queue is bounded.
        while upgrading.len() > 100 || (i == 999 && !upgrading.is_empty()) {
            lines.push(upgrading.join_next().await.unwrap().unwrap().unwrap());
        }
    }
    let during = serving.memory();
    assert!(during < before + 64 * 1_024, "{before} KiB before, {during} KiB with 2,000 silent connections");
    chat(&mut ann, &mut bo, 5_000..5_020).await;

    // Those that were upgraded are told why they are ended; those that said nothing at all are hung up on.
    for mut line in lines {
        assert_eq!(line.closed().await.code(), 4408);
    }
    for stream in &silent {
        soon("the end of a silent connection", hung_up(stream)).await;
    }
    chat(&mut ann, &mut bo, 6_000..6_005).await;
    ann.quiet().await;
    bo.quiet().await;
}

/// Sends `count` messages of `size` bytes, many at a time.
async fn flood(ann: &mut Device, to: &str, name: &str, count: u64, size: usize) {
    let filler = "x".repeat(size);
    for chunk in (0..count).collect::<Vec<_>>().chunks(20) {
        let frames: Vec<Value> = chunk
            .iter()
            .map(|i| {
                json!({ "t": "send", "r": 1_000_000 + i, "id": format!("{name}-{i}"), "kind": 1, "target": to,
                    "type": "app:flood", "content": { "n": i, "filler": filler } })
            })
            .collect();
        ann.line.send(&frames.into()).await.unwrap();
        for i in chunk {
            let answer = ann.answer(1_000_000 + i).await;
            assert_eq!(answer["t"], "ok", "{answer}");
        }
    }
}

fn numbers(device: &Device) -> Vec<u64> {
    device.entries.iter().map(|entry| entry["m"]["content"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_read_cost_bounded_memory_and_lose_nothing() {
    const COUNT: u64 = 3_000;
    let serving = Serving::start(&format!("{LIMITS}[store]\ncache = 8\n"));
    let mut ann = serving.device("ann", "web").connect().await;
    let mut bo = serving.device("bo", "web").connect().await;
    let mut dee = serving.device("dee", "web").connect().await;
    // One only sleeps; the others say all the time that they have everything.
    let sleeper = serving.device("cy", "sleeps").connect().await;
    let mut liars = Vec::new();
    for i in 0..6 {
        liars.push(serving.device("cy", &format!("lies-{i}")).connect().await);
    }
    let before = serving.memory();
    let chatting = async {
        chat(&mut bo, &mut dee, 0..100).await;
        (bo, dee)
    };
    let lying = async {
        loop {
            for liar in &mut liars {
                let lie = json!([{ "t": "ack", "pos": (1_u64 << 53) - 1 }, { "t": "ping" }]);
                let sent = liar.line.send(&lie);
                // One that is ended for not reading is no longer there to lie.
                let _ = tokio::time::timeout(std::time::Duration::from_millis(50), sent).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let work = async { tokio::join!(flood(&mut ann, "cy", "flood", COUNT, 8_000), chatting) };
    let ((), (mut bo, mut dee)) = tokio::select! {
        done = work => done,
        () = lying => unreachable!(),
    };
    let after = serving.memory();
    // Twenty-four megabytes for each of seven devices, were they kept.
    assert!(after < before + 80 * 1_024, "{before} KiB before the flood, {after} KiB after it");
    chat(&mut bo, &mut dee, 200..210).await;

    drop(liars);
    let sleeper = sleeper.again().connect().await;
    assert_eq!(numbers(&sleeper), (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_served_from_the_store_and_gets_all_in_order() {
    const COUNT: u64 = 400;
    let node = TestNode::with(|config| {
        config.limits.sends_per_second = 0;
        config.limits.frames_per_second = 0;
    })
    .await;
    let mut ann = node.connect("ann").await;
    for (device, window) in [("narrow", 4), ("wide", 256)] {
        let mut slow = node.device("bo", device).with(json!({ "window": window })).connect().await;
        slow.acks = false;
        let paged = node.hub.metrics().entries_paged.get();
        flood(&mut ann, "bo", device, COUNT, 2_000).await;
        while (slow.entries.len() as u64) < window {
            slow.frame("msg").await;
        }
        let r = slow.ask(json!({ "t": "unread" })).await;
        slow.answer(r).await;
        assert_eq!(slow.entries.len() as u64, window, "no more than the window is on its way");
        slow.acks = true;
        slow.line.send(&json!({ "t": "ack", "pos": slow.at })).await.unwrap();
        while (slow.entries.len() as u64) < COUNT {
            slow.frame("msg").await;
        }
        assert_eq!(numbers(&slow), (0..COUNT).collect::<Vec<_>>());
        assert!(node.hub.metrics().entries_paged.get() > paged, "it was served from the store");
        // And is live again.
        ann.say("bo", &format!("live to {device}")).await;
        slow.expect("the live one", |frame| frame["m"]["content"]["content"] == format!("live to {device}"))
            .await;
        slow.leave().await;
    }
}
