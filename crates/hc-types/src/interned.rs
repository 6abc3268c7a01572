//! What is compiled once in this process for all checks that have it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Something that is compiled from a text.
pub(crate) trait OfText {
    /// The text.
    fn text(&self) -> &str;
}

/// Compiled texts, each for as long as somebody has it.
pub(crate) struct Interned<T>(Mutex<HashMap<Box<str>, Weak<T>>>);

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: OfText> Interned<T> {
    pub(crate) fn find(&self, text: &str) -> Option<Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(text)?.upgrade()
    }

    /// Keeps it as long as somebody has it. If another thread was faster, its one is given.
    pub(crate) fn keep(&self, compiled: T) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = all.get(compiled.text()).and_then(Weak::upgrade) {
            return first;
        }
        // Texts that nobody has any more are dropped before the table would grow.
        if all.len() == all.capacity() {
            all.retain(|_, compiled| compiled.strong_count() > 0);
        }
        let compiled = Arc::new(compiled);
        all.insert(compiled.text().into(), Arc::downgrade(&compiled));
        compiled
    }
}
