//! nginx on free ports, in a process of its own.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::Result;
use super::certificates::{self, Files};
use super::server::{Server, free_port, wait_for};

/// A running nginx, stopped when dropped.
pub struct Nginx {
    _process: Server,
    /// The port of plain HTTP.
    pub port: u16,
    /// The port of HTTPS as `localhost`, with HTTP/2.
    pub tls_port: u16,
    /// The certificate to trust there.
    pub authority: PathBuf,
}

impl Nginx {
    /// Serves the files in `root`; its own files go into `folder`. Connections are closed after 1,000 requests, which
    /// is the default of nginx.
    pub fn start(folder: &Path, root: &Path) -> Result<Self> {
        let (port, tls_port) = (free_port()?, free_port()?);
        let Files { authority, certificate, key } = certificates::make(folder)?;
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
