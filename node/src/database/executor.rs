//! Statements on a pool and inside of a transaction, for sqlx's queries.
//!
//! Written out for each database by a macro: sqlx's bounds on connections make an implementation for all of them
//! overflow the compiler's search.

use futures::{
    FutureExt as _, StreamExt as _, TryFutureExt as _, TryStreamExt as _, future::BoxFuture,
    stream::BoxStream,
};
use sqlx::{Any, Describe, Either, Execute, Executor, SqlStr, Sqlite};

#[cfg(test)]
use super::Operation;
use super::{Connection, Pool};

type Step<DB> = Either<<DB as sqlx::Database>::QueryResult, <DB as sqlx::Database>::Row>;

macro_rules! run_statements_of {
    ($database:ty) => {
        impl<'c> Executor<'c> for &'c mut Connection<$database> {
            type Database = $database;

            fn fetch_many<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxStream<'e, Result<Step<$database>, sqlx::Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $database>,
            {
                let steps = async move {
                    #[cfg(test)]
                    self.interfere(Operation::Statement).await?;
                    let (connection, failed) = self.parts();
                    Ok(connection.fetch_many(query).inspect_err(move |_| *failed = true))
                };
                steps.try_flatten_stream().boxed()
            }

            fn fetch_optional<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Option<<$database as sqlx::Database>::Row>, sqlx::Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $database>,
            {
                let row = async move {
                    #[cfg(test)]
                    self.interfere(Operation::Statement).await?;
                    let (connection, failed) = self.parts();
                    connection.fetch_optional(query).await.inspect_err(move |_| *failed = true)
                };
                row.boxed()
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<$database as sqlx::Database>::TypeInfo],
            ) -> BoxFuture<'e, Result<<$database as sqlx::Database>::Statement, sqlx::Error>>
            where
                'c: 'e,
            {
                let (connection, failed) = self.parts();
                connection.prepare_with(sql, parameters).inspect_err(move |_| *failed = true).boxed()
            }

            fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<$database>, sqlx::Error>>
            where
                'c: 'e,
            {
                self.parts().0.describe(sql)
            }
        }

        impl<'p> Executor<'p> for &'p Pool<$database> {
            type Database = $database;

            fn fetch_many<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxStream<'e, Result<Step<$database>, sqlx::Error>>
            where
                'p: 'e,
                E: 'q + Execute<'q, $database>,
            {
                let steps = async move {
                    #[cfg(test)]
                    self.interfere().await?;
                    Ok((&self.connections).fetch_many(query))
                };
                steps.try_flatten_stream().boxed()
            }

            fn fetch_optional<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Option<<$database as sqlx::Database>::Row>, sqlx::Error>>
            where
                'p: 'e,
                E: 'q + Execute<'q, $database>,
            {
                let row = async move {
                    #[cfg(test)]
                    self.interfere().await?;
                    (&self.connections).fetch_optional(query).await
                };
                row.boxed()
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<$database as sqlx::Database>::TypeInfo],
            ) -> BoxFuture<'e, Result<<$database as sqlx::Database>::Statement, sqlx::Error>>
            where
                'p: 'e,
            {
                (&self.connections).prepare_with(sql, parameters)
            }

            fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<$database>, sqlx::Error>>
            where
                'p: 'e,
            {
                (&self.connections).describe(sql)
            }
        }

        #[cfg(test)]
        impl Pool<$database> {
            async fn interfere(&self) -> Result<(), sqlx::Error> {
                match &self.interference {
                    Some(interference) => interference(None, Operation::Single).await,
                    None => Ok(()),
                }
            }
        }
    };
}

run_statements_of!(Sqlite);
run_statements_of!(Any);
