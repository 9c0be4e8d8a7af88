//! The tasks without which a node is of no use: its sessions, groups, network, couriers.
//!
//! For: [`CriticalTasks`], which spawns them and reports the first that ends though nobody asked it to. Not for: tasks that
//! serve one request and may fail alone.
//!
//! The idea: a node whose driver has panicked would go on answering, with nothing in its answers. So the end of such a
//! task is the end of the node: whoever runs it hears of it from [`Node::wait`](crate::Node::wait), stops what is left,
//! and is started again. All that counts is on disk.

use std::{any::Any, panic::AssertUnwindSafe};

use futures::FutureExt as _;
use tokio::{sync::watch, task::JoinHandle};

/// Why a node cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the task of {task} ended unexpectedly: {why}: start the node again, all that counts is on disk")]
pub struct TaskEnded {
    /// Which task.
    pub task: &'static str,
    /// What it ended with.
    pub why: String,
}

/// Spawns critical tasks. Clones report to the same place.
#[derive(Debug, Clone, Default)]
pub struct CriticalTasks {
    ended: watch::Sender<Option<TaskEnded>>,
}

impl CriticalTasks {
    /// Spawns a task that may return when it was asked to, which `was_asked` says once it has returned. Any other end, a
    /// panic above all, is reported.
    pub fn spawn(
        &self,
        task: &'static str,
        was_asked: impl FnOnce() -> bool + Send + 'static,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let tasks = self.clone();
        tokio::spawn(async move {
            // What the task held is dropped here, so that whoever waits for an answer of it gets none.
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            match ended {
                Ok(()) if was_asked() => {}
                Ok(()) => tasks.report(task, "it returned".to_owned()),
                Err(panic) => tasks.report(task, message(&*panic)),
            }
        })
    }

    /// Spawns a task that may return whenever it likes, and must not panic.
    pub fn spawn_finite(
        &self,
        task: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.spawn(task, || true, work)
    }

    /// Returns once a critical task has ended unexpectedly: the first one that did.
    pub async fn failure(&self) -> TaskEnded {
        let mut ended = self.ended.subscribe();
        match ended.wait_for(Option::is_some).await.map(|ended| ended.clone()) {
            Ok(Some(ended)) => ended,
            // Its sender lives as long as `self`.
            _ => std::future::pending().await,
        }
    }

    fn report(&self, task: &'static str, why: String) {
        tracing::error!(task, why, "a task without which the node cannot go on has ended");
        self.ended.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(TaskEnded { task, why });
            is_first
        });
    }
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.map_or_else(|| "it panicked".to_owned(), |text| format!("it panicked: {text}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_with_what_it_said_once_what_the_task_held_is_gone() {
        let tasks = CriticalTasks::default();
        let (question, mut questions) = mpsc::channel::<oneshot::Sender<u8>>(1);
        tasks.spawn("the sessions", || true, async move {
            let _answer = questions.recv().await;
            panic!("no {}", 7);
        });
        let (answer, waits) = oneshot::channel();
        question.send(answer).await.unwrap();
        let ended = tasks.failure().await;
        assert_eq!((ended.task, &*ended.why), ("the sessions", "it panicked: no 7"));
        assert!(waits.await.is_err() && question.is_closed());
    }

    #[tokio::test]
    async fn an_early_return_is_reported_and_one_that_was_asked_for_is_not() {
        let tasks = CriticalTasks::default();
        tasks.spawn("a group", || true, async {}).await.unwrap();
        tasks.spawn_finite("a transfer", async {}).await.unwrap();
        assert!(tasks.failure().now_or_never().is_none());
        tasks.spawn("the network", || false, async {}).await.unwrap();
        tasks.spawn("the courier", || false, async {}).await.unwrap();
        assert_eq!(tasks.failure().await.task, "the network", "the first counts");
    }

    #[tokio::test]
    async fn a_task_that_is_aborted_was_asked_to_end() {
        let tasks = CriticalTasks::default();
        let task = tasks.spawn("a transfer", || false, std::future::pending());
        task.abort();
        task.await.unwrap_err();
        assert!(tasks.failure().now_or_never().is_none());
    }
}
