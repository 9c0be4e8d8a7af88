//! Web programs: a webxdc app, shown in the user's own browser and bridged to the group.
//!
//! For: [`WebServer`], one HTTP server on loopback that serves every running program from an origin of its own, and
//! the bridge through which its page speaks to the group. Not for: the control API and the console, which live on
//! another origin; nor for what an update *is*: the node gives each program's [`Instance`].
//!
//! The idea: a program is a page from a stranger in the user's everyday browser, so that everything rests on the
//! origin and on the headers.
//!
//! - One unguessable [`Label`] an instance, hence one origin an instance: the browser itself keeps storage apart. The
//!   instance is derived from the `Host` header alone, never from what a page says.
//! - Every response says that the page may connect to its own origin and nowhere else ([`headers`]). Responses that
//!   the HTTP library would write by itself, without those headers, never leave the node ([`listener`]).
//! - Nothing is served without a credential that only the user's own browser gets, in exchange for a launch token that
//!   works once ([`launch`]). It is good for one start on one port; a tab that outlives the node proves itself, and has
//!   the node prove itself, before it goes on ([`proof`]).
//! - The page talks to the node over one WebSocket ([`bridge`]); it *pulls* updates, page by page, so that a slow page
//!   costs no memory; what it sends carries a number, which the instance keeps with the update, so that sending again
//!   sends once: after a reconnect, a suspension, a kill.
//!
//! ```text
//!  parlor open ──launch──> http://LABEL.localhost:PORT/?launch=TOKEN ──cookie──> /index.html
//!                                                                                   │ webxdc.js (ours)
//!                          Instance <── bridge <── ws://LABEL.localhost:PORT/.parlor/bridge
//! ```

mod bridge;
mod files;
mod headers;
mod instance;
mod launch;
mod listener;
mod messages;
mod origin;
mod pages;
mod proof;
mod server;
#[cfg(test)]
mod tests;

pub use instance::{
    DeliveredUpdate, Instance, ReadError, RealtimeMessage, SendError, SendKey, Sender, UpdateContent,
};
pub use launch::{LAUNCH_TTL, Launch};
pub use messages::{MAX_REALTIME_LEN, MAX_UPDATE_LEN, UPDATE_INTERVAL};
pub use origin::{Label, ParseLabelError};
pub use server::{LaunchError, StartError, WebServer};
