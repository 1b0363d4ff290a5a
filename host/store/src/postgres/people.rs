//! Members, admin tokens and what either was granted, in PostgreSQL.

use std::collections::HashMap;

use portcullis_core::{Grant, KeyHash, MemberId, OrganisationId, Scope, TeamId, TokenId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Row};

use super::audit::append;
use super::row::{id, optional_id, optional_time, uuid};
use crate::audit::NewEvent;
use crate::codec::{int, text, uint};
use crate::error::StoreError;
use crate::identity::{Member, TokenRecord};

pub(super) enum MemberBy<'a> {
    Id(MemberId),
    Email(&'a str),
    Subject(&'a str, &'a str),
}

pub(super) enum TokenBy {
    Id(TokenId),
    Hash(KeyHash),
}

pub(super) async fn insert_member(
    connection: &mut PgConnection,
    member: &Member,
    event: &NewEvent,
) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "INSERT INTO members (id, email, name, issuer, subject, created_ms, suspended_ms, last_seen_ms, version) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(uuid(member.id.as_bytes()))
    .bind(text(&member.email))
    .bind(text(&member.name))
    .bind(member.issuer.as_deref().map(text))
    .bind(member.subject.as_deref().map(text))
    .bind(int(member.created_ms))
    .bind(member.suspended_ms.map(int))
    .bind(member.last_seen_ms.map(int))
    .bind(int(member.version))
    .execute(&mut *transaction)
    .await
    .map_err(|error| StoreError::of_write(error, "member"))?;
    grant(&mut transaction, *member.id.as_bytes(), &member.grants).await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(())
}

