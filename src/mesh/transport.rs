//! How QUIC is set up.
//!
//! Settings that were measured: segmentation offload on (half the rate without), the default stream window (smaller
//! ones 0.7 of it), a bounded connection window, which quinn leaves unbounded. A partition ends a link after the idle
//! timeout, 3.5 s.
//!
//! Key of stateless resets (RFC 9000, 10.3): made from the node's private key, so that a node that starts anew on its
//! address can tell peers that the links of its last life are gone. They notice with their next keep-alive, not
//! after the idle timeout, and let it in at once.

use super::{options::MeshError, tls::Ends};
use hmac::{Hmac, Mac as _};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout,
    MtuDiscoveryConfig, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    congestion::CubicConfig,
    crypto::{CryptoError, HmacKey},
};
use sha2::Sha256;
use std::{net::UdpSocket, sync::Arc, time::Duration};

/// A link over which nothing comes for so long has ended.
pub(super) const IDLE: Duration = Duration::from_millis(3_500);
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Bytes that a peer may send on one stream before they are read: 10 MB/s at 125 ms.
const STREAM_WINDOW: u32 = 1_250_000;
/// The same on all streams together; more than five lanes can fill, so that none takes the room of another.
const WINDOW: u32 = 8 * STREAM_WINDOW;
/// Streams that a peer may have open: its lanes, and messages that are too long for a datagram.
const STREAMS: u32 = 32;
/// Connections whose handshake has not begun.
const INCOMING: usize = 256;
/// Largest datagram, in bytes, where the path takes it (loopback, jumbo frames): quinn hands the system up to ten at once, and
/// those must not be more than the 65,507 bytes that UDP takes.
const DATAGRAM: u16 = 6_500;
/// Bytes that go out before the peer has answered: ten of the largest datagrams, as RFC 9002 (7.2) has it for those that are
/// known to pass. Of quinn's own 14,720 two would take nearly all, and the word that a link ends, which quinn holds back for room
/// like all else, would not get out.
const FIRST_WINDOW: u64 = 10 * DATAGRAM as u64;

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM);
    let mut congestion = CubicConfig::default();
    congestion.initial_window(FIRST_WINDOW);
    let idle = VarInt::from_u32(u32::try_from(IDLE.as_millis()).unwrap_or(u32::MAX));
    config
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(256 * 1_024))
        .datagram_send_buffer_size(256 * 1_024)
        .mtu_discovery_config(Some(discovery))
        .congestion_controller_factory(Arc::new(congestion))
        .enable_segmentation_offload(true);
    Arc::new(config)
}

pub(super) fn server(ends: &Ends) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(ends.server.clone());
    // A node's address does not change under a link; a link that follows packets could be drawn away.
    config.transport_config(transport()).migration(false).max_incoming(INCOMING);
    config
}

pub(super) fn client(ends: &Ends) -> ClientConfig {
    let mut config = ClientConfig::new(ends.client.clone());
    config.transport_config(transport());
    config
}

pub(super) fn endpoint(socket: UdpSocket, ends: &Ends) -> Result<Endpoint, MeshError> {
    let mut config = EndpointConfig::new(Arc::new(ResetKey(ends.reset_key)));
    // Quinn's own ids are of this start alone; a packet for an older one would be dropped instead of answered.
    config.cid_generator(|| Box::new(Ids(0)));
    config.max_udp_payload_size(DATAGRAM).map_err(|error| MeshError::from(std::io::Error::other(error)))?;
    Ok(Endpoint::new(config, Some(server(ends)), socket, Arc::new(TokioRuntime))?)
}

/// Random ids of connections; any other one may be of an earlier start. Counts where no random number is to be had.
struct Ids(u64);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.0 += 1;
        ConnectionId::new(&getrandom::u64().unwrap_or(self.0).to_be_bytes())
    }

    fn cid_len(&self) -> usize {
        size_of::<u64>()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

struct ResetKey([u8; 32]);

impl ResetKey {
    fn mac(&self, data: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(data);
        Some(mac)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        if let Some(mac) = self.mac(data) {
            let signature = mac.finalize().into_bytes();
            let len = signature_out.len().min(signature.len());
            signature_out[..len].copy_from_slice(&signature[..len]);
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let mac = self.mac(data).ok_or(CryptoError)?;
        mac.verify_slice(signature).map_err(|_| CryptoError)
    }
}
