//! Tests of the outbox and the books, over one cast with fixed keys. Databases are files, and are opened anew
//! wherever a node could have been killed.
//!
//! The books are SQLite's, unless `PARLOR_TEST_BILLING_DB` has the URL of a PostgreSQL server, with `{}` for the
//! name of a database to be made (`tests/postgres.sh` runs one).
#![allow(clippy::unwrap_used)]

mod chaos;
mod copies;
mod courier;
mod export;
mod faults;
mod outbox;
mod service;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use parlor_proto::{
    billing::{BillingRequest, BillingResponse, Statement},
    identity::{Identity, PeerId},
    ids::{ProgramId, ReceiptHash, SessionId},
    rights::{Ack, Handover, Receipt, ReceiptKind, Right, Signed, Slot, Terms, Ticket, Verified, sign},
    time::Timestamp,
};
use sqlx::{
    Any, Sqlite,
    migrate::MigrateDatabase as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use tempfile::TempDir;

use super::{
    Book, Outbox, Service,
    outbox::{Parcel, What},
};
use crate::database::Pool;

/// 2030-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp(1_893_456_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const SESSION: SessionId = SessionId([5; 16]);

const ORIGIN: u8 = 1;
const HOST: u8 = 2;
const BILLING: u8 = 3;
const OTHER_BILLING: u8 = 4;
const SUCCESSOR: u8 = 5;
const MEMBER: u8 = 10;

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

fn peer(number: u8) -> PeerId {
    identity(number).peer()
}

/// A ticket for two copies, good for a day.
fn ticket(price: &str, billing: &[u8]) -> Verified<Ticket> {
    let ticket = Ticket {
        id: [0x11; 16],
        origin: peer(ORIGIN),
        host: peer(HOST),
        name: "chat".to_owned(),
        program: ProgramId([0x22; 32]),
        copies: 2,
        issued_at: NOW,
        not_before: NOW,
        expires: NOW + 24 * HOUR,
        terms: Terms { tariff: price.parse().unwrap(), lease: None },
        billing: billing.iter().map(|number| peer(*number)).collect(),
        offline_issue: false,
    };
    sign(&ticket, &identity(ORIGIN)).unwrap()
}

fn usual_ticket() -> Verified<Ticket> {
    ticket("copy=100EUR,reception=5EUR,use=7EUR,minute=1EUR", &[BILLING])
}

fn host_right(ticket: &Verified<Ticket>) -> Right {
    Right::host(ticket.clone(), NOW).unwrap()
}

fn member_right(ticket: &Verified<Ticket>, k: u32, member: u8) -> Right {
    let slot = Slot {
        ticket: ticket.hash(),
        k,
        generation: 0,
        host: peer(HOST),
        member: peer(member),
        issued_at: NOW,
        release: None,
        handover: None,
    };
    let slot = sign(&slot, &identity(HOST)).unwrap();
    Right::member(ticket.clone(), slot, NOW).unwrap()
}

/// All copies of `ticket` that `from` has by `via`, passed on to `to`.
fn handed(
    ticket: &Verified<Ticket>,
    from: u8,
    via: Option<&Verified<Handover>>,
    to: u8,
) -> Verified<Handover> {
    let handover = Handover {
        ticket: ticket.hash(),
        session: SESSION,
        term: via.map_or(1, |via| via.term + 1),
        host: peer(from),
        to: peer(to),
        first: 0,
        numbers: vec![],
        at: NOW,
        via: via.map(Verified::to_signed),
    };
    sign(&handover, &identity(from)).unwrap()
}

/// Number `k`, granted by the one to whom `via` handed it over.
fn handed_right(ticket: &Verified<Ticket>, via: &Verified<Handover>, by: u8, k: u32, member: u8) -> Right {
    let slot = member_right(ticket, k, member).slot().unwrap().clone();
    let slot = Slot { host: peer(by), handover: Some(via.to_signed()), ..(*slot).clone() };
    Right::member(ticket.clone(), sign(&slot, &identity(by)).unwrap(), NOW).unwrap()
}

/// What `who`, the holder of `right`, reports.
fn receipt(right: &Right, who: u8, kind: ReceiptKind, at: Timestamp) -> Verified<Receipt> {
    sign(&Receipt::new(right, Some(SESSION), kind, at), &identity(who)).unwrap()
}

fn received(right: &Right, who: u8) -> Verified<Receipt> {
    receipt(right, who, ReceiptKind::Received, NOW + Duration::from_secs(60))
}

fn submit(right: &Right, receipt: &Verified<Receipt>) -> BillingRequest {
    BillingRequest::Submit { right: Box::new(right.to_signed()), receipt: receipt.to_signed() }
}

/// The receipt in a parcel.
fn receipt_in(parcel: &Parcel) -> ReceiptHash {
    match parcel.what {
        What::Receipt(receipt) => receipt,
        What::Link(_) => panic!("not a receipt"),
    }
}

/// A place for databases that outlives whoever opens them.
struct Disk {
    dir: TempDir,
    books: String,
}

static DATABASES: AtomicU32 = AtomicU32::new(0);

impl Disk {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let books = match std::env::var("PARLOR_TEST_BILLING_DB") {
            Ok(template) => {
                let number = DATABASES.fetch_add(1, Ordering::Relaxed);
                let url = template.replace("{}", &format!("parlor_{}_{number}", std::process::id()));
                sqlx::any::install_default_drivers();
                Any::create_database(&url).await.unwrap();
                url
            }
            Err(_) => format!("sqlite://{}?mode=rwc", dir.path().join("books of a peer?.db").display())
                .replace(' ', "%20")
                .replace("r?.", "r%3F."),
        };
        Self { dir, books }
    }

    async fn book(&self) -> Book {
        Book::open(&self.books).await.unwrap()
    }

    async fn service(&self) -> Service {
        Service::new(self.book().await, identity(BILLING))
    }

    async fn pool(&self) -> Pool<Sqlite> {
        let options = SqliteConnectOptions::new()
            .filename(self.dir.path().join("node.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true);
        let pool = Pool::<Sqlite>::options().connect_with(options).await.unwrap();
        sqlx::migrate!().run(&pool).await.unwrap();
        Pool::new(pool, "BEGIN IMMEDIATE")
    }

    async fn outbox(&self) -> Outbox {
        Outbox::new(self.pool().await)
    }
}

/// Submits as a fresh process would: opens the books, and lets go of them again.
async fn submitted(disk: &Disk, request: BillingRequest, now: Timestamp) -> BillingResponse {
    let service = disk.service().await;
    let response = service.handle(peer(99), request, now).await;
    service.book().close().await;
    response
}

async fn acked(disk: &Disk, request: BillingRequest, now: Timestamp) -> Signed<Ack> {
    match submitted(disk, request, now).await {
        BillingResponse::Acked(ack) => ack,
        other => panic!("{other:?}"),
    }
}

async fn refused(disk: &Disk, request: BillingRequest) -> String {
    match submitted(disk, request, NOW + HOUR).await {
        BillingResponse::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

async fn statement(disk: &Disk) -> Statement {
    let book = disk.book().await;
    let statement = Statement::of(&book.entries(None).await.unwrap()).unwrap();
    book.close().await;
    statement
}

/// The one sum of a statement, minor units.
async fn owed(disk: &Disk) -> u64 {
    statement(disk).await.total.iter().map(|money| money.amount).sum()
}
