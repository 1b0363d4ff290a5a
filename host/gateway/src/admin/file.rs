//! Answers that are files: written while they are sent, in pieces, so that a long one needs no more memory than a piece.

use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body::Frame;
use portcullis_export::{Cell, Column, ExportError, Format, Sheet};
use tokio::sync::mpsc;

/// What a reader may be behind, in pieces.
const BEHIND: usize = 2;

/// What was written and not sent yet.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Piece = Result<Bytes, BrokenOff>;

/// The file is not whole: whoever reads it is to see that the connection broke.
#[derive(Debug, thiserror::Error)]
#[error("the file could not be written to its end")]
struct BrokenOff;

/// A file that is being written and read.
pub struct FileWriter {
    sheet: Sheet<Written>,
    written: Written,
    pieces: mpsc::Sender<Piece>,
}

/// Nobody reads the file any more, or it cannot be written.
pub struct Ended;

impl FileWriter {
    /// A file, and the answer that it is.
    ///
    /// # Errors
    /// Where it cannot be begun.
    pub fn begin(name: &str, format: Format, columns: Vec<Column>) -> Result<(FileWriter, Response), ExportError> {
        let written = Written::default();
        let sheet = Sheet::new(format, columns, written.clone())?;
        let (pieces, sent) = mpsc::channel(BEHIND);
        let mut answer = Response::new(Body::new(Pieces(sent)));
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(format)));
        let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}.{format}\""));
        headers.extend(disposition.ok().map(|value| (header::CONTENT_DISPOSITION, value)));
        Ok((FileWriter { sheet, written, pieces }, answer))
    }

    /// Writes some rows.
    pub async fn rows(&mut self, rows: impl Iterator<Item = Vec<Cell>>) -> Result<(), Ended> {
        for row in rows {
            if let Err(error) = self.sheet.row(row) {
                tracing::error!(%error, "a file of the admin API could not be written");
                // Whoever has gone away misses nothing.
                let _ = self.pieces.send(Err(BrokenOff)).await;
                return Err(Ended);
            }
        }
        let piece = std::mem::take(&mut *self.written.lock());
        if piece.is_empty() {
            return Ok(());
        }
        self.pieces.send(Ok(piece.into())).await.map_err(|_| Ended)
    }

    /// Ends it.
    pub async fn finish(self) {
        let FileWriter { sheet, written, pieces } = self;
        let last = match sheet.finish() {
            Ok(_) => Ok(std::mem::take(&mut *written.lock()).into()),
            Err(error) => {
                tracing::error!(%error, "a file of the admin API could not be written");
                Err(BrokenOff)
            }
        };
        // As above.
        let _ = pieces.send(last).await;
    }

    /// Ends it where it is not whole.
    pub async fn break_off(self) {
        let FileWriter { pieces, .. } = self;
        // As above.
        let _ = pieces.send(Err(BrokenOff)).await;
    }
}

/// `text/csv` is RFC 4180's, `application/vnd.apache.parquet` the one that IANA has; JSON lines have none that is registered.
fn content_type(format: Format) -> &'static str {
    match format {
        Format::Csv => "text/csv; charset=utf-8; header=present",
        Format::Jsonl => "application/x-ndjson",
        Format::Parquet => "application/vnd.apache.parquet",
    }
}

struct Pieces(mpsc::Receiver<Piece>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
