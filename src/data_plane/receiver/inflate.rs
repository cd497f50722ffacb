//! Compressed bodies to plain ones, within a limit.
//!
//! Purpose: gzip, deflate (zlib or raw) and zstd, the whole body at once where its size is known.
//! Promises: output never passes the limit, whatever the input claims; memory grows with what is really there (deflate)
//! or with what the request reserved (zstd); several gzip members or zstd frames in a row are one body.
//! Never: trusts a size field beyond using it as a hint.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{DecompressionError, Decompressor};
use zstd::stream::raw::{DParameter, Decoder, Operation};
use zstd::zstd_safe::get_frame_content_size;

use super::Refusal;
use super::buffer::{Buffer, Reservation};
use super::status::Fault;
use crate::units::ByteSize;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950; RFC 1951 alone is accepted too, as many clients send it under this name.
    Deflate,
    /// RFC 8878.
    Zstd,
}

/// Encodings as listed for clients.
pub(super) const ACCEPTED_ENCODINGS: &str = "identity,gzip,deflate,zstd";

impl Encoding {
    /// From a `Content-Encoding` or `grpc-encoding` value; `None` if unknown.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        let is = |known: &str| name.trim().eq_ignore_ascii_case(known);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Encoding::Gzip),
            () if is("identity") || is("") => Some(Encoding::Identity),
            () if is("zstd") => Some(Encoding::Zstd),
            () if is("deflate") => Some(Encoding::Deflate),
            () => None,
        }
    }
}

/// The largest request a protocol takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// Bytes, before and after decompression.
    pub(super) bytes: usize,
    /// Name of the setting.
    pub(super) setting: &'static str,
}

impl Limit {
    /// What a larger request is told.
    pub(super) fn exceeded(&self, state: &str) -> Refusal {
        Refusal::TooLarge(format!(
            "the request is larger than {} {state}; send smaller batches, or raise `{}` of the receiver",
            ByteSize(self.bytes as u64),
            self.setting
        ))
    }
}

/// Deflate makes at most 1032 bytes of one; a size field that claims more lies.
const MAX_DEFLATE_RATIO: usize = 1032;
/// A gzip member has at least this many bytes: header, empty block, trailer.
const MIN_GZIP_BYTES: usize = 18;
/// Largest zstd window, as RFC 8878 recommends to support; it bounds a decoder's own memory.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;
/// First size of an output whose end is not known.
const FIRST_STEP_BYTES: usize = 64 << 10;

thread_local! {
    static LIBDEFLATE: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    static ZSTD: RefCell<Option<Decoder<'static>>> = const { RefCell::new(None) };
}

/// Inflates `input` into `out`, which is empty, reserving memory as it goes (`held` counts input and output).
///
/// # Errors
/// `TooLarge` over the limit, `Busy` without memory, `Malformed` for broken input.
pub(super) fn inflate(
    encoding: Encoding,
    input: &[u8],
    limit: Limit,
    held: &mut Reservation,
    out: &mut Buffer,
) -> Result<(), Fault> {
    let mut sink = Sink { limit, base: held.bytes(), held, out };
    match encoding {
        Encoding::Identity => {
            sink.grow(input.len())?;
            sink.out.extend(input, input.len());
            Ok(())
        }
        Encoding::Gzip => gzip(input, &mut sink),
        Encoding::Deflate => deflate(input, &mut sink),
        Encoding::Zstd => zstd_frames(input, &mut sink),
    }
}

/// A size to allocate for the output of `encoding`: a hint, never trusted.
pub(super) fn size_hint(encoding: Encoding, input: &[u8], limit: Limit) -> usize {
    let claimed = match encoding {
        Encoding::Identity => input.len(),
        Encoding::Gzip => gzip_claim(input).unwrap_or(0).min(input.len().saturating_mul(MAX_DEFLATE_RATIO)),
        Encoding::Deflate => input.len().saturating_mul(4),
        Encoding::Zstd => zstd_claim(input).unwrap_or_else(|| input.len().saturating_mul(4)),
    };
    claimed.min(limit.bytes)
}

/// The output with its two bounds.
struct Sink<'a> {
    limit: Limit,
    base: u64,
    held: &'a mut Reservation,
    out: &'a mut Buffer,
}

