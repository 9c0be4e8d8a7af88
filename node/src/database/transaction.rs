//! A transaction that is written exactly when its commit says so.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use sqlx::{Database, Executor, pool::PoolConnection};

use super::Pool;
#[cfg(test)]
use super::{Interference, Operation};

/// A connection inside of a transaction: statements run on it.
pub struct Connection<DB: Database> {
    /// `None` once it has gone back to the pool.
    inner: Option<PoolConnection<DB>>,
    /// Whether anything failed on it.
    failed: bool,
    #[cfg(test)]
    interference: Option<Interference<DB>>,
}

/// An open transaction. Dropped without [`commit`](Self::commit), nothing of it happened, and its connection is closed.
pub struct Transaction<DB: Database> {
    connection: Connection<DB>,
}

impl<DB: Database> Pool<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Transaction<DB>, sqlx::Error> {
        let mut connection = Connection {
            inner: Some(self.acquire().await?),
            failed: false,
            #[cfg(test)]
            interference: self.interference.clone(),
        };
        #[cfg(test)]
        connection.interfere(Operation::Begin).await?;
        connection.run(self.begin).await?;
        Ok(Transaction { connection })
    }
}

impl<DB: Database> Transaction<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Writes all of it; an error if any of its statements failed, even if nobody looked. After an error it is not
    /// known whether it was written where the answer was lost on the way, and certain that it was not otherwise.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        if self.connection.failed {
            return Err(sqlx::Error::protocol(
                "a statement of the transaction failed: nothing of it is written",
            ));
        }
        #[cfg(test)]
        self.connection.interfere(Operation::Commit).await?;
        self.connection.run("COMMIT").await?;
        #[cfg(test)]
        self.connection.interfere(Operation::Committed).await?;
        self.connection.release();
        Ok(())
    }

    /// Takes all of it back.
    pub async fn rollback(mut self) -> Result<(), sqlx::Error> {
        self.connection.run("ROLLBACK").await?;
        self.connection.release();
        Ok(())
    }
}

impl<DB: Database> Connection<DB> {
    /// The database's own connection, and where to note that something failed on it.
    pub(super) fn parts(&mut self) -> (&mut DB::Connection, &mut bool) {
        // Taken only by `release`, after which nothing is left to run statements on.
        let inner = self.inner.as_mut().expect("a transaction that has not ended has a connection");
        (&mut **inner, &mut self.failed)
    }

    async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error>
    where
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    {
        let (connection, failed) = self.parts();
        // Until it is known to have gone well: whoever waits for it may stop waiting.
        *failed = true;
        connection.execute(statement).await?;
        *failed = false;
        Ok(())
    }

    /// Gives the connection back to the pool: the transaction has ended.
    fn release(&mut self) {
        if !self.failed {
            drop(self.inner.take());
        }
    }

    #[cfg(test)]
    pub(super) async fn interfere(&mut self, operation: Operation) -> Result<(), sqlx::Error> {
        let Some(interference) = self.interference.clone() else { return Ok(()) };
        let (connection, failed) = self.parts();
        let done = interference(Some(connection), operation).await;
        *failed |= done.is_err();
        done
    }
}

impl<DB: Database> Drop for Connection<DB> {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.inner {
            connection.close_on_drop();
        }
    }
}

impl<DB: Database> Deref for Transaction<DB> {
    type Target = Connection<DB>;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: Database> DerefMut for Transaction<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

impl<DB: Database> fmt::Debug for Connection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl<DB: Database> fmt::Debug for Transaction<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("connection", &self.connection).finish()
    }
}
