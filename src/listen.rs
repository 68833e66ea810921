//! Listening on a configured address, with errors that say what to do.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, UdpSocket},
};
use tokio::net::TcpListener;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{key} = {address} {}", advice(key, *address, cause))]
pub struct BindError {
    /// The key that the address comes from.
    pub key: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    cause: io::Error,
}

/// Listens on `address`, which was configured as `key`.
///
/// # Errors
/// With the key, the address, and what to do.
pub async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    let failed = |cause| BindError { key, address, cause };
    TcpListener::bind(address).await.map_err(failed)
}

/// A UDP socket at `address`, which was configured as `key`.
///
/// # Errors
/// With the key, the address, and what to do.
pub fn bind_udp(key: &'static str, address: SocketAddr) -> Result<UdpSocket, BindError> {
    UdpSocket::bind(address).map_err(|cause| BindError { key, address, cause })
}

fn advice(key: &str, address: SocketAddr, error: &io::Error) -> String {
    let flag =
        if key.contains('.') { format!("--set {key}=") } else { format!("--{} ", key.replace('_', "-")) };
    match error.kind() {
        ErrorKind::AddrInUse => {
            let mut other = address;
            other.set_port(address.port().checked_add(1).unwrap_or(8_080));
            format!(
                "is in use by another process; stop that or choose another address, such as {flag}{other}"
            )
        }
        ErrorKind::PermissionDenied => {
            format!(
                "is not allowed for this user: {error}; ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)"
            )
        }
        ErrorKind::AddrNotAvailable => {
            "is not an address of this machine; 0.0.0.0 or [::] stand for all it has".into()
        }
        _ => format!("cannot be used: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_address_is_named_with_its_key_and_a_way_out() {
        let first = bind("listen", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let text = bind("admin_listen", address).await.unwrap_err().to_string();
        assert!(
            text.starts_with(&format!("admin_listen = {address} is in use by another process")),
            "{text}"
        );
        assert!(text.contains("--admin-listen 127.0.0.1:"), "{text}");
        let first = bind_udp("mesh.listen", "127.0.0.1:0".parse().unwrap()).unwrap();
        let text = bind_udp("mesh.listen", first.local_addr().unwrap()).unwrap_err().to_string();
        assert!(text.contains("--set mesh.listen=127.0.0.1:"), "{text}");
    }

    #[tokio::test]
    async fn a_foreign_address_is_named() {
        let text = bind("listen", "192.0.2.1:0".parse().unwrap()).await.unwrap_err().to_string();
        assert!(text.starts_with("listen = 192.0.2.1:0 is not an address of this machine"), "{text}");
    }
}
