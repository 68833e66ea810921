//! Mutual TLS between nodes, from files that may be replaced while the node runs.
//!
//! Purpose: both ends of a link prove with a certificate of the cluster's authority which node they are.
//! TLS 1.3 only, aws-lc-rs as the only provider, handed over explicitly. The name that counts is the node's
//! ([`super::certs::node_of`]); host names are not looked at, so a node may move.
//! New files serve new connections, and links that are up stay as they are.

use super::certs::node_of;
use parking_lot::RwLock;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What the protocol is called in the handshake (ALPN).
const ALPN: &[u8] = b"hongyan/1";

/// Why a node's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {cause}; mesh.certs must hold ca.pem, {node}.pem and {node}.key, which `hongyan certs` makes", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The node's name.
        node: String,
        /// What the system said.
        cause: io::Error,
    },
    /// What stands in a file is not what it should be.
    #[error("{}: {why}", path.display())]
    Bad {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The certificate is another node's.
    #[error("{} is the certificate of {}, but this node is {node}", path.display(), named.as_deref().unwrap_or("no node"))]
    OtherNode {
        /// Which file.
        path: PathBuf,
        /// Whom it names.
        named: Option<String>,
        /// This node's name.
        node: String,
    },
}

/// What new connections are made with.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) client: Arc<QuicClientConfig>,
    pub(super) server: Arc<QuicServerConfig>,
    /// Secret that outlives a restart; see [`super::transport`].
    pub(super) reset_key: [u8; 32],
}

/// The node's certificates. Clones share them.
#[derive(Clone)]
pub(super) struct Tls {
    folder: PathBuf,
    node: Arc<str>,
    current: Arc<RwLock<(Digest, Ends)>>,
}

type Digest = [u8; 32];

/// The three files.
struct Files {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads the files of `node` in `folder`.
    pub(super) fn load(folder: &Path, node: &str) -> Result<Self, TlsError> {
        let files = Files::read(folder, node)?;
        let current = (files.digest(), files.ends(folder, node)?);
        Ok(Self { folder: folder.into(), node: node.into(), current: Arc::new(RwLock::new(current)) })
    }

    /// What new connections are made with.
    pub(super) fn ends(&self) -> Ends {
        self.current.read().1.clone()
    }

    /// Looks at the files again. `Some` when they are new and good; on an error the old ones stay in use, and it
    /// comes back only when the files have changed once more.
    pub(super) fn look(&self) -> Result<Option<Ends>, TlsError> {
        let files = Files::read(&self.folder, &self.node)?;
        let digest = files.digest();
        if self.current.read().0 == digest {
            return Ok(None);
        }
        let ends = files.ends(&self.folder, &self.node);
        let mut current = self.current.write();
        current.0 = digest;
        current.1 = ends?;
        Ok(Some(current.1.clone()))
    }
}

impl Files {
    fn read(folder: &Path, node: &str) -> Result<Self, TlsError> {
        let read = |name: String| {
            let path = folder.join(name);
            fs::read(&path).map_err(|cause| TlsError::Read { path, node: node.to_owned(), cause })
        };
        Ok(Self {
            ca: read("ca.pem".into())?,
            certificate: read(format!("{node}.pem"))?,
            key: read(format!("{node}.key"))?,
        })
    }

    fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for part in [&self.ca, &self.certificate, &self.key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn ends(&self, folder: &Path, node: &str) -> Result<Ends, TlsError> {
        let bad = |name: &str| {
            let path = folder.join(name);
            move |why: String| TlsError::Bad { path, why }
        };
        let (pem, key_name) = (format!("{node}.pem"), format!("{node}.key"));
        let roots = roots(&self.ca).map_err(bad("ca.pem"))?;
        let chain = chain(&self.certificate).map_err(bad(&pem))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| bad(&key_name)(e.to_string()))?;
        let named = chain.first().and_then(node_of);
        if named.as_deref() != Some(node) {
            return Err(TlsError::OtherNode { path: folder.join(&pem), named, node: node.to_owned() });
        }
        let reset_key = Sha256::new().chain_update("hongyan reset").chain_update(key.secret_der()).finalize();
        let verifier = client_verifier(&roots).map_err(bad("ca.pem"))?;
        verifier
            .verify_client_cert(&chain[0], &chain[1..], UnixTime::now())
            .map_err(|e| bad(&pem)(told(&e)))?;
        let fits = |e: Error| bad(&key_name)(format!("does not fit {pem}: {e}"));
        let unusable = |e: &dyn std::fmt::Display| bad(&pem)(e.to_string());
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| unusable(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(fits)?;
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| unusable(&e))?
            .dangerous() // which it is only if the verifier is
            .with_custom_certificate_verifier(Arc::new(OfTheCluster { roots, provider: provider() }))
            .with_client_auth_cert(chain, key)
            .map_err(fits)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false;
        // A resumed session would skip the check of a certificate that the authority has since been taken from.
        client.resumption = rustls::client::Resumption::disabled();
        server.send_tls13_tickets = 0;
        Ok(Ends {
            client: Arc::new(QuicClientConfig::try_from(client).map_err(|e| unusable(&e))?),
            server: Arc::new(QuicServerConfig::try_from(server).map_err(|e| unusable(&e))?),
            reset_key: reset_key.into(),
        })
    }
}

