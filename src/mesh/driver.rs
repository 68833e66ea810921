//! The tasks of a mesh: taking connections, dialling, membership, certificates.

use super::{
    dial::{Attempt, Target},
    establish::{Established, establish, named},
    event::{Event, EventSender},
    failure::Failure,
    shared::Shared,
    swim::{Swim, SwimInput},
    transport,
};
use crate::model::NodeId;
use parking_lot::Mutex;
use quinn::Incoming;
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

/// Connections that are not links yet and come from outside.
const MAX_STRANGERS: usize = 128;
/// The same from one network address, so that no one address keeps all others out.
const MAX_PER_ADDRESS: usize = 16;
/// From a first packet to the end of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// What a node is called in the handshake; nobody looks at it.
const SERVER_NAME: &str = "node.hongyan";

fn joined(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!("a link broke off: {error}");
    }
}

/// Waits until all links have told their end.
async fn last_words(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        joined(ended);
    }
}

/// Takes connections from outside.
pub(super) async fn accept(shared: Arc<Shared>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let strangers = Arc::new(Strangers::default());
    loop {
        let incoming = tokio::select! {
            () = stop.cancelled() => break,
            incoming = shared.endpoint.accept() => incoming,
            Some(ended) = connections.join_next() => {
                joined(ended);
                continue;
            }
        };
        let Some(incoming) = incoming else { break };
        if shared.is_leaving() {
            incoming.refuse();
            continue;
        }
        // Many at once may come from addresses that are not theirs.
        if strangers.are_many() && incoming.may_retry() {
            let _ = incoming.retry();
            continue;
        }
        let Some(stranger) = strangers.enter(incoming.remote_address().ip()) else {
            debug!(address = %incoming.remote_address(), "too many handshakes");
            incoming.refuse();
            continue;
        };
        connections.spawn(welcome(shared.clone(), incoming, stranger));
    }
    last_words(connections).await;
}

/// Connections that are not links yet, by address.
#[derive(Default)]
struct Strangers(Mutex<HashMap<IpAddr, usize>>);

impl Strangers {
    fn are_many(&self) -> bool {
        self.0.lock().values().sum::<usize>() >= MAX_STRANGERS / 2
    }

    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Stranger> {
        let mut all = self.0.lock();
        if all.values().sum::<usize>() >= MAX_STRANGERS
            || all.get(&address).is_some_and(|there| *there >= MAX_PER_ADDRESS)
        {
            return None;
        }
        *all.entry(address).or_default() += 1;
        Some(Stranger(self.clone(), address))
    }
}

/// One of them, until it is dropped.
struct Stranger(Arc<Strangers>, IpAddr);

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut all = self.0.0.lock();
        if let Some(there) = all.get_mut(&self.1) {
            *there -= 1;
            if *there == 0 {
                all.remove(&self.1);
            }
        }
    }
}

async fn welcome(shared: Arc<Shared>, incoming: Incoming, stranger: Stranger) {
    let address = incoming.remote_address();
    let connection = match incoming.accept() {
        Ok(connecting) => tokio::time::timeout(HANDSHAKE, connecting).await,
        Err(error) => Ok(Err(error)),
    };
    let made = match connection {
        Ok(Ok(connection)) => {
            let made = establish(&shared, &connection, None).await;
            made.map_err(|why| (named(&connection), why))
        }
        Ok(Err(error)) => Err((None, error.into())),
        Err(_) => Err((None, Failure::Slow)),
    };
    drop(stranger);
    match made {
        Ok(established) => {
            let (peer, start) = (established.peer(), Instant::now());
            established.run(shared.clone()).await;
            lost(&shared, peer, None, start);
        }
        Err((name, why)) => {
            // Ports of strangers change, and each would be logged.
            let peer = name.unwrap_or_else(|| format!("at {}", address.ip()));
            shared.failed(&peer, &address.to_string(), &why);
        }
    }
}

fn lost(shared: &Shared, peer: NodeId, target: Option<Target>, start: Instant) {
    let now = Instant::now();
    shared.dialler.lock().lost(now, peer, target, now.duration_since(start));
    shared.wake.notify_one();
}

