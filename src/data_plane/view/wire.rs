//! The protobuf wire format, read field by field from a borrowed slice.
//!
//! Purpose: the one cursor every reader in `view` stands on.
//! Promises: never panics, never reads past the slice, never allocates; every length is checked before it is used;
//! nesting of deprecated groups is bounded.
//! Never: interprets a field. Meaning belongs to `index`, `record` and `value`.
//!
//! Source: the Protocol Buffers encoding guide (varints, tags, wire types 0-5).

use super::ViewError;

/// Deepest nesting of groups that is skipped; prost refuses at the same depth.
const MAX_GROUP_DEPTH: u32 = 100;

/// How a field's value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireType {
    /// Base-128 integer.
    Varint,
    /// Eight bytes, little endian.
    Fixed64,
    /// Length, then that many bytes.
    Len,
    /// Start of a deprecated group.
    GroupStart,
    /// End of a deprecated group.
    GroupEnd,
    /// Four bytes, little endian.
    Fixed32,
}

/// A field's number and layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Field number, 1 or more.
    pub field: u32,
    /// Layout of the value that follows.
    pub wire_type: WireType,
}

/// A cursor over `bytes[pos..end]`. Positions are absolute offsets into `bytes`, so spans can be kept.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    pos: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    /// A cursor over the whole slice.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, pos: 0, end: bytes.len() }
    }

    /// A cursor over `bytes[start..end]`; both are clamped to the slice.
    #[inline]
    pub fn within(bytes: &'a [u8], start: usize, end: usize) -> Self {
        let end = end.min(bytes.len());
        Reader { bytes, pos: start.min(end), end }
    }

    /// Absolute offset of the next unread byte.
    #[inline]
    pub fn pos(&self) -> usize {
        self.pos
    }

    /// Whether everything has been read.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.pos >= self.end
    }

    fn fail(&self, what: &'static str) -> ViewError {
        ViewError { offset: self.pos, what }
    }

    /// A base-128 integer of at most ten bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, ViewError> {
        if self.pos < self.end && self.bytes[self.pos] < 0x80 {
            let value = self.bytes[self.pos];
            self.pos += 1;
            return Ok(u64::from(value));
        }
        // Lengths of blocks and records have two bytes most of the time.
        if let Some(&[low, high]) = self.bytes[self.pos..self.end].first_chunk()
            && high < 0x80
        {
            self.pos += 2;
            return Ok(u64::from(low & 0x7f) | u64::from(high) << 7);
        }
        self.varint_slow()
    }

    fn varint_slow(&mut self) -> Result<u64, ViewError> {
        let mut value = 0u64;
        for shift in 0..10u32 {
            let Some(&byte) = self.bytes[..self.end].get(self.pos) else {
                return Err(self.fail("a varint is cut short"));
            };
            if shift == 9 && byte > 1 {
                return Err(self.fail("a varint is longer than 64 bits"));
            }
            self.pos += 1;
            value |= u64::from(byte & 0x7f) << (shift * 7);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.fail("a varint is longer than ten bytes"))
    }

    /// The next field's tag, or `None` at the end.
    #[inline]
    pub fn tag(&mut self) -> Result<Option<Tag>, ViewError> {
        if self.is_done() {
            return Ok(None);
        }
        let key = self.varint()?;
        let wire_type = match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Len,
            3 => WireType::GroupStart,
            4 => WireType::GroupEnd,
            5 => WireType::Fixed32,
            _ => return Err(self.fail("a field has an unknown wire type")),
        };
        let field = u32::try_from(key >> 3).ok().filter(|&f| f != 0 && f < 1 << 29);
        match field {
            Some(field) => Ok(Some(Tag { field, wire_type })),
            None => Err(self.fail("a field number is out of range")),
        }
    }

    /// The start and end offset of a length-delimited value; the cursor moves behind it.
    #[inline]
    pub fn len_range(&mut self) -> Result<(usize, usize), ViewError> {
        let len = self.varint()?;
        let left = (self.end - self.pos) as u64;
        if len > left {
            return Err(self.fail("a length reaches past the end of its message"));
        }
        let start = self.pos;
        self.pos += len as usize;
        Ok((start, self.pos))
    }

    /// A length-delimited value.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], ViewError> {
        let (start, end) = self.len_range()?;
        Ok(&self.bytes[start..end])
    }

    /// Eight bytes, little endian.
    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, ViewError> {
        match self.bytes[self.pos..self.end].first_chunk::<8>() {
            Some(chunk) => {
                self.pos += 8;
                Ok(u64::from_le_bytes(*chunk))
            }
            None => Err(self.fail("a 64-bit field is cut short")),
        }
    }

    /// Four bytes, little endian.
    #[inline]
    pub fn fixed32(&mut self) -> Result<u32, ViewError> {
        match self.bytes[self.pos..self.end].first_chunk::<4>() {
            Some(chunk) => {
                self.pos += 4;
                Ok(u32::from_le_bytes(*chunk))
            }
            None => Err(self.fail("a 32-bit field is cut short")),
        }
    }

    /// Moves behind the value of `tag`.
    #[inline]
    pub fn skip(&mut self, tag: Tag) -> Result<(), ViewError> {
        match tag.wire_type {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.fixed64().map(drop),
            WireType::Len => self.len_range().map(drop),
            WireType::Fixed32 => self.fixed32().map(drop),
            WireType::GroupStart => self.skip_group(tag.field),
            WireType::GroupEnd => Err(self.fail("a group ends that never began")),
        }
    }

    #[cold]
    fn skip_group(&mut self, field: u32) -> Result<(), ViewError> {
        let mut open = vec![field];
        while let Some(&innermost) = open.last() {
            let Some(tag) = self.tag()? else {
                return Err(self.fail("a group is never closed"));
            };
            match tag.wire_type {
                WireType::GroupStart if open.len() as u32 >= MAX_GROUP_DEPTH => {
                    return Err(self.fail("groups are nested too deeply"));
                }
                WireType::GroupStart => open.push(tag.field),
                WireType::GroupEnd if tag.field == innermost => drop(open.pop()),
                WireType::GroupEnd => return Err(self.fail("a group is closed by another's end")),
                _ => self.skip(tag)?,
            }
        }
        Ok(())
    }
}

/// How many bytes `value` takes as a varint.
#[inline]
pub fn varint_len(value: u64) -> usize {
    // 7 payload bits a byte; `| 1` makes zero take one byte.
    ((63 - (value | 1).leading_zeros()) / 7 + 1) as usize
}

/// Appends `value` as a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the tag of a length-delimited field.
#[inline]
pub fn put_len_tag(out: &mut Vec<u8>, field: u32) {
    put_varint(out, u64::from(field) << 3 | 2);
}

/// Appends a length-delimited field: tag, length, value.
#[inline]
pub fn put_len_field(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    put_len_tag(out, field);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}
