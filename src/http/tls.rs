//! The TLS settings of a run, made once and shared by every connection.

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

/// Whom to believe.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The authorities of the system.
    System,
    /// The given authorities and nobody else (`--cacert`).
    Only(RootCertStore),
    /// Everybody (`--insecure`).
    Unchecked,
    /// Nothing: for the client that speaks plain HTTP alone, and must not pay for reading certificates.
    Nothing,
}

impl Trust {
    /// The authorities of a PEM file.
    pub fn only(file: &Path) -> Result<Self, RunError> {
        let fail = |what: String| RunError::Client(format!("--cacert {}: {what}", file.display()));
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

/// The settings for connections. `http2`: offer HTTP/2 beside HTTP/1.1 (RFC 7301).
pub fn config(trust: &Trust, http2: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut config = match trust {
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
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(config)
}

/// Checks certificates against the authorities of the system, which a thread of its own reads meanwhile: hundreds of
/// files, which nobody needs before the first server has shown its certificate. By then a name has been looked up and a
/// connection made.
#[derive(Debug)]
struct SystemVerifier {
    provider: Arc<CryptoProvider>,
    verifier: OnceLock<Result<Verifier, rustls::Error>>,
}

impl SystemVerifier {
    fn start(provider: Arc<CryptoProvider>) -> Arc<Self> {
        let verifier = Arc::new(Self { provider, verifier: OnceLock::new() });
        let reading = Arc::clone(&verifier);
        // Where the system gives no thread, the first handshake reads them.
        let _ = thread::Builder::new().name("authorities".into()).spawn(move || reading.verifier().is_ok());
        verifier
    }

    /// Waits for the thread, if it is still reading.
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

    /// Said in the first message, so it must not wait. On every system the verifier would say the same.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts every certificate, because the user asked for it with `--insecure`. Signatures are still checked, so a
/// connection is at least with the holder of the key it shows.
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
