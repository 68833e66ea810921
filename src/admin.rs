//! What operators' tools talk to: health and metrics, without protection, on an address of its own.
//!
//! | path | answers |
//! | --- | --- |
//! | `GET /healthz` | 200 as long as the process serves; else restart it |
//! | `GET /readyz` | 200 when clients may be sent here; 503 and why not while starting, draining or after the store failed |
//! | `GET /metrics` | Prometheus text, version 0.0.4 |

use crate::metrics::Metrics;
use axum::{
    Router,
    http::{StatusCode, header},
    routing::get,
};
use std::sync::Arc;

/// Whether clients may be sent to the node, or why not.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The routes.
pub fn router(metrics: Arc<Metrics>, ready: Ready) -> Router {
    let readiness = move || {
        let ready = Arc::clone(&ready);
        async move {
            match ready() {
                Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            }
        }
    };
    let numbers = move || {
        let metrics = Arc::clone(&metrics);
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()) }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness))
        .route("/metrics", get(numbers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt as _;
    use parking_lot::Mutex;
    use tower::ServiceExt as _;

    async fn ask(router: &Router, path: &str) -> (u16, String, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let kind = answer.headers().get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap().to_owned());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, kind.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_draining_node_is_healthy_and_not_ready_and_says_why() {
        let state = Arc::new(Mutex::new(Ok(())));
        let seen = Arc::clone(&state);
        let metrics = Arc::new(Metrics::default());
        let router = router(Arc::clone(&metrics), Arc::new(move || seen.lock().clone()));
        assert_eq!(ask(&router, "/readyz").await.0, 200);
        *state.lock() = Err("draining".to_owned());
        let (status, _, text) = ask(&router, "/readyz").await;
        assert_eq!((status, text.as_str()), (503, "draining\n"));
        assert_eq!(ask(&router, "/healthz").await.0, 200);
        metrics.acks.add(3);
        let (status, kind, text) = ask(&router, "/metrics").await;
        assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
        assert!(text.contains("\nhongyan_acks_total 3\n"));
        assert_eq!(ask(&router, "/other").await.0, 404);
    }
}
