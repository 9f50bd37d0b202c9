//! A port at which nothing listens.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tokio::net::TcpSocket;
use tokio::runtime::Runtime;

/// A port of this machine that refuses connections for as long as this lives.
///
/// A socket is bound to it, so the system gives the port to no other test. It does not listen, so connections are
/// refused (`listen(2)`).
pub struct ClosedPort {
    socket: TcpSocket,
    address: SocketAddr,
}

impl ClosedPort {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        Self { socket, address }
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a file at a server that would listen here.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on it is listened at.
    pub fn open(self) -> TcpListener {
        let runtime = Runtime::new().expect("a runtime");
        let _guard = runtime.enter();
        let listener = self.socket.listen(1024).and_then(tokio::net::TcpListener::into_std).expect("a listener");
        listener.set_nonblocking(false).expect("a listener that waits");
        listener
    }
}

impl fmt::Display for ClosedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}