impl Sink<'_> {
    /// Reserves memory for an output of `size` bytes in all.
    fn grow(&mut self, size: usize) -> Result<(), Fault> {
        if size > self.limit.bytes {
            return Err(self.too_large());
        }
        Ok(self.held.grow_to(self.base + size as u64)?)
    }

    fn too_large(&self) -> Fault {
        self.limit.exceeded("after decompression").into()
    }

    /// The next piece of output to write to: as large as the output so far, or `hint`, up to one byte over the limit
    /// (so that passing it is noticed).
    fn step(&mut self, hint: usize) -> Result<&mut [u8], Fault> {
        let used = self.out.len();
        if used > self.limit.bytes {
            return Err(self.too_large());
        }
        let left = self.limit.bytes + 1 - used;
        let step = used.max(FIRST_STEP_BYTES).max(hint).min(left);
        self.grow((used + step).min(self.limit.bytes))?;
        Ok(self.out.space(step))
    }
}

fn corrupt(what: &str) -> Fault {
    Refusal::Malformed(format!("the request body is not valid {what}")).into()
}

fn gzip_claim(input: &[u8]) -> Option<usize> {
    let trailer = input.last_chunk::<4>().filter(|_| input.len() >= MIN_GZIP_BYTES)?;
    usize::try_from(u32::from_le_bytes(*trailer)).ok()
}

fn gzip(input: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
    let claimed = gzip_claim(input).ok_or_else(|| corrupt("gzip: it is cut short"))?;
    if claimed <= input.len().saturating_mul(MAX_DEFLATE_RATIO) {
        // A true claim over the limit ends here, before any work.
        sink.grow(claimed)?;
        let space = sink.out.space(claimed.max(1));
        match LIBDEFLATE.with_borrow_mut(|inflater| inflater.gzip_decompress(input, space)) {
            Ok(size) if size == claimed && !has_further_member(input, size) => {
                sink.out.advance(size);
                return Ok(());
            }
            Err(DecompressionError::BadData) => return Err(corrupt("gzip")),
            // Several members, or a trailer that lies: read it piece by piece.
            Ok(_) | Err(DecompressionError::InsufficientSpace) => {}
        }
    }
    let mut rest = input;
    while !rest.is_empty() {
        let consumed = stream(Decompress::new_gzip(15), rest, sink, "gzip")?;
        rest = &rest[consumed..];
    }
    Ok(())
}

/// Whether another member may follow the first, whose output has `size` bytes: a member ends in its size and begins with a
/// fixed mark. A false alarm costs time only.
fn has_further_member(input: &[u8], size: usize) -> bool {
    let mut seam = [0x1f, 0x8b, 0x08, 0, 0, 0, 0];
    seam.rotate_left(3);
    seam[..4].copy_from_slice(&(size as u32).to_le_bytes());
    memchr::memmem::find(input, &seam).is_some()
}

fn deflate(input: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
    let header = input.first_chunk::<2>().map_or(0, |pair| u16::from_be_bytes(*pair));
    let looks_like_zlib = header >> 8 & 0x0f == 8 && header.is_multiple_of(31);
    let mut as_zlib = Ok(());
    if looks_like_zlib {
        as_zlib = whole(Decompress::new(true), input, sink);
        if !matches!(as_zlib, Err(Fault::Refused(Refusal::Malformed(_)))) {
            return as_zlib;
        }
        sink.out.clear();
    }
    // Two bytes of raw deflate may look like a zlib header by chance.
    whole(Decompress::new(false), input, sink).map_err(|as_raw| as_zlib.err().unwrap_or(as_raw))
}

fn whole(state: Decompress, input: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
    match stream(state, input, sink, "deflate")? {
        consumed if consumed == input.len() => Ok(()),
        _ => Err(corrupt("deflate: something follows its end")),
    }
}

