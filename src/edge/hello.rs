//! Letting a session in: `hello` → token → census → relay.

use super::{
    Edge,
    codes::Code,
    frames::{RawFrame, decode},
    session::{Draft, Session, Transport},
    tunnel::near,
};
use crate::{
    model::{NodeId, Stamp, check_id},
    relay::{Input, Open},
    token::{self, TokenError},
};
use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
};

/// A `hello` that is not taken.
#[derive(Debug)]
pub struct Rejected {
    /// The code.
    pub code: Code,
    /// What to tell the client.
    pub msg: String,
}

impl Rejected {
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into() }
    }
}

/// Takes the first message of a connection, which must be one `hello`, and asks the relay to let the session in. Its
/// answer comes through the session's outbox.
///
/// # Errors
/// Why the session was not even asked for.
pub async fn hello(
    edge: &Arc<Edge>,
    text: &str,
    transport: Transport,
    address: IpAddr,
) -> Result<Arc<Session>, Rejected> {
    let mut frames = decode(text).map_err(|bad| Rejected::new(Code::BadFrame, bad.to_string()))?;
    let frame = match (frames.pop(), frames.is_empty()) {
        (Some(Ok(frame)), true) if frame.t == "hello" => frame,
        (Some(Err(bad)), true) => return Err(Rejected::new(Code::BadFrame, bad.why)),
        _ => return Err(Rejected::new(Code::BadFrame, "the first message must be one hello frame")),
    };
    if edge.draining.load(Ordering::Relaxed) {
        return Err(Rejected::new(Code::Busy, "this node is stopping; connect again in a moment"));
    }
    if !edge.hub.is_open() {
        return Err(Rejected::new(Code::Busy, "this node has just started; connect again in a moment"));
    }
    let (draft, open) = draft(edge, &frame, transport, address)?;
    enter(edge, draft, open).await
}

/// Counts a session in and asks the relay to let it in.
///
/// # Errors
/// Why it was not even asked for.
pub async fn enter(edge: &Arc<Edge>, draft: Draft, open: Open) -> Result<Arc<Session>, Rejected> {
    let transport = draft.transport;
    let user = draft.user.clone();
    let profile = edge.hub.read(move |store| store.profile(&user)).await.map_err(|error| {
        tracing::error!(%error, "a profile cannot be read");
        Rejected::new(Code::Internal, "the store cannot be read")
    })?;
    let session = Session::new(edge, Draft { profile, ..draft });
    edge.census.enter(&session).map_err(|too_many| Rejected::new(Code::TooMany, too_many.to_string()))?;
    edge.hub.metrics().sessions.get(transport.word()).inc();
    edge.hub.metrics().sessions_opened.get(transport.word()).inc();
    let open = Open { session: session.id, ..open };
    if edge.me() != NodeId::LOCAL {
        session.asks(open.clone());
    }
    // A client that goes while the queue is full takes the request with it.
    let left = Unasked(Some(session.clone()));
    let asked = edge.hub.open(open, session.clone()).await;
    left.was_asked();
    if asked.is_err() {
        leave(&session);
        return Err(Rejected::new(Code::Busy, "this node is stopping; connect again in a moment"));
    }
    Ok(session)
}

/// A session that was counted in; counted out again when the relay was not asked for it.
struct Unasked(Option<Arc<Session>>);

impl Unasked {
    fn was_asked(mut self) {
        self.0 = None;
    }
}

impl Drop for Unasked {
    fn drop(&mut self) {
        if let Some(session) = self.0.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            leave(&session);
        }
    }
}

fn draft(
    edge: &Edge,
    frame: &RawFrame<'_>,
    transport: Transport,
    address: IpAddr,
) -> Result<(Draft, Open), Rejected> {
    match frame.v {
        Some(1) => {}
        Some(v) => {
            return Err(Rejected::new(
                Code::UnsupportedVersion,
                format!("version {v}; this server speaks version 1"),
            ));
        }
        None => return Err(Rejected::new(Code::BadFrame, "v is missing")),
    }
    check_id(&frame.device).map_err(|bad| Rejected::new(Code::BadFrame, format!("device {bad}")))?;
    let window = match frame.window {
        None => edge.config.limits.window as u16,
        Some(window) if (1..=1_024).contains(&window) => window,
        Some(_) => return Err(Rejected::new(Code::BadFrame, "window must be 1 to 1024")),
    };
    let apps = &edge.apps;
    let claims =
        token::verify(&frame.token, edge.hub.now(), |app| apps.secret(app)).map_err(|error| match error {
            TokenError::Expired { .. } => Rejected::new(Code::TokenExpired, error.to_string()),
            _ => Rejected::new(Code::BadToken, error.to_string()),
        })?;
    let device: Arc<str> = (*frame.device).into();
    let draft = Draft {
        user: claims.user.clone(),
        device: device.clone(),
        transport,
        address,
        window: window.into(),
        profile: Default::default(),
    };
    let open = Open {
        session: crate::relay::SessionId(0),
        user: claims.user,
        device,
        token_issued: claims.issued,
        cursor: frame.cursor.map(Stamp),
        reign: frame.epoch.parse().ok(),
        window,
        delivered: frame.delivered,
        carried: false,
    };
    Ok((draft, open))
}

/// A session's transport is gone for good.
pub fn leave(session: &Session) {
    let edge = &session.edge;
    if !edge.census.leave(session) {
        return;
    }
    // First, so that whoever has it carried just now finds it over.
    session.end(super::session::End::Leaving, "");
    near::leave(session);
    edge.hub.metrics().sessions.get(session.transport.word()).dec();
    let reason = session.ended().map_or("", super::session::End::word);
    edge.hub.metrics().sessions_ended.get(reason).inc();
    let close = |session| vec![Input::Close { session }];
    if !edge.hub.submit_now(close(session.id)) {
        let (hub, id) = (edge.hub.clone(), session.id);
        // Whoever calls may be gone before there is room. A node that is stopping forgets its sessions anyway.
        edge.tracker.spawn(async move { hub.submit(close(id)).await });
    }
}
