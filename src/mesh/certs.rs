//! Certificates of a cluster: one authority, one certificate a node.
//!
//! Purpose: what `hongyan certs` makes, and what a node's certificate says.
//! A node's name stands in its certificate as the URI `hongyan://node/NAME` among the subject's alternative names
//! (RFC 5280, 4.2.1.6): names of nodes may hold `_` and `.`, so they are no DNS names, and no DNS name that somebody
//! owns can be taken for a node. Host names and addresses stand beside it for other tools; links do not look at them.
//! Files: `ca.pem`, `ca.key`, `NODE.pem`, `NODE.key`; keys are readable for their owner only, and every file appears
//! whole or not at all.
//!
//! `ca.key` is needed to issue and nowhere else: keep it off the nodes.

use crate::config::is_name;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Days that an authority is good for, when nothing else is said: ten years.
pub const CA_DAYS: u32 = 3_650;
/// Days that a node's certificate is good for, when nothing else is said: two years.
pub const NODE_DAYS: u32 = 730;
/// What a node's name follows in its certificate.
const URI: &str = "hongyan://node/";
const DAY: Duration = Duration::from_secs(86_400);
/// Clocks of nodes differ; a certificate is good from a little before it was made.
const BEFORE: Duration = Duration::from_secs(3_600);

/// Why no certificate was made. Nothing was written then, or nothing but a key beside which no certificate stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertsError {
    /// The system said no.
    #[error("{}: {cause}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What it said.
        cause: io::Error,
    },
    /// There is such a file.
    #[error("{} is there already{}", path.display(), if *authority {
        "; nodes trust it, so it is not replaced. Choose another folder, or move it away if no node uses it"
    } else {
        "; --replace makes a new one in its place"
    })]
    Exists {
        /// The file.
        path: PathBuf,
        /// Whether it is the authority's.
        authority: bool,
    },
    /// There is no authority to sign with.
    #[error("there is no authority in {}: {} is missing; make one: hongyan certs init", folder.display(), missing)]
    NoAuthority {
        /// Where it was looked for.
        folder: PathBuf,
        /// Which file is not there.
        missing: &'static str,
    },
    /// What stands in the authority's files cannot be used.
    #[error("ca.pem and ca.key in {} cannot sign: {why}", folder.display())]
    BadAuthority {
        /// Where they are.
        folder: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No name of a node.
    #[error(
        "{0:?} is not the name of a node: 1 to 64 letters, digits, - _ . (and not ca, whose files are the authority's)"
    )]
    BadName(String),
    /// Neither a host name nor an address.
    #[error("{0:?} is neither a host name nor an IP address")]
    BadHost(String),
    /// No time at all, or too long for a certificate.
    #[error("a certificate of {0} days cannot be made; 1 to 36500 can")]
    BadDays(u32),
    /// The library that makes certificates said no.
    #[error("no certificate could be made: {0}")]
    Making(#[from] rcgen::Error),
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Made {
    fn of(folder: &Path, name: &str) -> Self {
        Self { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) }
    }

    fn taken(&self) -> Option<PathBuf> {
        [&self.certificate, &self.key].into_iter().find(|path| path.exists()).cloned()
    }
}

/// Makes the authority of a new cluster in `folder`, which is made too when it is missing.
///
/// * `days`: how long it is good for. 1..=36,500.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub fn init(folder: &Path, days: u32) -> Result<Made, CertsError> {
    let made = Made::of(folder, "ca");
    if let Some(path) = made.taken() {
        return Err(CertsError::Exists { path, authority: true });
    }
    let key = KeyPair::generate()?;
    let certificate = valid(authority(), days)?.self_signed(&key)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
    write(&made.key, &key.serialize_pem(), 0o600, false)?;
    write(&made.certificate, &certificate.pem(), 0o644, false)?;
    Ok(made)
}

