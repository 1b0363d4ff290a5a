//! Organisations and teams in PostgreSQL. Members and tokens are in [`super::people`].

use portcullis_core::{KeyHash, MemberId, OrganisationId, TeamId, TokenId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};
use uuid::Uuid;

use super::audit::append;
use super::keys::next_revision;
use super::row::{id, optional_days, optional_time, uuid};
use super::session::call;
use super::{Postgres, people};
use crate::audit::NewEvent;
use crate::backend::{Answer, IdentityBackend};
use crate::codec::{from_json, int, text, to_json, uint};
use crate::error::StoreError;
use crate::identity::{Member, Organisation, Team, TokenRecord};

const REFERRERS: &str = "teams, keys, roles or budgets";

impl IdentityBackend for Postgres {
    fn insert_organisation<'a>(&'a self, organisation: &'a Organisation, event: &'a NewEvent) -> Answer<'a, ()> {
        call!(self, |session| {
            let mut transaction = session.begin().await?;
            sqlx::query(
                "INSERT INTO organisations (id, name, policy, created_ms, suspended_ms, version, retention_days, capture_days) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(uuid(organisation.id.as_bytes()))
            .bind(text(&organisation.name))
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
        call!(self, |session| {
            let mut transaction = session.begin().await?;
            let id = uuid(organisation.id.as_bytes());
            let changed = sqlx::query(
                "UPDATE organisations SET name = $1, policy = $2, suspended_ms = $3, version = $5, retention_days = $6, capture_days = $7 WHERE id = $4 \
                 AND version = $5 - 1",
            )
            .bind(text(&organisation.name))
            .bind(to_json(&organisation.policy))
            .bind(organisation.suspended_ms.map(int))
            .bind(id)
            .bind(int(organisation.version))
            .bind(organisation.retention_days.map(i64::from))
            .bind(organisation.capture_days.map(i64::from))
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::of_write(error, "organisation"))?
            .rows_affected();
            if changed == 0 {
                transaction.rollback().await?;
                return Ok(false);
            }
            if touches_keys {
                touch(&mut transaction, "UPDATE keys SET revision = $1 WHERE organisation_id = $2", id).await?;
            }
            append(&mut transaction, event).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn delete_organisation<'a>(&'a self, id: OrganisationId, version: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        let sql = "DELETE FROM organisations WHERE id = $1 AND version = $2";
        call!(self, |session| { delete(session, sql, uuid(id.as_bytes()), version, "organisation", event).await })
    }

    fn organisation(&self, id: OrganisationId) -> Answer<'_, Option<Organisation>> {
        call!(self, |session| {
            let row = sqlx::query("SELECT * FROM organisations WHERE id = $1")
                .bind(uuid(id.as_bytes()))
                .fetch_optional(&mut *session)
                .await?;
            row.as_ref().map(organisation).transpose()
        })
    }

    fn organisations(&self) -> Answer<'_, Vec<Organisation>> {
        call!(self, |session| {
            let rows = sqlx::query("SELECT * FROM organisations ORDER BY name").fetch_all(&mut *session).await?;
            rows.iter().map(organisation).collect()
        })
    }

    fn insert_team<'a>(&'a self, team: &'a Team, event: &'a NewEvent) -> Answer<'a, ()> {
        call!(self, |session| {
            let mut transaction = session.begin().await?;
            sqlx::query(
                "INSERT INTO teams (id, organisation_id, name, policy, created_ms, suspended_ms, version) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(uuid(team.id.as_bytes()))
            .bind(uuid(team.organisation.as_bytes()))
            .bind(text(&team.name))
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
        call!(self, |session| {
            let mut transaction = session.begin().await?;
            let id = uuid(team.id.as_bytes());
            let changed = sqlx::query(
                "UPDATE teams SET name = $1, policy = $2, suspended_ms = $3, version = $5 WHERE id = $4 AND version = $5 - 1",
            )
            .bind(text(&team.name))
            .bind(to_json(&team.policy))
            .bind(team.suspended_ms.map(int))
            .bind(id)
            .bind(int(team.version))
            .execute(&mut *transaction)
            .await
            .map_err(|error| StoreError::of_write(error, "team"))?
            .rows_affected();
            if changed == 0 {
                transaction.rollback().await?;
                return Ok(false);
            }
            if touches_keys {
                touch(&mut transaction, "UPDATE keys SET revision = $1 WHERE team_id = $2", id).await?;
            }
            append(&mut transaction, event).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn delete_team<'a>(&'a self, id: TeamId, version: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        let sql = "DELETE FROM teams WHERE id = $1 AND version = $2";
        call!(self, |session| { delete(session, sql, uuid(id.as_bytes()), version, "team", event).await })
    }

    fn team(&self, id: TeamId) -> Answer<'_, Option<Team>> {
        call!(self, |session| {
            let row = sqlx::query("SELECT * FROM teams WHERE id = $1")
                .bind(uuid(id.as_bytes()))
                .fetch_optional(&mut *session)
                .await?;
            row.as_ref().map(team).transpose()
        })
    }

    fn teams(&self, organisation: Option<OrganisationId>) -> Answer<'_, Vec<Team>> {
        call!(self, |session| {
            let rows =
                sqlx::query("SELECT * FROM teams WHERE $1::uuid IS NULL OR organisation_id = $1 ORDER BY name, id")
                    .bind(organisation.map(|id| uuid(id.as_bytes())))
                    .fetch_all(&mut *session)
                    .await?;
            rows.iter().map(team).collect()
        })
    }

    fn insert_member<'a>(&'a self, member: &'a Member, event: &'a NewEvent) -> Answer<'a, ()> {
        call!(self, |session| { people::insert_member(session, member, event).await })
    }

    fn update_member<'a>(&'a self, member: &'a Member, event: &'a NewEvent) -> Answer<'a, bool> {
        call!(self, |session| { people::update_member(session, member, event).await })
    }

    fn delete_member<'a>(&'a self, id: MemberId, version: u64, now_ms: u64, event: &'a NewEvent) -> Answer<'a, bool> {
        call!(self, |session| { people::delete_member(session, id, version, now_ms, event).await })
    }

    fn member(&self, id: MemberId) -> Answer<'_, Option<Member>> {
        call!(self, |session| { people::member(session, people::MemberBy::Id(id)).await })
    }

    fn member_by_email<'a>(&'a self, email: &'a str) -> Answer<'a, Option<Member>> {
        call!(self, |session| { people::member(session, people::MemberBy::Email(email)).await })
    }

    fn member_by_subject<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Answer<'a, Option<Member>> {
        call!(self, |session| { people::member(session, people::MemberBy::Subject(issuer, subject)).await })
    }

    fn members(&self) -> Answer<'_, Vec<Member>> {
        call!(self, |session| { people::members(session).await })
    }

    fn insert_token<'a>(
        &'a self,
        hash: KeyHash,
        token: &'a TokenRecord,
        first: bool,
        event: &'a NewEvent,
    ) -> Answer<'a, bool> {
        call!(self, |session| { people::insert_token(session, hash, token, first, event).await })
    }

    fn update_token<'a>(&'a self, token: &'a TokenRecord, event: &'a NewEvent) -> Answer<'a, bool> {
        call!(self, |session| { people::update_token(session, token, event).await })
    }

    fn token(&self, id: TokenId) -> Answer<'_, Option<TokenRecord>> {
        call!(self, |session| { people::token(session, people::TokenBy::Id(id)).await })
    }

    fn token_by_hash(&self, hash: KeyHash) -> Answer<'_, Option<TokenRecord>> {
        call!(self, |session| { people::token(session, people::TokenBy::Hash(hash)).await })
    }

    fn tokens(&self) -> Answer<'_, Vec<TokenRecord>> {
        call!(self, |session| { people::tokens(session).await })
    }

    fn token_used(&self, id: TokenId, now_ms: u64) -> Answer<'_, ()> {
        call!(self, |session| {
            sqlx::query("UPDATE admin_tokens SET last_used_ms = $1 WHERE id = $2")
                .bind(int(now_ms))
                .bind(uuid(id.as_bytes()))
                .execute(session)
                .await?;
            Ok(())
        })
    }
}

