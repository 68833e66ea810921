//! Catching up: sends a session what stands in the store, then asks the relay to let it go live.
//!
//! A task that lives only while a session is behind, so that an idle session costs none. It sends a page when there
//! is room and the client has acked enough, so a slow consumer costs a bounded window and no memory.

use super::{
    codes::Code,
    encode,
    session::{End, Session},
};
use crate::relay::Input;
use std::sync::Arc;

/// Bytes of content after which a page ends.
const PAGE_BYTES: usize = 64 * 1_024;

pub(super) async fn read_on(session: Arc<Session>) {
    loop {
        let Some(after) = wait_for_room(&session).await else { return };
        let user = session.user.clone();
        let limit = session.window;
        let page = session.edge.hub.read(move |store| store.entries(&user, after, limit, PAGE_BYTES)).await;
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(user = ?session.user, %error, "a mailbox cannot be read");
                return session.end(End::Code(Code::Internal), "the mailbox cannot be read");
            }
        };
        session.edge.hub.metrics().entries_paged.add(page.entries.len() as u64);
        for entry in page.entries {
            let mut state = session.state.lock();
            let prev = std::mem::replace(&mut state.sent, entry.pos);
            state.paged.push_back(entry.pos);
            drop(state);
            session.write(|out| encode::entry(out, &session.user, prev, &entry));
        }
        if !page.more {
            // Rows whose message retention took are passed over: the gate is about positions, not messages.
            let at = {
                let mut state = session.state.lock();
                state.sent = state.sent.max(page.last);
                state.sent
            };
            let attach = Input::Attach { session: session.id, at };
            // A node that is stopping needs no session to go live.
            let _ = session.edge.hub.submit(vec![attach]).await;
            return;
        }
    }
}

/// Waits until the client has acked enough and its outbox has room; gives the position to read after. `None`: the
/// session is over.
async fn wait_for_room(session: &Session) -> Option<crate::model::Stamp> {
    loop {
        {
            let state = session.state.lock();
            if state.end.is_some() {
                return None;
            }
            let room = state.outbox.bytes() <= session.edge.config.limits.outbox / 2;
            if room && state.acked >= state.gate && state.paged.len() < session.window {
                return Some(state.sent);
            }
        }
        session.room.notified().await;
    }
}
