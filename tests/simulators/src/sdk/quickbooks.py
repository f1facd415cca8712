import datetime

import intuitlib.client
import intuitlib.config
import intuitlib.exceptions
import quickbooks
import quickbooks.cdc
import quickbooks.objects
from quickbooks.exceptions import QuickbooksException

CLIENT = None
AUTH = None

# Where the libraries go. Plain HTTP is allowed to oauthlib by the environment.
quickbooks.QuickBooks.api_url_v3 = URL + "/v3"
quickbooks.QuickBooks.sandbox_api_url_v3 = URL + "/v3"
intuitlib.config.DISCOVERY_URL["sandbox"] = URL + "/.well-known/openid_sandbox_configuration/"
intuitlib.client.DISCOVERY_URL = intuitlib.config.DISCOVERY_URL


def details(error):
    if isinstance(error, QuickbooksException):
        return {"code": error.error_code, "detail": error.detail, "message": error.message}
    if isinstance(error, intuitlib.exceptions.AuthClientError):
        return {"status": error.status_code, "body": json.loads(error.content)}
    return None


def auth(refresh_token=None, secret="client-secret"):
    global AUTH
    AUTH = intuitlib.client.AuthClient(
        client_id="client-id",
        client_secret=secret,
        environment="sandbox",
        redirect_uri="https://pollhook.example/oauth",
        refresh_token=refresh_token,
    )


def tokens():
    return {
        "refresh_token": AUTH.refresh_token,
        "expires_in": AUTH.expires_in,
        "x_refresh_token_expires_in": AUTH.x_refresh_token_expires_in,
    }


def connect(realm):
    """A client, which gets its first access token by the refresh token."""
    global CLIENT
    CLIENT = quickbooks.QuickBooks(
        auth_client=AUTH, refresh_token=AUTH.refresh_token, company_id=realm, minorversion=75
    )
    return tokens()


def refresh(refresh_token=None):
    AUTH.refresh(refresh_token=refresh_token)
    return tokens()


def exchange(code, realm):
    AUTH.get_bearer_token(code, realm_id=realm)
    return tokens()


def revoke():
    return AUTH.revoke()


def shown(object):
    return {
        "Id": object.Id,
        "SyncToken": getattr(object, "SyncToken", None),
        "status": getattr(object, "status", None),
        "name": getattr(object, "DisplayName", None) or getattr(object, "DocNumber", None),
        "updated": object.MetaData["LastUpdatedTime"] if isinstance(object.MetaData, dict) else object.MetaData.LastUpdatedTime,
    }


def cdc(entities, since):
    classes = [getattr(quickbooks.objects, name) for name in entities]
    answer = quickbooks.cdc.change_data_capture(classes, since, qb=CLIENT)
    found = {name: [shown(object) for object in getattr(answer, name)] for name in entities if hasattr(answer, name)}
    return {"time": answer.time, "found": found}


def cdc_at(entities, since):
    """The same with a datetime, of which the library drops the offset."""
    return cdc(entities, datetime.datetime.fromisoformat(since))


def query(entity, query):
    return [shown(object) for object in getattr(quickbooks.objects, entity).query(query, qb=CLIENT)]


def all(entity, start, most):
    objects = getattr(quickbooks.objects, entity).all(
        order_by="MetaData.LastUpdatedTime ASC", start_position=start, max_results=most, qb=CLIENT
    )
    return [shown(object) for object in objects]


def count(entity):
    return getattr(quickbooks.objects, entity).count(qb=CLIENT)


def get(entity, id):
    return shown(getattr(quickbooks.objects, entity).get(id, qb=CLIENT))
