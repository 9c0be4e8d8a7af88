//! Sockets in homes and on the backbone, as small programs there would have them.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketType, bind, connect, getpeername, listen, socket, sockopt},
};

use crate::{
    DEADLINE,
    internet::{Home, Internet, nat::Nat},
    segment::Host,
    wait_for,
};

/// A home with one host, and those who speak the same IP as it does.
pub(super) struct Street {
    pub(super) internet: Internet,
    pub(super) home: Home,
    pub(super) ann: Host,
    v6: bool,
}

impl Street {
    pub(super) fn new(nat: Nat) -> Self {
        let internet = Internet::new();
        let home = internet.home(nat);
        let ann = home.host();
        Self { internet, home, ann, v6: nat == Nat::Ipv6 }
    }

    pub(super) fn ip(&self, host: &Host) -> IpAddr {
        if self.v6 { host.v6().into() } else { host.v4().into() }
    }

    pub(super) fn at(&self, host: &Host, port: u16) -> SocketAddr {
        (self.ip(host), port).into()
    }

    /// Whose address others see when ann calls.
    pub(super) fn face(&self) -> IpAddr {
        self.ip(if self.v6 { &self.ann } else { self.home.router() })
    }

    pub(super) fn udp(&self, host: &Host, port: u16) -> UdpSocket {
        udp(host, self.at(host, port))
    }

    pub(super) fn tcp(&self, host: &Host, port: u16) -> OwnedFd {
        tcp(host, self.at(host, port))
    }
}

pub(super) fn udp(host: &Host, at: SocketAddr) -> UdpSocket {
    let socket = host.namespace().enter(|| UdpSocket::bind(at)).expect("a free port");
    socket.set_read_timeout(Some(DEADLINE)).expect("a limit");
    socket
}

/// Sends something and says from where it comes, as the receiver sees it.
pub(super) fn seen(from: &UdpSocket, by: &UdpSocket) -> SocketAddr {
    from.send_to(b"who am I?", by.local_addr().expect("it is bound")).expect("a way there");
    hear(by)
}

/// Waits for a packet; from where it came.
#[track_caller]
pub(super) fn hear(socket: &UdpSocket) -> SocketAddr {
    loop {
        match socket.recv_from(&mut [0; 64]) {
            Ok((_, from)) => return from,
            // With a limit, the system does not go on by itself.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("no packet arrives: {error}"),
        }
    }
}

/// How many packets are there by now.
pub(super) fn heard(socket: &UdpSocket) -> u64 {
    socket.set_nonblocking(true).expect("that is possible");
    let mut packets = 0;
    while socket.recv_from(&mut [0; 64]).is_ok() {
        packets += 1;
    }
    socket.set_nonblocking(false).expect("that is possible");
    packets
}

/// A socket at an address that is also used by others of the same host: the listener and all calls.
pub(super) fn tcp(host: &Host, at: SocketAddr) -> OwnedFd {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let made = host.namespace().enter(|| {
        let socket = socket(family, SocketType::STREAM, None)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        bind(&socket, &at)?;
        Ok::<_, Errno>(socket)
    });
    made.expect("an address of this host")
}

pub(super) fn listening(socket: OwnedFd) -> TcpListener {
    listen(&socket, 8).expect("that is possible");
    socket.into()
}

/// Calls, and waits until the other side has answered.
pub(super) fn call(socket: OwnedFd, to: SocketAddr) -> TcpStream {
    let stream = calling(socket, to);
    wait_for("somebody to answer", || is_connected(&stream).then_some(()));
    stream
}

/// Begins to call.
pub(super) fn calling(socket: OwnedFd, to: SocketAddr) -> TcpStream {
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(true).expect("that is possible");
    let begun = connect(&stream, &to);
    assert_eq!(begun, Err(Errno::INPROGRESS));
    stream
}

pub(super) fn is_connected(stream: &TcpStream) -> bool {
    getpeername(stream).is_ok_and(|peer| peer.is_some())
}

/// Both ends of a connection can speak and hear.
pub(super) fn talk(one: &TcpStream, other: &TcpStream) {
    for (mut from, mut to) in [(one, other), (other, one)] {
        wait_for("the connection to carry", || match from.write(b"!") {
            Ok(_) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => None,
            Err(error) => panic!("{error}"),
        });
        to.set_nonblocking(false).expect("that is possible");
        to.set_read_timeout(Some(DEADLINE)).expect("a limit");
        to.read_exact(&mut [0]).expect("a byte arrives");
    }
}
