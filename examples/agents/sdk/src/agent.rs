//! What happens to an agent.

pub use crate::bindings::exports::parlor::agent::events::Readiness;
use crate::{Member, Update};

/// An agent: what runs by itself on a node that has the program.
///
/// Every method is an event, and none need be written: left out, it does nothing. None begins before the one before has
/// returned. [`export!`](crate::export) makes the component.
///
/// What an agent knows is in its fields. It begins as its `Default`, before `setup` and again before `start`.
pub trait Agent: Default + 'static {
    /// The program has arrived, whole and verified, and the user may not have seen it yet. The group is not there yet:
    /// nothing can be said.
    ///
    /// # Errors
    ///
    /// Keeps the program from running on this node. The words are for the user: what is wrong, and what to do.
    fn setup(&mut self) -> Result<Readiness, String> {
        Ok(Readiness::Ready)
    }

    /// The session begins or goes on. `state` is what [`suspend`](Self::suspend) returned last; `None` the first time.
    /// Updates from before that do not come again; those after it do.
    fn start(&mut self, state: Option<Vec<u8>>) {
        let _ = state;
    }

    /// A member has sent something with [`group::send`](crate::group::send), or a page of this program has.
    /// `sender` is a member's `addr`.
    fn message(&mut self, sender: String, message: Vec<u8>) {
        let _ = (sender, message);
    }

    /// The next update: every member gets each of them, those of one sender in the order in which they were posted.
    /// This node's own come too.
    fn update(&mut self, update: Update) {
        let _ = update;
    }

    /// The user of this node has typed a line: `parlor send SESSION "the line"`.
    fn input(&mut self, text: String) {
        let _ = text;
    }

    /// The page on this node has said something: JSON.
    fn page(&mut self, json: String) {
        let _ = json;
    }

    /// So much time has passed as `tick_ms` in the manifest says. Without it there are none.
    fn tick(&mut self) {}

    /// Somebody came or went, or the host changed: everyone who is in the group now.
    fn members(&mut self, members: Vec<Member>) {
        let _ = members;
    }

    /// What is to be known at the next [`start`](Self::start): at most 1 MiB. The agent may go on afterwards.
    fn suspend(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// The session is over for this node. Nothing follows.
    fn end(&mut self) {}
}
