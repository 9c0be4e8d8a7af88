//! The control API: what a user, a script or the console page asks of a running node.
//!
//! For: the commands ([`Command`]), carrying them out ([`execute`]), and the two ways in: a Unix socket in the
//! home, for the command line, and a loopback port with a token, for the console page. Not for: printing (the
//! command line does), nor for what other *nodes* ask.
//!
//! The idea: one endpoint, `POST /control`: a command as JSON in, lines of JSON out. The last line is the
//! answer, or `{"error":{"message":…}}`; what comes before it are events (progress, what `watch` sees).

mod bill;
pub mod client;
mod command;
mod execute;
mod proof;
pub(crate) mod qr;
mod server;
mod watch;

pub use command::{
    Availability, AvailabilityCommand, BillCommand, CardCommand, Catalog, Command, ContactCommand, End,
    ExportFormat, Get, HostCommand, Invite, Join, OfSession, Open, ProgramCommand, ProofCommand, Publish,
    Remove, Send, TicketCommand,
};
pub use execute::{CommandError, execute};
pub use server::{Console, ConsoleError, serve_socket};
