//! Intuit's tokens: providers.md §3.10.

use serde_json::json;

use super::QuickBooks;
use crate::exchange::{Answer, Authorization, Request};
use crate::oauth::Denied;

/// Five years: providers.md §3.10.
const HARD_EXPIRY_SECONDS: u64 = 157_680_000;

impl QuickBooks {
    /// `None`: there is no such path.
    pub(super) fn oauth(&mut self, request: &Request, path: &[&str]) -> Option<Answer> {
        Some(match (request.method.as_str(), path) {
            ("GET", [".well-known", "openid_configuration" | "openid_sandbox_configuration"]) => self.discovery(),
            ("GET", ["connect", "oauth2"]) => {
                // The company is named here and nowhere else.
                let realm = self.realm.clone();
                self.grants.consent(request, &realm, &[("realmId", &realm)])
            }
            ("POST", ["oauth2", "v1", "tokens", "bearer"]) => self.token(request),
            ("POST", ["v2", "oauth2", "tokens", "revoke"]) => self.revoke(request),
            _ => return None,
        })
    }

    fn discovery(&self) -> Answer {
        let url = &self.url;
        let document = json!({
            "issuer": "https://oauth.platform.intuit.com/op/v1",
            "authorization_endpoint": format!("{url}/connect/oauth2"),
            "token_endpoint": format!("{url}/oauth2/v1/tokens/bearer"),
            "userinfo_endpoint": format!("{url}/v1/openid_connect/userinfo"),
            "revocation_endpoint": format!("{url}/v2/oauth2/tokens/revoke"),
            "jwks_uri": format!("{url}/op/v1/jwks"),
        });
        Answer::json(200, &document)
    }

    /// Only by HTTP Basic is the app known.
    fn is_app(&self, request: &Request) -> bool {
        request.authorization()
            == Authorization::Basic(self.grants.client_id.clone(), self.grants.client_secret.clone())
    }

    fn token(&mut self, request: &Request) -> Answer {
        let result = if self.is_app(request) { self.grants.token(request) } else { Err(Denied::Client) };
        let tokens = match result {
            Ok(tokens) => tokens,
            Err(Denied::Client | Denied::Secret) => return Answer::json(401, &json!({"error": "invalid_client"})),
            Err(Denied::Kind) => return Answer::json(400, &json!({"error": "unsupported_grant_type"})),
            Err(Denied::Code) => {
                let description = "The authorization code is invalid or expired";
                return Answer::json(400, &json!({"error": "invalid_grant", "error_description": description}));
            }
            Err(Denied::Refresh) => {
                let description = "Incorrect or invalid refresh token";
                return Answer::json(400, &json!({"error": "invalid_grant", "error_description": description}));
            }
        };
        let rules = &self.grants.rules;
        let mut body = json!({
            "token_type": "bearer",
            "access_token": tokens.access,
            "refresh_token": tokens.refresh,
            "expires_in": rules.access.as_secs(),
            "x_refresh_token_expires_in": rules.refresh.map(|lifetime| lifetime.as_secs()),
        });
        if request.header("x-include-refresh-token-hard-expires-in") == Some("true") {
            body["x_refresh_token_hard_expires_in"] = HARD_EXPIRY_SECONDS.into();
        }
        Answer::json(200, &body)
    }

    fn revoke(&mut self, request: &Request) -> Answer {
        if !self.is_app(request) {
            return Answer::json(401, &json!({"error": "invalid_client"}));
        }
        let token = request.json().ok().and_then(|body| Some(body.get("token")?.as_str()?.to_owned()));
        if self.grants.revoke(&token.unwrap_or_default()) {
            Answer::empty(200)
        } else {
            Answer::json(400, &json!({"error": "invalid_request"}))
        }
    }
}
