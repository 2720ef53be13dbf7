//! Identifiers: UUIDs of version 7 inside, [TypeIDs](https://github.com/jetify-com/typeid) outside, such as
//! `pin_01h455vb4pex5vsknk084sn02q`. The prefix is part of the text and is checked when it is parsed.

use type_safe_id::{StaticType, TypeSafeId};

macro_rules! id {
    ($(#[$doc:meta])* $id:ident, $kind:ident, $prefix:literal) => {
        #[doc = concat!("Marks identifiers with the prefix `", $prefix, "`.")]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $kind;
        impl StaticType for $kind {
            const TYPE: &'static str = $prefix;
        }
        $(#[$doc])*
        pub type $id = TypeSafeId<$kind>;
    };
}

id!(/// A tenant.
    OrgId, OrgKind, "org");
id!(/// One pin request of one org: the API's `requestid`.
    PinId, PinKind, "pin");
id!(/// One pinner with its Kubo.
    NodeId, NodeKind, "node");
id!(/// One API token: the JWT's `jti`.
    TokenId, TokenKind, "token");

/// The longest name of an org, in characters; the same as a Kubernetes label value's.
pub const ORG_NAME_MAX: usize = 63;

/// Whether `name` can name an org: lower-case letters, digits and inner hyphens, 1 to [`ORG_NAME_MAX`] of them.
pub fn is_org_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= ORG_NAME_MAX
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn an_id_keeps_its_uuid_through_text_and_refuses_another_prefix() {
        let id = PinId::from_uuid(Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_099a_8057));
        let text = id.to_string();
        assert!(text.starts_with("pin_"), "{text}");
        assert_eq!(text.parse::<PinId>().unwrap().uuid(), id.uuid());
        assert!(text.parse::<OrgId>().is_err());
        assert!("pin_".parse::<PinId>().is_err());
    }

    #[test]
    fn org_names_are_dns_labels() {
        for good in ["a", "demo", "team-7", &"x".repeat(63)] {
            assert!(is_org_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "Demo", "a_b", "ä", &"x".repeat(64)] {
            assert!(!is_org_name(bad), "{bad}");
        }
    }
}
