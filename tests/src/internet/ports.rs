//! A home's router that opens ports when asked to: miniupnpd, as many routers have it.
//!
//! For: [`Opener`], which speaks UPnP or NAT-PMP. Needs Debian's `miniupnpd-nftables`, and says so. Not for: whether that
//! daemon is right; it is somebody else's, and that is the point.
//!
//! The idea: it opens ports on addresses of the real internet only, which those for documentation are not. So the
//! router has one of these too, on the same wire. Nothing here leads out of the laboratory.

use std::{
    fs,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use tempfile::TempDir;

use super::Home;
use crate::{
    netns::Namespace,
    node::launcher,
    segment::{INTERFACE, SWITCH},
    wait_for,
};

/// The addresses of those routers, as 45.0.0.1.
pub(super) const REAL: [u8; 3] = [45, 0, 0];

/// How hosts ask for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// By HTTP and SOAP, of a router that multicast has found.
    Upnp,
    /// In a few bytes to the gateway, or in those of PCP, which come with it.
    NatPmp,
}

/// A router's daemon. Dropping it ends it.
pub struct Opener {
    /// Where the opened ports are.
    pub address: Ipv4Addr,
    router: Arc<Namespace>,
    daemon: Child,
    _dir: TempDir,
}

impl Opener {
    pub(super) fn at(home: &Home, ask: Ask) -> Self {
        let router = home.router();
        let [a, b, c] = REAL;
        let address = Ipv4Addr::new(a, b, c, router.v4().octets()[3]);
        router.namespace().ip(&["addr", "add", &format!("{address}/24"), "dev", INTERFACE]);
        router.namespace().nft(&["--file", "-"], CHAINS);
        let dir = tempfile::tempdir().expect("a scratch directory");
        let [conf, pid] = ["conf", "pid"].map(|name| dir.path().join(name));
        fs::write(&conf, settings(address, ask)).expect("it can be written");
        let mut command = launcher(Some(router.name()), None);
        // In the foreground, so that it is the process that is ended.
        command.args(["miniupnpd", "-d", "-f"]).arg(conf).arg("-P").arg(pid);
        let daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = daemon.spawn().expect("iproute2 and util-linux are there");
        let mut opener = Self { address, router: router.namespace().clone(), daemon, _dir: dir };
        wait_for("miniupnpd to listen", || {
            let ended = opener.daemon.try_wait().expect("it can be waited for");
            assert_eq!(ended, None, "this story needs `miniupnpd` (miniupnpd-nftables)");
            listens(router.name()).then_some(())
        });
        opener
    }

    /// How many ports are open.
    #[must_use]
    pub fn opened(&self) -> usize {
        let rules = self.router.nft(&["list", "chain", "inet", "ports", "prerouting"], "");
        rules.lines().filter(|line| line.contains("dnat")).count()
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        // Errors mean that it is gone already, which is all that is wanted.
        let _gone = self.daemon.kill();
        let _gone = self.daemon.wait();
    }
}

/// Whether somebody listens on the port of NAT-PMP or that of UPnP's multicast.
fn listens(router: &str) -> bool {
    let shown = Command::new("ip").args(["netns", "exec", router, "ss", "-Hlun"]).output();
    let shown = String::from_utf8(shown.expect("iproute2 is there").stdout).expect("text");
    shown.contains(":5351 ") || shown.contains(":1900 ")
}

/// Where it puts its rules.
const CHAINS: &str = "
    table inet ports {
        chain forward { }
        chain prerouting { }
        chain postrouting { }
        chain in { type nat hook prerouting priority dstnat; jump prerouting; }
        chain out { type nat hook postrouting priority srcnat; jump postrouting; }
    }
";

fn settings(address: Ipv4Addr, ask: Ask) -> String {
    let [upnp, pmp] = [Ask::Upnp, Ask::NatPmp].map(|one| if one == ask { "yes" } else { "no" });
    format!(
        "
ext_ifname={INTERFACE}
ext_ip={address}
listening_ip={SWITCH}
enable_upnp={upnp}
enable_natpmp={pmp}
upnp_table_name=ports
upnp_nat_table_name=ports
upnp_forward_chain=forward
upnp_nat_chain=prerouting
upnp_nat_postrouting_chain=postrouting
uuid=00000000-0000-0000-0000-000000000001
allow 1024-65535 0.0.0.0/0 1024-65535
"
    )
}
