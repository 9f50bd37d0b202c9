//! UDP and TCP sockets for hickory, each connected to one name server.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime};
use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;

/// Like hickory's own runtime, but UDP sockets are connected to the server: the system drops packets from other
/// senders, and reports at once if no process listens there, where an unconnected socket would wait for the timeout.
#[derive(Clone, Default)]
pub struct ConnectedRuntime(TokioRuntimeProvider);

/// A UDP socket that receives from one server alone.
pub struct ConnectedSocket {
    socket: UdpSocket,
    server: SocketAddr,
}

type IoFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl RuntimeProvider for ConnectedRuntime {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = ConnectedSocket;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.0.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        from: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> IoFuture<Self::Tcp> {
        self.0.connect_tcp(server, from, timeout)
    }

    fn bind_udp(&self, from: SocketAddr, server: SocketAddr) -> IoFuture<ConnectedSocket> {
        Box::pin(async move {
            let socket = UdpSocket::bind(from).await?;
            socket.connect(server).await?;
            Ok(ConnectedSocket { socket, server })
        })
    }
}

#[async_trait]
impl DnsUdpSocket for ConnectedSocket {
    type Time = TokioTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut into = ReadBuf::new(into);
        ready!(self.socket.poll_recv(cx, &mut into))?;
        Poll::Ready(Ok((into.filled().len(), self.server)))
    }

    async fn recv_from(&self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            // A closed port is reported by an error alone, which does not wake a task that waits for readability.
            let ready = self.socket.ready(Interest::READABLE | Interest::ERROR).await?;
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            match self.socket.try_recv(into) {
                Ok(length) => return Ok((length, self.server)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !ready.is_error() => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, bytes: &[u8], _: SocketAddr) -> Poll<io::Result<usize>> {
        self.socket.poll_send(cx, bytes)
    }
}
