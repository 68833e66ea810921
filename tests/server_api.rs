//! The server API through its router.

use axum::{
    Router,
    body::Body,
    http::{Request, header::CONTENT_TYPE},
};
use hongyan::{
    api::{ApiState, Options, auth, router},
    apps::{App, Apps},
    hub::Hub,
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use std::{fmt::Write as _, num::NonZeroU32, sync::Arc};
use tower::ServiceExt as _;

const KEY: &str = "app1";
const SECRET: &str = "s3cr3t-example";
const FORM: &str = "application/x-www-form-urlencoded";

/// An app's back end.
struct Backend(Router);

impl Backend {
    fn new(options: Options) -> Self {
        let apps = Arc::new(Apps::new([App::new(KEY, SECRET)]).unwrap());
        Self(router(ApiState { hub: Hub {}, apps, options }))
    }

    fn request(path: &str, media: &str) -> axum::http::request::Builder {
        let mut signature = String::new();
        for byte in auth::signature(SECRET, "14314", "1700000000") {
            write!(signature, "{byte:02x}").unwrap();
        }
        Request::post(path)
            .header(CONTENT_TYPE, media)
            .header("App-Key", KEY)
            .header("Nonce", "14314")
            .header("Timestamp", "1700000000")
            .header("Signature", signature)
    }

    async fn send(&self, request: Request<Body>) -> (u16, String) {
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The status and the envelope of a call with a form.
    async fn post(&self, path: &str, form: impl Into<Body>) -> (u16, Value) {
        let request = Self::request(path, FORM).body(form.into()).unwrap();
        let (status, body) = self.send(request).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn refused(&self, path: &str, form: impl Into<Body>) -> (u16, u64) {
        let (status, envelope) = self.post(path, form).await;
        assert!(envelope["errorMessage"].is_string(), "{envelope}");
        assert_eq!(envelope["url"], path);
        (status, envelope["code"].as_u64().unwrap())
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_with_an_envelope() {
    let backend = Backend::new(Options::default());
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
    let backend = Backend::new(Options::default());
    let mut request = Backend::request("/user/info.json", FORM).body(Body::from("userId=a")).unwrap();
    request.headers_mut().insert("Nonce", "other".parse().unwrap());
    let (status, body) = backend.send(request).await;
    assert_eq!(status, 401);
    assert!(body.contains("\"code\":1004"), "{body}");
    let mut request = Backend::request("/user/info.json", FORM).body(Body::from("userId=a")).unwrap();
    request.headers_mut().insert("App-Key", "other".parse().unwrap());
    let (status, body) = backend.send(request).await;
    assert_eq!(status, 401);
    assert!(body.contains("\"code\":1001"), "{body}");
}

#[tokio::test]
async fn bodies_are_bounded() {
    let backend = Backend::new(Options::default());
    let body = |len: usize| {
        let mut body = String::from("junk=");
        body.push_str(&"x".repeat(len - body.len()));
        body
    };
    let path = "/user/checkOnline.json";
    assert_eq!(backend.refused(path, body(1 << 20)).await, (400, 1002));
    assert_eq!(backend.refused(path, body((1 << 20) + 1)).await, (400, 1508));
    // Likewise when the length is not told beforehand.
    let pieces = (0..40).map(move |_| Ok::<_, std::io::Error>(body(1 << 16)));
    let stream = Body::from_stream(futures_util::stream::iter(pieces));
    assert_eq!(backend.refused(path, stream).await, (400, 1508));
}

#[tokio::test]
async fn nothing_at_all_where_something_is_due_is_1003() {
    let backend = Backend::new(Options::default());
    assert_eq!(backend.refused("/user/checkOnline.json", "").await, (400, 1003));
    assert_eq!(backend.refused("/user/checkOnline.json", "userId=").await, (400, 1002));
    assert_eq!(backend.refused("//user//checkOnline.json", "userId=").await, (400, 1002));
}

#[tokio::test]
async fn a_limit_on_calls_is_kept_when_there_is_one() {
    let options = Options { calls_per_second: NonZeroU32::new(1), ..Options::default() };
    let backend = Backend::new(options);
    let path = "/user/checkOnline.json";
    assert_eq!(backend.refused(path, "").await, (400, 1003));
    assert_eq!(backend.refused(path, "").await, (429, 1008));
}
