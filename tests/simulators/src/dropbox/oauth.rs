//! Dropbox's tokens: providers.md §4.4.

use serde_json::json;

use super::Dropbox;
use crate::exchange::{Answer, Request};
use crate::oauth::Denied;

impl Dropbox {
    /// `None`: there is no such path.
    pub(super) fn oauth(&mut self, request: &Request) -> Option<Answer> {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/oauth2/authorize") => {
                let account = self.account.clone();
                Some(self.grants.consent(request, &account, &[]))
            }
            ("POST", "/oauth2/token") => Some(self.token(request)),
            _ => None,
        }
    }

    fn token(&mut self, request: &Request) -> Answer {
        let form = request.form();
        let refreshing = form.iter().any(|(name, value)| name == "grant_type" && value == "refresh_token");
        let (status, error, description) = match self.grants.token(request) {
            Ok(tokens) => {
                let mut body = json!({
                    "access_token": tokens.access,
                    "token_type": "bearer",
                    "expires_in": self.grants.rules.access.as_secs(),
                });
                // A refresh brings nothing but the access token.
                if !refreshing {
                    body["refresh_token"] = tokens.refresh.into();
                    body["scope"] = "account_info.read files.metadata.read".into();
                    body["uid"] = "4245623".into();
                    body["account_id"] = tokens.account.into();
                }
                return Answer::new(200, "application/json", body.to_string());
            }
            Err(Denied::Client | Denied::Secret) => (400, "invalid_client", "Invalid client_id or client_secret"),
            Err(Denied::Code) => (400, "invalid_grant", "code doesn't exist or has expired"),
            Err(Denied::Refresh) => (400, "invalid_grant", "refresh token is invalid or revoked"),
            Err(Denied::Kind) => (400, "unsupported_grant_type", "unknown grant type"),
        };
        let body = json!({"error": error, "error_description": description});
        Answer::new(status, "application/json", body.to_string())
    }
}
