//! TLS from certificate files, by rustls.

use std::{path::Path, sync::Arc};

use chaos_kitty::{Code, Problem};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio_rustls::TlsAcceptor;

use super::Settings;

/// gRPC needs HTTP/2; REST is content with either.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The acceptor of all `https://` addresses, where any is `wanted`.
pub(super) fn acceptor(settings: &Settings, wanted: bool) -> Result<Option<TlsAcceptor>, Problem> {
    match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) if wanted => {
            let config = config(cert, key, settings.tls_client_ca.as_deref())?;
            Ok(Some(TlsAcceptor::from(Arc::new(config))))
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

fn config(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<ServerConfig, Problem> {
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
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
    let mut config = builder
        .with_single_cert(certificates(cert)?, private)
        .map_err(|error| unusable(cert, format!("with {}: {error}", key.display())))?;
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
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, error))?;
    let found: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| unusable(path, error))?;
    if found.is_empty() { Err(unusable(path, "no certificate in it")) } else { Ok(found) }
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