/// What to issue.
#[derive(Clone, Debug)]
pub struct Issue<'a> {
    /// The node's name.
    pub node: &'a str,
    /// Host names and IP addresses at which it is reached, for tools that look for them.
    pub hosts: &'a [String],
    /// How long it is good for, in days. 1..=36,500.
    pub days: u32,
    /// Whether an older certificate of that name is replaced.
    pub replace: bool,
}

/// Issues a node's certificate with the authority in `folder`, and puts it there.
///
/// # Errors
/// When there is no authority there, the name or a host is none, or there is a certificate already.
pub fn issue(folder: &Path, wanted: &Issue<'_>) -> Result<Made, CertsError> {
    let Issue { node, hosts, days, replace } = *wanted;
    if !is_name(node) || node.eq_ignore_ascii_case("ca") {
        return Err(CertsError::BadName(node.to_owned()));
    }
    let mut names = vec![SanType::URI(format!("{URI}{node}").try_into()?)];
    for host in hosts {
        names.push(alternative(host)?);
    }
    let ca = Made::of(folder, "ca");
    let text = |path: &Path, missing| match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(CertsError::NoAuthority { folder: folder.to_owned(), missing })
        }
        read => read.map_err(failed(path)),
    };
    let bad = |why: String| CertsError::BadAuthority { folder: folder.to_owned(), why };
    let (signed_by, ca_key) = (text(&ca.certificate, "ca.pem")?, text(&ca.key, "ca.key")?);
    let ca_key = KeyPair::from_pem(&ca_key).map_err(|e| bad(format!("ca.key: {e}")))?;
    let made = Made::of(folder, node);
    if let Some(path) = made.taken().filter(|_| !replace) {
        return Err(CertsError::Exists { path, authority: false });
    }
    let key = KeyPair::generate()?;
    let mut params = valid(CertificateParams::default(), days)?;
    params.distinguished_name = named(node);
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &Issuer::new(authority(), ca_key))?;
    // The key may belong to another authority, or ca.pem come from elsewhere: no node would take what they make.
    super::tls::judge_chain(signed_by.as_bytes(), certificate.der()).map_err(bad)?;
    write(&made.key, &key.serialize_pem(), 0o600, replace)?;
    write(&made.certificate, &certificate.pem(), 0o644, replace)?;
    Ok(made)
}

/// The node that a certificate names; `None` when it names none, or several.
#[must_use]
pub fn node_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = parsed.valid_uri_names().filter_map(|uri| uri.strip_prefix(URI));
    let name = names.next().filter(|name| is_name(name))?.to_owned();
    names.next().is_none().then_some(name)
}

/// The authority but for its key and its time. Its name is part of every certificate that it signs.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Hongyan cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut whole = DistinguishedName::new();
    whole.push(DnType::CommonName, name);
    whole
}

fn valid(mut params: CertificateParams, days: u32) -> Result<CertificateParams, CertsError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if !(1..=36_500).contains(&days) {
        return Err(CertsError::BadDays(days));
    }
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(BEFORE);
    params.not_after = date_time_ymd(1970, 1, 1) + (now + DAY * days);
    Ok(params)
}

fn alternative(host: &str) -> Result<SanType, CertsError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bad = || CertsError::BadHost(host.to_owned());
    rustls::pki_types::DnsName::try_from(host).map_err(|_| bad())?;
    Ok(SanType::DnsName(host.to_owned().try_into().map_err(|_| bad())?))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CertsError {
    let path = path.to_owned();
    move |cause| CertsError::Io { path, cause }
}

