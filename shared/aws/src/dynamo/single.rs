//! Requests of one item, and queries.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use platform::{Act, Consistency, Item, Key, Page, Query, TableError, Write};

use super::expression::Expression;
use super::item::{self, Attributes, PARTITION_ATTRIBUTE, SORT_ATTRIBUTE};
use super::outcome::{self, Attempted, unexpired};
use super::{DynamoTable, bulk, range, strong};
use crate::attempts::Doubt;
use crate::failures;

/// What a single write came to, before it is told.
enum Ended {
    Done,
    /// With the item that is stored there, expired or not.
    ConditionFailed(Option<Attributes>),
    Failed(TableError),
}

impl DynamoTable {
    /// What is stored there, expired or not.
    pub(super) async fn get_stored(&self, key: &Key, consistency: Consistency) -> Result<Option<Item>, TableError> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(item::of_key(key)));
        let answer = request.consistent_read(strong(consistency)).send().await.map_err(|e| failures::of_read(&e))?;
        answer.item.map(item::item).transpose()
    }

    pub(super) async fn write_one(&self, write: Write) -> Result<(), TableError> {
        let attempted = Attempted::of(&write);
        let now = self.now();
        let condition = Expression::of(write.condition, now);
        let doubt = Doubt::default();
        let ended = match write.act {
            Act::Put { body, version, expires_at_s } => {
                let attributes = item::of_item(&write.key, body, version, expires_at_s);
                self.put(attributes, condition, &doubt).await
            }
            Act::Delete => self.delete(&write.key, condition, &doubt).await,
            Act::Check => return Err(TableError::Invalid("a bare check outside a transaction".into())),
        };
        match ended {
            Ended::Done => Ok(()),
            Ended::ConditionFailed(stored) => {
                let existing = unexpired(stored.map(item::item).transpose()?, now);
                outcome::single(attempted, existing, doubt.stands())
            }
            Ended::Failed(error) => Err(error),
        }
    }

    async fn put(&self, attributes: Attributes, condition: Expression, doubt: &Doubt) -> Ended {
        let request = self.client.put_item().table_name(&self.name).set_item(Some(attributes));
        let request = request
            .set_condition_expression(condition.text)
            .set_expression_attribute_names(condition.names)
            .set_expression_attribute_values(condition.values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.customize().interceptor(doubt.clone()).send().await {
            Ok(_) => Ended::Done,
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                match error.into_err() {
                    PutItemError::ConditionalCheckFailedException(failed) => Ended::ConditionFailed(failed.item),
                    _ => Ended::ConditionFailed(None),
                }
            }
            Err(error) => Ended::Failed(failures::of_write(&error, doubt)),
        }
    }

    async fn delete(&self, key: &Key, condition: Expression, doubt: &Doubt) -> Ended {
        let request = self.client.delete_item().table_name(&self.name).set_key(Some(item::of_key(key)));
        let request = request
            .set_condition_expression(condition.text)
            .set_expression_attribute_names(condition.names)
            .set_expression_attribute_values(condition.values)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.customize().interceptor(doubt.clone()).send().await {
            Ok(_) => Ended::Done,
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                match error.into_err() {
                    DeleteItemError::ConditionalCheckFailedException(failed) => Ended::ConditionFailed(failed.item),
                    _ => Ended::ConditionFailed(None),
                }
            }
            Err(error) => Ended::Failed(failures::of_write(&error, doubt)),
        }
    }

    pub(super) async fn query_range(&self, query: &Query) -> Result<Page, TableError> {
        let Some(ask) = range::ask(query) else { return Ok(Page::default()) };
        let mut request = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression(ask.condition)
            .expression_attribute_names("#pk", PARTITION_ATTRIBUTE)
            .expression_attribute_values(":pk", AttributeValue::S(query.partition.clone()))
            .scan_index_forward(!query.descending)
            .limit(i32::try_from(query.limit).unwrap_or(i32::MAX))
            .consistent_read(strong(query.consistency));
        if !ask.bounds.is_empty() {
            request = request.expression_attribute_names("#sk", SORT_ATTRIBUTE);
        }
        for (placeholder, bound) in ask.bounds {
            request = request.expression_attribute_values(placeholder, AttributeValue::S(bound));
        }
        if let Some(start) = ask.start {
            let start = Key::new(query.partition.as_str(), start);
            request = request.set_exclusive_start_key(Some(item::of_key(&start)));
        }
        let answer = request.customize().config_override(bulk()).send().await.map_err(|e| failures::of_read(&e))?;
        let now = self.now();
        let mut page = Page::default();
        for attributes in answer.items.unwrap_or_default() {
            let item = item::item(attributes)?;
            if !item.expired(now) && range::contains(query, &item.key.sort) {
                page.items.push(item);
            }
        }
        let last = answer.last_evaluated_key.filter(|last| !last.is_empty()).map(item::sort).transpose()?;
        page.next = last.and_then(|last| range::next(query, last));
        Ok(page)
    }
}
