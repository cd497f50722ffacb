//! Statements whose length depends on what is asked, in the notation both engines understand (`$1`, `$2`, …).
//!
//! Promises: values are bound, never part of the text.
//! Never: takes text that came from outside.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AssertSqlSafe, Encode, Type};

/// A statement being written.
#[derive(Default)]
pub(super) struct Sql {
    text: String,
    arguments: AnyArguments,
    bound: usize,
    failed: Option<sqlx::error::BoxDynError>,
}

impl Sql {
    pub(super) fn new(text: &'static str) -> Self {
        Sql { text: text.to_owned(), ..Sql::default() }
    }

    /// Adds text of ours.
    pub(super) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a value.
    pub(super) fn bind<'v, T: Encode<'v, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        use sqlx::Arguments as _;
        self.bound += 1;
        self.text.push('$');
        self.text.push_str(&self.bound.to_string());
        if let Err(error) = self.arguments.add(value) {
            self.failed = Some(error);
        }
        self
    }

    /// Adds `VALUES (…), (…)`; `each` binds one row, with [`Sql::next`] between its values.
    pub(super) fn values<R>(&mut self, rows: &[R], each: impl Fn(&mut Self, &R)) -> &mut Self {
        for (index, row) in rows.iter().enumerate() {
            self.text.push_str(if index == 0 { " VALUES (" } else { ", (" });
            each(self, row);
            self.text.push(')');
        }
        self
    }

    /// A comma.
    pub(super) fn next(&mut self) -> &mut Self {
        self.push(", ")
    }

    /// The statement.
    pub(super) fn build(self) -> Result<Query<'static, Any, AnyArguments>, sqlx::Error> {
        match self.failed {
            Some(error) => Err(sqlx::Error::Encode(error)),
            None => Ok(sqlx::query_with(AssertSqlSafe(self.text), self.arguments)),
        }
    }
}
