//! TLS for clients, from files that may be replaced while the node runs.

use anyhow::Context as _;
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Certificate and key. Clones share them.
#[derive(Clone)]
pub(super) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file is wrong, and how.
    pub fn load(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let config = read(certificate, key)?;
        Ok(Self {
            certificate: certificate.into(),
            key: key.into(),
            current: Arc::new(RwLock::new(Arc::new(config))),
        })
    }

    /// What new connections are accepted with.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.read().clone())
    }

    /// Reads the files again when they change, for ever. New connections get the new certificate, old ones stay.
    pub async fn watch(self) {
        let mut seen = self.changed();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.changed();
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.certificate, &self.key) {
                Ok(config) => {
                    *self.current.write() = Arc::new(config);
                    tracing::info!(certificate = %self.certificate.display(), "a new certificate is in use");
                }
                Err(error) => tracing::error!("{error:#}; the old certificate stays in use"),
            }
        }
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|path| fs::metadata(path).and_then(|data| data.modified()).ok())
    }
}

fn read(certificate: &Path, key: &Path) -> anyhow::Result<ServerConfig> {
    let named = |name: &str, path: &Path| format!("tls.{name} = {}", path.display());
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| named("certificate", certificate))?;
    anyhow::ensure!(!chain.is_empty(), "{}: no certificate in it", named("certificate", certificate));
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| named("key", key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| format!("tls.certificate and tls.key ({}) do not fit together", key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
