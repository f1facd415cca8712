import datetime

import simple_salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceError

CLIENT = None


def details(error):
    if isinstance(error, SalesforceAuthenticationFailed):
        return {"code": error.code, "message": error.auth_message}
    if isinstance(error, SalesforceError):
        return {"status": error.status, "content": error.content}
    return None


def direct(token):
    """A client with an access token that it cannot renew."""
    global CLIENT
    CLIENT = simple_salesforce.Salesforce(
        instance_url=URL.replace("http", "https"), session_id=token, session=session(), version="65.0"
    )


def log_in(key, secret):
    """A client with the app's own credentials, with which it renews its token."""
    global CLIENT
    CLIENT = simple_salesforce.Salesforce(
        consumer_key=key, consumer_secret=secret, domain="example.my", session=session(), version="65.0"
    )


def query_all(soql, include_deleted=False):
    return list(CLIENT.query_all_iter(soql, include_deleted=include_deleted))


def query(soql):
    return CLIENT.query(soql)


def query_more(url):
    return CLIENT.query_more(url, identifier_is_url=True)


def window(which, object, start, end):
    at = datetime.datetime.fromisoformat
    return getattr(getattr(CLIENT, object), which)(at(start), at(end))


def describe():
    return [described["name"] for described in CLIENT.describe()["sobjects"]]


def fields(object):
    return {field["name"]: field["type"] for field in getattr(CLIENT, object).describe()["fields"]}


def get(object, id):
    return getattr(CLIENT, object).get(id)


def usage():
    return CLIENT.api_usage["api-usage"]._asdict()


def limits():
    return CLIENT.limits()["DailyApiRequests"]
