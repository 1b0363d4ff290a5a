//! Who may call what: every route's permission in one table, and the one place that asks for it.
//!
//! Keeps: a route that the table does not have is refused, and what a route is about is looked up before its handler runs, so that
//! no handler can forget whose it is. What is somebody else's looks as if it were not there. The store asks again for every change.

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Method, StatusCode};
use portcullis_core::{Grant, MemberId, OrganisationId, Permission, Scope, TeamId};
use portcullis_store::Actor;

use super::problem::Problem;
use super::{Api, Peer, authenticate};

/// What a route is about, and so where its permission must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The whole installation.
    Everything,
    /// What the path names: its owner is looked up.
    Named,
    /// A list within `organisation` and `team` of the query, or within what the caller has the permission for.
    Listed,
    /// A list of which the handler shows what the caller may see, or something of which the body says whose it is to be: the
    /// permission must hold somewhere, and each item is asked for by [`Call::sees`] or by the store.
    Somewhere,
    /// The caller's own: a token is enough.
    Oneself,
}

#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub method: &'static str,
    /// Below `/admin/v1`, but for `/metrics`.
    pub path: &'static str,
    pub permission: Permission,
    pub reach: Reach,
    /// What does instead for what is the caller's own.
    pub own: Option<Permission>,
}

const fn rule(method: &'static str, path: &'static str, permission: Permission, reach: Reach) -> Rule {
    Rule { method, path, permission, reach, own: None }
}

const fn own(rule: Rule, permission: Permission) -> Rule {
    Rule { own: Some(permission), ..rule }
}

use Permission as P;
use Reach::{Everything, Listed, Named, Oneself, Somewhere};

