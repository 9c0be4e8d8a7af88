//! What is behind the agents' imports in tests: everything in memory.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::mpsc;

use crate::runtime::agent::{Content, KeepError, Member, Pack, SayError, Scope, Surroundings, Upon};

/// See the module. Lines come out of the receiver that is made with it.
pub(super) struct Room {
    lines: mpsc::UnboundedSender<String>,
    pub(super) sent: AtomicUsize,
    pub(super) posted: Mutex<Vec<Content>>,
    /// Upon what, each of them.
    pub(super) upon: Mutex<Vec<Option<Upon>>>,
    kept: Mutex<BTreeMap<String, Vec<u8>>>,
    pub(super) file: Option<PathBuf>,
    /// Each has that file too.
    pub(super) packs: Vec<Pack>,
    /// Whether what is posted never gets anywhere.
    pub(super) is_stuck: bool,
    /// Whether nothing can be written.
    pub(super) is_full: AtomicBool,
}

impl Room {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (lines, written) = mpsc::unbounded_channel();
        let (sent, posted, upon, kept, packs, is_full) = Default::default();
        (Self { lines, sent, posted, upon, kept, file: None, packs, is_stuck: false, is_full }, written)
    }

    pub(super) fn bytes_kept(&self) -> usize {
        self.kept.lock().unwrap().iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

impl Surroundings for Room {
    fn me(&self) -> Member {
        Member { addr: "me".into(), name: "Me".into(), is_host: true }
    }

    fn members(&self) -> Vec<Member> {
        vec![self.me()]
    }

    fn send(&self, _: Bytes) -> Result<(), SayError> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn post(&self, content: Content, upon: Option<Upon>) -> BoxFuture<'_, Result<(), SayError>> {
        async move {
            if self.is_stuck {
                std::future::pending::<()>().await;
            }
            if self.is_full.load(Ordering::SeqCst) {
                return Err(SayError::NotWritten);
            }
            self.posted.lock().unwrap().push(content);
            self.upon.lock().unwrap().push(upon);
            Ok(())
        }
        .boxed()
    }

    fn get(&self, scope: Scope, key: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, KeepError>> {
        async move { Ok(self.kept.lock().unwrap().get(&format!("{scope:?}/{key}")).cloned()) }.boxed()
    }

    fn set(
        &self,
        scope: Scope,
        key: String,
        value: Option<Vec<u8>>,
        quota: u64,
    ) -> BoxFuture<'_, Result<(), KeepError>> {
        async move {
            let more = value.as_ref().map_or(0, Vec::len) as u64;
            if more > 0 && self.bytes_kept() as u64 + more > quota {
                return Err(KeepError::Full);
            }
            let (mut kept, key) = (self.kept.lock().unwrap(), format!("{scope:?}/{key}"));
            match value {
                Some(value) => kept.insert(key, value),
                None => kept.remove(&key),
            };
            Ok(())
        }
        .boxed()
    }

    fn keys(&self, _: Scope) -> BoxFuture<'_, Result<Vec<String>, KeepError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn files(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    fn file(&self, path: &str) -> Option<PathBuf> {
        self.file.clone().filter(|_| path == "words.txt")
    }

    fn packs(&self) -> BoxFuture<'_, Vec<Pack>> {
        async { self.packs.clone() }.boxed()
    }

    fn pack_files<'a>(&'a self, pack: &'a str) -> BoxFuture<'a, Vec<(String, u64)>> {
        let is_known = self.packs.iter().any(|known| known.id == pack);
        let file = ("words.txt".to_owned(), 1 << 40);
        async move { Vec::from_iter(is_known.then_some(file)) }.boxed()
    }

    fn pack_file<'a>(&'a self, pack: &'a str, path: &'a str) -> BoxFuture<'a, Option<PathBuf>> {
        let is_known = self.packs.iter().any(|known| known.id == pack);
        async move { self.file(path).filter(|_| is_known) }.boxed()
    }

    fn line(&self, text: String) {
        // Fails once the test has seen enough.
        let _ = self.lines.send(text);
    }

    fn show(&self, _: String) {}
}
