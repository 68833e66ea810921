//! Origins of pages, other ways in, half-open lines.

use crate::common::{Closed, TestNode, http, soon};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const OURS: &str = "https://chat.example.com";
const THEIRS: &str = "https://evil.example";

async fn upgrade_from(node: &TestNode, origin: Option<&str>) -> u16 {
    let mut headers = vec![
        "Upgrade: websocket".to_owned(),
        "Sec-WebSocket-Version: 13".into(),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".into(),
    ];
    headers.extend(origin.map(|origin| format!("Origin: {origin}")));
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n{}\r\n\r\n",
        node.address,
        headers.join("\r\n")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    soon("an answer", stream.read_exact(&mut answer)).await.unwrap();
    std::str::from_utf8(&answer[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn pages_of_other_origins_are_kept_out() {
    let node = TestNode::with(|config| config.origins = vec![OURS.into()]).await;
    let own = format!("http://{}", node.address);
    for (origin, status) in [(None, 101), (Some(OURS), 101), (Some(&*own), 101), (Some(THEIRS), 403)] {
        assert_eq!(upgrade_from(&node, origin).await, status, "{origin:?}");
    }
    for (origin, allowed) in [(OURS, true), (&*own, true), (THEIRS, false), ("null", false)] {
        let header = vec![format!("Origin: {origin}")];
        let hello = node.device("ann", "web").frame().to_string();
        let preflight = http(node.address, "OPTIONS /v1/poll", &header, "").await.unwrap();
        let begun = http(node.address, "POST /v1/poll", &header, hello).await.unwrap();
        assert_eq!(begun.status, 200, "a browser needs the header to let its page see this");
        for answer in [&preflight, &begun] {
            let told = answer.header("access-control-allow-origin");
            assert_eq!(told, allowed.then_some(origin), "{answer:?}");
            assert!(
                !allowed || answer.header("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("origin"))
            );
        }
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.header("access-control-allow-methods").is_some(), allowed);
    }
}

#[tokio::test]
async fn all_origins_may_come_where_nothing_is_configured() {
    let node = TestNode::start().await;
    assert_eq!(upgrade_from(&node, Some(THEIRS)).await, 101);
    let header = vec![format!("Origin: {THEIRS}")];
    // Errors too, or the page could not see why.
    for request in ["OPTIONS /v1/poll/x", "GET /v1/poll/x?seq=1", "POST /v1/poll", "GET /v1/relays"] {
        let answer = http(node.address, request, &header, "").await.unwrap();
        assert_eq!(answer.header("access-control-allow-origin"), Some(THEIRS), "{request}");
    }
}

#[tokio::test]
async fn a_node_lists_itself_and_answers_a_ping_with_nothing() {
    let node = TestNode::start().await;
    let header = vec![format!("Origin: {THEIRS}")];
    let list = http(node.address, "GET /v1/relays", &header, "").await.unwrap();
    let body = list.json();
    let relay = &body["relays"][0];
    assert_eq!(body["node"], relay["node"], "{body}");
    assert_eq!((&relay["url"], &relay["draining"]), (&"".into(), &false.into()), "{body}");
    assert!(relay["load"].as_f64().is_some_and(|load| (0.0..=1.0).contains(&load)), "{body}");
    let ping = http(node.address, "GET /v1/ping", &header, "").await.unwrap();
    assert_eq!((ping.status, ping.body.len()), (204, 0));
    assert_eq!(ping.header("timing-allow-origin"), Some("*"));
    for answer in [&list, &ping] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("access-control-allow-origin"), Some(THEIRS));
    }
}

#[tokio::test]
async fn the_login_by_name_is_off_unless_configured() {
    let node = TestNode::start().await;
    let login = http(node.address, "POST /v1/dev/login", &[], "{\"name\":\"ann\"}").await.unwrap();
    assert_eq!(login.status, 404);
    let mode = http(node.address, "GET /v1/mode", &[], "").await.unwrap();
    assert_eq!(mode.json(), json!({ "dev_login": false }));
}

/// A WebSocket without a client behind it: what is written goes, what comes is never read.
async fn dead_socket(node: &TestNode, device: &str) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        node.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let hello = node.device("ann", device).frame().to_string();
    // A masked text frame; a mask of zeros leaves the text as it is.
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend((hello.len() as u16).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(hello.as_bytes());
    stream.write_all(&frame).await.unwrap();
    stream
}

#[tokio::test]
async fn a_line_that_went_dead_is_noticed_and_one_that_pings_is_not_ended() {
    let node = TestNode::with(|config| {
        config.sessions.idle_timeout = Duration::from_secs(4);
        config.sessions.ping = Duration::from_secs(1);
    })
    .await;
    let mut bo = node.connect("bo").await;
    bo.request(json!({ "t": "watch", "users": ["ann"] })).await;
    let start = Instant::now();
    let dead = dead_socket(&node, "web").await;
    assert_eq!(bo.frame("presence").await["online"], true);
    // Bo reads, so its own pongs keep it here; ann's line says nothing.
    assert_eq!(bo.frame("presence").await, json!({ "t": "presence", "user": "ann", "online": false }));
    let waited = start.elapsed();
    assert!((Duration::from_millis(3_500)..Duration::from_secs(15)).contains(&waited), "{waited:?}");
    bo.quiet().await;
    drop(dead);
}

#[tokio::test]
async fn a_client_that_is_silent_on_purpose_hears_why_it_is_ended() {
    let node = TestNode::with(|config| {
        config.sessions.idle_timeout = Duration::from_secs(1);
        config.sessions.ping = Duration::from_secs(60); // so the node does not ask
    })
    .await;
    let mut ann = node.connect("ann").await;
    assert_eq!(ann.frame("kick").await["code"], "timeout");
    assert_eq!(ann.closed().await, Closed::Code(4408, "timeout".into()));
}
