//! From a connection to a link.
//!
//! ```text
//!   follower (larger number)              arbiter (smaller number)
//!   HYGN, hello ────────────────────────► judges it
//!   judges it ◄──────────────────────────  HYGN, hello
//!   welcome (have I a link with you?) ──► decides: this connection, or the one there is
//!   takes it in ◄────────────────────────  welcome
//! ```
//!
//! Whoever refuses closes the connection and says why. Who dialled plays no part.

use super::{
    event::PeerInfo,
    failure::Failure,
    hello::{FEATURES, Hello, MAGIC, Welcome, body_length, encode},
    lanes::Lane,
    link::{Link, Queues, cut_short, first_bytes},
    member::Member,
    shared::Shared,
};
use crate::{mesh::certs::node_of, model::NodeId};
use quinn::{Connection, RecvStream, SendStream, WriteError};
use rustls::pki_types::CertificateDer;
use std::{sync::Arc, time::Duration};

/// From the end of the handshake to a link.
const PATIENCE: Duration = Duration::from_secs(5);

/// A link that is in the table and does not run yet.
pub(super) struct Established {
    link: Arc<Link>,
    queues: Queues,
    control: (SendStream, RecvStream),
    before: Option<Arc<Link>>,
}

impl Established {
    pub(super) fn peer(&self) -> NodeId {
        self.link.peer.member.node
    }

    /// Runs it to its end.
    pub(super) async fn run(self, shared: Arc<Shared>) {
        self.link.run(shared, self.queues, self.control, self.before).await;
    }
}

/// The node that the peer's certificate names.
pub(super) fn named(connection: &Connection) -> Option<String> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    node_of(chain.first()?)
}

/// Makes a link of a connection. On failure the connection is closed, and the peer told why.
///
/// * `expected`: the node that was dialled, where its name is known.
///
/// # Errors
/// Why it is none.
pub(super) async fn establish(
    shared: &Arc<Shared>,
    connection: &Connection,
    expected: Option<&str>,
) -> Result<Established, Failure> {
    let made = match tokio::time::timeout(PATIENCE, speak(shared, connection, expected)).await {
        Ok(made) => made,
        Err(_) => Err(Failure::Slow),
    };
    made.inspect_err(|why| connection.close(why.code(), &why.reason()))
}

async fn speak(
    shared: &Arc<Shared>,
    connection: &Connection,
    expected: Option<&str>,
) -> Result<Established, Failure> {
    let name = named(connection).ok_or_else(|| Failure::Certificate("it names no node".into()))?;
    if let Some(expected) = expected.filter(|expected| **expected != name) {
        return Err(Failure::WrongName { expected: expected.to_owned(), named: name });
    }
    if shared.is_leaving() {
        return Err(Failure::Leaving);
    }
    let mut out = connection.open_uni().await?;
    let mut begin = MAGIC.to_vec();
    begin.push(Lane::Control.number());
    begin.extend(encode(&shared.hello())?);
    out.write_all(&begin).await.map_err(broken)?;
    let mut control = connection.accept_uni().await?;
    if first_bytes(&mut control).await? != Lane::Control.number() {
        return Err(Failure::Garbage("another lane before the first words"));
    }
    let hello = Hello::read(&body(&mut control).await?, &shared.protocol)?;
    let version = hello.judge(&shared.protocol, &name, shared.clock.now())?;
    let me = &shared.me;
    if *name == *me.name {
        let itself = hello.incarnation == me.incarnation;
        return Err(if itself { Failure::Itself } else { Failure::OwnName(name) });
    }
    let node = NodeId::of(&name);
    if let Some(other) = shared.name_of(node).filter(|other| **other != *name) {
        return Err(Failure::NumberTaken { node: name, other: other.to_string() });
    }
    let Hello { incarnation, features, region, address, url, software, .. } = hello;
    let member = Arc::new(Member {
        node,
        name: name.into(),
        region: region.into(),
        address: address.into(),
        url: url.into(),
        incarnation,
    });
    let known = shared.members.read().get(&node).cloned();
    let linked = shared.links.may_join(&member, known.as_deref())?;
    let info = PeerInfo { member, version, features: features & FEATURES, software: software.into() };
    let (link, queues) = Link::new(shared, info, connection.clone());
    let welcome = Welcome { version, linked };
    let before = if me.node < node {
        let theirs = Welcome::read(&body(&mut control).await?, version)?;
        let before = shared.links.arbitrate(&link, theirs.linked)?;
        let entry = Entry { shared, link: Some(&link), before };
        out.write_all(&encode(&welcome)?).await.map_err(broken)?;
        entry.keep()
    } else {
        out.write_all(&encode(&welcome)?).await.map_err(broken)?;
        Welcome::read(&body(&mut control).await?, version)?;
        shared.links.follow(&link)?
    };
    Ok(Established { link, queues, control: (out, control), before })
}

/// Takes the link out of the table again if its welcome cannot be sent.
struct Entry<'a> {
    shared: &'a Shared,
    link: Option<&'a Link>,
    before: Option<Arc<Link>>,
}

impl Entry<'_> {
    fn keep(mut self) -> Option<Arc<Link>> {
        self.link = None;
        self.before.take()
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.link {
            self.shared.links.remove(link);
        }
        if let Some(before) = &self.before {
            before.replaced.cancel();
        }
    }
}

/// Reads one of the first words.
async fn body(stream: &mut RecvStream) -> Result<Vec<u8>, Failure> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.map_err(cut_short)?;
    let mut body = vec![0; body_length(length)?];
    stream.read_exact(&mut body).await.map_err(cut_short)?;
    Ok(body)
}

fn broken(error: WriteError) -> Failure {
    match error {
        WriteError::ConnectionLost(error) => error.into(),
        _ => Failure::Garbage("the control stream was stopped"),
    }
}
