//! What is behind an agent's imports: the group, the store, the program's files and packs, its user.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use parlor_proto::{identity::PeerId, ids::SessionId};
use tokio::sync::mpsc;

use super::{Link, Part, Speaker, packs::Packs};
use crate::{
    context::{Context, Event},
    group::{Group, PostError, PostKey, WeakGroup},
    runtime::{
        agent::{Content, KeepError, Member, Pack, SayError, Scope, Surroundings, Upon},
        update,
        web::UpdateContent,
    },
    store::{Bundle, StoreError, owner_of_session},
};

/// See the module. Of one part; [`Around::as_part`] makes that of another.
#[derive(Clone)]
pub(in crate::session) struct Around {
    part: Part,
    session: SessionId,
    /// None while there is none: during setup.
    group: Option<(WeakGroup, mpsc::Sender<Bytes>)>,
    context: Arc<Context>,
    bundle: Arc<Bundle>,
    packs: Packs,
    link: Arc<Link>,
    is_host: Arc<AtomicBool>,
    /// Whose the user's values are: the program's, whatever its version.
    user: String,
}

impl Around {
    /// `origin` and `name`: of the program.
    pub(in crate::session) fn new(
        session: SessionId,
        context: &Arc<Context>,
        bundle: Arc<Bundle>,
        (origin, name): (PeerId, &str),
        (link, is_host): (Arc<Link>, Arc<AtomicBool>),
    ) -> Self {
        let user = format!("user:{origin}/{name}");
        let packs = Packs::new(context, bundle.program().manifest().name.as_str());
        let context = Arc::clone(context);
        Self { part: Part::Agent, session, group: None, context, bundle, packs, link, is_host, user }
    }

    /// Now there is a group.
    pub(in crate::session) fn in_group(mut self, group: &Group) -> Self {
        self.group = Some((group.downgrade(), group.realtime_queue()));
        self
    }

    pub(super) fn as_part(&self, part: Part) -> Self {
        Self { part, ..self.clone() }
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(super) fn group(&self) -> Option<Group> {
        self.group.as_ref().and_then(|(group, _)| group.upgrade())
    }

    fn owner(&self, scope: Scope) -> String {
        match scope {
            Scope::Session => owner_of_session(self.session),
            Scope::User => self.user.clone(),
        }
    }
}

fn failed(error: StoreError) -> KeepError {
    tracing::error!(%error, "an agent's values cannot be kept");
    KeepError::Failed
}

impl Surroundings for Around {
    fn me(&self) -> Member {
        let addr = self.group().map(|group| group.address_of(group.me())).unwrap_or_default();
        let is_host = self.is_host.load(Ordering::Relaxed);
        Member { addr, name: self.context.nickname.clone(), is_host }
    }

    fn members(&self) -> Vec<Member> {
        self.link.members()
    }

    fn send(&self, message: Bytes) -> Result<(), SayError> {
        let (_, outgoing) = self.group.as_ref().ok_or(SayError::Closed)?;
        // Who sends faster than the network takes it loses messages, as this kind of channel may.
        let _ = outgoing.try_send(message.clone());
        self.link.sent(Speaker::Part(self.part), message);
        Ok(())
    }

    fn post(&self, content: Content, upon: Option<Upon>) -> BoxFuture<'_, Result<(), SayError>> {
        async move {
            let group = self.group().ok_or(SayError::Closed)?;
            let Content { payload, info, document, summary } = content;
            let payload = update::value(&payload).map_err(|_| SayError::Malformed)?;
            let update = UpdateContent { info, document, summary, ..UpdateContent::of(payload) }.to_payload();
            let key = upon.map(|upon| PostKey::of_agent(self.part.as_str(), upon.serial, upon.nth, &update));
            let posted = match key {
                Some(key) => group.post_once(key, update, false).await,
                None => group.post(update).await,
            };
            match posted {
                Ok(_) => Ok(()),
                Err(PostError::TooLarge { .. }) => {
                    Err(SayError::TooLarge(parlor_proto::group::MAX_PAYLOAD as u64))
                }
                Err(PostError::Full | PostError::TooManyCovered) => Err(SayError::Full),
                Err(PostError::Closed | PostError::Reused) => Err(SayError::Closed),
                Err(PostError::Store(_)) => Err(SayError::NotWritten),
            }
        }
        .boxed()
    }

    fn get(&self, scope: Scope, key: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, KeepError>> {
        let owner = self.owner(scope);
        async move { self.context.store.agent_value(&owner, &key).await.map_err(failed) }.boxed()
    }

    fn set(
        &self,
        scope: Scope,
        key: String,
        value: Option<Vec<u8>>,
        quota: u64,
    ) -> BoxFuture<'_, Result<(), KeepError>> {
        let (owner, store) = (self.owner(scope), &self.context.store);
        async move {
            let Some(value) = value else {
                return store.remove_agent_value(&owner, &key).await.map_err(failed);
            };
            let fits = store.put_agent_value(&owner, &key, &value, quota).await.map_err(failed)?;
            if fits { Ok(()) } else { Err(KeepError::Full) }
        }
        .boxed()
    }

    fn keys(&self, scope: Scope) -> BoxFuture<'_, Result<Vec<String>, KeepError>> {
        let owner = self.owner(scope);
        async move { self.context.store.agent_keys(&owner).await.map_err(failed) }.boxed()
    }

    fn files(&self) -> Vec<(String, u64)> {
        let role = self.bundle.complete().unwrap_or(parlor_proto::program::Role::Everyone);
        let files = self.bundle.program().files_for(role);
        files.map(|(_, file)| (file.path.as_str().to_owned(), file.size)).collect()
    }

    fn file(&self, path: &str) -> Option<PathBuf> {
        self.bundle.file_path(path)
    }

    fn packs(&self) -> BoxFuture<'_, Vec<Pack>> {
        self.packs.all().boxed()
    }

    fn pack_files<'a>(&'a self, pack: &'a str) -> BoxFuture<'a, Vec<(String, u64)>> {
        self.packs.files(pack, self.part).boxed()
    }

    fn pack_file<'a>(&'a self, pack: &'a str, path: &'a str) -> BoxFuture<'a, Option<PathBuf>> {
        self.packs.file(pack, path, self.part).boxed()
    }

    fn line(&self, text: String) {
        self.link.wrote(self.part, text.clone());
        self.context.tell(Event::Line { session: self.session, part: self.part.as_str(), text });
    }

    fn show(&self, json: String) {
        self.link.show(json);
    }
}
