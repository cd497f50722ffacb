//! Rows on disk, page by page.
//!
//! Purpose: what was fetched survives a crash and is read as often as needed without memory.
//! Promises: appended pages are whole or not at all: whoever opens it names the length that counts, and the rest is cut off;
//! each page has a checksum; reading holds one page.
//! Never: writes in place.
//!
//! A file is the line `lipservice-spool 1`, then pages: length of the packed page (u32, little-endian), xxHash64 of it (u64),
//! and the page packed with zstd: how many ids (u32); each id's length (u16), text and time of receipt (u64); then OTLP
//! requests, each after its length (u32).

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use twox_hash::XxHash64;

use super::otlp;
use super::row::Row;
use crate::clock::UnixNanos;

const HEAD: &[u8] = b"lipservice-spool 1\n";
/// Packed or not, a page is shorter than this; a length beyond it is damage.
const MAX_PAGE_BYTES: usize = 512 << 20;
const LEVEL: i32 = 1;

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Of the disk.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Of the content.
    #[error("damaged at byte {0}: remove the directory and fetch anew")]
    Damaged(u64),
}

/// A spool to append to.
#[derive(Debug)]
pub struct Spool {
    file: File,
    len: u64,
    payload: Vec<u8>,
}

impl Spool {
    /// Opens the file and cuts it to `len` bytes; creates it when `len` is 0.
    ///
    /// # Errors
    /// [`SpoolError`]; damage when it is shorter than `len`.
    pub fn open(path: &Path, len: u64) -> Result<Spool, SpoolError> {
        let mut file = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path)?;
        let found = file.metadata()?.len();
        if found < len {
            return Err(SpoolError::Damaged(found));
        }
        file.set_len(len)?;
        file.seek(SeekFrom::End(0))?;
        let mut spool = Spool { file, len, payload: Vec::new() };
        if len == 0 {
            spool.file.write_all(HEAD)?;
            spool.len = HEAD.len() as u64;
        }
        Ok(spool)
    }

    /// Bytes that count.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds no page.
    pub fn is_empty(&self) -> bool {
        self.len <= HEAD.len() as u64
    }

    /// Appends a page.
    ///
    /// # Errors
    /// Of the disk.
    pub fn append(&mut self, rows: &[Row]) -> Result<(), SpoolError> {
        let payload = &mut self.payload;
        payload.clear();
        payload.extend((rows.len() as u32).to_le_bytes());
        for row in rows {
            let id = &row.uuid.as_bytes()[..row.uuid.len().min(usize::from(u16::MAX))];
            payload.extend((id.len() as u16).to_le_bytes());
            payload.extend_from_slice(id);
            payload.extend(row.observed.to_le_bytes());
        }
        otlp::requests(rows, |request| {
            payload.extend((request.len() as u32).to_le_bytes());
            payload.extend_from_slice(request);
        });
        let packed = zstd::bulk::compress(payload, LEVEL)?;
        let mut head = (packed.len() as u32).to_le_bytes().to_vec();
        head.extend(XxHash64::oneshot(0, &packed).to_le_bytes());
        self.file.write_all(&head)?;
        self.file.write_all(&packed)?;
        self.len += (head.len() + packed.len()) as u64;
        Ok(())
    }

    /// Everything appended is on the disk after this.
    ///
    /// # Errors
    /// Of the disk.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        Ok(self.file.sync_data()?)
    }
}

/// Reads a spool from its start.
#[derive(Debug)]
pub struct SpoolReader {
    input: BufReader<File>,
    at: u64,
    len: u64,
    page: Bytes,
    /// Ids of the page read last, with the time of receipt.
    ids: Vec<(String, UnixNanos)>,
}

