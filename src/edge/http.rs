//! HTTP routes of the edge, and who may call them from where.

use super::{Edge, assets, dev, encode, poll, relays, ws};
use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, Request, State, WebSocketUpgrade},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

/// Where a connection comes from; the listener puts it into every request.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// Extractor of the client's address.
pub struct Peer(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let address =
            parts.extensions.get::<PeerAddress>().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0.ip());
        Ok(Self(address))
    }
}

pub(super) fn router(edge: &Arc<Edge>) -> Router {
    let clients = Router::new()
        .route("/v1/ws", any(upgrade))
        .route("/v1/poll", post(poll::begin))
        .route("/v1/poll/{sid}", get(poll::ask).post(poll::tell).delete(poll::end))
        .route("/v1/relays", get(all_relays))
        .route("/v1/ping", get(ping))
        .layer(DefaultBodyLimit::max(edge.config.limits.frame))
        .layer(from_fn_with_state(edge.clone(), cors));
    let own = Router::new()
        .route("/v1/mode", get(dev::mode))
        .route("/v1/dev/login", post(dev::login))
        .route("/v1/dev/users", get(dev::users))
        .layer(DefaultBodyLimit::max(4_096));
    clients.merge(own).fallback(get(assets::serve)).with_state(edge.clone())
}

async fn upgrade(
    State(edge): State<Arc<Edge>>,
    Peer(address): Peer,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Some(origin) = headers.get(header::ORIGIN)
        && !allows(&edge, origin, &headers)
    {
        return (StatusCode::FORBIDDEN, "This origin is not among the configured `origins`.\n")
            .into_response();
    }
    let frame = edge.config.limits.frame;
    upgrade
        // What is kept for every idle socket; longer messages grow it for their own time.
        .read_buffer_size(1_024)
        // Each message is a whole outbox chunk: written at once, not gathered.
        .write_buffer_size(0)
        .max_write_buffer_size(edge.config.limits.outbox.saturating_mul(8).max(4 << 20))
        .max_message_size(frame)
        .max_frame_size(frame)
        .on_upgrade(move |socket| ws::run(edge, socket, address))
}

const JSON: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
const NO_STORE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// Nodes that a client can go to.
async fn all_relays(State(edge): State<Arc<Edge>>) -> Response {
    let mut body = Vec::new();
    let mut object = encode::Object::begin(&mut body);
    object.text("node", &edge.config.node);
    encode::list(object.key("relays"), &relays::list(&edge), relays::write);
    object.end();
    ([NO_STORE, JSON], body).into_response()
}

/// As little as can be asked for, so that clients can measure how far they are away.
async fn ping() -> Response {
    let timing = (HeaderName::from_static("timing-allow-origin"), HeaderValue::from_static("*"));
    (StatusCode::NO_CONTENT, [NO_STORE, timing]).into_response()
}

/// Whether a page of `origin` may talk to this node. A page that this node served itself always may.
fn allows(edge: &Edge, origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let own = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = origin.split_once("://").map(|(_, host)| host);
    edge.config.origins.iter().any(|allowed| allowed == "*" || allowed == origin)
        || (host.is_some() && host == own)
        // A page that another node of the service has served.
        || edge.tunnels.nodes().iter().any(|node| !node.url.is_empty() && *node.url == *origin)
}

async fn cors(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    let origin = request
        .headers()
        .get(header::ORIGIN)
        .filter(|origin| allows(&edge, origin, request.headers()))
        .cloned();
    let preflight = request.method() == Method::OPTIONS;
    let mut response =
        if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if preflight {
            headers
                .insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        }
    }
    response
}
