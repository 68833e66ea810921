//! Users: tokens, profiles, blocks, blacklists.

use crate::backend::{Backend, Event, FORM, user};
use axum::body::Body;
use hongyan::{
    model::Stamp,
    relay::{KickReason, Refused},
    token,
};
use serde_json::json;

fn claims(backend: &Backend, token: &serde_json::Value) -> token::Claims {
    token::verify(token.as_str().unwrap(), backend.hub.now(), |app| backend.apps.secret(app)).unwrap()
}

#[tokio::test]
async fn a_token_lets_its_user_in_until_it_is_expired() {
    let backend = Backend::new().await;
    let body = backend.ok("user/getToken", "userId=ann&name=Ann&portraitUri=").await;
    assert_eq!(body["userId"], "ann");
    assert!(body["token"].as_str().unwrap().len() <= 256);
    let first = claims(&backend, &body["token"]);
    assert_eq!((first.user.clone(), first.expires), (user("ann"), None));
    assert!(backend.connect("ann", first.issued).await.is_ok());

    let next_ms = first.issued.millis() + 1;
    backend.ok("user/token/expire", format!("userId=ann&userId=nobody&time={next_ms}")).await;
    assert_eq!(backend.connect("ann", first.issued).await.err(), Some(Refused::TokenRevoked));
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let body = backend.ok("user/getToken", "userId=ann&name=Ann").await;
    let second = claims(&backend, &body["token"]);
    assert!(backend.connect("ann", second.issued).await.is_ok());
}

#[tokio::test]
async fn a_profile_shows_what_was_given_last_and_when_it_was_first_made() {
    let backend = Backend::new().await;
    assert_eq!(backend.refused("/user/info.json", "userId=ann").await, (400, 1002));
    backend.ok("user/refresh", "userId=ann&name=Nobody").await;
    assert_eq!(backend.refused("/user/info.json", "userId=ann").await, (400, 1002));

    backend.ok("user/getToken", "userId=ann&name=Ann&portraitUri=http%3A%2F%2Fa%2F1.png").await;
    let first = backend.ok("user/info", "userId=ann").await;
    assert_eq!((&first["userName"], &first["userPortrait"]), (&json!("Ann"), &json!("http://a/1.png")));
    let created = first["createTime"].as_str().unwrap();
    assert_eq!((created.len(), &created[4..5], &created[10..11]), (19, "-", " "));
    let profile = backend.hub.read(|store| store.profile(&user("ann"))).await.unwrap();

    backend.ok("user/getToken", "userId=ann&name=%E9%9B%81").await;
    backend.ok("user/refresh", "userId=ann&portraitUri=http%3A%2F%2Fa%2F2.png").await;
    backend.ok("user/refresh", "userId=ann").await;
    let later = backend.ok("user/info", "userId=ann").await;
    assert_eq!((&later["userName"], &later["userPortrait"]), (&json!("雁"), &json!("http://a/2.png")));
    let again = backend.hub.read(|store| store.profile(&user("ann"))).await.unwrap();
    assert_eq!(again.created, profile.created, "registered once");
}

#[tokio::test]
async fn a_user_is_online_while_a_device_is_there() {
    let backend = Backend::new().await;
    assert_eq!(backend.ok("user/checkOnline", "userId=ann").await["status"], "0");
    let device = backend.connect("ann", Stamp::ZERO).await.unwrap();
    assert_eq!(backend.ok("user/checkOnline", "userId=ann").await["status"], "1");
    assert_eq!(backend.ok("user/checkOnline", "userId=Ann").await["status"], "0", "ids have a case");
    let request = Backend::request("/user/checkOnline.xml", FORM).body(Body::from("userId=ann")).unwrap();
    assert_eq!(
        backend.send(request).await,
        (200, "<xml><code>200</code><status>1</status></xml>".to_owned())
    );
    drop(device);
}

#[tokio::test]
async fn a_blocked_user_is_cut_off_and_kept_out() {
    let backend = Backend::new().await;
    let mut device = backend.connect("ann", Stamp::ZERO).await.unwrap();
    backend.ok("user/block", "userId=ann&minute=10").await;
    backend.ok("user/block", "userId=bo&minute=43200").await;
    assert!(matches!(device.next().await, Event::Kicked(KickReason::Blocked { .. })));
    assert!(matches!(backend.connect("ann", Stamp::ZERO).await.err(), Some(Refused::UserBlocked { .. })));
    assert_eq!(backend.ok("user/checkOnline", "userId=ann").await["status"], "0");

    let listed = backend.ok("user/block/query", "").await;
    let users = listed["users"].as_array().unwrap();
    assert_eq!((users.len(), &users[0]["userId"]), (2, &json!("bo")), "latest end first");
    assert_eq!(users[1]["blockEndTime"].as_str().unwrap().len(), 19);
    let page = backend.ok("user/block/query", "page=2&size=1").await;
    assert_eq!(page["users"][0]["userId"], "ann");

    backend.ok("user/unblock", "userId=ann&userId=bo&userId=nobody").await;
    assert_eq!(backend.ok("user/block/query", "page=1").await["users"], json!([]));
    assert!(backend.connect("ann", Stamp::ZERO).await.is_ok());
}

#[tokio::test]
async fn a_blacklist_is_kept_newest_first() {
    let backend = Backend::new().await;
    backend.ok("user/blacklist/add", "userId=ann&blackUserId=bo").await;
    backend.ok("user/blocklist/add", "userId=ann&blackUserId=cy&blackUserId=di").await;
    let listed = backend.ok("user/blacklist/query", "userId=ann&size=2").await;
    assert_eq!(listed["users"].as_array().unwrap().len(), 2);
    let next = listed["next"].as_str().unwrap();
    let rest = backend.ok("user/blacklist/query", format!("userId=ann&pageToken={next}")).await;
    assert_eq!((&rest["users"], rest.get("next")), (&json!(["bo"]), None));

    backend.ok("user/blacklist/remove", "userId=ann&blackUserId=bo&blackUserId=nobody").await;
    let listed = backend.ok("user/blacklist/query", "userId=ann").await;
    let mut users: Vec<_> =
        listed["users"].as_array().unwrap().iter().map(|user| user.as_str().unwrap()).collect();
    users.sort_unstable();
    assert_eq!(users, ["cy", "di"]);
    assert_eq!(backend.ok("user/blacklist/query", "userId=bo").await["users"], json!([]));
}

#[tokio::test]
async fn the_requests_of_the_acceptance_specs_that_must_fail_do() {
    let backend = Backend::new().await;
    let long = "http://example.org/portrait.png".repeat(212);
    for (path, form) in [
        ("/user/getToken.json", format!("userId={long}&name=a&portraitUri=b")),
        ("/user/refresh.json", format!("userId={long}&name=a&portraitUri=b")),
        ("/user/blacklist/add.json", format!("userId={long}")),
        ("/user/blacklist/remove.json", "userId=ann".to_owned()),
        ("/user/blacklist/query.json", String::new()),
        ("/user/block.json", format!("userId={}&minute=10", &long[..256])),
        ("/user/unblock.json", format!("userId={}", &long[..70])),
    ] {
        let (status, code) = backend.refused(path, form).await;
        assert_eq!(status, 400, "{path}");
        assert!([1002, 1003, 1005].contains(&code), "{path}: {code}");
    }
}
