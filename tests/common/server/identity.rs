//! Makes valid and invalid certificates for servers that speak HTTPS.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivatePkcs8KeyDer};

/// What is right or wrong with the certificate of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Valid.
    Good,
    /// It was valid until 2001.
    Expired,
    /// It will be valid from 2100 on.
    NotYetValid,
    /// It is signed by itself.
    SelfSigned,
}

/// A certificate for this server and the authority that signed it.
pub struct Identity {
    config: rustls::ServerConfig,
    authority: NamedTempFile,
}

impl Identity {
    pub fn new(kind: Certificate) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names are good names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "authority of the test server");
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("a key");
        let authority = parameters.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(parameters, key);

        let names = ["localhost", "images.test", "127.0.0.1"].map(String::from);
        let mut parameters = CertificateParams::new(names).expect("good names");
        parameters.distinguished_name.push(DnType::CommonName, "the test server");
        parameters.use_authority_key_identifier_extension = true;
        match kind {
            Certificate::Good | Certificate::SelfSigned => {}
            Certificate::Expired => parameters.not_after = date_time_ymd(2001, 1, 1),
            Certificate::NotYetValid => parameters.not_before = date_time_ymd(2100, 1, 1),
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = match kind {
            Certificate::SelfSigned => parameters.self_signed(&key),
            _ => parameters.signed_by(&key, &issuer),
        };
        let certificate = certificate.expect("a certificate");

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows the protocols")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .expect("the key belongs to the certificate");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];

        let file = NamedTempFile::with_suffix(".pem").expect("a temporary file");
        std::fs::write(file.path(), authority.pem()).expect("the temporary file can be written");
        Self { config, authority: file }
    }

    /// The same for a server that speaks HTTP/2, too.
    pub fn with_http2(mut self) -> Self {
        self.config.alpn_protocols.insert(0, b"h2".to_vec());
        self
    }

    /// The server's side of handshakes, and the file of the authority.
    pub fn into_parts(self) -> (TlsAcceptor, NamedTempFile) {
        (TlsAcceptor::from(Arc::new(self.config)), self.authority)
    }
}
