//! One column of a CSV with a header, value by value.
//!
//! Purpose: the messages of a log that was exported as a table.
//! Promises: RFC 4180 with a byte order mark skipped; a value may span lines; memory is bounded by the limit of a value
//! and the names of the columns; what is wrong with the input is said in one sentence with its record.
//! Never: keeps a value that is not of the column.

use std::io::BufRead;

use anyhow::{Context, bail};
use csv_core::{ReadFieldResult, Reader};

/// Columns of a CSV at most.
const MAX_COLUMNS: usize = 10_000;

/// Reads the values of one column. The input is given to each call, so that whoever reads owns it.
pub struct Column {
    fields: Fields,
    name: String,
    wanted: usize,
    /// The record that is read next; the header is 1.
    record: u64,
}

/// What follows a field.
#[derive(PartialEq)]
enum After {
    Field,
    Record,
    End,
}

/// One field at a time through a buffer of fixed size.
struct Fields {
    reader: Reader,
    field: Vec<u8>,
    limit: usize,
}

impl Fields {
    /// Reads the next field into `self.field`, at most `limit` bytes of it.
    fn next(&mut self, input: &mut impl BufRead) -> anyhow::Result<After> {
        self.field.clear();
        let mut part = [0u8; 4096];
        loop {
            let buffer = input.fill_buf().context("reading the input")?;
            let (result, used, written) = self.reader.read_field(buffer, &mut part);
            let room = self.limit - self.field.len();
            self.field.extend_from_slice(&part[..written.min(room)]);
            input.consume(used);
            match result {
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
                ReadFieldResult::Field { record_end: false } => return Ok(After::Field),
                ReadFieldResult::Field { record_end: true } => return Ok(After::Record),
                ReadFieldResult::End => return Ok(After::End),
            }
        }
    }
}

impl Column {
    /// Reads the header and finds the column. Values are cut at `limit` bytes.
    ///
    /// # Errors
    /// When reading fails, or there is no such column.
    pub fn find(input: &mut impl BufRead, name: &str, limit: usize) -> anyhow::Result<Column> {
        let mut fields = Fields { reader: Reader::new(), field: Vec::new(), limit };
        let wanted = find_column(&mut fields, input, name)?;
        Ok(Column { fields, name: name.to_owned(), wanted, record: 2 })
    }

    /// The next value; `None` at the end.
    ///
    /// # Errors
    /// When reading fails, or a record has too few fields.
    pub fn next(&mut self, input: &mut impl BufRead) -> anyhow::Result<Option<&[u8]>> {
        let mut value = None;
        let mut at = 0;
        loop {
            let after = self.fields.next(input)?;
            if after == After::End {
                return Ok(None);
            }
            if at == self.wanted {
                value = Some(std::mem::take(&mut self.fields.field));
            }
            at += 1;
            if after != After::Record {
                continue;
            }
            let Some(value) = value else {
                let (record, name, number) = (self.record, &self.name, self.wanted + 1);
                bail!("record {record} of the CSV has {at} fields; column {name:?} is number {number}");
            };
            self.record += 1;
            self.fields.field = value;
            return Ok(Some(&self.fields.field));
        }
    }
}

fn find_column(fields: &mut Fields, input: &mut impl BufRead, column: &str) -> anyhow::Result<usize> {
    let mut names = Vec::new();
    loop {
        let after = fields.next(input)?;
        if after == After::End {
            break;
        }
        let name = fields.field.strip_prefix(b"\xef\xbb\xbf").filter(|_| names.is_empty()).unwrap_or(&fields.field);
        names.push(String::from_utf8_lossy(name).into_owned());
        if names.len() > MAX_COLUMNS {
            bail!("the first line has more than {MAX_COLUMNS} fields; this is no CSV with a header");
        }
        if after == After::Record {
            break;
        }
    }
    match names.iter().position(|name| name == column) {
        Some(position) => Ok(position),
        None if names.is_empty() => bail!("the input is empty; a CSV begins with a line of column names"),
        None => {
            let known: String = names.join(", ").chars().filter(|c| !c.is_control()).take(300).collect();
            bail!("the CSV has no column {column:?}; its columns are {known}")
        }
    }
}
