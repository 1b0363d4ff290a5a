//! Organisations and teams in SQLite. Members and tokens are in [`super::people`].

use portcullis_core::{KeyHash, MemberId, OrganisationId, TeamId, TokenId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::audit::append;
use super::keys::next_revision;
use super::row::{optional_days, optional_time};
use super::{Sqlite, begin, people};
use crate::audit::NewEvent;
use crate::backend::{Answer, IdentityBackend};
use crate::codec::{from_json, id, int, to_json, uint};
use crate::error::StoreError;
use crate::identity::{Member, Organisation, Team, TokenRecord};

const REFERRERS: &str = "teams, keys, roles or budgets";

impl IdentityBackend for Sqlite {
    fn insert_organisation<'a>(&'a self, organisation: &'a Organisation, event: &'a NewEvent) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut transaction = begin(&mut writer).await?;
            sqlx::query(
                "INSERT INTO organisations (id, name, policy, created_ms, suspended_ms, version, retention_days, capture_days) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(organisation.id.as_bytes().to_vec())
            .bind(&organisation.name)
            .bind(to_json(&organisation.policy))
            .bind(int(organisation.created_ms))
            .bind(organisation.suspended_ms.map(int))
            .bind(int(organisation.version))
            .bind(organisation.retention_days.map(i64::from))
            .bind(organisation.capture_days.map(i64::from))
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::of_write(error, "organisation"))?;
            append(&mut transaction, event).await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    fn update_organisation<'a>(
        &'a self,
        organisation: &'a Organisation,
        touches_keys: bool,
        event: &'a NewEvent,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut transaction = begin(&mut writer).await?;
            let id = organisation.id.as_bytes().to_vec();
            let changed = sqlx::query(
                "UPDATE organisations SET name = ?1, policy = ?2, suspended_ms = ?3, version = ?5, retention_days = ?6, capture_days = ?7 WHERE id = ?4 \
                 AND version = ?5 - 1",
            )
            .bind(&organisation.name)
            .bind(to_json(&organisation.policy))
            .bind(organisation.suspended_ms.map(int))
            .bind(&id)
            .bind(int(organisation.version))
            .bind(organisation.retention_days.map(i64::from))
            .bind(organisation.capture_days.map(i64::from))
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::of_write(error, "organisation"))?
            .rows_affected();
            if changed == 0 {
                return Ok(false);
            }
            if touches_keys {
                touch(&mut transaction, "UPDATE keys SET revision = ? WHERE organisation_id = ?", id).await?;
            }
            append(&mut transaction, event).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn delete_organisation<'a>(&'a self, id: OrganisationId, version: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        let sql = "DELETE FROM organisations WHERE id = ? AND version = ?";
        Box::pin(self.delete(sql, *id.as_bytes(), version, "organisation", event))
    }

    fn organisation(&self, id: OrganisationId) -> Answer<'_, Option<Organisation>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT * FROM organisations WHERE id = ?")
                .bind(id.as_bytes().to_vec())
                .fetch_optional(&self.readers)
                .await?;
            row.as_ref().map(organisation).transpose()
        })
    }

    fn organisations(&self) -> Answer<'_, Vec<Organisation>> {
        Box::pin(async move {
            let rows = sqlx::query("SELECT * FROM organisations ORDER BY name").fetch_all(&self.readers).await?;
            rows.iter().map(organisation).collect()
        })
    }

    fn insert_team<'a>(&'a self, team: &'a Team, event: &'a NewEvent) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut transaction = begin(&mut writer).await?;
            sqlx::query(
                "INSERT INTO teams (id, organisation_id, name, policy, created_ms, suspended_ms, version) \
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(team.id.as_bytes().to_vec())
            .bind(team.organisation.as_bytes().to_vec())
            .bind(&team.name)
            .bind(to_json(&team.policy))
            .bind(int(team.created_ms))
            .bind(team.suspended_ms.map(int))
            .bind(int(team.version))
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::of_write(error, "team"))?;
            append(&mut transaction, event).await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    fn update_team<'a>(&'a self, team: &'a Team, touches_keys: bool, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut writer = self.writer.lock().await;
            let mut transaction = begin(&mut writer).await?;
            let id = team.id.as_bytes().to_vec();
            let changed = sqlx::query(
                "UPDATE teams SET name = ?, policy = ?, suspended_ms = ?, version = ?5 WHERE id = ?4 AND version = ?5 - 1",
            )
            .bind(&team.name)
            .bind(to_json(&team.policy))
            .bind(team.suspended_ms.map(int))
            .bind(&id)
            .bind(int(team.version))
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::of_write(error, "team"))?
            .rows_affected();
            if changed == 0 {
                return Ok(false);
            }
            if touches_keys {
                touch(&mut transaction, "UPDATE keys SET revision = ? WHERE team_id = ?", id).await?;
            }
            append(&mut transaction, event).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn delete_team<'a>(&'a self, id: TeamId, version: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        let sql = "DELETE FROM teams WHERE id = ? AND version = ?";
        Box::pin(self.delete(sql, *id.as_bytes(), version, "team", event))
    }

    fn team(&self, id: TeamId) -> Answer<'_, Option<Team>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT * FROM teams WHERE id = ?")
                .bind(id.as_bytes().to_vec())
                .fetch_optional(&self.readers)
                .await?;
            row.as_ref().map(team).transpose()
        })
    }

    fn teams(&self, organisation: Option<OrganisationId>) -> Answer<'_, Vec<Team>> {
        Box::pin(async move {
            let rows = sqlx::query("SELECT * FROM teams WHERE ?1 IS NULL OR organisation_id = ?1 ORDER BY name, id")
                .bind(organisation.map(|id| id.as_bytes().to_vec()))
                .fetch_all(&self.readers)
                .await?;
            rows.iter().map(team).collect()
        })
    }

    fn insert_member<'a>(&'a self, member: &'a Member, event: &'a NewEvent) -> Answer<'a, ()> {
        Box::pin(async move { people::insert_member(&mut *self.writer.lock().await, member, event).await })
    }

    fn update_member<'a>(&'a self, member: &'a Member, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(async move { people::update_member(&mut *self.writer.lock().await, member, event).await })
    }

    fn delete_member<'a>(&'a self, id: MemberId, version: u64, now_ms: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(async move { people::delete_member(&mut *self.writer.lock().await, id, version, now_ms, event).await })
    }

    fn member(&self, id: MemberId) -> Answer<'_, Option<Member>> {
        Box::pin(async move { people::member(&self.readers, people::MemberBy::Id(id)).await })
    }

    fn member_by_email<'a>(&'a self, email: &'a str) -> Answer<'a, Option<Member>> {
        Box::pin(async move { people::member(&self.readers, people::MemberBy::Email(email)).await })
    }

    fn member_by_subject<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Answer<'a, Option<Member>> {
        Box::pin(async move { people::member(&self.readers, people::MemberBy::Subject(issuer, subject)).await })
    }

    fn members(&self) -> Answer<'_, Vec<Member>> {
        Box::pin(people::members(&self.readers))
    }

    fn insert_token<'a>(
        &'a self,
        hash: KeyHash,
        token: &'a TokenRecord,
        first: bool,
        event: &'a NewEvent,
    ) -> Answer<'a, bool> {
        Box::pin(async move { people::insert_token(&mut *self.writer.lock().await, hash, token, first, event).await })
    }

    fn update_token<'a>(&'a self, token: &'a TokenRecord, event: &'a NewEvent) -> Answer<'a, bool> {
        Box::pin(async move { people::update_token(&mut *self.writer.lock().await, token, event).await })
    }

    fn token(&self, id: TokenId) -> Answer<'_, Option<TokenRecord>> {
        Box::pin(async move { people::token(&self.readers, people::TokenBy::Id(id)).await })
    }

    fn token_by_hash(&self, hash: KeyHash) -> Answer<'_, Option<TokenRecord>> {
        Box::pin(async move { people::token(&self.readers, people::TokenBy::Hash(hash)).await })
    }

    fn tokens(&self) -> Answer<'_, Vec<TokenRecord>> {
        Box::pin(people::tokens(&self.readers))
    }

    fn token_used(&self, id: TokenId, now_ms: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            sqlx::query("UPDATE admin_tokens SET last_used_ms = ? WHERE id = ?")
                .bind(int(now_ms))
                .bind(id.as_bytes().to_vec())
                .execute(&mut *self.writer.lock().await)
                .await?;
            Ok(())
        })
    }
}

