//! What is said over the bridge between a page's `webxdc.js` and the node, on one page.
//!
//! For: the message types, their limits, and the two byte formats. Not for: when what is said (see
//! [`super::bridge`]); nothing here travels between nodes.
//!
//! Text frames are JSON, binary frames are realtime messages. From the page:
//!
//! | frame | meaning |
//! |---|---|
//! | `{"pull":{"gen":1,"after":7,"wait":true}}` | the next updates, please; `wait`: when there are any |
//! | `{"send":{"n":3,"update":{"payload":…}}}` | `sendUpdate` number 3 of this page |
//! | `"join"`, `"leave"` | the realtime channel |
//! | `{"agent":…}` | a value for the program's agent on this node |
//! | binary | a realtime message to the others |
//!
//! To the page:
//!
//! | frame | meaning |
//! |---|---|
//! | `{"updates":{"gen":1,"updates":[…]}}` | the answer to one pull |
//! | `{"sent":{"n":3}}`, `{"refused":{"n":3,"why":…}}` | the answer to one send |
//! | `{"agent":…}` | a value of the program's agent on this node |
//! | binary: u16 big-endian length, `{"addr":…,"name":…}`, data | a realtime message, with its verified sender |

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use parlor_proto::group;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::instance::{DeliveredUpdate, RealtimeMessage, UpdateContent};
use crate::runtime::update::{self, BadUpdate};

/// Largest update, as the bytes of its JSON (webxdc `sendUpdateMaxSize`).
pub const MAX_UPDATE_LEN: usize = group::MAX_PAYLOAD;

/// Largest realtime message, bytes.
pub const MAX_REALTIME_LEN: usize = group::MAX_REALTIME;

/// How often a page may send in the long run (webxdc `sendUpdateInterval`); it may send [`UPDATE_BURST`] at once.
pub const UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// Updates that a page may send without waiting for [`UPDATE_INTERVAL`].
pub(super) const UPDATE_BURST: u32 = 50;

/// Updates that a page may send before the first is answered.
pub(super) const MAX_PENDING_SENDS: usize = 16;

/// Updates in one answer to a pull.
pub(super) const MAX_PULLED: usize = 64;

/// Largest frame a page may send, bytes: an update in its envelope.
pub(super) const MAX_FRAME_LEN: usize = MAX_UPDATE_LEN + 1024;

/// What the page says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FromPage {
    Pull(Pull),
    Send(Send),
    Join,
    Leave,
    Agent(Box<RawValue>),
}

/// Asks for the next updates. A new pull replaces one that still waits.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Pull {
    /// Which listener asks, so that answers to one that was replaced can be told.
    #[serde(rename = "gen")]
    pub(super) generation: u32,
    /// The last serial the page has.
    pub(super) after: u64,
    /// Whether to answer only once there is something.
    pub(super) wait: bool,
}

/// Asks to send an update.
#[derive(Debug, Deserialize)]
pub(super) struct Send {
    /// Counts the page's updates, from 1.
    pub(super) n: u64,
    /// Read on its own, so that a bad one is refused by number.
    pub(super) update: Box<RawValue>,
}

impl Send {
    pub(super) fn content(&self) -> Result<UpdateContent, BadUpdate> {
        update::read(self.update.get())
    }
}

/// What the node says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ToPage {
    Updates {
        #[serde(rename = "gen")]
        generation: u32,
        updates: Vec<DeliveredUpdate>,
    },
    Sent {
        n: u64,
    },
    Refused {
        n: u64,
        why: String,
    },
    Agent(Box<RawValue>),
}

impl ToPage {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and raw JSON always serialise")
    }
}

