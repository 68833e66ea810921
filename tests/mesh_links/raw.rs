//! A peer that does what it likes.

use hongyan::{
    mesh::{FEATURES, Hello, Welcome},
    model::NodeId,
};
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

/// Takes any server.
#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Connects to a node, with the certificate of `name` if there is one.
pub async fn connect(to: SocketAddr, certs: &Path, name: Option<&str>) -> (Endpoint, Connection) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty());
    let mut config = match name {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = CertificateDer::from_pem_file(certs.join(format!("{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(certs.join(format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    config.dangerous().set_certificate_verifier(Arc::new(Trusting(provider)));
    config.alpn_protocols = vec![b"hongyan/1".to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(ClientConfig::new(Arc::new(config)), to, "anybody").unwrap();
    (endpoint.clone(), connecting.await.unwrap())
}

/// What the node says when it closes the connection.
pub async fn closed(connection: &Connection) -> String {
    match tokio::time::timeout(Duration::from_secs(10), connection.closed()).await.unwrap() {
        ConnectionError::ApplicationClosed(close) => String::from_utf8_lossy(&close.reason).into_owned(),
        other => other.to_string(),
    }
}

/// A stream that begins as one of a lane does.
pub async fn lane(connection: &Connection, number: u8) -> SendStream {
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(b"HYGN").await.unwrap();
    stream.write_all(&[number]).await.unwrap();
    stream
}

/// What a good peer of that name says of itself.
pub fn hello(name: &str) -> Hello {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Hello {
        min: 1,
        max: 1,
        node: name.into(),
        incarnation: 1,
        now: now.as_micros() as u64,
        features: FEATURES,
        region: String::new(),
        address: "127.0.0.1:9".into(),
        url: String::new(),
        software: "test".into(),
    }
}

/// Opens the control stream and says hello.
pub async fn say(connection: &Connection, hello: &Hello) -> SendStream {
    let mut out = lane(connection, 0).await;
    out.write_all(&said(postcard::to_stdvec(hello).unwrap())).await.unwrap();
    out
}

fn said(body: Vec<u8>) -> Vec<u8> {
    [&(body.len() as u16).to_be_bytes()[..], &body].concat()
}

/// Says the first words as a good peer would, so that there is a link.
pub async fn greet(connection: &Connection, name: &str, node: NodeId) -> (SendStream, RecvStream) {
    let mut out = say(connection, &hello(name)).await;
    let mut control = connection.accept_uni().await.unwrap();
    control.read_exact(&mut [0; 5]).await.unwrap();
    body(&mut control).await;
    let welcome = said(postcard::to_stdvec(&Welcome { version: 1, linked: false }).unwrap());
    // The one with the larger number speaks first.
    if NodeId::of(name) > node {
        out.write_all(&welcome).await.unwrap();
        body(&mut control).await;
    } else {
        body(&mut control).await;
        out.write_all(&welcome).await.unwrap();
    }
    (out, control)
}

async fn body(stream: &mut RecvStream) {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.unwrap();
    let mut body = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut body).await.unwrap();
}