/// Every route.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    rule("GET",    "/self",                                  P::OrganisationsRead,   Oneself),
    rule("POST",   "/logout",                                P::TokensWrite,         Oneself),

    rule("GET",    "/organisations",                         P::OrganisationsRead,   Somewhere),
    rule("POST",   "/organisations",                         P::OrganisationsManage, Everything),
    rule("GET",    "/organisations/{organisation}",          P::OrganisationsRead,   Named),
    rule("PATCH",  "/organisations/{organisation}",          P::OrganisationsEdit,   Named),
    rule("DELETE", "/organisations/{organisation}",          P::OrganisationsManage, Everything),
    rule("POST",   "/organisations/{organisation}/suspend",  P::OrganisationsManage, Named),
    rule("POST",   "/organisations/{organisation}/resume",   P::OrganisationsManage, Named),

    rule("GET",    "/teams",                                 P::TeamsRead,           Somewhere),
    rule("POST",   "/teams",                                 P::TeamsManage,         Somewhere),
    rule("GET",    "/teams/{team}",                          P::TeamsRead,           Named),
    rule("PATCH",  "/teams/{team}",                          P::TeamsEdit,           Named),
    rule("DELETE", "/teams/{team}",                          P::TeamsManage,         Named),
    rule("POST",   "/teams/{team}/suspend",                  P::TeamsManage,         Named),
    rule("POST",   "/teams/{team}/resume",                   P::TeamsManage,         Named),

    own(rule("GET",   "/keys",                               P::KeysRead,            Listed),    P::KeysOwn),
    own(rule("POST",  "/keys",                               P::KeysWrite,           Somewhere), P::KeysOwn),
    own(rule("GET",   "/keys/{key}",                         P::KeysRead,            Named),     P::KeysOwn),
    own(rule("GET",   "/keys/{key}/policy",                  P::KeysRead,            Named),     P::KeysOwn),
    own(rule("GET",   "/keys/{key}/limits",                  P::KeysRead,            Named),     P::KeysOwn),
    own(rule("PATCH", "/keys/{key}",                         P::KeysWrite,           Named),     P::KeysOwn),
    own(rule("POST",  "/keys/{key}/rotate",                  P::KeysWrite,           Named),     P::KeysOwn),
    own(rule("POST",  "/keys/{key}/suspend",                 P::KeysWrite,           Named),     P::KeysOwn),
    own(rule("POST",  "/keys/{key}/resume",                  P::KeysWrite,           Named),     P::KeysOwn),
    own(rule("POST",  "/keys/{key}/revoke",                  P::KeysWrite,           Named),     P::KeysOwn),

    rule("GET",    "/members",                               P::MembersRead,         Somewhere),
    rule("POST",   "/members",                               P::MembersWrite,        Somewhere),
    rule("GET",    "/members/{member}",                      P::MembersRead,         Named),
    rule("PATCH",  "/members/{member}",                      P::MembersWrite,        Named),
    rule("DELETE", "/members/{member}",                      P::MembersWrite,        Named),
    rule("POST",   "/members/{member}/suspend",              P::MembersWrite,        Named),
    rule("POST",   "/members/{member}/resume",               P::MembersWrite,        Named),

    rule("GET",    "/tokens",                                P::TokensRead,          Oneself),
    rule("POST",   "/tokens",                                P::TokensWrite,         Oneself),
    rule("GET",    "/tokens/{token}",                        P::TokensRead,          Oneself),
    rule("POST",   "/tokens/{token}/revoke",                 P::TokensWrite,         Oneself),

    rule("GET",    "/budgets",                               P::BudgetsRead,         Listed),
    rule("POST",   "/budgets",                               P::BudgetsWrite,        Somewhere),
    rule("GET",    "/budgets/{budget}",                      P::BudgetsRead,         Named),
    rule("PATCH",  "/budgets/{budget}",                      P::BudgetsWrite,        Named),
    rule("DELETE", "/budgets/{budget}",                      P::BudgetsWrite,        Named),
    rule("POST",   "/budgets/{budget}/top-up",               P::BudgetsWrite,        Named),
    rule("GET",    "/alerts",                                P::AlertsRead,          Listed),
    rule("GET",    "/tiers",                                 P::LimitsRead,          Somewhere),

    rule("GET",    "/ledger/entries",                        P::LedgerRead,          Listed),
    rule("GET",    "/ledger/quarantine",                     P::LedgerRead,          Listed),
    rule("POST",   "/ledger/quarantine/{reservation}/decide", P::LedgerDecide,       Named),
    rule("GET",    "/ledger/leases",                         P::LedgerRead,          Listed),
    rule("POST",   "/ledger/leases/{lease}/decide",          P::LedgerDecide,        Named),

    rule("GET",    "/usage",                                 P::UsageRead,           Listed),
    rule("GET",    "/requests",                              P::RequestsRead,        Listed),
    rule("GET",    "/requests/{request}",                    P::RequestsRead,        Named),
    rule("GET",    "/usage/export",                          P::UsageRead,           Listed),
    rule("GET",    "/requests/{request}/content",            P::CapturesRead,        Named),
    rule("DELETE", "/requests/{request}/content",            P::RecordsWrite,        Named),
    rule("GET",    "/audit-events",                          P::AuditRead,           Listed),
    rule("GET",    "/audit-events/export",                   P::AuditRead,           Listed),
    // Of no organisation in particular, and nothing of any.
    rule("GET",    "/audit/checkpoints",                     P::AuditRead,           Somewhere),
    rule("GET",    "/audit/key",                             P::AuditRead,           Somewhere),
    rule("POST",   "/audit/verify",                          P::AuditRead,           Everything),
    rule("GET",    "/audit/verify/{proof}",                  P::AuditRead,           Everything),

    rule("GET",    "/models",                                P::OrganisationsRead,   Somewhere),
    rule("GET",    "/connections",                           P::ConnectionsRead,     Somewhere),
    rule("POST",   "/connections",                           P::ConnectionsWrite,    Somewhere),
    rule("GET",    "/connections/{connection}",              P::ConnectionsRead,     Somewhere),
    rule("PATCH",  "/connections/{connection}",              P::ConnectionsWrite,    Somewhere),
    rule("DELETE", "/connections/{connection}",              P::ConnectionsWrite,    Somewhere),
    rule("POST",   "/connections/{connection}/rotate",       P::ConnectionsWrite,    Somewhere),
    rule("POST",   "/connections/{connection}/suspend",      P::ConnectionsWrite,    Somewhere),
    rule("POST",   "/connections/{connection}/resume",       P::ConnectionsWrite,    Somewhere),
    rule("POST",   "/connections/{connection}/test",         P::ConnectionsWrite,    Somewhere),
    rule("GET",    "/plugins",                               P::SystemRead,          Everything),
    rule("GET",    "/plugins/{plugin}",                      P::SystemRead,          Everything),
    rule("POST",   "/plugins/rescan",                        P::SystemWrite,         Everything),
    rule("GET",    "/replicas",                              P::SystemRead,          Everything),
    rule("GET",    "/health",                                P::SystemRead,          Everything),
    rule("GET",    "/metrics",                               P::SystemRead,          Everything),
];