impl Sqlite {
    async fn delete(
        &self,
        sql: &'static str,
        id: [u8; 16],
        version: u64,
        what: &'static str,
        event: &NewEvent,
    ) -> Result<bool, StoreError> {
        let mut writer = self.writer.lock().await;
        let mut transaction = begin(&mut writer).await?;
        let deleted = sqlx::query(sql)
            .bind(id.to_vec())
            .bind(int(version))
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::of_delete(error, what, REFERRERS))?
            .rows_affected();
        if deleted == 0 {
            return Ok(false);
        }
        append(&mut transaction, event).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// What binds keys changed: they get a revision, so that whoever holds them reads them again.
async fn touch(connection: &mut SqliteConnection, sql: &'static str, owner: Vec<u8>) -> Result<(), StoreError> {
    let revision = next_revision(connection).await?;
    sqlx::query(sql).bind(revision).bind(owner).execute(connection).await?;
    Ok(())
}

fn organisation(row: &SqliteRow) -> Result<Organisation, StoreError> {
    Ok(Organisation {
        id: OrganisationId::from_bytes(id(row.try_get("id")?, "organisation id")?),
        name: row.try_get("name")?,
        policy: from_json(row.try_get("policy")?, "policy")?,
        created_ms: uint(row.try_get("created_ms")?, "time")?,
        suspended_ms: optional_time(row, "suspended_ms")?,
        version: uint(row.try_get("version")?, "version")?,
        retention_days: optional_days(row, "retention_days")?,
        capture_days: optional_days(row, "capture_days")?,
    })
}

fn team(row: &SqliteRow) -> Result<Team, StoreError> {
    Ok(Team {
        id: TeamId::from_bytes(id(row.try_get("id")?, "team id")?),
        organisation: OrganisationId::from_bytes(id(row.try_get("organisation_id")?, "organisation id")?),
        name: row.try_get("name")?,
        policy: from_json(row.try_get("policy")?, "policy")?,
        created_ms: uint(row.try_get("created_ms")?, "time")?,
        suspended_ms: optional_time(row, "suspended_ms")?,
        version: uint(row.try_get("version")?, "version")?,
    })
}
