//! TLS towards a receiver.

use std::{fs, path::Path, sync::Arc};

use chaos_kitty::{Code, Problem, text};
use hyper_rustls::ConfigBuilderExt;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

/// Trusts these authorities, or the system's.
///
/// # Errors
/// [`Code::Usage`]: the file can not be used, or the system has none.
pub(super) fn config(ca: Option<&Path>) -> Result<ClientConfig, Problem> {
    let builder = match ca {
        Some(path) => builder()?.with_root_certificates(roots(path)?),
        None => builder()?.with_native_roots().map_err(|error| {
            let what = format!("the system's certificates can not be read: {error}");
            Problem::new(Code::Usage, what).hint("install ca-certificates, or name a file with tls-ca")
        })?,
    };
    Ok(builder.with_no_client_auth())
}

/// Trusts nobody: for addresses without TLS.
///
/// # Errors
/// [`Code::Internal`].
pub(super) fn none() -> Result<ClientConfig, Problem> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn roots(path: &Path) -> Result<RootCertStore, Problem> {
    let unusable = |error: String| {
        let what = format!("{}: {error}", path.display());
        Problem::new(Code::Usage, what).hint("name a readable PEM file with the authorities' certificates")
    };
    let mut roots = RootCertStore::empty();
    let bytes = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&text::unmarked(&bytes).map_err(unusable)?) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("no certificate in it".to_owned())) } else { Ok(roots) }
}

fn builder() -> Result<Builder, Problem> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder.with_safe_default_protocol_versions().map_err(Problem::internal)
}
