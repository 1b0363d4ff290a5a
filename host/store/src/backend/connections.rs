//! Connections to providers.

use portcullis_core::ConnectionId;

use super::Answer;
use crate::audit::NewEvent;
use crate::connections::StoredConnection;

pub trait ConnectionBackend: Send + Sync + 'static {
    /// Writes a new connection with its event and moves the revision on; the one it comes with is not looked at.
    /// [`crate::StoreError::NoSuchOwner`], [`crate::StoreError::Taken`].
    fn insert_connection<'a>(&'a self, connection: &'a StoredConnection, event: &'a NewEvent) -> Answer<'a, ()>;

    /// Writes all of a connection anew where it is still at `revision`, and moves that on. `false` where it is not.
    fn replace_connection<'a>(
        &'a self,
        revision: i64,
        connection: &'a StoredConnection,
        event: &'a NewEvent,
    ) -> Answer<'a, bool>;

    /// `false` where there is no such connection.
    fn delete_connection<'a>(&'a self, id: ConnectionId, event: &'a NewEvent) -> Answer<'a, bool>;

    /// All of them, oldest first.
    fn connections(&self) -> Answer<'_, Vec<StoredConnection>>;

    /// What the last change left.
    fn connections_revision(&self) -> Answer<'_, i64>;
}
