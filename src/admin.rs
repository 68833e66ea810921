//! What operators' tools talk to: health, status, metrics and the wish to drain, without protection, on an address of its own.
//!
//! | path | answers |
//! | --- | --- |
//! | `GET /healthz` | 200 as long as the process serves; else restart it |
//! | `GET /readyz` | 200 when clients may be sent here; 503 and why not while starting, draining or after the store failed |
//! | `GET /metrics` | Prometheus text, version 0.0.4 |
//! | `GET /status` | JSON: this node, the others, how a drain gets on |
//! | `POST /drain` | 202: the node gives everything away and its process ends, as with SIGTERM. `?seconds=60` gives it so long |
//!
//! Pages in browsers reach loopback addresses too, so what changes something is refused to them.

use crate::metrics::Metrics;
use axum::{
    Json, Router,
    extract::Query,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// Longest time that a drain may be given, in seconds.
pub const MAX_DRAIN: u64 = 3_600;

/// A node, as its operator's tools see it.
pub trait Operated: Send + Sync + 'static {
    /// Whether clients may be sent here, or why not.
    fn ready(&self) -> Result<(), String>;
    /// How it is.
    fn status(&self) -> impl Future<Output = impl Serialize + Send> + Send;
    /// Begins to drain, unless it does already; the process ends when that is done.
    ///
    /// * `within`: how long it may take; `None`: what the configuration says.
    fn drain(&self, within: Option<Duration>);
}

#[derive(Deserialize)]
struct Wish {
    seconds: Option<u64>,
}

/// The routes.
pub fn router<N: Operated>(metrics: Arc<Metrics>, node: Arc<N>) -> Router {
    let (asked, told) = (node.clone(), node.clone());
    let readiness = move || {
        let ready = asked.ready();
        async move {
            match ready {
                Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            }
        }
    };
    let numbers = move || {
        let metrics = Arc::clone(&metrics);
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()) }
    };
    let status = move || {
        let node = told.clone();
        async move { Json(node.status().await).into_response() }
    };
    let drain = move |headers: HeaderMap, Query(wish): Query<Wish>| {
        let answer = drain(&*node, &headers, wish.seconds);
        async move { answer }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(numbers))
        .route("/status", get(status))
        .route("/drain", post(drain))
}

fn drain(node: &impl Operated, headers: &HeaderMap, seconds: Option<u64>) -> Response {
    // Browsers send one of these with every POST; tools send neither.
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return (StatusCode::FORBIDDEN, "pages may not drain a node; use `hongyan drain`\n").into_response();
    }
    if let Some(seconds) = seconds.filter(|seconds| *seconds > MAX_DRAIN) {
        let why = format!("seconds={seconds} must be 0 to {MAX_DRAIN}\n");
        return (StatusCode::BAD_REQUEST, why).into_response();
    }
    node.drain(seconds.map(Duration::from_secs));
    (StatusCode::ACCEPTED, "draining\n").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt as _;
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    /// A node that remembers how it was told to drain.
    #[derive(Default)]
    struct Fake {
        drains: Mutex<Vec<Option<Duration>>>,
    }

    impl Operated for Fake {
        fn ready(&self) -> Result<(), String> {
            if self.drains.lock().is_empty() { Ok(()) } else { Err("draining".into()) }
        }
        async fn status(&self) -> impl Serialize + Send {
            json!({ "state": if self.ready().is_ok() { "ready" } else { "draining" } })
        }
        fn drain(&self, within: Option<Duration>) {
            self.drains.lock().push(within);
        }
    }

    async fn send(router: &Router, request: Request<Body>) -> (u16, String, String) {
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let kind = answer.headers().get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap().to_owned());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, kind.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
    }

    async fn ask(router: &Router, path: &str) -> (u16, String, String) {
        send(router, Request::get(path).body(Body::empty()).unwrap()).await
    }

    #[tokio::test]
    async fn a_draining_node_is_healthy_and_not_ready_and_says_why() {
        let metrics = Arc::new(Metrics::default());
        let node = Arc::new(Fake::default());
        let router = router(Arc::clone(&metrics), node.clone());
        assert_eq!(ask(&router, "/readyz").await.0, 200);
        node.drain(None);
        let (status, _, text) = ask(&router, "/readyz").await;
        assert_eq!((status, text.as_str()), (503, "draining\n"));
        assert_eq!(ask(&router, "/healthz").await.0, 200);
        metrics.acks.add(3);
        let (status, kind, text) = ask(&router, "/metrics").await;
        assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
        assert!(text.contains("\nhongyan_acks_total 3\n"));
        assert_eq!(ask(&router, "/other").await.0, 404);
    }

    #[tokio::test]
    async fn a_drain_is_a_post_of_a_tool_with_a_bounded_time() {
        let node = Arc::new(Fake::default());
        let router = router(Arc::default(), node.clone());
        let wish = |uri: &str| Request::post(uri).body(Body::empty()).unwrap();
        assert_eq!(ask(&router, "/drain").await.0, 405);
        for (name, value) in
            [("origin", "http://127.0.0.1:9090"), ("origin", "null"), ("sec-fetch-site", "same-origin")]
        {
            let mut request = wish("/drain");
            request.headers_mut().insert(name, value.parse().unwrap());
            assert_eq!(send(&router, request).await.0, 403, "{name}: {value}");
        }
        for wrong in ["/drain?seconds=3601", "/drain?seconds=-1", "/drain?seconds=soon"] {
            assert_eq!(send(&router, wish(wrong)).await.0, 400, "{wrong}");
        }
        assert_eq!(*node.drains.lock(), []);
        assert_eq!(send(&router, wish("/drain")).await.0, 202);
        assert_eq!(send(&router, wish("/drain?seconds=60")).await.0, 202);
        assert_eq!(*node.drains.lock(), [None, Some(Duration::from_secs(60))]);
        let (status, kind, text) = ask(&router, "/status").await;
        assert_eq!((status, kind.as_str()), (200, "application/json"));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["state"], "draining");
    }
}
