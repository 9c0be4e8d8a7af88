//! Who is at the other end of a bridge that is made again.
//!
//! For: [`exchange`], in which a page that lost its connection and this node prove to each other that they are who they
//! were; after a restart, too. Not for: the first connection, which has the credential of this start.
//!
//! The idea: after a restart a page can trust nothing by its address alone, since anybody on this computer may listen
//! there by then; and it must send nothing that is of use to such a listener. So nothing secret is sent: both show that
//! they know what `webxdc.js` came with, by a keyed hash over what each has just made up. The *port* is hashed, too: a
//! listener on the page's port that passes everything on to the node, which had to take another port, gets nowhere.
//!
//! | from | text frame |
//! |---|---|
//! | node | `{"challenge":HEX}` |
//! | page | `{"proof":{"nonce":HEX,"mac":HEX}}`: HMAC-SHA-256 of `page PORT PAGE CHALLENGE NONCE` |
//! | node | `{"proven":{"mac":HEX,"launch":TOKEN}}`: of `node PORT PAGE CHALLENGE NONCE`; what the token buys is the cookie of this start |

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How long the whole of it may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a page and its node know, and nobody else.
#[derive(Clone)]
pub(super) struct Secret(pub(super) [u8; 32]);

impl Secret {
    /// For the page's script.
    pub(super) fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        // HMAC takes keys of every length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of 32 bytes is a key");
        mac.update(text.as_bytes());
        mac
    }
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum FromNode {
    Challenge(String),
    Proven { mac: String, launch: String },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum FromPage {
    Proof { nonce: String, mac: String },
}

/// Which page proves itself where.
pub(super) struct Claim {
    pub(super) secret: Secret,
    pub(super) port: u16,
    pub(super) page: [u8; 16],
}

/// Whether both have proven themselves. `launch`: makes a token that buys the cookie of this start.
pub(super) async fn exchange(socket: &mut WebSocket, claim: &Claim, launch: impl FnOnce() -> String) -> bool {
    let exchange = async {
        let challenge = hex::encode(rand::random::<[u8; 32]>());
        say(socket, &FromNode::Challenge(challenge.clone())).await?;

        let Some(Ok(Message::Text(text))) = socket.recv().await else { return None };
        let FromPage::Proof { nonce, mac } = serde_json::from_str(&text).ok()?;
        let is_nonce = nonce.len() == 64 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
        let given = hex::decode(mac).ok().filter(|_| is_nonce)?;
        let about = format!("{} {} {challenge} {nonce}", claim.port, hex::encode(claim.page));
        // Compares in constant time.
        claim.secret.mac(&format!("page {about}")).verify_slice(&given).ok()?;

        let mac = claim.secret.mac(&format!("node {about}")).finalize().into_bytes();
        say(socket, &FromNode::Proven { mac: hex::encode(mac), launch: launch() }).await
    };
    matches!(tokio::time::timeout(PATIENCE, exchange).await, Ok(Some(())))
}

async fn say(socket: &mut WebSocket, message: &FromNode) -> Option<()> {
    let text = serde_json::to_string(message).expect("strings always serialise");
    socket.send(Message::text(text)).await.ok()
}
