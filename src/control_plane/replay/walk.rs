//! The records of a request, one by one, with their service, severity band and signature.
//!
//! Purpose: the one reading of requests that what came in and what would go out are both counted by.
//! Promises: names patterns as the pattern table does; services are bounded, further ones share `_other`.
//! Never: decides, or keeps a request.

use std::sync::Arc;

use ahash::HashMap;

use crate::clock::UnixNanos;
use crate::data_plane::pattern::{Catalogue, Grouping, PatternCache, PatternId};
use crate::data_plane::signature::{Signature, Signer};
use crate::data_plane::view::{AnyValueRef, LogIndex, RecordRef, ResourceRef, ResourceSpan, ViewError};
use crate::data_plane::window::{Band, PatternKey};

/// Longest service name, in bytes; as in the pattern table.
const MAX_SERVICE_BYTES: usize = 128;
/// Longest template and example kept with a pattern, in bytes; as in the pipeline.
const MAX_TEXT_BYTES: usize = 512;

/// Services by number.
#[derive(Debug)]
pub struct Services {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    most: usize,
}

impl Services {
    /// At most `most` services and one for the rest.
    pub fn new(most: usize) -> Self {
        Services { names: Vec::new(), numbers: HashMap::default(), most }
    }

    /// The number of a service.
    pub fn number(&mut self, name: &[u8]) -> u32 {
        let cut = &name[..name.len().min(MAX_SERVICE_BYTES)];
        let name = if cut.is_empty() { "unknown_service".into() } else { String::from_utf8_lossy(cut) };
        if let Some(number) = self.numbers.get(&*name) {
            return *number;
        }
        let name = if self.names.len() < self.most { &*name } else { "_other" };
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let (number, name): (u32, Arc<str>) = (self.names.len() as u32, name.into());
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }

    /// The name behind a number.
    pub fn name(&self, number: u32) -> Arc<str> {
        self.names.get(number as usize).cloned().unwrap_or_else(|| "_other".into())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Reads requests. Reuse it to keep its buffers.
#[derive(Debug, Default)]
pub struct Walker {
    /// The request read last.
    pub index: LogIndex,
    signer: Signer,
    signatures: Vec<Signature>,
    patterns: Vec<PatternId>,
    known: PatternCache,
    catalogue: Arc<Catalogue>,
}

/// A record of a walk.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its service, severity band and pattern.
    pub key: PatternKey,
    /// Its signature.
    pub signature: Signature,
    /// Its bytes as billed: field tag, length and record.
    pub bytes: u64,
    /// The record.
    pub record: RecordRef<'a>,
}

impl Seen<'_> {
    /// Its signature and pattern.
    pub fn grouping(&self) -> Grouping {
        Grouping { signature: self.signature, pattern: self.key.pattern }
    }
}

impl Walker {
    /// A walker that finds patterns in `catalogue`.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Walker { catalogue, ..Walker::default() }
    }

    /// Reads `body` and finds the patterns of its records.
    ///
    /// # Errors
    /// When it is not a valid request.
    pub fn read(&mut self, body: &[u8]) -> Result<(), ViewError> {
        self.signatures.clear();
        let (signer, signatures) = (&mut self.signer, &mut self.signatures);
        self.index.parse(body, |record| signatures.push(signer.sign(record)))?;
        self.patterns.clear();
        self.known.begin(&self.catalogue);
        for (at, &signature) in self.signatures.iter().enumerate() {
            let pattern = match self.known.get(signature) {
                _ if self.catalogue.is_empty() => signature.into(),
                Some(pattern) => pattern,
                None => {
                    let template = self.signer.template(self.index.record(body, at));
                    let pattern = self.catalogue.resolve(signature, &template);
                    self.known.put(signature, pattern);
                    pattern
                }
            };
            self.patterns.push(pattern);
        }
        Ok(())
    }

    /// The published template of a pattern, or else the masked text of `record`; and the record's text. For people.
    pub fn texts(&self, signer: &mut Signer, record: RecordRef<'_>) -> (Box<str>, Box<str>) {
        let mut scratch = Vec::new();
        let template = signer.template(record);
        let template = self.catalogue.find(&template).map_or(&*template, |pattern| &*pattern.template);
        let text = crate::data_plane::signature::text::of_record(record, &mut scratch);
        (cut(template), cut(&String::from_utf8_lossy(&text[..text.len().min(2 * MAX_TEXT_BYTES)])))
    }

    /// The latest time of the records read, 0 when none has one.
    pub fn latest(&self) -> UnixNanos {
        self.index.records.iter().map(|record| record.time_unix_nano).max().unwrap_or(0)
    }

    /// Calls `on_record` for every record, and `on_block` for every resource block with the bytes it needs beside its
    /// records. `body` must be the one read last.
    pub fn each(
        &self,
        body: &[u8],
        services: &mut Services,
        mut on_record: impl FnMut(Seen<'_>),
        mut on_block: impl FnMut(u32, u64),
    ) {
        for block in &self.index.resources {
            let service = service_of(body, block, services);
            let mut record_bytes = 0;
            for scope in &self.index.scopes[block.scopes.0 as usize..block.scopes.1 as usize] {
                for at in scope.records.0 as usize..scope.records.1 as usize {
                    let record = self.index.record(body, at);
                    let band = Band::of(record.span.severity_number, record.severity_text());
                    let key = PatternKey { service, band, pattern: self.patterns[at] };
                    let signature = self.signatures[at];
                    let bytes = record.span.field.len() as u64;
                    record_bytes += bytes;
                    on_record(Seen { key, signature, bytes, record });
                }
            }
            on_block(service, block.field.len() as u64 - record_bytes);
        }
    }
}

fn service_of(body: &[u8], block: &ResourceSpan, services: &mut Services) -> u32 {
    match ResourceRef::new(body, block).attributes().get(b"service.name") {
        Some(AnyValueRef::Str(name)) => services.number(name),
        _ => services.number(b""),
    }
}

fn cut(text: &str) -> Box<str> {
    let end = (0..=MAX_TEXT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].into()
}