/// Dials what is to be dialled.
pub(super) async fn dial(shared: Arc<Shared>, stop: CancellationToken) {
    let mut attempts = JoinSet::new();
    loop {
        let now = Instant::now();
        let linked = |node| shared.links.get(node).is_some();
        let (due, deadline) = if shared.is_leaving() {
            (Vec::new(), None)
        } else {
            let mut dialler = shared.dialler.lock();
            (dialler.due(now, linked), dialler.deadline(linked))
        };
        for attempt in due {
            attempts.spawn(attempted(shared.clone(), attempt));
        }
        let next = deadline.unwrap_or_else(|| now + Duration::from_secs(60));
        tokio::select! {
            () = stop.cancelled() => break,
            () = shared.wake.notified() => {}
            () = tokio::time::sleep_until(next.into()) => {}
            Some(ended) = attempts.join_next() => joined(ended),
        }
    }
    last_words(attempts).await;
}

/// Marks a target as free again, in whatever way the attempt ends.
struct Busy<'a>(&'a Shared, Target);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.dialler.lock().free(self.1);
        self.0.wake.notify_one();
    }
}

/// One attempt, and the link that it makes to its end.
///
/// A name may stand for several nodes, this one among them, so its addresses are tried until one makes a link.
async fn attempted(shared: Arc<Shared>, attempt: Attempt) {
    let Attempt { target, address, expected } = attempt;
    let _busy = Busy(&shared, target);
    let mut last = Failure::Unreachable(format!("{address} has no address of the kind that mesh.listen has"));
    let found = match look_up(&shared, &address).await {
        Ok(found) => found,
        Err(why) => {
            last = why;
            Vec::new()
        }
    };
    let mut name = None;
    for found in found {
        match reach(&shared, found, expected.as_deref()).await {
            Ok(established) => {
                let (peer, start) = (established.peer(), Instant::now());
                shared.dialler.lock().linked(target, peer);
                established.run(shared.clone()).await;
                lost(&shared, peer, Some(target), start);
                return;
            }
            Err((named, why)) => (name, last) = (named, why),
        }
        if last == Failure::Duplicate {
            break;
        }
    }
    let peer = expected.as_deref().or(name.as_deref()).unwrap_or(&address);
    shared.failed(peer, &address, &last);
    let mut dialler = shared.dialler.lock();
    if let Some(name) = name.filter(|_| last == Failure::Duplicate) {
        dialler.found(target, NodeId::of(&name));
    }
    dialler.failed(Instant::now(), target, last);
}

/// The addresses of `address` to which this node can send.
async fn look_up(shared: &Shared, address: &str) -> Result<Vec<SocketAddr>, Failure> {
    let found = tokio::time::timeout(HANDSHAKE, tokio::net::lookup_host(address)).await;
    let found = found.map_err(|_| Failure::Unreachable(format!("{address} is not found in time")))?;
    let found = found.map_err(|error| Failure::Unreachable(format!("{address} is not found: {error}")))?;
    let v4_only = shared.endpoint.local_addr().is_ok_and(|local| local.is_ipv4());
    Ok(found.filter(|found| !v4_only || found.is_ipv4()).take(MAX_ADDRESSES).collect())
}

/// Makes a link with whoever answers at `to`; on failure also says who that was, where it is known.
async fn reach(
    shared: &Arc<Shared>,
    to: SocketAddr,
    expected: Option<&str>,
) -> Result<Established, (Option<String>, Failure)> {
    let client = shared.client.read().clone();
    let connecting = shared.endpoint.connect_with(client, to, SERVER_NAME);
    let connecting = connecting.map_err(|error| (None, Failure::Unreachable(error.to_string())))?;
    let connection = match tokio::time::timeout(HANDSHAKE, connecting).await {
        Ok(connection) => connection.map_err(|error| (None, error.into()))?,
        Err(_) => return Err((None, Failure::Slow)),
    };
    establish(shared, &connection, expected).await.map_err(|why| (named(&connection), why))
}

