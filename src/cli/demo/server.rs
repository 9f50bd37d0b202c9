//! The server of the demonstration: HTTPS on loopback, and no more of HTTP than the program speaks.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};
use tokio_rustls::TlsAcceptor;

use super::{HOST, Picture};
use crate::record::BoxError;

/// The time between a request and the first byte of its answer.
pub const FIRST_BYTE_AFTER: Duration = Duration::from_millis(150);

const MAX_REQUEST_HEAD: u64 = 16 * 1024;

/// Answers requests until it is dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate, to be trusted by those who ask it.
    pub certificate: String,
    /// With a thread of its own, so that what the server does takes no turn from the downloads.
    _runtime: Runtime,
}

impl Server {
    /// Starts to serve `pictures` as the host of the demonstration.
    pub fn start(pictures: Arc<[Picture]>) -> Result<Self, BoxError> {
        let (tls, certificate) = certify()?;
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).thread_name(HOST).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(accept_all(listener, TlsAcceptor::from(Arc::new(tls)), pictures));
        Ok(Self { address, certificate, _runtime: runtime })
    }
}

/// A TLS configuration with a new certificate for the host, and that certificate as a PEM file.
fn certify() -> Result<(rustls::ServerConfig, String), BoxError> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([HOST.to_owned()])?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into())?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let base64 = BASE64_STANDARD.encode(cert.der());
    Ok((tls, format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")))
}

async fn accept_all(listener: TcpListener, acceptor: TlsAcceptor, pictures: Arc<[Picture]>) {
    loop {
        match listener.accept().await {
            // A conversation that breaks off needs no word here: the client sees it itself.
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, acceptor.clone(), Arc::clone(&pictures)))),
            // There may be no file descriptor left for the moment.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Answers the requests of one connection, one after the other, until the client closes it.
async fn converse(stream: TcpStream, acceptor: TlsAcceptor, pictures: Arc<[Picture]>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    while let Some(request) = read_head(&mut stream).await? {
        tokio::time::sleep(FIRST_BYTE_AFTER).await;
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, content_type, body) = match pictures.iter().find(|picture| picture.path == path) {
            Some(picture) => ("200 OK", picture.content_type, picture.file.as_slice()),
            None => ("404 Not Found", "text/plain", b"No such picture.\n".as_slice()),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        stream.flush().await?;
    }
    stream.shutdown().await
}

/// The head of the next request, or `None` when there is none, or none of a sensible length.
async fn read_head(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut stream = stream.take(MAX_REQUEST_HEAD);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}
