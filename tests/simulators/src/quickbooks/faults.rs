//! What the API says of problems.
//!
//! The gateway's refusals have a lower-case `fault` among empty fields, as captured in routablehq/python-quickbooks#250 (401)
//! and mcohen01/node-quickbooks#154 (403); the service's have an upper-case `Fault`, as captured in
//! intuit/QuickBooks-V3-Java-SDK#47. Too many requests in XML: routablehq/python-quickbooks#43, #83.

use serde_json::{Value, json};

use super::{QuickBooks, Throttle};
use crate::exchange::Answer;
use crate::times::pacific_millis;

const THROTTLED: &str = "message=ThrottleExceeded; errorCode=003001; statusCode=429";

impl QuickBooks {
    /// A fault of the service, with any status: providers.md §3.7, 200 among them.
    #[must_use]
    pub fn fault(&self, status: u16, kind: &str, code: &str, message: &str, detail: &str) -> Answer {
        let fault = fault(kind, code, message, detail);
        Answer::json(status, &json!({"Fault": fault, "time": pacific_millis(self.clock.now())}))
    }

    fn gateway(&self, status: u16, kind: &str, code: &str, message: &str, detail: &Value) -> Answer {
        let error = json!({"message": message, "detail": detail, "code": code, "element": null});
        let body = json!({
            "warnings": null,
            "intuitObject": null,
            "fault": {"error": [error], "type": kind},
            "report": null,
            "queryResponse": null,
            "batchItemResponse": [],
            "attachableResponse": [],
            "syncErrorResponse": null,
            "requestId": null,
            "time": self.clock.now().as_millis(),
            "status": null,
            "cdcresponse": [],
        });
        Answer::json(status, &body)
    }

    pub(super) fn unauthorized(&self, detail: &str) -> Answer {
        let message = "message=AuthenticationFailed; errorCode=003200; statusCode=401";
        self.gateway(401, "AUTHENTICATION", "3200", message, &detail.into())
    }

    pub(super) fn forbidden(&self) -> Answer {
        let message = "message=AuthorizationFailed; errorCode=003100; statusCode=403";
        self.gateway(403, "SERVICE", "3100", message, &Value::Null)
    }

    pub(super) fn too_many(&self) -> Answer {
        let detail = "The request limit was reached.  Try again later";
        match self.throttle {
            Throttle::Json => self.fault(429, "SERVICE", "3001", THROTTLED, detail),
            Throttle::Xml => self.xml(
                429,
                &format!(
                    "<Fault type=\"SERVICE\"><Error code=\"3001\"><Message>{THROTTLED}</Message><Detail>{detail}</Detail>\
                     </Error></Fault>"
                ),
            ),
        }
    }

    pub(super) fn xml(&self, status: u16, inside: &str) -> Answer {
        let time = pacific_millis(self.clock.now());
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\
             <IntuitResponse time=\"{time}\" xmlns=\"http://schema.intuit.com/finance/v3\">{inside}</IntuitResponse>"
        );
        Answer::new(status, "application/xml;charset=UTF-8", body)
    }

    pub(super) fn invalid(&self, code: &str, message: &str, detail: &str) -> Answer {
        self.fault(400, "ValidationFault", code, message, detail)
    }
}

pub(super) fn fault(kind: &str, code: &str, message: &str, detail: &str) -> Value {
    json!({"Error": [{"Message": message, "Detail": detail, "code": code}], "type": kind})
}
