//! Postgres URLs: checking the one that a user gives and deriving those of our roles from it.
//!
//! Only what is needed for that; connecting is the pinner's business.

/// A `postgres://` URL in parts. Its `Debug` never shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    user: String,
    password: String,
    /// `host:port`, several separated by commas; empty when the parameters name the host.
    hosts: String,
    database: String,
    /// Everything after `?`, may be empty.
    parameters: String,
}

/// Why a text is no usable database URL. Never contains any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Wrong or missing scheme.
    #[error("it does not begin with postgres:// or postgresql://")]
    Scheme,
    /// No user name.
    #[error("it names no user (postgres://USER:PASSWORD@HOST/DATABASE)")]
    User,
    /// No host.
    #[error("it names no host (postgres://USER:PASSWORD@HOST/DATABASE)")]
    Host,
    /// Credentials among the parameters, where ours could not replace them.
    #[error("user and password must stand before the host, not among the parameters")]
    CredentialsInParameters,
    /// A control character or blank.
    #[error("it contains a blank or a line break; write special characters percent-encoded")]
    Blank,
}

impl DatabaseUrl {
    /// The URL of the Postgres that the operator runs for `cluster`.
    #[must_use]
    pub fn managed(cluster: &str, password: &str) -> Self {
        Self {
            user: "postgres".to_owned(),
            password: password.to_owned(),
            hosts: format!("{}:5432", crate::names::postgres(cluster)),
            database: "anchorage".to_owned(),
            parameters: "sslmode=disable".to_owned(),
        }
    }

    /// Reads a URL as a user writes it; blanks around it are ignored.
    ///
    /// # Errors
    /// Says what is wrong, without repeating any of the text.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(UrlError::Blank);
        }
        let rest =
            text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")).ok_or(UrlError::Scheme)?;
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = authority.rsplit_once('@').ok_or(UrlError::User)?;
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        if user.is_empty() {
            return Err(UrlError::User);
        }
        let parameter_names: Vec<&str> =
            parameters.split('&').map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name)).collect();
        if parameter_names.iter().any(|name| matches!(*name, "user" | "password")) {
            return Err(UrlError::CredentialsInParameters);
        }
        if hosts.is_empty() && !parameter_names.iter().any(|name| matches!(*name, "host" | "hostaddr")) {
            return Err(UrlError::Host);
        }
        Ok(Self {
            user: user.to_owned(),
            password: password.to_owned(),
            hosts: hosts.to_owned(),
            // Postgres takes the user's name when no database is given; our roles have other names.
            database: if database.is_empty() { user.to_owned() } else { database.to_owned() },
            parameters: parameters.to_owned(),
        })
    }

    /// The same database for another role.
    #[must_use]
    pub fn for_role(&self, role: &str, password: &str) -> Self {
        Self { user: role.to_owned(), password: password.to_owned(), ..self.clone() }
    }

    /// The password as it is written in the URL.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The whole URL, password included: only ever for a Secret.
    #[must_use]
    pub fn reveal(&self) -> String {
        let separator = if self.parameters.is_empty() { "" } else { "?" };
        let password = if self.password.is_empty() { String::new() } else { format!(":{}", self.password) };
        format!("postgres://{}{password}@{}/{}{separator}{}", self.user, self.hosts, self.database, self.parameters)
    }

    /// What tells two databases apart, without credentials.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}/{}?{}", self.hosts, self.database, self.parameters)
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "postgres://{}:***@{}/{}", self.user, self.hosts, self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_get_the_same_database_with_their_own_credentials() {
        let admin = DatabaseUrl::parse("postgresql://root:p%40ss@db.example:5433/pins?sslmode=require\n").unwrap();
        let api = admin.for_role("anchorage_api", "abc");
        assert_eq!(api.reveal(), "postgres://anchorage_api:abc@db.example:5433/pins?sslmode=require");
        assert_eq!(api.place(), admin.place());
    }

    #[test]
    fn a_url_without_database_means_the_users_own() {
        let admin = DatabaseUrl::parse("postgres://root@db").unwrap();
        assert_eq!(admin.for_role("anchorage_api", "abc").reveal(), "postgres://anchorage_api:abc@db/root");
    }

    #[test]
    fn what_is_no_database_url_is_refused_with_the_reason() {
        for (text, error) in [
            ("", UrlError::Scheme),
            ("mysql://u:p@h/d", UrlError::Scheme),
            ("postgres://h/d", UrlError::User),
            ("postgres://:p@h/d", UrlError::User),
            ("postgres://u:p@/d", UrlError::Host),
            ("postgres://u:p@h/d?password=x", UrlError::CredentialsInParameters),
            ("postgres://u:p p@h/d", UrlError::Blank),
        ] {
            assert_eq!(DatabaseUrl::parse(text).unwrap_err(), error, "{text}");
        }
        assert!(DatabaseUrl::parse("postgres://u:p@/d?host=/run/postgresql").is_ok());
    }

    #[test]
    fn passwords_do_not_show() {
        let url = DatabaseUrl::parse("postgres://u:hunter2@h/d").unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
        assert!(!url.place().contains("hunter2"));
    }
}
