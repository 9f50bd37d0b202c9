//! nginx on free ports, in a process of its own.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::Result;
use super::server::{Server, free_port, wait_for};

/// A running nginx, stopped when dropped.
pub struct Nginx {
    _process: Server,
    /// Where it speaks plain HTTP.
    pub port: u16,
    /// Where it speaks TLS, as `localhost`, HTTP/2 offered.
    pub tls_port: u16,
    /// The certificate to trust there.
    pub authority: PathBuf,
}

impl Nginx {
    /// Serves the files in `root`; its own files go into `folder`. Connections are closed after 1,000 requests, as is
    /// nginx's own habit.
    pub fn start(folder: &Path, root: &Path) -> Result<Self> {
        let (port, tls_port) = (free_port()?, free_port()?);
        let (authority, certificate, key) = certificates(folder)?;
        let configuration = format!(
            "daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000;\n\
             open_file_cache max=8000 inactive=600s; open_file_cache_valid 600s;\n\
             client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n\
             uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi; root {root};\n\
             server {{ listen 127.0.0.1:{port} backlog=4096; }}\n\
             server {{ listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;\n\
             ssl_certificate {certificate}; ssl_certificate_key {key}; }} }}\n",
            folder = folder.display(),
            root = root.display(),
            certificate = certificate.display(),
            key = key.display(),
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, configuration)?;
        // Workers run as another user when nginx is started by root, and have to reach the pictures.
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let process = Server::start("nginx", &["-c", &file.to_string_lossy()])?;
        let nginx = Self { _process: process, port, tls_port, authority };
        wait_for("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(nginx)
    }
}

/// An authority, and a certificate and a key for `localhost`.
fn certificates(folder: &Path) -> Result<(PathBuf, PathBuf, PathBuf)> {
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
    Ok((authority, certificate, key))
}