async fn delete(
    connection: &mut PgConnection,
    sql: &'static str,
    id: Uuid,
    version: u64,
    what: &'static str,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let deleted = sqlx::query(sql)
        .bind(id)
        .bind(int(version))
        .execute(&mut *transaction)
        .await
        .map_err(|error| StoreError::of_delete(error, what, REFERRERS))?
        .rows_affected();
    if deleted == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

/// What binds keys changed: they get a revision, so that whoever holds them reads them again.
async fn touch(connection: &mut PgConnection, sql: &'static str, owner: Uuid) -> Result<(), StoreError> {
    let revision = next_revision(connection).await?;
    sqlx::query(sql).bind(revision).bind(owner).execute(connection).await?;
    Ok(())
}

fn organisation(row: &PgRow) -> Result<Organisation, StoreError> {
    Ok(Organisation {
        id: OrganisationId::from_bytes(id(row, "id")?),
        name: row.try_get("name")?,
        policy: from_json(row.try_get("policy")?, "policy")?,
        created_ms: uint(row.try_get("created_ms")?, "time")?,
        suspended_ms: optional_time(row, "suspended_ms")?,
        version: uint(row.try_get("version")?, "version")?,
        retention_days: optional_days(row, "retention_days")?,
        capture_days: optional_days(row, "capture_days")?,
    })
}

fn team(row: &PgRow) -> Result<Team, StoreError> {
    Ok(Team {
        id: TeamId::from_bytes(id(row, "id")?),
        organisation: OrganisationId::from_bytes(id(row, "organisation_id")?),
        name: row.try_get("name")?,
        policy: from_json(row.try_get("policy")?, "policy")?,
        created_ms: uint(row.try_get("created_ms")?, "time")?,
        suspended_ms: optional_time(row, "suspended_ms")?,
        version: uint(row.try_get("version")?, "version")?,
    })
}
