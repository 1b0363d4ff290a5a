//! Connections to providers that are kept in the database rather than in the operator's file: per organisation or for everybody.
//!
//! A credential is written and used, and never read again: no method gives it but [`Store::open_connections`], for the gateway itself.
//! It stands in no record, no event and no message.

mod envelope;

use std::fmt;

use portcullis_core::{ConnectionId, OrganisationId, Permission, Scope};
use serde_json::{Map, Value, json};

pub use envelope::{Envelope, Keyring};

use crate::actor::Actor;
use crate::audit::NewEvent;
use crate::error::StoreError;
use crate::store::Store;

/// A connection as it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionRecord {
    pub id: ConnectionId,
    /// Whose it is alone; `None` for everybody's.
    pub organisation: Option<OrganisationId>,
    pub name: String,
    /// What models are asked for by. Connections of one owner and provider share its requests by their weights.
    pub provider: String,
    /// As a section `[providers.NAME]` of the operator's file, but for secrets.
    pub settings: Map<String, Value>,
    pub weight: u32,
    pub suspended_ms: Option<u64>,
    pub created_ms: u64,
    /// When its credential was last replaced.
    pub rotated_ms: Option<u64>,
    /// The name of the master key that its data key is wrapped by.
    pub master: String,
}

impl ConnectionRecord {
    fn scope(&self) -> Scope {
        scope(self.organisation)
    }

    /// As it is shown and stands in the audit trail.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.id.to_string(),
            "organisation": self.organisation.map(|organisation| organisation.to_string()),
            "name": self.name,
            "provider": self.provider,
            "settings": self.settings,
            "weight": self.weight,
            "suspended_ms": self.suspended_ms,
            "created_ms": self.created_ms,
            "rotated_ms": self.rotated_ms,
            "master": self.master,
        })
    }
}

/// A credential: the word itself, or a JSON object for schemes that have several. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionSecret(String);

impl ConnectionSecret {
    pub fn new(secret: impl Into<String>) -> Self {
        ConnectionSecret(secret.into())
    }

    /// For the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ConnectionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[derive(Clone, Debug)]
pub struct NewConnection {
    pub organisation: Option<OrganisationId>,
    pub name: String,
    pub provider: String,
    pub settings: Map<String, Value>,
    pub weight: u32,
    pub secret: ConnectionSecret,
}

impl NewConnection {
    /// What will be kept of it but for its secret, so that it can be judged before it is.
    pub fn record(&self, id: ConnectionId, now_ms: u64) -> ConnectionRecord {
        ConnectionRecord {
            id,
            organisation: self.organisation,
            name: self.name.clone(),
            provider: self.provider.clone(),
            settings: self.settings.clone(),
            weight: self.weight,
            suspended_ms: None,
            created_ms: now_ms,
            rotated_ms: None,
            master: String::new(),
        }
    }
}

/// What shall be other than it is.
#[derive(Clone, Debug, Default)]
pub struct ConnectionEdit {
    pub name: Option<String>,
    pub provider: Option<String>,
    /// All of them.
    pub settings: Option<Map<String, Value>>,
    pub weight: Option<u32>,
    pub suspended: Option<bool>,
    /// The credential anew. It must be given where it will be sent elsewhere or in another way: who may change a connection need not know
    /// its credential, and would else have it sent to themselves.
    pub secret: Option<ConnectionSecret>,
}

impl ConnectionEdit {
    /// The record after it.
    pub fn over(&self, record: &ConnectionRecord, now_ms: u64) -> ConnectionRecord {
        let edit = self.clone();
        ConnectionRecord {
            name: edit.name.unwrap_or_else(|| record.name.clone()),
            provider: edit.provider.unwrap_or_else(|| record.provider.clone()),
            settings: edit.settings.unwrap_or_else(|| record.settings.clone()),
            weight: edit.weight.unwrap_or(record.weight),
            suspended_ms: match edit.suspended {
                Some(true) => record.suspended_ms.or(Some(now_ms)),
                Some(false) => None,
                None => record.suspended_ms,
            },
            rotated_ms: edit.secret.map_or(record.rotated_ms, |_| Some(now_ms)),
            ..record.clone()
        }
    }
}

/// A connection as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredConnection {
    pub record: ConnectionRecord,
    pub envelope: Envelope,
    /// Grows with every change of any connection.
    pub revision: i64,
}

