//! The first alternative: gossipsub as the gate sets it up, and nothing around it: whoever subscribes gets all, and
//! nothing is sealed. Gossipsub's own signature stays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use libp2p::{
    PeerId, Swarm,
    gossipsub::{
        Behaviour, ConfigBuilder, Event, IdentTopic, Message, MessageAcceptance, MessageAuthenticity,
        MessageId, ValidationMode,
    },
    identity::Keypair,
    swarm::SwarmEvent,
};
use tokio::sync::mpsc;

use crate::{
    bare,
    record::Record,
    site::PATIENCE,
    stack::{Kind, Stack, Transport},
};

const TOPIC: &str = "bench";
/// As the overlay has it for commands.
const QUEUE: usize = 256;

pub(crate) struct Gossip(Vec<mpsc::Sender<Vec<u8>>>);

impl Gossip {
    pub(crate) async fn start(transport: Transport, members: usize, record: &Arc<Record>) -> Result<Self> {
        let swarms = bare::connected(transport, members, behaviour).await?;
        let subscribed = Arc::new(AtomicUsize::new(0));
        let mut nodes = Vec::new();
        for (number, mut swarm) in swarms.into_iter().enumerate() {
            swarm.behaviour_mut().subscribe(&IdentTopic::new(TOPIC))?;
            let (sender, receiver) = mpsc::channel(QUEUE);
            nodes.push(sender);
            tokio::spawn(run(number, swarm, receiver, Arc::clone(record), Arc::clone(&subscribed)));
        }
        let together = async {
            while subscribed.load(Ordering::Relaxed) < members * (members - 1) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, together).await.context("bare gossipsub does not come about")?;
        Ok(Self(nodes))
    }
}

impl Stack for Gossip {
    fn name(&self) -> &'static str {
        "bare gossipsub"
    }

    fn say(&self, from: usize, _: Kind, message: Vec<u8>) -> BoxFuture<'_, Result<()>> {
        async move { Ok(self.0[from].send(message).await?) }.boxed()
    }
}

async fn run(
    number: usize,
    mut swarm: Swarm<Behaviour>,
    mut said: mpsc::Receiver<Vec<u8>>,
    record: Arc<Record>,
    subscribed: Arc<AtomicUsize>,
) {
    let topic = IdentTopic::new(TOPIC).hash();
    loop {
        tokio::select! {
            message = said.recv() => {
                let Some(message) = message else { return };
                // What the queues do not take is lost, and counted as such.
                let _ = swarm.behaviour_mut().publish(topic.clone(), message);
            }
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(Event::Message { propagation_source, message_id, message }) => {
                    let accept = MessageAcceptance::Accept;
                    swarm.behaviour_mut().report_message_validation_result(&message_id, &propagation_source, accept);
                    record.heard(number, &message.data);
                }
                SwarmEvent::Behaviour(Event::Subscribed { .. }) => {
                    subscribed.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }
}

/// The settings of `parlor_node::overlay`'s gate.
fn behaviour(key: &Keypair) -> Behaviour {
    let config = ConfigBuilder::default()
        .max_transmit_size(320 * 1024)
        .max_control_message_size(256 * 1024)
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .duplicate_cache_time(Duration::from_secs(120))
        .heartbeat_initial_delay(Duration::from_millis(100))
        .heartbeat_interval(Duration::from_millis(500))
        .mesh_outbound_min(0)
        .mesh_n_low(1)
        .mesh_n(3)
        .mesh_n_high(6)
        .gossip_lazy(2)
        .flood_publish(true)
        .prune_backoff(Duration::from_secs(5))
        .unsubscribe_backoff(Duration::from_secs(2))
        .connection_handler_queue_len(256)
        .forward_queue_duration(Duration::from_secs(3))
        .build()
        .expect("the constants satisfy gossipsub's rules");
    Behaviour::new(MessageAuthenticity::Signed(key.clone()), config)
        .expect("signing and strict validation go together")
}

fn message_id(message: &Message) -> MessageId {
    let mut id = message.sequence_number.unwrap_or_default().to_be_bytes().to_vec();
    let source = message.source.map(PeerId::to_bytes).unwrap_or_default();
    id.extend_from_slice(&source[source.len().saturating_sub(8)..]);
    MessageId::from(id)
}
