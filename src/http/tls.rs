//! The TLS settings of a run, made once and shared by all connections.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;

use crate::record::RunError;

/// Which certificates are trusted.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those of the system's authorities.
    System,
    /// Those of the given authorities alone (`--cacert`).
    Only(RootCertStore),
    /// All (`--insecure`).
    Unchecked,
    /// None: for the client that only sends plain HTTP, and must not pay for reading certificates.
    Nothing,
}

impl Trust {
    /// The authorities of a PEM file that `name` names.
    ///
    /// # Errors
    /// [`RunError::Client`] if the file cannot be read or has no valid certificate.
    pub fn only(file: &Path, name: &str) -> Result<Self, RunError> {
        let fail = |what: String| RunError::Client(format!("{name} {}: {what}", file.display()));
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|error| fail(error.to_string()))? {
            let certificate = certificate.map_err(|error| fail(error.to_string()))?;
            roots.add(certificate).map_err(|error| fail(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(fail("there is no certificate in it".into()));
        }
        Ok(Self::Only(roots))
    }
}

/// The settings of connections. `http2`: offer HTTP/2 beside HTTP/1.1 (RFC 7301).
pub fn config(trust: &Trust, http2: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let config = match trust {
        Trust::System => builder
            .dangerous()
            .with_custom_certificate_verifier(SystemVerifier::start(Arc::clone(&provider)))
            .with_no_client_auth(),
        Trust::Only(roots) => builder.with_root_certificates(roots.clone()).with_no_client_auth(),
        Trust::Nothing => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        Trust::Unchecked => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerifier(provider))).with_no_client_auth()
        }
    };
    Ok(offering(config, http2))
}

/// The same settings, with an offer of HTTP/2 beside HTTP/1.1 or without one.
pub fn offering(mut config: ClientConfig, http2: bool) -> ClientConfig {
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    config
}

/// Verifies certificates against the system's authorities. A thread reads these meanwhile: they are hundreds of files,
/// and not needed before the first server has sent its certificate. By then a name has been looked up and a connection
/// made.
#[derive(Debug)]
struct SystemVerifier {
    provider: Arc<CryptoProvider>,
    verifier: OnceLock<Result<Verifier, rustls::Error>>,
}

impl SystemVerifier {
    fn start(provider: Arc<CryptoProvider>) -> Arc<Self> {
        let verifier = Arc::new(Self { provider, verifier: OnceLock::new() });
        let reading = Arc::clone(&verifier);
        // If no thread can be started, the first handshake reads them.
        let _ = thread::Builder::new().name("authorities".into()).spawn(move || reading.verifier().is_ok());
        verifier
    }

    /// Waits for the thread if it is still reading.
    fn verifier(&self) -> Result<&Verifier, rustls::Error> {
        let read = self.verifier.get_or_init(|| Verifier::new(Arc::clone(&self.provider)));
        read.as_ref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for SystemVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier()?.verify_server_cert(certificate, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?.verify_tls13_signature(message, certificate, signature)
    }

    /// Sent in the first message, so it must not wait for the thread. The verifier of every system supports the same
    /// schemes.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts every certificate, because the user asked for it with `--insecure`. Signatures are still verified, so the
/// server at least holds the key of its certificate.
#[derive(Debug)]
struct NoVerifier(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
