//! ST28-29: which programs stay when sessions end, and which copies go back.

use parlor_proto::{
    ids::{ProgramId, SessionId},
    session::Input,
};

use super::driver::{Driver, Run, SessionError};
use crate::supply::library;

impl Driver {
    pub(super) fn is_needed(&self, program: ProgramId) -> bool {
        let needs = |run: &Run| run.record.role.ticket().program == program && !run.record.role.is_over();
        self.runs.values().any(needs)
    }

    /// ST29: the program's files go, unless another session needs them.
    pub(super) async fn discard(&self, program: ProgramId) -> Result<(), SessionError> {
        let offered = self.context.store.offers().await?.iter().any(|offer| offer.program == program);
        if offered {
            // Discarding a copy does not withdraw an offer: `program remove` does.
            self.context.store.keep_program(program, true).await?;
            return Ok(());
        }
        if self.is_needed(program) {
            return Ok(());
        }
        Ok(library::remove(&self.context, program).await?)
    }

    /// What the user takes out of the library, which no session may need.
    pub(super) async fn remove_program(&self, program: ProgramId) -> Result<(), SessionError> {
        if self.is_needed(program) {
            return Err(SessionError::InUse);
        }
        Ok(library::remove(&self.context, program).await?)
    }

    /// ST29: a program that was to be discarded goes with the last session that needed it, and a slot that was
    /// to be given back with the last session that used it.
    pub(super) async fn sweep(&mut self, session: SessionId) {
        let program = match self.runs.get(&session).map(|run| &run.record.role) {
            Some(role) => role.ticket().program,
            None => return,
        };
        let unwanted = matches!(self.context.store.program(program).await, Ok(Some(entry)) if !entry.kept);
        if unwanted && let Err(error) = self.discard(program).await {
            tracing::warn!(%session, %error, "a discarded program's files are still there");
        }
        if let Err(error) = self.give_back().await {
            tracing::warn!(%session, %error, "a discarded copy was not given back");
        }
        // What was received for it and is in no library.
        self.context.sweep_soon();
    }

    /// At start: what a crash left to be discarded.
    pub(super) async fn sweep_all(&mut self) -> Result<(), SessionError> {
        for entry in self.context.store.programs().await?.into_iter().filter(|entry| !entry.kept) {
            self.discard(entry.program).await?;
        }
        self.give_back().await
    }

    pub(super) async fn give_back(&mut self) -> Result<(), SessionError> {
        let due = |run: &&Run| {
            let gives_back = run.record.role.as_member().is_some_and(|member| member.gives_back());
            gives_back && !self.uses_slot(run.record.role.ticket().hash(), run.record.session)
        };
        let due: Vec<_> = self.runs.values().filter(due).map(|run| run.record.session).collect();
        for session in due {
            // Neither the group nor what others see of the session changes with it.
            for output in self.step(session, Input::Discard).await? {
                self.carry_out(session, output).await;
            }
        }
        Ok(())
    }
}
