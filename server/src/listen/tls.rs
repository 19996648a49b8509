//! TLS from certificate files, by rustls.

#![allow(
    clippy::disallowed_methods,
    reason = "a certificate and its key are replaced as one, so never half changed"
)]

use std::{
    borrow::Cow,
    fs,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use chaos_kitty::{Code, Problem, text};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use super::Settings;

/// gRPC needs HTTP/2; REST is content with either.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate that is shown to whoever connects, with its private key.
#[derive(Debug)]
pub struct Certificates(RwLock<Arc<CertifiedKey>>);

impl Certificates {
    fn read(cert: &Path, key: &Path) -> Result<Self, Problem> {
        certified(cert, key).map(|both| Self(RwLock::new(both)))
    }

    /// Reads both files again, for connections from here on.
    ///
    /// # Errors
    /// [`Code::Usage`]: they can not be used; what was there before stays.
    pub fn replace(&self, cert: &Path, key: &Path) -> Result<(), Problem> {
        let both = certified(cert, key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = both;
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Problem> {
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, error))?;
    CertifiedKey::from_der(certificates(cert)?, private, &ring::default_provider())
        .map(Arc::new)
        .map_err(|error| unusable(cert, format!("with {}: {error}", key.display())))
}

/// What all `https://` addresses use.
type Secured = (TlsAcceptor, Arc<Certificates>);

/// The acceptor of all `https://` addresses, where any is `wanted`.
pub(super) fn acceptor(settings: &Settings, wanted: bool) -> Result<Option<Secured>, Problem> {
    match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) if wanted => {
            let certificates = Arc::new(Certificates::read(cert, key)?);
            let config = config(Arc::clone(&certificates), settings.tls_client_ca.as_deref())?;
            Ok(Some((TlsAcceptor::from(Arc::new(config)), certificates)))
        }
        (None, None) if !wanted && settings.tls_client_ca.is_none() => Ok(None),
        (Some(_), Some(_)) | (None, None) if !wanted => {
            Err(refuse("TLS files are given, and no address uses them")
                .hint("listen on https://HOST:PORT with --listen, or leave the --tls flags out"))
        }
        _ => Err(refuse("TLS needs a certificate and its private key")
            .hint("give --tls-cert FILE and --tls-key FILE")),
    }
}

fn config(certificates: Arc<Certificates>, client_ca: Option<&Path>) -> Result<ServerConfig, Problem> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(format!("TLS can not be set up: {error}")))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider)
                .build()
                .map_err(|error| unusable(path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn roots(path: &Path) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let pem = read(path)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| unusable(path, error))?;
    if found.is_empty() { Err(unusable(path, "no certificate in it")) } else { Ok(found) }
}

/// A PEM file, whatever editor wrote it.
fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    let bytes = fs::read(path).map_err(|error| unusable(path, error))?;
    text::unmarked(&bytes).map(Cow::into_owned).map_err(|what| unusable(path, what))
}

/// The DNS names that a client's certificate is for.
pub(super) fn names(certificate: &CertificateDer<'_>) -> String {
    let parsed = webpki::EndEntityCert::try_from(certificate);
    parsed.map(|parsed| parsed.valid_dns_names().collect::<Vec<_>>().join(",")).unwrap_or_default()
}

fn refuse(what: impl Into<String>) -> Problem {
    Problem::new(Code::Usage, what)
}

fn unusable(path: &Path, error: impl ToString) -> Problem {
    refuse(format!("{}: {}", path.display(), error.to_string())).hint("name a readable PEM file")
}
