//! API tokens: JWTs signed with HS256.
//!
//! The signing keys are derived from the deployment's root secret and the key's name (`kid`); the database only
//! says which names exist and which of them signs. A `kid` is looked up in that fixed list and never leads anywhere
//! else. These tokens have a type, an issuer and an audience of their own, so no token of an identity provider can
//! pass for one, nor the other way round (HAZARDS 21).

pub mod checker;

use crate::db::{
    Database,
    tokens::{self, SigningKeyRow},
};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use pinner_core::{
    id::{OrgId, TokenId},
    scope::Scope,
};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use time::OffsetDateTime;

/// The header's `typ`.
const TYPE: &str = "at+jwt";
/// The claim `iss`.
const ISSUER: &str = "anchorage";
/// The claim `aud`.
const AUDIENCE: &str = "anchorage-api";
/// The claim `sub` of a token that belongs to no org.
const PLATFORM: &str = "platform";
/// How far two clocks may differ, in seconds.
const LEEWAY: i64 = 5;
/// Nothing longer than this is looked at.
const TOKEN_MAX_BYTES: usize = 4096;
/// How long a token lives when nobody says.
pub const TTL_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest a token may live.
pub const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The token itself.
    pub id: TokenId,
    /// Whose pins it reaches; none for the platform's own tokens.
    pub org: Option<OrgId>,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
}

/// A token that is refused. Clients are not told why; logs are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Not one of our tokens at all.
    #[error("not a token of this service")]
    Foreign,
    /// Signed with a key that is not in use.
    #[error("signed with an unknown or retired key")]
    UnknownKey,
    /// Signature, type, issuer or audience are wrong.
    #[error("not valid: {0}")]
    Invalid(String),
    /// Not yet or no longer valid.
    #[error("outside its time")]
    OutsideItsTime,
    /// On the denylist.
    #[error("revoked")]
    Revoked,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    jti: String,
    scope: String,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// The keys in use.
pub struct TokenKeys {
    active: Option<(String, EncodingKey)>,
    verifying: HashMap<String, DecodingKey>,
}

impl TokenKeys {
    /// Derives the keys named by `rows` from the root secret.
    pub fn derive(root: &str, rows: &[SigningKeyRow]) -> Self {
        let mut keys = Self { active: None, verifying: HashMap::new() };
        for row in rows {
            let secret = derive(root, &row.kid);
            if row.state == "active" {
                keys.active = Some((row.kid.clone(), EncodingKey::from_secret(&secret)));
            }
            keys.verifying.insert(row.kid.clone(), DecodingKey::from_secret(&secret));
        }
        keys
    }

    /// The name of the key that signs, if there is one.
    pub fn active(&self) -> Option<&str> {
        self.active.as_ref().map(|(kid, _)| kid.as_str())
    }

    /// Signs a token for `grant` from `now` until `expires`. `None` when no key signs.
    pub fn sign(&self, grant: &Grant, now: OffsetDateTime, expires: OffsetDateTime) -> Option<String> {
        let (kid, key) = self.active.as_ref()?;
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(TYPE.into());
        header.kid = Some(kid.clone());
        let scopes: Vec<_> = grant.scopes.iter().map(|scope| scope.as_str()).collect();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: grant.org.map_or_else(|| PLATFORM.to_owned(), |org| org.to_string()),
            jti: grant.id.to_string(),
            scope: scopes.join(" "),
            iat: now.unix_timestamp(),
            nbf: now.unix_timestamp(),
            exp: expires.unix_timestamp(),
        };
        jsonwebtoken::encode(&header, &claims, key).ok()
    }

    /// Checks a token as of `now`.
    pub fn verify(&self, token: &str, now: OffsetDateTime) -> Result<Grant, TokenRefused> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenRefused::Foreign);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenRefused::Foreign)?;
        if header.typ.as_deref() != Some(TYPE) || header.alg != Algorithm::HS256 {
            return Err(TokenRefused::Foreign);
        }
        let kid = header.kid.ok_or(TokenRefused::Foreign)?;
        let key = self.verifying.get(&kid).ok_or(TokenRefused::UnknownKey)?;
        let claims = jsonwebtoken::decode::<Claims>(token, key, &validation())
            .map_err(|e| TokenRefused::Invalid(e.to_string()))?
            .claims;
        let now = now.unix_timestamp();
        if claims.nbf > now + LEEWAY || claims.exp <= now - LEEWAY {
            return Err(TokenRefused::OutsideItsTime);
        }
        grant(&claims)
    }
}

/// What was cleared away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Entries of the denylist whose tokens have ended.
    pub entries: i64,
    /// Entries that are left.
    pub remaining: i64,
}

