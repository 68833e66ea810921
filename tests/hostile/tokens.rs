//! Tokens and signatures that are not good, and users who are not welcome.

use crate::common::{Backend, Closed, Device, KEY, SECRET, TestNode, now_ms, soon, token, user};
use hongyan::{
    model::{Stamp, UserKey},
    token::{Claims, issue},
};
use serde_json::json;

async fn refused(node: &TestNode, token: &str, polling: bool) -> Closed {
    let mut hello = node.device("ann", "web");
    hello.token = token.into();
    hello.polling = polling;
    soon("a refusal", hello.attempt()).await.err().unwrap_or_else(|| panic!("let in with {token:?}"))
}

#[tokio::test]
async fn forged_and_garbled_tokens_do_not_connect() {
    let node = TestNode::start().await;
    let good = token("ann");
    let claims = |app: &str| Claims {
        user: UserKey::new(app, "ann").unwrap(),
        issued: Stamp::from_millis(now_ms()),
        expires: None,
    };
    let mut tokens = vec![
        String::new(),
        "token".into(),
        "é".into(),
        "A".repeat(10_000),
        good[1..].to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        issue("another secret", &claims(KEY)),
        issue(SECRET, &claims("another-app")),
    ];
    // One character changed, anywhere.
    for i in (0..good.len()).step_by(7) {
        let mut changed = good.clone().into_bytes();
        changed[i] = if changed[i] == b'A' { b'B' } else { b'A' };
        tokens.push(String::from_utf8(changed).unwrap());
    }
    for forged in tokens {
        let end = refused(&node, &forged, false).await;
        assert_eq!(end, Closed::Code(4401, "bad_token".into()), "{forged}");
    }
    assert_eq!(refused(&node, "token", true).await, Closed::Code(401, "bad_token".into()));
}

#[tokio::test]
async fn a_token_past_its_time_does_not_connect() {
    let node = TestNode::start().await;
    let issued = Stamp::from_millis(now_ms() - 10_000);
    let old = issue(SECRET, &Claims { user: user("ann"), issued, expires: Some(Stamp(issued.0 + 1)) });
    assert_eq!(refused(&node, &old, false).await, Closed::Code(4401, "token_expired".into()));
    assert_eq!(refused(&node, &old, true).await, Closed::Code(401, "token_expired".into()));
}

#[tokio::test]
async fn revoked_tokens_do_not_connect_also_after_a_restart_and_new_ones_do() {
    let node = TestNode::start().await;
    let old = token("ann");
    let mut open = node.connect("ann").await;
    let time = (now_ms() + 1).to_string();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await; // so that new tokens are newer than that
    node.api().post("user/token/expire", &[("userId", "ann"), ("time", &time)]).await;
    open.quiet().await; // open connections stay
    drop(open);
    let expired = Closed::Code(4401, "token_expired".into());
    assert_eq!(refused(&node, &old, false).await, expired);
    let node = node.restart().await;
    assert_eq!(refused(&node, &old, false).await, expired);
    assert_eq!(refused(&node, &old, true).await, Closed::Code(401, "token_expired".into()));
    node.connect("ann").await;
}

#[tokio::test]
async fn a_call_with_one_digit_of_its_signature_changed_is_refused() {
    let node = TestNode::start().await;
    let form = [("userId", "ann"), ("name", "Ann")];
    let call = async |headers: Vec<String>| {
        let answer = node.api().call("user/getToken", &form, &headers).await;
        (answer.status, answer.json()["code"].as_u64().unwrap())
    };
    let good = Backend::signed();
    assert_eq!(call(good.clone()).await, (200, 200));
    for digit in [0, 17, 39] {
        let mut forged = good.clone();
        let header = forged.iter_mut().find(|line| line.starts_with("Signature: ")).unwrap();
        let at = "Signature: ".len() + digit;
        let other = if header.as_bytes()[at] == b'0' { "1" } else { "0" };
        header.replace_range(at..=at, other);
        assert_eq!(call(forged).await, (401, 1004));
    }
    let longer =
        good.iter().map(|line| if line.starts_with("Sign") { format!("{line}0") } else { line.clone() });
    assert_eq!(call(longer.collect()).await, (401, 1004));
    let unknown = good.iter().map(|line| line.replace(KEY, "nobody"));
    assert_eq!(call(unknown.collect()).await, (401, 1001));
    for missing in ["Nonce", "Timestamp", "Signature"] {
        let some = good.iter().filter(|line| !line.starts_with(missing)).cloned();
        assert_eq!(call(some.collect()).await, (401, 1004), "{missing}");
    }
}

async fn blocked(device: &mut Device, polling: bool) {
    let kick = device.frame("kick").await;
    assert_eq!(kick["code"], "user_blocked");
    assert_eq!(device.closed().await.code(), if polling { 404 } else { 4403 });
}

#[tokio::test]
async fn a_blocked_user_is_cut_off_and_stays_out_until_unblocked() {
    let node = TestNode::start().await;
    let mut web = node.connect("ann").await;
    let mut polls = node.device("ann", "polls").polling().connect().await;
    let mut bo = node.connect("bo").await;
    node.api().post("user/block", &[("userId", "ann"), ("minute", "10")]).await;
    blocked(&mut web, false).await;
    blocked(&mut polls, true).await;
    assert_eq!(refused(&node, &token("ann"), false).await, Closed::Code(4403, "user_blocked".into()));
    assert_eq!(refused(&node, &token("ann"), true).await, Closed::Code(403, "user_blocked".into()));
    bo.say("ann", "for later").await; // she can still be written to
    drop(bo);
    let node = node.restart().await;
    assert_eq!(refused(&node, &token("ann"), false).await, Closed::Code(4403, "user_blocked".into()));
    let listed = node.api().post("user/block/query", &[]).await;
    assert_eq!(listed["users"][0]["userId"], json!("ann"));
    node.api().post("user/unblock", &[("userId", "ann")]).await;
    assert_eq!(web.again().at(node.address).connect().await.texts(), ["for later"]);
}
