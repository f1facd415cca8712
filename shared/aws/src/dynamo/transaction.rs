//! All or nothing.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use events::Timestamp;
use platform::{Act, Consistency, Failed, Key, TableError, Write};

use super::expression::Expression;
use super::item;
use super::outcome::{self, Attempted, Transaction, unexpired};
use super::{DynamoTable, bulk};
use crate::attempts::Doubt;
use crate::failures::{self, Class};

/// A condition that did not hold, among a cancellation's reasons.
const CONDITION_FAILED: &str = "ConditionalCheckFailed";

impl DynamoTable {
    pub(super) async fn transact_all(&self, writes: Vec<Write>) -> Result<(), TableError> {
        let now = self.now();
        let attempted: Vec<Attempted> = writes.iter().map(Attempted::of).collect();
        let keys: Vec<Key> = writes.iter().map(|write| write.key.clone()).collect();
        let items = writes.into_iter().map(|write| self.transact_item(write, now)).collect::<Result<Vec<_>, _>>()?;
        let doubt = Doubt::default();
        // The SDK adds the token: new here, the same for each attempt.
        let request = self.client.transact_write_items().set_transact_items(Some(items)).customize();
        let Err(error) = request.config_override(bulk()).interceptor(doubt.clone()).send().await else {
            return Ok(());
        };
        let reasons = match &error {
            SdkError::ServiceError(service) => match service.err() {
                TransactWriteItemsError::TransactionCanceledException(canceled) => canceled.cancellation_reasons(),
                _ => return Err(failures::of_write(&error, &doubt)),
            },
            _ => return Err(failures::of_write(&error, &doubt)),
        };
        let failed = failed_conditions(reasons, now)?;
        if failed.is_empty() {
            return Err(canceled(reasons));
        }
        match outcome::transaction(&attempted, &failed) {
            Transaction::HappenedIfTheseStand(others) if self.stand(&keys, &attempted, &others, now).await? => Ok(()),
            _ => Err(TableError::ConditionFailed(failed)),
        }
    }

    fn transact_item(&self, write: Write, now: Timestamp) -> Result<TransactWriteItem, TableError> {
        let condition = Expression::of(write.condition, now);
        let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
        let item = TransactWriteItem::builder();
        let item = match write.act {
            Act::Put { body, version, expires_at_s } => {
                let put = Put::builder()
                    .table_name(&self.name)
                    .set_item(Some(item::of_item(&write.key, body, version, expires_at_s)))
                    .set_condition_expression(condition.text)
                    .set_expression_attribute_names(condition.names)
                    .set_expression_attribute_values(condition.values)
                    .return_values_on_condition_check_failure(all_old)
                    .build();
                item.put(put.map_err(unbuilt)?)
            }
            Act::Delete => {
                let delete = Delete::builder()
                    .table_name(&self.name)
                    .set_key(Some(item::of_key(&write.key)))
                    .set_condition_expression(condition.text)
                    .set_expression_attribute_names(condition.names)
                    .set_expression_attribute_values(condition.values)
                    .return_values_on_condition_check_failure(all_old)
                    .build();
                item.delete(delete.map_err(unbuilt)?)
            }
            Act::Check => {
                let check = ConditionCheck::builder()
                    .table_name(&self.name)
                    .set_key(Some(item::of_key(&write.key)))
                    .set_condition_expression(condition.text)
                    .set_expression_attribute_names(condition.names)
                    .set_expression_attribute_values(condition.values)
                    .return_values_on_condition_check_failure(all_old)
                    .build();
                item.condition_check(check.map_err(unbuilt)?)
            }
        };
        Ok(item.build())
    }

    /// Whether the puts at these indices are all there.
    async fn stand(
        &self,
        keys: &[Key],
        attempted: &[Attempted],
        indices: &[usize],
        now: Timestamp,
    ) -> Result<bool, TableError> {
        let keys: Vec<Key> = indices.iter().map(|index| keys[*index].clone()).collect();
        let stored = self.get_all_stored(&keys, Consistency::Strong).await.map_err(|error| {
            TableError::OutcomeUnknown(format!("some of the puts are there, and the others cannot be read: {error}"))
        })?;
        Ok(indices.iter().zip(&keys).all(|(index, key)| {
            let found = stored.get(key).filter(|item| !item.expired(now));
            found.is_some_and(
                |item| matches!(attempted[*index], Attempted::Put { version, .. } if version == item.version),
            )
        }))
    }
}

fn unbuilt(error: impl std::fmt::Display) -> TableError {
    TableError::Invalid(error.to_string())
}

/// Each condition that did not hold.
fn failed_conditions(reasons: &[CancellationReason], now: Timestamp) -> Result<Vec<Failed>, TableError> {
    let failed = reasons.iter().enumerate().filter(|(_, reason)| reason.code() == Some(CONDITION_FAILED));
    failed
        .map(|(index, reason)| {
            let stored = reason.item().filter(|item| !item.is_empty()).cloned().map(item::item).transpose()?;
            Ok(Failed { index, existing: unexpired(stored, now) })
        })
        .collect()
}

/// Why a transaction was cancelled, with all its conditions holding. What no repeat can cure comes first; a transaction
/// in conflict may be tried again at once, a throttled one should wait.
fn canceled(reasons: &[CancellationReason]) -> TableError {
    let mut worst = Class::Unavailable;
    let mut text = String::from("a transaction cancelled");
    for (index, reason) in reasons.iter().enumerate() {
        let Some(code) = reason.code().filter(|code| *code != "None") else { continue };
        text.push_str(&format!("; write {index}: {code} {}", reason.message().unwrap_or_default()));
        worst = match (worst, failures::class(Some(code))) {
            (Class::Invalid, _) | (_, Class::Invalid) => Class::Invalid,
            (Class::Throttled, _) | (_, Class::Throttled) => Class::Throttled,
            (Class::Conflict, _) | (_, Class::Conflict) => Class::Conflict,
            _ => Class::Unavailable,
        };
    }
    match worst {
        Class::Invalid => TableError::Invalid(text),
        Class::Throttled => TableError::Throttled,
        Class::Conflict => TableError::Conflict,
        Class::Unavailable => TableError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(codes: &[&str]) -> Vec<CancellationReason> {
        codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect()
    }

    #[test]
    fn each_reason_of_a_cancellation_has_its_error() {
        assert_eq!(canceled(&reasons(&["None", "TransactionConflict"])), TableError::Conflict);
        assert_eq!(canceled(&reasons(&["TransactionConflict", "ThrottlingError"])), TableError::Throttled);
        assert!(matches!(canceled(&reasons(&["ThrottlingError", "ValidationError"])), TableError::Invalid(_)));
        assert!(matches!(canceled(&reasons(&[])), TableError::Unavailable(_)));
    }

    #[test]
    fn failed_conditions_keep_their_place() {
        let reasons = reasons(&["None", CONDITION_FAILED, "TransactionConflict", CONDITION_FAILED]);
        let failed = failed_conditions(&reasons, Timestamp::from_seconds(0)).unwrap();
        assert_eq!(failed.iter().map(|f| f.index).collect::<Vec<_>>(), [1, 3]);
    }
}
