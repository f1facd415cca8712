//! HubSpot's tokens: providers.md §2.11. The first version of the API words its refusals in its own way
//! (`BAD_REFRESH_TOKEN`, as HGData/mk-node-hubspot#64 and supaglue-labs/supaglue#1935 saw them), the newer ones say
//! `invalid_grant` too.

use serde_json::{Value, json};

use super::HubSpot;
use crate::exchange::{Answer, Request};
use crate::oauth::Denied;

impl HubSpot {
    pub(super) fn oauth(&mut self, request: &Request, rest: &[&str]) -> Answer {
        let hub = self.hub_id.to_string();
        match (request.method.as_str(), rest) {
            ("GET", ["authorize"]) => self.grants.consent(request, &hub, &[]),
            ("POST", [version @ ("v1" | "v3" | "2026-03"), "token"]) => self.token(request, *version == "v1"),
            ("GET", ["v1", "access-tokens", token]) => match self.grants.check(token) {
                Ok(_) => Answer::json(200, &self.introspected(token)),
                Err(refused) => self.unauthorized(refused),
            },
            ("DELETE", ["v1", "refresh-tokens", token]) => {
                self.grants.revoke(token);
                Answer::empty(204)
            }
            ("POST", ["v3" | "2026-03", "introspect"]) => {
                let form = request.form();
                let token = form.iter().find(|(name, _)| name == "token").map_or("", |(_, token)| token);
                let active = self.grants.check(token).is_ok() || self.grants.holder(token).is_some();
                let body = if active { self.introspected(token) } else { json!({"active": false}) };
                Answer::json(200, &body)
            }
            ("POST", ["v3" | "2026-03", "revoke"]) => {
                let form = request.form();
                let token = form.iter().find(|(name, _)| name == "token").map_or("", |(_, token)| token);
                self.grants.revoke(token);
                Answer::empty(200)
            }
            _ => self.problem(404, None, "resource not found"),
        }
    }

    fn introspected(&self, token: &str) -> Value {
        json!({
            "active": true,
            "token": token,
            "user": "user@example.com",
            "hub_domain": "example.com",
            "scopes": ["oauth", "crm.objects.contacts.read"],
            "hub_id": self.hub_id,
            "app_id": 1_000_001,
            "expires_in": self.grants.rules.access.as_secs(),
            "user_id": 9_999,
            "token_type": "access",
        })
    }

    fn token(&mut self, request: &Request, first: bool) -> Answer {
        let denied = match self.grants.token(request) {
            Ok(tokens) => {
                let mut body = json!({
                    "token_type": "bearer",
                    "refresh_token": tokens.refresh,
                    "access_token": tokens.access,
                    "expires_in": self.grants.rules.access.as_secs(),
                });
                if !first {
                    body["hub_id"] = self.hub_id.into();
                }
                return Answer::json(200, &body);
            }
            Err(denied) => denied,
        };
        let (status, error, message) = match denied {
            Denied::Client => ("BAD_CLIENT_ID", "invalid_client", "missing or invalid client id"),
            Denied::Secret => ("BAD_CLIENT_SECRET", "invalid_client", "missing or invalid client secret"),
            Denied::Code => ("BAD_AUTH_CODE", "invalid_grant", "missing or unknown auth code"),
            Denied::Refresh => ("BAD_REFRESH_TOKEN", "invalid_grant", "missing or invalid refresh token"),
            Denied::Kind => ("BAD_GRANT_TYPE", "unsupported_grant_type", "missing or unknown grant type"),
        };
        let mut body = json!({"status": status, "message": message, "correlationId": self.correlation()});
        if !first {
            body["error"] = error.into();
            body["error_description"] = message.into();
        }
        Answer::json(400, &body)
    }
}
