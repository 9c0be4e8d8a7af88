//! What can be asked of a running node: one command a verb of the command line.
//!
//! For: the one vocabulary that the command line, the console page and embedders share. Not for: how a
//! command reaches the node (a Unix socket, a loopback port, or a call) nor how its answer is printed.
//!
//! As JSON a command is one object, `{"verb":"invite","session":…,"who":[…]}`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

/// A command. WHO is a contact's name, a PeerId, or a multiaddr ending in `/p2p/PEER`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Command {
    /// Who am I?
    Id,
    /// What runs here
    Status,
    /// Who is near
    Peers,
    /// Whether invitations are let in: free, busy, or auto (busy while a session runs)
    Availability(AvailabilityCommand),
    /// Offers a directory or an .xdc to hosts
    Publish(Publish),
    /// What an origin offers
    Catalog(Catalog),
    /// Gets a program and a ticket from an origin
    Get(Get),
    /// The library
    Programs,
    /// Opens a new session
    Host(HostCommand),
    /// Invites into a session, by name or by a link
    Invite(Invite),
    /// Takes a member out of a session
    Remove(Remove),
    /// Makes a member the host, with all copies that are left
    HandOver(Remove),
    /// Invitations that wait for an answer
    Inbox,
    /// Accepts an invitation, or follows a link
    Join(Join),
    /// Declines an invitation
    Decline(OfSession),
    /// Starts a session with those that are ready; late ones come in
    Start(OfSession),
    /// Pauses a session
    Suspend(OfSession),
    /// Goes on with a suspended session
    Resume(OfSession),
    /// Ends a session (as host), or leaves it
    End(End),
    /// All sessions
    Sessions,
    /// One session and its members
    Session(OfSession),
    /// Shows the session's web part in the browser
    Open(Open),
    /// Takes part from a terminal: posts TEXT as an update
    Send(Send),
    /// Every event of a session, a line each, from its beginning
    Watch(OfSession),
    /// Receipts that no billing peer has acknowledged yet
    Outbox,
    /// Every event of the node, a line each
    #[command(hide = true)]
    Events,
    /// The address book
    #[command(subcommand)]
    #[serde(untagged)]
    Contact(ContactCommand),
    /// Changes the library
    #[command(subcommand)]
    #[serde(untagged)]
    Program(ProgramCommand),
    /// The rights held, and the copies left
    #[command(subcommand)]
    #[serde(untagged)]
    Ticket(TicketCommand),
    /// Carries a program by hand
    #[command(subcommand)]
    #[serde(untagged)]
    Card(CardCommand),
    /// Proofs that hosts gave one copy to two members
    #[command(subcommand)]
    #[serde(untagged)]
    Proof(ProofCommand),
    /// A billing peer's books
    #[command(subcommand)]
    #[serde(untagged)]
    Bill(BillCommand),
}

/// The address book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum ContactCommand {
    /// Adds or changes a contact
    #[serde(rename = "contact-add")]
    Add {
        /// What to call it
        name: String,
        /// A PeerId, or a multiaddr ending in /p2p/PEER
        #[arg(value_name = "PEER-OR-MULTIADDR")]
        who: String,
        /// Its invitations are accepted by themselves
        #[arg(long)]
        #[serde(default)]
        trust: bool,
    },
    /// All contacts
    #[serde(rename = "contact-list")]
    List,
    /// Forgets a contact
    #[serde(rename = "contact-remove")]
    Remove {
        /// Its name
        name: String,
    },
}

/// The rejection flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct AvailabilityCommand {
    /// What becomes of invitations; left out, the setting is shown
    #[arg(value_enum)]
    #[serde(default)]
    pub setting: Option<Availability>,
}

/// Whether invitations are let in (service rejection flag 37).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Availability {
    /// Let in
    Free,
    /// Declined by themselves
    Busy,
    /// Let in, but declined while a session runs
    #[default]
    Auto,
}

/// An origin's offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct Publish {
    /// A directory, or an .xdc file
    pub path: PathBuf,
    /// Hosts get exactly N copies
    #[arg(long, value_name = "N", conflicts_with = "copies_max")]
    #[serde(default)]
    pub copies: Option<u32>,
    /// Hosts get at most N copies
    #[arg(long, value_name = "N")]
    #[serde(default)]
    pub copies_max: Option<u32>,
    /// For instance copy=100EUR,reception=5EUR (minor units): copy (host, at issue), reception (each
    /// receiver), use (per session), minute
    #[arg(long, value_name = "SPEC")]
    #[serde(default)]
    pub price: Option<String>,
    /// Who gets the receipts (WHO); this node itself if nobody is named
    #[arg(long, value_name = "PEER")]
    #[serde(default)]
    pub billing: Vec<String>,
    /// The program runs only under leases of this length (not supported yet)
    #[arg(long, value_name = "DUR")]
    #[serde(default)]
    pub lease: Option<String>,
}

/// Which catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct Catalog {
    /// The origin; this node if left out
    #[serde(default)]
    pub who: Option<String>,
}

/// A supply request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct Get {
    /// The origin
    pub who: String,
    /// The program's name in its catalog
    pub name: String,
    /// How many members are to get a copy. If left out: the most that is allowed (up to 16) when copies
    /// cost nothing, else the fewest
    #[arg(long, value_name = "N")]
    #[serde(default)]
    pub copies: Option<u32>,
}

/// The library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum ProgramCommand {
    /// Takes a program and its files out of the library
    #[serde(rename = "program-remove")]
    Remove {
        /// Its name, or the beginning of its id
        name: String,
    },
}

