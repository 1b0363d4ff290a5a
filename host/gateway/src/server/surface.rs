//! What a listener is for.

use std::sync::Arc;

use crate::Admin;

/// Who is served by a listener.
#[derive(Clone)]
pub enum Surface {
    /// Clients of the gateway, and with it whoever administers it.
    Clients(Option<Arc<Admin>>),
    /// Whoever administers the gateway, and nobody else.
    Admin(Arc<Admin>),
}

impl Surface {
    pub(crate) fn admin(&self) -> Option<&Arc<Admin>> {
        match self {
            Surface::Clients(admin) => admin.as_ref(),
            Surface::Admin(admin) => Some(admin),
        }
    }

    /// Whether it is the admin API's alone.
    pub(crate) fn is_apart(&self) -> bool {
        matches!(self, Surface::Admin(_))
    }
}
