//! A world of nodes in simulated time, and the loop that lets things happen in it.

use std::collections::{BTreeMap, BTreeSet};

use parlor_proto::{identity::PeerId, ids::SessionId, session::Input};

use super::{
    Options,
    billing::Billing,
    bug::Bug,
    check::{Invariant, Truth},
    dice::Dice,
    event::{Event, Load, Parcel, Queue},
    network::Network,
    node::{Doom, Node},
    trace::Trace,
};

/// How often a node looks after what no machine asks for, ms.
pub(super) const PULSE: u64 = 15_000;
/// More events than any run should have: it does not come to rest.
const MAX_EVENTS: u64 = 3_000_000;

/// Everything there is in one run.
pub(super) struct World {
    pub(super) bug: Option<Bug>,
    /// True time, ms since the run began.
    pub(super) now: u64,
    pub(super) dice: Dice,
    pub(super) queue: Queue,
    pub(super) nodes: Vec<Node>,
    pub(super) by_peer: BTreeMap<PeerId, usize>,
    pub(super) network: Network,
    /// Pairs that can talk.
    pub(super) links: BTreeSet<(usize, usize)>,
    pub(super) billing: Billing,
    pub(super) truth: Truth,
    pub(super) trace: Trace,
    /// After everything was mended: what users owe is done, nothing breaks any more.
    pub(super) calm: bool,
    /// Numbers for frames, beacons, payloads.
    pub(super) next_id: u64,
    /// What machines have said to nodes that are up.
    pub(super) said: u64,
    pub(super) broken: Option<(Invariant, String)>,
}

impl World {
    /// The world of `seed`, with its cast and its plan, before anything happens.
    pub(super) fn new(seed: u64, options: &Options) -> Self {
        let mut dice = Dice::new(seed, "cast");
        let nodes = super::plan::cast(&mut dice, options.largest);
        let by_peer = nodes.iter().enumerate().map(|(i, node)| (node.peer(), i)).collect();
        // One more for the billing peer.
        let network = Network::new(nodes.len() + 1, &mut Dice::new(seed, "network"));
        let mut world = Self {
            bug: options.bug,
            now: 0,
            dice: Dice::new(seed, "course"),
            queue: Queue::default(),
            nodes,
            by_peer,
            network,
            links: BTreeSet::new(),
            billing: Billing::new(),
            truth: Truth::default(),
            trace: Trace::new(options.trace),
            calm: false,
            next_id: 0,
            said: 0,
            broken: None,
        };
        world.links_changed();
        world.plan(&mut dice);
        world
    }

