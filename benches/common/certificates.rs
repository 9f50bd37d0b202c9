//! Makes certificates for `localhost`, signed by an authority of the benchmark.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::Result;

/// The paths of the files, in PEM format.
pub struct Files {
    /// The certificate to trust.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Makes an authority, and a certificate and a key for `localhost`.
pub fn make(folder: &Path) -> Result<Files> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, "authority of the benchmark");
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority_key = KeyPair::generate()?;
    let authority = parameters.self_signed(&authority_key)?;
    let issuer = Issuer::new(parameters, authority_key);
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()])?;
    parameters.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &issuer)?;
    let paths = ["authority.pem", "certificate.pem", "key.pem"].map(|name| folder.join(name));
    fs::write(&paths[0], authority.pem())?;
    fs::write(&paths[1], certificate.pem())?;
    fs::write(&paths[2], key.serialize_pem())?;
    let [authority, certificate, key] = paths;
    Ok(Files { authority, certificate, key })
}
