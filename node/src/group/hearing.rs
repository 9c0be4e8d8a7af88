//! What becomes of what members say, as soon as it comes.
//!
//! For: from a packet to the writer's queue, to the realtime readers or to the beacons. Not for: opening (see
//! [`super::door`]), nor for the log (see [`super::driver`]). Runs on the node's event task: no disk, no waiting.

use std::sync::{MutexGuard, PoisonError};

use parlor_proto::{
    group::{
        Control, MAX_CONTROL, MAX_REALTIME, Update,
        keys::GroupKeys,
        lanes::{EnterError, Lane, OpenError},
    },
    identity::PeerId,
    rights::Signed,
};

use super::{
    Beacon, Command, Inner, Realtime,
    complaint::Complaint,
    door::{Door, Said, Shut},
};
use crate::clock;

impl Inner {
    pub(super) fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_author(&self, peer: &PeerId) -> bool {
        self.authors.read().unwrap_or_else(PoisonError::into_inner).contains_key(peer)
    }

    /// Something that `author` said is dropped.
    pub(super) fn complain(&self, author: PeerId, lane: Option<Lane>, complaint: &Complaint) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).tell(author, lane, complaint);
    }

    pub(super) fn enter(&self, keys: &GroupKeys) -> Result<(), EnterError> {
        let (is_first, waited) = {
            let mut door = self.door();
            (!door.has_keys(), door.enter(keys, clock::now())?)
        };
        for (author, opened) in waited {
            self.opened(author, opened);
        }
        if is_first {
            // What was said meanwhile was not heard. If the queue is full, something else leads to a pull soon.
            let _ = self.commands.try_send(Command::Resync);
        }
        Ok(())
    }

    pub(super) fn heard(&self, author: PeerId, packet: &[u8]) {
        let opened = self.door().open(author, packet, clock::now());
        self.opened(author, opened);
    }

    fn opened(&self, author: PeerId, opened: Result<Said, Shut>) {
        let (lane, complaint) = match opened {
            Ok(said) => {
                let lane = said.lane;
                match self.deliver(said) {
                    Ok(()) => return,
                    Err(complaint) => (Some(lane), complaint),
                }
            }
            Err(Shut::Waits(epoch)) => {
                self.hint(epoch);
                return;
            }
            Err(Shut::Dropped(lane, complaint)) => {
                match complaint {
                    Complaint::Closed(OpenError::UnknownEpoch { epoch }) => self.hint(epoch),
                    Complaint::Closed(OpenError::Forked { .. }) => self.hint_of_fork(),
                    _ => {}
                }
                (lane, complaint)
            }
        };
        self.complain(author, lane, &complaint);
    }

    /// A member seems to be in that epoch.
    fn hint(&self, epoch: u64) {
        if epoch > self.door().epoch() {
            self.wanted_epoch.send_replace(epoch);
        }
    }

    /// A member follows another host or another commit than this node: one of the two is astray.
    fn hint_of_fork(&self) {
        let epoch = self.door().epoch();
        self.wanted_epoch.send_replace(epoch);
    }

    fn deliver(&self, said: Said) -> Result<(), Complaint> {
        let Said { author, lane, plaintext } = said;
        match lane {
            Lane::Updates => {
                let update = Signed::<Update>::decode(&plaintext)?;
                let sender = update.unverified().sender();
                if sender != author {
                    return Err(Complaint::AnotherName(sender));
                }
                let place = self.door().place(&author)?;
                // When the writer cannot keep up, this one is pulled later.
                self.commands.try_send(Command::Heard(author, update, place)).map_err(|_| Complaint::Busy)
            }
            Lane::Realtime if plaintext.len() <= MAX_REALTIME => {
                // Without a reader there is nobody to send to.
                let _ = self.realtime.send(Realtime { sender: author, data: plaintext.into() });
                Ok(())
            }
            Lane::Control if plaintext.len() <= MAX_CONTROL => {
                let Control::Beacon { term } =
                    cbor4ii::serde::from_slice(&plaintext).map_err(|_| Complaint::Unreadable)?;
                // As above.
                let _ = self.beacons.send(Beacon { author, term });
                Ok(())
            }
            Lane::Realtime | Lane::Control => Err(Complaint::Unreadable),
        }
    }
}