/// Clears the denylist of tokens that have ended, and retires keys of which no token is left. Any pinner may do it at any
/// time and any number of times. What is retired is refused once the others have looked, within seconds.
///
/// # Errors
/// What the database says; then nothing was done.
pub async fn prune(db: &Database) -> sqlx::Result<Pruned> {
    let mut tx = db.platform().await?;
    let entries = tokens::prune_denylist(&mut tx).await?;
    let remaining = tokens::denylist_size(&mut tx).await?;
    tokens::advance_keys(&mut tx).await?;
    tx.commit().await?;
    Ok(Pruned { entries, remaining })
}

/// The crate's defaults allow a minute of leeway, do not look at `nbf` and ask for `exp` alone; and they read the
/// system's clock, where we are given the time. Times are checked by the caller.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

fn grant(claims: &Claims) -> Result<Grant, TokenRefused> {
    let invalid = |what: &str| TokenRefused::Invalid(format!("{what} is malformed"));
    let org = match claims.sub.as_str() {
        PLATFORM => None,
        org => Some(org.parse().map_err(|_| invalid("sub"))?),
    };
    let scopes = claims.scope.split(' ').map(str::parse).collect::<Result<_, _>>().map_err(|_| invalid("scope"))?;
    Ok(Grant { id: claims.jti.parse().map_err(|_| invalid("jti"))?, org, scopes })
}

/// HMAC-SHA256 over the key's name: a pseudo-random function of the root, 256 bits as RFC 7518 §3.2 asks.
fn derive(root: &str, kid: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(root.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(b"anchorage token key\0");
    mac.update(kid.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const ROOT: &str = "a root secret of more than thirty-two bytes";

    fn keys(rows: &[(&str, &str)]) -> TokenKeys {
        let rows: Vec<_> =
            rows.iter().map(|(kid, state)| SigningKeyRow { kid: (*kid).into(), state: (*state).into() }).collect();
        TokenKeys::derive(ROOT, &rows)
    }

    fn grant() -> Grant {
        Grant {
            id: TokenId::from_uuid(Uuid::from_u128(1)),
            org: Some(OrgId::from_uuid(Uuid::from_u128(2))),
            scopes: [Scope::PinsRead, Scope::PinsWrite].into(),
        }
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap()
    }

    #[test]
    fn a_token_says_what_was_granted_within_its_time() {
        let keys = keys(&[("k1", "active")]);
        let token = keys.sign(&grant(), at(1_000), at(2_000)).unwrap();
        for now in [995, 1_000, 2_004] {
            assert_eq!(keys.verify(&token, at(now)), Ok(grant()), "{now}");
        }
        for now in [994, 2_005] {
            assert_eq!(keys.verify(&token, at(now)), Err(TokenRefused::OutsideItsTime), "{now}");
        }
    }

    #[test]
    fn a_rotated_key_still_verifies_and_a_retired_one_does_not() {
        let token = keys(&[("k1", "active")]).sign(&grant(), at(0), at(100)).unwrap();
        assert!(keys(&[("k1", "verify-only"), ("k2", "active")]).verify(&token, at(50)).is_ok());
        assert_eq!(keys(&[("k2", "active")]).verify(&token, at(50)), Err(TokenRefused::UnknownKey));
    }

    #[test]
    fn another_root_another_type_and_no_signature_are_refused() {
        let ours = keys(&[("k1", "active")]);
        let row = [SigningKeyRow { kid: "k1".into(), state: "active".into() }];
        let theirs = TokenKeys::derive("another root secret of thirty-two bytes!", &row);
        let forged = theirs.sign(&grant(), at(0), at(100)).unwrap();
        assert!(matches!(ours.verify(&forged, at(50)), Err(TokenRefused::Invalid(_))));

        let token = ours.sign(&grant(), at(0), at(100)).unwrap();
        let mut parts: Vec<_> = token.split('.').collect();
        parts[2] = "";
        assert!(ours.verify(&parts.join("."), at(50)).is_err());
        for junk in ["", "purposefullyInvalid", "a.b.c", &"x".repeat(TOKEN_MAX_BYTES + 1)] {
            assert_eq!(ours.verify(junk, at(50)), Err(TokenRefused::Foreign));
        }

        let plain = Header { kid: Some("k1".into()), ..Header::new(Algorithm::HS256) };
        let (_, key) = ours.active.as_ref().unwrap();
        let id_token = jsonwebtoken::encode(&plain, &serde_json::json!({"sub": "x"}), key).unwrap();
        assert_eq!(ours.verify(&id_token, at(50)), Err(TokenRefused::Foreign));
    }
}
