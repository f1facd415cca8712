import hubspot

CLIENT = None


def details(error):
    if hasattr(error, "status"):
        body = error.body
        return {
            "status": error.status,
            "body": json.loads(body) if body else None,
            "retry_after": (error.headers or {}).get("Retry-After"),
        }
    return None


def shown(page):
    """A page of objects, as the library's models hold it."""
    after = page.paging.next.after if page.paging else None
    return {
        "total": getattr(page, "total", None),
        "after": after,
        "objects": [
            {
                "id": object.id,
                "properties": object.properties,
                "created_at": object.created_at.isoformat(),
                "updated_at": object.updated_at.isoformat(),
                "archived": object.archived,
                "archived_at": object.archived_at and object.archived_at.isoformat(),
            }
            for object in page.results
        ],
    }


def connect(token):
    global CLIENT
    # The library retries by itself, unless told not to.
    CLIENT = hubspot.HubSpot(access_token=token, host=URL, retry=False)


def refresh(refresh_token, client_id="client-id", client_secret="client-secret"):
    tokens = CLIENT.oauth.tokens_api.create(
        grant_type="refresh_token",
        refresh_token=refresh_token,
        client_id=client_id,
        client_secret=client_secret,
    )
    CLIENT.access_token = tokens.access_token
    return {"refresh_token": tokens.refresh_token, "expires_in": tokens.expires_in}


def exchange(code, redirect_uri):
    tokens = CLIENT.oauth.tokens_api.create(
        grant_type="authorization_code",
        code=code,
        redirect_uri=redirect_uri,
        client_id="client-id",
        client_secret="client-secret",
    )
    CLIENT.access_token = tokens.access_token
    return {"refresh_token": tokens.refresh_token, "expires_in": tokens.expires_in}


def account():
    return CLIENT.oauth.access_tokens_api.get(CLIENT.access_token).hub_id


def search(object_type, request):
    return shown(CLIENT.crm.objects.search_api.do_search(object_type, public_object_search_request=request))


def search_all(object_type, request):
    """Every object, page by page."""
    found = []
    while True:
        page = search(object_type, request)
        found += page["objects"]
        if page["after"] is None:
            return found
        request["after"] = page["after"]


def list_all(object_type, archived):
    return [object.id for object in CLIENT.crm.objects.get_all(object_type, archived=archived)]


def list(object_type, archived, limit):
    return shown(CLIENT.crm.objects.basic_api.get_page(object_type, archived=archived, limit=limit))


def get(object_type, id):
    return CLIENT.crm.objects.basic_api.get_by_id(object_type, id).id
