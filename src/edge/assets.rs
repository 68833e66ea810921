//! The chat page and the SDK, embedded in the binary.

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, sync::LazyLock};

static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// What the page may load and do: its own scripts and styles, pictures and sounds of messages, nodes of any region.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob: http: https:; \
    media-src 'self' data: blob:; connect-src *; frame-ancestors 'self'; base-uri 'none'; form-action 'self'";

struct Asset {
    body: &'static [u8],
    kind: &'static str,
    tag: HeaderValue,
}

static ASSETS: LazyLock<HashMap<&'static str, Asset>> = LazyLock::new(|| {
    let asset = |(name, body): &(&'static str, &'static [u8])| {
        let digest = Sha256::digest(body);
        let tag: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let tag = HeaderValue::from_str(&format!("\"{tag}\"")).unwrap_or(HeaderValue::from_static("\"-\""));
        (*name, Asset { body, kind: kind(name), tag })
    };
    FILES.iter().map(asset).collect()
});

fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        _ => "application/json",
    }
}

/// Answers with the file that the path names; `/` is the chat page.
pub async fn serve(uri: Uri, headers: HeaderMap) -> Response {
    let name = if uri.path() == "/" { "/index.html" } else { uri.path() };
    let Some(asset) = ASSETS.get(name) else {
        return (StatusCode::NOT_FOUND, "There is nothing here.\n").into_response();
    };
    let fresh = headers.get(header::IF_NONE_MATCH).is_some_and(|tag| *tag == asset.tag);
    let mut response = if fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Bytes::from_static(asset.body).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(header::ETAG, asset.tag.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if name.starts_with("/sdk/") {
        // Pages of other hosts load the SDK as modules, which needs this whatever `origins` says: it is no secret.
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    response
}
