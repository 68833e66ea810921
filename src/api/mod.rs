//! Floor 4: the server API, which apps' back ends call over HTTP.
//!
//! Purpose: take the calls of back ends that were written for RongCloud's server API, as its SDKs put them on the wire,
//! and turn them into questions to the relay.
//! Flow: path → endpoint; headers → app ([`auth`]); body → [`params::Params`] ([`body`]) → typed call (`Endpoint::parse`,
//! pure) → the relay (`Endpoint::run`) → envelope ([`reply`]).
//! Invariants: every answer is an envelope, also to nonsense; a caller's mistake is never a 5xx; what was answered
//! with 200 is durable (P1). Neither secrets, tokens nor contents are logged.

pub mod auth;
mod blocks;
pub mod body;
mod endpoint;
pub mod error;
pub mod params;
mod rate;
mod recall;
pub mod reply;
mod send;
pub mod time;
mod users;

use crate::{
    apps::{App, SharedApps},
    config::{ApiConfig, TokenConfig},
    hub::Hub,
    model::Stamp,
};
use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{HeaderMap, Method, header::CONTENT_TYPE, request::Parts},
    response::Response,
};
use body::{Encoding, MAX_BODY};
use bytes::{Bytes, BytesMut};
use endpoint::{Context, Start, Target};
use error::{ApiError, Code};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use rate::Rates;
use reply::Fields;
use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

/// Settings of the server API.
#[derive(Clone, Debug)]
pub struct Options {
    /// Minutes east of UTC of the times in answers. Default: 480, as old applications expect.
    pub utc_offset: i32,
    /// How far a call's timestamp may be from this node's clock. Default: `None`, any distance; a limit locks out SDKs that
    /// make the timestamp once when they start.
    pub timestamp_skew: Option<Duration>,
    /// How long a new token is good. Default: `None`, until it is revoked.
    pub token_lifetime: Option<Duration>,
    /// Calls a second that an app may make, and as many at once. Default: `None`, no limit.
    pub calls_per_second: Option<NonZeroU32>,
    /// How long a body may take to arrive. Default: 30 s.
    pub body_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            utc_offset: 480,
            timestamp_skew: None,
            token_lifetime: None,
            calls_per_second: None,
            body_timeout: Duration::from_secs(30),
        }
    }
}

impl Options {
    /// What the configuration says.
    #[must_use]
    pub fn of(api: &ApiConfig, tokens: &TokenConfig) -> Self {
        const DAY: u64 = 86_400;
        let days = u64::from(tokens.lifetime);
        Self {
            utc_offset: i32::from(api.timezone) * 60,
            timestamp_skew: Some(api.timestamp_skew).filter(|skew| !skew.is_zero()),
            token_lifetime: (days > 0).then(|| Duration::from_secs(days * DAY)),
            calls_per_second: NonZeroU32::new(api.calls_per_second),
            ..Self::default()
        }
    }
}

/// What the server API works with.
#[derive(Clone)]
pub struct ApiState {
    /// The way to the relay and the store.
    pub hub: Hub,
    /// The apps that may call.
    pub apps: SharedApps,
    /// Settings.
    pub options: Options,
}

/// The server API. It answers every path, with an envelope that says 404 where it has nothing; to serve it beside other
/// routes, make it their fallback service.
pub fn router(state: ApiState) -> Router {
    let door = Door {
        apps: state.apps,
        rates: state.options.calls_per_second.map(Rates::new),
        options: Arc::new(state.options),
    };
    let api = Arc::new(Api { hub: state.hub, door });
    Router::new().fallback(handle).with_state(api)
}

struct Api {
    hub: Hub,
    door: Door,
}

async fn handle(State(api): State<Arc<Api>>, request: Request) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let (format, target) = endpoint::locate(parts.uri.path());
    let outcome = api.answer(&parts, body, target).await;
    let metrics = api.hub.metrics();
    if let Some(target) = target {
        metrics.api_calls.get(target.name).inc();
    }
    if let Err(error) = &outcome {
        metrics.api_refused.get(error.code.numbers().2).inc();
    }
    log(&parts, started, outcome.as_ref().err());
    reply::respond(format, parts.uri.path(), outcome)
}

