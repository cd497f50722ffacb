//! Policies: which records match, and what is to become of them.
//!
//! Purpose: read policy documents (`spec/policy.md`), compile them once, and answer per record which policies match,
//! what they decide, and how a kept record is rewritten.
//! Promises: a policy that does not compile is reported with every error and never matches, the others apply; the most
//! restrictive keep wins; matching allocates nothing per record; time and randomness are arguments.
//! Never: decides about novelty, floors or defaults (the sampler does), waits, or panics on a document or a record.
//!
//! `document` parses text, `read`, `published` and `target` turn it into rules, `matcher`, `text` and `pattern` test fields, `keep`
//! and `limiter` hold the keep forms, `anchor` finds which to try, `evaluate` decides, `transform` and `edit` rewrite, `apply` does all of it
//! to a request, `load` and `watch` read files.

mod anchor;
mod apply;
mod compile;
mod document;
mod edit;
mod evaluate;
mod fields;
mod keep;
mod limiter;
mod load;
mod matcher;
mod operation;
mod pattern;
mod published;
mod read;
mod target;
mod text;
mod timestamp;
mod transform;
mod watch;

pub use compile::{CompiledPolicy, MAX_POLICIES, Policy, PolicyStats, Problem};
pub use document::{Document, DocumentError, MAX_DOCUMENT_BYTES};
pub use evaluate::{Candidates, Form, Matches, Resolution, trace_randomness};
pub use keep::{Keep, RANDOMNESS_BITS, threshold_of};
pub use limiter::{Fleet, Turn};
pub use load::{LoadError, LoadErrorReason, MAX_FILES, MAX_TOTAL_BYTES, load};
pub use read::Origin;
pub use timestamp::parse as parse_timestamp;
pub use transform::Edit;
pub use watch::{PolicyWatch, WatchError};