    /// Lets things happen until `until`, or until an invariant is broken.
    pub(super) fn run_until(&mut self, until: u64) {
        let mut events = 0;
        while self.broken.is_none() {
            let Some((at, event)) = self.queue.pop() else { break };
            if at > until {
                self.queue.push(at, event);
                break;
            }
            self.now = self.now.max(at);
            self.happen(event);
            events += 1;
            if events > MAX_EVENTS {
                self.breaks(Invariant::Rest, format!("{MAX_EVENTS} events, {} to come", self.queue.len()));
            }
        }
        self.now = self.now.max(until);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(parcel) => self.arrives(*parcel),
            Event::Tick { node, session, life } if self.lives(node, life) => self.tick(node, session),
            Event::Pulse { node, life } if self.lives(node, life) => self.pulse(node),
            Event::Fetched { node, session, life } if self.lives(node, life) => self.fetched(node, session),
            Event::Wish(wish) => self.wish(wish),
            Event::SomeWish => self.some_wish(),
            Event::Fault => self.fault(),
            Event::Room { end } => self.make_room(end),
            Event::Starts { node } => self.start(node),
            Event::Returns { node } => {
                self.trace.note(self.now, format_args!("node {node} is in reach again"));
                self.network.away.remove(&node);
                self.links_changed();
            }
            Event::Mends => {
                self.trace.note(self.now, format_args!("the network is whole again"));
                self.network.sides.iter_mut().for_each(|side| *side = 0);
                self.network.cuts.clear();
                self.links_changed();
            }
            Event::Haunts { node, session } => self.haunt(node, session),
            Event::Cheats { node } => self.cheats(node),
            Event::Heals => self.heal(),
            Event::Tick { .. } | Event::Pulse { .. } | Event::Fetched { .. } => {}
        }
    }

    fn lives(&self, node: usize, life: u64) -> bool {
        self.nodes[node].up && self.nodes[node].life == life
    }

    /// An invariant is broken; the first one counts.
    pub(super) fn breaks(&mut self, invariant: Invariant, how: String) {
        self.trace.note(self.now, format_args!("BROKEN {invariant}: {how}"));
        if self.broken.is_none() {
            self.broken = Some((invariant, how));
        }
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The billing peer, among the ends of the network.
    pub(super) fn billing_end(&self) -> usize {
        self.nodes.len()
    }

    fn is_up(&self, end: usize) -> bool {
        self.nodes.get(end).is_none_or(|node| node.up)
    }

    /// Puts something on its way.
    pub(super) fn send(&mut self, from: usize, to: usize, session: SessionId, load: Load) {
        let is_talk = matches!(load, Load::Messages { .. } | Load::Pull { .. } | Load::Ask(_));
        if is_talk && self.is_up(to) && self.network.passes(from, to) {
            self.said += 1;
        }
        for delay in self.network.fates(from, to, &mut self.dice) {
            let parcel = Parcel { from, to, session, load: load.clone() };
            self.queue.push(self.now + delay, Event::Arrives(Box::new(parcel)));
        }
    }

    /// Whether what was put on its way still gets there.
    pub(super) fn is_cut_off(&self, parcel: &Parcel) -> bool {
        !self.network.passes(parcel.from, parcel.to) || !self.is_up(parcel.to)
    }

    /// Who can be reached by `node` now.
    pub(super) fn in_reach(&self, node: usize) -> Vec<usize> {
        let linked = |other: &usize| self.links.contains(&(node.min(*other), node.max(*other)));
        (0..self.nodes.len()).filter(|other| *other != node && linked(other)).collect()
    }

    /// Somebody came into reach, or went out of it.
    pub(super) fn links_changed(&mut self) {
        let mut links = BTreeSet::new();
        for one in 0..self.nodes.len() {
            for other in one + 1..self.nodes.len() {
                if self.nodes[one].up && self.nodes[other].up && self.network.links(one, other) {
                    links.insert((one, other));
                }
            }
        }
        let new: Vec<_> = links.difference(&self.links).copied().collect();
        self.links = links;
        for node in 0..self.nodes.len() {
            self.tell_presence(node);
        }
        for (one, other) in new {
            self.reaches(one, other);
            self.reaches(other, one);
        }
    }

    pub(super) fn tell_presence(&mut self, node: usize) {
        let present: BTreeSet<PeerId> =
            self.in_reach(node).into_iter().map(|other| self.nodes[other].peer()).collect();
        let sessions: Vec<_> = self.nodes[node].sessions.keys().copied().collect();
        for session in sessions {
            if let Some(held) = self.nodes[node].sessions.get_mut(&session) {
                held.role.set_present(present.clone());
            }
            self.set_timer(node, session);
        }
    }

    fn reaches(&mut self, node: usize, other: usize) {
        let peer = self.nodes[other].peer();
        let waits =
            |(id, held): (&SessionId, &super::node::Session)| held.role.waits_for(peer).then_some(*id);
        let sessions: Vec<_> = self.nodes[node].sessions.iter().filter_map(waits).collect();
        for session in sessions {
            self.input(node, session, Input::Reachable(peer));
        }
    }

    /// The process dies.
    pub(super) fn crash(&mut self, node: usize) {
        self.trace.note(self.now, format_args!("node {node} crashes"));
        if let Err(error) = self.nodes[node].crash(self.bug) {
            self.breaks(Invariant::Step, format!("node {node} cannot read its own snapshot: {error}"));
        }
        self.links_changed();
        if !self.nodes[node].lost {
            let longest = if self.calm { 1_000 } else { 120_000 };
            let at = self.now + self.dice.between(10, longest);
            self.queue.push(at, Event::Starts { node });
        }
    }

    /// And starts anew, from what is on disk.
    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].up || self.nodes[node].lost {
            return;
        }
        if self.nodes[node].full {
            // It says why, and somebody tries again.
            let at = self.now + self.dice.between(1_000, 60_000);
            return self.queue.push(at, Event::Starts { node });
        }
        self.nodes[node].up = true;
        self.nodes[node].life += 1;
        let life = self.nodes[node].life;
        self.check_kept(node);
        self.trace.note(self.now, format_args!("node {node} starts, for the {life}. time"));
        let sessions: Vec<_> = self.nodes[node].sessions.keys().copied().collect();
        for session in sessions {
            self.input(node, session, Input::Restarted);
            self.reconcile(node, session);
        }
        self.links_changed();
        self.begin_pulse(node);
    }

    pub(super) fn begin_pulse(&mut self, node: usize) {
        let (at, life) = (self.now + self.dice.between(1, PULSE), self.nodes[node].life);
        self.queue.push(at, Event::Pulse { node, life });
    }

    /// The next step of `node` ends in a crash.
    pub(super) fn doom(&mut self, node: usize) {
        let doom =
            if self.dice.chance(400) { Doom::BeforeDisk } else { Doom::AfterOutputs(self.dice.below(4)) };
        self.nodes[node].doom = Some(doom);
    }
}
