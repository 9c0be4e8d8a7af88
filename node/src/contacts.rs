//! The address book: from what a user types to a peer.
//!
//! For: WHO: a contact's name, a PeerId, or a multiaddr that ends in `/p2p/PEER`. Not for: names that peers
//! give themselves: those are shown, but never resolved, because anybody can take any.

use parlor_proto::identity::PeerId;

use crate::{
    context::{Context, Event},
    overlay::Address,
    store::{Contact, MAX_CONTACTS, StoreError},
};

/// Longest name of a contact, characters.
const MAX_NAME: usize = 64;

/// Why a contact cannot be found or kept.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ContactError {
    #[error(
        "who is {0:?}? Use a contact's name (`parlor contact list`), a PeerId, or a multiaddr ending in /p2p/PEER"
    )]
    Unknown(String),
    #[error("{0:?} cannot be a contact's name: use 1 to {MAX_NAME} characters, no `/`, and not a PeerId")]
    BadName(String),
    #[error("{0:?} is not a PeerId nor a multiaddr ending in /p2p/PEER")]
    BadPeer(String),
    #[error("there is no contact named {0:?}: `parlor contact list` shows them")]
    NoSuchContact(String),
    #[error("this node is {0:?} itself")]
    Myself(String),
    #[error("the address book is full: it holds {MAX_CONTACTS} contacts")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Context {
    /// Who is meant. Where they are is remembered for dialling.
    pub async fn resolve(&self, who: &str) -> Result<PeerId, ContactError> {
        if let Some(contact) = self.store.contact_named(who).await? {
            return Ok(contact.peer);
        }
        let Some((peer, address)) = parse(who) else { return Err(ContactError::Unknown(who.into())) };
        if let Some(address) = address {
            self.overlay.add_address(peer, address).await;
        }
        Ok(peer)
    }

    /// Adds or changes a contact.
    pub async fn add_contact(&self, name: &str, who: &str, trusted: bool) -> Result<Contact, ContactError> {
        let usable = (1..=MAX_NAME).contains(&name.chars().count())
            && !name.chars().any(|c| c.is_control() || c == '/')
            && name.trim() == name
            && parse(name).is_none();
        if !usable {
            return Err(ContactError::BadName(name.into()));
        }
        let (peer, address) = parse(who).ok_or_else(|| ContactError::BadPeer(who.into()))?;
        if peer == self.me() {
            return Err(ContactError::Myself(name.into()));
        }
        if self.store.contacts().await?.len() >= MAX_CONTACTS {
            return Err(ContactError::Full);
        }
        let mut addresses = match self.store.contact_of(peer).await? {
            Some(known) => known.addresses,
            None => Vec::new(),
        };
        if let Some(address) = address {
            let text = address.to_string();
            addresses.retain(|known| *known != text);
            addresses.insert(0, text);
            addresses.truncate(parlor_proto::session::MAX_ADDRESSES);
            self.overlay.add_address(peer, address).await;
        }
        let contact = Contact { name: name.into(), peer, trusted, addresses };
        self.store.put_contact(&contact).await?;
        self.tell(Event::Changed);
        Ok(contact)
    }

    /// Forgets a contact.
    pub async fn remove_contact(&self, name: &str) -> Result<(), ContactError> {
        if !self.store.remove_contact(name).await? {
            return Err(ContactError::NoSuchContact(name.into()));
        }
        self.tell(Event::Changed);
        Ok(())
    }

    /// At start: the overlay learns where contacts and billing peers were last.
    pub async fn locate_contacts(&self) -> Result<(), StoreError> {
        for contact in self.store.contacts().await? {
            for address in contact.addresses.iter().filter_map(|address| address.parse().ok()) {
                self.overlay.add_address(contact.peer, address).await;
            }
        }
        for place in self.store.places().await? {
            self.locate(&place).await;
        }
        Ok(())
    }

    /// What to call a peer: as the user does, else as it does itself, else by the end of its id.
    pub async fn name_of(&self, peer: PeerId, own_name: &str) -> String {
        match self.store.contact_of(peer).await {
            Ok(Some(contact)) => contact.name,
            _ if own_name.is_empty() => crate::group::short_name(peer),
            _ => own_name.to_owned(),
        }
    }
}

/// A PeerId, or an address that ends in one.
fn parse(who: &str) -> Option<(PeerId, Option<Address>)> {
    if let Ok(peer) = who.parse() {
        return Some((peer, None));
    }
    let address: Address = who.parse().ok()?;
    Some((address.peer()?, Some(address)))
}