/// The rule of a route, by the path that matched.
pub fn rule_of(method: &Method, path: &str) -> Option<&'static Rule> {
    let path = path.strip_prefix(super::PREFIX).unwrap_or(path);
    // Whoever may read may ask whether there is something to read.
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    RULES.iter().find(|rule| rule.method == method && rule.path == path)
}

/// An authenticated call, and within what its permission holds.
#[derive(Clone, Debug)]
pub struct Call {
    pub actor: Actor,
    rule: &'static Rule,
    within: Scope,
    /// Where only the caller's own is theirs to see.
    only: Option<MemberId>,
}

impl Call {
    /// Within what a [`Reach::Listed`] route lists: organisation and team.
    pub fn within(&self) -> (Option<OrganisationId>, Option<TeamId>) {
        (self.within.organisation(), self.within.team())
    }

    /// Whose things a list shows, where it is not everybody's.
    pub fn only(&self) -> Option<MemberId> {
        self.only
    }

    /// Whether something that belongs there is the caller's to see.
    pub fn sees(&self, scope: &Scope) -> bool {
        self.actor.allows(self.rule.permission, scope)
    }

    /// The same for what belongs to several.
    pub fn sees_any(&self, grants: &[Grant]) -> bool {
        grants.iter().any(|grant| self.sees(&grant.scope))
    }

    /// Whether the caller has the permission everywhere.
    pub fn sees_everything(&self) -> bool {
        self.sees(&Scope::All)
    }
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Call>().cloned().ok_or_else(forbidden)
    }
}

/// Before every handler.
pub async fn guard(
    State(api): State<Api>,
    path: MatchedPath,
    parameters: RawPathParams,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let rule = rule_of(request.method(), path.as_str()).ok_or_else(forbidden)?;
    if api.is_open(rule, &request) {
        return Ok(next.run(request).await);
    }
    let address = request.extensions().get::<Peer>().ok_or_else(forbidden)?.address;
    let actor = authenticate::actor(&api, request.method(), request.headers(), address).await?;
    let admitted = admit(&api, rule, actor.clone(), &parameters, request.uri().query()).await;
    let answer = match admitted {
        Ok(call) => {
            request.extensions_mut().insert(call);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    // The store refuses too.
    if answer.status() == StatusCode::FORBIDDEN {
        authenticate::forbidden(&api, &actor, address);
    }
    Ok(answer)
}

async fn admit(
    api: &Api,
    rule: &'static Rule,
    actor: Actor,
    parameters: &RawPathParams,
    query: Option<&str>,
) -> Result<Call, Problem> {
    let call = |actor, within, only| Ok(Call { actor, rule, within, only });
    let somewhere = |permission: Permission| actor.grants.iter().any(|grant| grant.role.allows(permission));
    let own = rule.own.filter(|_| actor.member_id().is_some());
    match rule.reach {
        Reach::Oneself => call(actor, Scope::All, None),
        Reach::Everything if actor.allows(rule.permission, &Scope::All) => call(actor, Scope::All, None),
        Reach::Everything => Err(lacks(rule)),
        Reach::Somewhere if somewhere(rule.permission) || own.is_some_and(somewhere) => call(actor, Scope::All, None),
        Reach::Somewhere => Err(lacks(rule)),
        Reach::Named if !(somewhere(rule.permission) || own.is_some_and(somewhere)) => Err(lacks(rule)),
        Reach::Named => {
            let owner = api.owner_of(parameters).await?;
            let theirs = owner.scopes.iter().any(|scope| actor.allows(rule.permission, scope));
            let mine = owner.member.is_some()
                && owner.member == actor.member_id()
                && own.is_some_and(|own| owner.scopes.iter().any(|scope| actor.allows(own, scope)));
            if theirs || mine {
                return call(actor, Scope::All, None);
            }
            // Whoever may read it may know that it is there, and is told what they lack.
            let readable = rule_of(&Method::GET, rule.path.rsplit_once('}').map_or(rule.path, |(path, _)| path))
                .or_else(|| RULES.iter().find(|read| read.method == "GET" && rule.path.starts_with(read.path)))
                .is_some_and(|read| owner.scopes.iter().any(|scope| actor.allows(read.permission, scope)));
            Err(if readable { lacks(rule) } else { Problem::not_found(owner.what) })
        }
        Reach::Listed => {
            let asked = asked(api, query).await?;
            let scope = match asked {
                Some(scope) => scope,
                None => widest(&actor, rule.permission).or_else(|| widest(&actor, own?)).ok_or_else(|| match () {
                    () if somewhere(rule.permission) => Problem::parameter(
                        "organisation",
                        "You have this in several organisations: say which, by organisation and perhaps team.",
                    ),
                    () => lacks(rule),
                })?,
            };
            if actor.allows(rule.permission, &scope) {
                return call(actor, scope, None);
            }
            let only = actor.member_id();
            if own.is_some_and(|own| actor.allows(own, &scope)) {
                return call(actor, scope, only);
            }
            Err(lacks(rule))
        }
    }
}

/// The scope that a list is asked for within. Pairs that are none of ours are the handler's.
async fn asked(api: &Api, query: Option<&str>) -> Result<Option<Scope>, Problem> {
    let (mut organisation, mut team) = (None, None);
    for (name, value) in form_urlencoded::parse(query.unwrap_or("").as_bytes()) {
        match &*name {
            "organisation" => {
                let id = value.parse::<OrganisationId>();
                organisation =
                    Some(id.map_err(|_| Problem::parameter("organisation", "This is no organisation's id."))?);
            }
            "team" => {
                let id = value.parse::<TeamId>();
                team = Some(id.map_err(|_| Problem::parameter("team", "This is no team's id."))?);
            }
            _ => {}
        }
    }
    Ok(match (organisation, team) {
        (None, None) => None,
        (Some(organisation), None) => Some(Scope::Organisation(organisation)),
        // A team says itself whose it is.
        (organisation, Some(team)) => {
            let found = api.store.team(organisation, &team.to_string()).await?;
            Some(found.scope())
        }
    })
}

/// The scope of a permission that contains all others in which the actor has it, if there is one.
fn widest(actor: &Actor, permission: Permission) -> Option<Scope> {
    let scopes = || actor.grants.iter().filter(|grant| grant.role.allows(permission)).map(|grant| grant.scope);
    scopes().find(|wide| scopes().all(|scope| wide.contains(&scope)))
}

fn lacks(rule: &Rule) -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "forbidden",
        format!("This takes the permission {}, which you do not have here.", rule.permission),
    )
}

