//! The SDK's errors in the words of the ports.
//!
//! The error *code* decides, never a text. What has no code (nothing came back) is "not available", or "outcome unknown"
//! for a write of which an attempt may have happened.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use platform::{BusError, QueueError, TableError};

use crate::attempts::Doubt;

/// What an error code says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Throttled,
    Conflict,
    Invalid,
    Unavailable,
}

/// Sources: the "Errors" sections of the APIs' references, and the codes that the SDK's own retries know.
pub(crate) fn class(code: Option<&str>) -> Class {
    // Codes of SQS may carry a namespace from its older protocol.
    let code = code.unwrap_or_default();
    let code = code.rsplit_once('.').map_or(code, |(_, code)| code);
    match code {
        "ProvisionedThroughputExceededException"
        | "ProvisionedThroughputExceeded"
        | "RequestLimitExceeded"
        | "ThrottlingException"
        | "ThrottlingError"
        | "Throttling"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "LimitExceededException"
        | "KmsThrottled"
        | "SlowDown"
        | "OverLimit" => Class::Throttled,
        "TransactionConflictException"
        | "TransactionConflict"
        | "TransactionInProgressException"
        | "ReplicatedWriteConflictException" => Class::Conflict,
        "ValidationException"
        | "ValidationError"
        | "ItemCollectionSizeLimitExceededException"
        | "ItemCollectionSizeLimitExceeded"
        | "InvalidMessageContents"
        | "InvalidParameterValue"
        | "InvalidParameterValueException"
        | "InvalidBatchEntryId"
        | "InvalidAttributeName"
        | "BatchRequestTooLong"
        | "TooManyEntriesInBatchRequest"
        | "EmptyBatchRequest"
        | "InvalidArgument"
        | "MalformedDetail"
        | "NotAuthorizedForSourceException"
        | "NotAuthorizedForDetailTypeException" => Class::Invalid,
        _ => Class::Unavailable,
    }
}

/// Code and message of an answer, or the chain of causes where none came.
pub(crate) fn text<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E>) -> String {
    if let Some(code) = error.code() {
        return match error.message() {
            Some(message) => format!("{code}: {message}"),
            None => code.to_owned(),
        };
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The end of a read.
pub(crate) fn of_read<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E>) -> TableError {
    match class(error.code()) {
        Class::Throttled => TableError::Throttled,
        Class::Conflict => TableError::Conflict,
        Class::Invalid => TableError::Invalid(text(error)),
        Class::Unavailable => TableError::Unavailable(text(error)),
    }
}

/// The end of a write, for any error that does not itself prove what happened. The last attempt's error does not tell of
/// those before it: throttled after a lost answer is still unknown.
pub(crate) fn of_write<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E>, doubt: &Doubt) -> TableError {
    if doubt.stands() { TableError::OutcomeUnknown(text(error)) } else { of_read(error) }
}

/// The end of a request to a queue.
pub(crate) fn of_queue<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E>) -> QueueError {
    entry(error.code(), || text(error))
}

/// The end of one entry of a batch, or of all.
pub(crate) fn entry(code: Option<&str>, text: impl FnOnce() -> String) -> QueueError {
    match class(code) {
        Class::Throttled => QueueError::Throttled,
        Class::Invalid => QueueError::Invalid(text()),
        Class::Conflict | Class::Unavailable => QueueError::Unavailable(text()),
    }
}

/// The end of a publish.
pub(crate) fn of_bus<E: ProvideErrorMetadata + Error + 'static>(error: &SdkError<E>) -> BusError {
    of_entry(error.code(), || text(error))
}

/// The end of one entry of a publish, or of all.
pub(crate) fn of_entry(code: Option<&str>, text: impl FnOnce() -> String) -> BusError {
    match class(code) {
        Class::Throttled => BusError::Throttled,
        Class::Invalid => BusError::Invalid(text()),
        Class::Conflict | Class::Unavailable => BusError::Unavailable(text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_decides_with_and_without_its_old_namespace() {
        assert_eq!(class(Some("ThrottlingException")), Class::Throttled);
        assert_eq!(class(Some("AWS.SimpleQueueService.BatchRequestTooLong")), Class::Invalid);
        assert_eq!(class(Some("TransactionConflictException")), Class::Conflict);
        assert_eq!(class(Some("AccessDeniedException")), Class::Unavailable);
        assert_eq!(class(None), Class::Unavailable);
    }
}