/// Runs the failure detector.
pub(super) async fn membership(
    shared: Arc<Shared>,
    mut swim: Swim,
    mut inputs: mpsc::Receiver<SwimInput>,
    stop: CancellationToken,
) {
    let mut waiting = Vec::new();
    let mut sends = JoinSet::new();
    let events: EventSender = shared.events.clone();
    let mut owner = true;
    let mut members = BTreeMap::new();
    loop {
        let news = owner && swim.has_news();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            count = inputs.recv_many(&mut waiting, 64) => if count == 0 { return },
            slot = events.reserve(), if news => match (slot, swim.news()) {
                (Ok(slot), Some(event)) => {
                    told(&event);
                    slot.send(event);
                }
                (Ok(_), None) => {}
                (Err(_), _) => owner = false,
            },
            () = tokio::time::sleep_until(swim.deadline().into()) => {}
        }
        let now = Instant::now();
        let mut left = Vec::new();
        for input in waiting.drain(..) {
            match input {
                SwimInput::Message { from, message } => {
                    if let Err(why) = swim.message(now, from, &message) {
                        shared.metrics.mesh_gossip_bad.get(why).inc();
                        debug!(%from, why, "a message about members is of no use");
                    }
                }
                SwimInput::LinkUp(peer) => swim.link_up(now, peer),
                SwimInput::LinkDown { node, left } => {
                    swim.link_down(now, node, left);
                    if left && swim.has_left(node) {
                        // It may have been known to be down before it was known why.
                        shared.dialler.lock().left(node);
                    }
                }
                SwimInput::Leave(told) => {
                    swim.leave(now);
                    left.push(told);
                }
            }
        }
        let defunct = swim.is_defunct();
        swim.tick(now);
        if swim.is_defunct() && !defunct {
            error!("this node was declared down and cannot come back; restart it");
        }
        for (node, message) in swim.messages() {
            // Without a link it is lost, as a datagram may be.
            if let Some(link) = shared.links.get(node) {
                link.gossip(message, &mut sends);
            }
        }
        while sends.try_join_next().is_some() {}
        if *swim.members() != members {
            changed(&shared, &swim, &members, now);
            members.clone_from(swim.members());
        }
        for told in left {
            goodbye(&shared);
            let _ = told.send(());
        }
    }
}

fn told(event: &Event) {
    match event {
        Event::MemberUp { member } => {
            info!(node = %member.name, region = %member.region, address = %member.address, "member up");
        }
        Event::MemberDown { node } => info!(%node, "member down"),
        Event::MemberLeft { node } => info!(%node, "member left"),
        _ => {}
    }
}

/// Takes over who is up: into the list, and into what is dialled.
fn changed(shared: &Shared, swim: &Swim, before: &BTreeMap<NodeId, Arc<super::Member>>, now: Instant) {
    let members = swim.members();
    shared.metrics.mesh_members.set(members.len());
    shared.members.write().clone_from(members);
    let mut dialler = shared.dialler.lock();
    for (node, member) in members {
        if before.get(node) != Some(member) {
            dialler.learn(now, member);
        }
    }
    for node in before.keys().filter(|node| !members.contains_key(node)) {
        if swim.has_left(*node) {
            dialler.left(*node);
        } else {
            dialler.down(now, *node);
        }
    }
    drop(dialler);
    shared.wake.notify_one();
}

/// Closes all links with the word that this node leaves.
fn goodbye(shared: &Shared) {
    shared.leaving.store(true, Ordering::Release);
    for link in shared.links.all() {
        link.connection.close(Failure::Leaving.code(), &Failure::Leaving.reason());
    }
}

/// Takes up new certificates.
pub(super) async fn watch(shared: Arc<Shared>, look: Duration, stop: CancellationToken) {
    let mut said = String::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(look) => {}
        }
        // Three small files.
        match shared.tls.look() {
            Ok(None) => {}
            Ok(Some(ends)) => {
                shared.endpoint.set_server_config(Some(transport::server(&ends)));
                *shared.client.write() = transport::client(&ends);
                said.clear();
                info!("new certificates are in use for new links");
            }
            Err(error) => {
                let text = error.to_string();
                if said != text {
                    error!("{text}; the old certificates stay in use");
                    said = text;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_the_room_of_all() {
        let strangers = Arc::new(Strangers::default());
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut inside: Vec<_> = (0..MAX_PER_ADDRESS).filter_map(|_| strangers.enter(address(1))).collect();
        assert_eq!(inside.len(), MAX_PER_ADDRESS);
        assert!(strangers.enter(address(1)).is_none() && !strangers.are_many());
        inside.extend((0..200).filter_map(|i| strangers.enter(address(2 + i))));
        assert_eq!(inside.len(), MAX_STRANGERS);
        assert!(strangers.are_many());
        inside.clear();
        assert!(strangers.0.lock().is_empty());
    }
}