fn forbidden() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", "Nobody may do this.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_core::Role;

    #[test]
    fn every_rule_is_there_once() {
        for (at, rule) in RULES.iter().enumerate() {
            let same = |other: &&Rule| other.method == rule.method && other.path == rule.path;
            assert!(!RULES[..at].iter().any(|other| same(&other)), "{} {}", rule.method, rule.path);
            assert_eq!(
                rule.reach == Reach::Named,
                rule.path.contains('{') && !matches!(rule.reach, Reach::Everything | Reach::Somewhere | Reach::Oneself)
            );
        }
    }

    #[test]
    fn what_only_reads_takes_a_permission_that_only_reads() {
        // A proof is asked for with what it may rely on, and changes nothing.
        for rule in RULES.iter().filter(|rule| rule.path != "/audit/verify") {
            assert_eq!(rule.method == "GET", rule.permission.reads(), "{} {}", rule.method, rule.path);
        }
    }

    #[test]
    fn the_widest_scope_contains_the_others() {
        let [a, b] = [1, 2].map(|byte| OrganisationId::from_bytes([byte; 16]));
        let team = TeamId::from_bytes([3; 16]);
        let with = |scopes: &[Scope]| {
            let grants = scopes.iter().map(|&scope| Grant { role: Role::Auditor, scope });
            widest(&Actor { grants: grants.collect(), ..Actor::caller(None, None) }, P::UsageRead)
        };
        assert_eq!(with(&[Scope::Team(a, team), Scope::Organisation(a)]), Some(Scope::Organisation(a)));
        assert_eq!(with(&[Scope::Organisation(a), Scope::All]), Some(Scope::All));
        assert_eq!(with(&[Scope::Organisation(a), Scope::Organisation(b)]), None);
        assert_eq!(with(&[]), None);
    }
}