/// Writes a file so that it appears whole or not at all.
///
/// * `replace`: whether one that is there gives way.
fn write(path: &Path, text: &str, mode: u32, replace: bool) -> Result<(), CertsError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let put = || {
        let _ = fs::remove_file(&fresh); // left by a crash, perhaps
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if replace {
            fs::rename(&fresh, path)?;
        } else {
            // Unlike a renaming, a link never takes the place of a file.
            fs::hard_link(&fresh, path)?;
            fs::remove_file(&fresh)?;
        }
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    put().map_err(failed(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn issue_as(folder: &Path, node: &str) -> Result<Made, CertsError> {
        issue(folder, &Issue { node, hosts: &[], days: NODE_DAYS, replace: false })
    }

    #[test]
    fn an_authority_is_made_once_and_issues_certificates_that_name_their_node() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("certs");
        let ca = init(&folder, CA_DAYS).unwrap();
        let again = init(&folder, CA_DAYS).unwrap_err().to_string();
        assert!(again.contains("ca.pem is there already; nodes trust it"), "{again}");
        let hosts = ["eu.example.com".to_owned(), "192.0.2.1".to_owned(), "::1".to_owned()];
        let made = issue(&folder, &Issue { node: "eu_1.a", hosts: &hosts, days: 1, replace: false }).unwrap();
        let certificate = CertificateDer::from_pem_file(&made.certificate).unwrap();
        assert_eq!(node_of(&certificate).as_deref(), Some("eu_1.a"));
        let parsed = webpki::EndEntityCert::try_from(&certificate).unwrap();
        assert_eq!(parsed.valid_dns_names().collect::<Vec<_>>(), ["eu.example.com"]);
        for key in [&ca.key, &made.key] {
            assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 4, "{left:?}");
    }

    #[test]
    fn what_cannot_be_issued_is_told_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let text = |error: Result<Made, CertsError>| error.unwrap_err().to_string();
        assert!(
            text(issue_as(folder.path(), "eu-1")).contains("ca.pem is missing; make one: hongyan certs init")
        );
        init(folder.path(), CA_DAYS).unwrap();
        for name in ["", "a b", "../x", "ca", "CA", &"x".repeat(65)] {
            assert!(text(issue_as(folder.path(), name)).contains("is not the name of a node"), "{name}");
        }
        let hosts = ["not a host".to_owned()];
        let wanted = Issue { node: "eu-1", hosts: &hosts, days: 1, replace: false };
        assert!(text(issue(folder.path(), &wanted)).contains("neither a host name"));
        for days in [0, 36_501] {
            assert!(text(issue(folder.path(), &Issue { hosts: &[], days, ..wanted })).contains("days"));
        }
        assert!(!folder.path().join("eu-1.key").exists());
        let first = issue_as(folder.path(), "eu-1").unwrap();
        let before = fs::read(&first.certificate).unwrap();
        assert!(text(issue_as(folder.path(), "eu-1")).contains("eu-1.pem is there already; --replace"));
        assert_eq!(fs::read(&first.certificate).unwrap(), before);
        issue(folder.path(), &Issue { node: "eu-1", hosts: &[], days: 1, replace: true }).unwrap();
        assert_ne!(fs::read(&first.certificate).unwrap(), before);
    }

    #[test]
    fn a_key_that_is_not_the_authoritys_signs_nothing() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        init(one.path(), CA_DAYS).unwrap();
        init(other.path(), CA_DAYS).unwrap();
        fs::copy(other.path().join("ca.key"), one.path().join("ca.key")).unwrap();
        let error = issue_as(one.path(), "eu-1").unwrap_err();
        assert!(matches!(error, CertsError::BadAuthority { .. }), "{error}");
        fs::write(one.path().join("ca.key"), "no key").unwrap();
        assert!(matches!(issue_as(one.path(), "eu-1"), Err(CertsError::BadAuthority { .. })));
        assert!(!one.path().join("eu-1.key").exists());
    }

    #[test]
    fn a_certificate_without_a_node_or_with_two_names_none() {
        let key = KeyPair::generate().unwrap();
        let made = |uris: &[&str]| {
            let mut params = CertificateParams::default();
            params.subject_alt_names =
                uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
            node_of(params.self_signed(&key).unwrap().der())
        };
        assert_eq!(made(&["https://example.com/", "hongyan://node/a"]).as_deref(), Some("a"));
        assert_eq!(made(&["hongyan://node/a", "hongyan://node/b"]), None);
        assert_eq!(made(&["hongyan://node/a b"]), None);
        assert_eq!(made(&["hongyan://other/a"]), None);
        assert_eq!(node_of(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
