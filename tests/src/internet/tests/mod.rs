//! The laboratory is what it says it is: probes show what each kind of router does.
//!
//! Whether something does *not* arrive is told by the router, which counts what it drops.

mod probe;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use self::probe::{Street, call, calling, hear, heard, is_connected, listening, seen, talk, tcp, udp};
use super::{Home, Internet, nat::Nat};
use crate::{segment::Host, wait_for};

const ALL: [Nat; 4] = [Nat::FullCone, Nat::Restricted, Nat::Symmetric, Nat::Ipv6];

/// The port of whoever is called or calls.
const PORT: u16 = 4001;

/// Waits until the home's router has dropped something that `send` sends.
fn dropped_by<T>(home: &Home, send: impl FnOnce() -> T) -> T {
    let before = home.dropped();
    let sent = send();
    wait_for("the router to drop it", || (home.dropped() > before).then_some(()));
    sent
}

#[test]
fn udp_is_mapped_and_filtered_as_the_kind_says() {
    for nat in ALL {
        let street = Street::new(nat);
        let [friend, stranger] = [(); 2].map(|()| street.internet.host());
        let [friend, strange_port] = [PORT, PORT + 1].map(|port| street.udp(&friend, port));
        let [ann, stranger] = [&street.ann, &stranger].map(|host| street.udp(host, PORT));
        let mapped = seen(&ann, &friend);
        assert_eq!(mapped.ip(), street.face(), "{nat:?}");
        friend.send_to(b"!", mapped).expect("a way there");
        assert_eq!(hear(&ann), friend.local_addr().expect("it is bound"), "{nat:?}: answers get in");

        for other in [&strange_port, &stranger] {
            let send = || other.send_to(b"!", mapped).expect("a way there");
            if nat == Nat::FullCone {
                send();
                assert_eq!(hear(&ann), other.local_addr().expect("it is bound"));
            } else {
                dropped_by(&street.home, send);
                assert_eq!(heard(&ann), 0, "{nat:?}: who was not asked does not get in");
            }
        }
        let again = seen(&ann, &stranger);
        assert_eq!(again == mapped, nat != Nat::Symmetric, "{nat:?}: {mapped} for one, {again} for another");
    }
}

#[test]
fn tcp_is_mapped_and_filtered_as_the_kind_says() {
    for nat in ALL {
        let street = Street::new(nat);
        let [friend, stranger] = [(); 2].map(|()| street.internet.host());
        let mapped = [&friend, &stranger].map(|host| {
            let listener = listening(street.tcp(host, PORT));
            let _call = call(street.tcp(&street.ann, PORT), street.at(host, PORT));
            listener.accept().expect("a call").1
        });
        assert_eq!(mapped[0].ip(), street.face(), "{nat:?}");
        assert_eq!(mapped[0] == mapped[1], nat != Nat::Symmetric, "{nat:?}: {mapped:?}");

        let listener = listening(street.tcp(&street.ann, PORT));
        let third = street.internet.host();
        if nat == Nat::FullCone {
            let _call = call(street.tcp(&third, PORT), mapped[0]);
            assert_eq!(listener.accept().expect("a call").1, street.at(&third, PORT));
        } else {
            let call = dropped_by(&street.home, || calling(street.tcp(&third, PORT), mapped[0]));
            assert!(!is_connected(&call), "{nat:?}: who was not asked does not get in");
        }
    }
}

#[test]
fn two_hosts_of_a_home_use_one_port_at_the_same_time() {
    for nat in [Nat::Restricted, Nat::Symmetric] {
        let street = Street::new(nat);
        let [friend, ben] = [street.internet.host(), street.home.host()];
        let [friend, ann, ben] = [&friend, &street.ann, &ben].map(|host| street.udp(host, PORT));
        let mapped = [&ann, &ben].map(|one| seen(one, &friend));
        assert_ne!(mapped[0], mapped[1], "{nat:?}");
        for (one, at) in [&ann, &ben].into_iter().zip(mapped) {
            friend.send_to(b"!", at).expect("a way there");
            hear(one);
            assert_eq!(heard(&ann) + heard(&ben), 0, "{nat:?}: it is for one of them");
        }
    }
}

#[test]
fn neighbours_hear_each_other_and_multicast_stays_at_home() {
    const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
    let street = Street::new(Nat::Restricted);
    let (ben, friend, other_home) =
        (street.home.host(), street.internet.host(), street.internet.home(Nat::Restricted));
    let far = other_home.host();
    let listeners = [&ben, &friend, &far].map(|host| {
        let socket = udp(host, (Ipv4Addr::UNSPECIFIED, 5353).into());
        host.namespace().enter(|| socket.join_multicast_v4(&GROUP, &host.v4())).expect("a member");
        socket
    });
    let ann = street.udp(&street.ann, PORT);
    ann.send_to(b"anybody?", (GROUP, 5353)).expect("a way there");
    let from = street.at(&street.ann, PORT);
    assert_eq!(hear(&listeners[0]), from);
    seen(&ann, &udp(&ben, street.at(&ben, PORT)));
    // Whatever ann sends later has arrived everywhere by now.
    let friend = street.udp(&friend, PORT);
    let mapped = seen(&street.udp(&far, PORT), &friend);
    seen(&ann, &friend);
    friend.send_to(b"!", mapped).expect("a way there");
    assert_eq!(heard(&listeners[1]) + heard(&listeners[2]), 0, "it has left the home");
}

/// A host at a home of each kind, and what the two learn of each other from somebody whom both can call.
struct Meeting {
    homes: [Home; 2],
    hosts: [Host; 2],
    friend: Host,
    v6: bool,
    _internet: Internet,
}