impl Api {
    async fn answer(&self, parts: &Parts, body: Body, target: Option<Target>) -> Result<Fields, ApiError> {
        let options = &self.door.options;
        let admitted = target
            .filter(|_| parts.method == Method::POST)
            .ok_or_else(|| ApiError::new(Code::NotFound, "there is no such endpoint."))
            .and_then(|target| Ok((target.start, self.door.admit(&parts.headers, self.hub.now())?)));
        let (start, app) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                drain(body, options.body_timeout).await;
                return Err(error);
            }
        };
        let bytes = collect(body, options.body_timeout).await?;
        let context = Context { hub: self.hub.clone(), options: options.clone(), app };
        let call = prepare(start, context, &parts.headers, &bytes)?;
        drop(bytes);
        call.await
    }
}

/// Who may come in.
struct Door {
    apps: SharedApps,
    rates: Option<Rates>,
    options: Arc<Options>,
}

impl Door {
    fn admit(&self, headers: &HeaderMap, now: Stamp) -> Result<App, ApiError> {
        let apps = self.apps.now();
        let app = auth::admit(headers, &apps, now, self.options.timestamp_skew)?;
        match &self.rates {
            Some(rates) if !rates.allow(&app.key, now) => {
                Err(ApiError::new(Code::TooOften, "the app calls too often."))
            }
            _ => Ok(app.clone()),
        }
    }
}

/// Reads and checks the parameters.
fn prepare(
    start: Start,
    context: Context,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<BoxFuture<'static, Result<Fields, ApiError>>, ApiError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let params = body::decode(Encoding::of(content_type), bytes)?;
    start(context, &params).map_err(|error| match error.code {
        Code::Missing if params.is_blank() => {
            ApiError::new(Code::NoBody, format!("no POST data; {}", error.message))
        }
        _ => error,
    })
}

/// The whole body, up to [`MAX_BODY`].
async fn collect(mut body: Body, timeout: Duration) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::new(Code::BodyTooLarge, "the body is over 1 MiB.");
    let read = async {
        if body.size_hint().lower() > MAX_BODY as u64 {
            return Err(too_large());
        }
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::new(Code::Parameter, "the body broke off."))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > MAX_BODY {
                return Err(too_large());
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    };
    let outcome = tokio::time::timeout(timeout, read)
        .await
        .unwrap_or_else(|_| Err(ApiError::new(Code::Parameter, "the body took too long to arrive.")));
    if matches!(&outcome, Err(error) if error.code == Code::BodyTooLarge) {
        drain(body, timeout).await;
    }
    outcome
}

/// Takes a body and throws it away, for a caller who is still writing would not read the refusal. Not for long: what comes
/// after some bytes more finds a closed connection.
async fn drain(mut body: Body, timeout: Duration) {
    const DRAIN: usize = 8 * MAX_BODY;
    let read = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > DRAIN {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(timeout.min(Duration::from_secs(5)), read).await;
}

fn log(parts: &Parts, started: Instant, error: Option<&ApiError>) {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let short = |text, max| str::get(text, ..max).unwrap_or(text);
    let app = header("app-key").or_else(|| header("rc-app-key"));
    let app = app.map_or("-", |app| short(app, 64));
    let request = header("x-request-id").map_or("-", |id| short(id, 36));
    let path = short(parts.uri.path(), 64);
    let ms = started.elapsed().as_millis();
    let Some(error) = error else {
        tracing::debug!(app, path, request, ms, code = 200, "server api");
        return;
    };
    let (code, ..) = error.code.numbers();
    match error.code {
        Code::Internal => tracing::error!(app, path, request, ms, code, %error, "server api"),
        // Anybody who is not an app's back end can make as many of these as he likes.
        Code::NotFound | Code::UnknownApp | Code::Signature => {
            tracing::debug!(app, path, request, ms, code, %error, "server api");
        }
        _ => tracing::info!(app, path, request, ms, code, %error, "server api"),
    }
}
