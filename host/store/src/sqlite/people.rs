//! Members, admin tokens and what either was granted, in SQLite.

use std::collections::HashMap;

use portcullis_core::{Grant, KeyHash, MemberId, OrganisationId, Scope, TeamId, TokenId};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{Row, SqliteConnection};

use super::audit::append;
use super::begin;
use super::row::{optional_id, optional_time};
use crate::audit::NewEvent;
use crate::codec::{id, int, uint};
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
    connection: &mut SqliteConnection,
    member: &Member,
    event: &NewEvent,
) -> Result<(), StoreError> {
    let mut transaction = begin(connection).await?;
    sqlx::query(
        "INSERT INTO members (id, email, name, issuer, subject, created_ms, suspended_ms, last_seen_ms, version) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(member.id.as_bytes().to_vec())
    .bind(&member.email)
    .bind(&member.name)
    .bind(&member.issuer)
    .bind(&member.subject)
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
    connection: &mut SqliteConnection,
    member: &Member,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    let changed = sqlx::query(
        "UPDATE members SET email = ?, name = ?, issuer = ?, subject = ?, suspended_ms = ?, last_seen_ms = ?, version = ?8 \
         WHERE id = ?7 AND version = ?8 - 1",
    )
    .bind(&member.email)
    .bind(&member.name)
    .bind(&member.issuer)
    .bind(&member.subject)
    .bind(member.suspended_ms.map(int))
    .bind(member.last_seen_ms.map(int))
    .bind(member.id.as_bytes().to_vec())
    .bind(int(member.version))
    .execute(&mut *transaction)
    .await
    .map_err(|error| StoreError::of_write(error, "member"))?
    .rows_affected();
    if changed == 0 {
        return Ok(false);
    }
    grant(&mut transaction, *member.id.as_bytes(), &member.grants).await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn delete_member(
    connection: &mut SqliteConnection,
    id: MemberId,
    version: u64,
    now_ms: u64,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    let bytes = id.as_bytes().to_vec();
    sqlx::query(
        "UPDATE admin_tokens SET revoked_ms = ?, version = version + 1 WHERE member_id = ? AND revoked_ms IS NULL",
    )
    .bind(int(now_ms))
    .bind(&bytes)
    .execute(&mut *transaction)
    .await?;
    let deleted = sqlx::query("DELETE FROM members WHERE id = ? AND version = ?")
        .bind(&bytes)
        .bind(int(version))
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    if deleted == 0 {
        return Ok(false);
    }
    grant(&mut transaction, *id.as_bytes(), &[]).await?;
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn member(pool: &SqlitePool, by: MemberBy<'_>) -> Result<Option<Member>, StoreError> {
    let query = match by {
        MemberBy::Id(id) => sqlx::query("SELECT * FROM members WHERE id = ?").bind(id.as_bytes().to_vec()),
        MemberBy::Email(email) => sqlx::query("SELECT * FROM members WHERE email = ?").bind(email.to_owned()),
        MemberBy::Subject(issuer, subject) => sqlx::query("SELECT * FROM members WHERE issuer = ? AND subject = ?")
            .bind(issuer.to_owned())
            .bind(subject.to_owned()),
    };
    let mut transaction = pool.begin().await?;
    let Some(row) = query.fetch_optional(&mut *transaction).await? else { return Ok(None) };
    let mut member = member_of(&row)?;
    member.grants = grants_of(&mut transaction, *member.id.as_bytes()).await?;
    Ok(Some(member))
}

pub(super) async fn members(pool: &SqlitePool) -> Result<Vec<Member>, StoreError> {
    let mut transaction = pool.begin().await?;
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

fn member_of(row: &SqliteRow) -> Result<Member, StoreError> {
    Ok(Member {
        id: MemberId::from_bytes(id(row.try_get("id")?, "member id")?),
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
    connection: &mut SqliteConnection,
    hash: KeyHash,
    token: &TokenRecord,
    first: bool,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    if first {
        let there: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM admin_tokens JOIN grants ON holder = id WHERE role = 'superadmin' \
             AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > ?))",
        )
        .bind(int(token.created_ms))
        .fetch_one(&mut *transaction)
        .await?;
        if there {
            return Ok(false);
        }
    }
    sqlx::query(
        "INSERT INTO admin_tokens (id, hash, prefix, name, member_id, created_ms, expires_ms, revoked_ms, last_used_ms, version) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(token.id.as_bytes().to_vec())
    .bind(hash.as_bytes().to_vec())
    .bind(&token.prefix)
    .bind(&token.name)
    .bind(token.member.map(|member| member.as_bytes().to_vec()))
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
    connection: &mut SqliteConnection,
    token: &TokenRecord,
    event: &NewEvent,
) -> Result<bool, StoreError> {
    let mut transaction = begin(connection).await?;
    let changed =
        sqlx::query("UPDATE admin_tokens SET revoked_ms = ?, version = ?3 WHERE id = ?2 AND version = ?3 - 1")
            .bind(token.revoked_ms.map(int))
            .bind(token.id.as_bytes().to_vec())
            .bind(int(token.version))
            .execute(&mut *transaction)
            .await?
            .rows_affected();
    if changed == 0 {
        return Ok(false);
    }
    append(&mut transaction, event).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn token(pool: &SqlitePool, by: TokenBy) -> Result<Option<TokenRecord>, StoreError> {
    let query = match by {
        TokenBy::Id(id) => sqlx::query("SELECT * FROM admin_tokens WHERE id = ?").bind(id.as_bytes().to_vec()),
        TokenBy::Hash(hash) => sqlx::query("SELECT * FROM admin_tokens WHERE hash = ?").bind(hash.as_bytes().to_vec()),
    };
    let mut transaction = pool.begin().await?;
    let Some(row) = query.fetch_optional(&mut *transaction).await? else { return Ok(None) };
    let mut token = token_of(&row)?;
    token.grants = grants_of(&mut transaction, *token.id.as_bytes()).await?;
    Ok(Some(token))
}

pub(super) async fn tokens(pool: &SqlitePool) -> Result<Vec<TokenRecord>, StoreError> {
    let mut transaction = pool.begin().await?;
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

fn token_of(row: &SqliteRow) -> Result<TokenRecord, StoreError> {
    Ok(TokenRecord {
        id: TokenId::from_bytes(id(row.try_get("id")?, "token id")?),
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
async fn grant(connection: &mut SqliteConnection, holder: [u8; 16], grants: &[Grant]) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM grants WHERE holder = ?").bind(holder.to_vec()).execute(&mut *connection).await?;
    for (position, grant) in (0i64..).zip(grants) {
        sqlx::query("INSERT INTO grants (holder, position, role, organisation_id, team_id) VALUES (?, ?, ?, ?, ?)")
            .bind(holder.to_vec())
            .bind(position)
            .bind(grant.role.as_str())
            .bind(grant.scope.organisation().map(|id| id.as_bytes().to_vec()))
            .bind(grant.scope.team().map(|id| id.as_bytes().to_vec()))
            .execute(&mut *connection)
            .await
            .map_err(|error| StoreError::of_write(error, "role"))?;
    }
    Ok(())
}

async fn grants_of(connection: &mut SqliteConnection, holder: [u8; 16]) -> Result<Vec<Grant>, StoreError> {
    let rows = sqlx::query("SELECT * FROM grants WHERE holder = ? ORDER BY position")
        .bind(holder.to_vec())
        .fetch_all(connection)
        .await?;
    rows.iter().map(grant_of).collect()
}

async fn all_grants(connection: &mut SqliteConnection) -> Result<HashMap<[u8; 16], Vec<Grant>>, StoreError> {
    let rows = sqlx::query("SELECT * FROM grants ORDER BY holder, position").fetch_all(connection).await?;
    let mut grants: HashMap<[u8; 16], Vec<Grant>> = HashMap::new();
    for row in &rows {
        grants.entry(id(row.try_get("holder")?, "holder")?).or_default().push(grant_of(row)?);
    }
    Ok(grants)
}

fn grant_of(row: &SqliteRow) -> Result<Grant, StoreError> {
    let organisation = optional_id(row, "organisation_id")?.map(OrganisationId::from_bytes);
    let team = optional_id(row, "team_id")?.map(TeamId::from_bytes);
    Ok(Grant {
        role: row.try_get::<&str, _>("role")?.parse().map_err(|_| StoreError::Corrupt { what: "role" })?,
        scope: organisation.map_or(Scope::All, |organisation| Scope::of(organisation, team)),
    })
}
