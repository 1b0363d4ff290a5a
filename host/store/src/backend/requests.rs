//! Request records.

use portcullis_core::RequestId;

use super::Answer;
use crate::requests::{RequestFilter, RequestRecord};

pub trait RequestBackend: Send + Sync + 'static {
    /// Those that match, the newest first, at most so many.
    fn requests<'a>(&'a self, filter: &'a RequestFilter, limit: u32) -> Answer<'a, Vec<RequestRecord>>;

    fn request(&self, id: RequestId) -> Answer<'_, Option<RequestRecord>>;
}
