//! `up`: runs the node until it is told to stop.

use std::{io::IsTerminal as _, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use serde_json::json;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::broadcast,
};

use super::{fail, output::Output};
use crate::{
    Config, Node, Started,
    context::Event,
    overlay::{Closed, RelayLimits},
};

/// How the node runs.
#[derive(Debug, Args)]
pub(super) struct Up {
    /// What the node calls itself
    #[arg(long, value_name = "NICK")]
    name: Option<String>,
    /// Where to listen; repeat for several [default: all interfaces, QUIC and TCP]
    #[arg(long, value_name = "MULTIADDR")]
    listen: Vec<String>,
    /// Neither looks for other nodes in the local network nor asks its router to open a port
    #[arg(long)]
    no_mdns: bool,
    /// A relay to be reached through, where no direct way is found; repeat for several
    #[arg(long, value_name = "MULTIADDR")]
    relay: Vec<String>,
    /// Is a relay for others, and lets them find each other
    #[arg(long)]
    serve_relay: bool,
    /// What the relay gives, like circuits=512,circuit-time=12h; see docs/operating-a-relay.md
    #[arg(long, value_name = "LIMITS", requires = "serve_relay")]
    relay_limits: Option<RelayLimits>,
    /// An address that leads here and that the node cannot know: a name, a forwarded port; repeat for several
    #[arg(long, value_name = "MULTIADDR")]
    announce: Vec<String>,
    /// Where Prometheus reads what the node counts [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,
    /// Where the web console listens [default: a loopback port]
    #[arg(long, value_name = "ADDR")]
    console: Option<SocketAddr>,
    /// The billing peer's database, sqlite: or postgres: [default: in the home]
    #[arg(long, value_name = "URL")]
    billing_db: Option<String>,
    /// Goes on with an empty database, if that of the home is gone
    #[arg(long)]
    new_database: bool,
    /// Takes in the programs and cards of a directory
    #[arg(long, value_name = "DIR")]
    preload: Option<PathBuf>,
}

/// How long a node whose parts have failed may take to stop the others.
const LAST_MOMENTS: Duration = Duration::from_secs(10);

/// Whether there is a screen to show web parts on.
fn has_desktop() -> bool {
    cfg!(any(target_os = "macos", target_os = "windows"))
        || ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()))
}

pub(super) async fn up(home: PathBuf, options: Up, json: bool) -> u8 {
    let config = Config {
        nickname: options.name,
        listen: options.listen,
        mdns: !options.no_mdns,
        relays: options.relay,
        announce: options.announce,
        serve_relay: options.serve_relay.then(|| options.relay_limits.unwrap_or_default()),
        metrics: options.metrics,
        console: options.console,
        billing_db: options.billing_db,
        new_database: options.new_database,
        preload: options.preload,
        open_browser: has_desktop(),
        ..Config::new(home)
    };
    let mut ends = match Ends::new() {
        Ok(ends) => ends,
        Err(error) => return fail(&error),
    };
    let Started { node, console } = match Node::start(config).await {
        Ok(started) => started,
        Err(error) => return fail(&error),
    };
    let mut events = node.context().events.subscribe();
    let mut output = Output::new();
    if let Err(error) = announce(&node, &console, json, &mut output).await {
        node.stop().await;
        return fail(&error);
    }
    let ended = loop {
        tokio::select! {
            () = ends.recv() => break Ok(()),
            ended = node.wait() => break ended,
            event = events.recv() => match event {
                Ok(event) => tell(&event, json, &mut output),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => break Ok(()),
            },
        }
    };
    match ended {
        Ok(()) => {
            node.stop().await;
            output.finish()
        }
        Err(error) => {
            // What is left may wait for what is gone.
            let _ = tokio::time::timeout(LAST_MOMENTS, node.stop()).await;
            fail(&error)
        }
    }
}

/// The signals that ask the node to stop: an interrupt, a termination, and the end of its terminal.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    /// `None`: whoever started it wants it to outlive its terminal.
    hangup: Option<Signal>,
}

impl Ends {
    fn new() -> std::io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = (!is_hangup_ignored(&status)).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for any of them.
    async fn recv(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether this process was started with SIGHUP ignored, as `nohup` does, by Linux's `/proc/self/status`.
fn is_hangup_ignored(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is that of signal 1.
    ignored.is_some_and(|mask| mask & 1 == 1)
}

async fn announce(node: &Node, console: &str, json: bool, output: &mut Output) -> Result<(), Closed> {
    let mut say = |line: &str| say(output, line);
    let context = node.context();
    let listen: Vec<_> = context.overlay.addresses().await?.iter().map(ToString::to_string).collect();
    if json {
        say(&json!({"event": "ready", "peer": context.me(), "name": context.nickname, "listen": listen,
                    "console": console})
        .to_string());
        return Ok(());
    }
    say(&format!("{} is up as {}", context.me(), context.nickname));
    for address in listen {
        say(&format!("  listening on {address}"));
    }
    say(&format!("  console: {console}"));
    if std::io::stdout().is_terminal() {
        say("Stop with Ctrl-C. In another terminal: parlor status");
    }
    Ok(())
}

/// What a user at this terminal wants to know; with `--json`, everything.
fn tell(event: &Event, json: bool, output: &mut Output) {
    let mut say = |line: &str| say(output, line);
    if json {
        if *event != Event::Changed
            && let Ok(line) = serde_json::to_string(event)
        {
            say(&line);
        }
        return;
    }
    match event {
        Event::Invited { session, name, host_name, .. } => {
            say(&format!("{host_name} invites you to {name}: parlor join {session}"));
        }
        Event::State { session, state, why: Some(why) } => {
            say(&format!("session {session}: {state} ({why})"))
        }
        Event::State { session, state, why: None } => say(&format!("session {session}: {state}")),
        Event::Cheat { session, host } => {
            say(&format!("session {session}: {host} gave one copy to two members; the proof is kept"));
        }
        Event::Host { session, name, .. } => say(&format!("session {session}: {name} is the host now")),
        Event::Agent { session, part, state, why } => {
            say(&format!("session {session}: the program's {part} was {state}: {why}"));
        }
        Event::Line { .. } | Event::Member { .. } | Event::Transfer { .. } | Event::Changed => {}
    }
}

/// A line on stdout. Whoever reads it may have gone, or the disk be full: the node goes on.
fn say(output: &mut Output, line: &str) {
    // Names come from other nodes: no control characters reach the terminal.
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    output.line(&line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_noticed() {
        let status = |mask: &str| format!("Name:\tparlor\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert!(is_hangup_ignored(&status("0000000000001001")));
        assert!(!is_hangup_ignored(&status("0000000000001000")));
        assert!(!is_hangup_ignored(""));
    }
}
