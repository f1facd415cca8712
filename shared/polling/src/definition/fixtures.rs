//! Sections as real connectors have them.

/// <https://developers.hubspot.com/docs/api-reference/legacy/crm/search>: a search that shows 10,000 records of a query.
pub(crate) const HUBSPOT: &str = r#"
base_url: https://api.hubapi.com
authentication:
  oauth2:
    authorize_url: https://app.hubspot.com/oauth/authorize
    token_url: https://api.hubapi.com/oauth/v1/token
    scopes: [crm.objects.contacts.read]
    client_auth: body
budget: { requests: 5, seconds: 1 }
overlap: 600
page_size: 200
headers: { accept: application/json }
signs:
  - { status: 477, means: rate_limited }
resources:
  contacts:
    method: POST
    path: /crm/v3/objects/contacts/search
    body:
      filterGroups: [{ filters: [{ propertyName: lastmodifieddate, operator: GTE, value: "${epoch:ms}" }] }]
      sorts: [{ propertyName: lastmodifieddate, direction: ASCENDING }]
      properties: [email]
      limit: "{page_size}"
    paging: { cursor: { from: paging.next.after, body: after, restart: 10000 } }
    ordered: true
    records: results
    id: id
    updated: { at: updatedAt }
    created: { at: createdAt }
    deleted: { at: archived }
    new_since_last: true
"#;

/// <https://developer.intuit.com/app/developer/qbo/docs/api/accounting/all-entities/changedatacapture>, and the query.
pub(crate) const QUICKBOOKS: &str = r#"
base_url: https://{host}/v3/company/{realm.id}
defaults: { host: quickbooks.api.intuit.com }
authentication:
  oauth2:
    authorize_url: https://appcenter.intuit.com/connect/oauth2
    token_url: https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer
    scopes: [com.intuit.quickbooks.accounting]
    client_auth: basic
    rotating: true
budget: { requests: 500, seconds: 60 }
headers: { accept: application/json }
signs:
  - { at: Fault, means: failed }
resources:
  invoices:
    path: /cdc
    query:
      entities: Invoice
      changedSince: "${gmtDate:yyyy-MM-dd'T'HH:mm:ssXXX}"
    most: 1000
    records: CDCResponse[0].QueryResponse[0].Invoice
    may_lack: true
    id: Id
    updated: { at: MetaData.LastUpdatedTime }
    created: { at: MetaData.CreateTime }
    version: SyncToken
    deleted: { at: status, is: Deleted }
  customers:
    path: /query
    query:
      query: SELECT * FROM Customer WHERE Metadata.LastUpdatedTime >= '${gmtDate:yyyy-MM-dd'T'HH:mm:ss'Z'}' ORDERBY Metadata.LastUpdatedTime ASC STARTPOSITION {offset} MAXRESULTS {page_size}
    page_size: 1000
    paging: { offset: { first: 1 } }
    ordered: true
    records: QueryResponse.Customer
    may_lack: true
    id: Id
    updated: { at: MetaData.LastUpdatedTime }
    created: { at: MetaData.CreateTime }
"#;

/// <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_queryall.htm>: any object.
pub(crate) const SALESFORCE: &str = r#"
base_url: "{instance_url}"
authentication:
  oauth2:
    authorize_url: https://login.salesforce.com/services/oauth2/authorize
    token_url: https://login.salesforce.com/services/oauth2/token
    scopes: [api, refresh_token]
    client_auth: body
signs:
  - { status: 403, at: "[0].errorCode", is: REQUEST_LIMIT_EXCEEDED, means: rate_limited, after: 3600 }
resources:
  "{objectName}":
    path: /services/data/v65.0/queryAll
    query:
      q: SELECT Id, CreatedDate, SystemModstamp, IsDeleted FROM {objectName} WHERE SystemModstamp >= ${gmtDate:yyyy-MM-dd'T'HH:mm:ss'Z'} ORDER BY SystemModstamp ASC
    paging: { url: { at: nextRecordsUrl, stable: true } }
    ordered: true
    records: records
    id: Id
    updated: { at: SystemModstamp, format: "yyyy-MM-dd'T'HH:mm:ss.SSSZ" }
    created: { at: CreatedDate }
    deleted: { at: IsDeleted }
"#;

/// <https://www.dropbox.com/developers/documentation/http/documentation#files-list_folder>: a cursor that is kept.
pub(crate) const DROPBOX: &str = r#"
base_url: https://api.dropboxapi.com
authentication:
  oauth2:
    authorize_url: https://www.dropbox.com/oauth2/authorize
    token_url: https://api.dropboxapi.com/oauth2/token
    client_auth: body
    parameters: { token_access_type: offline }
signs:
  - { status: 409, at: error_summary, begins: reset/, means: reset }
resources:
  files:
    method: POST
    path: /2/files/list_folder
    start: /2/files/list_folder/get_latest_cursor
    body: { path: "", recursive: true, include_deleted: true, limit: 2000 }
    paging: { cursor: { from: cursor, body: cursor, more: has_more, path: /2/files/list_folder/continue, alone: true } }
    records: entries
    id: id
    id_else: path_lower
    updated: { at: server_modified }
    version: rev
    deleted: { at: "['.tag']", is: deleted }
"#;

/// Any JSON API, from the instance's configuration alone.
pub(crate) const HTTP: &str = r#"
base_url: "{base.url}"
authentication:
  api_key: { header: Authorization, prefix: "Bearer ", setting: api.key }
"#;
