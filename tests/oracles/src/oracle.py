"""What the providers' own libraries make of a request.

Reads questions and writes answers, one JSON object a line, until the input closes:

    {"do": "sign" | "verify", "oracle": …, "secret": …, "method": …, "url": …, "id": …, "now": …, "body": …, "headers": {…}}

`now` is the clock, in milliseconds; `body` is base64; `headers` has lower-case names. The answer is {"headers": {…}},
{"accepted": true}, {"accepted": false}, or {"error": traceback} where a library failed in a way that is no refusal.

Headers' names and forms are the providers' documentation's, written down here a second time on purpose.
"""

import base64
import binascii
import datetime
import hashlib
import hmac
import json
import re
import sys
import traceback
import types

import gidgethub
import gidgethub.sansio
import hubspot.exceptions
import hubspot.utils.signature
import quickbooks.client
import slack_sdk.signature
import square.utils.webhooks_helper
import standardwebhooks.webhooks
import stripe._webhook
import svix.webhooks

UTC = datetime.timezone.utc
NOW = 0.0
"""The clock, in seconds, that every library is made to read."""


class Stopped(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(NOW, tz)


hubspot.utils.signature.datetime = Stopped
standardwebhooks.webhooks.datetime = Stopped
stripe._webhook.time = types.SimpleNamespace(time=lambda: NOW)


class Request:
    def __init__(self, question):
        self.secret = question["secret"]
        self.method = question["method"]
        self.url = question["url"]
        self.id = question["id"]
        self.now_ms = question["now"]
        self.body = base64.b64decode(question["body"])
        self.headers = question["headers"]

    @property
    def seconds(self):
        return str(self.now_ms // 1000)

    @property
    def text(self):
        """For libraries that take the body as text only."""
        return self.body.decode()


class HubSpot:
    refusals = (hubspot.exceptions.InvalidSignatureTimestampError,)

    # The documentation's table. The library leaves this decoding to its caller.
    DECODED = re.compile("%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)

    def __init__(self, version):
        self.version = version
        self.header = "x-hubspot-signature-v3" if version == "v3" else "x-hubspot-signature"

    def uri(self, request):
        if self.version != "v3":
            return request.url
        return self.DECODED.sub(lambda found: chr(int(found[1], 16)), request.url)

    def sign(self, request):
        timestamp = str(request.now_ms)
        signature = hubspot.utils.signature.Signature.get_signature(
            request.secret, request.text, self.version, self.uri(request), request.method, timestamp
        )
        if self.version == "v3":
            return {self.header: signature, "x-hubspot-request-timestamp": timestamp}
        return {self.header: signature, "x-hubspot-signature-version": self.version}

    def verify(self, request):
        return hubspot.utils.signature.Signature.is_valid(
            request.headers[self.header],
            request.secret,
            request.text,
            self.uri(request),
            request.method,
            self.version,
            request.headers.get("x-hubspot-request-timestamp"),
        )


class StandardWebhooks:
    """The reference library, and Svix's, which knows older names of the headers too."""

    refusals = (standardwebhooks.webhooks.WebhookVerificationError,)

    def __init__(self, webhook, prefix, raw=False):
        self.webhook = webhook
        self.prefix = prefix
        # Whether the secret is the key itself, not the base64 of it.
        self.raw = raw

    def key(self, request):
        return self.webhook(request.secret.encode() if self.raw else request.secret)

    def sign(self, request):
        moment = datetime.datetime.fromtimestamp(request.now_ms / 1000, UTC)
        return {
            f"{self.prefix}-id": request.id,
            f"{self.prefix}-timestamp": request.seconds,
            f"{self.prefix}-signature": self.key(request).sign(request.id, moment, request.text),
        }

    def verify(self, request):
        self.key(request).verify(request.body, request.headers)
        return True


class ReferenceWebhook(standardwebhooks.webhooks.Webhook):
    def verify(self, data, headers):
        """Without reading the body: not every body here is JSON."""
        super().verify(data, headers, json_parse=False)


class QuickBooks:
    refusals = ()

    def verify(self, request):
        client = quickbooks.client.QuickBooks(minorversion=quickbooks.client.QuickBooks.MINIMUM_MINOR_VERSION)
        return client.validate_webhook_signature(request.text, request.headers["intuit-signature"], request.secret)


class GitHub:
    """GitHub has no library of its own for Python; this is one that its documentation lists."""

    refusals = (gidgethub.ValidationFailure,)

    def verify(self, request):
        signature = request.headers["x-hub-signature-256"]
        gidgethub.sansio.validate_event(request.body, signature=signature, secret=request.secret)
        return True


class Stripe:
    refusals = (stripe.SignatureVerificationError,)

    def sign(self, request):
        sign = stripe.WebhookSignature.generate_signature_header
        return {"stripe-signature": sign(request.text, request.secret, int(request.seconds))}

    def verify(self, request):
        tolerance = stripe.Webhook.DEFAULT_TOLERANCE
        header = request.headers["stripe-signature"]
        return stripe.WebhookSignature.verify_header(request.body, header, request.secret, tolerance)


class Slack:
    refusals = ()

    def verifier(self, request):
        clock = types.SimpleNamespace(now=lambda: NOW)
        return slack_sdk.signature.SignatureVerifier(request.secret, clock)

    def sign(self, request):
        signature = self.verifier(request).generate_signature(timestamp=request.seconds, body=request.body)
        return {"x-slack-signature": signature, "x-slack-request-timestamp": request.seconds}

    def verify(self, request):
        return self.verifier(request).is_valid_request(request.body, request.headers)


class Square:
    refusals = ()

    def verify(self, request):
        return square.utils.webhooks_helper.verify_signature(
            request_body=request.text,
            signature_header=request.headers["x-square-hmacsha256-signature"],
            signature_key=request.secret,
            notification_url=request.url,
        )


class Documented:
    """No library of the provider for Python verifies webhooks: this is its documentation's or its sample's few lines."""

    refusals = ()

    def __init__(self, header, encode, time=None):
        self.header = header
        self.encode = encode
        # The header of a time that is signed before the body.
        self.time = time

    def signature(self, request, time):
        return self.encode(hmac.new(request.secret.encode(), time.encode() + request.body, hashlib.sha256).digest())

    def sign(self, request):
        if self.time is None:
            return {self.header: self.signature(request, "")}
        time = datetime.datetime.fromtimestamp(request.now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {self.header: self.signature(request, time), self.time: time}

    def verify(self, request):
        time = "" if self.time is None else request.headers[self.time]
        return hmac.compare_digest(request.headers[self.header], self.signature(request, time))


def b64(digest):
    return base64.b64encode(digest).decode()


def hexadecimal(digest):
    return binascii.hexlify(digest).decode()


ORACLES = {
    "hubspot-v1": HubSpot("v1"),
    "hubspot-v2": HubSpot("v2"),
    "hubspot-v3": HubSpot("v3"),
    "standard": StandardWebhooks(ReferenceWebhook, "webhook"),
    "standard-raw": StandardWebhooks(ReferenceWebhook, "webhook", raw=True),
    "svix": StandardWebhooks(svix.webhooks.Webhook, "svix"),
    "quickbooks": QuickBooks(),
    "github": GitHub(),
    "stripe": Stripe(),
    "slack": Slack(),
    "square": Square(),
    # github.com/dropbox/mdwebhook, app.py
    "dropbox": Documented("x-dropbox-signature", hexadecimal),
    # shopify.dev, "Verify webhook deliveries". The library's `validate_hmac` is for OAuth's queries.
    "shopify": Documented("x-shopify-hmac-sha256", b64),
    # github.com/Shopify/shopify-api-ruby, lib/shopify_api/webhooks/request.rb
    "shopify-unprefixed": Documented("shopify-hmac-sha256", b64),
    # developer.zendesk.com, "Verifying webhook authenticity"
    "zendesk": Documented(
        "x-zendesk-webhook-signature", b64, time="x-zendesk-webhook-signature-timestamp"
    ),
    # developer.xero.com, "Webhooks overview"
    "xero": Documented("x-xero-signature", b64),
    # developers.asana.com, "Webhooks guide"
    "asana": Documented("x-hook-signature", hexadecimal),
}


def answer(question):
    global NOW
    oracle = ORACLES[question["oracle"]]
    request = Request(question)
    NOW = request.now_ms / 1000
    if question["do"] == "sign":
        return {"headers": oracle.sign(request)}
    try:
        return {"accepted": bool(oracle.verify(request))}
    except oracle.refusals:
        return {"accepted": False}


for line in sys.stdin.buffer:
    try:
        result = answer(json.loads(line))
    except Exception:
        result = {"error": traceback.format_exc()}
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
