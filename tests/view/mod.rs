//! The byte view against prost: whatever prost reads, edits or refuses, `view` reads, edits or refuses alike.
//!
//! Leniency that is allowed (and checked to be no more): invalid UTF-8 and the inside of attribute values, resources and
//! scopes are not looked at.

mod edit;
mod encode;
mod generate;
mod hostile;
mod read;
mod regroup;