impl Meeting {
    fn of(kinds: [Nat; 2]) -> Self {
        let internet = Internet::new();
        let homes = kinds.map(|nat| internet.home(nat));
        let hosts = [homes[0].host(), homes[1].host()];
        Self { homes, hosts, friend: internet.host(), v6: kinds[0] == Nat::Ipv6, _internet: internet }
    }

    fn at(&self, host: &Host) -> SocketAddr {
        if self.v6 { (host.v6(), PORT).into() } else { (host.v4(), PORT).into() }
    }

    /// Sends, and waits until it has arrived or has been dropped. Whether it has arrived.
    fn arrives(&self, from: &UdpSocket, mapped: SocketAddr, home: &Home, to: &UdpSocket) -> bool {
        let before = home.dropped();
        from.send_to(b"knock", mapped).expect("a way there");
        wait_for("a packet to arrive or to be dropped", || {
            let arrived = heard(to) > 0;
            (arrived || home.dropped() > before).then_some(arrived)
        })
    }

    /// In turns, so that what became of each packet is known.
    fn punches_udp(&self) -> bool {
        let sockets = [0, 1].map(|number| udp(&self.hosts[number], self.at(&self.hosts[number])));
        let friend = udp(&self.friend, self.at(&self.friend));
        let mapped = [0, 1].map(|number| seen(&sockets[number], &friend));
        let mut arrived = [false; 2];
        for (to, from) in [(1, 0), (0, 1), (1, 0), (0, 1)] {
            arrived[to] = self.arrives(&sockets[from], mapped[to], &self.homes[to], &sockets[to]);
        }
        arrived == [true; 2]
    }

    /// At the same time.
    fn punches_tcp(&self) -> bool {
        let listener = listening(tcp(&self.friend, self.at(&self.friend)));
        let mapped = [0, 1].map(|number| {
            let host = &self.hosts[number];
            let _call = call(tcp(host, self.at(host)), self.at(&self.friend));
            listener.accept().expect("a call").1
        });
        let before = [0, 1].map(|number| self.homes[number].dropped());
        let calls = [0, 1].map(|number| {
            let host = &self.hosts[number];
            calling(tcp(host, self.at(host)), mapped[1 - number])
        });
        // Each calls once more if it was not heard the first time.
        let in_vain = |number: usize| self.homes[number].dropped() >= before[number] + 2;
        let is_done = wait_for("both calls to arrive or to be dropped twice", || {
            let is_done = calls.iter().all(is_connected);
            (is_done || (in_vain(0) && in_vain(1))).then_some(is_done)
        });
        if is_done {
            talk(&calls[0], &calls[1]);
        }
        is_done
    }
}

#[test]
fn holes_can_be_punched_where_the_kinds_allow_it() {
    for (kinds, can) in [
        ([Nat::Restricted, Nat::Restricted], true),
        ([Nat::FullCone, Nat::Restricted], true),
        ([Nat::Ipv6, Nat::Ipv6], true),
        ([Nat::Symmetric, Nat::Restricted], false),
        ([Nat::Symmetric, Nat::Symmetric], false),
    ] {
        let meeting = Meeting::of(kinds);
        assert_eq!(meeting.punches_udp(), can, "{kinds:?}, UDP");
        assert_eq!(meeting.punches_tcp(), can, "{kinds:?}, TCP");
    }
}

#[test]
fn a_host_moves_and_is_somebody_else_for_the_others() {
    let internet = Internet::new();
    let [first, second] = [Nat::Restricted, Nat::Symmetric].map(|nat| internet.home(nat));
    let (mut ann, friend) = (first.host(), internet.host());
    let friend = udp(&friend, (friend.v4(), PORT).into());
    let socket = udp(&ann, (Ipv4Addr::UNSPECIFIED, PORT).into());
    assert_eq!(seen(&socket, &friend).ip(), first.router().v4());
    ann.moves_to(second.wire());
    let mapped = seen(&socket, &friend);
    assert_eq!(mapped.ip(), second.router().v4());
    friend.send_to(b"!", mapped).expect("a way there");
    hear(&socket);
    let address = first.host().v4();
    ann.moves_to(first.wire());
    assert_eq!(seen(&socket, &friend).ip(), first.router().v4());
    assert!(ann.v4() < address, "it has the address that it had");
}

#[test]
fn what_is_cut_is_silent_until_it_is_mended_and_what_is_sent_is_counted() {
    const BYTES: u64 = 100 * 1000;
    let street = Street::new(Nat::Restricted);
    let friend_host = street.internet.host();
    let [ann, friend] = [&street.ann, &friend_host].map(|host| street.udp(host, PORT));
    let mapped = seen(&ann, &friend);
    let before = friend_host.sent();
    for _ in 0..100 {
        friend.send_to(&[0; 1000], mapped).expect("a way there");
        hear(&ann);
    }
    let sent = friend_host.sent() - before;
    assert!((BYTES..BYTES * 3 / 2).contains(&sent), "{sent} were counted");

    let router = street.home.router();
    router.cut();
    wait_for("the router to be cut off", || {
        router.namespace().ip(&["link", "show", "eth0"]).contains("NO-CARRIER").then_some(())
    });
    ann.send_to(b"lost", friend.local_addr().expect("it is bound")).expect("the router takes it");
    router.mend();
    wait_for("the link to be back", || {
        ann.send_to(b"again", friend.local_addr().expect("it is bound")).expect("the router takes it");
        (heard(&friend) > 0).then_some(())
    });
}
