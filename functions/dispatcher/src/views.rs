//! Instances' views, each read once for messages that were taken from the queue together.
//!
//! *Promise:* a view is read strongly, after all of those messages were taken. So a changed callback or secret counts from
//! the next delivery, as it does for one message by itself: whoever changed it before the webhook came is obeyed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use events::InstanceId;
use platform::Platform;
use records::RecordError;
use records::instances::{self, CallbackView};
use tokio::sync::OnceCell;

/// A view, or that the instance was deleted.
type Seen = Option<Arc<CallbackView>>;

/// The views that messages taken together need. To be made after they were taken, and dropped with them.
#[derive(Debug, Default)]
pub struct Views(Mutex<HashMap<InstanceId, Arc<OnceCell<Seen>>>>);

impl Views {
    /// The instance's view. Who comes while another reads it waits for them; a read that failed is repeated by the next.
    pub(crate) async fn get<P: Platform>(&self, platform: &P, id: InstanceId) -> Result<Seen, RecordError> {
        let cell = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id).or_default());
        let read = || async { Ok(instances::callback_view(platform, id).await?.map(Arc::new)) };
        cell.get_or_try_init(read).await.cloned()
    }
}
