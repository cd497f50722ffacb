//! Sums by day that outlive the statistics: what destinations took, and what language models cost.
//!
//! Purpose: the two figures that a bill needs and counts of patterns cannot tell.
//! Promises: amounts only add up; what comes with a batch is booked in the batch's transaction, so it counts once.
//! Never: knows prices; accounts are few and named here.

use super::{Store, StoreError, Write, count, get, stored};

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// What is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookAccount {
    /// Bytes of bodies that the billed destination took, before compression.
    SentBytes,
    /// Bytes of the records kept at the same time, without blocks, annotations and summaries.
    RecordBytes,
    /// Money for language models, in millionths of a US dollar.
    LlmMicrodollars,
}

impl BookAccount {
    /// As the tables hold it.
    fn as_str(self) -> &'static str {
        match self {
            BookAccount::SentBytes => "sent_bytes",
            BookAccount::RecordBytes => "record_bytes",
            BookAccount::LlmMicrodollars => "llm_microdollars",
        }
    }
}

impl Write<'_> {
    pub(super) async fn book(&mut self, day: i64, account: BookAccount, amount: u64) -> Result<(), StoreError> {
        let sql = "INSERT INTO books (day, account, amount) VALUES ($1, $2, $3) ON CONFLICT (day, account) \
                   DO UPDATE SET amount = books.amount + excluded.amount";
        sqlx::query(sql).bind(day).bind(account.as_str()).bind(stored(amount)).execute(&mut *self.tx).await?;
        Ok(())
    }
}

impl Store {
    /// The present day, in days since the epoch.
    pub fn today(&self) -> i64 {
        self.now().secs().div_euclid(DAY_SECONDS)
    }

    /// Adds to today's sum of an account.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn book(&self, account: BookAccount, amount: u64) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.book(self.today(), account, amount).await?;
        write.commit().await
    }

    /// The sums of an account by day, from `from` on, the earliest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn books(&self, account: BookAccount, from: i64) -> Result<Vec<(i64, u64)>, StoreError> {
        let sql = "SELECT day, amount FROM books WHERE account = $1 AND day >= $2 ORDER BY day";
        let rows = sqlx::query(sql).bind(account.as_str()).bind(from).fetch_all(&self.pool).await?;
        rows.iter().map(|row| Ok((get(row, "day")?, count(row, "amount")?))).collect()
    }
}