/// Inflates one deflate stream piece by piece; returns how much input it took.
fn stream(mut state: Decompress, input: &[u8], sink: &mut Sink<'_>, name: &str) -> Result<usize, Fault> {
    let mut consumed = 0;
    loop {
        let space = sink.step(0)?;
        let (in_before, out_before) = (state.total_in(), state.total_out());
        let status = state.decompress(&input[consumed..], space, FlushDecompress::None).map_err(|_| corrupt(name))?;
        let (taken, made) = ((state.total_in() - in_before) as usize, (state.total_out() - out_before) as usize);
        consumed += taken;
        sink.out.advance(made);
        match status {
            Status::StreamEnd if sink.out.len() > sink.limit.bytes => return Err(sink.too_large()),
            Status::StreamEnd => return Ok(consumed),
            _ if taken == 0 && made == 0 => return Err(corrupt(&format!("{name}: it is cut short"))),
            _ => {}
        }
    }
}

fn zstd_claim(input: &[u8]) -> Option<usize> {
    get_frame_content_size(input).ok().flatten().and_then(|size| usize::try_from(size).ok())
}

fn zstd_frames(input: &[u8], sink: &mut Sink<'_>) -> Result<(), Fault> {
    let claim = zstd_claim(input).unwrap_or(0);
    if claim > sink.limit.bytes {
        return Err(sink.too_large());
    }
    ZSTD.with_borrow_mut(|kept| {
        let decoder = match kept {
            Some(decoder) => decoder.reinit().map(|()| decoder),
            None => zstd_decoder().map(|decoder| kept.insert(decoder)),
        };
        let failed = |_| Refusal::Failed("no memory for a zstd decoder; retry later".into());
        zstd_run(decoder.map_err(failed)?, input, claim, sink)
    })
}

/// A decoder takes longer to make than a small body to decode, so each thread keeps one, with its window of 8 MiB at most.
fn zstd_decoder() -> std::io::Result<Decoder<'static>> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(MAX_ZSTD_WINDOW_LOG))?;
    Ok(decoder)
}

