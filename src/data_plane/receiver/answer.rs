//! The body of an answer.
//!
//! Purpose: one small body type for both protocols: at most one piece of data, at most one set of trailers.
//! Promises: an answer without either ends with its headers.
//! Never: streams.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

/// What follows the headers.
#[derive(Debug, Default)]
pub(super) struct Answer {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    /// Data, then trailers.
    pub(super) fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Answer { data: Some(data), trailers: Some(trailers) }
    }

    /// The data alone.
    pub(super) fn into_data(self) -> Bytes {
        self.data.unwrap_or_default()
    }
}

impl From<Bytes> for Answer {
    fn from(data: Bytes) -> Self {
        Answer { data: (!data.is_empty()).then_some(data), trailers: None }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}
