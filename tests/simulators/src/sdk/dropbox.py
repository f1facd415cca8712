import datetime

import dropbox
import dropbox.files
from dropbox.exceptions import ApiError, AuthError, BadInputError, RateLimitError

CLIENT = None

FAR = datetime.datetime(2999, 1, 1)
"""The library looks at the wall clock to see whether a token has expired; this says: ask the simulator."""


def details(error):
    if isinstance(error, ApiError):
        tag = error.error
        return {"error": tag._tag, "inner": getattr(tag._value, "_tag", None)}
    if isinstance(error, AuthError):
        return {"error": error.error and error.error._tag}
    if isinstance(error, RateLimitError):
        return {"reason": error.error.reason._tag, "retry_after": error.error.retry_after, "backoff": error.backoff}
    if isinstance(error, BadInputError):
        return {"message": error.message}
    return None


def connect(token, refresh_token=None):
    """A client that never tries again by itself, but renews its token where it has a refresh token."""
    global CLIENT
    CLIENT = dropbox.Dropbox(
        oauth2_access_token=token,
        oauth2_refresh_token=refresh_token,
        oauth2_access_token_expiration=FAR if refresh_token else None,
        app_key="client-id",
        app_secret="client-secret",
        max_retries_on_error=0,
        max_retries_on_rate_limit=0,
        session=session(),
    )


def refresh():
    CLIENT.refresh_access_token()
    return CLIENT._oauth2_refresh_token


def shown(entry):
    kinds = {
        dropbox.files.FileMetadata: "file",
        dropbox.files.FolderMetadata: "folder",
        dropbox.files.DeletedMetadata: "deleted",
    }
    found = {"kind": kinds[type(entry)], "path": entry.path_lower, "display": entry.path_display, "name": entry.name}
    if not isinstance(entry, dropbox.files.DeletedMetadata):
        found["id"] = entry.id
    if isinstance(entry, dropbox.files.FileMetadata):
        found["rev"] = entry.rev
        found["modified"] = entry.server_modified.isoformat()
        found["client_modified"] = entry.client_modified.isoformat()
    return found


def page(result):
    return {"entries": [shown(entry) for entry in result.entries], "cursor": result.cursor, "has_more": result.has_more}


def list(path="", recursive=True, limit=None):
    return page(CLIENT.files_list_folder(path, recursive=recursive, limit=limit))


def more(cursor):
    return page(CLIENT.files_list_folder_continue(cursor))


def all(cursor=None, limit=None):
    """Every entry, page by page, and how many each page had."""
    result = list(limit=limit) if cursor is None else more(cursor)
    entries, sizes = result["entries"], [len(result["entries"])]
    while result["has_more"]:
        result = more(result["cursor"])
        entries += result["entries"]
        sizes.append(len(result["entries"]))
    return {"entries": entries, "sizes": sizes, "cursor": result["cursor"]}


def latest():
    return CLIENT.files_list_folder_get_latest_cursor("", recursive=True).cursor


def longpoll(cursor):
    return CLIENT.files_list_folder_longpoll(cursor).changes


def get(path):
    return shown(CLIENT.files_get_metadata(path))


def account():
    return CLIENT.users_get_current_account().account_id


def revoke():
    CLIENT.auth_token_revoke()