pub(super) async fn update_member(
    connection: &mut PgConnection,
    member: &Member,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let changed = sqlx::query(
        "UPDATE members SET email = $1, name = $2, issuer = $3, subject = $4, suspended_ms = $5, last_seen_ms = $6, version = $8 \
         WHERE id = $7 AND version = $8 - 1",
    )
    .bind(text(&member.email))
    .bind(text(&member.name))
    .bind(member.issuer.as_deref().map(text))
    .bind(member.subject.as_deref().map(text))
    .bind(member.suspended_ms.map(int))
    .bind(member.last_seen_ms.map(int))
    .bind(uuid(member.id.as_bytes()))
    .bind(int(member.version))
    .execute(&mut *transaction)
    .await
    .map_err(|error| StoreError::of_write(error, "member"))?
    .rows_affected();
    if changed == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    grant(&mut transaction, *member.id.as_bytes(), &member.grants).await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn delete_member(
    connection: &mut PgConnection,
    id: MemberId,
    version: u64,
    now_ms: u64,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let bytes = uuid(id.as_bytes());
    sqlx::query(
        "UPDATE admin_tokens SET revoked_ms = $1, version = version + 1 WHERE member_id = $2 AND revoked_ms IS NULL",
    )
    .bind(int(now_ms))
    .bind(bytes)
    .execute(&mut *transaction)
    .await?;
    let deleted = sqlx::query("DELETE FROM members WHERE id = $1 AND version = $2")
        .bind(bytes)
        .bind(int(version))
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    if deleted == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    grant(&mut transaction, *id.as_bytes(), &[]).await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn member(connection: &mut PgConnection, by: MemberBy<'_>) -> Result<Option<Member>, StoreError> {
    let query = match by {
        MemberBy::Id(id) => sqlx::query("SELECT * FROM members WHERE id = $1").bind(uuid(id.as_bytes())),
        MemberBy::Email(email) => sqlx::query("SELECT * FROM members WHERE email = $1").bind(text(email).into_owned()),
        MemberBy::Subject(issuer, subject) => sqlx::query("SELECT * FROM members WHERE issuer = $1 AND subject = $2")
            .bind(text(issuer).into_owned())
            .bind(text(subject).into_owned()),
    };
    let mut transaction = connection.begin().await?;
    let Some(row) = query.fetch_optional(&mut *transaction).await? else { return Ok(None) };
    let mut member = member_of(&row)?;
    member.grants = grants_of(&mut transaction, *member.id.as_bytes()).await?;
    Ok(Some(member))
}

pub(super) async fn members(connection: &mut PgConnection) -> Result<Vec<Member>, StoreError> {
    let mut transaction = connection.begin().await?;
    let rows = sqlx::query("SELECT * FROM members ORDER BY email").fetch_all(&mut *transaction).await?;
    let mut grants = all_grants(&mut transaction).await?;
    rows.iter()
        .map(|row| {
            let mut member = member_of(row)?;
            member.grants = grants.remove(member.id.as_bytes()).unwrap_or_default();
            Ok(member)
        })
        .collect()
}

fn member_of(row: &PgRow) -> Result<Member, StoreError> {
    Ok(Member {
        id: MemberId::from_bytes(id(row, "id")?),
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        grants: Vec::new(),
        issuer: row.try_get("issuer")?,
        subject: row.try_get("subject")?,
        created_ms: uint(row.try_get("created_ms")?, "time")?,
        suspended_ms: optional_time(row, "suspended_ms")?,
        last_seen_ms: optional_time(row, "last_seen_ms")?,
        version: uint(row.try_get("version")?, "version")?,
    })
}

pub(super) async fn insert_token(
    connection: &mut PgConnection,
    hash: KeyHash,
    token: &TokenRecord,
    first: bool,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    if first {
        // Of two that make the first one waits for the other.
        sqlx::query("LOCK TABLE admin_tokens IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await?;
        let there: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM admin_tokens JOIN grants ON holder = id WHERE role = 'superadmin' \
             AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > $1))",
        )
        .bind(int(token.created_ms))
        .fetch_one(&mut *transaction)
        .await?;
        if there {
            transaction.rollback().await?;
            return Ok(false);
        }
    }
    sqlx::query(
        "INSERT INTO admin_tokens (id, hash, prefix, name, member_id, created_ms, expires_ms, revoked_ms, last_used_ms, version) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(uuid(token.id.as_bytes()))
    .bind(hash.as_bytes().to_vec())
    .bind(&token.prefix)
    .bind(text(&token.name))
    .bind(token.member.map(|member| uuid(member.as_bytes())))
    .bind(int(token.created_ms))
    .bind(token.expires_ms.map(int))
    .bind(token.revoked_ms.map(int))
    .bind(token.last_used_ms.map(int))
    .bind(int(token.version))
    .execute(&mut *transaction)
    .await
    .map_err(|error| StoreError::of_write(error, "token"))?;
    grant(&mut transaction, *token.id.as_bytes(), &token.grants).await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn update_token(
    connection: &mut PgConnection,
    token: &TokenRecord,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = connection.begin().await?;
    let changed =
        sqlx::query("UPDATE admin_tokens SET revoked_ms = $1, version = $3 WHERE id = $2 AND version = $3 - 1")
            .bind(token.revoked_ms.map(int))
            .bind(uuid(token.id.as_bytes()))
            .bind(int(token.version))
            .execute(&mut *transaction)
            .await?
            .rows_affected();
    if changed == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn token(connection: &mut PgConnection, by: TokenBy) -> Result<Option<TokenRecord>, StoreError> {
    let query = match by {
        TokenBy::Id(id) => sqlx::query("SELECT * FROM admin_tokens WHERE id = $1").bind(uuid(id.as_bytes())),
        TokenBy::Hash(hash) => sqlx::query("SELECT * FROM admin_tokens WHERE hash = $1").bind(hash.as_bytes().to_vec()),
    };
    let mut transaction = connection.begin().await?;
    let Some(row) = query.fetch_optional(&mut *transaction).await? else { return Ok(None) };
    let mut token = token_of(&row)?;
    token.grants = grants_of(&mut transaction, *token.id.as_bytes()).await?;
    Ok(Some(token))
}

pub(super) async fn tokens(connection: &mut PgConnection) -> Result<Vec<TokenRecord>, StoreError> {
    let mut transaction = connection.begin().await?;
    let rows = sqlx::query("SELECT * FROM admin_tokens ORDER BY id").fetch_all(&mut *transaction).await?;
    let mut grants = all_grants(&mut transaction).await?;
    rows.iter()
        .map(|row| {
            let mut token = token_of(row)?;
            token.grants = grants.remove(token.id.as_bytes()).unwrap_or_default();
            Ok(token)
        })
        .collect()
}

fn token_of(row: &PgRow) -> Result<TokenRecord, StoreError> {
    Ok(TokenRecord {
        id: TokenId::from_bytes(id(row, "id")?),
        prefix: row.try_get("prefix")?,
        name: row.try_get("name")?,
        grants: Vec::new(),
        member: optional_id(row, "member_id")?.map(MemberId::from_bytes),
        created_ms: uint(row.try_get("created_ms")?, "time")?,
        expires_ms: optional_time(row, "expires_ms")?,
        revoked_ms: optional_time(row, "revoked_ms")?,
        last_used_ms: optional_time(row, "last_used_ms")?,
        version: uint(row.try_get("version")?, "version")?,
    })
}

/// What a holder is granted from now on.
async fn grant(connection: &mut PgConnection, holder: [u8; 16], grants: &[Grant]) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM grants WHERE holder = $1").bind(uuid(&holder)).execute(&mut *connection).await?;
    for (position, grant) in (0i64..).zip(grants) {
        sqlx::query(
            "INSERT INTO grants (holder, position, role, organisation_id, team_id) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(uuid(&holder))
        .bind(position)
        .bind(grant.role.as_str())
        .bind(grant.scope.organisation().map(|id| uuid(id.as_bytes())))
        .bind(grant.scope.team().map(|id| uuid(id.as_bytes())))
        .execute(&mut *connection)
        .await
        .map_err(|error| StoreError::of_write(error, "role"))?;
    }
    Ok(())
}

async fn grants_of(connection: &mut PgConnection, holder: [u8; 16]) -> Result<Vec<Grant>, StoreError> {
    let rows = sqlx::query("SELECT * FROM grants WHERE holder = $1 ORDER BY position")
        .bind(uuid(&holder))
        .fetch_all(connection)
        .await?;
    rows.iter().map(grant_of).collect()
}

async fn all_grants(connection: &mut PgConnection) -> Result<HashMap<[u8; 16], Vec<Grant>>, StoreError> {
    let rows = sqlx::query("SELECT * FROM grants ORDER BY holder, position").fetch_all(connection).await?;
    let mut grants: HashMap<[u8; 16], Vec<Grant>> = HashMap::new();
    for row in &rows {
        grants.entry(id(row, "holder")?).or_default().push(grant_of(row)?);
    }
    Ok(grants)
}

fn grant_of(row: &PgRow) -> Result<Grant, StoreError> {
    let organisation = optional_id(row, "organisation_id")?.map(OrganisationId::from_bytes);
    let team = optional_id(row, "team_id")?.map(TeamId::from_bytes);
    Ok(Grant {
        role: row.try_get::<&str, _>("role")?.parse().map_err(|_| StoreError::Corrupt { what: "role" })?,
        scope: organisation.map_or(Scope::All, |organisation| Scope::of(organisation, team)),
    })
}
