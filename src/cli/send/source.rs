//! Lines, or runs of bytes, from a file or standard input, in bounded memory.
//!
//! Purpose: yield one line at a time, however long the input and however long its lines; show the beginning before it is read.
//! Promises: holds at most one line of `limit` bytes beside the read buffer; a longer line is cut there and counted; a
//! last line without a newline counts; `next_line` can be dropped half way and called again without losing bytes.
//! Never: interprets what it reads.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use crate::cli::content::HEAD_BYTES;

/// One line without its line ending.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its bytes, `limit` at most.
    pub bytes: Vec<u8>,
    /// Whether it was longer.
    pub cut: bool,
}

/// Reads lines of bounded length.
pub struct Lines<R> {
    input: R,
    /// What was looked at before it is read, and how much of it has been read since.
    head: Vec<u8>,
    at: usize,
    limit: usize,
    partial: Vec<u8>,
    started: bool,
    cut: bool,
    /// Bytes read from the input, line endings included.
    pub bytes_read: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Reads `input`; lines longer than `limit` bytes are cut.
    pub fn new(input: R, limit: usize) -> Self {
        Lines { input, head: Vec::new(), at: 0, limit, partial: Vec::new(), started: false, cut: false, bytes_read: 0 }
    }

    /// Changes the longest line from here on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The first bytes of the input, before anything is read: as many as come at once, but a whole line at least.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn head(&mut self) -> io::Result<&[u8]> {
        while self.head.len() < HEAD_BYTES && !self.head.trim_ascii_start().contains(&b'\n') {
            let buffer = self.input.fill_buf().await?;
            if buffer.is_empty() {
                break;
            }
            let used = buffer.len().min(HEAD_BYTES - self.head.len());
            self.head.extend_from_slice(&buffer[..used]);
            self.input.consume(used);
        }
        Ok(&self.head)
    }

    fn consume(&mut self, used: usize) {
        self.bytes_read += used as u64;
        if self.at < self.head.len() {
            self.at += used;
        } else {
            self.input.consume(used);
        }
    }

    /// Reads `limit` bytes behind what `out` holds; fewer at the end of the input.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn read_into(&mut self, out: &mut Vec<u8>, limit: usize) -> io::Result<()> {
        let wanted = out.len() + limit;
        while out.len() < wanted {
            let buffer = match self.head.get(self.at..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => self.input.fill_buf().await?,
            };
            let used = buffer.len().min(wanted - out.len());
            if used == 0 {
                break;
            }
            out.extend_from_slice(&buffer[..used]);
            self.consume(used);
        }
        Ok(())
    }

    /// The next line, or `None` at the end of the input.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let buffer = match self.head.get(self.at..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => self.input.fill_buf().await?,
            };
            if buffer.is_empty() {
                return Ok(if self.started { Some(self.finish()) } else { None });
            }
            let end = memchr::memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = self.limit.saturating_sub(self.partial.len());
            // A carriage return of the line ending may come one byte past the limit: room for it is given, `finish` cuts.
            self.partial.extend_from_slice(&part[..part.len().min(room + 1)]);
            self.cut |= part.len() > room + 1;
            let used = part.len() + usize::from(end.is_some());
            let is_whole = end.is_some();
            self.started = true;
            self.consume(used);
            if is_whole {
                return Ok(Some(self.finish()));
            }
        }
    }

    fn finish(&mut self) -> Line {
        let mut bytes = std::mem::take(&mut self.partial);
        if !self.cut && bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        let cut = std::mem::take(&mut self.cut) || bytes.len() > self.limit;
        bytes.truncate(self.limit);
        self.started = false;
        Line { bytes, cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &[u8], buffer: usize, limit: usize) -> Vec<(String, bool)> {
        let mut lines = Lines::new(tokio::io::BufReader::with_capacity(buffer, text), limit);
        // Looking at the beginning takes nothing away.
        assert!(text.starts_with(lines.head().await.unwrap()));
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            out.push((String::from_utf8(line.bytes).unwrap(), line.cut));
        }
        assert_eq!(lines.bytes_read, text.len() as u64);
        out
    }

    #[tokio::test]
    async fn lines_are_found_whatever_the_buffer() {
        let text = b"one\r\n\ntwo and more\nlast";
        let want: Vec<_> = ["one", "", "two and more", "last"].map(|line| (line.to_owned(), false)).into();
        for buffer in [1, 2, 3, 5, 64] {
            assert_eq!(all(text, buffer, 100).await, want, "buffer of {buffer}");
        }
    }

    #[tokio::test]
    async fn long_lines_are_cut_and_the_next_is_whole() {
        for buffer in [1, 3, 64] {
            let got = all(b"abcdefgh\nabcd\r\nabcde\nxy\n", buffer, 4).await;
            let want = [("abcd", true), ("abcd", false), ("abcd", true), ("xy", false)];
            assert_eq!(got, want.map(|(line, cut)| (line.to_owned(), cut)), "buffer of {buffer}");
        }
    }

    #[tokio::test]
    async fn bytes_are_read_behind_the_head_and_to_the_end() {
        for buffer in [1, 3, 64] {
            let mut lines = Lines::new(tokio::io::BufReader::with_capacity(buffer, &b"abcd\nefgh"[..]), 4);
            assert!(lines.head().await.unwrap().starts_with(b"abcd\n"));
            let mut out = b"x".to_vec();
            lines.read_into(&mut out, 7).await.unwrap();
            assert_eq!(out, b"xabcd\nef", "buffer of {buffer}");
            lines.read_into(&mut out, 7).await.unwrap();
            assert_eq!((&out[..], lines.bytes_read), (&b"xabcd\nefgh"[..], 9));
        }
    }

    #[tokio::test]
    async fn an_empty_input_has_no_lines() {
        assert!(all(b"", 8, 8).await.is_empty());
        assert_eq!(all(b"\n", 8, 8).await, [(String::new(), false)]);
    }
}