/// One that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenConnection {
    pub record: ConnectionRecord,
    pub secret: ConnectionSecret,
}

/// Members of settings that say where the credential is sent, and how.
const ADDRESS_SETTINGS: &[&str] = &["plugin", "base_url", "allow_http", "auth"];

/// Members of settings that would hold a secret, or lead to one of the machine's: those come with the credential or not at all.
const SECRET_SETTINGS: &[&str] = &["api_key", "aws", "google", "entra"];

fn scope(organisation: Option<OrganisationId>) -> Scope {
    organisation.map_or(Scope::All, Scope::Organisation)
}

fn check(name: &str, provider: &str, settings: &Map<String, Value>) -> Result<(), StoreError> {
    for (what, word) in [("name", name), ("provider", provider)] {
        if word.is_empty() || word.len() > 64 || !word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            return Err(StoreError::Invalid(format!(
                "a connection's {what} is a word of up to 64 letters, digits and signs, without `/`"
            )));
        }
    }
    if let Some(secret) = SECRET_SETTINGS.iter().find(|secret| settings.contains_key(**secret)) {
        return Err(StoreError::Invalid(format!("`{secret}` is part of the credential, not of the settings")));
    }
    for required in ["plugin", "base_url"] {
        if !settings.get(required).is_some_and(Value::is_string) {
            return Err(StoreError::Invalid(format!("the settings have no `{required}`")));
        }
    }
    Ok(())
}

impl Store {
    /// Keeps a connection.
    ///
    /// # Errors
    /// [`StoreError::Taken`] where the owner has one of this name, [`StoreError::NoSuchOwner`] where there is no such organisation,
    /// [`StoreError::Invalid`] where its settings say too little or too much.
    pub async fn create_connection(
        &self,
        actor: &Actor,
        keys: &Keyring,
        new: NewConnection,
    ) -> Result<ConnectionRecord, StoreError> {
        actor.require(Permission::ConnectionsWrite, &scope(new.organisation))?;
        check(&new.name, &new.provider, &new.settings)?;
        let now_ms = self.clock().now_ms();
        let id = ConnectionId::new(now_ms, &mut rand::rng());
        let envelope = keys.seal(id, new.organisation, new.secret.expose().as_bytes().to_vec())?;
        let record = ConnectionRecord { master: envelope.master.clone(), ..new.record(id, now_ms) };
        let event = event(actor, now_ms, &record, "connection.create").changed(None, Some(record.to_json()));
        let stored = StoredConnection { record, envelope, revision: 0 };
        self.backend().insert_connection(&stored, &event).await?;
        Ok(stored.record)
    }

    /// The connections that the actor may see, oldest first: all of them, or those that an organisation can use.
    pub async fn connections(
        &self,
        actor: &Actor,
        organisation: Option<OrganisationId>,
    ) -> Result<Vec<ConnectionRecord>, StoreError> {
        if let Some(organisation) = organisation {
            actor.require(Permission::ConnectionsRead, &Scope::Organisation(organisation))?;
        }
        let all = self.backend().connections().await?.into_iter().map(|stored| stored.record);
        let of_organisation = |record: &ConnectionRecord| {
            organisation.is_none() || record.organisation.is_none() || record.organisation == organisation
        };
        let readable = |record: &ConnectionRecord| actor.allows(Permission::ConnectionsRead, &record.scope());
        Ok(all.filter(|record| of_organisation(record) && readable(record)).collect())
    }

    /// A connection by its id, or by its name where the actor sees one of that name alone.
    pub async fn connection(&self, actor: &Actor, id_or_name: &str) -> Result<ConnectionRecord, StoreError> {
        Ok(self.picked(actor, Permission::ConnectionsRead, id_or_name).await?.record)
    }

    /// Changes a connection. Picked as by [`Store::connection`].
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where it would send the credential elsewhere without being given it, besides those of
    /// [`Store::create_connection`].
    pub async fn edit_connection(
        &self,
        actor: &Actor,
        keys: &Keyring,
        id_or_name: &str,
        edit: &ConnectionEdit,
    ) -> Result<ConnectionRecord, StoreError> {
        self.edit_connection_if(actor, keys, id_or_name, edit, |_| true).await
    }