/// A realtime message for the page. `None` if the sender's name is absurdly long.
pub(super) fn realtime_frame(message: &RealtimeMessage) -> Option<Bytes> {
    let sender = serde_json::to_vec(&message.sender).ok()?;
    let mut frame = BytesMut::with_capacity(2 + sender.len() + message.data.len());
    frame.put_u16(u16::try_from(sender.len()).ok()?);
    frame.put_slice(&sender);
    frame.put_slice(&message.data);
    Some(frame.freeze())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runtime::web::Sender;

    fn send(update: &str) -> Send {
        let FromPage::Send(send) =
            serde_json::from_str(&format!(r#"{{"send":{{"n":1,"update":{update}}}}}"#)).unwrap()
        else {
            panic!("not a send")
        };
        send
    }

    #[test]
    fn payloads_pass_as_they_were_written() {
        let payload =
            r#"{"z":1.0,"a":0.30000000000000004,"deep":[[[]]],"big":123456789012345678901234567890}"#;
        let content =
            send(&format!(r#"{{"payload":{payload},"info":"Alice voted","unknown":1}}"#)).content().unwrap();
        assert_eq!(content.payload.get(), payload);
        assert_eq!(content.info.as_deref(), Some("Alice voted"));
        let delivered = DeliveredUpdate {
            payload: content.payload,
            serial: 3,
            max_serial: 4,
            info: content.info,
            href: None,
            document: None,
            summary: None,
            notify: None,
            checkpoint: false,
            sender: Sender { addr: "a".into(), name: "Alice".into() },
        };
        assert_eq!(
            ToPage::Updates { generation: 9, updates: vec![delivered] }.to_json(),
            format!(
                r#"{{"updates":{{"gen":9,"updates":[{{"payload":{payload},"serial":3,"max_serial":4,"info":"Alice voted","sender":{{"addr":"a","name":"Alice"}}}}]}}}}"#
            )
        );
    }

    #[test]
    fn a_checkpoint_says_so_and_nothing_else_does() {
        let plain = send(r#"{"payload":1}"#).content().unwrap();
        assert!(!plain.checkpoint);
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"payload":1}"#, "as other hosts write it");
        let summed_up = send(r#"{"payload":1,"checkpoint":true}"#).content().unwrap();
        assert!(summed_up.checkpoint);
        let written = serde_json::to_string(&summed_up).unwrap();
        assert_eq!(written, r#"{"payload":1,"checkpoint":true}"#);
        let odd = send(r#"{"payload":1,"checkpoint":"yes"}"#).content();
        assert!(matches!(odd, Err(BadUpdate::Malformed(_))));
    }

    #[test]
    fn null_is_a_payload_and_none_is_not() {
        assert_eq!(send(r#"{"payload":null}"#).content().unwrap().payload.get(), "null");
        assert!(matches!(send(r#"{"info":"x"}"#).content(), Err(BadUpdate::Malformed(_))));
        assert!(matches!(send(r#"{"payload":1,"info":2}"#).content(), Err(BadUpdate::Malformed(_))));
    }

    #[test]
    fn the_size_counts_the_whole_update() {
        let frame = r#"{"payload":""}"#.len();
        let fits = format!(r#"{{"payload":"{}"}}"#, "x".repeat(MAX_UPDATE_LEN - frame));
        assert!(send(&fits).content().is_ok());
        let over = format!(r#"{{"payload":"{}"}}"#, "x".repeat(MAX_UPDATE_LEN - frame + 1));
        assert!(matches!(send(&over).content(), Err(BadUpdate::TooLarge(n)) if n == MAX_UPDATE_LEN + 1));
    }

    #[test]
    fn a_realtime_frame_carries_its_sender() {
        let sender = Sender { addr: "a1".into(), name: "Bö".into() };
        let frame = realtime_frame(&RealtimeMessage { sender, data: Bytes::from_static(b"\0data") }).unwrap();
        let header = "{\"addr\":\"a1\",\"name\":\"Bö\"}".as_bytes();
        assert_eq!(frame[..2], [0, u8::try_from(header.len()).unwrap()]);
        assert_eq!(frame[2..2 + header.len()], *header);
        assert_eq!(frame[2 + header.len()..], *b"\0data");
        let sender = Sender { addr: String::new(), name: "x".repeat(70_000) };
        assert!(realtime_frame(&RealtimeMessage { sender, data: Bytes::new() }).is_none());
    }
}
