//! What is linked to an agent: the imports of its world.
//!
//! For: sizes and rates, which are checked here, before anything reaches the agent's [`Surroundings`]. Not for: what is
//! done with what passes.
//!
//! The idea: what cannot be done is an answer that the agent gets, and it goes on. Only who goes on without listening
//! to the answers is stopped.
//!
//! [`Surroundings`]: super::Surroundings

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::PoisonError,
    time::Instant,
};

use bytes::Bytes;
use parlor_proto::group::MAX_REALTIME;
use rand::Rng as _;
use serde_json::value::RawValue;

use super::{
    KeepError, MAX_KEY, MAX_LINE, MAX_VALUE, SayError, Stopped,
    guest::Guest,
    pace::Verdict,
    text::shown,
    world::{files, group, output, packs, store, system, types},
};
use crate::runtime::update;

/// The most random bytes a call.
pub(super) const MAX_RANDOM: u32 = 65_536;
/// The most of a file that is read a call, bytes.
const MAX_READ: u32 = 1 << 20;
/// The largest value for the page, bytes.
const MAX_SHOWN: usize = 128_000;

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

impl Guest {
    /// Whether something may be said to the group now.
    fn may_speak(&mut self) -> wasmtime::Result<Result<(), group::Error>> {
        if !self.has_group {
            return Ok(Err(group::Error::Closed));
        }
        match self.messages.spend(Instant::now()) {
            Verdict::Passes => Ok(Ok(())),
            Verdict::TooFast => Ok(Err(group::Error::TooFast)),
            Verdict::Flood => Err(Stopped::Messages(self.messages.per_second()).into()),
        }
    }

    /// Whether something may be written for the user now.
    fn may_write(&mut self) -> wasmtime::Result<bool> {
        match self.output.spend(Instant::now()) {
            Verdict::Passes => Ok(true),
            Verdict::TooFast => Ok(false),
            Verdict::Flood => Err(Stopped::Output(self.output.per_second()).into()),
        }
    }
}

impl Guest {
    async fn keep(
        &mut self,
        scope: store::Scope,
        key: String,
        value: Option<Vec<u8>>,
    ) -> Result<(), store::Error> {
        let kept = self.surroundings.set(scope.into(), key, value, self.quota).await;
        self.is_unwritten |= kept == Err(KeepError::Failed);
        Ok(kept?)
    }
}

impl types::Host for Guest {}

impl group::Host for Guest {
    fn me(&mut self) -> types::Member {
        self.surroundings.me().into()
    }

    fn members(&mut self) -> Vec<types::Member> {
        self.surroundings.members().into_iter().map(Into::into).collect()
    }

    fn send(&mut self, message: Vec<u8>) -> wasmtime::Result<Result<(), group::Error>> {
        if let Err(error) = self.may_speak()? {
            return Ok(Err(error));
        }
        if message.len() > MAX_REALTIME {
            return Ok(Err(group::Error::TooLarge(MAX_REALTIME as u64)));
        }
        Ok(self.surroundings.send(Bytes::from(message)).map_err(Into::into))
    }

    async fn post(&mut self, mut content: types::Content) -> wasmtime::Result<Result<(), group::Error>> {
        if let Err(error) = self.may_speak()? {
            return Ok(Err(error));
        }
        match update::value(&content.payload) {
            Ok(payload) => content.payload = payload.get().to_owned(),
            Err(error) => {
                self.note(&format!("a post is refused: {error}"));
                return Ok(Err(group::Error::Malformed));
            }
        }
        let upon = self.upon;
        if let Some(upon) = &mut self.upon {
            upon.nth = upon.nth.saturating_add(1);
        }
        let posted = self.surroundings.post(content.into(), upon).await;
        self.is_unwritten |= posted == Err(SayError::NotWritten);
        Ok(posted.map_err(Into::into))
    }
}

/// Keys are short.
fn checked(key: String) -> Result<String, store::Error> {
    if key.len() > MAX_KEY { Err(store::Error::TooLarge) } else { Ok(key) }
}

impl store::Host for Guest {
    async fn get(&mut self, scope: store::Scope, key: String) -> Result<Option<Vec<u8>>, store::Error> {
        Ok(self.surroundings.get(scope.into(), checked(key)?).await?)
    }

    async fn set(&mut self, scope: store::Scope, key: String, value: Vec<u8>) -> Result<(), store::Error> {
        if value.len() > MAX_VALUE {
            return Err(store::Error::TooLarge);
        }
        self.keep(scope, checked(key)?, Some(value)).await
    }

    async fn delete(&mut self, scope: store::Scope, key: String) -> Result<(), store::Error> {
        self.keep(scope, checked(key)?, None).await
    }

    async fn keys(&mut self, scope: store::Scope) -> Result<Vec<String>, store::Error> {
        Ok(self.surroundings.keys(scope.into()).await?)
    }
}

impl files::Host for Guest {
    fn entries(&mut self) -> Vec<files::Entry> {
        entries(self.surroundings.files())
    }

    async fn read(&mut self, path: String, offset: u64, length: u32) -> Option<Vec<u8>> {
        let file = self.surroundings.file(&path)?;
        part_of(file, &path, offset, length).await
    }
}

impl packs::Host for Guest {
    async fn all(&mut self) -> Vec<packs::Pack> {
        self.surroundings.packs().await.into_iter().map(Into::into).collect()
    }

    async fn files(&mut self, pack: String) -> Vec<files::Entry> {
        entries(self.surroundings.pack_files(&pack).await)
    }

    async fn read(&mut self, pack: String, path: String, offset: u64, length: u32) -> Option<Vec<u8>> {
        let file = self.surroundings.pack_file(&pack, &path).await?;
        part_of(file, &path, offset, length).await
    }
}

fn entries(files: Vec<(String, u64)>) -> Vec<files::Entry> {
    files.into_iter().map(|(path, size)| files::Entry { path, size }).collect()
}

/// Part of a file that is known to the agent by this path.
async fn part_of(file: PathBuf, path: &str, offset: u64, length: u32) -> Option<Vec<u8>> {
    let read = tokio::task::spawn_blocking(move || read(&file, offset, length.min(MAX_READ)));
    match read.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::warn!(path = ?shown(path, MAX_LINE), %error, "a file of a program's cannot be read");
            None
        }
    }
}

fn read(file: &Path, offset: u64, length: u32) -> io::Result<Vec<u8>> {
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut read = Vec::new();
    file.take(length.into()).read_to_end(&mut read)?;
    Ok(read)
}

impl output::Host for Guest {
    fn line(&mut self, text: String) -> wasmtime::Result<()> {
        if self.may_write()? {
            self.surroundings.line(shown(&text, MAX_LINE));
        }
        Ok(())
    }

    fn show(&mut self, json: String) -> wasmtime::Result<()> {
        if !self.may_write()? {
            return Ok(());
        }
        if json.len() <= MAX_SHOWN && is_json(&json) {
            self.surroundings.show(json);
        } else {
            self.note("a value for the page is too large, or no JSON: it is not shown");
        }
        Ok(())
    }
}

impl system::Host for Guest {
    fn now(&mut self) -> u64 {
        crate::clock::now().0
    }

    fn random(&mut self, length: u32) -> Vec<u8> {
        let mut random = vec![0; length.min(MAX_RANDOM) as usize];
        rand::rng().fill_bytes(&mut random);
        random
    }

    fn log(&mut self, text: String) {
        self.note(&text);
    }
}

impl Guest {
    fn note(&self, text: &str) {
        self.diary.lock().unwrap_or_else(PoisonError::into_inner).line(text);
    }
}