    /// The same, where the connection is as expected when it is written.
    ///
    /// # Errors
    /// [`StoreError::Changed`] where it is not.
    pub async fn edit_connection_if(
        &self,
        actor: &Actor,
        keys: &Keyring,
        id_or_name: &str,
        edit: &ConnectionEdit,
        expected: impl Fn(&ConnectionRecord) -> bool,
    ) -> Result<ConnectionRecord, StoreError> {
        let now_ms = self.clock().now_ms();
        self.changed(actor, id_or_name, "connection.edit", now_ms, |stored| {
            if !expected(&stored.record) {
                return Err(StoreError::Changed { what: "connection" });
            }
            let after = edit.over(&stored.record, now_ms);
            let before = std::mem::replace(&mut stored.record, after);
            let record = &mut stored.record;
            check(&record.name, &record.provider, &record.settings)?;
            match &edit.secret {
                Some(secret) => {
                    stored.envelope = keys.seal(record.id, record.organisation, secret.expose().as_bytes().to_vec())?;
                    record.master.clone_from(&stored.envelope.master);
                    Ok(())
                }
                None => match ADDRESS_SETTINGS.iter().find(|at| before.settings.get(**at) != record.settings.get(**at))
                {
                    Some(at) => Err(StoreError::Invalid(format!(
                        "another `{at}` would send the credential elsewhere: give the credential with it"
                    ))),
                    None => Ok(()),
                },
            }
        })
        .await
    }

    /// Replaces the credential.
    pub async fn rotate_connection(
        &self,
        actor: &Actor,
        keys: &Keyring,
        id_or_name: &str,
        secret: &ConnectionSecret,
    ) -> Result<ConnectionRecord, StoreError> {
        let now_ms = self.clock().now_ms();
        self.changed(actor, id_or_name, "connection.rotate", now_ms, |stored| {
            let record = &mut stored.record;
            stored.envelope = keys.seal(record.id, record.organisation, secret.expose().as_bytes().to_vec())?;
            record.master.clone_from(&stored.envelope.master);
            record.rotated_ms = Some(now_ms);
            Ok(())
        })
        .await
    }

    /// Deletes a connection with its credential.
    pub async fn delete_connection(&self, actor: &Actor, id_or_name: &str) -> Result<ConnectionRecord, StoreError> {
        let stored = self.picked(actor, Permission::ConnectionsWrite, id_or_name).await?;
        let record = stored.record;
        let event = event(actor, self.clock().now_ms(), &record, "connection.delete");
        if !self.backend().delete_connection(record.id, &event.changed(Some(record.to_json()), None)).await? {
            return Err(NOT_FOUND);
        }
        Ok(record)
    }

