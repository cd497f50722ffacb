//! The body of an outgoing request, in pieces.
//!
//! Purpose: send queued requests together without copying them into one buffer. Encoded protobuf messages written one
//! after the other are the encoding of the merged message: requests in a row are one request with the blocks of all.
//! Promises: the pieces in order are the body; its length is known before it is sent.
//! Never: an empty piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// An `ExportLogsServiceRequest` in protobuf, cut anywhere between its fields.
#[derive(Clone, Debug)]
pub struct Body {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Body {
    /// The requests `pieces`, one after the other.
    pub(super) fn chain(mut pieces: Vec<Bytes>) -> Self {
        pieces.retain(|piece| !piece.is_empty());
        Body { len: pieces.iter().map(Bytes::len).sum(), pieces }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All in one buffer: shared when it is in one already, else copied.
    pub fn whole(&self) -> Bytes {
        if let [piece] = self.pieces.as_slice() {
            return piece.clone();
        }
        let mut whole = BytesMut::with_capacity(self.len);
        self.pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    }

    /// As the body of an HTTP request.
    pub(super) fn into_http(self) -> reqwest::Body {
        let mut pieces = self.pieces;
        match pieces.pop() {
            Some(only) if pieces.is_empty() => only.into(),
            last => {
                pieces.extend(last);
                reqwest::Body::wrap(Pieces { left: self.len, pieces: pieces.into_iter() })
            }
        }
    }
}

impl From<Bytes> for Body {
    fn from(whole: Bytes) -> Self {
        Body::chain(vec![whole])
    }
}

impl From<Vec<u8>> for Body {
    fn from(whole: Vec<u8>) -> Self {
        Body::from(Bytes::from(whole))
    }
}

/// Pieces still to be sent. Its exact size makes it a body with `Content-Length`.
struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    left: usize,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.pieces.next();
        self.left -= next.as_ref().map_or(0, Bytes::len);
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_its_pieces_in_order() {
        for (pieces, whole) in [
            (vec![], &b""[..]),
            (vec!["one"], b"one"),
            (vec!["", "one", ""], b"one"),
            (vec!["one", "two", "", "three"], b"onetwothree"),
        ] {
            let body = Body::chain(pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect());
            assert_eq!((&body.whole()[..], body.len(), body.is_empty()), (whole, whole.len(), whole.is_empty()));
        }
        let shared = Bytes::from_static(b"shared");
        assert_eq!(Body::from(shared.clone()).whole().as_ptr(), shared.as_ptr(), "one piece is not copied");
    }
}
