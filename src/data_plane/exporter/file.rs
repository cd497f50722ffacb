//! The `file` exporter: OTLP JSON, one request a line.
//!
//! Purpose: keep records where other tools and `lipservice send` can read them.
//! Promises: appends whole lines: what a failed write left behind is cut off again, and the batch is retried; at
//! `max_size` the file becomes `<path>.1` (in place of an older one) and a new one is begun; a line is never split.
//! Never: panics over a disk, or works on a thread of the runtime.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::ExporterError;
use super::accounts::FailReason;
use super::body::Body;
use super::config::FileConfig;
use super::dispatcher::{Delivery, Sink};
use super::outcome::Outcome;
use crate::data_plane::view::json;

/// Appends batches to a file.
pub(super) struct JsonFile {
    state: Arc<Mutex<State>>,
}

struct State {
    path: String,
    /// `None` after a failed rotation; opened again at the next batch.
    file: Option<File>,
    bytes: u64,
    /// 0: never rotate.
    max_bytes: u64,
}

impl JsonFile {
    /// Opens the file, so that a wrong path is an error at the start.
    pub(super) fn open(config: &FileConfig) -> Result<Self, ExporterError> {
        let mut state = State { path: config.path.clone(), file: None, bytes: 0, max_bytes: config.max_size.0 };
        let opened = state.file().and_then(|file| if config.truncate { file.set_len(0) } else { Ok(()) });
        opened.map_err(|error| ExporterError::File { path: config.path.clone(), why: error.to_string() })?;
        if config.truncate {
            state.bytes = 0;
        }
        Ok(JsonFile { state: Arc::new(Mutex::new(state)) })
    }

    async fn append(&self, body: Bytes) -> Outcome {
        let state = Arc::clone(&self.state);
        let appended = tokio::task::spawn_blocking(move || {
            let mut line = Vec::with_capacity(body.len() * 2);
            if let Err(error) = json::encode(&body, &mut line) {
                return Ok(Err(error));
            }
            line.push(b'\n');
            state.lock().append(&line).map(|()| Ok(line.len()))
        });
        match appended.await.map_err(io::Error::other).flatten() {
            Ok(Ok(bytes)) => Outcome::delivered(bytes),
            Ok(Err(error)) => Outcome::Refused { reason: FailReason::Internal, why: error.to_string() },
            Err(error) => Outcome::transient(format!("cannot write {}: {error}", self.state.lock().path)),
        }
    }
}

impl State {
    fn file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
                self.bytes = file.metadata()?.len();
                file
            }
        };
        Ok(self.file.insert(file))
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.file()?;
        if self.max_bytes > 0 && self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes {
            self.file = None;
            std::fs::rename(&self.path, format!("{}.1", self.path))?;
        }
        self.file()?;
        let before = self.bytes;
        let file = self.file()?;
        if let Err(error) = file.write_all(line) {
            // Half a line would spoil the next one. Should this fail too, the file is opened anew and appended to.
            let _ = file.set_len(before);
            self.file = None;
            return Err(error);
        }
        self.bytes = before + line.len() as u64;
        Ok(())
    }
}

impl Sink for JsonFile {
    fn deliver<'a>(&'a self, body: &'a Body, _records: u64, _token: Option<&'a str>) -> Delivery<'a> {
        Box::pin(self.append(body.whole()))
    }

    fn close(&self) {
        if let Some(file) = &self.state.lock().file {
            let _ = file.sync_data();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ByteSize;

    const LINE: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}"#;

    fn config(path: &std::path::Path) -> FileConfig {
        FileConfig { path: path.to_str().unwrap().into(), ..FileConfig::default() }
    }

    async fn append(file: &JsonFile) -> Outcome {
        let body = Body::from(json::decode(LINE.as_bytes()).unwrap());
        file.deliver(&body, 1, None).await
    }

    #[tokio::test]
    async fn one_request_a_line_appended_or_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs.jsonl");
        let read = || std::fs::read_to_string(&path).unwrap();
        for (truncate, lines) in [(false, 1), (false, 2), (true, 1)] {
            let file = JsonFile::open(&FileConfig { truncate, ..config(&path) }).unwrap();
            assert_eq!(append(&file).await, Outcome::delivered(LINE.len() + 1));
            file.close();
            assert_eq!(read(), format!("{LINE}\n").repeat(lines));
        }
    }

    #[tokio::test]
    async fn at_its_size_the_file_is_put_aside_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs.jsonl");
        let two_lines = ByteSize(2 * (LINE.len() as u64 + 1));
        let file = JsonFile::open(&FileConfig { max_size: two_lines, ..config(&path) }).unwrap();
        for _ in 0..5 {
            append(&file).await;
        }
        let lines = |path: &str| std::fs::read_to_string(path).unwrap().lines().filter(|line| *line == LINE).count();
        assert_eq!(lines(path.to_str().unwrap()), 1);
        assert_eq!(lines(&format!("{}.1", path.display())), 2);
    }

    #[tokio::test]
    async fn a_disk_that_fails_is_reported_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/logs.jsonl");
        assert!(matches!(JsonFile::open(&config(&missing)), Err(ExporterError::File { .. })));
        // Putting the file aside fails while a folder stands where it should go.
        let path = folder.path().join("logs.jsonl");
        let aside = folder.path().join("logs.jsonl.1");
        std::fs::create_dir(&aside).unwrap();
        let file = JsonFile::open(&FileConfig { max_size: ByteSize(1), ..config(&path) }).unwrap();
        append(&file).await;
        let outcome = append(&file).await;
        assert!(matches!(&outcome, Outcome::Transient { why, .. } if why.contains("logs.jsonl")), "{outcome:?}");
        std::fs::remove_dir(&aside).unwrap();
        assert!(matches!(append(&file).await, Outcome::Delivered { .. }));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert_eq!(std::fs::read_to_string(&aside).unwrap().lines().count(), 1);
    }
}