fn zstd_run(decoder: &mut Decoder<'_>, input: &[u8], claim: usize, sink: &mut Sink<'_>) -> Result<(), Fault> {
    let mut rest = input;
    loop {
        // With room for the whole frame the decoder writes straight into it.
        let space = sink.step(claim)?;
        let size = space.len();
        let status = decoder
            .run_on_buffers(rest, space)
            .map_err(|error| corrupt(&format!("zstd, or its window is over 8 MiB ({error})")))?;
        rest = &rest[status.bytes_read..];
        sink.out.advance(status.bytes_written);
        if rest.is_empty() && status.remaining == 0 {
            return if sink.out.len() > sink.limit.bytes { Err(sink.too_large()) } else { Ok(()) };
        }
        if rest.is_empty() && status.bytes_written < size || status.bytes_read == 0 && status.bytes_written == 0 {
            return Err(corrupt("zstd: it is cut short"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::super::buffer::{BufferPool, InFlight};
    use super::*;

    const LIMIT: Limit = Limit { bytes: 300_000, setting: "max_request_body_size" };

    fn run(encoding: Encoding, input: &[u8]) -> Result<Vec<u8>, Fault> {
        let account = InFlight::new(ByteSize::mib(1));
        let mut held = Reservation::new(&account);
        let mut out = Arc::new(BufferPool::default()).take(size_hint(encoding, input, LIMIT));
        inflate(encoding, input, LIMIT, &mut held, &mut out)?;
        assert!(held.bytes() >= out.len() as u64);
        assert!(out.len() <= LIMIT.bytes);
        Ok(out.as_ref().to_vec())
    }

    fn gz(plain: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn zlib(plain: &[u8]) -> Vec<u8> {
        let mut writer = ZlibEncoder::new(Vec::new(), Compression::fast());
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn raw(plain: &[u8]) -> Vec<u8> {
        let mut writer = DeflateEncoder::new(Vec::new(), Compression::fast());
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn zst(plain: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(plain, 1).unwrap()
    }

    fn zst_streamed(plain: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(plain, 1).unwrap()
    }

    type Pack = fn(&[u8]) -> Vec<u8>;
    const PACKS: [(Encoding, Pack); 5] = [
        (Encoding::Gzip, gz),
        (Encoding::Deflate, zlib),
        (Encoding::Deflate, raw),
        (Encoding::Zstd, zst),
        (Encoding::Zstd, zst_streamed),
    ];

    #[test]
    fn a_broken_body_leaves_nothing_behind_for_the_next() {
        let plain = "what comes after is read afresh ".repeat(1000);
        for (encoding, pack) in PACKS {
            let packed = pack(plain.as_bytes());
            for broken in [&packed[..packed.len() / 2], &packed[..3], &b"nothing of the kind"[..]] {
                assert!(run(encoding, broken).is_err(), "{encoding:?}");
                assert_eq!(run(encoding, &packed).unwrap(), plain.as_bytes(), "{encoding:?}");
            }
        }
    }

    #[test]
    fn sizes_around_the_limit() {
        for (index, (encoding, pack)) in PACKS.into_iter().enumerate() {
            for size in [0, 1, 65_535, 65_536, 65_537, 299_999, 300_000] {
                let plain: Vec<u8> = (0..size as u64).map(|i| ((i * i) >> 7) as u8).collect();
                assert_eq!(run(encoding, &pack(&plain)).as_ref(), Ok(&plain), "{index} {size}");
            }
            for size in [300_001, 400_000, 5_000_000] {
                let fault = run(encoding, &pack(&vec![0; size])).unwrap_err();
                assert!(matches!(fault, Fault::Refused(Refusal::TooLarge(_))), "{index} {size} {fault}");
                assert!(fault.to_string().contains("max_request_body_size"), "{fault}");
            }
        }
    }

    #[test]
    fn members_and_frames_in_a_row_are_one_body() {
        let (a, b) = (vec![b'a'; 1000], b"bcd".repeat(500));
        for (encoding, pack) in [(Encoding::Gzip, gz as Pack), (Encoding::Zstd, zst), (Encoding::Zstd, zst_streamed)] {
            for parts in [[&a[..], &b], [&b, &a], [&a, &a]] {
                let packed: Vec<u8> = parts.iter().flat_map(|part| pack(part)).collect();
                assert_eq!(run(encoding, &packed), Ok(parts.concat()));
            }
            let halves = vec![pack(&vec![0; 200_000]); 2].concat();
            assert!(matches!(run(encoding, &halves), Err(Fault::Refused(Refusal::TooLarge(_)))));
        }
    }

    #[test]
    fn lying_trailers_cost_nothing() {
        let packed = gz(b"hello");
        for claim in [0u32, 4, 6, 1000, 299_999, u32::MAX] {
            let mut lying = packed.clone();
            let end = lying.len();
            lying[end - 4..].copy_from_slice(&claim.to_le_bytes());
            assert!(run(Encoding::Gzip, &lying).is_err(), "{claim}");
        }
        assert_eq!(size_hint(Encoding::Gzip, &[0xff; 20], LIMIT), 20 * MAX_DEFLATE_RATIO);
    }

    #[test]
    fn names() {
        for (name, encoding) in [
            ("gzip", Some(Encoding::Gzip)),
            ("X-GZIP", Some(Encoding::Gzip)),
            (" zstd", Some(Encoding::Zstd)),
            ("deflate", Some(Encoding::Deflate)),
            ("", Some(Encoding::Identity)),
            ("identity", Some(Encoding::Identity)),
            ("br", None),
            ("gzip, gzip", None),
        ] {
            assert_eq!(Encoding::from_name(name), encoding, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(plain in prop::collection::vec(any::<u8>(), 0..5_000), repeat in 1usize..20) {
            let plain = plain.repeat(repeat);
            for (encoding, pack) in PACKS {
                prop_assert_eq!(run(encoding, &pack(&plain)), Ok(plain.clone()));
            }
        }

        #[test]
        fn cut_or_garbled_input_is_an_error_or_data_never_a_panic(
            plain in prop::collection::vec(any::<u8>(), 1..2_000), at in any::<prop::sample::Index>(), bit in 0u8..8
        ) {
            for (encoding, pack) in PACKS {
                let packed = pack(&plain);
                let at = at.index(packed.len());
                prop_assert!(run(encoding, &packed[..at]).is_err() , "{:?} cut at {}", encoding, at);
                let mut garbled = packed;
                garbled[at] ^= 1 << bit;
                let _ = run(encoding, &garbled);
            }
            let _ = run(Encoding::Gzip, &plain);
        }
    }
}