/// The rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum TicketCommand {
    /// All tickets
    #[serde(rename = "ticket-list")]
    List,
    /// One ticket and its slots
    #[serde(rename = "ticket-show")]
    Show {
        /// Its id, or the beginning of it
        #[arg(value_name = "ID")]
        ticket: String,
        /// Writes the signed ticket, a COSE_Sign1, to this file
        #[arg(long, value_name = "FILE")]
        #[serde(default)]
        cose: Option<PathBuf>,
        /// Replaces a file that is there already
        #[arg(long, requires = "cose")]
        #[serde(default)]
        force: bool,
    },
}

/// Cards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum CardCommand {
    /// Writes program, right and this node's address into a file
    #[serde(rename = "card-write")]
    Write {
        /// The program
        name: String,
        /// The card
        file: PathBuf,
        /// Replaces a file that is there already
        #[arg(long)]
        #[serde(default)]
        force: bool,
    },
    /// Takes what a card carries into the library and the address book
    #[serde(rename = "card-read")]
    Read {
        /// The card
        file: PathBuf,
    },
}

/// Proofs of cheats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum ProofCommand {
    /// All that this node found, as a member or as a billing peer
    #[serde(rename = "proof-list")]
    List,
    /// Writes one into a file, for whoever is to check it
    #[serde(rename = "proof-export")]
    Export {
        /// Its id, or the beginning of it
        #[arg(value_name = "ID")]
        proof: String,
        /// An array in CBOR of the two slots, each a COSE_Sign1
        file: PathBuf,
        /// Replaces a file that is there already
        #[arg(long)]
        #[serde(default)]
        force: bool,
    },
    /// Whether a file proves anything, and against whom
    #[serde(rename = "proof-check")]
    Check {
        /// As `proof export` writes it
        file: PathBuf,
    },
}

/// A new session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct HostCommand {
    /// The program: its name, or the beginning of its id
    pub name: String,
    /// Whom to invite (WHO)
    #[arg(long, value_name = "WHO", num_args = 1..)]
    #[serde(default)]
    pub invite: Vec<String>,
    /// After how long without a sign of this node the next member takes over, for instance 30s or 10m
    #[arg(long, value_name = "DUR")]
    #[serde(default)]
    pub takeover: Option<String>,
    /// A program that plugs in as content (not supported yet)
    #[arg(long, value_name = "NAME")]
    #[serde(default)]
    pub pack: Option<String>,
}

/// More members.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct Invite {
    /// The session, or the beginning of its id
    pub session: String,
    /// Whom
    #[arg(required_unless_present = "link", conflicts_with = "link")]
    #[serde(default)]
    pub who: Vec<String>,
    /// Prints a link instead, for somebody whose node this one has never met
    #[arg(long)]
    #[serde(default)]
    pub link: bool,
    /// The link is good for this node alone (WHO); else for the first who opens it
    #[arg(long = "for", value_name = "WHO", requires = "link", conflicts_with = "who")]
    #[serde(default, rename = "for")]
    pub bound: Option<String>,
    /// For how long the link is good, for instance 30m or 7days [default: 1day]
    #[arg(long, value_name = "DURATION", requires = "link", conflicts_with = "who")]
    #[serde(default)]
    pub expires: Option<String>,
    /// The link's QR code comes along as an SVG: for pages.
    #[arg(skip)]
    #[serde(default)]
    pub qr: bool,
}

/// A member's yes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct Join {
    /// The session, or the beginning of its id; or a link (parlor:…); or `-`, which reads it from standard input: what is
    /// typed here, other users of this computer can see
    #[arg(value_name = "SESSION-OR-LINK")]
    pub session: String,
}

/// Fewer members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct Remove {
    /// The session, or the beginning of its id
    pub session: String,
    /// Whom
    pub who: String,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct OfSession {
    /// The session, or the beginning of its id
    pub session: String,
}

/// ST27-29.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct End {
    /// The session, or the beginning of its id
    pub session: String,
    /// The program stays in the library (the default)
    #[arg(long, conflicts_with = "discard")]
    #[serde(default)]
    pub keep: bool,
    /// The program's files are deleted
    #[arg(long)]
    #[serde(default)]
    pub discard: bool,
}

/// The web part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct Open {
    /// The session, or the beginning of its id
    pub session: String,
    /// Prints the URL instead of starting the browser
    #[arg(long)]
    #[serde(default)]
    pub print: bool,
}

/// Input from a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
pub struct Send {
    /// The session, or the beginning of its id
    pub session: String,
    /// What to say
    pub text: String,
    /// A name for it, for scripts that try again: under the same name it is posted once
    #[arg(long, value_name = "KEY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    #[serde(default)]
    pub key: Option<String>,
}

/// The books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum BillCommand {
    /// Every receipt, in the order of the billing log
    #[serde(rename = "bill-receipts")]
    Receipts,
    /// Who owes what
    #[serde(rename = "bill-statement")]
    Statement {
        /// Of this payer alone (WHO)
        #[arg(long, value_name = "PEER")]
        #[serde(default)]
        payer: Option<String>,
    },
    /// An invoice for one payer
    #[serde(rename = "bill-invoice")]
    Invoice {
        /// Who pays (WHO)
        #[arg(long, value_name = "PEER")]
        payer: String,
    },
    /// All charges, for other programs
    #[serde(rename = "bill-export")]
    Export {
        /// In which form
        #[arg(long, value_enum)]
        format: ExportFormat,
    },
}

/// In which form to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// Comma-separated values, one line a charge
    Csv,
    /// One object
    Json,
    /// A journal for hledger
    Hledger,
}
