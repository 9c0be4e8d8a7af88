//! What makes a post one post, however often it is asked for.
//!
//! For: [`PostKey`], which whoever posts chooses, and how many of them are remembered. Not for: remembering (see the
//! store), nor for updates of other members: those have their number.
//!
//! The idea: whoever is not sure that it has posted asks again with the same key. The key is on disk in the very
//! transaction that wrote the update, so that it is there if and only if the update is.

/// Pages of a session that are remembered, those that posted last. Opening a tab makes one.
pub const MAX_PAGES: usize = 64;
/// Posts of one page that are remembered, the newest. More than it may have without an answer.
pub const KEPT_OF_PAGE: usize = 64;
/// Posts of one agent that are remembered, the newest: upon updates that come to it again after a kill.
pub const KEPT_OF_AGENT: usize = 4_096;
/// Posts of the node's user that are remembered, the newest.
pub const KEPT_OF_USER: usize = 1_024;

/// What all pages' sources begin with.
pub(crate) const PAGES: &str = "page:";

/// Names one post of one session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PostKey {
    source: String,
    key: Vec<u8>,
    kept: usize,
}

impl PostKey {
    /// The `n`th post of a page: of one load of it, which is random.
    #[must_use]
    pub fn of_page(page: [u8; 16], n: u64) -> Self {
        let source = format!("{PAGES}{}", hex::encode(page));
        Self { source, key: n.to_be_bytes().to_vec(), kept: KEPT_OF_PAGE }
    }

    /// The `nth` post of a part of the program upon the update at `serial`, with what it says: should it say something
    /// else when the update comes again, that is another post.
    #[must_use]
    pub fn of_agent(part: &str, serial: u64, nth: u32, payload: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("parlor post of an agent v1");
        hasher.update(&serial.to_be_bytes()).update(&nth.to_be_bytes()).update(payload);
        let key = hasher.finalize().as_bytes()[..16].to_vec();
        Self { source: format!("agent:{part}"), key, kept: KEPT_OF_AGENT }
    }

    /// What the user, or a script of the user's, calls it.
    #[must_use]
    pub fn of_user(name: &str) -> Self {
        let key = blake3::derive_key("parlor post of a user v1", name.as_bytes())[..16].to_vec();
        Self { source: "user".to_owned(), key, kept: KEPT_OF_USER }
    }

    /// Who asks.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Which of its posts this is.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// How many of this source's are remembered.
    pub(crate) fn kept(&self) -> usize {
        self.kept
    }
}
