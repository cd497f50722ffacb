//! Numbers that come back from a file.
//!
//! Purpose: take in what was kept over a restart without trusting it.
//! Promises: what is read is finite and of a size that no sum or product of it overflows; amounts are not negative.
//! Never: mends a number; a file with a wrong one is refused.

use serde::{Deserialize, Deserializer, de};

/// Largest number taken.
const LARGEST: f64 = 1e30;

fn checked<E: de::Error>(value: f64, least: f64) -> Result<f64, E> {
    match (least..=LARGEST).contains(&value) {
        true => Ok(value),
        false => Err(E::custom("a number out of range")),
    }
}

/// A number.
///
/// # Errors
/// When it is not finite, or too large.
pub fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    checked(f64::deserialize(from)?, -LARGEST)
}

/// A number that is not negative.
///
/// # Errors
/// When it is negative, not finite, or too large.
pub fn amount<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    checked(f64::deserialize(from)?, 0.0)
}

/// Numbers that are not negative.
///
/// # Errors
/// As [`amount`].
pub fn amounts<'de, D, A>(from: D) -> Result<A, D::Error>
where
    D: Deserializer<'de>,
    A: Deserialize<'de> + AsRef<[f64]>,
{
    let found = A::deserialize(from)?;
    found.as_ref().iter().try_for_each(|value| checked(*value, 0.0).map(drop))?;
    Ok(found)
}

/// Pairs of numbers that are not negative.
///
/// # Errors
/// As [`amount`].
pub fn pairs<'de, D, A>(from: D) -> Result<A, D::Error>
where
    D: Deserializer<'de>,
    A: Deserialize<'de> + AsRef<[(f64, f64)]>,
{
    let found = A::deserialize(from)?;
    found.as_ref().iter().flat_map(|(a, b)| [*a, *b]).try_for_each(|value| checked(value, 0.0).map(drop))?;
    Ok(found)
}

/// A count that can go on growing.
///
/// # Errors
/// When it is near its type's end.
pub fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let found = u64::deserialize(from)?;
    if found > u64::MAX / 4 { Err(de::Error::custom("a count out of range")) } else { Ok(found) }
}

/// A small count that can go on growing.
///
/// # Errors
/// As [`count`].
pub fn small_count<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let found = u32::deserialize(from)?;
    if found > u32::MAX / 4 { Err(de::Error::custom("a count out of range")) } else { Ok(found) }
}
