//! What holds for every call.

use crate::backend::{Backend, FORM, signature};
use axum::{
    body::Body,
    http::{Request, header::CONTENT_TYPE},
};
use hongyan::api::Options;
use std::{num::NonZeroU32, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

#[tokio::test]
async fn what_is_not_there_is_404_with_an_envelope() {
    let backend = Backend::new().await;
    for path in ["/", "/user/getToken", "/user/gettoken.json", "/favicon.ico", "/a/b/c.json"] {
        assert_eq!(backend.refused(path, "").await, (404, 404), "{path}");
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let request = Backend::request("/user/getToken.json", FORM).method(method);
        let (status, body) = backend.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, 404, "{method}");
        assert!(body.contains("\"code\":404") && body.contains("errorMessage"), "{body}");
    }
    let request = Backend::request("/user/nothing.xml", FORM).body(Body::empty()).unwrap();
    let (status, body) = backend.send(request).await;
    assert_eq!(status, 404);
    assert!(body.starts_with("<xml><url>/user/nothing.xml</url><code>404</code>"), "{body}");
}

#[tokio::test]
async fn calls_are_signed() {
    let backend = Backend::new().await;
    let with = async |header: &str, value: &str| {
        let mut request = Backend::request("/user/checkOnline.json", FORM);
        let headers = request.headers_mut().unwrap();
        headers.insert(header.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap());
        let reply = backend.reply(request.body(Body::from("userId=a")).unwrap()).await;
        (reply.status, reply.code())
    };
    assert_eq!(with("X-Request-ID", "0123456789abcdef0123456789abcdef").await, (200, 200));
    assert_eq!(with("Nonce", "other").await, (401, 1004));
    assert_eq!(with("Signature", "").await, (401, 1004));
    assert_eq!(with("App-Key", "other").await, (401, 1001));
    assert_eq!(with("App-Key", "locked").await, (401, 1006));
}

#[tokio::test]
async fn the_prefixed_headers_do_as_well_and_may_come_again() {
    let backend = Backend::new().await;
    for _ in 0..2 {
        let request = Request::post("/user/checkOnline.json")
            .header(CONTENT_TYPE, FORM)
            .header("rc-app-key", crate::backend::KEY)
            .header("rc-nonce", "0.8444218515250481")
            .header("rc-timestamp", "1408710653000")
            .header("rc-signature", signature("0.8444218515250481", "1408710653000"));
        let reply = backend.reply(request.body(Body::from("userId=a")).unwrap()).await;
        assert_eq!(reply.code(), 200);
    }
}

#[tokio::test]
async fn json_does_where_a_form_is_usual_and_a_form_where_json_is() {
    let backend = Backend::new().await;
    let json = r#"{"userId":"a","blackUserId":["b","c"],"unknown":{"x":[1]}}"#;
    let request = Backend::request("/user/blacklist/add.json", "Application/json; charset=UTF-8");
    let reply = backend.reply(request.body(Body::from(json)).unwrap()).await;
    assert_eq!(reply.code(), 200, "{reply:?}");
    let listed = backend.ok("user/blacklist/query", "userId=a").await;
    assert_eq!(listed["users"].as_array().unwrap().len(), 2);
    let request = Backend::request("/user/blacklist/add.json", "application/json");
    let reply = backend.reply(request.body(Body::from("userId=a")).unwrap()).await;
    assert_eq!((reply.status, reply.code()), (400, 1002));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let backend = Backend::new().await;
    let body = |len: usize| format!("junk={}", "x".repeat(len - 5));
    let path = "/user/checkOnline.json";
    assert_eq!(backend.refused(path, body(1 << 20)).await, (400, 1002));
    assert_eq!(backend.refused(path, body((1 << 20) + 1)).await, (400, 1508));
    // Likewise when the length is not told beforehand.
    let pieces = (0..40).map(move |_| Ok::<_, std::io::Error>(body(1 << 16)));
    let stream = Body::from_stream(futures_util::stream::iter(pieces));
    assert_eq!(backend.refused(path, stream).await, (400, 1508));
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let options = Options { body_timeout: Duration::from_millis(20), ..Options::default() };
    let backend = Backend::with(options).await;
    let never = || Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    assert_eq!(backend.refused("/user/checkOnline.json", never()).await, (400, 1002));
    assert_eq!(backend.refused("/nothing.json", never()).await, (404, 404));
}

#[tokio::test]
async fn nothing_at_all_is_1003_only_where_something_is_due() {
    let backend = Backend::new().await;
    assert_eq!(backend.refused("/user/checkOnline.json", "").await, (400, 1003));
    assert_eq!(backend.refused("/user/checkOnline.json", "userId=").await, (400, 1002));
    assert_eq!(backend.refused("//user//checkOnline.json", "userId=").await, (400, 1002));
    assert!(backend.ok("user/block/query", "").await["users"].is_array());
}

#[tokio::test]
async fn a_limit_on_calls_is_kept_when_there_is_one() {
    let options = Options { calls_per_second: NonZeroU32::new(1), ..Options::default() };
    let backend = Backend::with(options).await;
    let path = "/user/checkOnline.json";
    assert_eq!(backend.refused(path, "").await, (400, 1003));
    assert_eq!(backend.refused(path, "").await, (429, 1008));
}

#[tokio::test]
async fn calls_and_refusals_are_counted() {
    let backend = Backend::new().await;
    backend.ok("user/checkOnline", "userId=a").await;
    backend.refused("/user/checkOnline.json", "").await;
    let metrics = backend.hub.metrics();
    assert_eq!(metrics.api_calls.get("user/checkOnline").get(), 2);
    assert_eq!(metrics.api_refused.get("1003").get(), 1);
}

/// A client that writes all of its body before it reads would get a reset connection instead of the answer if the server
/// answered and closed without taking the body.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_writing() {
    let backend = Backend::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = axum::serve(listener, backend.router.clone()).into_future();
    let server = tokio::spawn(server);
    for (path, want) in [("/nothing.json", "404"), ("/user/info.json", "1004")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = 3 << 20;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; length]).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains(&format!("\"code\":{want},")), "{answer}");
    }
    server.abort();
}