impl SpoolReader {
    /// Reads the first `len` bytes.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn open(path: &Path, len: u64) -> Result<SpoolReader, SpoolError> {
        let mut input = BufReader::with_capacity(1 << 18, File::open(path)?);
        let mut head = vec![0; HEAD.len()];
        if input.read_exact(&mut head).is_err() || head != HEAD {
            return Err(SpoolError::Damaged(0));
        }
        Ok(SpoolReader { input, at: HEAD.len() as u64, len, page: Bytes::new(), ids: Vec::new() })
    }

    /// Ids of the next page and when they were received; `None` at the end. Its requests come with
    /// [`SpoolReader::next_request`].
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn next_page(&mut self) -> Result<Option<&[(String, UnixNanos)]>, SpoolError> {
        if self.at >= self.len {
            return Ok(None);
        }
        let damaged = SpoolError::Damaged(self.at);
        let mut head = [0u8; 12];
        let Ok(()) = self.input.read_exact(&mut head) else { return Err(damaged) };
        let (len, hash) = head.split_at(4);
        let len = u32::from_le_bytes(len.try_into().unwrap_or_default()) as usize;
        if len > MAX_PAGE_BYTES {
            return Err(damaged);
        }
        let mut packed = vec![0; len];
        let is_whole = self.input.read_exact(&mut packed).is_ok();
        if !is_whole || XxHash64::oneshot(0, &packed).to_le_bytes() != hash {
            return Err(damaged);
        }
        let Some(page) = unpack(&packed) else { return Err(damaged) };
        self.at += (head.len() + len) as u64;
        self.page = page.into();
        match read_ids(&mut self.page) {
            Some(ids) => self.ids = ids,
            None => return Err(damaged),
        }
        Ok(Some(&self.ids))
    }

    /// The next request of the page; `None` at its end.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn next_request(&mut self) -> Result<Option<Bytes>, SpoolError> {
        if self.page.is_empty() {
            return Ok(None);
        }
        let len = number::<4>(&mut self.page).map(u32::from_le_bytes);
        match len.map(|len| len as usize).filter(|len| *len <= self.page.len()) {
            Some(len) => Ok(Some(self.page.split_to(len))),
            None => Err(SpoolError::Damaged(self.at)),
        }
    }
}

impl Iterator for SpoolReader {
    type Item = Result<Bytes, SpoolError>;

    /// The next request of any page.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_request() {
                Ok(Some(request)) => return Some(Ok(request)),
                Ok(None) => match self.next_page() {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) => {
                        self.at = self.len;
                        return Some(Err(error));
                    }
                },
                Err(error) => {
                    (self.at, self.page) = (self.len, Bytes::new());
                    return Some(Err(error));
                }
            }
        }
    }
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut page = Vec::new();
    let reader = zstd::stream::read::Decoder::new(packed).ok()?;
    reader.take(MAX_PAGE_BYTES as u64).read_to_end(&mut page).ok()?;
    Some(page)
}

fn number<const N: usize>(page: &mut Bytes) -> Option<[u8; N]> {
    (page.len() >= N).then(|| page.split_to(N)).and_then(|bytes| bytes[..].try_into().ok())
}

fn read_ids(page: &mut Bytes) -> Option<Vec<(String, UnixNanos)>> {
    let count = u32::from_le_bytes(number(page)?);
    let mut ids = Vec::with_capacity((count as usize).min(page.len() / 10));
    for _ in 0..count {
        let len = usize::from(u16::from_le_bytes(number(page)?));
        let id = (page.len() >= len).then(|| page.split_to(len))?;
        ids.push((String::from_utf8(id.to_vec()).ok()?, u64::from_le_bytes(number(page)?)));
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(from: u64, to: u64) -> Vec<Row> {
        let row =
            |i: u64| Row { uuid: format!("id-{i}"), time: i, observed: i + 1, body: "x".into(), ..Row::default() };
        (from..to).map(row).collect()
    }

    fn ids(path: &Path, len: u64) -> Result<Vec<String>, SpoolError> {
        let (mut reader, mut all) = (SpoolReader::open(path, len)?, Vec::new());
        while let Some(ids) = reader.next_page()? {
            all.extend(ids.iter().map(|(id, _)| id.clone()));
        }
        Ok(all)
    }

    #[test]
    fn what_was_not_counted_is_cut_off_and_the_rest_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool");
        let mut spool = Spool::open(&path, 0).unwrap();
        spool.append(&rows(0, 700)).unwrap();
        let counted = spool.len();
        spool.append(&rows(700, 900)).unwrap();
        drop(spool);
        // As after a crash between a page and its checkpoint, the second page torn.
        let torn = std::fs::metadata(&path).unwrap().len() - 3;
        File::options().write(true).open(&path).unwrap().set_len(torn).unwrap();
        let mut spool = Spool::open(&path, counted).unwrap();
        spool.append(&rows(800, 801)).unwrap();
        let all = ids(&path, spool.len()).unwrap();
        assert_eq!((all.len(), all[700].as_str()), (701, "id-800"));
        let requests: Result<Vec<Bytes>, SpoolError> = SpoolReader::open(&path, spool.len()).unwrap().collect();
        assert_eq!(requests.unwrap().len(), 3, "512 records a request");
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool");
        let mut spool = Spool::open(&path, 0).unwrap();
        spool.append(&rows(0, 20)).unwrap();
        let (whole, len) = (std::fs::read(&path).unwrap(), spool.len());
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            assert!(matches!(ids(&path, len), Err(SpoolError::Damaged(_))), "byte {at}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(matches!(Spool::open(&path, len), Err(SpoolError::Damaged(_))));
    }
}