    /// Wraps every data key by the current master key, each in a transaction of its own, and says how many were not. What is under
    /// way when it is interrupted is done by the next call.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] where one is wrapped by a master key that the ring does not have; those before it are done.
    pub async fn rewrap_connections(&self, actor: &Actor, keys: &Keyring) -> Result<usize, StoreError> {
        actor.require(Permission::ConnectionsWrite, &Scope::All)?;
        let mut rewrapped = 0;
        for stored in self.backend().connections().await? {
            let ConnectionRecord { id, organisation, .. } = stored.record;
            if keys.rewrap(id, organisation, &stored.envelope)?.is_none() {
                continue;
            }
            let now_ms = self.clock().now_ms();
            let outcome = self
                .changed(actor, &id.to_string(), "connection.rewrap", now_ms, |stored| {
                    if let Some(envelope) = keys.rewrap(id, organisation, &stored.envelope)? {
                        stored.record.master.clone_from(&envelope.master);
                        stored.envelope = envelope;
                    }
                    Ok(())
                })
                .await;
            match outcome {
                Ok(_) => rewrapped += 1,
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(rewrapped)
    }

    /// What the gateway connects with: all that are not suspended, each with its credential, or why it cannot be opened.
    pub async fn open_connections(
        &self,
        keys: &Keyring,
    ) -> Result<Vec<(ConnectionRecord, Result<ConnectionSecret, StoreError>)>, StoreError> {
        let stored = self.backend().connections().await?.into_iter();
        let active = stored.filter(|stored| stored.record.suspended_ms.is_none());
        Ok(active
            .map(|StoredConnection { record, envelope, .. }| {
                let opened = keys
                    .open(record.id, record.organisation, &envelope)
                    .and_then(|bytes| String::from_utf8(bytes).map_err(|_| StoreError::Corrupt { what: "credential" }));
                (record, opened.map(ConnectionSecret))
            })
            .collect())
    }

    /// Whether there are any that are not suspended, which takes no key.
    pub async fn has_connections(&self) -> Result<bool, StoreError> {
        Ok(self.backend().connections().await?.iter().any(|stored| stored.record.suspended_ms.is_none()))
    }

    /// One of them, for a test of it.
    pub async fn open_connection(
        &self,
        actor: &Actor,
        keys: &Keyring,
        id_or_name: &str,
    ) -> Result<OpenConnection, StoreError> {
        let StoredConnection { record, envelope, .. } =
            self.picked(actor, Permission::ConnectionsWrite, id_or_name).await?;
        let bytes = keys.open(record.id, record.organisation, &envelope)?;
        let secret = String::from_utf8(bytes).map_err(|_| StoreError::Corrupt { what: "credential" })?;
        Ok(OpenConnection { record, secret: ConnectionSecret(secret) })
    }

    /// Grows with every change of any connection, in whatever process: to be asked now and then.
    pub async fn connections_revision(&self) -> Result<i64, StoreError> {
        self.backend().connections_revision().await
    }

    async fn picked(
        &self,
        actor: &Actor,
        permission: Permission,
        id_or_name: &str,
    ) -> Result<StoredConnection, StoreError> {
        let id: Option<ConnectionId> = id_or_name.parse().ok();
        let meant = |record: &ConnectionRecord| id.map_or(record.name == id_or_name, |id| record.id == id);
        let all = self.backend().connections().await?.into_iter();
        // What may not be seen is not there.
        let mut found = all.filter(|stored| {
            meant(&stored.record) && actor.allows(Permission::ConnectionsRead, &stored.record.scope())
        });
        let Some(one) = found.next() else { return Err(NOT_FOUND) };
        if found.next().is_some() {
            return Err(StoreError::Invalid("several connections have this name: name one by its id".to_owned()));
        }
        actor.require(permission, &one.record.scope())?;
        Ok(one)
    }

    async fn changed(
        &self,
        actor: &Actor,
        id_or_name: &str,
        action: &str,
        now_ms: u64,
        change: impl Fn(&mut StoredConnection) -> Result<(), StoreError>,
    ) -> Result<ConnectionRecord, StoreError> {
        for _ in 0..ATTEMPTS {
            let before = self.picked(actor, Permission::ConnectionsWrite, id_or_name).await?;
            let mut after = before.clone();
            change(&mut after)?;
            let told = event(actor, now_ms, &before.record, action)
                .changed(Some(before.record.to_json()), Some(after.record.to_json()));
            if self.backend().replace_connection(before.revision, &after, &told).await? {
                return Ok(after.record);
            }
        }
        Err(StoreError::Contended { what: "connection" })
    }
}

/// How often a change is tried that others get in the way of.
const ATTEMPTS: usize = 8;
const NOT_FOUND: StoreError = StoreError::NotFound { what: "connection" };

fn event(actor: &Actor, now_ms: u64, record: &ConnectionRecord, action: &str) -> NewEvent {
    NewEvent::new(actor, now_ms, record.organisation, action, record.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_hold_no_secret_and_lead_to_none() {
        let settings = |more: Value| {
            let mut settings = json!({"plugin": "openai", "base_url": "https://x.example"});
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            settings.as_object().unwrap().clone()
        };
        check("a", "b", &settings(json!({"only": ["m"]}))).unwrap();
        for secret in SECRET_SETTINGS {
            assert!(check("a", "b", &settings(json!({*secret: "x"}))).is_err(), "{secret}");
        }
        assert!(check("a", "b", &Map::new()).is_err());
        for name in ["", "a/b", "a b", &"x".repeat(65)] {
            assert!(check(name, "b", &settings(json!({}))).is_err(), "{name}");
            assert!(check("a", name, &settings(json!({}))).is_err(), "{name}");
        }
        assert_eq!(format!("{:?}", ConnectionSecret::new("sk-1")), "(secret)");
    }
}
