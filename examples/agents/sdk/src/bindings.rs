//! What is made of the contract, `proto/wit/agent.wit`.
//!
//! For: the types and functions of the world `agent`, and the way from its events to an [`Agent`]. Not for authors: the
//! other modules say all of it in a friendlier way, and [`export!`](crate::export) is the way in.

#![allow(missing_docs, unreachable_pub, clippy::all)]

use crate::Agent;

wit_bindgen::generate!({
    world: "agent",
    path: "../../../proto/wit",
    additional_derives: [PartialEq, Eq],
    pub_export_macro: true,
    export_macro_name: "export_world",
    default_bindings_module: "parlor_agent::bindings",
});

use exports::parlor::agent::events::{Guest, Readiness};
use parlor::agent::types::{Member, Update};

/// Whatever holds the one agent of a component.
pub trait Holder {
    type Agent: Agent;

    fn with<R>(event: impl FnOnce(&mut Self::Agent) -> R) -> R;
}

impl<H: Holder> Guest for H {
    fn setup() -> Result<Readiness, String> {
        listen_for_panics();
        H::with(Agent::setup)
    }

    fn start(state: Option<Vec<u8>>) {
        listen_for_panics();
        H::with(|agent| agent.start(state));
    }

    fn message(sender: String, message: Vec<u8>) {
        H::with(|agent| agent.message(sender, message));
    }

    fn update(update: Update) {
        H::with(|agent| agent.update(update));
    }

    fn input(text: String) {
        H::with(|agent| agent.input(text));
    }

    fn page(json: String) {
        H::with(|agent| agent.page(json));
    }

    fn tick() {
        H::with(Agent::tick);
    }

    fn members(members: Vec<Member>) {
        H::with(|agent| agent.members(members));
    }

    fn suspend() -> Vec<u8> {
        H::with(Agent::suspend)
    }

    fn end() {
        H::with(Agent::end);
    }
}

/// A panic is a trap, which says nothing: its words go to the log before.
fn listen_for_panics() {
    std::panic::set_hook(Box::new(|panic| crate::system::log(&panic.to_string())));
}

/// Makes a type the component's agent. Once in a crate.
///
/// ```no_run
/// #[derive(Default)]
/// struct Quiet;
///
/// impl parlor_agent::Agent for Quiet {}
///
/// parlor_agent::export!(Quiet);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    ($agent:ty) => {
        const _: () = {
            struct Exported;

            ::std::thread_local! {
                static AGENT: ::std::cell::RefCell<$agent> = ::std::cell::RefCell::default();
            }

            impl $crate::bindings::Holder for Exported {
                type Agent = $agent;

                fn with<R>(event: impl FnOnce(&mut $agent) -> R) -> R {
                    AGENT.with_borrow_mut(event)
                }
            }

    $crate::bindings::export_world!(Exported with_types_in $crate::bindings);
        };
    };
}
