//! The way into the relay and the store for everyone on the floors above.

use crate::{
    model::{Stamp, UserKey},
    relay::{Answer, Command, Refused},
    store::{Store, StoreError},
};

/// A handle; clones are cheap and all lead to the same relay.
#[derive(Clone)]
pub struct Hub {}

impl Hub {
    /// Asks the relay for something in the name of `user` and waits for the answer; what had to be written is durable by then.
    ///
    /// # Errors
    /// What the relay refused.
    pub async fn ask(&self, _user: UserKey, _command: Command) -> Result<Answer, Refused> {
        Err(Refused::Ended)
    }

    /// Asks for many things at once; the answers are in the order of the questions.
    pub async fn ask_all(&self, _commands: Vec<(UserKey, Command)>) -> Vec<Result<Answer, Refused>> {
        Vec::new()
    }

    /// Reads from the store on a thread that may block.
    ///
    /// # Errors
    /// What the store said.
    pub async fn read<T, F>(&self, _read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    {
        Err(StoreError::Engine("not running".into()))
    }

    /// The wall clock.
    #[must_use]
    pub fn now(&self) -> Stamp {
        Stamp::ZERO
    }

    /// A new ULID: the current time and 80 random bits.
    #[must_use]
    pub fn fresh_id(&self) -> String {
        String::new()
    }
}
