//! The login by name alone, for local mode.
//!
//! Whoever reaches it can be anybody, so it exists only where the configuration allows it (a loopback address), and
//! answers only to the node's own page under a loopback name: a foreign page open in the same browser gets nothing, whatever
//! name it has pointed at this machine.

use super::{Edge, encode, http::Peer};
use crate::{
    model::{UserKey, check_id},
    relay::{Command, Directive},
    token::{self, Claims},
};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use std::{net::IpAddr, sync::Arc};

/// People listed at the most.
const MAX_LIST: usize = 200;

/// `GET /v1/mode`
pub async fn mode(State(edge): State<Arc<Edge>>, Peer(address): Peer, headers: HeaderMap) -> Response {
    if !edge.config.dev_login_on() || !is_own_page(address, &headers) {
        return Json(json!({ "dev_login": false })).into_response();
    }
    let app = first_app(&edge).map(|(key, _)| key.to_string()).unwrap_or_default();
    Json(json!({ "dev_login": true, "app": app })).into_response()
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

/// `POST /v1/dev/login`
pub async fn login(
    State(edge): State<Arc<Edge>>,
    Peer(address): Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !edge.config.dev_login_on() || !is_own_page(address, &headers) {
        return wrong(StatusCode::NOT_FOUND, "not_found", "the login by name is off; give the page a token");
    }
    let Ok(Login { name }) = serde_json::from_slice(&body) else {
        return wrong(StatusCode::BAD_REQUEST, "bad_frame", "the body must be {\"name\":\"…\"}");
    };
    let name = name.trim();
    let id = name.to_lowercase();
    if let Err(bad) = check_id(&id) {
        return wrong(StatusCode::BAD_REQUEST, "bad_frame", &format!("the name {bad}"));
    }
    let Some((app, secret)) = first_app(&edge) else {
        return wrong(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no app; make one with `hongyan app create`",
        );
    };
    let Ok(user) = UserKey::new(&app, &id) else {
        return wrong(StatusCode::BAD_REQUEST, "bad_frame", "the name cannot be used");
    };
    let put = Directive::PutUser { name: Some(name.into()), portrait: None, create: true };
    if let Err(why) = edge.hub.ask(user.clone(), Command::Direct(put)).await {
        return wrong(StatusCode::SERVICE_UNAVAILABLE, "busy", &why.to_string());
    }
    let token = token::issue(&secret, &Claims { user, issued: edge.hub.now(), expires: None });
    Json(json!({ "userId": id, "name": name, "token": token })).into_response()
}

/// `GET /v1/dev/users`
pub async fn users(State(edge): State<Arc<Edge>>, Peer(address): Peer, headers: HeaderMap) -> Response {
    if !edge.config.dev_login_on() || !is_own_page(address, &headers) {
        return wrong(StatusCode::NOT_FOUND, "not_found", "the login by name is off");
    }
    let Some((app, _)) = first_app(&edge) else { return Json(json!({ "users": [] })).into_response() };
    let read = edge.hub.read(move |store| {
        let users = store.users(&app, "", MAX_LIST)?;
        users
            .into_iter()
            .map(|user| store.profile(&user).map(|profile| (user, profile)))
            .collect::<Result<Vec<_>, _>>()
    });
    let found = match read.await {
        Ok(found) => found,
        Err(error) => {
            tracing::error!(%error, "users cannot be read");
            return wrong(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the store cannot be read");
        }
    };
    let online = match found.first() {
        Some((first, _)) => {
            let all = found.iter().map(|(user, _)| user.clone()).collect();
            match edge.hub.ask(first.clone(), Command::Online(all)).await {
                Ok(crate::relay::Answer::Users(online)) => online,
                _ => Vec::new(),
            }
        }
        None => Vec::new(),
    };
    let list: Vec<_> = found
        .iter()
        .map(|(user, profile)| {
            let here = online.iter().any(|id| **id == *user.id());
            json!({ "id": user.id(), "name": &*profile.name, "portrait": &*profile.portrait, "online": here })
        })
        .collect();
    Json(json!({ "users": list })).into_response()
}

/// The app whose users the login by name makes: the first by key that is not locked.
fn first_app(edge: &Edge) -> Option<(Arc<str>, Arc<str>)> {
    let apps = edge.apps.now();
    let app = apps.iter().filter(|app| !app.disabled).min_by(|a, b| a.key.cmp(&b.key))?;
    Some((app.key.clone(), app.secret.reveal().clone()))
}

/// Whether the request comes from this machine, to a loopback name, and from this node's own page if from a page.
fn is_own_page(address: IpAddr, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let Some(host) = text(header::HOST) else { return false };
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, port)| if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host });
    let loopback = name == "localhost"
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let own =
        text(header::ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, of)| of == host));
    address.to_canonical().is_loopback() && loopback && own
}

fn wrong(status: StatusCode, code: &str, msg: &str) -> Response {
    let mut body = Vec::new();
    encode::error(&mut body, None, code, msg, None);
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_the_nodes_own_page_on_this_machine_may_log_in_by_name() {
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        for host in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"] {
            assert!(is_own_page(here, &headers(&[("host", host)])), "{host}");
        }
        let own = [("host", "localhost:8080"), ("origin", "http://localhost:8080")];
        assert!(is_own_page(here, &headers(&own)));
        let foreign = [("host", "localhost:8080"), ("origin", "http://evil.example")];
        assert!(!is_own_page(here, &headers(&foreign)));
        assert!(!is_own_page(here, &headers(&[("host", "rebound.example:8080")])));
        assert!(!is_own_page("192.0.2.1".parse().unwrap(), &headers(&[("host", "localhost:8080")])));
        assert!(!is_own_page(here, &headers(&[])));
    }
}