/// Judges whether a node would take this certificate, as [`super::certs::issue`] does before it writes one.
pub(super) fn judge_chain(ca: &[u8], certificate: &CertificateDer<'_>) -> Result<(), String> {
    let verifier = client_verifier(&roots(ca)?)?;
    verifier.verify_client_cert(certificate, &[], UnixTime::now()).map_err(|e| told(&e))?;
    Ok(())
}

/// What is wrong with a certificate, in words.
fn told(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "it is not signed by the authority of ca.pem".into()
        }
        other => other.to_string(),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn client_verifier(roots: &Arc<RootCertStore>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build().map_err(|e| e.to_string())
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    if chain.is_empty() { Err("no certificate in it".into()) } else { Ok(chain) }
}

fn roots(pem: &[u8]) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        roots.add(certificate).map_err(|e| e.to_string())?;
    }
    Ok(Arc::new(roots))
}

/// Takes a certificate that the cluster's authority has signed and that names a node. Which node is looked at after
/// the handshake, where the answer can be told to the other side.
#[derive(Debug)]
struct OfTheCluster {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OfTheCluster {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        match node_of(end_entity) {
            Some(_) => Ok(ServerCertVerified::assertion()),
            None => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::certs::{CA_DAYS, Issue, init, issue};

    fn made(node: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), CA_DAYS).unwrap();
        again(folder.path(), node);
        folder
    }

    fn again(folder: &Path, node: &str) {
        issue(folder, &Issue { node, hosts: &[], days: 1, replace: true }).unwrap();
    }

    #[test]
    fn files_are_taken_again_when_they_are_new_and_good() {
        let folder = made("eu-1");
        let tls = Tls::load(folder.path(), "eu-1").unwrap();
        assert!(tls.look().unwrap().is_none());
        again(folder.path(), "eu-1");
        assert!(tls.look().unwrap().is_some());
        assert!(tls.look().unwrap().is_none());
        fs::write(folder.path().join("eu-1.pem"), "").unwrap();
        assert!(tls.look().is_err());
        assert!(tls.look().unwrap().is_none(), "told once");
        again(folder.path(), "eu-1");
        assert!(tls.look().unwrap().is_some());
    }

    #[test]
    fn every_wrong_file_is_named_with_what_is_wrong() {
        let text = |folder: &Path, node: &str| Tls::load(folder, node).err().unwrap().to_string();
        let folder = made("eu-1");
        let missing = text(folder.path(), "eu-2");
        assert!(missing.contains("eu-2.pem") && missing.contains("hongyan certs"), "{missing}");
        let rename = |end: &str| {
            fs::copy(folder.path().join(format!("eu-1.{end}")), folder.path().join(format!("eu-2.{end}")))
        };
        rename("pem").unwrap();
        rename("key").unwrap();
        assert!(text(folder.path(), "eu-2").ends_with("is the certificate of eu-1, but this node is eu-2"));
        again(folder.path(), "eu-3");
        fs::copy(folder.path().join("eu-3.key"), folder.path().join("eu-1.key")).unwrap();
        assert!(text(folder.path(), "eu-1").contains("eu-1.key: does not fit eu-1.pem"));
        fs::write(folder.path().join("eu-1.key"), "x").unwrap();
        assert!(text(folder.path(), "eu-1").contains("eu-1.key: "));
        let other = made("eu-1");
        fs::copy(folder.path().join("ca.pem"), other.path().join("ca.pem")).unwrap();
        assert!(text(other.path(), "eu-1").contains("is not signed by the authority of ca.pem"));
    }
}
