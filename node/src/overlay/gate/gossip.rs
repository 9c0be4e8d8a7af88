//! Gossipsub as a group uses it: its settings, each with its reason.

use std::{collections::HashSet, time::Duration};

use libp2p::{
    PeerId,
    gossipsub::{
        Behaviour, Config, ConfigBuilder, IdentTopic, IdentityTransform, Message, MessageAuthenticity,
        MessageId, ValidationMode, WhitelistSubscriptionFilter,
    },
    identity::Keypair,
};

use super::group::MAX_PAYLOAD;

/// Gossipsub checks this against everything it has read and not yet parsed, so there must be room for a
/// second message behind the largest one, with their envelopes.
const MAX_TRANSMIT: usize = 2 * MAX_PAYLOAD + 64 * 1024;
/// An announcement of messages above this ends the stream, so it is far above what short ids can reach.
const MAX_CONTROL: usize = 256 * 1024;
/// Messages waiting for one member: at worst 32 MiB of the largest ones. When it is full, that member misses
/// messages; when all members' are, publishing says so.
const QUEUE_LEN: usize = 256;
/// How long a message is remembered so as not to be delivered twice. Protection against replay needs more
/// than this, and has its place where messages are opened.
const DUPLICATE_CACHE: Duration = Duration::from_secs(120);
/// Groups are small, and a message goes to all members known at once, so the mesh only repairs losses.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Groups start at once.
const HEARTBEAT_DELAY: Duration = Duration::from_millis(100);
/// How long a member that left the mesh stays out of it.
const PRUNE_BACKOFF: Duration = Duration::from_secs(5);
/// How long a member that unsubscribed stays out of the mesh.
const UNSUBSCRIBE_BACKOFF: Duration = Duration::from_secs(2);
/// How long a message of another member may wait for a slow one.
const FORWARD_PATIENCE: Duration = Duration::from_secs(3);

/// The gossipsub of one group.
pub(crate) type Gossip = Behaviour<IdentityTransform, WhitelistSubscriptionFilter>;

/// One that is subscribed to this topic, and knows no other.
pub(super) fn gossip(topic: &IdentTopic, keypair: &Keypair) -> Gossip {
    let only_topic = WhitelistSubscriptionFilter(HashSet::from([topic.hash()]));
    let signed = MessageAuthenticity::Signed(keypair.clone());
    let mut gossip = Gossip::new_with_subscription_filter(signed, config(), only_topic)
        .expect("signing and strict validation go together");
    gossip.subscribe(topic).expect("the filter allows this topic, and nobody is there to be told");
    gossip
}

/// A hash of author and sequence number: 16 bytes, so that announcements of many messages stay small, and of the whole
/// author, so that nobody can make an identity whose messages have the ids of another one's and are taken for them. The id
/// stands for a checked signature, so nobody can take up another one's.
fn message_id(message: &Message) -> MessageId {
    let mut hasher = blake3::Hasher::new_derive_key("parlor gossip message id v1");
    hasher.update(&message.sequence_number.unwrap_or_default().to_be_bytes());
    hasher.update(&message.source.map(PeerId::to_bytes).unwrap_or_default());
    MessageId::new(&hasher.finalize().as_bytes()[..16])
}

fn config() -> Config {
    ConfigBuilder::default()
        .max_transmit_size(MAX_TRANSMIT)
        .max_control_message_size(MAX_CONTROL)
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .duplicate_cache_time(DUPLICATE_CACHE)
        .heartbeat_initial_delay(HEARTBEAT_DELAY)
        .heartbeat_interval(HEARTBEAT)
        .mesh_outbound_min(0)
        .mesh_n_low(1)
        .mesh_n(3)
        .mesh_n_high(6)
        .gossip_lazy(2)
        .flood_publish(true)
        .prune_backoff(PRUNE_BACKOFF)
        .unsubscribe_backoff(UNSUBSCRIBE_BACKOFF)
        .connection_handler_queue_len(QUEUE_LEN)
        .forward_queue_duration(FORWARD_PATIENCE)
        .build()
        .expect("the constants satisfy gossipsub's rules")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use libp2p::{gossipsub::TopicHash, identity::ed25519};

    use super::*;

    fn id(source: &[u8], sequence_number: u64) -> MessageId {
        message_id(&Message {
            source: Some(PeerId::from_bytes(source).unwrap()),
            data: Vec::new(),
            sequence_number: Some(sequence_number),
            topic: TopicHash::from_raw("topic"),
        })
    }

    #[test]
    fn the_whole_author_counts_in_a_messages_id() {
        let key = libp2p::identity::Keypair::from(ed25519::Keypair::generate());
        let one = key.public().to_peer_id().to_bytes();
        // Whoever tries long enough finds a key with any few bytes at its end.
        let mut other = one.clone();
        other[10] ^= 1;
        assert_ne!(id(&one, 7), id(&other, 7));
        assert_ne!(id(&one, 7), id(&one, 8));
        assert_eq!(id(&one, 7), id(&one, 7));
        assert_eq!(id(&one, 7).0.len(), 16);
    }
}
