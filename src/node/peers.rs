//! Between the mesh and what uses it: frames of the lanes go to the relay and to the edge.
//!
//! Flow: one task reads the mesh's events and hands them on in order; what the relay cannot take at once holds the links back.

use crate::{
    edge::{
        Edge,
        tunnel::{Neighbour, Neighbours},
    },
    hub::{Hub, Links, PeerNews, Unsent, read_chunk},
    mesh::{Event, Events, Lane, MeshHandle, SendError},
    model::NodeId,
    relay,
};
use bytes::Bytes;
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};

/// Events taken at once.
const BATCH: usize = 256;
/// Bytes of a frame of the relay, about.
const FRAME: usize = 192;

/// The mesh, for the hub and the edge.
pub(super) struct Peers {
    mesh: MeshHandle,
    /// The links that the hub and the edge have been told of.
    links: RwLock<HashMap<NodeId, u64>>,
}

impl Peers {
    pub(super) fn new(mesh: MeshHandle) -> Arc<Self> {
        Arc::new(Self { mesh, links: RwLock::default() })
    }

    /// Hands on what happens, until the mesh or the hub is gone.
    pub(super) async fn run(self: Arc<Self>, mut events: Events, hub: Hub, edge: Arc<Edge>) {
        let mut batch = Vec::with_capacity(BATCH);
        while events.recv_many(&mut batch, BATCH).await > 0 {
            let mut news = Vec::with_capacity(batch.len());
            for event in batch.drain(..) {
                news.extend(self.take(event, &edge));
            }
            if !news.is_empty() && hub.peers(news).await.is_err() {
                return;
            }
        }
    }

    fn take(&self, event: Event, edge: &Arc<Edge>) -> Option<PeerNews> {
        match event {
            Event::LinkUp { peer, generation } => {
                let peer = peer.member.node;
                self.links.write().insert(peer, generation);
                edge.linked();
                Some(PeerNews::LinkUp { peer, generation })
            }
            Event::LinkDown { peer, generation, .. } => {
                let known = {
                    let mut links = self.links.write();
                    let known = links.get(&peer) == Some(&generation);
                    if known {
                        links.remove(&peer);
                    }
                    known
                };
                if known {
                    edge.unlinked(peer);
                }
                Some(PeerNews::LinkDown { peer, generation })
            }
            Event::Frames { peer, generation, lane: Lane::Tunnel, frames } => {
                if let Err(error) = edge.hear(peer, &frames) {
                    self.mesh.close(peer, generation, &format!("a tunnel frame makes no sense: {error}"));
                }
                None
            }
            Event::Frames { peer, generation, frames, .. } => {
                let bytes: usize = frames.iter().map(Bytes::len).sum();
                let mut decoded = Vec::with_capacity(bytes / FRAME + frames.len());
                match frames.iter().try_for_each(|chunk| read_chunk(chunk, &mut decoded)) {
                    Ok(()) => Some(PeerNews::Frames { peer, generation, frames: decoded }),
                    Err(error) => {
                        self.mesh.close(peer, generation, &format!("a frame makes no sense: {error}"));
                        None
                    }
                }
            }
            Event::MemberUp { member } => Some(PeerNews::MemberUp(member.node)),
            Event::MemberDown { node } | Event::MemberLeft { node } => Some(PeerNews::MemberDown(node)),
        }
    }
}

impl Links for Peers {
    fn send(&self, to: NodeId, generation: u64, lane: relay::Lane, frame: Bytes) -> Result<(), Unsent> {
        let lane = match lane {
            relay::Lane::Control => Lane::Control,
            relay::Lane::Chat => Lane::Chat,
            relay::Lane::Bulk => Lane::Bulk,
            relay::Lane::Ephemeral => Lane::Ephemeral,
        };
        self.mesh.send_on(to, generation, lane, frame).map_err(|error| match error {
            SendError::Full => Unsent::Full,
            _ => Unsent::Never,
        })
    }

    fn close(&self, to: NodeId, generation: u64, why: &str) {
        self.mesh.close(to, generation, why);
    }
}

impl Neighbours for Peers {
    fn send(&self, to: NodeId, frame: Bytes) -> bool {
        let generation = self.links.read().get(&to).copied();
        generation.is_some_and(|generation| self.mesh.send_on(to, generation, Lane::Tunnel, frame).is_ok())
    }

    fn nodes(&self) -> Vec<Neighbour> {
        let member = |member: Arc<crate::mesh::Member>| Neighbour {
            id: member.node,
            name: member.name.clone(),
            region: member.region.clone(),
            url: member.url.clone(),
        };
        self.mesh.members().into_iter().map(member).collect()
    }
}
