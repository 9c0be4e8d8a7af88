//! The connections of the web server, and what must not leave through them.
//!
//! For: [`bind`], one port on loopback for IPv4 and, where there is one, IPv6; [`Guarded`], which lets only sealed
//! responses out. Not for: requests (see [`super::server`]).
//!
//! The idea: a request that the HTTP library cannot read (a URL of 70 KB, a cookie jar filled to the brim) is
//! answered by the library itself, without our headers. A page could make such a response of its own origin on
//! purpose, open it as a popup and walk out through it. That answer is the only thing which starts like a failure and
//! is not sealed; instead of writing it, the connection breaks, and the browser shows its own error page.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use super::headers::is_sealed;

/// Other ports that are tried when the wanted one is taken.
const MAX_ATTEMPTS: usize = 8;

/// Listens on loopback only, on `wanted` if that port is free, else on another.
pub(super) async fn bind(wanted: u16) -> io::Result<(u16, Vec<GuardedListener>)> {
    let mut last = None;
    for attempt in 0..MAX_ATTEMPTS {
        match bind_both(if attempt == 0 { wanted } else { 0 }).await {
            Ok(bound) => return Ok(bound),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

async fn bind_both(port: u16) -> io::Result<(u16, Vec<GuardedListener>)> {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = v4.local_addr()?.port();
    let mut listeners = vec![GuardedListener(v4)];
    // Browsers try `::1` first: if somebody else sat there, they would get the launch token.
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
        Ok(v6) => listeners.push(GuardedListener(v6)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(error) => tracing::debug!(%error, "web programs: no IPv6 loopback"),
    }
    Ok((port, listeners))
}

/// A listener whose connections are [`Guarded`].
pub(super) struct GuardedListener(TcpListener);

impl Listener for GuardedListener {
    type Io = Guarded<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, addr) = Listener::accept(&mut self.0).await;
        (Guarded(stream), addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection that breaks rather than let an unsealed failure out.
pub(super) struct Guarded<S>(S);

/// Whether a write starts a failure that nobody sealed.
fn escapes(bytes: &[u8]) -> bool {
    let failure = |status: &[u8]| bytes.starts_with(b"HTTP/1.1 ") && bytes[9..].starts_with(status);
    // 400, 414 and 431 are all that hyper says by itself; others of the kind are caught for good measure.
    (failure(b"4") || failure(b"5")) && !is_sealed(bytes)
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if escapes(bytes) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}
